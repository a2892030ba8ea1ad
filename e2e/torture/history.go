//go:build linux

package main

import (
	"slices"
	"strings"
	"sync"
	"time"
)

// A history is everything that was asked of the replicas and what came of it,
// in no order. The checks read it and nothing else.
type history struct {
	mu      sync.Mutex
	calls   []*call
	windows []window
}

// An outcome is what a caller may conclude from an answer.
type outcome string

const (
	// ok: the answer says that it happened, so it did, durably.
	ok outcome = "ok"
	// refused: the answer says that it did not happen.
	refused outcome = "refused"
	// unknown: 5xx, half an answer or none. It may have happened, it may even
	// happen yet.
	unknown outcome = "unknown"
)

// A kind says what a call asks for.
type kind string

const (
	credentials kind = "client_credentials"
	begin       kind = "begin"
	verdict     kind = "verdict"
	exchange    kind = "exchange"
	refresh     kind = "refresh"
	revoke      kind = "revoke"
	introspect  kind = "introspect"
	lodge       kind = "lodge"
	withdraw    kind = "withdraw"
	public      kind = "public" // discovery, JWKS, liveness
)

// A call is one request to one replica. Secrets stand for themselves: they are
// good for nothing when the run is over.
type call struct {
	kind       kind
	replica    int
	start, end time.Time

	// What was sent.
	provider string
	client   string
	jti      string // of the assertion; "" for a client with a secret
	code     string // begin, verdict, exchange
	token    string // refresh, revoke, introspect, withdraw: one of the grant
	approves bool   // verdict

	// What came back.
	outcome     outcome
	status      int    // 0: nothing, or half of it
	fault       string // `error` or `error_class`
	description string
	retryAfter  bool // the header is there
	access      string
	refresh     string
	life        time.Duration // of access, from the answer
	active      bool          // introspect

	// offset is how far the replica's clock was off; steady says that it stayed
	// so from start to end.
	offset time.Duration
	steady bool
}

// A window is the time of a fault, from before it was injected until the
// service worked again.
type window struct {
	fault     string // by name; two are joined by +
	clock     bool   // clocks were wrong
	stalls    bool   // replicas were held up
	start     time.Time
	healed    time.Time
	recovered time.Time
}

func (h *history) add(c *call) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.calls = append(h.calls, c)
}

// open begins the window of one or two faults, which lasts until close.
func (h *history) open(now time.Time, faults ...fault) {
	w := window{start: now, recovered: now.Add(24 * time.Hour)}
	var names []string
	for _, f := range faults {
		names = append(names, f.name)
		w.clock, w.stalls = w.clock || f.clock, w.stalls || f.stalls
	}
	w.fault = strings.Join(names, "+")
	h.mu.Lock()
	defer h.mu.Unlock()
	h.windows = append(h.windows, w)
}

// close ends the window that was opened last.
func (h *history) close(healed, recovered time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	w := &h.windows[len(h.windows)-1]
	w.healed, w.recovered = healed, recovered
}

// snapshot returns what there is so far, calls in the order of their ends.
func (h *history) snapshot() *history {
	h.mu.Lock()
	defer h.mu.Unlock()
	s := &history{calls: slices.Clone(h.calls), windows: slices.Clone(h.windows)}
	slices.SortStableFunc(s.calls, func(a, b *call) int { return a.end.Compare(b.end) })
	return s
}

// The windows that a call may fall into.
func anyWindow(window) bool        { return true }
func clockWindow(w window) bool    { return w.clock }
func stallingWindow(w window) bool { return w.stalls }

// overlaps reports whether a window of the sort reaches into the time from
// start to end.
func (h *history) overlaps(start, end time.Time, sort func(window) bool) bool {
	return slices.ContainsFunc(h.windows, func(w window) bool {
		return sort(w) && w.start.Before(end) && start.Before(w.recovered)
	})
}

// latest is when a call whose outcome is unknown can have had its effect at the
// latest: a request may wait in a stopped process until its fault is over, and
// then has the server's deadline.
func (h *history) latest(c *call) time.Time {
	if c.outcome != unknown {
		return c.end
	}
	latest := c.end
	for _, w := range h.windows {
		if w.start.Before(c.end) && c.start.Before(w.recovered) && w.recovered.After(latest) {
			latest = w.recovered
		}
	}
	return latest.Add(serverDeadline)
}

// serverDeadline is how long the server works on a request.
const serverDeadline = 10 * time.Second
