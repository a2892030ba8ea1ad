package oidc

// The token endpoint: RFC 6749 §3.2, §4.1.3, §4.4, §6.

import (
	"context"
	"crypto/subtle"
	"errors"
	"net/http"
	"slices"
	"time"

	"gatehouse"
)

// token serves POST /api/oidc/{provider_code}/tokens.
func (s *Server) token(w http.ResponseWriter, r *http.Request, p *provider) error {
	in, err := readTokenRequest(r, p.Profile == gatehouse.ProfilePSD2)
	if err != nil {
		return err
	}
	if code, sent := in["provider_code"]; sent && code != p.Code {
		return gatehouse.NewError(gatehouse.InvalidRequest, "provider_code differs from that in the path")
	}
	return s.grantToken(w, r, p, in, []string{p.issuer, p.tokenEndpoint})
}

// tokenShared serves POST /api/oidc/tokens, where the form names the provider.
func (s *Server) tokenShared(w http.ResponseWriter, r *http.Request, _ *provider) error {
	in, err := readTokenRequest(r, true)
	if err != nil {
		return err
	}
	code, sent := in["provider_code"]
	if !sent {
		return gatehouse.NewError(gatehouse.InvalidRequest, "provider_code is missing")
	}
	p, err := s.provider(r.Context(), code)
	if err != nil {
		return err
	}
	if p.Profile != gatehouse.ProfilePSD2 && mediaType(r) == "application/json" {
		return &atProvider{p, notForm()}
	}
	if err := s.grantToken(w, r, p, in, []string{p.issuer, p.tokenEndpoint, s.BaseURL + "/api/oidc/tokens"}); err != nil {
		return &atProvider{p, err}
	}
	return nil
}

// readTokenRequest reads the body. A query is refused as a whole: what belongs
// in the body would end in logs (RFC 6749 §2.3.1).
func readTokenRequest(r *http.Request, takeJSON bool) (params, error) {
	if r.URL.RawQuery != "" {
		return nil, gatehouse.NewError(gatehouse.InvalidRequest, "parameters must be in the body, not in the query")
	}
	return readForm(r, takeJSON)
}

// grantToken authenticates the client and serves one grant type.
func (s *Server) grantToken(w http.ResponseWriter, r *http.Request, p *provider, in params, audiences []string) error {
	grantType, sent := in["grant_type"]
	switch {
	case !sent:
		return gatehouse.NewError(gatehouse.InvalidRequest, "grant_type is missing")
	case !slices.Contains(gatehouse.GrantTypes(), grantType):
		return gatehouse.NewError(gatehouse.UnsupportedGrantType, "grant_type must be authorization_code, client_credentials or refresh_token")
	}
	c, err := s.authenticateClient(r, p, in, audiences)
	if err != nil {
		return err
	}
	if !slices.Contains(c.GrantTypes, grantType) {
		return gatehouse.NewError(gatehouse.UnauthorizedClient, "the client is not registered for this grant_type")
	}
	ctx := byCredential(r.Context())
	var answer *tokenResponse
	switch grantType {
	case gatehouse.GrantAuthorizationCode:
		answer, err = s.exchangeCode(ctx, p, c, in)
	case gatehouse.GrantClientCredentials:
		answer, err = s.clientCredentials(ctx, p, c, in)
	case gatehouse.GrantRefreshToken:
		answer, err = s.refresh(ctx, p, c, in)
	}
	if err != nil {
		return err
	}
	w.Header().Set("Pragma", "no-cache") // RFC 6749 §5.1
	writeJSON(w, http.StatusOK, answer)
	return nil
}

// exchangeCode serves grant_type authorization_code (RFC 6749 §4.1.3).
func (s *Server) exchangeCode(ctx context.Context, p *provider, c *client, in params) (*tokenResponse, error) {
	code, sent := in["code"]
	if !sent {
		return nil, gatehouse.NewError(gatehouse.InvalidRequest, "code is missing")
	}
	a, grant, err := s.Store.AuthorizationByCode(ctx, p.Code, gatehouse.HashSecret(code))
	// Another client's code is answered as an unknown one, and stays good.
	if errors.Is(err, gatehouse.ErrNotFound) || err == nil && a.ClientID != c.ID {
		return nil, gatehouse.NewError(gatehouse.UnknownCode, "the client has no such code")
	}
	if err != nil {
		return nil, unavailable(err)
	}
	now := s.Now()
	switch {
	case a.Status == gatehouse.AuthorizationExchanged:
		return nil, s.replayed(ctx, p, a, now)
	case !now.Before(a.CodeExpiresAt):
		return nil, gatehouse.NewError(gatehouse.InvalidGrant, "code is expired")
	case a.Status == gatehouse.AuthorizationDenied:
		return nil, gatehouse.NewError(gatehouse.InvalidGrant, "code is void: the PSU or the bank refused")
	case in["redirect_uri"] != a.Request.RedirectURI:
		return nil, gatehouse.NewError(gatehouse.InvalidGrant, "redirect_uri is missing or differs from that of the authorization request")
	}
	if err := verifyPKCE(a.Request.CodeChallenge, in["code_verifier"]); err != nil {
		return nil, err
	}
	if a.Status == gatehouse.AuthorizationPending {
		fault := gatehouse.NewError(gatehouse.PendingCode, "the PSU has not decided yet, please try again later")
		fault.RetryAfter = time.Second
		return nil, fault
	}
	scope := grant.Scope.Intersect(c.ScopesAt(p.Provider, now))
	if len(scope) == 0 {
		return nil, gatehouse.NewError(gatehouse.UnauthorizedClient, "the client may no longer have what was granted")
	}
	// Sign first, then let one transaction decide: a code spent before a fault
	// of the signer would be lost.
	t, err := s.issue(ctx, p, c, grant, issueOptions{scope: scope, nonce: a.Request.Nonce, refresh: true}, now)
	if err != nil {
		return nil, err
	}
	err = s.Store.ExchangeCode(ctx, p.Code, a.ID, t.access, t.refresh, now)
	switch {
	case errors.Is(err, gatehouse.ErrSpent):
		return nil, usedCode()
	case errors.Is(err, gatehouse.ErrConflict), errors.Is(err, gatehouse.ErrNotFound):
		return nil, gatehouse.NewError(gatehouse.InvalidGrant, "code is no longer valid")
	case err != nil:
		return nil, unavailable(err)
	}
	return t.response, nil
}

// replayed ends a grant whose code its own client presents again (RFC 6749
// §4.1.2): somebody else may have the code, too. The store does so at every
// exchange but the first.
func (s *Server) replayed(ctx context.Context, p *provider, a *gatehouse.Authorization, now time.Time) error {
	access := &gatehouse.AccessToken{ID: gatehouse.NewID(now), Provider: p.Code, GrantID: a.GrantID, ClientID: a.ClientID}
	if err := s.Store.ExchangeCode(ctx, p.Code, a.ID, access, nil, now); !errors.Is(err, gatehouse.ErrSpent) {
		return unavailable(err)
	}
	s.Log.WarnContext(ctx, "code replayed, grant revoked", "provider_code", p.Code, "client_id", a.ClientID, "grant_id", a.GrantID)
	return usedCode()
}

func usedCode() *gatehouse.Error {
	return gatehouse.NewError(gatehouse.InvalidGrant, "code was used before; its tokens are revoked")
}

// clientCredentials serves grant_type client_credentials (RFC 6749 §4.4). In
// profile psd2 all five documented members are answered, the refresh token
// being bound to the client alone; elsewhere RFC 6749 §4.4.3 holds.
func (s *Server) clientCredentials(ctx context.Context, p *provider, c *client, in params) (*tokenResponse, error) {
	now := s.Now()
	scope, err := requestedScope(in, c.ScopesAt(p.Provider, now))
	if err != nil {
		return nil, err
	}
	grant := &gatehouse.Grant{
		ID: gatehouse.NewID(now), Provider: p.Code, ClientID: c.ID, Subject: c.ID, Scope: scope,
		CreatedAt: now, ExpiresAt: now.Add(time.Duration(p.rules.GrantLifetime)),
	}
	five := p.Profile == gatehouse.ProfilePSD2
	t, err := s.issue(ctx, p, c, grant, issueOptions{scope: scope, refresh: five, noIDToken: !five}, now)
	if err != nil {
		return nil, err
	}
	err = s.Store.CreateGrant(ctx, grant, t.access, t.refresh)
	if errors.Is(err, gatehouse.ErrNotFound) { // deleted, by another process, a moment ago
		return nil, gatehouse.NewError(gatehouse.UnknownClient, "the client was deleted")
	}
	if err != nil {
		return nil, unavailable(err)
	}
	return t.response, nil
}

// refresh serves grant_type refresh_token (RFC 6749 §6). The refresh token
// stays the same unless the provider rotates them: for confidential clients
// rotation protects little, and without a way to repeat a request whose answer
// was lost it loses grants.
func (s *Server) refresh(ctx context.Context, p *provider, c *client, in params) (*tokenResponse, error) {
	presented, sent := in["refresh_token"]
	if !sent {
		return nil, gatehouse.NewError(gatehouse.InvalidRequest, "refresh_token is missing")
	}
	id, wellFormed := gatehouse.TokenID(presented)
	if !wellFormed {
		return nil, badRefreshToken()
	}
	record, grant, err := s.Store.RefreshToken(ctx, p.Code, id)
	if errors.Is(err, gatehouse.ErrNotFound) {
		return nil, badRefreshToken()
	}
	if err != nil {
		return nil, unavailable(err)
	}
	now := s.Now()
	if subtle.ConstantTimeCompare(record.Hash, gatehouse.HashSecret(presented)) != 1 || record.ClientID != c.ID {
		return nil, badRefreshToken()
	}
	// Store.Refresh decides; looking first saves a signature.
	if !now.Before(record.ExpiresAt) || !grant.ActiveAt(now) {
		return nil, s.whyOver(ctx, grant, now)
	}
	// What the client may have can have become less since.
	scope, err := requestedScope(in, grant.Scope.Intersect(c.ScopesAt(p.Provider, now)))
	if err != nil {
		return nil, err
	}
	// OpenID Connect Core §12.2: no nonce in the ID Token of a refresh.
	t, err := s.issue(ctx, p, c, grant, issueOptions{scope: scope}, now)
	if err != nil {
		return nil, err
	}
	t.response.RefreshToken = presented
	// A token with a successor is one of a rotation, whatever the rule is now.
	if p.rules.RotateRefreshTokens || record.SuccessorID != "" {
		t.refresh, t.response.RefreshToken = s.successor(record, presented, now)
	}
	err = s.Store.Refresh(ctx, p.Code, record.ID, t.access, t.refresh, time.Duration(p.rules.RotationGrace), now)
	switch {
	case errors.Is(err, gatehouse.ErrNotFound) && record.SuccessorID != "":
		s.Log.WarnContext(ctx, "rotated refresh token used, grant revoked", "provider_code", p.Code, "client_id", c.ID, "grant_id", grant.ID)
		return nil, badRefreshToken()
	case errors.Is(err, gatehouse.ErrNotFound):
		return nil, badRefreshToken()
	case err != nil:
		return nil, unavailable(err)
	}
	s.touch(ctx, p, grant)
	return t.response, nil
}

// whyOver tells the owner of a refresh token which of the two clocks has
// stopped it, or that its consent has ended. Of a grant without a consent it
// tells no more than anybody is told.
func (s *Server) whyOver(ctx context.Context, g *gatehouse.Grant, now time.Time) error {
	if g.RevokedAt.IsZero() && now.Before(g.ExpiresAt) && !g.AuthenticatedAt(now) {
		return authenticationOver()
	}
	if g.IntentID == "" {
		return badRefreshToken()
	}
	consent, err := s.Store.Consent(ctx, g.Provider, g.IntentID)
	switch {
	case errors.Is(err, gatehouse.ErrNotFound):
		return badRefreshToken()
	case err != nil:
		return unavailable(err)
	case consent.Status == gatehouse.ConsentRevoked:
		return gatehouse.NewError(gatehouse.InvalidGrant, "the consent of this refresh_token was revoked")
	case consent.Status == gatehouse.ConsentConsumed:
		return gatehouse.NewError(gatehouse.InvalidGrant, "the consent of this refresh_token was consumed")
	case consent.ExpiredAt(now):
		return gatehouse.NewError(gatehouse.InvalidGrant, "the consent of this refresh_token is expired")
	case !g.AuthenticatedAt(now):
		return authenticationOver()
	}
	return badRefreshToken()
}

func authenticationOver() *gatehouse.Error {
	return gatehouse.NewError(gatehouse.InvalidGrant, "the PSU's authentication is too old for this refresh_token: send the PSU to authorize the same consent again")
}

// successor makes the token that takes the place of a refresh token. It is
// derived from that token, under the key-encryption key, so that whoever
// repeats a request gets the same one again, and nobody else can make it.
func (s *Server) successor(of *gatehouse.RefreshToken, token string, now time.Time) (*gatehouse.RefreshToken, string) {
	id, next := gatehouse.DeriveToken(of.IssuedAt, s.KEK.MAC("refresh_token id", token), s.KEK.MAC("refresh_token", token))
	return &gatehouse.RefreshToken{
		ID: id, Provider: of.Provider, GrantID: of.GrantID, ClientID: of.ClientID,
		Hash: gatehouse.HashSecret(next), IssuedAt: now, ExpiresAt: of.ExpiresAt,
	}, next
}

// badRefreshToken is one answer for every reason, so that a guess tells
// nothing.
func badRefreshToken() *gatehouse.Error {
	return gatehouse.NewError(gatehouse.InvalidGrant, "refresh_token is unknown, expired or revoked")
}

// requestedScope returns the scope parameter as a set, or all of allowed when
// it is absent (RFC 6749 §3.3).
func requestedScope(in params, allowed gatehouse.Scopes) (gatehouse.Scopes, error) {
	text, sent := in["scope"]
	if !sent {
		if len(allowed) == 0 {
			return nil, gatehouse.NewError(gatehouse.InvalidScope, "the client has no scope at this provider")
		}
		return allowed, nil
	}
	scope := gatehouse.ParseScopes(text)
	if len(scope) == 0 || !scope.Within(allowed) {
		return nil, gatehouse.NewError(gatehouse.InvalidScope, "scope is wider than what is allowed")
	}
	return scope, nil
}
