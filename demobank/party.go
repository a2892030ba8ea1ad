package demobank

// What the software of a third party does: RFC 6749, RFC 7523 (private_key_jwt), RFC 7636 (PKCE), RFC 9101 (request
// objects), OpenID Connect Core and Discovery

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"gatehouse/jose"
)

const (
	authPrivateKeyJWT = "private_key_jwt"
	assertionType     = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
	assertionLife     = time.Minute
	requestLife       = 5 * time.Minute
	clockSkew         = 10 * time.Second
)

// A party is one client at one provider.
type party struct {
	world    *World
	provider *Provider
	client   *Client
	key      *jose.PrivateKey // nil when the client has none
	metadata metadata
}

// metadata is what a third party reads of OpenID Connect Discovery §3.
type metadata struct {
	Issuer                string `json:"issuer"`
	AuthorizationEndpoint string `json:"authorization_endpoint"`
	TokenEndpoint         string `json:"token_endpoint"`
	IntrospectionEndpoint string `json:"introspection_endpoint"`
	JWKSURI               string `json:"jwks_uri"`
}

// tokens is a token response (RFC 6749 §5.1, OpenID Connect Core §3.1.3.3).
type tokens struct {
	AccessToken  string `json:"access_token"`
	IDToken      string `json:"id_token"`
	RefreshToken string `json:"refresh_token"`
	TokenType    string `json:"token_type"`
	Scope        string `json:"scope"`
	ExpiresIn    int64  `json:"expires_in"`
}

// newParty reads the client's key and takes metadata for what the provider says of itself, once the issuer in it is the
// expected one (OpenID Connect Discovery §4.3).
func newParty(w *World, p *Provider, c *Client, m metadata) (*party, error) {
	if m.Issuer != p.Issuer {
		return nil, errors.New("discovery names another issuer")
	}
	t := &party{world: w, provider: p, client: c, metadata: m}
	if c.KeyFile == "" {
		return t, nil
	}
	var err error
	t.key, err = c.key()
	return t, err
}

func (w *World) discoveryURL(providerCode string) string {
	return w.BaseURL + "/.well-known/openid-configuration/" + providerCode
}

// authenticate adds the client's credentials to a token request: an assertion to its form (OpenID Connect Core §9), or
// id and secret to its header (RFC 6749 §2.3.1).
func (t *party) authenticate(form url.Values, header http.Header) error {
	if t.client.AuthMethod != authPrivateKeyJWT {
		credentials := url.QueryEscape(t.client.ID) + ":" + url.QueryEscape(t.client.Secret)
		header.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(credentials)))
		return nil
	}
	assertion, err := t.assertion()
	if err != nil {
		return err
	}
	form.Set("client_assertion_type", assertionType)
	form.Set("client_assertion", assertion)
	return nil
}

// assertion makes a client assertion (RFC 7523 §3). It is good for one request.
func (t *party) assertion() (string, error) {
	if t.key == nil {
		return "", errors.New("the client has no key_file")
	}
	now := t.world.Now()
	return t.key.Sign("JWT", map[string]any{
		"iss": t.client.ID,
		"sub": t.client.ID,
		"aud": t.metadata.Issuer,
		"jti": random(),
		"iat": now.Unix(),
		"exp": now.Add(assertionLife).Unix(),
	})
}

// tokenRequest makes an authenticated request to the token endpoint.
func (t *party) tokenRequest(ctx context.Context, form url.Values) (*http.Request, error) {
	return t.tokenRequestAt(ctx, t.metadata.TokenEndpoint, form)
}

func (t *party) tokenRequestAt(ctx context.Context, endpoint string, form url.Values) (*http.Request, error) {
	header := make(http.Header)
	if err := t.authenticate(form, header); err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, endpoint, strings.NewReader(form.Encode()))
	if err != nil {
		return nil, err
	}
	req.Header = header
	req.Header.Set("Content-Type", contentTypeForm)
	return req, nil
}

// An attempt is one authorization request, as the third party must remember it until the answer.
type attempt struct {
	state, nonce, verifier string
	redirectURI            string
	scope                  string
	consentID              string // of the consent that the PSU is asked to authorise; may be empty
}

func newAttempt(redirectURI, scope string) attempt {
	return attempt{state: random(), nonce: random(), verifier: random(), redirectURI: redirectURI, scope: scope}
}

// authorizationURL is where the browser goes: with the parameters in a signed request object (RFC 9101 §4) when the
// client has a key, else in the query (RFC 6749 §4.1.1).
func (t *party) authorizationURL(a attempt) (string, error) {
	challenge := sha256.Sum256([]byte(a.verifier))
	parameters := map[string]string{
		"response_type":         "code",
		"client_id":             t.client.ID,
		"redirect_uri":          a.redirectURI,
		"scope":                 a.scope,
		"state":                 a.state,
		"nonce":                 a.nonce,
		"code_challenge":        base64.RawURLEncoding.EncodeToString(challenge[:]),
		"code_challenge_method": "S256",
	}
	idToken := map[string]any{"acr": map[string]any{"values": []string{acrSCA}}}
	if a.consentID != "" { // as the UK Open Banking profile names it
		idToken["openbanking_intent_id"] = map[string]any{"value": a.consentID, "essential": true}
	}
	query := url.Values{}
	for name, value := range parameters {
		query.Set(name, value)
	}
	if t.key != nil {
		now := t.world.Now()
		claims := map[string]any{
			"iss":    t.client.ID,
			"aud":    t.metadata.Issuer,
			"jti":    random(),
			"iat":    now.Unix(),
			"nbf":    now.Unix(),
			"exp":    now.Add(requestLife).Unix(),
			"claims": map[string]any{"id_token": idToken},
		}
		for name, value := range parameters {
			claims[name] = value
		}
		object, err := t.key.Sign("oauth-authz-req+jwt", claims)
		if err != nil {
			return "", err
		}
		// OpenID Connect Core §6.1 wants these three outside too.
		query = url.Values{"response_type": {"code"}, "client_id": {t.client.ID}, "scope": {a.scope}, "request": {object}}
	}
	u, err := url.Parse(t.metadata.AuthorizationEndpoint)
	if err != nil {
		return "", err
	}
	u.RawQuery = query.Encode()
	return u.String(), nil
}

// answer reads an authorization response: state first, then who it is from (RFC 9207 §2.4), then what it says. A
// refusal is an *oauthError.
func (t *party) answer(a attempt, query url.Values) (code string, err error) {
	if !equal(query.Get("state"), a.state) {
		return "", errors.New("state is not the one sent")
	}
	if query.Get("iss") != t.metadata.Issuer {
		return "", errors.New("iss is not the issuer of the provider")
	}
	if query.Get("error") != "" {
		return "", &oauthError{Code: query.Get("error"), Description: query.Get("error_description")}
	}
	if query.Get("code") == "" {
		return "", errors.New("code is missing")
	}
	return query.Get("code"), nil
}

func (a attempt) exchange(code string) url.Values {
	return url.Values{
		"grant_type":    {"authorization_code"},
		"code":          {code},
		"redirect_uri":  {a.redirectURI},
		"code_verifier": {a.verifier},
	}
}

// An oauthError is an error response (RFC 6749 §4.1.2.1, §5.2, RFC 7591 §3.2.2).
type oauthError struct {
	Status      int          `json:"-"`
	RetryAfter  string       `json:"-"`
	Code        string       `json:"error"`
	Description string       `json:"error_description"`
	Class       string       `json:"error_class"`
	Problems    []oauthError `json:"problems"` // all of them, when a registration was only tried
}

func (e *oauthError) Error() string {
	if len(e.Problems) == 0 {
		return e.Code + ": " + e.Description
	}
	var all []string
	for _, problem := range e.Problems {
		all = append(all, problem.Error())
	}
	return strings.Join(all, "; ")
}

// verifyIDToken checks an ID Token (OpenID Connect Core §3.1.3.7, §3.1.3.6) and returns its claims. After a refresh the
// nonce is empty (§12.2).
func (t *party) verifyIDToken(keys []*jose.PublicKey, got tokens, nonce string) (jose.Claims, error) {
	token, err := jose.Parse(got.IDToken, jose.MaxSize)
	if err != nil {
		return nil, err
	}
	if err := token.Verify(keys, jose.RS256, jose.PS256); err != nil {
		return nil, err
	}
	var claims struct {
		iss, nonce, atHash string
		aud                []string
	}
	if claims.iss, err = token.Claims.String("iss"); err != nil {
		return nil, err
	}
	if claims.aud, _, err = token.Claims.Audience(); err != nil {
		return nil, err
	}
	if claims.nonce, _, err = token.Claims.OptionalString("nonce"); err != nil {
		return nil, err
	}
	if claims.atHash, _, err = token.Claims.OptionalString("at_hash"); err != nil {
		return nil, err
	}
	exp, _, err := token.Claims.Time("exp")
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256([]byte(got.AccessToken))
	switch {
	case claims.iss != t.metadata.Issuer:
		return nil, errors.New("iss is not the issuer of the provider")
	case len(claims.aud) != 1 || claims.aud[0] != t.client.ID:
		return nil, errors.New("aud is not the client")
	case !t.world.Now().Before(exp.Add(clockSkew)):
		return nil, errors.New("exp is over")
	case claims.nonce != nonce:
		return nil, errors.New("nonce is not the one sent")
	case claims.atHash != "" && claims.atHash != base64.RawURLEncoding.EncodeToString(sum[:len(sum)/2]):
		return nil, errors.New("at_hash does not fit the access token")
	}
	return token.Claims, nil
}

// fetch makes a request and stores the answer of a given status, unless into is nil; any other is an *oauthError.
func fetch(client *http.Client, req *http.Request, status int, into any) error {
	res, err := client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	switch {
	case err != nil:
		return err
	case res.StatusCode == status && into == nil:
		return nil
	case res.StatusCode == status:
		return json.Unmarshal(body, into)
	}
	e := &oauthError{Status: res.StatusCode, RetryAfter: res.Header.Get("Retry-After")}
	if json.Unmarshal(body, e) != nil || e.Code == "" {
		return fmt.Errorf("status %d without an error in JSON", res.StatusCode)
	}
	return e
}

func (w *World) fetch(req *http.Request, into any) error {
	return fetch(w.HTTP, req, http.StatusOK, into)
}

func (w *World) get(ctx context.Context, address string, into any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return err
	}
	return w.fetch(req, into)
}
