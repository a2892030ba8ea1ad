// Package store keeps everything in SQLite or PostgreSQL: one schema, one SQL
// text, the same guarantees on both.
//
// Every write is a list of statements that a database runs as one transaction,
// with the whole decision in their WHERE clauses; nothing is read first and
// written later. PostgreSQL takes such a list in one round trip. SQLite has one
// writing connection, so writes wait for each other in the process, and for
// those of other processes in the database.
package store

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"gatehouse"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// A DB is a gatehouse.Store on a SQL database.
type DB struct {
	postgres *pgxpool.Pool // nil on SQLite
	writer   *sql.DB       // nil on PostgreSQL; one connection
	reader   *sql.DB
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

func openSQLite(ctx context.Context, path string) (*DB, error) {
	if path == "" {
		return nil, errors.New("database url sqlite: names no file")
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	// SQLite would make the file readable for all, and say no more than
	// "unable to open database file" when it cannot.
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	if err := file.Close(); err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	writer, err := sql.Open("sqlite", sqliteDSN(path, "query_only(0)"))
	if err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	reader, err := sql.Open("sqlite", sqliteDSN(path, "query_only(1)"))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open database: %w", err), writer.Close())
	}
	writer.SetMaxOpenConns(1)
	connections := 4 * runtime.GOMAXPROCS(0)
	reader.SetMaxOpenConns(connections)
	reader.SetMaxIdleConns(connections)
	db := &DB{writer: writer, reader: reader}
	// Turning on the write-ahead log may collide with another process that
	// does the same, whatever the busy timeout.
	err = retry(ctx, func() error { return errors.Join(writer.PingContext(ctx), reader.PingContext(ctx)) })
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open database %s: %w", path, err), db.Close())
	}
	return db, nil
}

// sqliteDSN sets what every connection needs: SQLite keeps none of it in the
// file but the write-ahead log.
func sqliteDSN(path, access string) string {
	dsn := url.URL{Scheme: "file", Path: path, RawQuery: url.Values{
		"_pragma": {"busy_timeout(5000)", "journal_mode(WAL)", "synchronous(FULL)", "foreign_keys(1)", access},
		"_txlock": {"immediate"},
	}.Encode()}
	return dsn.String()
}

func openPostgres(ctx context.Context, raw string) (*DB, error) {
	config, err := pgxpool.ParseConfig(raw)
	if err != nil { // without the cause, which may quote the password
		return nil, errors.New("database url is not of the form postgres://user:password@host:port/database?parameter=value")
	}
	if u, err := url.Parse(raw); err == nil && !u.Query().Has("pool_max_conns") {
		config.MaxConns = int32(2*runtime.GOMAXPROCS(0) + 4)
	}
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	db := &DB{postgres: pool, reader: stdlib.OpenDBFromPool(pool)}
	if err := pool.Ping(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("open database: %w", err), db.Close())
	}
	return db, nil
}

// Close waits for running transactions and releases the database.
func (db *DB) Close() error {
	err := db.reader.Close()
	if db.writer != nil {
		err = errors.Join(err, db.writer.Close())
	}
	if db.postgres != nil {
		db.postgres.Close()
	}
	return err
}

// A statement is one SQL text and its arguments.
type statement struct {
	sql  string
	args []any
}

func query(sql string, args ...any) statement { return statement{sql, args} }

// write runs the statements in order as one transaction, durable when it
// returns nil, and returns how many rows each of them changed. A key that is
// taken is ErrExists. Every write of the store comes through here.
func (db *DB) write(ctx context.Context, statements ...statement) (changed []int64, err error) {
	err = retry(ctx, func() error {
		if db.postgres != nil {
			changed, err = db.writePostgres(ctx, statements)
		} else {
			changed, err = db.writeSQLite(ctx, statements)
		}
		return err
	})
	if isUniqueViolation(err) {
		return nil, gatehouse.ErrExists
	}
	return changed, err
}

// writePostgres sends all statements at once; without BEGIN and COMMIT between
// them they are one transaction, which Close ends.
func (db *DB) writePostgres(ctx context.Context, statements []statement) ([]int64, error) {
	var batch pgx.Batch
	for _, s := range statements {
		batch.Queue(s.sql, s.args...)
	}
	results := db.postgres.SendBatch(ctx, &batch)
	changed := make([]int64, len(statements))
	for i := range statements {
		tag, err := results.Exec()
		if err != nil {
			results.Close() // returns the same error
			return nil, err
		}
		changed[i] = tag.RowsAffected()
	}
	return changed, results.Close()
}

func (db *DB) writeSQLite(ctx context.Context, statements []statement) ([]int64, error) {
	tx, err := db.writer.BeginTx(ctx, nil)
	if err != nil {
		return nil, err
	}
	defer tx.Rollback() // does nothing after Commit
	changed := make([]int64, len(statements))
	for i, s := range statements {
		result, err := tx.ExecContext(ctx, s.sql, s.args...)
		if err != nil {
			return nil, err
		}
		if changed[i], err = result.RowsAffected(); err != nil {
			return nil, err
		}
	}
	return changed, tx.Commit()
}

// readRow reads the one row of a query into fields, or returns ErrNotFound.
func (db *DB) readRow(ctx context.Context, q statement, fields ...any) error {
	err := retry(ctx, func() error { return db.reader.QueryRowContext(ctx, q.sql, q.args...).Scan(fields...) })
	if errors.Is(err, sql.ErrNoRows) {
		return gatehouse.ErrNotFound
	}
	return absent(err)
}

// readRows reads every row of a query; fields says where the next one goes.
func (db *DB) readRows(ctx context.Context, q statement, fields func() []any) error {
	rows, err := db.reader.QueryContext(ctx, q.sql, q.args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := rows.Scan(fields()...); err != nil {
			return err
		}
	}
	return rows.Err()
}

// retries is how often a transaction that lost against another is run again.
const retries = 3

// retry runs attempt again after the failures that leave nothing behind and
// say that the same transaction may succeed now.
func retry(ctx context.Context, attempt func() error) error {
	for n := 0; ; n++ {
		err := attempt()
		if n == retries || !isTransient(err) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(jitter(n)):
		}
	}
}

// jitter is up to 25 ms, doubled with every attempt.
func jitter(n int) time.Duration {
	var b [1]byte
	rand.Read(b[:])
	return time.Duration(b[0]) * 100 * time.Microsecond << n
}

// isTransient: PostgreSQL's serialization_failure and deadlock_detected, and
// SQLite's SQLITE_BUSY, which outlasted the busy timeout.
func isTransient(err error) bool {
	return isPostgres(err, "40001", "40P01") || sqliteCode(err)&0xff == sqlite3.SQLITE_BUSY
}

func isUniqueViolation(err error) bool {
	code := sqliteCode(err)
	return isPostgres(err, "23505") || code == sqlite3.SQLITE_CONSTRAINT_UNIQUE || code == sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY
}

// absent makes ErrNotFound of PostgreSQL's character_not_in_repertoire: a key
// that is not UTF-8, or has a NUL, is in no row.
func absent(err error) error {
	if isPostgres(err, "22021") {
		return gatehouse.ErrNotFound
	}
	return err
}

func isPostgres(err error, codes ...string) bool {
	var e *pgconn.PgError
	if !errors.As(err, &e) {
		return false
	}
	for _, code := range codes {
		if e.Code == code {
			return true
		}
	}
	return false
}

// sqliteCode is the extended result code of a SQLite error, 0 for others.
func sqliteCode(err error) int {
	var e *sqlite.Error
	if !errors.As(err, &e) {
		return sqlite3.SQLITE_OK
	}
	return e.Code()
}
