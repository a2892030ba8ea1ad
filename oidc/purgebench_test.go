package oidc_test

import (
	"context"
	"database/sql"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"gatehouse/store/storetest"
)

// envPurgeRows is how many rows BenchmarkBesidePurge deletes.
const envPurgeRows = "GATEHOUSE_BENCH_ROWS"

// BenchmarkBesidePurge is what clients wait for a token while rows that ended
// long ago are deleted, beside the same without: the p99 of S23.
func BenchmarkBesidePurge(b *testing.B) {
	rows := 100_000
	if text := os.Getenv(envPurgeRows); text != "" {
		var err error
		rows, err = strconv.Atoi(text)
		must(b, err)
	}
	for _, database := range []string{"sqlite", "postgres"} {
		w := newWorld(b, storetest.URL(b, database))
		fillConsumed(b, w.url, rows, w.clock.Now().Add(-time.Hour))
		for _, purging := range []bool{false, true} {
			b.Run(database+"/purging="+strconv.FormatBool(purging), func(b *testing.B) {
				ctx, stop := context.WithCancel(context.Background())
				defer stop()
				var work sync.WaitGroup
				deleted := 0
				if purging {
					work.Go(func() { deleted, _ = w.store.Purge(ctx, w.clock.Now()) })
				}
				const callers = 4
				took := make([][]time.Duration, callers)
				var waiting sync.WaitGroup
				began := time.Now()
				b.ResetTimer()
				for c := range callers {
					waiting.Go(func() {
						for range b.N {
							began := time.Now()
							if a := w.token("gamma", basic, clientCredentials); a.StatusCode != 200 {
								b.Error(a)
								return
							}
							took[c] = append(took[c], time.Since(began))
						}
					})
				}
				waiting.Wait()
				elapsed := time.Since(began)
				b.StopTimer()
				stop()
				work.Wait()
				all := slices.Concat(took...)
				slices.Sort(all)
				b.ReportMetric(float64(all[len(all)*99/100].Microseconds())/1e3, "p99-ms")
				b.ReportMetric(float64(all[len(all)/2].Microseconds())/1e3, "p50-ms")
				b.ReportMetric(float64(all[len(all)-1].Microseconds())/1e3, "max-ms")
				b.ReportMetric(float64(deleted)/elapsed.Seconds(), "deleted/s")
			})
		}
	}
}

// fillConsumed adds rows whose time is over.
func fillConsumed(b *testing.B, database string, rows int, ended time.Time) {
	b.Helper()
	driver, dsn, series, hash := "pgx", database, "generate_series(1, $1) AS s (n)", "md5(n::text) || md5((-n)::text)"
	if path, ok := strings.CutPrefix(database, "sqlite:"); ok {
		driver, dsn, hash = "sqlite", "file:"+path+"?_pragma=cache_size(-2000000)", "lower(hex(randomblob(22)))"
		series = "(WITH RECURSIVE s (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < $1) SELECT n FROM s)"
	}
	db, err := sql.Open(driver, dsn)
	must(b, err)
	defer db.Close()
	_, err = db.Exec(`INSERT INTO consumed (provider, kind, key_hash, keep_until)
		SELECT '', 'assertion', `+hash+`, CAST($2 AS BIGINT) + n % 1000 FROM `+series, rows, ended.Add(-time.Hour).UnixMilli())
	must(b, err)
}
