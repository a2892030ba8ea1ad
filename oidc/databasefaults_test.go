package oidc_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"gatehouse"
	"gatehouse/store"
)

// rows is every row of some tables.
func (w *world) rows(tables ...string) (all []string) {
	w.t.Helper()
	raw := w.raw()
	defer raw.Close()
	for _, table := range tables {
		rows, err := raw.QueryContext(w.t.Context(), "SELECT * FROM "+table)
		must(w.t, err)
		defer rows.Close()
		names, err := rows.Columns()
		must(w.t, err)
		values, fields := make([]any, len(names)), make([]any, len(names))
		for i := range values {
			fields[i] = &values[i]
		}
		for rows.Next() {
			must(w.t, rows.Scan(fields...))
			all = append(all, fmt.Sprint(table, values))
		}
		must(w.t, rows.Err())
	}
	slices.Sort(all)
	return all
}

// A fault makes a statement on a table fail, when a row fits.
type fault struct {
	table, verb string
	how         string // SQLite: ABORT, FAIL, ROLLBACK; PostgreSQL: BEFORE, AFTER, or COMMIT, which fails then
}

func (f fault) String() string { return f.verb + " " + f.table + " " + f.how }

func (w *world) inject(f fault, row string) {
	w.t.Helper()
	if strings.HasPrefix(w.url, "sqlite") {
		w.exec(map[string]string{"sqlite": fmt.Sprintf(
			`CREATE TRIGGER fault AFTER %s ON %s WHEN %s BEGIN SELECT RAISE(%s, 'injected'); END`, f.verb, f.table, row, f.how)})
		return
	}
	trigger := fmt.Sprintf(`CREATE TRIGGER fault %s %s ON %s FOR EACH ROW WHEN (%s)`, f.how, f.verb, f.table, row)
	switch {
	case f.how == "COMMIT":
		trigger = fmt.Sprintf(`CREATE CONSTRAINT TRIGGER fault AFTER %s ON %s DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (%s)`, f.verb, f.table, row)
	case f.how == "STATEMENT": // also when it changes no row
		trigger = fmt.Sprintf(`CREATE TRIGGER fault BEFORE %s ON %s FOR EACH STATEMENT`, f.verb, f.table)
	}
	w.exec(map[string]string{"pgx": `CREATE OR REPLACE FUNCTION fault() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'injected'; END $$; ` +
		trigger + ` EXECUTE FUNCTION fault()`})
}

func (w *world) repair(f fault) {
	w.t.Helper()
	w.exec(map[string]string{"sqlite": `DROP TRIGGER fault`, "pgx": `DROP TRIGGER fault ON ` + f.table})
}

var tokenTables = []string{"authorizations", "grants", "access_tokens", "refresh_tokens", "events"}

// Each statement of a code's redemption fails, one by one, and so does the
// commit. Nothing has happened then, to anybody, and the code is as good as
// before.
//
// Proves: S28
func TestEachStatementOfRedemptionFails(t *testing.T) {
	forEachWorld(t, func(t *testing.T, w *world) {
		hows := []string{"ABORT", "FAIL", "ROLLBACK"}
		if strings.HasPrefix(w.url, "postgres") {
			hows = []string{"BEFORE", "AFTER", "COMMIT", "STATEMENT"}
		}
		var faults []fault
		for _, how := range hows {
			faults = append(faults, fault{"consumed", "INSERT", how}, fault{"authorizations", "UPDATE", how},
				fault{"access_tokens", "INSERT", how}, fault{"refresh_tokens", "INSERT", how}, fault{"events", "INSERT", how})
		}
		for _, f := range faults {
			t.Run(f.String(), func(t *testing.T) {
				code := w.code("alpha", tppA, nil)
				before := w.rows(tokenTables...)
				w.inject(f, "true")
				a := w.token("alpha", tppA, exchange(code))
				w.repair(f)
				expect(t, a, 503, "temporarily_unavailable")
				if a.Header.Get("Retry-After") == "" || strings.Contains(a.Body, "injected") {
					t.Errorf("%v %v", a, a.Header)
				}
				if diff := cmp.Diff(before, w.rows(tokenTables...)); diff != "" {
					t.Errorf("something happened: %s", diff)
				}
				a = w.token("alpha", tppA, exchange(code))
				expect(t, a, 200, "")
				w.areGood("alpha", tppA)(a)
			})
		}
	})
}

// A rivalled store lets a rival go first, at the last moment.
type rivalled struct {
	gatehouse.Store
	rival func()
}

func (r rivalled) ExchangeCode(ctx context.Context, provider, id string, access *gatehouse.AccessToken, refresh *gatehouse.RefreshToken, now time.Time) error {
	r.rival()
	return r.Store.ExchangeCode(ctx, provider, id, access, refresh, now)
}

// The one statement that a sole redemption has no use for: it ends the grant
// of a code that was redeemed a moment ago.
//
// Proves: S28
func TestRevocationByALateRedemptionFails(t *testing.T) {
	forEachWorld(t, func(t *testing.T, w *world) {
		code := w.code("alpha", tppA, nil)
		f := fault{"grants", "UPDATE", map[bool]string{true: "ABORT", false: "AFTER"}[strings.HasPrefix(w.url, "sqlite")]}
		var first *answer
		late := w.replica(rivalled{w.store, func() {
			first = w.token("alpha", tppA, exchange(code))
			w.inject(f, "true")
		}})
		expect(t, w.tokenAt(late, "alpha", tppA, exchange(code)), 503, "temporarily_unavailable")
		w.repair(f)
		expect(t, first, 200, "")
		w.areGood("alpha", tppA)(first)
		expect(t, w.token("alpha", tppA, exchange(code)), 400, "invalid_grant")
		isActive(t, w.introspect("alpha", tppA, first.text("access_token")), false)
	})
}

// A redemption that fails does not take along those that are committed with
// it.
func TestFailureAmongNeighbours(t *testing.T) {
	forEachWorld(t, func(t *testing.T, w *world) {
		hows := []string{"ABORT", "FAIL", "ROLLBACK"}
		if strings.HasPrefix(w.url, "postgres") {
			hows = []string{"AFTER", "COMMIT"}
		}
		for _, how := range hows {
			const callers = 12
			f, requests := fault{"access_tokens", "INSERT", how}, make([]string, callers)
			code := make([]string, callers)
			for i := range requests {
				provider := []string{"alpha", "gamma"}[i%2]
				code[i] = w.code(provider, tppA, nil)
				requests[i] = w.asserted(provider, tppA, exchange(code[i])).encode()
			}
			w.inject(f, "NEW.provider = 'gamma'")
			answers := w.atOnce(callers, func(i int) *answer {
				return w.do("POST", "/api/oidc/"+[]string{"alpha", "gamma"}[i%2]+"/tokens", formHeader, requests[i])
			})
			w.repair(f)
			for i, a := range answers {
				switch {
				case i%2 == 1:
					expect(t, a, 503, "temporarily_unavailable")
					expect(t, w.token("gamma", tppA, exchange(code[i])), 200, "")
				case how != "ROLLBACK":
					expect(t, a, 200, "")
				case !isDone(t, a): // SQLite gave up all of the transaction, as on a full disk
					expect(t, w.token("alpha", tppA, exchange(code[i])), 200, "")
				}
			}
		}
	})
}

// The database is there and does not get on: its one connection, or its one
// writer, waits for a lock. Everybody is told so in time, nobody waits for
// long who only reads what is public, and afterwards all is as before.
//
// Proves: S24 (but for the health endpoint, which is not of this package)
func TestDatabaseThatDoesNotGetOn(t *testing.T) {
	forEachWorld(t, func(t *testing.T, w *world) {
		const callers = 64
		one := w.url
		begin, end := "BEGIN IMMEDIATE", "ROLLBACK"
		if strings.HasPrefix(w.url, "postgres") {
			one += "&pool_max_conns=1"
			if !strings.Contains(w.url, "?") {
				one = w.url + "?pool_max_conns=1"
			}
			begin = "BEGIN; LOCK TABLE providers, clients, consumed, grants, access_tokens IN ACCESS EXCLUSIVE MODE"
		}
		db, err := store.Open(t.Context(), one)
		must(t, err)
		t.Cleanup(func() { db.Close() })
		server := w.server(db)
		site := w.start(server)
		public := []string{"/.well-known/openid-configuration/alpha", "/oidc/alpha/jwks"}
		for _, path := range public {
			expect(t, w.doAt(site, "GET", path, nil, ""), 200, "")
		}
		expect(t, w.tokenAt(site, "alpha", tppA, clientCredentials), 200, "")
		w.clock.advance(6 * time.Second) // what is cached is old
		requests := make([]string, callers)
		for i := range requests {
			requests[i] = w.asserted("alpha", tppA, clientCredentials).encode()
		}
		before := w.rows("grants", "access_tokens")

		beside, err := w.raw().Conn(t.Context())
		must(t, err)
		defer beside.Close()
		_, err = beside.ExecContext(t.Context(), begin)
		must(t, err)
		began := time.Now()
		answers := w.atOnce(callers+len(public), func(i int) *answer {
			if i < len(public) {
				a := w.doAt(site, "GET", public[i], nil, "")
				a.Header.Set("Took", time.Since(began).String())
				return a
			}
			a := w.doAt(site, "POST", "/api/oidc/alpha/tokens", formHeader, requests[i-len(public)])
			a.Header.Set("Took", time.Since(began).String())
			return a
		})
		ready := server.Ready(t.Context())
		_, err = beside.ExecContext(t.Context(), end)
		must(t, err)

		slowest := map[bool]time.Duration{}
		for i, a := range answers {
			took, err := time.ParseDuration(a.Header.Get("Took"))
			must(t, err)
			slowest[i < len(public)] = max(slowest[i < len(public)], took)
			if i < len(public) {
				expect(t, a, 200, "")
				continue
			}
			expect(t, a, 503, "temporarily_unavailable")
			if a.Header.Get("Retry-After") == "" {
				t.Errorf("no Retry-After: %v", a.Header)
			}
		}
		t.Logf("slowest token request %s, public document %s", slowest[false], slowest[true])
		if slowest[false] > 10*time.Second || slowest[true] > 3*time.Second {
			t.Errorf("slowest token request %s, public document %s", slowest[false], slowest[true])
		}
		if strings.HasPrefix(w.url, "postgres") && ready == nil {
			t.Error("it was ready all the while")
		}
		eventually(t, 10*time.Second, "service as before", func() bool {
			return w.tokenAt(site, "alpha", tppA, clientCredentials).StatusCode == 200
		})
		must(t, server.Ready(t.Context()))
		// Assertions may have been spent since; tokens that nobody got were not made.
		if after := w.rows("grants", "access_tokens"); len(after) != len(before)+2 { // those of the last request
			t.Errorf("%d rows became %d: what was answered 503 was done later", len(before), len(after))
		}
	})
}
