package oidc

import (
	"context"
	"errors"
	"fmt"

	"gatehouse"
	"gatehouse/jose"
)

// A provider is a bank as the endpoints need it: its keys opened, its URLs
// made, its documents rendered. It is shared by requests and never changes.
type provider struct {
	*gatehouse.Provider
	rules         gatehouse.Rules // with defaults
	keys          []*jose.PrivateKey
	connectorKeys []*jose.PublicKey
	// resourceServers may ask about every token of the provider.
	resourceServers []*gatehouse.ResourceServer

	issuer                string
	tokenEndpoint         string
	authorizationEndpoint string
	jwksURI               string

	discoveryDocument document
	jwksDocument      document
}

// provider returns an enabled provider by its code.
func (s *Server) provider(ctx context.Context, code string) (*provider, error) {
	p, err := s.cachedProvider(ctx, code)
	switch {
	case errors.Is(err, gatehouse.ErrNotFound):
		return nil, gatehouse.NewError(gatehouse.UnknownProvider, "no provider has this provider_code")
	case err != nil:
		return nil, unavailable(err)
	case p.Status == gatehouse.Disabled:
		return p, gatehouse.NewError(gatehouse.ProviderDisabled, "the provider is disabled")
	}
	return p, nil
}

func (s *Server) cachedProvider(ctx context.Context, code string) (*provider, error) {
	if !gatehouse.ValidProviderCode(code) {
		return nil, gatehouse.ErrNotFound
	}
	return s.providers.get(ctx, code, s.Now(), func(ctx context.Context) (*provider, error) {
		return s.loadProvider(ctx, code)
	})
}

func (s *Server) loadProvider(ctx context.Context, code string) (*provider, error) {
	stored, err := s.Store.Provider(ctx, code)
	if err != nil {
		return nil, err
	}
	sealed, err := s.Store.Keys(ctx, code)
	if err != nil {
		return nil, err
	}
	resourceServers, err := s.Store.ResourceServers(ctx, code)
	if err != nil {
		return nil, err
	}
	p := &provider{
		Provider:              stored,
		rules:                 stored.Rules.WithDefaults(),
		issuer:                stored.Issuer,
		tokenEndpoint:         s.BaseURL + "/api/oidc/" + code + "/tokens",
		authorizationEndpoint: stored.AuthorizationEndpoint,
		jwksURI:               s.BaseURL + "/oidc/" + code + "/jwks",
		resourceServers:       resourceServers,
	}
	if p.issuer == "" {
		p.issuer = s.BaseURL + "/" + code
	}
	if stored.HostsAuthorization() {
		p.authorizationEndpoint = s.BaseURL + "/oidc/" + code + "/authorize"
	}
	for _, k := range sealed {
		key, err := s.KEK.Open(k.Sealed, code, k.KID, k.Alg)
		if err != nil {
			return nil, fmt.Errorf("key %s of %s: %w", k.KID, code, err)
		}
		p.keys = append(p.keys, key)
	}
	connectorKeys, err := jose.ParseJWKS(stored.Connector.JWKS)
	if err != nil {
		return nil, fmt.Errorf("connector jwks of %s: %w", code, err)
	}
	p.connectorKeys = connectorKeys.Keys
	p.discoveryDocument = s.renderDiscovery(p)
	p.jwksDocument = renderJWKS(p)
	return p, nil
}

// signingKey returns the provider's newest key for alg.
func (p *provider) signingKey(alg string) (*jose.PrivateKey, error) {
	for _, key := range p.keys {
		if key.Alg == alg {
			return key, nil
		}
	}
	return nil, fmt.Errorf("provider %s has no %s key", p.Code, alg)
}
