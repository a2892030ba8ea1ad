package store_test

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gatehouse"
	"gatehouse/jose"
	"gatehouse/store"
	"gatehouse/store/storetest"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// anEvent has a detail to be told by.
func anEvent(provider, detail string, at time.Time) *gatehouse.Event {
	return &gatehouse.Event{
		At: at, Kind: gatehouse.EventTokenIssued, Provider: provider, ClientID: "tpp", GrantID: "grant", ConsentID: "consent",
		Detail: detail, Origin: gatehouse.Origin{Actor: gatehouse.ActorOperator, Name: "op", RequestID: "request"},
	}
}

// record adds an event.
func record(t testing.TB, db *store.DB, detail string, at time.Time) {
	t.Helper()
	must(t, db.Record(context.Background(), anEvent("alpha", detail, at)))
}

// leaves fails the test unless the store has exactly these events of a kind,
// in whatever order those of one millisecond come.
func leaves(t *testing.T, db *store.DB, kind gatehouse.EventKind, want ...*gatehouse.Event) {
	t.Helper()
	list, err := db.Events(t.Context(), gatehouse.EventFilter{Kind: kind}, "", 1000)
	must(t, err)
	about := func(e *gatehouse.Event) string {
		return fmt.Sprint(e.At.UnixMilli(), " ", e.Provider, " ", e.ConsentID, " ", e.Detail)
	}
	diff := cmp.Diff(want, list, cmpopts.IgnoreFields(gatehouse.Event{}, "ID"), cmpopts.EquateEmpty(),
		cmpopts.SortSlices(func(a, b *gatehouse.Event) bool { return about(a) < about(b) }))
	if diff != "" {
		t.Errorf("events %s (-want +got)\n%s", kind, diff)
	}
}

// together calls attempt n times at once and returns the errors.
func together(n int, attempt func(n int) error) []error {
	results, begin := make([]error, n), make(chan struct{})
	var ready, done sync.WaitGroup
	for i := range n {
		ready.Add(1)
		done.Go(func() {
			ready.Done()
			<-begin
			results[i] = attempt(i)
		})
	}
	ready.Wait()
	close(begin)
	done.Wait()
	return results
}

// oneWins fails the test unless one of the errors is nil and each other is
// lost, and returns whose it is.
func oneWins(t *testing.T, results []error, lost error) (winner int) {
	t.Helper()
	winner = -1
	for i, err := range results {
		switch {
		case err == nil && winner < 0:
			winner = i
		case err == nil:
			t.Fatalf("calls %d and %d both succeed", winner, i)
		case !errors.Is(err, lost):
			t.Fatalf("call %d: got %v, want %v", i, err, lost)
		}
	}
	if winner < 0 {
		t.Fatal("no call succeeds")
	}
	return winner
}

// Events are listed by any of their members, in the order of their times.
func TestEvents(t *testing.T) {
	forEachDB(t, func(t *testing.T, open func() *store.DB) {
		db := open()
		ctx := gatehouse.WithOrigin(t.Context(), gatehouse.Origin{Actor: gatehouse.ActorClient, RequestID: "of the context"})
		events := []*gatehouse.Event{
			{At: now, Kind: gatehouse.EventTokenIssued, Provider: "alpha", ClientID: "tpp", Detail: "first"},
			{At: now.Add(time.Second), Kind: gatehouse.EventTokenIssued, Provider: "beta", ClientID: "tpp", Detail: "second"},
			{At: now.Add(2 * time.Second), Kind: gatehouse.EventGrantRevoked, Provider: "alpha", ClientID: "other", GrantID: "grant", Detail: "third"},
			{At: now.Add(3 * time.Second), Kind: gatehouse.EventConsentRevoked, Provider: "alpha", ClientID: "tpp", GrantID: "grant", ConsentID: "consent", Detail: "fourth"},
			{At: now.Add(4*time.Second + time.Microsecond), Kind: gatehouse.EventClientUpdated, ClientID: "tpp", Detail: "fifth",
				Origin: gatehouse.Origin{Actor: gatehouse.ActorOperator, Name: "op"}},
		}
		for _, i := range []int{3, 0, 4, 2, 1} {
			must(t, db.Record(ctx, events[i]))
		}
		must(t, db.Record(t.Context(), &gatehouse.Event{At: now.Add(time.Hour), Kind: gatehouse.EventClientUpdated, Detail: "last"}))

		all, err := db.Events(ctx, gatehouse.EventFilter{}, "", 100)
		must(t, err)
		var want []*gatehouse.Event
		for i, e := range events {
			stored := *e
			if i < 4 {
				stored.Origin = gatehouse.OriginOf(ctx)
			}
			stored.At = stored.At.Truncate(time.Millisecond)
			want = append(want, &stored)
		}
		want = append(want, &gatehouse.Event{At: now.Add(time.Hour), Kind: gatehouse.EventClientUpdated, Detail: "last", Origin: gatehouse.Origin{Actor: gatehouse.ActorSystem}})
		if diff := cmp.Diff(want, all, cmpopts.IgnoreFields(gatehouse.Event{}, "ID")); diff != "" {
			t.Fatalf("(-want +got)\n%s", diff)
		}

		for name, c := range map[string]struct {
			f     gatehouse.EventFilter
			after int // which event; -1 starts
			limit int
			want  string
		}{
			"all":                {gatehouse.EventFilter{}, -1, 100, "first second third fourth fifth last"},
			"a page":             {gatehouse.EventFilter{}, -1, 2, "first second"},
			"the next page":      {gatehouse.EventFilter{}, 1, 2, "third fourth"},
			"after the last":     {gatehouse.EventFilter{}, 5, 2, ""},
			"of a provider":      {gatehouse.EventFilter{Provider: "alpha"}, -1, 100, "first third fourth"},
			"of a provider, on":  {gatehouse.EventFilter{Provider: "alpha"}, 0, 1, "third"},
			"of a client":        {gatehouse.EventFilter{ClientID: "tpp"}, -1, 100, "first second fourth fifth"},
			"of a grant":         {gatehouse.EventFilter{GrantID: "grant"}, -1, 100, "third fourth"},
			"of a consent":       {gatehouse.EventFilter{ConsentID: "consent"}, -1, 100, "fourth"},
			"of a kind":          {gatehouse.EventFilter{Kind: gatehouse.EventTokenIssued}, -1, 100, "first second"},
			"of several members": {gatehouse.EventFilter{Provider: "alpha", ClientID: "tpp", Kind: gatehouse.EventTokenIssued}, -1, 100, "first"},
			"of all members": {gatehouse.EventFilter{Provider: "alpha", ClientID: "tpp", GrantID: "grant", ConsentID: "consent", Kind: gatehouse.EventConsentRevoked},
				-1, 100, "fourth"},
			"of nobody": {gatehouse.EventFilter{Provider: "ALPHA"}, -1, 100, ""},
		} {
			after := ""
			if c.after >= 0 {
				after = all[c.after].ID
			}
			list, err := db.Events(ctx, c.f, after, c.limit)
			must(t, err)
			var details []string
			for _, e := range list {
				details = append(details, e.Detail)
			}
			if got := strings.Join(details, " "); got != c.want {
				t.Errorf("%s: got %q, want %q", name, got, c.want)
			}
		}
	})
}

// chainHash is what seals events, under the key "kek".
func chainHash(t testing.TB) func([]byte, *gatehouse.Event) []byte {
	kek := aKEK(t, "kek")
	return func(previous []byte, e *gatehouse.Event) []byte { return e.ChainHash(kek, previous) }
}

// sealAll seals until nothing is left, and returns how many events.
func sealAll(t testing.TB, db *store.DB) (sealed int) {
	t.Helper()
	hash := chainHash(t)
	for {
		n, err := db.SealEvents(context.Background(), hash)
		must(t, err)
		if n == 0 {
			return sealed
		}
		sealed += n
	}
}

// walkChain reads the chain in pages and returns its details, or what is wrong
// with it.
func walkChain(ctx context.Context, db *store.DB, kek *jose.KEK) (details []string, err error) {
	var previous []byte
	var last int64
	for {
		page, err := db.Chain(ctx, last, 7)
		if err != nil || len(page) == 0 {
			return details, err
		}
		for _, e := range page {
			switch {
			case e.Sequence != last+1:
				return details, fmt.Errorf("%d comes after %d", e.Sequence, last)
			case !bytes.Equal(e.Hash, e.ChainHash(kek, previous)):
				return details, fmt.Errorf("%d has a wrong hash", e.Sequence)
			}
			last, previous = e.Sequence, e.Hash
			details = append(details, e.Detail)
		}
	}
}

// holds fails the test unless the chain is whole and has these details.
func holds(t *testing.T, db *store.DB, want ...string) {
	t.Helper()
	got, err := walkChain(t.Context(), db, aKEK(t, "kek"))
	must(t, err)
	equal(t, got, want)
}

// Events are sealed in the order of their ids, those that come late after the
// ones that are sealed; a sealed event stays as it is.
// Proves: O11
func TestSealEvents(t *testing.T) {
	forEachDB(t, func(t *testing.T, open func() *store.DB) {
		db := open()
		equal(t, sealAll(t, db), 0)
		holds(t, db)
		record(t, db, "b", now.Add(2*time.Second))
		record(t, db, "a", now.Add(time.Second))
		equal(t, sealAll(t, db), 2)
		holds(t, db, "a", "b")
		record(t, db, "late", now)
		record(t, db, "c", now.Add(3*time.Second))
		equal(t, sealAll(t, db), 2)
		holds(t, db, "a", "b", "late", "c")

		before, err := db.Chain(t.Context(), 2, 1)
		must(t, err)
		equal(t, len(before), 1)
		equal(t, before[0].Detail, "late")
		want := anEvent("alpha", "late", now)
		want.ID, want.Sequence, want.Hash = before[0].ID, 3, before[0].Hash
		equal(t, before[0], want)
		if _, err := walkChain(t.Context(), db, aKEK(t, "another")); err == nil {
			t.Error("a chain holds under another key")
		}
	})
}

// More events than one call takes are sealed in several.
func TestSealManyEvents(t *testing.T) {
	const events = 450
	forEachDB(t, func(t *testing.T, open func() *store.DB) {
		db, hash := open(), chainHash(t)
		for i, err := range together(events, func(i int) error {
			return db.Record(context.Background(), anEvent("alpha", strconv.Itoa(i), now.Add(time.Duration(i)*time.Second)))
		}) {
			if err != nil {
				t.Fatalf("event %d: %v", i, err)
			}
		}
		for _, want := range []int{200, 200, 50, 0} {
			n, err := db.SealEvents(t.Context(), hash)
			must(t, err)
			equal(t, n, want)
		}
		var want []string
		for i := range events {
			want = append(want, strconv.Itoa(i))
		}
		holds(t, db, want...)
	})
}

// Whatever is done to the rows of the chain by somebody without the key is
// seen, but the loss of its end, which nothing inside the database can show.
// Proves: O11
func TestChainTampered(t *testing.T) {
	const events = 20
	tampering := map[string]string{
		"sequence":         `UPDATE events SET sequence = 21 WHERE sequence = 20`,
		"id":               `UPDATE events SET id = '0' WHERE sequence = 10`,
		"at":               `UPDATE events SET at = at + 1 WHERE sequence = 10`,
		"hash":             `UPDATE events SET hash = (SELECT hash FROM events WHERE sequence = 9) WHERE sequence = 10`,
		"hash of the last": `UPDATE events SET hash = (SELECT hash FROM events WHERE sequence = 9) WHERE sequence = 20`,
		"no hash":          `UPDATE events SET hash = NULL WHERE sequence = 10`,
		"delete the first": `DELETE FROM events WHERE sequence = 1`,
		"delete":           `DELETE FROM events WHERE sequence = 10`,
		"delete and close up": `DELETE FROM events WHERE sequence = 10; UPDATE events SET sequence = -sequence WHERE sequence > 10;
			UPDATE events SET sequence = -sequence - 1 WHERE sequence < 0`,
		// What stands in one column moves into the next.
		"between columns":  `UPDATE events SET client_id = provider || client_id, provider = '' WHERE sequence = 10`,
		"out of the chain": `UPDATE events SET sequence = NULL, hash = NULL WHERE sequence = 10`,
		"swap places": `UPDATE events SET sequence = 99 WHERE sequence = 10; UPDATE events SET sequence = 10 WHERE sequence = 11;
			UPDATE events SET sequence = 11 WHERE sequence = 99`,
		"swap places and hashes": `UPDATE events SET sequence = 99, hash = (SELECT hash FROM events WHERE sequence = 11) WHERE sequence = 10;
			UPDATE events SET sequence = 10, hash = (SELECT hash FROM events WHERE sequence = 99) WHERE sequence = 11;
			UPDATE events SET sequence = 11 WHERE sequence = 99`,
		"insert at the end": `INSERT INTO events SELECT 'new', at, kind, provider, client_id, grant_id, consent_id, detail, actor, actor_name, request_id, 21, hash
			FROM events WHERE sequence = 20`,
		"insert between": `UPDATE events SET sequence = -sequence WHERE sequence > 10; UPDATE events SET sequence = 1 - sequence WHERE sequence < 0;
			INSERT INTO events SELECT 'new', at, kind, provider, client_id, grant_id, consent_id, detail, actor, actor_name, request_id, 11, hash
			FROM events WHERE sequence = 10`,
		"insert before the first": `INSERT INTO events SELECT 'new', at, kind, provider, client_id, grant_id, consent_id, detail, actor, actor_name, request_id, 0, hash
			FROM events WHERE sequence = 1; UPDATE events SET sequence = -sequence - 1; UPDATE events SET sequence = -sequence`,
	}
	for _, column := range []string{"kind", "provider", "client_id", "grant_id", "consent_id", "detail", "actor", "actor_name", "request_id"} {
		tampering[column] = `UPDATE events SET ` + column + ` = 'x' WHERE sequence = 10`
	}
	storetest.Each(t, func(t *testing.T, url string) {
		db, beside, kek := open(t, url), raw(t, url), aKEK(t, "kek")
		for name, script := range tampering {
			t.Run(name, func(t *testing.T) {
				empty(t, beside)
				for i := range events {
					record(t, db, strconv.Itoa(i), now.Add(time.Duration(i)*time.Second))
				}
				equal(t, sealAll(t, db), events)
				details, err := walkChain(t.Context(), db, kek)
				must(t, err)
				equal(t, len(details), events)
				for statement := range strings.SplitSeq(script, ";") {
					exec(t, beside, statement)
				}
				if _, err := walkChain(t.Context(), db, kek); err == nil {
					t.Error("nobody sees it")
				}
			})
		}
	})
}

// What another process seals while this one is about to leaves a whole chain,
// each event once.
// Proves: O11
func TestSealersMeet(t *testing.T) {
	type meeting struct {
		t      *testing.T
		a, b   *store.DB
		kek    *jose.KEK
		beside *sql.DB
	}
	// during seals at a database, and does something between its reading and
	// its writing.
	during := func(m meeting, db *store.DB, then func()) int {
		n, err := db.SealEvents(m.t.Context(), func(previous []byte, e *gatehouse.Event) []byte {
			if then != nil {
				then()
				then = nil
			}
			return e.ChainHash(m.kek, previous)
		})
		if err != nil {
			m.t.Errorf("seal: %v", err)
		}
		return n
	}
	at := func(second int) time.Time { return now.Add(time.Duration(second) * time.Second) }
	for name, c := range map[string]struct {
		meet func(m meeting)
		want string
	}{
		"the same": {func(m meeting) {
			record(m.t, m.a, "1", at(1))
			record(m.t, m.a, "2", at(2))
			equal(m.t, during(m, m.a, func() { equal(m.t, during(m, m.b, nil), 2) }), 0)
		}, "1 2"},
		"the other knows more": {func(m meeting) {
			record(m.t, m.a, "1", at(1))
			equal(m.t, during(m, m.a, func() {
				record(m.t, m.a, "2", at(2))
				equal(m.t, during(m, m.b, nil), 2)
			}), 0)
		}, "1 2"},
		"the other knows less": {func(m meeting) {
			record(m.t, m.a, "1", at(1))
			hasRead, mayWrite, less := make(chan struct{}), make(chan struct{}), make(chan int)
			go func() {
				less <- during(m, m.b, func() {
					close(hasRead)
					<-mayWrite
				})
			}()
			<-hasRead
			record(m.t, m.a, "2", at(2))
			equal(m.t, during(m, m.a, func() {
				close(mayWrite)
				equal(m.t, <-less, 1)
			}), 1)
		}, "1 2"},
		"the other knows an earlier one": {func(m meeting) {
			record(m.t, m.a, "1", at(1))
			equal(m.t, during(m, m.a, func() {
				record(m.t, m.a, "0", at(0))
				equal(m.t, during(m, m.b, nil), 2)
			}), 0)
		}, "0 1"},
		"the other does not know an earlier one": {func(m meeting) {
			record(m.t, m.a, "1", at(1))
			hasRead, mayWrite, less := make(chan struct{}), make(chan struct{}), make(chan int)
			go func() {
				less <- during(m, m.b, func() {
					close(hasRead)
					<-mayWrite
				})
			}()
			<-hasRead
			record(m.t, m.a, "0", at(0))
			equal(m.t, during(m, m.a, func() {
				close(mayWrite)
				equal(m.t, <-less, 1)
			}), 0)
			equal(m.t, during(m, m.a, nil), 1)
		}, "1 0"},
		// Programs of another release may seal fewer at a time: the places
		// that this one fills are free, but behind another chain.
		"in another order": {func(m meeting) {
			for _, i := range []int{1, 2, 3} {
				record(m.t, m.a, strconv.Itoa(i), at(i))
			}
			equal(m.t, during(m, m.a, func() {
				list, err := m.a.Events(m.t.Context(), gatehouse.EventFilter{}, "", 10)
				must(m.t, err)
				var previous []byte
				for i, e := range []*gatehouse.Event{list[1], list[0]} {
					e.Sequence = int64(i + 1)
					previous = e.ChainHash(m.kek, previous)
					exec(m.t, m.beside, fmt.Sprintf("UPDATE events SET sequence = %d, hash = '%s' WHERE id = '%s'", e.Sequence, base64.RawURLEncoding.EncodeToString(previous), e.ID))
				}
			}), 0)
			equal(m.t, during(m, m.a, nil), 1)
		}, "2 1 3"},
	} {
		t.Run(name, func(t *testing.T) {
			storetest.Each(t, func(t *testing.T, url string) {
				m := meeting{t, open(t, url), open(t, url), aKEK(t, "kek"), raw(t, url)}
				c.meet(m)
				holds(t, m.a, strings.Fields(c.want)...)
			})
		})
	}
}

// One process seals an event that another is about to seal behind an earlier
// one: the first would hold that event and wait for the place in the chain,
// the other the reverse.
// Proves: O11
func TestSealersDoNotDeadlock(t *testing.T) {
	url := storetest.URL(t, "postgres")
	writer, beside := open(t, url), raw(t, url)
	exec(t, beside, `DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET deadlock_timeout = ''1min''', current_database()); END $$`)
	hash, mayWrite, results := chainHash(t), make(chan struct{}), make(chan error, 2)
	// seal returns when a sealer has read, and is about to write.
	seal := func() {
		db, read := open(t, url), make(chan struct{})
		pause := sync.OnceFunc(func() {
			close(read)
			<-mayWrite
		})
		go func() {
			_, err := db.SealEvents(t.Context(), func(previous []byte, e *gatehouse.Event) []byte {
				pause()
				return hash(previous, e)
			})
			results <- err
		}()
		<-read
	}
	record(t, writer, "later", now.Add(time.Second))
	seal()
	record(t, writer, "earlier", now)
	seal()
	lock, err := beside.BeginTx(t.Context(), nil)
	must(t, err)
	defer lock.Rollback()
	_, err = lock.ExecContext(t.Context(), `SELECT 1 FROM events WHERE detail = 'later' FOR UPDATE`)
	must(t, err)
	close(mayWrite)
	await(t, beside, `SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock' HAVING count(*) = 2`)
	must(t, lock.Rollback())
	must(t, <-results)
	must(t, <-results)
	sealAll(t, writer)
	details, err := walkChain(t.Context(), writer, aKEK(t, "kek"))
	must(t, err)
	slices.Sort(details)
	equal(t, details, []string{"earlier", "later"})
}

// Several processes write events, with clocks that differ, and seal them, all
// at once: one whole chain comes of it, and each event is counted once.
// Proves: O11
func TestSealersRace(t *testing.T) {
	const handles, writers, sealers, each = 4, 8, 8, 40
	rounds := storetest.Rounds(t, 2)
	forEachDB(t, func(t *testing.T, open func() *store.DB) {
		hash := chainHash(t)
		var dbs []*store.DB
		for range handles {
			dbs = append(dbs, open())
		}
		recorded := 0
		for range rounds {
			var writing, sealed atomic.Int64
			writing.Store(writers)
			for i, err := range together(writers+sealers, func(i int) error {
				db := dbs[i%handles]
				if i < writers {
					defer writing.Add(-1)
					for n := range each {
						// The clocks of the writers are seconds apart.
						at := now.Add(time.Duration(n-3*i) * time.Second)
						if err := db.Record(context.Background(), anEvent("alpha", fmt.Sprint(i, n), at)); err != nil {
							return err
						}
					}
					return nil
				}
				for {
					done := writing.Load() == 0
					n, err := db.SealEvents(context.Background(), hash)
					sealed.Add(int64(n))
					if err != nil || done {
						return err
					}
				}
			}) {
				if err != nil {
					t.Errorf("call %d: %v", i, err)
				}
			}
			recorded += writers * each
			sealed.Add(int64(sealAll(t, dbs[0])))
			details, err := walkChain(t.Context(), dbs[0], aKEK(t, "kek"))
			must(t, err)
			equal(t, []int{int(sealed.Load()), len(details)}, []int{writers * each, recorded})
		}
	})
}
