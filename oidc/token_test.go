package oidc_test

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"gatehouse"
	"gatehouse/jose"
	"gatehouse/store"
	"gatehouse/store/storetest"
)

// In profile psd2 the status follows the error table, elsewhere RFC 6749.
func statuses(psd2, standard int) map[string]int {
	return map[string]int{"alpha": psd2, "beta": psd2, "gamma": standard}
}

var everyProvider = []string{"alpha", "beta", "gamma"}

// Proves: T30, T35, K12
func TestCodeFlow(t *testing.T) {
	t.Parallel()
	forEachWorld(t, func(t *testing.T, w *world) {
		for _, provider := range everyProvider {
			for client, alg := range map[string]string{tppA: "", tppB: jose.RS256, basic: ""} {
				if alg == "" {
					alg = map[string]string{"alpha": jose.PS256, "beta": jose.PS256, "gamma": jose.RS256}[provider]
				}
				t.Run(provider+"/"+client, func(t *testing.T) {
					nonce := strings.Repeat("n0nce-&ü", 7) + "12345678"
					intent := w.consent(provider, client, "consent-of-"+client).with(form{"nonce": nonce})
					a := w.token(provider, client, exchange(w.code(provider, client, intent)))
					expect(t, a, 200, "")
					if a.text("token_type") != "Bearer" || a.JSON["expires_in"] != 600.0 || a.text("scope") != "openid accounts" || a.text("refresh_token") == "" {
						t.Errorf("response: %v", a)
					}
					id := idToken(t, provider, alg, a.text("id_token"))
					accessID, _ := gatehouse.TokenID(a.text("access_token"))
					want := map[string]any{
						"iss": issuer(provider), "aud": client, "nonce": nonce, "jti": accessID,
						"acr": "urn:openbanking:psd2:sca", "at_hash": atHash(a.text("access_token")),
						"openbanking_intent_id": "consent-of-" + client,
						"iat":                   float64(w.clock.Now().Unix()), "exp": float64(w.clock.Now().Add(10 * time.Minute).Unix()),
						"auth_time": float64(w.clock.Now().Unix()),
					}
					for name, value := range want {
						var got any
						must(t, id.Decode(name, &got))
						if got != value {
							t.Errorf("id_token %s = %v, want %v", name, got, value)
						}
					}
					if sub, _ := id.String("sub"); sub == "" || strings.Contains(sub, "psu-17") || sub == client {
						t.Errorf("sub = %q", sub)
					}
					r := w.token(provider, client, form{"grant_type": "refresh_token", "refresh_token": a.text("refresh_token")})
					expect(t, r, 200, "")
					if r.text("access_token") == a.text("access_token") || r.text("refresh_token") != a.text("refresh_token") {
						t.Errorf("refresh: %v", r)
					}
					if refreshed := idToken(t, provider, alg, r.text("id_token")); refreshed.Has("nonce") || string(refreshed["sub"]) != string(id["sub"]) {
						t.Errorf("id_token of the refresh: %v", refreshed)
					}
				})
			}
		}
	})
}

// Proves: T1
func TestCodeIsUsedOnce(t *testing.T) {
	forEachWorld(t, func(t *testing.T, w *world) {
		for _, provider := range everyProvider {
			code := w.code(provider, tppA, nil)
			first := w.token(provider, tppA, exchange(code))
			expect(t, first, 200, "")
			if !w.active(provider, first.text("access_token")) {
				t.Fatal("the token is not active")
			}
			expect(t, w.token(provider, tppA, exchange(code)), 400, "invalid_grant")
			if w.active(provider, first.text("access_token")) {
				t.Error("the access token outlived the replay")
			}
			expect(t, w.token(provider, tppA, form{"grant_type": "refresh_token", "refresh_token": first.text("refresh_token")}), 400, "invalid_grant")
		}
	})
}

// Proves: T2
func TestCodeIsUsedOnceAtOnce(t *testing.T) {
	const callers = 64
	forEachWorld(t, func(t *testing.T, w *world) {
		second, err := store.Open(t.Context(), w.url)
		must(t, err)
		defer second.Close()
		sites := []*httptest.Server{w.site, w.replica(second)}
		for range storetest.Rounds(t, 20) {
			code := w.code("alpha", tppA, nil)
			requests := make([]string, callers) // signed before the barrier
			for i := range requests {
				requests[i] = w.asserted("alpha", tppA, exchange(code)).encode()
			}
			var won []*answer
			for _, a := range w.atOnce(callers, func(i int) *answer {
				return w.doAt(sites[i%2], "POST", "/api/oidc/alpha/tokens", formHeader, requests[i])
			}) {
				if a.StatusCode == 200 {
					won = append(won, a)
				} else {
					expect(t, a, 400, "invalid_grant")
				}
			}
			if len(won) != 1 {
				t.Fatalf("%d redemptions succeeded", len(won))
			}
			if w.active("alpha", won[0].text("access_token")) {
				t.Fatal("the winner's token is active after replays")
			}
		}
	})
}

func atHash(token string) string {
	sum := sha256.Sum256([]byte(token))
	return base64.RawURLEncoding.EncodeToString(sum[:16])
}

// Proves: T4
func TestCodeOfAnotherClient(t *testing.T) {
	t.Parallel()
	forEachWorld(t, func(t *testing.T, w *world) {
		for provider, status := range statuses(404, 400) {
			code := w.code(provider, tppA, nil)
			theirs := w.token(provider, basic, exchange(code))
			unknown := w.token(provider, basic, exchange(gatehouse.NewSecret()))
			expect(t, theirs, status, "invalid_grant")
			if theirs.Body != unknown.Body || theirs.StatusCode != unknown.StatusCode {
				t.Errorf("another's code answers %v, an unknown one %v", theirs, unknown)
			}
			first := w.token(provider, tppA, exchange(code))
			expect(t, first, 200, "")
			// Spent by its owner, it still tells the other nothing and costs the owner nothing.
			expect(t, w.token(provider, basic, exchange(code)), status, "invalid_grant")
			if !w.active(provider, first.text("access_token")) {
				t.Error("another client's attempt revoked the owner's token")
			}
		}
	})
}

// Proves: T7, T9
func TestCodeIsBound(t *testing.T) {
	t.Parallel()
	forEachWorld(t, func(t *testing.T, w *world) {
		wrong := map[string]form{
			"redirect_uri missing":        {"redirect_uri": nil},
			"redirect_uri empty":          {"redirect_uri": ""},
			"redirect_uri other":          {"redirect_uri": "https://tpp.example/cb?a=1"},
			"redirect_uri with slash":     {"redirect_uri": callback + "/"},
			"redirect_uri with case":      {"redirect_uri": "https://TPP.example/cb"},
			"redirect_uri with port":      {"redirect_uri": "https://tpp.example:443/cb"},
			"redirect_uri with space":     {"redirect_uri": " " + callback},
			"redirect_uri twice":          {"redirect_uri": []string{callback, callback}},
			"verifier missing":            {"code_verifier": nil},
			"verifier empty":              {"code_verifier": ""},
			"verifier wrong":              {"code_verifier": strings.Repeat("w", 54)},
			"verifier of 42":              {"code_verifier": strings.Repeat("v", 42)},
			"verifier of 129":             {"code_verifier": strings.Repeat("v", 129)},
			"verifier with a bad charset": {"code_verifier": strings.Repeat("v", 42) + "é"},
			"verifier is the challenge":   {"code_verifier": challenge(verifier)},
			"code twice":                  {"code": []string{"x", "x"}},
			"code missing":                {"code": nil},
		}
		for _, provider := range everyProvider {
			code := w.code(provider, tppA, nil)
			for name, change := range wrong {
				a := w.token(provider, tppA, exchange(code).with(change))
				if a.StatusCode != 400 || a.text("error") != "invalid_grant" && a.text("error") != "invalid_request" {
					t.Errorf("%s: %s: %v", provider, name, a)
				}
			}
			expect(t, w.token(provider, tppA, exchange(code)), 200, "") // none of it spent the code
			for name, malformed := range map[string]string{"of 42": strings.Repeat("v", 42), "of 129": strings.Repeat("v", 129), "with a bad charset": strings.Repeat("v", 42) + "é"} {
				matching := w.code(provider, tppA, form{"code_challenge": challenge(malformed)})
				if a := w.token(provider, tppA, exchange(matching).with(form{"code_verifier": malformed})); a.StatusCode != 400 || a.text("error") != "invalid_grant" {
					t.Errorf("%s: a matching verifier %s: %v", provider, name, a)
				}
			}
			unchallenged := w.code(provider, tppA, form{"code_challenge": nil, "code_challenge_method": nil})
			expect(t, w.token(provider, tppA, exchange(unchallenged)), 400, "invalid_grant")
			expect(t, w.token(provider, tppA, exchange(unchallenged).with(form{"code_verifier": nil})), 200, "")
		}
	})
}

// Proves: T8, A16
func TestCodeLifetime(t *testing.T) {
	t.Parallel()
	forEachWorld(t, func(t *testing.T, w *world) {
		for provider, lifetime := range map[string]time.Duration{"alpha": time.Minute, "beta": 10 * time.Minute, "gamma": time.Minute} {
			code := w.code(provider, tppA, nil)
			w.clock.advance(lifetime - time.Second)
			expect(t, w.token(provider, tppA, exchange(code)), 200, "")
			code = w.code(provider, tppA, nil)
			w.clock.advance(lifetime + time.Second)
			expect(t, w.token(provider, tppA, exchange(code)), 400, "invalid_grant")
		}
	})
}

// Proves: T11
func TestClientCredentials(t *testing.T) {
	t.Parallel()
	forEachWorld(t, func(t *testing.T, w *world) {
		for _, provider := range everyProvider {
			a := w.token(provider, tppA, form{"grant_type": "client_credentials"})
			expect(t, a, 200, "")
			if a.text("scope") != "openid accounts payments" || a.JSON["expires_in"] != 600.0 {
				t.Errorf("%s: %v", provider, a)
			}
			if provider == "gamma" {
				if a.JSON["id_token"] != nil || a.JSON["refresh_token"] != nil {
					t.Errorf("oidc: %v", a)
				}
				continue
			}
			id := idToken(t, provider, jose.PS256, a.text("id_token"))
			if sub, _ := id.String("sub"); sub != tppA || id.Has("auth_time") || id.Has("nonce") || id.Has("acr") {
				t.Errorf("id_token: %v", id)
			}
			r := w.token(provider, tppA, form{"grant_type": "refresh_token", "refresh_token": a.text("refresh_token"), "scope": "accounts"})
			expect(t, r, 200, "")
			if r.text("scope") != "accounts" {
				t.Errorf("refresh: %v", r)
			}
		}
		narrow := w.token("alpha", ccOnly, form{"grant_type": "client_credentials"})
		if narrow.text("scope") != "accounts" {
			t.Errorf("scope of a narrow client: %v", narrow)
		}
	})
}

// Proves: T12
func TestRefreshTokenIsBound(t *testing.T) {
	t.Parallel()
	forEachWorld(t, func(t *testing.T, w *world) {
		good := w.tokens("alpha", tppA).text("refresh_token")
		foreign := w.tokens("beta", tppA).text("refresh_token")
		replayed := w.code("alpha", tppA, nil)
		revoked := w.token("alpha", tppA, exchange(replayed)).text("refresh_token")
		w.token("alpha", tppA, exchange(replayed))
		flipped := []byte(good)
		flipped[len(flipped)-5] ^= 1
		bad := map[string]struct{ client, token string }{
			"another client":         {basic, good},
			"another provider":       {tppA, foreign},
			"revoked":                {tppA, revoked},
			"unknown":                {tppA, good[:27] + gatehouse.NewSecret()},
			"unknown id":             {tppA, gatehouse.NewID(w.clock.Now()) + good[26:]},
			"truncated":              {tppA, good[:len(good)-1]},
			"bit flipped":            {tppA, string(flipped)},
			"not a token":            {tppA, "x"},
			"an access token":        {tppA, w.tokens("alpha", tppA).text("access_token")},
			"with something behind":  {tppA, good + "A"},
			"in another letter case": {tppA, strings.ToUpper(good)},
		}
		bodies := map[string]bool{}
		for name, row := range bad {
			a := w.token("alpha", row.client, form{"grant_type": "refresh_token", "refresh_token": row.token})
			if a.StatusCode != 400 || a.text("error") != "invalid_grant" {
				t.Errorf("%s: %v", name, a)
			}
			bodies[a.Body] = true
		}
		expect(t, w.token("alpha", tppA, form{"grant_type": "refresh_token", "refresh_token": good}), 200, "")
		w.clock.advance(180*24*time.Hour + time.Second)
		expired := w.token("alpha", tppA, form{"grant_type": "refresh_token", "refresh_token": good})
		expect(t, expired, 400, "invalid_grant")
		if bodies[expired.Body] = true; len(bodies) != 1 {
			t.Errorf("the answers differ: %v", bodies)
		}
	})
}

// Proves: T22
func TestRefreshNeverExtendsTheGrant(t *testing.T) {
	t.Parallel()
	forEachWorld(t, func(t *testing.T, w *world) {
		w.changeProvider("alpha", func(p *gatehouse.Provider) { p.Rules.GrantLifetime = gatehouse.Duration(time.Hour) })
		refresh := form{"grant_type": "refresh_token", "refresh_token": w.tokens("alpha", tppA).text("refresh_token")}
		for range 5 {
			w.clock.advance(11 * time.Minute)
			a := w.token("alpha", tppA, refresh)
			expect(t, a, 200, "")
			refresh["refresh_token"] = a.text("refresh_token")
		}
		w.clock.advance(4*time.Minute + 30*time.Second) // 30 s are left
		a := w.token("alpha", tppA, refresh)
		expect(t, a, 200, "")
		if a.JSON["expires_in"] != 30.0 {
			t.Errorf("expires_in = %v", a.JSON["expires_in"])
		}
		w.clock.advance(30 * time.Second)
		expect(t, w.token("alpha", tppA, refresh), 400, "invalid_grant")
	})
}

// Proves: T13
func TestRefreshScope(t *testing.T) {
	t.Parallel()
	forEachWorld(t, func(t *testing.T, w *world) {
		for _, provider := range everyProvider {
			refresh := form{"grant_type": "refresh_token", "refresh_token": w.tokens(provider, tppA).text("refresh_token")}
			expect(t, w.token(provider, tppA, refresh.with(form{"scope": "openid accounts payments"})), 400, "invalid_scope")
			narrow := w.token(provider, tppA, refresh.with(form{"scope": "accounts"}))
			if narrow.text("scope") != "accounts" {
				t.Errorf("narrow: %v", narrow)
			}
			full := w.token(provider, tppA, refresh.with(form{"scope": "accounts openid accounts"}))
			if full.StatusCode != 200 || !sameScope(full.text("scope"), "openid accounts") {
				t.Errorf("full again: %v", full)
			}
		}
	})
}

func sameScope(a, b string) bool {
	x, y := gatehouse.ParseScopes(a), gatehouse.ParseScopes(b)
	return x.Within(y) && y.Within(x)
}

// Proves: T15
func TestRefreshAtOnce(t *testing.T) {
	forEachWorld(t, func(t *testing.T, w *world) {
		refresh := form{"grant_type": "refresh_token", "refresh_token": w.tokens("alpha", tppA).text("refresh_token")}
		answers := w.atOnce(64, func(int) *answer { return w.token("alpha", tppA, refresh) })
		seen := map[string]bool{}
		for _, a := range answers {
			expect(t, a, 200, "")
			if a.text("refresh_token") != refresh["refresh_token"] {
				t.Fatal("the refresh token changed")
			}
			seen[a.text("access_token")] = true
		}
		if len(seen) != 64 {
			t.Errorf("%d distinct access tokens", len(seen))
		}
		expect(t, w.token("alpha", tppA, refresh), 200, "")
	})
}

// atOnce runs n requests from a start barrier.
func (w *world) atOnce(n int, request func(i int) *answer) []*answer {
	answers := make([]*answer, n)
	start := make(chan struct{})
	var done sync.WaitGroup
	for i := range n {
		done.Go(func() {
			<-start
			answers[i] = request(i)
		})
	}
	close(start)
	done.Wait()
	return answers
}

// Proves: T23
func TestGrantTypes(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	for provider, forbidden := range statuses(403, 400) {
		client := ccOnly
		if provider != "alpha" {
			continue
		}
		expect(t, w.token(provider, client, exchange("x")), forbidden, "unauthorized_client")
		expect(t, w.token(provider, client, form{"grant_type": "refresh_token", "refresh_token": "x"}), forbidden, "unauthorized_client")
	}
	for _, provider := range everyProvider {
		for _, grant := range []string{"password", "implicit", "urn:ietf:params:oauth:grant-type:jwt-bearer", "Client_Credentials", "client_credentials "} {
			expect(t, w.token(provider, tppA, form{"grant_type": grant, "username": "u", "password": "p"}), 400, "unsupported_grant_type")
		}
		expect(t, w.token(provider, tppA, form{}), 400, "invalid_request")
		expect(t, w.token(provider, tppA, form{"grant_type": ""}), 400, "invalid_request")
	}
}

// Proves: T24, T26
func TestParametersOnce(t *testing.T) {
	forEachWorld(t, func(t *testing.T, w *world) {
		code := w.code("alpha", tppA, nil)
		request := w.asserted("alpha", tppA, exchange(code))
		for name := range request {
			twice := request.with(form{name: []string{request[name].(string), request[name].(string)}})
			a := w.do("POST", "/api/oidc/alpha/tokens", formHeader, twice.encode())
			expect(t, a, 400, "invalid_request")
			a = w.do("POST", "/api/oidc/alpha/tokens?"+form{name: request[name]}.encode(), formHeader, request.encode())
			expect(t, a, 400, "invalid_request")
		}
		expect(t, w.do("POST", "/api/oidc/alpha/tokens?"+request.encode(), formHeader, ""), 400, "invalid_request")
		for _, malformed := range []string{"%", "%zz=1", "a=%f", "a=%ff", "%00%ff=1"} {
			expect(t, w.do("POST", "/api/oidc/alpha/tokens", formHeader, request.encode()+"&"+malformed), 400, "invalid_request")
		}
		// Nothing of this spent the assertion or the code.
		expect(t, w.do("POST", "/api/oidc/alpha/tokens", formHeader, request.encode()), 200, "")
	})
}

// Proves: T27, T29
func TestTokenMethodsAndMediaTypes(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	for _, path := range []string{"/api/oidc/alpha/tokens", "/api/oidc/tokens"} {
		for _, method := range []string{"GET", "PUT", "DELETE", "TRACE", "HEAD", "PATCH", "OPTIONS", "BREW"} {
			a := w.do(method, path, nil, "")
			if a.StatusCode != 405 || a.Header.Get("Allow") != "POST" {
				t.Errorf("%s %s: %v, Allow %q", method, path, a, a.Header.Get("Allow"))
			}
		}
	}
	body := func() string {
		return w.asserted("alpha", tppA, form{"grant_type": "client_credentials", "provider_code": "alpha"}).encode()
	}
	asJSON := func(provider string) string {
		data, _ := json.Marshal(w.asserted(provider, tppA, form{"grant_type": "client_credentials", "provider_code": provider}))
		return string(data)
	}
	rows := []struct {
		path, media, body string
		status            int
	}{
		{"/api/oidc/alpha/tokens", "application/x-www-form-urlencoded; charset=UTF-8", body(), 200},
		{"/api/oidc/alpha/tokens", "APPLICATION/x-www-form-urlencoded", body(), 200},
		{"/api/oidc/tokens", "application/x-www-form-urlencoded", body(), 200},
		{"/api/oidc/alpha/tokens", "application/json", asJSON("alpha"), 200},
		{"/api/oidc/alpha/tokens", "application/json; charset=utf-8", asJSON("alpha"), 200},
		{"/api/oidc/tokens", "application/json", asJSON("alpha"), 200},
		{"/api/oidc/gamma/tokens", "application/json", asJSON("gamma"), 415},
		{"/api/oidc/tokens", "application/json", asJSON("gamma"), 415},
		{"/api/oidc/alpha/tokens", "text/plain", body(), 415},
		{"/api/oidc/alpha/tokens", "multipart/form-data; boundary=x", body(), 415},
		{"/api/oidc/alpha/tokens", "", body(), 415},
		{"/api/oidc/alpha/tokens", "application/x-www-form-urlencoded; a=b; a=c", body(), 415},
		{"/api/oidc/alpha/tokens", "application/x-www-form-urlencoded;;", body(), 415},
		{"/api/oidc/alpha/tokens", "application/x-www-form-urlencoded, application/json", body(), 415},
		{"/api/oidc/alpha/tokens", "application/x-www-form-urlencoded\napplication/json", body(), 415},
		{"/api/oidc/alpha/tokens", "application/json\napplication/x-www-form-urlencoded", asJSON("alpha"), 415},
		{"/api/oidc/alpha/tokens", "application/x-www-form-urlencoded\napplication/x-www-form-urlencoded", body(), 415},
		{"/api/oidc/alpha/tokens", "application/json", body(), 400},
		{"/api/oidc/alpha/tokens", "application/json", `{"grant_type":"client_credentials","grant_type":"client_credentials"}`, 400},
		{"/api/oidc/alpha/tokens", "application/json", `{"grant_type":1}`, 400},
		{"/api/oidc/alpha/tokens", "application/json", `{"GRANT_TYPE":"client_credentials"}`, 400},
		{"/api/oidc/alpha/tokens", "application/json", `["grant_type"]`, 400},
		{"/api/oidc/alpha/tokens", "application/json", `{"a":{"b":"c"}}`, 400},
		{"/api/oidc/alpha/tokens", "application/json", ``, 400},
		{"/api/oidc/beta/tokens", "application/x-www-form-urlencoded", body(), 400}, // provider_code differs
		{"/api/oidc/tokens", "application/x-www-form-urlencoded", "grant_type=client_credentials", 400},
		{"/api/oidc/tokens", "application/x-www-form-urlencoded", "provider_code=nobody", 404},
		{"/api/oidc/tokens", "application/x-www-form-urlencoded", "provider_code=closed", 403},
		{"/api/oidc/nobody/tokens", "application/x-www-form-urlencoded", body(), 404},
		{"/api/oidc/ALPHA/tokens", "application/x-www-form-urlencoded", body(), 404},
		{"/api/oidc/closed/tokens", "application/x-www-form-urlencoded", body(), 403},
	}
	for i, row := range rows {
		header := http.Header{}
		if row.media != "" {
			header["Content-Type"] = strings.Split(row.media, "\n")
		}
		a := w.do("POST", row.path, header, row.body)
		if a.StatusCode != row.status {
			t.Errorf("row %d: %s %s: %v, want %d", i, row.path, row.media, a, row.status)
		}
		if a.Header.Get("Cache-Control") != "no-store" || a.Header.Get("Content-Type") != "application/json" {
			t.Errorf("row %d: headers %v", i, a.Header)
		}
		if row.status == 200 {
			continue
		}
		for name := range a.JSON {
			if name != "error" && name != "error_description" && name != "error_class" {
				t.Errorf("row %d: member %s", i, name)
			}
		}
		if d := a.text("error_description"); d == "" || strings.ContainsAny(d, "\"\\\r\n") || strings.ContainsFunc(d, func(r rune) bool { return r < ' ' || r > '~' }) {
			t.Errorf("row %d: description %q", i, d)
		}
	}
}

// One path, one provider: the form cannot name another.
func TestProviderCodeInPathAndForm(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	expect(t, w.token("alpha", tppA, clientCredentials.with(form{"provider_code": "alpha"})), 200, "")
	expect(t, w.token("alpha", tppA, clientCredentials.with(form{"provider_code": "beta"})), 400, "invalid_request")
}

// Proves: T31
func TestScopeIsASet(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	for _, scope := range []string{"openid accounts", "accounts openid", "accounts accounts openid", " accounts  openid "} {
		a := w.token("alpha", tppA, form{"grant_type": "client_credentials", "scope": scope})
		expect(t, a, 200, "")
		if !sameScope(a.text("scope"), "openid accounts") {
			t.Errorf("%q: %v", scope, a)
		}
	}
	many := make([]string, 10_000)
	for i := range many {
		many[i] = fmt.Sprintf("s%d", i)
	}
	for _, scope := range []string{"fundsconfirmations", "openid Accounts", "openid\taccounts", " ", strings.Join(many, " ")[:50_000], strings.Repeat("a", 60_000), strings.Repeat("a ", 30_000)} {
		a := w.token("alpha", tppA, form{"grant_type": "client_credentials", "scope": scope})
		expect(t, a, 400, "invalid_scope")
	}
}

// Proves: T32
func TestCodeBeforeTheVerdict(t *testing.T) {
	t.Parallel()
	forEachWorld(t, func(t *testing.T, w *world) {
		early := map[string]func() (code string, decide func(claims) *answer){
			"alpha": func() (string, func(claims) *answer) {
				v := w.visit("alpha", query(tppA))
				return landed(t, v.back()).Get("code"), v.decide
			},
			"beta": func() (string, func(claims) *answer) {
				id, code, _ := w.bankCode(query(tppA), nil)
				return code, func(data claims) *answer { return w.connector("beta", "PUT", "/"+id, data) }
			},
		}
		for provider, begin := range early {
			code, decide := begin()
			for range 2 {
				a := w.token(provider, tppA, exchange(code))
				expect(t, a, 425, "authorization_pending")
				if a.text("error_class") != "TooEarly" || a.Header.Get("Retry-After") == "" || a.Header.Get("Cache-Control") != "no-store" {
					t.Errorf("%v %v", a, a.Header)
				}
			}
			expect(t, w.token(provider, basic, exchange(code)), 404, "invalid_grant")
			expect(t, w.token(provider, tppA, exchange(code).with(form{"redirect_uri": "https://x.example/"})), 400, "invalid_grant")
			if a := decide(approval); a.StatusCode != 200 {
				t.Fatal(a)
			}
			expect(t, w.token(provider, tppA, exchange(code)), 200, "")

			code, decide = begin()
			expect(t, w.token(provider, tppA, exchange(code)), 425, "authorization_pending")
			if a := decide(claims{"status": "denied"}); a.StatusCode != 200 {
				t.Fatal(a)
			}
			expect(t, w.token(provider, tppA, exchange(code)), 400, "invalid_grant")

			code, _ = begin()
			w.clock.advance(10*time.Minute + time.Second)
			expect(t, w.token(provider, tppA, exchange(code)), 400, "invalid_grant")
		}
		v := w.visit("gamma", query(tppA))
		expect(t, w.token("gamma", tppA, exchange(landed(t, v.back()).Get("code"))), 400, "authorization_pending")
	})
}

// The sub of a PSU is the same for every client and visit at one bank, and
// says nothing elsewhere.
func TestSubject(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	sub := func(provider, client, user string) string {
		v := w.visit(provider, query(client))
		if a := v.decide(approval.with(claims{"user_id": user})); a.StatusCode != 200 {
			t.Fatal(a)
		}
		a := w.token(provider, client, exchange(landed(t, v.back()).Get("code")))
		expect(t, a, 200, "")
		token, err := jose.Parse(a.text("id_token"), jose.MaxSize)
		must(t, err)
		text, err := token.Claims.String("sub")
		must(t, err)
		return text
	}
	first := sub("alpha", tppA, "psu-1")
	if again := sub("alpha", basic, "psu-1"); again != first {
		t.Errorf("one PSU is %s and %s", first, again)
	}
	for name, other := range map[string]string{"another PSU": sub("alpha", tppA, "psu-2"), "another bank": sub("gamma", tppA, "psu-1")} {
		if other == first {
			t.Errorf("%s has the same sub", name)
		}
	}
}
