package admin

import (
	"context"
	"errors"
	"fmt"
	"iter"

	"gatehouse"
)

// Consents yields the consents of a provider that f selects, the newest first.
// An error is the last thing that the listing yields.
func (a *Admin) Consents(ctx context.Context, provider string, f gatehouse.ConsentFilter) (iter.Seq2[*gatehouse.Consent, error], error) {
	if _, err := a.Provider(ctx, provider); err != nil {
		return nil, err
	}
	return each(ctx, "", func(ctx context.Context, before string, limit int) ([]*gatehouse.Consent, error) {
		return a.Store.Consents(ctx, provider, f, before, limit)
	}, func(c *gatehouse.Consent) string { return c.ID }), nil
}

// Consent returns a consent of a provider by its id, or gatehouse.ErrNotFound.
func (a *Admin) Consent(ctx context.Context, provider, id string) (*gatehouse.Consent, error) {
	c, err := a.Store.Consent(ctx, provider, id)
	return c, named("consent", id, err)
}

// RevokeConsent ends a consent, its grant and every token of that, and returns
// it; the bank is told. Revoking one that is revoked is no error. One that was
// rejected or consumed is over, which is gatehouse.ErrConflict.
func (a *Admin) RevokeConsent(ctx context.Context, provider, id string) (*gatehouse.Consent, error) {
	ended := a.Store.EndConsent(ctx, provider, id, gatehouse.ConsentRevoked, a.Now())
	if ended != nil && !errors.Is(ended, gatehouse.ErrConflict) {
		return nil, named("consent", id, ended)
	}
	c, err := a.Consent(ctx, provider, id)
	if err == nil && ended != nil {
		return nil, fmt.Errorf("consent %q is over: it is %s: %w", id, c.Status, ended)
	}
	return c, err
}
