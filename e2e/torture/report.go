//go:build linux

package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"time"
)

// maxShown bounds the findings of one rule that are printed in full.
const maxShown = 20

// tell writes what is known about each finding: the calls of its family.
func tell(w io.Writer, findings []finding) {
	for _, f := range findings {
		fmt.Fprintf(w, "(%s) %s\n", f.rule, f.text)
		if f.about == nil {
			continue
		}
		for _, c := range f.about.calls {
			fmt.Fprintf(w, "    %s +%-8s replica %d %-18s %s %d %s %q  sent %s%s  got %s %s  active %t  offset %s steady %t\n",
				c.start.Format("15:04:05.000"), c.end.Sub(c.start).Round(time.Millisecond), c.replica, c.kind, c.outcome, c.status, c.fault, c.description,
				abbreviated(c.token), c.code, abbreviated(c.access), abbreviated(c.refresh), c.active, c.offset, c.steady)
		}
	}
}

// abbreviated is the end of a token, enough to tell it from others.
func abbreviated(token string) string { return token[max(0, len(token)-6):] }

// report prints what was done and what came of it.
func (r *run) report(findings []finding) {
	calls := map[kind]map[outcome]int{}
	for _, c := range r.history.snapshot().calls {
		if calls[c.kind] == nil {
			calls[c.kind] = map[outcome]int{}
		}
		calls[c.kind][c.outcome]++
	}
	fmt.Printf("  %-20s %9s %9s %9s\n", "calls", ok, refused, unknown)
	for _, k := range slices.Sorted(maps.Keys(calls)) {
		fmt.Printf("  %-20s %9d %9d %9d\n", k, calls[k][ok], calls[k][refused], calls[k][unknown])
	}
	fmt.Printf("  %-20s %9s %s\n", "faults", "injected", "longest recovery")
	for _, name := range slices.Sorted(maps.Keys(r.injected)) {
		fmt.Printf("  %-20s %9d %9.1f s\n", name, r.injected[name].count, r.injected[name].recovery.Seconds())
	}
	shown := map[string]int{}
	for _, f := range findings {
		if shown[f.rule]++; shown[f.rule] <= maxShown {
			fmt.Printf("  FOUND (%s) %s\n", f.rule, f.text)
		}
	}
	for _, rule := range slices.Sorted(maps.Keys(shown)) {
		if n := shown[rule] - maxShown; n > 0 {
			fmt.Printf("  FOUND (%s) %d more\n", rule, n)
		}
	}
	fmt.Printf("  %d findings\n", len(findings))
}

// reportGrants prints how often there was something to lose.
func (r *run) reportGrants() {
	l := newLedger(r.history.snapshot(), rotationGrace)
	grants := l.distinct()
	ends := map[string]int{}
	for _, f := range grants {
		switch {
		case !f.ended.IsZero():
			ends[f.why]++
		case !f.maybeEnded.IsZero():
			ends["perhaps, by a call without an answer"]++
		}
	}
	presentedAgain := 0
	for _, uses := range l.jtis {
		presentedAgain += len(uses) - 1
	}
	fmt.Printf("  %d grants with %d access tokens; %d assertions, presented again %d times\n", len(grants), len(l.tokens), len(l.jtis), presentedAgain)
	for _, why := range slices.Sorted(maps.Keys(ends)) {
		fmt.Printf("  %9d ended: %s\n", ends[why], why)
	}
}
