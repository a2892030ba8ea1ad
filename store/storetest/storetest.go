// Package storetest gives tests a fresh database of every kind that Gatehouse
// runs on: SQLite files, and databases of a private PostgreSQL server that
// lives as long as the test binary.
package storetest

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// EnvPostgres names a running PostgreSQL server by its url. The user needs the
// right to create databases. Without it, Main starts a server.
const EnvPostgres = "GATEHOUSE_TEST_POSTGRES"

// Main runs the tests of a package with a PostgreSQL server at hand and
// returns the exit code; without PostgreSQL's programs it fails. A package that
// uses Each or URL has
//
//	func TestMain(m *testing.M) { os.Exit(storetest.Main(m)) }
func Main(m *testing.M) int {
	if os.Getenv(EnvPostgres) != "" {
		return m.Run()
	}
	server, stop, err := startPostgres()
	if err != nil {
		fmt.Fprintln(os.Stderr, "storetest:", err)
		return 1
	}
	os.Setenv(EnvPostgres, server)
	code := m.Run()
	if err := stop(); err != nil {
		fmt.Fprintln(os.Stderr, "storetest: stop postgres:", err)
		return 1
	}
	return code
}

// Each runs test on each kind of database, as subtests "sqlite" and
// "postgres", with the url of an empty database that is gone afterwards.
func Each(t *testing.T, test func(t *testing.T, url string)) {
	for _, kind := range []string{"sqlite", "postgres"} {
		t.Run(kind, func(t *testing.T) { test(t, URL(t, kind)) })
	}
}

// URL returns the url of an empty database of the kind, "sqlite" or
// "postgres", that is gone when the test ends.
func URL(t testing.TB, kind string) string {
	t.Helper()
	switch kind {
	case "sqlite":
		return "sqlite:" + filepath.Join(t.TempDir(), "gatehouse.db")
	case "postgres":
		return newPostgres(t)
	}
	t.Fatalf("storetest: no kind of database is called %q", kind)
	return ""
}

func newPostgres(t testing.TB) string {
	t.Helper()
	server, err := url.Parse(os.Getenv(EnvPostgres))
	if err != nil || server.Scheme == "" {
		t.Fatalf("storetest: %s is not a url: the package's TestMain must call storetest.Main", EnvPostgres)
	}
	name := fmt.Sprintf("test_%d_%d", os.Getpid(), time.Now().UnixNano())
	run(t, server.String(), "CREATE DATABASE "+name)
	t.Cleanup(func() { run(t, server.String(), "DROP DATABASE IF EXISTS "+name+" WITH (FORCE)") })
	database := *server
	database.Path = "/" + name
	return database.String()
}

func run(t testing.TB, server, sql string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	conn, err := pgx.Connect(ctx, server)
	if err != nil {
		t.Fatalf("storetest: %v", err)
	}
	defer conn.Close(ctx)
	if _, err := conn.Exec(ctx, sql); err != nil {
		t.Fatalf("storetest: %s: %v", sql, err)
	}
}

// A Server is a PostgreSQL server of its own, for tests that end it.
type Server struct {
	URL  string
	stop func() error
}

// StartPostgres starts a server that the test may stop at any moment.
func StartPostgres(t testing.TB) *Server {
	t.Helper()
	server, stop, err := startPostgres()
	if err != nil {
		t.Fatalf("storetest: %v", err)
	}
	s := &Server{URL: server, stop: stop}
	t.Cleanup(func() { s.Stop(t) })
	return s
}

// Stop ends the server, and every connection to it, at once.
func (s *Server) Stop(t testing.TB) {
	t.Helper()
	if s.stop == nil {
		return
	}
	if err := s.stop(); err != nil {
		t.Errorf("storetest: stop postgres: %v", err)
	}
	s.stop = nil
}

// supervise ends the server and removes its directory when standard input ends,
// and so also when the test binary dies without a word. SIGINT is PostgreSQL's
// fast shutdown.
const supervise = `exec 3<&0; "$@" </dev/null 3<&- & read -r line <&3; kill -INT $!; wait $!; status=$?; rm -rf "$PWD"; exit $status`

// startPostgres makes a cluster that listens on a Unix socket in a private
// directory alone, and starts it.
func startPostgres() (server string, stop func() error, err error) {
	bin, err := binaries()
	if err != nil {
		return "", nil, err
	}
	dir, err := os.MkdirTemp("", "gatehouse-postgres-")
	if err != nil {
		return "", nil, err
	}
	remove := func() error { return os.RemoveAll(dir) }
	attributes, err := unprivileged(dir)
	if err != nil {
		return "", nil, errors.Join(err, remove())
	}
	if err := initialize(bin, dir, attributes); err != nil {
		return "", nil, errors.Join(err, remove())
	}
	postgres := exec.Command("/bin/sh", "-c", supervise, "sh", filepath.Join(bin, "postgres"), "-D", filepath.Join(dir, "data"),
		"-c", "listen_addresses=", "-c", "unix_socket_directories="+dir, "-c", "max_connections=200", "-c", "fsync=on")
	postgres.Dir, postgres.SysProcAttr = dir, attributes
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		return "", nil, errors.Join(err, remove())
	}
	defer log.Close()
	postgres.Stdout, postgres.Stderr = log, log
	stdin, err := postgres.StdinPipe()
	if err != nil {
		return "", nil, errors.Join(err, remove())
	}
	if err := postgres.Start(); err != nil {
		return "", nil, errors.Join(err, remove())
	}
	stop = func() error { return errors.Join(stdin.Close(), postgres.Wait(), remove()) }
	server = socketURL(dir)
	ctx, cancel := context.WithTimeout(context.Background(), startTime)
	defer cancel()
	if err := awaitAnswer(ctx, server); err != nil {
		text, _ := os.ReadFile(log.Name())
		return "", nil, errors.Join(fmt.Errorf("%w: %s", err, text), stop())
	}
	return server, stop, nil
}

// binaries returns the directory of PostgreSQL's programs, which Debian keeps
// out of PATH.
func binaries() (string, error) {
	if path, err := exec.LookPath("initdb"); err == nil {
		if path, err = filepath.EvalSymlinks(path); err == nil {
			return filepath.Dir(path), nil
		}
	}
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if len(found) == 0 {
		return "", errors.New("PostgreSQL's programs are missing: install them (apt-get install postgresql), or name a server in " + EnvPostgres)
	}
	return filepath.Dir(found[len(found)-1]), nil
}

// unprivileged gives dir to a user other than root, as whom PostgreSQL does
// not start.
func unprivileged(dir string) (*syscall.SysProcAttr, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		u, err = user.Lookup("nobody")
	}
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
	if err := os.Chown(dir, int(uid), int(gid)); err != nil {
		return nil, err
	}
	return &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}, nil
}
