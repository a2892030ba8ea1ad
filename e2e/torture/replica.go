//go:build linux

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// A replica is one `gatehouse serve`, on ports that stay the same however
// often it is killed and started again.
type replica struct {
	number int
	url    string // of the public listener
	admin  string // of that for operators

	program string
	env     []string
	log     *os.File

	mu       sync.Mutex
	process  *os.Process
	ended    chan struct{} // closed when process has
	stopping bool          // its end is wanted
	alarms   []string      // lines of its log that must not be there
	skew     skew
}

// A skew is how far a replica's clock is off, and how often that has changed.
type skew struct {
	offset   time.Duration
	changes  int
	changing bool
}

// newReplica reserves ports and opens the log. settings are environment
// variables, GATEHOUSE_ and all.
func newReplica(number int, program, dir string, settings []string) (*replica, error) {
	public, err := freePort()
	if err != nil {
		return nil, err
	}
	admin, err := freePort()
	if err != nil {
		return nil, err
	}
	log, err := os.Create(filepath.Join(dir, fmt.Sprintf("replica-%d.log", number)))
	if err != nil {
		return nil, err
	}
	return &replica{
		number: number, url: "http://" + public, admin: "http://" + admin, program: program, log: log,
		env: append([]string{"PATH=" + os.Getenv("PATH"), "GORACE=atexit_sleep_ms=0", "GATEHOUSE_LISTEN=" + public, "GATEHOUSE_ADMIN_LISTEN=" + admin}, settings...),
	}, nil
}

// freePort returns an address that nobody listens on. It can be lost to
// somebody else until it is used; then the replica does not start, and says so.
func freePort() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// patience is how long a replica may take to start or stop.
const patience = 30 * time.Second

// start starts the process and returns when it serves.
func (r *replica) start(ctx context.Context) error {
	cmd := exec.Command(r.program, "serve")
	cmd.Env, cmd.Dir, cmd.SysProcAttr = r.env, filepath.Dir(r.log.Name()), diesWithUs()
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	stderr, err := cmd.StderrPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	ready, ended := make(chan struct{}), make(chan struct{})
	r.mu.Lock()
	r.process, r.ended, r.stopping = cmd.Process, ended, false
	r.skew = skew{changes: r.skew.changes + 1} // a new process has the system's clock
	r.mu.Unlock()
	go func() {
		defer close(ended)
		var readers sync.WaitGroup
		readers.Go(func() { r.follow(stderr) })
		readers.Go(func() { awaitLine(stdout, "ready ", ready) })
		readers.Wait()
		err := cmd.Wait()
		r.mu.Lock()
		defer r.mu.Unlock()
		if served(ready) && !r.stopping {
			r.alarms = append(r.alarms, fmt.Sprint("ended by itself: ", err))
		}
	}()
	select {
	case <-ready:
		return nil
	case <-ended:
		return fmt.Errorf("replica %d ended before it served: see %s", r.number, r.log.Name())
	case <-time.After(patience):
		return fmt.Errorf("replica %d does not serve: see %s", r.number, r.log.Name())
	case <-ctx.Done():
		return ctx.Err()
	}
}

// startAgain is start, as an orchestrator does it: again and again, because a
// database that just came back may refuse at first.
func (r *replica) startAgain(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*patience)
	defer cancel()
	for {
		err := r.start(ctx)
		if err == nil || ctx.Err() != nil {
			return err
		}
		pause(ctx, 300*time.Millisecond)
	}
}

func served(ready <-chan struct{}) bool {
	select {
	case <-ready:
		return true
	default:
		return false
	}
}

// awaitLine reads to the end and closes seen at the first line with the prefix.
func awaitLine(from io.Reader, prefix string, seen chan<- struct{}) {
	for lines := bufio.NewScanner(from); lines.Scan(); {
		if seen != nil && strings.HasPrefix(lines.Text(), prefix) {
			close(seen)
			seen = nil
		}
	}
}

// alarming are the marks of lines that no replica may ever log.
var alarming = []string{`"msg":"panic"`, "panic: ", "fatal error: ", "WARNING: DATA RACE", "concurrent map"}

// follow keeps the log and looks for what must not be in it.
func (r *replica) follow(stderr io.Reader) {
	lines := bufio.NewScanner(stderr)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		line := lines.Text()
		fmt.Fprintln(r.log, line)
		for _, mark := range alarming {
			if strings.Contains(line, mark) {
				r.mu.Lock()
				r.alarms = append(r.alarms, line)
				r.mu.Unlock()
				break
			}
		}
	}
	io.Copy(r.log, stderr) // after a line that is too long
}

// complaints are the alarms so far.
func (r *replica) complaints() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]string(nil), r.alarms...)
}

func (r *replica) pid() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.process.Pid
}

// signal sends a signal that does not end the process.
func (r *replica) signal(s syscall.Signal) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.process.Signal(s)
}

// expectEnd says that the process may end from now on, and returns a channel
// that is closed when it has.
func (r *replica) expectEnd() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stopping = true
	return r.ended
}

// kill ends the process without a word.
func (r *replica) kill() error {
	return r.end(syscall.SIGKILL)
}

// stop tells the process to end.
func (r *replica) stop() error {
	return r.end(syscall.SIGTERM)
}

func (r *replica) end(s syscall.Signal) error {
	if r.process == nil {
		return nil
	}
	ended := r.expectEnd()
	if err := r.signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-ended:
		return nil
	case <-time.After(patience):
		return errors.Join(fmt.Errorf("replica %d does not end on %s", r.number, s), r.signal(syscall.SIGKILL))
	}
}

// clock returns how far the replica's clock is off.
func (r *replica) clock() skew {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.skew
}

// setClock puts the replica's clock off by offset.
func (r *replica) setClock(ctx context.Context, offset time.Duration) error {
	r.mu.Lock()
	r.skew.changing = true
	r.mu.Unlock()
	err := r.putClock(ctx, offset)
	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil {
		return fmt.Errorf("replica %d: set the clock: %w", r.number, err)
	}
	r.skew = skew{offset: offset, changes: r.skew.changes + 1}
	return nil
}

func (r *replica) putClock(ctx context.Context, offset time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	body := fmt.Sprintf(`{"offset":%q}`, offset)
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, r.admin+"/clock", strings.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode/100 != 2 {
		return errors.New(res.Status)
	}
	return nil
}

// ready reports whether the replica says that it can serve.
func (r *replica) ready(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.admin+"/readyz", nil)
	if err != nil {
		return false
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return false
	}
	res.Body.Close()
	return res.StatusCode == http.StatusOK
}

// diesWithUs makes the kernel kill a child when this program dies, however it
// dies. The signal follows the thread that started the child, and Go ends no
// thread of ours.
func diesWithUs() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
