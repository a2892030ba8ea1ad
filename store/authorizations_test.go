package store_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"gatehouse"
	"gatehouse/store"
)

func TestAuthorizations(t *testing.T) {
	forEachDB(t, func(t *testing.T, open func() *store.DB) {
		db, ctx := open(), t.Context()
		withCode, withoutCode := aVisit("alpha", "visit"), aVisit("alpha", "codeless")
		withoutCode.CodeHash, withoutCode.SealedCode, withoutCode.CodeExpiresAt, withoutCode.BrowserHash = nil, nil, time.Time{}, nil
		create := func(change func(a *gatehouse.Authorization)) func() error {
			a := aVisit("alpha", "other")
			a.CodeHash = nil
			change(a)
			return func() error { return db.CreateAuthorization(ctx, a) }
		}
		get := func(id string) func() error {
			return func() error { _, err := db.Authorization(ctx, "alpha", id); return err }
		}
		walk(t, []step{
			{"create", func() error { return db.CreateAuthorization(ctx, withCode) }, nil},
			{"create without code", func() error { return db.CreateAuthorization(ctx, withoutCode) }, nil},
			{"create another without code", create(func(a *gatehouse.Authorization) {}), nil},
			{"id taken", create(func(a *gatehouse.Authorization) { a.ID = "visit" }), gatehouse.ErrExists},
			{"code taken", create(func(a *gatehouse.Authorization) { a.ID, a.CodeHash = "third", codeHash("visit") }), gatehouse.ErrExists},
			{"nothing is left of a refused visit", get("third"), gatehouse.ErrNotFound},
			{"id with a NUL", get("vi\x00sit"), gatehouse.ErrNotFound},
			{"unknown code", func() error {
				_, _, err := db.AuthorizationByCode(ctx, "alpha", codeHash("nobody"))
				return err
			}, gatehouse.ErrNotFound},
			{"no code", func() error { _, _, err := db.AuthorizationByCode(ctx, "alpha", nil); return err }, gatehouse.ErrNotFound},
		})
		for _, want := range []*gatehouse.Authorization{withCode, withoutCode} {
			got, err := db.Authorization(ctx, "alpha", want.ID)
			must(t, err)
			equal(t, got, want)
		}
		got, g, err := db.AuthorizationByCode(ctx, "alpha", codeHash("visit"))
		must(t, err)
		equal(t, got, withCode)
		equal(t, g, (*gatehouse.Grant)(nil))
	})
}

func TestDecide(t *testing.T) {
	forEachDB(t, func(t *testing.T, open func() *store.DB) {
		db, ctx := open(), t.Context()
		expiry := aVisit("", "").ExpiresAt
		approve := func(id, grant string, now time.Time) func() error {
			return func() error { return db.ApproveAuthorization(ctx, "alpha", id, aGrant("alpha", grant), now) }
		}
		deny := func(id string, now time.Time) func() error {
			return func() error { return db.DenyAuthorization(ctx, "alpha", id, now) }
		}
		for _, id := range []string{"approved", "denied", "late"} {
			must(t, db.CreateAuthorization(ctx, aVisit("alpha", id)))
		}
		walk(t, []step{
			{"approve", approve("approved", "grant", now), nil},
			{"approve again", approve("approved", "grant 2", now), gatehouse.ErrConflict},
			{"approve again with the same grant", approve("approved", "grant", now), gatehouse.ErrConflict},
			{"deny what is approved", deny("approved", now), gatehouse.ErrConflict},
			{"deny", deny("denied", now), nil},
			{"deny again", deny("denied", now), gatehouse.ErrConflict},
			{"approve what is denied", approve("denied", "grant 3", now), gatehouse.ErrConflict},
			{"approve at the expiry", approve("late", "grant 4", expiry), gatehouse.ErrConflict},
			{"deny at the expiry", deny("late", expiry), gatehouse.ErrConflict},
			{"approve with another's grant", approve("late", "grant", now), gatehouse.ErrConflict},
			{"approve an unknown id", approve("nobody", "grant 5", now), gatehouse.ErrNotFound},
			{"deny an unknown id", deny("nobody", now), gatehouse.ErrNotFound},
			{"approve an id with a NUL", approve("la\x00te", "grant 6", now), gatehouse.ErrNotFound},
			{"deny an id with a NUL", deny("la\x00te", now), gatehouse.ErrNotFound},
		})
		for _, grant := range []string{"grant 2", "grant 3", "grant 4", "grant 5"} {
			if err := db.RevokeGrant(ctx, "alpha", grant, now); !errors.Is(err, gatehouse.ErrNotFound) {
				t.Errorf("a refused approval left %s: %v", grant, err)
			}
		}
		want := aVisit("alpha", "approved")
		want.Status, want.GrantID, want.DecidedAt = gatehouse.AuthorizationApproved, "grant", now
		got, g, err := db.AuthorizationByCode(ctx, "alpha", codeHash("approved"))
		must(t, err)
		equal(t, got, want)
		equal(t, g, aGrant("alpha", "grant"))
		want = aVisit("alpha", "denied")
		want.Status, want.DecidedAt = gatehouse.AuthorizationDenied, now
		got, g, err = db.AuthorizationByCode(ctx, "alpha", codeHash("denied"))
		must(t, err)
		equal(t, got, want)
		equal(t, g, (*gatehouse.Grant)(nil))
		got, err = db.Authorization(ctx, "alpha", "late")
		must(t, err)
		equal(t, got, aVisit("alpha", "late"))
		walk(t, []step{{"a millisecond before the expiry", approve("late", "grant 7", expiry.Add(-time.Millisecond)), nil}})
	})
}

func TestSetCode(t *testing.T) {
	forEachDB(t, func(t *testing.T, open func() *store.DB) {
		db, ctx := open(), t.Context()
		for _, id := range []string{"pending", "approved", "denied", "other"} {
			a := aVisit("alpha", id)
			a.CodeHash, a.SealedCode, a.CodeExpiresAt = nil, nil, time.Time{}
			must(t, db.CreateAuthorization(ctx, a))
		}
		must(t, db.ApproveAuthorization(ctx, "alpha", "approved", aGrant("alpha", "approved"), now))
		must(t, db.DenyAuthorization(ctx, "alpha", "denied", now))
		setCode := func(id, code string) func() error {
			return func() error { return db.SetCode(ctx, "alpha", id, codeHash(code), now.Add(time.Minute)) }
		}
		walk(t, []step{
			{"pending", setCode("pending", "pending"), nil},
			{"pending again", setCode("pending", "second"), gatehouse.ErrSpent},
			{"approved", setCode("approved", "approved"), nil},
			{"approved again", setCode("approved", "second"), gatehouse.ErrSpent},
			{"denied", setCode("denied", "denied"), gatehouse.ErrConflict},
			{"a code that is taken", setCode("other", "pending"), gatehouse.ErrExists},
			{"unknown", setCode("nobody", "nobody"), gatehouse.ErrNotFound},
			{"id with a NUL", setCode("pend\x00ing", "second"), gatehouse.ErrNotFound},
			{"exchange", func() error {
				return db.ExchangeCode(ctx, "alpha", "approved", anAccessToken("alpha", "a", "approved"), nil, now)
			}, nil},
			{"exchanged", setCode("approved", "third"), gatehouse.ErrSpent},
		})
		a, _, err := db.AuthorizationByCode(ctx, "alpha", codeHash("pending"))
		must(t, err)
		equal(t, a.ID, "pending")
		equal(t, a.CodeExpiresAt, now.Add(time.Minute))
		_, g, err := db.AuthorizationByCode(ctx, "alpha", codeHash("approved"))
		must(t, err)
		equal(t, g, aGrant("alpha", "approved"))
	})
}

func TestExchangeCode(t *testing.T) {
	forEachDB(t, func(t *testing.T, open func() *store.DB) {
		db, ctx := open(), t.Context()
		codeExpiry, grantExpiry := aVisit("", "").CodeExpiresAt, aGrant("", "").ExpiresAt
		for _, id := range []string{"first", "no refresh", "late", "revoked"} {
			approved(t, db, "alpha", id)
		}
		must(t, db.RevokeGrant(ctx, "alpha", "revoked", now))
		for _, id := range []string{"pending", "denied", "over", "codeless"} {
			a := aVisit("alpha", id)
			switch id {
			case "over":
				a.CodeExpiresAt = grantExpiry.Add(time.Hour)
			case "codeless":
				a.CodeHash, a.CodeExpiresAt = nil, time.Time{}
			}
			must(t, db.CreateAuthorization(ctx, a))
		}
		must(t, db.DenyAuthorization(ctx, "alpha", "denied", now))
		must(t, db.ApproveAuthorization(ctx, "alpha", "over", aGrant("alpha", "over"), now))
		must(t, db.ApproveAuthorization(ctx, "alpha", "codeless", aGrant("alpha", "codeless"), now))

		exchange := func(id, token string, now time.Time) func() error {
			return func() error {
				return db.ExchangeCode(ctx, "alpha", id, anAccessToken("alpha", token, id), aRefreshToken("alpha", token, id), now)
			}
		}
		walk(t, []step{
			{"pending", exchange("pending", "t1", now), gatehouse.ErrConflict},
			{"denied", exchange("denied", "t2", now), gatehouse.ErrConflict},
			{"without a code", exchange("codeless", "t3", now), gatehouse.ErrConflict},
			{"at the code's expiry", exchange("late", "t4", codeExpiry), gatehouse.ErrConflict},
			{"grant revoked", exchange("revoked", "t5", now), gatehouse.ErrConflict},
			{"at the grant's expiry", exchange("over", "t6", grantExpiry), gatehouse.ErrConflict},
			{"unknown", exchange("nobody", "t7", now), gatehouse.ErrNotFound},
			{"id with a NUL", exchange("fi\x00rst", "t8", now), gatehouse.ErrNotFound},
			{"first", exchange("first", "t", now), nil},
			{"without refresh token", func() error {
				return db.ExchangeCode(ctx, "alpha", "no refresh", anAccessToken("alpha", "alone", "no refresh"), nil, now)
			}, nil},
			{"a millisecond before the expiry", exchange("late", "t9", codeExpiry.Add(-time.Millisecond)), nil},
		})
		for i := 1; i <= 8; i++ {
			id := fmt.Sprint("t", i)
			if _, _, err := db.AccessToken(ctx, "alpha", id); !errors.Is(err, gatehouse.ErrNotFound) {
				t.Errorf("a refused exchange left access token %s: %v", id, err)
			}
			if _, _, err := db.RefreshToken(ctx, "alpha", id); !errors.Is(err, gatehouse.ErrNotFound) {
				t.Errorf("a refused exchange left refresh token %s: %v", id, err)
			}
		}
		access, g, err := db.AccessToken(ctx, "alpha", "t")
		must(t, err)
		equal(t, access, anAccessToken("alpha", "t", "first"))
		equal(t, g, aGrant("alpha", "first"))
		refresh, g, err := db.RefreshToken(ctx, "alpha", "t")
		must(t, err)
		equal(t, refresh, aRefreshToken("alpha", "t", "first"))
		equal(t, g, aGrant("alpha", "first"))
		want := aVisit("alpha", "first")
		want.Status, want.GrantID, want.DecidedAt, want.SealedCode = gatehouse.AuthorizationExchanged, "first", now, nil
		a, g, err := db.AuthorizationByCode(ctx, "alpha", codeHash("first"))
		must(t, err)
		equal(t, a, want)
		equal(t, g, aGrant("alpha", "first"))

		// A replay, even after the expiry, ends the grant for good.
		replayed := codeExpiry.Add(time.Minute)
		walk(t, []step{
			{"replay", exchange("first", "t10", replayed), gatehouse.ErrSpent},
			{"second replay", exchange("first", "t11", replayed.Add(time.Minute)), gatehouse.ErrSpent},
			{"refresh after it", func() error {
				return db.Refresh(ctx, "alpha", "t", anAccessToken("alpha", "t12", "first"), nil, 0, now)
			}, gatehouse.ErrNotFound},
		})
		_, g, err = db.AccessToken(ctx, "alpha", "t")
		must(t, err)
		equal(t, g.RevokedAt, replayed)
		_, g, err = db.AccessToken(ctx, "alpha", "t9")
		must(t, err)
		equal(t, g.RevokedAt, time.Time{})
		for _, id := range []string{"t10", "t11", "t12"} {
			if _, _, err := db.AccessToken(ctx, "alpha", id); !errors.Is(err, gatehouse.ErrNotFound) {
				t.Errorf("a replay left access token %s: %v", id, err)
			}
		}
	})
}
