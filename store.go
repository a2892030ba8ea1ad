package gatehouse

import (
	"context"
	"errors"
	"time"
)

// Errors of a Store. Every other error means that the store could not answer:
// it becomes a 503 and never a statement about the request.
var (
	// ErrNotFound: there is no such row at this provider.
	ErrNotFound = errors.New("not found")
	// ErrExists: a row with this key is already there.
	ErrExists = errors.New("already exists")
	// ErrSpent: the single use is over.
	ErrSpent = errors.New("already used")
	// ErrConflict: the row changed since it was read, or its state does not
	// allow the step.
	ErrConflict = errors.New("conflict")
)

// A Store keeps everything that outlives a request. Each method is one
// transaction, durable when it returns nil, safe for any number of goroutines
// and processes, and without a clock: callers pass now. Every method that
// takes a provider sees the rows of that provider alone. Times are kept to the
// millisecond. Each decision leaves an Event in its own transaction, from the
// Origin of the context.
type Store interface {
	// CreateProvider adds a provider with its signing keys, or returns
	// ErrExists when the code, the connector's app_id or a kid is taken.
	CreateProvider(ctx context.Context, p *Provider, keys []*Key) error
	// Provider returns a provider by its code, or ErrNotFound.
	Provider(ctx context.Context, code string) (*Provider, error)
	// ProviderByAppID returns the provider whose connector has the app_id, or
	// ErrNotFound.
	ProviderByAppID(ctx context.Context, appID string) (*Provider, error)
	// Providers lists up to limit providers in the order of their codes, after
	// the given one; "" starts.
	Providers(ctx context.Context, after string, limit int) ([]*Provider, error)
	// UpdateProvider replaces a provider and counts Version up, in p too.
	// It returns ErrConflict when the row's version is not p.Version, ErrExists
	// when another provider has the app_id, and ErrNotFound.
	UpdateProvider(ctx context.Context, p *Provider) error
	// DeleteProvider ends a provider for good: its keys are erased, it is
	// ErrNotFound from now on, and Purge removes all else but its code, which
	// stays taken. An unknown code is ErrNotFound.
	DeleteProvider(ctx context.Context, code string, now time.Time) error
	// Keys lists a provider's signing keys, newest first.
	Keys(ctx context.Context, provider string) ([]*Key, error)

	// CreateClient adds a client of the deployment, or returns ErrExists.
	CreateClient(ctx context.Context, c *Client) error
	// Client returns a client by its id, or ErrNotFound.
	Client(ctx context.Context, id string) (*Client, error)
	// Clients lists up to limit clients in the order of their ids, after the
	// given one; "" starts.
	Clients(ctx context.Context, after string, limit int) ([]*Client, error)
	// UpdateClient replaces a client as UpdateProvider does a provider.
	UpdateClient(ctx context.Context, c *Client) error

	// DeleteClient ends a client for good, and every grant of it at every
	// provider, in one step: nil, or ErrNotFound.
	DeleteClient(ctx context.Context, id string, now time.Time) error
	// ClientsOfSoftware lists the clients that were registered for a
	// software_id of a directory's TPP and are not deleted, oldest first.
	ClientsOfSoftware(ctx context.Context, directory, tpp, softwareID string) ([]*Client, error)
	// CountRegistrations counts the clients that were registered for a
	// directory's TPP at or after since, deleted ones too.
	CountRegistrations(ctx context.Context, directory, tpp string, since time.Time) (int, error)

	// Consume marks key as used, until expires and at least a day longer. Of
	// any number of concurrent calls with one (provider, kind, key) exactly
	// one returns nil, every other ErrSpent. So does one for a key whose use
	// the store may have forgotten: issued before the store was restored from
	// a backup, or so long expired that its mark was purged. The empty
	// provider is the deployment as a whole.
	Consume(ctx context.Context, provider string, kind ConsumeKind, key string, issued, expires, now time.Time) error

	// CreateAuthorization adds an authorization, always pending, or returns
	// ErrExists when its id or its code is taken at this provider.
	CreateAuthorization(ctx context.Context, a *Authorization) error
	// Authorization returns an authorization by its id, or ErrNotFound.
	Authorization(ctx context.Context, provider, id string) (*Authorization, error)
	// AuthorizationByCode returns the authorization whose code has this hash,
	// and its Grant when it is approved or exchanged, or ErrNotFound.
	AuthorizationByCode(ctx context.Context, provider string, codeHash []byte) (*Authorization, *Grant, error)
	// ApproveAuthorization moves an authorization from pending to approved and
	// adds the grant. Of concurrent decisions exactly one returns nil, every
	// other ErrConflict; so does one at or after ExpiresAt, and one for a
	// client that is deleted. An unknown id is ErrNotFound.
	//
	// A grant with an IntentID also authorises that consent of its client. When
	// the consent has a grant, g must be a newer version of that one, of the
	// same PSU, and takes its place: the PSU has authorised again. A consent in
	// a state that does not allow it is ErrConflict.
	ApproveAuthorization(ctx context.Context, provider, id string, g *Grant, now time.Time) error
	// DenyAuthorization moves an authorization from pending to denied, under
	// the same rules. A consent that waited for it is rejected.
	DenyAuthorization(ctx context.Context, provider, id string, now time.Time) error
	// SetCode gives an authorization that has none its code, while it is
	// pending or approved. Of concurrent calls exactly one returns nil, every
	// other ErrSpent; a denied authorization is ErrConflict, an unknown id
	// ErrNotFound, and a code that another authorization has ErrExists.
	SetCode(ctx context.Context, provider, id string, codeHash []byte, expires time.Time) error
	// ExchangeCode spends the code of an approved authorization and adds its
	// tokens. Of concurrent calls for one authorization exactly one returns
	// nil; every other revokes the grant, durably, and returns ErrSpent, also
	// after the code's expiry. Each call needs an access token of its own.
	// An authorization that is not approved, a code at or after its expiry and
	// a grant that is no longer in force are ErrConflict.
	ExchangeCode(ctx context.Context, provider, id string, access *AccessToken, refresh *RefreshToken, now time.Time) error

	// CreateGrant adds a grant with its tokens, as client_credentials does;
	// refresh may be nil. For a client that is deleted it is ErrNotFound.
	CreateGrant(ctx context.Context, g *Grant, access *AccessToken, refresh *RefreshToken) error
	// Refresh adds an access token on the strength of a refresh token, if that
	// token and its grant are in force at this moment; else ErrNotFound. With
	// a successor it also rotates the token. A token that has been rotated
	// goes on being good, for the one successor it has, until that successor
	// is used or older than grace; after that its use ends the grant, durably,
	// and is ErrNotFound, too.
	Refresh(ctx context.Context, provider, id string, access *AccessToken, successor *RefreshToken, grace time.Duration, now time.Time) error
	// RefreshToken returns a refresh token and its grant by the token's id,
	// or ErrNotFound.
	RefreshToken(ctx context.Context, provider, id string) (*RefreshToken, *Grant, error)
	// AccessToken returns an access token and its grant by the token's id, or
	// ErrNotFound.
	AccessToken(ctx context.Context, provider, id string) (*AccessToken, *Grant, error)
	// ClientAccessToken returns an access token, and its grant, by the token's
	// id at whatever provider, if it is of this client; else ErrNotFound.
	ClientAccessToken(ctx context.Context, clientID, id string) (*AccessToken, *Grant, error)
	// RevokeGrant ends a grant and with it every token and its consent; ending
	// one that is already over is no error. An unknown id is ErrNotFound. So it
	// is whatever ends a grant: a replay, its client's end.
	RevokeGrant(ctx context.Context, provider, id string, now time.Time) error
	// Grant returns a grant by its id, or ErrNotFound.
	Grant(ctx context.Context, provider, id string) (*Grant, error)
	// Grants lists up to limit grants, the newest first, older than the given
	// id; "" starts.
	Grants(ctx context.Context, provider string, f GrantFilter, before string, limit int) ([]*Grant, error)
	// TouchGrant writes down that a token of the grant was used, unless that
	// is known to LastUsedPrecision.
	TouchGrant(ctx context.Context, provider, id string, now time.Time) error

	// CreateConsent adds a consent, always AwaitingAuthorisation, and the
	// notice to the bank. When its client has lodged one under the same
	// IdempotencyKeyHash in the last 24 hours, it returns that one instead if
	// the RequestHash is the same, and ErrConflict if not. For a client that is
	// deleted it is ErrNotFound.
	CreateConsent(ctx context.Context, c *Consent, now time.Time) (*Consent, error)
	// Consent returns a consent by its id, or ErrNotFound.
	Consent(ctx context.Context, provider, id string) (*Consent, error)
	// Consents lists up to limit consents, the newest first, older than the
	// given id; "" starts.
	Consents(ctx context.Context, provider string, f ConsentFilter, before string, limit int) ([]*Consent, error)
	// EndConsent moves a consent to Rejected, Revoked or Consumed, and ends its
	// grant. Unless the bank itself revokes, the bank gets a notice. A consent
	// that is there already is no error, one whose state does not allow the
	// move is ErrConflict, an unknown id ErrNotFound.
	EndConsent(ctx context.Context, provider, id string, to ConsentStatus, now time.Time) error

	// ProvidersToTell lists the providers for which ClaimNotices would find
	// something.
	ProvidersToTell(ctx context.Context, now time.Time) ([]string, error)
	// ClaimNotices returns up to limit notices that are due at a provider, for
	// the caller alone until a moment. Claim is a name no other call has.
	ClaimNotices(ctx context.Context, provider, claim string, limit int, until, now time.Time) ([]*Notice, error)
	// NoticeDelivered removes a notice that the claim holds; any other is left
	// as it is.
	NoticeDelivered(ctx context.Context, n *Notice) error
	// NoticeFailed gives a claim back: the notice is due again at a moment.
	// A zero moment gives the notice up.
	NoticeFailed(ctx context.Context, n *Notice, again, now time.Time) error

	// CreateResourceServer adds a resource server to a provider, or returns
	// ErrExists.
	CreateResourceServer(ctx context.Context, r *ResourceServer) error
	// ResourceServers lists a provider's resource servers in the order of
	// their ids.
	ResourceServers(ctx context.Context, provider string) ([]*ResourceServer, error)
	// DeleteResourceServer removes one, or returns ErrNotFound.
	DeleteResourceServer(ctx context.Context, provider, id string, now time.Time) error

	// CreatePSUSession adds a session that its link has yet to begin.
	CreatePSUSession(ctx context.Context, s *PSUSession) error
	// EnterPSUSession begins a session by its link. Of concurrent calls exactly
	// one returns nil, every other ErrNotFound; so does one at or after
	// ExpiresAt.
	EnterPSUSession(ctx context.Context, provider string, handoverHash, sessionHash []byte, until, now time.Time) error
	// PSUSession returns a session by the hash of its cookie, or ErrNotFound.
	PSUSession(ctx context.Context, provider string, sessionHash []byte) (*PSUSession, error)
	// EndPSUSession ends one, by the hash of its cookie; ending none is no
	// error.
	EndPSUSession(ctx context.Context, provider string, sessionHash []byte) error

	// Record adds an event that no other method writes. Its ID is made here.
	Record(ctx context.Context, e *Event) error
	// Events lists up to limit events in the order of their ids, after the
	// given one; "" starts.
	Events(ctx context.Context, f EventFilter, after string, limit int) ([]*Event, error)
	// SealEvents puts events that are in no chain at its end, and returns how
	// many. The hash of each is that of ChainHash. Any number of processes may
	// do so at once.
	SealEvents(ctx context.Context, hash func(previous []byte, e *Event) []byte) (int, error)
	// Chain lists up to limit sealed events in the order of the chain, after
	// the given place; 0 starts.
	Chain(ctx context.Context, after int64, limit int) ([]*Event, error)

	// Purge deletes rows that ended at least a day before now, and those of
	// deleted providers, in small transactions. It returns how many.
	Purge(ctx context.Context, now time.Time) (deleted int, err error)
	// Watch calls changed soon after any process has changed a provider or a
	// client, until ctx ends. Changes can be missed: caches need an age, too.
	Watch(ctx context.Context, changed func(Change))

	// Ping reports whether the store answers, takes writes, and has a schema
	// that this program can work with.
	Ping(ctx context.Context) error
	// Close waits for running transactions and releases the database.
	Close() error
}

// A Change names the provider or the client that changed; neither means that
// any may have.
type Change struct {
	Provider string
	ClientID string
}

// A ConsumeKind separates the single-use values that Consume remembers.
type ConsumeKind string

// The jti of a client assertion (RFC 7523 §3, item 7), and of a registration
// request.
const (
	ConsumeAssertion    ConsumeKind = "assertion"
	ConsumeRegistration ConsumeKind = "registration"
)
