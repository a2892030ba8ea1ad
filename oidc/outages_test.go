//go:build linux

package oidc_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"gatehouse"
	"gatehouse/oidc"
	"gatehouse/store"
	"gatehouse/store/storetest"
)

// ownPostgres starts a server that a test may stop and change; where is an
// empty directory.
func ownPostgres(t testing.TB, where string, settings ...string) *storetest.Postgres {
	t.Helper()
	p, err := storetest.NewPostgres(where)
	must(t, err)
	p.Settings = settings
	p.Attributes.Pdeathsig = syscall.SIGQUIT // it ends with the tests, however they end
	t.Cleanup(func() {
		if err := p.Stop(syscall.SIGQUIT); err != nil {
			t.Error(err)
		}
	})
	must(t, p.Start(t.Context()))
	return p
}

// directory is empty, and its parents are open to PostgreSQL's user, as those
// of t.TempDir are not.
func directory(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "gatehouse-")
	must(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// patience is how long one waits for an answer while the database is away, and
// recovery how long it takes until all is as before.
const (
	patience = 5 * time.Second
	recovery = 10 * time.Second
)

// expectOutage checks what is answered while the database is away: whoever
// wants something decided is asked to come back, soon; whoever reads what is
// public gets it.
func (w *world) expectOutage(server *oidc.Server, site *httptest.Server) {
	t := w.t
	t.Helper()
	slowest := time.Duration(0)
	for range 2 {
		w.clock.advance(35 * time.Second) // more than a minute without the database
		requests := make([]string, 8)
		for i := range requests {
			requests[i] = w.asserted("alpha", tppA, clientCredentials).encode()
		}
		for _, a := range w.atOnce(len(requests)+2, func(i int) *answer {
			began := time.Now()
			var a *answer
			switch {
			case i < len(requests):
				a = w.doAt(site, "POST", "/api/oidc/alpha/tokens", formHeader, requests[i])
			case i == len(requests):
				a = w.doAt(site, "GET", "/oidc/alpha/jwks", nil, "")
			default:
				a = w.doAt(site, "GET", "/.well-known/openid-configuration/alpha", nil, "")
			}
			a.Header.Set("Took", time.Since(began).String())
			return a
		}) {
			took, err := time.ParseDuration(a.Header.Get("Took"))
			must(t, err)
			if slowest = max(slowest, took); took > patience {
				t.Errorf("%s took %s", a.Request.URL.Path, took)
			}
			if a.Request.Method == "GET" {
				expect(t, a, 200, "")
				continue
			}
			expect(t, a, 503, "temporarily_unavailable")
			if a.Header.Get("Retry-After") == "" {
				t.Errorf("no Retry-After: %v", a.Header)
			}
		}
		if err := server.Ready(t.Context()); !errors.Is(err, oidc.ErrDatabase) {
			t.Errorf("ready: %v", err)
		}
	}
	t.Logf("the slowest answer took %s", slowest)
}

// expectRecovery waits until the server works as before.
func (w *world) expectRecovery(server *oidc.Server, site *httptest.Server) {
	t := w.t
	t.Helper()
	eventually(t, recovery, "service as before", func() bool {
		return w.tokenAt(site, "alpha", tppA, clientCredentials).StatusCode == 200
	})
	must(t, server.Ready(t.Context()))
	for range 8 {
		expect(t, w.tokenAt(site, "alpha", tppA, clientCredentials), 200, "")
	}
}

// The database is stopped, and, another time, hears and says nothing any more.
// The server goes on with what it can do, and does all again when the database
// is back, without a restart and without a trace.
//
// Proves: S9 (but for the health endpoints, which are not of this package)
func TestDatabaseIsAway(t *testing.T) {
	p := ownPostgres(t, directory(t))
	proxy, err := storetest.StartProxy(p.URL)
	must(t, err)
	t.Cleanup(func() { proxy.Close() })
	for name, outage := range map[string]struct {
		url        string
		begin, end func() error
	}{
		"stopped": {p.URL, func() error { return p.Stop(syscall.SIGQUIT) }, func() error { return p.Start(t.Context()) }},
		"frozen":  {proxy.URL(), func() error { proxy.Freeze(); return nil }, func() error { proxy.Thaw(); return nil }},
	} {
		t.Run(name, func(t *testing.T) {
			must(t, p.Exec(t.Context(), "DROP SCHEMA public CASCADE; CREATE SCHEMA public"))
			w := newWorld(t, p.URL)
			db, err := store.Open(t.Context(), outage.url)
			must(t, err)
			t.Cleanup(func() { db.Close() })
			server := w.server(db)
			site := w.start(server)
			raw := w.raw()
			raw.SetMaxIdleConns(0)
			connections := func() int {
				return count(t, raw, `SELECT COUNT(*) FROM pg_stat_activity WHERE backend_type = 'client backend'`)
			}
			load := func() { w.atOnce(16, func(int) *answer { return w.tokenAt(site, "alpha", tppA, clientCredentials) }) }
			settle := func() int {
				http.DefaultTransport.(*http.Transport).CloseIdleConnections()
				return runtime.NumGoroutine()
			}
			load()
			expect(t, w.doAt(site, "GET", "/oidc/alpha/jwks", nil, ""), 200, "")
			must(t, server.Ready(t.Context()))
			held, running := connections(), settle()

			must(t, outage.begin())
			w.expectOutage(server, site)
			must(t, outage.end())
			w.expectRecovery(server, site)
			load()
			eventually(t, recovery, "no more connections and goroutines than before", func() bool {
				return connections() <= held && settle() <= running+4
			})
		})
	}
}

// A database that takes no writes may not know what was spent or revoked a
// moment ago: nothing is decided by it, whatever could be read. A standby is
// refused at once.
//
// Proves: S13 (a read-only server)
func TestReadOnlyDatabase(t *testing.T) {
	p := ownPostgres(t, directory(t))
	w := newWorld(t, p.URL)
	server := w.server(w.reopened())
	site := w.start(server)
	code, v, waiting := w.code("alpha", tppA, nil), w.visit("alpha", query(tppA)), w.visit("alpha", query(tppA))
	id, _, _ := w.bankCode(query(tppA), nil)
	tokens, r, statement := w.tokens("alpha", basic), w.registrant("m", nil), w.statement(sandboxDirectory, "m", nil)
	expect(t, v.decide(approval), 200, "")
	bank := func(method, path string, data claims) *answer { return w.connectorAt(site, "beta", method, path, data) }
	requests := map[string]func() *answer{
		"code":               func() *answer { return w.tokenAt(site, "alpha", tppA, exchange(code)) },
		"client_credentials": func() *answer { return w.tokenAt(site, "alpha", basic, clientCredentials) },
		"refresh":            func() *answer { return w.tokenAt(site, "alpha", basic, refreshForm(tokens.text("refresh_token"))) },
		"introspection of an access token": func() *answer {
			return w.inquire(site, "introspect", "alpha", basic, form{"token": tokens.text("access_token")})
		},
		"introspection of a refresh token": func() *answer {
			return w.inquire(site, "introspect", "alpha", basic, form{"token": tokens.text("refresh_token")})
		},
		"authorize": func() *answer {
			return w.doAt(site, "GET", "/oidc/alpha/authorize?"+query(tppA).encode(), nil, "")
		},
		"return from the bank": func() *answer {
			return w.doAt(site, "GET", "/oidc/alpha/authorize/"+v.id, http.Header{"Cookie": {v.cookie}}, "")
		},
		"begin": func() *answer {
			return bank("POST", "", claims{"authorize_url": "https://bank.example/beta/authorize?" + query(tppA).encode(), "auth_code": gatehouse.NewSecret()})
		},
		"read":    func() *answer { return bank("GET", "/"+id, nil) },
		"verdict": func() *answer { return bank("PUT", "/"+id, approval) },
		"register": func() *answer {
			return w.doAt(site, "POST", registerPath, jwtHeader, w.registrationRequest("m", statement, nil))
		},
		"registration": func() *answer { return w.doAt(site, "GET", r.path(), bearerHeader(r.token), "") },
		"replace":      func() *answer { return r.putAt(site, statement, nil) },
	}
	readOnly := func(on string) {
		t.Helper()
		must(t, p.Exec(t.Context(), "ALTER SYSTEM SET default_transaction_read_only = "+on))
		must(t, p.Exec(t.Context(), "SELECT pg_reload_conf()"))
		raw := w.raw()
		defer raw.Close()
		raw.SetMaxIdleConns(0)
		eventually(t, recovery, "the server's new setting", func() bool {
			var now string
			must(t, raw.QueryRowContext(t.Context(), "SHOW default_transaction_read_only").Scan(&now))
			return now == on
		})
	}
	expect(t, w.tokenAt(site, "alpha", basic, clientCredentials), 200, "")
	expect(t, w.doAt(site, "GET", "/oidc/alpha/jwks", nil, ""), 200, "")

	readOnly("on")
	w.clock.advance(6 * time.Second) // what is cached is old
	for name, request := range requests {
		if a := request(); a.StatusCode != 503 || a.Header.Get("Retry-After") == "" {
			t.Errorf("%s at a read-only server: %v %v", name, a, a.Header)
		}
	}
	for _, request := range []func() *answer{
		func() *answer {
			return w.inquire(site, "revoke", "alpha", basic, form{"token": tokens.text("access_token")})
		},
		func() *answer { return w.doAt(site, "DELETE", r.path(), bearerHeader(r.token), "") },
	} {
		if a := request(); a.StatusCode != 503 || a.Header.Get("Retry-After") == "" {
			t.Errorf("at a read-only server: %v %v", a, a.Header)
		}
	}
	for _, path := range []string{"/oidc/alpha/jwks", "/.well-known/openid-configuration/alpha"} {
		expect(t, w.doAt(site, "GET", path, nil, ""), 200, "")
	}
	if err := server.Ready(t.Context()); !errors.Is(err, oidc.ErrDatabase) {
		t.Errorf("ready: %v", err)
	}
	if db, err := store.Open(t.Context(), p.URL); err == nil {
		db.Close()
		t.Error("a read-only server is opened")
	}

	readOnly("off")
	w.expectRecovery(server, site)
	for name, request := range requests {
		if a := request(); a.StatusCode >= 400 {
			t.Errorf("%s afterwards: %v", name, a)
		}
	}
	isActive(t, w.introspect("alpha", basic, tokens.text("access_token")), true)
	expect(t, waiting.decide(approval), 200, "")

	// A standby knows all that, and must not be asked.
	where := directory(t)
	standby, err := storetest.NewPostgres(where)
	must(t, err)
	must(t, os.RemoveAll(filepath.Join(where, "data")))
	primary := strings.TrimPrefix(p.URL, "postgres:///postgres?")
	query, err := http.NewRequest("GET", "/?"+primary, nil)
	must(t, err)
	out, err := p.Command(t.Context(), "pg_basebackup", "--host", query.URL.Query().Get("host"), "--username", "postgres",
		"--pgdata", filepath.Join(where, "data"), "--write-recovery-conf", "--checkpoint", "fast").CombinedOutput()
	if err != nil {
		t.Fatalf("pg_basebackup: %v: %s", err, out)
	}
	standby.Attributes.Pdeathsig = syscall.SIGQUIT
	t.Cleanup(func() { standby.Stop(syscall.SIGQUIT) })
	must(t, standby.Start(t.Context()))
	if db, err := store.Open(t.Context(), standby.URL); err == nil {
		db.Close()
		t.Error("a standby is opened")
	}
	// Once promoted it is a primary like any other.
	must(t, standby.Exec(t.Context(), "SELECT pg_promote()"))
	db, err := store.Open(context.Background(), standby.URL)
	must(t, err)
	defer db.Close()
	isActive(t, w.inquire(w.replica(db), "introspect", "alpha", basic, form{"token": tokens.text("access_token")}), true)
}
