package store_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"gatehouse"
	"gatehouse/store"
	"gatehouse/store/storetest"
)

// claimed returns the one notice that a claim gets.
func claimed(t testing.TB, db *store.DB, provider, claim string) *gatehouse.Notice {
	t.Helper()
	list, err := db.ClaimNotices(context.Background(), provider, claim, 10, now.Add(time.Minute), now)
	must(t, err)
	if len(list) != 1 {
		t.Fatalf("%s gets %d notices", claim, len(list))
	}
	return list[0]
}

func TestNotices(t *testing.T) {
	forEachDB(t, func(t *testing.T, open func() *store.DB) {
		db := open()
		origin := gatehouse.Origin{Actor: gatehouse.ActorSystem, RequestID: "request"}
		ctx := gatehouse.WithOrigin(t.Context(), origin)
		at := func(minute int) time.Time { return now.Add(time.Duration(minute) * time.Minute) }
		lodge := func(provider, id string, minute int) {
			t.Helper()
			c := aConsent(provider, id)
			c.CreatedAt = at(minute)
			_, err := db.CreateConsent(t.Context(), c, at(minute))
			must(t, err)
		}
		// told are those for whom there is something to claim at a minute.
		told := func(minute int, want ...string) {
			t.Helper()
			codes, err := db.ProvidersToTell(ctx, at(minute))
			must(t, err)
			equal(t, codes, want)
		}
		// claim says what it gets as "consent step attempts", for a minute.
		claim := func(provider, name string, limit, minute int, want ...string) (list []*gatehouse.Notice) {
			t.Helper()
			list, err := db.ClaimNotices(ctx, provider, name, limit, at(minute+1), at(minute))
			must(t, err)
			var got []string
			for _, n := range list {
				got = append(got, fmt.Sprint(n.ConsentID, " ", n.Step, " ", n.Attempts))
				if n.Provider != provider || n.Claim != name {
					t.Errorf("%s of %s gets %+v", name, provider, n)
				}
			}
			equal(t, got, want)
			return list
		}
		for _, code := range []string{"alpha", "beta", "gone"} {
			must(t, db.CreateProvider(ctx, aProvider(code), nil))
		}
		told(0)
		lodge("alpha", "third", 2)
		lodge("alpha", "first", 0)
		lodge("alpha", "second", 1)
		lodge("beta", "other", 3)
		lodge("gone", "gone", 0)
		must(t, db.DeleteProvider(ctx, "gone", now))
		told(-1)
		told(0, "alpha")
		told(3, "alpha", "beta")
		claim("alpha", "early", 10, -1)
		claim("alpha", "none", 0, 9)

		// The oldest first, and for the caller alone.
		list := claim("alpha", "a", 2, 3, "first lodged 1", "second lodged 1")
		equal(t, list[1].CreatedAt, at(1))
		told(3, "alpha", "beta")
		claim("alpha", "b", 10, 3, "third lodged 1")
		claim("alpha", "c", 10, 3)
		told(3, "beta")
		told(4, "alpha", "beta")

		// A claim that has run out is anybody's; who had it can do nothing more.
		again := claim("alpha", "d", 1, 4, "first lodged 2")[0]
		late := list[0]
		must(t, db.NoticeDelivered(ctx, late))
		must(t, db.NoticeFailed(ctx, late, at(0), at(4)))
		must(t, db.NoticeFailed(ctx, late, time.Time{}, at(4)))
		claim("alpha", "e", 10, 4, "second lodged 2", "third lodged 2")
		leaves(t, db, gatehouse.EventBankNotTold)

		// One step of a consent waits for the other, whatever becomes of it.
		must(t, db.EndConsent(ctx, "alpha", "first", gatehouse.ConsentRevoked, at(0)))
		told(4, "beta")
		claim("alpha", "f", 10, 4)
		must(t, db.NoticeFailed(ctx, again, at(30), at(4)))
		claim("alpha", "g", 1, 29, "second lodged 3")
		claim("alpha", "h", 10, 29, "third lodged 3")
		told(29, "beta")
		first := claim("alpha", "i", 10, 30, "first lodged 3", "second lodged 4", "third lodged 4")
		must(t, db.NoticeDelivered(ctx, again)) // under a claim that was given back
		claim("alpha", "j", 10, 30)
		must(t, db.NoticeDelivered(ctx, first[0]))
		revoked := claim("alpha", "k", 10, 30, "first revoked 1")[0]
		must(t, db.NoticeDelivered(ctx, first[0])) // which is no more

		// A notice is given up.
		must(t, db.EndConsent(ctx, "alpha", "second", gatehouse.ConsentRevoked, at(0)))
		must(t, db.NoticeFailed(ctx, revoked, time.Time{}, at(31)))
		must(t, db.NoticeFailed(ctx, revoked, time.Time{}, at(32)))
		must(t, db.NoticeFailed(ctx, first[1], time.Time{}, at(33)))
		claim("alpha", "l", 1, 30, "second revoked 1")
		notTold := func(consent, step string, minute int) *gatehouse.Event {
			return &gatehouse.Event{At: at(minute), Kind: gatehouse.EventBankNotTold, Provider: "alpha", ClientID: "tpp", ConsentID: consent, Detail: step, Origin: origin}
		}
		leaves(t, db, gatehouse.EventBankNotTold, notTold("first", "revoked", 31), notTold("second", "lodged", 33))
		claim("alpha", "m", 10, 60, "second revoked 2", "third lodged 5")
		claim("beta", "a", 10, 60, "other lodged 1")
	})
}

// However many claim at once, each notice is one caller's, and none is left.
func TestNoticesClaimedOnce(t *testing.T) {
	const consents = 40
	forEachDB(t, func(t *testing.T, open func() *store.DB) {
		handles := []*store.DB{open(), open(), open()}
		withProvider(t, handles[0])
		for round := range storetest.Rounds(t, 3) {
			for n := range consents {
				lodged(t, handles[0], "alpha", fmt.Sprint(round, "-", n))
			}
			var mu sync.Mutex
			owner := map[string]string{}
			for i, err := range together(24, func(i int) error {
				db := handles[i%len(handles)]
				for n := 0; ; n++ {
					claim := fmt.Sprint(round, "-", i, "-", n)
					list, err := db.ClaimNotices(context.Background(), "alpha", claim, 3, now.Add(time.Minute), now)
					if err != nil {
						return err
					}
					mu.Lock()
					for _, notice := range list {
						if had := owner[notice.ConsentID]; had != "" {
							t.Errorf("%s and %s both have the notice of %s", had, claim, notice.ConsentID)
						}
						owner[notice.ConsentID] = claim
					}
					mu.Unlock()
					if len(list) > 3 {
						return fmt.Errorf("a claim of 3 gets %d", len(list))
					}
					for _, notice := range list {
						if err := db.NoticeDelivered(context.Background(), notice); err != nil {
							return err
						}
					}
					left, err := db.ProvidersToTell(context.Background(), now)
					if err != nil || len(left) == 0 {
						return err
					}
				}
			}) {
				if err != nil {
					t.Errorf("call %d: %v", i, err)
				}
			}
			equal(t, len(owner), consents)
		}
	})
}

// A claim that has run out is given up by its holder, many times at once, and
// taken by others at the same time: either the notice is gone and there is one
// event, or one of the others has it and there is none.
func TestNoticeGivenUpOnce(t *testing.T) {
	storetest.Each(t, func(t *testing.T, url string) {
		handles, beside := []*store.DB{open(t, url), open(t, url)}, raw(t, url)
		for range storetest.Rounds(t, 10) {
			empty(t, beside)
			lodged(t, handles[0], "alpha", "consent")
			n := claimed(t, handles[0], "alpha", "holder")
			got := make([][]*gatehouse.Notice, 16)
			for i, err := range together(16, func(i int) (err error) {
				if i < 8 {
					return handles[i%2].NoticeFailed(context.Background(), n, time.Time{}, now)
				}
				got[i], err = handles[i%2].ClaimNotices(context.Background(), "alpha", fmt.Sprint("taker ", i), 1, now.Add(2*time.Minute), now.Add(time.Minute))
				return err
			}) {
				if err != nil {
					t.Errorf("call %d: %v", i, err)
				}
			}
			taken := 0
			for _, list := range got {
				taken += len(list)
			}
			events, err := handles[0].Events(t.Context(), gatehouse.EventFilter{Kind: gatehouse.EventBankNotTold}, "", 10)
			must(t, err)
			if taken+len(events) != 1 {
				t.Errorf("%d have the notice, and there are %d events", taken, len(events))
			}
			left := 0
			for _, line := range dump(t, beside) {
				if strings.HasPrefix(line, "notices ") {
					left++
				}
			}
			equal(t, left, taken)
		}
	})
}

// A claim whose outcome was unknown gets what it has got, and no more.
// Proves: S7
func TestNoticesClaimCut(t *testing.T) {
	c := openCuttable(t)
	for _, point := range []storetest.CutPoint{storetest.BeforeSync, storetest.AfterCommit} {
		empty(t, c.beside)
		for _, id := range []string{"a", "b", "c"} {
			lodged(t, c.db, "alpha", id)
		}
		cut := storetest.Cut{At: point}
		c.proxy.Arm(&cut)
		list, err := c.db.ClaimNotices(t.Context(), "alpha", "cut", 1, now.Add(time.Minute), now)
		must(t, err)
		made(t, &cut)
		if len(list) != 1 || list[0].Attempts != 1 {
			t.Errorf("%v: a claim of one gets %v", point, list)
		}
		list, err = c.db.ClaimNotices(t.Context(), "alpha", "next", 10, now.Add(time.Minute), now)
		must(t, err)
		equal(t, len(list), 2)
	}
}

var errNotices = errors.New("another number of notices")

// claimNotices claims what is due at the provider alpha, which must be one
// notice or none.
func claimNotices(ctx context.Context, db *store.DB, claim string, want int) error {
	list, err := db.ClaimNotices(ctx, "alpha", claim, 10, now.Add(time.Minute), now)
	if err == nil && len(list) != want {
		return errNotices
	}
	return err
}
