package oidc

import (
	"context"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"gatehouse"
)

// A Rate is how often something may happen: Burst times at once, and in the
// long run PerSecond times a second. The zero value sets no limit.
type Rate struct {
	PerSecond float64
	Burst     int
}

// Limits bound how often a client, a bank and an address may ask. Who asks more
// often is answered 429 with Retry-After. Each replica counts by itself, in
// memory: after a restart everybody may ask as if he had been quiet, and what
// must not happen twice is the store's to know.
type Limits struct {
	// Client bounds the authenticated requests of one client.
	Client Rate
	// Provider bounds the authenticated requests at one provider.
	Provider Rate
	// AuthorizeAddress bounds the authorization requests of one address.
	AuthorizeAddress Rate
	// AuthorizeClient bounds those for one client at one provider.
	AuthorizeClient Rate
	// AuthorizeProvider bounds those at one provider.
	AuthorizeProvider Rate
	// WrongSecrets bounds the wrong secrets from one address, and those shown
	// for one client, resource server or bank's connector, as checkSecret says.
	// Signatures are not bounded: nobody locks out a client with
	// private_key_jwt.
	WrongSecrets Rate
}

// registrations bound how often one address may register, try to, or recover:
// in memory, while the store counts the clients of an organisation.
var registrations = Rate{PerSecond: 1.0 / 6, Burst: 30}

// limits count what Limits bound.
type limits struct {
	client, provider                  meter
	authorizeAddress, authorizeClient meter
	authorizeProvider                 meter
	wrongOfAddress, wrongOfClient     meter
	wrongOfPair, rightSecrets         meter // of a client and an address
	registrations, failures           meter
}

// A meter counts by name. It holds the newest names only: the old half is
// dropped when the young one is full, so who floods it with names can make it
// forget, but not grow. The zero value is ready.
type meter struct {
	mu         sync.Mutex
	young, old map[string]*rate.Limiter
}

const maxYoung = 5_000

// wait returns how long it is until the name may ask, 0 when it may now.
func (m *meter) wait(name string, limit Rate, now time.Time) time.Duration {
	if limit == (Rate{}) {
		return 0
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.has(name) {
		return 0
	}
	return until(m.young[name], now)
}

// take counts one request of the name and returns 0, or counts nothing and
// returns how long it is until the name may ask.
func (m *meter) take(name string, limit Rate, now time.Time) time.Duration {
	if limit == (Rate{}) {
		return 0
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	limiter := m.limiter(name, limit)
	wait := until(limiter, now)
	if wait == 0 {
		limiter.AllowN(now, 1)
	}
	return wait
}

// charge counts one request of the name, whether or not the limit has been
// reached: who overdraws it waits longer the next time.
func (m *meter) charge(name string, limit Rate, now time.Time) {
	if limit == (Rate{}) {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.limiter(name, limit).ReserveN(now, 1)
}

func (m *meter) limiter(name string, limit Rate) *rate.Limiter {
	if !m.has(name) {
		m.add(name, rate.NewLimiter(rate.Limit(limit.PerSecond), limit.Burst))
	}
	return m.young[name]
}

// isFull reports whether the name has lately asked for nothing.
func (m *meter) isFull(name string, now time.Time) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return !m.has(name) || m.young[name].TokensAt(now) >= float64(m.young[name].Burst())
}

// until returns how long it is until a limiter has something to give.
func until(limiter *rate.Limiter, now time.Time) time.Duration {
	missing := max(0, 1-limiter.TokensAt(now))
	return time.Duration(missing / float64(limiter.Limit()) * float64(time.Second))
}

// has reports whether the name is known, and makes it young.
func (m *meter) has(name string) bool {
	if m.young[name] != nil {
		return true
	}
	limiter := m.old[name]
	if limiter == nil {
		return false
	}
	m.add(name, limiter)
	return true
}

func (m *meter) add(name string, limiter *rate.Limiter) {
	if m.young == nil || len(m.young) >= maxYoung {
		m.young, m.old = map[string]*rate.Limiter{}, m.young
	}
	m.young[name] = limiter
}

// remember makes the name known.
func (m *meter) remember(name string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.has(name) {
		m.add(name, rate.NewLimiter(0, 0))
	}
}

func (m *meter) knows(name string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.has(name)
}

// tooMany is the answer to who has to wait, and nil when there is no wait.
func tooMany(wait time.Duration) error {
	if wait <= 0 {
		return nil
	}
	fault := gatehouse.NewError(gatehouse.RateLimited, "too many requests, please try again later").Because(rateLimited)
	fault.RetryAfter = wait
	return fault
}

// checkSecret admits a secret that is right, unless too many wrong ones came
// from the address or were shown for the client. wrong is the error when it is
// not. Nobody is locked out by what others try: an address from which the client
// lately showed the right secret is held up by its own wrong secrets for that
// client alone; and one that lately showed no wrong secret at all is looked at,
// whatever was shown for the client elsewhere.
func (s *Server) checkSecret(ctx context.Context, client string, right bool, wrong error) error {
	address, now, limit := addressOf(ctx), s.Now(), s.Limits.WrongSecrets
	pair := client + "\x00" + address
	waitForClient := s.limits.wrongOfClient.wait(client, limit, now)
	var wait time.Duration
	switch {
	case s.limits.rightSecrets.knows(pair):
		wait = s.limits.wrongOfPair.wait(pair, limit, now)
	case s.limits.wrongOfAddress.isFull(address, now):
	default:
		wait = max(s.limits.wrongOfAddress.wait(address, limit, now), waitForClient)
	}
	if wait > 0 {
		return tooMany(wait)
	}
	if right {
		s.limits.rightSecrets.remember(pair)
		return nil
	}
	s.limits.wrongOfPair.take(pair, limit, now)
	s.limits.wrongOfAddress.take(address, limit, now)
	s.limits.wrongOfClient.take(client, limit, now)
	if waitForClient > 0 {
		return tooMany(waitForClient)
	}
	return wrong
}

// mayAsk tells a client that has asked too often, or at a provider where that
// is so, to come again.
func (s *Server) mayAsk(p *provider, clientID string) error {
	now := s.Now()
	return tooMany(max(s.limits.client.wait(clientID, s.Limits.Client, now), s.limits.provider.wait(p.Code, s.Limits.Provider, now)))
}

// count counts an authenticated request of a client, which is let through even
// if others that came at the same moment have used up the limit: what it has
// shown may be spent.
func (s *Server) count(p *provider, clientID string) {
	now := s.Now()
	s.limits.client.charge(clientID, s.Limits.Client, now)
	s.limits.provider.charge(p.Code, s.Limits.Provider, now)
}
