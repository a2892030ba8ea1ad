package oidc

import (
	"net/http"
	"strings"

	"gatehouse"
)

// documentation serves the provider's service_documentation page. What it says
// of errors and checks is read from the tables that the server runs on.
func (s *Server) documentation(w http.ResponseWriter, r *http.Request, p *provider) error {
	type errorRow struct {
		gatehouse.KindRow
		Status int
	}
	var errors []errorRow
	for kind, row := range gatehouse.Kinds() {
		errors = append(errors, errorRow{row, gatehouse.Kind(kind).Status(p.Profile)})
	}
	return writePage(w, http.StatusOK, "documentation.html", map[string]any{
		"Provider":      p.Name,
		"Code":          p.Code,
		"Profile":       p.Profile,
		"Sandbox":       p.Status == gatehouse.Sandbox,
		"Issuer":        p.issuer,
		"Discovery":     s.BaseURL + "/.well-known/openid-configuration/" + p.Code,
		"JWKS":          p.jwksURI,
		"Authorization": p.authorizationEndpoint,
		"Token":         p.tokenEndpoint,
		"Introspection": s.introspectionEndpoint(p),
		"Revocation":    s.revocationEndpoint(p),
		"UserInfo":      s.userinfoEndpoint(p),
		"Scopes":        strings.Join(p.Scopes, " "),
		"TakesJSON":     p.Profile == gatehouse.ProfilePSD2,
		"Hosts":         p.HostsAuthorization(),
		"Rules":         p.rules,
		"Errors":        errors,
		"Checks":        checks,
	})
}
