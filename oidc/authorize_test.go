package oidc_test

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"gatehouse"
)

// asked sends an authorization request through each door and returns what the
// browser, or the bank, is told: the answer, and where the browser goes.
func (w *world) asked(door string, q form) (*answer, *url.URL) {
	w.t.Helper()
	if door == "bank" {
		_, _, a := w.bankCode(q, nil)
		data, _ := a.JSON["data"].(map[string]any)
		text, _ := data["redirect_uri"].(string)
		location, err := url.Parse(text)
		must(w.t, err)
		return a, location
	}
	a := w.get("/oidc/" + door + "/authorize?" + q.encode())
	location, err := a.Location()
	if err != nil {
		location = &url.URL{}
	}
	return a, location
}

var doors = map[string]string{"alpha": "alpha", "bank": "beta", "gamma": "gamma"} // door to provider

// Proves: A1
func TestUnknownWayBackNeverRedirects(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	for name, change := range map[string]form{
		"client_id missing":         {"client_id": nil},
		"client_id unknown":         {"client_id": "nobody"},
		"client_id twice":           {"client_id": []string{tppA, tppA}},
		"redirect_uri missing":      {"redirect_uri": nil},
		"redirect_uri empty":        {"redirect_uri": ""},
		"redirect_uri unregistered": {"redirect_uri": "https://evil.example/cb"},
		"redirect_uri twice":        {"redirect_uri": []string{callback, callback}},
		"redirect_uri longer":       {"redirect_uri": callback + "/x"},
		"scope twice":               {"scope": []string{"openid", "accounts"}},
		"state too long":            {"state": strings.Repeat("s", 2049)},
	} {
		for door := range doors {
			a, location := w.asked(door, query(tppA).with(change))
			if a.StatusCode != 400 || location.String() != "" {
				t.Errorf("%s at %s: %v, location %s", name, door, a, location)
			}
			if door != "bank" && !strings.HasPrefix(a.Header.Get("Content-Type"), "text/html") {
				t.Errorf("%s at %s: no page: %v", name, door, a)
			}
		}
	}
	for _, raw := range []string{"%", "client_id=%ff", "client_id=tpp-a&redirect_uri=%zz"} {
		if a := w.get("/oidc/alpha/authorize?" + raw); a.StatusCode != 400 || a.Header.Get("Location") != "" {
			t.Errorf("%s: %v", raw, a)
		}
	}
}

// Each row breaks one rule of the table of checks.
//
// Proves: A3, A4, A5
func TestFaultsGoToTheTPP(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	w.addClient(gatehouse.Client{ID: "no-code", JWKS: clientJWKS(t, tppA), GrantTypes: []string{"client_credentials"}})
	w.addClient(gatehouse.Client{ID: "elsewhere", JWKS: clientJWKS(t, tppA), Providers: []string{"closed"}})
	tried := 0
	for _, row := range []struct {
		name   string
		change form
		code   string
	}{
		{"response_type missing", form{"response_type": nil}, "invalid_request"},
		{"response_type token", form{"response_type": "token"}, "unsupported_response_type"},
		{"response_type id_token", form{"response_type": "id_token"}, "unsupported_response_type"},
		{"response_type hybrid", form{"response_type": "code id_token"}, "unsupported_response_type"},
		{"response_type none", form{"response_type": "none"}, "unsupported_response_type"},
		{"response_type in caps", form{"response_type": "CODE"}, "unsupported_response_type"},
		{"response_mode fragment", form{"response_mode": "fragment"}, "invalid_request"},
		{"client without code", form{"client_id": "no-code"}, "unauthorized_client"},
		{"client of another provider", form{"client_id": "elsewhere"}, "unauthorized_client"},
		{"request_uri", form{"request_uri": "https://tpp.example/request"}, "invalid_request_uri"},
		{"scope wider", form{"scope": "openid fundsconfirmations"}, "invalid_scope"},
		{"scope unknown", form{"scope": "openid email"}, "invalid_scope"},
		{"nonce too long", form{"nonce": strings.Repeat("n", 513)}, "invalid_request"},
		{"PKCE plain", form{"code_challenge_method": "plain"}, "invalid_request"},
		{"PKCE method missing", form{"code_challenge_method": nil}, "invalid_request"},
		{"PKCE challenge missing", form{"code_challenge": nil}, "invalid_request"},
		{"PKCE challenge short", form{"code_challenge": "abc"}, "invalid_request"},
		{"PKCE challenge long", form{"code_challenge": strings.Repeat("A", 44)}, "invalid_request"},
		{"PKCE challenge padded", form{"code_challenge": strings.Repeat("A", 42) + "="}, "invalid_request"},
		{"prompt none", form{"prompt": "none"}, "login_required"},
		{"prompt none and more", form{"prompt": "none login"}, "invalid_request"},
		{"prompt unknown", form{"prompt": "create"}, "invalid_request"},
		{"max_age negative", form{"max_age": "-1"}, "invalid_request"},
		{"max_age text", form{"max_age": "1h"}, "invalid_request"},
		{"max_age huge", form{"max_age": "99999999999"}, "invalid_request"},
		{"claims text", form{"claims": "x"}, "invalid_request"},
		{"claims repeated member", form{"claims": `{"id_token":{},"id_token":{}}`}, "invalid_request"},
		{"claims too deep", form{"claims": strings.Repeat(`{"a":`, 40) + "1" + strings.Repeat("}", 40)}, "invalid_request"},
		{"claims id_token of another type", form{"claims": `{"id_token":[]}`}, "invalid_request"},
		{"intent without value", form{"claims": `{"id_token":{"openbanking_intent_id":{"essential":true}}}`}, "invalid_request"},
		{"intent as number", form{"claims": `{"id_token":{"openbanking_intent_id":{"value":5}}}`}, "invalid_request"},
		{"acr essential and unknown", form{"claims": `{"id_token":{"acr":{"essential":true,"values":["urn:x"]}}}`}, "invalid_request"},
		{"request object garbage", form{"request": "x"}, "invalid_request_object"},
	} {
		for door, provider := range doors {
			tried++
			_, location := w.asked(door, query(tppA).with(row.change))
			got := location.Query()
			if !strings.HasPrefix(location.String(), callback+"?") || got.Get("error") != row.code || got.Get("error_description") == "" || got.Has("code") {
				t.Errorf("%s at %s: %s", row.name, door, location)
			}
			if got.Get("state") != "st&te %1" || got.Get("iss") != issuer(provider) {
				t.Errorf("%s at %s: state %q, iss %q", row.name, door, got.Get("state"), got.Get("iss"))
			}
		}
	}
	t.Attr("bad_inputs", strconv.Itoa(tried))
}

// Every rule of a provider that hardens the request.
func TestProviderRules(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	w.changeProvider("alpha", func(p *gatehouse.Provider) { p.Rules.RequirePKCE = true })
	_, location := w.asked("alpha", query(tppA).with(form{"code_challenge": nil, "code_challenge_method": nil}))
	if location.Query().Get("error") != "invalid_request" {
		t.Errorf("without PKCE: %s", location)
	}
	w.visit("alpha", query(tppA))
}

// Good requests in all their forms.
//
// Proves: A4, A17
func TestAuthorizationResponse(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	for name, change := range map[string]form{
		"plain":              nil,
		"without state":      {"state": nil},
		"state of 384":       {"state": strings.Repeat("0123456789ab", 32)},
		"state of 2,048":     {"state": strings.Repeat("s", 2048)},
		"state in Unicode":   {"state": "Größe&x=1%20+ \"'<>\\🔑\r\nX: y"},
		"uri with a query":   {"redirect_uri": "https://tpp.example/cb?a=1"},
		"without scope":      {"scope": nil},
		"prompt":             {"prompt": "login consent"},
		"max_age":            {"max_age": "0"},
		"acr":                {"claims": `{"id_token":{"acr":{"essential":true,"values":["urn:openbanking:psd2:ca","urn:openbanking:psd2:sca"]}},"userinfo":null}`},
		"acr_values":         {"acr_values": "urn:openbanking:psd2:ca urn:other"},
		"unknown parameters": {"ui_locales": "de", "display": "page", "x": "<script>"},
	} {
		for _, provider := range []string{"alpha", "gamma"} {
			q := query(tppA).with(change)
			v := w.visit(provider, q)
			if a := v.decide(approval); a.StatusCode != 200 {
				t.Fatalf("%s: %v", name, a)
			}
			a := v.back()
			got := landed(t, a)
			state, sent := q["state"].(string)
			if got.Get("state") != state || got.Has("state") != sent || got.Get("iss") != issuer(provider) || len(got.Get("code")) != 43 || got.Has("error") {
				t.Errorf("%s: %s", name, a.Header.Get("Location"))
			}
			if !strings.HasPrefix(a.Header.Get("Location"), q["redirect_uri"].(string)) || q["redirect_uri"] != callback && got.Get("a") != "1" {
				t.Errorf("%s: %s", name, a.Header.Get("Location"))
			}
		}
	}
	post := w.do("POST", "/oidc/alpha/authorize", formHeader, query(tppA).encode())
	if post.StatusCode != 303 {
		t.Errorf("POST: %v", post)
	}
	expectPage := w.do("POST", "/oidc/alpha/authorize?client_id=tpp-a", formHeader, query(tppA).encode())
	if expectPage.StatusCode != 400 {
		t.Errorf("POST with a query: %v", expectPage)
	}
	if a := w.get("/oidc/beta/authorize?" + query(tppA).encode()); a.StatusCode != 404 {
		t.Errorf("the bank's endpoint at ours: %v", a)
	}
}

// Proves: A10, A12, A16
func TestVisitBelongsToOneBrowser(t *testing.T) {
	t.Parallel()
	forEachWorld(t, func(t *testing.T, w *world) {
		mine, theirs := w.visit("alpha", query(tppA)), w.visit("alpha", query(tppA))
		for _, v := range []*visit{mine, theirs} {
			if a := v.decide(approval); a.StatusCode != 200 {
				t.Fatal(a)
			}
		}
		for name, cookie := range map[string]string{
			"none":                  "",
			"another visit's":       theirs.cookie,
			"another visit's value": strings.Split(mine.cookie, "=")[0] + "=" + strings.Split(theirs.cookie, "=")[1],
			"empty":                 strings.Split(mine.cookie, "=")[0] + "=",
			"the id":                strings.Split(mine.cookie, "=")[0] + "=" + mine.id,
		} {
			a := w.do("GET", "/oidc/alpha/authorize/"+mine.id, http.Header{"Cookie": {cookie}}, "")
			if a.StatusCode != 403 || a.Header.Get("Location") != "" {
				t.Errorf("%s: %v", name, a)
			}
		}
		if a := w.do("GET", "/oidc/gamma/authorize/"+mine.id, http.Header{"Cookie": {mine.cookie}}, ""); a.StatusCode != 404 {
			t.Errorf("another provider: %v", a)
		}
		if head := w.do("HEAD", "/oidc/alpha/authorize/"+mine.id, http.Header{"Cookie": {mine.cookie}}, ""); head.StatusCode != 405 {
			t.Errorf("HEAD: %v", head)
		}
		first := mine.back()
		if landed(t, first).Get("code") == "" {
			t.Fatal(first)
		}
		cleared := first.Cookies()
		if len(cleared) != 1 || cleared[0].MaxAge >= 0 {
			t.Errorf("the cookie is not cleared: %v", cleared)
		}
		if again := mine.back(); again.StatusCode != 400 || again.Header.Get("Location") != "" {
			t.Errorf("a second code: %v", again)
		}
	})
}

// Proves: A12
func TestBrowserCookie(t *testing.T) {
	w := sqliteWorld(t)
	c := w.get("/oidc/alpha/authorize?" + query(tppA).encode()).Cookies()[0]
	if !strings.HasPrefix(c.Name, "__Host-") || !c.Secure || !c.HttpOnly || c.SameSite != http.SameSiteLaxMode || c.Path != "/" || c.Domain != "" || len(c.Value) != 43 {
		t.Errorf("cookie: %v", c)
	}
}

// Proves: A15
func TestRefusalAndTimeout(t *testing.T) {
	t.Parallel()
	forEachWorld(t, func(t *testing.T, w *world) {
		v := w.visit("alpha", query(tppA))
		if a := v.decide(claims{"status": "denied"}); a.StatusCode != 200 {
			t.Fatal(a)
		}
		if got := landed(t, v.back()); got.Get("error") != "access_denied" || got.Get("state") != "st&te %1" || got.Get("iss") != issuer("alpha") || got.Has("code") {
			t.Errorf("denied: %v", got)
		}
		late := w.visit("alpha", query(tppA))
		w.clock.advance(15*time.Minute + time.Second)
		if a := late.decide(approval); a.StatusCode != 400 {
			t.Errorf("a late approval: %v", a)
		}
		if got := landed(t, late.back()); got.Get("error") != "temporarily_unavailable" || got.Get("state") != "st&te %1" || got.Get("iss") != issuer("alpha") {
			t.Errorf("timeout: %v", got)
		}
		id, code, a := w.bankCode(query(tppA), claims{"auth_code_exp": nil})
		if a.StatusCode != 200 {
			t.Fatal(a)
		}
		denied := w.connector("beta", "PUT", "/"+id, claims{"status": "denied"})
		data, _ := denied.JSON["data"].(map[string]any)
		back, err := url.Parse(data["redirect_uri"].(string))
		must(t, err)
		if back.Query().Get("error") != "access_denied" || back.Query().Get("iss") != issuer("beta") || data["status"] != "Rejected" {
			t.Errorf("denied by the bank: %v", denied)
		}
		expect(t, w.token("beta", tppA, exchange(code)), 400, "invalid_grant")
	})
}

// Proves: A7, N15
func TestPages(t *testing.T) {
	w := sqliteWorld(t)
	for path, status := range map[string]int{
		"/oidc/alpha/authorize":                    400,
		"/oidc/alpha/authorize/nothing":            404,
		"/oidc/nobody/authorize":                   404,
		"/oidc/closed/authorize":                   403,
		"/docs/open_banking/alpha":                 200,
		"/docs/open_banking/nobody":                404,
		"/oidc/alpha/authorize?client_id=%3Cb%3E1": 400,
	} {
		a := w.get(path)
		csp := a.Header.Get("Content-Security-Policy")
		if a.StatusCode != status || a.Header.Get("Content-Type") != "text/html; charset=utf-8" ||
			!strings.Contains(csp, "default-src 'none'") || !strings.Contains(csp, "frame-ancestors 'none'") || strings.Contains(csp, "unsafe") ||
			a.Header.Get("X-Frame-Options") != "DENY" || a.Header.Get("Referrer-Policy") != "no-referrer" ||
			a.Header.Get("Cache-Control") != "no-store" || a.Header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: %d %v", path, a.StatusCode, a.Header)
		}
		if strings.Contains(a.Body, "<script") || strings.Contains(a.Body, "://fonts") || strings.Contains(a.Body, "<b>1") {
			t.Errorf("%s: %s", path, a.Body)
		}
	}
	if a := w.get("/static/gatehouse.css"); a.StatusCode != 200 || !strings.HasPrefix(a.Header.Get("Content-Type"), "text/css") {
		t.Errorf("style sheet: %v", a)
	}
	if a := w.get("/static/nothing.css"); a.StatusCode != 404 {
		t.Errorf("missing file: %v", a)
	}
}

// The documentation page is printed from the tables that the server runs on.
func TestDocumentationPage(t *testing.T) {
	w := sqliteWorld(t)
	for provider, pendingStatus := range map[string]string{"alpha": "<td>425</td>", "gamma": "<td>400</td>"} {
		a := w.get("/docs/open_banking/" + provider)
		for _, want := range []string{issuer(provider), baseURL + "/api/oidc/" + provider + "/tokens", "authorization_pending", "TooEarly", pendingStatus, "code_challenge_method", "RFC 7636 §4.3", "180 days"} {
			if !strings.Contains(a.Body, want) {
				t.Errorf("%s: no %q", provider, want)
			}
		}
	}
}

// Proves: A23
func TestNothingReachesAHeader(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	for _, evil := range []string{"\r\nSet-Cookie: a=b", "\nX: y", "%0d%0aX: y", "\u2028X", "\x00"} {
		for name := range query(tppA) {
			value, _ := query(tppA)[name].(string)
			a := w.get("/oidc/alpha/authorize?" + query(tppA).with(form{name: value + evil}).encode())
			if a.StatusCode >= 500 || a.Header.Get("X") != "" || a.Header.Get("Set-Cookie") == "a=b" {
				t.Fatalf("%s: %v %v", name, a, a.Header)
			}
			location := a.Header.Get("Location")
			if location == "" {
				continue
			}
			if !strings.HasPrefix(location, callback+"?") && !strings.HasPrefix(location, "https://bank.example/alpha/login?authorization_id=") {
				t.Fatalf("%s: %s", name, location)
			}
			for _, c := range []byte(location) {
				if c <= ' ' || c > '~' {
					t.Fatalf("%s: Location has byte %x", name, c)
				}
			}
		}
	}
}
