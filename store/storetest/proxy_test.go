package storetest_test

import (
	"context"
	"errors"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"gatehouse/store/storetest"
)

func TestMain(m *testing.M) { os.Exit(storetest.Main(m)) }

func connect(t *testing.T, url string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(context.Background()) })
	return conn
}

func newProxy(t *testing.T, url string) *storetest.Proxy {
	t.Helper()
	p, err := storetest.StartProxy(url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return p
}

// insert adds two rows in one transaction, as package store writes: all
// statements at once, and no BEGIN.
func insert(ctx context.Context, conn *pgx.Conn, n int) error {
	var batch pgx.Batch
	batch.Queue("INSERT INTO rows VALUES ($1)", 2*n)
	batch.Queue("INSERT INTO rows VALUES ($1)", 2*n+1)
	return conn.SendBatch(ctx, &batch).Close()
}

func count(t *testing.T, conn *pgx.Conn) (n int) {
	t.Helper()
	if err := conn.QueryRow(t.Context(), "SELECT count(*) FROM rows").Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// The client of a cut connection gets an error and never an answer; what the
// server did is what the point says.
//
// Proves: S7
func TestCut(t *testing.T) {
	url := storetest.URL(t, "postgres")
	direct := connect(t, url)
	if _, err := direct.Exec(t.Context(), "CREATE TABLE rows (n INT)"); err != nil {
		t.Fatal(err)
	}
	proxy := newProxy(t, url)
	committed := 0
	try := func(c *storetest.Cut) {
		t.Helper()
		conn := connect(t, proxy.URL())
		if err := insert(t.Context(), conn, 0); err != nil { // prepares the statements
			t.Fatal(err)
		}
		committed += 2
		proxy.Arm(c)
		if n := count(t, conn); n != committed { // a read is not cut
			t.Fatalf("%s: %d rows are there before, want %d", c.At, n, committed)
		}
		err := insert(t.Context(), conn, 1)
		if err == nil {
			t.Fatalf("%s, %d bytes: the client got an answer", c.At, c.Bytes)
		}
		if server, ok := errors.AsType[*pgconn.PgError](err); ok {
			t.Fatalf("%s: the server refused: %v", c.At, server)
		}
		<-c.Done()
	}

	try(&storetest.Cut{At: storetest.BeforeSync})
	if n := count(t, direct); n != committed {
		t.Errorf("before Sync: %d rows, want %d", n, committed)
	}

	try(&storetest.Cut{At: storetest.AfterCommit})
	if committed += 2; count(t, direct) != committed {
		t.Error("after the commit: the rows are not there")
	}

	// Every place in the answer: within a message, between two, one byte short
	// of its 58: twice BindComplete, NoData and CommandComplete, then
	// ReadyForQuery.
	for bytes := range 58 {
		try(&storetest.Cut{At: storetest.InAnswer, Bytes: bytes})
		if committed += 2; count(t, direct) != committed {
			t.Fatalf("after %d bytes of the answer the rows are not there", bytes)
		}
	}

	try(&storetest.Cut{At: storetest.AfterSync})
	if n := count(t, direct); n != committed && n != committed+2 {
		t.Errorf("after Sync: %d rows, want %d or two more", n, committed)
	}
}

func TestCutFits(t *testing.T) {
	url := storetest.URL(t, "postgres")
	proxy := newProxy(t, url)
	conn := connect(t, proxy.URL())
	for _, sql := range []string{"CREATE TABLE rows (n INT)", "CREATE TABLE others (n INT)"} {
		if _, err := conn.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	c := &storetest.Cut{Fits: func(sql []string) bool { return strings.Contains(strings.Join(sql, ";"), "others") }}
	proxy.Arm(c)
	for range 3 {
		if err := insert(t.Context(), conn, 0); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := conn.Exec(t.Context(), "INSERT INTO others VALUES ($1)", 1); err == nil {
		t.Error("the transaction that fits was not cut")
	}
	<-c.Done()

	conn = connect(t, proxy.URL())
	proxy.Arm(&storetest.Cut{})
	proxy.Disarm()
	if err := insert(t.Context(), conn, 1); err != nil {
		t.Errorf("a cut that was taken back was made: %v", err)
	}
}

func TestFreeze(t *testing.T) {
	proxy := newProxy(t, storetest.URL(t, "postgres"))
	conn := connect(t, proxy.URL())
	proxy.Freeze()
	answered := make(chan error, 1)
	go func() {
		_, err := conn.Exec(context.Background(), "SELECT 1")
		answered <- err
	}()
	hurried, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, err := pgx.Connect(hurried, proxy.URL()); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a connection through a black hole: %v", err)
	}
	select {
	case err := <-answered:
		t.Errorf("an answer through a black hole: %v", err)
	default:
	}
	proxy.Thaw()
	if err := <-answered; err != nil {
		t.Errorf("after the thaw: %v", err)
	}
}

func TestRefuse(t *testing.T) {
	proxy := newProxy(t, storetest.URL(t, "postgres"))
	conn := connect(t, proxy.URL())
	proxy.Refuse()
	if _, err := conn.Exec(t.Context(), "SELECT 1"); err == nil {
		t.Error("a broken connection works")
	}
	if _, err := pgx.Connect(t.Context(), proxy.URL()); err == nil {
		t.Error("a new connection works")
	}
	proxy.Accept()
	connect(t, proxy.URL())
}

// A server that was killed comes back with what it had committed.
func TestPostgresComesBack(t *testing.T) {
	dir, err := os.MkdirTemp("", "gatehouse-postgres-") // t.TempDir is closed to other users
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	server, err := storetest.NewPostgres(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Stop(syscall.SIGQUIT); err != nil {
			t.Error(err)
		}
	})
	if err := server.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := server.Exec(t.Context(), "CREATE TABLE rows (n INT)"); err != nil {
		t.Fatal(err)
	}
	for _, signal := range []syscall.Signal{syscall.SIGKILL, syscall.SIGQUIT, syscall.SIGINT} {
		if err := server.Exec(t.Context(), "INSERT INTO rows VALUES (1)"); err != nil {
			t.Fatal(err)
		}
		if err := server.Stop(signal); err != nil {
			t.Fatal(err)
		}
		if server.Running() {
			t.Fatalf("it runs after %s", signal)
		}
		if err := server.Start(t.Context()); err != nil {
			t.Fatalf("after %s: %v", signal, err)
		}
	}
	if n := count(t, connect(t, server.URL)); n != 3 {
		t.Errorf("%d rows, want 3", n)
	}
	if err := server.Check(t.Context()); err != nil {
		t.Error(err)
	}
}
