package store_test

import (
	"errors"
	"testing"
	"time"

	"gatehouse"
	"gatehouse/store"
)

func TestGrants(t *testing.T) {
	forEachDB(t, func(t *testing.T, open func() *store.DB) {
		db, ctx := open(), t.Context()
		bare := aGrant("alpha", "bare")
		bare.UserID, bare.IntentID, bare.Accounts, bare.DebtorAccount, bare.AuthTime, bare.ACR, bare.Scope = "", "", nil, nil, time.Time{}, "", nil
		create := func(g *gatehouse.Grant, token string) func() error {
			return func() error {
				return db.CreateGrant(ctx, g, anAccessToken("alpha", token, g.ID), aRefreshToken("alpha", token, g.ID))
			}
		}
		walk(t, []step{
			{"create", create(aGrant("alpha", "grant"), "t"), nil},
			{"create without refresh token", func() error { return db.CreateGrant(ctx, bare, anAccessToken("alpha", "b", "bare"), nil) }, nil},
			{"grant taken", create(aGrant("alpha", "grant"), "t1"), gatehouse.ErrExists},
			{"token taken", create(aGrant("alpha", "second"), "t"), gatehouse.ErrExists},
			{"nothing is left of a refused grant", func() error { return db.RevokeGrant(ctx, "alpha", "second", now) }, gatehouse.ErrNotFound},
			{"unknown access token", func() error { _, _, err := db.AccessToken(ctx, "alpha", "t1"); return err }, gatehouse.ErrNotFound},
			{"unknown refresh token", func() error { _, _, err := db.RefreshToken(ctx, "alpha", "b"); return err }, gatehouse.ErrNotFound},
			{"access token with a NUL", func() error { _, _, err := db.AccessToken(ctx, "alpha", "\x00"); return err }, gatehouse.ErrNotFound},
			{"refresh token with a NUL", func() error { _, _, err := db.RefreshToken(ctx, "alpha", "\x00"); return err }, gatehouse.ErrNotFound},
			{"unknown grant", func() error { return db.RevokeGrant(ctx, "alpha", "nobody", now) }, gatehouse.ErrNotFound},
			{"grant with a NUL", func() error { return db.RevokeGrant(ctx, "alpha", "\x00", now) }, gatehouse.ErrNotFound},
		})
		access, g, err := db.AccessToken(ctx, "alpha", "t")
		must(t, err)
		equal(t, access, anAccessToken("alpha", "t", "grant"))
		equal(t, g, aGrant("alpha", "grant"))
		_, g, err = db.AccessToken(ctx, "alpha", "b")
		must(t, err)
		equal(t, g, bare)
		refresh, g, err := db.RefreshToken(ctx, "alpha", "t")
		must(t, err)
		equal(t, refresh, aRefreshToken("alpha", "t", "grant"))
		equal(t, g, aGrant("alpha", "grant"))

		walk(t, []step{
			{"revoke", func() error { return db.RevokeGrant(ctx, "alpha", "grant", now) }, nil},
			{"revoke again", func() error { return db.RevokeGrant(ctx, "alpha", "grant", now.Add(time.Minute)) }, nil},
		})
		want := aGrant("alpha", "grant")
		want.RevokedAt = now
		_, g, err = db.RefreshToken(ctx, "alpha", "t")
		must(t, err)
		equal(t, g, want)
	})
}

func TestRefresh(t *testing.T) {
	forEachDB(t, func(t *testing.T, open func() *store.DB) {
		db, ctx := open(), t.Context()
		tokenExpiry, grantExpiry := aRefreshToken("", "", "").ExpiresAt, aGrant("", "").ExpiresAt
		for _, id := range []string{"good", "revoked", "over"} {
			refresh := aRefreshToken("alpha", id, id)
			if id == "over" {
				refresh.ExpiresAt = grantExpiry.Add(time.Hour)
			}
			must(t, db.CreateGrant(ctx, aGrant("alpha", id), anAccessToken("alpha", id, id), refresh))
		}
		must(t, db.RevokeGrant(ctx, "alpha", "revoked", now))
		refresh := func(id, token string, now time.Time) func() error {
			return func() error { return db.Refresh(ctx, "alpha", id, anAccessToken("alpha", token, id), nil, 0, now) }
		}
		walk(t, []step{
			{"first", refresh("good", "t", now), nil},
			{"again", refresh("good", "t2", tokenExpiry.Add(-time.Millisecond)), nil},
			{"at the token's expiry", refresh("good", "t3", tokenExpiry), gatehouse.ErrNotFound},
			{"grant revoked", refresh("revoked", "t4", now), gatehouse.ErrNotFound},
			{"at the grant's expiry", refresh("over", "t5", grantExpiry), gatehouse.ErrNotFound},
			{"before the grant's expiry", refresh("over", "t6", grantExpiry.Add(-time.Millisecond)), nil},
			{"unknown", refresh("nobody", "t7", now), gatehouse.ErrNotFound},
			{"id with a NUL", refresh("\x00", "t8", now), gatehouse.ErrNotFound},
		})
		access, g, err := db.AccessToken(ctx, "alpha", "t")
		must(t, err)
		equal(t, access, anAccessToken("alpha", "t", "good"))
		equal(t, g, aGrant("alpha", "good"))
		for _, id := range []string{"t3", "t4", "t5", "t7", "t8"} {
			if _, _, err := db.AccessToken(ctx, "alpha", id); !errors.Is(err, gatehouse.ErrNotFound) {
				t.Errorf("a refused refresh left access token %s: %v", id, err)
			}
		}
	})
}
