package oidc_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"gatehouse"
	"gatehouse/eidas"
	"gatehouse/jose"
	"gatehouse/oidc"
	"gatehouse/store"
	"gatehouse/store/storetest"
)

func TestMain(m *testing.M) {
	if os.Getenv(envVictim) != "" {
		if err := serveUntilKilled(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(storetest.Main(m))
}

const (
	baseURL  = "https://auth.example"
	callback = "https://tpp.example/cb"
)

// A clock is what every server of a world takes for the time.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// A world is a deployment with three banks and some clients, on one database.
//
//	alpha    psd2, Gatehouse hosts the authorization endpoint
//	beta     psd2, the bank hosts it and mints the code
//	gamma    oidc, Gatehouse hosts
//	closed   disabled
type world struct {
	t     testing.TB
	url   string // of the database
	clock *clock
	store *store.DB
	kek   *jose.KEK
	log   lockedBuffer
	site  *httptest.Server
	// fetcher and trust are for replicas made after they were set.
	fetcher *jose.Fetcher
	trust   map[gatehouse.Environment]*eidas.Trust
	// banks have the bearer values of each connector.
	banks map[string]bank
}

type bank struct{ appID, appSecret string }

const (
	tppA   = "tpp-a"   // private_key_jwt, any algorithm
	tppB   = "tpp-b"   // private_key_jwt, RS256 only
	basic  = "basic"   // client_secret_basic
	ccOnly = "cc-only" // client_credentials only, only at alpha
	secret = "s3cret of %+: ü"
)

// keyring makes RSA keys once for the whole test binary: they are slow to
// make, and no test depends on two worlds having different ones.
var keyring = struct {
	sync.Mutex
	keys map[string]*jose.PrivateKey
}{keys: map[string]*jose.PrivateKey{}}

func key(t testing.TB, owner, alg string) *jose.PrivateKey {
	t.Helper()
	keyring.Lock()
	defer keyring.Unlock()
	name := owner + "/" + alg
	if keyring.keys[name] == nil {
		k, err := jose.GenerateKey(alg, 2048)
		must(t, err)
		keyring.keys[name] = k
	}
	return keyring.keys[name]
}

// clientKey signs with either algorithm under one registered key.
func clientKey(t testing.TB, client, alg string) *jose.PrivateKey {
	k, err := jose.ParsePrivateKeyPEM(key(t, client, jose.PS256).PEM(), alg, client+"-key")
	must(t, err)
	return k
}

func clientJWKS(t testing.TB, client string) json.RawMessage {
	public := *clientKey(t, client, jose.PS256).Public()
	public.Alg = "" // either
	return jwks(t, &public)
}

func jwks(t testing.TB, keys ...*jose.PublicKey) json.RawMessage {
	data, err := json.Marshal(jose.JWKS{Keys: keys})
	must(t, err)
	return data
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// forEachWorld runs a test in a fresh world on each kind of database.
func forEachWorld(t *testing.T, test func(t *testing.T, w *world)) {
	storetest.Each(t, func(t *testing.T, url string) { test(t, newWorld(t, url)) })
}

// sqliteWorld is for what no database can change.
func sqliteWorld(t testing.TB) *world { return newWorld(t, storetest.URL(t, "sqlite")) }

func newWorld(t testing.TB, databaseURL string) *world {
	t.Helper()
	ctx := context.Background()
	kek, err := jose.NewKEK(bytes.Repeat([]byte{7}, 32))
	must(t, err)
	db, err := store.Open(ctx, databaseURL)
	must(t, err)
	t.Cleanup(func() { db.Close() })
	must(t, db.Migrate(ctx))
	w := &world{
		t: t, url: databaseURL, store: db, kek: kek, banks: map[string]bank{},
		clock: &clock{now: time.Date(2026, 11, 23, 12, 0, 0, 250e6, time.UTC)},
	}
	w.site = w.replica(db)

	w.addProvider(gatehouse.Provider{Code: "alpha", Profile: gatehouse.ProfilePSD2, Connector: gatehouse.Connector{LoginURL: "https://bank.example/alpha/login"}})
	w.addProvider(gatehouse.Provider{Code: "beta", Profile: gatehouse.ProfilePSD2, AuthorizationEndpoint: "https://bank.example/beta/authorize"})
	w.addProvider(gatehouse.Provider{Code: "gamma", Profile: gatehouse.ProfileOIDC, SigningAlg: jose.RS256, Connector: gatehouse.Connector{LoginURL: "https://bank.example/gamma/login"}})
	w.addProvider(gatehouse.Provider{Code: "closed", Profile: gatehouse.ProfilePSD2, Status: gatehouse.Disabled, AuthorizationEndpoint: "https://bank.example/closed/authorize"})

	w.addClient(gatehouse.Client{ID: tppA, JWKS: clientJWKS(t, tppA)})
	w.addClient(gatehouse.Client{ID: tppB, JWKS: clientJWKS(t, tppB),
		TokenEndpointAuthSigningAlg: jose.RS256, RequestObjectSigningAlg: jose.RS256, IDTokenSignedResponseAlg: jose.RS256})
	w.addClient(gatehouse.Client{ID: basic, TokenEndpointAuthMethod: gatehouse.AuthClientSecretBasic, SecretHash: gatehouse.ClientSecretHash(kek, basic, secret)})
	w.addClient(gatehouse.Client{ID: ccOnly, JWKS: clientJWKS(t, ccOnly), GrantTypes: []string{gatehouse.GrantClientCredentials},
		Scopes: gatehouse.Scopes{"accounts"}, Providers: []string{"alpha"}})
	return w
}

// replica starts one more server on the world's clock.
func (w *world) replica(db gatehouse.Store) *httptest.Server { return w.start(w.server(db)) }

func (w *world) start(server *oidc.Server) *httptest.Server {
	site := httptest.NewServer(server.Handler())
	w.t.Cleanup(site.Close)
	return site
}

func (w *world) server(db gatehouse.Store) *oidc.Server {
	return &oidc.Server{
		Store: db, KEK: w.kek, BaseURL: baseURL, Now: w.clock.Now,
		Log: slog.New(slog.NewJSONHandler(&w.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Directories: []gatehouse.Directory{
			{Issuer: sandboxDirectory, JWKS: jwks(w.t, key(w.t, sandboxDirectory, jose.PS256).Public()), Environment: gatehouse.SandboxEnvironment},
			{Issuer: liveDirectory, JWKS: jwks(w.t, key(w.t, liveDirectory, jose.PS256).Public()), Environment: gatehouse.Production, KeyHosts: []string{"keystore.example"}},
		},
		Fetcher: w.fetcher, Trust: w.trust,
	}
}

// reopened is the database as another process has it.
func (w *world) reopened() *store.DB {
	w.t.Helper()
	db, err := store.Open(context.Background(), w.url)
	must(w.t, err)
	w.t.Cleanup(func() { db.Close() })
	return db
}

// pair is the world's server and another one, as two processes would be.
func (w *world) pair() []*httptest.Server {
	w.t.Helper()
	return []*httptest.Server{w.site, w.replica(w.reopened())}
}

// logged returns all that the world's servers have logged.
func (w *world) logged() string {
	w.log.mu.Lock()
	defer w.log.mu.Unlock()
	return w.log.text.String()
}

type lockedBuffer struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lockedBuffer) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (w *world) addProvider(p gatehouse.Provider) {
	w.t.Helper()
	p.Name = "Bank " + p.Code
	if p.Status == "" {
		p.Status = gatehouse.Sandbox
	}
	if p.SigningAlg == "" {
		p.SigningAlg = jose.PS256
	}
	p.Scopes = gatehouse.AllScopes()
	p.SubjectSalt = bytes.Repeat([]byte(p.Code[:1]), 32)
	b := bank{"app-" + p.Code, "app secret of " + p.Code}
	w.banks[p.Code] = b
	p.Connector.AppID = b.appID
	p.Connector.AppSecretHash = gatehouse.AppSecretHash(w.kek, b.appID, b.appSecret)
	p.Connector.JWKS = jwks(w.t, key(w.t, "bank "+p.Code, jose.RS256).Public())
	p.CreatedAt, p.UpdatedAt = w.clock.Now(), w.clock.Now()
	must(w.t, p.Validate())
	var keys []*gatehouse.Key
	for _, alg := range gatehouse.Algs() {
		k := key(w.t, p.Code, alg)
		sealed, err := w.kek.Seal(k, p.Code)
		must(w.t, err)
		keys = append(keys, &gatehouse.Key{KID: k.KID, Provider: p.Code, Alg: alg, Sealed: sealed, KEKID: w.kek.ID(), CreatedAt: w.clock.Now()})
	}
	must(w.t, w.store.CreateProvider(context.Background(), &p, keys))
}

func (w *world) addClient(c gatehouse.Client) {
	w.t.Helper()
	c.Name = "TPP <" + c.ID + ">"
	c.Status = gatehouse.ClientActive
	if c.RedirectURIs == nil {
		c.RedirectURIs = []string{callback, "https://tpp.example/cb?a=1"}
	}
	if c.GrantTypes == nil {
		c.GrantTypes = gatehouse.GrantTypes()
	}
	c.ResponseTypes = []string{"code"}
	if c.Scopes == nil {
		c.Scopes = gatehouse.Scopes{"openid", "accounts", "payments"}
	}
	if c.TokenEndpointAuthMethod == "" {
		c.TokenEndpointAuthMethod = gatehouse.AuthPrivateKeyJWT
	}
	c.CreatedAt, c.UpdatedAt = w.clock.Now(), w.clock.Now()
	must(w.t, c.Validate())
	must(w.t, w.store.CreateClient(context.Background(), &c))
}

// changeProvider stores a changed provider; servers see it once their caches
// are old.
func (w *world) changeProvider(code string, change func(*gatehouse.Provider)) {
	w.t.Helper()
	p, err := w.store.Provider(context.Background(), code)
	must(w.t, err)
	change(p)
	must(w.t, w.store.UpdateProvider(context.Background(), p))
	w.clock.advance(6 * time.Second)
}

func issuer(provider string) string { return baseURL + "/" + provider }

// consent lodges an account-access consent of the client, with an id of the
// test's choice, and returns the parameter that names it.
func (w *world) consent(provider, client, id string) form {
	w.t.Helper()
	now := w.clock.Now()
	_, err := w.store.CreateConsent(context.Background(), &gatehouse.Consent{
		ID: id, Provider: provider, ClientID: client, Kind: gatehouse.AccountAccess, Status: gatehouse.ConsentAwaitingAuthorisation,
		Lodged: json.RawMessage(`{"Data":{"Permissions":["ReadAccountsDetail","ReadBalances"]},"Risk":{}}`), CreatedAt: now, StatusUpdatedAt: now,
	}, now)
	must(w.t, err)
	return intent(id)
}

// intent is the parameter that names a consent.
func intent(id string) form {
	return form{"claims": `{"id_token":{"openbanking_intent_id":{"value":"` + id + `","essential":true}}}`}
}

// An answer is a response that has been read.
type answer struct {
	*http.Response
	Body string
	JSON map[string]any // nil when the body is not a JSON object
}

func (a *answer) text(name string) string { s, _ := a.JSON[name].(string); return s }

func (a *answer) String() string { return a.Status + " " + a.Body }

// do sends a request to a path of the deployment, or to a URL of it.
func (w *world) do(method, target string, header http.Header, body string) *answer {
	w.t.Helper()
	return w.doAt(w.site, method, target, header, body)
}

func (w *world) doAt(site *httptest.Server, method, target string, header http.Header, body string) *answer {
	w.t.Helper()
	r, err := http.NewRequest(method, site.URL+strings.TrimPrefix(target, baseURL), strings.NewReader(body))
	must(w.t, err)
	maps.Copy(r.Header, header)
	response, err := http.DefaultTransport.RoundTrip(r)
	must(w.t, err)
	defer response.Body.Close()
	data, err := io.ReadAll(response.Body)
	must(w.t, err)
	a := &answer{Response: response, Body: string(data)}
	json.Unmarshal(data, &a.JSON)
	return a
}

func (w *world) get(target string) *answer { return w.do("GET", target, nil, "") }

// form is a token or authorization request; nil deletes, a list repeats.
type form map[string]any

func (f form) with(changes form) form {
	all := maps.Clone(f)
	maps.Copy(all, changes)
	return all
}

func (f form) encode() string {
	values := url.Values{}
	for name, value := range f {
		switch value := value.(type) {
		case nil:
		case string:
			values.Set(name, value)
		case []string:
			values[name] = value
		default:
			panic("form values are strings")
		}
	}
	return values.Encode()
}

var formHeader = http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}

// claims are those of a JWT; nil deletes.
type claims map[string]any

func (c claims) with(changes claims) claims {
	all := maps.Clone(c)
	for name, value := range changes {
		if value == nil {
			delete(all, name)
		} else {
			all[name] = value
		}
	}
	return all
}

// assertionClaims are those of a good client assertion.
func (w *world) assertionClaims(provider, client string) claims {
	now := w.clock.Now()
	return claims{
		"iss": client, "sub": client, "aud": issuer(provider), "jti": gatehouse.NewSecret(),
		"iat": now.Unix(), "exp": now.Add(5 * time.Minute).Unix(),
	}
}

func (w *world) assertion(provider, client string, changes claims) string {
	alg := jose.PS256
	if client == tppB {
		alg = jose.RS256
	}
	token, err := clientKey(w.t, client, alg).Sign("JWT", w.assertionClaims(provider, client).with(changes))
	must(w.t, err)
	return token
}

const assertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

// asserted adds a fresh assertion of the client to a token request.
func (w *world) asserted(provider, client string, f form) form {
	return form{"client_assertion_type": assertionType, "client_assertion": w.assertion(provider, client, nil)}.with(f)
}

// token sends a token request as the client, who is authenticated as it is
// registered.
func (w *world) token(provider, client string, f form) *answer {
	w.t.Helper()
	return w.tokenAt(w.site, provider, client, f)
}

func (w *world) tokenAt(site *httptest.Server, provider, client string, f form) *answer {
	w.t.Helper()
	header, f := w.authenticated(provider, client, f)
	return w.doAt(site, "POST", "/api/oidc/"+provider+"/tokens", header, f.encode())
}

// authenticated is a request of the client, who is authenticated as it is
// registered.
func (w *world) authenticated(provider, client string, f form) (http.Header, form) {
	w.t.Helper()
	if client != basic {
		return formHeader, w.asserted(provider, client, f)
	}
	header := formHeader.Clone()
	header.Set("Authorization", basicHeader(basic, secret))
	return header, f
}

func basicHeader(id, secret string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(url.QueryEscape(id)+":"+url.QueryEscape(secret)))
}

var verifier = strings.Repeat("verifier-", 6)

func challenge(verifier string) string {
	sum := sha256.Sum256([]byte(verifier))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// query is a good authorization request.
func query(client string) form {
	return form{
		"client_id": client, "redirect_uri": callback, "response_type": "code", "scope": "openid accounts",
		"state": "st&te %1", "nonce": "nonce-1", "code_challenge": challenge(verifier), "code_challenge_method": "S256",
	}
}

// A visit is a PSU's browser on its way through an authorization.
type visit struct {
	w        *world
	provider string
	id       string
	cookie   string
}

// visit opens an authorization: at door 1 with the browser, at door 2 as the
// bank does. It fails the test when the request is refused.
func (w *world) visit(provider string, q form) *visit {
	w.t.Helper()
	a := w.get("/oidc/" + provider + "/authorize?" + q.encode())
	location, err := a.Location()
	if a.StatusCode != http.StatusSeeOther || err != nil || location.Host != "bank.example" {
		w.t.Fatalf("authorize: %v, location %v", a, location)
	}
	cookies := a.Cookies()
	if len(cookies) != 1 {
		w.t.Fatalf("authorize set %d cookies", len(cookies))
	}
	return &visit{w, provider, location.Query().Get("authorization_id"), cookies[0].Name + "=" + cookies[0].Value}
}

// connector makes a signed call of the provider's bank.
func (w *world) connector(provider, method, path string, data claims) *answer {
	w.t.Helper()
	return w.connectorAt(w.site, provider, method, path, data)
}

func (w *world) connectorAt(site *httptest.Server, provider, method, path string, data claims) *answer {
	w.t.Helper()
	return w.connectorCallAt(site, provider, method, path, claims{"data": data, "exp": w.clock.Now().Add(2 * time.Minute).Unix()})
}

func (w *world) connectorCallAt(site *httptest.Server, provider, method, path string, payload claims) *answer {
	w.t.Helper()
	body, err := key(w.t, "bank "+provider, jose.RS256).Sign("", payload)
	must(w.t, err)
	return w.doAt(site, method, "/api/connectors/ob/v1/authorizations"+path, w.connectorHeader(provider), body)
}

func (w *world) connectorHeader(provider string) http.Header {
	b := w.banks[provider]
	return http.Header{"App-Id": {b.appID}, "App-Secret": {b.appSecret}, "Content-Type": {"application/jwt"}, "Accept": {"application/json"}}
}

var approval = claims{"status": "approved", "user_id": "psu-17", "access": []string{"GB29NWBK60161331926819"}}

func (v *visit) decide(data claims) *answer {
	v.w.t.Helper()
	return v.w.connector(v.provider, "PUT", "/"+v.id, data)
}

// back follows the browser back from the bank and returns the answer that
// sends it to the TPP.
func (v *visit) back() *answer {
	v.w.t.Helper()
	return v.w.do("GET", "/oidc/"+v.provider+"/authorize/"+v.id, http.Header{"Cookie": {v.cookie}}, "")
}

// landed reads the parameters with which the browser reaches the TPP.
func landed(t testing.TB, a *answer) url.Values {
	t.Helper()
	location, err := a.Location()
	if err != nil || a.StatusCode != http.StatusSeeOther {
		t.Fatalf("no redirect: %v", a)
	}
	return location.Query()
}

// bankCode begins an authorization as beta does and returns its id and code.
func (w *world) bankCode(q form, changes claims) (id, code string, a *answer) {
	w.t.Helper()
	code = gatehouse.NewSecret()
	data := claims{
		"authorize_url": "https://bank.example/beta/authorize?" + q.encode(), "auth_code": code,
		"auth_code_exp": w.clock.Now().Add(10 * time.Minute).Format(time.RFC3339),
	}.with(changes)
	a = w.connector("beta", "POST", "", data)
	answered, _ := a.JSON["data"].(map[string]any)
	id, _ = answered["authorization_id"].(string)
	return id, code, a
}

// code takes a PSU through a whole approved visit and returns the code.
func (w *world) code(provider, client string, changes form) string {
	w.t.Helper()
	q := query(client).with(changes)
	if provider == "beta" {
		id, code, a := w.bankCode(q, nil)
		if a.StatusCode != http.StatusOK {
			w.t.Fatalf("begin: %v", a)
		}
		if a := w.connector("beta", "PUT", "/"+id, approval); a.StatusCode != http.StatusOK {
			w.t.Fatalf("decide: %v", a)
		}
		return code
	}
	v := w.visit(provider, q)
	if a := v.decide(approval); a.StatusCode != http.StatusOK {
		w.t.Fatalf("decide: %v", a)
	}
	code := landed(w.t, v.back()).Get("code")
	if code == "" {
		w.t.Fatal("no code came back")
	}
	return code
}

// exchange is the token request for a code of w.code.
func exchange(code string) form {
	return form{"grant_type": "authorization_code", "code": code, "redirect_uri": callback, "code_verifier": verifier}
}

// tokens takes a client through a whole flow and returns the token response.
func (w *world) tokens(provider, client string) *answer {
	w.t.Helper()
	a := w.token(provider, client, exchange(w.code(provider, client, nil)))
	expect(w.t, a, 200, "")
	return a
}

// expect fails the test unless the answer has the status and the error code.
func expect(t testing.TB, a *answer, status int, code string) {
	t.Helper()
	if a.StatusCode != status || a.text("error") != code {
		t.Fatalf("got %v, want %d %s", a, status, code)
	}
}

// idToken verifies an id_token as of the provider and returns its claims.
func idToken(t testing.TB, provider, alg, text string) jose.Claims {
	t.Helper()
	token, err := jose.Parse(text, jose.MaxSize)
	must(t, err)
	if token.KID != key(t, provider, alg).KID {
		t.Fatalf("kid %s is not that of %s's %s key", token.KID, provider, alg)
	}
	must(t, token.Verify([]*jose.PublicKey{key(t, provider, alg).Public()}, alg))
	return token.Claims
}

// active reports whether an access token is good, as the store sees it.
func (w *world) active(provider, token string) bool {
	w.t.Helper()
	id, ok := gatehouse.TokenID(token)
	if !ok {
		w.t.Fatalf("not a token")
	}
	record, grant, err := w.store.AccessToken(context.Background(), provider, id)
	must(w.t, err)
	now := w.clock.Now()
	return bytes.Equal(record.Hash, gatehouse.HashSecret(token)) && now.Before(record.ExpiresAt) && grant.ActiveAt(now)
}
