package oidc

// Token introspection: RFC 7662; signed answers: RFC 9701.

import (
	"context"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"

	"gatehouse"
)

// introspection says what a token is good for (RFC 7662 §2.2). Of one that is
// good for nothing it says that alone.
type introspection struct {
	Active    bool   `json:"active"`
	Issuer    string `json:"iss,omitzero"`
	Audience  string `json:"aud,omitzero"`
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

	// What the bank alone is told.
	UserID        string               `json:"user_id,omitzero"`
	Accounts      json.RawMessage      `json:"accounts,omitzero"`
	DebtorAccount json.RawMessage      `json:"debtor_account,omitzero"`
	Consent       *introspectedConsent `json:"consent,omitzero"`
}

// introspectedConsent is what a resource server needs to know of a consent. The
// last two are as the TPP lodged them.
type introspectedConsent struct {
	ID                      string                  `json:"consent_id"`
	Kind                    gatehouse.ConsentKind   `json:"kind"`
	Status                  gatehouse.ConsentStatus `json:"status"`
	Permissions             []string                `json:"permissions,omitzero"`
	ExpirationDateTime      string                  `json:"expiration_date_time,omitzero"`
	TransactionFromDateTime string                  `json:"transaction_from_date_time,omitzero"`
	TransactionToDateTime   string                  `json:"transaction_to_date_time,omitzero"`
}

func (s *Server) introspectionEndpoint(p *provider) string {
	return s.BaseURL + "/api/oidc/" + p.Code + "/introspect"
}

// introspect serves POST /api/oidc/{provider_code}/introspect: a client asks
// about its own tokens, a resource server about every access token of its
// provider. Whatever else they show is answered alike (RFC 7662 §2.2, §4).
func (s *Server) introspect(w http.ResponseWriter, r *http.Request, p *provider) error {
	in, err := readTokenInquiry(r, p)
	if err != nil {
		return err
	}
	rs, c, err := s.authenticateInquirer(r, p, in)
	if err != nil {
		return err
	}
	presented, err := presentedToken(in)
	if err != nil {
		return err
	}
	var caller string
	var answer introspection
	if rs != nil {
		caller = rs.ID
		answer, err = s.describeToBank(r.Context(), p, presented)
	} else {
		caller = c.ID
		answer, err = s.describeToClient(r.Context(), p, c, presented)
	}
	if err != nil && !errors.Is(err, gatehouse.ErrNotFound) {
		return unavailable(err)
	}
	if !wantsSigned(r.Header.Values("Accept")) {
		writeJSON(w, http.StatusOK, answer)
		return nil
	}
	signed, err := s.signIntrospection(r.Context(), p, caller, answer)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/"+typeTokenIntrospection)
	w.Header().Set("Content-Length", strconv.Itoa(len(signed)))
	w.WriteHeader(http.StatusOK)
	io.WriteString(w, signed)
	return nil
}

// authenticateInquirer returns who asks: a resource server of the provider, or
// a client.
func (s *Server) authenticateInquirer(r *http.Request, p *provider, in params) (*gatehouse.ResourceServer, *client, error) {
	if in["client_assertion"] == "" && in["client_secret"] == "" { // else a client's, or too much
		rs, err := s.authenticateResourceServer(r.Context(), p, r.Header.Values("Authorization"))
		if rs != nil || err != nil {
			return rs, nil, err
		}
	}
	c, err := s.authenticateClient(r, p, in, []string{p.issuer, p.tokenEndpoint, s.introspectionEndpoint(p)})
	return nil, c, err
}

// readTokenInquiry reads a request that is about a token, as the token endpoint
// does. token_type_hint is not looked at: a token is searched for among both
// kinds anyway (RFC 7662 §2.1, RFC 7009 §2.1).
func readTokenInquiry(r *http.Request, p *provider) (params, error) {
	in, err := readTokenRequest(r, p.Profile == gatehouse.ProfilePSD2)
	if err != nil {
		return nil, err
	}
	if code, sent := in["provider_code"]; sent && code != p.Code {
		return nil, invalid("provider_code differs from that in the path")
	}
	return in, nil
}

func presentedToken(in params) (string, error) {
	presented, sent := in["token"]
	if !sent {
		return "", invalid("token is missing")
	}
	return presented, nil
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
	access, grant, err := s.accessToken(ctx, p, presented)
	if err == nil && access.ClientID == c.ID {
		return heldAccessToken(access, grant), nil
	}
	if err != nil && !errors.Is(err, gatehouse.ErrNotFound) {
		return nil, err
	}
	id, wellFormed := gatehouse.TokenID(presented)
	if !wellFormed {
		return nil, gatehouse.ErrNotFound
	}
	refresh, grant, err := s.Store.RefreshToken(ctx, p.Code, id)
	if err != nil {
		return nil, err
	}
	if refresh.ClientID != c.ID || subtle.ConstantTimeCompare(refresh.Hash, gatehouse.HashSecret(presented)) != 1 {
		return nil, gatehouse.ErrNotFound
	}
	return &heldToken{refresh.ID, "", grant.Scope, refresh.IssuedAt, refresh.ExpiresAt, refresh.SuccessorID != "", grant}, nil
}

func heldAccessToken(t *gatehouse.AccessToken, g *gatehouse.Grant) *heldToken {
	return &heldToken{t.ID, "Bearer", t.Scope, t.IssuedAt, t.ExpiresAt, false, g}
}

// describeToClient says what a token is good for now, or returns
// gatehouse.ErrNotFound. Its scope is what the token endpoint would still give:
// a token of which nothing is left is not active.
func (s *Server) describeToClient(ctx context.Context, p *provider, c *client, presented string) (introspection, error) {
	t, err := s.ownToken(ctx, p, c, presented)
	if err != nil {
		return introspection{}, err
	}
	now := s.Now()
	scope := remainingScope(t.scope, t.grant, c, p, now)
	if t.rotated || !now.Before(t.expiresAt) || !t.grant.ActiveAt(now) || len(scope) == 0 {
		return introspection{}, gatehouse.ErrNotFound
	}
	return describeToken(p, t, scope), nil
}

// describeToBank says what an access token is good for now, with what the bank
// needs to serve its bearer, or returns gatehouse.ErrNotFound. Refresh tokens
// are not for resource servers (RFC 6749 §1.5, RFC 7662 §4): whoever shows one
// there has taken it for an access token, and it opens nothing.
func (s *Server) describeToBank(ctx context.Context, p *provider, presented string) (introspection, error) {
	t, err := s.liveToken(ctx, p, presented)
	if err != nil {
		return introspection{}, err
	}
	s.touch(ctx, p, t.grant)
	answer := describeToken(p, heldAccessToken(t.AccessToken, t.grant), t.scope)
	answer.UserID, answer.Accounts, answer.DebtorAccount = t.grant.UserID, t.grant.Accounts, t.grant.DebtorAccount
	if t.consent != nil {
		answer.Consent = describeConsent(t.consent)
	}
	return answer, nil
}

func describeToken(p *provider, t *heldToken, scope gatehouse.Scopes) introspection {
	answer := introspection{
		Active: true, Issuer: p.issuer, Audience: p.issuer, ClientID: t.grant.ClientID, Subject: t.grant.Subject, Scope: scope.String(),
		TokenType: t.tokenType, ID: t.id, IssuedAt: t.issuedAt.Unix(), ExpiresAt: t.expiresAt.Unix(),
		ACR: t.grant.ACR, IntentID: t.grant.IntentID,
	}
	if !t.grant.AuthTime.IsZero() {
		answer.AuthTime = t.grant.AuthTime.Unix()
	}
	return answer
}

func describeConsent(c *gatehouse.Consent) *introspectedConsent {
	var lodged struct {
		Data struct{ TransactionFromDateTime, TransactionToDateTime string }
	}
	json.Unmarshal(c.Lodged, &lodged) // checked when it was lodged
	answer := &introspectedConsent{
		ID: c.ID, Kind: c.Kind, Status: c.Status, Permissions: c.Permissions(),
		TransactionFromDateTime: lodged.Data.TransactionFromDateTime, TransactionToDateTime: lodged.Data.TransactionToDateTime,
	}
	if !c.ExpiresAt.IsZero() {
		answer.ExpirationDateTime = c.ExpiresAt.UTC().Format(time.RFC3339)
	}
	return answer
}

const typeTokenIntrospection = "token-introspection+jwt"

// signIntrospection signs an answer for its caller (RFC 9701 §5). It has no sub
// and no exp, so that it can pass for no other token (§8.1).
func (s *Server) signIntrospection(ctx context.Context, p *provider, caller string, answer introspection) (string, error) {
	key, err := p.signingKey(p.SigningAlg)
	if err != nil {
		return "", err
	}
	return s.sign(ctx, p, caller, key, typeTokenIntrospection, struct {
		Issuer        string        `json:"iss"`
		Audience      string        `json:"aud"`
		IssuedAt      int64         `json:"iat"`
		Introspection introspection `json:"token_introspection"`
	}{p.issuer, caller, s.Now().Unix(), answer})
}

// wantsSigned reports whether an Accept header asks for a signed answer (RFC
// 9701 §4): by its name, and not less than for plain JSON (RFC 9110 §12.5.1).
func wantsSigned(accept []string) bool {
	weight := map[string]float64{}
	for member := range strings.SplitSeq(strings.Join(accept, ","), ",") {
		media, parameters, err := mime.ParseMediaType(member)
		if err != nil {
			continue
		}
		weight[media] = 1
		if q, sent := parameters["q"]; sent {
			weight[media], _ = strconv.ParseFloat(q, 64) // 0 when it is no number
		}
	}
	signed := weight["application/"+typeTokenIntrospection]
	plain := 0.0
	for _, media := range []string{"*/*", "application/*", "application/json"} { // the last that is there counts
		if q, sent := weight[media]; sent {
			plain = q
		}
	}
	return signed > 0 && signed >= plain
}
