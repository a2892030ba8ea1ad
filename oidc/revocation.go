package oidc

// Token revocation: RFC 7009.

import (
	"errors"
	"net/http"

	"gatehouse"
)

func (s *Server) revocationEndpoint(p *provider) string {
	return s.BaseURL + "/api/oidc/" + p.Code + "/revoke"
}

// revoke serves POST /api/oidc/{provider_code}/revoke: a client gives back a
// token, and with it the grant and every token of it (RFC 7009 §2.1). One that
// is expired or rotated does as well: it may be the last that the client
// knows. 200 says that what was presented opens nothing of the client's any
// more, and so it is also the answer to a token the client does not have (§2.2).
func (s *Server) revoke(w http.ResponseWriter, r *http.Request, p *provider) error {
	in, err := readTokenInquiry(r, p)
	if err != nil {
		return err
	}
	c, err := s.authenticateClient(r, p, in, []string{p.issuer, p.tokenEndpoint, s.revocationEndpoint(p)})
	if err != nil {
		return err
	}
	presented, err := presentedToken(in)
	if err != nil {
		return err
	}
	ctx := byCredential(r.Context())
	t, err := s.ownToken(ctx, p, c, presented)
	if err == nil {
		err = s.Store.RevokeGrant(ctx, p.Code, t.grant.ID, s.Now())
	}
	if err != nil && !errors.Is(err, gatehouse.ErrNotFound) {
		return unavailable(err)
	}
	if err == nil {
		s.Log.InfoContext(r.Context(), "grant revoked by its client", "provider_code", p.Code, "client_id", c.ID, "grant_id", t.grant.ID)
	}
	w.WriteHeader(http.StatusOK)
	return nil
}
