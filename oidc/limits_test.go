package oidc_test

import (
	"fmt"
	"net/http/httptest"
	"net/netip"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"gatehouse"
	"gatehouse/jose"
	"gatehouse/oidc"
)

// limited replaces the site by a replica with these limits.
func (w *world) limited(limits oidc.Limits, proxies ...netip.Prefix) {
	server := w.server(w.store)
	server.Limits, server.TrustedProxies = limits, proxies
	w.site.Config.Handler = server.Handler()
}

// at sends a request from an address.
func (w *world) at(address, method, target string, header map[string]string, body string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	r.RemoteAddr = address + ":4711"
	if method == "POST" {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for name, value := range header {
		r.Header.Set(name, value)
	}
	recorder := httptest.NewRecorder()
	w.site.Config.Handler.ServeHTTP(recorder, r)
	return recorder
}

// wait is Retry-After in seconds of an answer that must be 429.
func wait(t *testing.T, a *httptest.ResponseRecorder) int {
	t.Helper()
	seconds, err := strconv.Atoi(a.Header().Get("Retry-After"))
	if a.Code != 429 || err != nil || seconds < 1 {
		t.Fatalf("%d %s %q, want 429 with Retry-After", a.Code, a.Body, a.Header().Get("Retry-After"))
	}
	return seconds
}

// A client and a bank have their limits; whoever meets his own is told when to
// come again, with the same assertion, and then is served. Others are not
// affected.
//
// Proves: N18
func TestLimits(t *testing.T) {
	for name, test := range map[string]struct {
		limits       oidc.Limits
		sameProvider int // answer to another client there
		otherBank    int // answer to the same client elsewhere
	}{
		"client":   {oidc.Limits{Client: oidc.Rate{PerSecond: 0.1, Burst: 3}}, 200, 429},
		"provider": {oidc.Limits{Provider: oidc.Rate{PerSecond: 0.1, Burst: 3}}, 429, 200},
	} {
		t.Run(name, func(t *testing.T) {
			w := sqliteWorld(t)
			w.limited(test.limits)
			for range 3 {
				expect(t, w.token("alpha", tppA, clientCredentials), 200, "")
			}
			again := w.asserted("alpha", tppA, clientCredentials).encode()
			a := w.at("192.0.2.1", "POST", "/api/oidc/alpha/tokens", nil, again)
			if seconds := wait(t, a); seconds != 10 || !strings.Contains(a.Body.String(), `"slow_down"`) {
				t.Errorf("%d s, %s", seconds, a.Body)
			}
			if a := w.token("alpha", tppB, clientCredentials); a.StatusCode != test.sameProvider {
				t.Errorf("another client: %v", a)
			}
			if a := w.token("gamma", tppA, clientCredentials); a.StatusCode != test.otherBank {
				t.Errorf("at another bank: %v", a)
			}
			for range 20 { // whoever is not the client does not use up its requests
				forged := w.asserted("alpha", tppA, clientCredentials)
				forged["client_assertion"] = sign(t, clientKey(t, tppB, jose.PS256), "JWT", w.assertionClaims("alpha", tppA))
				if a := w.do("POST", "/api/oidc/alpha/tokens", formHeader, forged.encode()); a.StatusCode == 200 {
					t.Fatal(a)
				}
			}
			w.clock.advance(9 * time.Second)
			wait(t, w.at("192.0.2.1", "POST", "/api/oidc/alpha/tokens", nil, again))
			w.clock.advance(time.Second)
			if a := w.at("192.0.2.1", "POST", "/api/oidc/alpha/tokens", nil, again); a.Code != 200 {
				t.Errorf("after Retry-After: %d %s", a.Code, a.Body)
			}
			wait(t, w.at("192.0.2.1", "POST", "/api/oidc/alpha/tokens", nil, w.asserted("alpha", tppA, clientCredentials).encode()))
			w.limited(test.limits) // a restart
			expect(t, w.token("alpha", tppA, clientCredentials), 200, "")
			if a := w.do("POST", "/api/oidc/alpha/tokens", formHeader, again); a.StatusCode != 400 {
				t.Errorf("a spent assertion after a restart: %v", a)
			}
		})
	}
}

// Proves: N18
func TestAuthorizeLimits(t *testing.T) {
	w := sqliteWorld(t)
	target := func(provider, client string) string {
		return "/oidc/" + provider + "/authorize?" + query(client).encode()
	}
	w.limited(oidc.Limits{AuthorizeAddress: oidc.Rate{PerSecond: 1, Burst: 3}})
	for i := range 3 {
		if a := w.at("192.0.2.1", "GET", target("alpha", tppA), nil, ""); a.Code != 303 {
			t.Fatalf("%d: %d %s", i, a.Code, a.Body)
		}
	}
	written := w.written()
	for _, bad := range []string{target("alpha", tppA), target("gamma", tppB), "/oidc/alpha/authorize", "/oidc/alpha/authorize?%"} {
		wait(t, w.at("192.0.2.1", "GET", bad, nil, ""))
	}
	if written() {
		t.Error("a refused request wrote something")
	}
	if a := w.at("192.0.2.2", "GET", target("alpha", tppA), nil, ""); a.Code != 303 {
		t.Errorf("another address: %d %s", a.Code, a.Body)
	}

	w.limited(oidc.Limits{AuthorizeClient: oidc.Rate{PerSecond: 1, Burst: 3}})
	for i := range 4 {
		a := w.at(fmt.Sprint("192.0.2.", i), "GET", target("alpha", tppA), nil, "")
		if i < 3 && a.Code != 303 {
			t.Fatalf("%d: %d %s", i, a.Code, a.Body)
		}
		if i == 3 {
			wait(t, a)
		}
	}
	for _, other := range []string{target("alpha", tppB), target("gamma", tppA)} {
		if a := w.at("192.0.2.3", "GET", other, nil, ""); a.Code != 303 {
			t.Errorf("%s: %d %s", other, a.Code, a.Body)
		}
	}
}

// Guessing at a secret meets a wall, for an address and for a client; who has
// the key is not held up by it, nor who showed the right secret lately.
//
// Proves: C16
func TestWrongSecrets(t *testing.T) {
	const owner, guesser = "198.51.100.1", "203.0.113.1"
	setUp := func(t *testing.T) (w *world, try func(address, client, secret string) *httptest.ResponseRecorder) {
		w = sqliteWorld(t)
		w.limited(oidc.Limits{WrongSecrets: oidc.Rate{PerSecond: 0.1, Burst: 3}})
		return w, func(address, client, secret string) *httptest.ResponseRecorder {
			return w.at(address, "POST", "/api/oidc/gamma/tokens", map[string]string{"Authorization": basicHeader(client, secret)}, clientCredentials.encode())
		}
	}
	wrong := func(t *testing.T, a *httptest.ResponseRecorder) {
		t.Helper()
		if a.Code != 400 && a.Code != 401 {
			t.Fatalf("a wrong secret: %d %s", a.Code, a.Body)
		}
	}
	served := func(t *testing.T, a *httptest.ResponseRecorder) {
		t.Helper()
		if a.Code != 200 {
			t.Errorf("the right secret: %d %s", a.Code, a.Body)
		}
	}
	t.Run("address", func(t *testing.T) {
		w, try := setUp(t)
		guard := w.guard("gamma")
		w.limited(oidc.Limits{WrongSecrets: oidc.Rate{PerSecond: 0.1, Burst: 3}})
		for range 3 {
			wrong(t, try(guesser, basic, gatehouse.NewSecret()))
		}
		if seconds := wait(t, try(guesser, basic, secret)); seconds != 10 {
			t.Errorf("%d s", seconds)
		}
		inquiry := map[string]string{"Authorization": basicHeader(guard, guardSecret)}
		wait(t, w.at(guesser, "POST", "/api/oidc/gamma/introspect", inquiry, form{"token": "t"}.encode()))
		wait(t, w.at(guesser, "GET", "/api/oidc/gamma/check", map[string]string{"Resource-Server-Authorization": inquiry["Authorization"], "Authorization": "Bearer t"}, ""))
		// The address has a key, too.
		if a := w.at(guesser, "POST", "/api/oidc/gamma/tokens", nil, w.asserted("gamma", tppA, clientCredentials).encode()); a.Code != 200 {
			t.Errorf("private_key_jwt: %d %s", a.Code, a.Body)
		}
		w.clock.advance(10 * time.Second)
		served(t, try(guesser, basic, secret))
		wrong(t, try(guesser, basic, "x"))
		wait(t, try(guesser, basic, secret))
	})
	t.Run("client", func(t *testing.T) {
		_, try := setUp(t)
		served(t, try(owner, basic, secret))
		for i := range 3 {
			wrong(t, try(fmt.Sprint("203.0.113.", i), basic, "x"))
		}
		wait(t, try("203.0.113.9", basic, "x"))
		wait(t, try("203.0.113.9", basic, secret))
		served(t, try(owner, basic, secret))
	})
	t.Run("resource server", func(t *testing.T) {
		w, _ := setUp(t)
		guard := w.guard("gamma")
		w.limited(oidc.Limits{WrongSecrets: oidc.Rate{PerSecond: 0.1, Burst: 3}})
		try := func(address, secret string) *httptest.ResponseRecorder {
			return w.at(address, "POST", "/api/oidc/gamma/introspect", map[string]string{"Authorization": basicHeader(guard, secret)}, form{"token": "t"}.encode())
		}
		served(t, try(owner, guardSecret))
		for i := range 3 {
			wrong(t, try(fmt.Sprint("203.0.113.", i), "x"))
		}
		wait(t, try("203.0.113.9", "x"))
		served(t, try(owner, guardSecret))
	})
}

// Behind a trusted proxy the address is the last that no such proxy wrote.
//
// Proves: N11
func TestAddressBehindProxies(t *testing.T) {
	w := sqliteWorld(t)
	proxies := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("2001:db8:5::/48")}
	for name, test := range map[string]struct {
		peer, first, second string // X-Forwarded-For of two requests
		same                bool   // they count as of one address
	}{
		"no proxy":                 {"192.0.2.1", "1.1.1.1", "2.2.2.2", true},
		"a proxy":                  {"10.0.0.1", "1.1.1.1", "2.2.2.2", false},
		"what the client wrote":    {"10.0.0.1", "5.5.5.5, 1.1.1.1", "6.6.6.6, 1.1.1.1", true},
		"a proxy's name it wrote":  {"10.0.0.1", "1.1.1.1, 9.9.9.9", "2.2.2.2, 9.9.9.9", true},
		"two proxies":              {"10.0.0.1", "1.1.1.1, 10.0.0.2", "2.2.2.2, 10.0.0.2", false},
		"an IPv6 proxy":            {"10.0.0.1", "1.1.1.1,2001:db8:5::7", "2.2.2.2,2001:db8:5::7", false},
		"not an address":           {"10.0.0.1", "1.1.1.1, unknown", "2.2.2.2, unknown", true},
		"a network of IPv6":        {"10.0.0.1", "2001:db8::1", "2001:db8::2", true},
		"two networks of IPv6":     {"10.0.0.1", "2001:db8:0:1::1", "2001:db8:0:2::1", false},
		"mapped":                   {"10.0.0.1", "1.1.1.1", "::ffff:1.1.1.1", true},
		"empty":                    {"10.0.0.1", "", "", true},
		"only proxies":             {"10.0.0.1", "10.1.1.1", "10.1.1.1", true},
		"an address with its port": {"10.0.0.1", "1.1.1.1:80", "2.2.2.2:80", true},
	} {
		w.limited(oidc.Limits{AuthorizeAddress: oidc.Rate{PerSecond: 1, Burst: 1}}, proxies...)
		target := "/oidc/alpha/authorize?" + query(tppA).encode()
		if a := w.at(test.peer, "GET", target, map[string]string{"X-Forwarded-For": test.first}, ""); a.Code != 303 {
			t.Fatalf("%s: %d %s", name, a.Code, a.Body)
		}
		a := w.at(test.peer, "GET", target, map[string]string{"X-Forwarded-For": test.second, "Forwarded": "for=3.3.3.3", "X-Real-Ip": "4.4.4.4"}, "")
		if (a.Code == 429) != test.same {
			t.Errorf("%s: %d", name, a.Code)
		}
	}
}

// Whoever comes under many names can make a limit forget old names, but not
// grow it; and a name that goes on asking is kept.
//
// Proves: N18, A20
func TestManyAddresses(t *testing.T) {
	w := sqliteWorld(t)
	w.limited(oidc.Limits{AuthorizeAddress: oidc.Rate{PerSecond: 0.001, Burst: 1}})
	// Refused before anything is written or looked up.
	ask := func(address string) int {
		return w.at(address, "GET", "/oidc/alpha/authorize?client_id=nobody", nil, "").Code
	}
	address := func(i int) string { return netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}).String() }
	const busy, quiet = "192.0.2.1", "192.0.2.2"
	for _, name := range []string{busy, quiet} {
		if status := ask(name); status != 400 {
			t.Fatal(status)
		}
	}
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	const flood = 20_000
	for i := range flood {
		if status := ask(address(i)); status != 400 {
			t.Fatalf("address %d: %d", i, status)
		}
		if i%1000 == 0 {
			if status := ask(busy); status != 429 {
				t.Fatalf("who goes on asking is forgotten after %d others: %d", i, status)
			}
			w.log.mu.Lock()
			w.log.text.Reset()
			w.log.mu.Unlock()
		}
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if grown := int(after.HeapAlloc) - int(before.HeapAlloc); grown > 8<<20 {
		t.Errorf("%d addresses take %d KiB", flood, grown>>10)
	}
	if status := ask(quiet); status != 400 {
		t.Errorf("who has not asked for long: %d", status)
	}
	if status := ask(address(flood - 1)); status != 429 {
		t.Errorf("the last address: %d", status)
	}
}

// Resource servers of one id at two banks, and a client that is called like
// one, each have their own count of wrong secrets.
func TestWrongSecretsOfNamesakes(t *testing.T) {
	w := sqliteWorld(t)
	guards := map[string]string{"alpha": w.guard("alpha"), "gamma": w.guard("gamma")}
	namesake := guards["alpha"]
	must(t, w.store.CreateResourceServer(t.Context(), &gatehouse.ResourceServer{
		ID: namesake, Provider: "gamma", Name: "Namesake", CreatedAt: w.clock.Now(),
		SecretHash: gatehouse.ResourceServerSecretHash(w.kek, "gamma", namesake, guardSecret),
	}))
	w.addClient(gatehouse.Client{ID: "alpha/" + namesake, TokenEndpointAuthMethod: gatehouse.AuthClientSecretBasic,
		SecretHash: gatehouse.ClientSecretHash(w.kek, "alpha/"+namesake, secret)})
	w.limited(oidc.Limits{WrongSecrets: oidc.Rate{PerSecond: 0.1, Burst: 3}})
	addresses := 0
	introspect := func(provider, secret string) int {
		addresses++
		return w.at(fmt.Sprint("203.0.113.", addresses), "POST", "/api/oidc/"+provider+"/introspect",
			map[string]string{"Authorization": basicHeader(namesake, secret)}, form{"token": "t"}.encode()).Code
	}
	for range 3 {
		introspect("alpha", "x")
	}
	if status := introspect("alpha", guardSecret); status != 429 {
		t.Errorf("after wrong secrets: %d", status)
	}
	if status := introspect("gamma", guardSecret); status != 200 {
		t.Errorf("the namesake at another bank: %d", status)
	}
	client := w.at("203.0.113.200", "POST", "/api/oidc/gamma/tokens", map[string]string{"Authorization": basicHeader("alpha/"+namesake, secret)}, clientCredentials.encode())
	if client.Code != 200 {
		t.Errorf("the client: %d %s", client.Code, client.Body)
	}
}

// A flood of authorization requests from everywhere leaves as many rows as the
// limits of its clients let through, and they go three hours after they
// expired. Others go on.
//
// Proves: A20
func TestAuthorizationFlood(t *testing.T) {
	w := sqliteWorld(t)
	const flood, burst = 100_000, 200
	w.limited(oidc.Limits{AuthorizeAddress: oidc.Rate{PerSecond: 1, Burst: 10}, AuthorizeClient: oidc.Rate{PerSecond: 1, Burst: burst}})
	rows := func() (n int) {
		must(t, w.raw().QueryRow(`SELECT COUNT(*) FROM authorizations`).Scan(&n))
		return n
	}
	target := "/oidc/alpha/authorize?" + query(tppA).encode()
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	statuses := map[int]int{}
	for i := range flood {
		from := netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}).String()
		statuses[w.at(from, "GET", target, nil, "").Code]++
		if i%1000 == 0 {
			w.log.mu.Lock()
			w.log.text.Reset()
			w.log.mu.Unlock()
		}
		if i == flood/2 {
			other := w.at("192.0.2.1", "GET", "/oidc/alpha/authorize?"+query(tppB).encode(), nil, "")
			if other.Code != 303 {
				t.Errorf("another client: %d %s", other.Code, other.Body)
			}
		}
	}
	if statuses[303] != burst || statuses[429] != flood-burst {
		t.Errorf("%v", statuses)
	}
	if n := rows(); n != burst+1 {
		t.Errorf("%d rows", n)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if grown := int(after.HeapAlloc) - int(before.HeapAlloc); grown > 16<<20 {
		t.Errorf("grown by %d KiB", grown>>10)
	}
	w.clock.advance(15*time.Minute + 3*time.Hour)
	if _, err := w.store.Purge(t.Context(), w.clock.Now()); err != nil {
		t.Fatal(err)
	}
	if n := rows(); n != 0 {
		t.Errorf("%d rows after three hours", n)
	}
}
