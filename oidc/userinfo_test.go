package oidc_test

// UserInfo: OpenID Connect Core §5.3, RFC 6750.

import (
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"gatehouse"
)

// UserInfo says of the PSU what the ID Token says, whichever way the token
// comes.
func TestUserinfo(t *testing.T) {
	t.Parallel()
	forEachWorld(t, func(t *testing.T, w *world) {
		for _, provider := range everyProvider {
			intent := w.consent(provider, tppA, "consent-1")
			tokens := w.decided(provider, tppA, intent, approval)
			id, token := payload(t, tokens.text("id_token")), tokens.text("access_token")
			want := map[string]any{"sub": id["sub"], "auth_time": id["auth_time"], "acr": id["acr"], "openbanking_intent_id": "consent-1"}
			path := "/api/oidc/" + provider + "/userinfo"
			asForm := bearerHeader(token)
			asForm.Set("Content-Type", "application/x-www-form-urlencoded")
			asJSON := bearerHeader(token)
			asJSON.Set("Content-Type", "application/json")
			for name, a := range map[string]*answer{
				"GET":                    w.do("GET", path, bearerHeader(token), ""),
				"POST":                   w.do("POST", path, bearerHeader(token), ""),
				"POST of a form":         w.do("POST", path, formHeader, form{"access_token": token}.encode()),
				"POST of an empty form":  w.do("POST", path, asForm, ""),
				"POST with a parameter":  w.do("POST", path, asForm, "schema=openid"),
				"POST of something":      w.do("POST", path, asJSON, "{"),
				"GET with a parameter":   w.do("GET", path+"?schema=openid", bearerHeader(token), ""),
				"the scheme in any case": w.do("GET", path, http.Header{"Authorization": {"bEARER " + token}}, ""),
			} {
				if diff := cmp.Diff(want, a.JSON); a.StatusCode != 200 || diff != "" {
					t.Errorf("%s at %s: %v: %s", name, provider, a, diff)
				}
				if a.Header.Get("Content-Type") != "application/json" || a.Header.Get("Cache-Control") != "no-store" || a.Header.Get("Access-Control-Allow-Origin") != "" {
					t.Errorf("%s at %s: %v", name, provider, a.Header)
				}
			}
			plain := w.userinfo(w.site, provider, w.tokens(provider, tppA).text("access_token"))
			delete(want, "openbanking_intent_id")
			if diff := cmp.Diff(want, plain.JSON); diff != "" {
				t.Errorf("without a consent, at %s: %s", provider, diff)
			}
		}
	})
}

// Each row is a good request with one thing changed; the challenge is that of
// RFC 6750 §3.
func TestUserinfoRefusals(t *testing.T) {
	t.Parallel()
	forEachWorld(t, func(t *testing.T, w *world) {
		token := w.tokens("alpha", tppA).text("access_token")
		const path = "/api/oidc/alpha/userinfo"
		asForm := bearerHeader(token)
		asForm.Set("Content-Type", "application/x-www-form-urlencoded")
		basicForm := formHeader.Clone()
		basicForm.Set("Authorization", basicHeader(basic, secret))
		own := w.token("alpha", tppA, form{"grant_type": "client_credentials", "scope": "openid accounts"}).text("access_token")
		noOpenID := w.decided("alpha", tppA, form{"scope": "accounts"}, approval).text("access_token")
		body := form{"access_token": token}.encode()
		for name, row := range map[string]struct {
			a         *answer
			status    int
			code      string
			challenge string // its error and scope; "-" for no header
		}{
			"nothing":                   {w.do("GET", path, nil, ""), 401, "invalid_token", ""},
			"an empty header":           {w.do("GET", path, http.Header{"Authorization": {""}}, ""), 401, "invalid_token", ""},
			"another scheme":            {w.do("GET", path, http.Header{"Authorization": {basicHeader(basic, secret)}}, ""), 401, "invalid_token", ""},
			"an empty form":             {w.do("POST", path, formHeader, ""), 401, "invalid_token", ""},
			"an empty token":            {w.do("POST", path, formHeader, "access_token="), 401, "invalid_token", ""},
			"in a body that is no form": {w.do("POST", path, http.Header{"Content-Type": {"text/plain"}}, body), 401, "invalid_token", ""},
			"in the body of a GET":      {w.do("GET", path, formHeader, body), 401, "invalid_token", ""},
			"no token after the scheme": {w.do("GET", path, http.Header{"Authorization": {"Bearer "}}, ""), 401, "invalid_token", `error="invalid_token"`},
			"twice":                     {w.do("GET", path, http.Header{"Authorization": {"Bearer " + token, "Bearer " + token}}, ""), 401, "invalid_token", `error="invalid_token"`},
			"wrong":                     {w.userinfo(w.site, "alpha", unknown(token)), 401, "invalid_token", `error="invalid_token"`},
			"wrong, in a form":          {w.do("POST", path, formHeader, form{"access_token": unknown(token)}.encode()), 401, "invalid_token", `error="invalid_token"`},
			"of another provider":       {w.userinfo(w.site, "gamma", token), 401, "invalid_token", `error="invalid_token"`},
			"header and form":           {w.do("POST", path, asForm, body), 400, "invalid_request", `error="invalid_request"`},
			"another header and form":   {w.do("POST", path, basicForm, body), 400, "invalid_request", `error="invalid_request"`},
			"twice in a form":           {w.do("POST", path, formHeader, body+"&"+body), 400, "invalid_request", "-"},
			"in the query":              {w.do("GET", path+"?"+body, nil, ""), 400, "invalid_request", "-"},
			"in header and query":       {w.do("GET", path+"?"+body, bearerHeader(token), ""), 400, "invalid_request", "-"},
			"in form and query":         {w.do("POST", path+"?"+body, formHeader, body), 400, "invalid_request", "-"},
			"in the query, malformed":   {w.do("GET", path+"?"+body+"%zz", bearerHeader(token), ""), 400, "invalid_request", "-"},
			"a malformed query":         {w.do("GET", path+"?a=%", bearerHeader(token), ""), 400, "invalid_request", "-"},
			"without openid":            {w.userinfo(w.site, "alpha", noOpenID), 403, "insufficient_scope", `error="insufficient_scope" scope="openid"`},
			"a client's own":            {w.userinfo(w.site, "alpha", own), 403, "insufficient_scope", `error="insufficient_scope" scope="openid"`},
			"unknown provider":          {w.userinfo(w.site, "nobody", token), 404, "invalid_request", "-"},
			"disabled provider":         {w.userinfo(w.site, "closed", token), 403, "access_denied", "-"},
		} {
			if row.a.StatusCode != row.status || row.a.text("error") != row.code || row.a.JSON["sub"] != nil || strings.Contains(row.a.Body, token) {
				t.Errorf("%s: %v, want %d %s", name, row.a, row.status, row.code)
			}
			if got := challengeOf(row.a); got != row.challenge {
				t.Errorf("%s: WWW-Authenticate %q, want %q", name, row.a.Header.Get("WWW-Authenticate"), row.challenge)
			}
		}
		for _, method := range []string{"HEAD", "PUT", "DELETE", "OPTIONS", "PATCH"} {
			if a := w.do(method, path, bearerHeader(token), ""); a.StatusCode != 405 || a.Header.Get("Allow") != "GET, POST" {
				t.Errorf("%s: %v", method, a)
			}
		}
		if strings.Contains(w.logged(), token) {
			t.Error("the log has the token")
		}
		expect(t, w.userinfo(w.site, "alpha", token), 200, "")
	})
}

// challengeOf returns the error and the scope of a Bearer challenge: "" when it
// has neither, "-" when there is none.
func challengeOf(a *answer) string {
	text := a.Header.Get("WWW-Authenticate")
	if text == "" {
		return "-"
	}
	rest, ok := strings.CutPrefix(text, `Bearer realm="gatehouse"`)
	if !ok {
		return text
	}
	var told []string
	for parameter := range strings.SplitSeq(rest, ", ") {
		if strings.HasPrefix(parameter, "error=") || strings.HasPrefix(parameter, "scope=") {
			told = append(told, parameter)
		}
	}
	return strings.Join(told, " ")
}

// What the challenge says fits into a header and into its quotes (RFC 6750 §3).
func TestChallengesAreWellFormed(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	guard := w.guard("alpha")
	token := w.tokens("alpha", tppA).text("access_token")
	for _, a := range []*answer{
		w.userinfo(w.site, "alpha", "x"), w.userinfo(w.site, "alpha", w.token("alpha", tppA, clientCredentials).text("access_token")),
		w.check(w.site, "alpha", guard, "x", ""), w.check(w.site, "alpha", guard, token, "?scope=payments+openid"), w.check(w.site, "alpha", guard, token, "?permission=ReadPAN"),
		w.do("GET", registerPath+"/"+tppA, bearerHeader("x"), ""),
	} {
		text, ok := strings.CutPrefix(a.Header.Get("WWW-Authenticate"), "Bearer ")
		if !ok {
			t.Errorf("%v: %v", a, a.Header)
		}
		for parameter := range strings.SplitSeq(text, `", `) {
			name, value, found := strings.Cut(strings.TrimSuffix(parameter, `"`), `="`)
			if !found || strings.Trim(name, "abcdefghijklmnopqrstuvwxyz_") != "" || value == "" || strings.ContainsAny(value, `"\`) || strings.ContainsFunc(value, func(r rune) bool { return r < ' ' || r > '~' }) {
				t.Errorf("%q has %q", text, parameter)
			}
		}
		if !strings.Contains(text, `error="`+a.text("error")+`", error_description="`+a.text("error_description")+`"`) {
			t.Errorf("%q is not what the body says: %v", text, a)
		}
	}
	if got := gatehouse.InsufficientScope.Code(); got != "insufficient_scope" {
		t.Errorf("insufficient_scope is called %s", got)
	}
}
