package oidc_test

import (
	"bytes"
	"encoding/base64"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"gatehouse"
	"gatehouse/jose"
)

// Proves: K3
func TestDiscovery(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	for _, provider := range everyProvider {
		paths := []string{
			"/.well-known/openid-configuration/" + provider,
			"/" + provider + "/.well-known/openid-configuration",
			"/.well-known/oauth-authorization-server/" + provider,
		}
		first := w.get(paths[0])
		for _, path := range paths[1:] {
			if a := w.get(path); a.StatusCode != 200 || a.Body != first.Body {
				t.Errorf("%s: %v", path, a)
			}
		}
		hosted := baseURL + "/oidc/" + provider + "/authorize"
		if provider == "beta" {
			hosted = "https://bank.example/beta/authorize"
		}
		for name, want := range map[string]string{
			"issuer": issuer(provider), "authorization_endpoint": hosted, "token_endpoint": baseURL + "/api/oidc/" + provider + "/tokens",
			"jwks_uri": baseURL + "/oidc/" + provider + "/jwks", "service_documentation": baseURL + "/docs/open_banking/" + provider,
			"registration_endpoint":  baseURL + "/open_banking/v3.2/tpp/register",
			"introspection_endpoint": baseURL + "/api/oidc/" + provider + "/introspect",
			"revocation_endpoint":    baseURL + "/api/oidc/" + provider + "/revoke",
			"userinfo_endpoint":      baseURL + "/api/oidc/" + provider + "/userinfo",
		} {
			if first.text(name) != want {
				t.Errorf("%s: %s = %q, want %q", provider, name, first.text(name), want)
			}
		}
		for name, want := range map[string][]any{
			"scopes_supported":                                 {"openid", "accounts", "payments", "fundsconfirmations"},
			"response_types_supported":                         {"code"},
			"grant_types_supported":                            {"authorization_code", "client_credentials", "refresh_token"},
			"token_endpoint_auth_methods_supported":            {"private_key_jwt", "client_secret_basic"},
			"token_endpoint_auth_signing_alg_values_supported": {"RS256", "PS256"},
			"request_object_signing_alg_values_supported":      {"RS256", "PS256"},
			"subject_types_supported":                          {"public"},
			"id_token_signing_alg_values_supported":            {"RS256", "PS256"},
			"code_challenge_methods_supported":                 {"S256"},

			"introspection_endpoint_auth_methods_supported":            {"private_key_jwt", "client_secret_basic"},
			"introspection_endpoint_auth_signing_alg_values_supported": {"RS256", "PS256"},
			"introspection_signing_alg_values_supported":               {map[string]string{"alpha": "PS256", "beta": "PS256", "gamma": "RS256"}[provider]},
			"revocation_endpoint_auth_methods_supported":               {"private_key_jwt", "client_secret_basic"},
			"revocation_endpoint_auth_signing_alg_values_supported":    {"RS256", "PS256"},
		} {
			if got, _ := first.JSON[name].([]any); !slices.Equal(got, want) {
				t.Errorf("%s: %s = %v", provider, name, got)
			}
		}
		if first.JSON["authorization_response_iss_parameter_supported"] != true || first.JSON["request_uri_parameter_supported"] != false {
			t.Errorf("%s: %v", provider, first)
		}
		// Every URL of ours answers, as itself.
		for path, status := range map[string]int{
			first.text("jwks_uri"): 200, first.text("service_documentation"): 200, first.text("token_endpoint"): 405,
			first.text("introspection_endpoint"): 405, first.text("revocation_endpoint"): 405,
			first.text("userinfo_endpoint"): 401,
		} {
			if a := w.get(path); a.StatusCode != status {
				t.Errorf("%s: %v", path, a)
			}
		}
		if strings.Contains(strings.ReplaceAll(first.Body, provider, ""), "gamma") {
			t.Errorf("%s speaks of another provider", provider)
		}
	}
	register := w.do("POST", "/open_banking/v3.2/tpp/register", http.Header{"Content-Type": {"application/jwt"}}, "")
	expect(t, register, 400, "invalid_client_metadata")

	for provider, status := range map[string]int{"nobody": 404, "ALPHA": 404, "alph": 404, "closed": 403, "api": 404} {
		for _, path := range []string{"/.well-known/openid-configuration/" + provider, "/" + provider + "/.well-known/openid-configuration", "/oidc/" + provider + "/jwks"} {
			a := w.get(path)
			class := map[int]string{404: "NotFound", 403: "Forbidden"}[status]
			if a.StatusCode != status || a.text("error_class") != class || a.Header.Get("Cache-Control") != "no-store" {
				t.Errorf("%s: %v", path, a)
			}
		}
	}
}

// Proves: K1, K2
func TestJWKS(t *testing.T) {
	t.Parallel()
	forEachWorld(t, func(t *testing.T, w *world) {
		owner := map[string]string{}
		for _, provider := range everyProvider {
			a := w.get("/oidc/" + provider + "/jwks")
			set, err := jose.ParseJWKS([]byte(a.Body))
			must(t, err)
			if len(set.Keys) != 2 {
				t.Fatalf("%s: %v", provider, a)
			}
			for i, k := range set.Keys {
				if owner[k.KID] != "" {
					t.Errorf("kid %s is of %s and %s", k.KID, owner[k.KID], provider)
				}
				owner[k.KID] = provider
				member, _ := a.JSON["keys"].([]any)[i].(map[string]any)
				if len(member) != 6 || member["kty"] != "RSA" || member["use"] != "sig" || member["kid"] != jose.Thumbprint(k.Key) || member["e"] != "AQAB" {
					t.Errorf("%s: %v", provider, member)
				}
				n, err := base64.RawURLEncoding.Strict().DecodeString(member["n"].(string))
				if err != nil || len(n) != 256 || n[0] == 0 || !bytes.Equal(n, key(t, provider, k.Alg).Public().Key.N.Bytes()) {
					t.Errorf("%s: n = %v", provider, member["n"])
				}
			}
			for _, member := range []string{`"d"`, `"p"`, `"q"`, `"dp"`, `"dq"`, `"qi"`, `"oth"`, `"k"`} {
				if strings.Contains(a.Body, member+":") {
					t.Errorf("%s: private member %s", provider, member)
				}
			}
		}
		id := w.tokens("alpha", tppA).text("id_token")
		token, err := jose.Parse(id, jose.MaxSize)
		must(t, err)
		foreign, err := jose.ParseJWKS([]byte(w.get("/oidc/gamma/jwks").Body))
		must(t, err)
		if token.Verify(foreign.Keys, gatehouse.Algs()...) == nil {
			t.Error("a token of alpha passes with gamma's keys")
		}
	})
}

// Proves: K14, N14
func TestDocumentsAreCacheable(t *testing.T) {
	t.Parallel()
	forEachWorld(t, func(t *testing.T, w *world) {
		paths := []string{"/.well-known/openid-configuration/alpha", "/alpha/.well-known/openid-configuration", "/oidc/alpha/jwks"}
		for _, path := range paths {
			a := w.get(path)
			tag := a.Header.Get("ETag")
			if a.StatusCode != 200 || a.Header.Get("Cache-Control") != "public, max-age=300" || tag == "" || a.Header.Get("Access-Control-Allow-Origin") != "*" || a.Header.Get("Content-Type") != "application/json" {
				t.Errorf("%s: %v", path, a.Header)
			}
			for match, status := range map[string]int{tag: 304, "W/" + tag: 304, `"x", ` + tag: 304, "*": 304, `"x"`: 200} {
				again := w.do("GET", path, http.Header{"If-None-Match": {match}}, "")
				if again.StatusCode != status || status == 304 && (again.Body != "" || again.Header.Get("ETag") != tag) {
					t.Errorf("%s with If-None-Match %s: %v", path, match, again)
				}
			}
			head := w.do("HEAD", path, nil, "")
			if head.StatusCode != 200 || head.Body != "" || head.Header.Get("ETag") != tag || head.ContentLength != int64(len(a.Body)) {
				t.Errorf("HEAD %s: %v %v", path, head, head.Header)
			}
			preflight := w.do("OPTIONS", path, http.Header{"Origin": {"https://x.example"}, "Access-Control-Request-Method": {"GET"}}, "")
			if preflight.StatusCode != 204 || preflight.Header.Get("Access-Control-Allow-Origin") != "*" {
				t.Errorf("OPTIONS %s: %v", path, preflight)
			}
			for _, method := range []string{"POST", "TRACE", "DELETE"} {
				if a := w.do(method, path, nil, ""); a.StatusCode != 405 {
					t.Errorf("%s %s: %v", method, path, a)
				}
			}
		}
		authorize := w.do("OPTIONS", "/oidc/alpha/authorize", http.Header{"Origin": {"https://x.example"}}, "")
		if authorize.StatusCode != 405 || authorize.Header.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("OPTIONS at authorize: %v", authorize)
		}
		if a := w.get("/oidc/alpha/authorize"); a.Header.Get("Access-Control-Allow-Origin") != "" {
			t.Error("CORS at authorize")
		}

		// The database goes away: what is public stays readable, for long.
		must(t, w.store.Close())
		for _, later := range []time.Duration{0, 10 * time.Second, time.Hour} {
			w.clock.advance(later)
			for _, path := range paths {
				if a := w.get(path); a.StatusCode != 200 {
					t.Errorf("without a database: %s: %v", path, a)
				}
			}
			a := w.token("alpha", tppA, clientCredentials)
			expect(t, a, 503, "temporarily_unavailable")
			if a.Header.Get("Retry-After") == "" {
				t.Error("503 without Retry-After")
			}
		}
		if a := w.get("/oidc/alpha/authorize?" + query(tppA).encode()); a.StatusCode != 503 {
			t.Errorf("authorize without a database: %v", a)
		}
	})
}

// A change made elsewhere is seen within seconds.
func TestProviderIsDisabledOnline(t *testing.T) {
	t.Parallel()
	forEachWorld(t, func(t *testing.T, w *world) {
		code := w.code("alpha", tppA, nil)
		w.changeProvider("alpha", func(p *gatehouse.Provider) { p.Status = gatehouse.Disabled })
		expect(t, w.get("/oidc/alpha/jwks"), 403, "access_denied")
		expect(t, w.token("alpha", tppA, exchange(code)), 403, "access_denied")
		expect(t, w.token("beta", tppA, clientCredentials), 200, "")
		w.changeProvider("alpha", func(p *gatehouse.Provider) { p.Status = gatehouse.Sandbox })
		expect(t, w.token("alpha", tppA, exchange(code)), 200, "")
	})
}

// An issuer of the bank's own takes the place of the default everywhere.
func TestOwnIssuer(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	const own = "https://login.bank.example"
	w.changeProvider("alpha", func(p *gatehouse.Provider) { p.Issuer = own })
	if a := w.get("/.well-known/openid-configuration/alpha"); a.text("issuer") != own {
		t.Errorf("discovery: %v", a)
	}
	expect(t, w.tokenWith("alpha", claims{"aud": own}, nil), 200, "")
	expect(t, w.tokenWith("alpha", claims{"aud": issuer("alpha")}, nil), 400, "invalid_client")
	v := w.visit("alpha", query(tppA))
	if got := landed(t, func() *answer { v.decide(approval); return v.back() }()); got.Get("iss") != own {
		t.Errorf("iss = %s", got.Get("iss"))
	}
}
