package oidc

// Token introspection: RFC 7662.

import (
	"context"
	"crypto/subtle"
	"errors"
	"net/http"
	"time"

	"gatehouse"
)

// introspection says what a token is good for (RFC 7662 §2.2). Of one that is
// good for nothing it says that alone.
type introspection struct {
	Active    bool   `json:"active"`
	Issuer    string `json:"iss,omitzero"`
	ClientID  string `json:"client_id,omitzero"`
	Subject   string `json:"sub,omitzero"`
	Scope     string `json:"scope,omitzero"`
	TokenType string `json:"token_type,omitzero"` // of access tokens alone, as in RFC 6749 §5.1
	ID        string `json:"jti,omitzero"`
	IssuedAt  int64  `json:"iat,omitzero"`
	ExpiresAt int64  `json:"exp,omitzero"`
	AuthTime  int64  `json:"auth_time,omitzero"`
	ACR       string `json:"acr,omitzero"`
	IntentID  string `json:"openbanking_intent_id,omitzero"`
}

func (s *Server) introspectionEndpoint(p *provider) string {
	return s.BaseURL + "/api/oidc/" + p.Code + "/introspect"
}

// introspect serves POST /api/oidc/{provider_code}/introspect: a client asks
// about its own tokens. Whatever else it shows is answered alike (RFC 7662
// §2.2, §4).
func (s *Server) introspect(w http.ResponseWriter, r *http.Request, p *provider) error {
	c, presented, err := s.readTokenInquiry(r, p, s.introspectionEndpoint(p))
	if err != nil {
		return err
	}
	t, err := s.ownToken(r.Context(), p, c, presented)
	if errors.Is(err, gatehouse.ErrNotFound) {
		writeJSON(w, http.StatusOK, introspection{})
		return nil
	}
	if err != nil {
		return unavailable(err)
	}
	writeJSON(w, http.StatusOK, describeToken(p, c, t, s.Now()))
	return nil
}

// readTokenInquiry reads a request that is about a token, and authenticates
// its client as the token endpoint does. token_type_hint is not looked at: a
// token is searched for among both kinds anyway (RFC 7662 §2.1, RFC 7009
// §2.1).
func (s *Server) readTokenInquiry(r *http.Request, p *provider, endpoint string) (*client, string, error) {
	in, err := readTokenRequest(r, p.Profile == gatehouse.ProfilePSD2)
	if err != nil {
		return nil, "", err
	}
	if code, sent := in["provider_code"]; sent && code != p.Code {
		return nil, "", invalid("provider_code differs from that in the path")
	}
	c, err := s.authenticateClient(r, p, in, []string{p.issuer, p.tokenEndpoint, endpoint})
	if err != nil {
		return nil, "", err
	}
	presented, sent := in["token"]
	if !sent {
		return nil, "", invalid("token is missing")
	}
	return c, presented, nil
}

// A heldToken is an access or refresh token that its own client presented,
// with its grant. It need not be good any more.
type heldToken struct {
	id        string
	tokenType string // empty for a refresh token
	scope     gatehouse.Scopes
	issuedAt  time.Time
	expiresAt time.Time
	rotated   bool // a successor has taken its place
	grant     *gatehouse.Grant
}

// ownToken finds a presented token among those of the client at the provider,
// or returns gatehouse.ErrNotFound.
func (s *Server) ownToken(ctx context.Context, p *provider, c *client, presented string) (*heldToken, error) {
	id, wellFormed := gatehouse.TokenID(presented)
	if !wellFormed {
		return nil, gatehouse.ErrNotFound
	}
	hash := gatehouse.HashSecret(presented)
	access, grant, err := s.Store.AccessToken(ctx, p.Code, id)
	if err == nil && access.ClientID == c.ID && subtle.ConstantTimeCompare(access.Hash, hash) == 1 {
		return &heldToken{access.ID, "Bearer", access.Scope, access.IssuedAt, access.ExpiresAt, false, grant}, nil
	}
	if err != nil && !errors.Is(err, gatehouse.ErrNotFound) {
		return nil, err
	}
	refresh, grant, err := s.Store.RefreshToken(ctx, p.Code, id)
	if err != nil {
		return nil, err
	}
	if refresh.ClientID != c.ID || subtle.ConstantTimeCompare(refresh.Hash, hash) != 1 {
		return nil, gatehouse.ErrNotFound
	}
	return &heldToken{refresh.ID, "", grant.Scope, refresh.IssuedAt, refresh.ExpiresAt, refresh.SuccessorID != "", grant}, nil
}

// describeToken says what a token is good for now. Its scope is what the token
// endpoint would still give: what the client may have can have become less
// since, and a token of which nothing is left is not active.
func describeToken(p *provider, c *client, t *heldToken, now time.Time) introspection {
	scope := t.scope.Intersect(c.ScopesAt(p.Provider, now))
	if t.rotated || !now.Before(t.expiresAt) || !t.grant.ActiveAt(now) || len(scope) == 0 {
		return introspection{}
	}
	answer := introspection{
		Active: true, Issuer: p.issuer, ClientID: c.ID, Subject: t.grant.Subject, Scope: scope.String(),
		TokenType: t.tokenType, ID: t.id, IssuedAt: t.issuedAt.Unix(), ExpiresAt: t.expiresAt.Unix(),
		ACR: t.grant.ACR, IntentID: t.grant.IntentID,
	}
	if !t.grant.AuthTime.IsZero() {
		answer.AuthTime = t.grant.AuthTime.Unix()
	}
	return answer
}
