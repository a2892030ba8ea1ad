package store_test

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	osexec "os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"gatehouse/store"
	"gatehouse/store/storetest"
)

// Proves: S1
func TestMigrate(t *testing.T) {
	storetest.Each(t, func(t *testing.T, url string) {
		ctx := t.Context()
		db, err := store.Open(ctx, url)
		must(t, err)
		defer db.Close()
		if err := db.Ping(ctx); !errors.Is(err, store.ErrOlderSchema) {
			t.Fatalf("ping of an empty database: got %v, want ErrOlderSchema", err)
		}
		if _, err := db.Client(ctx, "tpp"); err == nil || isOfTheStore(err) {
			t.Fatalf("read from an empty database: %v", err)
		}
		must(t, db.Migrate(ctx))
		must(t, db.Ping(ctx))
		have, want, err := db.SchemaVersion(ctx)
		must(t, err)
		if have != want || want < 1 {
			t.Fatalf("schema version %d, want %d", have, want)
		}
		beside := raw(t, url)
		before := dump(t, beside)
		must(t, db.Migrate(ctx))
		equal(t, dump(t, beside), before)

		again := "INSERT INTO schema_versions (version_id, is_applied) SELECT version_id, is_applied FROM schema_versions WHERE version_id = 1"
		if _, err := beside.ExecContext(ctx, again); err == nil {
			t.Error("one migration can be recorded twice")
		}
	})
}

// A token is added without a lock on its grant, and a grant is deleted without
// a search for its tokens; what Purge reads has an index.
//
// Proves: S23
func TestPurgeIndexes(t *testing.T) {
	storetest.Each(t, func(t *testing.T, url string) {
		must(t, open(t, url).Ping(t.Context()))
		list := strings.Join(catalog(t, raw(t, url)), "\n")
		for table, key := range map[string]string{"consumed": "keep_until", "access_tokens": "expires_at", "refresh_tokens": "expires_at",
			"authorizations": "expires_at", "grants": "expires_at"} {
			if !strings.Contains(list, "INDEX "+table+"_"+key+" ON ") {
				t.Errorf("%s has no index of %s", table, key)
			}
		}
		if !strings.Contains(list, "INDEX authorizations_without_code ON ") {
			t.Error("visits that never got a code have no index")
		}
		equal(t, strings.Count(list, "REFERENCES grants"), 0)
	})
}

// Three processes that start together all find the schema in place, made once.
//
// Proves: O3
func TestMigrateTogether(t *testing.T) {
	for name, database := range map[string]func(t testing.TB, engine string) string{
		"empty": storetest.URL,
		"old":   oldDatabase,
	} {
		t.Run(name, func(t *testing.T) {
			storetest.Each(t, func(t *testing.T, url string) {
				open(t, url)
				want := catalog(t, raw(t, url))
				url = database(t, filepath.Base(t.Name()))
				replicas := []*migrator{startMigrator(t, url), startMigrator(t, url), startMigrator(t, url)}
				for _, m := range replicas {
					m.begin(t)
				}
				for _, m := range replicas {
					equal(t, m.end(), "migrated")
				}
				equal(t, catalog(t, raw(t, url)), want)
			})
		})
	}
}

func oldDatabase(t testing.TB, engine string) string {
	return load(t, engine, "testdata/schema/00002."+engine+".sql")
}

// A process is killed at any moment of its migrations; the next one ends with
// the schema and the rows of a migration that nobody disturbed.
//
// Proves: O3
func TestMigrateKilled(t *testing.T) {
	storetest.Each(t, func(t *testing.T, url string) {
		engine := filepath.Base(t.Name())
		undisturbed := grownDatabase(t, engine)
		first := startMigrator(t, undisturbed)
		began := time.Now()
		first.begin(t)
		equal(t, first.end(), "migrated")
		whole := time.Since(began)
		want, rows := catalog(t, raw(t, undisturbed)), rowsOf(t, undisturbed)

		rounds, early := storetest.Rounds(t, 5), 0
		for round := range rounds {
			url := grownDatabase(t, engine)
			victim := startMigrator(t, url)
			victim.begin(t)
			if round > 0 { // the first at once, so that one dies early however slow the machine was before
				<-time.After(someOf(whole))
			}
			if victim.kill() != "migrated" {
				early++
			}
			open(t, url)
			beside := raw(t, url)
			equal(t, catalog(t, beside), want)
			if !slices.Equal(rowsOf(t, url), rows) {
				t.Error("the rows are not those of a migration that nobody disturbed")
			}
			if engine == "sqlite" {
				equal(t, column(t, beside, "PRAGMA integrity_check"), []string{"ok"})
			}
		}
		if early == 0 {
			t.Errorf("nobody died in %d rounds", rounds)
		}
	})
}

// grownDatabase has the schema 2 and enough rows for an index to take a while.
func grownDatabase(t *testing.T, engine string) string {
	url := oldDatabase(t, engine)
	numbers := `WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000) `
	for _, insert := range []string{
		`INSERT INTO consumed ` + numbers + `SELECT '', 'assertion', 'key ' || i, 1772366400123 + i * 7919 % 1000 FROM n`,
		`INSERT INTO access_tokens ` + numbers + `SELECT 'alpha', 'token ' || i, 'granted', 'tpp', 'accounts', 'hash', 0, i * 7919 % 1000 FROM n`,
		`INSERT INTO refresh_tokens ` + numbers + `SELECT 'alpha', 'token ' || i, 'granted', 'tpp', 'hash', 0, i * 7919 % 1000 FROM n`,
	} {
		exec(t, raw(t, url), insert)
	}
	return url
}

// rowsOf is a dump without the time of each migration.
func rowsOf(t *testing.T, url string) []string {
	return slices.DeleteFunc(dump(t, raw(t, url)), func(line string) bool { return strings.HasPrefix(line, "schema_versions ") })
}

// someOf returns a random part of d.
func someOf(d time.Duration) time.Duration {
	var b [2]byte
	rand.Read(b[:])
	return d * time.Duration(binary.BigEndian.Uint16(b[:])) / 0xffff
}

// A process is killed before each command that changes the schema, in turn;
// the server goes on with every other of them, and ends the rest.
//
// Proves: O3
func TestMigrateKilledAtEachCommand(t *testing.T) {
	fresh := storetest.URL(t, "postgres")
	open(t, fresh)
	want := catalog(t, raw(t, fresh))
	killed := 0
	for {
		url := oldDatabase(t, "postgres")
		beside := raw(t, url)
		beside.SetMaxOpenConns(1) // its session holds the lock that the trigger waits for
		exec(t, beside, `CREATE SCHEMA test`)
		exec(t, beside, `CREATE SEQUENCE test.commands`)
		exec(t, beside, fmt.Sprintf(`CREATE FUNCTION test.stop() RETURNS event_trigger LANGUAGE plpgsql SET lock_timeout = 0 AS $$ BEGIN
			IF nextval('test.commands') = %d THEN PERFORM pg_advisory_lock(1); END IF; END $$`, killed+1))
		exec(t, beside, `CREATE EVENT TRIGGER stop ON ddl_command_start EXECUTE FUNCTION test.stop()`)
		exec(t, beside, `SELECT pg_advisory_lock(1)`)
		victim := startMigrator(t, url)
		victim.begin(t)
		waiting := `SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND objid = 1 AND NOT granted
			AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`
		if !victim.awaitOrEnd(func() bool { return column(t, beside, waiting) != nil }) {
			break
		}
		victim.kill()
		killed++
		if killed%2 == 0 {
			exec(t, beside, `SELECT pg_terminate_backend(pid) FROM (`+waiting+`) AS w`)
		}
		exec(t, beside, `DROP EVENT TRIGGER stop`)
		exec(t, beside, `SELECT pg_advisory_unlock(1)`)
		checkFilled(t, open(t, url), "00002")
		equal(t, catalog(t, beside), want)
	}
	if killed < 13 { // four tables, two foreign keys, two new tables, five indexes
		t.Errorf("only %d were killed", killed)
	}
}

// A process is killed while PostgreSQL builds an index.
//
// Proves: O3
func TestMigrateKilledInBuild(t *testing.T) {
	fresh := storetest.URL(t, "postgres")
	open(t, fresh)
	want := catalog(t, raw(t, fresh))
	for name, row := range map[string]struct {
		terminate  bool
		unfinished []string
	}{
		"the server goes on":   {false, []string{"consumed_keep_until"}},
		"the server ends, too": {true, []string{"consumed_keep_until"}},
	} {
		t.Run(name, func(t *testing.T) {
			url := oldDatabase(t, "postgres")
			beside := raw(t, url)
			// A transaction that is older than the build, which waits for its end.
			reader, err := beside.BeginTx(t.Context(), nil)
			must(t, err)
			defer reader.Rollback()
			_, err = reader.ExecContext(t.Context(), `SET TRANSACTION ISOLATION LEVEL REPEATABLE READ`)
			must(t, err)
			_, err = reader.ExecContext(t.Context(), `SELECT 1 FROM schema_versions`)
			must(t, err)
			victim := startMigrator(t, url)
			victim.begin(t)
			builder := `SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'virtualxid' AND query LIKE 'CREATE INDEX%'`
			if !victim.awaitOrEnd(func() bool { return column(t, beside, builder) != nil }) {
				t.Fatal("the build did not wait")
			}
			victim.kill()
			if row.terminate {
				exec(t, beside, `SELECT pg_terminate_backend(pid) FROM (`+builder+`) AS b`)
				for column(t, beside, builder) != nil {
				}
			}
			equal(t, column(t, beside, `SELECT indexrelid::regclass FROM pg_index WHERE NOT indisvalid`), row.unfinished)
			next, follower := startMigrator(t, url), startMigrator(t, url)
			next.begin(t)
			follower.begin(t)
			must(t, reader.Rollback())
			equal(t, []string{next.end(), follower.end()}, []string{"migrated", "migrated"})
			equal(t, catalog(t, beside), want)
		})
	}
}

// While a long transaction, such as that of pg_dump, keeps the migration from
// a table, others write to it within a second.
//
// Proves: O3
func TestMigrateWaitsAside(t *testing.T) {
	url := oldDatabase(t, "postgres")
	beside := raw(t, url)
	db, err := store.Open(t.Context(), url)
	must(t, err)
	defer db.Close()
	reader, err := beside.BeginTx(t.Context(), nil)
	must(t, err)
	defer reader.Rollback()
	_, err = reader.ExecContext(t.Context(), `SELECT * FROM access_tokens, consumed`)
	must(t, err)
	migrated := make(chan error, 1)
	go func() { migrated <- db.Migrate(context.Background()) }()
	queue := `SELECT 1 FROM pg_locks WHERE NOT granted AND mode = 'AccessExclusiveLock' AND relation IN ('access_tokens'::regclass, 'consumed'::regclass)`
	for n := range 2 {
		for column(t, beside, queue) == nil {
		}
		for _, insert := range []string{
			`INSERT INTO access_tokens VALUES ('alpha', 'token %d', 'granted', 'tpp', '', '', 0, 0)`,
			`INSERT INTO consumed VALUES ('', 'assertion', 'key %d', 0)`,
		} {
			soon, cancel := context.WithTimeout(t.Context(), time.Second)
			_, err := beside.ExecContext(soon, fmt.Sprintf(insert, n))
			cancel()
			must(t, err)
		}
		for column(t, beside, queue) != nil {
		}
	}
	select {
	case err := <-migrated:
		t.Fatalf("migrated while the transaction had the tables: %v", err)
	default:
	}
	must(t, reader.Rollback())
	must(t, <-migrated)
	must(t, db.Ping(t.Context()))
}

// envMigrate makes the test binary a process that migrates the database it
// names, as soon as it reads a line.
const envMigrate = "GATEHOUSE_TEST_MIGRATE"

func migrateProcess() int {
	ctx := context.Background()
	db, err := store.Open(ctx, os.Getenv(envMigrate))
	if err != nil {
		fmt.Println(err)
		return 1
	}
	fmt.Println("ready")
	bufio.NewScanner(os.Stdin).Scan()
	if err := db.Migrate(ctx); err != nil {
		fmt.Println(err)
		return 1
	}
	fmt.Println("migrated")
	return 0
}

// A migrator is that process.
type migrator struct {
	cmd   *osexec.Cmd
	stdin io.Writer
	lines chan string // of its output; closed at its end
	last  string
}

func startMigrator(t *testing.T, url string) *migrator {
	t.Helper()
	cmd := osexec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), envMigrate+"="+url, "GORACE=atexit_sleep_ms=0") // no second of waiting at its end
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	must(t, err)
	stdout, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	m := &migrator{cmd: cmd, stdin: stdin, lines: make(chan string, 10)}
	var read sync.WaitGroup
	read.Go(func() {
		defer close(m.lines)
		for scanner := bufio.NewScanner(stdout); scanner.Scan(); {
			m.lines <- scanner.Text()
		}
	})
	t.Cleanup(func() {
		cmd.Process.Kill()
		read.Wait()
		cmd.Wait() // how it ended is what the test is about
	})
	return m
}

// begin returns when the process has the database open and was told to go.
func (m *migrator) begin(t *testing.T) {
	t.Helper()
	if line := <-m.lines; line != "ready" {
		t.Fatalf("the migrating process says %q", line)
	}
	_, err := fmt.Fprintln(m.stdin)
	must(t, err)
}

// end returns the last thing that the process says.
func (m *migrator) end() string {
	for line := range m.lines {
		m.last = line
	}
	return m.last
}

// kill ends the process and returns the last thing that it said.
func (m *migrator) kill() string {
	m.cmd.Process.Kill()
	return m.end()
}

// awaitOrEnd returns true when moment does, or false when the process has
// ended.
func (m *migrator) awaitOrEnd(moment func() bool) bool {
	for !moment() {
		select {
		case line, more := <-m.lines:
			if !more {
				return false
			}
			m.last = line
		default:
		}
	}
	return true
}
