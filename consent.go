package gatehouse

import (
	"encoding/json"
	"slices"
	"time"
)

// A Consent is the permission resource that a TPP lodges before it sends the
// PSU: an intent of the UK Open Banking Read/Write API 3.1. Its status moves
// only along
//
//	AwaitingAuthorisation ─▶ Authorised ─▶ Revoked or Consumed
//	AwaitingAuthorisation ─▶ Rejected or Revoked
//
// each move once. Once a PSU has authorised it, there is a Grant; the two end
// together.
type Consent struct {
	ID       string        `json:"consent_id"`
	Provider string        `json:"provider_code"`
	ClientID string        `json:"client_id"`
	Kind     ConsentKind   `json:"kind"`
	Status   ConsentStatus `json:"status"`
	// Lodged is the body as the TPP sent it, {"Data":{…},"Risk":{…}}: what the
	// PSU is shown and the bank is told.
	Lodged json.RawMessage `json:"lodged"`
	// ExpiresAt is ExpirationDateTime; zero for a consent without an end.
	ExpiresAt time.Time `json:"expires_at,omitzero"`
	// UserID is the bank's identifier of the PSU who authorised it.
	UserID string `json:"-"`
	// GrantID is set once a PSU has authorised it.
	GrantID string `json:"grant_id,omitempty"`
	// IdempotencyKeyHash is that of the x-idempotency-key; nil without one.
	// RequestHash tells whether a second request with it is the same.
	IdempotencyKeyHash []byte    `json:"-"`
	RequestHash        []byte    `json:"-"`
	CreatedAt          time.Time `json:"created_at"`
	StatusUpdatedAt    time.Time `json:"status_updated_at"`
}

// ConsentKind says what a consent is about.
type ConsentKind string

// The kinds of consent, by the role of PSD2 that lodges them: account
// information, payment initiation, card issuing.
const (
	AccountAccess     ConsentKind = "account-access"
	DomesticPayment   ConsentKind = "domestic-payment"
	FundsConfirmation ConsentKind = "funds-confirmation"
)

// Scope is the scope that a consent of the kind belongs to.
func (k ConsentKind) Scope() string {
	switch k {
	case AccountAccess:
		return "accounts"
	case DomesticPayment:
		return "payments"
	case FundsConfirmation:
		return "fundsconfirmations"
	}
	return ""
}

// ConsentStatus is Data.Status of the UK Open Banking Read/Write API.
type ConsentStatus string

// The states of a Consent.
const (
	ConsentAwaitingAuthorisation ConsentStatus = "AwaitingAuthorisation"
	ConsentAuthorised            ConsentStatus = "Authorised"
	ConsentRejected              ConsentStatus = "Rejected"
	ConsentRevoked               ConsentStatus = "Revoked"
	ConsentConsumed              ConsentStatus = "Consumed"
)

// ExpiredAt reports whether the consent's own end is reached.
func (c *Consent) ExpiredAt(now time.Time) bool {
	return !c.ExpiresAt.IsZero() && !now.Before(c.ExpiresAt)
}

// MayBeAuthorised reports whether a PSU may be asked: for the first time, or,
// except for a payment, again, which renews the age of the authentication.
func (c *Consent) MayBeAuthorised(now time.Time) bool {
	return !c.ExpiredAt(now) &&
		(c.Status == ConsentAwaitingAuthorisation || c.Status == ConsentAuthorised && c.Kind != DomesticPayment)
}

// Permissions are those of an account-access consent; nil for other kinds.
func (c *Consent) Permissions() []string {
	var lodged struct {
		Data struct{ Permissions []string }
	}
	if c.Kind != AccountAccess || json.Unmarshal(c.Lodged, &lodged) != nil {
		return nil
	}
	return lodged.Data.Permissions
}

// HasPermission reports whether an account-access consent has a permission.
func (c *Consent) HasPermission(code string) bool { return slices.Contains(c.Permissions(), code) }

// A ConsentFilter selects consents of a provider; an empty member selects all.
type ConsentFilter struct {
	ClientID string
	UserID   string
	Status   ConsentStatus
}

// A GrantFilter selects grants of a provider; an empty member selects all.
type GrantFilter struct {
	ClientID string
	UserID   string
	// OfPSUs leaves out grants of client_credentials.
	OfPSUs bool
}

// A Notice is something that a bank has yet to be told about a consent. Each
// is kept until the bank has answered it, and a bank is told of one consent in
// the order of the steps.
type Notice struct {
	Provider  string     `json:"provider_code"`
	ConsentID string     `json:"consent_id"`
	Step      NoticeStep `json:"step"`
	// Attempts counts the calls so far, with the one that this claim is for.
	Attempts  int       `json:"attempts"`
	CreatedAt time.Time `json:"created_at"`
	// Claim is who is to make the call.
	Claim string `json:"-"`
}

// NoticeStep is what happened to the consent; steps sort in their order.
type NoticeStep string

// A bank is told that a consent was lodged, and that it was revoked by anybody
// else than the bank itself.
const (
	NoticeLodged  NoticeStep = "lodged"
	NoticeRevoked NoticeStep = "revoked"
)
