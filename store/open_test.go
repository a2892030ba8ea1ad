package store_test

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"gatehouse"
	"gatehouse/store"
	"gatehouse/store/storetest"

	"go.uber.org/goleak"
)

// isOfTheStore reports whether err says something about a row.
func isOfTheStore(err error) bool {
	return errors.Is(err, gatehouse.ErrNotFound) || errors.Is(err, gatehouse.ErrExists) ||
		errors.Is(err, gatehouse.ErrSpent) || errors.Is(err, gatehouse.ErrConflict)
}

func TestOpenRefuses(t *testing.T) {
	dir := t.TempDir()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	closed := listener.Addr().String()
	must(t, listener.Close())
	notADatabase := filepath.Join(dir, "text")
	must(t, os.WriteFile(notADatabase, []byte(strings.Repeat("This is not a database. ", 100)), 0o600))
	for name, row := range map[string]struct{ url, want string }{
		"empty":                  {"", "must begin with sqlite: or postgres://"},
		"unknown scheme":         {"mysql://gatehouse:hunter2@127.0.0.1/db", "must begin with sqlite: or postgres://"},
		"no file":                {"sqlite:", "names no file"},
		"no directory":           {"sqlite:" + filepath.Join(dir, "missing", "gatehouse.db"), "no such file or directory"},
		"a directory":            {"sqlite:" + dir, "is a directory"},
		"a file of another kind": {"sqlite:" + notADatabase, "not a database"},
		"password with a slash":  {"postgres://gatehouse:hunter2/x@127.0.0.1/db", "not of the form"},
		"password with an escape": {
			"postgres://gatehouse:%zzhunter2@127.0.0.1/db", "not of the form"},
		"unknown parameter value": {"postgres://gatehouse:hunter2@127.0.0.1/db?pool_max_conns=many", "not of the form"},
		"nobody listens":          {"postgres://gatehouse:hunter2@" + closed + "/db?password=hunter2", "connection refused"},
	} {
		t.Run(name, func(t *testing.T) {
			db, err := store.Open(t.Context(), row.url)
			if err == nil {
				db.Close()
				t.Fatal("opened")
			}
			if !strings.Contains(err.Error(), row.want) {
				t.Errorf("got %q, want %q in it", err, row.want)
			}
			if strings.Contains(err.Error(), "hunter2") {
				t.Errorf("the error quotes the password: %v", err)
			}
		})
	}
}

// A path may have characters that mean something in a URI; the file is for its
// owner alone.
func TestSQLiteFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a b?c#d%20.db")
	db := open(t, "sqlite:"+path)
	must(t, db.CreateClient(t.Context(), aClient("tpp")))
	for _, name := range []string{path, path + "-wal", path + "-shm"} {
		info, err := os.Stat(name)
		must(t, err)
		equal(t, info.Mode().Perm(), fs.FileMode(0o600))
	}
}

// Every connection of the store has the settings that durability rests on, not
// only the first.
// Proves: S16
func TestSQLitePragmas(t *testing.T) {
	db := open(t, storetest.URL(t, "sqlite"))
	for _, pool := range store.SQLitePools(db) {
		pool.DB.SetMaxIdleConns(0) // each query on a new connection
		for pragma, want := range map[string]string{
			"journal_mode": "wal", "synchronous": "2", "foreign_keys": "1", "busy_timeout": "1000", "query_only": pool.QueryOnly,
		} {
			for range 2 {
				equal(t, column(t, pool.DB, "PRAGMA "+pragma), []string{want})
			}
		}
	}
}

// A write has the lock of writers from its beginning, and waits for it there.
// Proves: S16
func TestSQLiteBeginImmediate(t *testing.T) {
	url := storetest.URL(t, "sqlite")
	tx, err := store.SQLitePools(open(t, url))[0].DB.BeginTx(t.Context(), nil)
	must(t, err)
	defer tx.Rollback()
	_, err = raw(t, url).ExecContext(t.Context(), "BEGIN IMMEDIATE")
	if err == nil || !strings.Contains(err.Error(), "database is locked") {
		t.Errorf("two writers at once: %v", err)
	}
}

func TestForeignKeys(t *testing.T) {
	storetest.Each(t, func(t *testing.T, url string) {
		open(t, url)
		beside := raw(t, url)
		if strings.HasPrefix(url, "sqlite:") {
			beside.SetMaxOpenConns(1)
			exec(t, beside, "PRAGMA foreign_keys = ON")
		}
		_, err := beside.ExecContext(t.Context(), `
			INSERT INTO signing_keys (provider, kid, alg, kek_id) VALUES ('nobody', 'key', 'PS256', 'kek')`)
		if err == nil || !strings.Contains(strings.ToLower(err.Error()), "foreign key") {
			t.Errorf("key of no provider: %v", err)
		}
	})
}

// Another process holds the one lock that SQLite has for writers; the store
// waits for it, and reads meanwhile.
// Proves: S16
func TestSQLiteWaitsForOtherProcess(t *testing.T) {
	url := storetest.URL(t, "sqlite")
	db, beside := open(t, url), raw(t, url)
	must(t, db.CreateClient(t.Context(), aClient("tpp")))
	conn, err := beside.Conn(t.Context())
	must(t, err)
	defer conn.Close()
	_, err = conn.ExecContext(t.Context(), "BEGIN IMMEDIATE")
	must(t, err)
	written := make(chan error, 1)
	go func() { written <- db.CreateClient(context.Background(), aClient("second")) }()
	for range 100 {
		_, err := db.Client(t.Context(), "tpp")
		must(t, err)
	}
	select {
	case err := <-written:
		t.Fatalf("the store wrote while another process held the lock: %v", err)
	default:
	}
	_, err = conn.ExecContext(t.Context(), "COMMIT")
	must(t, err)
	must(t, <-written)
}

// No index over text depends on the locale of the server, whose changes
// corrupt indexes.
func TestPostgresCollation(t *testing.T) {
	url := storetest.URL(t, "postgres")
	open(t, url)
	equal(t, column(t, raw(t, url), `
		SELECT c.relname FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE n.nspname = 'public' AND 100 = ANY (i.indcollation::oid[])`), []string(nil))
}

// A serialization failure or a deadlock is run again, three times at most, and
// never becomes a statement about the request.
func TestPostgresRetries(t *testing.T) {
	for _, code := range []string{"40001", "40P01"} {
		t.Run(code, func(t *testing.T) {
			url := storetest.URL(t, "postgres")
			db, beside := open(t, url), raw(t, url)
			exec(t, beside, `CREATE SEQUENCE attempts`)
			fail := func(times string) {
				exec(t, beside, `ALTER SEQUENCE attempts RESTART`)
				exec(t, beside, `CREATE OR REPLACE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
					IF nextval('attempts') <= `+times+` THEN RAISE EXCEPTION 'once more' USING ERRCODE = '`+code+`'; END IF;
					RETURN NEW; END $$`)
			}
			fail("3")
			exec(t, beside, `CREATE TRIGGER fail BEFORE INSERT ON consumed FOR EACH ROW EXECUTE FUNCTION fail()`)
			consume := func(key string) error {
				return db.Consume(t.Context(), "", gatehouse.ConsumeAssertion, key, now, now, now)
			}
			if err := consume("key"); err != nil {
				t.Errorf("after three failures: %v", err)
			}
			fail("1000")
			if err := consume("other"); err == nil || isOfTheStore(err) {
				t.Errorf("failing for ever: %v", err)
			}
			equal(t, column(t, beside, `SELECT last_value FROM attempts`), []string{"4"})
		})
	}
}

// A transaction that fails as a whole leaves nothing, and says so.
func TestPostgresFailsAtCommit(t *testing.T) {
	url := storetest.URL(t, "postgres")
	db, beside := open(t, url), raw(t, url)
	exec(t, beside, `CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no'; END $$`)
	exec(t, beside, `CREATE CONSTRAINT TRIGGER fail AFTER INSERT ON access_tokens DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION fail()`)
	err := db.CreateGrant(t.Context(), aGrant("alpha", "g"), anAccessToken("alpha", "t", "g"), nil)
	if err == nil || isOfTheStore(err) {
		t.Errorf("commit failed, the store says %v", err)
	}
	if err := db.RevokeGrant(t.Context(), "alpha", "g", now); !errors.Is(err, gatehouse.ErrNotFound) {
		t.Errorf("a part was kept: %v", err)
	}
}

// Without its database every method fails soon, and never as if it knew.
func TestPostgresGone(t *testing.T) {
	server := storetest.StartPostgres(t)
	db := open(t, server.URL)
	must(t, db.CreateClient(t.Context(), aClient("tpp")))
	server.Stop(t)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	for name, call := range map[string]func() error{
		"Client":       func() error { _, err := db.Client(ctx, "tpp"); return err },
		"Clients":      func() error { _, err := db.Clients(ctx, "", 10); return err },
		"CreateClient": func() error { return db.CreateClient(ctx, aClient("tpp")) },
		"Consume":      func() error { return db.Consume(ctx, "", gatehouse.ConsumeAssertion, "key", now, now, now) },
		"ExchangeCode": func() error { return db.ExchangeCode(ctx, "alpha", "a", anAccessToken("alpha", "t", "a"), nil, now) },
		"UpdateClient": func() error { return db.UpdateClient(ctx, aClient("tpp")) },
		"Ping":         func() error { return db.Ping(ctx) },
	} {
		if err := call(); err == nil || isOfTheStore(err) || ctx.Err() != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Close waits for what runs, fails what comes later, and leaves no goroutine.
func TestClose(t *testing.T) {
	storetest.Each(t, func(t *testing.T, url string) {
		before := goleak.IgnoreCurrent()
		db := open(t, url)
		var written sync.WaitGroup
		var acknowledged sync.Map
		for _, id := range []string{"a", "b", "c", "d"} {
			written.Go(func() {
				if err := db.CreateClient(context.Background(), aClient(id)); err == nil {
					acknowledged.Store(id, true)
				} else if isOfTheStore(err) {
					t.Errorf("%s: %v", id, err)
				}
			})
		}
		must(t, db.Close())
		written.Wait()
		if _, err := db.Client(context.Background(), "a"); err == nil || isOfTheStore(err) {
			t.Errorf("read after Close: %v", err)
		}
		if err := db.CreateClient(context.Background(), aClient("e")); err == nil || isOfTheStore(err) {
			t.Errorf("write after Close: %v", err)
		}
		goleak.VerifyNone(t, before)
		again := open(t, url)
		acknowledged.Range(func(id, _ any) bool {
			_, err := again.Client(t.Context(), id.(string))
			must(t, err)
			return true
		})
	})
}

// A deadline ends a wait for the database.
func TestDeadline(t *testing.T) {
	storetest.Each(t, func(t *testing.T, url string) {
		db := open(t, url)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := db.CreateClient(ctx, aClient("tpp")); !errors.Is(err, context.Canceled) {
			t.Errorf("write: %v", err)
		}
		if _, err := db.Client(ctx, "tpp"); !errors.Is(err, context.Canceled) {
			t.Errorf("read: %v", err)
		}
	})
}
