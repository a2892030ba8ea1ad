package store_test

import (
	"context"
	"testing"
	"time"

	"gatehouse"
	"gatehouse/store"
	"gatehouse/store/storetest"

	"go.uber.org/goleak"
)

// next returns what Watch reports next.
func next(t *testing.T, changes <-chan gatehouse.Change) gatehouse.Change {
	t.Helper()
	select {
	case c := <-changes:
		return c
	case <-time.After(20 * time.Second):
		t.Fatal("Watch reports nothing")
		return gatehouse.Change{}
	}
}

// watch runs Watch until stop is called.
func watch(db *store.DB) (changes <-chan gatehouse.Change, stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	reports, ended := make(chan gatehouse.Change, 100), make(chan struct{})
	go func() {
		defer close(ended)
		db.Watch(ctx, func(c gatehouse.Change) { reports <- c })
	}()
	return reports, func() {
		cancel()
		<-ended
	}
}

// Every change of a provider or a client is reported to every process, and
// again after the connection was lost. A change that does not come to be is
// not.
func TestWatch(t *testing.T) {
	url := storetest.URL(t, "postgres")
	before := goleak.IgnoreCurrent()
	watcher, err := store.Open(t.Context(), url)
	must(t, err)
	db, beside, ctx := open(t, url), raw(t, url), t.Context()
	changes, stop := watch(watcher)
	equal(t, next(t, changes), gatehouse.Change{}) // it begins

	provider, client := aProvider("alpha"), aClient("a client")
	for _, s := range []struct {
		step
		report gatehouse.Change
	}{
		{step{"create provider", func() error { return db.CreateProvider(ctx, provider, nil) }, nil}, gatehouse.Change{Provider: "alpha"}},
		{step{"update provider", func() error { return db.UpdateProvider(ctx, provider) }, nil}, gatehouse.Change{Provider: "alpha"}},
		{step{"create provider again", func() error { return db.CreateProvider(ctx, aProvider("alpha"), nil) }, gatehouse.ErrExists}, gatehouse.Change{}},
		{step{"create client", func() error { return db.CreateClient(ctx, client) }, nil}, gatehouse.Change{}},
		{step{"update client", func() error { return db.UpdateClient(ctx, client) }, nil}, gatehouse.Change{ClientID: "a client"}},
		{step{"delete client", func() error { return db.DeleteClient(ctx, "a client", now) }, nil}, gatehouse.Change{ClientID: "a client"}},
	} {
		walk(t, []step{s.step})
		if s.report != (gatehouse.Change{}) {
			equal(t, next(t, changes), s.report)
		}
	}

	exec(t, beside, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND query = 'LISTEN gatehouse'`)
	equal(t, next(t, changes), gatehouse.Change{}) // what was missed nobody knows
	must(t, db.DeleteProvider(ctx, "alpha", now))
	equal(t, next(t, changes), gatehouse.Change{Provider: "alpha"})

	stop()
	must(t, watcher.Close())
	must(t, db.Close())
	must(t, beside.Close())
	goleak.VerifyNone(t, before)
	if len(changes) > 0 {
		t.Errorf("Watch also reports %v", <-changes)
	}
}

// Watch ends with its context, whether the database can tell of changes or not.
func TestWatchEnds(t *testing.T) {
	storetest.Each(t, func(t *testing.T, url string) {
		db := open(t, url)
		_, stop := watch(db)
		stop()
	})
	t.Run("without its database", func(t *testing.T) {
		url := storetest.URL(t, "postgres")
		proxy := startProxy(t, url)
		db := open(t, proxy.URL())
		changes, stop := watch(db)
		next(t, changes)
		proxy.Refuse()
		stop()
	})
}
