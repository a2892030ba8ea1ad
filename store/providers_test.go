package store_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"gatehouse"
	"gatehouse/store"
	"gatehouse/store/storetest"
)

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
		rival := stale
		rival.UpdatedAt = p.UpdatedAt
		walk(t, []step{
			{"older version", func() error { return db.UpdateProvider(ctx, &stale) }, gatehouse.ErrConflict},
			{"older version, in the same millisecond", func() error { return db.UpdateProvider(ctx, &rival) }, gatehouse.ErrConflict},
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

// A provider that is deleted is nobody's any more, its keys are gone, its code
// stays taken, and the others do not notice.
func TestDeleteProvider(t *testing.T) {
	storetest.Each(t, func(t *testing.T, url string) {
		db, beside, ctx := open(t, url), raw(t, url), t.Context()
		for _, code := range []string{"alpha", "beta"} {
			must(t, db.CreateProvider(ctx, aProvider(code), []*gatehouse.Key{aKey(code, "key of "+code, now)}))
			approved(t, db, code, "visit")
			granted(t, db, code, "grant")
		}
		stale, err := db.Provider(ctx, "alpha")
		must(t, err)
		others := func() (list []string) {
			for _, line := range rows(t, beside) {
				if !strings.HasPrefix(line, "providers code=alpha ") && !strings.HasPrefix(line, "signing_keys provider=alpha ") &&
					!strings.Contains(line, " kind=provider.deleted provider=alpha ") {
					list = append(list, line)
				}
			}
			return list
		}
		before := others()
		walk(t, []step{
			{"unknown", func() error { return db.DeleteProvider(ctx, "nobody", now) }, gatehouse.ErrNotFound},
			{"code with a NUL", func() error { return db.DeleteProvider(ctx, "al\x00pha", now) }, gatehouse.ErrNotFound},
			{"delete", func() error { return db.DeleteProvider(ctx, "alpha", now.Add(time.Minute)) }, nil},
			{"again", func() error { return db.DeleteProvider(ctx, "alpha", now.Add(time.Hour)) }, gatehouse.ErrNotFound},
			{"by code", func() error { _, err := db.Provider(ctx, "alpha"); return err }, gatehouse.ErrNotFound},
			{"by app_id", func() error { _, err := db.ProviderByAppID(ctx, "app-alpha"); return err }, gatehouse.ErrNotFound},
			{"by the app_id it has now", func() error { _, err := db.ProviderByAppID(ctx, "deleted alpha"); return err }, gatehouse.ErrNotFound},
			{"update", func() error { return db.UpdateProvider(ctx, stale) }, gatehouse.ErrNotFound},
			{"create again", func() error { return db.CreateProvider(ctx, aProvider("alpha"), nil) }, gatehouse.ErrExists},
		})
		same(t, "the others' rows", others(), before)
		keys, err := db.Keys(ctx, "alpha")
		must(t, err)
		equal(t, len(keys), 0)
		list, err := db.Providers(ctx, "", 10)
		must(t, err)
		equal(t, list, []*gatehouse.Provider{aProvider("beta")})
		equal(t, column(t, beside, `SELECT code FROM providers WHERE code = 'alpha' AND app_id = 'deleted alpha'
			AND app_secret_hash IS NULL AND subject_salt IS NULL AND settings = '{}'`), []string{"alpha"})
		heir := aProvider("heir")
		heir.Connector.AppID = "app-alpha"
		must(t, db.CreateProvider(ctx, heir, nil))
		got, err := db.ProviderByAppID(ctx, "app-alpha")
		must(t, err)
		equal(t, got, heir)
	})
}

// A token that a deleted provider issued does not stand for its client.
func TestClientAccessTokenOfDeletedProvider(t *testing.T) {
	forEachDB(t, func(t *testing.T, open func() *store.DB) {
		db, ctx := open(), t.Context()
		withProvider(t, db)
		withGrant(t, db)
		_, _, err := db.ClientAccessToken(ctx, "tpp", "a")
		must(t, err)
		must(t, db.DeleteProvider(ctx, "alpha", now))
		if _, _, err := db.ClientAccessToken(ctx, "tpp", "a"); !errors.Is(err, gatehouse.ErrNotFound) {
			t.Errorf("got %v", err)
		}
	})
}
