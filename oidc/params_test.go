package oidc_test

import (
	"strings"
	"testing"

	"gatehouse"
)

// The answer names the parameter that is at fault, unless the caller made its
// name up.
func TestFaultyParametersAreNamed(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	good := w.asserted("alpha", tppA, clientCredentials)
	for text, want := range map[string]string{
		"grant_type=client_credentials": "grant_type is repeated",
		"client_assertion=x":            "client_assertion is repeated",
		"scope=a&scope=":                "scope is repeated",
		"sc%6fpe&scope":                 "scope is repeated",
		"code=%zz":                      "code is not validly encoded",
		"redirect_uri=%ff":              "redirect_uri is not validly encoded",
		"call_0800=1&call_0800=2":       "a parameter is repeated",
		"call_0800=%":                   "a parameter is not validly encoded",
		"%ff=1":                         "a parameter name is empty or not validly encoded",
		"scope=openid;accounts":         "scope has a semicolon that is not encoded",
		"amp;scope=openid":              "a parameter has a semicolon that is not encoded",
	} {
		a := w.do("POST", "/api/oidc/alpha/tokens", formHeader, good.encode()+"&"+text)
		expect(t, a, 400, "invalid_request")
		if a.text("error_description") != want {
			t.Errorf("%s: %q, want %q", text, a.text("error_description"), want)
		}
	}
	for body, want := range map[string]string{
		`{"grant_type":1}`:    "grant_type is not a string",
		`{"scope":true}`:      "scope is not a string",
		`{"call_0800":false}`: "a parameter is not a string",
	} {
		a := w.do("POST", "/api/oidc/alpha/tokens", jsonHeader, body)
		expect(t, a, 400, "invalid_request")
		if a.text("error_description") != want {
			t.Errorf("%s: %q, want %q", body, a.text("error_description"), want)
		}
	}
	page := w.get("/oidc/alpha/authorize?" + query(tppA).encode() + "&d;&state=2")
	if page.StatusCode != 400 || page.Header.Get("Location") != "" || !strings.Contains(page.Body, "a parameter has a semicolon that is not encoded") {
		t.Errorf("authorize: %v", page)
	}
	page = w.get("/oidc/alpha/authorize?" + query(tppA).encode() + "&redirect_uri=https%3A%2F%2Fevil.example")
	if page.StatusCode != 400 || page.Header.Get("Location") != "" || !strings.Contains(page.Body, "redirect_uri is repeated") {
		t.Errorf("authorize: %v", page)
	}
	tallied(t, 16)
}

// Some readers on the way (proxies, older libraries, pages with "&amp;" in a
// link) begin another parameter at a semicolon. A request with a plain one is
// not read at all, at any door, wherever it stands.
func TestPlainSemicolons(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	good := query(tppA)
	written, tried := w.written(), 0
	for name := range good {
		for _, added := range []string{name + ";=evil", ";" + name + "=evil", "amp;" + name + "=evil", "x=1;" + name + "=evil"} {
			for _, text := range []string{added + "&" + good.encode(), good.encode() + "&" + added} {
				tried += 4
				for _, a := range []*answer{
					w.get("/oidc/alpha/authorize?" + text),
					w.do("POST", "/oidc/alpha/authorize", formHeader, text),
					w.connector("beta", "POST", "", claims{"authorize_url": "https://bank.example/beta/authorize?" + text, "auth_code": gatehouse.NewSecret()}),
					w.do("POST", "/api/oidc/alpha/tokens", formHeader, text),
				} {
					if a.StatusCode != 400 || a.Header.Get("Location") != "" || a.JSON["data"] != nil || !strings.Contains(a.Body, "has a semicolon that is not encoded") || written() {
						t.Errorf("%s: %v", text, a)
					}
				}
			}
		}
	}
	tallied(t, tried)
}
