package gatehouse

import (
	"context"
	"encoding/base64"
	"slices"
	"strconv"
	"time"

	"gatehouse/jose"
)

// An Event is one line of the audit log: one decision about security. It is
// written in the transaction of what it tells, never changed, and soon after
// sealed into a chain, in which each hash covers the event and the hash before.
type Event struct {
	// Sequence is the place in the chain, from 1; 0 until the event is sealed.
	Sequence int64     `json:"sequence,omitzero"`
	ID       string    `json:"event_id"`
	At       time.Time `json:"at"`
	Kind     EventKind `json:"kind"`
	// Provider, ClientID, GrantID and ConsentID are what the event is about;
	// each may be empty.
	Provider  string `json:"provider_code,omitempty"`
	ClientID  string `json:"client_id,omitempty"`
	GrantID   string `json:"grant_id,omitempty"`
	ConsentID string `json:"consent_id,omitempty"`
	// Detail names what else there is to name: a grant type, a key, a resource
	// server. It is never a secret, and nothing of a PSU.
	Detail string `json:"detail,omitempty"`
	Origin
	// Hash is that of the chain up to here.
	Hash []byte `json:"hash,omitempty"`
}

// EventKind says what was decided.
type EventKind string

// The kinds of event.
const (
	EventTokenIssued          EventKind = "token.issued"
	EventCodeReplayed         EventKind = "code.replayed"
	EventRefreshTokenReplayed EventKind = "refresh_token.replayed"
	EventAssertionReplayed    EventKind = "assertion.replayed"
	EventAuthenticationFailed EventKind = "client.authentication_failed"
	EventGrantRevoked         EventKind = "grant.revoked"

	EventAuthorizationApproved EventKind = "authorization.approved"
	EventAuthorizationDenied   EventKind = "authorization.denied"

	EventConsentLodged   EventKind = "consent.lodged"
	EventConsentRejected EventKind = "consent.rejected"
	EventConsentRevoked  EventKind = "consent.revoked"
	EventConsentConsumed EventKind = "consent.consumed"
	EventBankNotTold     EventKind = "bank.not_told"

	EventProviderCreated       EventKind = "provider.created"
	EventProviderUpdated       EventKind = "provider.updated"
	EventProviderDeleted       EventKind = "provider.deleted"
	EventClientCreated         EventKind = "client.created"
	EventClientUpdated         EventKind = "client.updated"
	EventClientDeleted         EventKind = "client.deleted"
	EventResourceServerCreated EventKind = "resource_server.created"
	EventResourceServerDeleted EventKind = "resource_server.deleted"

	EventPSUEntered EventKind = "psu.entered"

	EventDatabaseRestored EventKind = "database.restored"
)

var eventKinds = []EventKind{
	EventTokenIssued, EventCodeReplayed, EventRefreshTokenReplayed, EventAssertionReplayed, EventAuthenticationFailed, EventGrantRevoked,
	EventAuthorizationApproved, EventAuthorizationDenied,
	EventConsentLodged, EventConsentRejected, EventConsentRevoked, EventConsentConsumed, EventBankNotTold,
	EventProviderCreated, EventProviderUpdated, EventProviderDeleted,
	EventClientCreated, EventClientUpdated, EventClientDeleted,
	EventResourceServerCreated, EventResourceServerDeleted,
	EventPSUEntered, EventDatabaseRestored,
}

// EventKinds are all there are.
func EventKinds() []EventKind { return slices.Clone(eventKinds) }

// An Origin is where a decision came from.
type Origin struct {
	Actor Actor `json:"actor"`
	// Name tells operators apart, and how a client authenticated: by which
	// method and with which key.
	Name string `json:"actor_name,omitempty"`
	// RequestID is the x-fapi-interaction-id of the request.
	RequestID string `json:"request_id,omitempty"`
}

// An Actor is a party that decides.
type Actor string

// The actors: a TPP's application, a bank's customer on their own page, the
// bank, an operator of the deployment, and the deployment by itself.
const (
	ActorClient   Actor = "client"
	ActorPSU      Actor = "psu"
	ActorBank     Actor = "bank"
	ActorOperator Actor = "operator"
	ActorSystem   Actor = "system"
)

type originKey struct{}

// WithOrigin says where the decisions of a context come from.
func WithOrigin(ctx context.Context, o Origin) context.Context {
	return context.WithValue(ctx, originKey{}, o)
}

// OriginOf returns what WithOrigin said; without it the deployment itself acts.
func OriginOf(ctx context.Context) Origin {
	if o, ok := ctx.Value(originKey{}).(Origin); ok {
		return o
	}
	return Origin{Actor: ActorSystem}
}

// ChainHash is the hash of the chain after an event, whose Sequence is set.
// Without the key-encryption key, which is not in the database, nobody can
// make another chain that holds.
func (e *Event) ChainHash(kek *jose.KEK, previous []byte) []byte {
	return kek.MAC("audit chain", base64.RawURLEncoding.EncodeToString(previous), strconv.FormatInt(e.Sequence, 10),
		e.ID, strconv.FormatInt(e.At.UnixMilli(), 10), string(e.Kind), e.Provider, e.ClientID, e.GrantID, e.ConsentID,
		e.Detail, string(e.Actor), e.Name, e.RequestID)
}

// An EventFilter selects events; an empty member selects all.
type EventFilter struct {
	Provider  string
	ClientID  string
	GrantID   string
	ConsentID string
	Kind      EventKind
}
