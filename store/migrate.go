package store

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	sqlite3 "modernc.org/sqlite/lib"
)

//go:embed migrations/*.sql
var migrations embed.FS

// Errors of Ping and Migrate about the schema.
var (
	// ErrOlderSchema: the database waits for Migrate.
	ErrOlderSchema = errors.New("the database schema is older than this program: run gatehouse migrate")
	// ErrNewerSchema: a later program has migrated the database and left
	// nothing that this one could work with.
	ErrNewerSchema = errors.New("the database schema is newer than this program can work with")
)

const (
	// migrateLockWait is how long a migration waits for a lock of PostgreSQL:
	// as long as it waits for a table, all that come later wait behind it.
	migrateLockWait = "250ms"
	// migratePause is between two attempts to get a lock.
	migratePause = time.Second
	// migratePatience is how long Migrate goes on without getting one.
	migratePatience = 10 * time.Minute
)

// Migrate brings the schema to this program's version. A newer one it leaves
// as it is, and returns ErrNewerSchema when this program cannot work with it.
//
// On PostgreSQL others read and write meanwhile; on SQLite they read. Any
// number of processes may migrate at the same time, and after one that was
// killed at any moment the next goes on: each migration is a transaction, or a
// list of statements that may be run again from its beginning.
func (db *DB) Migrate(ctx context.Context) error {
	var failed error
	for last, attempts := int64(-1), time.Duration(0); ; attempts++ {
		have, err := db.schema(ctx)
		switch {
		case !errors.Is(err, ErrOlderSchema):
			return err
		case have > last: // by another process, if not by this one
			last, attempts, failed = have, 0, nil
		case failed != nil && (!isLocked(failed) || attempts*migratePause > migratePatience):
			return fmt.Errorf("migrate: %w", failed)
		}
		if failed != nil {
			select {
			case <-ctx.Done():
				return fmt.Errorf("migrate: %w", failed)
			case <-time.After(migratePause):
			}
		}
		failed = db.migrateNext(ctx)
	}
}

// migrateNext runs the first migration that the database has not seen.
func (db *DB) migrateNext(ctx context.Context) error {
	target, err := db.forMigration()
	if err != nil {
		return err
	}
	defer target.Close()
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return err
	}
	dialect, others := goose.DialectSQLite3, "*.postgres.sql"
	if db.postgres != nil {
		dialect, others = goose.DialectPostgres, "*.sqlite.sql"
	}
	exclude, err := fs.Glob(files, others)
	if err != nil {
		return err
	}
	provider, err := goose.NewProvider(dialect, target, files, goose.WithExcludeNames(exclude),
		goose.WithTableName("schema_versions"), goose.WithDisableGlobalRegistry(true))
	if err != nil {
		return err
	}
	_, err = provider.UpByOne(ctx)
	if errors.Is(err, goose.ErrNoNextVersion) { // another process was faster
		return nil
	}
	return err
}

// forMigration opens a connection beside those that serve.
func (db *DB) forMigration() (*sql.DB, error) {
	if db.postgres != nil {
		config := db.postgres.Config().ConnConfig
		target := stdlib.OpenDB(*config, stdlib.OptionAfterConnect(migrateAlone))
		target.SetMaxOpenConns(1)
		return target, nil
	}
	target, err := sql.Open("sqlite", sqliteDSN(db.sqlite.path, "query_only(0)"))
	if err == nil {
		target.SetMaxOpenConns(1)
	}
	return target, err
}

// migrateLock is the advisory lock of the one connection that migrates:
// "gatehous" in ASCII.
const migrateLock int64 = 0x67617465686f7573

// migrateAlone waits until no other connection migrates, and prepares this
// one, or closes it.
//
// The lock is that of the connection that runs the migration, not of one
// beside it: when a process is killed while PostgreSQL builds an index, the
// build goes on, and holds the lock as long as it does. Whoever waits asks
// again and again, because a build waits for the end of every older statement.
func migrateAlone(ctx context.Context, conn *pgx.Conn) error {
	err := awaitMigrateLock(ctx, conn)
	if err == nil {
		// SQLite has this collation from birth.
		_, err = conn.Exec(ctx, "SET statement_timeout = 0; SET lock_timeout = '"+migrateLockWait+`';
			CREATE COLLATION IF NOT EXISTS "binary" FROM "C"`, pgx.QueryExecModeSimpleProtocol)
	}
	if err != nil {
		conn.Close(context.WithoutCancel(ctx))
	}
	return err
}

func awaitMigrateLock(ctx context.Context, conn *pgx.Conn) error {
	const pause = 50 * time.Millisecond
	for range migratePatience / pause {
		var alone bool
		err := conn.QueryRow(ctx, "SELECT pg_try_advisory_lock($1)", migrateLock).Scan(&alone)
		if err != nil || alone {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
		}
	}
	return fmt.Errorf("another process has been migrating the database for %s", migratePatience)
}

// isLocked reports whether a migration failed for want of a lock: PostgreSQL's
// lock_not_available and deadlock_detected, SQLite's SQLITE_BUSY.
func isLocked(err error) bool {
	return isPostgres(err, "55P03", "40P01") || sqliteCode(err)&0xff == sqlite3.SQLITE_BUSY
}

// SchemaVersion returns the version of the database's schema, 0 when it has
// none, and the version this program wants.
func (db *DB) SchemaVersion(ctx context.Context) (have, want int64, err error) {
	files, err := migrations.ReadDir("migrations")
	if err != nil {
		return 0, 0, err
	}
	want, err = goose.NumericComponent(files[len(files)-1].Name())
	if err != nil {
		return 0, 0, err
	}
	err = db.readRow(ctx, query(`SELECT MAX(version_id) FROM schema_versions`), &have)
	if isUndefinedTable(err) {
		return 0, want, nil
	}
	return have, want, err
}

// schema returns the version of the database's schema, with ErrOlderSchema or
// ErrNewerSchema when this program does not work with it.
func (db *DB) schema(ctx context.Context) (int64, error) {
	have, want, err := db.SchemaVersion(ctx)
	switch {
	case err != nil:
		return have, fmt.Errorf("schema version: %w", err)
	case have == want:
		return have, nil
	case have < want:
		return have, ErrOlderSchema
	}
	var oldest int64
	if err := db.readRow(ctx, query(`SELECT oldest FROM schema_support`), &oldest); err != nil {
		return have, fmt.Errorf("schema version: %w", err)
	}
	if oldest > want {
		return have, ErrNewerSchema
	}
	return have, nil
}

// Ping reports whether the store answers and has a schema that this program
// works with.
func (db *DB) Ping(ctx context.Context) error {
	_, err := db.schema(ctx)
	return err
}

// isUndefinedTable: PostgreSQL's undefined_table; SQLite has no code for it.
func isUndefinedTable(err error) bool {
	return isPostgres(err, "42P01") || sqliteCode(err) == sqlite3.SQLITE_ERROR && strings.Contains(err.Error(), "no such table")
}
