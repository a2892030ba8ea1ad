package store

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"time"

	"gatehouse"
)

// providerRow is what an event says of a provider.
const providerRow = `code, '', '', '' FROM providers`

// CreateProvider adds a provider with its signing keys.
func (db *DB) CreateProvider(ctx context.Context, p *gatehouse.Provider, keys []*gatehouse.Key) error {
	settings, err := json.Marshal(p)
	if err != nil {
		return err
	}
	statements := []statement{query(`
		INSERT INTO providers (code, app_id, app_secret_hash, subject_salt, settings, version, created_at, updated_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`,
		p.Code, p.Connector.AppID, base64url(p.Connector.AppSecretHash), base64url(p.SubjectSalt), string(settings),
		p.Version, unixMillis(p.CreatedAt), unixMillis(p.UpdatedAt))}
	for _, k := range keys {
		statements = append(statements, query(`
			INSERT INTO signing_keys (provider, kid, alg, sealed, kek_id, created_at) VALUES ($1, $2, $3, $4, $5, $6)`,
			p.Code, k.KID, k.Alg, base64url(k.Sealed), k.KEKID, unixMillis(k.CreatedAt)))
	}
	statements = append(statements,
		newEntry(ctx, p.CreatedAt).event(gatehouse.EventProviderCreated, "", providerRow+` WHERE code = $8`, p.Code))
	out, err := db.write(ctx, db.changed(statements, "provider", p.Code)...)
	if out.repeated && errors.Is(err, gatehouse.ErrExists) {
		if found, notThere := db.Provider(ctx, p.Code); notThere == nil && bytes.Equal(found.SubjectSalt, p.SubjectSalt) {
			return db.confirm(ctx)
		}
	}
	return err
}

// Provider returns a provider by its code.
func (db *DB) Provider(ctx context.Context, code string) (*gatehouse.Provider, error) {
	var p gatehouse.Provider
	err := db.readRow(ctx, query(`
		SELECT settings, code, app_id, app_secret_hash, subject_salt, version, created_at, updated_at
		FROM providers WHERE code = $1 AND deleted_at IS NULL`, code), providerFields(&p)...)
	if err != nil {
		return nil, err
	}
	return &p, nil
}

// ProviderByAppID returns the provider whose connector has the app_id.
func (db *DB) ProviderByAppID(ctx context.Context, appID string) (*gatehouse.Provider, error) {
	var p gatehouse.Provider
	err := db.readRow(ctx, query(`
		SELECT settings, code, app_id, app_secret_hash, subject_salt, version, created_at, updated_at
		FROM providers WHERE app_id = $1 AND deleted_at IS NULL`, appID), providerFields(&p)...)
	if err != nil {
		return nil, err
	}
	return &p, nil
}

// Providers lists up to limit providers in the order of their codes.
func (db *DB) Providers(ctx context.Context, after string, limit int) ([]*gatehouse.Provider, error) {
	var list []*gatehouse.Provider
	err := db.readRows(ctx, query(`
		SELECT settings, code, app_id, app_secret_hash, subject_salt, version, created_at, updated_at
		FROM providers WHERE code > $1 AND deleted_at IS NULL ORDER BY code LIMIT $2`, after, limit), func() []any {
		list = append(list, new(gatehouse.Provider))
		return providerFields(list[len(list)-1])
	})
	return list, err
}

// providerFields takes settings first: where a member also has a column, the
// column counts.
func providerFields(p *gatehouse.Provider) []any {
	return []any{jsonField{p}, &p.Code, &p.Connector.AppID, bytesField{&p.Connector.AppSecretHash},
		bytesField{&p.SubjectSalt}, &p.Version, timeField{&p.CreatedAt}, timeField{&p.UpdatedAt}}
}

// UpdateProvider replaces a provider and counts Version up.
func (db *DB) UpdateProvider(ctx context.Context, p *gatehouse.Provider) error {
	settings, err := json.Marshal(p)
	if err != nil {
		return err
	}
	e := newEntry(ctx, p.UpdatedAt)
	out, err := db.write(ctx, db.changed([]statement{query(`
		UPDATE providers SET app_id = $3, app_secret_hash = $4, subject_salt = $5, settings = $6, updated_at = $7,
		       version = version + 1, changed_event = $8
		WHERE code = $1 AND version = $2 AND deleted_at IS NULL`,
		p.Code, p.Version, p.Connector.AppID, base64url(p.Connector.AppSecretHash), base64url(p.SubjectSalt),
		string(settings), unixMillis(p.UpdatedAt), e.id),
		e.event(gatehouse.EventProviderUpdated, string(p.Status), providerRow+` WHERE code = $8 AND changed_event = $1`, p.Code)}, "provider", p.Code)...)
	if err != nil {
		return err
	}
	if out.changed[0] == 0 {
		found, err := db.Provider(ctx, p.Code)
		if err != nil {
			return err
		}
		if !out.repeated || found.Version != p.Version+1 || !found.UpdatedAt.Equal(milliseconds(p.UpdatedAt)) {
			return gatehouse.ErrConflict
		}
		if err := db.confirm(ctx); err != nil {
			return err
		}
	}
	p.Version++
	return nil
}

// DeleteProvider ends a provider for good. The row stays, so that nobody else
// ever speaks in the name of its issuer; app_id makes room.
func (db *DB) DeleteProvider(ctx context.Context, code string, now time.Time) error {
	e := newEntry(ctx, now)
	out, err := db.write(ctx, db.changed([]statement{query(`
		UPDATE providers SET deleted_at = $2, updated_at = $2, app_id = 'deleted ' || code, app_secret_hash = NULL, subject_salt = NULL,
		       settings = '{}', version = version + 1, changed_event = $3
		WHERE code = $1 AND deleted_at IS NULL`, code, unixMillis(now), e.id), query(`
		DELETE FROM signing_keys WHERE provider = $1`, code),
		e.event(gatehouse.EventProviderDeleted, "", providerRow+` WHERE code = $8 AND changed_event = $1`, code)}, "provider", code)...)
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

// Keys lists a provider's signing keys, newest first.
func (db *DB) Keys(ctx context.Context, provider string) ([]*gatehouse.Key, error) {
	var list []*gatehouse.Key
	err := db.readRows(ctx, query(`
		SELECT provider, kid, alg, sealed, kek_id, created_at
		FROM signing_keys WHERE provider = $1 ORDER BY created_at DESC, kid`, provider), func() []any {
		k := new(gatehouse.Key)
		list = append(list, k)
		return []any{&k.Provider, &k.KID, &k.Alg, bytesField{&k.Sealed}, &k.KEKID, timeField{&k.CreatedAt}}
	})
	return list, err
}
