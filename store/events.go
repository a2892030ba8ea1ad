package store

import (
	"context"
	"errors"
	"time"

	"gatehouse"
)

// An entry is the event that a call may leave.
type entry struct {
	id string
	at time.Time
	gatehouse.Origin
}

func newEntry(ctx context.Context, now time.Time) entry {
	return entry{gatehouse.NewID(now), now, gatehouse.OriginOf(ctx)}
}

// event adds the event once for each row of a query, which says what it is
// about: provider, client_id, grant_id, consent_id, and FROM … WHERE. The
// arguments of the query begin with $8; $1 is the event's id.
func (e entry) event(kind gatehouse.EventKind, detail string, about fragment, args ...any) statement {
	return query(`
		INSERT INTO events (id, at, kind, detail, actor, actor_name, request_id, provider, client_id, grant_id, consent_id)
		SELECT $1, $2, $3, $4, $5, $6, $7, `+about+` ON CONFLICT (id) DO NOTHING`,
		append([]any{e.id, unixMillis(e.at), string(kind), detail, string(e.Actor), e.Name, e.RequestID}, args...)...)
}

// Record adds an event that no other method writes.
func (db *DB) Record(ctx context.Context, e *gatehouse.Event) error {
	entry := newEntry(ctx, e.At)
	if e.Origin != (gatehouse.Origin{}) {
		entry.Origin = e.Origin
	}
	out, err := db.write(ctx, entry.event(e.Kind, e.Detail, `$8, $9, $10, $11`, e.Provider, e.ClientID, e.GrantID, e.ConsentID))
	if err == nil && out.repeated { // it may have met its own event
		return db.confirm(ctx)
	}
	return err
}

// Events lists events in the order of their ids. Conditions that are not asked
// for say nothing of a column, so that a database can choose an index.
func (db *DB) Events(ctx context.Context, f gatehouse.EventFilter, after string, limit int) ([]*gatehouse.Event, error) {
	conditions := fragment("")
	for _, member := range []struct {
		value        string
		asked, empty fragment
	}{
		{f.Provider, ` AND provider = $3`, ` AND $3 = ''`},
		{f.ClientID, ` AND client_id = $4`, ` AND $4 = ''`},
		{f.GrantID, ` AND grant_id = $5`, ` AND $5 = ''`},
		{f.ConsentID, ` AND consent_id = $6`, ` AND $6 = ''`},
		{string(f.Kind), ` AND kind = $7`, ` AND $7 = ''`},
	} {
		if member.value == "" {
			conditions += member.empty
		} else {
			conditions += member.asked
		}
	}
	return db.readEvents(ctx, query(eventColumns+`WHERE id > $1`+conditions+` ORDER BY id LIMIT $2`,
		after, limit, f.Provider, f.ClientID, f.GrantID, f.ConsentID, string(f.Kind)))
}

// sealBatch bounds how many events one transaction seals.
const sealBatch = 200

// SealEvents puts events at the end of the chain. What it read may be out of
// date when it writes: so each event takes its place only behind the very hash
// that its own covers, and a place that is taken (events_sequence) undoes all.
// A hash stands for the whole chain up to it, and a sealed event never moves;
// so whatever a chain is when an event joins it, it is the one that was hashed.
func (db *DB) SealEvents(ctx context.Context, hash func(previous []byte, e *gatehouse.Event) []byte) (int, error) {
	var sequence int64
	var previous []byte
	err := db.readRow(ctx, query(`
		SELECT sequence, hash FROM events WHERE sequence IS NOT NULL ORDER BY sequence DESC LIMIT 1`), &sequence, bytesField{&previous})
	if err != nil && !errors.Is(err, gatehouse.ErrNotFound) {
		return 0, err
	}
	events, err := db.readEvents(ctx, query(eventColumns+`WHERE sequence IS NULL ORDER BY id LIMIT $1`, sealBatch))
	if err != nil || len(events) == 0 {
		return 0, err
	}
	statements := db.sealAlone()
	first := len(statements)
	for _, e := range events {
		e.Sequence = sequence + 1
		e.Hash = hash(previous, e)
		statements = append(statements, query(`
			UPDATE events SET sequence = $2, hash = $3
			WHERE id = $1 AND sequence IS NULL
			  AND (EXISTS (SELECT 1 FROM events p WHERE p.sequence = $4 AND p.hash = $5) OR $5 IS NULL)`,
			e.ID, e.Sequence, base64url(e.Hash), sequence, base64url(previous)))
		sequence, previous = e.Sequence, e.Hash
	}
	out, err := db.write(ctx, statements...)
	switch {
	case errors.Is(err, gatehouse.ErrExists): // another process was faster
		return 0, nil
	case err != nil:
		return 0, err
	case out.repeated: // it may have met what it sealed itself
		err = db.confirm(ctx)
	}
	sealed := int64(0)
	for _, n := range out.changed[first:] {
		sealed += n
	}
	return int(sealed), err
}

// sealLock is the advisory lock of a transaction that seals: "gatehous" in
// ASCII, plus one.
const sealLock = migrateLock + 1

// sealAlone lets one transaction seal at a time. Else two of them could wait
// for each other, one for an event, one for a place in the chain, until
// PostgreSQL ends one of them a second later. SQLite has one writer anyway.
func (db *DB) sealAlone() []statement {
	if db.postgres == nil {
		return nil
	}
	return []statement{query(`SELECT pg_advisory_xact_lock($1)`, sealLock)}
}

// Chain lists sealed events in the order of the chain.
func (db *DB) Chain(ctx context.Context, after int64, limit int) ([]*gatehouse.Event, error) {
	return db.readEvents(ctx, query(eventColumns+`WHERE sequence > $1 ORDER BY sequence LIMIT $2`, after, limit))
}

// eventColumns are what readEvents reads.
const eventColumns = `
	SELECT COALESCE(sequence, 0), id, at, kind, provider, client_id, grant_id, consent_id, detail, actor, actor_name, request_id, hash
	FROM events `

func (db *DB) readEvents(ctx context.Context, q statement) ([]*gatehouse.Event, error) {
	var list []*gatehouse.Event
	err := db.readRows(ctx, q, func() []any {
		e := new(gatehouse.Event)
		list = append(list, e)
		return []any{&e.Sequence, &e.ID, timeField{&e.At}, &e.Kind, &e.Provider, &e.ClientID, &e.GrantID, &e.ConsentID, &e.Detail,
			&e.Actor, &e.Name, &e.RequestID, bytesField{&e.Hash}}
	})
	if err != nil {
		return nil, err
	}
	return list, nil
}
