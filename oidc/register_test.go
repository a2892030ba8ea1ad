package oidc_test

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"gatehouse"
	"gatehouse/jose"
	"gatehouse/oidc"
)

const (
	sandboxDirectory = "https://directory.sandbox.example"
	liveDirectory    = "https://directory.example"

	registerPath = "/open_banking/v3.2/tpp/register"
)

// statementClaims are those of a good software statement, whose key is that of
// the owner: clientKey(t, owner, …).
func (w *world) statementClaims(directory, owner string) claims {
	environment := "sandbox"
	if directory == liveDirectory {
		environment = "production"
	}
	return claims{
		"iss": directory, "iat": w.clock.Now().Unix(), "exp": w.clock.Now().Add(time.Hour).Unix(), "jti": gatehouse.NewSecret(),
		"software_id": "software-" + owner, "org_id": "PSDGB-FCA-" + owner, "org_name": "Organisation of " + owner,
		"software_client_name": "App of " + owner, "software_redirect_uris": []string{callback, "https://tpp.example/other"},
		"software_roles": []string{"AISP", "PISP"}, "software_jwks": clientJWKS(w.t, owner), "software_environment": environment,
	}
}

func (w *world) statement(directory, owner string, changes claims) string {
	w.t.Helper()
	text, err := key(w.t, directory, jose.PS256).Sign("JWT", w.statementClaims(directory, owner).with(changes))
	must(w.t, err)
	return text
}

// registrationClaims are those of a good registration request.
func (w *world) registrationClaims(owner, statement string) claims {
	now := w.clock.Now()
	return claims{
		"iss": "software-" + owner, "aud": baseURL, "iat": now.Unix(), "exp": now.Add(5 * time.Minute).Unix(), "jti": gatehouse.NewSecret(),
		"software_statement": statement, "token_endpoint_auth_method": "private_key_jwt",
		"grant_types": []string{"authorization_code", "client_credentials", "refresh_token"},
	}
}

var jwtHeader = http.Header{"Content-Type": {"application/jwt"}}

// register sends a signed registration request of the owner.
func (w *world) register(owner, statement string, changes claims) *answer {
	w.t.Helper()
	return w.do("POST", registerPath, jwtHeader, w.registrationRequest(owner, statement, changes))
}

func (w *world) registrationRequest(owner, statement string, changes claims) string {
	w.t.Helper()
	body, err := clientKey(w.t, owner, jose.PS256).Sign("JWT", w.registrationClaims(owner, statement).with(changes))
	must(w.t, err)
	return body
}

// registered registers a client of the owner in the sandbox and returns the
// answer.
func (w *world) registered(owner string, changes claims) *answer {
	w.t.Helper()
	a := w.register(owner, w.statement(sandboxDirectory, owner, nil), changes)
	expect(w.t, a, 201, "")
	return a
}

func bearerHeader(token string) http.Header { return http.Header{"Authorization": {"Bearer " + token}} }

// A registrant is a client that registered itself: its owner's key signs for
// it, and the server told it the rest.
type registrant struct {
	w                        *world
	owner, id, token, secret string
}

// registrant registers a client of the owner in the sandbox.
func (w *world) registrant(owner string, changes claims) *registrant {
	w.t.Helper()
	return w.registrantOf(owner, w.registered(owner, changes))
}

func (w *world) registrantOf(owner string, a *answer) *registrant {
	return &registrant{w, owner, a.text("client_id"), a.text("registration_access_token"), a.text("client_secret")}
}

func (r *registrant) path() string { return registerPath + "/" + r.id }

// sign makes a client assertion under a key.
func (r *registrant) sign(keyOwner, provider string) form {
	r.w.t.Helper()
	assertion, err := clientKey(r.w.t, keyOwner, jose.PS256).Sign("JWT", r.w.assertionClaims(provider, r.id))
	must(r.w.t, err)
	return form{"client_assertion_type": assertionType, "client_assertion": assertion}
}

// ask sends a token request, authenticated by the owner's key.
func (r *registrant) ask(provider string, f form) *answer {
	r.w.t.Helper()
	return r.askAt(r.w.site, provider, f)
}

func (r *registrant) askAt(site *httptest.Server, provider string, f form) *answer {
	r.w.t.Helper()
	return r.w.doAt(site, "POST", "/api/oidc/"+provider+"/tokens", formHeader, f.with(r.sign(r.owner, provider)).encode())
}

// accessToken gets one for the client itself.
func (r *registrant) accessToken(provider string) string {
	r.w.t.Helper()
	a := r.ask(provider, clientCredentials)
	expect(r.w.t, a, 200, "")
	return a.text("access_token")
}

// replicaWith starts a server that trusts other directories.
func (w *world) replicaWith(directories ...gatehouse.Directory) *httptest.Server {
	w.t.Helper()
	for i := range directories {
		if directories[i].JWKS == nil {
			directories[i].JWKS = jwks(w.t, key(w.t, directories[i].Issuer, jose.PS256).Public())
		}
		must(w.t, directories[i].Validate())
	}
	server := &oidc.Server{Store: w.store, KEK: w.kek, BaseURL: baseURL, Now: w.clock.Now, Directories: directories,
		Log: slog.New(slog.NewJSONHandler(&w.log, &slog.HandlerOptions{Level: slog.LevelDebug}))}
	site := httptest.NewServer(server.Handler())
	w.t.Cleanup(site.Close)
	return site
}

var jsonHeader = http.Header{"Content-Type": {"application/json"}}

// registerJSON sends a plain body with a statement.
func (w *world) registerJSON(statement string, changes claims) *answer {
	w.t.Helper()
	return w.do("POST", registerPath, jsonHeader, text(w.t, claims{
		"software_statement": statement, "token_endpoint_auth_method": "private_key_jwt",
		"grant_types": []string{"authorization_code", "client_credentials", "refresh_token"},
	}.with(changes)))
}

func text(t testing.TB, value any) string {
	t.Helper()
	data, err := json.Marshal(value)
	must(t, err)
	return string(data)
}

// A whole life, on each database.
func TestRegister(t *testing.T) {
	t.Parallel()
	forEachWorld(t, func(t *testing.T, w *world) {
		r := w.registrant("new", nil)
		access := r.accessToken("alpha")
		for name, bearer := range map[string]string{"registration access token": r.token, "access token": access} {
			if got := w.do("GET", r.path(), bearerHeader(bearer), ""); got.StatusCode != 200 || got.text("client_id") != r.id {
				t.Errorf("%s: %v", name, got)
			}
		}
		put := w.do("PUT", r.path(), http.Header{"Content-Type": {"application/jwt"}, "Authorization": {"Bearer " + r.token}},
			w.registrationRequest("new", w.statement(sandboxDirectory, "new", nil), claims{"scope": "openid accounts"}))
		if put.StatusCode != 200 || put.text("scope") != "openid accounts" || put.text("client_id") != r.id {
			t.Errorf("%v", put)
		}
		if got := w.do("DELETE", r.path(), bearerHeader(access), ""); got.StatusCode != 204 || got.Body != "" {
			t.Fatal(got)
		}
		for _, bearer := range []string{r.token, access} {
			expect(t, w.do("GET", r.path(), bearerHeader(bearer), ""), 401, "invalid_token")
		}
	})
}

var clientIDForm = regexp.MustCompile(`^[A-Za-z0-9_-]{22}$`)

// What the answer has, by authentication method and form of the body: all
// metadata, with defaults, and what must be kept.
//
// Proves: D6
func TestRegistrationResponse(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	defaults := claims{"token_endpoint_auth_method": nil, "grant_types": nil}
	all := claims{
		"token_endpoint_auth_method": "private_key_jwt", "grant_types": []string{"refresh_token", "authorization_code", "refresh_token"},
		"redirect_uris": []string{callback}, "response_types": []string{"code"}, "scope": "accounts openid", "application_type": "web",
		"token_endpoint_auth_signing_alg": "PS256", "request_object_signing_alg": "RS256", "id_token_signed_response_alg": "PS256",
		"require_signed_request_object": true, "software_id": "software-new", "client_id": "mine", "jwks": clientJWKS(t, "new"),
	}
	seen := map[string]bool{}
	for name, row := range map[string]struct {
		send func(statement string) *answer
		want claims // besides what every row has
	}{
		"nothing but a statement": {
			func(s string) *answer { return w.register("new", s, defaults) },
			claims{
				"token_endpoint_auth_method": "client_secret_basic", "grant_types": []string{"authorization_code"}, "scope": "openid accounts payments",
				"redirect_uris": []string{callback, "https://tpp.example/other"}, "require_signed_request_object": false, "client_secret_expires_at": 0,
			},
		},
		"everything": {
			func(s string) *answer { return w.register("new", s, all) },
			claims{
				"token_endpoint_auth_method": "private_key_jwt", "grant_types": []string{"authorization_code", "refresh_token"}, "scope": "accounts openid",
				"redirect_uris": []string{callback}, "require_signed_request_object": true, "token_endpoint_auth_signing_alg": "PS256",
				"request_object_signing_alg": "RS256", "id_token_signed_response_alg": "PS256",
			},
		},
		"everything, as JSON": {
			func(s string) *answer { return w.registerJSON(s, all) },
			claims{
				"token_endpoint_auth_method": "private_key_jwt", "grant_types": []string{"authorization_code", "refresh_token"}, "scope": "accounts openid",
				"redirect_uris": []string{callback}, "require_signed_request_object": true, "token_endpoint_auth_signing_alg": "PS256",
				"request_object_signing_alg": "RS256", "id_token_signed_response_alg": "PS256",
			},
		},
		"application/jose with a line end": {
			func(s string) *answer {
				return w.do("POST", registerPath, http.Header{"Content-Type": {"application/jose; charset=utf-8"}}, w.registrationRequest("new", s, defaults)+"\r\n")
			},
			claims{
				"token_endpoint_auth_method": "client_secret_basic", "grant_types": []string{"authorization_code"}, "scope": "openid accounts payments",
				"redirect_uris": []string{callback, "https://tpp.example/other"}, "require_signed_request_object": false, "client_secret_expires_at": 0,
			},
		},
		"no code": {
			func(s string) *answer {
				return w.register("new", s, claims{"grant_types": []string{"client_credentials"}})
			},
			claims{
				"token_endpoint_auth_method": "private_key_jwt", "grant_types": []string{"client_credentials"}, "scope": "openid accounts payments",
				"redirect_uris": []string{callback, "https://tpp.example/other"}, "require_signed_request_object": false, "response_types": []string{},
			},
		},
	} {
		statement := w.statement(sandboxDirectory, "new", nil)
		a := row.send(statement)
		expect(t, a, 201, "")
		id, token, secret := a.text("client_id"), a.text("registration_access_token"), a.text("client_secret")
		if !clientIDForm.MatchString(id) || seen[id] || !strings.HasPrefix(token, id+".") || len(token) != 22+1+43 {
			t.Errorf("%s: client_id %q, token %q", name, id, token)
		}
		seen[id] = true
		if a.Header.Get("Cache-Control") != "no-store" || a.Header.Get("Content-Type") != "application/json" {
			t.Errorf("%s: %v", name, a.Header)
		}
		want := claims{
			"client_id": id, "client_id_issued_at": w.clock.Now().Unix(), "registration_access_token": token,
			"registration_client_uri": baseURL + registerPath + "/" + id, "client_name": "App of new", "response_types": []string{"code"},
			"application_type": "web", "jwks": clientJWKS(t, "new"), "software_id": "software-new", "software_statement": statement,
		}.with(row.want)
		if row.want["client_secret_expires_at"] != nil {
			want["client_secret"] = secret
			if len(secret) != 43 {
				t.Errorf("%s: client_secret %q", name, secret)
			}
		}
		if diff := cmp.Diff(asJSON(t, text(t, want)), asJSON(t, a.Body)); diff != "" {
			t.Errorf("%s: -want +got\n%s", name, diff)
		}
		// The same again for whoever reads it, but for the secret.
		delete(want, "client_secret")
		delete(want, "client_secret_expires_at")
		got := w.do("GET", registerPath+"/"+id, bearerHeader(token), "")
		if diff := cmp.Diff(asJSON(t, text(t, want)), asJSON(t, got.Body)); got.StatusCode != 200 || diff != "" {
			t.Errorf("%s: %d: -want +got\n%s", name, got.StatusCode, diff)
		}
	}
}

func asJSON(t testing.TB, text string) (value any) {
	t.Helper()
	must(t, json.Unmarshal([]byte(text), &value))
	return value
}

// The secret of the answer is that of the client.
//
// Proves: D6
func TestRegisteredSecret(t *testing.T) {
	t.Parallel()
	forEachWorld(t, func(t *testing.T, w *world) {
		a, b := w.registrant("new", claims{"token_endpoint_auth_method": nil}), w.registrant("new", claims{"token_endpoint_auth_method": "client_secret_basic"})
		for _, row := range []struct {
			id, secret string
			status     int
		}{
			{a.id, a.secret, 200}, {b.id, b.secret, 200}, {a.id, b.secret, 400}, {b.id, a.secret, 400}, {a.id, a.token, 400},
		} {
			header := formHeader.Clone()
			header.Set("Authorization", basicHeader(row.id, row.secret))
			if got := w.do("POST", "/api/oidc/alpha/tokens", header, clientCredentials.encode()); got.StatusCode != row.status {
				t.Errorf("%v", got)
			}
		}
		expect(t, a.ask("alpha", clientCredentials), 400, "invalid_client") // its key is no credential
	})
}

// What a software statement must be: rows change the statement, or the request
// that has it.
//
// Proves: D3
func TestSoftwareStatement(t *testing.T) {
	t.Parallel()
	const bad, unapproved, metadata, redirect = "invalid_software_statement", "unapproved_software_statement", "invalid_client_metadata", "invalid_redirect_uri"
	w := sqliteWorld(t)
	w.clock.advance(750 * time.Millisecond) // to a whole second, as tokens have them
	written := w.written()
	now := w.clock.Now()
	at := func(d time.Duration) int64 { return now.Add(d).Unix() }
	long := strings.Repeat("x", 256)
	for name, row := range map[string]struct {
		statement, request claims
		fault              string // "" when it is taken
		want               claims // members of the answer
	}{
		"good":                             {nil, nil, "", claims{"client_name": "App of s", "scope": "openid accounts payments"}},
		"no exp":                           {claims{"exp": nil}, nil, "", nil},
		"exp now":                          {claims{"exp": at(0)}, nil, bad, nil},
		"exp next second":                  {claims{"exp": at(time.Second)}, nil, "", nil},
		"exp a string":                     {claims{"exp": "1999999999"}, nil, bad, nil},
		"no iat":                           {claims{"iat": nil}, nil, bad, nil},
		"iat a string":                     {claims{"iat": "0"}, nil, bad, nil},
		"iat a day ago":                    {claims{"iat": at(-24 * time.Hour)}, nil, "", nil},
		"iat more than a day ago":          {claims{"iat": at(-24*time.Hour - time.Second)}, nil, bad, nil},
		"iat in a minute":                  {claims{"iat": at(time.Minute)}, nil, "", nil},
		"iat in more than a minute":        {claims{"iat": at(61 * time.Second)}, nil, bad, nil},
		"nbf now":                          {claims{"nbf": at(0)}, nil, "", nil},
		"nbf in more than a minute":        {claims{"nbf": at(61 * time.Second)}, nil, bad, nil},
		"nbf a string":                     {claims{"nbf": "now"}, nil, bad, nil},
		"no iss":                           {claims{"iss": nil}, nil, bad, nil},
		"another iss":                      {claims{"iss": sandboxDirectory + "/"}, nil, unapproved, nil},
		"iss of the other directory":       {claims{"iss": liveDirectory}, nil, bad, nil},
		"no software_id":                   {claims{"software_id": nil}, nil, bad, nil},
		"software_id empty":                {claims{"software_id": ""}, nil, bad, nil},
		"software_id a number":             {claims{"software_id": 7}, nil, bad, nil},
		"software_id too long":             {claims{"software_id": long}, claims{"iss": long}, bad, nil},
		"software_id of 255":               {claims{"software_id": long[1:]}, claims{"iss": long[1:]}, "", claims{"software_id": long[1:]}},
		"software_id with a NUL":           {claims{"software_id": "a\x00b"}, claims{"iss": "a\x00b"}, bad, nil},
		"no org_id":                        {claims{"org_id": nil}, nil, bad, nil},
		"org_id empty":                     {claims{"org_id": ""}, nil, bad, nil},
		"org_name a list":                  {claims{"org_name": []string{"x"}}, nil, bad, nil},
		"no org_name":                      {claims{"org_name": nil}, nil, "", nil},
		"environment of another":           {claims{"software_environment": "production"}, nil, bad, nil},
		"environment empty":                {claims{"software_environment": ""}, nil, bad, nil},
		"environment a number":             {claims{"software_environment": 1}, nil, bad, nil},
		"no environment":                   {claims{"software_environment": nil}, nil, "", nil},
		"no keys":                          {claims{"software_jwks": nil}, nil, bad, nil},
		"keys empty":                       {claims{"software_jwks": claims{"keys": []string{}}}, nil, bad, nil},
		"keys not a set":                   {claims{"software_jwks": "keys"}, nil, bad, nil},
		"keys in jwks":                     {claims{"software_jwks": nil, "jwks": clientJWKS(t, "s")}, nil, "", nil},
		"keys in both":                     {claims{"jwks": clientJWKS(t, "other")}, nil, "", claims{"jwks": asJSON(t, string(clientJWKS(t, "s")))}},
		"another's keys":                   {claims{"software_jwks": clientJWKS(t, "other")}, nil, metadata, nil},
		"name of the statement":            {nil, claims{"client_name": "Bank of England"}, "", claims{"client_name": "App of s"}},
		"name of the body":                 {claims{"software_client_name": nil}, claims{"client_name": "Mine"}, "", claims{"client_name": "Mine"}},
		"no name":                          {claims{"software_client_name": nil}, nil, metadata, nil},
		"name with a line end":             {claims{"software_client_name": "a\r\nb"}, nil, bad, nil},
		"some redirect_uris":               {nil, claims{"redirect_uris": []string{callback}}, "", claims{"redirect_uris": []any{callback}}},
		"other redirect_uris":              {nil, claims{"redirect_uris": []string{callback, "https://tpp.example/cb/"}}, redirect, nil},
		"redirect_uris in another case":    {nil, claims{"redirect_uris": []string{strings.ToUpper(callback)}}, redirect, nil},
		"none in the statement":            {claims{"software_redirect_uris": nil}, nil, redirect, nil},
		"none in the statement, one asked": {claims{"software_redirect_uris": nil}, claims{"redirect_uris": []string{callback}}, redirect, nil},
		"a bad one in the statement":       {claims{"software_redirect_uris": []string{"http://tpp.example/cb"}}, nil, redirect, nil},
		"a bad one that is not asked":      {claims{"software_redirect_uris": []string{callback, "http://tpp.example/cb"}}, claims{"redirect_uris": []string{callback}}, "", nil},
		"redirect_uris of it a string":     {claims{"software_redirect_uris": callback}, nil, bad, nil},
		"redirect_uris of RFC 7591 in it":  {claims{"redirect_uris": []string{"https://evil.example/cb"}}, claims{"redirect_uris": []string{"https://evil.example/cb"}}, redirect, nil},
		"one role":                         {claims{"software_roles": []string{"AISP"}}, nil, "", claims{"scope": "openid accounts"}},
		"roles of PSD2":                    {claims{"software_roles": []string{"PSP_PI", "PSP_IC", "PISP"}}, nil, "", claims{"scope": "openid payments fundsconfirmations"}},
		"no role":                          {claims{"software_roles": nil}, nil, "", claims{"scope": "openid"}},
		"the role of a bank":               {claims{"software_roles": []string{"ASPSP"}}, nil, "", claims{"scope": "openid"}},
		"a role that does not exist":       {claims{"software_roles": []string{"AISP", "KING"}}, nil, bad, nil},
		"roles a string":                   {claims{"software_roles": "AISP"}, nil, bad, nil},
		"less scope":                       {nil, claims{"scope": "payments"}, "", claims{"scope": "payments"}},
		"more scope":                       {nil, claims{"scope": "openid fundsconfirmations"}, metadata, nil},
		"roles in the body":                {claims{"software_roles": []string{"AISP"}}, claims{"software_roles": []string{"PISP"}, "scope": "payments"}, metadata, nil},
		"scope in the statement":           {claims{"software_roles": []string{"AISP"}, "scope": "payments"}, claims{"scope": "payments"}, metadata, nil},
		"the same keys in the body":        {nil, claims{"jwks": clientJWKS(t, "s")}, "", nil},
		"other keys in the body":           {nil, claims{"jwks": clientJWKS(t, "other")}, metadata, nil},
		"keys by URL in the body":          {nil, claims{"jwks_uri": "https://tpp.example/jwks"}, metadata, nil},
		"another software_id in the body":  {nil, claims{"software_id": "software-t"}, metadata, nil},
	} {
		a := w.register("s", w.statement(sandboxDirectory, "s", row.statement), row.request)
		if row.fault != "" {
			if a.StatusCode != 400 || a.text("error") != row.fault || written() {
				t.Errorf("%s: %v, want %s", name, a, row.fault)
			}
			continue
		}
		if a.StatusCode != 201 || !written() {
			t.Errorf("%s: %v", name, a)
			continue
		}
		for member, want := range row.want {
			if diff := cmp.Diff(want, a.JSON[member]); diff != "" {
				t.Errorf("%s: %s: %s", name, member, diff)
			}
		}
	}
	// Signed by what the directory does not have.
	for name, token := range map[string]string{
		"another key":        sign(t, key(t, liveDirectory, jose.PS256), "JWT", w.statementClaims(sandboxDirectory, "s")),
		"the software's key": sign(t, clientKey(t, "s", jose.PS256), "JWT", w.statementClaims(sandboxDirectory, "s")),
		"another typ":        sign(t, key(t, sandboxDirectory, jose.PS256), "at+jwt", w.statementClaims(sandboxDirectory, "s")),
		"changed afterwards": func() string {
			parts := strings.Split(w.statement(sandboxDirectory, "s", nil), ".")
			parts[1] = b64([]byte(text(t, w.statementClaims(sandboxDirectory, "s"))))
			return strings.Join(parts, ".")
		}(),
		"nothing": "",
		"no JWT":  "statement",
	} {
		if a := w.register("s", token, nil); a.StatusCode != 400 || a.text("error") != bad || written() {
			t.Errorf("%s: %v", name, a)
		}
	}
	expect(t, w.register("s", "", claims{"software_statement": 7}), 400, bad)
	expect(t, w.register("s", "", claims{"software_statement": nil}), 400, bad)
}

func sign(t testing.TB, key *jose.PrivateKey, typ string, c claims) string {
	t.Helper()
	token, err := key.Sign(typ, c)
	must(t, err)
	return token
}

// What the operator says of a directory: its environment, providers, roles
// claim and how old its statements may be.
//
// Proves: D3
func TestDirectories(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	w.addProvider(gatehouse.Provider{Code: "live", Status: gatehouse.Live, Profile: gatehouse.ProfilePSD2, Connector: gatehouse.Connector{LoginURL: "https://bank.example/live/login"}})
	site := w.replicaWith(
		gatehouse.Directory{Issuer: sandboxDirectory, Environment: gatehouse.SandboxEnvironment, Providers: []string{"alpha"}, RolesClaim: "roles", StatementMaxAge: gatehouse.Duration(time.Minute)},
		gatehouse.Directory{Issuer: liveDirectory, Environment: gatehouse.Production, StatementMaxAge: gatehouse.Duration(90 * 24 * time.Hour)},
	)
	send := func(directory string, changes claims) *answer {
		return w.doAt(site, "POST", registerPath, jwtHeader, w.registrationRequest("s", w.statement(directory, "s", changes), nil))
	}
	for name, row := range map[string]struct {
		directory string
		changes   claims
		fault     string
		scope     string
	}{
		"roles of the claim":       {sandboxDirectory, claims{"roles": []string{"CBPII"}}, "", "openid fundsconfirmations"},
		"the claim is not there":   {sandboxDirectory, nil, "", "openid"},
		"the usual claim":          {liveDirectory, claims{"roles": []string{"CBPII"}}, "", "openid accounts payments"},
		"an old statement":         {sandboxDirectory, claims{"iat": w.clock.Now().Add(-61 * time.Second).Unix()}, "invalid_software_statement", ""},
		"a statement of the day":   {liveDirectory, claims{"iat": w.clock.Now().Add(-48 * time.Hour).Unix()}, "", "openid accounts payments"},
		"a statement of last year": {liveDirectory, claims{"iat": w.clock.Now().Add(-91 * 24 * time.Hour).Unix()}, "invalid_software_statement", ""},
		"of the other environment": {liveDirectory, claims{"software_environment": "sandbox"}, "invalid_software_statement", ""},
	} {
		a := send(row.directory, row.changes)
		if a.text("error") != row.fault || a.text("scope") != row.scope {
			t.Errorf("%s: %v", name, a)
		}
	}
	limited, free := w.registrantOf("s", send(sandboxDirectory, claims{"roles": []string{"AISP"}})), w.registrantOf("s", send(liveDirectory, nil))
	for provider, allowed := range map[string]bool{"alpha": true, "beta": false, "live": false} {
		a := limited.ask(provider, clientCredentials)
		if allowed != (a.StatusCode == 200) || !allowed && (a.StatusCode != 403 || a.text("error") != "unauthorized_client") {
			t.Errorf("%s: %v", provider, a)
		}
		expect(t, free.ask(provider, clientCredentials), 200, "")
	}
}

// A sandbox statement opens sandbox providers only, also when one goes live
// later.
func TestSandboxClientAtALiveProvider(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	for _, hosted := range []bool{true, false} {
		p := gatehouse.Provider{Code: "live_at_bank", Status: gatehouse.Live, Profile: gatehouse.ProfilePSD2, AuthorizationEndpoint: "https://bank.example/authorize"}
		if hosted {
			p = gatehouse.Provider{Code: "live", Status: gatehouse.Live, Profile: gatehouse.ProfilePSD2, Connector: gatehouse.Connector{LoginURL: "https://bank.example/live/login"}}
		}
		w.addProvider(p)
	}
	sandbox := w.registrant("s", nil)
	live := w.register("s", w.statement(liveDirectory, "s", nil), nil)
	expect(t, live, 201, "")
	production := w.registrantOf("s", live)
	visit := sandbox.ask("alpha", exchange(w.code("alpha", sandbox.id, nil)))
	expect(t, visit, 200, "")
	begin := func(r *registrant) *answer {
		return w.connector("live_at_bank", "POST", "", claims{
			"authorize_url": "https://bank.example/authorize?" + query(r.id).encode(), "auth_code": gatehouse.NewSecret(),
			"auth_code_exp": w.clock.Now().Add(time.Minute).Format(time.RFC3339),
		})
	}
	for _, provider := range []string{"live", "live_at_bank"} {
		expect(t, production.ask(provider, clientCredentials), 200, "")
		a := sandbox.ask(provider, clientCredentials)
		expect(t, a, 403, "unauthorized_client")
		if a.text("error_class") != "Forbidden" {
			t.Errorf("%v", a)
		}
	}
	if a := begin(production); a.StatusCode != 200 {
		t.Errorf("%v", a)
	}
	if a := begin(sandbox); a.StatusCode != 403 || a.text("error_class") != "Forbidden" {
		t.Errorf("%v", a)
	}
	w.visit("live", query(production.id))
	if got := landed(t, w.get("/oidc/live/authorize?"+query(sandbox.id).encode())); got.Get("error") != "unauthorized_client" || got.Has("code") {
		t.Errorf("%v", got)
	}

	refresh := form{"grant_type": "refresh_token", "refresh_token": visit.text("refresh_token")}
	expect(t, sandbox.ask("alpha", refresh), 200, "")
	w.changeProvider("alpha", func(p *gatehouse.Provider) { p.Status = gatehouse.Live })
	expect(t, sandbox.ask("alpha", refresh), 403, "unauthorized_client")
}

// The claims of a signed request that are not metadata.
func TestRegistrationRequest(t *testing.T) {
	t.Parallel()
	const metadata = "invalid_client_metadata"
	w := sqliteWorld(t)
	w.changeProvider("gamma", func(p *gatehouse.Provider) { p.Issuer = "https://gamma.example/issuer" })
	w.changeProvider("closed", func(p *gatehouse.Provider) { p.Issuer = "https://closed.example" })
	w.clock.advance(750 * time.Millisecond) // to a whole second, as tokens have them
	written := w.written()
	now := w.clock.Now()
	at := func(d time.Duration) int64 { return now.Add(d).Unix() }
	for name, row := range map[string]struct {
		change claims
		taken  bool
	}{
		"good":                         {nil, true},
		"aud an issuer":                {claims{"aud": issuer("alpha")}, true},
		"aud an issuer of its own":     {claims{"aud": "https://gamma.example/issuer"}, true},
		"aud a list of ours":           {claims{"aud": []string{issuer("beta")}}, true},
		"aud a list with another":      {claims{"aud": []string{issuer("beta"), "https://other.example"}}, false},
		"aud a list of two":            {claims{"aud": []string{baseURL, issuer("alpha")}}, false},
		"aud a list without ours":      {claims{"aud": []string{"https://other.example", baseURL + "/"}}, false},
		"aud what would be its issuer": {claims{"aud": issuer("gamma")}, false},
		"aud a disabled provider":      {claims{"aud": "https://closed.example"}, false},
		"aud would be a disabled's":    {claims{"aud": issuer("closed")}, false},
		"aud an unknown provider":      {claims{"aud": issuer("nobody")}, false},
		"aud no provider code":         {claims{"aud": issuer("alpha/")}, false},
		"aud another server":           {claims{"aud": "https://other.example"}, false},
		"aud the endpoint":             {claims{"aud": baseURL + registerPath}, false},
		"aud with a slash":             {claims{"aud": baseURL + "/"}, false},
		"aud in capitals":              {claims{"aud": strings.ToUpper(baseURL)}, false},
		"aud empty":                    {claims{"aud": ""}, false},
		"aud an empty list":            {claims{"aud": []string{}}, false},
		"no aud":                       {claims{"aud": nil}, false},
		"iss another software":         {claims{"iss": "software-t"}, false},
		"iss in capitals":              {claims{"iss": "SOFTWARE-S"}, false},
		"no iss":                       {claims{"iss": nil}, false},
		"exp now":                      {claims{"exp": at(0)}, false},
		"exp next second":              {claims{"exp": at(time.Second)}, true},
		"exp in an hour":               {claims{"exp": at(time.Hour)}, true},
		"exp in more than an hour":     {claims{"exp": at(time.Hour + time.Second)}, false},
		"exp a string":                 {claims{"exp": "1999999999"}, false},
		"no exp":                       {claims{"exp": nil}, false},
		"iat an hour ago":              {claims{"iat": at(-time.Hour)}, true},
		"iat more than an hour ago":    {claims{"iat": at(-time.Hour - time.Second)}, false},
		"iat in a minute":              {claims{"iat": at(time.Minute)}, true},
		"iat in more than a minute":    {claims{"iat": at(61 * time.Second)}, false},
		"iat a string":                 {claims{"iat": "0"}, false},
		"no iat":                       {claims{"iat": nil}, false},
		"nbf now":                      {claims{"nbf": at(0)}, true},
		"nbf in more than a minute":    {claims{"nbf": at(61 * time.Second)}, false},
		"nbf a string":                 {claims{"nbf": "0"}, false},
		"no jti":                       {claims{"jti": nil}, false},
		"jti empty":                    {claims{"jti": ""}, false},
		"jti a number":                 {claims{"jti": 7}, false},
		"jti of 255":                   {claims{"jti": strings.Repeat("j", 255)}, true},
		"jti of 256":                   {claims{"jti": strings.Repeat("j", 256)}, false},
		"jti with a NUL":               {claims{"jti": "a\x00b"}, true},
	} {
		a := w.register("s", w.statement(sandboxDirectory, "s", nil), row.change)
		switch {
		case row.taken && (a.StatusCode != 201 || !written()):
			t.Errorf("%s: %v", name, a)
		case !row.taken && (a.StatusCode != 400 || a.text("error") != metadata || written()):
			t.Errorf("%s: %v, want %s", name, a, metadata)
		}
	}
	statement := w.statement(sandboxDirectory, "s", nil)
	good := w.registrationClaims("s", statement)
	for name, body := range map[string]string{
		"another's key":   sign(t, clientKey(t, "t", jose.PS256), "JWT", good),
		"RS256":           sign(t, clientKey(t, "s", jose.RS256), "JWT", good),
		"another typ":     sign(t, clientKey(t, "s", jose.PS256), "oauth-authz-req+jwt", good),
		"the directory's": sign(t, key(t, sandboxDirectory, jose.PS256), "JWT", good),
		"no JWT":          "body",
		"nothing":         "",
		"JSON":            text(t, good),
		"two tokens":      sign(t, clientKey(t, "s", jose.PS256), "JWT", good) + "\n" + statement,
	} {
		a := w.do("POST", registerPath, jwtHeader, body)
		if a.StatusCode != 400 || a.text("error") != metadata || written() {
			t.Errorf("%s: %v", name, a)
		}
	}
	for _, media := range [][]string{nil, {"text/plain"}, {"application/x-www-form-urlencoded"}, {"application/jwt", "application/jwt"}} {
		a := w.do("POST", registerPath, http.Header{"Content-Type": media}, sign(t, clientKey(t, "s", jose.PS256), "JWT", good))
		if a.StatusCode != 415 || written() {
			t.Errorf("%q: %v", media, a)
		}
	}
	for _, query := range []string{"?dry_run=1", "?dry_run=true&dry_run=true", "?x=y", "?dry_run"} {
		if a := w.do("POST", registerPath+query, jwtHeader, sign(t, clientKey(t, "s", jose.PS256), "JWT", good)); a.StatusCode != 400 || a.text("error") != "invalid_request" || written() {
			t.Errorf("%s: %v", query, a)
		}
	}
	expect(t, w.do("POST", registerPath+"?dry_run=false", jwtHeader, sign(t, clientKey(t, "s", jose.PS256), "application/jwt", good)), 201, "")
}

// One member of the metadata at a time, in either form of the body.
func TestClientMetadata(t *testing.T) {
	t.Parallel()
	const metadata, redirect = "invalid_client_metadata", "invalid_redirect_uri"
	w := sqliteWorld(t)
	written := w.written()
	list := func(s ...string) []string { return s }
	for name, row := range map[string]struct {
		change claims
		fault  string
	}{
		"method of another kind":      {claims{"token_endpoint_auth_method": "client_secret_post"}, metadata},
		"method none":                 {claims{"token_endpoint_auth_method": "none"}, metadata},
		"method tls":                  {claims{"token_endpoint_auth_method": "tls_client_auth"}, metadata},
		"method a list":               {claims{"token_endpoint_auth_method": list("private_key_jwt")}, metadata},
		"method empty":                {claims{"token_endpoint_auth_method": ""}, metadata},
		"grant type password":         {claims{"grant_types": list("authorization_code", "password")}, metadata},
		"grant type implicit":         {claims{"grant_types": list("implicit")}, metadata},
		"no grant types":              {claims{"grant_types": list()}, metadata},
		"grant types a string":        {claims{"grant_types": "authorization_code"}, metadata},
		"grant types with a null":     {claims{"grant_types": []any{"authorization_code", nil}}, metadata},
		"grant types null":            {claims{"grant_types": json.RawMessage("null")}, metadata},
		"response type token":         {claims{"response_types": list("code", "token")}, metadata},
		"hybrid":                      {claims{"response_types": list("code id_token")}, metadata},
		"no response types":           {claims{"response_types": list()}, metadata},
		"response types a string":     {claims{"response_types": "code"}, metadata},
		"code without its grant type": {claims{"response_types": list("code"), "grant_types": list("client_credentials")}, metadata},
		"code twice":                  {claims{"response_types": list("code", "code")}, ""},
		"scope empty":                 {claims{"scope": ""}, metadata},
		"scope of blanks":             {claims{"scope": "  "}, metadata},
		"scope a list":                {claims{"scope": list("openid")}, metadata},
		"scope that does not exist":   {claims{"scope": "openid profile"}, metadata},
		"scope twice":                 {claims{"scope": "openid openid accounts"}, ""},
		"redirect_uris empty":         {claims{"redirect_uris": list()}, redirect},
		"redirect_uris a string":      {claims{"redirect_uris": callback}, redirect},
		"redirect_uris with a number": {claims{"redirect_uris": []any{callback, 7}}, redirect},
		"redirect_uris null":          {claims{"redirect_uris": json.RawMessage("null")}, redirect},
		"assertion alg none":          {claims{"token_endpoint_auth_signing_alg": "none"}, metadata},
		"assertion alg ES256":         {claims{"token_endpoint_auth_signing_alg": "ES256"}, metadata},
		"object alg none":             {claims{"request_object_signing_alg": "none"}, metadata},
		"object alg empty":            {claims{"request_object_signing_alg": ""}, metadata},
		"ID Token alg none":           {claims{"id_token_signed_response_alg": "none"}, metadata},
		"ID Token alg a number":       {claims{"id_token_signed_response_alg": 256}, metadata},
		"signed objects a string":     {claims{"require_signed_request_object": "true"}, metadata},
		"signed objects a number":     {claims{"require_signed_request_object": 1}, metadata},
		"application type native":     {claims{"application_type": "native"}, metadata},
		"application type a number":   {claims{"application_type": 1}, metadata},
		"client_name a number":        {claims{"client_name": 1}, metadata},
		"jwks_uri a number":           {claims{"jwks_uri": 1}, metadata},
		"what nobody knows":           {claims{"favourite_colour": "green", "post_logout_redirect_uris": 7}, ""},
	} {
		for form, send := range map[string]func() *answer{
			"JWT":  func() *answer { return w.register("m", w.statement(sandboxDirectory, "m", nil), row.change) },
			"JSON": func() *answer { return w.registerJSON(w.statement(sandboxDirectory, "m", nil), row.change) },
		} {
			a := send()
			switch {
			case row.fault == "" && (a.StatusCode != 201 || !written()):
				t.Errorf("%s as %s: %v", name, form, a)
			case row.fault != "" && (a.StatusCode != 400 || a.text("error") != row.fault || written()):
				t.Errorf("%s as %s: %v, want %s", name, form, a, row.fault)
			}
			if described := a.text("error_description"); row.fault != "" && (described == "" || described != strings.ToLower(described[:1])+described[1:]) {
				t.Errorf("%s as %s: described as %q", name, form, described)
			}
		}
	}
	// A statement is no secret: unsigned, it gets none.
	for _, method := range []any{"client_secret_basic", nil} {
		if a := w.registerJSON(w.statement(sandboxDirectory, "m", nil), claims{"token_endpoint_auth_method": method}); a.text("error") != metadata || written() {
			t.Errorf("unsigned with method %v: %v", method, a)
		}
	}
	for name, body := range map[string]string{"twice": `{"scope":"openid","scope":"openid"}`, "a list": "[]", "null": "null", "cut": "{", "nothing": "", "not UTF-8": "{\"a\":\"\xff\"}"} {
		if a := w.do("POST", registerPath, jsonHeader, body); a.StatusCode != 400 || a.text("error") != metadata {
			t.Errorf("%s: %v", name, a)
		}
	}
}
