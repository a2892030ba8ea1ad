//go:build linux

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"gatehouse"
	"gatehouse/jose"
)

// The two providers host their authorization endpoints themselves
// (docs/connector.md): so the program plays the bank and needs no browser.
const (
	plainProvider    = "plain"
	rotatingProvider = "rotating"

	baseURL     = "https://gatehouse.example"
	redirectURI = "https://tpp.example/callback"

	// codeLife is how long a bank's code is good.
	codeLife = 10 * time.Minute
	// assertionLife is close to the longest that a server takes, so that an
	// assertion can be presented again long after.
	assertionLife = 9 * time.Minute
	// signatureLife is that of the bank's calls.
	signatureLife = 2 * time.Minute
)

// A bank is a provider as its connector knows it.
type bank struct {
	code      string
	appID     string
	appSecret string
	key       *jose.PrivateKey
}

// A party is a registered client: it has a key or a secret.
type party struct {
	id       string
	password string
	key      *jose.PrivateKey
}

// A world is what the load talks to and where it writes down what it heard.
type world struct {
	replicas []*replica
	banks    []*bank
	parties  []*party
	history  *history
	http     *http.Client
	// serial makes ids: two calls never share one by chance.
	serial atomic.Int64
	run    string
}

// answerTimeout is longer than any answer may take: the server gives up after
// serverDeadline.
const answerTimeout = serverDeadline + 2*time.Second

func newHTTPClient(callers int) *http.Client {
	return &http.Client{
		Timeout:   answerTimeout,
		Transport: &http.Transport{MaxIdleConnsPerHost: 2 * callers, DisableCompression: true, IdleConnTimeout: 30 * time.Second},
		CheckRedirect: func(*http.Request, []*http.Request) error {
			return http.ErrUseLastResponse
		},
	}
}

func (w *world) id(what string) string { return fmt.Sprintf("%s-%s-%d", w.run, what, w.serial.Add(1)) }

// An answer is the body of any answer.
type answerBody struct {
	Access      string `json:"access_token"`
	Refresh     string `json:"refresh_token"`
	ExpiresIn   int64  `json:"expires_in"`
	Active      *bool  `json:"active"`
	Error       string `json:"error"`
	Description string `json:"error_description"`
	Class       string `json:"error_class"`
	Message     string `json:"error_message"`
	Data        struct {
		AuthorizationID string `json:"authorization_id"`
		ConsentID       string `json:"ConsentId"`
	} `json:"data"`
}

// do sends a request to a replica, completes c with what came back, and writes
// it down.
func (w *world) do(ctx context.Context, r *replica, req *http.Request, c *call) (body answerBody) {
	before := r.clock()
	c.replica, c.offset, c.start = r.number, before.offset, time.Now()
	body = w.ask(req.WithContext(ctx), c)
	c.end = time.Now()
	after := r.clock()
	c.steady = !before.changing && before == after
	w.history.add(c)
	return body
}

// ask sends the request and judges the answer.
func (w *world) ask(req *http.Request, c *call) (body answerBody) {
	c.outcome = unknown
	res, err := w.http.Do(req)
	if err != nil {
		c.description = err.Error()
		return body
	}
	defer res.Body.Close()
	data, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	if err != nil {
		c.description = err.Error()
		return body
	}
	c.status, c.retryAfter = res.StatusCode, res.Header.Get("Retry-After") != ""
	if len(data) > 0 {
		if err := json.Unmarshal(data, &body); err != nil {
			c.description = "not JSON"
			return body
		}
	}
	c.fault, c.description = body.Error, body.Description
	if c.fault == "" {
		c.fault, c.description = body.Class, body.Message
	}
	switch {
	case res.StatusCode/100 == 2:
		c.outcome = ok
		c.access, c.refresh, c.life = body.Access, body.Refresh, time.Duration(body.ExpiresIn)*time.Second
		c.active = body.Active != nil && *body.Active
	case res.StatusCode < 500:
		c.outcome = refused
	}
	return body
}

// An assertion is a signed client assertion, which is good once.
type assertion struct{ jti, text string }

// assert signs an assertion (RFC 7523 §3) that fits the clock of a replica.
func (w *world) assert(p *party, b *bank, offset time.Duration) assertion {
	jti, now := w.id("jti"), time.Now().Add(offset)
	text, err := p.key.Sign("JWT", map[string]any{
		"iss": p.id, "sub": p.id, "aud": baseURL + "/" + b.code, "jti": jti,
		"iat": now.Unix(), "exp": now.Add(assertionLife).Unix(),
	})
	if err != nil {
		panic(err) // the key is ours
	}
	return assertion{jti, text}
}

// post makes a request of a client at a provider; a is used when it is not
// zero, else the client authenticates as it does.
func (w *world) post(r *replica, b *bank, p *party, path string, form url.Values, a assertion, c *call) *http.Request {
	c.provider, c.client = b.code, p.id
	if p.key != nil {
		if a.text == "" {
			a = w.assert(p, b, r.clock().offset)
		}
		c.jti = a.jti
		form.Set("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer")
		form.Set("client_assertion", a.text)
	}
	req, err := http.NewRequest(http.MethodPost, r.url+"/api/oidc/"+b.code+"/"+path, strings.NewReader(form.Encode()))
	if err != nil {
		panic(err) // the URL is ours
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if p.key == nil {
		req.SetBasicAuth(url.QueryEscape(p.id), url.QueryEscape(p.password))
	}
	return req
}

// credentials asks for a token of the client's own (RFC 6749 §4.4).
func (w *world) credentials(ctx context.Context, r *replica, b *bank, p *party, a assertion) *call {
	c := &call{kind: credentials}
	w.do(ctx, r, w.post(r, b, p, "tokens", url.Values{"grant_type": {gatehouse.GrantClientCredentials}}, a, c), c)
	return c
}

// exchange presents a code (RFC 6749 §4.1.3).
func (w *world) exchange(ctx context.Context, r *replica, b *bank, p *party, code string) *call {
	c := &call{kind: exchange, code: code}
	form := url.Values{"grant_type": {gatehouse.GrantAuthorizationCode}, "code": {code}, "redirect_uri": {redirectURI}}
	w.do(ctx, r, w.post(r, b, p, "tokens", form, assertion{}, c), c)
	return c
}

// refresh presents a refresh token (RFC 6749 §6).
func (w *world) refresh(ctx context.Context, r *replica, b *bank, p *party, token string) *call {
	c := &call{kind: refresh, token: token}
	form := url.Values{"grant_type": {gatehouse.GrantRefreshToken}, "refresh_token": {token}}
	w.do(ctx, r, w.post(r, b, p, "tokens", form, assertion{}, c), c)
	return c
}

// revoke ends the grant of a token (RFC 7009).
func (w *world) revoke(ctx context.Context, r *replica, b *bank, p *party, token string) *call {
	c := &call{kind: revoke, token: token}
	w.do(ctx, r, w.post(r, b, p, "revoke", url.Values{"token": {token}}, assertion{}, c), c)
	return c
}

// introspect asks whether a token is active (RFC 7662).
func (w *world) introspect(ctx context.Context, r *replica, b *bank, p *party, token string) *call {
	c := &call{kind: introspect, token: token}
	w.do(ctx, r, w.post(r, b, p, "introspect", url.Values{"token": {token}}, assertion{}, c), c)
	return c
}

// lodge lodges a consent (docs/connector.md has what becomes of it); token is
// one of the client's own.
func (w *world) lodge(ctx context.Context, r *replica, b *bank, p *party, token string) (c *call, consentID string) {
	c = &call{kind: lodge, provider: b.code, client: p.id}
	req, err := http.NewRequest(http.MethodPost, r.url+"/api/"+b.code+"/open-banking/v3.1/aisp/account-access-consents",
		strings.NewReader(`{"Data":{"Permissions":["ReadAccountsBasic"]},"Risk":{}}`))
	if err != nil {
		panic(err) // the URL is ours
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+token)
	return c, w.do(ctx, r, req, c).Data.ConsentID
}

// withdraw revokes the consent of the grant that a token is of, as the bank.
func (w *world) withdraw(ctx context.Context, r *replica, b *bank, p *party, consentID, token string) *call {
	c := &call{kind: withdraw, provider: b.code, client: p.id, token: token}
	w.do(ctx, r, w.signed(r, b, http.MethodPatch, "consents/"+consentID+"/revoke", map[string]any{}), c)
	return c
}

// begin tells the server that a PSU came to the bank, and the bank's code.
func (w *world) begin(ctx context.Context, r *replica, b *bank, p *party, code, consentID string) (c *call, authorizationID string) {
	query := url.Values{"response_type": {"code"}, "client_id": {p.id}, "redirect_uri": {redirectURI}, "scope": {"openid accounts"}, "state": {"s"}}
	if consentID != "" {
		query.Set("claims", `{"id_token":{"openbanking_intent_id":{"value":"`+consentID+`","essential":true}}}`)
	}
	c = &call{kind: begin, provider: b.code, client: p.id, code: code}
	req := w.signed(r, b, http.MethodPost, "authorizations", map[string]any{
		"authorize_url": "https://" + b.code + ".example/authorize?" + query.Encode(),
		"auth_code":     code,
		"auth_code_exp": time.Now().Add(r.clock().offset + codeLife).UTC().Format(time.RFC3339),
	})
	return c, w.do(ctx, r, req, c).Data.AuthorizationID
}

// verdict tells the server what the PSU decided.
func (w *world) verdict(ctx context.Context, r *replica, b *bank, p *party, code, authorizationID string, approve bool) *call {
	data := map[string]any{"status": "denied"}
	if approve {
		data = map[string]any{"status": "approved", "user_id": "user-" + p.id}
	}
	c := &call{kind: verdict, provider: b.code, client: p.id, code: code, approves: approve}
	w.do(ctx, r, w.signed(r, b, http.MethodPut, "authorizations/"+authorizationID, data), c)
	return c
}

// signed makes a call of the bank's connector (docs/connector.md).
func (w *world) signed(r *replica, b *bank, method, path string, data any) *http.Request {
	body, err := b.key.Sign("JWT", map[string]any{"data": data, "exp": time.Now().Add(r.clock().offset + signatureLife).Unix()})
	if err != nil {
		panic(err) // the key is ours
	}
	req, err := http.NewRequest(method, r.url+"/api/connectors/ob/v1/"+path, strings.NewReader(body))
	if err != nil {
		panic(err) // the URL is ours
	}
	req.Header.Set("Content-Type", "application/jwt")
	req.Header.Set("App-Id", b.appID)
	req.Header.Set("App-Secret", b.appSecret)
	return req
}

// public reads what must be there whatever the database does.
func (w *world) public(ctx context.Context, r *replica, address string) *call {
	c := &call{kind: public}
	req, err := http.NewRequest(http.MethodGet, address, nil)
	if err != nil {
		panic(err) // the URL is ours
	}
	w.do(ctx, r, req, c)
	c.description = strings.TrimPrefix(strings.TrimPrefix(address, r.url), r.admin) + " " + c.description
	return c
}
