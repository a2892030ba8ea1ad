package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
)

// A sqliteFile is a SQLite database: one connection that writes, in the hands of one
// goroutine, and several that read.
type sqliteFile struct {
	path   string
	writer *sql.DB
	reader *sql.DB

	calls   chan *call
	quit    chan struct{}
	stopped chan struct{} // the goroutine has ended
	stop    sync.Once

	prepared map[string]*sql.Stmt // of writer; the goroutine's own
	queries  sync.Map             // of reader: SQL text to *sql.Stmt
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
	s := &sqliteFile{path: path, writer: writer, reader: reader, prepared: map[string]*sql.Stmt{},
		calls: make(chan *call), quit: make(chan struct{}), stopped: make(chan struct{})}
	go s.run()
	// Turning on the write-ahead log may collide with another process that
	// does the same, whatever the busy timeout.
	err = withinBudget(ctx, func(ctx context.Context) error {
		return errors.Join(writer.PingContext(ctx), reader.PingContext(ctx))
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open database %s: %w", path, err), s.close())
	}
	return &DB{sqlite: s}, nil
}

// sqliteDSN sets what every connection needs: SQLite keeps none of it in the
// file but the write-ahead log.
func sqliteDSN(path, access string) string {
	dsn := url.URL{Scheme: "file", Path: path, RawQuery: url.Values{
		"_pragma": {"busy_timeout(" + strconv.FormatInt(lockWait.Milliseconds(), 10) + ")", "journal_mode(WAL)", "synchronous(FULL)",
			"foreign_keys(1)", access},
		"_txlock": {"immediate"},
	}.Encode()}
	return dsn.String()
}

func (s *sqliteFile) close() error {
	s.stop.Do(func() { close(s.quit) })
	<-s.stopped
	return errors.Join(s.writer.Close(), s.reader.Close())
}

func (s *sqliteFile) read(ctx context.Context, q statement, fields func() []any) error {
	prepared, ok := s.queries.Load(q.sql)
	if !ok {
		stmt, err := s.reader.PrepareContext(ctx, q.sql)
		if err != nil {
			return err
		}
		var taken bool
		if prepared, taken = s.queries.LoadOrStore(q.sql, stmt); taken {
			stmt.Close()
		}
	}
	rows, err := prepared.(*sql.Stmt).QueryContext(ctx, q.args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	return scan(rows, fields)
}

// A call is a list of statements that waits for the goroutine.
type call struct {
	ctx        context.Context
	statements []statement
	changed    []int64
	err        error
	done       chan struct{}
}

var errClosed = errors.New("database is closed")

// write hands the statements to the goroutine and waits for the commit that
// holds them. A caller that gives up waiting does not know the outcome.
func (s *sqliteFile) write(ctx context.Context, statements []statement) ([]int64, error) {
	c := &call{ctx: ctx, statements: statements, done: make(chan struct{})}
	select {
	case s.calls <- c:
	case <-s.quit:
		return nil, errClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	select {
	case <-c.done:
		return c.changed, c.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// maxGroup bounds how many calls wait for one commit.
const maxGroup = 256

// run commits what waits, together: the next group gathers while this one is
// written to the disk.
func (s *sqliteFile) run() {
	defer close(s.stopped)
	for {
		select {
		case c := <-s.calls:
			s.commit(s.gather(c))
		case <-s.quit:
			return
		}
	}
}

func (s *sqliteFile) gather(first *call) []*call {
	group := []*call{first}
	for len(group) < maxGroup {
		select {
		case c := <-s.calls:
			group = append(group, c)
		default:
			return group
		}
	}
	return group
}

// commit runs a group as one transaction and answers every call of it. When
// one of them fails, the rest is run again with each call in a savepoint; when
// the lock of writers is not to be had, all of them are told.
func (s *sqliteFile) commit(group []*call) {
	err := s.transact(group, false)
	if err != nil && len(group) > 1 && !isTransient(err) {
		err = s.transact(group, true)
	}
	for _, c := range group {
		if err != nil {
			c.changed, c.err = nil, err
		}
		close(c.done)
	}
}

// transact returns an error when nothing was committed. With savepoints, the
// error of a call is its own alone.
func (s *sqliteFile) transact(group []*call, savepoints bool) error {
	ctx := context.Background() // interrupting one would interrupt all
	for _, c := range group {
		c.err = s.prepare(ctx, c.statements)
	}
	if err := s.prepare(ctx, []statement{savepoint, release, rollback}); err != nil {
		return err
	}
	tx, err := s.writer.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback() // does nothing after Commit
	for _, c := range group {
		if c.err == nil {
			c.err = c.ctx.Err() // the wait for the lock may have outlasted the caller
		}
		switch {
		case c.err != nil:
		case !savepoints:
			if c.changed, err = s.exec(ctx, tx, c.statements...); err != nil {
				return err
			}
		default:
			if _, err := s.exec(ctx, tx, savepoint); err != nil {
				return err
			}
			if c.changed, c.err = s.exec(ctx, tx, c.statements...); c.err != nil {
				// Fails when SQLite has given up the whole transaction, as it
				// does on a full disk.
				if _, err := s.exec(ctx, tx, rollback); err != nil {
					return c.err
				}
			}
			if _, err := s.exec(ctx, tx, release); err != nil {
				return err
			}
		}
	}
	return tx.Commit()
}

var (
	savepoint = query("SAVEPOINT call")
	release   = query("RELEASE call")
	rollback  = query("ROLLBACK TO call")
)

// prepare parses what the writing connection has not parsed before.
func (s *sqliteFile) prepare(ctx context.Context, statements []statement) error {
	for _, q := range statements {
		if s.prepared[q.sql] != nil {
			continue
		}
		stmt, err := s.writer.PrepareContext(ctx, q.sql)
		if err != nil {
			return err
		}
		s.prepared[q.sql] = stmt
	}
	return nil
}

func (s *sqliteFile) exec(ctx context.Context, tx *sql.Tx, statements ...statement) ([]int64, error) {
	changed := make([]int64, len(statements))
	for i, q := range statements {
		result, err := tx.StmtContext(ctx, s.prepared[q.sql]).ExecContext(ctx, q.args...)
		if err != nil {
			return nil, err
		}
		if changed[i], err = result.RowsAffected(); err != nil {
			return nil, err
		}
	}
	return changed, nil
}
