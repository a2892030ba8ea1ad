package store_test

import (
	"errors"
	"fmt"
	"strconv"
	"testing"
	"time"

	"gatehouse"
	"gatehouse/store/storetest"
)

// A hundred thousand assertions leave nothing a day after the last of them has
// expired.
//
// Proves: C9
func TestManyAssertions(t *testing.T) {
	const many = 100_000
	storetest.Each(t, func(t *testing.T, url string) {
		db, beside := open(t, url), raw(t, url)
		consume := func() error {
			return db.Consume(t.Context(), "", gatehouse.ConsumeAssertion, "assertion", now, now.Add(5*time.Minute), now)
		}
		must(t, consume())
		// The others are rows like that one, put there at once.
		exec(t, beside, `WITH RECURSIVE n (i) AS (SELECT 2 UNION ALL SELECT i + 1 FROM n WHERE i < `+fmt.Sprint(many)+`)
			INSERT INTO consumed (provider, kind, key_hash, keep_until) SELECT provider, kind, 'assertion ' || i, keep_until FROM n, consumed`)
		equal(t, column(t, beside, `SELECT COUNT(*) FROM consumed`), []string{strconv.Itoa(many)})
		equal(t, purge(t, db, now.Add(24*time.Hour)), 0)
		if err := consume(); !errors.Is(err, gatehouse.ErrSpent) {
			t.Errorf("again: %v", err)
		}
		equal(t, purge(t, db, now.Add(25*time.Hour)), many)
		equal(t, column(t, beside, `SELECT COUNT(*) FROM consumed`), []string{"0"})
	})
}
