package oidc

// The authorization endpoint: RFC 6749 §4.1.1 and §4.1.2.1, OpenID Connect
// Core §3.1.2.

import (
	"context"
	"crypto/subtle"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"gatehouse"
)

// authorize serves GET|POST /oidc/{provider_code}/authorize: it checks the
// request and sends the browser to the bank.
func (s *Server) authorize(w http.ResponseWriter, r *http.Request, p *provider) error {
	if !p.HostsAuthorization() {
		return gatehouse.NewError(gatehouse.NotFound, "this bank hosts its authorization endpoint itself; see discovery")
	}
	now := s.Now()
	if err := tooMany(s.limits.authorizeAddress.take(addressOf(r.Context()), s.Limits.AuthorizeAddress, now)); err != nil {
		return err
	}
	in, err := readAuthorize(r)
	if err != nil {
		return err
	}
	request, err := s.readRequest(r.Context(), p, in)
	if refused, ok := errors.AsType[*redirectError](err); ok {
		s.logRefusal(r.Context(), p, refused)
		http.Redirect(w, r, refused.location, http.StatusSeeOther)
		return nil
	}
	if err != nil {
		return err
	}
	if err := tooMany(s.limits.authorizeClient.take(request.ClientID+"\x00"+p.Code, s.Limits.AuthorizeClient, now)); err != nil {
		return err
	}
	if err := tooMany(s.limits.authorizeProvider.take(p.Code, s.Limits.AuthorizeProvider, now)); err != nil {
		return err
	}
	browser := gatehouse.NewSecret()
	a := &gatehouse.Authorization{
		ID: gatehouse.NewID(now), Provider: p.Code, ClientID: request.ClientID, Request: *request,
		Status: gatehouse.AuthorizationPending, BrowserHash: gatehouse.HashSecret(browser),
		CreatedAt: now, ExpiresAt: now.Add(time.Duration(p.rules.AuthorizationLifetime)),
	}
	if err := s.Store.CreateAuthorization(r.Context(), a); err != nil {
		return unavailable(err)
	}
	http.SetCookie(w, s.browserCookie(a.ID, browser, time.Duration(p.rules.AuthorizationLifetime)))
	http.Redirect(w, r, p.Connector.LoginURL+"?authorization_id="+a.ID, http.StatusSeeOther)
	return nil
}

// readAuthorize reads the parameters of a GET or POST (RFC 6749 §3.1).
func readAuthorize(r *http.Request) (params, error) {
	if r.Method == http.MethodGet {
		return parseParams(r.URL.RawQuery)
	}
	if r.URL.RawQuery != "" {
		return nil, gatehouse.NewError(gatehouse.InvalidRequest, "parameters must be in the body, not in the query")
	}
	return readForm(r, false)
}

// A redirectError may be told to the TPP: the client and its redirect_uri are
// known.
type redirectError struct {
	fault    *gatehouse.Error
	location string
}

func (e *redirectError) Error() string { return e.fault.Error() }

func (s *Server) logRefusal(ctx context.Context, p *provider, refused *redirectError) {
	s.Log.InfoContext(ctx, "authorization request refused", "provider_code", p.Code,
		"kind", refused.fault.Kind.String(), "error", refused.fault.Description)
}

// readRequest validates an authorization request. Faults of the client or its
// redirect_uri are plain errors, which must not redirect (RFC 6749 §4.1.2.1);
// every later one is a redirectError.
func (s *Server) readRequest(ctx context.Context, p *provider, outer params) (*gatehouse.AuthorizationRequest, error) {
	clientID, sent := outer["client_id"]
	if !sent {
		return nil, invalid("client_id is missing")
	}
	c, err := s.client(ctx, clientID)
	if errors.Is(err, gatehouse.ErrNotFound) {
		return nil, gatehouse.NewError(gatehouse.InvalidRequest, "client_id is not that of a registered client")
	}
	if err != nil {
		return nil, unavailable(err)
	}
	attemptOf(ctx).clientID = c.ID
	q := &question{provider: p, client: c, outer: outer, in: outer, now: s.Now()}
	var badObject error
	if _, q.signed = outer["request"]; q.signed {
		inner, err := s.openRequestObject(ctx, p, c, outer)
		if err == nil {
			q.in = inner
		}
		badObject = err
	}
	// When the object is not valid nothing in it counts; the query may still
	// say where to report that.
	redirectURI, sent := q.in["redirect_uri"]
	if !sent || !slices.Contains(c.RedirectURIs, redirectURI) {
		if badObject != nil {
			return nil, badObject
		}
		if !sent {
			return nil, gatehouse.NewError(gatehouse.InvalidRedirectURI, "redirect_uri is missing")
		}
		return nil, gatehouse.NewError(gatehouse.InvalidRedirectURI, "redirect_uri is not registered for this client")
	}
	state := q.in["state"]
	if len(state) > 2048 {
		return nil, invalid("state is longer than 2,048 bytes")
	}
	q.ClientID, q.RedirectURI, q.State = clientID, redirectURI, state
	err = q.check(badObject)
	if err == nil {
		err = s.bindConsent(ctx, q)
	}
	if err != nil {
		fault := asError(err)
		return nil, &redirectError{fault, errorRedirect(p, redirectURI, state, fault)}
	}
	return &q.AuthorizationRequest, nil
}

func (q *question) check(badObject error) error {
	if badObject != nil {
		return badObject
	}
	for _, check := range checks {
		if err := check.run(q); err != nil {
			return err
		}
	}
	return nil
}

// bindConsent makes sure that the consent of a request is one that this client
// has lodged at this provider and that a PSU may be asked about. Every other is
// answered alike. A grant can open what the consent is about and nothing else,
// whatever scope was asked for beside it (RFC 6749 §3.3).
func (s *Server) bindConsent(ctx context.Context, q *question) error {
	if q.IntentID == "" {
		if q.provider.rules.RequireConsent && !q.Scope.Within(gatehouse.Scopes{gatehouse.ScopeOpenID}) {
			return invalid("claims: id_token.openbanking_intent_id is missing: this provider requires a consent")
		}
		return nil
	}
	consent, err := s.Store.Consent(ctx, q.provider.Code, q.IntentID)
	if err != nil && !errors.Is(err, gatehouse.ErrNotFound) {
		return unavailable(err)
	}
	if err != nil || consent.ClientID != q.client.ID || !consent.MayBeAuthorised(q.now) {
		return invalid("claims: openbanking_intent_id is not a consent of this client that waits for a PSU")
	}
	scope := consent.Kind.Scope()
	if !q.client.ScopesAt(q.provider.Provider, q.now).Has(scope) {
		return gatehouse.NewError(gatehouse.InvalidScope, "the client may no longer have what the consent is about")
	}
	q.Scope = append(q.Scope.Intersect(gatehouse.Scopes{gatehouse.ScopeOpenID}), scope)
	return nil
}

// complete serves GET /oidc/{provider_code}/authorize/{authorization_id}: the
// browser comes back from the bank and is sent on to the TPP with a code or
// an error. Only the browser that began the visit gets anything.
func (s *Server) complete(w http.ResponseWriter, r *http.Request, p *provider) error {
	a, err := s.Store.Authorization(r.Context(), p.Code, r.PathValue("authorization_id"))
	if errors.Is(err, gatehouse.ErrNotFound) {
		return gatehouse.NewError(gatehouse.NotFound, "there is no such authorization")
	}
	if err != nil {
		return unavailable(err)
	}
	cookie, err := r.Cookie(s.cookieName(a.ID))
	if err != nil || a.BrowserHash == nil || subtle.ConstantTimeCompare(gatehouse.HashSecret(cookie.Value), a.BrowserHash) != 1 {
		return gatehouse.NewError(gatehouse.AccessDenied, "this authorization is complete, or was begun in another browser, or cookies are off")
	}
	location, err := s.conclude(r.Context(), p, a)
	if err != nil {
		return err
	}
	http.SetCookie(w, s.browserCookie(a.ID, "", -time.Second))
	http.Redirect(w, r, location, http.StatusSeeOther)
	return nil
}

// conclude mints the code, once, and returns where the browser goes. The bank
// may still be deciding: then the code opens nothing yet.
func (s *Server) conclude(ctx context.Context, p *provider, a *gatehouse.Authorization) (string, error) {
	now := s.Now()
	switch {
	case a.Status == gatehouse.AuthorizationDenied:
		fault := gatehouse.NewError(gatehouse.AccessDenied, "the PSU or the bank refused")
		return errorRedirect(p, a.Request.RedirectURI, a.Request.State, fault), nil
	case a.Status == gatehouse.AuthorizationPending && !now.Before(a.ExpiresAt):
		fault := gatehouse.NewError(gatehouse.Unavailable, "the bank did not decide in time")
		return errorRedirect(p, a.Request.RedirectURI, a.Request.State, fault), nil
	}
	code := gatehouse.NewSecret()
	err := s.Store.SetCode(ctx, p.Code, a.ID, gatehouse.HashSecret(code), now.Add(time.Duration(p.rules.CodeLifetime)))
	switch {
	case errors.Is(err, gatehouse.ErrSpent):
		return "", invalid("this authorization is complete; go back to the application you came from")
	case errors.Is(err, gatehouse.ErrConflict):
		return "", invalid("this authorization has just been refused; go back to the application you came from")
	case err != nil:
		return "", unavailable(err)
	}
	return codeRedirect(p, a.Request.RedirectURI, a.Request.State, code), nil
}

// browserCookie ties an authorization to one browser. It holds a random value
// and nothing of the PSU. SameSite=Lax lets it come along when the bank sends
// the browser back.
func (s *Server) browserCookie(authorizationID, value string, lifetime time.Duration) *http.Cookie {
	return &http.Cookie{
		Name: s.cookieName(authorizationID), Value: value, Path: "/", MaxAge: int(lifetime / time.Second),
		Secure: s.secure(), HttpOnly: true, SameSite: http.SameSiteLaxMode,
	}
}

func (s *Server) cookieName(authorizationID string) string {
	if s.secure() {
		return "__Host-gatehouse-" + authorizationID
	}
	return "gatehouse-" + authorizationID
}

// secure reports whether browsers reach the deployment by https; only a
// development server on loopback is without.
func (s *Server) secure() bool { return strings.HasPrefix(s.BaseURL, "https://") }
