package store

import (
	"context"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"time"

	"gatehouse"
)

// clientFields takes metadata first: where a member also has a column, the
// column counts.
func clientFields(c *gatehouse.Client) []any {
	return []any{jsonField{c}, &c.ID, &c.Status, bytesField{&c.SecretHash}, bytesField{&c.RegistrationTokenHash},
		&c.Version, timeField{&c.CreatedAt}, timeField{&c.UpdatedAt}}
}

// clientRow is what an event says of a client.
const clientRow = `'', id, '', '' FROM clients`

// CreateClient adds a client of the deployment.
func (db *DB) CreateClient(ctx context.Context, c *gatehouse.Client) error {
	metadata, err := json.Marshal(c)
	if err != nil {
		return err
	}
	tpp := gatehouse.TPP{}
	if c.TPP != nil {
		tpp = *c.TPP
	}
	out, err := db.write(ctx, query(`
		INSERT INTO clients (id, metadata, status, directory, tpp, software_id, secret_hash, registration_token_hash, version, created_at, updated_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)`,
		c.ID, string(metadata), string(c.Status), orNull(tpp.Directory), orNull(tpp.URN), orNull(c.SoftwareID), base64url(c.SecretHash), base64url(c.RegistrationTokenHash),
		c.Version, unixMillis(c.CreatedAt), unixMillis(c.UpdatedAt)),
		newEntry(ctx, c.CreatedAt).event(gatehouse.EventClientCreated, "", clientRow+` WHERE id = $8`, c.ID))
	if out.repeated && errors.Is(err, gatehouse.ErrExists) {
		found, notThere := db.Client(ctx, c.ID)
		if notThere == nil && found.CreatedAt.Equal(milliseconds(c.CreatedAt)) && subtle.ConstantTimeCompare(found.RegistrationTokenHash, c.RegistrationTokenHash) == 1 &&
			subtle.ConstantTimeCompare(found.SecretHash, c.SecretHash) == 1 {
			return db.confirm(ctx)
		}
	}
	return err
}

// Client returns a client by its id.
func (db *DB) Client(ctx context.Context, id string) (*gatehouse.Client, error) {
	var c gatehouse.Client
	err := db.readRow(ctx, query(`
		SELECT metadata, id, status, secret_hash, registration_token_hash, version, created_at, updated_at
		FROM clients WHERE id = $1`, id), clientFields(&c)...)
	if err != nil {
		return nil, err
	}
	return &c, nil
}

// Clients lists up to limit clients that are not deleted, in the order of
// their ids.
func (db *DB) Clients(ctx context.Context, after string, limit int) ([]*gatehouse.Client, error) {
	return db.readClients(ctx, query(`
		SELECT metadata, id, status, secret_hash, registration_token_hash, version, created_at, updated_at
		FROM clients WHERE id > $1 AND status <> 'deleted' ORDER BY id LIMIT $2`, after, limit))
}

// ClientsOfSoftware lists the clients of a TPP's software that are not deleted.
func (db *DB) ClientsOfSoftware(ctx context.Context, directory, tpp, softwareID string) ([]*gatehouse.Client, error) {
	return db.readClients(ctx, query(`
		SELECT metadata, id, status, secret_hash, registration_token_hash, version, created_at, updated_at
		FROM clients WHERE directory = $1 AND tpp = $2 AND software_id = $3 AND status <> 'deleted' ORDER BY created_at, id`,
		directory, tpp, softwareID))
}

func (db *DB) readClients(ctx context.Context, q statement) ([]*gatehouse.Client, error) {
	var list []*gatehouse.Client
	err := db.readRows(ctx, q, func() []any {
		list = append(list, new(gatehouse.Client))
		return clientFields(list[len(list)-1])
	})
	return list, err
}

// CountRegistrations counts the clients that a TPP registered since.
func (db *DB) CountRegistrations(ctx context.Context, directory, tpp string, since time.Time) (n int, err error) {
	err = db.readRow(ctx, query(`
		SELECT COUNT(*) FROM clients WHERE directory = $1 AND tpp = $2 AND software_id IS NOT NULL AND created_at >= $3`,
		directory, tpp, unixMillis(since)), &n)
	return n, err
}

// UpdateClient replaces a client and counts Version up.
func (db *DB) UpdateClient(ctx context.Context, c *gatehouse.Client) error {
	metadata, err := json.Marshal(c)
	if err != nil {
		return err
	}
	e := newEntry(ctx, c.UpdatedAt)
	out, err := db.write(ctx, db.changed([]statement{query(`
		UPDATE clients SET metadata = $3, status = $4, secret_hash = $5, registration_token_hash = $6, updated_at = $7, version = version + 1,
		       changed_event = $8
		WHERE id = $1 AND version = $2`,
		c.ID, c.Version, string(metadata), string(c.Status), base64url(c.SecretHash), base64url(c.RegistrationTokenHash), unixMillis(c.UpdatedAt), e.id),
		e.event(gatehouse.EventClientUpdated, string(c.Status), clientRow+` WHERE id = $8 AND changed_event = $1`, c.ID)}, "client", c.ID)...)
	if err != nil {
		return err
	}
	if out.changed[0] == 0 {
		found, err := db.Client(ctx, c.ID)
		if err != nil {
			return err
		}
		if !out.repeated || found.Version != c.Version+1 || !found.UpdatedAt.Equal(milliseconds(c.UpdatedAt)) {
			return gatehouse.ErrConflict
		}
		if err := db.confirm(ctx); err != nil {
			return err
		}
	}
	c.Version++
	return nil
}

// DeleteClient ends a client, every consent and every grant of it.
func (db *DB) DeleteClient(ctx context.Context, id string, now time.Time) error {
	e := newEntry(ctx, now)
	out, err := db.write(ctx, db.changed([]statement{query(`
		UPDATE clients SET status = 'deleted', secret_hash = NULL, registration_token_hash = NULL, updated_at = $2, version = version + 1,
		       changed_event = $3
		WHERE id = $1 AND status <> 'deleted'`, id, unixMillis(now), e.id), query(`
		UPDATE consents SET status = 'Revoked', status_updated_at = $2, moved_event = $3
		WHERE client_id = $1 AND status IN ('AwaitingAuthorisation', 'Authorised')`, id, unixMillis(now), e.id), query(`
		INSERT INTO notices (provider, consent_id, step, due_at, attempts, created_at)
		SELECT provider, id, 'revoked', $2, 0, $2 FROM consents WHERE client_id = $1 AND moved_event = $3
		ON CONFLICT (provider, consent_id, step) DO NOTHING`, id, unixMillis(now), e.id), query(`
		UPDATE grants SET revoked_at = $2, ended_event = $3 WHERE client_id COLLATE "binary" = $1 AND revoked_at IS NULL`, id, unixMillis(now), e.id),
		e.event(gatehouse.EventClientDeleted, "", clientRow+` WHERE id = $8 AND changed_event = $1`, id)}, "client", id)...)
	if err != nil {
		return err
	}
	switch {
	case out.changed[0] == 1:
		return nil
	case out.repeated: // it may have met its own deletion
		return db.confirm(ctx)
	}
	return gatehouse.ErrNotFound
}
