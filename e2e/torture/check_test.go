//go:build linux

package main

import (
	"slices"
	"strings"
	"testing"
	"time"
)

// A story is a history that keeps every rule: a visit, its tokens looked at,
// refreshed and revoked, an assertion presented twice, a fault with a call
// that got no answer.
type story struct {
	*history
	begun, decided, early, exchanged, again *call // "code", at the plain provider
	looked                                  *call // at its access token
	refreshed, retried, used                *call // R0 to R1, again, and R1 to R2, at the rotating provider
	revoked, gone, late                     *call // of a grant of client_credentials
	first, second                           *call // with one assertion
	lost                                    *call // in a fault
	discovered                              *call
}

// newStory tells it: each call lasts 10 ms and begins at a second of its own.
func newStory() *story {
	s := &story{history: &history{}}
	clock := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	tell := func(c *call) *call {
		clock = clock.Add(time.Second)
		c.start, c.end, c.steady = clock, clock.Add(10*time.Millisecond), true
		if c.provider == "" {
			c.provider = plainProvider
		}
		if c.outcome == "" {
			c.outcome, c.status = ok, 200
		}
		s.add(c)
		return c
	}
	refusal := func(c *call, status int, fault, description string) *call {
		c.outcome, c.status, c.fault, c.description = refused, status, fault, description
		return c
	}

	s.begun = tell(&call{kind: begin, code: "code"})
	s.early = tell(refusal(&call{kind: exchange, code: "code"}, 425, "authorization_pending", ""))
	s.decided = tell(&call{kind: verdict, code: "code", approves: true})
	s.exchanged = tell(&call{kind: exchange, code: "code", access: "A0", refresh: "P0", life: time.Hour})
	s.looked = tell(&call{kind: introspect, token: "A0", active: true})
	s.again = tell(refusal(&call{kind: exchange, code: "code"}, 400, invalidGrant, "code was used before; its tokens are revoked"))
	tell(&call{kind: introspect, token: "A0"})

	tell(&call{kind: credentials, provider: rotatingProvider, access: "B0", refresh: "R0", life: time.Hour})
	s.refreshed = tell(&call{kind: refresh, provider: rotatingProvider, token: "R0", access: "B1", refresh: "R1", life: time.Hour})
	s.retried = tell(&call{kind: refresh, provider: rotatingProvider, token: "R0", access: "B2", refresh: "R1", life: time.Hour})
	s.used = tell(&call{kind: refresh, provider: rotatingProvider, token: "R1", access: "B3", refresh: "R2", life: time.Hour})
	tell(&call{kind: introspect, provider: rotatingProvider, token: "R2", active: true})

	tell(&call{kind: credentials, access: "C0", refresh: "P1", life: time.Hour})
	s.revoked = tell(&call{kind: revoke, token: "P1"})
	s.gone = tell(&call{kind: introspect, token: "C0"})
	s.late = tell(refusal(&call{kind: refresh, token: "P1"}, 400, invalidGrant, ""))

	s.first = tell(&call{kind: credentials, jti: "jti", access: "D0", life: time.Hour})
	s.second = tell(refusal(&call{kind: credentials, jti: "jti"}, 400, "invalid_client", "jti was used before"))

	s.open(clock.Add(500*time.Millisecond), fault{name: "kill"})
	s.lost = tell(&call{kind: credentials, outcome: unknown})
	s.close(clock.Add(time.Second), clock.Add(1500*time.Millisecond))
	s.discovered = tell(&call{kind: public})
	return s
}

func refuse(c *call, fault string) {
	c.outcome, c.status, c.fault, c.access, c.refresh = refused, 400, fault, "", ""
}

func later(c *call, d time.Duration) { c.start, c.end = c.start.Add(d), c.end.Add(d) }

// Each row changes one thing; the rules named are those that it breaks, none
// where the change has an excuse.
func TestFindings(t *testing.T) {
	for _, row := range []struct {
		name   string
		change func(*story)
		rules  string
	}{
		{"nothing", func(*story) {}, ""},

		{"a token does not work", func(s *story) { s.looked.active = false }, "a"},
		{"a token does not work, and is expired", func(s *story) { s.looked.active, s.exchanged.life = false, 0 }, ""},
		{"a token does not work at a clock that is ahead", func(s *story) { s.looked.active, s.looked.offset = false, 2*time.Hour }, ""},
		{"a token does not work after a revocation without an answer", func(s *story) {
			s.looked.active = false
			s.decided.kind, s.decided.token, s.decided.outcome, s.decided.status = revoke, "A0", unknown, 503
			s.decided.retryAfter = true
			s.decided.code = ""
			s.windows[0].start = s.begun.start
		}, ""},
		{"the newest refresh token does not work", func(s *story) {
			for _, c := range s.calls {
				if c.token == "R2" {
					c.active = false
				}
			}
		}, "a"},

		{"a code works twice", func(s *story) { s.again.outcome, s.again.status, s.again.description = ok, 200, "" }, "ab"},
		{"an assertion works twice", func(s *story) { s.second.outcome, s.second.status, s.second.fault = ok, 200, "" }, "b"},
		{"an assertion works twice, once for nothing", func(s *story) { s.second.fault = invalidGrant }, "be"},
		{"a retry gets another successor", func(s *story) { s.retried.refresh = "R1'" }, "b"},
		{"a refresh token works after its successor", func(s *story) {
			later(s.retried, 1500*time.Millisecond)
		}, "b"},

		{"a token works after its grant's code was replayed", func(s *story) {
			for _, c := range s.calls {
				if c.token == "A0" {
					c.active = true
				}
			}
		}, "c"},
		{"a token works after it was revoked", func(s *story) { s.gone.active = true }, "c"},
		{"a token works after its consent was revoked", func(s *story) { s.revoked.kind, s.gone.active = withdraw, true }, "c"},
		{"a refresh works after a revocation", func(s *story) { s.late.outcome, s.late.status, s.late.fault = ok, 200, "" }, "c"},
		{"a token works after a revocation without an answer", func(s *story) {
			s.gone.active = true
			s.revoked.outcome, s.revoked.status, s.revoked.retryAfter = unknown, 503, true
			s.windows[0].start = s.revoked.start
		}, ""},
		{"a token works after its expiry", func(s *story) { s.exchanged.life = -time.Minute }, "c"},
		{"a token works after a theft", func(s *story) {
			refuse(s.retried, invalidGrant)
			later(s.retried, 1500*time.Millisecond)
		}, "c"},

		{"a status that is not in the contract", func(s *story) { s.late.status = 418 }, "e"},
		{"a server error", func(s *story) { s.lost.status = 500 }, "e"},
		{"503 without Retry-After", func(s *story) { s.lost.status = 503 }, "e"},
		{"503 with Retry-After", func(s *story) { s.lost.status, s.lost.retryAfter = 503, true }, ""},
		{"no discovery", func(s *story) {
			s.discovered.outcome, s.discovered.status, s.discovered.retryAfter = unknown, 503, true
			s.windows[0].recovered = s.discovered.end
		}, "e"},
		{"a client is refused", func(s *story) { s.first.jti = ""; refuse(s.first, "invalid_client") }, "e"},
		{"a good code is refused", func(s *story) { refuse(s.exchanged, invalidGrant) }, "e"},
		{"a good code is refused while clocks are wrong", func(s *story) {
			refuse(s.exchanged, invalidGrant)
			s.windows[0].start, s.windows[0].clock = s.begun.start, true
		}, ""},
		{"a code is called used that nobody used", func(s *story) {
			refuse(s.exchanged, invalidGrant)
			s.exchanged.description = s.again.description
		}, "e"},
		{"a retry of a refresh is refused", func(s *story) { refuse(s.retried, invalidGrant) }, "e"},
		{"a retry of a refresh is refused after the grace", func(s *story) {
			refuse(s.retried, invalidGrant)
			later(s.retried, 2*time.Minute)
			later(s.used, 3*time.Minute)
		}, ""},
		{"a verdict is refused", func(s *story) { refuse(s.decided, "InvalidRequest"); refuse(s.exchanged, invalidGrant) }, "e"},

		{"no answer outside of faults", func(s *story) { s.windows = nil }, "f"},
		{"a late answer in a fault", func(s *story) {
			s.lost.end = s.lost.end.Add(6 * time.Second)
			s.windows[0].recovered = s.lost.end
		}, "f"},
		{"a late answer of a replica that was stopped", func(s *story) {
			s.lost.end = s.lost.end.Add(6 * time.Second)
			s.windows[0].recovered, s.windows[0].stalls = s.lost.end, true
		}, ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			s := newStory()
			row.change(s)
			var broken []string
			for _, f := range s.findings(time.Minute) {
				t.Log(f.rule, f.text)
				broken = append(broken, f.rule)
			}
			slices.Sort(broken)
			if got := strings.Join(slices.Compact(broken), ""); got != row.rules {
				t.Errorf("rules %q are broken, want %q", got, row.rules)
			}
		})
	}
}

// The checks look at a snapshot: a run may go on meanwhile.
func TestSnapshotIsInOrder(t *testing.T) {
	s := newStory()
	slices.Reverse(s.calls)
	if found := s.findings(time.Minute); len(found) > 0 {
		t.Errorf("%d findings in a history whose calls were written down in another order: %v", len(found), found)
	}
}

func TestRandomFollowsTheSeed(t *testing.T) {
	draw := func(seed, purpose uint64) (drawn []int) {
		r := newRandom(seed, purpose)
		for range 20 {
			drawn = append(drawn, r.pick([]int{3, 0, 5}))
		}
		return drawn
	}
	if !slices.Equal(draw(1, 2), draw(1, 2)) {
		t.Error("the same seed gives another run")
	}
	if slices.Equal(draw(1, 2), draw(2, 2)) || slices.Equal(draw(1, 2), draw(1, 3)) {
		t.Error("another seed or purpose gives the same run")
	}
	if slices.Contains(draw(1, 2), 1) {
		t.Error("a weight of zero was picked")
	}
}
