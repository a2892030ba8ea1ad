package store_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"gatehouse"
	"gatehouse/eidas"
	"gatehouse/store"
	"gatehouse/store/storetest"
)

func TestClients(t *testing.T) {
	forEachDB(t, func(t *testing.T, open func() *store.DB) {
		db, ctx := open(), t.Context()
		tpp := aClient("tpp")
		get := func(id string) func() error {
			return func() error { _, err := db.Client(ctx, id); return err }
		}
		walk(t, []step{
			{"create", func() error { return db.CreateClient(ctx, tpp) }, nil},
			{"id taken", func() error { return db.CreateClient(ctx, aClient("tpp")) }, gatehouse.ErrExists},
			{"unknown", get("nobody"), gatehouse.ErrNotFound},
			{"id with a NUL", get("t\x00pp"), gatehouse.ErrNotFound},
		})
		c, err := db.Client(ctx, "tpp")
		must(t, err)
		equal(t, c, tpp)
		stale := *c
		c.Name, c.Status, c.SecretHash, c.UpdatedAt = "New name", gatehouse.ClientDisabled, nil, now.Add(time.Hour)
		must(t, db.UpdateClient(ctx, c))
		equal(t, c.Version, stale.Version+1)
		rival := stale
		rival.UpdatedAt = c.UpdatedAt
		walk(t, []step{
			{"older version", func() error { return db.UpdateClient(ctx, &stale) }, gatehouse.ErrConflict},
			{"older version, in the same millisecond", func() error { return db.UpdateClient(ctx, &rival) }, gatehouse.ErrConflict},
			{"unknown", func() error { return db.UpdateClient(ctx, aClient("nobody")) }, gatehouse.ErrNotFound},
		})
		got, err := db.Client(ctx, "tpp")
		must(t, err)
		equal(t, got, c)
	})
}

func TestRegisteredClients(t *testing.T) {
	forEachDB(t, func(t *testing.T, open func() *store.DB) {
		db, ctx := open(), t.Context()
		registered := func(id, tpp, software string, at time.Time) *gatehouse.Client {
			c := aClient(id)
			directory, tpp, _ := strings.Cut(tpp, "/")
			c.TPP, c.SoftwareID, c.RegistrationTokenHash = &gatehouse.TPP{Directory: directory, URN: tpp, Roles: []eidas.Role{eidas.AccountInformation}}, software, gatehouse.HashSecret(id)
			c.CreatedAt = at
			must(t, db.CreateClient(ctx, c))
			return c
		}
		first, second := registered("b", "dir/org", "app", now), registered("a", "dir/org", "app", now.Add(time.Second))
		registered("c", "dir/org", "other app", now.Add(time.Second))
		registered("d", "dir/other org", "app", now)
		registered("e", "other dir/org", "app", now)
		must(t, db.CreateClient(ctx, aClient("by an operator")))
		list, err := db.ClientsOfSoftware(ctx, "dir", "org", "app")
		must(t, err)
		equal(t, list, []*gatehouse.Client{first, second})
		for since, want := range map[time.Duration]int{0: 3, time.Second: 2, 2 * time.Second: 0} {
			n, err := db.CountRegistrations(ctx, "dir", "org", now.Add(since))
			must(t, err)
			equal(t, n, want)
		}

		for _, provider := range []string{"alpha", "beta"} {
			must(t, db.CreateProvider(ctx, aProvider(provider), nil))
			for _, client := range []string{"a", "b"} {
				id := provider + " " + client
				g, access := aGrant(provider, id), anAccessToken(provider, id, id)
				g.ClientID, access.ClientID = client, client
				must(t, db.CreateGrant(ctx, g, access, nil))
			}
		}
		access, grant, err := db.ClientAccessToken(ctx, "a", "beta a")
		must(t, err)
		equal(t, []string{access.Provider, access.ID, grant.ID}, []string{"beta", "beta a", "beta a"})
		walk(t, []step{
			{"token of another client", func() error { _, _, err := db.ClientAccessToken(ctx, "b", "beta a"); return err }, gatehouse.ErrNotFound},
			{"unknown token", func() error { _, _, err := db.ClientAccessToken(ctx, "a", "gamma a"); return err }, gatehouse.ErrNotFound},
			{"delete", func() error { return db.DeleteClient(ctx, "a", now.Add(time.Minute)) }, nil},
			{"delete again", func() error { return db.DeleteClient(ctx, "a", now.Add(time.Hour)) }, gatehouse.ErrNotFound},
			{"delete an unknown one", func() error { return db.DeleteClient(ctx, "nobody", now) }, gatehouse.ErrNotFound},
			{"id of a deleted one", func() error { return db.CreateClient(ctx, aClient("a")) }, gatehouse.ErrExists},
			{"update from before", func() error { return db.UpdateClient(ctx, second) }, gatehouse.ErrConflict},
		})
		deleted, err := db.Client(ctx, "a")
		must(t, err)
		if deleted.Status != gatehouse.ClientDeleted || deleted.SecretHash != nil || deleted.RegistrationTokenHash != nil {
			t.Errorf("deleted client: %+v", deleted)
		}
		for _, provider := range []string{"alpha", "beta"} {
			for client, revoked := range map[string]time.Time{"a": now.Add(time.Minute), "b": {}} {
				_, grant, err := db.AccessToken(ctx, provider, provider+" "+client)
				must(t, err)
				equal(t, grant.RevokedAt, revoked)
			}
		}
		list, err = db.ClientsOfSoftware(ctx, "dir", "org", "app")
		must(t, err)
		equal(t, list, []*gatehouse.Client{first})
		n, err := db.CountRegistrations(ctx, "dir", "org", now)
		must(t, err)
		equal(t, n, 3)
		all, err := db.Clients(ctx, "", 10)
		must(t, err)
		equal(t, len(all), 5)
	})
}

// A grant that was made in the instant in which its client was deleted, and so
// was missed by DeleteClient, opens nothing.
func TestGrantMissedByDeletion(t *testing.T) {
	storetest.Each(t, func(t *testing.T, url string) {
		db, ctx := open(t, url), t.Context()
		withClient(t, db)
		withGrant(t, db)
		approved(t, db, "alpha", "visit")
		pending(t, db, "alpha", "pending")
		exec(t, raw(t, url), fmt.Sprintf(`UPDATE clients SET status = 'deleted', updated_at = %d`, now.Add(time.Minute).UnixMilli()))
		walk(t, []step{
			{"exchange", func() error {
				return db.ExchangeCode(ctx, "alpha", "visit", anAccessToken("alpha", "b", "visit"), nil, now)
			}, gatehouse.ErrConflict},
			{"refresh", func() error {
				return db.Refresh(ctx, "alpha", "r", anAccessToken("alpha", "b", "grant"), nil, 0, now)
			}, gatehouse.ErrNotFound},
			{"approve", func() error {
				return db.ApproveAuthorization(ctx, "alpha", "pending", aGrant("alpha", "new"), now)
			}, gatehouse.ErrConflict},
			{"grant", func() error {
				return db.CreateGrant(ctx, aGrant("alpha", "new"), anAccessToken("alpha", "b", "new"), nil)
			}, gatehouse.ErrNotFound},
		})
		_, byAccess, err := db.AccessToken(ctx, "alpha", "a")
		must(t, err)
		_, byRefresh, err := db.RefreshToken(ctx, "alpha", "r")
		must(t, err)
		_, byCode, err := db.AuthorizationByCode(ctx, "alpha", codeHash("visit"))
		must(t, err)
		for _, g := range []*gatehouse.Grant{byAccess, byRefresh, byCode} {
			equal(t, g.RevokedAt, now.Add(time.Minute))
		}
		must(t, db.RevokeGrant(ctx, "alpha", "grant", now))
		_, g, err := db.AccessToken(ctx, "alpha", "a")
		must(t, err)
		equal(t, g.RevokedAt, now) // when it really ended
	})
}
