package oidc_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"gatehouse"
	"gatehouse/jose"
	"gatehouse/oidc"
	"gatehouse/store/storetest"
)

// BenchmarkToken is what one token request costs the server, per grant type
// and database: time, allocations, and CPU of this process (cpu-µs/op, without
// PostgreSQL's own). Requests are prepared before the clock starts. The two
// floors, one RSA verification and one signature, are measured beside it.
func BenchmarkToken(b *testing.B) {
	for _, database := range []string{"sqlite", "postgres"} {
		w := newWorld(b, storetest.URL(b, database))
		handler := w.site.Config.Handler
		for _, bench := range []struct {
			name, provider, client string
			form                   func() form
		}{
			{"client_credentials", "alpha", tppA, func() form { return clientCredentials }},
			{"client_credentials-unsigned", "gamma", tppA, func() form { return clientCredentials }},
			{"client_credentials-basic", "gamma", basic, func() form { return clientCredentials }},
			{"authorization_code", "alpha", tppA, func() form { return exchange(w.code("alpha", tppA, nil)) }},
			{"refresh_token", "alpha", tppA, func() func() form {
				refresh := form{"grant_type": "refresh_token", "refresh_token": w.tokens("alpha", tppA).text("refresh_token")}
				return func() form { return refresh }
			}()},
		} {
			b.Run(database+"/"+bench.name, func(b *testing.B) {
				requests := make([]*http.Request, b.N)
				for i := range requests {
					f := bench.form()
					header := formHeader.Clone()
					if bench.client == basic {
						header.Set("Authorization", basicHeader(basic, secret))
					} else {
						f = w.asserted(bench.provider, bench.client, f)
					}
					requests[i] = httptest.NewRequest("POST", "/api/oidc/"+bench.provider+"/tokens", strings.NewReader(f.encode()))
					requests[i].Header = header
				}
				b.ReportAllocs()
				b.ResetTimer()
				cpu := cpuMicros()
				for _, r := range requests {
					answer := httptest.NewRecorder()
					if handler.ServeHTTP(answer, r); answer.Code != 200 {
						b.Fatal(answer.Body)
					}
				}
				b.ReportMetric((cpuMicros()-cpu)/float64(b.N), "cpu-µs/op")
			})
		}
	}
	token, err := clientKey(b, tppA, jose.PS256).Sign("JWT", claims{"iss": tppA})
	must(b, err)
	keys := []*jose.PublicKey{clientKey(b, tppA, jose.PS256).Public()}
	b.Run("floor/verify", func(b *testing.B) {
		for b.Loop() {
			parsed, err := jose.Parse(token, jose.MaxSize)
			must(b, err)
			must(b, parsed.Verify(keys, gatehouse.Algs()...))
		}
	})
	b.Run("floor/sign", func(b *testing.B) {
		for b.Loop() {
			_, err := key(b, "alpha", jose.PS256).Sign("JWT", claims{"iss": tppA})
			must(b, err)
		}
	})
}

// cpuMicros is the CPU time this process has used, in microseconds.
func cpuMicros() float64 {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		panic(err)
	}
	return float64(usage.Utime.Nano()+usage.Stime.Nano()) / 1e3
}

// BenchmarkBesideASlowKeySource is what a client waits for a token while 32
// callers of another client wait for a jwks_uri that never ends its answer,
// beside the same without them: the p99 of C20.
func BenchmarkBesideASlowKeySource(b *testing.B) {
	for _, callers := range []int{0, 32, 0, 32} {
		b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) {
			w := sqliteWorld(b)
			store := w.keystore()
			w.fetcher.Timeout = time.Second
			over := make(chan struct{})
			store.answer("/slow", func(rw http.ResponseWriter, _ *http.Request) {
				rw.(http.Flusher).Flush()
				<-over
				panic(http.ErrAbortHandler)
			})
			w.addClient(gatehouse.Client{ID: "slow", JWKSURI: store.url("/slow")})
			assertion, err := clientKey(b, "slow", jose.PS256).Sign("JWT", w.assertionClaims("gamma", "slow"))
			must(b, err)
			body := clientCredentials.with(form{"client_assertion_type": assertionType, "client_assertion": assertion}).encode()
			var waiting sync.WaitGroup
			for range callers {
				waiting.Go(func() {
					for {
						select {
						case <-over:
							return
						default:
							w.clock.advance(time.Minute) // past the pause after a failure
							w.do("POST", "/api/oidc/gamma/tokens", formHeader, body)
						}
					}
				})
			}
			took := make([]time.Duration, 0, b.N)
			for b.Loop() {
				began := time.Now()
				if a := w.token("gamma", basic, clientCredentials); a.StatusCode != 200 {
					b.Fatal(a)
				}
				took = append(took, time.Since(began))
			}
			close(over)
			waiting.Wait()
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-µs")
			b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-µs")
		})
	}
}

// BenchmarkBesideWorstCaseAssertions is what a client waits for a token while
// another sends 50 assertions a second that cost the most: as long as may be,
// rightly signed with 4096 bits. Bound: p99 below 250 ms.
//
// Proves: N19
func BenchmarkBesideWorstCaseAssertions(b *testing.B) {
	big, err := jose.GenerateKey(jose.PS256, 4096)
	must(b, err)
	for _, perSecond := range []int{0, 50, 0, 50} {
		b.Run(fmt.Sprintf("assertions=%d", perSecond), func(b *testing.B) {
			w := sqliteWorld(b)
			w.addClient(gatehouse.Client{ID: "costly", JWKS: jwks(b, big.Public())})
			bodies := make([]string, 500) // for ten seconds: a replay costs less
			for i := range bodies {
				assertion := w.assertionClaims("alpha", "costly")
				empty, err := big.Sign("JWT", assertion.with(claims{"padding": ""}))
				must(b, err)
				full, err := big.Sign("JWT", assertion.with(claims{"padding": strings.Repeat("x", (jose.MaxSize-len(empty))*3/4-1)}))
				must(b, err)
				bodies[i] = clientCredentials.with(form{"client_assertion_type": assertionType, "client_assertion": full}).encode()
			}
			if a := w.do("POST", "/api/oidc/alpha/tokens", formHeader, bodies[0]); a.StatusCode != 200 {
				b.Fatal(a)
			}
			var costly sync.WaitGroup
			over := make(chan struct{})
			if perSecond > 0 {
				every := time.NewTicker(time.Second / time.Duration(perSecond))
				defer every.Stop()
				costly.Go(func() {
					for i := 1; ; i++ {
						select {
						case <-over:
							return
						case <-every.C:
							costly.Go(func() { w.do("POST", "/api/oidc/alpha/tokens", formHeader, bodies[i%len(bodies)]) })
						}
					}
				})
			}
			w.reportWaits(b, tppA, 250*time.Millisecond)
			close(over)
			costly.Wait()
		})
	}
}

// BenchmarkBesideAFlood is what a client waits for a token while 64 callers of
// another ask for tokens as fast as they are answered, at the same bank and at
// another. Bound: p99 below 250 ms.
func BenchmarkBesideAFlood(b *testing.B) {
	for _, flood := range []struct {
		name, provider string
		callers        int
	}{{"alone", "", 0}, {"same-bank", "alpha", 64}, {"other-bank", "beta", 64}} {
		b.Run(flood.name, func(b *testing.B) {
			w := sqliteWorld(b)
			var callers sync.WaitGroup
			over := make(chan struct{})
			header := formHeader.Clone()
			header.Set("Authorization", basicHeader(basic, secret))
			var served atomic.Int64
			for range flood.callers {
				callers.Go(func() {
					for {
						select {
						case <-over:
							return
						default:
							if w.do("POST", "/api/oidc/"+flood.provider+"/tokens", header, clientCredentials.encode()).StatusCode == 200 {
								served.Add(1)
							}
						}
					}
				})
			}
			began := time.Now()
			w.reportWaits(b, tppA, 250*time.Millisecond)
			b.ReportMetric(float64(served.Load())/time.Since(began).Seconds(), "flood/s")
			close(over)
			callers.Wait()
		})
	}
}

// BenchmarkBesideAuthorizationFlood is what a client waits for a token while
// strangers at ever new addresses send 1,000 authorization requests a second,
// under the default limits. Bound: the p99 is less than twice that without.
//
// Proves: A20
func BenchmarkBesideAuthorizationFlood(b *testing.B) {
	var alone time.Duration
	for _, perSecond := range []int{0, 1000, 0, 1000} {
		b.Run(fmt.Sprintf("requests=%d", perSecond), func(b *testing.B) {
			w := sqliteWorld(b)
			server := w.server(w.store)
			server.Now = time.Now // limits let through again
			server.Limits = oidc.Limits{AuthorizeAddress: oidc.Rate{PerSecond: 20, Burst: 200}, AuthorizeClient: oidc.Rate{PerSecond: 100, Burst: 1000}}
			w.clock.now = time.Now()
			w.site.Config.Handler = server.Handler()
			target := "/oidc/alpha/authorize?" + query(tppB).encode()
			var flood sync.WaitGroup
			var begun, refused atomic.Int64
			over := make(chan struct{})
			if perSecond > 0 {
				every := time.NewTicker(10 * time.Millisecond)
				defer every.Stop()
				flood.Go(func() {
					for i := 0; ; {
						select {
						case <-over:
							return
						case <-every.C:
							for range perSecond / 100 {
								i++
								from := netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}).String()
								switch w.at(from, "GET", target, nil, "").Code {
								case 303:
									begun.Add(1)
								case 429:
									refused.Add(1)
								}
							}
						}
					}
				})
			}
			if perSecond == 0 {
				alone = w.reportWaits(b, tppA, 250*time.Millisecond)
			} else {
				w.reportWaits(b, tppA, 2*alone)
			}
			b.ReportMetric(float64(begun.Load()), "begun")
			b.ReportMetric(float64(refused.Load()), "refused")
			close(over)
			flood.Wait()
		})
	}
}

// reportWaits measures how long a client waits for tokens at alpha, and returns
// the p99.
func (w *world) reportWaits(b *testing.B, client string, bound time.Duration) time.Duration {
	took := make([]time.Duration, 0, b.N)
	for b.Loop() {
		asserted := w.asserted("alpha", client, clientCredentials).encode()
		began := time.Now()
		if a := w.do("POST", "/api/oidc/alpha/tokens", formHeader, asserted); a.StatusCode != 200 {
			b.Fatal(a)
		}
		took = append(took, time.Since(began))
	}
	slices.Sort(took)
	p99 := took[len(took)*99/100]
	b.ReportMetric(float64(p99.Microseconds()), "p99-µs")
	b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-µs")
	if len(took) >= 100 && p99 > bound {
		b.Errorf("p99 %v, want below %v", p99, bound)
	}
	return p99
}

// BenchmarkCheck is what a gateway's check of a token with a consent costs the
// server, and the introspection of it, as BenchmarkToken measures.
func BenchmarkCheck(b *testing.B) {
	for _, database := range []string{"sqlite", "postgres"} {
		w := newWorld(b, storetest.URL(b, database))
		guard := w.guard("alpha")
		token := w.token("alpha", tppA, exchange(w.code("alpha", tppA, w.consent("alpha", tppA, "consent")))).text("access_token")
		handler := w.site.Config.Handler
		introspection := formHeader.Clone()
		introspection.Set("Authorization", basicHeader(guard, guardSecret))
		for _, bench := range []struct {
			name, method, target string
			header               http.Header
			body                 string
		}{
			{"check", "GET", "/api/oidc/alpha/check?scope=accounts&permission=ReadBalances", checkHeader(guard, token), ""},
			{"introspect", "POST", "/api/oidc/alpha/introspect", introspection, form{"token": token}.encode()},
		} {
			b.Run(database+"/"+bench.name, func(b *testing.B) {
				b.ReportAllocs()
				cpu := cpuMicros()
				for b.Loop() {
					r := httptest.NewRequest(bench.method, bench.target, strings.NewReader(bench.body))
					r.Header = bench.header
					answer := httptest.NewRecorder()
					if handler.ServeHTTP(answer, r); answer.Code != 200 || strings.Contains(answer.Body.String(), `"active":false`) {
						b.Fatal(answer)
					}
				}
				b.ReportMetric((cpuMicros()-cpu)/float64(b.N), "cpu-µs/op")
			})
		}
	}
}
