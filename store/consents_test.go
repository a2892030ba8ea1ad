package store_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"gatehouse"
	"gatehouse/store"
	"gatehouse/store/storetest"
)

func TestConsents(t *testing.T) {
	forEachDB(t, func(t *testing.T, open func() *store.DB) {
		db, ctx := open(), t.Context()
		bare := aConsent("alpha", "bare")
		bare.Kind, bare.ExpiresAt, bare.IdempotencyKeyHash, bare.RequestHash = gatehouse.FundsConfirmation, time.Time{}, nil, nil
		create := func(c *gatehouse.Consent) func() error {
			return func() error { _, err := db.CreateConsent(ctx, c, now); return err }
		}
		walk(t, []step{
			{"lodge", create(aConsent("alpha", "consent")), nil},
			{"without a key", create(bare), nil},
			{"id taken", create(bare), gatehouse.ErrExists},
			{"unknown", func() error { _, err := db.Consent(ctx, "alpha", "nobody"); return err }, gatehouse.ErrNotFound},
			{"with a NUL", func() error { _, err := db.Consent(ctx, "alpha", "\x00"); return err }, gatehouse.ErrNotFound},
			{"end an unknown one", func() error { return db.EndConsent(ctx, "alpha", "nobody", gatehouse.ConsentRevoked, now) }, gatehouse.ErrNotFound},
		})
		got, err := db.Consent(ctx, "alpha", "consent")
		must(t, err)
		equal(t, got, aConsent("alpha", "consent"))
		list, err := db.Consents(ctx, "alpha", gatehouse.ConsentFilter{}, "", 10)
		must(t, err)
		equal(t, list, []*gatehouse.Consent{aConsent("alpha", "consent"), bare})
		list, err = db.Consents(ctx, "alpha", gatehouse.ConsentFilter{ClientID: "tpp", Status: gatehouse.ConsentAwaitingAuthorisation}, "consent", 10)
		must(t, err)
		equal(t, list, []*gatehouse.Consent{bare})

		must(t, db.CreateClient(ctx, aClient("tpp")))
		must(t, db.DeleteClient(ctx, "tpp", now))
		if _, err := db.CreateConsent(ctx, aConsent("alpha", "late"), now); !errors.Is(err, gatehouse.ErrNotFound) {
			t.Errorf("a consent of a deleted client: %v", err)
		}
	})
}

// One key is one consent for a day, whoever sends it at the same moment.
func TestIdempotentConsent(t *testing.T) {
	forEachDB(t, func(t *testing.T, open func() *store.DB) {
		db, ctx := open(), t.Context()
		again := aConsent("alpha", "again")
		again.IdempotencyKeyHash, again.RequestHash = aConsent("alpha", "first").IdempotencyKeyHash, aConsent("alpha", "first").RequestHash
		other := *again
		other.ID, other.RequestHash = "other", gatehouse.HashSecret("another request")
		lodged(t, db, "alpha", "first")
		got, err := db.CreateConsent(ctx, again, now.Add(day-time.Millisecond))
		must(t, err)
		equal(t, got.ID, "first")
		if _, err := db.CreateConsent(ctx, &other, now); !errors.Is(err, gatehouse.ErrConflict) {
			t.Errorf("another request with the key: got %v", err)
		}
		got, err = db.CreateConsent(ctx, again, now.Add(day))
		must(t, err)
		equal(t, got.ID, "again")

		var callers sync.WaitGroup
		ids, start := make([]string, 64), make(chan struct{})
		for n := range ids {
			callers.Go(func() {
				c := aConsent("alpha", fmt.Sprint("caller ", n))
				c.IdempotencyKeyHash, c.RequestHash = gatehouse.HashSecret("one key"), gatehouse.HashSecret("one request")
				<-start
				got, err := db.CreateConsent(ctx, c, now)
				if err != nil {
					t.Error(err)
					return
				}
				ids[n] = got.ID
			})
		}
		close(start)
		callers.Wait()
		for _, id := range ids {
			equal(t, id, ids[0])
		}
	})
}

// The moves of a consent, from each state by each means.
func TestConsentMoves(t *testing.T) {
	states := map[gatehouse.ConsentStatus]func(t *testing.T, db *store.DB, id string){
		gatehouse.ConsentAwaitingAuthorisation: func(t *testing.T, db *store.DB, id string) { lodged(t, db, "alpha", id) },
		gatehouse.ConsentAuthorised:            func(t *testing.T, db *store.DB, id string) { authorised(t, db, "alpha", id) },
	}
	for _, end := range []gatehouse.ConsentStatus{gatehouse.ConsentRejected, gatehouse.ConsentRevoked, gatehouse.ConsentConsumed} {
		states[end] = func(t *testing.T, db *store.DB, id string) {
			if end == gatehouse.ConsentConsumed {
				authorised(t, db, "alpha", id)
			} else {
				lodged(t, db, "alpha", id)
			}
			must(t, db.EndConsent(t.Context(), "alpha", id, end, now))
		}
	}
	allowed := map[gatehouse.ConsentStatus]map[gatehouse.ConsentStatus]bool{
		gatehouse.ConsentAwaitingAuthorisation: {gatehouse.ConsentRejected: true, gatehouse.ConsentRevoked: true},
		gatehouse.ConsentAuthorised:            {gatehouse.ConsentRevoked: true, gatehouse.ConsentConsumed: true},
	}
	forEachDB(t, func(t *testing.T, open func() *store.DB) {
		db, ctx := open(), t.Context()
		for from, prepare := range states {
			for _, to := range []gatehouse.ConsentStatus{gatehouse.ConsentRejected, gatehouse.ConsentRevoked, gatehouse.ConsentConsumed} {
				id := fmt.Sprint(from, to)
				prepare(t, db, id)
				err := db.EndConsent(ctx, "alpha", id, to, now.Add(time.Second))
				want, status := gatehouse.ErrConflict, from
				if allowed[from][to] || from == to {
					want, status = nil, to
				}
				c, readErr := db.Consent(ctx, "alpha", id)
				must(t, readErr)
				if !errors.Is(err, want) || c.Status != status {
					t.Errorf("%s to %s: got %v and %s", from, to, err, c.Status)
				}
				if c.GrantID != "" {
					g, err := db.Grant(ctx, "alpha", c.GrantID)
					must(t, err)
					equal(t, g.RevokedAt.IsZero(), c.Status == gatehouse.ConsentAuthorised)
				}
			}
		}
	})
}

// However a grant or its consent ends, both end, in one step; the bank is told
// unless it knows; one event says why.
//
// Proves: A24
func TestEndsTogether(t *testing.T) {
	by := func(a gatehouse.Actor) context.Context {
		return gatehouse.WithOrigin(context.Background(), gatehouse.Origin{Actor: a, RequestID: "request"})
	}
	exchange := func(t *testing.T, db *store.DB, token string) error {
		return db.ExchangeCode(by(gatehouse.ActorClient), "alpha", "consent", anAccessToken("alpha", token, "consent"), aRefreshToken("alpha", token, "consent"), now)
	}
	later := now.Add(time.Minute)
	cases := map[string]struct {
		end    func(t *testing.T, db *store.DB)
		status gatehouse.ConsentStatus
		event  gatehouse.EventKind
		actor  gatehouse.Actor
		told   bool
	}{
		"revoked by the TPP": {func(t *testing.T, db *store.DB) {
			must(t, db.RevokeGrant(by(gatehouse.ActorClient), "alpha", "consent", later))
		}, gatehouse.ConsentRevoked, gatehouse.EventGrantRevoked, gatehouse.ActorClient, true},
		"withdrawn by the PSU": {func(t *testing.T, db *store.DB) {
			must(t, db.RevokeGrant(by(gatehouse.ActorPSU), "alpha", "consent", later))
		}, gatehouse.ConsentRevoked, gatehouse.EventGrantRevoked, gatehouse.ActorPSU, true},
		"consent deleted by the TPP": {func(t *testing.T, db *store.DB) {
			must(t, db.EndConsent(by(gatehouse.ActorClient), "alpha", "consent", gatehouse.ConsentRevoked, later))
		}, gatehouse.ConsentRevoked, gatehouse.EventConsentRevoked, gatehouse.ActorClient, true},
		"consent revoked by the bank": {func(t *testing.T, db *store.DB) {
			must(t, db.EndConsent(by(gatehouse.ActorBank), "alpha", "consent", gatehouse.ConsentRevoked, later))
		}, gatehouse.ConsentRevoked, gatehouse.EventConsentRevoked, gatehouse.ActorBank, false},
		"consumed": {func(t *testing.T, db *store.DB) {
			must(t, db.EndConsent(by(gatehouse.ActorBank), "alpha", "consent", gatehouse.ConsentConsumed, later))
		}, gatehouse.ConsentConsumed, gatehouse.EventConsentConsumed, gatehouse.ActorBank, false},
		"code replayed": {func(t *testing.T, db *store.DB) {
			if err := db.ExchangeCode(by(gatehouse.ActorClient), "alpha", "consent", anAccessToken("alpha", "again", "consent"), nil, later); !errors.Is(err, gatehouse.ErrSpent) {
				t.Errorf("replay: %v", err)
			}
		}, gatehouse.ConsentRevoked, gatehouse.EventCodeReplayed, gatehouse.ActorClient, true},
		"refresh token replayed": {func(t *testing.T, db *store.DB) {
			must(t, db.Refresh(by(gatehouse.ActorClient), "alpha", "token", anAccessToken("alpha", "second", "consent"), aRefreshToken("alpha", "second", "consent"), 0, now))
			if err := db.Refresh(by(gatehouse.ActorClient), "alpha", "token", anAccessToken("alpha", "third", "consent"), nil, 0, later); !errors.Is(err, gatehouse.ErrNotFound) {
				t.Errorf("replay: %v", err)
			}
		}, gatehouse.ConsentRevoked, gatehouse.EventRefreshTokenReplayed, gatehouse.ActorClient, true},
		"client deleted": {func(t *testing.T, db *store.DB) {
			must(t, db.DeleteClient(by(gatehouse.ActorOperator), "tpp", later))
		}, gatehouse.ConsentRevoked, gatehouse.EventClientDeleted, gatehouse.ActorOperator, true},
	}
	storetest.Each(t, func(t *testing.T, url string) {
		db, beside, ctx := open(t, url), raw(t, url), t.Context()
		for name, c := range cases {
			t.Run(name, func(t *testing.T) {
				empty(t, beside)
				withClient(t, db)
				for _, id := range []string{"consent", "another"} {
					authorised(t, db, "alpha", id)
				}
				must(t, exchange(t, db, "token"))
				exec(t, beside, `DELETE FROM notices`)
				c.end(t, db)

				consent, err := db.Consent(ctx, "alpha", "consent")
				must(t, err)
				equal(t, consent.Status, c.status)
				equal(t, consent.StatusUpdatedAt, later)
				equal(t, count(t, beside, `SELECT COUNT(*) FROM consents WHERE id = 'consent' AND status = '`+string(c.status)+`'`), 1)
				g, err := db.Grant(ctx, "alpha", "consent")
				must(t, err)
				equal(t, g.RevokedAt, later)
				equal(t, g.RevokedBy, c.actor)
				if err := db.Refresh(ctx, "alpha", "token", anAccessToken("alpha", "late", "consent"), nil, 0, later); !errors.Is(err, gatehouse.ErrNotFound) {
					t.Errorf("refresh after the end: %v", err)
				}
				equal(t, count(t, beside, `SELECT COUNT(*) FROM notices WHERE consent_id = 'consent' AND step = 'revoked'`) == 1, c.told)
				events, err := db.Events(ctx, gatehouse.EventFilter{Kind: c.event}, "", 10)
				must(t, err)
				if len(events) != 1 || events[0].Actor != c.actor || events[0].RequestID != "request" || events[0].ClientID != "tpp" ||
					c.event != gatehouse.EventClientDeleted && (events[0].GrantID != "consent" || events[0].ConsentID != "consent" || events[0].Provider != "alpha") {
					t.Errorf("events: %+v", events)
				}
				if name != "client deleted" {
					other, err := db.Consent(ctx, "alpha", "another")
					must(t, err)
					equal(t, other.Status, gatehouse.ConsentAuthorised)
				}
			})
		}
	})
}

// A program of the release before, which knows no consents, may end a grant:
// its consent reads as revoked.
func TestGrantEndedByAnOlderProgram(t *testing.T) {
	storetest.Each(t, func(t *testing.T, url string) {
		db, beside := open(t, url), raw(t, url)
		authorised(t, db, "alpha", "consent")
		exec(t, beside, `UPDATE grants SET revoked_at = created_at`)
		c, err := db.Consent(t.Context(), "alpha", "consent")
		must(t, err)
		equal(t, c.Status, gatehouse.ConsentRevoked)
		list, err := db.Consents(t.Context(), "alpha", gatehouse.ConsentFilter{Status: gatehouse.ConsentRevoked}, "", 10)
		must(t, err)
		equal(t, len(list), 1)
	})
}

func count(t testing.TB, db *sql.DB, query string) (n int) {
	t.Helper()
	must(t, db.QueryRowContext(t.Context(), query).Scan(&n))
	return n
}

// A PSU who authorises a consent again renews its grant; nobody else does.
func TestAuthoriseAgain(t *testing.T) {
	forEachDB(t, func(t *testing.T, open func() *store.DB) {
		db, ctx := open(), t.Context()
		authorised(t, db, "alpha", "consent")
		must(t, db.ExchangeCode(ctx, "alpha", "consent", anAccessToken("alpha", "a", "consent"), aRefreshToken("alpha", "r", "consent"), now))
		again := aGrantFor("alpha", "consent", "consent")
		again.Accounts, again.AuthTime, again.ACR = []byte(`["2"]`), now.Add(20*time.Minute), "ca"
		again.ExpiresAt, again.AuthenticationExpiresAt = now.Add(3*time.Hour), now.Add(4*time.Hour)
		again.CreatedAt = now.Add(20 * time.Minute)
		visit := func(id string) {
			a := aVisitFor("alpha", id, "consent")
			a.ExpiresAt, a.CodeExpiresAt = now.Add(time.Hour), now.Add(time.Hour)
			must(t, db.CreateAuthorization(ctx, a))
		}
		visit("again")
		another, stranger := *again, *again
		another.ID = "another"
		stranger.UserID = "stranger"
		at := now.Add(20 * time.Minute)
		walk(t, []step{
			{"by a grant of its own", func() error { return db.ApproveAuthorization(ctx, "alpha", "again", &another, at) }, gatehouse.ErrConflict},
			{"by another PSU", func() error { return db.ApproveAuthorization(ctx, "alpha", "again", &stranger, at) }, gatehouse.ErrConflict},
			{"by the PSU", func() error { return db.ApproveAuthorization(ctx, "alpha", "again", again, at) }, nil},
		})
		_, g, err := db.RefreshToken(ctx, "alpha", "r")
		must(t, err)
		want := *again
		want.CreatedAt = now
		equal(t, g, &want)
		c, err := db.Consent(ctx, "alpha", "consent")
		must(t, err)
		equal(t, c.StatusUpdatedAt, now)

		visit("refused")
		must(t, db.DenyAuthorization(ctx, "alpha", "refused", at))
		c, err = db.Consent(ctx, "alpha", "consent")
		must(t, err)
		equal(t, c.Status, gatehouse.ConsentAuthorised)
		visit("late")
		walk(t, []step{
			{"after its end", func() error { return db.ApproveAuthorization(ctx, "alpha", "late", again, now.Add(time.Hour)) }, gatehouse.ErrConflict},
			{"revoke", func() error { return db.EndConsent(ctx, "alpha", "consent", gatehouse.ConsentRevoked, at) }, nil},
			{"a revoked one", func() error { return db.ApproveAuthorization(ctx, "alpha", "late", again, at) }, gatehouse.ErrConflict},
			{"the code of the visit before", func() error {
				return db.ExchangeCode(ctx, "alpha", "again", anAccessToken("alpha", "b", "consent"), nil, at)
			}, gatehouse.ErrConflict},
		})
	})
}

// A payment is authorised once.
func TestAuthorisePaymentAgain(t *testing.T) {
	forEachDB(t, func(t *testing.T, open func() *store.DB) {
		db, ctx := open(), t.Context()
		c := aConsent("alpha", "payment")
		c.Kind = gatehouse.DomesticPayment
		_, err := db.CreateConsent(ctx, c, now)
		must(t, err)
		for _, id := range []string{"first", "second"} {
			must(t, db.CreateAuthorization(ctx, aVisitFor("alpha", id, "payment")))
		}
		walk(t, []step{
			{"first", func() error {
				return db.ApproveAuthorization(ctx, "alpha", "first", aGrantFor("alpha", "grant", "payment"), now)
			}, nil},
			{"second", func() error {
				return db.ApproveAuthorization(ctx, "alpha", "second", aGrantFor("alpha", "grant", "payment"), now)
			}, gatehouse.ErrConflict},
		})
	})
}

// Visits of one consent, and its end, meet at the same moment: whatever comes
// first, a consent that is authorised has its one grant in force, and one that
// is not has none.
func TestConsentRaces(t *testing.T) {
	rounds := storetest.Rounds(t, 20)
	forEachDB(t, func(t *testing.T, open func() *store.DB) {
		first, second, ctx := open(), open(), t.Context()
		for round := range rounds {
			id := fmt.Sprint("consent ", round)
			lodged(t, first, "alpha", id)
			const visits = 6
			for n := range visits {
				must(t, first.CreateAuthorization(ctx, aVisitFor("alpha", fmt.Sprint(id, n), id)))
			}
			var callers sync.WaitGroup
			start, won := make(chan struct{}), make([]bool, visits)
			call := func(act func() error, expected ...error) {
				callers.Go(func() {
					<-start
					err := act()
					for _, e := range append(expected, nil) {
						if errors.Is(err, e) {
							return
						}
					}
					t.Error(err)
				})
			}
			for n := range visits {
				db, visit := first, fmt.Sprint(id, n)
				if n%2 == 1 {
					db = second
				}
				call(func() error {
					err := db.ApproveAuthorization(ctx, "alpha", visit, aGrantFor("alpha", "grant "+visit, id), now)
					won[n] = err == nil
					return err
				}, gatehouse.ErrConflict)
				if n < 2 {
					call(func() error { return db.DenyAuthorization(ctx, "alpha", visit, now) }, gatehouse.ErrConflict)
				}
			}
			if round%2 == 0 {
				call(func() error { return second.EndConsent(ctx, "alpha", id, gatehouse.ConsentRevoked, now) }, gatehouse.ErrConflict)
			}
			close(start)
			callers.Wait()

			c, err := first.Consent(ctx, "alpha", id)
			must(t, err)
			winners := 0
			for n := range visits {
				g, err := first.Grant(ctx, "alpha", fmt.Sprint("grant ", id, n))
				switch {
				case won[n]:
					winners++
					must(t, err)
					equal(t, g.ID, c.GrantID)
					equal(t, g.RevokedAt.IsZero(), c.Status == gatehouse.ConsentAuthorised)
				case !errors.Is(err, gatehouse.ErrNotFound):
					t.Errorf("a visit that lost has a grant: %v", err)
				}
			}
			if winners > 1 || (c.Status == gatehouse.ConsentAuthorised) != (winners == 1) && c.Status != gatehouse.ConsentRevoked {
				t.Errorf("round %d: %d visits won, consent is %s", round, winners, c.Status)
			}
		}
	})
}

// Each clock ends a grant by itself, to the millisecond, whatever its tokens
// say; the client's own grants have no second one.
//
// Proves: T22
func TestTwoClocks(t *testing.T) {
	forEachDB(t, func(t *testing.T, open func() *store.DB) {
		db, ctx := open(), t.Context()
		end := now.Add(10 * time.Minute)
		for name, change := range map[string]func(*gatehouse.Grant){
			"consent":        func(g *gatehouse.Grant) { g.ExpiresAt = end },
			"authentication": func(g *gatehouse.Grant) { g.AuthenticationExpiresAt = end },
			"without a PSU": func(g *gatehouse.Grant) {
				g.ExpiresAt, g.AuthenticationExpiresAt = end, time.Time{}
			},
		} {
			g := aGrant("alpha", name)
			change(g)
			must(t, db.CreateGrant(ctx, g, anAccessToken("alpha", name, name), aRefreshToken("alpha", name, name)))
			a := aVisit("alpha", "visit of "+name)
			a.CodeExpiresAt = now.Add(time.Hour)
			must(t, db.CreateAuthorization(ctx, a))
			visited := *g
			visited.ID = "visit of " + name
			must(t, db.ApproveAuthorization(ctx, "alpha", a.ID, &visited, now))
			refresh := func(id string, at time.Time) func() error {
				return func() error { return db.Refresh(ctx, "alpha", name, anAccessToken("alpha", id, name), nil, 0, at) }
			}
			exchange := func(id string, at time.Time) func() error {
				return func() error {
					return db.ExchangeCode(ctx, "alpha", a.ID, anAccessToken("alpha", id, visited.ID), nil, at)
				}
			}
			walk(t, []step{
				{name + ": refresh at the end", refresh("a"+name, end), gatehouse.ErrNotFound},
				{name + ": refresh before", refresh("b"+name, end.Add(-time.Millisecond)), nil},
				{name + ": exchange at the end", exchange("c"+name, end), gatehouse.ErrConflict},
				{name + ": exchange before", exchange("d"+name, end.Add(-time.Millisecond)), nil},
			})
		}
	})
}

// Grants and consents are listed newest first, page by page, and a use is
// written down once in a while.
func TestGrantLists(t *testing.T) {
	forEachDB(t, func(t *testing.T, open func() *store.DB) {
		db, ctx := open(), t.Context()
		for _, row := range [][3]string{{"1", "tpp", "user"}, {"2", "tpp", ""}, {"3", "other", "user"}, {"4", "tpp", "another"}, {"5", "tpp", "user"}} {
			g := aGrant("alpha", row[0])
			g.ClientID, g.UserID = row[1], row[2]
			must(t, db.CreateGrant(ctx, g, anAccessToken("alpha", row[0], row[0]), nil))
		}
		list := func(f gatehouse.GrantFilter, before string, limit int) (ids string) {
			grants, err := db.Grants(ctx, "alpha", f, before, limit)
			must(t, err)
			for _, g := range grants {
				ids += g.ID
			}
			return ids
		}
		equal(t, list(gatehouse.GrantFilter{}, "", 10), "54321")
		equal(t, list(gatehouse.GrantFilter{}, "4", 2), "32")
		equal(t, list(gatehouse.GrantFilter{OfPSUs: true}, "", 10), "5431")
		equal(t, list(gatehouse.GrantFilter{UserID: "user"}, "", 10), "531")
		equal(t, list(gatehouse.GrantFilter{UserID: "user", ClientID: "tpp"}, "5", 10), "1")
		equal(t, list(gatehouse.GrantFilter{ClientID: "tpp"}, "", 10), "5421")

		used := func(at time.Time) time.Time {
			must(t, db.TouchGrant(ctx, "alpha", "1", at))
			g, err := db.Grant(ctx, "alpha", "1")
			must(t, err)
			return g.LastUsedAt
		}
		equal(t, used(now), now)
		equal(t, used(now.Add(gatehouse.LastUsedPrecision-time.Millisecond)), now)
		equal(t, used(now.Add(gatehouse.LastUsedPrecision)), now.Add(gatehouse.LastUsedPrecision))
		equal(t, used(now), now) // a clock that was set back
	})
}
