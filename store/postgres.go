package store

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"runtime"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgconn/ctxwatch"
	"github.com/jackc/pgx/v5/pgxpool"

	"gatehouse"
)

func openPostgres(ctx context.Context, raw string) (*DB, error) {
	config, err := pgxpool.ParseConfig(raw)
	if err != nil { // without the cause, which may quote the password
		return nil, errors.New("database url is not of the form postgres://user:password@host:port/database?parameter=value")
	}
	if u, err := url.Parse(raw); err == nil && !u.Query().Has("pool_max_conns") {
		config.MaxConns = int32(2*runtime.GOMAXPROCS(0) + 4)
	}
	conn := config.ConnConfig
	if conn.ConnectTimeout == 0 || conn.ConnectTimeout > callBudget {
		conn.ConnectTimeout = callBudget
	}
	// A standby knows neither what was spent nor what was revoked a moment ago.
	if conn.ValidateConnect == nil {
		conn.ValidateConnect = pgconn.ValidateConnectTargetSessionAttrsReadWrite
	}
	conn.OnNotice = func(c *pgconn.PgConn, n *pgconn.Notice) {
		if n.SeverityUnlocalized == "WARNING" {
			c.CustomData()[warning] = n.Message
		}
	}
	// A call that is given up is cancelled in the server, too; else it would go
	// on there, holding locks.
	conn.BuildContextWatcherHandler = func(c *pgconn.PgConn) ctxwatch.Handler {
		return &pgconn.CancelRequestContextWatcherHandler{Conn: c, DeadlineDelay: lockWait / 2}
	}
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	db := &DB{postgres: pool}
	if err := pool.Ping(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("open database: %w", err), db.Close())
	}
	return db, nil
}

// withConnection waits a while for a connection and calls use with it. It says
// of an error whether the connection is lost.
func (db *DB) withConnection(ctx context.Context, use func(*pgx.Conn) error) error {
	wait, cancel := context.WithTimeout(ctx, connectionWait)
	defer cancel()
	conn, err := db.postgres.Acquire(wait)
	if connect, ok := errors.AsType[*pgconn.ConnectError](err); ok && wait.Err() == nil {
		if errors.Is(connect, pgconn.ErrReadOnlyConnection) {
			return lost{error: errors.Join(ErrReadOnly, connect)}
		}
		return lost{error: connect}
	}
	if err != nil {
		return fmt.Errorf("database connection: %w", err)
	}
	defer conn.Release()
	server := conn.Conn().PgConn()
	memory := server.CustomData()
	used := memory[served] != nil
	memory[served] = true
	delete(memory, warning)
	err = use(conn.Conn())
	switch text := memory[warning]; {
	case isPostgres(err, "25006"), isReadOnly(ctx, conn.Conn()): // another server may be the primary now
		conn.Conn().Close(ctx)
		return lost{error: errors.Join(ErrReadOnly, err), sent: err == nil}
	case err != nil && server.IsClosed():
		return lost{error: err, sent: !pgconn.SafeToRetry(err), used: used}
	case err == nil && text != nil:
		return lost{error: fmt.Errorf("database warns: %v", text), sent: true}
	}
	return err
}

// served is where a connection keeps that it has been of use before.
const served = "gatehouse served"

// warning is where a connection keeps the warning of a statement. There is one
// that makes a success none: a transaction whose wait for a synchronous standby
// was cut short is "committed locally, but might not have been replicated".
const warning = "gatehouse warning"

// isReadOnly reports whether the server is a standby, or a primary that takes
// no writes, and so may not know what was spent or revoked. A server tells when
// that changes; a pooler between may repeat what was true once, so it is asked.
func isReadOnly(ctx context.Context, conn *pgx.Conn) bool {
	server := conn.PgConn()
	if server.ParameterStatus("in_hot_standby") != "on" && server.ParameterStatus("default_transaction_read_only") != "on" {
		return false
	}
	var answer string
	err := conn.QueryRow(ctx, "SHOW transaction_read_only").Scan(&answer)
	return err != nil || answer == "on"
}

// writePostgres sends all statements at once; without BEGIN and COMMIT between
// them they are one transaction, which ends with the batch.
func (db *DB) writePostgres(ctx context.Context, statements []statement) ([]int64, error) {
	var batch pgx.Batch
	for _, s := range statements {
		batch.Queue(s.sql, s.args...)
	}
	changed := make([]int64, len(statements))
	return changed, db.withConnection(ctx, func(conn *pgx.Conn) error {
		results := conn.SendBatch(ctx, &batch)
		for i := range statements {
			tag, err := results.Exec()
			if err != nil {
				results.Close() // returns the same error
				return err
			}
			changed[i] = tag.RowsAffected()
		}
		if err := results.Close(); err != nil {
			return err
		}
		// A call that was cancelled at the last moment may have been answered
		// before the standby had it.
		if ctx.Err() != nil {
			return lost{error: ctx.Err(), sent: true}
		}
		return nil
	})
}

// confirm returns when everything that this call has seen is durable, on
// synchronous standbys, too: a transaction of somebody else can be visible
// before that. On SQLite it always is.
func (db *DB) confirm(ctx context.Context) error {
	if db.postgres == nil {
		return nil
	}
	// A record in the log of the database, which readers of that log ignore.
	_, err := db.write(ctx, query(`SELECT pg_logical_emit_message(true, '', '')`))
	return err
}

func (db *DB) readPostgres(ctx context.Context, q statement, fields func() []any) error {
	return db.withConnection(ctx, func(conn *pgx.Conn) error {
		rows, err := conn.Query(ctx, q.sql, q.args...)
		if err != nil {
			return err
		}
		defer rows.Close()
		return scan(rows, fields)
	})
}

// channel is where changes are announced.
const channel = "gatehouse"

// changed announces a change with the transaction that makes it; see Watch.
func (db *DB) changed(statements []statement, what, key string) []statement {
	if db.postgres == nil {
		return statements
	}
	return append(statements, query(`SELECT pg_notify('`+channel+`', $1)`, what+" "+key))
}

const (
	watchPatience = 30 * time.Second // how long a silent connection is believed
	watchPause    = time.Second      // before the next attempt to connect
)

// Watch reports changes that any process makes, until ctx ends.
func (db *DB) Watch(ctx context.Context, changed func(gatehouse.Change)) {
	if db.postgres == nil {
		<-ctx.Done()
		return
	}
	for ctx.Err() == nil {
		db.listen(ctx, changed) // its error is that of the next attempt, or of the next read
		select {
		case <-ctx.Done():
		case <-time.After(watchPause):
		}
	}
}

// listen reports changes until its connection fails.
func (db *DB) listen(ctx context.Context, changed func(gatehouse.Change)) error {
	config := db.postgres.Config().ConnConfig.Copy()
	// There is no query to cancel.
	config.BuildContextWatcherHandler = func(c *pgconn.PgConn) ctxwatch.Handler {
		return &pgconn.DeadlineContextWatcherHandler{Conn: c.Conn()}
	}
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	if _, err := conn.Exec(ctx, "LISTEN "+channel); err != nil {
		return err
	}
	changed(gatehouse.Change{}) // what happened before nobody has told
	for {
		wait, cancel := context.WithTimeout(ctx, watchPatience)
		notification, err := conn.WaitForNotification(wait)
		cancel()
		switch {
		case err == nil:
			what, key, _ := strings.Cut(notification.Payload, " ")
			switch what {
			case "provider":
				changed(gatehouse.Change{Provider: key})
			case "client":
				changed(gatehouse.Change{ClientID: key})
			}
		case wait.Err() != nil && ctx.Err() == nil:
			ask, cancel := context.WithTimeout(ctx, callBudget)
			err := conn.Ping(ask)
			cancel()
			if err != nil {
				return err
			}
		default:
			return err
		}
	}
}
