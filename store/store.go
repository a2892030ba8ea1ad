// Package store keeps everything in SQLite or PostgreSQL: one schema, one SQL
// text, the same guarantees on both.
//
// Every write is a list of statements that a database runs as one transaction,
// with the whole decision in their WHERE clauses; nothing is read first and
// written later. PostgreSQL takes such a list in one round trip. SQLite has one
// writer, which commits the lists of concurrent callers together.
//
// A connection that dies while a transaction commits leaves its outcome
// unknown. Such a list is run again, and finds what its first attempt did by
// the ids that only this call has. When that is not possible either, the
// caller gets an error, which says nothing about what was written.
package store

import (
	"context"
	"errors"
	"strings"

	"github.com/jackc/pgx/v5/pgxpool"

	"gatehouse"
)

// A DB is a gatehouse.Store on a SQL database.
type DB struct {
	postgres *pgxpool.Pool // nil on SQLite
	sqlite   *sqliteFile   // nil on PostgreSQL
}

var _ gatehouse.Store = (*DB)(nil)

// Open opens the database named by url, "sqlite:/path/file.db" or
// "postgres://…", and makes sure that it answers. A SQLite file that does not
// exist is created, readable by its owner alone; its directory must exist. The
// schema is left as it is: see Migrate. Errors never quote the url, which may
// hold a password.
func Open(ctx context.Context, url string) (*DB, error) {
	scheme, rest, _ := strings.Cut(url, ":")
	switch scheme {
	case "sqlite":
		return openSQLite(ctx, rest)
	case "postgres", "postgresql":
		return openPostgres(ctx, url)
	}
	return nil, errors.New("database url must begin with sqlite: or postgres://")
}

// Close waits for running transactions and releases the database.
func (db *DB) Close() error {
	if db.sqlite != nil {
		return db.sqlite.close()
	}
	db.postgres.Close()
	return nil
}

// A fragment is a piece of SQL. Only constants become fragments, and fragments
// added up: no value of a request ever is a part of a text.
type fragment string

// A statement is one SQL text and its arguments.
type statement struct {
	sql  string
	args []any
}

func query(sql fragment, args ...any) statement { return statement{string(sql), args} }

// An outcome is what a write has done.
type outcome struct {
	changed []int64 // rows, of each statement
	// repeated: an earlier attempt of this call may have committed, so that
	// this one met its own rows.
	repeated bool
}

// write runs the statements in order as one transaction, durable when it
// returns nil. A key that is taken is ErrExists. Every write of the store
// comes through here.
func (db *DB) write(ctx context.Context, statements ...statement) (outcome, error) {
	var out outcome
	err := withinBudget(ctx, func(ctx context.Context) (err error) {
		if db.postgres != nil {
			out.changed, err = db.writePostgres(ctx, statements)
		} else {
			out.changed, err = db.sqlite.write(ctx, statements)
		}
		out.repeated = out.repeated || isUnknown(err)
		return err
	})
	if isUniqueViolation(err) {
		err = gatehouse.ErrExists
	}
	return out, absent(err)
}

// readRow reads the one row of a query into fields, or returns ErrNotFound.
func (db *DB) readRow(ctx context.Context, q statement, fields ...any) error {
	found := false
	err := db.readRows(ctx, q, func() []any {
		found = true
		return fields
	})
	if err == nil && !found {
		return gatehouse.ErrNotFound
	}
	return absent(err)
}

// readRows reads every row of a query; fields says where the next one goes.
func (db *DB) readRows(ctx context.Context, q statement, fields func() []any) error {
	begun := false
	return withinBudget(ctx, func(ctx context.Context) (err error) {
		next := func() []any {
			begun = true
			return fields()
		}
		if db.postgres != nil {
			err = db.readPostgres(ctx, q, next)
		} else {
			err = db.sqlite.read(ctx, q, next)
		}
		if err != nil && begun { // what fields was given cannot be taken back
			return final{err}
		}
		return err
	})
}

// rows are those of either driver.
type rows interface {
	Next() bool
	Scan(fields ...any) error
	Err() error
}

func scan(rows rows, fields func() []any) error {
	for rows.Next() {
		if err := rows.Scan(fields()...); err != nil {
			return err
		}
	}
	return rows.Err()
}
