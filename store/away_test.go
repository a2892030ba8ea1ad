package store_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"gatehouse"
	"gatehouse/store"
	"gatehouse/store/storetest"
)

// every calls every method at once, and returns the errors by their names.
func every(ctx context.Context, db *store.DB) map[string]error {
	calls := map[string]func(context.Context, *store.DB) error{}
	for name, w := range writings {
		calls[name] = w.call
	}
	for name, read := range readings {
		calls[name] = read
	}
	var mu sync.Mutex
	var done sync.WaitGroup
	results := map[string]error{}
	for name, call := range calls {
		done.Go(func() {
			err := call(ctx, db)
			mu.Lock()
			defer mu.Unlock()
			results[name] = err
		})
	}
	done.Wait()
	return results
}

// One transaction has the only connection. Callers do not wait for it as long
// as they would be allowed to.
// Proves: S24
func TestPoolExhausted(t *testing.T) {
	url := storetest.URL(t, "postgres")
	db, beside := open(t, url+"&pool_max_conns=1"), raw(t, url)
	withGrant(t, db)
	lock, err := beside.BeginTx(t.Context(), nil)
	must(t, err)
	defer lock.Rollback()
	_, err = lock.ExecContext(t.Context(), "SELECT 1 FROM grants FOR UPDATE")
	must(t, err)
	slow := make(chan error, 1)
	go func() { slow <- db.RevokeGrant(context.Background(), "alpha", "grant", now) }()
	await(t, beside, `SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`)

	began := time.Now()
	var done sync.WaitGroup
	for n := range contestants {
		done.Go(func() {
			err := db.Consume(t.Context(), fmt.Sprint(n), gatehouse.ConsumeAssertion, "key", now, now, now)
			if err == nil || isOfTheStore(err) {
				t.Errorf("write: %v", err)
			}
		})
		done.Go(func() {
			if _, err := db.Client(t.Context(), "tpp"); err == nil || isOfTheStore(err) {
				t.Errorf("read: %v", err)
			}
		})
	}
	done.Wait()
	select {
	case err := <-slow:
		t.Fatalf("the slow call ended: %v", err)
	default:
	}
	if took := time.Since(began); took < time.Second {
		t.Errorf("they waited for %s only", took)
	}
	must(t, lock.Rollback())
	must(t, <-slow)
	must(t, consumeKey(t.Context(), db))
}

// A caller that gives up leaves no transaction behind that holds locks.
func TestGivenUp(t *testing.T) {
	url := storetest.URL(t, "postgres")
	db, beside := open(t, url), raw(t, url)
	withGrant(t, db)
	lock, err := beside.BeginTx(t.Context(), nil)
	must(t, err)
	defer lock.Rollback()
	_, err = lock.ExecContext(t.Context(), "SELECT 1 FROM grants FOR UPDATE")
	must(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	slow := make(chan error, 1)
	go func() { slow <- db.RevokeGrant(ctx, "alpha", "grant", now) }()
	const waiting = ` FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`
	await(t, beside, "SELECT 1"+waiting)
	cancel()
	if err := <-slow; err == nil || isOfTheStore(err) {
		t.Errorf("given up: %v", err)
	}
	await(t, beside, "SELECT 1 WHERE NOT EXISTS (SELECT 1"+waiting+")")
	must(t, lock.Rollback())
	_, g, err := db.AccessToken(t.Context(), "alpha", "a")
	must(t, err)
	equal(t, g.RevokedAt, time.Time{})
}

// A server that hangs, each connection open: every method gives up in time.
// Proves: S24
func TestPostgresFrozen(t *testing.T) {
	url := storetest.URL(t, "postgres")
	proxy := startProxy(t, url)
	db, beside := open(t, proxy.URL()+"&pool_max_conns=40&pool_min_conns=40"), raw(t, url)
	await(t, beside, `SELECT 1 FROM pg_stat_activity WHERE datname = current_database() HAVING COUNT(*) > 40`)
	proxy.Freeze()
	began := time.Now()
	for name, err := range every(t.Context(), db) {
		if err == nil || isOfTheStore(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
	const callBudget = 3 * time.Second // as in the store
	if took := time.Since(began); took > 2*callBudget {
		t.Errorf("it took %s", took)
	}
	proxy.Thaw()
	must(t, db.Ping(t.Context()))
	must(t, db.Consume(t.Context(), "after", gatehouse.ConsumeAssertion, "key", now, now, now))
}

// The server answers, and must not be relied on.
func TestPostgresUnfit(t *testing.T) {
	server := storetest.StartPostgres(t)
	local := server.URL + "&synchronous_commit=local"
	db, prepared, beside := open(t, server.URL), open(t, local), raw(t, local)
	configure := func(t *testing.T, setting string) {
		t.Helper()
		exec(t, beside, "ALTER SYSTEM "+setting)
		exec(t, beside, "SELECT pg_reload_conf()")
	}
	const waiting = `SELECT pid || ' since ' || query_start FROM pg_stat_activity WHERE wait_event = 'SyncRep'`

	// A write whose wait for a synchronous standby is cut short is not
	// acknowledged, nor is one that only finds what such a write has left.
	configure(t, "SET synchronous_standby_names = 'nobody'")
	until(t, func() bool { // the server has read that
		ctx, giveUp := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer giveUp()
		return db.Consume(ctx, gatehouse.NewID(now), gatehouse.ConsumeAssertion, "key", now, now, now) != nil
	})
	for name, w := range writings {
		t.Run("no standby/"+name, func(t *testing.T) {
			empty(t, beside)
			w.prepare(t, prepared)
			ctx, giveUp := context.WithCancel(t.Context())
			defer giveUp()
			result := make(chan error, 1)
			go func() { result <- w.call(ctx, db) }()
			first := await(t, beside, waiting)
			exec(t, beside, `SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'`)
			await(t, beside, waiting+` AND pid || ' since ' || query_start <> '`+first+`'`)
			select {
			case err := <-result:
				t.Fatalf("answered while another attempt waits: %v", err)
			default:
			}
			giveUp()
			if err := <-result; err == nil || isOfTheStore(err) {
				t.Errorf("given up while it waits: %v", err)
			}
		})
	}
	t.Run("a standby comes", func(t *testing.T) {
		empty(t, beside)
		result := make(chan error, 1)
		go func() { result <- consumeKey(t.Context(), db) }()
		await(t, beside, waiting)
		configure(t, "RESET synchronous_standby_names")
		must(t, <-result)
	})

	t.Run("read-only", func(t *testing.T) {
		configure(t, "SET default_transaction_read_only = on")
		await(t, beside, "SELECT 1 WHERE current_setting('default_transaction_read_only') = 'on'")
		until(t, func() bool { return db.Ping(t.Context()) != nil })
		for name, err := range every(t.Context(), db) {
			if !errors.Is(err, store.ErrReadOnly) || isOfTheStore(err) {
				t.Errorf("%s: %v", name, err)
			}
		}
		if opened, err := store.Open(t.Context(), server.URL); err == nil {
			opened.Close()
			t.Error("opened")
		}
		configure(t, "RESET default_transaction_read_only")
		until(t, func() bool { return db.Ping(t.Context()) == nil })
		must(t, db.CreateClient(t.Context(), aClient("after")))
	})
}

// After the end of a server the pool is full of connections to it. They do not
// use up the attempts of a call.
func TestPoolOfDeadConnections(t *testing.T) {
	const connections = 12
	url := storetest.URL(t, "postgres")
	proxy := startProxy(t, url)
	db, beside := open(t, fmt.Sprint(proxy.URL(), "&pool_max_conns=", connections)), raw(t, url)
	withGrant(t, db)
	lock, err := beside.BeginTx(t.Context(), nil)
	must(t, err)
	defer lock.Rollback()
	_, err = lock.ExecContext(t.Context(), "SELECT 1 FROM grants FOR UPDATE")
	must(t, err)
	var done sync.WaitGroup
	for range connections {
		done.Go(func() {
			if err := db.RevokeGrant(t.Context(), "alpha", "grant", now); err != nil {
				t.Error(err)
			}
		})
	}
	await(t, beside, fmt.Sprint(`SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'
		HAVING COUNT(*) = `, connections))
	must(t, lock.Rollback())
	done.Wait()
	proxy.Break()
	must(t, consumeKey(t.Context(), db))
}

// A server that turns read-only in the moment of a commit has committed: the
// second attempt, at another server, meets the rows of the first.
func TestPostgresReadOnlyAfterCommit(t *testing.T) {
	url := storetest.URL(t, "postgres")
	db, beside := open(t, url), raw(t, url)
	exec(t, beside, `CREATE FUNCTION demote() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
		PERFORM set_config('default_transaction_read_only', 'on', false); RETURN NEW; END $$`)
	exec(t, beside, `CREATE TRIGGER demote BEFORE INSERT ON access_tokens FOR EACH ROW EXECUTE FUNCTION demote()`)
	withGrant(t, db)
	if err := writings["CreateGrant"].other(t.Context(), db); !errors.Is(err, gatehouse.ErrExists) {
		t.Errorf("another grant of this id: %v", err)
	}
}

// until returns when the condition holds.
func until(t *testing.T, holds func() bool) {
	t.Helper()
	for limit := time.Now().Add(20 * time.Second); !holds(); {
		if time.Now().After(limit) {
			t.Fatal("it never came")
		}
	}
}
