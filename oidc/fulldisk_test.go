//go:build linux

package oidc_test

import (
	"errors"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"gatehouse/store/storetest"
)

// A disk is a small file system of its own, which a test can fill.
type disk struct {
	t    testing.TB
	dir  string
	used *os.File
	size int64
}

func smallDisk(t testing.TB, size string) *disk {
	t.Helper()
	dir := directory(t)
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "mode=0755,size="+size); err != nil {
		t.Fatalf("mount a small file system, which needs root: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return &disk{t: t, dir: dir}
}

// fill leaves no more space than that; it can be called again, for databases
// free some.
func (d *disk) fill(space int64) {
	d.t.Helper()
	if d.used == nil {
		file, err := os.Create(filepath.Join(d.dir, "filler"))
		must(d.t, err)
		d.used, d.size = file, 0
	}
	for {
		var free syscall.Statfs_t
		must(d.t, syscall.Statfs(d.dir, &free))
		n := int64(free.Bavail)*free.Bsize - space
		if n <= 0 {
			return
		}
		switch err := syscall.Fallocate(int(d.used.Fd()), 0, d.size, n); {
		case err == nil:
			d.size += n
		case !errors.Is(err, syscall.ENOSPC): // somebody was faster
			d.t.Fatal(err)
		}
	}
}

func (d *disk) empty() {
	d.t.Helper()
	must(d.t, d.used.Close())
	must(d.t, os.Remove(d.used.Name()))
	d.used = nil
}

// The disk of the database is full. What was answered with success is there,
// the rest was refused with a request to come back, what is public is served,
// and when there is space again the service goes on, with a database that is
// whole.
//
// Proves: S14
func TestDiskIsFull(t *testing.T) {
	t.Run("sqlite", func(t *testing.T) {
		d := smallDisk(t, "8m")
		w := newWorld(t, "sqlite:"+filepath.Join(d.dir, "gatehouse.db"))
		server := w.server(w.reopened())
		site := w.start(server)
		given, code := w.untilFull(d, site)
		w.expectFull(site, code)
		d.empty()
		w.expectRecovery(server, site)
		w.expectWhole(given, code)
		must(t, w.store.Close())
		must(t, storetest.CheckSQLite(t.Context(), strings.TrimPrefix(w.url, "sqlite:")))
	})
	t.Run("postgres", func(t *testing.T) {
		d := smallDisk(t, "160m")
		home := filepath.Join(d.dir, "postgres")
		must(t, os.Mkdir(home, 0o700))
		p := ownPostgres(t, home, "-c", "max_wal_size=32MB", "-c", "min_wal_size=32MB", "-c", "wal_recycle=off", "-c", "shared_buffers=16MB")
		w := newWorld(t, p.URL)
		server := w.server(w.reopened())
		site := w.start(server)
		given, code := w.untilFull(d, site)
		w.expectFull(site, code)
		// No room for its log either: PostgreSQL gives up.
		for range 20 {
			d.fill(0)
			if err := p.Exec(t.Context(), "SELECT pg_logical_emit_message(true, '', 'x'), pg_switch_wal()"); err != nil {
				t.Logf("postgres: %v", err)
				break
			}
		}
		d.fill(0)
		w.expectFull(site, code)
		d.empty()
		if !p.Running() {
			t.Log("postgres has ended")
			must(t, p.Start(t.Context()))
		}
		w.expectRecovery(server, site)
		w.expectWhole(given, code)
		must(t, p.Check(t.Context()))
	})
}

// untilFull fills the disk and asks for tokens until there are none, and
// returns those it got, with a code that waits.
func (w *world) untilFull(d *disk, site *httptest.Server) (given []string, code string) {
	w.t.Helper()
	code = w.code("alpha", tppA, nil)
	for _, path := range []string{"/oidc/alpha/jwks", "/.well-known/openid-configuration/alpha"} {
		expect(w.t, w.doAt(site, "GET", path, nil, ""), 200, "")
	}
	d.fill(256 << 10)
	for refused := 0; refused < 5; {
		a := w.tokenAt(site, "alpha", tppA, clientCredentials)
		if isDone(w.t, a) {
			given = append(given, a.text("access_token"))
			continue
		}
		if refused++; len(given) == 0 {
			w.t.Fatal("there was no space to begin with")
		}
		d.fill(0)
	}
	w.t.Logf("the disk was full after %d tokens", len(given))
	return given, code
}

func (w *world) expectFull(site *httptest.Server, code string) {
	w.t.Helper()
	for range 3 {
		if isDone(w.t, w.tokenAt(site, "alpha", tppA, exchange(code))) {
			w.t.Fatal("there was space for tokens")
		}
		for _, path := range []string{"/oidc/alpha/jwks", "/.well-known/openid-configuration/alpha"} {
			expect(w.t, w.doAt(site, "GET", path, nil, ""), 200, "")
		}
	}
}

func (w *world) expectWhole(given []string, code string) {
	w.t.Helper()
	a := w.token("alpha", tppA, exchange(code))
	expect(w.t, a, 200, "")
	w.areGood("alpha", tppA)(a)
	for _, token := range given {
		isActive(w.t, w.introspect("alpha", tppA, token), true)
	}
}
