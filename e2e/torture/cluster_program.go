//go:build linux

package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// A program of the cluster is kept running, as an init system does it, until
// it is killed on purpose.
type program struct {
	name    string
	path    string
	args    []string
	dir     string
	address string // where it listens, if somebody wants to know
	account *syscall.SysProcAttr

	mu       sync.Mutex
	process  *os.Process
	ended    chan struct{} // closed when it has ended and will not be started again
	unwanted bool
}

// revival is the pause before a program that ended by itself is started again.
const revival = 200 * time.Millisecond

// start starts the program and keeps it running.
func (p *program) start() error {
	cmd, err := p.launch()
	if err != nil {
		return err
	}
	ended := make(chan struct{})
	p.mu.Lock()
	p.process, p.ended, p.unwanted = cmd.Process, ended, false
	p.mu.Unlock()
	go func() {
		defer close(ended)
		for {
			cmd.Wait() // how it ended is in its log
			time.Sleep(revival)
			p.mu.Lock()
			if p.unwanted {
				p.mu.Unlock()
				return
			}
			if next, err := p.launch(); err == nil {
				cmd, p.process = next, next.Process
			}
			p.mu.Unlock()
		}
	}()
	return nil
}

func (p *program) launch() (*exec.Cmd, error) {
	log, err := os.OpenFile(filepath.Join(p.dir, p.name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd := exec.Command(p.path, p.args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = p.dir, log, log
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8", "HOME=" + p.dir}
	// SIGTERM, not SIGKILL, when this program dies: Patroni then stops its
	// PostgreSQL, which is no child of ours.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM, Setpgid: true, Credential: p.account.Credential}
	return cmd, cmd.Start()
}

func (p *program) pid() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.process == nil {
		return 0
	}
	return p.process.Pid
}

// kill ends the program at once and for good, until start.
func (p *program) kill() error {
	p.mu.Lock()
	p.unwanted = true
	process, ended := p.process, p.ended
	p.mu.Unlock()
	if process == nil {
		return nil
	}
	if err := process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("kill %s: %w", p.name, err)
	}
	<-ended
	return nil
}

// kill ends Patroni and PostgreSQL at once, as the loss of the machine would.
func (m *member) kill() error {
	m.freeze() // a half-killed member would be a milder fault
	pids := m.postgres()
	err := m.patroni.kill()
	for _, pid := range pids {
		syscall.Kill(pid, syscall.SIGKILL)
	}
	return errors.Join(err, awaitEnd(pids))
}

// killPostmaster ends PostgreSQL at once, and leaves Patroni alive.
func (m *member) killPostmaster() error {
	pids := m.postgres()
	if pids == nil {
		return fmt.Errorf("%s has no PostgreSQL to kill", m.Name)
	}
	if err := syscall.Kill(pids[0], syscall.SIGKILL); err != nil {
		return err
	}
	return awaitEnd(pids[:1])
}

// freeze stops every process of the member where it is.
func (m *member) freeze() {
	m.freezePatroni()
	for stopped := []int(nil); ; { // a child may have been started meanwhile
		pids := m.postgres()
		if slices.Equal(pids, stopped) {
			return
		}
		for _, pid := range pids {
			syscall.Kill(pid, syscall.SIGSTOP)
		}
		stopped = pids
	}
}

// freezePatroni stops Patroni and leaves PostgreSQL to itself.
func (m *member) freezePatroni() {
	if pid := m.patroni.pid(); pid != 0 {
		syscall.Kill(pid, syscall.SIGSTOP)
	}
}

// thaw lets the member go on where it was stopped.
func (m *member) thaw() {
	for _, pid := range append(m.postgres(), m.patroni.pid()) {
		if pid != 0 {
			syscall.Kill(pid, syscall.SIGCONT)
		}
	}
}

// postgres returns the processes of the member's PostgreSQL, the postmaster
// first; none when it does not run.
func (m *member) postgres() []int {
	file, err := os.ReadFile(filepath.Join(m.Data, "postmaster.pid"))
	if err != nil {
		return nil
	}
	line, _, _ := strings.Cut(string(file), "\n")
	postmaster, err := strconv.Atoi(line)
	if err != nil {
		return nil
	}
	// The file outlives a postmaster that was killed, and its number may be
	// somebody else's by now.
	if dir, err := os.Readlink(fmt.Sprintf("/proc/%d/cwd", postmaster)); err != nil || dir != m.Data {
		return nil
	}
	pids := []int{postmaster}
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range stats {
		stat, err := os.ReadFile(path)
		if err != nil || parentOf(string(stat)) != postmaster {
			continue
		}
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path))); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}

// awaitEnd returns when none of the processes runs any more. They are children
// of others, or of init.
func awaitEnd(pids []int) error {
	deadline := time.Now().Add(10 * time.Second)
	for _, pid := range pids {
		for running(pid) {
			if time.Now().After(deadline) {
				return fmt.Errorf("process %d does not end", pid)
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
	return nil
}

// running reports whether a process exists and is no zombie.
func running(pid int) bool {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && !strings.Contains(string(data), ") Z ")
}

// dropRoot gives dir to a user other than root, as whom PostgreSQL and Patroni
// do not start, and returns how to start a program as that user.
func dropRoot(dir string) (*syscall.SysProcAttr, error) {
	if os.Geteuid() != 0 {
		return &syscall.SysProcAttr{}, nil
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		return nil, err
	}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		return nil, err
	}
	gid, err := strconv.ParseUint(u.Gid, 10, 32)
	if err != nil {
		return nil, err
	}
	account := &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
	return account, chown(dir, account)
}

func chown(path string, account *syscall.SysProcAttr) error {
	if account.Credential == nil {
		return nil
	}
	return os.Chown(path, int(account.Credential.Uid), int(account.Credential.Gid))
}
