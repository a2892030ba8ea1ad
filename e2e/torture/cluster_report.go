//go:build linux

package main

import (
	"fmt"
	"slices"
	"time"
)

// An outage is what one fault cost the callers.
type outage struct {
	fault string
	// gap is the longest time without an acknowledged write.
	gap time.Duration
	// unavailable counts answers 503; unanswered those that never came, or were
	// half; failed any other answer that leaves the outcome open.
	unavailable, unanswered, failed int
	// slowest is the call that waited longest for its answer.
	slowest time.Duration
	// before and after are acknowledged writes per second in the calm on both
	// sides of the fault.
	before, after float64
}

// writes are the kinds of calls that are not answered before the database has
// written something.
var writes = []kind{credentials, begin, verdict, exchange, refresh, revoke}

func isAcknowledgedWrite(c *call) bool { return c.outcome == ok && slices.Contains(writes, c.kind) }

// calm is how long before and after a fault the load is looked at.
const calm = 3 * time.Second

// outages returns one outage for each fault of the history.
func (h *history) outages() (all []outage) {
	h = h.snapshot()
	for _, w := range h.windows {
		o := outage{fault: w.fault, before: h.rate(w.start.Add(-calm), w.start), after: h.rate(w.recovered, w.recovered.Add(calm))}
		last := w.start
		for _, c := range h.calls { // in the order of their ends
			if isAcknowledgedWrite(c) && c.end.After(w.start) {
				if last.Before(w.recovered) {
					o.gap = max(o.gap, c.end.Sub(last))
				}
				last = c.end
			}
			if c.end.Before(w.start) || c.start.After(w.recovered) {
				continue
			}
			o.slowest = max(o.slowest, c.end.Sub(c.start))
			switch {
			case c.outcome != unknown:
			case c.status == 0:
				o.unanswered++
			case c.status == 503:
				o.unavailable++
			default:
				o.failed++
			}
		}
		all = append(all, o)
	}
	return all
}

// rate is the number of acknowledged writes per second from one moment to
// another.
func (h *history) rate(from, to time.Time) float64 {
	n := count(h.calls, func(c *call) bool { return isAcknowledgedWrite(c) && c.end.After(from) && c.end.Before(to) })
	return float64(n) / to.Sub(from).Seconds()
}

// reportOutages prints what the faults cost, and how many acknowledged writes
// the findings say are lost: a token that does not work, a code or an assertion
// that works again, a grant that was ended and goes on.
func (h *history) reportOutages(findings []finding) {
	fmt.Printf("  %-18s %8s %8s %6s %10s %6s %10s %10s\n", "outage", "gap", "slowest", "503", "no answer", "other", "before", "after")
	var longest time.Duration
	for _, o := range h.outages() {
		longest = max(longest, o.gap)
		fmt.Printf("  %-18s %6.1f s %6.1f s %6d %10d %6d %8.0f/s %8.0f/s\n", o.fault, o.gap.Seconds(), o.slowest.Seconds(),
			o.unavailable, o.unanswered, o.failed, o.before, o.after)
	}
	lost := 0
	for _, f := range findings {
		if f.rule == "a" || f.rule == "b" || f.rule == "c" {
			lost++
		}
	}
	fmt.Printf("  %d acknowledged writes, %d lost; longest time without one %.1f s\n",
		count(h.snapshot().calls, isAcknowledgedWrite), lost, longest.Seconds())
}
