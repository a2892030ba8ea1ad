package admin_test

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"gatehouse"
	"gatehouse/admin"
	"gatehouse/jose"
)

// record leaves n events and seals them.
func (o *office) record(n int) {
	o.t.Helper()
	for range n {
		o.now = o.now.Add(time.Millisecond)
		must(o.t, o.Store.Record(o.t.Context(), &gatehouse.Event{
			At: o.now, Kind: gatehouse.EventTokenIssued, Provider: "alpha", ClientID: "tpp", GrantID: "grant", ConsentID: "consent", Detail: "detail",
			Origin: gatehouse.Origin{Actor: gatehouse.ActorClient, Name: "name", RequestID: "request"},
		}))
	}
	_, err := o.SealEvents(o.t.Context())
	must(o.t, err)
}

func (o *office) verify(kept admin.Head) *admin.ChainState {
	o.t.Helper()
	state, err := o.VerifyEvents(o.t.Context(), kept)
	must(o.t, err)
	return state
}

// holds fails the test unless the chain holds and has as many lines.
func (o *office) holds(kept admin.Head, lines int64) *admin.ChainState {
	o.t.Helper()
	state := o.verify(kept)
	if state.Fault != nil || state.Overdue != 0 || state.Head.Sequence != lines {
		o.t.Fatalf("got %d lines, %d overdue, fault %v; want %d that hold", state.Head.Sequence, state.Overdue, state.Fault, lines)
	}
	return state
}

// A chain that nobody has touched holds, over more lines than are read or
// sealed at a time, and every head that it had is still in it.
//
// Proves: O11
func TestVerifyEvents(t *testing.T) {
	forEachDB(t, func(t *testing.T, o *office) {
		o.holds(admin.Head{}, 0)
		heads := []admin.Head{{}}
		for _, n := range []int{1, 1, 448} {
			o.record(n)
			heads = append(heads, o.holds(admin.Head{}, heads[len(heads)-1].Sequence+int64(n)).Head)
		}
		for _, head := range heads {
			o.holds(head, 450)
		}
		last, err := o.SealEvents(t.Context())
		if err != nil || last.Sequence != 0 {
			t.Errorf("with nothing to seal: %v, %v", last, err)
		}
	})
}

// Any number of processes seal at once, each event once.
//
// Proves: O11
func TestSealEventsAtOnce(t *testing.T) {
	forEachDB(t, func(t *testing.T, o *office) {
		const each = 40
		var working sync.WaitGroup
		for range 2 {
			a := *o.Admin
			a.Store = o.open()
			for range 4 {
				working.Go(func() {
					for range each {
						if err := a.Store.Record(context.Background(), &gatehouse.Event{At: a.Now(), Kind: gatehouse.EventGrantRevoked}); err != nil {
							t.Error(err)
						}
						if _, err := a.SealEvents(context.Background()); err != nil {
							t.Error(err)
						}
					}
				})
			}
		}
		working.Wait()
		_, err := o.SealEvents(t.Context()) // what the last of each left to the others
		must(t, err)
		if state := o.holds(admin.Head{}, 8*each); state.Waiting != 0 {
			t.Errorf("%d events wait", state.Waiting)
		}
	})
}

// The head that SealEvents returns is that of the chain.
func TestSealEventsReturnsTheHead(t *testing.T) {
	forEachDB(t, func(t *testing.T, o *office) {
		for range 3 {
			must(t, o.Store.Record(t.Context(), &gatehouse.Event{At: o.now, Kind: gatehouse.EventPSUEntered}))
		}
		head, err := o.SealEvents(t.Context())
		must(t, err)
		if want := o.holds(head, 3).Head; head.String() != want.String() {
			t.Errorf("head %v, want %v", head, want)
		}
	})
}

// Whatever somebody does to the table who can write to the database, and does
// not have the key-encryption key, is found at the first place where it shows.
// Every row starts with six lines and ends with a head that was kept of them.
//
// Proves: O11
func TestTampering(t *testing.T) {
	const hash = "'AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA'"
	const another = `INSERT INTO events (id, at, kind, provider, client_id, grant_id, consent_id, detail, actor, actor_name, request_id, sequence, hash)
		SELECT 'another', at, kind, provider, 'somebody', grant_id, consent_id, detail, actor, actor_name, request_id, `
	// Numbers are moved by way of others: each is there only once at any time.
	shift := func(by string) []string {
		return []string{"UPDATE events SET sequence = 100 + sequence " + by + " WHERE sequence > 2", "UPDATE events SET sequence = sequence - 100 WHERE sequence > 100"}
	}
	type tampering struct {
		name    string
		sql     []string
		line    int64 // 0: the chain itself holds
		finding admin.ChainBreak
		// kept is the finding with the head that was kept, where it differs.
		kept    *admin.ChainFault
		overdue int
	}
	rows := []tampering{
		{name: "hash", sql: []string{"UPDATE events SET hash = " + hash + " WHERE sequence = 3"}, line: 3, finding: admin.LineChanged},
		{name: "no hash", sql: []string{"UPDATE events SET hash = NULL WHERE sequence = 3"}, line: 3, finding: admin.LineChanged},
		{name: "line and hash", sql: []string{"UPDATE events SET kind = 'x', hash = " + hash + " WHERE sequence = 3"}, line: 3, finding: admin.LineForeign},
		{name: "first line", sql: []string{"UPDATE events SET kind = 'x' WHERE sequence = 1"}, line: 1, finding: admin.LineChanged},
		{name: "last line", sql: []string{"UPDATE events SET kind = 'x' WHERE sequence = 6"}, line: 6, finding: admin.LineChangedOrForeign},
		{name: "a word moved to the next column", sql: []string{"UPDATE events SET client_id = 'tppgrant', grant_id = '' WHERE sequence = 3"}, line: 3, finding: admin.LineChanged},
		{name: "deleted at the start", sql: []string{"DELETE FROM events WHERE sequence = 1"}, line: 1, finding: admin.LineMissing},
		{name: "deleted in the middle", sql: []string{"DELETE FROM events WHERE sequence IN (3, 4)"}, line: 3, finding: admin.LineMissing},
		{name: "deleted in the middle, gap closed", sql: append([]string{"DELETE FROM events WHERE sequence = 3"}, shift("- 1")...), line: 3, finding: admin.LineForeign},
		{name: "deleted at the end", sql: []string{"DELETE FROM events WHERE sequence > 4"}, kept: &admin.ChainFault{Sequence: 5, Finding: admin.LineMissing}},
		{name: "deleted altogether", sql: []string{"DELETE FROM events"}, kept: &admin.ChainFault{Sequence: 1, Finding: admin.LineMissing}},
		{name: "swapped", sql: []string{"UPDATE events SET sequence = 100 WHERE sequence = 3", "UPDATE events SET sequence = 3 WHERE sequence = 4", "UPDATE events SET sequence = 4 WHERE sequence = 100"},
			line: 3, finding: admin.LineForeign},
		{name: "inserted at the end", sql: []string{another + `7, ` + hash + ` FROM events WHERE sequence = 6`}, line: 7, finding: admin.LineChangedOrForeign},
		{name: "inserted at the end with a hash that was right once", sql: []string{another + `7, hash FROM events WHERE sequence = 6`}, line: 7, finding: admin.LineChangedOrForeign},
		{name: "inserted beyond the end", sql: []string{another + `9, hash FROM events WHERE sequence = 6`}, line: 7, finding: admin.LineMissing},
		{name: "inserted in the middle", sql: append(shift("+ 1"), another+`3, `+hash+` FROM events WHERE sequence = 2`), line: 3, finding: admin.LineForeign},
		{name: "inserted before the start", sql: []string{another + `-1, hash FROM events WHERE sequence = 1`}, overdue: 1},
		{name: "inserted outside the chain", sql: []string{another + `NULL, NULL FROM events WHERE sequence = 1`}, overdue: 1},
		{name: "inserted outside the chain, in the future", sql: []string{another + `NULL, NULL FROM events WHERE sequence = 1`, "UPDATE events SET at = at + 86400000 WHERE id = 'another'"}, overdue: 1},
		{name: "taken out of the chain", sql: []string{"UPDATE events SET sequence = NULL, hash = NULL WHERE sequence > 4"}, overdue: 2,
			kept: &admin.ChainFault{Sequence: 5, Finding: admin.LineMissing}},
	}
	for _, column := range []string{"id", "kind", "provider", "client_id", "grant_id", "consent_id", "detail", "actor", "actor_name", "request_id"} {
		rows = append(rows, tampering{name: column, sql: []string{"UPDATE events SET " + column + " = 'x' WHERE sequence = 3"}, line: 3, finding: admin.LineChanged})
	}
	rows = append(rows, tampering{name: "at", sql: []string{"UPDATE events SET at = at + 1 WHERE sequence = 3"}, line: 3, finding: admin.LineChanged})

	forEachDB(t, func(t *testing.T, o *office) {
		o.record(6)
		head := o.holds(admin.Head{}, 6).Head
		o.now = o.now.Add(time.Hour)
		beside := o.beside()
		run := func(statements ...string) {
			for _, text := range statements {
				if _, err := beside.ExecContext(t.Context(), text); err != nil {
					t.Fatalf("%s: %v", text, err)
				}
			}
		}
		run("CREATE TABLE copied AS SELECT * FROM events")
		for _, row := range rows {
			run(row.sql...)
			var want *admin.ChainFault
			if row.line > 0 {
				want = &admin.ChainFault{Sequence: row.line, Finding: row.finding}
			}
			if row.kept == nil {
				row.kept = want
			}
			for kept, want := range map[*admin.Head]*admin.ChainFault{{}: want, &head: row.kept} {
				state := o.verify(*kept)
				if brief(state.Fault) != brief(want) || state.Overdue != row.overdue || len(state.OverdueEvents) != row.overdue {
					t.Errorf("%s, kept %v: %s and %d overdue, want %s and %d", row.name, kept, brief(state.Fault), state.Overdue, brief(want), row.overdue)
				}
			}
			run("DELETE FROM events", "INSERT INTO events SELECT * FROM copied")
			o.holds(head, 6)
		}

		// A chain that goes on from where it was cut off holds by itself.
		run("DELETE FROM events WHERE sequence = 6")
		o.record(1)
		o.holds(admin.Head{}, 6)
		if fault := o.verify(head).Fault; brief(fault) != "line 6 is not the one whose head was kept" {
			t.Errorf("replaced: %s", brief(fault))
		}

		// Without the key-encryption key nothing holds.
		stranger := *o.Admin
		var err error
		stranger.KEK, err = jose.NewKEK(bytes.Repeat([]byte("x"), 32))
		must(t, err)
		state, err := stranger.VerifyEvents(t.Context(), admin.Head{})
		if err != nil || brief(state.Fault) != "line 1 does not belong" {
			t.Errorf("another key: %v, %v", state, err)
		}
	})
}

func brief(fault *admin.ChainFault) string {
	if fault == nil {
		return "no fault"
	}
	return fault.Error()
}

// What cannot be read as a line is an error that says where.
func TestVerifyEventsThatCannotBeRead(t *testing.T) {
	forEachDB(t, func(t *testing.T, o *office) {
		o.record(3)
		if _, err := o.beside().ExecContext(t.Context(), "UPDATE events SET hash = '?' WHERE sequence = 2"); err != nil {
			t.Fatal(err)
		}
		if state, err := o.VerifyEvents(t.Context(), admin.Head{}); err == nil {
			t.Errorf("it was read: %+v", state)
		}
	})
}

// An event that waits for the sealer is no fault; after a minute it is.
//
// Proves: O11
func TestOverdueEvents(t *testing.T) {
	forEachDB(t, func(t *testing.T, o *office) {
		o.record(2)
		const waiting = 101
		for range waiting {
			must(t, o.Store.Record(t.Context(), &gatehouse.Event{At: o.now, Kind: gatehouse.EventClientUpdated}))
		}
		o.now = o.now.Add(admin.SealingTime)
		if state := o.verify(admin.Head{}); state.Waiting != waiting || state.Overdue != 0 || state.Fault != nil {
			t.Errorf("after a minute: %d wait, %d overdue, %v", state.Waiting, state.Overdue, state.Fault)
		}
		o.now = o.now.Add(time.Millisecond)
		state := o.verify(admin.Head{})
		if state.Waiting != 0 || state.Overdue != waiting || len(state.OverdueEvents) != 100 || state.Fault != nil {
			t.Errorf("after more: %d wait, %d overdue, %d of them shown, %v", state.Waiting, state.Overdue, len(state.OverdueEvents), state.Fault)
		}
	})
}

func TestParseHead(t *testing.T) {
	head, err := admin.ParseHead("17:AQID")
	if err != nil || head.Sequence != 17 || !bytes.Equal(head.Hash, []byte{1, 2, 3}) || head.String() != "17:AQID" {
		t.Errorf("got %v, %v", head, err)
	}
	for _, text := range []string{"", "17", ":", "17:", ":AQID", "x:AQID", "0:AQID", "-1:AQID", "17:AQID=", "17:AQ+D", "17:AQIDB", "17:AQI:D"} {
		if head, err := admin.ParseHead(text); err == nil {
			t.Errorf("%q was read as %v", text, head)
		}
	}
}

// Events are listed in the order of their time, from a moment on, by what they
// are about.
func TestEvents(t *testing.T) {
	forEachDB(t, func(t *testing.T, o *office) {
		began := o.now
		for i := range 410 { // more than two pages
			o.now = began.Add(time.Duration(i) * time.Second)
			e := &gatehouse.Event{At: o.now, Kind: gatehouse.EventTokenIssued, Provider: "alpha", ClientID: "tpp", GrantID: fmt.Sprint("g", i), ConsentID: "c"}
			if i%2 == 1 {
				e.Kind, e.Provider, e.ClientID, e.ConsentID = gatehouse.EventGrantRevoked, "beta", "other", "d"
			}
			must(t, o.Store.Record(t.Context(), e))
		}
		for _, test := range []struct {
			name        string
			filter      gatehouse.EventFilter
			since       time.Time
			count       int
			first, last string // grant ids
		}{
			{"all", gatehouse.EventFilter{}, time.Time{}, 410, "g0", "g409"},
			{"since", gatehouse.EventFilter{}, began.Add(400 * time.Second), 10, "g400", "g409"},
			{"since a moment between", gatehouse.EventFilter{}, began.Add(400*time.Second + 1e6), 9, "g401", "g409"},
			{"since too late", gatehouse.EventFilter{}, began.Add(time.Hour), 0, "", ""},
			{"provider", gatehouse.EventFilter{Provider: "alpha"}, time.Time{}, 205, "g0", "g408"},
			{"client", gatehouse.EventFilter{ClientID: "other"}, time.Time{}, 205, "g1", "g409"},
			{"grant", gatehouse.EventFilter{GrantID: "g7"}, time.Time{}, 1, "g7", "g7"},
			{"consent", gatehouse.EventFilter{ConsentID: "d"}, time.Time{}, 205, "g1", "g409"},
			{"kind", gatehouse.EventFilter{Kind: gatehouse.EventGrantRevoked}, began.Add(time.Minute), 175, "g61", "g409"},
			{"two at once", gatehouse.EventFilter{Provider: "alpha", Kind: gatehouse.EventGrantRevoked}, time.Time{}, 0, "", ""},
		} {
			var got []string
			for e, err := range o.Events(t.Context(), test.filter, test.since) {
				must(t, err)
				got = append(got, e.GrantID)
			}
			if len(got) != test.count || test.count > 0 && (got[0] != test.first || got[len(got)-1] != test.last) {
				t.Errorf("%s: %d, %v", test.name, len(got), got)
			}
		}
		for range o.Events(t.Context(), gatehouse.EventFilter{}, time.Time{}) {
			break // nobody must read to the end
		}
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		failed := 0
		for _, err := range o.Events(ended, gatehouse.EventFilter{}, time.Time{}) {
			if failed++; err == nil {
				t.Error("an event was read in a context that is over")
			}
		}
		if failed != 1 {
			t.Errorf("%d things were yielded, want one error", failed)
		}
	})
}

// What an operator does leaves one event each, with their name.
//
// Proves: O11
func TestOperatorsLeaveEvents(t *testing.T) {
	forEachDB(t, func(t *testing.T, o *office) {
		jwks := newJWKS(t)
		ctx := gatehouse.WithOrigin(t.Context(), gatehouse.Origin{Actor: gatehouse.ActorOperator, Name: "alice"})
		client := newClient()
		client.ID = "tpp"
		for _, step := range []struct {
			want string
			do   func() error
		}{
			{"provider.created demobank", func() error { _, _, err := o.AddProvider(ctx, newProvider(jwks)); return err }},
			{"", func() error { // refused
				if _, _, err := o.AddProvider(ctx, newProvider(jwks)); err == nil {
					return fmt.Errorf("added twice")
				}
				return nil
			}},
			{"provider.updated demobank", func() error { _, err := o.DisableProvider(ctx, "demobank"); return err }},
			{"provider.updated demobank", func() error { _, err := o.EnableProvider(ctx, "demobank", gatehouse.Live); return err }},
			{"client.created tpp", func() error { _, _, err := o.AddClient(ctx, client); return err }},
			{"client.updated tpp", func() error { _, err := o.DisableClient(ctx, "tpp"); return err }},
			{"provider.deleted demobank", func() error { return o.DeleteProvider(ctx, "demobank") }},
		} {
			o.now = o.now.Add(time.Second)
			before := len(o.listed())
			must(t, step.do())
			got := o.listed()[before:]
			var want []string
			if step.want != "" {
				want = []string{step.want + " operator alice"}
			}
			if !slices.Equal(got, want) {
				t.Errorf("got %q, want %q", got, want)
			}
		}
	})
}

// listed is the whole log: kind, what it is about, who.
func (o *office) listed() []string {
	o.t.Helper()
	var lines []string
	for e, err := range o.Events(o.t.Context(), gatehouse.EventFilter{}, time.Time{}) {
		must(o.t, err)
		lines = append(lines, strings.Join(strings.Fields(fmt.Sprint(e.Kind, " ", e.Provider, " ", e.ClientID, " ", e.GrantID, " ", e.ConsentID, " ", e.Actor, " ", e.Name)), " "))
	}
	return lines
}
