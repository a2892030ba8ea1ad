package store

import (
	"context"
	"encoding/json"

	"gatehouse"
)

// CreateClient adds a client of the deployment.
func (db *DB) CreateClient(ctx context.Context, c *gatehouse.Client) error {
	metadata, err := json.Marshal(c)
	if err != nil {
		return err
	}
	_, err = db.write(ctx, query(`
		INSERT INTO clients (id, secret_hash, metadata, version, created_at, updated_at) VALUES ($1, $2, $3, $4, $5, $6)`,
		c.ID, base64url(c.SecretHash), string(metadata), c.Version, unixMillis(c.CreatedAt), unixMillis(c.UpdatedAt)))
	return err
}

// Client returns a client by its id.
func (db *DB) Client(ctx context.Context, id string) (*gatehouse.Client, error) {
	var c gatehouse.Client
	err := db.readRow(ctx, query(`
		SELECT metadata, id, secret_hash, version, created_at, updated_at FROM clients WHERE id = $1`, id),
		clientFields(&c)...)
	if err != nil {
		return nil, err
	}
	return &c, nil
}

// Clients lists up to limit clients in the order of their ids.
func (db *DB) Clients(ctx context.Context, after string, limit int) ([]*gatehouse.Client, error) {
	var list []*gatehouse.Client
	err := db.readRows(ctx, query(`
		SELECT metadata, id, secret_hash, version, created_at, updated_at
		FROM clients WHERE id > $1 ORDER BY id LIMIT $2`, after, limit), func() []any {
		list = append(list, new(gatehouse.Client))
		return clientFields(list[len(list)-1])
	})
	return list, err
}

// clientFields takes metadata first: where a member also has a column, the
// column counts.
func clientFields(c *gatehouse.Client) []any {
	return []any{jsonField{c}, &c.ID, bytesField{&c.SecretHash}, &c.Version, timeField{&c.CreatedAt}, timeField{&c.UpdatedAt}}
}

// UpdateClient replaces a client and counts Version up.
func (db *DB) UpdateClient(ctx context.Context, c *gatehouse.Client) error {
	metadata, err := json.Marshal(c)
	if err != nil {
		return err
	}
	changed, err := db.write(ctx, query(`
		UPDATE clients SET secret_hash = $3, metadata = $4, updated_at = $5, version = version + 1
		WHERE id = $1 AND version = $2`,
		c.ID, c.Version, base64url(c.SecretHash), string(metadata), unixMillis(c.UpdatedAt)))
	if err != nil {
		return err
	}
	if changed[0] == 0 {
		if _, err := db.Client(ctx, c.ID); err != nil {
			return err
		}
		return gatehouse.ErrConflict
	}
	c.Version++
	return nil
}
