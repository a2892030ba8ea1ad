package store

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"strings"

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
	// ErrNewerSchema: a later program has migrated the database.
	ErrNewerSchema = errors.New("the database schema is newer than this program")
)

// migrateAttempts is how often Migrate starts again when other processes
// migrate at the same time.
const migrateAttempts = 10

// Migrate brings the schema to this program's version, or returns
// ErrNewerSchema. Any number of processes may do so at the same time: each
// migration is one transaction that only one of them can commit; the others
// fail, look again and go on from there.
func (db *DB) Migrate(ctx context.Context) error {
	for n := 1; ; n++ {
		have, want, err := db.SchemaVersion(ctx)
		switch {
		case err != nil:
			return fmt.Errorf("migrate: %w", err)
		case have > want:
			return ErrNewerSchema
		case have == want:
			return nil
		}
		err = db.migrateUp(ctx)
		if err != nil && (n == migrateAttempts || ctx.Err() != nil) {
			return fmt.Errorf("migrate: %w", err)
		}
	}
}

func (db *DB) migrateUp(ctx context.Context) error {
	dialect := goose.DialectSQLite3
	target, err := db.forMigration()
	if err != nil {
		return err
	}
	defer target.Close()
	if db.postgres != nil {
		dialect = goose.DialectPostgres
		// SQLite has this collation from birth.
		_, err := db.postgres.Exec(ctx, `CREATE COLLATION IF NOT EXISTS "binary" FROM "C"`)
		if err != nil {
			return err
		}
	}
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return err
	}
	provider, err := goose.NewProvider(dialect, target, files,
		goose.WithTableName("schema_versions"), goose.WithDisableGlobalRegistry(true))
	if err != nil {
		return err
	}
	_, err = provider.Up(ctx)
	return err
}

// forMigration opens connections beside those that serve.
func (db *DB) forMigration() (*sql.DB, error) {
	if db.postgres != nil {
		return stdlib.OpenDBFromPool(db.postgres), nil
	}
	target, err := sql.Open("sqlite", sqliteDSN(db.sqlite.path, "query_only(0)"))
	if err == nil {
		target.SetMaxOpenConns(1)
	}
	return target, err
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

// Ping reports whether the store answers and has the schema of this program.
func (db *DB) Ping(ctx context.Context) error {
	have, want, err := db.SchemaVersion(ctx)
	switch {
	case err != nil:
		return fmt.Errorf("ping database: %w", err)
	case have < want:
		return ErrOlderSchema
	case have > want:
		return ErrNewerSchema
	}
	return nil
}

// isUndefinedTable: PostgreSQL's undefined_table; SQLite has no code for it.
func isUndefinedTable(err error) bool {
	return isPostgres(err, "42P01") || sqliteCode(err) == sqlite3.SQLITE_ERROR && strings.Contains(err.Error(), "no such table")
}
