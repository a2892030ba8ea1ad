package store_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"gatehouse"
	"gatehouse/store"
	"gatehouse/store/storetest"
)

// An operation is one kind of change of one table.
type operation struct{ verb, table string }

// operations says what led from one dump to another.
func operations(before, after []string) (list []operation) {
	added, removed := map[string]int{}, map[string]int{}
	for _, line := range after {
		if !slices.Contains(before, line) {
			table, _, _ := strings.Cut(line, " ")
			added[table]++
		}
	}
	for _, line := range before {
		if !slices.Contains(after, line) {
			table, _, _ := strings.Cut(line, " ")
			removed[table]++
		}
	}
	for table, n := range added {
		if n > removed[table] {
			list = append(list, operation{"INSERT", table})
		}
		if removed[table] > 0 {
			list = append(list, operation{"UPDATE", table})
		}
	}
	for table, n := range removed {
		if n > added[table] {
			list = append(list, operation{"DELETE", table})
		}
	}
	return list
}

// forbid makes the operation fail until allow is called.
func forbid(t *testing.T, beside *sql.DB, sqlite bool, op operation) (allow func()) {
	t.Helper()
	if sqlite {
		exec(t, beside, "CREATE TRIGGER forbidden BEFORE "+op.verb+" ON "+op.table+" BEGIN SELECT RAISE(ABORT, 'forbidden'); END")
		return func() { exec(t, beside, "DROP TRIGGER forbidden") }
	}
	exec(t, beside, `CREATE OR REPLACE FUNCTION forbidden() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'forbidden'; END $$`)
	exec(t, beside, "CREATE TRIGGER forbidden BEFORE "+op.verb+" ON "+op.table+" FOR EACH ROW EXECUTE FUNCTION forbidden()")
	return func() { exec(t, beside, "DROP TRIGGER forbidden ON "+op.table) }
}

// Each statement of each method fails once: nothing of the method is there, it
// does not say anything about a row, and it works when the fault is over.
// Proves: S28
func TestEachStatementFails(t *testing.T) {
	// What the caller sees as a refusal is a write, too: it ends the grant.
	refusals := map[string]writing{
		"ExchangeCode/again": {
			prepare: func(t testing.TB, db *store.DB) {
				writings["ExchangeCode"].prepare(t, db)
				must(t, writings["ExchangeCode"].call(context.Background(), db))
			},
			call:    writings["ExchangeCode"].other,
			refused: gatehouse.ErrSpent,
		},
		"Refresh/by a thief": {
			prepare: func(t testing.TB, db *store.DB) {
				withGrant(t, db)
				must(t, writings["Refresh/with rotation"].call(context.Background(), db))
			},
			call:    writings["Refresh/with rotation"].other,
			refused: gatehouse.ErrNotFound,
		},
	}
	want := map[string]int{ // statements at least
		"ExchangeCode": 4, "ExchangeCode/again": 2, "Refresh/with rotation": 4, "Refresh/by a thief": 2, "CreateGrant": 4,
		"ApproveAuthorization": 3, "ApproveAuthorization/of a consent": 4, "ApproveAuthorization/of a consent again": 3,
		"DenyAuthorization": 2, "DenyAuthorization/of a consent": 3, "RevokeGrant": 2, "RevokeGrant/with a consent": 4,
		"CreateConsent": 3, "EndConsent": 4, "DeleteClient": 3, "DeleteClient/with a consent": 5,
		"DeleteProvider": 3, "CreateProvider": 3, "Purge": 5,
		"CreateResourceServer": 2, "DeleteResourceServer": 2, "EnterPSUSession": 2, "NoticeFailed/given up": 2,
	}
	storetest.Each(t, func(t *testing.T, url string) {
		db, beside := open(t, url), raw(t, url)
		sqlite := strings.HasPrefix(url, "sqlite:")
		try := func(name string, w writing, result error) {
			t.Run(name, func(t *testing.T) {
				empty(t, beside)
				w.prepare(t, db)
				before := rows(t, beside)
				if err := w.call(t.Context(), db); !errors.Is(err, result) {
					t.Fatal(err)
				}
				after := rows(t, beside)
				list := operations(before, after)
				if len(list) < max(1, want[name]) {
					t.Fatalf("operations: %v", list)
				}
				for _, op := range list {
					what := fmt.Sprint(op)
					empty(t, beside)
					w.prepare(t, db)
					allow := forbid(t, beside, sqlite, op)
					err := w.call(t.Context(), db)
					if err == nil || isOfTheStore(err) {
						t.Errorf("%s fails: %v", what, err)
					}
					if name != "Purge" { // which is one transaction for each table
						same(t, what+" fails", rows(t, beside), before)
					}
					allow()
					if err := w.call(t.Context(), db); !errors.Is(err, result) {
						t.Errorf("%s works again: %v", what, err)
					}
					same(t, what+" works again", rows(t, beside), after)
				}
			})
		}
		for name, w := range writings {
			try(name, w, nil)
		}
		for name, w := range refusals {
			try(name, w, w.refused)
		}
	})
}
