package store_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"gatehouse"
	"gatehouse/store"
	"gatehouse/store/storetest"
)

const day = 24 * time.Hour

// purge purges and returns how many rows that took.
func purge(t *testing.T, db *store.DB, at time.Time) int {
	t.Helper()
	n, err := db.Purge(t.Context(), at)
	must(t, err)
	return n
}

// A row goes a day after its end, to the millisecond, and not before; a visit
// that never got a code three hours after.
// Proves: S23
func TestPurge(t *testing.T) {
	visit := aVisit("alpha", "visit")
	lateCode := aVisit("alpha", "late code")
	lateCode.CodeExpiresAt = lateCode.ExpiresAt.Add(time.Hour)
	codeless := aVisit("alpha", "codeless")
	codeless.CodeHash, codeless.CodeExpiresAt = nil, time.Time{}
	long, short := aRefreshToken("alpha", "long", "grant"), anAccessToken("alpha", "short", "grant")
	long.ExpiresAt = aGrant("", "").ExpiresAt
	cases := map[string]struct {
		prepare func(t *testing.T, db *store.DB)
		ends    time.Time
		goes    []string // beginnings of the rows that go
	}{
		"consumed": {
			func(t *testing.T, db *store.DB) {
				must(t, db.Consume(t.Context(), "alpha", gatehouse.ConsumeAssertion, "key", now, now.Add(time.Minute), now))
			}, now.Add(time.Minute), []string{"consumed "}},
		"consumed when expired": {
			func(t *testing.T, db *store.DB) {
				must(t, db.Consume(t.Context(), "", gatehouse.ConsumeAssertion, "key", now.Add(-time.Hour), now.Add(-time.Minute), now))
			}, now, []string{"consumed "}},
		"a visit":          {func(t *testing.T, db *store.DB) { must(t, db.CreateAuthorization(t.Context(), visit)) }, visit.ExpiresAt, []string{"authorizations "}},
		"with a late code": {func(t *testing.T, db *store.DB) { must(t, db.CreateAuthorization(t.Context(), lateCode)) }, lateCode.CodeExpiresAt, []string{"authorizations "}},
		"without a code":   {func(t *testing.T, db *store.DB) { must(t, db.CreateAuthorization(t.Context(), codeless)) }, visit.ExpiresAt.Add(3*time.Hour - day), []string{"authorizations "}},
		"an access token":  {func(t *testing.T, db *store.DB) { withTokens(t, db, short, long) }, short.ExpiresAt, []string{"access_tokens "}},
		"a refresh token":  {func(t *testing.T, db *store.DB) { withTokens(t, db, nil, aRefreshToken("alpha", "r", "grant")) }, now.Add(30 * time.Minute), []string{"refresh_tokens "}},
		"a grant, its last": {func(t *testing.T, db *store.DB) {
			withTokens(t, db, nil, long)
		}, long.ExpiresAt, []string{"grants ", "refresh_tokens "}},
		"a grant of a PSU, two years later": {func(t *testing.T, db *store.DB) {
			over := anAccessToken("alpha", "over", "grant")
			over.ExpiresAt = now.Add(-day)
			must(t, db.CreateGrant(t.Context(), aGrant("alpha", "grant"), over, nil))
			purge(t, db, now)
		}, long.ExpiresAt.Add(729 * day), []string{"grants "}},
		"a consent that nobody authorises": {func(t *testing.T, db *store.DB) {
			lodged(t, db, "alpha", "consent")
		}, now.Add(29 * day), []string{"consents "}},
		"a consent, two years later": {func(t *testing.T, db *store.DB) {
			authorised(t, db, "alpha", "consent")
			purge(t, db, now.Add(2*day))
		}, long.ExpiresAt.Add(729 * day), []string{"consents ", "grants "}},
		"nothing of what is the deployment's": {
			func(t *testing.T, db *store.DB) {
				withProvider(t, db)
				withClient(t, db)
			}, now.Add(1000 * day), nil},
	}
	storetest.Each(t, func(t *testing.T, url string) {
		db, beside := open(t, url), raw(t, url)
		for name, c := range cases {
			t.Run(name, func(t *testing.T) {
				empty(t, beside)
				c.prepare(t, db)
				purge(t, db, c.ends.Add(day-time.Millisecond))
				before := rows(t, beside)
				equal(t, purge(t, db, c.ends.Add(day)), len(c.goes))
				var want []string
				for _, line := range before {
					if !hasPrefix(line, c.goes) {
						want = append(want, line)
					}
				}
				if len(want) != len(before)-len(c.goes) {
					t.Fatalf("rows were missing before: %v", before)
				}
				var got []string
				for _, line := range rows(t, beside) {
					if !strings.HasPrefix(line, "marks ") {
						got = append(got, line)
					}
				}
				same(t, "left", got, want)
			})
		}
	})
}

func hasPrefix(line string, prefixes []string) bool {
	for _, p := range prefixes {
		if strings.HasPrefix(line, p) {
			return true
		}
	}
	return false
}

// withTokens adds a grant; without an access token, it has none left.
func withTokens(t *testing.T, db *store.DB, access *gatehouse.AccessToken, refresh *gatehouse.RefreshToken) {
	t.Helper()
	over := anAccessToken("alpha", "over", "grant")
	over.ExpiresAt = now.Add(-day)
	if access == nil {
		access = over
	}
	g := aGrant("alpha", "grant")
	g.UserID = ""
	must(t, db.CreateGrant(t.Context(), g, access, refresh))
	purge(t, db, now)
}

// Purging goes on until nothing is left, in transactions of at most a thousand
// rows.
// Proves: S23
func TestPurgeInBatches(t *testing.T) {
	const many = 1234
	storetest.Each(t, func(t *testing.T, url string) {
		db, beside := open(t, url), raw(t, url)
		numbers := `WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ` + fmt.Sprint(many) + `) `
		exec(t, beside, numbers+`INSERT INTO consumed (provider, kind, key_hash, keep_until) SELECT 'alpha', 'k', 'key ' || i, i FROM n`)
		exec(t, beside, numbers+`INSERT INTO grants (provider, id, client_id, user_id, subject, scope, intent_id, acr, expires_at)
			SELECT 'alpha', 'g' || i, 'tpp', '', '', '', '', '', i FROM n`)
		exec(t, beside, numbers+`INSERT INTO access_tokens (provider, id, grant_id, client_id, scope, expires_at)
			SELECT 'alpha', 't' || i, 'g' || i, 'tpp', '', i FROM n`)
		// A transaction that deletes more than a thousand rows fails.
		if strings.HasPrefix(url, "sqlite:") {
			exec(t, beside, `CREATE TABLE deletions (n INTEGER)`)
			exec(t, beside, `CREATE TRIGGER batch AFTER UPDATE ON marks BEGIN DELETE FROM deletions; END`)
			exec(t, beside, `CREATE TRIGGER counted AFTER DELETE ON consumed BEGIN
				INSERT INTO deletions VALUES (1); SELECT RAISE(ABORT, 'too many') WHERE (SELECT COUNT(*) FROM deletions) > 1000; END`)
		} else {
			exec(t, beside, `CREATE FUNCTION counted() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
				IF (SELECT COUNT(*) FROM old) > 1000 THEN RAISE EXCEPTION 'too many'; END IF; RETURN NULL; END $$`)
			exec(t, beside, `CREATE TRIGGER counted AFTER DELETE ON consumed REFERENCING OLD TABLE AS old EXECUTE FUNCTION counted()`)
		}
		equal(t, purge(t, db, now), 3*many)
		for _, table := range []string{"consumed", "grants", "access_tokens"} {
			equal(t, column(t, beside, "SELECT COUNT(*) FROM "+table), []string{"0"})
		}
		equal(t, column(t, beside, `SELECT at FROM marks WHERE name = 'purged'`), []string{fmt.Sprint(many)})
	})
}

// What a purge has forgotten stays spent, even when the clock that led to it
// was wrong; and what is too new to be forgotten is not refused.
// Proves: S17
func TestPurgedKeysStaySpent(t *testing.T) {
	const lifetime = 5 * time.Minute
	forEachDB(t, func(t *testing.T, open func() *store.DB) {
		db, ctx := open(), t.Context()
		consume := func(key string, expires, at time.Time) func() error {
			return func() error { return db.Consume(ctx, "alpha", gatehouse.ConsumeAssertion, key, at, expires, at) }
		}
		future := now.Add(30 * time.Hour)
		walk(t, []step{
			{"first", consume("first", now.Add(time.Minute), now), nil},
			{"last", consume("last", now.Add(lifetime), now), nil},
		})
		equal(t, purge(t, db, future), 2)
		db = open() // the memory is the database's
		walk(t, []step{
			{"in the future, of then", consume("then", future.Add(time.Minute), future), nil},
			{"back, the first again", consume("first", now.Add(time.Minute), now), gatehouse.ErrSpent},
			{"back, the last again", consume("last", now.Add(lifetime), now), gatehouse.ErrSpent},
			{"back, one that may have been", consume("new", now.Add(lifetime), now), gatehouse.ErrSpent},
			{"back, one that cannot have been", consume("new", now.Add(lifetime+time.Millisecond), now), nil},
			{"a lifetime later", consume("newer", now.Add(lifetime+time.Second), now.Add(lifetime)), nil},
			{"of then again", consume("then", future.Add(time.Minute), now), gatehouse.ErrSpent},
		})
		equal(t, purge(t, db, now), 0) // and the mark stays where it is
		walk(t, []step{
			{"the first again", consume("first", now.Add(time.Minute), now), gatehouse.ErrSpent},
			{"the last again", consume("last", now.Add(lifetime), now), gatehouse.ErrSpent},
		})
	})
}

// Two hours forward and back, with purging: nothing is gone, nothing revives.
// Proves: S17
func TestPurgeByClockTwoHoursAhead(t *testing.T) {
	storetest.Each(t, func(t *testing.T, url string) {
		db, beside := open(t, url), raw(t, url)
		must(t, consumeKey(t.Context(), db))
		approved(t, db, "alpha", "visit")
		must(t, writings["ExchangeCode"].call(t.Context(), db))
		before := rows(t, beside)
		equal(t, purge(t, db, now.Add(2*time.Hour)), 0)
		same(t, "after purging", rows(t, beside), before)
		for _, name := range []string{"Consume", "ExchangeCode"} {
			if err := writings[name].other(t.Context(), db); !errors.Is(err, writings[name].refused) {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}

// A database that is restored refuses what was issued before.
func TestConsumeAfterRestore(t *testing.T) {
	storetest.Each(t, func(t *testing.T, url string) {
		db := open(t, url)
		exec(t, raw(t, url), fmt.Sprintf(`INSERT INTO marks (name, at) VALUES ('restored', %d)`, now.UnixMilli()))
		consume := func(key string, issued time.Time) func() error {
			return func() error {
				return db.Consume(t.Context(), "", gatehouse.ConsumeAssertion, key, issued, now.Add(time.Minute), now)
			}
		}
		walk(t, []step{
			{"issued before", consume("a", now.Add(-time.Millisecond)), gatehouse.ErrSpent},
			{"issued at an unknown time", consume("b", time.Time{}), gatehouse.ErrSpent},
			{"issued then", consume("c", now), nil},
			{"issued then, again", consume("c", now), gatehouse.ErrSpent},
			{"refused before, issued later", consume("a", now.Add(time.Second)), nil},
		})
	})
}

// Of a deleted provider Purge leaves its code and what was decided there, of
// the others everything.
func TestPurgeOfDeletedProvider(t *testing.T) {
	storetest.Each(t, func(t *testing.T, url string) {
		db, beside, ctx := open(t, url), raw(t, url), t.Context()
		for _, code := range []string{"alpha", "beta"} {
			must(t, db.CreateProvider(ctx, aProvider(code), nil))
			for n := range 120 { // more than a batch
				id := fmt.Sprint(n)
				if n < 3 {
					approved(t, db, code, "visit "+id)
				}
				must(t, db.CreateGrant(ctx, aGrant(code, id), anAccessToken(code, id, id), aRefreshToken(code, id, id)))
			}
		}
		must(t, db.DeleteProvider(ctx, "alpha", now))
		equal(t, purge(t, db, now.Add(-time.Millisecond)), 0)
		before := rows(t, beside)
		equal(t, purge(t, db, now), 3*120+2*3)
		var want []string
		for _, line := range before {
			if !strings.Contains(line, " provider=alpha ") || strings.HasPrefix(line, "events ") {
				want = append(want, line)
			}
		}
		same(t, "left", rows(t, beside), want)
		equal(t, purge(t, db, now), 0)
		if err := db.CreateProvider(ctx, aProvider("alpha"), nil); !errors.Is(err, gatehouse.ErrExists) {
			t.Errorf("the code of a deleted provider: %v", err)
		}
	})
}

// Processes that purge at one time together leave the mark of all that is gone.
func TestPurgeTogether(t *testing.T) {
	url := storetest.URL(t, "postgres")
	db, beside := open(t, url), raw(t, url)
	exec(t, beside, `INSERT INTO consumed (provider, kind, key_hash, keep_until) SELECT 'alpha', 'k', 'key ' || i, i FROM generate_series(1, 150) i`)
	// Another process has marked and deleted more than a batch, and is about to
	// commit.
	other, err := beside.BeginTx(t.Context(), nil)
	must(t, err)
	defer other.Rollback()
	for _, q := range []string{`INSERT INTO marks (name, at) VALUES ('purged', 120)`, `DELETE FROM consumed WHERE keep_until <= 120`} {
		_, err := other.ExecContext(t.Context(), q)
		must(t, err)
	}
	purged := make(chan error, 1)
	go func() {
		_, err := db.Purge(t.Context(), now)
		purged <- err
	}()
	await(t, beside, `SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`)
	must(t, other.Commit())
	must(t, <-purged)
	left := column(t, beside, `SELECT keep_until FROM consumed WHERE keep_until <= (SELECT at FROM marks WHERE name = 'purged')`)
	equal(t, left, []string(nil))
	gone := column(t, beside, `SELECT i::text FROM generate_series(1, 150) i
		WHERE i NOT IN (SELECT keep_until FROM consumed) AND i > (SELECT at FROM marks WHERE name = 'purged')`)
	if len(gone) > 0 {
		t.Errorf("%d keys are gone without a mark", len(gone))
	}
}
