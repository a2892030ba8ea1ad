package store_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"gatehouse"
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
