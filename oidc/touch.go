package oidc

import (
	"context"

	"gatehouse"
)

// touch writes down that a token of the grant was used. Whoever was let in
// stays let in: a failure is logged and nothing else.
func (s *Server) touch(ctx context.Context, p *provider, g *gatehouse.Grant) {
	now := s.Now()
	if now.Sub(g.LastUsedAt) < gatehouse.LastUsedPrecision {
		return
	}
	if err := s.Store.TouchGrant(ctx, p.Code, g.ID, now); err != nil {
		s.Log.WarnContext(ctx, "use of a grant not written down", "provider_code", p.Code, "grant_id", g.ID, "cause", err.Error())
	}
}
