//go:build linux

package main

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// A finding is a rule that the history breaks.
type finding struct {
	rule  string // of rules
	text  string
	about *family // whose calls tell more, or nil
}

// rules are what a history must keep, by letter.
var rules = []struct {
	letter, text string
	check        func(*ledger) []finding
}{
	{"a", "every token handed out works until it expires or its grant is ended", (*ledger).tokensWork},
	{"b", "nothing that is for a single use succeeds twice", (*ledger).singleUse},
	{"c", "what is ended stays ended, and nothing lives longer than it was given", (*ledger).endedStaysEnded},
	{"e", "answers are those of the contract, and nothing is refused without a cause", (*ledger).contract},
	{"f", "outside of faults every call has an answer, and within them a replica that runs answers soon", (*ledger).answered},
}

// findings checks the history against every rule; (d), that the database is
// whole, is the environment's to say. grace is the providers' rotation_grace.
func (h *history) findings(grace time.Duration) []finding {
	l := newLedger(h.snapshot(), grace)
	var all []finding
	for _, rule := range rules {
		for _, f := range rule.check(l) {
			f.rule = rule.letter
			all = append(all, f)
		}
	}
	return all
}

func found(format string, args ...any) finding {
	return finding{text: fmt.Sprintf(format, args...)}
}

// in names the family that a finding is about.
func (f finding) in(about *family) finding {
	f.text += " (" + about.name + ")"
	f.about = about
	return f
}

// A ledger is a history sorted by what the calls are about.
type ledger struct {
	*history
	grace    time.Duration
	families map[string]*family // by token
	codes    map[string]*visit
	jtis     map[string][]*call
	tokens   map[string]*token // access tokens
}

// A family is a grant: all tokens that descend from one code or one
// client_credentials.
type family struct {
	name  string
	from  *call // that brought its first tokens
	calls []*call
	// refreshed are the calls that present each refresh token, successors what
	// they were given in its place; at a provider that does not rotate, itself.
	refreshed  map[string][]*call
	successors map[string][]string
	order      []string // the refresh tokens, oldest first

	// maybeEnded is the earliest moment at which something may have ended the
	// grant, ended the one from which on something has. Zero is never.
	maybeEnded, ended time.Time
	why               string
}

// end notes a call that has ended the family; mayEnd one that may have.
func (f *family) end(c *call, why string) {
	f.mayEnd(c)
	if f.ended.IsZero() || c.end.Before(f.ended) {
		f.ended, f.why = c.end, why
	}
}

func (f *family) mayEnd(c *call) {
	if f.maybeEnded.IsZero() || c.start.Before(f.maybeEnded) {
		f.maybeEnded = c.start
	}
}

// mayBeOver reports whether the grant may be over at t.
func (f *family) mayBeOver(t time.Time) bool { return !f.maybeEnded.IsZero() && f.maybeEnded.Before(t) }

// isOver reports whether the grant is over at t.
func (f *family) isOver(t time.Time) bool { return !f.ended.IsZero() && f.ended.Before(t) }

// A visit is an authorization and its code.
type visit struct {
	begun     *call
	verdicts  []*call
	exchanges []*call
}

// A token is an access token, by the call that brought it.
type token struct {
	text string
	from *call
}

// expires are the bounds of the token's expiry by the server's clock.
func (t *token) expires() (earliest, latest time.Time) {
	life := t.from.offset + t.from.life
	return t.from.start.Add(life), t.from.end.Add(life + time.Second) // expires_in is cut to seconds
}

// isGood reports whether the token had not expired when the server answered c,
// and no replica whose clock is right can have purged it.
func (t *token) isGood(c *call) bool {
	earliest, _ := t.expires()
	return c.steady && t.from.steady && c.end.Add(c.offset).Before(earliest) && c.end.Before(earliest.Add(purgeAge-time.Hour))
}

// purgeAge is how long rows are kept past their expiry.
const purgeAge = 24 * time.Hour

func newLedger(h *history, grace time.Duration) *ledger {
	l := &ledger{history: h, grace: grace, families: map[string]*family{}, codes: map[string]*visit{},
		jtis: map[string][]*call{}, tokens: map[string]*token{}}
	for _, c := range h.calls {
		if c.jti != "" {
			l.jtis[c.jti] = append(l.jtis[c.jti], c)
		}
		switch c.kind {
		case begin:
			l.visit(c.code).begun = c
		case verdict:
			v := l.visit(c.code)
			v.verdicts = append(v.verdicts, c)
		case exchange:
			v := l.visit(c.code)
			v.exchanges = append(v.exchanges, c)
			if c.outcome == ok {
				l.join(l.newFamily("code", c), c)
			}
		case credentials:
			if c.outcome == ok {
				l.join(l.newFamily("client_credentials", c), c)
			}
		case refresh:
			f := l.families[c.token]
			if f == nil {
				continue
			}
			f.refreshed[c.token] = append(f.refreshed[c.token], c)
			if c.outcome == ok {
				f.successors[c.token] = append(f.successors[c.token], c.refresh)
				l.join(f, c)
			}
		}
	}
	for _, c := range h.calls {
		if f := l.familyAbout(c); f != nil {
			f.calls = append(f.calls, c)
		}
	}
	l.findEnds()
	return l
}

func (l *ledger) visit(code string) *visit {
	if l.codes[code] == nil {
		l.codes[code] = &visit{}
	}
	return l.codes[code]
}

// familyAbout is the family that a call is about, or nil.
func (l *ledger) familyAbout(c *call) *family {
	switch {
	case c.token != "":
		return l.families[c.token]
	case c.code != "":
		return l.familyOf(l.codes[c.code])
	}
	return l.families[c.access]
}

func (l *ledger) newFamily(origin string, c *call) *family {
	return &family{from: c, name: fmt.Sprintf("%s of %s at %s", origin, c.client, c.provider), refreshed: map[string][]*call{}, successors: map[string][]string{}}
}

// join adds the tokens that c brought to a family.
func (l *ledger) join(f *family, c *call) {
	if c.access != "" {
		l.families[c.access] = f
		l.tokens[c.access] = &token{c.access, c}
	}
	if c.refresh != "" {
		if l.families[c.refresh] == nil {
			f.order = append(f.order, c.refresh)
		}
		l.families[c.refresh] = f
	}
}

// usedBefore marks the refusal of a code that was spent, which ends the grant.
const usedBefore = "code was used before"

// findEnds notes what has ended, or may have ended, each family.
func (l *ledger) findEnds() {
	for _, v := range l.codes {
		f := l.familyOf(v)
		if f == nil {
			continue
		}
		for _, c := range v.exchanges {
			switch {
			case c.outcome == unknown:
				f.mayEnd(c)
			case c.outcome == refused && strings.Contains(c.description, usedBefore):
				f.end(c, "its code was presented again")
			}
		}
	}
	for _, c := range l.calls {
		f := l.families[c.token]
		if c.kind != revoke && c.kind != withdraw || f == nil {
			continue
		}
		switch {
		case c.outcome == ok && c.kind == withdraw:
			f.end(c, "its consent was revoked")
		case c.outcome == ok:
			// RFC 7009 §2.2: a token that is not valid, such as an expired one,
			// is answered alike.
			if t := l.tokens[c.token]; t == nil || t.isGood(c) {
				f.end(c, "it was revoked")
			} else {
				f.mayEnd(c)
			}
		case c.outcome == unknown:
			f.mayEnd(c)
		}
	}
	for _, f := range l.distinct() {
		for _, presented := range f.order {
			for _, c := range f.refreshed[presented] {
				l.theft(f, c)
			}
		}
	}
}

func (l *ledger) familyOf(v *visit) *family {
	for _, c := range v.exchanges {
		if c.outcome == ok {
			return l.families[cmp.Or(c.access, c.refresh)]
		}
	}
	return nil
}

// distinct returns every family once.
func (l *ledger) distinct() []*family {
	seen := map[*family]bool{}
	for _, f := range l.families {
		seen[f] = true
	}
	return slices.SortedFunc(maps.Keys(seen), func(a, b *family) int { return cmp.Compare(a.name, b.name) })
}

// theft notes what the presentation of a refresh token means that may have been
// replaced: after the use of its successor, or after the grace for a retry, it
// ends the family.
func (l *ledger) theft(f *family, c *call) {
	if c.outcome == ok || c.outcome == refused && c.fault != invalidGrant {
		return
	}
	switch {
	case c.outcome == refused && l.replaced(f, c):
		f.end(c, "a refresh token was presented after its successor")
	case l.maybeReplaced(f, c):
		f.mayEnd(c)
	}
}

// replaced reports whether a successor of the token that c presents had been
// used for certain when c began.
func (l *ledger) replaced(f *family, c *call) bool {
	if c.provider != rotatingProvider {
		return false
	}
	for _, successor := range f.successors[c.token] {
		for _, use := range f.refreshed[successor] {
			if use.outcome == ok && use.end.Before(c.start) {
				return true
			}
		}
	}
	return false
}

// maybeReplaced reports whether a successor may have been used before the
// server decided about c, or the grace for a retry may have been over.
func (l *ledger) maybeReplaced(f *family, c *call) bool {
	if c.provider != rotatingProvider {
		return false
	}
	decided := l.latest(c)
	for _, successor := range f.successors[c.token] {
		for _, use := range f.refreshed[successor] {
			if use.start.Before(decided) {
				return true
			}
		}
	}
	for _, other := range f.refreshed[c.token] {
		if other == c || other.outcome == refused || other.start.After(decided) {
			continue
		}
		// Clocks that differ see the grace end at different times.
		if decided.Sub(other.start) > l.grace || l.overlaps(other.start, c.end, clockWindow) {
			return true
		}
	}
	return false
}

// invalidGrant is the error of RFC 6749 §5.2 for codes and refresh tokens.
const invalidGrant = "invalid_grant"

// Rule a.
func (l *ledger) tokensWork() (all []finding) {
	for _, c := range l.calls {
		f := l.families[c.token]
		if c.kind != introspect || c.outcome != ok || c.active || f == nil || f.mayBeOver(c.end) {
			continue
		}
		t := l.tokens[c.token]
		if t == nil { // a refresh token, which outlives every run, unless it was replaced
			if !l.superseded(f, c) && !l.overlaps(c.start, c.end, clockWindow) {
				all = append(all, found("a refresh token is inactive at replica %d, although nothing ended its grant", c.replica).in(f))
			}
			continue
		}
		if t.isGood(c) && !c.end.Before(t.from.end) {
			all = append(all, found("an access token is inactive at replica %d, %s after it was handed out by a %s at replica %d, although nothing ended its grant",
				c.replica, c.start.Sub(t.from.end).Round(time.Millisecond), t.from.kind, t.from.replica).in(f))
		}
	}
	return all
}

// superseded reports whether the token that c is about may have been replaced
// when c ended: presenting it, with whatever outcome but refusal, may do that.
func (l *ledger) superseded(f *family, c *call) bool {
	return c.provider == rotatingProvider && slices.ContainsFunc(f.refreshed[c.token], func(use *call) bool {
		return use.outcome != refused && use.start.Before(c.end)
	})
}

// Rule b.
func (l *ledger) singleUse() (all []finding) {
	for _, v := range l.codes {
		if n := count(v.exchanges, func(c *call) bool { return c.outcome == ok }); n > 1 {
			all = append(all, found("a code was exchanged %d times, at replicas %s", n, replicas(v.exchanges)))
		}
	}
	for _, uses := range l.jtis {
		if n := count(uses, authenticated); n > 1 {
			all = append(all, found("an assertion authenticated %d calls, at replicas %s", n, replicas(uses)))
		}
	}
	for _, f := range l.distinct() {
		for _, presented := range f.order {
			if given := slices.Compact(slices.Sorted(slices.Values(f.successors[presented]))); len(given) > 1 {
				all = append(all, found("a refresh token was replaced by %d different ones", len(given)).in(f))
			}
			for _, c := range f.refreshed[presented] {
				if c.outcome == ok && l.replaced(f, c) {
					all = append(all, found("a refresh token was taken at replica %d after its successor had been used", c.replica).in(f))
				}
			}
		}
	}
	return all
}

// authenticated reports whether the server took the call's assertion: then the
// call succeeded, or was refused for something else.
func authenticated(c *call) bool {
	return c.outcome == ok || c.outcome == refused && c.fault != "invalid_client"
}

func count(calls []*call, match func(*call) bool) (n int) {
	for _, c := range calls {
		if match(c) {
			n++
		}
	}
	return n
}

func replicas(calls []*call) string {
	var numbers []string
	for _, c := range calls {
		numbers = append(numbers, fmt.Sprintf("%d (%s)", c.replica, c.outcome))
	}
	return strings.Join(numbers, ", ")
}

// Rule c.
func (l *ledger) endedStaysEnded() (all []finding) {
	for _, c := range l.calls {
		f := l.families[c.token]
		if c.outcome != ok || f == nil {
			continue
		}
		switch {
		case c.kind == introspect && c.active && f.isOver(c.start):
			all = append(all, found("a token is active at replica %d, %s after its grant ended: %s", c.replica, c.start.Sub(f.ended).Round(time.Millisecond), f.why).in(f))
		case c.kind == refresh && f.isOver(c.start):
			all = append(all, found("a refresh succeeded at replica %d, %s after the grant ended: %s", c.replica, c.start.Sub(f.ended).Round(time.Millisecond), f.why).in(f))
		case c.kind == introspect && c.active && l.tokens[c.token] != nil:
			t := l.tokens[c.token]
			if _, latest := t.expires(); c.steady && t.from.steady && c.start.Add(c.offset).After(latest) {
				all = append(all, found("an access token is active at replica %d, %s after its expiry", c.replica, c.start.Add(c.offset).Sub(latest).Round(time.Millisecond)).in(f))
			}
		}
	}
	return all
}

// answerLimit is how long an answer may take, be it that the database is away.
const answerLimit = 5 * time.Second

// Rule f.
func (l *ledger) answered() (all []finding) {
	for _, c := range l.calls {
		if c.outcome == unknown && !l.overlaps(c.start, c.end, anyWindow) {
			all = append(all, found("%s at replica %d: %s, while nothing was wrong", c.kind, c.replica, answer(c)))
			continue
		}
		if c.end.Sub(c.start) > answerLimit && !l.overlaps(c.start, c.end, stallingWindow) {
			all = append(all, found("%s at replica %d: %s, later than %s", c.kind, c.replica, answer(c), answerLimit))
		}
	}
	return all
}

func answer(c *call) string {
	if c.status == 0 {
		return fmt.Sprintf("no answer in %s (%s)", c.end.Sub(c.start).Round(time.Millisecond), c.description)
	}
	return fmt.Sprintf("%d %s in %s (%s)", c.status, c.fault, c.end.Sub(c.start).Round(time.Millisecond), c.description)
}
