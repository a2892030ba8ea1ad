package admin

// RFC 7591 §2 (client metadata and its defaults)

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"slices"

	"gatehouse"
)

// A NewClient is the metadata of an application. Name is required, JWKS for
// private_key_jwt, RedirectURIs for the grant type authorization_code.
type NewClient struct {
	Name string
	// Providers limits the client to some banks; empty means all.
	Providers    []string
	RedirectURIs []string
	// GrantTypes is authorization_code unless set.
	GrantTypes []string
	// Scopes are all there are unless set.
	Scopes gatehouse.Scopes
	// TokenEndpointAuthMethod is client_secret_basic unless set.
	TokenEndpointAuthMethod     string
	TokenEndpointAuthSigningAlg string
	RequestObjectSigningAlg     string
	IDTokenSignedResponseAlg    string
	RequireSignedRequestObject  bool
	JWKS                        json.RawMessage

	// ID and Secret are what an application registered elsewhere already
	// uses; each is made at random unless set. Secret is for
	// client_secret_basic alone.
	ID     string
	Secret string
}

// AddClient registers an application. It returns the client_secret, which
// cannot be had again, or "" for a client that authenticates by a key.
func (a *Admin) AddClient(ctx context.Context, n NewClient) (c *gatehouse.Client, secret string, err error) {
	if len(n.GrantTypes) == 0 {
		n.GrantTypes = []string{gatehouse.GrantAuthorizationCode}
	}
	if len(n.Scopes) == 0 {
		n.Scopes = gatehouse.AllScopes()
	}
	now := a.Now()
	c = &gatehouse.Client{
		ID:                          cmp.Or(n.ID, randomID()),
		Name:                        n.Name,
		Providers:                   n.Providers,
		RedirectURIs:                append([]string{}, n.RedirectURIs...),
		GrantTypes:                  n.GrantTypes,
		ResponseTypes:               responseTypes(n.GrantTypes),
		Scopes:                      n.Scopes,
		TokenEndpointAuthMethod:     cmp.Or(n.TokenEndpointAuthMethod, gatehouse.AuthClientSecretBasic),
		TokenEndpointAuthSigningAlg: n.TokenEndpointAuthSigningAlg,
		RequestObjectSigningAlg:     n.RequestObjectSigningAlg,
		IDTokenSignedResponseAlg:    n.IDTokenSignedResponseAlg,
		RequireSignedRequestObject:  n.RequireSignedRequestObject,
		JWKS:                        n.JWKS,
		Status:                      gatehouse.ClientActive,
		CreatedAt:                   now,
		UpdatedAt:                   now,
	}
	switch c.TokenEndpointAuthMethod {
	case gatehouse.AuthClientSecretBasic:
		secret = cmp.Or(n.Secret, gatehouse.NewSecret())
		if err := checkSecret("client_secret", secret); err != nil {
			return nil, "", err
		}
		c.SecretHash = gatehouse.ClientSecretHash(a.KEK, c.ID, secret)
	default:
		if n.Secret != "" {
			return nil, "", errors.New("client_secret is for client_secret_basic alone")
		}
	}
	if err := c.Validate(); err != nil {
		return nil, "", err
	}
	for _, code := range c.Providers {
		if _, err := a.Provider(ctx, code); err != nil {
			return nil, "", err
		}
	}
	if err := a.Store.CreateClient(ctx, c); err != nil {
		return nil, "", named("client", c.ID, err)
	}
	return c, secret, nil
}

// responseTypes are those that belong to the grant types (RFC 7591 §2.1).
func responseTypes(grantTypes []string) []string {
	if slices.Contains(grantTypes, gatehouse.GrantAuthorizationCode) {
		return []string{"code"}
	}
	return []string{}
}

// Client returns a client by its id, or gatehouse.ErrNotFound.
func (a *Admin) Client(ctx context.Context, id string) (*gatehouse.Client, error) {
	c, err := a.Store.Client(ctx, id)
	return c, named("client", id, err)
}

// Clients lists all clients in the order of their ids.
func (a *Admin) Clients(ctx context.Context) ([]*gatehouse.Client, error) {
	return all(ctx, a.Store.Clients, func(c *gatehouse.Client) string { return c.ID })
}

// UpdateClient applies change to the newest version of a client; change may
// run more than once.
func (a *Admin) UpdateClient(ctx context.Context, id string, change func(*gatehouse.Client)) (c *gatehouse.Client, err error) {
	err = retryConflicts(func() error {
		if c, err = a.Client(ctx, id); err != nil {
			return err
		}
		change(c)
		c.UpdatedAt = a.Now()
		if err := c.Validate(); err != nil {
			return err
		}
		return named("client", id, a.Store.UpdateClient(ctx, c))
	})
	return c, err
}

// DisableClient refuses a client everywhere from now on.
func (a *Admin) DisableClient(ctx context.Context, id string) (*gatehouse.Client, error) {
	return a.UpdateClient(ctx, id, func(c *gatehouse.Client) { c.Status = gatehouse.ClientDisabled })
}
