package demobank_test

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"gatehouse/demobank"
	"gatehouse/jose"
)

const (
	appID     = "bank-app"
	appSecret = "bank-secret"
	appName   = "Kiwi Budget"
)

var began = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// keys are made once: one for the bank, one for the server, one for the client.
var keys = sync.OnceValue(func() (k struct{ bank, server, client *jose.PrivateKey }) {
	for _, into := range []**jose.PrivateKey{&k.bank, &k.server} {
		*into = must(jose.GenerateKey(jose.RS256, 2048))
	}
	k.client = must(jose.GenerateKey(jose.PS256, 2048))
	return k
})

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// A clock stands still until it is moved.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) move(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// An authorization is what the fake server remembers of one.
type authorization struct {
	id, url, code, status string
	query                 url.Values
	verdicts              []map[string]any
}

// A gatehouse is a server as docs/connector.md describes it, seen from the bank. It keeps no rules of OAuth.
type gatehouse struct {
	*httptest.Server
	clock *clock
	mux   *http.ServeMux

	mu             sync.Mutex
	appName        string
	consent        map[string]any                                // that every authorization asks for; nil: none
	fail           func(*http.Request) (status int, body string) // answers connector calls when its status is not 0
	authorizations []*authorization
	decided        chan map[string]any
	leave          func(a *authorization) string // where a browser goes; set by newWorld
}

func newGatehouse(t *testing.T, c *clock) *gatehouse {
	g := &gatehouse{clock: c, appName: appName, decided: make(chan map[string]any, 16)}
	mux := http.NewServeMux()
	g.mux = mux
	mux.HandleFunc("POST /api/connectors/ob/v1/authorizations", g.connector(g.begin))
	mux.HandleFunc("GET /api/connectors/ob/v1/authorizations/{id}", g.connector(g.read))
	mux.HandleFunc("PUT /api/connectors/ob/v1/authorizations/{id}", g.connector(g.decide))
	g.Server = httptest.NewServer(mux)
	t.Cleanup(g.Close)
	return g
}

func (g *gatehouse) connector(answer func(*http.Request, map[string]any) (int, any)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		g.mu.Lock()
		defer g.mu.Unlock()
		w.Header().Set("Content-Type", "application/json")
		if g.fail != nil {
			if status, body := g.fail(r); status != 0 {
				w.WriteHeader(status)
				io.WriteString(w, body)
				return
			}
		}
		data, err := g.open(r)
		if err != nil {
			w.WriteHeader(http.StatusForbidden)
			fmt.Fprintf(w, `{"error_class":"Forbidden","error_message":%q}`, err)
			return
		}
		status, body := answer(r, data)
		w.WriteHeader(status)
		json.NewEncoder(w).Encode(body)
	}
}

// open checks headers, signature and exp of a call and returns its data.
func (g *gatehouse) open(r *http.Request) (map[string]any, error) {
	if r.Header.Get("App-Id") != appID || r.Header.Get("App-Secret") != appSecret {
		return nil, fmt.Errorf("wrong credentials")
	}
	if r.Method == http.MethodGet {
		return nil, nil
	}
	if r.Header.Get("Content-Type") != "application/jwt" {
		return nil, fmt.Errorf("wrong media type")
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	token, err := jose.Parse(string(body), jose.MaxSize)
	if err != nil {
		return nil, err
	}
	if err := token.Verify([]*jose.PublicKey{keys().bank.Public()}, jose.RS256); err != nil {
		return nil, err
	}
	exp, present, err := token.Claims.Time("exp")
	if err != nil || !present || !exp.After(g.clock.Now()) || exp.After(g.clock.Now().Add(10*time.Minute)) {
		return nil, fmt.Errorf("exp is not within 10 minutes")
	}
	var data map[string]any
	return data, token.Claims.Decode("data", &data)
}

func (g *gatehouse) begin(_ *http.Request, data map[string]any) (int, any) {
	address, _ := data["authorize_url"].(string)
	code, _ := data["auth_code"].(string)
	exp, err := time.Parse(time.RFC3339, fmt.Sprint(data["auth_code_exp"]))
	if err != nil || !exp.Equal(g.clock.Now().Add(10*time.Minute)) || len(code) < 43 {
		return http.StatusBadRequest, refusal("InvalidRequest", "auth_code or auth_code_exp is wrong")
	}
	a := g.create(address, code)
	return http.StatusOK, map[string]any{"data": map[string]any{"authorization_id": a.id, "consent_id": nil, "access_token": "t"}}
}

func refusal(class, text string) map[string]any {
	return map[string]any{"error_class": class, "error_message": text}
}

// create adds a pending authorization. The caller holds the lock.
func (g *gatehouse) create(address, code string) *authorization {
	u := must(url.Parse(address))
	a := &authorization{id: fmt.Sprintf("authorization%013d", len(g.authorizations)), url: address, code: code, status: "pending", query: u.Query()}
	g.authorizations = append(g.authorizations, a)
	return a
}

// arrival starts an authorization at door 1 and returns the path the browser is sent to.
func (g *gatehouse) arrival(bank *demobank.Bank) string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return bank.URL + "/login?authorization_id=" + g.create(bank.URL+"/authorize?client_id=c", "").id
}

func (g *gatehouse) find(r *http.Request) *authorization {
	i, err := strconv.Atoi(strings.TrimPrefix(r.PathValue("id"), "authorization"))
	if err != nil || i >= len(g.authorizations) {
		return nil
	}
	return g.authorizations[i]
}

func (g *gatehouse) read(r *http.Request, _ map[string]any) (int, any) {
	a := g.find(r)
	if a == nil {
		return http.StatusNotFound, refusal("NotFound", "no such authorization")
	}
	return http.StatusOK, map[string]any{"data": map[string]any{
		"authorization_id":  a.id,
		"status":            a.status,
		"client_id":         "c",
		"app_name":          g.appName,
		"scopes":            []string{"openid", "accounts", "payments", "fundsconfirmations"},
		"created_at":        began.Format(time.RFC3339),
		"expires_at":        began.Add(time.Hour).Format(time.RFC3339),
		"access_expires_at": began.Add(180 * 24 * time.Hour).Format(time.RFC3339),
		"redirect_uri":      g.wayBack(a, "https://tpp.test/undecided?id="+a.id),
		"consent":           g.consent,
	}}
}

func (g *gatehouse) decide(r *http.Request, data map[string]any) (int, any) {
	a := g.find(r)
	if a == nil || a.status != "pending" {
		return http.StatusBadRequest, refusal("InvalidRequest", "no such pending authorization")
	}
	a.status = data["status"].(string)
	a.verdicts = append(a.verdicts, data)
	g.decided <- data
	return http.StatusOK, map[string]any{"data": map[string]any{
		"authorization_id": a.id, "status": "Authorised", "redirect_uri": g.wayBack(a, "https://tpp.test/decided?status="+a.status),
	}}
}

func (g *gatehouse) wayBack(a *authorization, fallback string) string {
	if g.leave != nil {
		return g.leave(a)
	}
	return fallback
}

// verdicts returns what was decided on the newest authorization.
func (g *gatehouse) verdicts() []map[string]any {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Clone(g.authorizations[len(g.authorizations)-1].verdicts)
}

// newBank starts a bank at g. Change may set fields before it serves.
func newBank(t *testing.T, g *gatehouse, overTLS bool, change func(*demobank.Bank)) (*demobank.Bank, *httptest.Server) {
	t.Helper()
	server := httptest.NewUnstartedServer(nil)
	scheme := "http://"
	if overTLS {
		scheme = "https://"
	}
	bank := &demobank.Bank{
		Code: "demobank", Name: "Demo Bank", URL: scheme + server.Listener.Addr().String() + "/demobank",
		GatehouseURL: g.URL, AppID: appID, AppSecret: appSecret, Key: keys().bank,
		HTTP: g.Client(), Now: g.clock.Now, After: time.After, Log: slog.New(slog.DiscardHandler),
	}
	if change != nil {
		change(bank)
	}
	server.Config.Handler = bank.Handler()
	if overTLS {
		server.StartTLS()
	} else {
		server.Start()
	}
	t.Cleanup(func() { server.Close(); bank.Close() })
	return bank, server
}

// A person drives the pages as a browser would, one answer at a time.
type person struct {
	t      *testing.T
	client *http.Client
}

func newPerson(t *testing.T, server *httptest.Server) *person {
	client := *server.Client()
	client.Jar = must(cookiejar.New(nil))
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &person{t, &client}
}

// A page is one answer.
type page struct {
	status   int
	location string
	header   http.Header
	body     string
}

func (p *person) do(req *http.Request) *page {
	p.t.Helper()
	res, err := p.client.Do(req)
	if err != nil {
		p.t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	got := &page{status: res.StatusCode, header: res.Header, body: string(body)}
	if location, err := res.Location(); err == nil {
		got.location = location.String()
	}
	return got
}

func (p *person) get(address string) *page {
	p.t.Helper()
	return p.do(must(http.NewRequest(http.MethodGet, address, nil)))
}

func (p *person) post(address string, form url.Values) *page {
	p.t.Helper()
	req := must(http.NewRequest(http.MethodPost, address, strings.NewReader(form.Encode())))
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return p.do(req)
}

var formToken = regexp.MustCompile(`name="token" value="([^"]+)"`)

// token returns the hidden token of the page's form.
func (got *page) token() string {
	if m := formToken.FindStringSubmatch(got.body); m != nil {
		return m[1]
	}
	return ""
}

// arrive opens the address and goes on to the visit; it returns the visit's address and its first page.
func (p *person) arrive(address string) (visit string, first *page) {
	p.t.Helper()
	got := p.get(address)
	if got.status != http.StatusSeeOther || !strings.Contains(got.location, "/visits/") {
		p.t.Fatalf("arrival: status %d, location %q, want a visit\n%s", got.status, got.location, got.body)
	}
	return got.location, p.get(got.location)
}

// step posts a form of the visit with the token of its page, and follows to the next page of the visit.
func (p *person) step(visit, name string, shown *page, form url.Values) *page {
	p.t.Helper()
	form.Set("token", shown.token())
	got := p.post(visit+"/"+name, form)
	if got.location == visit {
		return p.get(visit)
	}
	return got
}

// upToConsent logs in and returns the page of the consent.
func (p *person) upToConsent(visit string, first *page, username string) *page {
	p.t.Helper()
	code := p.step(visit, "login", first, url.Values{"username": {username}, "password": {"demo"}})
	return p.step(visit, "code", code, url.Values{"otp": {"123456"}})
}
