package oidc

// Client configuration: RFC 7592, UK Open Banking DCR 3.3.

import (
	"context"
	"crypto/subtle"
	"errors"
	"net/http"
	"slices"
	"strings"

	"gatehouse"
)

// authenticateManager returns the client that a Bearer token stands for: by
// its registration access token, or by an access token that the client got
// for itself. Every other answer is the same 401 (RFC 7592 §2.1).
func (s *Server) authenticateManager(ctx context.Context, clientID, token string) (*gatehouse.Client, error) {
	unauthorized := badBearer("the token is not one of this client, or is no longer good")
	attempt := attemptOf(ctx)
	attempt.method = "bearer"
	c, err := s.Store.Client(ctx, clientID)
	if errors.Is(err, gatehouse.ErrNotFound) || err == nil && c.Status == gatehouse.ClientDeleted {
		return nil, unauthorized.Because(unknownClient)
	}
	if err != nil {
		return nil, unavailable(err)
	}
	attempt.clientID = c.ID
	good := subtle.ConstantTimeCompare(c.RegistrationTokenHash, gatehouse.HashSecret(token)) == 1
	if id, isToken := gatehouse.TokenID(token); !good && isToken {
		record, grant, err := s.Store.ClientAccessToken(ctx, clientID, id)
		switch {
		case errors.Is(err, gatehouse.ErrNotFound):
		case err != nil:
			return nil, unavailable(err)
		default:
			now := s.Now()
			good = subtle.ConstantTimeCompare(record.Hash, gatehouse.HashSecret(token)) == 1 &&
				now.Before(record.ExpiresAt) && grant.ActiveAt(now) && grant.UserID == ""
		}
	}
	if !good {
		return nil, s.recordFailure(ctx, "", unauthorized.Because(wrongToken))
	}
	if c.Status != gatehouse.ClientActive {
		return nil, s.recordFailure(ctx, "", gatehouse.NewError(gatehouse.UnauthorizedClient, "the client is disabled").Because(disabled))
	}
	return c, tooMany(s.limits.client.take(c.ID, s.Limits.Client, s.Now()))
}

// manageRegistration serves GET, PUT and DELETE
// /open_banking/v3.2/tpp/register/{client_id}.
func (s *Server) manageRegistration(w http.ResponseWriter, r *http.Request, _ *provider) error {
	token, err := bearer(r)
	if err != nil {
		return err
	}
	c, err := s.authenticateManager(r.Context(), r.PathValue("client_id"), token)
	if err != nil {
		return err
	}
	dryRun, err := isDryRun(r)
	switch {
	case err != nil:
		return err
	case r.Method == http.MethodPut:
		return s.replaceClient(w, r, c, token, dryRun)
	case dryRun:
		return noDryRun()
	case r.Method == http.MethodDelete:
		return s.deleteClient(w, r, c)
	}
	answer := s.describe(c)
	answer.RegistrationAccessToken = registrationToken(c, token)
	writeJSON(w, http.StatusOK, answer)
	return nil
}

func noDryRun() error {
	return invalid("dry_run is for requests to register or replace a client")
}

// registrationToken is the token the caller showed, if it was the registration
// access token: RFC 7592 §3 wants it in the answer, and only a hash is stored.
func registrationToken(c *gatehouse.Client, shown string) string {
	if strings.HasPrefix(shown, c.ID+".") {
		return shown
	}
	return ""
}

// replaceClient replaces all metadata (RFC 7592 §2.2).
func (s *Server) replaceClient(w http.ResponseWriter, r *http.Request, old *gatehouse.Client, token string, dryRun bool) error {
	g, err := s.readRegistration(r, dryRun)
	if err != nil {
		return err
	}
	g.check(func(g *registration) error { return sameSoftware(g, old) })
	secret := s.succeed(&g.client, old)
	s.readKeys(r.Context(), g)
	g.validate()
	if dryRun {
		return answerDryRun(w, g)
	}
	if len(g.problems) > 0 {
		return g.problems[0]
	}
	if err := s.spendRegistration(r.Context(), g); err != nil {
		return err
	}
	err = s.Store.UpdateClient(r.Context(), &g.client)
	if err != nil { // also when another request changed it at this moment
		return unavailable(err)
	}
	s.clients.forget(old.ID)
	answer := s.describe(&g.client)
	answer.Secret, answer.RegistrationAccessToken = secret, registrationToken(old, token)
	if secret != "" {
		answer.SecretExpiresAt = new(int64)
	}
	writeJSON(w, http.StatusOK, answer)
	return nil
}

// sameSoftware keeps a client with the software it was registered for.
func sameSoftware(g *registration, old *gatehouse.Client) error {
	if id, present, err := g.claims.OptionalString("client_id"); err != nil || present && id != old.ID {
		return badMetadata("client_id differs from that of the path")
	}
	switch {
	case g.statement != nil && !g.statement.isOf(old):
		return badStatement("is for another software or organisation than the client, or of another directory")
	case g.provider != nil && (old.SoftwareStatement != "" || old.Environment != g.client.Environment || !slices.Equal(old.Providers, g.client.Providers)):
		return badStatement("is missing: the client was not registered without one at this provider")
	}
	return nil
}

// succeed gives the new metadata what stays of the old client, and a secret
// when it needs one and has none; that secret is returned.
func (s *Server) succeed(c, old *gatehouse.Client) (secret string) {
	c.ID, c.Status, c.Version, c.CreatedAt, c.UpdatedAt = old.ID, old.Status, old.Version, old.CreatedAt, s.Now()
	c.Certificates, c.RegistrationTokenHash = old.Certificates, old.RegistrationTokenHash
	if c.TokenEndpointAuthMethod != gatehouse.AuthClientSecretBasic {
		return ""
	}
	if c.SecretHash = old.SecretHash; len(c.SecretHash) == 0 {
		secret = gatehouse.NewSecret()
		c.SecretHash = gatehouse.ClientSecretHash(s.KEK, c.ID, secret)
	}
	return secret
}

// deleteClient ends the client, its grants and its tokens (RFC 7592 §2.3).
func (s *Server) deleteClient(w http.ResponseWriter, r *http.Request, c *gatehouse.Client) error {
	err := s.Store.DeleteClient(r.Context(), c.ID, s.Now())
	if err != nil && !errors.Is(err, gatehouse.ErrNotFound) { // somebody was faster
		return unavailable(err)
	}
	s.clients.forget(c.ID)
	s.Log.InfoContext(r.Context(), "client deleted", "client_id", c.ID)
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// recoverRegistration serves POST /open_banking/v3.2/tpp/register/recover: the
// owner of a software, known by its key, gets new registration access tokens
// for the clients it has lost.
func (s *Server) recoverRegistration(w http.ResponseWriter, r *http.Request, _ *provider) error {
	dryRun, err := isDryRun(r)
	switch {
	case err != nil:
		return err
	case dryRun:
		return noDryRun()
	}
	g := &registration{}
	if err := g.readBody(r); err != nil {
		return err
	}
	if g.token == nil {
		return gatehouse.NewError(gatehouse.UnsupportedMediaType, "Content-Type must be application/jwt: the request must be signed")
	}
	if err := s.openRegistration(r.Context(), g); err != nil {
		return err
	}
	if err := s.limitAddress(r.Context()); err != nil {
		return err
	}
	if err := s.spendRegistration(r.Context(), g); err != nil {
		return err
	}
	clients, err := s.Store.ClientsOfSoftware(r.Context(), g.statement.tpp.Directory, g.statement.tpp.URN, g.statement.softwareID)
	if err != nil {
		return unavailable(err)
	}
	type recovered struct {
		ClientID                string `json:"client_id"`
		ClientName              string `json:"client_name"`
		ClientIDIssuedAt        int64  `json:"client_id_issued_at"`
		RegistrationAccessToken string `json:"registration_access_token"`
		RegistrationClientURI   string `json:"registration_client_uri"`
	}
	answer := struct {
		Clients []recovered `json:"clients"`
	}{[]recovered{}}
	for _, c := range clients {
		token := newRegistrationToken(c)
		c.UpdatedAt = s.Now()
		if err := s.Store.UpdateClient(r.Context(), c); err != nil {
			return unavailable(err)
		}
		s.clients.forget(c.ID)
		answer.Clients = append(answer.Clients, recovered{c.ID, c.Name, c.CreatedAt.Unix(), token, s.BaseURL + registrationPath + "/" + c.ID})
	}
	writeJSON(w, http.StatusOK, answer)
	return nil
}
