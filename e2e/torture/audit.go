//go:build linux

package main

import (
	"context"
	"sync"
)

// auditors is how many calls of the final audit run at once.
const auditors = 8

// audit asks about everything that the history has, after the run, with every
// replica well and every clock right. The answers go into the history, too,
// where the checks find them.
func (w *world) audit(ctx context.Context) {
	l := newLedger(w.history.snapshot(), rotationGrace)
	inParallel(func(work chan<- func()) {
		w.auditTokens(ctx, l, work)
		w.auditEnds(ctx, l, work)
	})
	inParallel(func(work chan<- func()) { w.auditCodes(ctx, l, work) }) // ends every grant
}

// inParallel does the work that produce hands out and returns when it is done.
func inParallel(produce func(work chan<- func())) {
	work := make(chan func())
	var workers sync.WaitGroup
	for range auditors {
		workers.Go(func() {
			for ask := range work {
				ask()
			}
		})
	}
	produce(work)
	close(work)
	workers.Wait()
}

// auditTokens asks about every access token that has not expired, at one
// replica, and at all of them when its grant is over.
func (w *world) auditTokens(ctx context.Context, l *ledger, work chan<- func()) {
	number := 0
	for text, t := range l.tokens {
		asked := w.replicas
		if l.families[text].ended.IsZero() {
			number++
			asked = asked[number%len(asked):][:1]
		}
		for _, r := range asked {
			work <- func() { w.introspect(ctx, r, w.bankOf(t.from), w.partyOf(t.from), text) }
		}
	}
}

// auditEnds asks about the newest refresh token of every grant: refused at all
// replicas when the grant is over, otherwise active.
func (w *world) auditEnds(ctx context.Context, l *ledger, work chan<- func()) {
	for _, f := range l.distinct() {
		if len(f.order) == 0 {
			continue
		}
		newest := f.order[len(f.order)-1]
		switch {
		case !f.ended.IsZero():
			for _, r := range w.replicas {
				work <- func() { w.refresh(ctx, r, w.bankOf(f.from), w.partyOf(f.from), newest) }
			}
		default:
			work <- func() { w.introspect(ctx, w.other(f.from), w.bankOf(f.from), w.partyOf(f.from), newest) }
		}
	}
}

// auditCodes presents every code that was exchanged once more.
func (w *world) auditCodes(ctx context.Context, l *ledger, work chan<- func()) {
	for code, v := range l.codes {
		if l.familyOf(v) != nil {
			c := v.exchanges[0]
			work <- func() { w.exchange(ctx, w.other(c), w.bankOf(c), w.partyOf(c), code) }
		}
	}
}

// other is another replica than the one that answered c, where there is one.
func (w *world) other(c *call) *replica { return w.replicas[(c.replica+1)%len(w.replicas)] }

func (w *world) bankOf(c *call) *bank {
	for _, b := range w.banks {
		if b.code == c.provider {
			return b
		}
	}
	panic("no bank " + c.provider)
}

func (w *world) partyOf(c *call) *party {
	for _, p := range w.parties {
		if p.id == c.client {
			return p
		}
	}
	panic("no party " + c.client)
}
