package store_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"gatehouse"
	"gatehouse/eidas"
	"gatehouse/store"

	"github.com/google/go-cmp/cmp"
)

// The contract of gatehouse.Store, method by method, on both databases.
// Proves: S1

// A step is one call and the error it must return.
type step struct {
	name string
	call func() error
	want error
}

func walk(t *testing.T, steps []step) {
	t.Helper()
	for _, s := range steps {
		if err := s.call(); !errors.Is(err, s.want) {
			t.Fatalf("%s: got %v, want %v", s.name, err, s.want)
		}
	}
}

func equal(t *testing.T, got, want any) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestProviders(t *testing.T) {
	forEachDB(t, func(t *testing.T, open func() *store.DB) {
		db, ctx := open(), t.Context()
		alpha := aProvider("alpha")
		keys := []*gatehouse.Key{aKey("alpha", "old", now), aKey("alpha", "new", now.Add(time.Hour))}
		changed := func(change func(p *gatehouse.Provider)) *gatehouse.Provider {
			p := aProvider("other")
			change(p)
			return p
		}
		create := func(p *gatehouse.Provider, keys ...*gatehouse.Key) func() error {
			return func() error { return db.CreateProvider(ctx, p, keys) }
		}
		missing := func(code string) func() error {
			return func() error { _, err := db.Provider(ctx, code); return err }
		}
		walk(t, []step{
			{"create", create(alpha, keys...), nil},
			{"code taken", create(changed(func(p *gatehouse.Provider) { p.Code = "alpha" })), gatehouse.ErrExists},
			{"app_id taken", create(changed(func(p *gatehouse.Provider) { p.Connector.AppID = "app-alpha" })), gatehouse.ErrExists},
			{"kid taken by another provider", create(aProvider("other"), aKey("other", "own", now), aKey("other", "old", now)), gatehouse.ErrExists},
			{"nothing is left of a refused provider", missing("other"), gatehouse.ErrNotFound},
			{"without keys", create(aProvider("other")), nil},
			{"unknown code", missing("nobody"), gatehouse.ErrNotFound},
			{"code with a NUL", missing("al\x00pha"), gatehouse.ErrNotFound},
			{"code that is not UTF-8", missing("al\xffpha"), gatehouse.ErrNotFound},
			{"unknown app_id", func() error { _, err := db.ProviderByAppID(ctx, "nobody"); return err }, gatehouse.ErrNotFound},
		})
		got, err := db.Provider(ctx, "alpha")
		must(t, err)
		equal(t, got, alpha)
		got, err = db.ProviderByAppID(ctx, "app-alpha")
		must(t, err)
		equal(t, got, alpha)
		gotKeys, err := db.Keys(ctx, "alpha")
		must(t, err)
		equal(t, gotKeys, []*gatehouse.Key{keys[1], keys[0]})
		gotKeys, err = db.Keys(ctx, "nobody")
		must(t, err)
		equal(t, len(gotKeys), 0)
	})
}

func TestUpdateProvider(t *testing.T) {
	forEachDB(t, func(t *testing.T, open func() *store.DB) {
		db, ctx := open(), t.Context()
		must(t, db.CreateProvider(ctx, aProvider("alpha"), nil))
		must(t, db.CreateProvider(ctx, aProvider("other"), nil))
		p, err := db.Provider(ctx, "alpha")
		must(t, err)
		stale := *p
		p.Name, p.Status, p.Connector.AppID, p.UpdatedAt = "New name", gatehouse.Disabled, "new app", now.Add(time.Hour)
		p.Connector.AppSecretHash = gatehouse.HashSecret("new")
		must(t, db.UpdateProvider(ctx, p))
		equal(t, p.Version, stale.Version+1)
		taken := *p
		taken.Connector.AppID = "app-other"
		walk(t, []step{
			{"older version", func() error { return db.UpdateProvider(ctx, &stale) }, gatehouse.ErrConflict},
			{"app_id of another", func() error { return db.UpdateProvider(ctx, &taken) }, gatehouse.ErrExists},
			{"unknown", func() error { return db.UpdateProvider(ctx, aProvider("nobody")) }, gatehouse.ErrNotFound},
		})
		equal(t, stale.Version, p.Version-1)
		got, err := db.Provider(ctx, "alpha")
		must(t, err)
		equal(t, got, p)
		got, err = db.ProviderByAppID(ctx, "new app")
		must(t, err)
		equal(t, got, p)
		p.Name = "Newer name"
		must(t, db.UpdateProvider(ctx, p)) // the version in p is the row's
	})
}

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
		walk(t, []step{
			{"older version", func() error { return db.UpdateClient(ctx, &stale) }, gatehouse.ErrConflict},
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

// Lists are in byte order on both databases, whatever the locale.
func TestLists(t *testing.T) {
	forEachDB(t, func(t *testing.T, open func() *store.DB) {
		db, ctx := open(), t.Context()
		order := []string{"a1", "aB", "a_", "ab"}
		for _, i := range []int{2, 0, 3, 1} {
			must(t, db.CreateProvider(ctx, aProvider(order[i]), nil))
			must(t, db.CreateClient(ctx, aClient(order[i])))
		}
		for _, page := range []struct {
			after string
			limit int
			want  []string
		}{
			{"", 3, order[:3]},
			{"a_", 3, order[3:]},
			{"a0", 100, order},
			{"ab", 3, nil},
		} {
			providers, err := db.Providers(ctx, page.after, page.limit)
			must(t, err)
			var codes []string
			for _, p := range providers {
				codes = append(codes, p.Code)
				equal(t, p, aProvider(p.Code))
			}
			equal(t, codes, page.want)
			clients, err := db.Clients(ctx, page.after, page.limit)
			must(t, err)
			var ids []string
			for _, c := range clients {
				ids = append(ids, c.ID)
				equal(t, c, aClient(c.ID))
			}
			equal(t, ids, page.want)
		}
	})
}

func TestConsume(t *testing.T) {
	forEachDB(t, func(t *testing.T, open func() *store.DB) {
		db, ctx := open(), t.Context()
		consume := func(provider, kind, key string) func() error {
			return func() error {
				return db.Consume(ctx, provider, gatehouse.ConsumeKind(kind), key, now, now.Add(time.Minute), now)
			}
		}
		walk(t, []step{
			{"first", consume("", "assertion", "key"), nil},
			{"again", consume("", "assertion", "key"), gatehouse.ErrSpent},
			{"of a provider", consume("alpha", "assertion", "key"), nil},
			{"of a provider again", consume("alpha", "assertion", "key"), gatehouse.ErrSpent},
			{"of another kind", consume("", "other", "key"), nil},
			{"another key", consume("", "assertion", "Key"), nil},
			{"a key with a NUL", consume("", "assertion", "key\x00"), nil},
			{"a key that is not UTF-8", consume("", "assertion", "\xff"), nil},
			{"a long key", consume("", "assertion", strings.Repeat("é", 10000)), nil},
			{"a long key again", consume("", "assertion", strings.Repeat("é", 10000)), gatehouse.ErrSpent},
			{"long after", func() error {
				return db.Consume(ctx, "", "assertion", "key", now, now.Add(24*time.Hour), now.Add(23*time.Hour))
			}, gatehouse.ErrSpent},
			{"already expired", func() error { return db.Consume(ctx, "", "assertion", "late", now, now.Add(-time.Hour), now) }, nil},
			{"already expired, again", func() error { return db.Consume(ctx, "", "assertion", "late", now, now.Add(-time.Hour), now) }, gatehouse.ErrSpent},
		})
	})
}

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

// What one handle wrote, another reads, and so does the next program.
func TestWritesLast(t *testing.T) {
	forEachDB(t, func(t *testing.T, open func() *store.DB) {
		db, other := open(), open()
		must(t, db.CreateClient(t.Context(), aClient("tpp")))
		_, err := other.Client(t.Context(), "tpp")
		must(t, err)
		must(t, db.Close())
		must(t, other.Close())
		_, err = open().Client(t.Context(), "tpp")
		must(t, err)
	})
}
