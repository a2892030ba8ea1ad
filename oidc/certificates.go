package oidc

// Certificates of TPPs: ETSI TS 119 495; the wire is docs/registration.md.

import (
	"context"
	"crypto/rsa"
	"errors"
	"net/http"
	"slices"
	"strings"

	"gatehouse"
	"gatehouse/eidas"
	"gatehouse/jose"
)

const (
	certificateBodyLimit = 64 << 10
	maxCertificates      = 10
)

// addCertificate serves POST
// /api/{provider_code}/open-banking/v3.1/tpp/certificates, and v3.1.11.
func (s *Server) addCertificate(w http.ResponseWriter, r *http.Request, p *provider) error {
	c, err := s.bearerClient(r, p)
	if err != nil {
		return err
	}
	if !c.MayUse(p.Provider) {
		return gatehouse.NewError(gatehouse.UnauthorizedClient, "the client may not use this provider")
	}
	wanted, err := readCertificate(r)
	if err != nil {
		return err
	}
	parsed, err := eidas.Parse([]byte(wanted.PEM))
	if err != nil {
		return badMetadata("data.certificate.pem: " + err.Error())
	}
	organisations := organisationsOf(parsed)
	if parsed.As(eidas.Kind(wanted.Type)) != nil {
		return badMetadata("data.certificate.type is not that of the certificate")
	}
	if _, err := certificateKeyOf(parsed); err != nil {
		return badMetadata("data.certificate.pem: " + err.Error())
	}
	environment, err := s.trustedIn(r.Context(), parsed)
	if err != nil {
		return err
	}
	if !environment.Opens(p.Provider) {
		return gatehouse.NewError(gatehouse.UnauthorizedClient, "a test certificate opens sandbox providers only")
	}
	if c.TPP == nil || !slices.Contains(organisations, c.TPP.URN) {
		return gatehouse.NewError(gatehouse.UnauthorizedClient, "the certificate is of another organisation than the client")
	}
	added := gatehouse.Certificate{
		Name: wanted.Name, Type: wanted.Type, PEM: wanted.PEM, Thumbprint: parsed.Thumbprint, Roles: parsed.Roles,
		ExpiresAt: parsed.X509.NotAfter, Environment: environment,
	}
	now := s.Now()
	c.Certificates = slices.DeleteFunc(c.Certificates, func(old gatehouse.Certificate) bool {
		return old.Thumbprint == added.Thumbprint || !now.Before(old.ExpiresAt)
	})
	if len(c.Certificates) == maxCertificates {
		return badMetadata("the client has 10 certificates already")
	}
	c.Certificates = append(c.Certificates, added)
	c.UpdatedAt = now
	if err := s.Store.UpdateClient(r.Context(), c); err != nil {
		return unavailable(err)
	}
	s.clients.forget(c.ID)
	writeJSON(w, http.StatusCreated, map[string]any{"data": map[string]any{"certificate": map[string]any{
		"name": added.Name, "type": added.Type, "thumbprint": added.Thumbprint, "roles": added.Roles, "expires_at": added.ExpiresAt,
	}}})
	return nil
}

// removeCertificate serves DELETE
// /api/{provider_code}/open-banking/v3.1/tpp/certificates/{thumbprint}: a key
// that may have leaked must not sign until its certificate ends.
func (s *Server) removeCertificate(w http.ResponseWriter, r *http.Request, p *provider) error {
	c, err := s.bearerClient(r, p)
	if err != nil {
		return err
	}
	kept := slices.DeleteFunc(slices.Clone(c.Certificates), func(held gatehouse.Certificate) bool {
		return held.Thumbprint == r.PathValue("thumbprint")
	})
	if len(kept) == len(c.Certificates) {
		return gatehouse.NewError(gatehouse.NotFound, "the client has no certificate with this thumbprint")
	}
	c.Certificates, c.UpdatedAt = kept, s.Now()
	if err := s.Store.UpdateClient(r.Context(), c); err != nil {
		return unavailable(err)
	}
	s.clients.forget(c.ID)
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// bearerClient returns the client of a Bearer token where no path names it: the
// token's first part is the client's id, or finds the access token.
func (s *Server) bearerClient(r *http.Request, p *provider) (*gatehouse.Client, error) {
	token, err := bearer(r)
	if err != nil {
		return nil, err
	}
	clientID, _, _ := strings.Cut(token, ".")
	if id, isToken := gatehouse.TokenID(token); isToken {
		record, _, err := s.Store.AccessToken(r.Context(), p.Code, id)
		switch {
		case err == nil:
			clientID = record.ClientID
		case !errors.Is(err, gatehouse.ErrNotFound):
			return nil, unavailable(err)
		}
	}
	return s.authenticateManager(r.Context(), clientID, token)
}

type wantedCertificate struct{ PEM, Name, Type string }

func readCertificate(r *http.Request) (c wantedCertificate, err error) {
	if mediaType(r) != "application/json" {
		return c, gatehouse.NewError(gatehouse.UnsupportedMediaType, "Content-Type must be application/json")
	}
	body, err := readBody(r)
	if err != nil {
		return c, err
	}
	var data, certificate jose.Claims
	object, err := jose.ParseObject(body, 8)
	if err != nil {
		return c, invalid("the body is not a JSON object: " + err.Error())
	}
	if object.Decode("data", &data) != nil || data.Decode("certificate", &certificate) != nil {
		return c, invalid("data.certificate is missing or no object")
	}
	for _, member := range []struct {
		name  string
		value *string
	}{{"pem", &c.PEM}, {"name", &c.Name}, {"type", &c.Type}} {
		if *member.value, err = certificate.String(member.name); err != nil {
			return c, invalid("data.certificate." + err.Error())
		}
	}
	if !printable(c.Name, 255) {
		return c, invalid("data.certificate.name must be at most 255 bytes without control characters")
	}
	if !eidas.Kind(c.Type).Valid() {
		return c, invalid("data.certificate.type must be qwac, qseal, obwac or obseal")
	}
	return c, nil
}

// trustedIn returns the environment whose anchors the certificate leads to.
func (s *Server) trustedIn(ctx context.Context, c *eidas.Certificate) (gatehouse.Environment, error) {
	fault := eidas.ErrUntrusted
	for _, environment := range []gatehouse.Environment{gatehouse.Production, gatehouse.SandboxEnvironment} {
		trust := s.Trust[environment]
		if trust == nil {
			continue
		}
		err := trust.Verify(ctx, c, nil, s.Now())
		unknown, _ := errors.AsType[*eidas.UnknownStatusError](err)
		switch {
		case err == nil:
			return environment, nil
		case unknown != nil: // the issuer's service is at fault, not the TPP
			return "", unavailable(err)
		case !errors.Is(err, eidas.ErrUntrusted):
			fault = err
		}
	}
	return "", badMetadata("data.certificate.pem: " + fault.Error())
}

// organisationsOf returns what a directory may call the organisation that a
// certificate names: by its organizationIdentifier; by the directory's own
// org_id, in the place of an authority's number, with "Unknown" before it; and,
// when the certificate does not claim to be qualified, as those of UK Open
// Banking, by its common name.
func organisationsOf(c *eidas.Certificate) []string {
	names := []string{c.OrganizationIdentifier}
	if orgID, unknown := strings.CutPrefix(c.AuthorizationNumber, "Unknown"); unknown {
		names = append(names, orgID)
	}
	if c.Kind == eidas.OBWAC || c.Kind == eidas.OBSeal {
		names = append(names, c.X509.Subject.CommonName)
	}
	return names
}

// certificateKeyOf returns the key of a certificate. It has no kid of its own
// and serves whatever kid a signature names.
func certificateKeyOf(c *eidas.Certificate) (*jose.PublicKey, error) {
	key, isRSA := c.X509.PublicKey.(*rsa.PublicKey)
	if !isRSA {
		return nil, errors.New("certificate has no RSA key")
	}
	return jose.NewPublicKey(key, "", "")
}

// certificateKeys are the keys of a client's seal certificates; those for TLS
// sign nothing. Each certificate is checked again, because it may have been
// revoked, or its anchor removed, since it was added; what eidas remembers of
// its issuer makes that cheap. One that does not pass is left out.
func (s *Server) certificateKeys(ctx context.Context, c *gatehouse.Client) []certificateKey {
	// Whoever waits for a client waits for its certificates' issuers too, once
	// a minute at most, and only when they have not answered for an hour.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), requestDeadline/2)
	defer cancel()
	var keys []certificateKey
	for i := range c.Certificates {
		certificate := &c.Certificates[i]
		if eidas.Kind(certificate.Type).Web() || !s.Now().Before(certificate.ExpiresAt) {
			continue
		}
		key, err := s.certificateKey(ctx, certificate)
		if err != nil {
			s.Log.WarnContext(ctx, "certificate not used", "client_id", c.ID, "thumbprint", certificate.Thumbprint, "error", err.Error())
			continue
		}
		keys = append(keys, certificateKey{key, certificate})
	}
	return keys
}

func (s *Server) certificateKey(ctx context.Context, certificate *gatehouse.Certificate) (*jose.PublicKey, error) {
	parsed, err := eidas.Parse([]byte(certificate.PEM))
	if err != nil {
		return nil, err
	}
	if err := parsed.As(eidas.Kind(certificate.Type)); err != nil {
		return nil, err
	}
	trust := s.Trust[certificate.Environment]
	if trust == nil {
		return nil, eidas.ErrUntrusted
	}
	if err := trust.Verify(ctx, parsed, nil, s.Now()); err != nil {
		return nil, err
	}
	return certificateKeyOf(parsed)
}
