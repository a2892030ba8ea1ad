package oidc_test

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"gatehouse"
	"gatehouse/jose"
	"gatehouse/store"
	"gatehouse/store/storetest"
)

var clientCredentials = form{"grant_type": "client_credentials"}

// tokenWith sends a client_credentials request with an assertion of the given
// claims.
func (w *world) tokenWith(provider string, changes claims, f form) *answer {
	w.t.Helper()
	f = clientCredentials.with(form{"client_assertion_type": assertionType, "client_assertion": w.assertion(provider, tppA, changes)}).with(f)
	return w.do("POST", "/api/oidc/"+provider+"/tokens", formHeader, f.encode())
}

// Proves: C3
func TestAssertionAudience(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	for provider, refused := range map[string]int{"alpha": 400, "gamma": 401} {
		tokenEndpoint := baseURL + "/api/oidc/" + provider + "/tokens"
		for _, aud := range []string{issuer(provider), tokenEndpoint} {
			expect(t, w.tokenWith(provider, claims{"aud": aud}, nil), 200, "")
		}
		for name, aud := range map[string]any{
			"missing": nil, "empty": "", "a number": 1, "an empty array": []string{},
			"an array of one":          []string{issuer(provider)},
			"an array of more":         []string{issuer(provider), "https://evil.example"},
			"the shared endpoint":      baseURL + "/api/oidc/tokens",
			"another issuer":           issuer("beta"),
			"another token endpoint":   baseURL + "/api/oidc/beta/tokens",
			"the base URL":             baseURL,
			"a trailing slash":         issuer(provider) + "/",
			"a trailing slash on both": tokenEndpoint + "/",
			"host case":                strings.Replace(issuer(provider), "auth", "AUTH", 1),
			"default port":             strings.Replace(issuer(provider), "auth.example", "auth.example:443", 1),
			"the address it runs at":   w.site.URL + "/" + provider,
			"another deployment":       "https://evil.example/" + provider,
		} {
			a := w.tokenWith(provider, claims{"aud": aud}, nil)
			if a.StatusCode != refused || a.text("error") != "invalid_client" {
				t.Errorf("%s: aud %s: %v", provider, name, a)
			}
		}
	}
	shared := clientCredentials.with(form{"provider_code": "alpha", "client_assertion_type": assertionType})
	for aud, status := range map[string]int{
		baseURL + "/api/oidc/tokens": 200, issuer("alpha"): 200, baseURL + "/api/oidc/alpha/tokens": 200, issuer("beta"): 400,
	} {
		f := shared.with(form{"client_assertion": w.assertion("alpha", tppA, claims{"aud": aud})})
		if a := w.do("POST", "/api/oidc/tokens", formHeader, f.encode()); a.StatusCode != status {
			t.Errorf("shared path, aud %s: %v", aud, a)
		}
	}
	evil := http.Header{"Content-Type": formHeader["Content-Type"], "X-Forwarded-Host": {"evil.example"}, "Forwarded": {"host=evil.example"}}
	f := clientCredentials.with(form{"client_assertion_type": assertionType, "client_assertion": w.assertion("alpha", tppA, claims{"aud": "https://evil.example/alpha"})})
	expect(t, w.do("POST", "/api/oidc/alpha/tokens", evil, f.encode()), 400, "invalid_client")
}

// Proves: C5
func TestAssertionSubject(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	expect(t, w.tokenWith("alpha", nil, form{"client_id": tppA}), 200, "")
	for name, row := range map[string]struct {
		claims claims
		form   form
		status int
	}{
		"iss missing":             {claims{"iss": nil}, nil, 400},
		"sub missing":             {claims{"sub": nil}, nil, 400},
		"iss of another":          {claims{"iss": basic}, nil, 400},
		"sub of another":          {claims{"sub": basic}, nil, 400},
		"both of another":         {claims{"iss": tppB, "sub": tppB}, nil, 400},
		"both longer":             {claims{"iss": tppA + "x", "sub": tppA + "x"}, nil, 404},
		"both a prefix":           {claims{"iss": "tpp-", "sub": "tpp-"}, nil, 404},
		"both in upper case":      {claims{"iss": "TPP-A", "sub": "TPP-A"}, nil, 404},
		"both with a space":       {claims{"iss": tppA + " ", "sub": tppA + " "}, nil, 404},
		"both with a NUL":         {claims{"iss": tppA + "\x00", "sub": tppA + "\x00"}, nil, 404},
		"iss in an array":         {claims{"iss": []string{tppA}}, nil, 400},
		"client_id of another":    {nil, form{"client_id": tppB}, 400},
		"client_id in caps":       {nil, form{"client_id": "TPP-A"}, 400},
		"client without keys":     {claims{"iss": basic, "sub": basic}, nil, 400},
		"client_id percent twice": {nil, form{"client_id": "tpp%2Da"}, 400},
	} {
		a := w.tokenWith("alpha", row.claims, row.form)
		if a.StatusCode != row.status || a.text("error") != "invalid_client" {
			t.Errorf("%s: %v", name, a)
		}
	}
}

// Proves: C6
func TestAssertionIsUsedOnce(t *testing.T) {
	forEachWorld(t, func(t *testing.T, w *world) {
		f := w.asserted("alpha", tppA, clientCredentials)
		expect(t, w.do("POST", "/api/oidc/alpha/tokens", formHeader, f.encode()), 200, "")
		replays := map[string]func() *answer{
			"same replica": func() *answer { return w.do("POST", "/api/oidc/alpha/tokens", formHeader, f.encode()) },
			"shared path": func() *answer {
				return w.do("POST", "/api/oidc/tokens", formHeader, f.with(form{"provider_code": "alpha"}).encode())
			},
			"after a restart": func() *answer {
				db, err := store.Open(t.Context(), w.url)
				must(t, err)
				t.Cleanup(func() { db.Close() })
				return w.doAt(w.replica(db), "POST", "/api/oidc/alpha/tokens", formHeader, f.encode())
			},
			"just before exp": func() *answer {
				w.clock.advance(5*time.Minute - time.Second)
				return w.do("POST", "/api/oidc/alpha/tokens", formHeader, f.encode())
			},
		}
		for name, replay := range replays {
			if a := replay(); a.StatusCode != 400 || a.text("error") != "invalid_client" {
				t.Errorf("%s: %v", name, a)
			}
		}
		// One jti, one use: whatever else the assertion says, and at every bank.
		expect(t, w.tokenWith("alpha", claims{"jti": "one"}, nil), 200, "")
		expect(t, w.tokenWith("alpha", claims{"jti": "one"}, nil), 400, "invalid_client")
		expect(t, w.tokenWith("beta", claims{"jti": "one"}, nil), 400, "invalid_client")
		// Of another client the same jti is another one.
		other := w.asserted("alpha", tppA, clientCredentials.with(form{"client_assertion": w.assertion("alpha", tppB, claims{"jti": "one"})}))
		expect(t, w.do("POST", "/api/oidc/alpha/tokens", formHeader, other.encode()), 200, "")
		for name, jti := range map[string]any{"missing": nil, "empty": "", "a number": 7, "too long": strings.Repeat("j", 256)} {
			if a := w.tokenWith("alpha", claims{"jti": jti}, nil); a.StatusCode != 400 || a.text("error") != "invalid_client" {
				t.Errorf("jti %s: %v", name, a)
			}
		}
		expect(t, w.tokenWith("alpha", claims{"jti": strings.Repeat("j", 255)}, nil), 200, "")
		// A refused assertion is not spent.
		early := w.asserted("alpha", tppA, clientCredentials).with(form{"client_id": tppB})
		expect(t, w.do("POST", "/api/oidc/alpha/tokens", formHeader, early.encode()), 400, "invalid_client")
		expect(t, w.do("POST", "/api/oidc/alpha/tokens", formHeader, early.with(form{"client_id": tppA}).encode()), 200, "")
	})
}

// Proves: C7
func TestAssertionIsUsedOnceAtOnce(t *testing.T) {
	forEachWorld(t, func(t *testing.T, w *world) {
		second, err := store.Open(t.Context(), w.url)
		must(t, err)
		defer second.Close()
		sites := []*httptest.Server{w.site, w.replica(second)}
		for range storetest.Rounds(t, 20) {
			body := w.asserted("alpha", tppA, clientCredentials).encode()
			passed := 0
			for _, a := range w.atOnce(64, func(i int) *answer {
				return w.doAt(sites[i%2], "POST", "/api/oidc/alpha/tokens", formHeader, body)
			}) {
				if a.StatusCode == 200 {
					passed++
				} else {
					expect(t, a, 400, "invalid_client")
				}
			}
			if passed != 1 {
				t.Fatalf("%d uses of one assertion passed", passed)
			}
		}
	})
}

// Proves: C10
func TestOneAuthenticationMethod(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	good := basicHeader(basic, secret)
	for provider, refused := range map[string]int{"alpha": 400, "gamma": 401} {
		both := []struct {
			authorization string
			form          form
		}{
			{good, w.asserted(provider, tppA, clientCredentials)},
			{good, clientCredentials.with(form{"client_id": basic, "client_secret": secret})},
			{good, clientCredentials.with(form{"client_assertion": "x"})},
			{"Basic eDp4", w.asserted(provider, tppA, clientCredentials)},
			{"", w.asserted(provider, tppA, clientCredentials).with(form{"client_secret": "x"})},
			{"Bearer x", w.asserted(provider, tppA, clientCredentials)},
		}
		for i, row := range both {
			header := formHeader.Clone()
			if row.authorization != "" {
				header.Set("Authorization", row.authorization)
			}
			a := w.do("POST", "/api/oidc/"+provider+"/tokens", header, row.form.encode())
			if a.StatusCode != 400 || a.text("error") != "invalid_request" {
				t.Errorf("%s row %d: %v", provider, i, a)
			}
		}
		for name, f := range map[string]form{
			"none":                   clientCredentials,
			"a secret in the body":   clientCredentials.with(form{"client_id": basic, "client_secret": secret}),
			"an id alone":            clientCredentials.with(form{"client_id": basic}),
			"assertion without type": w.asserted(provider, tppA, clientCredentials).with(form{"client_assertion_type": nil}),
			"assertion of another type": w.asserted(provider, tppA, clientCredentials).with(form{
				"client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:saml2-bearer"}),
			"type without assertion": clientCredentials.with(form{"client_assertion_type": assertionType}),
		} {
			a := w.do("POST", "/api/oidc/"+provider+"/tokens", formHeader, f.encode())
			if a.StatusCode != refused || a.text("error") != "invalid_client" {
				t.Errorf("%s, %s: %v", provider, name, a)
			}
		}
	}
}

// Proves: C12, C15
func TestBasic(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	odd := "id:%+ ü"
	w.addClient(gatehouse.Client{ID: odd, TokenEndpointAuthMethod: gatehouse.AuthClientSecretBasic,
		SecretHash: gatehouse.ClientSecretHash(w.kek, odd, "a:b%+ c"), Scopes: gatehouse.Scopes{"accounts"}})
	both := "both-credentials" // a secret left over from another method opens nothing
	w.addClient(gatehouse.Client{ID: both, JWKS: clientJWKS(t, tppA), SecretHash: gatehouse.ClientSecretHash(w.kek, both, secret)})
	raw := func(text string) string { return "Basic " + base64.StdEncoding.EncodeToString([]byte(text)) }
	for name, header := range map[string]string{
		"plain": basicHeader(basic, secret), "odd": basicHeader(odd, "a:b%+ c"),
		"scheme in lower case": strings.Replace(basicHeader(basic, secret), "Basic", "bAsIC", 1),
		"two spaces":           strings.Replace(basicHeader(basic, secret), "Basic ", "Basic  ", 1),
	} {
		for _, provider := range everyProvider {
			h := formHeader.Clone()
			h.Set("Authorization", header)
			if a := w.do("POST", "/api/oidc/"+provider+"/tokens", h, clientCredentials.encode()); a.StatusCode != 200 {
				t.Errorf("%s: %v", name, a)
			}
		}
	}
	for name, headers := range map[string][]string{
		"wrong secret":         {basicHeader(basic, secret+"x")},
		"prefix of the secret": {basicHeader(basic, secret[:5])},
		"empty secret":         {basicHeader(basic, "")},
		"empty id":             {basicHeader("", secret)},
		"unknown id":           {basicHeader("nobody", secret)},
		"another's id":         {basicHeader(odd, secret)},
		"assertion client":     {basicHeader(tppA, secret)},
		"another method":       {basicHeader(both, secret)},
		"not base64":           {"Basic !!!"},
		"base64 with a tail":   {basicHeader(basic, secret) + "="},
		"no colon":             {raw("basic")},
		"not encoded":          {raw(basic + ":" + secret)},
		"not UTF-8":            {raw(basic + ":%ff")},
		"nothing":              {""},
		"scheme only":          {"Basic"},
		"another scheme":       {"Digest " + strings.TrimPrefix(basicHeader(basic, secret), "Basic ")},
		"two headers":          {basicHeader(basic, secret), basicHeader(basic, secret)},
		"two in one":           {basicHeader(basic, secret) + ", " + basicHeader(basic, secret)},
	} {
		for provider, refused := range map[string]int{"alpha": 400, "gamma": 401} {
			h := formHeader.Clone()
			h["Authorization"] = headers
			a := w.do("POST", "/api/oidc/"+provider+"/tokens", h, clientCredentials.encode())
			if name == "unknown id" && provider == "alpha" {
				refused = 404
			}
			if a.StatusCode != refused || a.text("error") != "invalid_client" {
				t.Errorf("%s at %s: %v", name, provider, a)
			}
			if challenge := a.Header.Get("WWW-Authenticate"); (refused == 401) != (challenge != "") {
				t.Errorf("%s at %s: WWW-Authenticate %q", name, provider, challenge)
			}
		}
	}
}

// Proves: C21
func TestAssertionAlgorithm(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	// tppA is registered for either algorithm, tppB for RS256.
	for _, row := range []struct {
		client, alg      string
		status, strictly int // with require_ps256
	}{{tppA, jose.PS256, 200, 200}, {tppA, jose.RS256, 200, 400}, {tppB, jose.RS256, 200, 400}, {tppB, jose.PS256, 400, 400}} {
		for strict, status := range map[bool]int{false: row.status, true: row.strictly} {
			w.changeProvider("alpha", func(p *gatehouse.Provider) { p.Rules.RequirePS256 = strict })
			token, err := clientKey(t, row.client, row.alg).Sign("JWT", w.assertionClaims("alpha", row.client))
			must(t, err)
			f := clientCredentials.with(form{"client_assertion_type": assertionType, "client_assertion": token})
			if a := w.do("POST", "/api/oidc/alpha/tokens", formHeader, f.encode()); a.StatusCode != status {
				t.Errorf("%s with %s, require_ps256 %t: %v", row.client, row.alg, strict, a)
			}
		}
	}
	w.changeProvider("alpha", func(p *gatehouse.Provider) { p.Rules.RequirePS256 = true })
	document := w.get("/.well-known/openid-configuration/alpha")
	for _, of := range []string{"token_endpoint_auth", "request_object", "introspection_endpoint_auth", "revocation_endpoint_auth"} {
		if algs := fmt.Sprint(document.JSON[of+"_signing_alg_values_supported"]); algs != "[PS256]" {
			t.Errorf("discovery: %s %s", of, algs)
		}
	}
}

// A client is served only where and while it may be.
func TestClientStatus(t *testing.T) {
	t.Parallel()
	forEachWorld(t, func(t *testing.T, w *world) {
		expect(t, w.token("alpha", ccOnly, clientCredentials), 200, "")
		expect(t, w.token("beta", ccOnly, clientCredentials), 403, "unauthorized_client")
		expect(t, w.token("gamma", ccOnly, clientCredentials), 400, "unauthorized_client")
		c, err := w.store.Client(t.Context(), ccOnly)
		must(t, err)
		c.Status = gatehouse.ClientDisabled
		must(t, w.store.UpdateClient(t.Context(), c))
		w.clock.advance(6 * time.Second)
		expect(t, w.token("alpha", ccOnly, clientCredentials), 403, "unauthorized_client")
	})
}

// exp may be ahead of now, and after iat and nbf, by the longest lifetime of the
// provider and its clock skew, and no second more.
//
// Proves: C9 (lifetime)
func TestAssertionLifetime(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	for _, longest := range []time.Duration{10 * time.Minute, time.Minute, time.Hour} {
		w.changeProvider("alpha", func(p *gatehouse.Provider) { p.Rules.AssertionMaxLifetime = gatehouse.Duration(longest) })
		now := w.clock.Now().Unix() // cut to the second
		last := now + int64((longest+10*time.Second)/time.Second)
		for exp, status := range map[int64]int{now: 400, now + 1: 200, last: 200, last + 1: 400, last + 600: 400} {
			if a := w.tokenWith("alpha", claims{"iat": nil, "exp": exp}, nil); a.StatusCode != status {
				t.Errorf("at most %v, exp in %d s: %v", longest, exp-now, a)
			}
		}
		exp := now + 30
		oldest := exp - int64((longest+10*time.Second)/time.Second)
		for _, name := range []string{"iat", "nbf"} {
			for at, status := range map[int64]int{oldest: 200, oldest - 1: 400, now + 10: 200, now + 11: 400, exp: 400} {
				if a := w.tokenWith("alpha", claims{"iat": nil, name: at, "exp": exp}, nil); a.StatusCode != status {
					t.Errorf("at most %v, %s in %d s: %v", longest, name, at-now, a)
				}
			}
		}
	}
}
