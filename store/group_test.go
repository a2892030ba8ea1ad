package store_test

import (
	"context"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"gatehouse"
	"gatehouse/store"
	"gatehouse/store/storetest"
)

// A crowd is many callers who write to SQLite while another process holds the
// lock of writers.
type crowd struct {
	t    *testing.T
	url  string
	db   *store.DB
	lock *sql.Conn // holds the lock
	done sync.WaitGroup

	mu      sync.Mutex
	results map[string]error
}

func newCrowd(t *testing.T) *crowd {
	t.Helper()
	url := storetest.URL(t, "sqlite")
	return &crowd{t: t, url: url, db: open(t, url), results: map[string]error{}}
}

// hold takes the lock of writers, for another process.
func (c *crowd) hold() {
	c.t.Helper()
	lock, err := raw(c.t, c.url).Conn(c.t.Context())
	must(c.t, err)
	_, err = lock.ExecContext(c.t.Context(), "BEGIN IMMEDIATE")
	must(c.t, err)
	c.lock = lock
}

func (c *crowd) release() {
	c.t.Helper()
	_, err := c.lock.ExecContext(c.t.Context(), "COMMIT")
	must(c.t, err)
	must(c.t, c.lock.Close())
}

// call makes one call in the background.
func (c *crowd) call(name string, write func() error) {
	c.done.Go(func() {
		err := write()
		c.mu.Lock()
		defer c.mu.Unlock()
		c.results[name] = err
	})
}

// consume is a call that any number can make, and leaves a row.
func (c *crowd) consume(ctx context.Context, name string) func() error {
	return func() error {
		return c.db.Consume(ctx, name, gatehouse.ConsumeAssertion, "key", now, now.Add(time.Minute), now)
	}
}

// waiting returns when n calls wait for the goroutine that writes.
func (c *crowd) waiting(n int) {
	c.t.Helper()
	stacks := make([]byte, 4<<20)
	limit := time.After(20 * time.Second)
	for {
		text := string(stacks[:runtime.Stack(stacks, true)])
		if strings.Count(text, "store.(*sqliteFile).write(") >= n {
			return
		}
		select {
		case <-limit:
			c.t.Fatalf("%d calls never wait", n)
		case <-time.After(time.Millisecond):
		}
	}
}

// consumed returns whose rows are in the database, opened anew.
func (c *crowd) consumed() map[string]bool {
	c.t.Helper()
	must(c.t, c.db.Close())
	open(c.t, c.url)
	found := map[string]bool{}
	for _, provider := range column(c.t, raw(c.t, c.url), "SELECT provider FROM consumed") {
		found[provider] = true
	}
	return found
}

// commits counts the transactions in a write-ahead log: a frame that ends one
// has the size of the database in its header (SQLite, "WAL File Format").
func (c *crowd) commits() (n int) {
	c.t.Helper()
	wal, err := os.ReadFile(strings.TrimPrefix(c.url, "sqlite:") + "-wal")
	must(c.t, err)
	const header, frameHeader = 32, 24
	page := int(binary.BigEndian.Uint32(wal[8:]))
	for frame := wal[header:]; len(frame) >= frameHeader+page; frame = frame[frameHeader+page:] {
		current := string(frame[8:16]) == string(wal[16:24]) // salts
		if current && binary.BigEndian.Uint32(frame[4:]) > 0 {
			n++
		}
	}
	return n
}

// Calls that wait together are committed together.
func TestGroupedCommit(t *testing.T) {
	c := newCrowd(t)
	must(t, c.consume(t.Context(), "before")())
	before := c.commits()
	must(t, c.consume(t.Context(), "before too")())
	equal(t, c.commits()-before, 1)
	before = c.commits()
	c.hold()
	for n := range contestants {
		c.call(fmt.Sprint(n), c.consume(t.Context(), fmt.Sprint(n)))
	}
	c.waiting(contestants)
	c.release()
	c.done.Wait()
	// The first call, the others; and one more should the lock have been held
	// for so long that the first was run again.
	if n := c.commits() - before; n > 3 {
		t.Errorf("%d calls in %d transactions", contestants, n)
	}
	found := c.consumed()
	for name, err := range c.results {
		must(t, err)
		if !found[name] {
			t.Errorf("%s is lost", name)
		}
	}
}

// A call that fails, and one that nobody waits for any more, do not touch the
// others of their group.
func TestFailuresInAGroup(t *testing.T) {
	c := newCrowd(t)
	must(t, c.db.CreateClient(t.Context(), aClient("taken")))
	must(t, c.db.CreateGrant(t.Context(), aGrant("alpha", "taken"), anAccessToken("alpha", "taken", "taken"), nil))
	beside := raw(t, c.url)
	exec(t, beside, `CREATE TRIGGER forbidden BEFORE INSERT ON grants WHEN NEW.id = 'forbidden' BEGIN SELECT RAISE(ABORT, 'forbidden'); END`)
	c.hold()
	c.call("first", c.consume(t.Context(), "first"))
	gone, leave := context.WithCancel(t.Context())
	for n := range contestants {
		c.call(fmt.Sprint(n), c.consume(t.Context(), fmt.Sprint(n)))
		switch n {
		case 10:
			c.call("taken client", func() error { return c.db.CreateClient(t.Context(), aClient("taken")) })
		case 20:
			// Its second statement fails; the first must not stay.
			c.call("taken token", func() error {
				return c.db.CreateGrant(t.Context(), aGrant("alpha", "half"), anAccessToken("alpha", "taken", "half"), nil)
			})
		case 30:
			c.call("forbidden", func() error {
				return c.db.CreateGrant(t.Context(), aGrant("alpha", "forbidden"), anAccessToken("alpha", "forbidden", "forbidden"), nil)
			})
		case 40:
			c.call("gone", c.consume(gone, "gone"))
		}
	}
	c.waiting(contestants + 5)
	leave()
	c.waiting(contestants + 4)
	c.release()
	c.done.Wait()
	grants := column(t, beside, "SELECT id FROM grants")
	found := c.consumed()
	for name, err := range c.results {
		switch name {
		case "taken client", "taken token":
			if !errors.Is(err, gatehouse.ErrExists) {
				t.Errorf("%s: %v", name, err)
			}
		case "forbidden":
			if err == nil || isOfTheStore(err) {
				t.Errorf("%s: %v", name, err)
			}
		case "gone":
			if !errors.Is(err, context.Canceled) {
				t.Errorf("%s: %v", name, err)
			}
		default:
			if err != nil || !found[name] {
				t.Errorf("%s: %v, and there: %v", name, err, found[name])
			}
		}
	}
	equal(t, grants, []string{"taken"})
}

// A trigger that ends the whole transaction takes the group with it, and each
// caller knows.
func TestGroupThatIsRolledBack(t *testing.T) {
	c := newCrowd(t)
	beside := raw(t, c.url)
	exec(t, beside, `CREATE TRIGGER rollback BEFORE INSERT ON consumed WHEN NEW.provider = 'poison' BEGIN SELECT RAISE(ROLLBACK, 'rolled back'); END`)
	c.hold()
	c.call("first", c.consume(t.Context(), "first"))
	for n := range contestants {
		c.call(fmt.Sprint(n), c.consume(t.Context(), fmt.Sprint(n)))
	}
	c.call("poison", c.consume(t.Context(), "poison"))
	c.waiting(contestants + 2)
	c.release()
	c.done.Wait()
	must(t, c.consume(t.Context(), "after")())
	c.results["after"] = nil
	found := c.consumed()
	for name, err := range c.results {
		if isOfTheStore(err) || (err == nil) != found[name] {
			t.Errorf("%s: %v, and there: %v", name, err, found[name])
		}
	}
	if c.results["poison"] == nil {
		t.Error("the poison is there")
	}
}

// Close in the middle of it all: what was acknowledged is there.
func TestCloseAmongCalls(t *testing.T) {
	c := newCrowd(t)
	c.hold()
	for n := range contestants {
		c.call(fmt.Sprint(n), c.consume(t.Context(), fmt.Sprint(n)))
	}
	c.waiting(contestants)
	closed := make(chan error, 1)
	go func() { closed <- c.db.Close() }()
	c.release()
	must(t, <-closed)
	c.done.Wait()
	found := c.consumed()
	for name, err := range c.results {
		if isOfTheStore(err) || err == nil && !found[name] {
			t.Errorf("%s: %v, and there: %v", name, err, found[name])
		}
	}
}

// fill makes calls of a hundred kilobytes each, and checks that each of them
// failed, or that each succeeded.
func (c *crowd) fill(round string, want bool) {
	c.t.Helper()
	c.hold()
	for n := range 16 {
		client := aClient(fmt.Sprint(round, n))
		client.Name = strings.Repeat("x", 100_000)
		c.call(client.ID, func() error { return c.db.CreateClient(context.Background(), client) })
	}
	c.waiting(16)
	c.release()
	c.done.Wait()
	there := map[string]bool{}
	for _, id := range column(c.t, raw(c.t, c.url), "SELECT id FROM clients") {
		there[id] = true
	}
	for name, err := range c.results {
		if !strings.HasPrefix(name, round) {
			continue
		}
		if isOfTheStore(err) || (err == nil) != want || there[name] != want {
			c.t.Errorf("%s: %v, and there: %v", name, err, there[name])
		}
	}
}

// A database that may not grow refuses, keeps what it has, and goes on when
// there is space.
func TestDatabaseFull(t *testing.T) {
	c := newCrowd(t)
	writer := store.SQLitePools(c.db)[0].DB
	pages := column(t, writer, "PRAGMA page_count")[0]
	column(t, writer, "PRAGMA max_page_count = "+pages)
	c.fill("full ", false)
	if err := c.consume(t.Context(), "small")(); err != nil && isOfTheStore(err) {
		t.Errorf("a small write: %v", err)
	}
	column(t, writer, "PRAGMA max_page_count = 1000000")
	c.fill("free ", true)
	must(t, c.db.Close())
	must(t, storetest.CheckSQLite(t.Context(), strings.TrimPrefix(c.url, "sqlite:")))
}

// A disk that fails in the commit: the write-ahead log may not grow.
func TestCommitFails(t *testing.T) {
	c := newCrowd(t)
	must(t, c.consume(t.Context(), "before")())
	info, err := os.Stat(strings.TrimPrefix(c.url, "sqlite:") + "-wal")
	must(t, err)
	var before syscall.Rlimit
	must(t, syscall.Getrlimit(syscall.RLIMIT_FSIZE, &before))
	signal.Ignore(syscall.SIGXFSZ)
	defer signal.Reset(syscall.SIGXFSZ)
	limited := before
	limited.Cur = uint64(info.Size()) + 1000
	must(t, syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limited))
	defer syscall.Setrlimit(syscall.RLIMIT_FSIZE, &before)
	c.fill("limited ", false)
	if err := c.consume(t.Context(), "small")(); err == nil || isOfTheStore(err) {
		t.Errorf("a small write: %v", err)
	}
	_, err = c.db.Client(t.Context(), "nobody") // reading goes on
	if !errors.Is(err, gatehouse.ErrNotFound) {
		t.Errorf("read: %v", err)
	}
	must(t, syscall.Setrlimit(syscall.RLIMIT_FSIZE, &before))
	c.fill("free ", true)
	must(t, c.consume(t.Context(), "small")())
	must(t, c.db.Close())
	must(t, storetest.CheckSQLite(t.Context(), strings.TrimPrefix(c.url, "sqlite:")))
}

// Another process holds the lock for longer than one attempt waits, and the
// call succeeds; or for longer than the call may take, and it fails, leaving
// nothing.
// Proves: S11
func TestSQLiteBusy(t *testing.T) {
	const lockWait, callBudget = time.Second, 3 * time.Second // as in the store
	t.Run("for a while", func(t *testing.T) {
		c := newCrowd(t)
		c.hold()
		began := time.Now()
		for n := range contestants {
			c.call(fmt.Sprint(n), c.consume(t.Context(), fmt.Sprint(n)))
		}
		<-time.After(lockWait + lockWait/4)
		if len(c.results) > 0 {
			t.Errorf("a call ended after one attempt: %v", c.results)
		}
		c.release()
		c.done.Wait()
		if took := time.Since(began); took < lockWait {
			t.Errorf("it took only %s", took)
		}
		for name, err := range c.results {
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		equal(t, len(c.consumed()), contestants)
	})
	t.Run("for too long", func(t *testing.T) {
		c := newCrowd(t)
		c.hold()
		began := time.Now()
		for n := range contestants {
			c.call(fmt.Sprint(n), c.consume(t.Context(), fmt.Sprint(n)))
		}
		c.done.Wait()
		if took := time.Since(began); took < lockWait || took > 2*callBudget {
			t.Errorf("it took %s", took)
		}
		c.release()
		for name, err := range c.results {
			if err == nil || isOfTheStore(err) {
				t.Errorf("%s: %v", name, err)
			}
		}
		must(t, c.consume(t.Context(), "after")())
		equal(t, c.consumed(), map[string]bool{"after": true})
	})
}
