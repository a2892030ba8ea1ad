package oidc_test

import (
	"context"
	"database/sql"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"gatehouse"
	"gatehouse/jose"
	"gatehouse/store"
	"gatehouse/store/storetest"
)

// raw opens the database beside the store.
func (w *world) raw() *sql.DB {
	w.t.Helper()
	driver, source := "pgx", w.url
	if path, ok := strings.CutPrefix(w.url, "sqlite:"); ok {
		driver, source = "sqlite", (&url.URL{Scheme: "file", Path: path}).String()
	}
	db, err := sql.Open(driver, source)
	must(w.t, err)
	w.t.Cleanup(func() { db.Close() })
	return db
}

// count is what a query that returns one number says.
func count(t testing.TB, db *sql.DB, query string) (n int) {
	t.Helper()
	must(t, db.QueryRowContext(t.Context(), query).Scan(&n))
	return n
}

// eventually fails the test when done does not come to hold within a time.
func eventually(t testing.TB, within time.Duration, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(within); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within %s: %s", within, what)
		}
	}
}

// watching is a replica that hears of the changes of others.
func (w *world) watching() *httptest.Server {
	w.t.Helper()
	server := w.server(w.reopened())
	ctx, cancel := context.WithCancel(context.Background())
	var watch sync.WaitGroup
	watch.Go(func() { server.Watch(ctx) })
	w.t.Cleanup(func() {
		cancel()
		watch.Wait()
	})
	return w.start(server)
}

var publicDocuments = []string{
	"/.well-known/openid-configuration/", "/.well-known/oauth-authorization-server/", "/oidc/{}/jwks", "/docs/open_banking/",
}

// documents is everything that a site publishes about a provider.
func (w *world) documents(site *httptest.Server, provider string) string {
	w.t.Helper()
	var all strings.Builder
	for _, path := range publicDocuments {
		target := path + provider
		if strings.Contains(path, "{}") {
			target = strings.Replace(path, "{}", provider, 1)
		}
		a := w.doAt(site, "GET", target, nil, "")
		all.WriteString(a.Status + " " + a.Header.Get("ETag") + " " + a.Body + "\n")
	}
	return all.String()
}

// A bank comes, pauses and goes while the replicas run, and nobody else
// notices.
//
// Proves: O17
func TestProvidersComeAndGo(t *testing.T) {
	t.Parallel()
	forEachWorld(t, func(t *testing.T, w *world) {
		aged := w.replica(w.reopened()) // learns by the age of what it knows
		told := aged
		if strings.HasPrefix(w.url, "postgres") {
			told = w.watching()
		}
		// takesEffect waits until both replicas answer the bank's JWKS with the
		// status: the one that is told without the clock moving, the other with
		// its next load.
		takesEffect := func(status int) {
			t.Helper()
			if told != aged {
				eventually(t, 10*time.Second, "the change is heard", func() bool {
					return w.doAt(told, "GET", "/oidc/delta/jwks", nil, "").StatusCode == status
				})
			}
			w.clock.advance(5 * time.Second)
			for _, site := range []*httptest.Server{told, aged} {
				if a := w.doAt(site, "GET", "/oidc/delta/jwks", nil, ""); a.StatusCode != status {
					t.Fatalf("JWKS: %v, want %d", a, status)
				}
			}
		}
		others := func() (all string) {
			for _, site := range []*httptest.Server{w.site, told, aged} {
				for _, provider := range everyProvider {
					all += w.documents(site, provider)
				}
			}
			return all
		}
		before := others()
		if a := w.doAt(aged, "GET", "/oidc/delta/jwks", nil, ""); a.StatusCode != 404 {
			t.Fatalf("before it came: %v", a)
		}
		w.addProvider(gatehouse.Provider{Code: "delta", Profile: gatehouse.ProfilePSD2, Connector: gatehouse.Connector{LoginURL: "https://bank.example/delta/login"}})
		takesEffect(200)
		own, neighbour := w.family([]*httptest.Server{aged, told}, "delta", tppA), w.family([]*httptest.Server{aged, told}, "alpha", tppA)
		own.expectAlive()
		code := w.code("delta", tppA, nil)
		r := w.registrant("m", nil)
		managing := r.accessToken("delta") // of the client itself

		status := func(p *gatehouse.Provider, s gatehouse.ProviderStatus) {
			p.Status = s
			must(t, w.store.UpdateProvider(t.Context(), p))
		}
		p, err := w.store.Provider(t.Context(), "delta")
		must(t, err)
		status(p, gatehouse.Disabled)
		takesEffect(403)
		for _, site := range []*httptest.Server{told, aged} {
			expect(t, w.tokenAt(site, "delta", tppA, exchange(code)), 403, "access_denied")
			expect(t, w.tokenAt(site, "delta", tppA, refreshForm(own.newest())), 403, "access_denied")
			for _, endpoint := range inquiries {
				expect(t, w.inquire(site, endpoint, "delta", tppA, form{"token": own.newest()}), 403, "access_denied")
			}
		}
		status(p, gatehouse.Sandbox)
		takesEffect(200)
		own.expectAlive()

		must(t, w.store.DeleteProvider(t.Context(), "delta", w.clock.Now()))
		takesEffect(404)
		for _, site := range []*httptest.Server{w.site, told, aged} {
			expect(t, w.tokenAt(site, "delta", tppA, exchange(code)), 404, "invalid_request")
			expect(t, w.tokenAt(site, "delta", tppA, refreshForm(own.newest())), 404, "invalid_request")
			for _, endpoint := range inquiries {
				expect(t, w.inquire(site, endpoint, "delta", tppA, form{"token": own.access[0]}), 404, "invalid_request")
			}
			expect(t, w.doAt(site, "GET", r.path(), bearerHeader(managing), ""), 401, "invalid_token")
			if a := w.doAt(site, "POST", "/api/connectors/ob/v1/authorizations", w.connectorHeader("delta"), ""); a.StatusCode != 403 {
				t.Errorf("its connector: %v", a)
			}
			expect(t, w.doAt(site, "GET", r.path(), bearerHeader(r.token), ""), 200, "")
		}
		raw := w.raw()
		if n := count(t, raw, `SELECT COUNT(*) FROM signing_keys WHERE provider = 'delta'`); n != 0 {
			t.Errorf("%d of its keys are there", n)
		}
		_, err = w.store.Purge(t.Context(), w.clock.Now())
		must(t, err)
		for _, table := range []string{"authorizations", "grants", "access_tokens", "refresh_tokens"} {
			if n := count(t, raw, `SELECT COUNT(*) FROM `+table+` WHERE provider = 'delta'`); n != 0 {
				t.Errorf("%d of its rows are in %s", n, table)
			}
			if n := count(t, raw, `SELECT COUNT(*) FROM `+table+` WHERE provider = 'alpha'`); n == 0 {
				t.Errorf("nothing of another bank is in %s", table)
			}
		}
		neighbour.expectAlive()
		if after := others(); after != before {
			t.Errorf("the documents of others changed:\n%s\n%s", before, after)
		}
		again := gatehouse.Provider{
			Code: "delta", Name: "Another", Profile: gatehouse.ProfilePSD2, Status: gatehouse.Sandbox, SigningAlg: jose.PS256, Scopes: gatehouse.AllScopes(),
			Connector: gatehouse.Connector{AppID: "another", JWKS: jwks(t, key(t, "bank delta", jose.RS256).Public())},
		}
		if err := w.store.CreateProvider(t.Context(), &again, nil); !errors.Is(err, gatehouse.ErrExists) {
			t.Errorf("its code is free again: %v", err)
		}
		takesEffect(404)
	})
}

// A client is deleted at one replica while the other gives it tokens: none of
// them is good for anything afterwards.
func TestClientIsDeletedAmongTokens(t *testing.T) {
	const callers = 12
	forEachWorld(t, func(t *testing.T, w *world) {
		sites := w.pair()
		for range storetest.Rounds(t, 3) {
			r := w.registrant("m", nil)
			refresh := r.ask("alpha", clientCredentials)
			expect(t, refresh, 200, "")
			requests := make([]string, callers)
			for i := range requests {
				f := clientCredentials
				if i%2 == 1 {
					f = refreshForm(refresh.text("refresh_token"))
				}
				requests[i] = f.with(r.sign("m", "alpha")).encode()
			}
			expect(t, r.askAt(sites[1], "alpha", clientCredentials), 200, "") // which knows the client now
			answers := w.atOnce(callers, func(i int) *answer {
				if i == callers/2 {
					return w.doAt(sites[0], "DELETE", r.path(), bearerHeader(r.token), "")
				}
				return w.doAt(sites[1], "POST", "/api/oidc/alpha/tokens", formHeader, requests[i])
			})
			expect(t, answers[callers/2], 204, "")
			for i, a := range answers {
				switch {
				case i == callers/2:
					continue
				case a.StatusCode == 404:
					expect(t, a, 404, "invalid_client")
					continue
				case a.StatusCode == 400:
					expect(t, a, 400, "invalid_grant")
					continue
				}
				expect(t, a, 200, "")
				for _, site := range sites {
					expect(t, w.doAt(site, "GET", r.path(), bearerHeader(a.text("access_token")), ""), 401, "invalid_token")
				}
				if w.active("alpha", a.text("access_token")) {
					t.Errorf("a token of the deleted client is in force: %v", a)
				}
			}
			w.clock.advance(5 * time.Second)
			for _, site := range sites {
				expect(t, r.askAt(site, "alpha", clientCredentials), 404, "invalid_client")
			}
		}
	})
}

// The same with the worst timing: the grant is written but not committed when
// the client is deleted.
func TestClientIsDeletedWhileATokenIsIssued(t *testing.T) {
	w := newWorld(t, storetest.URL(t, "postgres"))
	sites, r := w.pair(), w.registrant("m", nil)
	expect(t, r.askAt(sites[1], "alpha", clientCredentials), 200, "") // which knows the client now
	w.exec(map[string]string{"pgx": `CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_advisory_xact_lock_shared(1); RETURN NEW; END $$;
		CREATE TRIGGER wait BEFORE INSERT ON access_tokens FOR EACH ROW EXECUTE FUNCTION wait()`})
	raw := w.raw()
	gate, err := raw.Conn(t.Context())
	must(t, err)
	defer gate.Close()
	_, err = gate.ExecContext(t.Context(), "SELECT pg_advisory_lock(1)")
	must(t, err)
	answers, deletions := make(chan *answer, 1), make(chan *answer, 1)
	go func() { answers <- r.askAt(sites[1], "alpha", clientCredentials) }()
	eventually(t, 5*time.Second, "a token waits", func() bool {
		return count(t, raw, `SELECT COUNT(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted`) == 1
	})
	go func() { deletions <- w.doAt(sites[0], "DELETE", r.path(), bearerHeader(r.token), "") }()
	var deleted *answer
	select {
	case deleted = <-deletions:
	case <-time.After(200 * time.Millisecond): // it may wait for the token, too
	}
	_, err = gate.ExecContext(t.Context(), "SELECT pg_advisory_unlock(1)")
	must(t, err)
	if deleted == nil {
		deleted = <-deletions
	}
	expect(t, deleted, 204, "")
	a := <-answers
	if a.StatusCode != 200 {
		expect(t, a, 404, "invalid_client")
		return
	}
	for _, site := range sites {
		f := form{"token": a.text("access_token")}.with(r.sign("m", "alpha"))
		answered := w.doAt(site, "POST", "/api/oidc/alpha/introspect", formHeader, f.encode())
		if answered.StatusCode == 200 {
			isActive(t, answered, false)
		} else {
			expect(t, answered, 404, "invalid_client")
		}
	}
	if w.active("alpha", a.text("access_token")) {
		t.Error("a token of the deleted client is in force")
	}
}

// A registration request is good once, whatever it asks for, wherever it
// comes first, and after a restart.
//
// Proves: C6
func TestRegistrationRequestIsUsedOnceAtAnyEndpoint(t *testing.T) {
	forEachWorld(t, func(t *testing.T, w *world) {
		sites := w.pair()
		r := w.registrant("m", nil)
		statement := w.statement(sandboxDirectory, "m", nil)
		send := func(site *httptest.Server, endpoint, body string) *answer {
			switch endpoint {
			case "register":
				return w.doAt(site, "POST", registerPath, jwtHeader, body)
			case "recover":
				a := w.doAt(site, "POST", registerPath+"/recover", jwtHeader, body)
				if a.StatusCode == 200 {
					r.token = recovered(t, a)[r.id]
				}
				return a
			}
			header := http.Header{"Content-Type": {"application/jwt"}, "Authorization": {"Bearer " + r.token}}
			return w.doAt(site, "PUT", r.path(), header, body)
		}
		for i, first := range []string{"register", "recover", "replace"} {
			body := w.registrationRequest("m", statement, nil)
			if a := send(sites[i%2], first, body); a.StatusCode >= 300 {
				t.Fatalf("%s: %v", first, a)
			}
			restarted, err := store.Open(t.Context(), w.url)
			must(t, err)
			for _, site := range append(sites, w.replica(restarted)) {
				for _, then := range []string{"register", "recover", "replace"} {
					expect(t, send(site, then, body), 400, "invalid_client_metadata")
				}
			}
			must(t, restarted.Close())
		}
	})
}
