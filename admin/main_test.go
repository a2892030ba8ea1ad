package admin_test

import (
	"bytes"
	"database/sql"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib"
	_ "modernc.org/sqlite"

	"gatehouse/admin"
	"gatehouse/jose"
	"gatehouse/store"
	"gatehouse/store/storetest"
)

func TestMain(m *testing.M) { os.Exit(storetest.Main(m)) }

// An office is where an operator works, at a time that the test moves.
type office struct {
	*admin.Admin
	t   *testing.T
	url string // of the database
	now time.Time
}

// forEachDB runs a test in an empty office on each kind of database.
func forEachDB(t *testing.T, test func(t *testing.T, o *office)) {
	storetest.Each(t, func(t *testing.T, url string) {
		o := &office{t: t, url: url, now: time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)}
		kek, err := jose.NewKEK(bytes.Repeat([]byte("k"), 32))
		if err != nil {
			t.Fatal(err)
		}
		o.Admin = &admin.Admin{Store: o.open(), KEK: kek, Now: func() time.Time { return o.now }}
		test(t, o)
	})
}

// open is the database as another process has it.
func (o *office) open() *store.DB {
	o.t.Helper()
	db, err := store.Open(o.t.Context(), o.url)
	if err != nil {
		o.t.Fatal(err)
	}
	o.t.Cleanup(func() { db.Close() })
	if err := db.Migrate(o.t.Context()); err != nil {
		o.t.Fatal(err)
	}
	return db
}

// beside is the database as somebody has it who needs no store.
func (o *office) beside() *sql.DB {
	o.t.Helper()
	driver, source := "pgx", o.url
	if path, ok := strings.CutPrefix(o.url, "sqlite:"); ok {
		driver, source = "sqlite", (&url.URL{Scheme: "file", Path: path}).String()
	}
	db, err := sql.Open(driver, source)
	if err != nil {
		o.t.Fatal(err)
	}
	o.t.Cleanup(func() { db.Close() })
	return db
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
