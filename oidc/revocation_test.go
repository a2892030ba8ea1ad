package oidc_test

import (
	"context"
	"database/sql"
	"errors"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib"
	_ "modernc.org/sqlite"

	"gatehouse"
	"gatehouse/store"
	"gatehouse/store/storetest"
)

// revoke gives a token back.
func (w *world) revoke(provider, client, token string) *answer {
	w.t.Helper()
	return w.inquire(w.site, "revoke", provider, client, form{"token": token})
}

// Whichever token of a grant is given back, every token of the grant is dead,
// and no other.
//
// Proves: T37
func TestRevocation(t *testing.T) {
	t.Parallel()
	forEachWorld(t, func(t *testing.T, w *world) {
		for _, provider := range everyProvider {
			for _, client := range []string{tppA, basic} {
				for _, given := range []string{"first access token", "refresh token", "second access token"} {
					first := w.tokens(provider, client)
					refresh := form{"grant_type": "refresh_token", "refresh_token": first.text("refresh_token")}
					second := w.token(provider, client, refresh)
					expect(t, second, 200, "")
					neighbour := w.tokens(provider, client)
					grant := map[string]string{
						"first access token": first.text("access_token"), "refresh token": first.text("refresh_token"), "second access token": second.text("access_token"),
					}
					for range 2 { // the second time is as good as the first
						a := w.revoke(provider, client, grant[given])
						if a.StatusCode != 200 || a.Body != "" || a.Header.Get("Cache-Control") != "no-store" {
							t.Errorf("%s: %v %v", given, a, a.Header)
						}
					}
					for name, token := range grant {
						if got := w.introspect(provider, client, token); got.Body != `{"active":false}` {
							t.Errorf("%s: %s is given back, %s is %v", provider, given, name, got)
						}
					}
					expect(t, w.token(provider, client, refresh), 400, "invalid_grant")
					isActive(t, w.introspect(provider, client, neighbour.text("access_token")), true)
					isActive(t, w.introspect(provider, client, neighbour.text("refresh_token")), true)
				}
			}
		}
		// The grant of a client itself, too.
		a := w.token("alpha", ccOnly, clientCredentials)
		expect(t, w.revoke("alpha", ccOnly, a.text("access_token")), 200, "")
		isActive(t, w.introspect("alpha", ccOnly, a.text("access_token")), false)
		isActive(t, w.introspect("alpha", ccOnly, a.text("refresh_token")), false)
	})
}

// A client that gives back an access token after its time has the same wish.
func TestRevocationByAnExpiredToken(t *testing.T) {
	t.Parallel()
	forEachWorld(t, func(t *testing.T, w *world) {
		a := w.tokens("alpha", tppA)
		w.clock.advance(10 * time.Minute)
		isActive(t, w.introspect("alpha", tppA, a.text("refresh_token")), true)
		expect(t, w.revoke("alpha", tppA, a.text("access_token")), 200, "")
		isActive(t, w.introspect("alpha", tppA, a.text("refresh_token")), false)
	})
}

// A rotated refresh token is inactive, but may be all that a client knows when
// the answer with its successor was lost: it still ends the grant.
func TestRevocationByARotatedToken(t *testing.T) {
	t.Parallel()
	forEachWorld(t, func(t *testing.T, w *world) {
		w.changeProvider("alpha", func(p *gatehouse.Provider) { p.Rules.RotateRefreshTokens = true })
		first := w.tokens("alpha", tppA)
		isActive(t, w.introspect("alpha", tppA, first.text("refresh_token")), true)
		second := w.token("alpha", tppA, form{"grant_type": "refresh_token", "refresh_token": first.text("refresh_token")})
		expect(t, second, 200, "")
		isActive(t, w.introspect("alpha", tppA, first.text("refresh_token")), false)
		isActive(t, w.introspect("alpha", tppA, first.text("access_token")), true)
		isActive(t, w.introspect("alpha", tppA, second.text("refresh_token")), true)
		expect(t, w.revoke("alpha", tppA, first.text("refresh_token")), 200, "")
		for _, a := range []*answer{first, second} {
			isActive(t, w.introspect("alpha", tppA, a.text("access_token")), false)
			isActive(t, w.introspect("alpha", tppA, a.text("refresh_token")), false)
		}
	})
}

// What was given back to one replica is dead at the other with the answer.
func TestRevocationIsSeenByEveryReplica(t *testing.T) {
	forEachWorld(t, func(t *testing.T, w *world) {
		other, err := store.Open(t.Context(), w.url)
		must(t, err)
		defer other.Close()
		sites := []*httptest.Server{w.site, w.replica(other)}
		for i := range storetest.Rounds(t, 10) {
			here, there := sites[i%2], sites[(i+1)%2]
			a := w.tokens("alpha", tppA)
			for _, kind := range []string{"access_token", "refresh_token"} {
				isActive(t, w.inquire(there, "introspect", "alpha", tppA, form{"token": a.text(kind)}), true)
			}
			expect(t, w.inquire(here, "revoke", "alpha", tppA, form{"token": a.text("access_token")}), 200, "")
			for _, kind := range []string{"access_token", "refresh_token"} {
				isActive(t, w.inquire(there, "introspect", "alpha", tppA, form{"token": a.text(kind)}), false)
			}
			expect(t, w.tokenAt(there, "alpha", tppA, form{"grant_type": "refresh_token", "refresh_token": a.text("refresh_token")}), 400, "invalid_grant")
		}
	})
}

// No token that was issued while its grant was given back outlives that.
func TestRevocationAmongRefreshes(t *testing.T) {
	forEachWorld(t, func(t *testing.T, w *world) {
		other, err := store.Open(t.Context(), w.url)
		must(t, err)
		defer other.Close()
		sites := []*httptest.Server{w.site, w.replica(other)}
		for range storetest.Rounds(t, 5) {
			token := w.tokens("alpha", tppA).text("refresh_token")
			answers := w.atOnce(16, func(i int) *answer {
				if i == 7 {
					return w.inquire(sites[i%2], "revoke", "alpha", tppA, form{"token": token})
				}
				return w.tokenAt(sites[i%2], "alpha", tppA, form{"grant_type": "refresh_token", "refresh_token": token})
			})
			expect(t, answers[7], 200, "")
			for _, a := range answers {
				if a.StatusCode != 200 {
					expect(t, a, 400, "invalid_grant")
				} else if issued := a.text("access_token"); issued != "" {
					isActive(t, w.introspect("alpha", tppA, issued), false)
				}
			}
		}
	})
}

var errDisk = errors.New("disk full: password=hunter2 is not a thing we say to clients")

// A forgetfulStore answers one of the questions about tokens with err.
type forgetfulStore struct {
	gatehouse.Store
	fails string
	err   error
}

func (f forgetfulStore) AccessToken(ctx context.Context, provider, id string) (*gatehouse.AccessToken, *gatehouse.Grant, error) {
	if f.fails == "AccessToken" {
		return nil, nil, f.err
	}
	return f.Store.AccessToken(ctx, provider, id)
}

func (f forgetfulStore) RefreshToken(ctx context.Context, provider, id string) (*gatehouse.RefreshToken, *gatehouse.Grant, error) {
	if f.fails == "RefreshToken" {
		return nil, nil, f.err
	}
	return f.Store.RefreshToken(ctx, provider, id)
}

func (f forgetfulStore) RevokeGrant(ctx context.Context, provider, id string, now time.Time) error {
	if f.fails == "RevokeGrant" {
		return f.err
	}
	return f.Store.RevokeGrant(ctx, provider, id, now)
}

// What cannot be read is not called inactive, and what cannot be written is
// not called revoked.
//
// Proves: T37
func TestInquiriesWithoutStorage(t *testing.T) {
	forEachWorld(t, func(t *testing.T, w *world) {
		for _, provider := range everyProvider {
			a := w.tokens(provider, tppA)
			for _, row := range []struct{ fails, endpoint, kind string }{
				{"AccessToken", "introspect", "access_token"}, {"AccessToken", "introspect", "refresh_token"},
				{"RefreshToken", "introspect", "refresh_token"},
				{"AccessToken", "revoke", "access_token"}, {"AccessToken", "revoke", "refresh_token"},
				{"RefreshToken", "revoke", "refresh_token"},
				{"RevokeGrant", "revoke", "access_token"}, {"RevokeGrant", "revoke", "refresh_token"},
			} {
				site := w.replica(forgetfulStore{w.store, row.fails, errDisk})
				got := w.inquire(site, row.endpoint, provider, tppA, form{"token": a.text(row.kind)})
				expect(t, got, 503, "temporarily_unavailable")
				if got.Header.Get("Retry-After") == "" || strings.Contains(got.Body, "hunter2") || got.JSON["active"] != nil {
					t.Errorf("%v: %v %v", row, got, got.Header)
				}
				isActive(t, w.introspect(provider, tppA, a.text(row.kind)), true)
			}
			// What cannot be a token needs no store.
			for fails, endpoint := range map[string]string{"AccessToken": "introspect", "RefreshToken": "revoke"} {
				expect(t, w.inquire(w.replica(forgetfulStore{w.store, fails, errDisk}), endpoint, provider, tppA, form{"token": "x"}), 200, "")
			}
			// A grant that was purged a moment ago is as good as revoked.
			purged := w.replica(forgetfulStore{w.store, "RevokeGrant", gatehouse.ErrNotFound})
			expect(t, w.inquire(purged, "revoke", provider, tppA, form{"token": a.text("access_token")}), 200, "")
		}

		// The database itself refuses to write that a grant is over.
		w.exec(map[string]string{
			"sqlite": `CREATE TRIGGER disk_full BEFORE UPDATE OF revoked_at ON grants BEGIN SELECT RAISE(ABORT, 'disk full'); END`,
			"pgx": `CREATE FUNCTION disk_full() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'disk full'; END $$;
				CREATE TRIGGER disk_full BEFORE UPDATE OF revoked_at ON grants FOR EACH ROW EXECUTE FUNCTION disk_full()`,
		})
		a := w.tokens("alpha", tppA)
		got := w.revoke("alpha", tppA, a.text("refresh_token"))
		expect(t, got, 503, "temporarily_unavailable")
		if got.Header.Get("Retry-After") == "" {
			t.Errorf("no Retry-After: %v", got.Header)
		}
		isActive(t, w.introspect("alpha", tppA, a.text("refresh_token")), true)
		w.exec(map[string]string{"sqlite": `DROP TRIGGER disk_full`, "pgx": `DROP TRIGGER disk_full ON grants`})
		expect(t, w.revoke("alpha", tppA, a.text("refresh_token")), 200, "") // the client tries again
		isActive(t, w.introspect("alpha", tppA, a.text("access_token")), false)

		must(t, w.store.Close())
		for _, endpoint := range inquiries {
			for _, client := range []string{tppA, basic} {
				got := w.inquire(w.site, endpoint, "alpha", client, form{"token": a.text("access_token")})
				expect(t, got, 503, "temporarily_unavailable")
				if got.Header.Get("Retry-After") == "" {
					t.Errorf("%s without a database: %v", endpoint, got.Header)
				}
			}
		}
	})
}

// exec runs the statement for its kind of database beside the store.
func (w *world) exec(statements map[string]string) {
	w.t.Helper()
	driver, source := "pgx", w.url
	if path, ok := strings.CutPrefix(w.url, "sqlite:"); ok {
		driver, source = "sqlite", (&url.URL{Scheme: "file", Path: path}).String()
	}
	db, err := sql.Open(driver, source)
	must(w.t, err)
	defer db.Close()
	_, err = db.ExecContext(w.t.Context(), statements[driver])
	must(w.t, err)
}
