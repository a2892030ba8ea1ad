package oidc_test

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"gatehouse"
	"gatehouse/jose"
	"gatehouse/store"
)

// inquiries are the endpoints that take a token and say or do something about
// it.
var inquiries = []string{"introspect", "revoke"}

// inquire sends a request about a token, the client being authenticated as it
// is registered.
func (w *world) inquire(site *httptest.Server, endpoint, provider, client string, f form) *answer {
	w.t.Helper()
	header, f := w.authenticated(provider, client, f)
	return w.doAt(site, "POST", "/api/oidc/"+provider+"/"+endpoint, header, f.encode())
}

// introspect returns what the provider says of a token.
func (w *world) introspect(provider, client, token string) *answer {
	w.t.Helper()
	return w.inquire(w.site, "introspect", provider, client, form{"token": token})
}

// isActive fails the test unless introspection says of a token what is wanted,
// and of an inactive one nothing else.
func isActive(t testing.TB, a *answer, want bool) {
	t.Helper()
	if a.StatusCode != 200 || a.JSON["active"] != want || !want && a.Body != `{"active":false}` {
		t.Errorf("introspection: %v, want active %v", a, want)
	}
}

// An active token is described by its own members and no others.
func TestIntrospection(t *testing.T) {
	t.Parallel()
	forEachWorld(t, func(t *testing.T, w *world) {
		for _, provider := range everyProvider {
			for _, client := range []string{tppA, tppB, basic} {
				intent := w.consent(provider, client, "consent-of-"+client)
				issuedAt := w.clock.Now()
				a := w.token(provider, client, exchange(w.code(provider, client, intent)))
				expect(t, a, 200, "")
				id, err := jose.Parse(a.text("id_token"), jose.MaxSize)
				must(t, err)
				sub, err := id.Claims.String("sub")
				must(t, err)
				w.clock.advance(90 * time.Second)
				accessID, _ := gatehouse.TokenID(a.text("access_token"))
				refreshID, _ := gatehouse.TokenID(a.text("refresh_token"))
				access := map[string]any{
					"active": true, "iss": issuer(provider), "aud": issuer(provider), "client_id": client, "sub": sub, "scope": "openid accounts",
					"token_type": "Bearer", "jti": accessID,
					"iat": float64(issuedAt.Unix()), "exp": float64(issuedAt.Add(10 * time.Minute).Unix()),
					"auth_time": float64(issuedAt.Unix()), "acr": "urn:openbanking:psd2:sca", "openbanking_intent_id": "consent-of-" + client,
				}
				refresh := claims(access).with(claims{
					"token_type": nil, "jti": refreshID, "exp": float64(issuedAt.Add(180 * 24 * time.Hour).Unix()),
				})
				got := w.introspect(provider, client, a.text("access_token"))
				if diff := cmp.Diff(access, got.JSON); got.StatusCode != 200 || diff != "" {
					t.Errorf("%s, %s: access token: %v: %s", provider, client, got, diff)
				}
				if got.Header.Get("Cache-Control") != "no-store" || got.Header.Get("Content-Type") != "application/json" {
					t.Errorf("headers: %v", got.Header)
				}
				got = w.introspect(provider, client, a.text("refresh_token"))
				if diff := cmp.Diff(map[string]any(refresh), got.JSON); got.StatusCode != 200 || diff != "" {
					t.Errorf("%s, %s: refresh token: %v: %s", provider, client, got, diff)
				}
			}
			// Nobody authenticated for a grant without a PSU.
			a := w.token(provider, tppA, form{"grant_type": "client_credentials", "scope": "accounts"})
			expect(t, a, 200, "")
			accessID, _ := gatehouse.TokenID(a.text("access_token"))
			want := map[string]any{
				"active": true, "iss": issuer(provider), "aud": issuer(provider), "client_id": tppA, "sub": tppA, "scope": "accounts", "token_type": "Bearer", "jti": accessID,
				"iat": float64(w.clock.Now().Unix()), "exp": float64(w.clock.Now().Add(10 * time.Minute).Unix()),
			}
			if diff := cmp.Diff(want, w.introspect(provider, tppA, a.text("access_token")).JSON); diff != "" {
				t.Errorf("%s: client_credentials: %s", provider, diff)
			}
		}
	})
}

// Of whatever is no good token of this client at this provider, introspection
// says only that, and revocation that all is well; neither does anything.
//
// Proves: T37
func TestForeignTokens(t *testing.T) {
	t.Parallel()
	tried := 0
	forEachWorld(t, func(t *testing.T, w *world) {
		mine, theirs, elsewhere := w.tokens("alpha", tppA), w.tokens("alpha", basic), w.tokens("gamma", tppA)
		access, refresh := mine.text("access_token"), mine.text("refresh_token")
		flipped := []byte(access)
		flipped[len(flipped)-5] ^= 1
		fresh := w.code("alpha", tppA, nil)
		rows := map[string]string{
			"another client's access token":    theirs.text("access_token"),
			"another client's refresh token":   theirs.text("refresh_token"),
			"another provider's access token":  elsewhere.text("access_token"),
			"another provider's refresh token": elsewhere.text("refresh_token"),
			"an unknown secret":                access[:27] + gatehouse.NewSecret(),
			"an unknown secret of a refresh":   refresh[:27] + gatehouse.NewSecret(),
			"an unknown id":                    gatehouse.NewID(w.clock.Now()) + access[26:],
			"the secret of another token":      access[:27] + refresh[27:],
			"another client's with my secret":  theirs.text("access_token")[:27] + access[27:],
			"truncated":                        access[:len(access)-1],
			"with something behind":            access + "A",
			"bit flipped":                      string(flipped),
			"in another letter case":           strings.ToUpper(access),
			"the id":                           access[:26],
			"the hash":                         access[:27] + base64.RawURLEncoding.EncodeToString(gatehouse.HashSecret(access)),
			"a space before":                   " " + access,
			"a NUL":                            "\x00" + access[1:],
			"a quote":                          "'" + access[1:],
			"a code":                           fresh,
			"an id_token":                      mine.text("id_token"),
			"one character":                    "x",
			"60 kB":                            strings.Repeat("x", 60_000),
		}
		for name, token := range rows {
			tried += 2
			a := w.introspect("alpha", tppA, token)
			if a.StatusCode != 200 || a.Body != `{"active":false}` {
				t.Errorf("%s: introspection: %v", name, a)
			}
			a = w.inquire(w.site, "revoke", "alpha", tppA, form{"token": token})
			if a.StatusCode != 200 || a.Body != "" {
				t.Errorf("%s: revocation: %v", name, a)
			}
		}
		for _, kind := range []string{"access_token", "refresh_token"} {
			isActive(t, w.introspect("alpha", tppA, mine.text(kind)), true)
			isActive(t, w.introspect("alpha", basic, theirs.text(kind)), true)
			isActive(t, w.introspect("gamma", tppA, elsewhere.text(kind)), true)
		}
		expect(t, w.token("alpha", tppA, exchange(fresh)), 200, "")
	})
	t.Attr("bad_inputs", strconv.Itoa(tried))
}

// A hint helps nobody and harms nobody.
func TestTokenTypeHint(t *testing.T) {
	t.Parallel()
	forEachWorld(t, func(t *testing.T, w *world) {
		for _, hint := range []string{"access_token", "refresh_token", "id_token", "", "ACCESS_TOKEN", strings.Repeat("h", 10_000), "'--\x00"} {
			for _, kind := range []string{"access_token", "refresh_token"} {
				token := w.tokens("alpha", tppA).text(kind)
				f := form{"token": token, "token_type_hint": hint}
				isActive(t, w.inquire(w.site, "introspect", "alpha", tppA, f), true)
				expect(t, w.inquire(w.site, "revoke", "alpha", tppA, f), 200, "")
				isActive(t, w.inquire(w.site, "introspect", "alpha", tppA, f), false)
			}
		}
	})
}

// Tokens end with their time, and with their grant's.
func TestTokensExpire(t *testing.T) {
	t.Parallel()
	forEachWorld(t, func(t *testing.T, w *world) {
		w.changeProvider("alpha", func(p *gatehouse.Provider) { p.Rules.GrantLifetime = gatehouse.Duration(time.Hour) })
		a := w.tokens("alpha", tppA)
		w.clock.advance(10*time.Minute - time.Millisecond)
		isActive(t, w.introspect("alpha", tppA, a.text("access_token")), true)
		w.clock.advance(time.Millisecond)
		isActive(t, w.introspect("alpha", tppA, a.text("access_token")), false)
		isActive(t, w.introspect("alpha", tppA, a.text("refresh_token")), true)
		w.clock.advance(50*time.Minute - time.Millisecond)
		isActive(t, w.introspect("alpha", tppA, a.text("refresh_token")), true)
		w.clock.advance(time.Millisecond)
		isActive(t, w.introspect("alpha", tppA, a.text("refresh_token")), false)
	})
}

// A replayed code ends the tokens of its first redemption.
//
// Proves: T1
func TestReplayEndsTheTokens(t *testing.T) {
	t.Parallel()
	forEachWorld(t, func(t *testing.T, w *world) {
		for _, provider := range everyProvider {
			code := w.code(provider, tppA, nil)
			first := w.token(provider, tppA, exchange(code))
			expect(t, first, 200, "")
			for _, kind := range []string{"access_token", "refresh_token"} {
				isActive(t, w.introspect(provider, tppA, first.text(kind)), true)
			}
			expect(t, w.token(provider, tppA, exchange(code)), 400, "invalid_grant")
			for _, kind := range []string{"access_token", "refresh_token"} {
				isActive(t, w.introspect(provider, tppA, first.text(kind)), false)
			}
			expect(t, w.token(provider, tppA, form{"grant_type": "refresh_token", "refresh_token": first.text("refresh_token")}), 400, "invalid_grant")
		}
	})
}

// A token opens what the token endpoint would still give for it, and is
// inactive when that is nothing.
func TestIntrospectionScope(t *testing.T) {
	t.Parallel()
	forEachWorld(t, func(t *testing.T, w *world) {
		a := w.tokens("alpha", tppA)
		narrow := w.token("alpha", tppA, form{"grant_type": "refresh_token", "refresh_token": a.text("refresh_token"), "scope": "accounts"})
		expect(t, narrow, 200, "")
		for _, row := range []struct{ client, access, narrow string }{
			{"openid accounts payments", "openid accounts", "accounts"},
			{"accounts payments", "accounts", "accounts"},
			{"openid", "openid", ""},
			{"payments", "", ""},
			{"openid accounts", "openid accounts", "accounts"},
		} {
			w.changeClient(tppA, func(c *gatehouse.Client) { c.Scopes = gatehouse.ParseScopes(row.client) })
			for token, want := range map[string]string{a.text("access_token"): row.access, a.text("refresh_token"): row.access, narrow.text("access_token"): row.narrow} {
				got := w.introspect("alpha", tppA, token)
				isActive(t, got, want != "")
				if got.text("scope") != want {
					t.Errorf("client has %q: %v, want %q", row.client, got, want)
				}
			}
		}
	})
}

// changeClient stores a changed client; servers see it once their caches are
// old.
func (w *world) changeClient(id string, change func(*gatehouse.Client)) {
	w.t.Helper()
	c, err := w.store.Client(w.t.Context(), id)
	must(w.t, err)
	change(c)
	must(w.t, w.store.UpdateClient(w.t.Context(), c))
	w.clock.advance(6 * time.Second)
}

// Each row is a good request with one thing changed. None of them says or does
// anything about the token.
//
// Proves: T37
func TestInquiriesNeedAuthentication(t *testing.T) {
	t.Parallel()
	forEachWorld(t, func(t *testing.T, w *world) {
		for _, endpoint := range inquiries {
			for provider, unauthorized := range statuses(400, 401) {
				token := w.tokens(provider, basic).text("access_token")
				good := basicHeader(basic, secret)
				send := func(authorization []string, f form) *answer {
					header := formHeader.Clone()
					header["Authorization"] = authorization
					return w.do("POST", "/api/oidc/"+provider+"/"+endpoint, header, form{"token": token}.with(f).encode())
				}
				unknown := unauthorized
				if provider != "gamma" {
					unknown = 404
				}
				for name, row := range map[string]struct {
					authorization []string
					form          form
					status        int
					code          string
				}{
					"nothing":             {nil, nil, unauthorized, "invalid_client"},
					"client_id alone":     {nil, form{"client_id": basic}, unauthorized, "invalid_client"},
					"secret in the body":  {nil, form{"client_id": basic, "client_secret": secret}, unauthorized, "invalid_client"},
					"wrong secret":        {[]string{basicHeader(basic, secret+"x")}, nil, unauthorized, "invalid_client"},
					"unknown client":      {[]string{basicHeader("nobody", secret)}, nil, unknown, "invalid_client"},
					"the token as bearer": {[]string{"Bearer " + token}, nil, unauthorized, "invalid_client"},
					"the header twice":    {[]string{good, good}, nil, unauthorized, "invalid_client"},
					"two methods":         {[]string{good}, w.asserted(provider, tppA, nil), 400, "invalid_request"},
					"client_id differs":   {[]string{good}, form{"client_id": tppA}, unauthorized, "invalid_client"},
				} {
					a := send(row.authorization, row.form)
					if a.StatusCode != row.status || a.text("error") != row.code || a.JSON["active"] != nil {
						t.Errorf("%s at %s: %s: %v", endpoint, provider, name, a)
					}
					if challenge := a.Header.Get("WWW-Authenticate"); (row.status == 401) != (challenge != "") {
						t.Errorf("%s at %s: %s: WWW-Authenticate %q", endpoint, provider, name, challenge)
					}
				}
				isActive(t, w.introspect(provider, basic, token), true)
				expect(t, send([]string{good}, nil), 200, "")
			}
		}
	})
}

// The assertion may name the issuer, the token endpoint or the endpoint that it
// is sent to, and must be good in every other way.
func TestInquiryAssertion(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	for _, endpoint := range inquiries {
		for provider, refused := range statuses(400, 401) {
			token := w.tokens(provider, tppA).text("access_token")
			at := baseURL + "/api/oidc/" + provider
			send := func(changes claims) *answer {
				return w.inquire(w.site, endpoint, provider, tppA, form{"token": token, "client_assertion": w.assertion(provider, tppA, changes)})
			}
			other := map[string]string{"introspect": "revoke", "revoke": "introspect"}[endpoint]
			for name, changes := range map[string]claims{
				"aud missing":                  {"aud": nil},
				"aud of the other endpoint":    {"aud": at + "/" + other},
				"aud of the shared endpoint":   {"aud": baseURL + "/api/oidc/tokens"},
				"aud of another provider":      {"aud": issuer("closed")},
				"aud of another's endpoint":    {"aud": baseURL + "/api/oidc/closed/" + endpoint},
				"aud in an array":              {"aud": []string{at + "/" + endpoint}},
				"aud with a slash":             {"aud": at + "/" + endpoint + "/"},
				"aud by the address it has":    {"aud": w.site.URL + "/api/oidc/" + provider + "/" + endpoint},
				"expired":                      {"exp": w.clock.Now().Unix()},
				"too long":                     {"exp": w.clock.Now().Add(11*time.Minute + time.Second).Unix()},
				"issued for later":             {"iat": w.clock.Now().Add(2 * time.Minute).Unix()},
				"jti missing":                  {"jti": nil},
				"jti of 256":                   {"jti": strings.Repeat("j", 256)},
				"of another client":            {"iss": basic, "sub": basic},
				"iss and sub differ":           {"sub": tppB},
				"a request object by its look": {"response_type": "code"},
			} {
				a := send(changes)
				if a.StatusCode != refused || a.text("error") != "invalid_client" {
					t.Errorf("%s at %s: %s: %v", endpoint, provider, name, a)
				}
			}
			isActive(t, w.introspect(provider, tppA, token), true)
			for _, aud := range []string{issuer(provider), at + "/tokens", at + "/" + endpoint} {
				expect(t, send(claims{"aud": aud}), 200, "")
			}
		}
	}
	// What names the other endpoints is of no use at the token endpoint.
	for _, endpoint := range inquiries {
		expect(t, w.tokenWith("alpha", claims{"aud": baseURL + "/api/oidc/alpha/" + endpoint}, nil), 400, "invalid_client")
	}
}

// One assertion, one use, at whichever endpoint and replica it comes first.
//
// Proves: C6
func TestAssertionIsUsedOnceAtAnyEndpoint(t *testing.T) {
	forEachWorld(t, func(t *testing.T, w *world) {
		second, err := store.Open(t.Context(), w.url)
		must(t, err)
		defer second.Close()
		sites := []*httptest.Server{w.site, w.replica(second)}
		endpoints := append([]string{"tokens"}, inquiries...)
		for _, provider := range everyProvider {
			refused := map[string]int{"alpha": 400, "beta": 400, "gamma": 401}[provider]
			for _, first := range endpoints {
				token := w.tokens(provider, tppA).text("access_token")
				// A good request at every endpoint.
				body := w.asserted(provider, tppA, clientCredentials.with(form{"token": token})).encode()
				send := func(site *httptest.Server, endpoint string) *answer {
					return w.doAt(site, "POST", "/api/oidc/"+provider+"/"+endpoint, formHeader, body)
				}
				expect(t, send(sites[0], first), 200, "")
				for _, site := range sites {
					for _, endpoint := range endpoints {
						if a := send(site, endpoint); a.StatusCode != refused || a.text("error") != "invalid_client" {
							t.Errorf("%s: first at %s, then at %s: %v", provider, first, endpoint, a)
						}
					}
				}
				isActive(t, w.introspect(provider, tppA, token), first != "revoke")
			}
		}
	})
}

// The form is that of the token endpoint. Each row is a good request with one
// thing changed.
func TestInquiryForm(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	for _, endpoint := range inquiries {
		token := w.tokens("alpha", tppA).text("access_token")
		atGamma := w.tokens("gamma", tppA).text("access_token")
		path := "/api/oidc/alpha/" + endpoint
		body := func(f form) string { return w.asserted("alpha", tppA, form{"token": token}.with(f)).encode() }
		asJSON := func(provider string, f form) string {
			data, err := json.Marshal(w.asserted(provider, tppA, f))
			must(t, err)
			return string(data)
		}
		const urlencoded = "application/x-www-form-urlencoded"
		for name, row := range map[string]struct {
			path, media, body string
			status            int
			code              string
		}{
			"token missing":           {path, urlencoded, body(form{"token": nil}), 400, "invalid_request"},
			"token empty":             {path, urlencoded, body(form{"token": ""}), 400, "invalid_request"},
			"token twice":             {path, urlencoded, body(form{"token": []string{token, token}}), 400, "invalid_request"},
			"hint twice":              {path, urlencoded, body(form{"token_type_hint": []string{"access_token", "access_token"}}), 400, "invalid_request"},
			"token not UTF-8":         {path, urlencoded, body(form{"token": token[:27] + string(gatehouse.HashSecret(token)) + "\xff"}), 400, "invalid_request"},
			"malformed":               {path, urlencoded, body(nil) + "&%zz", 400, "invalid_request"},
			"a query":                 {path + "?x=1", urlencoded, body(nil), 400, "invalid_request"},
			"token in the query":      {path + "?token=" + token, urlencoded, body(form{"token": nil}), 400, "invalid_request"},
			"provider_code differs":   {path, urlencoded, body(form{"provider_code": "beta"}), 400, "invalid_request"},
			"text":                    {path, "text/plain", body(nil), 415, "invalid_request"},
			"no media type":           {path, "", body(nil), 415, "invalid_request"},
			"JSON where it is not":    {"/api/oidc/gamma/" + endpoint, "application/json", asJSON("gamma", form{"token": atGamma}), 415, "invalid_request"},
			"a token that is a list":  {path, "application/json", strings.Replace(asJSON("alpha", form{"token": token}), `"`+token+`"`, `["`+token+`"]`, 1), 400, "invalid_request"},
			"larger than 64 KiB":      {path, urlencoded, body(nil) + "&x=" + strings.Repeat("x", 64<<10), 413, "invalid_request"},
			"provider unknown":        {"/api/oidc/nobody/" + endpoint, urlencoded, body(nil), 404, "invalid_request"},
			"provider disabled":       {"/api/oidc/closed/" + endpoint, urlencoded, body(nil), 403, "access_denied"},
			"another provider's path": {"/api/oidc/beta/" + endpoint, urlencoded, body(nil), 400, "invalid_client"},
			"no provider":             {"/api/oidc/" + endpoint, urlencoded, body(nil), 404, "invalid_request"},
		} {
			header := http.Header{}
			if row.media != "" {
				header.Set("Content-Type", row.media)
			}
			a := w.do("POST", row.path, header, row.body)
			if a.StatusCode != row.status || a.text("error") != row.code {
				t.Errorf("%s: %s: %v, want %d %s", endpoint, name, a, row.status, row.code)
			}
			if a.Header.Get("Cache-Control") != "no-store" || strings.Contains(a.Body, token) {
				t.Errorf("%s: %s: %v %v", endpoint, name, a.Header, a)
			}
		}
		for _, method := range []string{"GET", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH"} {
			a := w.do(method, path, formHeader, body(nil))
			if a.StatusCode != 405 || a.Header.Get("Allow") != "POST" {
				t.Errorf("%s %s: %v", method, endpoint, a)
			}
		}
		isActive(t, w.introspect("alpha", tppA, token), true)
		isActive(t, w.introspect("gamma", tppA, atGamma), true)
		if a := w.do("POST", path, http.Header{"Content-Type": {"application/json"}}, asJSON("alpha", form{"token": token, "provider_code": "alpha"})); a.StatusCode != 200 {
			t.Errorf("JSON at %s: %v", endpoint, a)
		}
		isActive(t, w.introspect("alpha", tppA, token), endpoint != "revoke")
	}
}

// A client is served only where and while it may be, and its tokens end with
// it.
func TestInquiriesByClientStatus(t *testing.T) {
	t.Parallel()
	forEachWorld(t, func(t *testing.T, w *world) {
		token := w.token("alpha", ccOnly, clientCredentials).text("access_token")
		isActive(t, w.introspect("alpha", ccOnly, token), true)
		for _, endpoint := range inquiries {
			expect(t, w.inquire(w.site, endpoint, "beta", ccOnly, form{"token": token}), 403, "unauthorized_client")
			expect(t, w.inquire(w.site, endpoint, "gamma", ccOnly, form{"token": token}), 400, "unauthorized_client")
		}
		w.changeClient(ccOnly, func(c *gatehouse.Client) { c.Status = gatehouse.ClientDisabled })
		for _, endpoint := range inquiries {
			expect(t, w.inquire(w.site, endpoint, "alpha", ccOnly, form{"token": token}), 403, "unauthorized_client")
		}
		w.changeClient(ccOnly, func(c *gatehouse.Client) { c.Status = gatehouse.ClientActive })
		isActive(t, w.introspect("alpha", ccOnly, token), true)
		must(t, w.store.DeleteClient(t.Context(), ccOnly, w.clock.Now()))
		isActive(t, w.introspect("alpha", ccOnly, token), false) // the server still has the client in its cache
		w.clock.advance(6 * time.Second)
		for _, endpoint := range inquiries {
			expect(t, w.inquire(w.site, endpoint, "alpha", ccOnly, form{"token": token}), 404, "invalid_client")
		}
	})
}
