package oidc_test

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"gatehouse"
	"gatehouse/connector"
	"gatehouse/store/storetest"
)

// BenchmarkBesideAHangingBank is what a client of beta waits for a token, and
// beta's bank for the news of a consent, while alpha's bank answers nothing and
// has so many notices waiting: the p99 of N21. An operation lodges a consent at
// beta, asks for a token there, and waits until the bank was told.
func BenchmarkBesideAHangingBank(b *testing.B) {
	for _, database := range []string{"sqlite", "postgres"} {
		for _, waiting := range []int{0, 1000, 0, 1000} {
			b.Run(fmt.Sprintf("%s/waiting=%d", database, waiting), func(b *testing.B) {
				w := newWorld(b, storetest.URL(b, database))
				over := make(chan struct{})
				w.told("alpha", func(http.ResponseWriter, bankHeard) { <-over })
				bank := w.told("beta", nil)
				for i := range waiting {
					w.consent("alpha", tppA, fmt.Sprint("a-", i))
				}
				server := w.server(w.store)
				server.Now = time.Now
				server.Banks = &connector.Caller{Transport: connector.NewTransport(nil, nil), Now: time.Now, Timeout: time.Second}
				site := w.start(server)
				ctx, cancel := context.WithCancel(context.Background())
				var telling sync.WaitGroup
				telling.Go(func() { server.TellBanks(ctx) })
				defer func() {
					close(over)
					cancel()
					telling.Wait()
				}()
				token := w.tokenAt(site, "beta", basic, clientCredentials).text("access_token")

				var tokens, news []time.Duration
				for b.Loop() {
					began := time.Now()
					if a := w.tokenAt(site, "beta", basic, clientCredentials); a.StatusCode != 200 {
						b.Fatal(a)
					}
					tokens = append(tokens, time.Since(began))
					began = time.Now()
					a := w.openBankingAt(site, "POST", resourceOf(gatehouse.AccountAccess).at("beta", "v3.1"), token, accountAccessBody)
					if a.StatusCode != 201 {
						b.Fatal(a)
					}
					<-bank.calls
					news = append(news, time.Since(began))
				}
				for name, took := range map[string][]time.Duration{"token": tokens, "told": news} {
					slices.Sort(took)
					b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), name+"-p99-µs")
					b.ReportMetric(float64(took[len(took)/2].Microseconds()), name+"-p50-µs")
				}
			})
		}
	}
}
