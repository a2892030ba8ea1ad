package store_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gatehouse"
	"gatehouse/store"
	"gatehouse/store/storetest"
)

// Durable writes per second on SQLite, for one caller and for 64.
func BenchmarkSQLite(b *testing.B) {
	for name, write := range map[string]func(db *store.DB) error{
		"Consume": func(db *store.DB) error {
			return db.Consume(context.Background(), "", gatehouse.ConsumeAssertion, gatehouse.NewSecret(), now, now.Add(time.Minute), now)
		},
		"CreateGrant": func(db *store.DB) error {
			at := time.Now()
			id := gatehouse.NewID(at)
			return db.CreateGrant(context.Background(), aGrant("alpha", id), anAccessToken("alpha", id, id), aRefreshToken("alpha", id, id))
		},
	} {
		for _, callers := range []int{1, 64} {
			b.Run(fmt.Sprintf("%s/callers=%d", name, callers), func(b *testing.B) {
				db := open(b, storetest.URL(b, "sqlite"))
				b.ReportAllocs()
				b.ResetTimer()
				var started atomic.Int64
				var done sync.WaitGroup
				for range callers {
					done.Go(func() {
						for started.Add(1) <= int64(b.N) {
							if err := write(db); err != nil {
								b.Error(err)
								return
							}
						}
					})
				}
				done.Wait()
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "rows/s")
			})
		}
	}
}
