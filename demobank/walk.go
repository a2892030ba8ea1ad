package demobank

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"gatehouse/jose"
)

// Walk goes through the whole flow over HTTP at three providers of w: one of profile psd2 whose authorization endpoint
// the server hosts, one of profile psd2 that hosts it itself, one of profile oidc. Each needs a private_key_jwt and a
// client_secret_basic client. Then it goes through the life of a consent at the first, and through that of a
// registration of its own. Every step is printed to out as a curl command with its answer, secrets and tokens included;
// the first answer that is not the expected one ends the walk with an error.
func Walk(ctx context.Context, out io.Writer, w World) error {
	k := &walk{ctx: ctx, out: out, world: &w}
	for _, part := range []func() error{k.hosted, k.bankHosted, k.standard, k.life, k.registration} {
		if err := part(); err != nil {
			return fmt.Errorf("step %d: %w", k.step, err)
		}
	}
	fmt.Fprintf(out, "\nAll %d steps went as they should.\n", k.step)
	return nil
}

type walk struct {
	ctx   context.Context
	out   io.Writer
	world *World
	step  int // number of the last step printed
}

// hosted walks through everything once: every way to ask for a token, and the refusals on the way.
func (k *walk) hosted() error {
	p, err := k.provider("psd2", DoorGatehouse)
	if err != nil {
		return err
	}
	k.part("%s: profile psd2, Gatehouse hosts the authorization endpoint", p.Code)
	m, err := k.discover(k.world.discoveryURL(p.Code))
	if err != nil {
		return err
	}
	keys, err := k.jwks(m)
	if err != nil {
		return err
	}
	if _, err := k.get("Discovery of a bank that does not exist: NotFound", k.world.discoveryURL("no_such_bank"), refused(http.StatusNotFound, "NotFound")); err != nil {
		return err
	}
	signer, err := k.party(p, authPrivateKeyJWT, m)
	if err != nil {
		return err
	}
	secret, err := k.party(p, "client_secret_basic", m)
	if err != nil {
		return err
	}
	if err := k.clientTokens(signer, secret); err != nil {
		return err
	}
	a, code, err := k.authorize(signer, PSUApprove)
	if err != nil {
		return err
	}
	got, err := k.exchange(signer, a, code, keys)
	if err != nil {
		return err
	}
	if err := k.refresh(signer, got); err != nil {
		return err
	}
	if _, err := k.token("The code a second time: InvalidRequest", signer, a.exchange(code), refused(http.StatusBadRequest, "InvalidRequest")); err != nil {
		return err
	}
	_, err = k.token("A code used twice may be stolen, so everything that came from it is revoked", signer, refreshForm(got), refused(http.StatusBadRequest, "InvalidRequest"))
	return err
}

// clientTokens asks for tokens of the client itself in all three forms.
func (k *walk) clientTokens(signer, secret *party) error {
	grant := clientGrant()
	req, err := signer.tokenRequest(k.ctx, grant)
	if err != nil {
		return err
	}
	if _, err := k.call("client_credentials, authenticated by a signed assertion ("+signer.client.Alg+")", req, granted); err != nil {
		return err
	}
	// tokenRequest has put the assertion into the form
	again, err := newRequest(k.ctx, http.MethodPost, signer.metadata.TokenEndpoint, contentTypeForm, grant.Encode())
	if err != nil {
		return err
	}
	if _, err := k.call("The same assertion again: InvalidClientAssertion", again, refused(http.StatusBadRequest, "InvalidClientAssertion")); err != nil {
		return err
	}
	shared := url.Values{"grant_type": {"client_credentials"}, "scope": {"accounts"}, "provider_code": {secret.provider.Code}}
	if req, err = secret.tokenRequestAt(k.ctx, k.world.BaseURL+"/api/oidc/tokens", shared); err != nil {
		return err
	}
	if _, err := k.call("client_credentials at the path all banks share, authenticated by client_secret_basic", req, granted); err != nil {
		return err
	}
	form := clientGrant()
	if err := signer.authenticate(form, nil); err != nil {
		return err
	}
	members := make(map[string]string)
	for name := range form {
		members[name] = form.Get(name)
	}
	body, err := json.Marshal(members)
	if err != nil {
		return err
	}
	_, err = k.post("client_credentials, sent as JSON", signer.metadata.TokenEndpoint, "application/json", string(body), granted)
	return err
}

// bankHosted shows the code that exists before the bank has decided, and a refusal by the bank.
func (k *walk) bankHosted() error {
	p, err := k.provider("psd2", DoorBank)
	if err != nil {
		return err
	}
	k.part("%s: profile psd2, the bank hosts the authorization endpoint and mints the code", p.Code)
	m, err := k.discover(k.world.discoveryURL(p.Code))
	if err != nil {
		return err
	}
	keys, err := k.jwks(m)
	if err != nil {
		return err
	}
	signer, err := k.party(p, authPrivateKeyJWT, m)
	if err != nil {
		return err
	}
	a, code, err := k.authorize(signer, PSUSlow)
	if err != nil {
		return err
	}
	early, err := k.token("The code before the bank has decided: TooEarly", signer, a.exchange(code), refused(http.StatusTooEarly, "TooEarly"))
	if err != nil {
		return err
	}
	got, err := k.exchangeLater(signer, a, code, early)
	if err != nil {
		return err
	}
	if err := k.verify(signer, a, got, keys); err != nil {
		return err
	}
	if err := k.refresh(signer, got); err != nil {
		return err
	}
	return k.denied(signer)
}

// standard shows the same with the statuses of the RFCs, found the way every OpenID Connect library looks.
func (k *walk) standard() error {
	p, err := k.provider("oidc", "")
	if err != nil {
		return err
	}
	k.part("%s: profile oidc, errors as in RFC 6749", p.Code)
	m, err := k.discover(p.Issuer + "/.well-known/openid-configuration")
	if err != nil {
		return err
	}
	keys, err := k.jwks(m)
	if err != nil {
		return err
	}
	secret, err := k.party(p, "client_secret_basic", m)
	if err != nil {
		return err
	}
	wrong, stranger := *secret, *secret.client
	stranger.Secret = "not-the-secret"
	wrong.client = &stranger
	if _, err := k.token("A wrong secret: 401 invalid_client", &wrong, clientGrant(), want{http.StatusUnauthorized, "invalid_client", ""}); err != nil {
		return err
	}
	a, code, err := k.authorize(secret, PSUApprove)
	if err != nil {
		return err
	}
	got, err := k.exchange(secret, a, code, keys)
	if err != nil {
		return err
	}
	return k.refresh(secret, got)
}

func (k *walk) provider(profile, door string) (*Provider, error) {
	i := slices.IndexFunc(k.world.Providers, func(p Provider) bool { return p.Profile == profile && (door == "" || p.Door == door) })
	if i < 0 {
		return nil, fmt.Errorf("no provider of profile %s with door %q", profile, door)
	}
	return &k.world.Providers[i], nil
}

func (k *walk) party(p *Provider, method string, m metadata) (*party, error) {
	i := slices.IndexFunc(p.Clients, func(c Client) bool { return c.AuthMethod == method })
	if i < 0 || len(p.Clients[i].RedirectURIs) == 0 {
		return nil, fmt.Errorf("%s has no %s client with a redirect_uri", p.Code, method)
	}
	return newParty(k.world, p, &p.Clients[i], m)
}

func (k *walk) discover(address string) (m metadata, err error) {
	a, err := k.get("Discovery", address, granted)
	if err != nil {
		return m, err
	}
	return m, json.Unmarshal(a.body, &m)
}

func (k *walk) jwks(m metadata) ([]*jose.PublicKey, error) {
	a, err := k.get("The bank's keys", m.JWKSURI, granted)
	if err != nil {
		return nil, err
	}
	set, err := jose.ParseJWKS(a.body)
	if err != nil {
		return nil, err
	}
	return set.Keys, nil
}

// authorize sends a browser to the bank, and brings back the code.
func (k *walk) authorize(t *party, username string) (attempt, string, error) {
	a := newAttempt(t.client.RedirectURIs[0], "openid accounts")
	back, err := k.visit(t, a, username)
	if err != nil {
		return a, "", err
	}
	code, err := t.answer(a, back.Query())
	return a, code, err
}

// denied sends a PSU whom the bank refuses.
func (k *walk) denied(t *party) error {
	a := newAttempt(t.client.RedirectURIs[0], "openid accounts")
	back, err := k.visit(t, a, PSUDeny)
	if err != nil {
		return err
	}
	_, err = t.answer(a, back.Query())
	if e, ok := errors.AsType[*oauthError](err); !ok || e.Code != "access_denied" {
		return fmt.Errorf("want access_denied at the redirect_uri, got %v", err)
	}
	k.print("the bank refused: access_denied")
	return nil
}

// visit plays the PSU and returns the address at which the browser comes back to the TPP.
func (k *walk) visit(t *party, a attempt, username string) (*url.URL, error) {
	i := slices.IndexFunc(t.provider.PSUs, func(p PSU) bool { return p.Username == username })
	if i < 0 {
		return nil, fmt.Errorf("%s has no PSU %q", t.provider.Code, username)
	}
	psu := t.provider.PSUs[i]
	b, err := newBrowser(k.world.HTTP)
	if err != nil {
		return nil, err
	}
	address, err := t.authorizationURL(a)
	if err != nil {
		return nil, err
	}
	what := "Authorization: parameters in the query"
	if t.key != nil {
		what = "Authorization: parameters in a signed request object"
	}
	req, err := http.NewRequestWithContext(k.ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	v, err := k.browse(what+"; PKCE, state, nonce", b, req, a.redirectURI)
	if err != nil {
		return nil, err
	}
	for _, step := range []struct {
		title string
		fill  url.Values
	}{
		{"The PSU " + username + " logs in at the bank", url.Values{"username": {psu.Username}, "password": {psu.Password}}},
		{"The one-time code", url.Values{"otp": {psu.OTP}}},
		{"Consent; the browser goes back to the TPP", url.Values{"decision": {"approve"}}},
	} {
		if req, err = v.submit(k.ctx, step.fill); err != nil {
			return nil, err
		}
		if v, err = k.browse(step.title, b, req, a.redirectURI); err != nil {
			return nil, err
		}
	}
	if !strings.HasPrefix(v.url.String(), a.redirectURI+"?") {
		return nil, errors.New("the browser did not come back to the redirect_uri")
	}
	return v.url, nil
}

// exchange trades the code for tokens and verifies the ID Token.
func (k *walk) exchange(t *party, a attempt, code string, keys []*jose.PublicKey) (got tokens, err error) {
	answer, err := k.token("The code for tokens", t, a.exchange(code), granted)
	if err != nil {
		return got, err
	}
	if err := json.Unmarshal(answer.body, &got); err != nil {
		return got, err
	}
	return got, k.verify(t, a, got, keys)
}

// exchangeLater waits as long as Retry-After says, with a fresh assertion each time.
func (k *walk) exchangeLater(t *party, a attempt, code string, early *answer) (got tokens, err error) {
	for range 10 {
		seconds, err := strconv.Atoi(early.header.Get("Retry-After"))
		if err != nil || seconds < 1 || seconds > 30 {
			return got, errors.New("Retry-After is not 1 to 30 seconds")
		}
		if err := k.wait(time.Duration(seconds) * time.Second); err != nil {
			return got, err
		}
		req, err := t.tokenRequest(k.ctx, a.exchange(code))
		if err != nil {
			return got, err
		}
		late, err := k.send(fmt.Sprintf("The code again after Retry-After (%d s)", seconds), req)
		if err != nil {
			return got, err
		}
		if late.status == http.StatusTooEarly {
			early = late
			continue
		}
		if err := granted.check(late); err != nil {
			return got, err
		}
		return got, json.Unmarshal(late.body, &got)
	}
	return got, errors.New("the bank never decided")
}

func (k *walk) wait(d time.Duration) error {
	select {
	case <-k.ctx.Done():
		return k.ctx.Err()
	case <-time.After(d):
		return nil
	}
}

func (k *walk) verify(t *party, a attempt, got tokens, keys []*jose.PublicKey) error {
	k.title("The ID Token: signature by the bank's keys, iss, aud, exp, nonce, at_hash")
	claims, err := t.verifyIDToken(keys, got, a.nonce)
	if err != nil {
		return fmt.Errorf("id_token: %w", err)
	}
	k.print(indent(claims))
	if consentID, _, err := claims.OptionalString("openbanking_intent_id"); err != nil || consentID != a.consentID {
		return errors.New("id_token: openbanking_intent_id is not the consent")
	}
	return nil
}

func refreshForm(got tokens) url.Values {
	return url.Values{"grant_type": {"refresh_token"}, "refresh_token": {got.RefreshToken}}
}

func (k *walk) refresh(t *party, got tokens) error {
	_, err := k.token("Refresh", t, refreshForm(got), granted)
	return err
}

// An answer is what came back from a call.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// A want is the answer a step must get; empty members are not looked at.
type want struct {
	status int
	code   string // `error`
	class  string // `error_class`
}

var granted = want{status: http.StatusOK}

func refused(status int, class string) want { return want{status: status, class: class} }

func (e want) check(a *answer) error {
	if a.status != e.status {
		return fmt.Errorf("want status %d, got %d", e.status, a.status)
	}
	if a.status == http.StatusNoContent {
		return nil
	}
	var got oauthError
	if err := json.Unmarshal(a.body, &got); err != nil {
		return fmt.Errorf("the answer is not JSON: %w", err)
	}
	if e.code != "" && got.Code != e.code {
		return fmt.Errorf("want error %s, got %q", e.code, got.Code)
	}
	if e.class != "" && got.Class != e.class {
		return fmt.Errorf("want error_class %s, got %q", e.class, got.Class)
	}
	return nil
}

func (k *walk) get(title, address string, e want) (*answer, error) {
	req, err := http.NewRequestWithContext(k.ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	return k.call(title, req, e)
}

func (k *walk) post(title, address, contentType, body string, e want) (*answer, error) {
	req, err := newRequest(k.ctx, http.MethodPost, address, contentType, body)
	if err != nil {
		return nil, err
	}
	return k.call(title, req, e)
}

func (k *walk) token(title string, t *party, form url.Values, e want) (*answer, error) {
	req, err := t.tokenRequest(k.ctx, form)
	if err != nil {
		return nil, err
	}
	return k.call(title, req, e)
}

func (k *walk) call(title string, req *http.Request, e want) (*answer, error) {
	a, err := k.send(title, req)
	if err != nil {
		return nil, err
	}
	return a, e.check(a)
}

// send makes one call and prints it.
func (k *walk) send(title string, req *http.Request) (*answer, error) {
	k.title(title)
	if err := k.curl(req, "-i"); err != nil {
		return nil, err
	}
	res, err := k.world.HTTP.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err != nil {
		return nil, err
	}
	k.print(res.Proto + " " + res.Status)
	for _, name := range []string{"Content-Type", "Cache-Control", "Retry-After", "WWW-Authenticate"} {
		if value := res.Header.Get(name); value != "" {
			k.print(name + ": " + value)
		}
	}
	if len(body) > 0 {
		k.print(pretty(body))
	}
	return &answer{res.StatusCode, res.Header, body}, nil
}

// browse moves the browser and prints where it came by.
func (k *walk) browse(title string, b *browser, req *http.Request, stop string) (*view, error) {
	k.title(title)
	if err := k.curl(req, "-i -L -b cookies -c cookies"); err != nil {
		return nil, err
	}
	v, err := b.open(req, stop)
	if err != nil {
		return nil, err
	}
	for _, h := range v.hops {
		k.print(strings.TrimSpace(h.status + " " + h.location))
	}
	if v.heading != "" {
		k.print("page: " + v.heading)
	}
	return v, nil
}
