package oidc

// The bank's calls, as docs/connector.md has them: begin, read, decide.

import (
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"time"

	"gatehouse"
	"gatehouse/connector"
)

// authenticateConnector returns the provider whose connector makes the call.
func (s *Server) authenticateConnector(r *http.Request) (*provider, error) {
	denied := func(why reason) *gatehouse.Error {
		return gatehouse.NewError(gatehouse.AccessDenied, "App-Id or App-Secret is missing, repeated or wrong").Because(why)
	}
	ids, secrets := r.Header.Values("App-Id"), r.Header.Values("App-Secret")
	if len(ids) != 1 || len(secrets) != 1 || ids[0] == "" || secrets[0] == "" {
		return nil, denied(noCredentials)
	}
	attempt := attemptOf(r.Context())
	attempt.method = "app_secret"
	stored, err := s.Store.ProviderByAppID(r.Context(), ids[0])
	if errors.Is(err, gatehouse.ErrNotFound) {
		return nil, denied(unknownApp)
	}
	if err != nil {
		return nil, unavailable(err)
	}
	attempt.appID = stored.Connector.AppID
	right := subtle.ConstantTimeCompare(stored.Connector.AppSecretHash, gatehouse.AppSecretHash(s.KEK, ids[0], secrets[0])) == 1
	if err := s.checkSecret(r.Context(), "connector\x00"+ids[0], right, denied(wrongSecret)); err != nil {
		return nil, err
	}
	return s.provider(r.Context(), stored.Code)
}

// signedCall returns the provider whose connector makes a call, and its body,
// whose signature is still to be checked.
func (s *Server) signedCall(r *http.Request) (*provider, []byte, error) {
	p, err := s.authenticateConnector(r)
	if err != nil {
		return nil, nil, err
	}
	body, err := readSigned(r)
	return p, body, err
}

// readSigned returns the body of a signed call.
func readSigned(r *http.Request) ([]byte, error) {
	if !slices.Contains([]string{"application/jwt", "application/jose"}, mediaType(r)) {
		return nil, gatehouse.NewError(gatehouse.UnsupportedMediaType, "Content-Type must be application/jwt")
	}
	return readBody(r)
}

// begin serves POST /api/connectors/ob/v1/authorizations.
func (s *Server) begin(w http.ResponseWriter, r *http.Request, _ *provider) error {
	p, body, err := s.signedCall(r)
	if err != nil {
		return err
	}
	now := s.Now()
	call, err := connector.ReadBegin(body, p.connectorKeys, now)
	if err != nil {
		return err
	}
	if p.HostsAuthorization() {
		return gatehouse.NewError(gatehouse.UnauthorizedClient, "this provider's authorization endpoint is not hosted by the bank")
	}
	u, err := url.Parse(call.AuthorizeURL)
	if err != nil {
		return invalid("data.authorize_url is not a URL")
	}
	in, err := parseParams(u.RawQuery)
	if err != nil {
		return err
	}
	request, err := s.readRequest(r.Context(), p, in)
	if refused, ok := errors.AsType[*redirectError](err); ok {
		s.logRefusal(r.Context(), p, refused)
		writeJSON(w, refused.fault.Kind.Status(gatehouse.ProfilePSD2), map[string]any{
			"data":          map[string]string{"redirect_uri": refused.location},
			"error_class":   refused.fault.Kind.Class(),
			"error_message": refused.fault.Description,
		})
		return nil
	}
	if err != nil {
		return err
	}
	expires := call.AuthCodeExp
	if expires.IsZero() {
		expires = now.Add(time.Duration(p.rules.CodeLifetime))
	}
	a := &gatehouse.Authorization{
		ID: gatehouse.NewID(now), Provider: p.Code, ClientID: request.ClientID, Request: *request,
		Status: gatehouse.AuthorizationPending, CodeHash: gatehouse.HashSecret(call.AuthCode), CodeExpiresAt: expires,
		CreatedAt: now, ExpiresAt: expires,
	}
	a.SealedCode = s.KEK.SealText(call.AuthCode, "bank code", p.Code, a.ID)
	err = s.Store.CreateAuthorization(r.Context(), a)
	if errors.Is(err, gatehouse.ErrExists) {
		return invalid("data.auth_code was used before")
	}
	if err != nil {
		return unavailable(err)
	}
	writeJSON(w, http.StatusOK, map[string]any{"data": map[string]any{
		"authorization_id": a.ID,
		"consent_id":       orNull(request.IntentID),
		"access_token":     s.connectorToken(p, cmp.Or(request.IntentID, a.ID)),
	}})
	return nil
}

// connectorToken is the Access-Token of our calls to the bank about a consent,
// or about an authorization without one. It is derived, so nothing need be
// stored.
func (s *Server) connectorToken(p *provider, id string) string {
	return base64.RawURLEncoding.EncodeToString(s.KEK.MAC("connector access token", p.Code, id))
}

func orNull(text string) any {
	if text == "" {
		return nil
	}
	return text
}

// verdict serves GET and PUT /api/connectors/ob/v1/authorizations/{authorization_id}.
func (s *Server) verdict(w http.ResponseWriter, r *http.Request, _ *provider) error {
	p, err := s.authenticateConnector(r)
	if err != nil {
		return err
	}
	a, err := s.Store.Authorization(r.Context(), p.Code, r.PathValue("authorization_id"))
	if errors.Is(err, gatehouse.ErrNotFound) {
		return gatehouse.NewError(gatehouse.NotFound, "authorization_id is unknown")
	}
	if err != nil {
		return unavailable(err)
	}
	if r.Method == http.MethodGet {
		return s.readAuthorization(w, r, p, a)
	}
	body, err := readSigned(r)
	if err != nil {
		return err
	}
	now := s.Now()
	call, err := connector.ReadVerdict(body, p.connectorKeys, now)
	if err != nil {
		return err
	}
	approved, err := s.decide(r.Context(), p, a, call, now)
	if err != nil {
		return err
	}
	status := "Rejected"
	if approved {
		a.Status, status = gatehouse.AuthorizationApproved, "Authorised"
	} else {
		a.Status = gatehouse.AuthorizationDenied
	}
	location, err := s.wayBack(p, a)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, map[string]any{"data": map[string]any{
		"authorization_id": a.ID, "status": status, "redirect_uri": location,
	}})
	return nil
}

// decide records the verdict, once. The same verdict again, as a bank sends it
// whose first answer was lost, changes nothing and is answered alike.
func (s *Server) decide(ctx context.Context, p *provider, a *gatehouse.Authorization, call *connector.Verdict, now time.Time) (approved bool, err error) {
	if !call.Approved {
		err = s.Store.DenyAuthorization(ctx, p.Code, a.ID, now)
	} else {
		grant, fault := s.newGrant(ctx, p, a, call, now)
		if fault == nil {
			err = s.Store.ApproveAuthorization(ctx, p.Code, a.ID, grant, now)
		} else if a.Status == gatehouse.AuthorizationPending {
			return false, s.denyBecause(ctx, p, a, fault, now)
		} else {
			err = gatehouse.ErrConflict
		}
	}
	switch {
	case err == nil:
		return call.Approved, nil
	case !errors.Is(err, gatehouse.ErrConflict):
		return false, unavailable(err)
	}
	settled, err := s.Store.Authorization(ctx, p.Code, a.ID)
	if err != nil {
		return false, unavailable(err)
	}
	switch settled.Status {
	case gatehouse.AuthorizationPending:
		return false, invalid("the verdict came too late: the authorization is expired, or its consent has ended or was authorised by another visit")
	case gatehouse.AuthorizationDenied:
		if !call.Approved {
			return false, nil
		}
	default:
		if call.Approved {
			return true, nil
		}
	}
	return false, invalid("the authorization was decided before, otherwise")
}

// denyBecause denies an authorization that cannot be approved, and says why.
func (s *Server) denyBecause(ctx context.Context, p *provider, a *gatehouse.Authorization, fault error, now time.Time) error {
	if asError(fault).Kind == gatehouse.Unavailable {
		return fault
	}
	if err := s.Store.DenyAuthorization(ctx, p.Code, a.ID, now); err != nil && !errors.Is(err, gatehouse.ErrConflict) {
		return unavailable(err)
	}
	return fault
}

// newGrant is what an approval grants: a new grant or, when a PSU authorises a
// consent again, the next version of the one it has.
func (s *Server) newGrant(ctx context.Context, p *provider, a *gatehouse.Authorization, call *connector.Verdict, now time.Time) (*gatehouse.Grant, error) {
	authTime := call.AuthTime
	if authTime.IsZero() {
		authTime = now
	}
	g := &gatehouse.Grant{
		ID: gatehouse.NewID(now), Provider: p.Code, ClientID: a.ClientID,
		UserID: call.UserID, Subject: subject(p, call.UserID), Scope: a.Request.Scope, IntentID: a.Request.IntentID,
		Accounts: call.Access, DebtorAccount: call.DebtorAccount, AuthTime: authTime, ACR: call.ACR,
		CreatedAt: now, ExpiresAt: now.Add(time.Duration(p.rules.GrantLifetime)),
		AuthenticationExpiresAt: authTime.Add(time.Duration(p.rules.AuthenticationLifetime)),
	}
	// A class that the TPP called essential and the bank did not reach is a
	// failed authentication (OpenID Connect Core §5.5.1.1), and so is one that
	// is too old for what the TPP or the bank's own rules ask.
	if !satisfies(p, a, g) || !g.AuthenticatedAt(now) {
		return nil, invalid("data.acr or data.auth_time does not meet what is required; the authorization is denied")
	}
	if g.IntentID == "" {
		return g, nil
	}
	consent, err := s.Store.Consent(ctx, p.Code, g.IntentID)
	switch {
	case errors.Is(err, gatehouse.ErrNotFound):
		return nil, invalid("the consent of this authorization is gone; the authorization is denied")
	case err != nil:
		return nil, unavailable(err)
	case !consent.MayBeAuthorised(now):
		return nil, invalid("the consent of this authorization has ended; the authorization is denied")
	case consent.Status == gatehouse.ConsentAuthorised && consent.UserID != call.UserID:
		return nil, invalid("data.user_id is not the PSU who authorised this consent before; the authorization is denied")
	}
	if consent.GrantID != "" {
		g.ID = consent.GrantID
	}
	if !consent.ExpiresAt.IsZero() {
		g.ExpiresAt = consent.ExpiresAt
	}
	return g, nil
}

// subject is the pseudonym of a PSU: stable at its bank, telling nothing about
// the bank's own identifier.
func subject(p *provider, userID string) string {
	mac := hmac.New(sha256.New, p.SubjectSalt)
	mac.Write([]byte(userID))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// satisfies reports whether the PSU was authenticated as the TPP asked: by an
// acceptable class, and no longer before the request than max_age says; with
// prompt=login, after it (OpenID Connect Core §3.1.2.1). The bank's clock may
// differ by the clock skew.
func satisfies(p *provider, a *gatehouse.Authorization, g *gatehouse.Grant) bool {
	q := a.Request
	if q.ACREssential && len(q.ACRValues) > 0 && !slices.Contains(q.ACRValues, g.ACR) {
		return false
	}
	age := a.CreatedAt.Sub(g.AuthTime) - time.Duration(p.rules.ClockSkew)
	if slices.Contains(q.Prompt, "login") && age > 0 {
		return false
	}
	return q.MaxAge == nil || age <= time.Duration(*q.MaxAge)*time.Second
}

// wayBack is where the browser goes when it leaves the bank: to the TPP when
// the bank hosts the authorization endpoint, else back to ours.
func (s *Server) wayBack(p *provider, a *gatehouse.Authorization) (string, error) {
	switch {
	case a.BrowserHash != nil:
		return s.BaseURL + "/oidc/" + p.Code + "/authorize/" + a.ID, nil
	case a.Status == gatehouse.AuthorizationDenied:
		fault := gatehouse.NewError(gatehouse.AccessDenied, "the PSU or the bank refused")
		return errorRedirect(p, a.Request.RedirectURI, a.Request.State, fault), nil
	case a.SealedCode == nil: // erased by the exchange
		return a.Request.RedirectURI, nil
	}
	code, err := s.KEK.OpenText(a.SealedCode, "bank code", p.Code, a.ID)
	if err != nil {
		return "", err
	}
	return codeRedirect(p, a.Request.RedirectURI, a.Request.State, code), nil
}

// readAuthorization tells the bank what it is asked for.
func (s *Server) readAuthorization(w http.ResponseWriter, r *http.Request, p *provider, a *gatehouse.Authorization) error {
	c, err := s.client(r.Context(), a.ClientID)
	if errors.Is(err, gatehouse.ErrNotFound) {
		return gatehouse.NewError(gatehouse.NotFound, "the client of this authorization was deleted")
	}
	if err != nil {
		return unavailable(err)
	}
	location, err := s.wayBack(p, a)
	if err != nil {
		return err
	}
	data := map[string]any{
		"authorization_id":  a.ID,
		"consent_id":        orNull(a.Request.IntentID),
		"status":            a.Status,
		"client_id":         a.ClientID,
		"app_name":          c.Name,
		"scopes":            []string(a.Request.Scope),
		"created_at":        a.CreatedAt.UTC().Format(time.RFC3339),
		"expires_at":        a.ExpiresAt.UTC().Format(time.RFC3339),
		"access_expires_at": a.CreatedAt.Add(time.Duration(p.rules.GrantLifetime)).UTC().Format(time.RFC3339),
		"redirect_uri":      location,
	}
	if len(a.Request.ACRValues) > 0 {
		data["acr_values"] = a.Request.ACRValues
	}
	if a.Request.MaxAge != nil {
		data["max_age"] = *a.Request.MaxAge
	}
	if len(a.Request.Prompt) > 0 {
		data["prompt"] = a.Request.Prompt
	}
	if data["consent"], err = s.consentAsked(r.Context(), p, a); err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, map[string]any{"data": data})
	return nil
}
