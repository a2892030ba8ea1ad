package oidc_test

import (
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"gatehouse"
)

// jump sets the clock of the whole world, and purges then.
func (w *world) jump(by time.Duration) {
	w.t.Helper()
	w.clock.advance(by)
	_, err := w.store.Purge(w.t.Context(), w.clock.Now())
	must(w.t, err)
}

// The clock goes wrong by two hours, and then right again, while rows are
// purged. What was spent, rotated or revoked stays so, tokens end when they
// did, and everybody is served at any time.
//
// Proves: S17
func TestClockJumps(t *testing.T) {
	forEachRotatingWorld(t, func(t *testing.T, w *world, sites []*httptest.Server) {
		// spend uses up one of everything that is good once. again shows them
		// once more, dead looks at what came of them: none may ever be good.
		spend := func() (again func(site *httptest.Server), dead func(site *httptest.Server)) {
			code := w.code("alpha", tppA, nil)
			expect(t, w.token("alpha", tppA, exchange(code)), 200, "")
			bankCode := w.code("beta", tppA, nil)
			expect(t, w.token("beta", tppA, exchange(bankCode)), 200, "")
			assertion := w.asserted("alpha", tppA, clientCredentials)
			expect(t, w.do("POST", "/api/oidc/alpha/tokens", formHeader, assertion.encode()), 200, "")
			statement := w.statement(sandboxDirectory, "m", claims{"exp": w.clock.Now().Add(24 * time.Hour).Unix()})
			request := w.registrationRequest("m", statement, nil)
			expect(t, w.do("POST", registerPath, jwtHeader, request), 201, "")
			given := w.family(sites, "alpha", tppA)
			expect(t, w.revoke("alpha", tppA, given.newest()), 200, "")
			v := w.visit("alpha", query(tppA))
			expect(t, v.decide(claims{"status": "denied"}), 200, "")
			stolen := w.family(sites, "gamma", tppA)
			stolen.rotated(1, stolen.rotated(0, stolen.newest()))
			again = func(site *httptest.Server) {
				t.Helper()
				for name, a := range map[string]*answer{
					"code":         w.tokenAt(site, "alpha", tppA, exchange(code)),
					"bank's code":  w.tokenAt(site, "beta", tppA, exchange(bankCode)),
					"assertion":    w.doAt(site, "POST", "/api/oidc/alpha/tokens", formHeader, assertion.encode()),
					"registration": w.doAt(site, "POST", registerPath, jwtHeader, request),
					"verdict":      w.connectorAt(site, "alpha", "PUT", "/"+v.id, approval),
				} {
					if a.StatusCode != 400 && a.StatusCode != 404 {
						t.Errorf("%s: %v", name, a)
					}
				}
			}
			dead = func(site *httptest.Server) {
				t.Helper()
				given.expectDead()
				expect(t, w.tokenAt(site, "gamma", tppA, refreshForm(stolen.refresh[0])), 400, "invalid_grant")
				stolen.expectDead()
			}
			return again, dead
		}
		// served is what must work at any time.
		served := func(site *httptest.Server) {
			t.Helper()
			expect(t, w.tokenAt(site, "gamma", tppA, clientCredentials), 200, "")
			code := w.code("alpha", tppA, nil)
			expect(t, w.tokenAt(site, "alpha", tppA, exchange(code)), 200, "")
			f := w.family(sites, "beta", tppA)
			f.rotated(0, f.newest())
			f.expectAlive()
		}
		lasting := w.family(sites, "alpha", tppA) // lives through it all
		ends := func() (all []any) {
			for _, token := range []string{lasting.access[0], lasting.newest()} {
				all = append(all, w.introspect("alpha", tppA, token).JSON["exp"])
			}
			return all
		}
		before := ends()
		early := w.family(sites, "alpha", tppA) // rotated now, shown again in two hours
		early.rotated(0, early.newest())
		again, dead := spend()
		refusals := []func(*httptest.Server){again, dead}
		refusedNow := func() {
			t.Helper()
			for _, refused := range refusals {
				for _, site := range sites {
					refused(site)
				}
			}
		}

		w.jump(2 * time.Hour)
		refusedNow()
		served(sites[1])
		isActive(t, w.introspect("alpha", tppA, lasting.access[0]), false)
		expect(t, early.present(1, early.refresh[0]), 400, "invalid_grant")
		again, dead = spend()
		refusals = append(refusals, again, dead)
		late := w.family(sites, "alpha", tppA) // rotated by the wrong clock
		late.rotated(1, late.newest())
		must(t, w.store.DeleteClient(t.Context(), ccOnly, w.clock.Now()))

		w.jump(-2 * time.Hour)
		refusedNow()
		early.expectDead()
		expect(t, late.present(0, late.refresh[0]), 400, "invalid_grant")
		late.expectDead()
		if after := ends(); !slices.Equal(before, after) {
			t.Errorf("tokens ended at %v, now at %v", before, after)
		}
		served(sites[0])
		w.clock.advance(10 * time.Minute)
		isActive(t, w.introspect("alpha", tppA, lasting.access[0]), false)
		expect(t, w.tokenAt(sites[1], "alpha", ccOnly, clientCredentials), 404, "invalid_client")
		served(sites[1])

		w.jump(2 * time.Hour) // and once more: what it then was good for is spent
		refusedNow()
		lasting.rotated(0, lasting.newest())

		// After an error of more than a day the purge has forgotten what was
		// spent: then nothing is believed that may have been, for a while.
		again, dead = spend()
		w.jump(26 * time.Hour)
		w.jump(-26 * time.Hour)
		for _, site := range sites {
			again(site)
		}
		w.clock.advance(15 * time.Minute)
		for _, site := range sites {
			again(site)
			dead(site)
			served(site)
		}
	})
}

// What a replica learned while the clock was wrong is not believed for two
// hours.
func TestCacheAfterAClockJump(t *testing.T) {
	forEachWorld(t, func(t *testing.T, w *world) {
		other := w.replica(w.reopened())
		w.clock.advance(2 * time.Hour)
		expect(t, w.tokenAt(other, "alpha", tppA, clientCredentials), 200, "")
		expect(t, w.tokenAt(other, "alpha", ccOnly, clientCredentials), 200, "")
		w.clock.advance(-2 * time.Hour)
		must(t, w.store.DeleteClient(t.Context(), ccOnly, w.clock.Now()))
		p, err := w.store.Provider(t.Context(), "alpha")
		must(t, err)
		w.clock.advance(5 * time.Second)
		expect(t, w.tokenAt(other, "alpha", ccOnly, clientCredentials), 404, "invalid_client")
		p.Status = gatehouse.Disabled
		must(t, w.store.UpdateProvider(t.Context(), p))
		w.clock.advance(5 * time.Second)
		expect(t, w.tokenAt(other, "alpha", tppA, clientCredentials), 403, "access_denied")
	})
}

// skewed is a replica whose clock goes wrong.
func (w *world) skewed(by time.Duration) *httptest.Server {
	w.t.Helper()
	server := w.server(w.reopened())
	server.Now = func() time.Time { return w.clock.Now().Add(by) }
	return w.start(server)
}

// Two replicas do not agree on the time, by 20 seconds. Where the provider
// allows for it, everything works at both, and nothing works twice.
func TestReplicasDisagreeOnTheTime(t *testing.T) {
	forEachWorld(t, func(t *testing.T, w *world) {
		for _, provider := range everyProvider {
			w.changeProvider(provider, func(p *gatehouse.Provider) {
				p.Rules.RotateRefreshTokens, p.Rules.ClockSkew = true, gatehouse.Duration(30*time.Second)
			})
		}
		right := w.site
		for _, skew := range []time.Duration{20 * time.Second, -20 * time.Second} {
			wrong := w.skewed(skew)
			for _, sites := range [][]*httptest.Server{{right, wrong}, {wrong, right}} {
				here, there := sites[0], sites[1]
				// A code of here is good there, once.
				w.site = here
				code := w.code("alpha", tppA, nil)
				w.site = right
				won := w.tokenAt(there, "alpha", tppA, exchange(code))
				expect(t, won, 200, "")
				expect(t, w.tokenAt(here, "alpha", tppA, exchange(code)), 400, "invalid_grant")
				for _, site := range sites {
					isActive(t, w.inquire(site, "introspect", "alpha", tppA, form{"token": won.text("access_token")}), false)
				}
				// An assertion is good here and then nowhere, also where its
				// time is not over yet.
				body := w.asserted("alpha", tppA, clientCredentials).encode()
				expect(t, w.doAt(here, "POST", "/api/oidc/alpha/tokens", formHeader, body), 200, "")
				for _, later := range []time.Duration{0, 4*time.Minute + 59*time.Second, 11 * time.Second} {
					w.clock.advance(later)
					for _, site := range sites {
						expect(t, w.doAt(site, "POST", "/api/oidc/alpha/tokens", formHeader, body), 400, "invalid_client")
					}
				}
				// A rotation here is repeated there, and a theft is one.
				f := w.family(sites, "gamma", basic)
				f.rotated(0, f.newest())
				f.rotated(1, f.refresh[0])
				if len(f.refresh) != 2 {
					t.Fatalf("%d refresh tokens", len(f.refresh))
				}
				f.rotated(1, f.newest())
				f.expectAlive()
				expect(t, f.present(0, f.refresh[0]), 400, "invalid_grant")
				f.expectDead()
				// What is given back here is nothing there.
				given := w.family(sites, "beta", basic)
				expect(t, w.inquire(here, "revoke", "beta", basic, form{"token": given.access[0]}), 200, "")
				given.expectDead()
			}
		}
		// By default the skew is 10 seconds, and what comes from further ahead
		// is refused, not spent.
		w.changeProvider("alpha", func(p *gatehouse.Provider) { p.Rules.ClockSkew = 0 })
		body := w.asserted("alpha", tppA, clientCredentials).encode()
		a := w.doAt(w.skewed(-20*time.Second), "POST", "/api/oidc/alpha/tokens", formHeader, body)
		expect(t, a, 400, "invalid_client")
		if !strings.Contains(a.Body, "in the future") {
			t.Errorf("%v", a)
		}
		expect(t, w.doAt(right, "POST", "/api/oidc/alpha/tokens", formHeader, body), 200, "")
	})
}
