//go:build linux

package main

import (
	"net/http"
	"slices"
	"strings"
	"time"
)

// statuses are those that the contract of profile psd2 has for each kind of
// call, beside 200 and 503.
var statuses = map[kind][]int{
	credentials: {400, 403, 404, 429},
	exchange:    {400, 403, 404, 425, 429},
	refresh:     {400, 403, 404, 429},
	revoke:      {400, 403, 404, 429},
	introspect:  {400, 403, 404, 429},
	begin:       {400, 403, 429},
	verdict:     {400, 403, 404, 429},
	lodge:       {401, 429},
	withdraw:    {400, 429},
	public:      {},
}

// Rule e.
func (l *ledger) contract() (all []finding) {
	for _, c := range l.calls {
		switch {
		case c.status == 0 || c.status == http.StatusOK, c.kind == lodge && c.status == http.StatusCreated:
		case c.kind == public:
			all = append(all, found("%s at replica %d: %s; it needs no database", c.description, c.replica, answer(c)))
		case c.status == http.StatusServiceUnavailable:
			if !c.retryAfter {
				all = append(all, found("%s at replica %d: 503 without Retry-After", c.kind, c.replica))
			}
		case !slices.Contains(statuses[c.kind], c.status):
			all = append(all, found("%s at replica %d: %s", c.kind, c.replica, answer(c)))
		case !l.hasCause(c):
			f := found("%s at replica %d was refused without a cause: %s", c.kind, c.replica, answer(c))
			if about := l.familyAbout(c); about != nil {
				f = f.in(about)
			}
			all = append(all, f)
		}
	}
	return all
}

// hasCause reports whether the history explains a refusal. While clocks are
// wrong, everything may be refused.
func (l *ledger) hasCause(c *call) bool {
	if l.overlaps(c.start, c.end, clockWindow) || !c.steady || c.offset != 0 {
		return true
	}
	if c.fault == "invalid_client" {
		return len(l.jtis[c.jti]) > 1 // presented again, on purpose
	}
	switch c.kind {
	case exchange:
		return l.codeMayBeRefused(l.codes[c.code], c)
	case refresh:
		f := l.families[c.token]
		return f == nil || f.mayBeOver(c.end) || l.maybeReplaced(f, c)
	case begin:
		return false
	case verdict:
		v := l.codes[c.code]
		return v.begun == nil || l.overlaps(v.begun.start, c.end, clockWindow) ||
			slices.ContainsFunc(v.verdicts, func(other *call) bool { return other.approves != c.approves }) || l.codeIsOld(v, c)
	}
	return false
}

// codeMayBeRefused: the PSU has not decided, or refused, the code is old or its
// grant over, or, when the answer says that it was used, somebody has presented
// it before or at the same time.
func (l *ledger) codeMayBeRefused(v *visit, c *call) bool {
	if v.begun == nil || l.overlaps(v.begun.start, c.end, clockWindow) {
		return true
	}
	if strings.Contains(c.description, usedBefore) {
		return slices.ContainsFunc(v.exchanges, func(other *call) bool {
			return other != c && other.outcome != refused && other.start.Before(c.end)
		})
	}
	f := l.familyOf(v)
	approved := slices.ContainsFunc(v.verdicts, func(d *call) bool { return d.approves && d.outcome == ok && d.end.Before(c.start) })
	return !approved || l.codeIsOld(v, c) || f != nil && f.mayBeOver(c.end)
}

func (l *ledger) codeIsOld(v *visit, c *call) bool {
	return c.end.Sub(v.begun.start) > codeLife-time.Minute
}
