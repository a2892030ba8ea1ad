package oidc_test

// Rotation of refresh tokens: RFC 9700 §4.14.2.

import (
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"gatehouse"
	"gatehouse/store/storetest"
)

// grace is how long a rotated refresh token is good for its successor.
const grace = 60 * time.Second

// forEachRotatingWorld runs a test where every bank rotates refresh tokens,
// with two replicas.
func forEachRotatingWorld(t *testing.T, test func(t *testing.T, w *world, sites []*httptest.Server)) {
	forEachWorld(t, func(t *testing.T, w *world) {
		for _, provider := range everyProvider {
			w.changeProvider(provider, rotate(true))
		}
		test(t, w, w.pair())
	})
}

func rotate(on bool) func(*gatehouse.Provider) {
	return func(p *gatehouse.Provider) { p.Rules.RotateRefreshTokens = on }
}

// A family is what a client has got on the strength of one grant.
type family struct {
	w                *world
	sites            []*httptest.Server
	provider, client string
	access           []string
	refresh          []string // the newest last
}

func (w *world) family(sites []*httptest.Server, provider, client string) *family {
	w.t.Helper()
	f := &family{w: w, sites: sites, provider: provider, client: client}
	f.add(w.tokens(provider, client))
	return f
}

func (f *family) add(a *answer) {
	f.access = append(f.access, a.text("access_token"))
	if token := a.text("refresh_token"); !slices.Contains(f.refresh, token) {
		f.refresh = append(f.refresh, token)
	}
}

func (f *family) newest() string { return f.refresh[len(f.refresh)-1] }

func refreshForm(token string) form {
	return form{"grant_type": "refresh_token", "refresh_token": token}
}

// present shows a refresh token to a replica.
func (f *family) present(replica int, token string) *answer {
	f.w.t.Helper()
	return f.w.tokenAt(f.sites[replica%len(f.sites)], f.provider, f.client, refreshForm(token))
}

// rotated uses a refresh token and returns the one that takes its place.
func (f *family) rotated(replica int, token string) string {
	f.w.t.Helper()
	a := f.present(replica, token)
	expect(f.w.t, a, 200, "")
	if a.text("refresh_token") == token {
		f.w.t.Fatal("the refresh token was not rotated")
	}
	f.add(a)
	return a.text("refresh_token")
}

// expectAlive fails the test unless, at every replica, every access token and
// the newest refresh token are good, and the others are not.
func (f *family) expectAlive() {
	f.w.t.Helper()
	f.expect(true)
}

// expectDead fails the test unless nothing of the family is good anywhere.
func (f *family) expectDead() {
	f.w.t.Helper()
	f.expect(false)
	for i := range f.sites {
		expect(f.w.t, f.present(i, f.newest()), 400, "invalid_grant")
	}
}

func (f *family) expect(alive bool) {
	f.w.t.Helper()
	for _, site := range f.sites {
		ask := func(token string) *answer {
			return f.w.inquire(site, "introspect", f.provider, f.client, form{"token": token})
		}
		for _, token := range f.access {
			isActive(f.w.t, ask(token), alive)
		}
		for _, token := range f.refresh {
			isActive(f.w.t, ask(token), alive && token == f.newest())
		}
	}
}

// lossyWay is a proxy in front of a site that gives one answer to nobody
// whenever lose was set.
func lossyWay(t testing.TB, site *httptest.Server) (way *httptest.Server, lose *atomic.Bool) {
	lose = new(atomic.Bool)
	way = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		onward, err := http.NewRequestWithContext(r.Context(), r.Method, site.URL+r.URL.RequestURI(), r.Body)
		if err != nil {
			panic(err)
		}
		onward.Header = r.Header
		response, err := http.DefaultTransport.RoundTrip(onward)
		if err != nil {
			panic(err)
		}
		defer response.Body.Close()
		body, err := io.ReadAll(response.Body)
		if err != nil {
			panic(err)
		}
		if lose.Swap(false) {
			panic(http.ErrAbortHandler) // which closes the connection
		}
		maps.Copy(w.Header(), response.Header)
		w.WriteHeader(response.StatusCode)
		w.Write(body)
	}))
	t.Cleanup(way.Close)
	return way, lose
}

// loseAnswer uses a refresh token, by a way on which the answer is lost.
func (f *family) loseAnswer(way *httptest.Server, lose *atomic.Bool, token string) {
	f.w.t.Helper()
	header, body := f.w.authenticated(f.provider, f.client, refreshForm(token))
	r, err := http.NewRequest("POST", way.URL+"/api/oidc/"+f.provider+"/tokens", strings.NewReader(body.encode()))
	must(f.w.t, err)
	r.Header = header
	lose.Store(true)
	if response, err := http.DefaultTransport.RoundTrip(r); err == nil {
		response.Body.Close()
		f.w.t.Fatalf("the answer was not lost: %s", response.Status)
	}
	if lose.Load() {
		f.w.t.Fatal("the request never came")
	}
	// It was answered, and what was answered is so.
	for _, site := range f.sites {
		isActive(f.w.t, f.w.inquire(site, "introspect", f.provider, f.client, form{"token": token}), false)
	}
}

// A client that never got the answer asks again and has lost nothing.
//
// Proves: T16
func TestRefreshWhoseAnswerWasLost(t *testing.T) {
	forEachRotatingWorld(t, func(t *testing.T, w *world, sites []*httptest.Server) {
		way, lose := lossyWay(t, sites[0])
		for provider, client := range map[string]string{"alpha": tppA, "beta": basic, "gamma": tppB} {
			f := w.family(sites, provider, client)
			first := f.newest()
			f.loseAnswer(way, lose, first)
			for i, later := range []time.Duration{0, grace / 2, grace / 2} { // until the last moment
				w.clock.advance(later)
				f.rotated(i, first)
			}
			if len(f.refresh) != 2 || len(f.access) != 4 {
				t.Fatalf("%d refresh tokens, %d access tokens", len(f.refresh), len(f.access))
			}
			f.expectAlive()
			// The answer to the successor is lost as well, after which the
			// successor is the one that may be shown again.
			second := f.newest()
			f.loseAnswer(way, lose, second)
			f.rotated(1, second)
			f.expectAlive()
			f.rotated(0, f.newest())
			f.expectAlive()
		}
	})
}

// A refresh token that was rotated, and is not that of a repetition, is in two
// hands: nothing of its family is good any more, and everything else is.
//
// Proves: T17
func TestStolenRefreshToken(t *testing.T) {
	thefts := map[string]func(w *world, f *family) (stolen string){
		"after the grace": func(w *world, f *family) string {
			f.rotated(0, f.newest())
			w.clock.advance(grace + time.Millisecond)
			return f.refresh[0]
		},
		"after the grace, which a repetition does not prolong": func(w *world, f *family) string {
			f.rotated(0, f.refresh[0])
			w.clock.advance(grace)
			f.rotated(1, f.refresh[0])
			w.clock.advance(time.Millisecond)
			return f.refresh[0]
		},
		"after its successor was used": func(w *world, f *family) string {
			f.rotated(1, f.rotated(0, f.newest()))
			return f.refresh[0]
		},
		"after the successor of a repetition was used": func(w *world, f *family) string {
			f.rotated(0, f.refresh[0])
			f.rotated(1, f.rotated(1, f.refresh[0]))
			return f.refresh[0]
		},
		"generations later": func(w *world, f *family) string {
			for i := range 4 {
				f.rotated(i, f.newest())
			}
			return f.refresh[1]
		},
	}
	forEachRotatingWorld(t, func(t *testing.T, w *world, sites []*httptest.Server) {
		unknown := w.family(sites, "gamma", tppA).newest()
		for i, name := range slices.Sorted(maps.Keys(thefts)) {
			provider := everyProvider[i%len(everyProvider)]
			client := map[string]string{"alpha": tppA, "beta": tppB, "gamma": basic}[provider]
			other := map[string]string{"alpha": basic, "beta": tppA, "gamma": tppA}[provider]
			f, sameClient, otherClient := w.family(sites, provider, client), w.family(sites, provider, client), w.family(sites, provider, other)
			sameClient.rotated(0, sameClient.newest())
			stolen := thefts[name](w, f)
			f.expectAlive()
			a := f.present(i, stolen)
			expect(t, a, 400, "invalid_grant")
			if never := f.present(i, unknown); a.Body != never.Body {
				t.Errorf("%s: %v is told from %v", name, a, never)
			}
			f.expectDead()
			for _, neighbour := range []*family{sameClient, otherClient} {
				neighbour.expectAlive()
				neighbour.rotated(i+1, neighbour.newest())
			}
		}
	})
}

// Any number of repetitions at any replica get one successor.
func TestRotationAtOnce(t *testing.T) {
	const callers = 64
	forEachRotatingWorld(t, func(t *testing.T, w *world, sites []*httptest.Server) {
		for range storetest.Rounds(t, 1) {
			f := w.family(sites, "alpha", tppA)
			requests := make([]string, callers) // signed before the barrier
			for i := range requests {
				requests[i] = w.asserted("alpha", tppA, refreshForm(f.refresh[0])).encode()
			}
			for _, a := range w.atOnce(callers, func(i int) *answer {
				a := w.doAt(sites[i%2], "POST", "/api/oidc/alpha/tokens", formHeader, requests[i])
				for tries := 0; tries < 10 && !isDone(t, a); tries++ { // a machine with other work is asked again
					a = f.present(i, f.refresh[0])
				}
				return a
			}) {
				expect(t, a, 200, "")
				f.add(a)
			}
			distinct := slices.Compact(slices.Sorted(slices.Values(f.access)))
			if len(f.refresh) != 2 || len(distinct) != callers+1 {
				t.Fatalf("%d refresh tokens and %d access tokens", len(f.refresh), len(distinct))
			}
			f.access = f.access[:3] // the others are like them
			f.expectAlive()
			f.rotated(0, f.newest())
		}
	})
}

// Who may show a refresh token, and for what, is as without rotation; a
// request that is refused rotates nothing, and ends nothing.
func TestRotatedTokenIsBound(t *testing.T) {
	forEachRotatingWorld(t, func(t *testing.T, w *world, sites []*httptest.Server) {
		f := w.family(sites, "alpha", tppA)
		for _, state := range []string{"fresh", "rotated", "rotated long ago"} {
			token := f.refresh[0]
			switch state {
			case "rotated":
				f.rotated(0, token)
			case "rotated long ago":
				w.clock.advance(2 * grace)
			}
			expect(t, w.token("alpha", basic, refreshForm(token)), 400, "invalid_grant")
			expect(t, w.token("alpha", tppB, refreshForm(token)), 400, "invalid_grant")
			expect(t, w.token("gamma", tppA, refreshForm(token)), 400, "invalid_grant")
			expect(t, w.token("beta", tppA, refreshForm(token)), 400, "invalid_grant")
			expect(t, w.token("alpha", tppA, refreshForm(token[:27]+gatehouse.NewSecret())), 400, "invalid_grant")
			expect(t, w.token("alpha", tppA, refreshForm(token).with(form{"scope": "openid accounts payments"})), 400, "invalid_scope")
			f.expectAlive()
		}
		narrow := w.token("alpha", tppA, refreshForm(f.newest()).with(form{"scope": "accounts"}))
		expect(t, narrow, 200, "")
		if narrow.text("scope") != "accounts" {
			t.Errorf("narrow: %v", narrow)
		}
		f.add(narrow)
		f.expectAlive()
		// The successor has the scope of the grant (RFC 6749 §6).
		full := f.present(1, f.newest())
		if full.StatusCode != 200 || !sameScope(full.text("scope"), "openid accounts") {
			t.Errorf("full again: %v", full)
		}
	})
}

// Whatever the rule is now, a token that was rotated gets its own successor,
// and one that was not is rotated from now on.
func TestRotationIsSwitched(t *testing.T) {
	forEachRotatingWorld(t, func(t *testing.T, w *world, sites []*httptest.Server) {
		repeated, stolen := w.family(sites, "alpha", tppA), w.family(sites, "alpha", tppA)
		repeated.rotated(0, repeated.newest())
		stolen.rotated(0, stolen.newest())
		w.changeProvider("alpha", rotate(false))
		repeated.rotated(1, repeated.refresh[0])
		for i := range 2 {
			a := repeated.present(i, repeated.newest())
			expect(t, a, 200, "")
			repeated.add(a)
		}
		if len(repeated.refresh) != 2 {
			t.Errorf("%d refresh tokens", len(repeated.refresh))
		}
		repeated.expectAlive()
		w.clock.advance(grace)
		expect(t, stolen.present(1, stolen.refresh[0]), 400, "invalid_grant")
		stolen.expectDead()
		repeated.expectAlive()

		w.changeProvider("alpha", rotate(true))
		repeated.rotated(0, repeated.newest())
		repeated.expectAlive()
	})
}

// However often a token is rotated, what comes of it ends with the grant.
func TestSuccessorEndsWithTheGrant(t *testing.T) {
	forEachRotatingWorld(t, func(t *testing.T, w *world, sites []*httptest.Server) {
		w.changeProvider("alpha", func(p *gatehouse.Provider) { p.Rules.GrantLifetime = gatehouse.Duration(time.Hour) })
		f := w.family(sites, "alpha", tppA)
		end := float64(w.clock.Now().Add(time.Hour).Unix())
		for i := range 6 {
			w.clock.advance(599 * time.Second)
			f.rotated(i, f.newest())
			a := w.introspect("alpha", tppA, f.newest())
			isActive(t, a, true)
			if a.JSON["exp"] != end {
				t.Errorf("rotation %d: exp = %v, want %v", i, a.JSON["exp"], end)
			}
			if a := w.introspect("alpha", tppA, f.access[len(f.access)-1]); a.JSON["exp"].(float64) > end {
				t.Errorf("rotation %d: the access token outlives the grant by its exp %v", i, a.JSON["exp"])
			}
		}
		w.clock.advance(6 * time.Second) // the hour is over
		f.expectDead()
		expect(t, f.present(0, f.refresh[len(f.refresh)-2]), 400, "invalid_grant")

		given := w.family(sites, "alpha", tppA)
		given.rotated(0, given.newest())
		expect(t, w.revoke("alpha", tppA, given.newest()), 200, "")
		given.expectDead()
		expect(t, given.present(1, given.refresh[0]), 400, "invalid_grant")
	})
}
