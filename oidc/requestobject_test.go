package oidc_test

import (
	"crypto/sha256"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	gojose "github.com/go-jose/go-jose/v4"
	"github.com/google/go-cmp/cmp"

	"gatehouse"
	"gatehouse/jose"
)

// requestClaims are those of a good request object, with the parameters of
// query.
func (w *world) requestClaims(provider, client string) claims {
	now := w.clock.Now().Unix()
	c := claims{"iss": client, "aud": issuer(provider), "iat": now, "nbf": now, "exp": now + 300, "jti": gatehouse.NewSecret()}
	maps.Copy(c, claims(query(client)))
	return c
}

// requestObject signs a good request object with changed claims.
func (w *world) requestObject(provider, client string, changes claims) string {
	w.t.Helper()
	alg := jose.PS256
	if client == tppB {
		alg = jose.RS256
	}
	object, err := clientKey(w.t, client, alg).Sign("oauth-authz-req+jwt", w.requestClaims(provider, client).with(changes))
	must(w.t, err)
	return object
}

// An outcome is what became of an authorization request at a door.
type outcome struct {
	door     string
	answer   *answer
	location *url.URL
	sent     form
}

func (w *world) ask(door string, q form) *outcome {
	w.t.Helper()
	a, location := w.asked(door, q)
	return &outcome{door, a, location, q}
}

func (o *outcome) String() string { return o.answer.String() + " Location: " + o.location.String() }

// begun returns the id of the authorization that was begun, "" when none was.
func (o *outcome) begun() string {
	data, _ := o.answer.JSON["data"].(map[string]any)
	id, _ := data["authorization_id"].(string)
	if o.location.Host == "bank.example" {
		id = o.location.Query().Get("authorization_id")
	}
	return id
}

// told returns the error that the TPP is told, "" when the request was not
// refused so.
func (o *outcome) told() string {
	told := o.location.Query()
	if o.begun() != "" || len(o.answer.Cookies()) > 0 || !strings.HasPrefix(o.location.String(), callback+"?") ||
		told.Has("code") || told.Get("iss") != issuer(doors[o.door]) {
		return ""
	}
	return told.Get("error")
}

// tells reports whether the request was refused and the TPP is told why, with
// the state of the query.
func (o *outcome) tells(code string) bool {
	state, _ := o.sent["state"].(string)
	return o.told() == code && o.location.Query().Get("state") == state
}

// hidden reports whether the request was refused and the TPP is told nothing.
func (o *outcome) hidden() bool {
	page := strings.HasPrefix(o.answer.Header.Get("Content-Type"), "text/html")
	return o.answer.StatusCode == 400 && o.begun() == "" && len(o.answer.Cookies()) == 0 &&
		o.answer.Header.Get("Location") == "" && o.location.String() == "" && page == (o.door != "bank")
}

// counted returns the parameters of the authorization that was begun.
func (w *world) counted(o *outcome) gatehouse.AuthorizationRequest {
	w.t.Helper()
	if o.begun() == "" {
		w.t.Fatalf("nothing was begun at %s: %v", o.door, o)
	}
	a, err := w.store.Authorization(w.t.Context(), doors[o.door], o.begun())
	must(w.t, err)
	return a.Request
}

// Proves: R3
func TestOnlyTheObjectCounts(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	for door, provider := range doors {
		want := w.counted(w.ask(door, query(tppA)))
		object := w.requestObject(provider, tppA, nil)
		alone := form{"client_id": tppA, "request": object}
		for name, outside := range map[string]form{
			"nothing else":            {},
			"the same":                query(tppA),
			"another redirect_uri":    {"redirect_uri": "https://tpp.example/cb?a=1"},
			"an evil redirect_uri":    {"redirect_uri": "https://evil.example/cb"},
			"another scope":           {"scope": "openid payments"},
			"an unknown scope":        {"scope": "everything"},
			"another state":           {"state": "other"},
			"another nonce":           {"nonce": "other"},
			"a nonce too long":        {"nonce": strings.Repeat("n", 513)},
			"another challenge":       {"code_challenge": challenge("other"), "code_challenge_method": "S256"},
			"PKCE plain":              {"code_challenge": "x", "code_challenge_method": "plain"},
			"prompt none":             {"prompt": "none"},
			"a bad max_age":           {"max_age": "x"},
			"a max_age":               {"max_age": "1"},
			"another response_mode":   {"response_mode": "serializationpost"},
			"an intent":               {"claims": `{"id_token":{"openbanking_intent_id":{"value":"consent-6"}}}`},
			"acr_values":              {"acr_values": "urn:openbanking:psd2:ca"},
			"what nobody knows":       {"iss": "evil", "aud": "evil", "exp": "1", "sub": "evil"},
			"the right response_type": {"response_type": "code"},
			"an empty request_uri":    {"request_uri": ""},
		} {
			if diff := cmp.Diff(want, w.counted(w.ask(door, outside.with(alone)))); diff != "" {
				t.Errorf("%s at %s: %s", name, door, diff)
			}
		}
		// What is missing inside is missing, whatever is outside.
		for _, missing := range []form{
			{"scope": nil}, {"state": nil}, {"nonce": nil}, {"code_challenge": nil, "code_challenge_method": nil},
		} {
			without := w.requestObject(provider, tppA, claims(missing))
			want := w.counted(w.ask(door, query(tppA).with(missing)))
			got := w.counted(w.ask(door, query(tppA).with(form{"request": without})))
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("without %v at %s: %s", missing, door, diff)
			}
		}
		without := w.requestObject(provider, tppA, claims{"redirect_uri": nil})
		if o := w.ask(door, query(tppA).with(form{"request": without})); !o.hidden() {
			t.Errorf("redirect_uri outside alone at %s: %v", door, o)
		}
		// Faults inside are told to the redirect_uri, with the state, inside.
		broken := query(tppA).with(form{"request": w.requestObject(provider, tppA, claims{"scope": "everything", "state": "inside"}), "state": "outside",
			"redirect_uri": "https://tpp.example/cb?a=1"})
		if o := w.ask(door, broken); !strings.HasPrefix(o.location.String(), callback+"?error=invalid_scope&") || o.location.Query().Get("state") != "inside" {
			t.Errorf("a fault inside at %s: %v", door, o)
		}
	}
}

// Proves: R3, R6
func TestWhatStandsOutsideTheObject(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	for door, provider := range doors {
		good := query(tppA).with(form{"request": w.requestObject(provider, tppA, nil)})
		if o := w.ask(door, good); o.begun() == "" {
			t.Fatalf("%s: %v", door, o)
		}
		for name, change := range map[string]form{
			"client_id missing": {"client_id": nil},
			"client_id empty":   {"client_id": ""},
			"client_id unknown": {"client_id": "nobody"},
			"client_id twice":   {"client_id": []string{tppA, tppA}},
			"request twice":     {"request": []string{good["request"].(string), good["request"].(string)}},
		} {
			if o := w.ask(door, good.with(change)); !o.hidden() {
				t.Errorf("%s at %s: %v", name, door, o)
			}
		}
		for name, row := range map[string]struct {
			change form
			code   string
		}{
			"client_id of another":       {form{"client_id": tppB}, "invalid_request_object"},
			"client_id without a key":    {form{"client_id": basic}, "invalid_request_object"},
			"response_type differs":      {form{"response_type": "token"}, "invalid_request_object"},
			"request_uri beside request": {form{"request_uri": "https://tpp.example/request"}, "invalid_request"}, // RFC 9101 §5
			"request_uri of PAR":         {form{"request_uri": "urn:ietf:params:oauth:request_uri:x"}, "invalid_request"},
			"response_type not inside":   {form{"request": w.requestObject(provider, tppA, claims{"response_type": nil})}, "invalid_request_object"},
			"another client inside":      {form{"request": w.requestObject(provider, tppB, nil)}, "invalid_request_object"},
			"request inside":             {form{"request": w.requestObject(provider, tppA, claims{"request": good["request"]})}, "invalid_request_object"},
			"request_uri inside":         {form{"request": w.requestObject(provider, tppA, claims{"request_uri": "https://tpp.example/request"})}, "invalid_request_object"},
			"a parameter that is a list": {form{"request": w.requestObject(provider, tppA, claims{"scope": []string{"openid"}})}, "invalid_request_object"},
			"typ of an ID Token":         {form{"request": w.typed("id_token+jwt", w.requestClaims(provider, tppA))}, "invalid_request_object"},
		} {
			if o := w.ask(door, good.with(row.change)); !o.tells(row.code) {
				t.Errorf("%s at %s: %v, want %s", name, door, o, row.code)
			}
		}
	}
}

// typed signs claims for tppA under any typ.
func (w *world) typed(typ string, c claims) string {
	w.t.Helper()
	token, err := clientKey(w.t, tppA, jose.PS256).Sign(typ, c)
	must(w.t, err)
	return token
}

// Both doors do what the PSU allowed to the object, to the end.
//
// Proves: R3
func TestCodeFlowWithARequestObject(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	for _, provider := range everyProvider {
		w.consent(provider, tppA, "consent-7")
		object := w.requestObject(provider, tppA, claims{
			"scope": "openid accounts", "nonce": "inside", "max_age": 3600,
			"claims": claims{"id_token": claims{"openbanking_intent_id": claims{"value": "consent-7", "essential": true}}},
		})
		code := w.code(provider, tppA, form{"request": object, "scope": "openid payments", "nonce": "outside"})
		a := w.token(provider, tppA, exchange(code))
		expect(t, a, 200, "")
		if a.text("scope") != "openid accounts" {
			t.Errorf("%s: scope %q", provider, a.text("scope"))
		}
		alg := map[string]string{"alpha": jose.PS256, "beta": jose.PS256, "gamma": jose.RS256}[provider]
		id := idToken(t, provider, alg, a.text("id_token"))
		for claim, want := range map[string]string{"nonce": "inside", "openbanking_intent_id": "consent-7"} {
			if got, err := id.String(claim); got != want {
				t.Errorf("%s: %s is %q, %v", provider, claim, got, err)
			}
		}
	}
}

// Proves: R4
func TestSignedRequestsRequired(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	const strict = "strict"
	w.addClient(gatehouse.Client{ID: strict, JWKS: clientJWKS(t, strict), RequireSignedRequestObject: true})
	required := func(client string) {
		t.Helper()
		for door, provider := range doors {
			plain := query(client)
			unsigned := compact(t, claims{"alg": "none"}, w.requestClaims(provider, client), func([]byte) []byte { return nil })
			for name, row := range map[string]struct {
				q    form
				code string
			}{
				"plain":              {plain, "invalid_request"},
				"an empty request":   {plain.with(form{"request": ""}), "invalid_request"},
				"alg none":           {plain.with(form{"request": unsigned}), "invalid_request_object"},
				"alg none, two dots": {plain.with(form{"request": strings.TrimSuffix(unsigned, ".")}), "invalid_request_object"},
			} {
				if o := w.ask(door, row.q); !o.tells(row.code) {
					t.Errorf("%s of %s at %s: %v, want %s", name, client, door, o, row.code)
				}
			}
			if o := w.ask(door, plain.with(form{"request": w.requestObject(provider, client, nil)})); o.begun() == "" {
				t.Errorf("signed request of %s at %s: %v", client, door, o)
			}
		}
	}
	required(strict)
	for door, provider := range doors {
		if o := w.ask(door, query(tppA)); o.begun() == "" {
			t.Fatalf("plain query without the rule at %s: %v", door, o)
		}
		w.changeProvider(provider, func(p *gatehouse.Provider) { p.Rules.RequireSignedRequest = true })
	}
	required(tppA)
}

// Proves: C21
func TestRequestObjectAlgorithm(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	for _, row := range []struct {
		client, alg     string
		taken, strictly bool // with require_ps256
	}{{tppA, jose.PS256, true, true}, {tppA, jose.RS256, true, false}, {tppB, jose.RS256, true, false}, {tppB, jose.PS256, false, false}} {
		for door, provider := range doors {
			for strict, want := range map[bool]bool{false: row.taken, true: row.strictly} {
				w.changeProvider(provider, func(p *gatehouse.Provider) { p.Rules.RequirePS256 = strict })
				object, err := clientKey(t, row.client, row.alg).Sign("", w.requestClaims(provider, row.client))
				must(t, err)
				o := w.ask(door, query(row.client).with(form{"request": object}))
				if taken := o.begun() != ""; taken != want || !taken && !o.tells("invalid_request_object") {
					t.Errorf("%s with %s at %s, require_ps256 %t: %v", row.client, row.alg, door, strict, o)
				}
			}
		}
	}
}

// Seconds are those of the clock, cut to the whole: a fraction of the present
// second has passed.
//
// Proves: R5
func TestRequestObjectTimes(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	now := w.clock.Now().Unix()
	for name, row := range map[string]struct {
		change claims
		taken  bool
	}{
		"unchanged":            {nil, true},
		"exp missing":          {claims{"exp": nil}, false},
		"nbf missing":          {claims{"nbf": nil}, false},
		"both missing":         {claims{"exp": nil, "nbf": nil}, false},
		"iat missing":          {claims{"iat": nil}, true},
		"exp in a second":      {claims{"exp": now + 1}, true},
		"exp now":              {claims{"exp": now, "nbf": now - 60}, false},
		"60 min after nbf":     {claims{"exp": now + 3600}, true},
		"60 min 1 s after nbf": {claims{"exp": now + 3601}, false},
		"nbf 59:59 ago":        {claims{"nbf": now - 3599, "exp": now + 1}, true},
		"nbf 59:59, exp later": {claims{"nbf": now - 3599, "exp": now + 2}, false},
		"nbf 60:01 ago":        {claims{"nbf": now - 3601}, false},
		"nbf in 8 s":           {claims{"nbf": now + 8}, true},
		"nbf in 10 s":          {claims{"nbf": now + 10}, true},
		"nbf in 11 s":          {claims{"nbf": now + 11}, false},
		"nbf in 61 s":          {claims{"nbf": now + 61}, false},
		"exp at nbf":           {claims{"nbf": now + 8, "exp": now + 8}, false},
		"exp before nbf":       {claims{"nbf": now + 8, "exp": now + 4}, false},
		"iat in 8 s":           {claims{"iat": now + 8}, true},
		"iat in 61 s":          {claims{"iat": now + 61}, false},
		"iat 60:01 ago":        {claims{"iat": now - 3601}, false},
	} {
		for door, provider := range doors {
			o := w.ask(door, query(tppA).with(form{"request": w.requestObject(provider, tppA, row.change)}))
			if taken := o.begun() != ""; taken != row.taken || !taken && !o.tells("invalid_request_object") {
				t.Errorf("%s at %s: %v", name, door, o)
			}
		}
	}
}

// One object is refused, taken and refused as time goes by.
//
// Proves: R5
func TestRequestObjectAges(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	now := w.clock.Now().Unix()
	objects := map[string]form{}
	for door, provider := range doors {
		objects[door] = query(tppA).with(form{"request": w.requestObject(provider, tppA, claims{"iat": nil, "nbf": now + 61, "exp": now + 61 + 3600})})
	}
	for _, row := range []struct {
		after time.Duration // from the start
		taken bool
	}{{0, false}, {50 * time.Second, false}, {51 * time.Second, true}, {61 * time.Second, true},
		{3660 * time.Second, true}, {3661 * time.Second, false}, {24 * time.Hour, false}} {
		w.clock.advance(row.after - time.Duration(w.clock.Now().Unix()-now)*time.Second)
		for door, q := range objects {
			o := w.ask(door, q)
			if taken := o.begun() != ""; taken != row.taken || !taken && !o.tells("invalid_request_object") {
				t.Errorf("after %v at %s: %v", row.after, door, o)
			}
		}
	}
}

// legacyObjects are the claims that two kinds of TPP software are known to
// send: one no times at all, the other the token endpoint as aud, no nbf and no
// state.
func (w *world) legacyObjects(provider string) map[string]claims {
	now := w.clock.Now().Unix()
	intent := claims{"value": "consent-8", "essential": true}
	return map[string]claims{
		"without times": {
			"iss": tppA, "client_id": tppA, "aud": issuer(provider), "response_type": "code", "redirect_uri": callback,
			"scope": "openid accounts", "state": "legacy", "nonce": "legacy", "max_age": 3600,
			"claims": claims{"id_token": claims{
				"openbanking_intent_id": intent,
				"acr":                   claims{"essential": true, "values": []string{"urn:openbanking:psd2:sca", "urn:openbanking:psd2:ca"}},
			}},
		},
		"for the token endpoint": {
			"iss": tppA, "sub": tppA, "client_id": tppA, "aud": baseURL + "/api/oidc/" + provider + "/tokens", "jti": gatehouse.NewSecret(),
			"redirect_uri": callback, "scope": "openid accounts payments", "response_type": "code",
			"claims": claims{"id_token": claims{"openbanking_intent_id": claims{"value": "consent-8"}}},
			"iat":    now - 1, "exp": now + 59,
		},
	}
}

// A provider may go on taking what TPP software of the first generation sends,
// and nothing beside it.
func TestLegacyRequestObjects(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	ask := func(door string, object claims) *outcome {
		outside := form{"client_id": tppA, "redirect_uri": callback, "scope": object["scope"], "response_type": "code"}
		if object["state"] != nil {
			outside = outside.with(form{"state": object["state"], "nonce": object["nonce"]})
		}
		signed, err := clientKey(t, tppA, jose.RS256).Sign("", object)
		must(t, err)
		return w.ask(door, outside.with(form{"request": signed}))
	}
	for door, provider := range doors {
		for name, object := range w.legacyObjects(provider) {
			if o := ask(door, object); !o.tells("invalid_request_object") {
				t.Errorf("%s at %s without the rule: %v", name, door, o)
			}
		}
		w.changeProvider(provider, func(p *gatehouse.Provider) { p.Rules.LegacyRequestObjects = true })
		w.consent(provider, tppA, "consent-8")
		for name, object := range w.legacyObjects(provider) {
			got := w.counted(ask(door, object))
			if got.IntentID != "consent-8" || got.Scope.String() != "openid accounts" || got.RedirectURI != callback {
				t.Errorf("%s at %s: %+v", name, door, got)
			}
			now := w.clock.Now().Unix()
			for fault, change := range map[string]claims{
				"client_id missing":         {"client_id": nil},
				"client_id of another":      {"client_id": tppB},
				"iss missing":               {"iss": nil},
				"iss of another":            {"iss": tppB},
				"aud missing":               {"aud": nil},
				"aud of another provider":   {"aud": issuer("closed")},
				"token endpoint of another": {"aud": baseURL + "/api/oidc/closed/tokens"},
				"shared token endpoint":     {"aud": baseURL + "/api/oidc/tokens"},
				"exp past":                  {"exp": now - 1},
				"exp in more than an hour":  {"exp": now + 3602},
				"exp as text":               {"exp": "1"},
				"iat in 61 s":               {"iat": now + 61},
				"iat an hour ago":           {"iat": now - 3601},
				"nbf in 61 s":               {"nbf": now + 61},
				"nbf an hour ago":           {"nbf": now - 3601},
			} {
				if o := ask(door, object.with(change)); !o.tells("invalid_request_object") {
					t.Errorf("%s, %s at %s: %v", name, fault, door, o)
				}
			}
		}
		if o := w.ask(door, query(tppA).with(form{"request": w.requestObject(provider, tppA, nil)})); o.begun() == "" {
			t.Errorf("today's object at %s with the rule: %v", door, o)
		}
	}
}

// What a client signs for one purpose is good for no other.
//
// Proves: C27
func TestTokensOfAnotherKind(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	written := w.written()
	refusedAsAssertion := func(provider string, status int, name, token string) {
		t.Helper()
		f := clientCredentials.with(form{"client_assertion_type": assertionType, "client_assertion": token})
		a := w.do("POST", "/api/oidc/"+provider+"/tokens", formHeader, f.encode())
		if a.StatusCode != status || a.text("error") != "invalid_client" || written() {
			t.Errorf("%s as client_assertion at %s: %v", name, provider, a)
		}
	}
	for _, legacy := range []bool{false, true} {
		for door, provider := range doors {
			w.changeProvider(provider, func(p *gatehouse.Provider) { p.Rules.LegacyRequestObjects = legacy })
			written() // that it was changed
			status := statuses(400, 401)[provider]
			object := w.requestClaims(provider, tppA)
			refusedAsAssertion(provider, status, "a request object", w.typed("oauth-authz-req+jwt", object))
			refusedAsAssertion(provider, status, "a request object of typ JWT", w.typed("JWT", object))
			for _, name := range []string{"response_type", "redirect_uri"} { // either gives it away
				alike := object.with(claims{"sub": tppA, "response_type": nil, "redirect_uri": nil}).with(claims{name: object[name]})
				refusedAsAssertion(provider, status, "a request object with sub and "+name, w.typed("JWT", alike))
			}
			for name, object := range w.legacyObjects(provider) {
				refusedAsAssertion(provider, status, name, w.typed("JWT", object))
			}
			for _, typ := range []string{"oauth-authz-req+jwt", "at+jwt", "application/logout+jwt"} {
				refusedAsAssertion(provider, status, "typ "+typ, w.typed(typ, w.assertionClaims(provider, tppA)))
			}

			assertion := w.assertionClaims(provider, tppA)
			expect(t, w.tokenWith(provider, assertion, nil), 200, "") // a good one
			written()
			for name, token := range map[string]string{
				"an assertion":                        w.typed("JWT", assertion),
				"an assertion with typ":               w.typed("client-authentication+jwt", assertion),
				"an assertion with client_id":         w.typed("JWT", assertion.with(claims{"client_id": tppA, "nbf": assertion["iat"]})),
				"what says that it is one":            w.typed("client-authentication+jwt", object),
				"what says that it is a token":        w.typed("at+jwt", object),
				"what says that it is a logout token": w.typed("logout+jwt", object),
			} {
				o := w.ask(door, query(tppA).with(form{"request": token}))
				if !o.tells("invalid_request_object") && !o.hidden() || written() {
					t.Errorf("%s as request object at %s: %v", name, door, o)
				}
			}
		}
	}
}

// A request_uri is never followed, whatever it is and whoever could be reached
// by it: none can be registered, and none is made here (CVE-2020-10770,
// CVE-2021-22696, CVE-2026-4366).
//
// Proves: R6
func TestRequestURIIsNotFetched(t *testing.T) {
	w := sqliteWorld(t)
	store := w.keystore() // the one host that the server may reach
	store.answer("/object", sending(w.requestObject("alpha", tppA, nil)))
	var reached atomic.Int64
	trap := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached.Add(1) }))
	trap.Config.ConnState = func(net.Conn, http.ConnState) { reached.Add(1) }
	t.Cleanup(trap.Close)
	object := w.requestObject("alpha", tppA, nil)
	sum := sha256.Sum256([]byte(object))
	host := strings.TrimPrefix(trap.URL, "http://")
	written, tried := w.written(), 0
	for _, uri := range []string{
		trap.URL, trap.URL + "/object", "https://" + host + "/object", "HTTP://" + host, "//" + host, "\\\\" + host, "http:" + host, "http:\\\\" + host, "http://tpp.example@" + host, "http://" + host + "#" + b64(sum[:]),
		"http://[::ffff:127.0.0.1]:" + strings.Split(host, ":")[1], "http://2130706433:" + strings.Split(host, ":")[1], "http://localhost:" + strings.Split(host, ":")[1], "gopher://" + host + "/_", "ftp://" + host + "/object",
		"dict://" + host, "jar:" + trap.URL + "!/", "file:///etc/passwd", "data:application/jwt," + object, "javascript:alert(1)", "http://169.254.169.254/latest/meta-data/", "http://metadata.google.internal/",
		store.url("/object"), store.url("/object") + "#" + b64(sum[:]), store.url("/elsewhere"), callback, callback + "#" + b64(sum[:]), "https://tpp.example/request.jwt",
		"urn:ietf:params:oauth:request_uri:x", "urn:ietf:params:oauth:request_uri:" + gatehouse.NewSecret(), "urn:ietf:params:oauth:request_uri:", "urn:example:" + store.url("/object"), "x", " ", object,
	} {
		for _, required := range []bool{false, true} {
			for door, provider := range doors {
				w.changeProvider(provider, func(p *gatehouse.Provider) { p.Rules.RequireSignedRequest = required })
				written()
				for name, q := range map[string]form{"whole": query(tppA), "bare": {"client_id": tppA, "redirect_uri": callback, "state": "s"}} {
					o := w.ask(door, q.with(form{"request_uri": uri}))
					if !o.tells("invalid_request_uri") || written() {
						t.Errorf("%.60q in a %s query at %s: %v", uri, name, door, o)
					}
					tried++
				}
			}
		}
	}
	if reached.Load() != 0 || store.requests("/object") != 0 || store.requests("/elsewhere") != 0 || store.lookups.Load() != 0 {
		t.Errorf("%d connections, %d requests, %d lookups", reached.Load(), store.requests("/object"), store.lookups.Load())
	}
	// A control: whoever reaches the trap is counted.
	if response, err := http.Get(trap.URL); err != nil || reached.Load() == 0 {
		t.Errorf("the trap: %v", err)
	} else {
		response.Body.Close()
	}
	t.Attr("bad_inputs", strconv.Itoa(tried))
}

// An encrypted request object is refused like any that is not one, also when
// it is a good one, encrypted to a key that the provider publishes
// (CVE-2026-29000, CVE-2024-28180, CVE-2026-34986).
//
// Proves: R12
func TestEncryptedRequestObjects(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	written, tried := w.written(), 0
	for door, provider := range doors {
		set, err := jose.ParseJWKS([]byte(w.get("/oidc/" + provider + "/jwks").Body))
		must(t, err)
		plain := text(t, w.requestClaims(provider, tppA))
		if o := w.ask(door, query(tppA).with(form{"request": w.requestObject(provider, tppA, nil)})); o.begun() == "" || !written() {
			t.Fatalf("not encrypted: %v", o)
		}
		for _, alg := range []gojose.KeyAlgorithm{gojose.RSA_OAEP_256, gojose.RSA_OAEP, gojose.RSA1_5, gojose.DIRECT, gojose.A128KW, gojose.PBES2_HS256_A128KW} {
			for _, zip := range []gojose.CompressionAlgorithm{gojose.NONE, gojose.DEFLATE} {
				for content, message := range map[string]string{"signed": w.requestObject(provider, tppA, nil), "not signed": plain} {
					to := gojose.Recipient{Algorithm: alg, Key: set.Keys[0].Key, KeyID: set.Keys[0].KID}
					if !strings.HasPrefix(string(alg), "RSA") {
						to.Key = make([]byte, 16)
					}
					options := (&gojose.EncrypterOptions{Compression: zip}).WithContentType("JWT").WithType("oauth-authz-req+jwt")
					encrypter, err := gojose.NewEncrypter(gojose.A128GCM, to, options)
					must(t, err)
					encrypted, err := encrypter.Encrypt([]byte(message))
					must(t, err)
					compact, err := encrypted.CompactSerialize()
					must(t, err)
					for serialization, token := range map[string]string{"compact": compact, "JSON": encrypted.FullSerialize()} {
						o := w.ask(door, query(tppA).with(form{"request": token}))
						if !o.tells("invalid_request_object") || written() {
							t.Errorf("%s, %s, zip %q, %s, at %s: %v", alg, content, zip, serialization, door, o)
						}
						tried++
					}
				}
			}
		}
	}
	t.Attr("bad_inputs", strconv.Itoa(tried))
}
