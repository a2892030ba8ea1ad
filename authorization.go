package gatehouse

import (
	"encoding/json"
	"slices"
	"time"
)

// An AuthorizationRequest holds the validated parameters of an authorization
// request, however they came in: as a query, a form or a request object.
type AuthorizationRequest struct {
	ClientID     string `json:"client_id"`
	RedirectURI  string `json:"redirect_uri"`
	ResponseType string `json:"response_type"`
	Scope        Scopes `json:"scope"`
	State        string `json:"state,omitempty"`
	Nonce        string `json:"nonce,omitempty"`
	// CodeChallenge is the S256 challenge of RFC 7636 §4.2.
	CodeChallenge string   `json:"code_challenge,omitempty"`
	Prompt        []string `json:"prompt,omitempty"`
	// MaxAge is in seconds; nil when the request named none.
	MaxAge *int64 `json:"max_age,omitempty"`
	// ACRValues are the acceptable authentication context classes, most
	// wanted first; with ACREssential nothing else will do
	// (OpenID Connect Core §5.5.1.1).
	ACRValues    []string `json:"acr_values,omitempty"`
	ACREssential bool     `json:"acr_essential,omitempty"`
	// IntentID is claims.id_token.openbanking_intent_id.value: the consent
	// that the PSU is asked to authorise.
	IntentID string `json:"openbanking_intent_id,omitempty"`
}

// An Authorization is one visit of a PSU. Its status moves only along
//
//	pending ─▶ approved ─▶ exchanged        pending ─▶ denied
//
// each move once. The authorization code is the secret handle of an
// Authorization. Gatehouse mints it when the browser comes back from the bank;
// a bank that hosts the authorization endpoint brings its own, at the start.
// Either way the code may be in the TPP's hands before the bank has decided,
// and then opens nothing yet.
type Authorization struct {
	ID       string
	Provider string
	ClientID string
	Request  AuthorizationRequest
	Status   AuthorizationStatus
	// BrowserHash is the hash of the cookie of the browser that started a
	// visit at our authorization endpoint; nil when the bank hosts it.
	BrowserHash []byte
	// CodeHash is nil until there is a code.
	CodeHash []byte
	// SealedCode is the code that a bank brought, encrypted: the redirect that
	// carries it to the TPP is built later. It is erased with the exchange.
	SealedCode    []byte
	CodeExpiresAt time.Time
	// GrantID is set by approval.
	GrantID   string
	CreatedAt time.Time
	// ExpiresAt is when the bank's verdict comes too late.
	ExpiresAt time.Time
	DecidedAt time.Time
}

// AuthorizationStatus is where a visit has got to.
type AuthorizationStatus string

// The states of an Authorization.
const (
	AuthorizationPending   AuthorizationStatus = "pending"
	AuthorizationApproved  AuthorizationStatus = "approved"
	AuthorizationDenied    AuthorizationStatus = "denied"
	AuthorizationExchanged AuthorizationStatus = "exchanged"
)

// A Grant is the lasting fact that a PSU allowed a client something at a bank,
// or, for client_credentials, that the bank allowed the client itself. Every
// token is a handle to a Grant and is dead when the Grant is.
type Grant struct {
	ID       string `json:"grant_id"`
	Provider string `json:"provider_code"`
	ClientID string `json:"client_id"`
	// UserID is the bank's own identifier of the PSU; empty for
	// client_credentials. It never leaves the server: TPPs see Subject.
	UserID string `json:"-"`
	// Subject is the `sub` of this grant's tokens.
	Subject  string `json:"sub"`
	Scope    Scopes `json:"scope"`
	IntentID string `json:"openbanking_intent_id,omitempty"`
	// Accounts are the accounts the PSU chose, as the bank names them.
	Accounts json.RawMessage `json:"accounts,omitempty"`
	// DebtorAccount is the account a payment is made from, as the bank sent it.
	DebtorAccount json.RawMessage `json:"debtor_account,omitempty"`
	// AuthTime is when the PSU last proved who they are, ACR how.
	AuthTime  time.Time `json:"auth_time,omitzero"`
	ACR       string    `json:"acr,omitempty"`
	CreatedAt time.Time `json:"created_at"`
	// ExpiresAt is the first clock: the end of the consent or, where it has
	// none, of the grant. No refresh token outlives it.
	ExpiresAt time.Time `json:"expires_at"`
	// AuthenticationExpiresAt is the second clock: when the PSU must prove
	// again who they are (RTS on SCA, Article 10). Zero without a PSU.
	AuthenticationExpiresAt time.Time `json:"authentication_expires_at,omitzero"`
	// LastUsedAt is when a token of the grant last opened something, give or
	// take LastUsedPrecision; zero before.
	LastUsedAt time.Time `json:"last_used_at,omitzero"`
	// RevokedAt is zero while the grant is in force.
	RevokedAt time.Time `json:"revoked_at,omitzero"`
	// RevokedBy is who ended it; read by Store.Grant and Store.Grants alone.
	RevokedBy Actor `json:"revoked_by,omitempty"`
}

// LastUsedPrecision is how old Grant.LastUsedAt may be before a use is written
// down again: checking a token should not cost a write.
const LastUsedPrecision = 15 * time.Minute

// ActiveAt reports whether the grant is in force: neither clock is over, and
// nobody has ended it.
func (g *Grant) ActiveAt(now time.Time) bool {
	return g.RevokedAt.IsZero() && now.Before(g.ExpiresAt) && g.AuthenticatedAt(now)
}

// AuthenticatedAt reports whether the PSU's proof of who they are still counts.
func (g *Grant) AuthenticatedAt(now time.Time) bool {
	return g.AuthenticationExpiresAt.IsZero() || now.Before(g.AuthenticationExpiresAt)
}

// EndsAt is when the first of both clocks is over.
func (g *Grant) EndsAt() time.Time {
	if !g.AuthenticationExpiresAt.IsZero() && g.AuthenticationExpiresAt.Before(g.ExpiresAt) {
		return g.AuthenticationExpiresAt
	}
	return g.ExpiresAt
}

// acrValues are the authentication context classes of the UK Open Banking
// profile, the stronger first: strong customer authentication, one factor.
var acrValues = []string{"urn:openbanking:psd2:sca", "urn:openbanking:psd2:ca"}

// ACRValues are the authentication context classes that a bank may report, the
// strongest first.
func ACRValues() []string { return slices.Clone(acrValues) }
