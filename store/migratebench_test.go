package store_test

import (
	"context"
	"os"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"gatehouse/store"
)

// envRows is how many rows BenchmarkMigrate puts into each of the two largest
// tables. Ten million take 5 GB and some minutes.
const envRows = "GATEHOUSE_TEST_ROWS"

// What a writer feels while a database of schema 2 is migrated.
//
// Proves: O3
func BenchmarkMigrate(b *testing.B) {
	rows := 100_000
	if text := os.Getenv(envRows); text != "" {
		var err error
		rows, err = strconv.Atoi(text)
		must(b, err)
	}
	numbers := "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < " + strconv.Itoa(rows) + ") "
	for _, engine := range []string{"sqlite", "postgres"} {
		b.Run(engine, func(b *testing.B) {
			for b.Loop() {
				b.StopTimer()
				url := oldDatabase(b, engine)
				beside := raw(b, url)
				beside.SetMaxOpenConns(1)
				ready := "PRAGMA busy_timeout = 600000"
				if engine == "postgres" {
					ready = "SET session_replication_role = replica" // no foreign keys for now
				}
				exec(b, beside, ready)
				exec(b, beside, "INSERT INTO consumed (provider, kind, key_hash, keep_until) "+numbers+
					"SELECT '', 'assertion', 'GvKl3E4zBq0kSc2VyZXQgb2Ygbm9ib2R5IGhl' || i, 1772366400123 + CAST(i AS BIGINT) * 7919 % 86400000 FROM n")
				exec(b, beside, "INSERT INTO access_tokens (provider, id, grant_id, client_id, scope, hash, issued_at, expires_at) "+numbers+
					"SELECT 'alpha', '01JNB8Z9T4K0000000' || i, 'granted', 'tpp', 'openid accounts', 'GvKl3E4zBq0kSc2VyZXQgb2Ygbm9ib2R5IGhl' || i,"+
					" 1772366400123, 1772366400123 + CAST(i AS BIGINT) * 7919 % 86400000 FROM n")
				if engine == "postgres" {
					exec(b, beside, "SET session_replication_role = origin")
				}
				db, err := store.Open(b.Context(), url)
				must(b, err)

				migrating, end := context.WithCancel(b.Context())
				var waits []time.Duration
				var writer sync.WaitGroup
				began := make(chan struct{})
				writer.Go(func() {
					for n := 0; migrating.Err() == nil; n++ {
						id := strconv.Itoa(n)
						start := time.Now()
						tx, err := beside.BeginTx(context.Background(), nil)
						if err == nil {
							for _, sql := range []string{
								"UPDATE grants SET revoked_at = NULL WHERE provider = 'alpha' AND id = 'granted'",
								"INSERT INTO access_tokens (provider, id, grant_id, client_id, scope) VALUES ('alpha', 'new " + id + "', 'granted', 'tpp', '')",
								"INSERT INTO consumed (provider, kind, key_hash, keep_until) VALUES ('', 'assertion', 'new " + id + "', 0)",
							} {
								if _, err := tx.Exec(sql); err != nil {
									b.Errorf("%s: %v", sql, err)
								}
							}
							err = tx.Commit()
						}
						if err != nil {
							b.Error(err)
							return
						}
						waits = append(waits, time.Since(start))
						if n == 0 {
							close(began)
						}
					}
				})
				<-began
				b.StartTimer()
				must(b, db.Migrate(b.Context()))
				b.StopTimer()
				end()
				writer.Wait()
				must(b, db.Close())
				slices.Sort(waits)
				b.ReportMetric(float64(waits[len(waits)-1].Milliseconds()), "ms-longest-write")
				b.ReportMetric(float64(waits[len(waits)*99/100].Microseconds())/1000, "ms-p99-write")
				b.ReportMetric(float64(len(waits)), "writes")
				b.StartTimer()
			}
		})
	}
}
