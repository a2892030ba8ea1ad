package storetest

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

// A Postgres is a PostgreSQL server of its own that may be killed and started
// again, for programs and tests that want to see what then happens. Unlike the
// servers of Main and StartPostgres it does not end with the process that
// started it, unless Attributes say so.
type Postgres struct {
	// URL leads to the database postgres, as superuser, through a Unix socket.
	URL string
	// Attributes of the server's process; the user is set already.
	Attributes *syscall.SysProcAttr
	// Settings are command line arguments, such as "-c", "wal_level=minimal".
	Settings []string

	bin, dir string
	process  *os.Process
	ended    chan struct{} // closed when process has
}

// NewPostgres makes a cluster with data checksums in dir, which must be empty,
// and gives dir to an unprivileged user when the caller is root. It starts
// nothing.
func NewPostgres(dir string) (*Postgres, error) {
	bin, err := binaries()
	if err != nil {
		return nil, err
	}
	attributes, err := unprivileged(dir)
	if err != nil {
		return nil, err
	}
	if attributes == nil {
		attributes = &syscall.SysProcAttr{}
	}
	if err := initialize(bin, dir, attributes, "--data-checksums"); err != nil {
		return nil, err
	}
	return &Postgres{URL: socketURL(dir), Attributes: attributes, bin: bin, dir: dir}, nil
}

// startTime is how long a server may take to recover and answer.
const startTime = 60 * time.Second

// Start starts the server, which must not be running, and returns when it
// answers. After the death of a server its children may linger for a moment
// and a full disk may have become free only now, so Start tries again.
func (p *Postgres) Start(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	for {
		if err := p.launch(); err != nil {
			return err
		}
		waiting, stop := context.WithCancel(ctx)
		ended := p.ended
		go func() {
			select {
			case <-ended:
				stop()
			case <-waiting.Done():
			}
		}()
		err := awaitAnswer(waiting, p.URL)
		stop()
		if err == nil {
			return nil
		}
		if p.Running() {
			return errors.Join(err, p.Stop(syscall.SIGQUIT))
		}
		select {
		case <-ctx.Done():
			log, _ := os.ReadFile(p.log())
			return fmt.Errorf("postgres does not start: %w: %s", err, log[max(0, len(log)-2000):])
		case <-time.After(200 * time.Millisecond):
		}
	}
}

func (p *Postgres) launch() error {
	log, err := os.OpenFile(p.log(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := p.Command(context.Background(), "postgres", append([]string{"-D", p.data(),
		"-c", "listen_addresses=", "-c", "unix_socket_directories=" + p.dir, "-c", "max_connections=100", "-c", "fsync=on"}, p.Settings...)...)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		return err
	}
	ended := make(chan struct{})
	p.process, p.ended = cmd.Process, ended
	go func() {
		defer close(ended)
		cmd.Wait() // how it ended is in its log
	}()
	return nil
}

// Running reports whether the server's first process, the postmaster, lives.
func (p *Postgres) Running() bool {
	if p.ended == nil {
		return false
	}
	select {
	case <-p.ended:
		return false
	default:
		return true
	}
}

// PID is that of the postmaster, which every other process of the server is a
// child of.
func (p *Postgres) PID() int { return p.process.Pid }

// Stop sends the signal to the postmaster and waits for its end: SIGTERM is
// PostgreSQL's smart shutdown, SIGINT the fast one, SIGQUIT the immediate one
// that leaves recovery to the next start, and SIGKILL is a crash. Stopping a
// server that does not run is no error.
func (p *Postgres) Stop(signal os.Signal) error {
	if !p.Running() {
		return nil
	}
	if err := p.process.Signal(signal); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-p.ended:
		return nil
	case <-time.After(startTime):
		return fmt.Errorf("postgres does not end on %s", signal)
	}
}

// Exec runs one SQL command, also on a server that is set to read-only.
func (p *Postgres) Exec(ctx context.Context, sql string) error {
	conn, err := pgx.Connect(ctx, p.URL)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	if _, err := conn.Exec(ctx, "SET default_transaction_read_only = off"); err != nil {
		return err
	}
	_, err = conn.Exec(ctx, sql)
	return err
}

// Command is one of PostgreSQL's programs, run as the server's user.
func (p *Postgres) Command(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, filepath.Join(p.bin, name), args...)
	cmd.Dir, cmd.SysProcAttr = p.dir, p.Attributes
	return cmd
}

// Check reads the whole database and returns an error when it finds a fault:
// every index against its table while the server runs, then, stopped, the
// checksum of every page. The server stays stopped.
func (p *Postgres) Check(ctx context.Context) error {
	amcheck := p.Command(ctx, "pg_amcheck", "--all", "--install-missing", "--heapallindexed", "--host", p.dir, "--username", "postgres")
	if out, err := amcheck.CombinedOutput(); err != nil {
		return fmt.Errorf("pg_amcheck: %w: %s", err, out)
	}
	if err := p.Stop(syscall.SIGINT); err != nil {
		return err
	}
	if out, err := p.Command(ctx, "pg_checksums", "--check", "--pgdata", p.data()).CombinedOutput(); err != nil {
		return fmt.Errorf("pg_checksums: %w: %s", err, out)
	}
	return nil
}

func (p *Postgres) data() string { return filepath.Join(p.dir, "data") }
func (p *Postgres) log() string  { return filepath.Join(p.dir, "log") }

// initialize makes a cluster in dir/data.
func initialize(bin, dir string, attributes *syscall.SysProcAttr, options ...string) error {
	initdb := exec.Command(filepath.Join(bin, "initdb"), append([]string{"--pgdata", filepath.Join(dir, "data"),
		"--username", "postgres", "--auth", "trust", "--encoding", "UTF8", "--locale", "C", "--no-sync"}, options...)...)
	initdb.Dir, initdb.SysProcAttr = dir, attributes
	if out, err := initdb.CombinedOutput(); err != nil {
		return fmt.Errorf("initdb: %w: %s", err, out)
	}
	return nil
}

// socketURL leads to a server whose Unix socket is in dir.
func socketURL(dir string) string {
	return (&url.URL{Scheme: "postgres", Path: "/postgres", RawQuery: url.Values{"host": {dir}, "user": {"postgres"}}.Encode()}).String()
}

// awaitAnswer returns when the server answers.
func awaitAnswer(ctx context.Context, server string) error {
	for {
		conn, err := pgx.Connect(ctx, server)
		if err == nil {
			return conn.Close(ctx)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("postgres does not answer: %w", err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}
