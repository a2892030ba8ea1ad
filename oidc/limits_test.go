package oidc_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
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
	t.Parallel()
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

// What a client asks with a token counts like what it signs.
//
// Proves: N18
func TestLimitsOfBearers(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	token, other, psu := w.ownToken("alpha", tppA), w.ownToken("alpha", tppB), w.tokens("alpha", tppA).text("access_token")
	w.limited(oidc.Limits{Client: oidc.Rate{PerSecond: 0.1, Burst: 3}})
	r := resourceOf(gatehouse.AccountAccess)
	lodge := func(token string) *httptest.ResponseRecorder {
		return w.at("192.0.2.1", "POST", r.at("alpha", "v3.1.11"), map[string]string{"Authorization": "Bearer " + token, "Content-Type": "application/json"}, r.body)
	}
	userinfo := func() *httptest.ResponseRecorder {
		return w.at("192.0.2.1", "GET", "/api/oidc/alpha/userinfo", map[string]string{"Authorization": "Bearer " + psu}, "")
	}
	for range 2 {
		if a := lodge(token); a.Code != 201 {
			t.Fatalf("%d %s", a.Code, a.Body)
		}
	}
	if a := userinfo(); a.Code != 200 {
		t.Fatalf("%d %s", a.Code, a.Body)
	}
	written := w.written()
	for _, a := range []*httptest.ResponseRecorder{lodge(token), userinfo()} {
		if seconds := wait(t, a); seconds != 10 {
			t.Errorf("%d s, %s", seconds, a.Body)
		}
	}
	wait(t, w.at("192.0.2.1", "POST", "/api/oidc/alpha/tokens", nil, w.asserted("alpha", tppA, clientCredentials).encode()))
	if written() {
		t.Error("a refused request wrote something")
	}
	if a := lodge(other); a.Code != 201 {
		t.Errorf("another client: %d %s", a.Code, a.Body)
	}
	w.clock.advance(10 * time.Second)
	if a := lodge(token); a.Code != 201 {
		t.Errorf("after Retry-After: %d %s", a.Code, a.Body)
	}
}

// Who is told to wait has spent nothing, also when many came at one moment; and
// what was let through beyond the limit is waited for.
//
// Proves: N18
func TestWaitingSpendsNoAssertion(t *testing.T) {
	w := sqliteWorld(t)
	w.limited(oidc.Limits{Client: oidc.Rate{PerSecond: 1, Burst: 2}})
	const callers = 32
	ask := func(body string) *httptest.ResponseRecorder {
		return w.at("192.0.2.1", "POST", "/api/oidc/alpha/tokens", nil, body)
	}
	var bodies [callers]string
	for i := range bodies {
		bodies[i] = w.asserted("alpha", tppA, clientCredentials).encode()
	}
	var answers [callers]*httptest.ResponseRecorder
	var all sync.WaitGroup
	start := make(chan struct{})
	for i, body := range bodies {
		all.Go(func() {
			<-start
			answers[i] = ask(body)
		})
	}
	close(start)
	all.Wait()
	served := 0
	var waiting []string
	for i, a := range answers {
		switch a.Code {
		case 200:
			served++
		case 429:
			waiting = append(waiting, bodies[i])
		default:
			t.Errorf("%d %s", a.Code, a.Body)
		}
	}
	if served < 2 {
		t.Errorf("%d were served", served)
	}
	last := w.asserted("alpha", tppA, clientCredentials).encode()
	if seconds := wait(t, ask(last)); seconds != served-1 {
		t.Errorf("after %d requests: %d s", served, seconds)
	}
	w.clock.advance(time.Duration(served-1) * time.Second)
	for _, body := range append(waiting, last) {
		if a := ask(body); a.Code != 200 {
			t.Fatalf("after Retry-After: %d %s", a.Code, a.Body)
		}
		w.clock.advance(time.Second)
	}
}

// So does what manages its registration.
//
// Proves: N18
func TestLimitsOfManagement(t *testing.T) {
	w := sqliteWorld(t)
	managed, other := w.registrant("managed", nil), w.registrant("other", nil)
	w.limited(oidc.Limits{Client: oidc.Rate{PerSecond: 0.1, Burst: 3}})
	read := func(r *registrant) *httptest.ResponseRecorder {
		return w.at("192.0.2.1", "GET", r.path(), map[string]string{"Authorization": "Bearer " + r.token}, "")
	}
	for range 3 {
		if a := read(managed); a.Code != 200 {
			t.Fatalf("%d %s", a.Code, a.Body)
		}
	}
	for range 20 { // strangers use up nothing
		if a := w.at("192.0.2.1", "GET", other.path(), map[string]string{"Authorization": "Bearer " + managed.token}, ""); a.Code != 401 {
			t.Fatalf("%d %s", a.Code, a.Body)
		}
	}
	if seconds := wait(t, read(managed)); seconds != 10 {
		t.Errorf("%d s", seconds)
	}
	if a := read(other); a.Code != 200 {
		t.Errorf("another client: %d %s", a.Code, a.Body)
	}
}

// Proves: N18
func TestAuthorizeLimits(t *testing.T) {
	t.Parallel()
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

	w.limited(oidc.Limits{AuthorizeProvider: oidc.Rate{PerSecond: 1, Burst: 2}})
	for i, client := range []string{tppA, tppB, basic} {
		a := w.at(fmt.Sprint("192.0.2.", i), "GET", target("alpha", client), nil, "")
		if i < 2 && a.Code != 303 {
			t.Fatalf("%d: %d %s", i, a.Code, a.Body)
		}
		if i == 2 {
			wait(t, a)
		}
	}
	if a := w.at("192.0.2.3", "GET", target("gamma", tppA), nil, ""); a.Code != 303 {
		t.Errorf("another provider: %d %s", a.Code, a.Body)
	}
}

// What a client asks beyond its own limit takes nothing from its bank's others.
//
// Proves: N18
func TestLimitedClientTakesNothingFromTheBank(t *testing.T) {
	w := sqliteWorld(t)
	w.limited(oidc.Limits{Client: oidc.Rate{PerSecond: 0.1, Burst: 3}, Provider: oidc.Rate{PerSecond: 0.1, Burst: 5}})
	ask := func(client string) *httptest.ResponseRecorder {
		header, f := w.authenticated("gamma", client, clientCredentials)
		sent := map[string]string{}
		for name := range header {
			sent[name] = header.Get(name)
		}
		return w.at("192.0.2.1", "POST", "/api/oidc/gamma/tokens", sent, f.encode())
	}
	for range 3 {
		if a := ask(basic); a.Code != 200 {
			t.Fatalf("%d %s", a.Code, a.Body)
		}
	}
	for range 20 {
		wait(t, ask(basic))
	}
	for range 2 {
		if a := ask(tppA); a.Code != 200 {
			t.Errorf("another client: %d %s", a.Code, a.Body)
		}
	}
	wait(t, ask(tppA)) // the bank's own limit
}

// Of any number of requests at one moment no more pass than the limit says.
//
// Proves: N18
func TestLimitsAtOnce(t *testing.T) {
	const rounds, callers, burst = 200, 32, 3
	w := sqliteWorld(t)
	w.limited(oidc.Limits{AuthorizeAddress: oidc.Rate{PerSecond: 1, Burst: burst}})
	for round := range rounds {
		address := netip.AddrFrom4([4]byte{10, 0, byte(round >> 8), byte(round)}).String()
		var passed atomic.Int32
		var all sync.WaitGroup
		start := make(chan struct{})
		for range callers {
			all.Go(func() {
				<-start
				switch a := w.at(address, "GET", "/oidc/alpha/authorize?%", nil, ""); a.Code {
				case 400: // as malformed
					passed.Add(1)
				case 429:
				default:
					t.Errorf("%d %s", a.Code, a.Body)
				}
			})
		}
		close(start)
		all.Wait()
		if n := passed.Load(); n != burst {
			t.Fatalf("round %d: %d passed, want %d", round, n, burst)
		}
	}
}

// Guessing at a secret meets a wall, for an address and for a client; who has
// the key is not held up by it, nor who showed the right secret lately.
//
// Proves: C16
func TestWrongSecrets(t *testing.T) {
	t.Parallel()
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
	t.Run("an address that others share", func(t *testing.T) {
		w, try := setUp(t)
		const second = "second"
		w.addClient(gatehouse.Client{ID: second, TokenEndpointAuthMethod: gatehouse.AuthClientSecretBasic, SecretHash: gatehouse.ClientSecretHash(w.kek, second, secret)})
		served(t, try(owner, basic, secret))
		for range 3 {
			wrong(t, try(owner, second, "x"))
		}
		wait(t, try(owner, second, secret))
		served(t, try(owner, basic, secret))
		for range 3 {
			wrong(t, try(owner, basic, "x"))
		}
		wait(t, try(owner, basic, secret)) // its own
	})
	t.Run("after a restart", func(t *testing.T) {
		w, try := setUp(t)
		served(t, try(owner, basic, secret))
		w.limited(oidc.Limits{WrongSecrets: oidc.Rate{PerSecond: 0.1, Burst: 3}})
		for i := range 3 {
			wrong(t, try(fmt.Sprint("203.0.113.", i), basic, "x"))
		}
		wait(t, try("203.0.113.9", basic, "x"))
		served(t, try(owner, basic, secret))
		for i := range 3 { // an address has one try, and then another when it has been quiet
			wait(t, try("203.0.113.10", basic, fmt.Sprint("guess", i)))
		}
		wait(t, try("203.0.113.10", basic, secret))
		served(t, try(owner, basic, secret))
	})
	t.Run("connector", func(t *testing.T) {
		w, _ := setUp(t)
		bank := w.banks["alpha"]
		try := func(address, secret string) *httptest.ResponseRecorder {
			return w.at(address, "GET", "/api/connectors/ob/v1/authorizations/x", map[string]string{"App-Id": bank.appID, "App-Secret": secret}, "")
		}
		known := func(address string) { // there is no such authorization
			if a := try(address, bank.appSecret); a.Code != 404 {
				t.Errorf("the right secret: %d %s", a.Code, a.Body)
			}
		}
		known(owner)
		for i := range 3 {
			if a := try(fmt.Sprint("203.0.113.", i), "x"); a.Code != 403 {
				t.Errorf("a wrong secret: %d %s", a.Code, a.Body)
			}
		}
		wait(t, try("203.0.113.9", "x"))
		known(owner)
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

// Wrong secrets shown for a client that has a key lock nobody out.
//
// Proves: C16 (the key)
func TestWrongSecretsForAKeyHolder(t *testing.T) {
	w := sqliteWorld(t)
	w.limited(oidc.Limits{WrongSecrets: oidc.Rate{PerSecond: 0.1, Burst: 3}, Client: oidc.Rate{PerSecond: 0.1, Burst: 3}})
	for i := range 20 {
		for _, address := range []string{"203.0.113.1", fmt.Sprint("203.0.113.", i)} {
			a := w.at(address, "POST", "/api/oidc/gamma/tokens", map[string]string{"Authorization": basicHeader(tppA, "x")}, clientCredentials.encode())
			if a.Code != 401 {
				t.Fatal(a.Code, a.Body)
			}
		}
	}
	for _, address := range []string{"203.0.113.1", "198.51.100.1"} {
		if a := w.at(address, "POST", "/api/oidc/gamma/tokens", nil, w.asserted("gamma", tppA, clientCredentials).encode()); a.Code != 200 {
			t.Errorf("%s: %d %s", address, a.Code, a.Body)
		}
	}
}

// Who lately showed the right secret of one client is held up like everybody
// else when it comes to another; and who is told to wait has not failed.
//
// Proves: C16 (whose address), C28 (waiting)
func TestRightSecretOfAnotherClient(t *testing.T) {
	w := sqliteWorld(t)
	const second = "second"
	w.addClient(gatehouse.Client{ID: second, TokenEndpointAuthMethod: gatehouse.AuthClientSecretBasic, SecretHash: gatehouse.ClientSecretHash(w.kek, second, secret)})
	w.limited(oidc.Limits{WrongSecrets: oidc.Rate{PerSecond: 0.1, Burst: 3}})
	try := func(address, client, secret string) int {
		return w.at(address, "POST", "/api/oidc/gamma/tokens", map[string]string{"Authorization": basicHeader(client, secret)}, clientCredentials.encode()).Code
	}
	if status := try("198.51.100.1", basic, secret); status != 200 {
		t.Fatal(status)
	}
	for i := range 3 {
		try(fmt.Sprint("203.0.113.", i), second, "x")
	}
	before := len(w.events())
	if status := try("198.51.100.1", second, "x"); status != 429 {
		t.Errorf("a wrong secret of the second: %d", status)
	}
	if status := try("198.51.100.1", second, secret); status != 429 {
		t.Errorf("the right secret of the second: %d", status)
	}
	if n := len(w.events()) - before; n > 0 {
		t.Errorf("%d events of who was told to wait", n)
	}
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
	if status := introspect("alpha", "x"); status != 429 {
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
// expired, or a day if the browser came back. Others go on.
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
	v := w.visit("alpha", query(tppA))
	if a := w.do("GET", "/oidc/alpha/authorize/"+v.id, http.Header{"Cookie": {v.cookie}}, ""); a.StatusCode != 303 {
		t.Fatal(a)
	}
	w.clock.advance(15*time.Minute + 24*time.Hour)
	if _, err := w.store.Purge(t.Context(), w.clock.Now()); err != nil {
		t.Fatal(err)
	}
	if n := rows(); n != 0 {
		t.Errorf("%d rows a day after the browser came back", n)
	}
}
