package admin

import (
	"context"
	"iter"

	"gatehouse"
)

// Grants yields the grants of a provider that f selects, the newest first. An
// error is the last thing that the listing yields.
func (a *Admin) Grants(ctx context.Context, provider string, f gatehouse.GrantFilter) (iter.Seq2[*gatehouse.Grant, error], error) {
	if _, err := a.Provider(ctx, provider); err != nil {
		return nil, err
	}
	return each(ctx, "", func(ctx context.Context, before string, limit int) ([]*gatehouse.Grant, error) {
		return a.Store.Grants(ctx, provider, f, before, limit)
	}, func(g *gatehouse.Grant) string { return g.ID }), nil
}

// Grant returns a grant of a provider by its id, or gatehouse.ErrNotFound.
func (a *Admin) Grant(ctx context.Context, provider, id string) (*gatehouse.Grant, error) {
	g, err := a.Store.Grant(ctx, provider, id)
	return g, named("grant", id, err)
}

// RevokeGrant ends a grant, every token of it and its consent, and returns it;
// ending one that is over already is no error.
func (a *Admin) RevokeGrant(ctx context.Context, provider, id string) (*gatehouse.Grant, error) {
	if err := a.Store.RevokeGrant(ctx, provider, id, a.Now()); err != nil {
		return nil, named("grant", id, err)
	}
	return a.Grant(ctx, provider, id)
}
