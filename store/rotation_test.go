package store_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"gatehouse"
	"gatehouse/store"
	"gatehouse/store/storetest"
)

const grace = time.Minute

// rotate makes one step of the family of refresh tokens: "r" is the first.
func rotate(t *testing.T, db *store.DB, old, access, successor string, at time.Time) func() error {
	return func() error {
		var next *gatehouse.RefreshToken
		if successor != "" {
			next = aRefreshToken("alpha", successor, "ignored")
			next.ClientID, next.IssuedAt = "ignored", at
		}
		return db.Refresh(t.Context(), "alpha", old, anAccessToken("alpha", access, "ignored"), next, grace, at)
	}
}

// Proves: T17
func TestRotation(t *testing.T) {
	later := func(d time.Duration) time.Time { return now.Add(d) }
	cases := map[string]struct {
		steps   func(t *testing.T, db *store.DB) []step
		revoked time.Time // the grant's
	}{
		"along the family": {func(t *testing.T, db *store.DB) []step {
			return []step{
				{"first", rotate(t, db, "r", "b", "r2", now), nil},
				{"its successor", rotate(t, db, "r2", "c", "r3", later(time.Second)), nil},
				{"the next, long after", rotate(t, db, "r3", "d", "r4", later(29*time.Minute)), nil},
				{"the next, without a further one", rotate(t, db, "r4", "e", "", later(29*time.Minute)), nil},
				{"and again", rotate(t, db, "r4", "f", "", later(29*time.Minute)), nil},
			}
		}, time.Time{}},
		"a retry within the grace": {func(t *testing.T, db *store.DB) []step {
			return []step{
				{"first", rotate(t, db, "r", "b", "r2", now), nil},
				{"again", rotate(t, db, "r", "c", "r2", later(grace)), nil},
				{"again without a successor", rotate(t, db, "r", "d", "", later(grace)), nil},
				{"the successor", rotate(t, db, "r2", "e", "r3", later(2*grace)), nil},
			}
		}, time.Time{}},
		"a clock a little behind": {func(t *testing.T, db *store.DB) []step {
			return []step{
				{"first", rotate(t, db, "r", "b", "r2", now), nil},
				{"again", rotate(t, db, "r", "c", "r2", later(-grace)), nil},
			}
		}, time.Time{}},
		"after the grace": {func(t *testing.T, db *store.DB) []step {
			return []step{
				{"first", rotate(t, db, "r", "b", "r2", now), nil},
				{"again", rotate(t, db, "r", "c", "r2", later(grace+time.Millisecond)), gatehouse.ErrNotFound},
				{"the successor", rotate(t, db, "r2", "d", "r3", later(grace+time.Millisecond)), gatehouse.ErrNotFound},
				{"within the grace, too late", rotate(t, db, "r", "e", "r2", now), gatehouse.ErrNotFound},
			}
		}, later(grace + time.Millisecond)},
		"after the grace, by a server that does not rotate": {func(t *testing.T, db *store.DB) []step {
			return []step{
				{"first", rotate(t, db, "r", "b", "r2", now), nil},
				{"again", rotate(t, db, "r", "c", "", later(grace+time.Millisecond)), gatehouse.ErrNotFound},
			}
		}, later(grace + time.Millisecond)},
		"after its successor was used": {func(t *testing.T, db *store.DB) []step {
			return []step{
				{"first", rotate(t, db, "r", "b", "r2", now), nil},
				{"the successor", rotate(t, db, "r2", "c", "r3", now), nil},
				{"the first again", rotate(t, db, "r", "d", "r2", later(time.Second)), gatehouse.ErrNotFound},
				{"the last", rotate(t, db, "r3", "e", "r4", later(time.Second)), gatehouse.ErrNotFound},
			}
		}, later(time.Second)},
		"a clock set back two hours": {func(t *testing.T, db *store.DB) []step {
			return []step{
				{"first", rotate(t, db, "r", "b", "r2", now), nil},
				{"again", rotate(t, db, "r", "c", "r2", later(-2*time.Hour)), gatehouse.ErrNotFound},
			}
		}, later(-2 * time.Hour)},
		"at the expiry": {func(t *testing.T, db *store.DB) []step {
			return []step{
				{"the first", rotate(t, db, "r", "b", "r2", later(30*time.Minute)), gatehouse.ErrNotFound},
				{"the first in time", rotate(t, db, "r", "c", "r2", later(30*time.Minute-time.Millisecond)), nil},
				{"its successor", rotate(t, db, "r2", "d", "r3", later(30*time.Minute)), gatehouse.ErrNotFound},
			}
		}, time.Time{}},
		"of a revoked grant": {func(t *testing.T, db *store.DB) []step {
			return []step{
				{"revoke", func() error { return db.RevokeGrant(t.Context(), "alpha", "grant", now) }, nil},
				{"the first", rotate(t, db, "r", "b", "r2", later(time.Second)), gatehouse.ErrNotFound},
				{"a successor that never was", rotate(t, db, "r2", "c", "r3", later(time.Second)), gatehouse.ErrNotFound},
			}
		}, now},
	}
	storetest.Each(t, func(t *testing.T, url string) {
		db, beside, ctx := open(t, url), raw(t, url), t.Context()
		for name, c := range cases {
			t.Run(name, func(t *testing.T) {
				empty(t, beside)
				withGrant(t, db)
				granted(t, db, "alpha", "another")
				granted(t, db, "beta", "grant")
				walk(t, c.steps(t, db))
				_, g, err := db.AccessToken(ctx, "alpha", "a")
				must(t, err)
				equal(t, g.RevokedAt, c.revoked)
				for _, other := range [][2]string{{"alpha", "another"}, {"beta", "grant"}} {
					_, g, err := db.RefreshToken(ctx, other[0], other[1])
					must(t, err)
					equal(t, g, aGrant(other[0], other[1]))
				}
			})
		}
	})
}

// What a rotation leaves: the old token with the name of its successor, a
// successor of the same grant, client and expiry, and an access token; of one
// that is refused, nothing.
func TestRotatedRows(t *testing.T) {
	storetest.Each(t, func(t *testing.T, url string) {
		db, beside, ctx := open(t, url), raw(t, url), t.Context()
		withGrant(t, db)
		at := now.Add(time.Second)
		walk(t, []step{
			{"first", rotate(t, db, "r", "b", "r2", at), nil},
			{"again", rotate(t, db, "r", "c", "r2", at.Add(time.Second)), nil},
		})
		old, g, err := db.RefreshToken(ctx, "alpha", "r")
		must(t, err)
		want := aRefreshToken("alpha", "r", "grant")
		want.SuccessorID, want.RotatedAt = "r2", at
		equal(t, old, want)
		equal(t, g, aGrant("alpha", "grant"))
		next, _, err := db.RefreshToken(ctx, "alpha", "r2")
		must(t, err)
		want = aRefreshToken("alpha", "r2", "grant")
		want.IssuedAt = at
		equal(t, next, want)
		for _, id := range []string{"b", "c"} {
			access, _, err := db.AccessToken(ctx, "alpha", id)
			must(t, err)
			equal(t, access, anAccessToken("alpha", id, "grant"))
		}

		before := rows(t, beside)
		walk(t, []step{
			{"at the expiry", rotate(t, db, "r2", "d", "r3", now.Add(30*time.Minute)), gatehouse.ErrNotFound},
			{"unknown", rotate(t, db, "r7", "d", "r3", now), gatehouse.ErrNotFound},
		})
		same(t, "after refusals", rows(t, beside), before)

		walk(t, []step{{"after the grace", rotate(t, db, "r", "d", "r9", at.Add(time.Hour)), gatehouse.ErrNotFound}})
		if _, _, err := db.AccessToken(ctx, "alpha", "d"); !errors.Is(err, gatehouse.ErrNotFound) {
			t.Errorf("a refused refresh left an access token: %v", err)
		}
		if _, _, err := db.RefreshToken(ctx, "alpha", "r9"); !errors.Is(err, gatehouse.ErrNotFound) {
			t.Errorf("a refused refresh left a refresh token: %v", err)
		}
		reopened := open(t, url)
		_, g, err = reopened.AccessToken(ctx, "alpha", "b")
		must(t, err)
		equal(t, g.RevokedAt, at.Add(time.Hour))
	})
}

// Sixty-four callers present one token at a time, and get one successor.
// Proves: T17
func TestRotationTogether(t *testing.T) {
	storetest.Each(t, func(t *testing.T, url string) {
		handles, beside := []*store.DB{open(t, url), open(t, url)}, raw(t, url)
		withGrant(t, handles[0])
		var done sync.WaitGroup
		for n := range contestants {
			done.Go(func() {
				if err := rotate(t, handles[n%2], "r", fmt.Sprint("b", n), "r2", now)(); err != nil {
					t.Error(err)
				}
			})
		}
		done.Wait()
		equal(t, column(t, beside, "SELECT id FROM refresh_tokens ORDER BY id"), []string{"r", "r2"})
		equal(t, column(t, beside, "SELECT COUNT(*) FROM access_tokens"), []string{fmt.Sprint(contestants + 1)})
	})
}
