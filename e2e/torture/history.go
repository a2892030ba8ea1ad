//go:build linux

package main

import (
	"slices"
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
	token    string // refresh, revoke, introspect
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
	fault     string
	clock     bool // clocks were wrong
	start     time.Time
	healed    time.Time
	recovered time.Time
}

func (h *history) add(c *call) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.calls = append(h.calls, c)
}

// open begins a window, which lasts until close.
func (h *history) open(f fault, now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.windows = append(h.windows, window{fault: f.name, clock: f.clock, start: now, recovered: now.Add(24 * time.Hour)})
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

// overlaps reports whether a window of a fault reaches into the time from start
// to end, be it any or one of the clock.
func (h *history) overlaps(start, end time.Time, clockOnly bool) bool {
	for _, w := range h.windows {
		if (w.clock || !clockOnly) && w.start.Before(end) && start.Before(w.recovered) {
			return true
		}
	}
	return false
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
