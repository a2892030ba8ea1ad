package store_test

import (
	"context"
	"testing"
	"time"

	"gatehouse"
	"gatehouse/store"
	"gatehouse/store/storetest"
)

func aResourceServer(provider, id string) *gatehouse.ResourceServer {
	return &gatehouse.ResourceServer{
		ID: id, Provider: provider, Name: "Gateway " + id, SecretHash: gatehouse.HashSecret("secret of " + id), CreatedAt: now,
	}
}

func TestResourceServers(t *testing.T) {
	forEachDB(t, func(t *testing.T, open func() *store.DB) {
		db := open()
		origin := gatehouse.Origin{Actor: gatehouse.ActorOperator, Name: "op"}
		ctx := gatehouse.WithOrigin(t.Context(), origin)
		create := func(provider, id string) func() error {
			return func() error { return db.CreateResourceServer(ctx, aResourceServer(provider, id)) }
		}
		remove := func(provider, id string) func() error {
			return func() error { return db.DeleteResourceServer(ctx, provider, id, now.Add(time.Minute)) }
		}
		lists := func(provider string, want ...*gatehouse.ResourceServer) {
			t.Helper()
			list, err := db.ResourceServers(ctx, provider)
			must(t, err)
			equal(t, list, want)
		}
		for _, code := range []string{"alpha", "beta", "gone"} {
			must(t, db.CreateProvider(ctx, aProvider(code), nil))
		}
		earlier := aResourceServer("gone", "b")
		earlier.SecretHash = gatehouse.HashSecret("an earlier secret")
		must(t, db.CreateResourceServer(ctx, earlier))
		must(t, db.DeleteProvider(ctx, "gone", now))
		lists("alpha")
		walk(t, []step{
			{"first", create("alpha", "b"), nil},
			{"again", create("alpha", "b"), gatehouse.ErrExists},
			{"at another provider", create("beta", "b"), nil},
			{"one that comes earlier", create("alpha", "B"), nil},
			{"at no provider", create("ALPHA", "b"), gatehouse.ErrNotFound},
			{"at a deleted provider", create("gone", "c"), gatehouse.ErrNotFound},
			{"the id of one at a deleted provider", create("gone", "b"), gatehouse.ErrNotFound},
		})
		lists("alpha", aResourceServer("alpha", "B"), aResourceServer("alpha", "b"))
		walk(t, []step{
			{"delete", remove("alpha", "b"), nil},
			{"delete again", remove("alpha", "b"), gatehouse.ErrNotFound},
			{"delete an unknown one", remove("alpha", "c"), gatehouse.ErrNotFound},
			{"create once more", create("alpha", "b"), nil},
			{"delete once more", remove("alpha", "b"), nil},
		})
		lists("alpha", aResourceServer("alpha", "B"))
		lists("beta", aResourceServer("beta", "b"))

		created := func(provider, id string) *gatehouse.Event {
			return &gatehouse.Event{At: now, Kind: gatehouse.EventResourceServerCreated, Provider: provider, Detail: id, Origin: origin}
		}
		removed := &gatehouse.Event{At: now.Add(time.Minute), Kind: gatehouse.EventResourceServerDeleted, Provider: "alpha", Detail: "b", Origin: origin}
		leaves(t, db, gatehouse.EventResourceServerCreated,
			created("gone", "b"), created("alpha", "b"), created("beta", "b"), created("alpha", "B"), created("alpha", "b"))
		leaves(t, db, gatehouse.EventResourceServerDeleted, removed, removed)
	})
}

// Of concurrent creations, and of concurrent deletions, one succeeds and
// leaves an event.
func TestResourceServersConcurrently(t *testing.T) {
	forEachDB(t, func(t *testing.T, open func() *store.DB) {
		handles := []*store.DB{open(), open()}
		withProvider(t, handles[0])
		for round := range storetest.Rounds(t, 5) {
			winner := oneWins(t, together(16, func(n int) error {
				r := aResourceServer("alpha", "gateway")
				r.SecretHash = []byte{byte(n)}
				return handles[n%2].CreateResourceServer(context.Background(), r)
			}), gatehouse.ErrExists)
			list, err := handles[0].ResourceServers(t.Context(), "alpha")
			must(t, err)
			if len(list) != 1 || list[0].SecretHash[0] != byte(winner) {
				t.Fatalf("there is %v, and call %d has succeeded", list, winner)
			}
			oneWins(t, together(16, func(n int) error {
				return handles[n%2].DeleteResourceServer(context.Background(), "alpha", "gateway", now)
			}), gatehouse.ErrNotFound)
			for _, kind := range []gatehouse.EventKind{gatehouse.EventResourceServerCreated, gatehouse.EventResourceServerDeleted} {
				events, err := handles[0].Events(t.Context(), gatehouse.EventFilter{Kind: kind}, "", 1000)
				must(t, err)
				equal(t, len(events), round+1)
			}
		}
	})
}

// What keeps a provider in memory learns of its resource servers.
func TestResourceServersWatched(t *testing.T) {
	url := storetest.URL(t, "postgres")
	db := open(t, url)
	withProvider(t, db)
	changes, stop := watch(open(t, url))
	defer stop()
	equal(t, next(t, changes), gatehouse.Change{}) // it begins
	must(t, db.CreateResourceServer(t.Context(), aResourceServer("alpha", "gateway")))
	equal(t, next(t, changes), gatehouse.Change{Provider: "alpha"})
	must(t, db.DeleteResourceServer(t.Context(), "alpha", "gateway", now))
	equal(t, next(t, changes), gatehouse.Change{Provider: "alpha"})
}
