package demobank_test

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"gatehouse/demobank"
	"gatehouse/jose"
)

// A town is a World to walk in: the fake server grown by just as much OAuth as the walk and the TPP meet.
type town struct {
	*gatehouse
	world         *demobank.World
	tpp           *demobank.TPP
	side          *httptest.Server
	undecide      chan time.Time // what the bank's After waits for
	issued        map[string]*authorization
	used          map[string]bool
	registrations map[string]*registration // by client_id; nil: deleted
	consent       consent
	// spoil may change an answer of the server before it is sent.
	spoil func(r *http.Request, status int, body map[string]any) int
	// forge may change an authorization response.
	forge func(url.Values)
}

const clientSecret = "se cret:%"

func newTown(t *testing.T) *town {
	g := newGatehouse(t, &clock{now: began})
	w := &town{
		gatehouse: g, undecide: make(chan time.Time), issued: make(map[string]*authorization), used: make(map[string]bool),
		registrations: make(map[string]*registration),
	}
	w.side = httptest.NewServer(nil)
	t.Cleanup(w.side.Close)
	side := http.NewServeMux()
	w.side.Config.Handler = side
	w.world = &demobank.World{BaseURL: g.URL, SideURL: w.side.URL, DirectoryURL: w.side.URL + "/directory", HTTP: g.Client(), Now: g.clock.Now}
	side.Handle("/directory/", newDirectory(w.world.DirectoryURL, g.clock).Handler())
	callback := []string{w.side.URL + "/tpp/callback"}
	keyFile := filepath.Join(t.TempDir(), "key.pem")
	if err := os.WriteFile(keyFile, keys().client.PEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, p := range []demobank.Provider{
		{Code: "demobank", Profile: "psd2", Door: demobank.DoorGatehouse},
		{Code: "examplebank", Profile: "psd2", Door: demobank.DoorBank},
		{Code: "oidcbank", Profile: "oidc", Door: demobank.DoorGatehouse},
	} {
		p.Issuer, p.PSUs, p.Gateway = g.URL+"/"+p.Code, demobank.PSUs(), demobank.Gateway{ID: gatewayID, Secret: clientSecret}
		p.Clients = []demobank.Client{
			{ID: "signer", AuthMethod: "private_key_jwt", Alg: jose.PS256, KID: keys().client.KID, KeyFile: keyFile, RedirectURIs: callback},
			{ID: "secretive", AuthMethod: "client_secret_basic", Secret: clientSecret, RedirectURIs: callback},
		}
		w.world.Providers = append(w.world.Providers, p)
		bank := &demobank.Bank{
			Code: p.Code, Name: p.Code, URL: w.side.URL + "/" + p.Code, GatehouseURL: g.URL, AppID: appID, AppSecret: appSecret, Key: keys().bank,
			HTTP: g.Client(), Now: g.clock.Now, After: func(time.Duration) <-chan time.Time { return w.undecide }, Log: slog.New(slog.DiscardHandler),
		}
		side.Handle("/"+p.Code+"/", bank.Handler())
		t.Cleanup(bank.Close)
	}
	w.tpp = &demobank.TPP{World: w.world, Name: "Demo TPP", URL: w.side.URL + "/tpp", Log: slog.New(slog.DiscardHandler)}
	side.Handle("/tpp/", w.tpp.Handler())
	g.leave = w.wayBack
	g.mux.HandleFunc("GET /.well-known/openid-configuration/{code}", w.discovery)
	g.mux.HandleFunc("GET /{code}/.well-known/openid-configuration", w.discovery)
	g.mux.HandleFunc("GET /jwks", func(rw http.ResponseWriter, r *http.Request) {
		json.NewEncoder(rw).Encode(jose.JWKS{Keys: []*jose.PublicKey{keys().server.Public()}})
	})
	w.serveRegistration()
	w.serveConsent()
	g.mux.HandleFunc("GET /authorize/{code}", w.authorize)
	g.mux.HandleFunc("GET /return/{id}", func(rw http.ResponseWriter, r *http.Request) {
		w.mu.Lock()
		defer w.mu.Unlock()
		http.Redirect(rw, r, w.toTPP(w.find(r)), http.StatusSeeOther)
	})
	g.mux.HandleFunc("POST /tokens/{code}", w.tokens)
	g.mux.HandleFunc("POST /api/oidc/tokens", w.tokens)
	return w
}

func refused(code, class string) map[string]any {
	return map[string]any{"error": code, "error_class": class, "error_description": "no"}
}

func (w *town) write(rw http.ResponseWriter, r *http.Request, status int, body map[string]any) {
	if w.spoil != nil {
		status = w.spoil(r, status, body)
	}
	rw.Header().Set("Content-Type", "application/json")
	if status == http.StatusTooEarly || body["error"] == "authorization_pending" {
		rw.Header().Set("Retry-After", "1")
	}
	rw.WriteHeader(status)
	json.NewEncoder(rw).Encode(body)
}

func (w *town) provider(code string) *demobank.Provider {
	i := slices.IndexFunc(w.world.Providers, func(p demobank.Provider) bool { return p.Code == code })
	if i < 0 {
		return nil
	}
	return &w.world.Providers[i]
}

func (w *town) discovery(rw http.ResponseWriter, r *http.Request) {
	p := w.provider(r.PathValue("code"))
	if p == nil {
		w.write(rw, r, http.StatusNotFound, refused("invalid_request", "NotFound"))
		return
	}
	authorize := w.URL + "/authorize/" + p.Code
	if p.Door == demobank.DoorBank {
		authorize = w.side.URL + "/" + p.Code + "/authorize"
	}
	w.write(rw, r, http.StatusOK, map[string]any{
		"issuer": p.Issuer, "authorization_endpoint": authorize, "token_endpoint": w.URL + "/tokens/" + p.Code,
		"jwks_uri": w.URL + "/jwks", "introspection_endpoint": w.URL + "/introspect",
	})
}

func (w *town) authorize(rw http.ResponseWriter, r *http.Request) {
	w.mu.Lock()
	defer w.mu.Unlock()
	a := w.create(w.URL+r.URL.String(), "")
	http.Redirect(rw, r, w.side.URL+"/"+r.PathValue("code")+"/login?authorization_id="+a.id, http.StatusSeeOther)
}

// wayBack is where the bank sends the browser: to the TPP when the bank brought a code, else back to the server.
func (w *town) wayBack(a *authorization) string {
	if a.code == "" {
		return w.URL + "/return/" + a.id
	}
	return w.toTPP(a)
}

func (w *town) toTPP(a *authorization) string {
	in := parameters(a)
	out := url.Values{"iss": {w.URL + "/" + providerOf(a)}, "state": {in["state"]}}
	if a.status == "denied" {
		out.Set("error", "access_denied")
	} else {
		if a.code == "" {
			a.code = "code-of-" + a.id
		}
		w.issued[a.code] = a
		out.Set("code", a.code)
	}
	if w.forge != nil {
		w.forge(out)
	}
	return in["redirect_uri"] + "?" + out.Encode()
}

func providerOf(a *authorization) string {
	for _, code := range []string{"demobank", "examplebank", "oidcbank"} {
		if strings.Contains(must(url.Parse(a.url)).Path, code) {
			return code
		}
	}
	return ""
}

// parameters reads an authorization request, out of its request object when there is one.
func parameters(a *authorization) map[string]string {
	in := make(map[string]string)
	for name := range a.query {
		in[name] = a.query.Get(name)
	}
	if object := a.query.Get("request"); object != "" {
		token := must(jose.Parse(object, jose.MaxSize))
		if err := token.Verify([]*jose.PublicKey{keys().client.Public()}, jose.PS256); err != nil {
			panic(err)
		}
		for name := range token.Claims {
			in[name], _, _ = token.Claims.OptionalString(name)
		}
	}
	return in
}

func (w *town) tokens(rw http.ResponseWriter, r *http.Request) {
	w.mu.Lock()
	defer w.mu.Unlock()
	in := make(map[string]string)
	if r.Header.Get("Content-Type") == "application/json" {
		json.NewDecoder(r.Body).Decode(&in)
	} else if r.ParseForm() == nil {
		for name := range r.PostForm {
			in[name] = r.PostForm.Get(name)
		}
	}
	code := r.PathValue("code")
	if code == "" {
		code = in["provider_code"]
	}
	status, body := w.grant(r, w.provider(code), in)
	w.write(rw, r, status, body)
}

func (w *town) grant(r *http.Request, p *demobank.Provider, in map[string]string) (int, map[string]any) {
	client := w.authenticate(r, in)
	if client == "" && p.Profile == "oidc" {
		return http.StatusUnauthorized, refused("invalid_client", "InvalidClientAssertion")
	}
	if client == "" && w.deleted(in) {
		return http.StatusNotFound, refused("invalid_client", "NotFound")
	}
	if client == "" {
		return http.StatusBadRequest, refused("invalid_client", "InvalidClientAssertion")
	}
	answer := map[string]any{"access_token": "access", "refresh_token": "refresh-1", "token_type": "Bearer", "scope": "openid accounts", "expires_in": 600}
	claims := map[string]any{"iss": p.Issuer, "aud": client, "sub": "someone", "exp": w.clock.Now().Add(time.Minute).Unix()}
	switch in["grant_type"] {
	case "refresh_token":
		if w.consent.status == "Revoked" && !w.consent.lives {
			return http.StatusBadRequest, map[string]any{"error": "invalid_grant", "error_class": "InvalidRequest", "error_description": "the consent was revoked"}
		}
		if w.used["code"] || in["refresh_token"] != "refresh-1" {
			return http.StatusBadRequest, refused("invalid_grant", "InvalidRequest")
		}
	case "authorization_code":
		a := w.issued[in["code"]]
		asked := parameters(a)
		challenge := sha256.Sum256([]byte(in["code_verifier"]))
		if asked["redirect_uri"] != in["redirect_uri"] || asked["code_challenge"] != base64.RawURLEncoding.EncodeToString(challenge[:]) {
			return http.StatusBadRequest, refused("invalid_grant", "InvalidRequest")
		}
		if a.status == "pending" {
			w.decideSoon()
			status := http.StatusTooEarly
			if p.Profile == "oidc" {
				status = http.StatusBadRequest
			}
			return status, refused("authorization_pending", "TooEarly")
		}
		if a.status == "exchanged" {
			w.used["code"] = true
			return http.StatusBadRequest, refused("invalid_grant", "InvalidRequest")
		}
		a.status, w.used["code"] = "exchanged", false
		if id := intent(a); id != "" {
			w.consent.status, claims["openbanking_intent_id"] = "Authorised", id
		}
		sum := sha256.Sum256([]byte("access"))
		claims["nonce"], claims["at_hash"] = asked["nonce"], base64.RawURLEncoding.EncodeToString(sum[:16])
	}
	answer["id_token"] = must(keys().server.Sign("JWT", claims))
	return http.StatusOK, answer
}

// decideSoon lets the bank's late verdict go.
func (w *town) decideSoon() {
	if !w.used["late"] {
		w.used["late"] = true
		close(w.undecide)
	}
}

// authenticate returns the client's id, or nothing.
func (w *town) authenticate(r *http.Request, in map[string]string) string {
	if id, secret, ok := r.BasicAuth(); ok {
		if plain, err := url.QueryUnescape(secret); err != nil || plain != clientSecret {
			return ""
		}
		return id
	}
	token, err := jose.Parse(in["client_assertion"], jose.MaxSize)
	if err != nil {
		return ""
	}
	sub, _ := token.Claims.String("sub")
	known := []*jose.PublicKey{keys().client.Public()}
	if g := w.registrations[sub]; g != nil {
		known = g.keys
	}
	if token.Verify(known, jose.PS256) != nil {
		return ""
	}
	jti, err := token.Claims.String("jti")
	if err != nil || w.used[jti] {
		return ""
	}
	w.used[jti] = true
	return sub
}

// connect takes a person from the TPP's first page to its callback, without opening that.
func (w *town) connect(p *person, start, psu, decision string) (callback string) {
	p.t.Helper()
	address := w.side.URL + "/tpp" + start
	for range 4 {
		if strings.Contains(address, "/visits/") {
			break
		}
		got := p.get(address)
		if address = got.location; address == "" {
			p.t.Fatalf("no way to the bank: %d\n%s", got.status, got.body)
		}
	}
	consent := p.upToConsent(address, p.get(address), psu)
	address = p.step(address, "consent", consent, url.Values{"decision": {decision}, "account": {"acc-card"}}).location
	if strings.Contains(address, "/return/") {
		address = p.get(address).location
	}
	if !strings.HasPrefix(address, w.side.URL+"/tpp/callback?") {
		p.t.Fatalf("the browser comes back to %q", address)
	}
	return address
}

func TestTPP(t *testing.T) {
	for _, start := range []string{
		"/start?provider=demobank", "/start?provider=demobank&client=secretive", "/start?provider=examplebank", "/start?provider=oidcbank",
	} {
		t.Run(start, func(t *testing.T) {
			w := newTown(t)
			p := newPerson(t, w.side)
			if home := p.get(w.side.URL + "/tpp/"); !strings.Contains(home.body, `href="/tpp/start?client=secretive&amp;provider=demobank"`) {
				t.Errorf("home:\n%s", home.body)
			}
			callback := w.connect(p, start, "approve", "approve")
			back := p.get(callback)
			if !strings.Contains(back.location, "/tpp/journeys/") || strings.Contains(back.location, "code=") {
				t.Fatalf("callback: %d to %q\n%s", back.status, back.location, back.body)
			}
			shown := p.get(back.location)
			if !strings.Contains(shown.body, "Connected to") || !strings.Contains(shown.body, "&#34;sub&#34;: &#34;someone&#34;") || strings.Contains(shown.body, "refresh-1") {
				t.Errorf("journey:\n%s", shown.body)
			}
			if again := p.get(callback); again.location != back.location || w.used["code"] {
				t.Errorf("a reloaded callback: %d to %q, code used again: %v", again.status, again.location, w.used["code"])
			}
			if renewed := p.step(back.location, "refresh", shown, url.Values{}); !strings.Contains(renewed.body, "refreshes so far: 1") {
				t.Errorf("refresh:\n%s", renewed.body)
			}
		})
	}
}

func TestTPPShowsRefusals(t *testing.T) {
	w := newTown(t)
	p := newPerson(t, w.side)
	shown := p.get(p.get(w.connect(p, "/start?provider=demobank", "approve", "deny")).location)
	if !strings.Contains(shown.body, "demobank refused") || !strings.Contains(shown.body, "access_denied") {
		t.Errorf("journey:\n%s", shown.body)
	}
}

func TestTPPMeetsTooEarly(t *testing.T) {
	for _, provider := range []string{"examplebank", "oidcbank"} {
		t.Run(provider, func(t *testing.T) {
			w := newTown(t)
			p := newPerson(t, w.side)
			journey := p.get(w.connect(p, "/start?provider="+provider, "slow", "approve")).location
			early := p.get(journey)
			if !strings.Contains(early.body, "has not decided yet") || !strings.Contains(early.body, "in 1 second.") {
				t.Fatalf("journey:\n%s", early.body)
			}
			<-w.decided
			if late := p.step(journey, "exchange", early, url.Values{}); !strings.Contains(late.body, "Connected to") {
				t.Errorf("journey:\n%s", late.body)
			}
		})
	}
}

func TestTPPBelievesOnlyItsOwnAnswers(t *testing.T) {
	for name, forge := range map[string]func(url.Values){
		"state of nobody": func(query url.Values) { query.Set("state", "x") },
		"no state":        func(query url.Values) { query.Del("state") },
		"another browser": nil,
		"other issuer":    func(query url.Values) { query.Set("iss", "https://elsewhere.test") },
		"no issuer":       func(query url.Values) { query.Del("iss") },
		"no code":         func(query url.Values) { query.Del("code") },
	} {
		t.Run(name, func(t *testing.T) {
			w := newTown(t)
			p := newPerson(t, w.side)
			callback := must(url.Parse(w.connect(p, "/start?provider=demobank", "approve", "approve")))
			query := callback.Query()
			if forge == nil {
				p = newPerson(t, w.side)
			} else {
				forge(query)
			}
			callback.RawQuery = query.Encode()
			if got := p.get(callback.String()); got.status != http.StatusForbidden || w.authorizations[0].status == "exchanged" {
				t.Errorf("status %d, authorization %s", got.status, w.authorizations[0].status)
			}
		})
	}
}

func TestTPPFormsNeedTheirToken(t *testing.T) {
	w := newTown(t)
	p := newPerson(t, w.side)
	journey := p.get(w.connect(p, "/start?provider=demobank", "approve", "approve")).location
	if got := p.post(journey+"/refresh", url.Values{"token": {"x"}}); got.status != http.StatusForbidden {
		t.Errorf("status %d", got.status)
	}
	if got := newPerson(t, w.side).get(journey); got.status != http.StatusForbidden {
		t.Errorf("another browser sees the journey: %d", got.status)
	}
	if got := p.get(w.side.URL + "/tpp/start?provider=none"); got.status != http.StatusNotFound {
		t.Errorf("unknown provider: status %d", got.status)
	}
}
