package oidc

// Tokens: RFC 6749 §5.1, OpenID Connect Core §2.

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"slices"
	"time"

	"gatehouse"
)

// tokenResponse is a successful answer of the token endpoint.
type tokenResponse struct {
	AccessToken  string `json:"access_token"`
	IDToken      string `json:"id_token,omitempty"`
	RefreshToken string `json:"refresh_token,omitempty"`
	TokenType    string `json:"token_type"`
	ExpiresIn    int64  `json:"expires_in"` // seconds
	Scope        string `json:"scope"`
}

// idToken holds the claims of an ID Token. Its jti is the id of the access
// token, which is what the product's documentation calls id_token.
type idToken struct {
	Issuer    string `json:"iss"`
	Subject   string `json:"sub"`
	Audience  string `json:"aud"`
	ExpiresAt int64  `json:"exp"`
	IssuedAt  int64  `json:"iat"`
	ID        string `json:"jti"`
	AuthTime  int64  `json:"auth_time,omitzero"`
	Nonce     string `json:"nonce,omitzero"`
	ACR       string `json:"acr,omitzero"`
	AtHash    string `json:"at_hash"`
	IntentID  string `json:"openbanking_intent_id,omitzero"`
}

// issued are the tokens of one response, not yet stored.
type issued struct {
	access   *gatehouse.AccessToken
	refresh  *gatehouse.RefreshToken // nil when none was asked for
	response *tokenResponse
}

type issueOptions struct {
	scope     gatehouse.Scopes
	nonce     string
	refresh   bool // with a new refresh token
	noIDToken bool
}

// issue makes and signs the tokens of a grant. It changes nothing: the tokens
// mean something only once the store has them.
func (s *Server) issue(ctx context.Context, p *provider, c *client, g *gatehouse.Grant, o issueOptions, now time.Time) (*issued, error) {
	expires := now.Add(time.Duration(p.rules.AccessTokenLifetime))
	if end := g.EndsAt(); expires.After(end) {
		expires = end
	}
	accessID, accessToken := gatehouse.NewToken(now)
	t := &issued{
		access: &gatehouse.AccessToken{
			ID: accessID, Provider: p.Code, GrantID: g.ID, ClientID: c.ID, Scope: o.scope,
			Hash: gatehouse.HashSecret(accessToken), IssuedAt: now, ExpiresAt: expires,
		},
		response: &tokenResponse{
			AccessToken: accessToken, TokenType: "Bearer", Scope: o.scope.String(),
			ExpiresIn: int64(expires.Sub(now) / time.Second),
		},
	}
	if o.refresh && (p.Profile == gatehouse.ProfilePSD2 || slices.Contains(c.GrantTypes, gatehouse.GrantRefreshToken)) {
		id, token := gatehouse.NewToken(now)
		t.refresh = &gatehouse.RefreshToken{
			ID: id, Provider: p.Code, GrantID: g.ID, ClientID: c.ID,
			Hash: gatehouse.HashSecret(token), IssuedAt: now, ExpiresAt: g.ExpiresAt,
		}
		t.response.RefreshToken = token
	}
	if o.noIDToken || p.Profile != gatehouse.ProfilePSD2 && !o.scope.Has(gatehouse.ScopeOpenID) {
		return t, nil
	}
	alg := c.IDTokenSignedResponseAlg
	if alg == "" {
		alg = p.SigningAlg
	}
	key, err := p.signingKey(alg)
	if err != nil {
		return nil, err
	}
	claims := idToken{
		Issuer: p.issuer, Subject: g.Subject, Audience: c.ID, ID: accessID,
		ExpiresAt: expires.Unix(), IssuedAt: now.Unix(),
		Nonce: o.nonce, ACR: g.ACR, AtHash: atHash(accessToken), IntentID: g.IntentID,
	}
	if !g.AuthTime.IsZero() {
		claims.AuthTime = g.AuthTime.Unix()
	}
	if t.response.IDToken, err = s.sign(ctx, p, c.owner(), key, "JWT", claims); err != nil {
		return nil, err
	}
	return t, nil
}

// atHash binds an ID Token to its access token: the left half of SHA-256,
// which RS256 and PS256 share (OpenID Connect Core §3.1.3.6).
func atHash(accessToken string) string {
	sum := sha256.Sum256([]byte(accessToken))
	return base64.RawURLEncoding.EncodeToString(sum[:len(sum)/2])
}
