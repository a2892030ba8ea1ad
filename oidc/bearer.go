package oidc

// Access tokens as those who hold something check them: RFC 6750.

import (
	"context"
	"crypto/subtle"
	"errors"
	"net/http"
	"strings"
	"time"

	"gatehouse"
)

// Causes that decide what a challenge says.
var (
	errNoToken   = errors.New("the request has no access token")
	errTwoTokens = errors.New("the request has two access tokens")
)

func badBearer(description string) *gatehouse.Error {
	return gatehouse.NewError(gatehouse.InvalidToken, description)
}

// bearer returns the one token of the Authorization header (RFC 6750 §2.1).
func bearer(r *http.Request) (string, error) {
	if len(r.Header.Values("Authorization")) > 1 {
		return "", badBearer("the Authorization header is repeated")
	}
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return "", badBearer("an Authorization header with a Bearer token is needed").Because(errNoToken)
	}
	return token, nil
}

// A missingScope is the cause of an InsufficientScope: what would have done.
type missingScope string

func (m missingScope) Error() string { return "needed: scope " + string(m) }

func insufficientScope(description string, needed gatehouse.Scopes) *gatehouse.Error {
	return gatehouse.NewError(gatehouse.InsufficientScope, description).Because(missingScope(needed.String()))
}

// bearerChallenge is the WWW-Authenticate of a fault of an access token (RFC
// 6750 §3), or "" when the fault is another. There is no error code where there
// was no token (§3.1).
func bearerChallenge(fault *gatehouse.Error) string {
	if fault.Kind != gatehouse.InvalidToken && fault.Kind != gatehouse.InsufficientScope && !errors.Is(fault, errTwoTokens) {
		return ""
	}
	challenge := `Bearer realm="gatehouse"`
	if errors.Is(fault, errNoToken) {
		return challenge
	}
	challenge += `, error="` + fault.Kind.Code() + `", error_description="` + fault.Description + `"`
	if needed, _ := errors.AsType[missingScope](fault); needed != "" {
		challenge += `, scope="` + string(needed) + `"`
	}
	return challenge
}

// A liveToken is an access token that is good now, and what it stands on.
type liveToken struct {
	*gatehouse.AccessToken
	grant   *gatehouse.Grant
	scope   gatehouse.Scopes   // what is left of the token's
	consent *gatehouse.Consent // nil when the grant has none that was lodged here
}

// liveToken finds a presented access token among all of the provider, or
// returns gatehouse.ErrNotFound. The grant is read from the store each time, so
// that its end is seen at once.
func (s *Server) liveToken(ctx context.Context, p *provider, presented string) (*liveToken, error) {
	access, grant, err := s.accessToken(ctx, p, presented)
	if err != nil {
		return nil, err
	}
	c, err := s.client(ctx, access.ClientID)
	if err != nil {
		return nil, err
	}
	attemptOf(ctx).clientID = c.ID
	now := s.Now()
	scope := remainingScope(access.Scope, grant, c, p, now)
	if !now.Before(access.ExpiresAt) || !grant.ActiveAt(now) || c.Status != gatehouse.ClientActive || !c.MayUse(p.Provider) || len(scope) == 0 {
		return nil, gatehouse.ErrNotFound
	}
	consent, err := s.consentOf(ctx, p, grant)
	if err != nil {
		return nil, err
	}
	// The two end together; whoever reads them one after the other may see one
	// of them end.
	if consent != nil && (consent.Status != gatehouse.ConsentAuthorised || consent.ExpiredAt(now)) {
		return nil, gatehouse.ErrNotFound
	}
	return &liveToken{access, grant, scope, consent}, nil
}

// admitBearer returns the token that a caller presents for itself, and counts
// the request as one of the token's client.
func (s *Server) admitBearer(ctx context.Context, p *provider, presented string) (*liveToken, error) {
	t, err := s.liveToken(ctx, p, presented)
	switch {
	case errors.Is(err, gatehouse.ErrNotFound):
		return nil, badBearer("the access token is unknown, expired or revoked")
	case err != nil:
		return nil, unavailable(err)
	}
	if err := s.mayAsk(p, t.ClientID); err != nil {
		return nil, err
	}
	s.count(p, t.ClientID)
	return t, nil
}

// accessToken finds a presented access token among all of the provider, good
// or not, or returns gatehouse.ErrNotFound.
func (s *Server) accessToken(ctx context.Context, p *provider, presented string) (*gatehouse.AccessToken, *gatehouse.Grant, error) {
	id, wellFormed := gatehouse.TokenID(presented)
	if !wellFormed {
		return nil, nil, gatehouse.ErrNotFound
	}
	access, grant, err := s.Store.AccessToken(ctx, p.Code, id)
	if err != nil {
		return nil, nil, err
	}
	if subtle.ConstantTimeCompare(access.Hash, gatehouse.HashSecret(presented)) != 1 {
		return nil, nil, gatehouse.ErrNotFound
	}
	return access, grant, nil
}

// remainingScope is what a token's scope still opens: what the grant and the
// client have can have become less since.
func remainingScope(scope gatehouse.Scopes, g *gatehouse.Grant, c *client, p *provider, now time.Time) gatehouse.Scopes {
	return scope.Intersect(g.Scope).Intersect(c.ScopesAt(p.Provider, now))
}

// consentOf returns the consent that a grant is of, or nil. A grant of the time
// before consents were lodged here may name one that is not.
func (s *Server) consentOf(ctx context.Context, p *provider, g *gatehouse.Grant) (*gatehouse.Consent, error) {
	if g.IntentID == "" {
		return nil, nil
	}
	consent, err := s.Store.Consent(ctx, p.Code, g.IntentID)
	if errors.Is(err, gatehouse.ErrNotFound) || err == nil && consent.GrantID != g.ID {
		return nil, nil
	}
	return consent, err
}
