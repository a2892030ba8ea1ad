package oidc

// Resource servers: RFC 7662 §2.1, RFC 6749 §2.3.1.

import (
	"context"
	"crypto/subtle"
	"slices"

	"gatehouse"
)

// authenticateResourceServer returns the resource server of the provider that a
// header names in the Basic scheme, nil when it names none, and an error when
// the secret is wrong.
func (s *Server) authenticateResourceServer(ctx context.Context, p *provider, header []string) (*gatehouse.ResourceServer, error) {
	id, secret, err := basicCredentials(header)
	if err != nil {
		return nil, nil
	}
	i := slices.IndexFunc(p.resourceServers, func(rs *gatehouse.ResourceServer) bool { return rs.ID == id })
	if i < 0 {
		return nil, nil
	}
	rs := p.resourceServers[i]
	attempt := attemptOf(ctx)
	attempt.resourceServerID, attempt.method = rs.ID, gatehouse.AuthClientSecretBasic
	right := subtle.ConstantTimeCompare(rs.SecretHash, gatehouse.ResourceServerSecretHash(s.KEK, p.Code, id, secret)) == 1
	if err := s.checkSecret(ctx, "resource server\x00"+p.Code+"\x00"+id, right, badClient(wrongSecret, "the secret of the resource server is wrong")); err != nil {
		return nil, err
	}
	return rs, nil
}
