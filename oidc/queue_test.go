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
//
// Proves: N19
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

// The clients of one TPP share its turns: to register more of them gains
// nothing. A client without a TPP has its own.
func TestTurnsOfATPP(t *testing.T) {
	of := func(id, directory, urn string) string {
		c := &gatehouse.Client{ID: id}
		if urn != "" {
			c.TPP = &gatehouse.TPP{Directory: directory, URN: urn}
		}
		return oidc.Owner(c)
	}
	first := of("a", "directory", "PSDGB-1")
	if of("b", "directory", "PSDGB-1") != first {
		t.Error("another client of the TPP has turns of its own")
	}
	for _, other := range []string{of("a", "directory", "PSDGB-2"), of("a", "elsewhere", "PSDGB-1"), of("a", "", "")} {
		if other == first {
			t.Errorf("%q is the TPP, too", other)
		}
	}
	if of("a", "", "") == of("b", "", "") {
		t.Error("clients without a TPP share their turns")
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
//
// Proves: N18, N19
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

// begin sends requests, each from an address of its own, and returns once as
// many wait, or as soon as one is answered that should wait.
func (w *world) begin(server *oidc.Server, waiting func() int, requests ...*http.Request) (answers chan *httptest.ResponseRecorder) {
	w.t.Helper()
	handler := server.Handler()
	answers = make(chan *httptest.ResponseRecorder, len(requests))
	want := waiting() + len(requests)
	for i, r := range requests {
		r.RemoteAddr = fmt.Sprintf("10.0.%d.%d:4711", i/256, i%256)
		go func() {
			recorder := httptest.NewRecorder()
			handler.ServeHTTP(recorder, r)
			answers <- recorder
		}()
	}
	for waiting() < want && len(answers) == 0 {
		runtime.Gosched()
	}
	return answers
}

// tokenRequest is a token request of the client, who is authenticated as it is
// registered.
func (w *world) tokenRequest(provider, client string) *http.Request {
	w.t.Helper()
	header, f := w.authenticated(provider, client, clientCredentials)
	r := httptest.NewRequest("POST", "/api/oidc/"+provider+"/tokens", strings.NewReader(f.encode()))
	r.Header = header
	return r
}

// Whatever a client signs waits for its turn before it is verified.
//
// Proves: N19
func TestVerificationWaitsForItsTurn(t *testing.T) {
	w := sqliteWorld(t)
	request := func(method, target string, header http.Header, body string) *http.Request {
		r := httptest.NewRequest(method, target, strings.NewReader(body))
		r.Header = header
		return r
	}
	signed := bearerHeader(w.ownToken("alpha", tppA))
	signed.Set("Content-Type", "application/jwt")
	object := form{"client_id": tppA, "request": w.requestObject("alpha", tppA, nil)}
	statement := claims{"token_endpoint_auth_method": "private_key_jwt", "software_statement": w.statement(sandboxDirectory, "owner", nil)}
	for name, test := range map[string]struct {
		request *http.Request
		status  int
	}{
		"assertion":      {w.tokenRequest("alpha", tppA), 200},
		"request object": {request("GET", "/oidc/alpha/authorize?"+object.encode(), nil, ""), 303},
		"statement":      {request("POST", registerPath, http.Header{"Content-Type": {"application/json"}}, text(t, statement)), 201},
		"consent":        {request("POST", resourceOf(gatehouse.AccountAccess).at("alpha", "v3.1"), signed, w.signed(tppA, accountAccessBody, nil)), 201},
	} {
		t.Run(name, func(t *testing.T) {
			server := w.server(w.store)
			waiting, let := server.HoldVerifying()
			answers := w.begin(server, waiting, test.request)
			if len(answers) > 0 {
				t.Error("it was verified before its turn")
			}
			let()
			if a := <-answers; a.Code != test.status {
				t.Errorf("%d %s", a.Code, a.Body)
			}
		})
	}
}

// However many clients, and addresses, want something of a bank, another bank's
// client finds a place among them.
//
// Proves: N19
func TestBanksTakeTurns(t *testing.T) {
	for name, test := range map[string]struct {
		hold  func(*oidc.Server) (waiting func() int, let func())
		crowd func(w *world, i int) *http.Request
	}{
		"at signing, for many clients": {(*oidc.Server).HoldSigning, func(w *world, i int) *http.Request {
			id := fmt.Sprint("crowd-", i)
			w.addClient(gatehouse.Client{ID: id, TokenEndpointAuthMethod: gatehouse.AuthClientSecretBasic, SecretHash: gatehouse.ClientSecretHash(w.kek, id, secret)})
			r := w.tokenRequest("beta", basic)
			r.Header.Set("Authorization", basicHeader(id, secret))
			return r
		}},
		"at verifying, from many addresses": {(*oidc.Server).HoldVerifying, func(w *world, i int) *http.Request {
			return w.tokenRequest("beta", tppA)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			w := sqliteWorld(t)
			var crowd []*http.Request
			for i := range oidc.MaxWaiting {
				crowd = append(crowd, test.crowd(w, i))
			}
			server := w.server(w.store)
			waiting, let := test.hold(server)
			of := w.begin(server, waiting, crowd...)
			if len(of) > 0 {
				a := <-of
				t.Fatalf("one of the crowd does not wait: %d %s", a.Code, a.Body)
			}
			other, request := make(chan *httptest.ResponseRecorder, 1), w.tokenRequest("alpha", tppA)
			go func() {
				recorder := httptest.NewRecorder()
				server.Handler().ServeHTTP(recorder, request)
				other <- recorder
			}()
			for len(of) == 0 && len(other) == 0 { // who has no place any more is told so
				runtime.Gosched()
			}
			if len(other) > 0 {
				t.Error("the other bank's client has no place")
			}
			let()
			if a := <-other; a.Code != 200 {
				t.Errorf("the other bank's client: %d %s", a.Code, a.Body)
			}
			lost := 0
			for range crowd {
				if a := <-of; a.Code == 503 {
					lost++
				}
			}
			if lost == 0 {
				t.Error("nobody of the crowd lost his place")
			}
		})
	}
}
