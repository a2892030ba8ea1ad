package oidc_test

import (
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"gatehouse"
	"gatehouse/store"
	"gatehouse/store/storetest"
)

// A write is a request that changes the database.
type write struct {
	sql  string         // what its transaction has and no other of the request
	adds map[string]int // to inventory
	// prepare makes ready what the request is about. call then makes a fresh
	// request for the same thing each time, and holds checks what a good answer
	// promised.
	prepare func(w *world) (call func(*httptest.Server) *answer, holds func(*answer))
}

var tokenPair = map[string]int{"access_tokens": 1, "refresh_tokens": 1}

var writes = map[string]write{
	"assertion":          {"INSERT INTO consumed", map[string]int{"grants": 1, "access_tokens": 1, "refresh_tokens": 1}, prepareCredentials},
	"client_credentials": {"INSERT INTO grants", map[string]int{"grants": 1, "access_tokens": 1, "refresh_tokens": 1}, prepareCredentials},
	"code": {"SET status = 'exchanged'", tokenPair, func(w *world) (func(*httptest.Server) *answer, func(*answer)) {
		code := w.code("alpha", tppA, nil)
		return func(site *httptest.Server) *answer { return w.tokenAt(site, "alpha", tppA, exchange(code)) }, w.areGood("alpha", tppA)
	}},
	"refresh": {"INSERT INTO access_tokens", map[string]int{"access_tokens": 1}, func(w *world) (func(*httptest.Server) *answer, func(*answer)) {
		token := w.tokens("alpha", tppA).text("refresh_token")
		return func(site *httptest.Server) *answer { return w.tokenAt(site, "alpha", tppA, refreshForm(token)) }, w.areGood("alpha", tppA)
	}},
	"rotation": {"SET successor_id", tokenPair, func(w *world) (func(*httptest.Server) *answer, func(*answer)) {
		token := w.tokens("gamma", tppA).text("refresh_token")
		return func(site *httptest.Server) *answer { return w.tokenAt(site, "gamma", tppA, refreshForm(token)) }, w.areGood("gamma", tppA)
	}},
	"revocation": {"SET revoked_at", map[string]int{"revoked": 1}, func(w *world) (func(*httptest.Server) *answer, func(*answer)) {
		tokens := w.tokens("alpha", tppA)
		return func(site *httptest.Server) *answer {
				return w.inquire(site, "revoke", "alpha", tppA, form{"token": tokens.text("refresh_token")})
			}, func(*answer) {
				isActive(w.t, w.introspect("alpha", tppA, tokens.text("access_token")), false)
			}
	}},
	"visit": {"INSERT INTO authorizations", map[string]int{"authorizations": 1}, func(w *world) (func(*httptest.Server) *answer, func(*answer)) {
		return func(site *httptest.Server) *answer {
				return w.doAt(site, "GET", "/oidc/alpha/authorize?"+query(tppA).encode(), nil, "")
			}, func(a *answer) {
				location, err := a.Location()
				must(w.t, err)
				v := &visit{w, "alpha", location.Query().Get("authorization_id"), a.Cookies()[0].Name + "=" + a.Cookies()[0].Value}
				expect(w.t, v.decide(approval), 200, "")
				expect(w.t, w.token("alpha", tppA, exchange(landed(w.t, v.back()).Get("code"))), 200, "")
			}
	}},
	"begin": {"INSERT INTO authorizations", map[string]int{"authorizations": 1}, func(w *world) (func(*httptest.Server) *answer, func(*answer)) {
		code := gatehouse.NewSecret()
		data := claims{"authorize_url": "https://bank.example/beta/authorize?" + query(tppA).encode(), "auth_code": code}
		return func(site *httptest.Server) *answer { return w.connectorAt(site, "beta", "POST", "", data) }, func(a *answer) {
			id := a.JSON["data"].(map[string]any)["authorization_id"].(string)
			expect(w.t, w.connector("beta", "PUT", "/"+id, approval), 200, "")
			expect(w.t, w.token("beta", tppA, exchange(code)), 200, "")
		}
	}},
	"approval": {"SET status = 'approved'", map[string]int{"grants": 1}, func(w *world) (func(*httptest.Server) *answer, func(*answer)) {
		id, code, _ := w.bankCode(query(tppA), nil)
		return func(site *httptest.Server) *answer { return w.connectorAt(site, "beta", "PUT", "/"+id, approval) }, func(*answer) {
			expect(w.t, w.token("beta", tppA, exchange(code)), 200, "")
		}
	}},
	"denial": {"SET status = 'denied'", nil, func(w *world) (func(*httptest.Server) *answer, func(*answer)) {
		id, code, _ := w.bankCode(query(tppA), nil)
		return func(site *httptest.Server) *answer {
				return w.connectorAt(site, "beta", "PUT", "/"+id, claims{"status": "denied"})
			}, func(*answer) {
				expect(w.t, w.token("beta", tppA, exchange(code)), 400, "invalid_grant")
			}
	}},
	"return from the bank": {"SET code_hash", nil, func(w *world) (func(*httptest.Server) *answer, func(*answer)) {
		v := w.visit("alpha", query(tppA))
		expect(w.t, v.decide(approval), 200, "")
		return func(site *httptest.Server) *answer {
				return w.doAt(site, "GET", "/oidc/alpha/authorize/"+v.id, http.Header{"Cookie": {v.cookie}}, "")
			}, func(a *answer) {
				expect(w.t, w.token("alpha", tppA, exchange(landed(w.t, a).Get("code"))), 200, "")
			}
	}},
	"registration": {"INSERT INTO clients", map[string]int{"clients": 1}, func(w *world) (func(*httptest.Server) *answer, func(*answer)) {
		statement := w.statement(sandboxDirectory, "m", claims{"org_id": gatehouse.NewSecret()})
		return func(site *httptest.Server) *answer {
				return w.doAt(site, "POST", registerPath, jwtHeader, w.registrationRequest("m", statement, nil))
			}, func(a *answer) {
				r := w.registrantOf("m", a)
				expect(w.t, r.ask("alpha", clientCredentials), 200, "")
				expect(w.t, w.do("GET", r.path(), bearerHeader(r.token), ""), 200, "")
			}
	}},
	"replacement": {"UPDATE clients", nil, func(w *world) (func(*httptest.Server) *answer, func(*answer)) {
		r, statement := w.unlimited("m")
		return func(site *httptest.Server) *answer { return r.putAt(site, statement, claims{"scope": "openid"}) }, func(*answer) {
			if a := w.do("GET", r.path(), bearerHeader(r.token), ""); a.text("scope") != "openid" {
				w.t.Errorf("not replaced: %v", a)
			}
		}
	}},
	"deletion": {"SET status = 'deleted'", map[string]int{"revoked": 1}, func(w *world) (func(*httptest.Server) *answer, func(*answer)) {
		r, _ := w.unlimited("m")
		r.accessToken("alpha")
		return func(site *httptest.Server) *answer {
				return w.doAt(site, "DELETE", r.path(), bearerHeader(r.token), "")
			}, func(*answer) {
				expect(w.t, w.do("GET", r.path(), bearerHeader(r.token), ""), 401, "invalid_token")
			}
	}},
}

func prepareCredentials(w *world) (func(*httptest.Server) *answer, func(*answer)) {
	return func(site *httptest.Server) *answer { return w.tokenAt(site, "alpha", tppA, clientCredentials) }, w.areGood("alpha", tppA)
}

// areGood checks that the tokens of an answer are, at the world's own server.
func (w *world) areGood(provider, client string) func(*answer) {
	return func(a *answer) {
		w.t.Helper()
		isActive(w.t, w.introspect(provider, client, a.text("access_token")), true)
		isActive(w.t, w.introspect(provider, client, a.text("refresh_token")), true)
	}
}

// unlimited registers a client of an organisation of its own, at a server of
// its own, for each of those registers only so many.
func (w *world) unlimited(owner string) (*registrant, string) {
	w.t.Helper()
	statement := w.statement(sandboxDirectory, owner, claims{"org_id": gatehouse.NewSecret()})
	a := w.doAt(w.replica(w.store), "POST", registerPath, jwtHeader, w.registrationRequest(owner, statement, nil))
	expect(w.t, a, 201, "")
	return w.registrantOf(owner, a), statement
}

// inventory counts what writes add.
func (w *world) inventory() func() map[string]int {
	raw := w.raw()
	return func() map[string]int {
		w.t.Helper()
		all := map[string]int{"revoked": count(w.t, raw, `SELECT COUNT(*) FROM grants WHERE revoked_at IS NOT NULL`)}
		for _, table := range []string{"grants", "authorizations", "access_tokens", "refresh_tokens", "clients"} {
			all[table] = count(w.t, raw, `SELECT COUNT(*) FROM `+table)
		}
		return all
	}
}

// added is the difference of two inventories.
func added(before, after map[string]int) map[string]int {
	difference := map[string]int{}
	for name, n := range after {
		if n != before[name] {
			difference[name] = n - before[name]
		}
	}
	return difference
}

// isDone reports whether an answer says that the request was done, and fails
// the test when it says neither that nor that one should ask again.
func isDone(t testing.TB, a *answer) bool {
	t.Helper()
	if a.StatusCode < 400 {
		return true
	}
	if a.StatusCode != 503 || a.Header.Get("Retry-After") == "" {
		t.Fatalf("%v %v", a, a.Header)
	}
	return false
}

// cuts are the points at which a connection ends, and how much of the answer
// came before.
var cuts = map[string]storetest.Cut{
	"before Sync":                    {At: storetest.BeforeSync},
	"after Sync":                     {At: storetest.AfterSync},
	"after the commit":               {At: storetest.AfterCommit},
	"in the first byte of an answer": {At: storetest.InAnswer, Bytes: 1},
	"in an answer":                   {At: storetest.InAnswer, Bytes: 40},
	"behind an answer":               {At: storetest.InAnswer, Bytes: 1 << 20},
}

// The connection to the database ends around the commit of each kind of write.
// The server finds out what became of it and answers so; where it cannot it
// says that it does not know, and has done all or nothing. It never takes its
// own second attempt for somebody else's.
//
// Proves: S7
func TestConnectionIsCutAroundCommit(t *testing.T) {
	w := newWorld(t, storetest.URL(t, "postgres"))
	w.changeProvider("gamma", rotate(true))
	proxy, err := storetest.StartProxy(w.url)
	must(t, err)
	t.Cleanup(func() { proxy.Close() })
	cuttable, err := store.Open(t.Context(), proxy.URL())
	must(t, err)
	t.Cleanup(func() { cuttable.Close() })
	site := w.replica(cuttable)
	inventory := w.inventory()

	// cut makes the call, and the cut in it; gone says that the database does
	// not come back while the call lasts.
	cut := func(kind write, at storetest.Cut, gone bool, call func(*httptest.Server) *answer) *answer {
		t.Helper()
		at.Fits = func(sql []string) bool {
			return slices.ContainsFunc(sql, func(text string) bool { return strings.Contains(text, kind.sql) })
		}
		proxy.Arm(&at)
		refused := make(chan struct{})
		go func() {
			defer close(refused)
			<-at.Done()
			if gone {
				proxy.Refuse()
			}
		}()
		a := call(site)
		select {
		case <-at.Done():
		case <-time.After(5 * time.Second): // behind an answer, the cut may come a moment later
			t.Fatalf("no transaction has %q: %v", kind.sql, a)
		}
		<-refused
		proxy.Accept()
		return a
	}
	unknown := 0
	for _, name := range slices.Sorted(maps.Keys(writes)) {
		kind := writes[name]
		for _, point := range slices.Sorted(maps.Keys(cuts)) {
			call, holds := kind.prepare(w)
			if name == "registration" {
				site = w.replica(cuttable)
			}
			before := inventory()
			a := cut(kind, cuts[point], false, call)
			if !isDone(t, a) {
				t.Errorf("%s, cut %s: %v", name, point, a)
				continue
			}
			if diff := cmp.Diff(kind.adds, added(before, inventory())); diff != "" && len(kind.adds)+len(added(before, inventory())) > 0 {
				t.Errorf("%s, cut %s: added: %s", name, point, diff)
			}
			holds(a)
		}
		for _, point := range []string{"before Sync", "after the commit", "in an answer"} {
			call, holds := kind.prepare(w)
			before := inventory()
			a := cut(kind, cuts[point], true, call)
			difference := added(before, inventory())
			if len(difference) > 0 && !maps.Equal(difference, kind.adds) {
				t.Errorf("%s, cut %s for good: half done: %v", name, point, difference)
			}
			switch {
			case isDone(t, a): // by an attempt that came before the end
				holds(a)
				continue
			case point == "before Sync":
				if len(difference) > 0 {
					t.Errorf("%s: done without Sync: %v", name, difference)
				}
				a := call(w.site)
				if !isDone(t, a) {
					t.Errorf("%s, tried again: %v", name, a)
				}
				holds(a)
			}
			unknown++
		}
	}
	if unknown == 0 {
		t.Error("nothing was ever unknown")
	}
	t.Logf("%d of %d outcomes unknown", unknown, 3*len(writes))
}
