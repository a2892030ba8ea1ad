package oidc

// Dynamic client registration: RFC 7591, UK Open Banking DCR 3.2 and 3.3; the
// wire is docs/registration.md.

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"
	"unicode"

	"gatehouse"
	"gatehouse/jose"
)

const (
	registrationBodyLimit = 256 << 10
	registrationDepth     = 32

	// registrationMaxAhead bounds exp of a registration request.
	registrationMaxAhead = time.Hour
	// registrationsPerDay bounds what one organisation registers.
	registrationsPerDay = 100
)

func badMetadata(description string) error {
	return gatehouse.NewError(gatehouse.InvalidClientMetadata, description)
}

// A registration is a request to register or to replace a client, being read.
type registration struct {
	token     *jose.JWT   // nil for a plain JSON body
	claims    jose.Claims // of the token, or the body itself
	statement *softwareStatement
	// provider is the one of an open registration, without a statement.
	provider *provider
	client   gatehouse.Client
	// problems are all that is wrong; after the first, only a dry run goes on.
	problems []*gatehouse.Error
}

// register serves POST /open_banking/v3.2/tpp/register.
func (s *Server) register(w http.ResponseWriter, r *http.Request, _ *provider) error {
	dryRun, err := isDryRun(r)
	if err != nil {
		return err
	}
	g, err := s.readRegistration(r, dryRun)
	if err != nil {
		return err
	}
	now := s.Now()
	c := &g.client
	c.ID, c.Status, c.CreatedAt, c.UpdatedAt = newClientID(), gatehouse.ClientActive, now, now
	secret, token := s.newCredentials(c)
	if err := s.limitAddress(r.Context()); err != nil {
		return err
	}
	s.readKeys(r.Context(), g)
	g.validate()
	if dryRun {
		return answerDryRun(w, g)
	}
	if len(g.problems) > 0 {
		return g.problems[0]
	}
	if err := s.limitOrganisation(r.Context(), g, now); err != nil {
		return err
	}
	if err := s.spendRegistration(r.Context(), g); err != nil {
		return err
	}
	if err := s.Store.CreateClient(r.Context(), c); err != nil {
		return unavailable(err)
	}
	s.Log.InfoContext(r.Context(), "client registered", "client_id", c.ID, "software_id", c.SoftwareID)
	answer := s.describe(c)
	answer.Secret, answer.RegistrationAccessToken = secret, token
	if secret != "" {
		answer.SecretExpiresAt = new(int64) // 0: never (RFC 7591 §3.2.1)
	}
	writeJSON(w, http.StatusCreated, answer)
	return nil
}

// isDryRun reads the query, which may hold dry_run alone.
func isDryRun(r *http.Request) (bool, error) {
	switch r.URL.RawQuery {
	case "", "dry_run=false":
		return false, nil
	case "dry_run=true":
		return true, nil
	}
	return false, invalid("the query may only be dry_run=true or dry_run=false")
}

// newClientID returns 128 random bits in 22 characters.
func newClientID() string {
	var b [16]byte
	rand.Read(b[:])
	return base64.RawURLEncoding.EncodeToString(b[:])
}

// newCredentials gives a client its registration access token and, when its
// method needs one, its secret. It returns both; the client keeps hashes.
func (s *Server) newCredentials(c *gatehouse.Client) (secret, registrationToken string) {
	registrationToken = newRegistrationToken(c)
	if c.TokenEndpointAuthMethod == gatehouse.AuthClientSecretBasic {
		secret = gatehouse.NewSecret()
		c.SecretHash = gatehouse.ClientSecretHash(s.KEK, c.ID, secret)
	}
	return secret, registrationToken
}

// newRegistrationToken gives a client a new registration access token (RFC 7592
// §3), in front of which its id stands.
func newRegistrationToken(c *gatehouse.Client) string {
	token := c.ID + "." + gatehouse.NewSecret()
	c.RegistrationTokenHash = gatehouse.HashSecret(token)
	return token
}

// readRegistration reads the body and everything it says of the client. With
// all set it goes on after a problem, as far as that makes sense.
func (s *Server) readRegistration(r *http.Request, all bool) (*registration, error) {
	g := &registration{}
	if err := g.readBody(r); err != nil {
		return nil, err
	}
	if err := s.openRegistration(r.Context(), g); err != nil {
		fault := asError(err)
		if !all || fault.Kind == gatehouse.Unavailable || fault.Kind == gatehouse.ServerError {
			return nil, fault
		}
		g.problems = append(g.problems, fault)
	}
	checks := metadataChecks
	if g.statement != nil || g.provider != nil {
		checks = slices.Concat(metadataChecks, statementChecks)
	}
	for _, check := range checks {
		g.check(check)
		if len(g.problems) > 0 && !all {
			return nil, g.problems[0]
		}
	}
	return g, nil
}

func (g *registration) check(run func(*registration) error) {
	if err := run(g); err != nil {
		g.problems = append(g.problems, asError(err))
	}
}

// readBody reads the body in either form.
func (g *registration) readBody(r *http.Request) error {
	body, err := readBody(r)
	if err != nil {
		return err
	}
	switch mediaType(r) {
	case "application/jwt", "application/jose":
		// "curl -d" may leave a line end behind the token.
		if g.token, err = jose.Parse(strings.TrimRight(string(body), "\r\n"), registrationBodyLimit); err != nil {
			return badMetadata("the body is not a signed registration request: " + err.Error())
		}
		g.claims = g.token.Claims
	case "application/json":
		if g.claims, err = jose.ParseObject(body, registrationDepth); err != nil {
			return badMetadata("the body is not a JSON object: " + err.Error())
		}
	default:
		return gatehouse.NewError(gatehouse.UnsupportedMediaType, "Content-Type must be application/jwt, application/jose or application/json")
	}
	return nil
}

// openRegistration verifies who asks: the software statement, and the
// signature of the request under a key of the software.
func (s *Server) openRegistration(ctx context.Context, g *registration) error {
	text, present, err := g.claims.OptionalString("software_statement")
	switch {
	case err != nil:
		return badStatement("is not a string")
	case !present:
		return s.openWithoutStatement(ctx, g)
	}
	if g.statement, err = s.openStatement(ctx, text); err != nil || g.token == nil {
		return err
	}
	keys, err := s.keysAt(ctx, g.statement.jwks, g.statement.jwksURI, g.token.KID)
	if err != nil {
		return badStatement("the software's keys could not be read")
	}
	if typ := g.token.MediaType(); typ != "" && typ != "jwt" {
		return badMetadata("the registration request is of another typ")
	}
	wrong, err := s.verify(ctx, "", g.token, keys, jose.PS256)
	if err != nil {
		return err
	}
	if wrong != nil {
		return badMetadata("the registration request: " + wrong.Error())
	}
	return s.checkRequest(ctx, g)
}

// openWithoutStatement admits a plain body at a sandbox provider that lets
// anybody register (RFC 7591 §3: open registration).
func (s *Server) openWithoutStatement(ctx context.Context, g *registration) error {
	code, _, err := g.claims.OptionalString("provider_code")
	if err != nil || code == "" || g.token != nil {
		return badStatement("is missing")
	}
	p, err := s.provider(ctx, code)
	if err != nil {
		return err
	}
	if !p.rules.OpenRegistration || p.Status != gatehouse.Sandbox {
		return badStatement("is missing: this provider has no open registration")
	}
	g.provider = p
	return nil
}

// checkRequest checks the claims of a signed registration request that are not
// metadata.
func (s *Server) checkRequest(ctx context.Context, g *registration) error {
	now := s.Now()
	iss, err := g.claims.String("iss")
	switch {
	case err != nil:
		return badMetadata("the registration request: " + err.Error())
	case iss != g.statement.softwareID:
		return badMetadata("the registration request: iss must be the software_id of the statement")
	}
	aud, _, err := g.claims.Audience()
	if err != nil {
		return badMetadata("the registration request: " + err.Error())
	}
	// One audience: a request for two servers could be shown to us by the other.
	ours, err := s.isAudience(ctx, aud[0])
	switch {
	case err != nil:
		return err
	case !ours || len(aud) > 1:
		return badMetadata("the registration request: aud must be this deployment or the issuer of one of its providers")
	}
	exp, present, err := g.claims.Time("exp")
	switch {
	case err != nil:
		return badMetadata("the registration request: " + err.Error())
	case !present:
		return badMetadata("the registration request: exp is missing")
	case !now.Before(exp):
		return badMetadata("the registration request: exp is in the past")
	case exp.After(now.Add(registrationMaxAhead)):
		return badMetadata("the registration request: exp is more than 60 minutes ahead")
	}
	iat, present, err := g.claims.Time("iat")
	switch {
	case err != nil:
		return badMetadata("the registration request: " + err.Error())
	case !present:
		return badMetadata("the registration request: iat is missing")
	case iat.After(now.Add(time.Minute)), iat.Before(now.Add(-registrationMaxAhead)):
		return badMetadata("the registration request: iat is not now")
	}
	nbf, _, err := g.claims.Time("nbf")
	switch {
	case err != nil:
		return badMetadata("the registration request: " + err.Error())
	case nbf.After(now.Add(time.Minute)):
		return badMetadata("the registration request: nbf is in the future")
	}
	_, err = registrationJTI(g)
	return err
}

func registrationJTI(g *registration) (string, error) {
	jti, err := g.claims.String("jti")
	if err != nil {
		return "", badMetadata("the registration request: " + err.Error())
	}
	if len(jti) > 255 {
		return "", badMetadata("the registration request: jti is longer than 255 bytes")
	}
	return jti, nil
}

// isAudience reports whether aud is the deployment or the issuer of a provider
// that is not disabled.
func (s *Server) isAudience(ctx context.Context, aud string) (bool, error) {
	if aud == s.BaseURL {
		return true, nil
	}
	if code, ours := strings.CutPrefix(aud, s.BaseURL+"/"); ours {
		p, err := s.provider(ctx, code)
		switch fault := asError(err); {
		case fault == nil:
			return p.issuer == aud, nil
		case fault.Kind == gatehouse.Unavailable:
			return false, fault
		}
		return false, nil
	}
	// Issuers that providers set themselves are rare: they are looked through.
	providers, err := s.Store.Providers(ctx, "", 1000)
	if err != nil {
		return false, unavailable(err)
	}
	return slices.ContainsFunc(providers, func(p *gatehouse.Provider) bool {
		return p.Issuer != "" && p.Status != gatehouse.Disabled && p.Issuer == aud
	}), nil
}

// spendRegistration marks the jti of a signed request as used.
func (s *Server) spendRegistration(ctx context.Context, g *registration) error {
	if g.token == nil {
		return nil
	}
	jti, err := registrationJTI(g)
	if err != nil {
		return err
	}
	iat, _, err := g.claims.Time("iat")
	if err != nil {
		return badMetadata("the registration request: " + err.Error())
	}
	exp, _, err := g.claims.Time("exp")
	if err != nil {
		return badMetadata("the registration request: " + err.Error())
	}
	key := sha256.Sum256([]byte(g.statement.tpp.Directory + "\x00" + g.statement.tpp.URN + "\x00" + g.statement.softwareID + "\x00" + jti))
	now := s.Now()
	err = s.Store.Consume(ctx, "", gatehouse.ConsumeRegistration, base64.RawURLEncoding.EncodeToString(key[:]), iat, exp, now)
	if errors.Is(err, gatehouse.ErrSpent) {
		if s.limits.failures.take(g.statement.tpp.URN, failures, now) == 0 {
			if err := s.Store.Record(ctx, &gatehouse.Event{At: now, Kind: gatehouse.EventAssertionReplayed, Detail: "registration"}); err != nil {
				return unavailable(err)
			}
		}
		return badMetadata("the registration request: jti was used before")
	}
	if err != nil {
		return unavailable(err)
	}
	return nil
}

// limitAddress bounds what one address may have verified, fetched and written.
func (s *Server) limitAddress(ctx context.Context) error {
	return tooMany(s.limits.registrations.take(addressOf(ctx), registrations, s.Now()))
}

// limitOrganisation bounds what one organisation may register in a day. The
// count is the store's, so it outlives restarts.
func (s *Server) limitOrganisation(ctx context.Context, g *registration, now time.Time) error {
	if g.client.TPP == nil {
		return nil
	}
	n, err := s.Store.CountRegistrations(ctx, g.client.TPP.Directory, g.client.TPP.URN, now.Add(-24*time.Hour))
	if err != nil {
		return unavailable(err)
	}
	most := registrationsPerDay
	if g.token == nil { // so anybody may have sent it who has seen the statement
		most /= 2
	}
	if n >= most {
		return tooMany(time.Hour)
	}
	return nil
}

// readKeys reads keys that are at a URL: what cannot be read now would not
// authenticate the client later. It comes after every other check of the
// metadata, which no fetch can make good.
func (s *Server) readKeys(ctx context.Context, g *registration) {
	if len(g.problems) > 0 || g.client.JWKSURI == "" {
		return
	}
	g.check(func(g *registration) error {
		if s.Fetcher == nil {
			return badMetadata("jwks_uri could not be read: nothing is fetched here")
		}
		keys, err := s.Fetcher.Try(ctx, g.client.JWKSURI)
		switch {
		case err != nil:
			return badMetadata("jwks_uri could not be read")
		case len(keys) == 0:
			return badMetadata("jwks_uri has no usable key")
		}
		return nil
	})
}

// validate is the last check: the client as a whole. After another problem it
// would only say the same again.
func (g *registration) validate() {
	if len(g.problems) > 0 {
		return
	}
	if err := g.client.Validate(); err != nil {
		g.problems = append(g.problems, asError(badMetadata(err.Error())))
	}
}

// answerDryRun tells every problem at once and stores nothing.
func answerDryRun(w http.ResponseWriter, g *registration) error {
	if len(g.problems) == 0 {
		writeJSON(w, http.StatusOK, map[string]any{"valid": true, "client": metadataOf(&g.client)})
		return nil
	}
	type problem struct {
		Error       string `json:"error"`
		Description string `json:"error_description"`
	}
	var problems []problem
	for _, fault := range g.problems {
		problems = append(problems, problem{fault.Kind.Code(), fault.Description})
	}
	first := g.problems[0]
	writeJSON(w, first.Kind.Status(""), map[string]any{
		"error": first.Kind.Code(), "error_description": first.Description, "error_class": first.Kind.Class(),
		"valid": false, "problems": problems,
	})
	return nil
}

// printable reports whether text is at most limit bytes without control
// characters.
func printable(text string, limit int) bool {
	return len(text) <= limit && !strings.ContainsFunc(text, unicode.IsControl)
}

// clientMetadata is what a client is registered with, in the names of RFC 7591
// §2 and UK Open Banking.
type clientMetadata struct {
	ClientName                  string          `json:"client_name"`
	RedirectURIs                []string        `json:"redirect_uris"`
	TokenEndpointAuthMethod     string          `json:"token_endpoint_auth_method"`
	GrantTypes                  []string        `json:"grant_types"`
	ResponseTypes               []string        `json:"response_types"`
	Scope                       string          `json:"scope"`
	ApplicationType             string          `json:"application_type"`
	TokenEndpointAuthSigningAlg string          `json:"token_endpoint_auth_signing_alg,omitempty"`
	RequestObjectSigningAlg     string          `json:"request_object_signing_alg,omitempty"`
	IDTokenSignedResponseAlg    string          `json:"id_token_signed_response_alg,omitempty"`
	RequireSignedRequestObject  bool            `json:"require_signed_request_object"`
	JWKS                        json.RawMessage `json:"jwks,omitempty"`
	JWKSURI                     string          `json:"jwks_uri,omitempty"`
	SoftwareID                  string          `json:"software_id,omitempty"`
	SoftwareStatement           string          `json:"software_statement,omitempty"`
}

func metadataOf(c *gatehouse.Client) clientMetadata {
	return clientMetadata{
		ClientName: c.Name, RedirectURIs: c.RedirectURIs, TokenEndpointAuthMethod: c.TokenEndpointAuthMethod,
		GrantTypes: c.GrantTypes, ResponseTypes: c.ResponseTypes, Scope: c.Scopes.String(), ApplicationType: applicationTypeWeb,
		TokenEndpointAuthSigningAlg: c.TokenEndpointAuthSigningAlg, RequestObjectSigningAlg: c.RequestObjectSigningAlg,
		IDTokenSignedResponseAlg: c.IDTokenSignedResponseAlg, RequireSignedRequestObject: c.RequireSignedRequestObject,
		JWKS: c.JWKS, JWKSURI: c.JWKSURI, SoftwareID: c.SoftwareID, SoftwareStatement: c.SoftwareStatement,
	}
}

// clientInformation is the response of RFC 7591 §3.2.1 and RFC 7592 §3.
type clientInformation struct {
	ClientID                string `json:"client_id"`
	ClientIDIssuedAt        int64  `json:"client_id_issued_at"` // seconds since 1970
	Secret                  string `json:"client_secret,omitempty"`
	SecretExpiresAt         *int64 `json:"client_secret_expires_at,omitempty"` // 0: never
	RegistrationAccessToken string `json:"registration_access_token,omitempty"`
	RegistrationClientURI   string `json:"registration_client_uri"`
	clientMetadata
}

func (s *Server) describe(c *gatehouse.Client) clientInformation {
	return clientInformation{
		ClientID: c.ID, ClientIDIssuedAt: c.CreatedAt.Unix(),
		RegistrationClientURI: s.BaseURL + registrationPath + "/" + c.ID, clientMetadata: metadataOf(c),
	}
}

const registrationPath = "/open_banking/v3.2/tpp/register"
