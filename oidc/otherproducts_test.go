package oidc_test

import (
	"encoding/base64"
	"net/http"
	"testing"

	"gatehouse"
)

// Flaws of other products, each tried here.

// What belongs to another grant counts for nothing: it neither widens what is
// granted (PostHog#49163) nor is spent.
//
// Proves: T13, T11
func TestParametersOfOtherGrants(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	tried := 0
	for _, provider := range everyProvider {
		narrow := w.token(provider, tppA, exchange(w.code(provider, tppA, form{"scope": "openid accounts"})))
		wide := w.code(provider, tppA, form{"scope": "openid accounts payments"})
		refresh := form{"grant_type": "refresh_token", "refresh_token": narrow.text("refresh_token")}
		others := form{
			"code": wide, "redirect_uri": callback, "code_verifier": verifier, "username": "psu-17", "password": "x", "sub": "psu-17", "user_id": "psu-17", "acr": "urn:openbanking:psd2:sca",
			"assertion": w.assertion(provider, tppA, nil), "subject_token": narrow.text("access_token"), "subject_token_type": "urn:ietf:params:oauth:token-type:access_token", "audience": tppB, "resource": "https://bank.example/api",
			"device_code": "x", "auth_req_id": "x", "grant_id": "x", "expires_in": "999999", "provider": "gamma", "issuer": issuer("gamma"), "client": tppB, "scopes": "payments", "authorization_details": `[{"type":"payment"}]`,
		}
		scope := func(a *answer) string {
			expect(t, a, 200, "")
			return w.introspect(provider, tppA, a.text("access_token")).text("scope")
		}
		for name, value := range others {
			tried++
			if got := scope(w.token(provider, tppA, refresh.with(form{name: value}))); got != "openid accounts" {
				t.Errorf("%s: a refresh with %s: scope %q", provider, name, got)
			}
			for _, grant := range []string{"client_credentials"} {
				a := w.token(provider, tppA, form{"grant_type": grant, "refresh_token": refresh["refresh_token"], name: value})
				expect(t, a, 200, "")
				about := w.introspect(provider, tppA, a.text("access_token"))
				if sub := about.text("sub"); sub != "" && sub != tppA || about.text("client_id") != tppA {
					t.Errorf("%s: %s with %s: %v", provider, grant, name, about)
				}
			}
		}
		tried += 3
		expect(t, w.token(provider, tppA, refresh.with(others).with(form{"scope": "openid accounts payments"})), 400, "invalid_scope")
		// PortSwigger, "scope upgrade": a scope beside the code is not part of what the PSU saw.
		code := w.code(provider, tppA, form{"scope": "openid accounts"})
		if got := scope(w.token(provider, tppA, exchange(code).with(form{"scope": "openid accounts payments", "refresh_token": refresh["refresh_token"]}))); got != "openid accounts" {
			t.Errorf("%s: a code with a wider scope beside it: %q", provider, got)
		}
		if got := scope(w.token(provider, tppA, exchange(wide))); got != "openid accounts payments" { // nothing has spent it
			t.Errorf("%s: the code: %q", provider, got)
		}
	}
	tallied(t, tried)
}

// A fault that other products tell to whatever redirect_uri there is: prompt=none
// (GHSA-2wvm-8mvp-22qv of pocket-id, doorkeeper-openid_connect#61), response_type
// (CVE-2026-41479 of Authlib), response_mode, and two faults at once (CVE-2026-5467
// of Casdoor, GHSA-h29v-hj44-q8cv of Authorizer).
//
// Proves: A1
func TestNoFaultRedirectsElsewhere(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	written, tried := w.written(), 0
	faults := map[string]form{
		"prompt=none": {"prompt": "none"}, "prompt=none and more": {"prompt": "none login"}, "response_type=token": {"response_type": "token"}, "response_type=none": {"response_type": "none"}, "response_type=code id_token": {"response_type": "code id_token"},
		"no response_type": {"response_type": nil}, "form_post": {"response_mode": "form_post"}, "fragment": {"response_mode": "fragment"}, "query.jwt": {"response_mode": "query.jwt"}, "web_message": {"response_mode": "web_message"}, "scope": {"scope": "everything"},
		"request_uri": {"request_uri": "https://evil.example/r"}, "request": {"request": "x"}, "both": {"request": "x", "request_uri": "urn:x"}, "claims": {"claims": "{"}, "consent": intent("nobody's"), "PKCE plain": {"code_challenge_method": "plain"}, "max_age": {"max_age": "-1"},
		"no fault": {}, "error": {"error": "x", "error_uri": "https://evil.example/"}, "id_token_hint": {"id_token_hint": "x", "prompt": "none"}, "display": {"display": "popup", "response_mode": "form_post"}, "state": {"state": "https://evil.example/"},
	}
	for name, fault := range faults {
		for _, evil := range []any{"https://evil.example/cb", "javascript:alert(1)", "//evil.example", callback + "/../evil", nil} {
			for door, provider := range doors {
				q := query(tppA).with(fault).with(form{"redirect_uri": evil})
				requests := map[string]form{"plain": q}
				if q["request"] == nil && q["request_uri"] == nil {
					inside := claims(q)
					requests["signed"] = form{"client_id": tppA, "redirect_uri": callback, "request": w.requestObject(provider, tppA, inside)}
				}
				for how, q := range requests {
					tried++
					o := w.ask(door, q)
					// An object that cannot be read may be told to the redirect_uri outside it, which is registered.
					told := how == "signed" && (o.tells("invalid_request_object") || o.tells("invalid_request"))
					if !o.hidden() && !told || written() {
						t.Errorf("%s, %s, redirect_uri %v at %s: %v", name, how, evil, door, o)
					}
				}
			}
		}
	}
	if o := w.ask("alpha", query(tppA).with(form{"prompt": "none"})); !o.tells("login_required") {
		t.Errorf("a control: %v", o)
	}
	tallied(t, tried)
}

// An access token opens nothing but as a bearer token, in the places where it
// may be (RFC 6750 §2; GHSA-9r5x-wg6m-x2rc and GHSA-cc8w-r4qh-3v65 of Gitea).
func TestAccessTokenInOtherPlaces(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	psu, own := w.tokens("alpha", tppA), w.ownToken("alpha", tppA)
	resource := resourceOf(gatehouse.AccountAccess)
	tried := 0
	for _, door := range []struct{ method, path, token, body string }{
		{"GET", "/api/oidc/alpha/userinfo", psu.text("access_token"), ""},
		{"POST", resource.at("alpha", "v3.1.11"), own, resource.body},
		{"GET", resource.at("alpha", "v3.1.11") + "/nobody", own, ""},
	} {
		send := func(header http.Header, query string) *answer {
			h := header.Clone()
			if door.body != "" {
				h.Set("Content-Type", "application/json")
			}
			return w.do(door.method, door.path+query, h, door.body)
		}
		if a := send(bearerHeader(door.token), ""); a.StatusCode == 401 {
			t.Errorf("%s %s, as it should be: %v", door.method, door.path, a)
		}
		for _, token := range []string{door.token, psu.text("refresh_token"), psu.text("id_token")} {
			basic := func(user, password string) http.Header {
				return http.Header{"Authorization": {"Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))}}
			}
			places := map[string]*answer{
				"user": send(basic(token, "x-oauth-basic"), ""), "password": send(basic("x", token), ""), "client's password": send(basic(tppA, token), ""),
				"query": send(http.Header{}, "?access_token="+token), "cookie": send(http.Header{"Cookie": {"access_token=" + token}}, ""),
				"form header": send(http.Header{"Access-Token": {token}, "X-Access-Token": {token}, "X-Auth-Token": {token}, "Proxy-Authorization": {"Bearer " + token}}, ""),
			}
			for _, scheme := range []string{"DPoP", "Token", "MAC", "JWT", "OAuth", "PoP", "Bearer,", "Bearer\t", "Bearer:", "Bearer=", "", "Negotiate", "Hawk", "HOBA", "Bearer Bearer"} {
				places["scheme "+scheme] = send(http.Header{"Authorization": {scheme + " " + token}}, "")
			}
			if token != door.token {
				places["another token"] = send(bearerHeader(token), "")
			}
			for name, a := range places {
				tried++
				if a.StatusCode != 401 && !(name == "query" && a.StatusCode == 400) || a.JSON["sub"] != nil || a.JSON["Data"] != nil {
					t.Errorf("%s %s, %s: %v", door.method, door.path, name, a)
				}
			}
		}
	}
	tallied(t, tried)
}

// A signed answer tells of another's token no more than a plain one does
// (CVE-2026-18208 of Keycloak: the token stood in the signed answer all the same).
func TestSignedIntrospectionOfOthers(t *testing.T) {
	w := sqliteWorld(t)
	tried := 0
	for _, provider := range everyProvider {
		mine, theirs := w.tokens(provider, tppA), w.tokens(provider, basic)
		for name, row := range map[string]struct {
			token  string
			active bool
		}{
			"my own": {mine.text("access_token"), true}, "another client's access token": {theirs.text("access_token"), false}, "another client's refresh token": {theirs.text("refresh_token"), false},
			"another client's ID Token": {theirs.text("id_token"), false}, "nobody's": {gatehouse.NewID(w.clock.Now()) + "." + gatehouse.NewSecret(), false}, "cut short": {mine.text("access_token")[:60], false},
		} {
			a := w.introspectSigned(provider, tppA, row.token)
			expect(t, a, 200, "")
			claims := payload(t, a.Body)
			about, _ := claims["token_introspection"].(map[string]any)
			switch {
			case row.active:
				if about["active"] != true || about["client_id"] != tppA {
					t.Errorf("%s at %s: %v", name, provider, claims)
				}
				continue
			case len(about) != 1 || about["active"] != false || len(claims) != 4: // iss, aud, iat
				t.Errorf("%s at %s: %v", name, provider, claims)
			}
			tried++
		}
	}
	tallied(t, tried)
}
