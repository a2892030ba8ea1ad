// Package e2e_test drives the running program with clients that nobody here
// wrote: coreos/go-oidc and golang.org/x/oauth2, openid-client, and Debian's
// chromium. All it knows of the program is the ready line and demo.json.
package e2e_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
	"time"
)

// running are the demos that all tests share, by scheme: plain http, and https
// with a CA of its own.
var running = map[string]*demo{}

func TestMain(m *testing.M) {
	flag.Parse()
	// The children's parent-death signal follows the thread that started them.
	runtime.LockOSThread()
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		code = 1
	}
	os.Exit(code)
}

// run builds the program, runs the tests against it and stops it.
func run(m *testing.M) (code int, err error) {
	temp, err := os.MkdirTemp("", "gatehouse-e2e-")
	if err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(temp)) }()
	program, err := build(temp)
	if err != nil {
		return 1, err
	}
	for scheme, flags := range map[string][]string{"http": nil, "https": {"--tls"}} {
		d, err := startDemo(program, filepath.Join(temp, scheme), flags...)
		if err != nil {
			return 1, errors.Join(fmt.Errorf("demo over %s: %w", scheme, err), stopAll())
		}
		running[scheme] = d
	}
	code = m.Run()
	return code, stopAll()
}

func build(dir string) (program string, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 4*time.Minute)
	defer cancel()
	program = filepath.Join(dir, "gatehouse")
	out, err := exec.CommandContext(ctx, "go", "build", "-o", program, "gatehouse/cmd/gatehouse").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("go build gatehouse/cmd/gatehouse: %w\n%s", err, out)
	}
	return program, nil
}

func stopAll() (err error) {
	for scheme, d := range running {
		if fault := d.stop(); fault != nil {
			err = errors.Join(err, fmt.Errorf("demo over %s: %w", scheme, fault))
		}
	}
	return err
}

// demos returns the running demos. It reads every directory of the module: the
// go command caches the result of a test by what the test itself has looked at,
// so without this a change of the program would leave an old result standing.
func demos(t *testing.T) map[string]*demo {
	t.Helper()
	err := filepath.WalkDir("..", func(_ string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.IsDir() {
			return err
		}
		switch entry.Name() {
		case ".git", "node_modules", "screenshots":
			return fs.SkipDir
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return running
}
