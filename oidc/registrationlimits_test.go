package oidc_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"gatehouse"
	"gatehouse/jose"
	"gatehouse/store"
	"gatehouse/store/storetest"
)

// Proves: D14
func TestRegistrationLimits(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	uris := func(n, length int) (list []string) {
		for i := range n {
			uri := fmt.Sprintf("https://tpp.example/%03d/", i)
			list = append(list, uri+strings.Repeat("a", max(0, length-len(uri))))
		}
		return list
	}
	nested := func(depth int) json.RawMessage {
		return json.RawMessage(strings.Repeat("[", depth) + strings.Repeat("]", depth))
	}
	sized := func(n int) func(claims) claims { // the length of the body, in bytes
		return func(c claims) claims {
			c = c.with(claims{"pad": ""})
			return c.with(claims{"pad": strings.Repeat("p", n-len(text(t, c)))})
		}
	}
	statement := func(list []string) string {
		return w.statement(sandboxDirectory, "m", claims{"software_redirect_uris": list})
	}
	for name, row := range map[string]struct {
		uris   []string // of the statement
		change func(claims) claims
		status int
		fault  string
	}{
		"100 redirect_uris":             {uris(100, 0), nil, 201, ""},
		"101 redirect_uris":             {uris(101, 0), nil, 400, "invalid_software_statement"},
		"101 redirect_uris in the body": {uris(100, 0), func(c claims) claims { return c.with(claims{"redirect_uris": uris(101, 0)}) }, 400, "invalid_redirect_uri"},
		"a redirect_uri of 2,048":       {uris(1, 2048), nil, 201, ""},
		"a redirect_uri of 2,049":       {uris(1, 2049), nil, 400, "invalid_redirect_uri"},
		"101 grant types": {uris(1, 0), func(c claims) claims {
			return c.with(claims{"grant_types": strings.Split(strings.Repeat("authorization_code ", 101), " ")[:101]})
		}, 400, "invalid_client_metadata"},
		"32 levels":                {uris(1, 0), func(c claims) claims { return c.with(claims{"deep": nested(31)}) }, 201, ""},
		"33 levels":                {uris(1, 0), func(c claims) claims { return c.with(claims{"deep": nested(32)}) }, 400, "invalid_client_metadata"},
		"9,000 levels":             {uris(1, 0), func(c claims) claims { return c.with(claims{"deep": nested(9_000)}) }, 400, "invalid_client_metadata"},
		"256 KiB":                  {uris(1, 0), sized(256 << 10), 201, ""},
		"a byte more than 256 KiB": {uris(1, 0), sized(256<<10 + 1), 413, "invalid_request"},
	} {
		body := w.registrationClaims("m", statement(row.uris))
		if row.change != nil {
			body = row.change(body)
		}
		if a := w.do("POST", registerPath, jsonHeader, text(t, body)); a.StatusCode != row.status || a.text("error") != row.fault {
			t.Errorf("%s as JSON: %.300v", name, a)
		}
		signed := sign(t, clientKey(t, "m", jose.PS256), "JWT", body)
		status, fault := row.status, row.fault
		if len(signed) > 256<<10 {
			status, fault = 413, "invalid_request"
		}
		if a := w.do("POST", registerPath, jwtHeader, signed); a.StatusCode != status || a.text("error") != fault {
			t.Errorf("%s as JWT: %.300v", name, a)
		}
		w.clock.advance(time.Minute)
	}
	long := w.statement(sandboxDirectory, "m", claims{"pad": strings.Repeat("p", 64<<10)})
	if a := w.register("m", long, nil); a.StatusCode != 400 || a.text("error") != "invalid_software_statement" {
		t.Errorf("a statement of more than 64 KiB: %.300v", a)
	}
}

// Proves: D15
func TestRegistrationRates(t *testing.T) {
	t.Parallel()
	forEachWorld(t, func(t *testing.T, w *world) {
		limited := func(a *answer) bool {
			t.Helper()
			if a.StatusCode == 429 && (a.text("error") != "slow_down" || a.Header.Get("Retry-After") == "") {
				t.Errorf("%v", a)
			}
			return a.StatusCode == 429
		}
		// An address: thirty at once, then one in six seconds.
		for i := range 30 {
			expect(t, w.register("m", w.statement(sandboxDirectory, "m", claims{"org_id": fmt.Sprint("org-", i%2)}), nil), 201, "")
		}
		body := w.registrationRequest("m", w.statement(sandboxDirectory, "m", nil), nil)
		if a := w.do("POST", registerPath, jwtHeader, body); !limited(a) {
			t.Fatalf("31st of an address: %v", a)
		}
		if a := w.recover("m", w.statement(sandboxDirectory, "m", nil), nil); !limited(a) {
			t.Errorf("to recover: %v", a)
		}
		w.clock.advance(6 * time.Second)
		expect(t, w.do("POST", registerPath, jwtHeader, body), 201, "") // it was not spent
		if a := w.register("m", w.statement(sandboxDirectory, "m", nil), nil); !limited(a) {
			t.Errorf("at once after it: %v", a)
		}
		// An organisation: a hundred in a day, whatever address and process.
		addressless := func(org string) *answer {
			w.clock.advance(6 * time.Second)
			return w.register("m", w.statement(sandboxDirectory, "m", claims{"org_id": org}), nil)
		}
		for i := range 100 {
			a := addressless("busy")
			expect(t, a, 201, "")
			if i%2 == 0 { // to delete a client gives nothing back
				must(t, w.store.DeleteClient(t.Context(), a.text("client_id"), w.clock.Now()))
			}
		}
		if a := addressless("busy"); !limited(a) {
			t.Fatalf("101st of an organisation: %v", a)
		}
		expect(t, addressless("idle"), 201, "")
		w.clock.advance(6 * time.Second) // whom another directory calls so is another
		expect(t, w.register("m", w.statement(liveDirectory, "m", claims{"org_id": "busy"}), nil), 201, "")
		second, err := store.Open(t.Context(), w.url)
		must(t, err)
		defer second.Close()
		w.site = w.replica(second) // a restart
		if a := addressless("busy"); !limited(a) {
			t.Errorf("after a restart: %v", a)
		}
		w.clock.advance(23*time.Hour + 45*time.Minute)
		if a := addressless("busy"); !limited(a) {
			t.Errorf("before the day is over: %v", a)
		}
		w.clock.advance(15 * time.Minute)
		expect(t, addressless("busy"), 201, "")
	})
}

// A statement is no secret: whoever has seen one can use up half of its
// organisation's day, and the owner of its keys has the rest.
//
// Proves: D15
func TestUnsignedRegistrationsLeaveRoom(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	statement := w.statement(sandboxDirectory, "m", nil)
	for i := range 51 {
		w.clock.advance(6 * time.Second)
		if a := w.registerJSON(statement, nil); i < 50 && a.StatusCode != 201 || i == 50 && a.StatusCode != 429 {
			t.Fatalf("%d: %v", i, a)
		}
	}
	w.clock.advance(6 * time.Second)
	expect(t, w.register("m", w.statement(sandboxDirectory, "m", nil), nil), 201, "")
}

// Whatever reads keys or writes is counted for the address, dry runs among it;
// and the keys that it reads take nobody's place.
//
// Proves: D15, C20
func TestTriedKeysTakeNobodysPlace(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	store := w.keystore()
	w.changeProvider("alpha", func(p *gatehouse.Provider) { p.Rules.OpenRegistration = true })
	own := clientKey(t, "owner", jose.PS256)
	store.publish("/owner", own)
	w.addClient(gatehouse.Client{ID: "owner", JWKSURI: store.url("/owner")})
	expect(t, w.tokenBy("gamma", "owner", own), 200, "")
	w.clock.advance(time.Second) // else all were asked for last
	try := func(address string, n int) *httptest.ResponseRecorder {
		body := text(t, claims{
			"provider_code": "alpha", "client_name": "Anybody", "redirect_uris": []string{callback}, "scope": "openid accounts",
			"token_endpoint_auth_method": "private_key_jwt", "jwks_uri": store.url(fmt.Sprint("/", n)),
		})
		return w.at(address, "POST", registerPath+"?dry_run=true", map[string]string{"Content-Type": "application/json"}, body)
	}
	const flood = 4200 // more than are kept
	for n := range flood {
		if a := try(fmt.Sprintf("192.0.%d.%d", n/30/256, n/30%256), n); a.Code != 400 {
			t.Fatalf("%d: %d %s", n, a.Code, a.Body)
		}
	}
	if a := try("192.0.0.0", flood); a.Code != 429 {
		t.Errorf("the 31st of an address: %d %s", a.Code, a.Body)
	}
	store.answer("/owner", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(503) })
	expect(t, w.tokenBy("gamma", "owner", own), 200, "")
	w.clock.advance(6 * time.Minute)
	expect(t, w.tokenBy("gamma", "owner", own), 200, "")
	w.settle(store.url("/owner"))
	tallied(t, flood+1)
}

// An address is the peer's, whatever the headers say; of IPv6 it is the network
// that one host has for itself.
//
// Proves: D15
func TestRegistrationAddress(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	n := 0
	from := func(address string) int {
		n++
		statement := w.statement(sandboxDirectory, "m", claims{"org_id": fmt.Sprint("org-", n)})
		r := httptest.NewRequest("POST", registerPath, strings.NewReader(w.registrationRequest("m", statement, nil)))
		r.RemoteAddr = address
		r.Header.Set("Content-Type", "application/jwt")
		r.Header.Set("X-Forwarded-For", fmt.Sprintf("192.0.2.%d", n))
		r.Header.Set("Forwarded", fmt.Sprintf("for=192.0.2.%d", n))
		recorder := httptest.NewRecorder()
		w.site.Config.Handler.ServeHTTP(recorder, r)
		return recorder.Code
	}
	for name, row := range map[string]struct{ many, same, other string }{
		"IPv4":   {"198.51.100.1:%d", "198.51.100.1:9", "198.51.100.2:9"},
		"IPv6":   {"[2001:db8:0:1::%x]:443", "[2001:db8:0:1:ffff:ffff:ffff:ffff]:9", "[2001:db8:0:2::1]:9"},
		"mapped": {"[::ffff:203.0.113.1]:%d", "203.0.113.1:9", "203.0.113.2:9"},
	} {
		for i := range 30 {
			if status := from(fmt.Sprintf(row.many, i+1)); status != 201 {
				t.Fatalf("%s: %d", name, status)
			}
		}
		if status := from(row.same); status != 429 {
			t.Errorf("%s: 31st: %d", name, status)
		}
		if status := from(row.other); status != 201 {
			t.Errorf("%s: of another: %d", name, status)
		}
	}
}

// Proves: D17
func TestRegistrationWithoutAStatement(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	w.addProvider(gatehouse.Provider{Code: "live", Status: gatehouse.Live, Profile: gatehouse.ProfilePSD2, Connector: gatehouse.Connector{LoginURL: "https://bank.example/live/login"}})
	body := claims{
		"provider_code": "alpha", "client_name": "Anybody", "redirect_uris": []string{callback}, "jwks": clientJWKS(t, "any"),
		"token_endpoint_auth_method": "private_key_jwt", "grant_types": []string{"authorization_code", "client_credentials"}, "scope": "openid accounts",
	}
	send := func(changes claims) *answer {
		return w.do("POST", registerPath, jsonHeader, text(t, body.with(changes)))
	}
	signed := func() *answer {
		return w.do("POST", registerPath, jwtHeader, sign(t, clientKey(t, "any", jose.PS256), "JWT", w.registrationClaims("any", "").with(body).with(claims{"software_statement": nil})))
	}
	written := w.written()
	for _, provider := range []any{"alpha", "beta", "gamma", "live", "", nil, 7} {
		if a := send(claims{"provider_code": provider}); a.StatusCode != 400 || a.text("error") != "invalid_software_statement" || written() {
			t.Errorf("%v: %v", provider, a)
		}
	}
	expect(t, signed(), 400, "invalid_software_statement")

	w.changeProvider("alpha", func(p *gatehouse.Provider) { p.Rules.OpenRegistration = true })
	w.changeProvider("gamma", func(p *gatehouse.Provider) { p.Rules.OpenRegistration = true })
	w.changeProvider("closed", func(p *gatehouse.Provider) { p.Rules.OpenRegistration = true })
	written()
	for provider, want := range map[any]int{"beta": 400, "live": 400, "closed": 403, "nobody": 404} {
		if a := send(claims{"provider_code": provider}); a.StatusCode != want || written() {
			t.Errorf("%v: %v", provider, a)
		}
	}
	expect(t, signed(), 400, "invalid_software_statement")
	for name, change := range map[string]claims{
		"no keys":        {"jwks": nil},
		"keys of none":   {"jwks": claims{"keys": []string{}}},
		"keys and a URL": {"jwks_uri": "https://tpp.example/jwks"},
		"a bad URL":      {"jwks": nil, "jwks_uri": "http://tpp.example/jwks"},
		"no name":        {"client_name": nil},
		"name too long":  {"client_name": strings.Repeat("n", 256)},
		"name with NUL":  {"client_name": "a\x00"},
		"another scope":  {"scope": "openid everything"},
	} {
		if a := send(change); a.text("error") != "invalid_client_metadata" || written() {
			t.Errorf("%s: %v", name, a)
		}
	}
	expect(t, send(claims{"redirect_uris": nil}), 400, "invalid_redirect_uri")

	a := send(nil)
	expect(t, a, 201, "")
	r := w.registrantOf("any", a)
	if a.JSON["software_statement"] != nil || a.JSON["software_id"] != nil {
		t.Errorf("%v", a)
	}
	expect(t, r.ask("alpha", clientCredentials), 200, "")
	expect(t, r.ask("gamma", clientCredentials), 400, "unauthorized_client")
	expect(t, r.ask("live", clientCredentials), 403, "unauthorized_client")
	expect(t, send(claims{"token_endpoint_auth_method": nil, "jwks": nil}), 201, "") // with a secret, and no key

	// It stays where it was registered, and what an operator registered is not
	// for anybody's words to change.
	put := func(id, token string, changes claims) *answer {
		return w.do("PUT", registerPath+"/"+id, http.Header{"Content-Type": {"application/json"}, "Authorization": {"Bearer " + token}}, text(t, body.with(changes)))
	}
	expect(t, put(r.id, r.token, claims{"scope": "openid"}), 200, "")
	expect(t, put(r.id, r.token, claims{"provider_code": "gamma"}), 400, "invalid_software_statement")
	expect(t, put(r.id, r.token, claims{"provider_code": nil}), 400, "invalid_software_statement")
	operators := w.token("alpha", tppA, clientCredentials)
	expect(t, put(tppA, operators.text("access_token"), nil), 400, "invalid_software_statement")
	vouched := w.registrant("m", nil)
	c, err := w.store.Client(t.Context(), vouched.id)
	must(t, err)
	c.Providers = []string{"alpha"} // as if its directory were for that one only
	must(t, w.store.UpdateClient(t.Context(), c))
	expect(t, put(vouched.id, vouched.token, nil), 400, "invalid_software_statement")
	expect(t, w.do("PUT", r.path(), http.Header{"Content-Type": {"application/jwt"}, "Authorization": {"Bearer " + r.token}},
		w.registrationRequest("any", w.statement(sandboxDirectory, "any", nil), nil)), 400, "invalid_software_statement")

	// A provider that goes live is open no more.
	w.changeProvider("alpha", func(p *gatehouse.Provider) { p.Status = gatehouse.Live })
	expect(t, send(nil), 400, "invalid_software_statement")
	p, err := w.store.Provider(t.Context(), "alpha")
	must(t, err)
	if p.Validate() == nil {
		t.Error("a live provider may have open registration")
	}
}

// A dry run finds every fault, stores nothing and spends nothing.
func TestDryRun(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	r := w.registrant("m", nil)
	written := w.written()
	problems := func(a *answer) (list []string) {
		faults, _ := a.JSON["problems"].([]any)
		for _, fault := range faults {
			list = append(list, fault.(map[string]any)["error"].(string))
		}
		slices.Sort(list)
		return list
	}
	const bad, metadata, redirect = "invalid_software_statement", "invalid_client_metadata", "invalid_redirect_uri"
	for _, method := range []string{"POST", "PUT"} {
		path, header := registerPath, http.Header{"Content-Type": {"application/jwt"}}
		if method == "PUT" {
			path, header = r.path(), http.Header{"Content-Type": {"application/jwt"}, "Authorization": {"Bearer " + r.token}}
		}
		good := func(statement, changes claims) string {
			return w.registrationRequest("m", w.statement(sandboxDirectory, "m", statement), changes)
		}
		for name, row := range map[string]struct {
			body string
			want []string
		}{
			"one fault":         {good(nil, claims{"scope": "everything"}), []string{metadata}},
			"grant types":       {good(nil, claims{"grant_types": []string{"password"}, "response_types": []string{"code"}}), []string{metadata}},
			"algorithms":        {good(nil, claims{"token_endpoint_auth_signing_alg": "none", "request_object_signing_alg": "none", "id_token_signed_response_alg": "none"}), []string{metadata, metadata, metadata}},
			"a bad statement":   {good(claims{"iat": nil}, nil), []string{bad}},
			"a bad signature":   {sign(t, clientKey(t, "other", jose.PS256), "JWT", w.registrationClaims("m", w.statement(sandboxDirectory, "m", nil))), []string{metadata}},
			"a bad jti":         {good(nil, claims{"jti": nil, "application_type": "native"}), []string{metadata, metadata}},
			"statement and all": {good(claims{"software_id": nil}, claims{"grant_types": []string{}, "application_type": "native"}), []string{metadata, metadata, bad}},
			"everything": {good(nil, claims{
				"aud": "https://other.example", "redirect_uris": []string{"https://evil.example"}, "scope": "everything", "jwks": claims{}, "application_type": "native",
				"token_endpoint_auth_method": "none", "grant_types": []string{"password"}, "response_types": []string{"token"}, "require_signed_request_object": 1, "software_id": "x",
			}), []string{metadata, metadata, metadata, metadata, metadata, metadata, metadata, metadata, redirect}},
		} {
			a := w.do(method, path+"?dry_run=true", header, row.body)
			if a.StatusCode != 400 || a.JSON["valid"] != false || !slices.Equal(problems(a), row.want) || written() {
				t.Errorf("%s, %s: %v, want %v", method, name, a, row.want)
			}
			faults, _ := a.JSON["problems"].([]any)
			if len(faults) == 0 || faults[0].(map[string]any)["error"] != a.text("error") || faults[0].(map[string]any)["error_description"] != a.text("error_description") || a.text("error_class") != "InvalidRequest" {
				t.Errorf("%s, %s: the first fault is not the answer's: %v", method, name, a)
			}
		}
		for _, authMethod := range []string{"private_key_jwt", "client_secret_basic"} {
			body := good(nil, claims{"token_endpoint_auth_method": authMethod})
			for range 2 {
				a := w.do(method, path+"?dry_run=true", header, body)
				client, _ := a.JSON["client"].(map[string]any)
				if a.StatusCode != 200 || a.JSON["valid"] != true || client["client_name"] != "App of m" || client["token_endpoint_auth_method"] != authMethod || written() {
					t.Fatalf("%s: %v", method, a)
				}
				for _, member := range []string{"client_id", "client_secret", "registration_access_token"} {
					if client[member] != nil || a.JSON[member] != nil {
						t.Errorf("%s: a dry run gave a %s", method, member)
					}
				}
			}
			if a := w.do(method, path, header, body); a.StatusCode/100 != 2 { // what it said holds, and the jti is good
				t.Errorf("%s: %v", method, a)
			}
			written()
		}
		// What only the store can say is no statement about the request.
		broken := w.replica(faultyStore{Store: w.store, client: func(do func() error) error { return errors.New("gone") }})
		expect(t, w.doAt(broken, "POST", registerPath, jwtHeader, good(nil, nil)), 503, "temporarily_unavailable")
		written() // its jti
	}
	for _, method := range []string{"GET", "DELETE"} {
		if a := w.do(method, r.path()+"?dry_run=true", bearerHeader(r.token), ""); a.StatusCode != 400 || written() {
			t.Errorf("%s: %v", method, a)
		}
	}
	if a := w.do("POST", registerPath+"/recover?dry_run=true", jwtHeader, w.registrationRequest("m", w.statement(sandboxDirectory, "m", nil), nil)); a.StatusCode != 400 || written() {
		t.Errorf("recover: %v", a)
	}
	expect(t, w.do("GET", r.path(), bearerHeader(r.token), ""), 200, "")
}

// A faultyStore has faults around the writing of clients: do does it.
type faultyStore struct {
	gatehouse.Store
	client func(do func() error) error
}

func (s faultyStore) CreateClient(ctx context.Context, c *gatehouse.Client) error {
	return s.client(func() error { return s.Store.CreateClient(ctx, c) })
}

func (s faultyStore) UpdateClient(ctx context.Context, c *gatehouse.Client) error {
	return s.client(func() error { return s.Store.UpdateClient(ctx, c) })
}

func (s faultyStore) DeleteClient(ctx context.Context, id string, now time.Time) error {
	return s.client(func() error { return s.Store.DeleteClient(ctx, id, now) })
}

// A registration is whole or not there, and one whose answer was lost is found
// again.
//
// Proves: D5
func TestRegistrationIsAtomic(t *testing.T) {
	t.Parallel()
	forEachWorld(t, func(t *testing.T, w *world) {
		found := func() (list []*registrant) {
			t.Helper()
			a := w.do("POST", registerPath+"/recover", jwtHeader, w.registrationRequest("m", w.statement(sandboxDirectory, "m", nil), nil))
			expect(t, a, 200, "")
			for _, c := range a.JSON["clients"].([]any) {
				c := c.(map[string]any)
				list = append(list, &registrant{w, "m", c["client_id"].(string), c["registration_access_token"].(string), ""})
			}
			return list
		}
		failing := w.replica(faultyStore{Store: w.store, client: func(func() error) error { return errors.New("disk full") }})
		losing := w.replica(faultyStore{Store: w.store, client: func(do func() error) error { return errors.Join(do(), errors.New("connection lost")) }})
		statement := w.statement(sandboxDirectory, "m", nil)

		a := w.doAt(failing, "POST", registerPath, jwtHeader, w.registrationRequest("m", statement, nil))
		expect(t, a, 503, "temporarily_unavailable")
		if a.Header.Get("Retry-After") == "" || strings.Contains(a.Body, "disk full") || a.JSON["client_id"] != nil || a.JSON["registration_access_token"] != nil {
			t.Errorf("%v", a)
		}
		if clients := found(); len(clients) != 0 {
			t.Fatalf("%d clients of a registration that failed", len(clients))
		}

		body := w.registrationRequest("m", statement, nil)
		expect(t, w.doAt(losing, "POST", registerPath, jwtHeader, body), 503, "temporarily_unavailable")
		expect(t, w.do("POST", registerPath, jwtHeader, body), 400, "invalid_client_metadata")
		clients := found()
		if len(clients) != 1 {
			t.Fatalf("%d clients of a registration whose answer was lost", len(clients))
		}
		expect(t, clients[0].ask("alpha", clientCredentials), 200, "")
		expect(t, w.do("GET", clients[0].path(), bearerHeader(clients[0].token), ""), 200, "")

		// The same statement again makes a client of its own.
		other := w.registrantOf("m", w.register("m", statement, claims{"scope": "openid"}))
		if other.id == clients[0].id || other.token == clients[0].token {
			t.Fatal("two registrations made one client")
		}
		first := w.do("GET", clients[0].path(), bearerHeader(clients[0].token), "")
		second := w.do("GET", other.path(), bearerHeader(other.token), "")
		if first.text("scope") != "openid accounts payments" || second.text("scope") != "openid" {
			t.Errorf("%v\n%v", first, second)
		}
		expect(t, w.do("DELETE", clients[0].path(), bearerHeader(clients[0].token), ""), 204, "")
		expect(t, other.ask("alpha", clientCredentials), 200, "")
	})
}

// Of any number of uses of one request one registers, on any replica, and none
// afterwards.
//
// Proves: C6, D5
func TestRegistrationRequestIsUsedOnce(t *testing.T) {
	forEachWorld(t, func(t *testing.T, w *world) {
		second, err := store.Open(t.Context(), w.url)
		must(t, err)
		defer second.Close()
		for round := range storetest.Rounds(t, 2) {
			sites := []*httptest.Server{w.replica(w.store), w.replica(second), w.replica(second)} // a burst of 30 each
			body := w.registrationRequest("m", w.statement(sandboxDirectory, "m", claims{"org_id": fmt.Sprint("org-", round)}), nil)
			made := 0
			for _, a := range w.atOnce(64, func(i int) *answer { return w.doAt(sites[i%3], "POST", registerPath, jwtHeader, body) }) {
				if a.StatusCode == 201 {
					made++
				} else {
					expect(t, a, 400, "invalid_client_metadata")
				}
			}
			if made != 1 {
				t.Fatalf("one request made %d clients", made)
			}
			w.clock.advance(5*time.Minute - time.Second)
			w.site = w.replica(second)
			expect(t, w.do("POST", registerPath, jwtHeader, body), 400, "invalid_client_metadata")
		}
		// A jti is one of its software, whoever else says it.
		statement := w.statement(sandboxDirectory, "m", nil)
		expect(t, w.register("m", statement, claims{"jti": "one"}), 201, "")
		expect(t, w.register("m", statement, claims{"jti": "one", "scope": "openid"}), 400, "invalid_client_metadata")
		expect(t, w.register("n", w.statement(sandboxDirectory, "n", nil), claims{"jti": "one"}), 201, "")
		expect(t, w.register("m", w.statement(liveDirectory, "m", nil), claims{"jti": "one"}), 201, "")
		expect(t, w.register("m", w.statement(sandboxDirectory, "m", claims{"org_id": "another"}), claims{"jti": "one"}), 201, "")
		// A refused request is not spent.
		expect(t, w.register("m", statement, claims{"jti": "two", "scope": "everything"}), 400, "invalid_client_metadata")
		expect(t, w.register("m", statement, claims{"jti": "two"}), 201, "")
		// It is one for all that a request can do.
		r := w.registrant("m", claims{"jti": "three"})
		again := w.registrationRequest("m", statement, claims{"jti": "three"})
		header := http.Header{"Content-Type": {"application/jwt"}, "Authorization": {"Bearer " + r.token}}
		expect(t, w.do("PUT", r.path(), header, again), 400, "invalid_client_metadata")
		expect(t, w.do("POST", registerPath+"/recover", jwtHeader, again), 400, "invalid_client_metadata")
		expect(t, w.do("PUT", r.path(), header, w.registrationRequest("m", statement, claims{"jti": "four"})), 200, "")
		expect(t, w.register("m", statement, claims{"jti": "four"}), 400, "invalid_client_metadata")
	})
}
