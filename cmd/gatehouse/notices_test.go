package main

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"gatehouse/store/storetest"
)

// A toldBank counts what it is told. While it is deaf it answers nothing.
type toldBank struct {
	*httptest.Server
	mu    sync.Mutex
	told  map[string]int  // answered calls by consent_id
	busy  map[string]bool // calls under way
	twice bool            // one consent was in two calls at once
	deaf  bool            // calls are never answered
	heard chan string     // every call
}

func newToldBank(t *testing.T) *toldBank {
	b := &toldBank{told: map[string]int{}, busy: map[string]bool{}, heard: make(chan string, 1e4)}
	b.Server = httptest.NewServer(b)
	t.Cleanup(b.Close)
	return b
}

func (b *toldBank) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	id := r.Header.Get("Consent-Id")
	b.mu.Lock()
	b.twice = b.twice || b.busy[id]
	b.busy[id] = true
	deaf := b.deaf
	b.mu.Unlock()
	b.heard <- id
	if deaf {
		<-r.Context().Done()
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.busy, id)
	if !deaf {
		b.told[id]++
		io.WriteString(w, "{}")
	}
}

func (b *toldBank) setDeaf(deaf bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.deaf = deaf
}

// awaitTold waits until the bank has answered calls about all consents, and
// returns how many more it got than one each.
func (b *toldBank) awaitTold(t *testing.T, ids []string) (again int) {
	t.Helper()
	for end := time.Now().Add(patience); ; {
		b.mu.Lock()
		missing := 0
		again = -len(ids)
		for _, id := range ids {
			again += b.told[id]
			if b.told[id] == 0 {
				missing++
			}
		}
		b.mu.Unlock()
		if missing == 0 {
			return again
		}
		if time.Now().After(end) {
			t.Fatalf("the bank was not told of %d of %d consents", missing, len(ids))
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// addToldProvider adds the provider demobank with the bank at its
// connector_url.
func addToldProvider(t *testing.T, settings []string, b *toldBank) {
	t.Helper()
	jwks := filepath.Join(t.TempDir(), "jwks.json")
	if err := os.WriteFile(jwks, publicJWKS(t), 0o600); err != nil {
		t.Fatal(err)
	}
	succeed(t, settings, "provider", "add", "demobank", "--name", "Demobank", "--login-url", "https://bank.example/login",
		"--connector-url", b.URL, "--connector-jwks", jwks)
}

// lodge lodges a consent and returns its id once that is acknowledged, else "".
func lodge(t *testing.T, site, token string) string {
	t.Helper()
	r, err := http.NewRequest("POST", site+"/api/demobank/open-banking/v3.1/aisp/account-access-consents",
		strings.NewReader(`{"Data":{"Permissions":["ReadAccountsBasic"]},"Risk":{}}`))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+token)
	r.Header.Set("Content-Type", "application/json")
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return ""
	}
	defer answer.Body.Close()
	var body struct{ Data struct{ ConsentId string } }
	if err := json.NewDecoder(answer.Body).Decode(&body); err != nil || answer.StatusCode != http.StatusCreated {
		return ""
	}
	return body.Data.ConsentId
}

func ownToken(t *testing.T, site, id, secret string) string {
	t.Helper()
	status, body := askToken(t, site, "demobank", id, secret)
	var answer struct {
		AccessToken string `json:"access_token"`
	}
	if err := json.Unmarshal([]byte(body), &answer); err != nil || status != 200 {
		t.Fatalf("status %d: %s", status, body)
	}
	return answer.AccessToken
}

// A server that is killed, just after it has acknowledged a consent or while it
// calls the bank about it, leaves the telling to the next one: every consent
// that was acknowledged is told of, once or more.
//
// Proves: N21
func TestKilledBeforeTheBankIsTold(t *testing.T) {
	storetest.Each(t, func(t *testing.T, database string) {
		s := settings(t, database, "MODE=development", "ALLOW_CLOCK_CONTROL=true")
		bank := newToldBank(t)
		addToldProvider(t, s, bank)
		client, secret := addBasicClient(t, s)
		var ids []string
		for round := range 6 {
			bank.setDeaf(round%2 == 0)
			p := start(t, s, "serve")
			site := p.ready()
			token := ownToken(t, site, client, secret)
			id := lodge(t, site, token)
			if id == "" {
				t.Fatal("no consent")
			}
			ids = append(ids, id)
			if round%2 == 0 { // killed while the bank has the call, else at once
				for receive(t, bank.heard) != id {
				}
			}
			p.signal(syscall.SIGKILL)
			p.wait()
			bank.setDeaf(false)
		}
		p := start(t, s, "serve")
		p.ready()
		// The claims of the dead last for half a minute.
		r, err := http.NewRequest("PUT", p.admin()+"/clock", strings.NewReader(`{"offset":"31s"}`))
		if err != nil {
			t.Fatal(err)
		}
		answer, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
		t.Logf("told once more than needed: %d times", bank.awaitTold(t, ids))
	})
}

func receive(t *testing.T, from <-chan string) string {
	t.Helper()
	select {
	case got := <-from:
		return got
	case <-time.After(patience):
		t.Fatal("the bank was not called")
		return ""
	}
}

// Two replicas share the telling: while nothing fails each consent is told of
// once, and never by both at the same moment.
func TestReplicasShareTheTelling(t *testing.T) {
	storetest.Each(t, func(t *testing.T, database string) {
		s := settings(t, database)
		bank := newToldBank(t)
		addToldProvider(t, s, bank)
		client, secret := addBasicClient(t, s)
		sites := []string{start(t, s, "serve").ready(), start(t, s, "serve").ready()}
		token := ownToken(t, sites[0], client, secret)
		var mu sync.Mutex
		var ids []string
		var lodging sync.WaitGroup
		for i := range 4 {
			lodging.Go(func() {
				for range 10 {
					id := lodge(t, sites[i%2], token)
					mu.Lock()
					ids = append(ids, id)
					mu.Unlock()
				}
			})
		}
		lodging.Wait()
		if again := bank.awaitTold(t, ids); again != 0 {
			t.Errorf("%d calls more than consents", again)
		}
		bank.mu.Lock()
		defer bank.mu.Unlock()
		if bank.twice || len(bank.told) != len(ids) {
			t.Errorf("one consent in two calls at once: %v; told of %d consents, want %d", bank.twice, len(bank.told), len(ids))
		}
		if bank.told[""] != 0 {
			t.Error("a consent was not lodged")
		}
	})
}
