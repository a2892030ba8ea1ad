//go:build linux

package main

import (
	"context"
	"sync"
	"time"
)

// A caller is one line of work of a TPP and its banks: it does one thing after
// the other, at a replica chosen anew each time.
type caller struct {
	*world
	random *random
	party  *party
	grants []*grant // that it goes on using
	spent  []spentAssertion
	// visited is the last visit to a bank.
	visited struct{ code, consent string }
}

// A grant is what a caller knows about one of its grants.
type grant struct {
	bank    *bank
	code    string // "" for client_credentials
	consent string // "" without one
	access  []string
	refresh string
	older   []string // refresh tokens that were replaced
}

// A spentAssertion was presented before; it is good for nothing.
type spentAssertion struct {
	bank *bank
	assertion
}

// What a caller remembers at most; older things stay in the history.
const (
	maxGrants = 12
	maxSpent  = 40
)

// An act is one of the things that a caller does, as often as weight says
// beside the others.
type act struct {
	weight int
	do     func(*caller, context.Context)
}

var acts = []act{
	{24, (*caller).getCredentials},
	{4, (*caller).presentTwice},
	{4, (*caller).presentAgain},
	{20, (*caller).visitBank},
	{6, (*caller).redeemTwice},
	{3, (*caller).visitInVain},
	{3, (*caller).replayCode},
	{18, (*caller).refreshGrant},
	{5, (*caller).refreshTwice},
	{6, (*caller).stealRefreshToken},
	{6, (*caller).revokeGrant},
	{6, (*caller).withdrawConsent},
	{14, (*caller).lookAtToken},
	{4, (*caller).readPublic},
}

// work acts until ctx ends, with pauses around the given length.
func (c *caller) work(ctx context.Context, rest time.Duration) {
	weights := make([]int, len(acts))
	for i, a := range acts {
		weights[i] = a.weight
	}
	for ctx.Err() == nil {
		// What was begun is finished: the end of the run is no fault.
		acts[c.random.pick(weights)].do(c, context.WithoutCancel(ctx))
		pause(ctx, c.random.between(rest/2, rest*3/2))
	}
}

func (c *caller) replica() *replica { return c.replicas[c.random.below(len(c.replicas))] }
func (c *caller) bank() *bank       { return c.banks[c.random.below(len(c.banks))] }

// grant returns one of the caller's grants, or nil.
func (c *caller) grant() *grant {
	if len(c.grants) == 0 {
		return nil
	}
	return c.grants[c.random.below(len(c.grants))]
}

// keep remembers a grant from a call that brought one.
func (c *caller) keep(b *bank, a *call) {
	if a.outcome != ok {
		return
	}
	if len(c.grants) == maxGrants {
		c.forget(c.grants[c.random.below(maxGrants)])
	}
	g := &grant{bank: b, code: a.code, access: []string{a.access}, refresh: a.refresh}
	if a.code == c.visited.code {
		g.consent = c.visited.consent
	}
	c.grants = append(c.grants, g)
}

func (c *caller) forget(g *grant) {
	for i, other := range c.grants {
		if other == g {
			c.grants = append(c.grants[:i], c.grants[i+1:]...)
			return
		}
	}
}

// update notes what a refresh brought.
func (g *grant) update(a *call) {
	if a.outcome != ok {
		return
	}
	g.access = append(g.access, a.access)
	if a.refresh != g.refresh && a.refresh != "" {
		g.older = append(g.older, g.refresh)
		g.refresh = a.refresh
	}
}

// presentedAssertion remembers an assertion for presentAgain.
func (c *caller) presentedAssertion(b *bank, a assertion) {
	if len(c.spent) == maxSpent {
		c.spent = c.spent[1:]
	}
	c.spent = append(c.spent, spentAssertion{b, a})
}

// tries is how often a caller repeats a call that got no answer, and wait how
// long it waits between: an answer usually comes when the fault is over.
const tries = 12

func (c *caller) wait(ctx context.Context, try int) {
	pause(ctx, c.random.between(100*time.Millisecond, 300*time.Millisecond)*time.Duration(min(try+1, 8)))
}

// insist makes a call until it has an answer, each time at a replica chosen
// anew.
func (c *caller) insist(ctx context.Context, ask func(*replica) *call) (last *call) {
	for try := range tries {
		if last = ask(c.replica()); last.outcome != unknown {
			break
		}
		c.wait(ctx, try)
	}
	return last
}

// both makes two calls at the same time, at different replicas where there are
// two.
func (c *caller) both(ask func(*replica) *call) (a, b *call) {
	first := c.random.below(len(c.replicas))
	second := (first + 1) % len(c.replicas)
	var pair sync.WaitGroup
	pair.Go(func() { a = ask(c.replicas[first]) })
	pair.Go(func() { b = ask(c.replicas[second]) })
	pair.Wait()
	return a, b
}

func (c *caller) getCredentials(ctx context.Context) {
	b, r := c.bank(), c.replica()
	var a assertion
	if c.party.key != nil {
		a = c.assert(c.party, b, r.clock().offset)
		c.presentedAssertion(b, a)
	}
	c.keep(b, c.credentials(ctx, r, b, c.party, a))
}

// presentTwice presents one assertion at two replicas at once: at most one
// takes it.
func (c *caller) presentTwice(ctx context.Context) {
	if c.party.key == nil {
		c.getCredentials(ctx)
		return
	}
	b := c.bank()
	a := c.assert(c.party, b, c.replicas[0].clock().offset)
	c.presentedAssertion(b, a)
	c.both(func(r *replica) *call { return c.credentials(ctx, r, b, c.party, a) })
}

// presentAgain presents an assertion of before.
func (c *caller) presentAgain(ctx context.Context) {
	if len(c.spent) == 0 {
		c.getCredentials(ctx)
		return
	}
	old := c.spent[c.random.below(len(c.spent))]
	c.credentials(ctx, c.replica(), old.bank, c.party, old.assertion)
}

// authorize goes through the bank and returns a code that the PSU approved or
// refused; "" when the bank could not be served.
func (c *caller) authorize(ctx context.Context, b *bank, approve bool) (code string) {
	// A begin without an answer is not repeated: its code is then taken, and
	// its authorization unknown to the bank.
	code = c.id("code")
	consentID := c.lodgeConsent(ctx, b)
	a, id := c.begin(ctx, c.replica(), b, c.party, code, consentID)
	if a.outcome != ok {
		return ""
	}
	c.visited.code, c.visited.consent = code, consentID
	if c.random.in(10) { // too early: 425, and the code stays good
		c.exchange(ctx, c.replica(), b, c.party, code)
	}
	decided := c.insist(ctx, func(r *replica) *call { return c.verdict(ctx, r, b, c.party, code, id, approve) })
	if decided.outcome != ok {
		return ""
	}
	return code
}

// lodgeConsent lodges a consent for every second visit; "" stands for none.
func (c *caller) lodgeConsent(ctx context.Context, b *bank) string {
	if c.random.in(2) {
		return ""
	}
	own := c.credentials(ctx, c.replica(), b, c.party, assertion{})
	if own.outcome != ok {
		return ""
	}
	_, consentID := c.lodge(ctx, c.replica(), b, c.party, own.access)
	return consentID
}

// visitBank is the ordinary flow. A code whose exchange had no answer is
// presented again, as TPPs do.
func (c *caller) visitBank(ctx context.Context) {
	b := c.bank()
	code := c.authorize(ctx, b, true)
	if code == "" {
		return
	}
	c.keep(b, c.insist(ctx, func(r *replica) *call { return c.exchange(ctx, r, b, c.party, code) }))
}

// redeemTwice presents one code at two replicas at once.
func (c *caller) redeemTwice(ctx context.Context) {
	b := c.bank()
	code := c.authorize(ctx, b, true)
	if code == "" {
		return
	}
	for _, a := range c.pair(func(r *replica) *call { return c.exchange(ctx, r, b, c.party, code) }) {
		c.keep(b, a)
	}
}

func (c *caller) pair(ask func(*replica) *call) []*call {
	a, b := c.both(ask)
	return []*call{a, b}
}

// visitInVain presents a code that the PSU refused.
func (c *caller) visitInVain(ctx context.Context) {
	b := c.bank()
	if code := c.authorize(ctx, b, false); code != "" {
		c.exchange(ctx, c.replica(), b, c.party, code)
	}
}

// replayCode presents the code of a grant again, which ends the grant.
func (c *caller) replayCode(ctx context.Context) {
	g := c.grant()
	if g == nil || g.code == "" {
		return
	}
	c.insist(ctx, func(r *replica) *call { return c.exchange(ctx, r, g.bank, c.party, g.code) })
	c.lookBack(ctx, g)
}

// refreshGrant presents the newest refresh token of a grant, again if it gets
// no answer.
func (c *caller) refreshGrant(ctx context.Context) {
	g := c.grant()
	if g == nil || g.refresh == "" {
		return
	}
	a := c.insist(ctx, func(r *replica) *call { return c.refresh(ctx, r, g.bank, c.party, g.refresh) })
	if g.update(a); a.outcome == refused {
		c.forget(g)
	}
}

// refreshTwice presents one refresh token at two replicas at once: a provider
// that rotates gives both the same successor.
func (c *caller) refreshTwice(ctx context.Context) {
	g := c.grant()
	if g == nil || g.refresh == "" {
		return
	}
	token := g.refresh
	for _, a := range c.pair(func(r *replica) *call { return c.refresh(ctx, r, g.bank, c.party, token) }) {
		if a.outcome == ok && a.refresh == g.refresh && token != g.refresh {
			g.access = append(g.access, a.access)
			continue
		}
		g.update(a)
	}
}

// stealRefreshToken uses a grant until a refresh token has a successor that was
// used, and presents it then: that ends the grant.
func (c *caller) stealRefreshToken(ctx context.Context) {
	g := c.grant()
	if g == nil || g.refresh == "" || g.bank.code != rotatingProvider {
		return
	}
	for len(g.older) < 2 {
		a := c.insist(ctx, func(r *replica) *call { return c.refresh(ctx, r, g.bank, c.party, g.refresh) })
		if g.update(a); a.outcome != ok {
			c.forget(g)
			return
		}
	}
	old := g.older[c.random.below(len(g.older)-1)]
	c.insist(ctx, func(r *replica) *call { return c.refresh(ctx, r, g.bank, c.party, old) })
	c.lookBack(ctx, g)
}

// revokeGrant ends a grant by any of its tokens.
func (c *caller) revokeGrant(ctx context.Context) {
	g := c.grant()
	if g == nil {
		return
	}
	token := g.access[c.random.below(len(g.access))]
	if g.refresh != "" && c.random.in(2) {
		token = g.refresh
	}
	c.insist(ctx, func(r *replica) *call { return c.revoke(ctx, r, g.bank, c.party, token) })
	c.lookBack(ctx, g)
}

// withdrawConsent ends a grant by its consent, as the bank does.
func (c *caller) withdrawConsent(ctx context.Context) {
	g := c.grant()
	if g == nil || g.consent == "" {
		return
	}
	c.insist(ctx, func(r *replica) *call { return c.withdraw(ctx, r, g.bank, c.party, g.consent, g.access[0]) })
	c.lookBack(ctx, g)
}

// lookBack looks at every replica at a grant that should be over, and lets go
// of it.
func (c *caller) lookBack(ctx context.Context, g *grant) {
	for _, r := range c.replicas {
		c.introspect(ctx, r, g.bank, c.party, g.access[c.random.below(len(g.access))])
		if g.refresh != "" {
			c.refresh(ctx, r, g.bank, c.party, g.refresh)
		}
	}
	c.forget(g)
}

func (c *caller) lookAtToken(ctx context.Context) {
	g := c.grant()
	if g == nil {
		return
	}
	token := g.access[c.random.below(len(g.access))]
	if g.refresh != "" && c.random.in(4) {
		token = g.refresh
	}
	c.introspect(ctx, c.replica(), g.bank, c.party, token)
}

// readPublic reads what must be there whatever the database does.
func (c *caller) readPublic(ctx context.Context) {
	r, b := c.replica(), c.bank()
	for _, address := range []string{
		r.url + "/.well-known/openid-configuration/" + b.code,
		r.url + "/oidc/" + b.code + "/jwks",
		r.admin + "/healthz",
	} {
		c.public(ctx, r, address)
	}
}
