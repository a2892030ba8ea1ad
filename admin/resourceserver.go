package admin

import (
	"cmp"
	"context"
	"errors"

	"gatehouse"
)

// A NewResourceServer says what is to guard a bank's resources with tokens.
// Provider and Name are required.
type NewResourceServer struct {
	Provider string
	Name     string
	// ID and Secret are what it already uses; each is made at random unless
	// set.
	ID     string
	Secret string
}

// AddResourceServer lets a resource server ask about the tokens of a provider.
// It returns the secret, which cannot be had again. An id that a client has is
// gatehouse.ErrExists: both authenticate alike, at the same endpoint.
func (a *Admin) AddResourceServer(ctx context.Context, n NewResourceServer) (rs *gatehouse.ResourceServer, secret string, err error) {
	secret = cmp.Or(n.Secret, gatehouse.NewSecret())
	rs = &gatehouse.ResourceServer{
		ID:        cmp.Or(n.ID, "rs-"+randomID()),
		Provider:  n.Provider,
		Name:      n.Name,
		CreatedAt: a.Now(),
	}
	switch {
	case rs.Name == "":
		return nil, "", errors.New("name is missing")
	case len(rs.ID) > 36:
		return nil, "", errors.New("resource_server_id must be 1 to 36 characters")
	}
	if err := checkSecret("secret", secret); err != nil {
		return nil, "", err
	}
	if _, err := a.Provider(ctx, rs.Provider); err != nil {
		return nil, "", err
	}
	switch _, err := a.Store.Client(ctx, rs.ID); {
	case err == nil:
		return nil, "", named("client", rs.ID, gatehouse.ErrExists)
	case !errors.Is(err, gatehouse.ErrNotFound):
		return nil, "", err
	}
	rs.SecretHash = gatehouse.ResourceServerSecretHash(a.KEK, rs.Provider, rs.ID, secret)
	if err := a.Store.CreateResourceServer(ctx, rs); err != nil {
		return nil, "", named("resource server", rs.ID, err)
	}
	return rs, secret, nil
}

// ResourceServers lists those of a provider in the order of their ids.
func (a *Admin) ResourceServers(ctx context.Context, provider string) ([]*gatehouse.ResourceServer, error) {
	if _, err := a.Provider(ctx, provider); err != nil {
		return nil, err
	}
	all, err := a.Store.ResourceServers(ctx, provider)
	return append([]*gatehouse.ResourceServer{}, all...), err
}

// DeleteResourceServer ends a resource server, or returns
// gatehouse.ErrNotFound.
func (a *Admin) DeleteResourceServer(ctx context.Context, provider, id string) error {
	if _, err := a.Provider(ctx, provider); err != nil {
		return err
	}
	return named("resource server", id, a.Store.DeleteResourceServer(ctx, provider, id, a.Now()))
}
