package store

import (
	"context"
	"crypto/subtle"
	"errors"
	"slices"
	"time"

	"gatehouse"
)

// CreateResourceServer adds a resource server.
func (db *DB) CreateResourceServer(ctx context.Context, r *gatehouse.ResourceServer) error {
	e := newEntry(ctx, r.CreatedAt)
	out, err := db.write(ctx, db.changed([]statement{query(`
		INSERT INTO resource_servers (provider, id, name, secret_hash, created_at) SELECT $1, $2, $3, $4, $5
		WHERE EXISTS (SELECT 1 FROM providers WHERE code = $1 AND deleted_at IS NULL)`,
		r.Provider, r.ID, r.Name, base64url(r.SecretHash), unixMillis(r.CreatedAt)),
		e.event(gatehouse.EventResourceServerCreated, r.ID, `provider, '', '', ''
			FROM resource_servers WHERE provider = $8 AND id = $9 AND secret_hash = $10`,
			r.Provider, r.ID, base64url(r.SecretHash))}, "provider", r.Provider)...)
	switch {
	case out.repeated && errors.Is(err, gatehouse.ErrExists):
		list, notThere := db.ResourceServers(ctx, r.Provider)
		if notThere == nil && slices.ContainsFunc(list, func(found *gatehouse.ResourceServer) bool {
			return found.ID == r.ID && subtle.ConstantTimeCompare(found.SecretHash, r.SecretHash) == 1
		}) {
			return db.confirm(ctx)
		}
		return err
	case err != nil:
		return err
	case out.changed[0] == 0:
		return gatehouse.ErrNotFound
	}
	return nil
}

// ResourceServers lists a provider's resource servers in the order of their
// ids.
func (db *DB) ResourceServers(ctx context.Context, provider string) ([]*gatehouse.ResourceServer, error) {
	var list []*gatehouse.ResourceServer
	err := db.readRows(ctx, query(`
		SELECT provider, id, name, secret_hash, created_at FROM resource_servers WHERE provider = $1 ORDER BY id`, provider), func() []any {
		r := new(gatehouse.ResourceServer)
		list = append(list, r)
		return []any{&r.Provider, &r.ID, &r.Name, bytesField{&r.SecretHash}, timeField{&r.CreatedAt}}
	})
	return list, err
}

// DeleteResourceServer removes a resource server. The first statement makes
// concurrent deletions wait for one another, so that one of them leaves an
// event.
func (db *DB) DeleteResourceServer(ctx context.Context, provider, id string, now time.Time) error {
	e := newEntry(ctx, now)
	out, err := db.write(ctx, db.changed([]statement{query(`
		UPDATE resource_servers SET secret_hash = '' WHERE provider = $1 AND id = $2`, provider, id),
		e.event(gatehouse.EventResourceServerDeleted, id, `provider, '', '', ''
			FROM resource_servers WHERE provider = $8 AND id = $9`, provider, id), query(`
		DELETE FROM resource_servers WHERE provider = $1 AND id = $2`, provider, id)}, "provider", provider)...)
	switch {
	case err != nil:
		return err
	case out.changed[0] == 1:
		return nil
	case out.repeated: // it may have met its own deletion
		return db.confirm(ctx)
	}
	return gatehouse.ErrNotFound
}
