package oidc

import (
	"net/http"
	"net/netip"
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
		if a.limiters == nil {
			a.limiters = map[string]*rate.Limiter{}
		}
		if len(a.limiters) >= maxAddresses {
			for other := range a.limiters { // any will do
				delete(a.limiters, other)
				break
			}
		}
		limiter = rate.NewLimiter(rate.Every(addressEvery), addressBurst)
		a.limiters[address] = limiter
	}
	return limiter.AllowN(now, 1)
}

// clientAddress is the peer of the connection; no header is believed. Of an
// IPv6 address it is the first 64 bits: the rest is the peer's own to choose
// (RFC 4291 §2.5.4).
func clientAddress(r *http.Request) string {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	address := peer.Addr().Unmap().WithZone("")
	if address.Is6() {
		return netip.PrefixFrom(address, 64).Masked().String()
	}
	return address.String()
}
