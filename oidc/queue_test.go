package oidc_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"gatehouse"
	"gatehouse/jose"
	"gatehouse/oidc"
	"gatehouse/store/storetest"
)

// A crowd is a queue at which every processor is taken, until the test lets go.
type crowd struct {
	do    func(context.Context, func(), ...string) error
	gate  chan bool
	mu    sync.Mutex
	done  []string // owners, as their work was done
	busy  []string // owners who were told to come again
	asked sync.WaitGroup
}

func newCrowd() *crowd {
	c := &crowd{do: oidc.NewQueue(), gate: make(chan bool)}
	for range runtime.GOMAXPROCS(0) {
		c.asked.Go(func() { c.do(context.Background(), func() { <-c.gate }, "first") })
	}
	synctest.Wait()
	return c
}

// ask comes to the queue and returns when it waits there.
func (c *crowd) ask(ctx context.Context, owner ...string) {
	name := strings.Join(owner, "/")
	c.asked.Go(func() {
		err := c.do(ctx, func() {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.done = append(c.done, name)
		}, owner...)
		if err != nil {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.busy = append(c.busy, name)
		}
	})
	synctest.Wait()
}

// letGo lets one of those who work end, and with it, one after the other, all
// who wait; then the rest.
func (c *crowd) letGo() {
	c.gate <- true
	synctest.Wait()
	close(c.gate)
	c.asked.Wait()
}

// Who asks for more waits behind himself: banks take turns, and at each bank
// its clients.
func TestQueueTurns(t *testing.T) {
	for name, test := range map[string]struct{ asked, done []string }{
		"one lane":             {[]string{"a/x", "a/x", "a/x"}, []string{"a/x", "a/x", "a/x"}},
		"banks take turns":     {[]string{"a/x", "a/x", "a/x", "b/x", "c/x"}, []string{"a/x", "b/x", "c/x", "a/x", "a/x"}},
		"clients take turns":   {[]string{"a/x", "a/x", "a/x", "a/y"}, []string{"a/x", "a/y", "a/x", "a/x"}},
		"banks before clients": {[]string{"a/x", "a/y", "a/z", "b/x", "b/x", "b/x"}, []string{"a/x", "b/x", "a/y", "b/x", "a/z", "b/x"}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCrowd()
				for _, owner := range test.asked {
					c.ask(t.Context(), strings.Split(owner, "/")...)
				}
				c.letGo()
				if !slices.Equal(c.done, test.done) || len(c.busy) > 0 {
					t.Errorf("done %v, want %v; told to come again: %v", c.done, test.done, c.busy)
				}
			})
		})
	}
}

// A full queue has room for whoever has less in it than others.
func TestQueueIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCrowd()
		for range oidc.MaxWaiting / 2 {
			c.ask(t.Context(), "a", "x")
			c.ask(t.Context(), "a", "y")
		}
		if len(c.busy) > 0 {
			t.Fatalf("told to come again: %v", c.busy)
		}
		c.ask(t.Context(), "a", "x") // full: the longest lane loses its last
		c.ask(t.Context(), "b", "x")
		c.ask(t.Context(), "b", "x")
		c.ask(t.Context(), "a", "z")
		for range 10 {
			c.ask(t.Context(), "a", "x")
		}
		c.letGo()
		lost := map[string]int{}
		for _, owner := range c.busy {
			lost[owner]++
		}
		if lost["b/x"] > 0 || lost["a/z"] > 0 || lost["a/x"]+lost["a/y"] != 14 {
			t.Errorf("told to come again: %v", lost)
		}
		if len(c.done) != oidc.MaxWaiting {
			t.Errorf("%d were served, want %d", len(c.done), oidc.MaxWaiting)
		}
	})
}

// Of one lane, and of lanes as long as each other, the last loses; what is left
// keeps its order, and who lost can come again.
func TestQueueLosesTheLast(t *testing.T) {
	for _, many := range []string{"turns of a lane", "lanes"} {
		t.Run(many, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCrowd()
				var want []string
				for i := range oidc.MaxWaiting {
					want = append(want, fmt.Sprintf("%s/%d", many, i))
				}
				ask := func(name string) {
					owner := []string{name}
					if many == "turns of a lane" {
						owner = []string{"same"}
					}
					c.asked.Go(func() {
						err := c.do(t.Context(), func() {
							c.mu.Lock()
							defer c.mu.Unlock()
							c.done = append(c.done, name)
						}, owner...)
						if err != nil {
							c.busy = append(c.busy, name)
						}
					})
					synctest.Wait()
				}
				for _, name := range want {
					ask(name)
				}
				ask("late")
				ask("later")
				if !slices.Equal(c.busy, []string{"late", "later"}) {
					t.Errorf("told to come again: %v", c.busy)
				}
				c.letGo()
				if !slices.Equal(c.done, want) {
					t.Errorf("done %v", c.done)
				}
			})
		})
	}
}

// Who goes away is not served, and holds up nobody.
func TestQueueLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCrowd()
		ctx, cancel := context.WithCancel(t.Context())
		c.ask(ctx, "a", "x")
		c.ask(t.Context(), "a", "y")
		c.ask(ctx, "b", "x")
		cancel()
		synctest.Wait()
		c.letGo()
		if !slices.Equal(c.done, []string{"a/y"}) {
			t.Errorf("done %v, want a/y alone", c.done)
		}
	})
}

// However turns come and callers go, no more work than processors is done at
// once, and in the end all of them are free.
func TestQueueLosesNothing(t *testing.T) {
	do := oidc.NewQueue()
	processors := int32(runtime.GOMAXPROCS(0))
	var working, most atomic.Int32
	work := func() {
		if now := working.Add(1); now > most.Load() {
			most.Store(now)
		}
		runtime.Gosched()
		working.Add(-1)
	}
	for round := range storetest.Rounds(t, 50) {
		var callers sync.WaitGroup
		for i := range 2 * oidc.MaxWaiting {
			ctx, cancel := context.WithCancel(t.Context())
			callers.Go(func() { do(ctx, work, fmt.Sprint(i%3), fmt.Sprint(i%7)) })
			callers.Go(func() {
				if i%2 == 0 {
					cancel()
				}
			})
			defer cancel()
		}
		callers.Wait()
		if most.Load() > processors {
			t.Fatalf("%d at once on %d processors", most.Load(), processors)
		}
		// A processor that was lost would leave these waiting for each other.
		var together sync.WaitGroup
		together.Add(int(processors))
		for range processors {
			callers.Go(func() {
				err := do(t.Context(), func() { together.Done(); together.Wait() }, "all")
				if err != nil {
					t.Errorf("round %d: %v", round, err)
				}
			})
		}
		callers.Wait()
	}
}

// addSlowProvider adds a bank whose signatures cost five times as much as
// others'.
func (w *world) addSlowProvider(code string) {
	w.t.Helper()
	for _, alg := range gatehouse.Algs() {
		k, err := jose.GenerateKey(alg, 4096)
		must(w.t, err)
		keyring.Lock()
		keyring.keys[code+"/"+alg] = k
		keyring.Unlock()
	}
	w.addProvider(gatehouse.Provider{Code: code, Profile: gatehouse.ProfilePSD2, AuthorizationEndpoint: "https://bank.example/authorize"})
}

// floodSigning has callers ask for tokens of one client at a bank, each as soon
// as it was answered, until over is called. It returns once one was shed.
func (w *world) floodSigning(provider string, callers int) (over func() (answers map[int]int)) {
	w.t.Helper()
	header := formHeader.Clone()
	header.Set("Authorization", basicHeader(basic, secret))
	ctx, cancel := context.WithCancel(w.t.Context())
	shed := make(chan *http.Response, callers)
	var mu sync.Mutex
	answers := map[int]int{}
	var asking sync.WaitGroup
	for range callers {
		asking.Go(func() {
			for ctx.Err() == nil {
				r := httptest.NewRequest("POST", "/api/oidc/"+provider+"/tokens", strings.NewReader(clientCredentials.encode()))
				r.Header = header
				recorder := httptest.NewRecorder()
				w.site.Config.Handler.ServeHTTP(recorder, r)
				mu.Lock()
				answers[recorder.Code]++
				mu.Unlock()
				if recorder.Code == http.StatusServiceUnavailable {
					select {
					case shed <- recorder.Result():
					default:
					}
				}
			}
		})
	}
	answer := <-shed
	body, _ := io.ReadAll(answer.Body)
	if answer.Header.Get("Retry-After") != "1" || !strings.Contains(string(body), `"error":"temporarily_unavailable"`) {
		w.t.Errorf("%s %v", body, answer.Header)
	}
	return func() map[int]int {
		cancel()
		asking.Wait()
		return answers
	}
}

// More than can be signed is answered at once: 503, come again. Another client
// of that bank, and a client of another bank, are served meanwhile.
func TestSigningSheds(t *testing.T) {
	w := sqliteWorld(t)
	w.addSlowProvider("slow")
	over := w.floodSigning("slow", oidc.MaxWaiting+16)
	for range 5 {
		for _, provider := range []string{"slow", "alpha"} {
			if a := w.token(provider, tppA, clientCredentials); a.StatusCode != 200 {
				t.Errorf("another client at %s: %v", provider, a)
			}
		}
	}
	if answers := over(); answers[200] == 0 || answers[503] == 0 || len(answers) != 2 {
		t.Errorf("statuses %v", answers)
	}
}
