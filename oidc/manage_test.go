package oidc_test

import (
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"gatehouse"
	"gatehouse/jose"
	"gatehouse/store"
	"gatehouse/store/storetest"
)

// put replaces the registration by a signed request of the owner.
func (r *registrant) put(statement string, changes claims) *answer {
	r.w.t.Helper()
	return r.putAt(r.w.site, statement, changes)
}

func (r *registrant) putAt(site *httptest.Server, statement string, changes claims) *answer {
	r.w.t.Helper()
	header := http.Header{"Content-Type": {"application/jwt"}, "Authorization": {"Bearer " + r.token}}
	return r.w.doAt(site, "PUT", r.path(), header, r.w.registrationRequest(r.owner, statement, changes))
}

// recover finds the registrations of a statement's software, asked for under a
// key.
func (w *world) recover(keyOwner, statement string, changes claims) *answer {
	w.t.Helper()
	return w.do("POST", registerPath+"/recover", jwtHeader, w.registrationRequest(keyOwner, statement, changes))
}

func recovered(t testing.TB, a *answer) map[string]string {
	t.Helper()
	expect(t, a, 200, "")
	tokens := map[string]string{}
	for _, c := range a.JSON["clients"].([]any) {
		c := c.(map[string]any)
		tokens[c["client_id"].(string)] = c["registration_access_token"].(string)
	}
	return tokens
}

// Whoever does not show a token of this very client gets one and the same 401,
// and nothing happens.
//
// Proves: D7
func TestManagementToken(t *testing.T) {
	t.Parallel()
	forEachWorld(t, func(t *testing.T, w *world) {
		a, b := w.registrant("a", nil), w.registrant("b", nil)
		twin := w.registrantOf("a", w.register("a", w.statement(sandboxDirectory, "a", nil), nil)) // of the same software
		past, expired := a.ask("alpha", clientCredentials).text("access_token"), a.accessToken("beta")
		w.clock.advance(10*time.Minute - time.Second)
		expect(t, w.do("GET", a.path(), bearerHeader(past), ""), 200, "")
		w.clock.advance(time.Second)
		ofPSU := a.ask("alpha", exchange(w.code("alpha", a.id, nil)))
		expect(t, ofPSU, 200, "")
		ofClient := a.ask("alpha", clientCredentials)
		expect(t, ofClient, 200, "")
		revoked, fresh := a.accessToken("gamma"), a.accessToken("beta")
		id, _ := gatehouse.TokenID(revoked)
		_, grant, err := w.store.AccessToken(t.Context(), "gamma", id)
		must(t, err)
		must(t, w.store.RevokeGrant(t.Context(), "gamma", grant.ID, w.clock.Now()))
		flip := func(token string) string {
			last := map[bool]string{true: "B", false: "A"}[strings.HasSuffix(token[:len(token)-1], "A")]
			return token[:len(token)-2] + last + token[len(token)-1:]
		}
		body := w.registrationRequest("a", w.statement(sandboxDirectory, "a", nil), claims{"scope": "openid"})
		for name, header := range map[string][]string{
			"none":                          nil,
			"empty":                         {""},
			"no token":                      {"Bearer"},
			"an empty token":                {"Bearer "},
			"Basic":                         {basicHeader(a.id, a.token)},
			"another scheme":                {"DPoP " + a.token},
			"twice":                         {"Bearer " + a.token, "Bearer " + a.token},
			"two in one":                    {"Bearer " + a.token + ", Bearer " + a.token},
			"wrong":                         {"Bearer " + flip(a.token)},
			"wrong access token":            {"Bearer " + flip(fresh)},
			"cut":                           {"Bearer " + a.token[:len(a.token)-1]},
			"longer":                        {"Bearer " + a.token + "A"},
			"without the id":                {"Bearer " + strings.TrimPrefix(a.token, a.id+".")},
			"the id alone":                  {"Bearer " + a.id},
			"with a blank":                  {"Bearer  " + a.token},
			"that of another client":        {"Bearer " + b.token},
			"that of another with this id":  {"Bearer " + a.id + strings.TrimPrefix(b.token, b.id)},
			"that of the software's other":  {"Bearer " + twin.token},
			"another's access token":        {"Bearer " + b.accessToken("alpha")},
			"the software's other's access": {"Bearer " + twin.accessToken("alpha")},
			"an access token of a PSU":      {"Bearer " + ofPSU.text("access_token")},
			"a refresh token":               {"Bearer " + ofClient.text("refresh_token")},
			"an ID Token":                   {"Bearer " + ofClient.text("id_token")},
			"an access token that expired":  {"Bearer " + expired},
			"an access token of the past":   {"Bearer " + past},
			"a revoked access token":        {"Bearer " + revoked},
			"a hash":                        {"Bearer " + base64.RawURLEncoding.EncodeToString(gatehouse.HashSecret(a.token))},
			"no ASCII":                      {"Bearer \u00ff\u00fe"},
		} {
			for _, method := range []string{"GET", "PUT", "DELETE", "PUT ?dry_run=true"} {
				method, query, _ := strings.Cut(method, " ")
				all := http.Header{"Content-Type": {"application/jwt"}}
				if header != nil {
					all["Authorization"] = header
				}
				got := w.do(method, a.path()+query, all, body)
				if got.StatusCode != 401 || got.text("error") != "invalid_token" || got.JSON["client_name"] != nil || !strings.HasPrefix(got.Header.Get("WWW-Authenticate"), "Bearer ") {
					t.Errorf("%s with %s: %v", method, name, got)
				}
				if told := strings.Contains(got.Header.Get("WWW-Authenticate"), `error="invalid_token"`); told != (len(header) > 0 && strings.HasPrefix(header[0], "Bearer")) {
					t.Errorf("%s with %s: WWW-Authenticate %q", method, name, got.Header.Get("WWW-Authenticate"))
				}
			}
		}
		for _, id := range []string{"nobody", tppA, strings.Repeat("x", 300), "recover.x"} { // unknown, and one without such a token
			got := w.do("GET", registerPath+"/"+id, bearerHeader(a.token), "")
			if got.StatusCode != 401 || got.text("error_description") != w.do("GET", b.path(), bearerHeader(a.token), "").text("error_description") {
				t.Errorf("%s: %v", id, got)
			}
		}
		// Nothing happened; the scheme's name is in any case (RFC 9110 §11.1).
		got := w.do("GET", a.path(), http.Header{"Authorization": {"bEARER " + a.token}}, "")
		if got.StatusCode != 200 || got.text("scope") != "openid accounts payments" || got.text("registration_access_token") != a.token {
			t.Errorf("%v", got)
		}
		got = w.do("GET", a.path(), bearerHeader(fresh), "")
		if got.StatusCode != 200 || got.JSON["registration_access_token"] != nil || strings.Contains(got.Body, fresh) {
			t.Errorf("%v", got)
		}
		for _, method := range []string{"POST", "PATCH", "OPTIONS"} {
			if got := w.do(method, a.path(), bearerHeader(a.token), ""); got.StatusCode != 405 || got.Header.Get("Allow") != "GET, PUT, DELETE" {
				t.Errorf("%s: %v", method, got)
			}
		}
		expect(t, w.do("GET", registerPath, bearerHeader(a.token), ""), 405, "invalid_request")
	})
}

// No answer but the first has a secret, and none a hash.
//
// Proves: D7
func TestSecretsAreShownOnce(t *testing.T) {
	w := sqliteWorld(t)
	r := w.registrant("m", claims{"token_endpoint_auth_method": "client_secret_basic"})
	stored, err := w.store.Client(t.Context(), r.id)
	must(t, err)
	answers := map[string]*answer{
		"GET": w.do("GET", r.path(), bearerHeader(r.token), ""),
		"PUT": r.put(w.statement(sandboxDirectory, "m", nil), claims{"token_endpoint_auth_method": "client_secret_basic"}),
	}
	found := w.recover("m", w.statement(sandboxDirectory, "m", nil), nil)
	answers["recover"] = found
	answers["GET of the recovered"] = w.do("GET", r.path(), bearerHeader(recovered(t, found)[r.id]), "")
	for name, a := range answers {
		if a.StatusCode != 200 {
			t.Errorf("%s: %v", name, a)
		}
		for what, hidden := range map[string][]byte{"secret": []byte(r.secret), "hash of the secret": stored.SecretHash, "hash of the token": stored.RegistrationTokenHash} {
			for _, form := range []string{string(hidden), hex.EncodeToString(hidden), base64.RawURLEncoding.EncodeToString(hidden), base64.StdEncoding.EncodeToString(hidden)} {
				if len(hidden) == 0 || strings.Contains(a.Body, form) {
					t.Errorf("%s has the %s", name, what)
				}
			}
		}
		for _, member := range []string{"client_secret", "client_secret_expires_at", "providers", "tpp", "status", "version"} {
			if _, there := a.JSON[member]; there {
				t.Errorf("%s has %s", name, member)
			}
		}
	}
	// The secret is still good: PUT without need gives no other.
	header := formHeader.Clone()
	header.Set("Authorization", basicHeader(r.id, r.secret))
	expect(t, w.do("POST", "/api/oidc/alpha/tokens", header, clientCredentials.encode()), 200, "")
}

// A client that is gone is gone everywhere, with all that hung on it.
//
// Proves: D9 (consents are not lodged yet)
func TestDeletedClient(t *testing.T) {
	t.Parallel()
	forEachWorld(t, func(t *testing.T, w *world) {
		second, err := store.Open(t.Context(), w.url)
		must(t, err)
		defer second.Close()
		sites := []*httptest.Server{w.site, w.replica(second)}
		for _, by := range []string{"registration token", "access token"} {
			r, other := w.registrant("m", nil), w.registrant("other", nil)
			psu := r.ask("alpha", exchange(w.code("alpha", r.id, nil)))
			expect(t, psu, 200, "")
			others := other.ask("alpha", exchange(w.code("alpha", other.id, nil)))
			expect(t, others, 200, "")
			own := r.accessToken("beta")
			code := w.code("alpha", r.id, nil)
			bankID, bankCode, begun := w.bankCode(query(r.id), nil)
			expect(t, begun, 200, "")
			pending, approved := w.visit("alpha", query(r.id)), w.visit("gamma", query(r.id))
			expect(t, approved.decide(approval), 200, "")
			for _, site := range sites { // both have it in their caches
				expect(t, r.askAt(site, "alpha", clientCredentials), 200, "")
			}
			bearer := r.token
			if by == "access token" {
				bearer = own
			}
			gone := w.do("DELETE", r.path(), bearerHeader(bearer), "")
			if gone.StatusCode != 204 || gone.Body != "" {
				t.Fatalf("by %s: %v", by, gone)
			}
			// At once, where it was deleted, and for every token that was.
			expect(t, r.ask("alpha", clientCredentials), 404, "invalid_client")
			// Elsewhere too, though the other replica still has it in its cache.
			expect(t, r.askAt(sites[1], "alpha", clientCredentials), 404, "invalid_client")
			for provider, token := range map[string]string{"alpha": psu.text("access_token"), "beta": own} {
				if w.active(provider, token) {
					t.Errorf("a token of %s outlived the client", provider)
				}
			}
			w.clock.advance(6 * time.Second) // the age of a cache
			for i, site := range sites {
				for _, token := range []string{r.token, own, psu.text("access_token")} {
					for _, method := range []string{"GET", "DELETE"} {
						expect(t, w.doAt(site, method, r.path(), bearerHeader(token), ""), 401, "invalid_token")
					}
				}
				expect(t, r.putAt(site, w.statement(sandboxDirectory, "m", nil), nil), 401, "invalid_token")
				for name, f := range map[string]form{
					"authentication":      clientCredentials,
					"refresh":             {"grant_type": "refresh_token", "refresh_token": psu.text("refresh_token")},
					"a code in flight":    exchange(code),
					"a code of the bank":  exchange(bankCode),
					"a code already used": exchange(code),
				} {
					if a := r.askAt(site, "alpha", f); a.StatusCode != 404 || a.text("error") != "invalid_client" {
						t.Errorf("replica %d, %s: %v", i, name, a)
					}
				}
				expect(t, r.askAt(site, "gamma", clientCredentials), 401, "invalid_client")
				if a := w.doAt(site, "GET", "/oidc/alpha/authorize?"+query(r.id).encode(), nil, ""); a.StatusCode != 400 || a.Header.Get("Location") != "" {
					t.Errorf("replica %d: authorize: %v", i, a)
				}
			}
			// The bank learns that there is nothing to decide; what it decides
			// opens nothing.
			for _, at := range []struct{ provider, id string }{{"alpha", pending.id}, {"beta", bankID}, {"gamma", approved.id}} {
				if a := w.connector(at.provider, "GET", "/"+at.id, nil); a.StatusCode != 404 {
					t.Errorf("%s reads: %v", at.provider, a)
				}
			}
			if a := pending.decide(approval); a.StatusCode >= 500 {
				t.Errorf("decide: %v", a)
			}
			for _, v := range []*visit{pending, approved} {
				a := v.back()
				location, _ := a.Location()
				if location == nil || location.Query().Get("code") == "" {
					continue
				}
				if got := r.ask(v.provider, exchange(location.Query().Get("code"))); got.StatusCode == 200 {
					t.Errorf("%s: a code after the client's end: %v", v.provider, got)
				}
			}
			// Nobody else lost anything.
			if !w.active("alpha", others.text("access_token")) {
				t.Error("another client lost its token")
			}
			expect(t, other.ask("alpha", form{"grant_type": "refresh_token", "refresh_token": others.text("refresh_token")}), 200, "")
			expect(t, w.do("GET", other.path(), bearerHeader(other.token), ""), 200, "")
			if tokens := recovered(t, w.recover("m", w.statement(sandboxDirectory, "m", nil), nil)); tokens[r.id] != "" {
				t.Error("a deleted client was recovered")
			}
			w.clock.advance(time.Minute)
		}
	})
}

// PUT replaces everything and keeps the client what it is.
func TestReplace(t *testing.T) {
	t.Parallel()
	forEachWorld(t, func(t *testing.T, w *world) {
		r := w.registrant("m", claims{
			"redirect_uris": []string{callback}, "scope": "openid accounts", "request_object_signing_alg": "PS256", "require_signed_request_object": true,
		})
		issued := w.do("GET", r.path(), bearerHeader(r.token), "").JSON["client_id_issued_at"]
		w.clock.advance(time.Minute)
		a := r.put(w.statement(sandboxDirectory, "m", claims{"software_client_name": "New name", "software_roles": []string{"AISP"}}), claims{"client_id": r.id})
		expect(t, a, 200, "")
		if a.text("client_id") != r.id || a.text("registration_access_token") != r.token || a.JSON["client_id_issued_at"] != issued ||
			a.text("client_name") != "New name" || a.text("scope") != "openid accounts" || a.JSON["request_object_signing_alg"] != nil ||
			a.JSON["require_signed_request_object"] != false || len(a.JSON["redirect_uris"].([]any)) != 2 || a.JSON["client_secret"] != nil {
			t.Errorf("%v", a)
		}
		if got := w.do("GET", r.path(), bearerHeader(r.token), ""); got.Body != a.Body {
			t.Errorf("PUT said %v, GET %v", a, got)
		}
		w.visit("alpha", query(r.id).with(form{"redirect_uri": "https://tpp.example/other"}))
		if got := r.ask("alpha", clientCredentials.with(form{"scope": "payments"})); got.text("error") != "invalid_scope" {
			t.Errorf("a scope that was taken away: %v", got)
		}

		written := func() func() bool {
			last := w.do("GET", r.path(), bearerHeader(r.token), "").Body
			return func() bool { return w.do("GET", r.path(), bearerHeader(r.token), "").Body != last }
		}()
		good := w.statement(sandboxDirectory, "m", nil)
		for name, row := range map[string]struct {
			a     *answer
			fault string
		}{
			"another client_id":    {r.put(good, claims{"client_id": "other"}), "invalid_client_metadata"},
			"client_id a number":   {r.put(good, claims{"client_id": 7}), "invalid_client_metadata"},
			"another software":     {r.put(w.statement(sandboxDirectory, "m", claims{"software_id": "software-n"}), claims{"iss": "software-n"}), "invalid_software_statement"},
			"another organisation": {r.put(w.statement(sandboxDirectory, "m", claims{"org_id": "PSDGB-FCA-n"}), nil), "invalid_software_statement"},
			"another directory":    {r.put(w.statement(liveDirectory, "m", nil), nil), "invalid_software_statement"},
			"no statement":         {r.put("", claims{"software_statement": nil}), "invalid_software_statement"},
			"an expired statement": {r.put(w.statement(sandboxDirectory, "m", claims{"exp": w.clock.Now().Unix()}), nil), "invalid_software_statement"},
			"another redirect_uri": {r.put(good, claims{"redirect_uris": []string{"https://evil.example"}}), "invalid_redirect_uri"},
			"a method that is not": {r.put(good, claims{"token_endpoint_auth_method": "none"}), "invalid_client_metadata"},
			"another's signature": {w.do("PUT", r.path(), http.Header{"Content-Type": {"application/jwt"}, "Authorization": {"Bearer " + r.token}},
				w.registrationRequest("n", good, claims{"iss": "software-m"})), "invalid_client_metadata"},
		} {
			if row.a.StatusCode != 400 || row.a.text("error") != row.fault || written() {
				t.Errorf("%s: %v, want %s", name, row.a, row.fault)
			}
		}
		// By an access token, as JSON.
		header := http.Header{"Content-Type": {"application/json"}, "Authorization": {"Bearer " + r.accessToken("alpha")}}
		a = w.do("PUT", r.path(), header, text(t, claims{"software_statement": good, "token_endpoint_auth_method": "private_key_jwt", "grant_types": []string{"client_credentials"}}))
		if a.StatusCode != 200 || a.JSON["registration_access_token"] != nil || a.text("scope") != "openid accounts payments" {
			t.Errorf("%v", a)
		}
		expect(t, r.ask("alpha", exchange("code")), 403, "unauthorized_client")
		if a := w.do("PUT", r.path(), bearerHeader(r.token), "x"); a.StatusCode != 415 {
			t.Errorf("%v", a)
		}
		// Certificates are no metadata: they stay.
		c, err := w.store.Client(t.Context(), r.id)
		must(t, err)
		c.Certificates = []gatehouse.Certificate{{Name: "kept", Type: "qwac"}}
		must(t, w.store.UpdateClient(t.Context(), c))
		expect(t, r.put(good, nil), 200, "")
		if c, err = w.store.Client(t.Context(), r.id); err != nil || len(c.Certificates) != 1 || c.Certificates[0].Name != "kept" {
			t.Errorf("%v, %v", c.Certificates, err)
		}
	})
}

// A new statement with new keys rotates them: on another replica once its cache
// is old.
func TestKeyRotation(t *testing.T) {
	t.Parallel()
	forEachWorld(t, func(t *testing.T, w *world) {
		second, err := store.Open(t.Context(), w.url)
		must(t, err)
		defer second.Close()
		other := w.replica(second)
		r := w.registrant("m", nil)
		expect(t, r.ask("alpha", clientCredentials), 200, "")
		expect(t, r.askAt(other, "alpha", clientCredentials), 200, "")
		// Signed by the new key: it is the statement that says whose it is.
		rotated := w.statement(sandboxDirectory, "m", claims{"software_jwks": clientJWKS(t, "m2")})
		expect(t, r.put(rotated, nil), 400, "invalid_client_metadata")
		fresh := &registrant{w, "m2", r.id, r.token, ""}
		expect(t, fresh.put(rotated, claims{"iss": "software-m"}), 200, "")
		expect(t, r.ask("alpha", clientCredentials), 400, "invalid_client")
		expect(t, fresh.ask("alpha", clientCredentials), 200, "")
		w.clock.advance(6 * time.Second)
		expect(t, r.askAt(other, "alpha", clientCredentials), 400, "invalid_client")
		expect(t, fresh.askAt(other, "alpha", clientCredentials), 200, "")
		if tokens := recovered(t, w.recover("m2", rotated, claims{"iss": "software-m"})); len(tokens) != 1 {
			t.Errorf("%v", tokens)
		}
	})
}

// A client that changes to a secret is given one, once; one that changes away
// has none any more.
//
// Proves: C16 (shown once)
func TestChangeOfMethod(t *testing.T) {
	w := sqliteWorld(t)
	r := w.registrant("m", nil)
	bySecret := func(secret string) *answer {
		header := formHeader.Clone()
		header.Set("Authorization", basicHeader(r.id, secret))
		return w.do("POST", "/api/oidc/alpha/tokens", header, clientCredentials.encode())
	}
	good := w.statement(sandboxDirectory, "m", nil)
	toSecret := r.put(good, claims{"token_endpoint_auth_method": "client_secret_basic"})
	expect(t, toSecret, 200, "")
	first := toSecret.text("client_secret")
	if len(first) != 43 || toSecret.JSON["client_secret_expires_at"] != 0.0 {
		t.Fatal(toSecret)
	}
	expect(t, bySecret(first), 200, "")
	expect(t, r.ask("alpha", clientCredentials), 400, "invalid_client")
	if again := r.put(good, claims{"token_endpoint_auth_method": nil}); again.StatusCode != 200 || again.JSON["client_secret"] != nil || again.JSON["client_secret_expires_at"] != nil {
		t.Error(again)
	}
	expect(t, bySecret(first), 200, "")
	expect(t, r.put(good, nil), 200, "")
	expect(t, bySecret(first), 400, "invalid_client")
	expect(t, r.ask("alpha", clientCredentials), 200, "")
	second := r.put(good, claims{"token_endpoint_auth_method": "client_secret_basic"}).text("client_secret")
	if second == first || second == "" {
		t.Error("an old secret came back")
	}
	expect(t, bySecret(first), 400, "invalid_client")
	expect(t, bySecret(second), 200, "")
}

// What the store cannot do is a 503 that says when to come again, and leaves
// the client as it was.
func TestManagementStoreFault(t *testing.T) {
	w := sqliteWorld(t)
	r := w.registrant("m", nil)
	for cause, want := range map[error]int{errors.New("disk full"): 503, gatehouse.ErrConflict: 503} {
		broken := w.replica(faultyStore{Store: w.store, client: func(func() error) error { return cause }})
		body := w.registrationRequest("m", w.statement(sandboxDirectory, "m", nil), nil)
		for name, a := range map[string]*answer{
			"PUT":     r.putAt(broken, w.statement(sandboxDirectory, "m", nil), claims{"scope": "openid"}),
			"DELETE":  w.doAt(broken, "DELETE", r.path(), bearerHeader(r.token), ""),
			"recover": w.doAt(broken, "POST", registerPath+"/recover", jwtHeader, body),
		} {
			if a.StatusCode != want || a.text("error") != "temporarily_unavailable" || a.Header.Get("Retry-After") == "" || strings.Contains(a.Body, "disk") || strings.Contains(a.Body, "registration_access_token") {
				t.Errorf("%s: %v", name, a)
			}
		}
	}
	if a := w.do("GET", r.path(), bearerHeader(r.token), ""); a.StatusCode != 200 || a.text("scope") != "openid accounts payments" {
		t.Errorf("%v", a)
	}
	faster := w.replica(faultyStore{Store: w.store, client: func(func() error) error { return gatehouse.ErrNotFound }})
	if a := w.doAt(faster, "DELETE", r.path(), bearerHeader(r.token), ""); a.StatusCode != 204 {
		t.Errorf("a client that somebody else has just deleted: %v", a)
	}
	must(t, w.store.Close())
	if a := w.do("GET", r.path(), bearerHeader(r.token), ""); a.StatusCode != 503 {
		t.Errorf("%v", a)
	}
}

// A disabled client manages nothing.
func TestManagementOfADisabledClient(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	r := w.registrant("m", nil)
	c, err := w.store.Client(t.Context(), r.id)
	must(t, err)
	c.Status = gatehouse.ClientDisabled
	must(t, w.store.UpdateClient(t.Context(), c))
	for _, method := range []string{"GET", "DELETE"} {
		if a := w.do(method, r.path(), bearerHeader(r.token), ""); a.text("error") != "unauthorized_client" || a.JSON["client_name"] != nil {
			t.Errorf("%v", a)
		}
	}
	expect(t, w.do("GET", r.path(), bearerHeader(r.token+"x"), ""), 401, "invalid_token")
	if a := r.put(w.statement(sandboxDirectory, "m", nil), nil); a.text("error") != "unauthorized_client" {
		t.Errorf("%v", a)
	}
}

// Of concurrent replacements each is whole or a 503: what is counted is what
// was answered.
//
// Proves: S25
func TestReplaceAtOnce(t *testing.T) {
	forEachWorld(t, func(t *testing.T, w *world) {
		second, err := store.Open(t.Context(), w.url)
		must(t, err)
		defer second.Close()
		sites := []*httptest.Server{w.site, w.replica(second)}
		r := w.registrant("m", nil)
		for range storetest.Rounds(t, 3) {
			before, err := w.store.Client(t.Context(), r.id)
			must(t, err)
			statements := make([]string, 30)
			for i := range statements {
				statements[i] = w.statement(sandboxDirectory, "m", claims{"software_client_name": fmt.Sprint("Name ", i), "software_redirect_uris": []string{fmt.Sprint("https://tpp.example/", i)}})
			}
			var names []string
			for i, a := range w.atOnce(30, func(i int) *answer { return r.putAt(sites[i%2], statements[i], nil) }) {
				switch {
				case a.StatusCode == 200 && a.text("client_name") == fmt.Sprint("Name ", i):
					names = append(names, a.text("client_name"))
				case a.StatusCode != 503 || a.Header.Get("Retry-After") == "" || a.text("error") != "temporarily_unavailable":
					t.Errorf("%v", a)
				}
			}
			after, err := w.store.Client(t.Context(), r.id)
			must(t, err)
			if len(names) == 0 || after.Version != before.Version+int64(len(names)) {
				t.Fatalf("%d replacements counted the version from %d to %d", len(names), before.Version, after.Version)
			}
			number := strings.TrimPrefix(after.Name, "Name ")
			if !slices.Contains(names, after.Name) || !slices.Equal(after.RedirectURIs, []string{"https://tpp.example/" + number}) {
				t.Fatalf("%s with %v is none of those answered", after.Name, after.RedirectURIs)
			}
		}
		// A replacement undoes no recovery that happens beside it.
		for range storetest.Rounds(t, 5) {
			statement := w.statement(sandboxDirectory, "m", nil)
			old := r.token
			for _, a := range w.atOnce(6, func(i int) *answer {
				if i == 0 {
					return w.recover("m", statement, nil)
				}
				return r.putAt(sites[i%2], statement, nil)
			}) {
				if a.JSON["clients"] != nil {
					r.token = recovered(t, a)[r.id]
				}
			}
			want := map[string]int{old: 401, r.token: 200}
			if r.token == old { // the recovery was told to come again
				want = map[string]int{old: 200}
			}
			for token, status := range want {
				if a := w.do("GET", r.path(), bearerHeader(token), ""); a.StatusCode != status {
					t.Fatalf("%v, want %d", a, status)
				}
			}
		}
	})
}

// A lost registration is found by who has the software's key, and by nobody
// else.
//
// Proves: D5, D7
func TestRecover(t *testing.T) {
	t.Parallel()
	forEachWorld(t, func(t *testing.T, w *world) {
		r, twin, other := w.registrant("m", nil), w.registrant("m", claims{"scope": "openid"}), w.registrant("other", nil)
		// Others that call themselves the same: another organisation, and the same
		// in the mouth of another directory.
		stranger := w.registrantOf("s", w.register("s", w.statement(sandboxDirectory, "s", claims{"software_id": "software-m"}), claims{"iss": "software-m"}))
		production := w.registrantOf("m", w.register("m", w.statement(liveDirectory, "m", nil), nil))
		if stranger.id == "" || production.id == "" {
			t.Fatal("not registered")
		}
		good := w.statement(sandboxDirectory, "m", nil)
		for name, a := range map[string]*answer{
			"another key":          w.recover("other", good, claims{"iss": "software-m"}),
			"another software":     w.recover("m", good, claims{"iss": "software-other"}),
			"another server":       w.recover("m", good, claims{"aud": "https://other.example"}),
			"an expired request":   w.recover("m", good, claims{"exp": w.clock.Now().Unix()}),
			"no jti":               w.recover("m", good, claims{"jti": nil}),
			"an expired statement": w.recover("m", w.statement(sandboxDirectory, "m", claims{"exp": w.clock.Now().Unix()}), nil),
			"a forged statement":   w.recover("m", sign(t, clientKey(t, "m", jose.PS256), "JWT", w.statementClaims(sandboxDirectory, "m")), nil),
			"no statement":         w.recover("m", good, claims{"software_statement": nil}),
			"open registration":    w.recover("m", good, claims{"software_statement": nil, "provider_code": "alpha"}),
		} {
			if a.StatusCode != 400 || a.JSON["clients"] != nil {
				t.Errorf("%s: %v", name, a)
			}
		}
		for _, header := range []http.Header{jsonHeader, formHeader, nil} {
			if a := w.do("POST", registerPath+"/recover", header, text(t, claims{"software_statement": good})); a.StatusCode != 415 {
				t.Errorf("%v: %v", header, a)
			}
		}
		for _, c := range []*registrant{r, twin, other, stranger, production} { // nothing was lost by that
			expect(t, w.do("GET", c.path(), bearerHeader(c.token), ""), 200, "")
		}

		a := w.recover("m", good, nil)
		tokens := recovered(t, a)
		if len(tokens) != 2 || tokens[r.id] == "" || tokens[twin.id] == "" {
			t.Fatalf("%v", a)
		}
		first := a.JSON["clients"].([]any)[0].(map[string]any)
		if first["client_name"] != "App of m" || first["client_id_issued_at"] != float64(w.clock.Now().Unix()) || len(first) != 5 ||
			first["registration_client_uri"] != baseURL+registerPath+"/"+first["client_id"].(string) || a.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("%v", a)
		}
		for _, c := range []*registrant{r, twin} {
			expect(t, w.do("GET", c.path(), bearerHeader(c.token), ""), 401, "invalid_token")
			expect(t, w.do("GET", c.path(), bearerHeader(tokens[c.id]), ""), 200, "")
			expect(t, c.ask("alpha", clientCredentials), 200, "")
		}
		expect(t, w.do("GET", twin.path(), bearerHeader(tokens[r.id]), ""), 401, "invalid_token")
		for _, c := range []*registrant{other, stranger, production} {
			expect(t, w.do("GET", c.path(), bearerHeader(c.token), ""), 200, "")
		}
		r.token = tokens[r.id]
		expect(t, r.put(good, claims{"scope": "openid"}), 200, "")

		if a := w.recover("new", w.statement(sandboxDirectory, "new", nil), nil); a.StatusCode != 200 || a.Body != `{"clients":[]}` {
			t.Errorf("a software without clients: %v", a)
		}
	})
}

// The secrets of registrations, then a search for them: in the log at its most
// talkative, and in the files of the database.
//
// Proves: K10, O1, C16 (kept as a hash)
func TestNoRegistrationSecretIsKept(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	var canaries []string
	keep := func(values ...string) { canaries = append(canaries, values...) }
	for _, method := range []string{"private_key_jwt", "client_secret_basic"} {
		body := w.registrationRequest("m", w.statement(sandboxDirectory, "m", nil), claims{"token_endpoint_auth_method": method})
		a := w.do("POST", registerPath, jwtHeader, body)
		expect(t, a, 201, "")
		r := w.registrantOf("m", a)
		keep(body, r.token, strings.TrimPrefix(r.token, r.id+"."), r.secret)
		w.do("POST", registerPath, jwtHeader, body) // a replay
		w.do("GET", r.path(), bearerHeader(r.token), "")
		w.do("GET", r.path(), bearerHeader(r.token+"x"), "")
		w.do("GET", r.path()+"?token="+r.token, bearerHeader(r.token), "")
		w.do("GET", registerPath+"/"+r.token, bearerHeader(r.token), "") // in the wrong place
		w.do("GET", r.path(), http.Header{"Authorization": {"Basic " + r.token}}, "")
		put := r.put(w.statement(sandboxDirectory, "m", nil), claims{"token_endpoint_auth_method": "client_secret_basic"})
		expect(t, put, 200, "")
		keep(put.text("client_secret"))
		for _, token := range recovered(t, w.recover("m", w.statement(sandboxDirectory, "m", nil), nil)) {
			keep(token, token[23:])
			r.token = token
		}
		broken := w.replica(faultyStore{Store: w.store, client: func(func() error) error { panic(r.token) }})
		for _, a := range []*answer{
			r.putAt(broken, w.statement(sandboxDirectory, "m", nil), nil),
			w.doAt(broken, "POST", registerPath, jwtHeader, w.registrationRequest("m", w.statement(sandboxDirectory, "m", nil), nil)),
		} {
			if a.StatusCode < 400 {
				t.Errorf("%v", a)
			}
		}
		if method == "private_key_jwt" {
			w.do("DELETE", r.path(), bearerHeader(r.token), "")
		}
	}
	log, files := w.logged(), ""
	path := strings.TrimPrefix(w.url, "sqlite:")
	for _, suffix := range []string{"", "-wal"} {
		data, err := os.ReadFile(path + suffix)
		must(t, err)
		files += string(data)
	}
	if !strings.Contains(log, "client registered") || !strings.Contains(files, "App of m") {
		t.Fatal("there is nothing to search in")
	}
	searched := 0
	for _, canary := range canaries {
		if canary == "" {
			continue
		}
		searched++
		for _, form := range []string{
			canary, url.QueryEscape(canary), base64.StdEncoding.EncodeToString([]byte(canary))[:len(canary)],
			base64.RawURLEncoding.EncodeToString([]byte(canary))[:len(canary)], hex.EncodeToString([]byte(canary)),
		} {
			if strings.Contains(log, form) {
				t.Errorf("the log has a secret: %.12s…", canary)
			}
			if strings.Contains(files, form) {
				t.Errorf("the database has a secret: %.12s…", canary)
			}
		}
	}
	if searched < 10 {
		t.Errorf("only %d canaries", searched)
	}
}
