package demobank

// The third party's side of UK Open Banking Dynamic Client Registration 3.3, RFC 7591 and RFC 7592: docs/registration.md

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"gatehouse/jose"
)

const (
	registrationPath = "/open_banking/v3.2/tpp/register"
	registrationLife = 5 * time.Minute
)

// A Registrant is one application of a TPP that registers itself at a server and looks after its registration. Its JSON
// form is the file tpp.json of `gatehouse tpp`; it has secrets in it.
type Registrant struct {
	Name         string   `json:"client_name"`
	RedirectURIs []string `json:"redirect_uris"`
	Roles        []string `json:"roles"`     // AISP, PISP, CBPII
	Directory    string   `json:"directory"` // URL of the sandbox directory, without a slash at the end
	// OrgID and SoftwareID are empty until the directory has given them.
	OrgID      string `json:"org_id,omitempty"`
	SoftwareID string `json:"software_id,omitempty"`
	Statement  string `json:"software_statement,omitempty"` // the newest

	Server     string `json:"server,omitempty"`                     // base URL, without a slash at the end
	AuthMethod string `json:"token_endpoint_auth_method,omitempty"` // private_key_jwt or client_secret_basic
	Alg        string `json:"alg,omitempty"`                        // of assertions and request objects, for private_key_jwt
	// What the server gave; empty while the application is not registered.
	ClientID    string `json:"client_id,omitempty"`
	Secret      string `json:"client_secret,omitempty"`
	AccessToken string `json:"registration_access_token,omitempty"`
	URI         string `json:"registration_client_uri,omitempty"`

	Key  *jose.PrivateKey `json:"-"` // PS256: signs what is registered
	HTTP *http.Client     `json:"-"` // give it a timeout
	Now  func() time.Time `json:"-"`
}

// ObtainStatement gets a software statement for the application as it is now. Every other call that needs one does so
// itself: a statement does not live long.
func (g *Registrant) ObtainStatement(ctx context.Context) error {
	req, err := g.statementRequest(ctx)
	if err != nil {
		return err
	}
	var answer statementAnswer
	if err := fetch(g.HTTP, req, http.StatusOK, &answer); err != nil {
		return fmt.Errorf("directory: %w", err)
	}
	g.takeStatement(answer)
	return nil
}

func (g *Registrant) takeStatement(a statementAnswer) {
	g.Statement, g.SoftwareID, g.OrgID = a.Statement, a.SoftwareID, a.OrgID
}

// A registered is the part of an answer that the application must keep (RFC 7591 §3.2.1, RFC 7592 §3).
type registered struct {
	ClientID    string `json:"client_id"`
	Secret      string `json:"client_secret"`
	AccessToken string `json:"registration_access_token"`
	URI         string `json:"registration_client_uri"`
}

// take keeps what the server gave; what it did not repeat stays.
func (g *Registrant) take(a registered) {
	g.ClientID = cmp.Or(a.ClientID, g.ClientID)
	g.Secret = cmp.Or(a.Secret, g.Secret)
	g.AccessToken = cmp.Or(a.AccessToken, g.AccessToken)
	g.URI = cmp.Or(a.URI, g.URI)
}

// Register registers the application.
func (g *Registrant) Register(ctx context.Context) error {
	if g.ClientID != "" {
		return errors.New("the application is registered already")
	}
	var answer registered
	if err := g.post(ctx, "", http.StatusCreated, &answer); err != nil {
		return err
	}
	g.take(answer)
	return nil
}

// Rehearse lets the server validate the registration without storing it, and returns its answer. The error of a refusal
// lists every fault.
func (g *Registrant) Rehearse(ctx context.Context) (answer json.RawMessage, err error) {
	err = g.post(ctx, "?dry_run=true", http.StatusOK, &answer)
	return answer, err
}

// Read returns what the server knows of the application.
func (g *Registrant) Read(ctx context.Context) (answer json.RawMessage, err error) {
	req, err := g.manageRequest(ctx, http.MethodGet)
	if err != nil {
		return nil, err
	}
	err = fetch(g.HTTP, req, http.StatusOK, &answer)
	return answer, err
}

// Update registers the application as it is now, with the key of the moment.
func (g *Registrant) Update(ctx context.Context) error {
	if err := g.ObtainStatement(ctx); err != nil {
		return err
	}
	req, err := g.manageRequest(ctx, http.MethodPut)
	if err != nil {
		return err
	}
	var answer registered
	if err := fetch(g.HTTP, req, http.StatusOK, &answer); err != nil {
		return err
	}
	g.take(answer)
	return nil
}

// Renew updates the registration, or registers where the server knows of none.
func (g *Registrant) Renew(ctx context.Context) error {
	if g.ClientID == "" {
		return g.Register(ctx)
	}
	err := g.Update(ctx)
	if e, ok := errors.AsType[*oauthError](err); ok && e.Status == http.StatusUnauthorized {
		g.forget()
		return g.Register(ctx)
	}
	return err
}

// forget drops what the server gave.
func (g *Registrant) forget() { g.ClientID, g.Secret, g.AccessToken, g.URI = "", "", "", "" }

// Delete ends the registration.
func (g *Registrant) Delete(ctx context.Context) error {
	req, err := g.manageRequest(ctx, http.MethodDelete)
	if err != nil {
		return err
	}
	if err := fetch(g.HTTP, req, http.StatusNoContent, nil); err != nil {
		return err
	}
	g.forget()
	return nil
}

// Recover finds the registration by the key alone and gets a new registration access token. Of several registrations of
// the software it takes that of ClientID, or the newest. A client_secret is not told again: a registration found
// without one can only be updated or deleted.
func (g *Registrant) Recover(ctx context.Context) error {
	var answer struct {
		Clients []registered `json:"clients"` // oldest first
	}
	if err := g.post(ctx, "/recover", http.StatusOK, &answer); err != nil {
		return err
	}
	if len(answer.Clients) == 0 {
		return errors.New("the server has no registration of this software")
	}
	found := answer.Clients[len(answer.Clients)-1]
	for _, client := range answer.Clients {
		if client.ClientID == g.ClientID {
			found = client
		}
	}
	if found.ClientID != g.ClientID {
		g.Secret = ""
	}
	g.take(found)
	return nil
}

// post obtains a statement and sends the registration to the endpoint, or to what suffix says beside it.
func (g *Registrant) post(ctx context.Context, suffix string, status int, into any) error {
	if err := g.ObtainStatement(ctx); err != nil {
		return err
	}
	req, err := g.registerRequest(ctx, suffix, nil)
	if err != nil {
		return err
	}
	return fetch(g.HTTP, req, status, into)
}

// Token gets an access token of the application itself at a provider, and returns the answer.
func (g *Registrant) Token(ctx context.Context, providerCode string) (answer json.RawMessage, err error) {
	party, err := g.partyAt(ctx, providerCode)
	if err != nil {
		return nil, err
	}
	req, err := party.tokenRequest(ctx, clientGrant())
	if err != nil {
		return nil, err
	}
	err = fetch(g.HTTP, req, http.StatusOK, &answer)
	return answer, err
}

// partyAt is the application as a client of a provider. It believes what the server says of the provider's issuer.
func (g *Registrant) partyAt(ctx context.Context, providerCode string) (*party, error) {
	if g.ClientID == "" {
		return nil, errors.New("the application is not registered")
	}
	w := &World{BaseURL: g.Server, HTTP: g.HTTP, Now: g.Now}
	t := &party{
		world:    w,
		provider: &Provider{Code: providerCode},
		client:   &Client{ID: g.ClientID, AuthMethod: g.AuthMethod, Secret: g.Secret},
	}
	if err := w.get(ctx, w.discoveryURL(url.PathEscape(providerCode)), &t.metadata); err != nil {
		return nil, err
	}
	if g.AuthMethod != authPrivateKeyJWT {
		return t, nil
	}
	var err error
	t.key, err = jose.ParsePrivateKeyPEM(g.Key.PEM(), g.Alg, g.Key.KID)
	return t, err
}

// statementRequest asks the directory for a software statement.
func (g *Registrant) statementRequest(ctx context.Context) (*http.Request, error) {
	keys, err := json.Marshal(jose.JWKS{Keys: []*jose.PublicKey{{KID: g.Key.KID, Key: g.Key.Public().Key}}}) // for either alg
	if err != nil {
		return nil, err
	}
	body, err := json.Marshal(statementRequest{g.Name, g.RedirectURIs, g.Roles, keys, g.OrgID, g.SoftwareID})
	if err != nil {
		return nil, err
	}
	return newRequest(ctx, http.MethodPost, g.Directory+"/software-statements", contentTypeJSON, string(body))
}

// registerRequest makes a request to the registration endpoint, or to what suffix says beside it. Change may set other
// metadata.
func (g *Registrant) registerRequest(ctx context.Context, suffix string, change map[string]any) (*http.Request, error) {
	body, err := g.registration(change)
	if err != nil {
		return nil, err
	}
	return newRequest(ctx, http.MethodPost, g.Server+registrationPath+suffix, contentTypeJWT, body)
}

// manageRequest makes a request to the client configuration endpoint (RFC 7592 §2). The body of a PUT is a whole
// registration, with the client_id (§2.2).
func (g *Registrant) manageRequest(ctx context.Context, method string) (*http.Request, error) {
	if g.ClientID == "" {
		return nil, errors.New("the application is not registered")
	}
	contentType, body := "", ""
	if method == http.MethodPut {
		var err error
		if body, err = g.registration(map[string]any{"client_id": g.ClientID}); err != nil {
			return nil, err
		}
		contentType = contentTypeJWT
	}
	address := cmp.Or(g.URI, g.Server+registrationPath+"/"+g.ClientID)
	req, err := newRequest(ctx, method, address, contentType, body)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+g.AccessToken)
	return req, nil
}

// registration is the signed metadata, good for one request.
func (g *Registrant) registration(change map[string]any) (string, error) {
	now := g.Now()
	claims := map[string]any{
		"iss":                        g.SoftwareID,
		"aud":                        g.Server,
		"iat":                        now.Unix(),
		"exp":                        now.Add(registrationLife).Unix(),
		"jti":                        random(),
		"software_statement":         g.Statement,
		"redirect_uris":              g.RedirectURIs,
		"grant_types":                []string{"authorization_code", "client_credentials", "refresh_token"},
		"response_types":             []string{"code"},
		"application_type":           "web",
		"token_endpoint_auth_method": g.AuthMethod,
	}
	if g.AuthMethod == authPrivateKeyJWT {
		claims["token_endpoint_auth_signing_alg"], claims["request_object_signing_alg"] = g.Alg, g.Alg
	}
	for name, value := range change {
		claims[name] = value
	}
	return g.Key.Sign("JWT", claims)
}

func newRequest(ctx context.Context, method, address, contentType, body string) (*http.Request, error) {
	if body == "" {
		return http.NewRequestWithContext(ctx, method, address, nil)
	}
	req, err := http.NewRequestWithContext(ctx, method, address, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", contentType)
	return req, nil
}
