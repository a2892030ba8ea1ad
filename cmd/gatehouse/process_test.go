package main

import (
	"bufio"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// patience is how long a test waits for what should happen at once.
const patience = 30 * time.Second

// noRaceSleep spares every process that -race built a second at its end.
const noRaceSleep = "GORACE=atexit_sleep_ms=0"

// A process is the program under test, started with lines of its output to
// wait for.
type process struct {
	t      *testing.T
	cmd    *exec.Cmd
	stdout chan string // lines; closed at the end
	log    chan string
	exit   chan error // of Wait, once
}

// start runs gatehouse with settings like LISTEN=127.0.0.1:0, the part of an
// environment variable after GATEHOUSE_.
func start(t *testing.T, settings []string, args ...string) *process {
	t.Helper()
	return startCommand(t, command(settings, args...))
}

func startCommand(t *testing.T, cmd *exec.Cmd) *process {
	t.Helper()
	p := &process{t: t, cmd: cmd, stdout: make(chan string, 1e5), log: make(chan string, 1e5), exit: make(chan error, 1)}
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	stderr, err := p.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	done, logged := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(logged)
		readLines(stderr, p.log)
	}()
	go func() {
		defer close(done)
		readLines(stdout, p.stdout)
		<-logged
		p.exit <- p.cmd.Wait()
	}()
	t.Cleanup(func() {
		p.cmd.Process.Kill()
		<-done
	})
	return p
}

func command(settings []string, args ...string) *exec.Cmd {
	cmd := exec.Command("gatehouse", args...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME"), noRaceSleep}
	for _, setting := range settings {
		cmd.Env = append(cmd.Env, "GATEHOUSE_"+setting)
	}
	return cmd
}

func readLines(r io.Reader, lines chan<- string) {
	defer close(lines)
	for s := bufio.NewScanner(r); s.Scan(); {
		lines <- s.Text()
	}
}

// await returns the first line with part.
func (p *process) await(lines <-chan string, part string) string {
	p.t.Helper()
	late := time.After(patience)
	for {
		select {
		case line, ok := <-lines:
			if !ok {
				p.t.Fatalf("the program ended before a line with %q", part)
			}
			if strings.Contains(line, part) {
				return line
			}
		case <-late:
			p.t.Fatalf("no line with %q", part)
		}
	}
}

// ready waits until the program serves and returns its URL.
func (p *process) ready() string {
	p.t.Helper()
	return strings.TrimPrefix(p.await(p.stdout, "ready "), "ready ")
}

// admin returns the URL of the listener for operators.
func (p *process) admin() string {
	p.t.Helper()
	var record struct {
		URL string `json:"admin_listen"`
	}
	if err := json.Unmarshal([]byte(p.await(p.log, `"msg":"serving"`)), &record); err != nil {
		p.t.Fatal(err)
	}
	return record.URL
}

// wait returns how the program ended.
func (p *process) wait() error {
	p.t.Helper()
	select {
	case err := <-p.exit:
		return err
	case <-time.After(patience):
		p.t.Fatal("the program does not end")
		return nil
	}
}

func (p *process) signal(s os.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Fatal(err)
	}
}

// succeed runs a command that must.
func succeed(t *testing.T, settings []string, args ...string) {
	t.Helper()
	if output, err := command(settings, args...).CombinedOutput(); err != nil {
		t.Fatalf("gatehouse %s: %v\n%s", strings.Join(args, " "), err, output)
	}
}
