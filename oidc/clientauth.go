package oidc

// Client authentication: RFC 6749 §2.3, OpenID Connect Core §9, RFC 7521,
// RFC 7523.

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"gatehouse"
	"gatehouse/jose"
)

const assertionTypeJWTBearer = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

// A client is a registered client with its keys parsed. It is shared by
// requests and never changes.
type client struct {
	*gatehouse.Client
	keys         []*jose.PublicKey // registered by value
	certificates []certificateKey
}

// owner is whose turn it is when the client's is: its TPP, for which it is not
// worth while to register many clients, or the client itself.
func (c *client) owner() string {
	if c.TPP == nil {
		return c.ID
	}
	return c.TPP.Directory + "\x00" + c.TPP.URN
}

// A certificateKey is the key of a seal certificate, good until the
// certificate ends, at providers that its environment opens.
type certificateKey struct {
	*jose.PublicKey
	certificate *gatehouse.Certificate
}

// client returns a client by its id, or an error that wraps
// gatehouse.ErrNotFound.
func (s *Server) client(ctx context.Context, id string) (*client, error) {
	return s.clients.get(ctx, id, s.Now(), func(ctx context.Context) (*client, error) {
		stored, err := s.Store.Client(ctx, id)
		if err != nil {
			return nil, err
		}
		if stored.Status == gatehouse.ClientDeleted {
			return nil, gatehouse.ErrNotFound
		}
		c := &client{Client: stored}
		if len(stored.JWKS) > 0 {
			set, err := jose.ParseJWKS(stored.JWKS)
			if err == nil {
				c.keys = set.Keys
			} else { // registered when the policy let it pass
				s.Log.WarnContext(ctx, "jwks not used", "client_id", stored.ID, "error", err.Error())
			}
		}
		c.certificates = s.certificateKeys(ctx, stored)
		return c, nil
	})
}

// keysOf returns the keys that may sign for a client at a provider: those
// registered by value or by URL, and those of its certificates.
func (s *Server) keysOf(ctx context.Context, c *client, p *provider, kid string) ([]*jose.PublicKey, error) {
	registered := c.keys
	var unread error
	if c.JWKSURI != "" && s.Fetcher != nil {
		registered, unread = s.Fetcher.KeysFor(ctx, c.JWKSURI, kid)
	}
	// The newest certificate first: a token whose kid is not of a registered
	// key is tried against a few keys only.
	var keys []*jose.PublicKey
	for _, k := range slices.Backward(c.certificates) {
		if s.Now().Before(k.certificate.ExpiresAt) && k.certificate.Environment.Opens(p.Provider) {
			keys = append(keys, k.PublicKey)
		}
	}
	if keys = append(keys, registered...); len(keys) == 0 {
		return nil, unread
	}
	return keys, nil
}

// authenticateClient returns the client that made a request at the token
// endpoint, at introspection or at revocation, by the one authentication method
// it used. audiences are the values of aud that name this server, exactly.
func (s *Server) authenticateClient(r *http.Request, p *provider, in params, audiences []string) (*client, error) {
	c, err := s.identifyClient(r, p, in, audiences)
	if err != nil {
		return nil, s.recordFailure(r.Context(), p.Code, err)
	}
	return c, nil
}

func (s *Server) identifyClient(r *http.Request, p *provider, in params, audiences []string) (*client, error) {
	header := r.Header.Values("Authorization")
	_, hasAssertion := in["client_assertion"]
	_, hasSecret := in["client_secret"]
	methods := 0
	for _, used := range []bool{len(header) > 0, hasAssertion, hasSecret} {
		if used {
			methods++
		}
	}
	// RFC 6749 §2.3: not more than one method in a request.
	if methods > 1 {
		return nil, gatehouse.NewError(gatehouse.InvalidRequest, "more than one client authentication method is used")
	}

	var c *client
	var err error
	switch {
	case hasAssertion:
		c, err = s.authenticateByAssertion(r.Context(), p, in, audiences)
	case len(header) > 0:
		c, err = s.authenticateBySecret(r.Context(), p, header, in)
	case hasSecret:
		return nil, badClient(wrongMethod, "client_secret in the body is not accepted: use client_secret_basic or private_key_jwt")
	default:
		return nil, badClient(noCredentials, "client_assertion is missing")
	}
	if err != nil {
		return nil, err
	}
	s.count(p, c.ID)
	if c.Status != gatehouse.ClientActive {
		return nil, gatehouse.NewError(gatehouse.UnauthorizedClient, "the client is disabled").Because(disabled)
	}
	if !c.MayUse(p.Provider) {
		return nil, gatehouse.NewError(gatehouse.UnauthorizedClient, "the client may not use this provider").Because(notPermitted)
	}
	return c, nil
}

func badClient(why reason, description string) *gatehouse.Error {
	return gatehouse.NewError(gatehouse.InvalidClientAssertion, description).Because(why)
}

// authenticateByAssertion checks a client assertion by RFC 7523 §3.
func (s *Server) authenticateByAssertion(ctx context.Context, p *provider, in params, audiences []string) (*client, error) {
	attempt := attemptOf(ctx)
	attempt.method = gatehouse.AuthPrivateKeyJWT
	if in["client_assertion_type"] != assertionTypeJWTBearer {
		return nil, badClient(malformed, "client_assertion_type must be "+assertionTypeJWTBearer)
	}
	token, err := jose.Parse(in["client_assertion"], jose.MaxSize)
	if err != nil {
		return nil, badAssertion(malformed, err)
	}
	// RFC 8725 §3.11: a token that says it is something else is not taken.
	if !slices.Contains([]string{"", "jwt", "client-authentication+jwt"}, token.MediaType()) {
		return nil, badClient(wrongKind, "client_assertion is of another typ")
	}
	iss, err := token.Claims.String("iss")
	if err != nil {
		return nil, badAssertion(malformed, err)
	}
	sub, err := token.Claims.String("sub")
	if err != nil {
		return nil, badAssertion(malformed, err)
	}
	if iss != sub {
		return nil, badClient(malformed, "client_assertion: iss and sub must be the same client_id")
	}
	if id, sent := in["client_id"]; sent && id != sub {
		return nil, badClient(malformed, "client_id differs from sub of client_assertion")
	}
	c, err := s.client(ctx, sub)
	if errors.Is(err, gatehouse.ErrNotFound) {
		return nil, gatehouse.NewError(gatehouse.UnknownClient, "no client has the client_id in sub of client_assertion").Because(unknownClient)
	}
	if err != nil {
		return nil, unavailable(err)
	}
	attempt.clientID = c.ID
	if c.TokenEndpointAuthMethod != gatehouse.AuthPrivateKeyJWT {
		return nil, badClient(wrongMethod, "the client is not registered for private_key_jwt")
	}
	keys, err := s.keysOf(ctx, c, p, token.KID)
	if err != nil {
		return nil, badAssertion(noKey, err)
	}
	if slices.ContainsFunc(keys, func(k *jose.PublicKey) bool { return k.KID == token.KID }) {
		attempt.kid = token.KID
	}
	wrong, err := s.verify(ctx, p.Code, token, keys, p.algsFor(c.TokenEndpointAuthSigningAlg)...)
	if err != nil {
		return nil, err
	}
	if wrong != nil {
		return nil, badAssertion(unverified(wrong), wrong)
	}
	aud, single, err := token.Claims.Audience()
	if err != nil {
		return nil, badAssertion(malformed, err)
	}
	// One string, and ours: an array would let one assertion serve two servers
	// (draft-ietf-oauth-rfc7523bis §4, CVE-2025-27370).
	if !single || !slices.Contains(audiences, aud[0]) {
		return nil, badClient(wrongAudience, "client_assertion: aud must be the issuer as one string")
	}
	issued, expires, err := checkTimes(token.Claims, p.rules, s.Now())
	if err != nil {
		return nil, badAssertion(wrongTime, err)
	}
	// A request object could pass for an assertion: both are signed by the
	// client for this server (RFC 9101 §10.8).
	for _, name := range []string{"response_type", "redirect_uri", "software_statement"} {
		if token.Claims.Has(name) {
			return nil, badClient(wrongKind, "client_assertion is a token of another kind")
		}
	}
	jti, err := token.Claims.String("jti")
	if err != nil {
		return nil, badAssertion(malformed, err)
	}
	if len(jti) > 255 {
		return nil, badClient(malformed, "client_assertion: jti is longer than 255 bytes")
	}
	// Who has to wait may come again with the same assertion.
	if err := s.mayAsk(p, c.ID); err != nil {
		return nil, err
	}
	// Providers share a token path, so a jti is spent in the whole deployment.
	key := sha256.Sum256([]byte(sub + "\x00" + jti))
	err = s.Store.Consume(ctx, "", gatehouse.ConsumeAssertion, base64.RawURLEncoding.EncodeToString(key[:]), issued, expires, s.Now())
	if errors.Is(err, gatehouse.ErrSpent) {
		return nil, badClient(replayed, "client_assertion: jti was used before")
	}
	if err != nil {
		return nil, unavailable(err)
	}
	return c, nil
}

func badAssertion(why reason, cause error) *gatehouse.Error {
	return badClient(why, "client_assertion: "+cause.Error())
}

// unverified is why jose.Verify failed.
func unverified(cause error) reason {
	switch {
	case errors.Is(cause, jose.ErrAlg):
		return wrongAlg
	case errors.Is(cause, jose.ErrNoKey):
		return noKey
	default:
		return badSignature
	}
}

// checkTimes checks exp, nbf and iat of a client assertion (RFC 7523 §3, items
// 4 to 6). There is no grace after exp; nbf and iat may be ahead by the clock
// skew. Neither now nor iat nor nbf may be before exp by more than the longest
// lifetime and the skew. It returns exp, and iat or, where that
// is absent, the earliest moment at which such an exp can have been set.
func checkTimes(claims jose.Claims, rules gatehouse.Rules, now time.Time) (issued, expires time.Time, err error) {
	skew, longest := time.Duration(rules.ClockSkew), time.Duration(rules.AssertionMaxLifetime)
	expires, present, err := claims.Time("exp")
	switch {
	case err != nil:
		return issued, expires, err
	case !present:
		return issued, expires, errors.New("exp is missing")
	case !now.Before(expires):
		return issued, expires, errors.New("exp is in the past")
	case expires.After(now.Add(longest + skew)):
		return issued, expires, errors.New("exp is too far ahead")
	}
	issued = expires.Add(-longest - skew)
	for _, name := range []string{"nbf", "iat"} {
		t, present, err := claims.Time(name)
		switch {
		case err != nil:
			return issued, expires, err
		case !present:
			continue
		case t.After(now.Add(skew)):
			return issued, expires, errors.New(name + " is in the future")
		case !t.Before(expires):
			return issued, expires, errors.New(name + " is not before exp")
		case expires.Sub(t) > longest+skew:
			return issued, expires, errors.New(name + " is too long before exp")
		}
		if name == "iat" {
			issued = t
		}
	}
	return issued, expires, nil
}

// clientAlgs are the algorithms that clients may sign with at the provider.
func (p *provider) clientAlgs() []string {
	if p.rules.RequirePS256 {
		return []string{jose.PS256}
	}
	return gatehouse.Algs()
}

// algsFor returns the algorithms that a client may sign with at the provider:
// none when it is registered for one that the provider refuses.
func (p *provider) algsFor(registered string) []string {
	return slices.DeleteFunc(p.clientAlgs(), func(alg string) bool { return registered != "" && alg != registered })
}

// authenticateBySecret checks the Basic scheme as RFC 6749 §2.3.1 has it: both
// parts are form-encoded before they are joined.
func (s *Server) authenticateBySecret(ctx context.Context, p *provider, header []string, in params) (*client, error) {
	attempt := attemptOf(ctx)
	attempt.method = gatehouse.AuthClientSecretBasic
	id, secret, err := basicCredentials(header)
	if err != nil {
		return nil, err
	}
	if sent, ok := in["client_id"]; ok && sent != id {
		return nil, badClient(malformed, "client_id differs from that of the Authorization header")
	}
	c, err := s.client(ctx, id)
	if errors.Is(err, gatehouse.ErrNotFound) {
		return nil, gatehouse.NewError(gatehouse.UnknownClient, "no client has the client_id in the Authorization header").Because(unknownClient)
	}
	if err != nil {
		return nil, unavailable(err)
	}
	attempt.clientID = c.ID
	if c.TokenEndpointAuthMethod != gatehouse.AuthClientSecretBasic {
		return nil, badClient(wrongMethod, "the client is not registered for client_secret_basic")
	}
	right := subtle.ConstantTimeCompare(c.SecretHash, gatehouse.ClientSecretHash(s.KEK, id, secret)) == 1
	if err := s.checkSecret(ctx, id, right, badClient(wrongSecret, "the client secret is wrong")); err != nil {
		return nil, err
	}
	return c, s.mayAsk(p, c.ID)
}

func basicCredentials(header []string) (id, secret string, err error) {
	if len(header) != 1 {
		return "", "", badClient(malformed, "the Authorization header is repeated")
	}
	scheme, encoded, _ := strings.Cut(header[0], " ")
	if !strings.EqualFold(scheme, "Basic") {
		return "", "", badClient(malformed, "the Authorization header is not of the Basic scheme")
	}
	decoded, err := base64.StdEncoding.Strict().DecodeString(strings.TrimLeft(encoded, " "))
	if err != nil || strings.ContainsAny(encoded, "\r\n") {
		return "", "", badClient(malformed, "the Authorization header is not valid base64")
	}
	rawID, rawSecret, found := strings.Cut(string(decoded), ":")
	if !found {
		return "", "", badClient(malformed, "the Authorization header has no colon between client_id and secret")
	}
	id, errID := url.QueryUnescape(rawID)
	secret, errSecret := url.QueryUnescape(rawSecret)
	switch {
	case errID != nil || errSecret != nil || !utf8.ValidString(id) || !utf8.ValidString(secret):
		return "", "", badClient(malformed, "client_id and secret in the Authorization header must be form-encoded")
	case id == "" || secret == "":
		return "", "", badClient(malformed, "client_id or secret in the Authorization header is empty")
	}
	return id, secret, nil
}
