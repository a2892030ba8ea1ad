package store_test

import (
	"errors"
	"sync"
	"testing"

	"gatehouse/store"
	"gatehouse/store/storetest"
)

// Proves: S1
func TestMigrate(t *testing.T) {
	storetest.Each(t, func(t *testing.T, url string) {
		ctx := t.Context()
		db, err := store.Open(ctx, url)
		must(t, err)
		defer db.Close()
		if err := db.Ping(ctx); !errors.Is(err, store.ErrOlderSchema) {
			t.Fatalf("ping of an empty database: got %v, want ErrOlderSchema", err)
		}
		if _, err := db.Client(ctx, "tpp"); err == nil || isOfTheStore(err) {
			t.Fatalf("read from an empty database: %v", err)
		}
		must(t, db.Migrate(ctx))
		must(t, db.Ping(ctx))
		have, want, err := db.SchemaVersion(ctx)
		must(t, err)
		if have != want || want < 1 {
			t.Fatalf("schema version %d, want %d", have, want)
		}
		beside := raw(t, url)
		before := dump(t, beside)
		must(t, db.Migrate(ctx))
		equal(t, dump(t, beside), before)

		again := "INSERT INTO schema_versions (version_id, is_applied) SELECT version_id, is_applied FROM schema_versions WHERE version_id = 1"
		if _, err := beside.ExecContext(ctx, again); err == nil {
			t.Error("one migration can be recorded twice")
		}
		exec(t, beside, "INSERT INTO schema_versions (version_id, is_applied) SELECT 999999, is_applied FROM schema_versions WHERE version_id = 1")
		if err := db.Ping(ctx); !errors.Is(err, store.ErrNewerSchema) {
			t.Fatalf("ping of a newer schema: got %v, want ErrNewerSchema", err)
		}
		before = dump(t, beside)
		if err := db.Migrate(ctx); !errors.Is(err, store.ErrNewerSchema) {
			t.Fatalf("migrate of a newer schema: got %v, want ErrNewerSchema", err)
		}
		equal(t, dump(t, beside), before)
	})
}

// Processes that start together all find the schema in place, made once.
func TestMigrateTogether(t *testing.T) {
	storetest.Each(t, func(t *testing.T, url string) {
		var done sync.WaitGroup
		begin := make(chan struct{})
		for range 4 {
			db, err := store.Open(t.Context(), url)
			must(t, err)
			t.Cleanup(func() { db.Close() })
			done.Go(func() {
				<-begin
				if err := db.Migrate(t.Context()); err != nil {
					t.Errorf("migrate: %v", err)
				}
				if err := db.Ping(t.Context()); err != nil {
					t.Errorf("ping: %v", err)
				}
			})
		}
		close(begin)
		done.Wait()
		equal(t, column(t, raw(t, url), "SELECT version_id FROM schema_versions WHERE version_id > 0"), []string{"1", "2"})
	})
}
