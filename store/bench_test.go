package store_test

import (
	"context"
	"database/sql"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gatehouse"
	"gatehouse/store"
	"gatehouse/store/storetest"
)

// Durable writes a second, for one caller and for 64: read beside
// BenchmarkSQLiteLibrary of the same run.
func BenchmarkWrites(b *testing.B) {
	for _, kind := range []string{"sqlite", "postgres"} {
		for _, bench := range []struct {
			name  string
			write func(db *store.DB) error
		}{
			{"Consume", func(db *store.DB) error {
				return db.Consume(context.Background(), "", gatehouse.ConsumeAssertion, gatehouse.NewSecret(), now, now.Add(time.Minute), now)
			}},
			{"CreateGrant", func(db *store.DB) error {
				id := gatehouse.NewID(time.Now())
				return db.CreateGrant(context.Background(), aGrant("alpha", id), anAccessToken("alpha", id, id), aRefreshToken("alpha", id, id))
			}},
		} {
			for _, callers := range []int{1, 64} {
				b.Run(fmt.Sprintf("%s/%s/callers=%d", kind, bench.name, callers), func(b *testing.B) {
					db := open(b, storetest.URL(b, kind))
					b.ReportAllocs()
					b.ResetTimer()
					var started atomic.Int64
					var done sync.WaitGroup
					for range callers {
						done.Go(func() {
							for started.Add(1) <= int64(b.N) {
								if err := bench.write(db); err != nil {
									b.Error(err)
									return
								}
							}
						})
					}
					done.Wait()
					b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "writes/s")
				})
			}
		}
	}
}

// What the library can do with the settings of the store and nothing around
// it: rows of the size of a consumed key, one a commit and 64 a commit, with
// keys that are ordered by time and that are random.
func BenchmarkSQLiteLibrary(b *testing.B) {
	for keys, key := range map[string]func() string{
		"ordered": func() string { return gatehouse.NewID(time.Now()) },
		"random":  gatehouse.NewSecret,
	} {
		for _, size := range []int{1, 64} {
			b.Run(fmt.Sprintf("%s/rows=%d", keys, size), func(b *testing.B) {
				url := storetest.URL(b, "sqlite")
				db := store.SQLitePools(open(b, url))[0].DB
				if _, err := db.Exec(`CREATE TABLE raw (key TEXT PRIMARY KEY, at BIGINT)`); err != nil {
					b.Fatal(err)
				}
				insert, err := db.Prepare(`INSERT INTO raw (key, at) VALUES ($1, $2)`)
				must(b, err)
				defer insert.Close()
				b.ReportAllocs()
				b.ResetTimer()
				for written := 0; written < b.N; written += size {
					must(b, commit(db, insert, size, key))
				}
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "writes/s")
			})
		}
	}
}

func commit(db *sql.DB, insert *sql.Stmt, rows int, key func() string) error {
	tx, err := db.Begin()
	if err != nil {
		return err
	}
	defer tx.Rollback()
	for range rows {
		if _, err := tx.Stmt(insert).Exec(key(), now.UnixMilli()); err != nil {
			return err
		}
	}
	return tx.Commit()
}
