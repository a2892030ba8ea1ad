package main

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"gatehouse/jose"
	"gatehouse/store/storetest"
)

// A balancer passes requests to the replicas that were ready a moment ago.
type balancer struct {
	mu       sync.Mutex
	replicas map[*process]*backend
	next     int
}

type backend struct {
	proxy *httputil.ReverseProxy
	admin string
	ready bool
}

func (b *balancer) add(p *process) {
	public, err := url.Parse(p.ready())
	if err != nil {
		p.t.Fatal(err)
	}
	proxy := httputil.NewSingleHostReverseProxy(public)
	proxy.ErrorHandler = func(w http.ResponseWriter, _ *http.Request, err error) {
		http.Error(w, err.Error(), http.StatusBadGateway)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.replicas[p] = &backend{proxy: proxy, admin: p.admin()}
}

func (b *balancer) remove(p *process) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.replicas, p)
}

// probe asks every replica once whether it is ready, and returns how many are.
func (b *balancer) probe() (ready int) {
	b.mu.Lock()
	replicas := make([]*backend, 0, len(b.replicas))
	for _, r := range b.replicas {
		replicas = append(replicas, r)
	}
	b.mu.Unlock()
	for _, r := range replicas {
		answer, err := http.Get(r.admin + "/readyz")
		ok := err == nil && answer.StatusCode == http.StatusOK
		if err == nil {
			answer.Body.Close()
		}
		b.mu.Lock()
		r.ready = ok
		b.mu.Unlock()
		if ok {
			ready++
		}
	}
	return ready
}

func (b *balancer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b.mu.Lock()
	var ready []*backend
	for _, replica := range b.replicas {
		if replica.ready {
			ready = append(ready, replica)
		}
	}
	if len(ready) == 0 {
		b.mu.Unlock()
		http.Error(w, "no replica is ready", http.StatusBadGateway)
		return
	}
	b.next++
	chosen := ready[b.next%len(ready)]
	b.mu.Unlock()
	chosen.proxy.ServeHTTP(w, r)
}

// awaitReady probes until n replicas are ready.
func (b *balancer) awaitReady(t *testing.T, n int) {
	t.Helper()
	for end := time.Now().Add(patience); b.probe() != n; {
		if time.Now().After(end) {
			t.Fatalf("%d replicas are not ready", n)
		}
	}
}

// Two replicas behind a balancer are restarted one after the other, twice,
// under load: no request fails, and each exits with 0.
//
// Proves: O5
func TestRollingRestart(t *testing.T) {
	s := append(settings(t, storetest.URL(t, "postgres")), "TIMEOUTS_DRAIN=1s")
	addProvider(t, s)
	id, secret := addBasicClient(t, s)
	b := &balancer{replicas: map[*process]*backend{}}
	replicas := []*process{start(t, s, "serve"), start(t, s, "serve")}
	for _, p := range replicas {
		b.add(p)
	}
	b.awaitReady(t, 2)
	front := httptest.NewServer(b)
	defer front.Close()

	stop := make(chan struct{})
	var done sync.WaitGroup
	done.Go(func() { // the balancer's own probing
		ticker := time.NewTicker(20 * time.Millisecond)
		defer ticker.Stop()
		for {
			select {
			case <-stop:
				return
			case <-ticker.C:
				b.probe()
			}
		}
	})
	var answered atomic.Int64
	for range 4 {
		done.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if status, body := askToken(t, front.URL, "demobank", id, secret); status != 200 {
					t.Errorf("status %d: %s", status, body)
					return
				}
				answered.Add(1)
			}
		})
	}
	for _, restarted := range []int{0, 1, 0, 1} {
		before := answered.Load()
		old := replicas[restarted]
		old.signal(syscall.SIGTERM)
		if err := old.wait(); err != nil {
			t.Errorf("exit: %v, want 0", err)
		}
		b.remove(old)
		replicas[restarted] = start(t, s, "serve")
		b.add(replicas[restarted])
		b.awaitReady(t, 2)
		if answered.Load() == before {
			t.Error("nothing was answered during the restart")
		}
	}
	close(stop)
	done.Wait()
	t.Logf("%d requests", answered.Load())
}

// addBasicClient adds a client that authenticates by client_secret_basic.
func addBasicClient(t *testing.T, s []string) (id, secret string) {
	t.Helper()
	output, err := command(s, "client", "add", "--name", "TPP", "--auth-method", "client_secret_basic", "--grant-type", "client_credentials",
		"--scope", "accounts", "--output", "json").Output()
	if err != nil {
		t.Fatal(err)
	}
	var added struct {
		ID     string `json:"client_id"`
		Secret string `json:"client_secret"`
	}
	if err := json.Unmarshal(output, &added); err != nil {
		t.Fatal(err)
	}
	return added.ID, added.Secret
}

// askToken asks for a token and returns the status and the body.
func askToken(t *testing.T, site, provider, id, secret string) (int, string) {
	r, err := http.NewRequest("POST", site+"/api/oidc/"+provider+"/tokens", strings.NewReader("grant_type=client_credentials"))
	if err != nil {
		t.Error(err)
		return 0, ""
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.SetBasicAuth(id, secret)
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Error(err)
		return 0, ""
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Error(err)
	}
	return answer.StatusCode, string(body)
}

// A provider comes, is switched off, comes back and goes for good while two
// servers run: both follow in less than ten seconds.
func TestProviderLifeAcrossReplicas(t *testing.T) {
	t.Parallel() // it waits for caches to age
	storetest.Each(t, func(t *testing.T, database string) {
		s := settings(t, database)
		id, secret := addBasicClient(t, s)
		sites := []string{start(t, s, "serve").ready(), start(t, s, "serve").ready()}
		follow := func(want int) {
			t.Helper()
			end := time.Now().Add(10 * time.Second)
			for _, site := range sites {
				for range time.Tick(50 * time.Millisecond) {
					status, body := askToken(t, site, "demobank", id, secret)
					if status == want {
						break
					}
					if time.Now().After(end) {
						t.Fatalf("status %d after ten seconds, want %d: %s", status, want, body)
					}
				}
			}
		}
		follow(404)
		addProvider(t, s)
		follow(200)
		succeed(t, s, "provider", "disable", "demobank")
		follow(403)
		succeed(t, s, "provider", "enable", "demobank")
		follow(200)
		succeed(t, s, "provider", "delete", "demobank", "--yes")
		follow(404)
	})
}

// allow_clock_control lets whoever reaches the listener for operators move the
// server's clock; without it there is no such thing, and in production it is
// refused.
func TestClockControl(t *testing.T) {
	s := settings(t, sqliteURL(t), "MODE=development")
	addProvider(t, s)
	id, secret := addBasicClient(t, s)
	put := func(admin, body string, status int, want string) {
		t.Helper()
		r, err := http.NewRequest("PUT", admin+"/clock", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		answer, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		text, err := io.ReadAll(answer.Body)
		if err != nil {
			t.Fatal(err)
		}
		if answer.StatusCode != status || !strings.Contains(string(text), want) {
			t.Errorf("PUT %s: %d %s, want %d %s", body, answer.StatusCode, text, status, want)
		}
	}
	without := start(t, s, "serve")
	without.ready()
	put(without.admin(), `{"offset":"2h"}`, 404, "")

	with := start(t, append(s, "ALLOW_CLOCK_CONTROL=true"), "serve")
	site, admin := with.ready(), with.admin()
	ahead := func() time.Duration {
		t.Helper()
		status, body := askToken(t, site, "demobank", id, secret)
		var tokens struct {
			IDToken string `json:"id_token"`
		}
		if err := json.Unmarshal([]byte(body), &tokens); err != nil || status != 200 {
			t.Fatalf("status %d: %s", status, body)
		}
		token, err := jose.Parse(tokens.IDToken, jose.MaxSize)
		if err != nil {
			t.Fatal(err)
		}
		issued, _, err := token.Claims.Time("iat")
		if err != nil {
			t.Fatal(err)
		}
		return time.Until(issued).Round(time.Minute)
	}
	put(admin, `{"offset":"2h"}`, 200, `{"offset":"2h0m0s"}`)
	if got := ahead(); got != 2*time.Hour {
		t.Errorf("iat is %v ahead, want 2h", got)
	}
	put(admin, `{"offset":"soon"}`, 400, `"error"`)
	put(admin, `{"offset":"0s"}`, 200, `{"offset":"0s"}`)
	if got := ahead(); got != 0 {
		t.Errorf("iat is %v ahead, want none", got)
	}

	output, err := command(append(settings(t, sqliteURL(t)), "ALLOW_CLOCK_CONTROL=true"), "serve").CombinedOutput()
	if err == nil || !strings.Contains(string(output), "allow_clock_control is unsafe and refused in mode production") {
		t.Errorf("in production: %v %s", err, output)
	}
}
