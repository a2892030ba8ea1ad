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
	// WrongSecrets bounds the wrong secrets from one address, and those shown
	// for one client. Until that time is over no secret is looked at, except
	// that a client's own address, one from which it lately showed the right
	// secret, is not held up by what others try. Signatures are not bounded:
	// nobody locks out a client with private_key_jwt.
	WrongSecrets Rate
}

// registrations bound how often one address may register: in memory, while the
// store counts those of an organisation.
var registrations = Rate{PerSecond: 1.0 / 6, Burst: 30}

// limits count what Limits bound.
type limits struct {
	client, provider                  meter
	authorizeAddress, authorizeClient meter
	wrongOfAddress, wrongOfClient     meter
	rightSecrets                      meter // client and address, never limited
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
	if missing := 1 - m.young[name].TokensAt(now); missing > 0 {
		return time.Duration(missing / limit.PerSecond * float64(time.Second))
	}
	return 0
}

// take counts one request of the name and returns 0, or counts nothing and
// returns how long it is until the name may ask.
func (m *meter) take(name string, limit Rate, now time.Time) time.Duration {
	if wait := m.wait(name, limit, now); wait > 0 || limit == (Rate{}) {
		return wait
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.has(name) {
		m.add(name, rate.NewLimiter(rate.Limit(limit.PerSecond), limit.Burst))
	}
	m.young[name].AllowN(now, 1)
	return 0
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

// checkSecret compares a secret by right, unless too many wrong ones came from
// the address or, but for its own addresses, for the client. wrong is the
// error when the secret is.
func (s *Server) checkSecret(ctx context.Context, client string, right bool, wrong error) error {
	address, now := addressOf(ctx), s.Now()
	pair := client + "\x00" + address
	wait := s.limits.wrongOfAddress.wait(address, s.Limits.WrongSecrets, now)
	if !s.limits.rightSecrets.knows(pair) {
		wait = max(wait, s.limits.wrongOfClient.wait(client, s.Limits.WrongSecrets, now))
	}
	if wait > 0 {
		return tooMany(wait)
	}
	if !right {
		s.limits.wrongOfAddress.take(address, s.Limits.WrongSecrets, now)
		s.limits.wrongOfClient.take(client, s.Limits.WrongSecrets, now)
		return wrong
	}
	s.limits.rightSecrets.remember(pair)
	return nil
}

// admit counts an authenticated request of a client.
func (s *Server) admit(p *provider, c *client) error {
	now := s.Now()
	if err := tooMany(s.limits.client.take(c.ID, s.Limits.Client, now)); err != nil {
		return err
	}
	return tooMany(s.limits.provider.take(p.Code, s.Limits.Provider, now))
}
