package main

import (
	"database/sql"
	"encoding/json"
	"net/url"
	"strings"
	"syscall"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib"
	_ "modernc.org/sqlite"

	"gatehouse"
	"gatehouse/admin"
	"gatehouse/jose"
	"gatehouse/store"
	"gatehouse/store/storetest"
)

// A chain is the audit log of a database, as another process sees it.
type chain struct {
	t *testing.T
	*admin.Admin
}

func openChain(t *testing.T, database string) chain {
	t.Helper()
	db, err := store.Open(t.Context(), database)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	kek, err := jose.ParseKEK(kekText('k'))
	if err != nil {
		t.Fatal(err)
	}
	return chain{t, &admin.Admin{Store: db, KEK: kek, Now: time.Now}}
}

func (c chain) record(n int) {
	c.t.Helper()
	for range n {
		if err := c.Store.Record(c.t.Context(), &gatehouse.Event{At: c.Now(), Kind: gatehouse.EventPSUEntered}); err != nil {
			c.t.Fatal(err)
		}
	}
}

// verify fails the test unless the chain holds.
func (c chain) verify() *admin.ChainState {
	c.t.Helper()
	state, err := c.VerifyEvents(c.t.Context(), admin.Head{})
	if err != nil || state.Fault != nil {
		c.t.Fatalf("%+v, %v", state, err)
	}
	return state
}

// await returns when the chain has as many lines.
func (c chain) await(lines int64) *admin.ChainState {
	c.t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); {
		if state := c.verify(); state.Head.Sequence == lines {
			return state
		}
	}
	c.t.Fatalf("the chain never has %d lines", lines)
	return nil
}

// A server seals what any process has written, goes on when the database
// refuses, leaves nothing when it is stopped, and logs the head.
//
// Proves: O11
func TestServeSealsEvents(t *testing.T) {
	storetest.Each(t, func(t *testing.T, database string) {
		s := settings(t, database)
		c := openChain(t, database)
		c.record(3)
		p := start(t, s, "serve")
		p.ready()
		c.await(3)

		execBeside(t, database, map[string]string{
			"sqlite": `CREATE TRIGGER refuse BEFORE UPDATE ON events BEGIN SELECT RAISE(ABORT, 'refused'); END`,
			"pgx": `CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'refused'; END $$;
				CREATE TRIGGER refuse BEFORE UPDATE ON events FOR EACH ROW EXECUTE FUNCTION refuse()`,
		})
		c.record(2)
		if line := p.await(p.log, `"msg":"audit log is not sealed"`); !strings.Contains(line, "refused") {
			t.Errorf("logged %s", line)
		}
		if state := c.verify(); state.Head.Sequence != 3 || state.Waiting != 2 {
			t.Errorf("refused, and yet: %+v", state)
		}
		execBeside(t, database, map[string]string{"sqlite": `DROP TRIGGER refuse`, "pgx": `DROP TRIGGER refuse ON events`})
		c.await(5)

		c.record(1)
		p.signal(syscall.SIGTERM)
		if err := p.wait(); err != nil {
			t.Fatalf("exit: %v", err)
		}
		state := c.verify()
		if state.Head.Sequence != 6 || state.Waiting != 0 {
			t.Errorf("after the end: %+v", state)
		}
		var logged struct{ Head string }
		if err := json.Unmarshal([]byte(p.await(p.log, `"msg":"audit log"`)), &logged); err != nil || logged.Head != state.Head.String() {
			t.Errorf("logged head %q, %v; it is %v", logged.Head, err, state.Head)
		}
	})
}

// execBeside runs the statement for its kind of database beside the server.
func execBeside(t *testing.T, database string, statements map[string]string) {
	t.Helper()
	driver, source := "pgx", database
	if path, ok := strings.CutPrefix(database, "sqlite:"); ok {
		driver, source = "sqlite", (&url.URL{Scheme: "file", Path: path, RawQuery: "_pragma=busy_timeout(5000)"}).String()
	}
	db, err := sql.Open(driver, source)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.ExecContext(t.Context(), statements[driver]); err != nil {
		t.Fatal(err)
	}
}
