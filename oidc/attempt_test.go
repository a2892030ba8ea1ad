package oidc_test

// What the log and the audit log say of client authentication: OWASP ASVS 5.0
// §16.3.

import (
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"gatehouse"
	"gatehouse/jose"
)

// attempted is what the last request's line in the log says of its caller.
func (w *world) attempted() map[string]string {
	w.t.Helper()
	said := map[string]string{}
	for text := range strings.Lines(w.logged()) {
		var line map[string]any
		must(w.t, json.Unmarshal([]byte(text), &line))
		if line["msg"] != "request" {
			continue
		}
		clear(said)
		for _, name := range []string{"provider_code", "client_id", "resource_server_id", "app_id", "auth_method", "kid", "reason"} {
			if value, ok := line[name].(string); ok {
				said[name] = value
			}
		}
	}
	return said
}

// Each failed authentication says in the log who tried it, how, and why it
// failed; one that names a registered client leaves an event as well. Of what
// was sent neither has more.
//
// Proves: C28
func TestFailedAuthentications(t *testing.T) {
	t.Parallel()
	const (
		byKey    = "private_key_jwt"
		bySecret = "client_secret_basic"
		kid      = tppA + "-key"
	)
	stranger := clientKey(t, tppB, jose.PS256)
	unregistered, err := jose.ParsePrivateKeyPEM(stranger.PEM(), jose.PS256, "a-kid-that-nobody-registered")
	must(t, err)
	pretender, err := jose.ParsePrivateKeyPEM(stranger.PEM(), jose.PS256, kid)
	must(t, err)
	asserted := func(token string) form {
		return clientCredentials.with(form{"client_assertion_type": assertionType, "client_assertion": token})
	}
	type request struct {
		header string
		body   form
	}
	changed := func(changes claims) func(w *world) request {
		return func(w *world) request { return request{"", asserted(w.assertion("alpha", tppA, changes))} }
	}
	signedBy := func(key *jose.PrivateKey, typ string) func(w *world) request {
		return func(w *world) request {
			return request{"", asserted(sign(w.t, key, typ, w.assertionClaims("alpha", tppA)))}
		}
	}
	ofA := func(w *world) request { return request{"", asserted(w.assertion("alpha", tppA, nil))} }
	for name, test := range map[string]struct {
		prepare                     func(w *world) request
		client, method, key, reason string
		event                       string // its kind, unless client.authentication_failed
	}{
		"nothing": {func(w *world) request { return request{"", clientCredentials} }, "", "", "", "no_credentials", ""},
		"secret in the body": {func(w *world) request {
			return request{"", clientCredentials.with(form{"client_id": basic, "client_secret": secret})}
		}, "", "", "", "wrong_method", ""},
		"no JWT":              {func(w *world) request { return request{"", asserted("a.b.c")} }, "", byKey, "", "malformed", ""},
		"no such client":      {changed(claims{"iss": "nobody", "sub": "nobody"}), "", byKey, "", "unknown_client", ""},
		"iss is not sub":      {changed(claims{"iss": tppB}), "", byKey, "", "malformed", ""},
		"for another method":  {changed(claims{"iss": basic, "sub": basic}), basic, byKey, "", "wrong_method", ""},
		"of another kind":     {signedBy(clientKey(t, tppA, jose.PS256), "at+jwt"), "", byKey, "", "wrong_kind", ""},
		"a request object":    {changed(claims{"redirect_uri": callback}), tppA, byKey, kid, "wrong_kind", ""},
		"an unregistered kid": {signedBy(unregistered, ""), tppA, byKey, "", "no_key", ""},
		"another's key":       {signedBy(pretender, ""), tppA, byKey, kid, "bad_signature", ""},
		"another algorithm": {func(w *world) request {
			return request{"", asserted(sign(w.t, clientKey(w.t, tppB, jose.PS256), "", w.assertionClaims("alpha", tppB)))}
		}, tppB, byKey, tppB + "-key", "wrong_alg", ""},
		"no keys": {func(w *world) request {
			w.changeClient(tppA, func(c *gatehouse.Client) { c.JWKS = nil })
			return ofA(w)
		}, tppA, byKey, "", "no_key", ""},
		"for another server": {changed(claims{"aud": "https://other.example"}), tppA, byKey, kid, "wrong_audience", ""},
		"expired":            {changed(claims{"exp": time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC).Unix()}), tppA, byKey, kid, "wrong_time", ""},
		"without jti":        {changed(claims{"jti": nil}), tppA, byKey, kid, "malformed", ""},
		"sent twice": {func(w *world) request {
			again := ofA(w)
			expect(w.t, w.do("POST", "/api/oidc/alpha/tokens", formHeader, again.body.encode()), 200, "")
			return again
		}, tppA, byKey, kid, "replayed", "assertion.replayed"},
		"disabled": {func(w *world) request {
			w.changeClient(tppA, func(c *gatehouse.Client) { c.Status = gatehouse.ClientDisabled })
			return ofA(w)
		}, tppA, byKey, kid, "disabled", ""},
		"elsewhere": {func(w *world) request {
			w.changeClient(tppA, func(c *gatehouse.Client) { c.Providers = []string{"gamma"} })
			return ofA(w)
		}, tppA, byKey, kid, "not_permitted", ""},
		"a wrong secret":       {func(w *world) request { return request{basicHeader(basic, "wr0ng secret"), clientCredentials} }, basic, bySecret, "", "wrong_secret", ""},
		"a secret of nobody's": {func(w *world) request { return request{basicHeader("nobody", secret), clientCredentials} }, "", bySecret, "", "unknown_client", ""},
		"secret, not key":      {func(w *world) request { return request{basicHeader(tppA, secret), clientCredentials} }, tppA, bySecret, "", "wrong_method", ""},
		"no base64":            {func(w *world) request { return request{"Basic ====", clientCredentials} }, "", bySecret, "", "malformed", ""},
		"Bearer":               {func(w *world) request { return request{"Bearer " + gatehouse.NewSecret(), clientCredentials} }, "", bySecret, "", "malformed", ""},
	} {
		t.Run(name, func(t *testing.T) {
			w := sqliteWorld(t)
			send := test.prepare(w)
			w.clock.advance(time.Second) // events are in the order of time
			header, events := formHeader.Clone(), len(w.events())
			if send.header != "" {
				header.Set("Authorization", send.header)
			}
			a := w.do("POST", "/api/oidc/alpha/tokens", header, send.body.encode())
			if a.StatusCode < 400 || a.StatusCode >= 500 {
				t.Fatal(a)
			}
			want := map[string]string{"provider_code": "alpha", "client_id": test.client, "auth_method": test.method, "kid": test.key, "reason": test.reason}
			for name, value := range want {
				if value == "" {
					delete(want, name)
				}
			}
			if diff := cmp.Diff(want, w.attempted()); diff != "" {
				t.Errorf("log (-want +got):\n%s\n%v", diff, a)
			}
			var got []string
			for _, e := range w.events()[events:] {
				got = append(got, strings.Join([]string{string(e.Kind), string(e.Actor), e.Provider, e.ClientID, e.Name, e.Detail}, " "))
			}
			var recorded []string
			switch {
			case test.event != "":
				recorded = []string{test.event + " client alpha " + tppA + " " + byKey + " " + kid + " "}
			case test.client != "":
				recorded = []string{strings.Join([]string{"client.authentication_failed client alpha", test.client, strings.TrimSpace(test.method + " " + test.key), test.reason}, " ")}
			}
			if diff := cmp.Diff(recorded, got); diff != "" {
				t.Errorf("events (-want +got):\n%s", diff)
			}
			kept := w.logged() + strings.Join(w.rows("events"), "\n")
			token, _ := send.body["client_assertion"].(string)
			for _, sent := range []string{token, send.header, secret, "wr0ng", "a-kid-that-nobody", "https://other.example", "nobody"} {
				if len(sent) > 5 && strings.Contains(kept, sent) {
					t.Errorf("%q is kept: %s", sent, kept)
				}
			}
			if i := strings.LastIndexByte(token, '.'); i > 10 && strings.Contains(kept, token[i:]) {
				t.Errorf("the signature is kept: %s", kept)
			}
		})
	}
}

// A good authentication says by which method and key, in the log and in the
// event of what it led to.
//
// Proves: C28
func TestAuthenticationIsLogged(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	guard := w.guard("alpha")
	token := w.tokens("alpha", tppA).text("access_token")
	own := w.ownToken("alpha", tppA)
	byKey := map[string]string{"provider_code": "alpha", "client_id": tppA, "auth_method": "private_key_jwt", "kid": tppA + "-key"}
	basicToken := func() *answer {
		header := formHeader.Clone()
		header.Set("Authorization", basicHeader(basic, secret))
		return w.do("POST", "/api/oidc/gamma/tokens", header, clientCredentials.encode())
	}
	for name, test := range map[string]struct {
		do    func() *answer
		said  map[string]string
		event string // "" for none
	}{
		"token":         {func() *answer { return w.token("alpha", tppA, clientCredentials) }, byKey, "token.issued private_key_jwt tpp-a-key"},
		"by secret":     {basicToken, map[string]string{"provider_code": "gamma", "client_id": basic, "auth_method": "client_secret_basic"}, "token.issued client_secret_basic"},
		"introspection": {func() *answer { return w.introspect("alpha", tppA, token) }, byKey, ""},
		"bank asks": {func() *answer { return w.introspectBy(w.site, "alpha", guard, token) },
			map[string]string{"provider_code": "alpha", "client_id": tppA, "resource_server_id": guard, "auth_method": "client_secret_basic"}, ""},
		"authorization": {func() *answer { return w.get("/oidc/alpha/authorize?" + query(tppA).encode()) }, map[string]string{"provider_code": "alpha", "client_id": tppA}, ""},
		"revocation":    {func() *answer { return w.revoke("alpha", tppA, own) }, byKey, "grant.revoked private_key_jwt tpp-a-key"},
	} {
		w.clock.advance(time.Second) // events are in the order of time
		a := test.do()
		if a.StatusCode >= 400 {
			t.Fatalf("%s: %v", name, a)
		}
		if diff := cmp.Diff(test.said, w.attempted()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
		last := w.events()[len(w.events())-1]
		if test.event != "" && string(last.Kind)+" "+last.Name != test.event {
			t.Errorf("%s: event %+v, want %s", name, last, test.event)
		}
	}
}

// A token that does not manage the client, and a bank's connector with a wrong
// secret, are logged alike.
//
// Proves: C28
func TestFailedManagement(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	r := w.registrant("managed", nil)
	wrong := bearerHeader(r.id + "." + gatehouse.NewSecret())
	app := w.banks["alpha"].appID
	for name, test := range map[string]struct {
		method, path string
		header       http.Header
		status       int
		said         map[string]string
		event        bool
	}{
		"registration":   {"GET", r.path(), wrong, 401, map[string]string{"client_id": r.id, "auth_method": "bearer", "reason": "wrong_token"}, true},
		"certificate":    {"DELETE", "/api/alpha/open-banking/v3.1/tpp/certificates/x", wrong, 401, map[string]string{"provider_code": "alpha", "client_id": r.id, "auth_method": "bearer", "reason": "wrong_token"}, true},
		"nobody's":       {"GET", registerPath + "/nobody", wrong, 401, map[string]string{"auth_method": "bearer", "reason": "unknown_client"}, false},
		"connector":      {"GET", "/api/connectors/ob/v1/authorizations/x", http.Header{"App-Id": {app}, "App-Secret": {"wr0ng"}}, 403, map[string]string{"app_id": app, "auth_method": "app_secret", "reason": "wrong_secret"}, false},
		"no connector":   {"GET", "/api/connectors/ob/v1/authorizations/x", http.Header{"App-Id": {"nobody"}, "App-Secret": {"wr0ng"}}, 403, map[string]string{"auth_method": "app_secret", "reason": "unknown_app"}, false},
		"no secret":      {"GET", "/api/connectors/ob/v1/authorizations/x", http.Header{"App-Id": {app}}, 403, map[string]string{"reason": "no_credentials"}, false},
		"two secrets":    {"GET", "/api/connectors/ob/v1/authorizations/x", http.Header{"App-Id": {app}, "App-Secret": {w.banks["alpha"].appSecret, "wr0ng"}}, 403, map[string]string{"reason": "no_credentials"}, false},
		"two connectors": {"GET", "/api/connectors/ob/v1/authorizations/x", http.Header{"App-Id": {app, app}, "App-Secret": {w.banks["alpha"].appSecret}}, 403, map[string]string{"reason": "no_credentials"}, false},
	} {
		events := len(w.events())
		w.clock.advance(time.Second)
		if a := w.do(test.method, test.path, test.header, ""); a.StatusCode != test.status {
			t.Errorf("%s: %v", name, a)
		}
		if diff := cmp.Diff(test.said, w.attempted()); diff != "" {
			t.Errorf("%s: log (-want +got):\n%s", name, diff)
		}
		var got []string
		for _, e := range w.events()[events:] {
			got = append(got, strings.Join([]string{string(e.Kind), string(e.Actor), e.ClientID, e.Name, e.Detail}, " "))
		}
		var want []string
		if test.event {
			want = []string{"client.authentication_failed client " + r.id + " bearer wrong_token"}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: events (-want +got):\n%s", name, diff)
		}
		if kept := w.logged() + strings.Join(w.rows("events"), "\n"); strings.Contains(kept, "wr0ng") || strings.Contains(kept, "nobody") {
			t.Errorf("%s: what was sent is kept: %s", name, kept)
		}
	}
	tallied(t, 8)
}

// Anybody can fail to be a client. The log has each time; of the events there
// are twenty, then one a minute, for each client and reason: what anybody can
// cause hides no replay.
//
// Proves: C28
func TestEventsOfFailuresAreBounded(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	count := func(client string) (failed, again int) {
		for _, e := range w.events() {
			switch {
			case e.ClientID != client:
			case e.Kind == gatehouse.EventAuthenticationFailed:
				failed++
			case e.Kind == gatehouse.EventAssertionReplayed:
				again++
			}
		}
		return failed, again
	}
	fail := func(client string) {
		t.Helper()
		f := w.asserted("alpha", client, clientCredentials)
		pretender, err := jose.ParsePrivateKeyPEM(clientKey(t, ccOnly, jose.PS256).PEM(), jose.RS256, client+"-key")
		must(t, err)
		f["client_assertion"] = sign(t, pretender, "", w.assertionClaims("alpha", client))
		if a := w.do("POST", "/api/oidc/alpha/tokens", formHeader, f.encode()); a.StatusCode != 400 {
			t.Fatal(a)
		}
	}
	const tries = 50
	for range tries {
		fail(tppA)
	}
	if failed, _ := count(tppA); failed != 20 {
		t.Errorf("%d events, want 20", failed)
	}
	if n := strings.Count(w.logged(), `"reason":"bad_signature"`); n != tries {
		t.Errorf("%d lines, want %d", n, tries)
	}
	fail(tppB)
	if failed, _ := count(tppB); failed != 1 {
		t.Errorf("%d events of another client", failed)
	}
	spent := w.asserted("alpha", tppA, clientCredentials).encode()
	expect(t, w.do("POST", "/api/oidc/alpha/tokens", formHeader, spent), 200, "")
	replay := func() { expect(t, w.do("POST", "/api/oidc/alpha/tokens", formHeader, spent), 400, "invalid_client") }
	replay()
	if _, again := count(tppA); again != 1 {
		t.Errorf("%d events of a replay", again)
	}
	w.clock.advance(time.Minute)
	replay()
	replay()
	fail(tppA)
	if failed, again := count(tppA); failed != 21 || again != 3 {
		t.Errorf("%d and %d events a minute later, want 21 and 3", failed, again)
	}
	kinds := []gatehouse.EventKind{gatehouse.EventAuthenticationFailed, gatehouse.EventAssertionReplayed}
	if !slices.Contains(gatehouse.EventKinds(), kinds[0]) {
		t.Error("the kind is not listed")
	}
	t.Attr("bad_inputs", strconv.Itoa(tries+5))
}
