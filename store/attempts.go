package store

import (
	"context"
	"crypto/rand"
	"errors"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"gatehouse"
)

// ErrReadOnly: the database is a standby, or takes no writes for another
// reason.
var ErrReadOnly = errors.New("the database is read-only")

const (
	// callBudget is how long one call of the store may take, all attempts
	// together, whatever its caller's deadline.
	callBudget = 3 * time.Second
	// connectionWait bounds the wait for a connection of the pool.
	connectionWait = 2 * time.Second
	// lockWait bounds one wait for SQLite's lock of writers.
	lockWait = time.Second
	// maxStale bounds how many dead connections a call takes from the pool.
	maxStale = 64
	// retries is how often a transaction is run again.
	retries = 3
)

// withinBudget runs attempt again, after a pause with jitter, when the same
// transaction may succeed now.
func withinBudget(ctx context.Context, attempt func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, callBudget)
	defer cancel()
	n := 0
	for stale := 0; ; n++ {
		err := attempt(ctx)
		// After a server's end a pool is full of connections that are dead, and
		// says nothing of the server that is there now.
		if e, ok := errors.AsType[lost](err); ok && e.used && stale < maxStale && ctx.Err() == nil {
			stale++
			n--
			continue
		}
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

// lost is the error of a call whose connection to PostgreSQL is no more.
type lost struct {
	error
	// sent: the server may have done what it was asked.
	sent bool
	// used: the connection is of an earlier call.
	used bool
}

func (e lost) Unwrap() error { return e.error }

// final is an error after which another attempt would do harm.
type final struct{ error }

func (e final) Unwrap() error { return e.error }

// isTransient: a lost connection; PostgreSQL's serialization_failure and
// deadlock_detected; SQLite's SQLITE_BUSY, which outlasted the busy timeout.
func isTransient(err error) bool {
	if _, ok := errors.AsType[final](err); ok || err == nil {
		return false
	}
	_, isLost := errors.AsType[lost](err)
	return isLost || isPostgres(err, "40001", "40P01") || sqliteCode(err)&0xff == sqlite3.SQLITE_BUSY
}

// isUnknown reports whether the transaction that failed may have committed.
func isUnknown(err error) bool {
	e, ok := errors.AsType[lost](err)
	return ok && e.sent
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
	e, ok := errors.AsType[*pgconn.PgError](err)
	if !ok {
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
	e, ok := errors.AsType[*sqlite.Error](err)
	if !ok {
		return sqlite3.SQLITE_OK
	}
	return e.Code()
}
