package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/stdlib"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"gatehouse/jose"
)

// Backup writes a consistent copy of the SQLite database named by a url to a new
// file, readable by its owner alone, while any process goes on reading and
// writing. The copy holds all that was written before now, and says that it was
// taken then. It has its name only once it is whole, checked and on the disk.
//
// VACUUM INTO takes longer than copying pages, but leaves behind what was
// deleted, such as the keys of a provider that is gone. Meanwhile the
// write-ahead log grows: it cannot be emptied past what the copy reads.
func Backup(ctx context.Context, database, file string, now time.Time) error {
	path, ok := strings.CutPrefix(database, "sqlite:")
	if !ok {
		return errors.New("backup is for SQLite: PostgreSQL has pg_basebackup with a WAL archive, and pg_dump")
	}
	if _, err := os.Stat(path); err != nil {
		return err
	}
	if _, err := os.Lstat(file); err == nil {
		return fmt.Errorf("%s: %w", file, fs.ErrExist)
	}
	db, err := openSQLite(ctx, path)
	if err != nil {
		return err
	}
	defer db.Close()
	have, _, err := db.SchemaVersion(ctx)
	if err != nil {
		return err
	}
	if have == 0 {
		return errors.New("the database has no schema: there is nothing to back up")
	}
	copied, remove, err := newCopy(filepath.Dir(file))
	if err != nil {
		return err
	}
	defer remove()
	source, err := db.beside("query_only(0)")
	if err != nil {
		return err
	}
	defer source.Close()
	if _, err := source.ExecContext(ctx, `VACUUM INTO $1`, copied); err != nil {
		return fmt.Errorf("copy: %w", err)
	}
	if err := finishBackup(ctx, copied, now); err != nil {
		return fmt.Errorf("copy: %w", err)
	}
	return publish(copied, file)
}

// finishBackup notes in a copy when it was taken and reads all of it.
func finishBackup(ctx context.Context, path string, taken time.Time) (err error) {
	copied, err := sql.Open("sqlite", plainDSN(path))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, copied.Close()) }()
	_, err = copied.ExecContext(ctx, `
		INSERT INTO marks (name, at) VALUES ('backup', $1) ON CONFLICT (name) DO UPDATE SET at = excluded.at`, unixMillis(taken))
	if err != nil && !isUndefinedTable(err) { // a schema from before marks is copied without one
		return err
	}
	faults, err := damage(ctx, copied)
	if err != nil {
		return err
	}
	if len(faults) > 0 {
		return fmt.Errorf("the database is damaged: %s: %s", faults[0].Check, faults[0].First)
	}
	return nil
}

// publish gives a whole file its name.
func publish(path, name string) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	if err := errors.Join(file.Sync(), file.Close()); err != nil {
		return err
	}
	if err := os.Rename(path, name); err != nil {
		return err
	}
	return syncDirectory(filepath.Dir(name))
}

func syncDirectory(path string) error {
	directory, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(directory.Sync(), directory.Close())
}

// newCopy makes an empty file for a copy of a database; remove does nothing
// once it has another name.
func newCopy(dir string) (path string, remove func(), err error) {
	dir, err = filepath.Abs(dir) // else SQLite might take the name for a URI
	if err != nil {
		return "", nil, err
	}
	file, err := os.CreateTemp(dir, ".gatehouse-copy-*") // 0600
	if err != nil {
		return "", nil, err
	}
	path = file.Name()
	return path, func() { removeDatabase(path) }, file.Close()
}

// removeDatabase removes a database and what SQLite keeps beside one.
func removeDatabase(path string) {
	for _, suffix := range []string{"", "-journal", "-wal", "-shm"} {
		os.Remove(path + suffix)
	}
}

// RestoreOptions say what Restore may do.
type RestoreOptions struct {
	// Replace lets it replace a database that exists.
	Replace bool
	// AcceptFaults lets it restore what Verify finds fault with.
	AcceptFaults bool
	// Revoke says which grants end.
	Revoke RevokeGrants
	// KEK opens the signing keys.
	KEK *jose.KEK
	Now func() time.Time
}

// Restore makes the SQLite database named by a url what a backup says, with
// the schema of this program and past RestoreEpoch. It returns what Verify
// finds in the backup; unless that is nothing, or is accepted, and after every
// error, the database is what it was and there is no report. A database that
// any process has open is refused.
//
// The new content replaces the old one inside the database, as one transaction
// of SQLite's, and not by another file in its place: so no log of the old one
// can be taken for one of the new, nobody is left with a file that has lost its
// name, and whatever a crash leaves is one of the two, whole.
func Restore(ctx context.Context, database, file string, o RestoreOptions) (*Restored, []Fault, error) {
	path, ok := strings.CutPrefix(database, "sqlite:")
	if !ok {
		return nil, nil, errors.New("restore is for SQLite: restore PostgreSQL by its own means, then run gatehouse restore-epoch")
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, nil, err
	}
	if err := isBackup(file, path); err != nil {
		return nil, nil, err
	}
	isNew, err := create(path, o.Replace)
	if err != nil {
		return nil, nil, err
	}
	restored := false
	defer func() {
		if isNew && !restored {
			removeDatabase(path)
		}
	}()
	target, err := openAlone(ctx, path)
	if err != nil {
		return nil, nil, err
	}
	defer target.Close()
	copied, remove, err := newCopy(filepath.Dir(path))
	if err != nil {
		return nil, nil, err
	}
	defer remove()
	if err := copyFile(copied, file); err != nil {
		return nil, nil, err
	}
	report, faults, err := prepare(ctx, copied, o)
	if report == nil || err != nil {
		return nil, faults, err
	}
	if err := replaceContent(ctx, target, copied); err != nil {
		return nil, faults, fmt.Errorf("restore: %w", err)
	}
	restored = true
	return report, faults, syncDirectory(filepath.Dir(path))
}

// isBackup refuses what a copy of the file alone would tear: a database with
// transactions beside it, and the one to be replaced.
func isBackup(file, path string) error {
	info, err := os.Stat(file)
	if err != nil {
		return err
	}
	if old, err := os.Stat(path); err == nil && os.SameFile(info, old) {
		return fmt.Errorf("%s is the database itself", file)
	}
	for _, suffix := range []string{"-wal", "-journal"} {
		if beside, err := os.Stat(file + suffix); err == nil && beside.Size() > 0 {
			return fmt.Errorf("%s is a database in use and not a backup: %s%s is not empty", file, filepath.Base(file), suffix)
		}
	}
	return nil
}

// create makes an empty file, readable by its owner alone, unless there is one
// that may be replaced.
func create(path string, replace bool) (isNew bool, err error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	switch {
	case err == nil:
		return true, file.Close()
	case errors.Is(err, fs.ErrExist) && replace:
		return false, nil
	case errors.Is(err, fs.ErrExist):
		return false, fmt.Errorf("%s: %w: only --force replaces it", path, fs.ErrExist)
	}
	return false, err
}

// openAlone opens a database with one connection, for which it is locked. In
// write-ahead mode every connection holds a shared lock for as long as it is
// open: the exclusive one cannot be had while there is any, and nobody opens
// the database while it is held.
func openAlone(ctx context.Context, path string) (*sql.DB, error) {
	db, err := sql.Open("sqlite", plainDSN(path, "locking_mode(EXCLUSIVE)", "synchronous(FULL)"))
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(1)
	_, err = db.ExecContext(ctx, `BEGIN EXCLUSIVE; COMMIT`) // the lock stays
	switch sqliteCode(err) & 0xff {
	case sqlite3.SQLITE_BUSY:
		err = fmt.Errorf("%s is in use: stop every gatehouse first", path)
	case sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT:
		err = fmt.Errorf("%s is too damaged to be locked: stop every gatehouse, move it and %s-wal away, restore again: %w", path, filepath.Base(path), err)
	}
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return db, nil
}

func copyFile(to, from string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

// prepare makes of a copy the database that is to be; it returns no report when
// it is not to be.
func prepare(ctx context.Context, path string, o RestoreOptions) (_ *Restored, _ []Fault, err error) {
	db, err := openSQLite(ctx, path)
	if err != nil {
		return nil, nil, fmt.Errorf("not a backup: %w", err)
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	have, _, err := db.SchemaVersion(ctx)
	if err != nil {
		return nil, nil, err
	}
	if have == 0 {
		return nil, nil, errors.New("not a backup of gatehouse")
	}
	if err := db.Migrate(ctx); err != nil {
		return nil, nil, err
	}
	now := o.Now()
	faults, err := db.Verify(ctx, o.KEK, now)
	if err != nil || len(faults) > 0 && !o.AcceptFaults {
		return nil, faults, err
	}
	report, err := db.RestoreEpoch(ctx, o.Revoke, now)
	return report, faults, err
}

// replaceContent copies a database over another, as one transaction.
func replaceContent(ctx context.Context, target *sql.DB, path string) error {
	conn, err := target.Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	return conn.Raw(func(driver any) error {
		target, ok := driver.(interface {
			NewRestore(uri string) (*sqlite.Backup, error)
		})
		if !ok {
			return fmt.Errorf("the driver is a %T", driver)
		}
		copying, err := target.NewRestore(plainDSN(path))
		if err != nil {
			return err
		}
		_, err = copying.Step(-1)
		return errors.Join(err, copying.Finish())
	})
}

// plainDSN names a SQLite file that this process alone uses, with no more
// settings than those given.
func plainDSN(path string, pragmas ...string) string {
	dsn := url.URL{Scheme: "file", Path: path, RawQuery: url.Values{"_pragma": pragmas}.Encode()}
	return dsn.String()
}

// beside opens the database once more, for what may take longer than a call of
// the store; access is query_only(1) or query_only(0).
func (db *DB) beside(access string) (*sql.DB, error) {
	if db.postgres != nil {
		return stdlib.OpenDBFromPool(db.postgres), nil // Close leaves the pool
	}
	return sql.Open("sqlite", sqliteDSN(db.sqlite.path, access))
}
