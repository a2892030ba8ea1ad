package oidc_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// nearNames are names that some framework on the way, in PHP, Rack, Express,
// ASP.NET, Tomcat or a WAF, takes for the given one (HTTP parameter pollution),
// as they stand in a form.
func nearNames(name string) []string {
	first, rest := name[:1], name[1:]
	return []string{
		name + "[]", name + "%5B%5D", name + "[0]", name + "[$ne]", name + "[a]", name + ".0", name + ".", name + "%20", "%20" + name, "+" + name, name + "%00", "%00" + name, name + "%00.x", name + "%0a", name + "%09", name + "%3B", "%3B" + name, name + ",", "?" + name, "%26" + name, "%23" + name,
		name + "%3D", strings.ToUpper(name), strings.ToUpper(first) + rest, strings.ReplaceAll(name, "_", "-"), strings.ReplaceAll(name, "_", "."), strings.ReplaceAll(name, "_", "%20"), strings.ReplaceAll(name, "_", "["), strings.ReplaceAll(name, "_", ""), "_" + name, "$" + name, "amp%3B" + name, "%EF%BB%BF" + name,
		"%2561" + name, url.QueryEscape(first + "\u200b" + rest), url.QueryEscape(first + "\u0301" + rest), strings.ReplaceAll(name, "i", "%C4%B1"), strings.ReplaceAll(name, "s", "%C5%BF"), strings.ReplaceAll(name, "e", "%EF%BD%85"), strings.ReplaceAll(name, "c", "%D1%81"), "request[" + name + "]", "__proto__[" + name + "]", "constructor.prototype." + name,
	}
}

// Names are compared octet by octet, after decoding once: what is nearly a
// parameter counts for nothing, before the true one or behind it.
func TestNearlyNamedParameters(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	tried := 0
	evil := map[string]string{
		"client_id": tppB, "redirect_uri": "https://evil.example/cb", "response_type": "token", "response_mode": "fragment", "scope": "openid payments", "state": "evil", "nonce": "evil", "code_challenge": challenge(strings.Repeat("e", 43)), "code_challenge_method": "plain",
		"request": "x", "request_uri": "https://evil.example/r", "prompt": "none", "claims": "{", "max_age": "0", "acr_values": "urn:openbanking:psd2:ca",
	}
	for door := range doors {
		want := w.counted(w.ask(door, query(tppA)))
		for name, value := range evil {
			for _, near := range nearNames(name) {
				if near == name {
					continue
				}
				added := near + "=" + url.QueryEscape(value)
				for place, text := range map[string]string{"before": added + "&" + query(tppA).encode(), "behind": query(tppA).encode() + "&" + added} {
					tried++
					var o *outcome
					if door == "bank" {
						a := w.connector("beta", "POST", "", claims{"authorize_url": "https://bank.example/beta/authorize?" + text, "auth_code": challenge(near + place + name)})
						o = &outcome{door, a, &url.URL{}, nil}
					} else {
						a := w.get("/oidc/" + doors[door] + "/authorize?" + text)
						location, err := a.Location()
						if err != nil {
							t.Errorf("%s %s at %s: %v", near, place, door, a)
							continue
						}
						o = &outcome{door, a, location, nil}
					}
					if diff := cmp.Diff(want, w.counted(o)); diff != "" {
						t.Errorf("%s %s at %s: %s", near, place, door, diff)
					}
				}
			}
		}
	}
	// At the token endpoint: a parameter that is needed is not there under another name, and is not doubled by one.
	for _, provider := range everyProvider {
		for _, name := range []string{"grant_type", "client_assertion", "client_assertion_type", "scope"} {
			for _, near := range nearNames(name) {
				if near == name {
					continue
				}
				f := w.asserted(provider, tppA, clientCredentials.with(form{"scope": "accounts"}))
				moved := near + "=" + url.QueryEscape(f[name].(string)) + "&" + f.with(form{name: nil}).encode()
				if name != "scope" { // which may be absent
					tried++
					if a := w.do("POST", "/api/oidc/"+provider+"/tokens", formHeader, moved); a.StatusCode < 400 || a.StatusCode >= 500 || a.JSON["access_token"] != nil {
						t.Errorf("%s moved to %s at %s: %v", name, near, provider, a)
					}
				}
				tried++
				a := w.do("POST", "/api/oidc/"+provider+"/tokens", formHeader, near+"=payments&"+w.asserted(provider, tppA, clientCredentials.with(form{"scope": "accounts"})).encode())
				expect(t, a, 200, "")
				if got := w.introspect(provider, tppA, a.text("access_token")).text("scope"); got != "accounts" {
					t.Errorf("%s beside the true one at %s: scope %q", near, provider, got)
				}
			}
		}
	}
	// The same in JSON.
	for _, near := range []string{"Scope", "SCOPE", "scope[]", "scope ", "scope\x00", "ſcope", "\ufeffscope", "__proto__", "constructor"} {
		tried++
		f := w.asserted("alpha", tppA, clientCredentials.with(form{"scope": "accounts", near: "payments"}))
		a := w.do("POST", "/api/oidc/alpha/tokens", http.Header{"Content-Type": {"application/json"}}, text(t, f))
		expect(t, a, 200, "")
		if got := w.introspect("alpha", tppA, a.text("access_token")).text("scope"); got != "accounts" {
			t.Errorf("%q in JSON: scope %q", near, got)
		}
	}
	tallied(t, tried)
}
