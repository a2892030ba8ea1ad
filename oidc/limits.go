package oidc

import (
	"net"
	"net/http"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// addressLimits bound how often one address may register: a burst, then ten a
// minute. They are in memory; what outlives a restart is the store's count.
type addressLimits struct {
	mu       sync.Mutex
	limiters map[string]*rate.Limiter
}

const (
	addressBurst = 30
	addressEvery = 6 * time.Second
	maxAddresses = 10_000
)

func (a *addressLimits) allow(address string, now time.Time) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	limiter := a.limiters[address]
	if limiter == nil {
		if a.limiters == nil || len(a.limiters) >= maxAddresses {
			a.limiters = map[string]*rate.Limiter{}
		}
		limiter = rate.NewLimiter(rate.Every(addressEvery), addressBurst)
		a.limiters[address] = limiter
	}
	return limiter.AllowN(now, 1)
}

// clientAddress is the peer of the connection; no header is believed.
func clientAddress(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}
