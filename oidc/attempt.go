package oidc

// What the log and the audit log say of an authentication: OWASP ASVS 5.0 §16.3.

import (
	"context"
	"errors"

	"gatehouse"
)

// An attempt is how the caller of a request authenticated, or tried to. Of what
// was sent it has only what is registered here.
type attempt struct {
	clientID         string // also of whom a token or an authorization request names
	resourceServerID string
	appID            string // of a bank's connector
	method           string
	kid              string
}

type attemptKey struct{}

// attemptOf returns the attempt of a request, to be filled in.
func attemptOf(ctx context.Context) *attempt {
	if a, ok := ctx.Value(attemptKey{}).(*attempt); ok {
		return a
	}
	return new(attempt)
}

// credential is the method and the key.
func (a *attempt) credential() string {
	if a.kid == "" {
		return a.method
	}
	return a.method + " " + a.kid
}

// byCredential lets the events of a context say how the client authenticated.
func byCredential(ctx context.Context) context.Context {
	origin := gatehouse.OriginOf(ctx)
	origin.Name = attemptOf(ctx).credential()
	return gatehouse.WithOrigin(ctx, origin)
}

// A reason is why an authentication failed, for the log: the cause of an Error.
type reason string

func (r reason) Error() string { return string(r) }

// The reasons.
const (
	noCredentials reason = "no_credentials"
	malformed     reason = "malformed"
	wrongKind     reason = "wrong_kind" // a token of another kind
	unknownClient reason = "unknown_client"
	unknownApp    reason = "unknown_app"
	wrongMethod   reason = "wrong_method"
	noKey         reason = "no_key"
	wrongAlg      reason = "wrong_alg"
	badSignature  reason = "bad_signature"
	wrongAudience reason = "wrong_audience"
	wrongTime     reason = "wrong_time"
	replayed      reason = "replayed"
	wrongSecret   reason = "wrong_secret"
	wrongToken    reason = "wrong_token"
	disabled      reason = "disabled"
	notPermitted  reason = "not_permitted" // at this provider
	rateLimited   reason = "rate_limited"
)

// failures bound the events that failed authentications of one client leave for
// one reason: anybody can cause some of them, and they must not hide the
// others. The log has all.
var failures = Rate{PerSecond: 1.0 / 60, Burst: 20}

// recordFailure leaves an event of a failure that names a registered client,
// and returns the failure. The provider is "" where none is named.
func (s *Server) recordFailure(ctx context.Context, provider string, failure error) error {
	why, ok := errors.AsType[reason](failure)
	a, now := attemptOf(ctx), s.Now()
	if !ok || why == rateLimited || a.clientID == "" || s.limits.failures.take(a.clientID+"\x00"+string(why), failures, now) > 0 {
		return failure
	}
	e := &gatehouse.Event{At: now, Kind: gatehouse.EventAuthenticationFailed, Provider: provider, ClientID: a.clientID, Detail: string(why)}
	if why == replayed {
		e.Kind, e.Detail = gatehouse.EventAssertionReplayed, ""
	}
	if err := s.Store.Record(byCredential(ctx), e); err != nil {
		return unavailable(err)
	}
	return failure
}
