package jose

// RFC 7517 §5 and §8.5 (JWK Sets, their media type), RFC 7591 §2 (jwks_uri), RFC 8725 §3.10 (do not trust received claims)

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// A Fetcher reads key sets from URLs that other people name, so it trusts neither the URL nor the answer. It asks as
// ValidKeysURL and Allow permit, with GET over HTTP/1.1 and verified TLS 1.2 or later, follows no redirect, uses no
// proxy and no cookie, and takes an answer of status 200 that ParseJWKS accepts.
//
// What it has read it keeps: fresh for five minutes whatever the answer's headers say, and for up to 24 hours while
// the source fails. No caller waits for a source as long as there are kept keys that will do. A Fetcher is safe for
// concurrent use; a slow source delays nobody but those who need its keys.
type Fetcher struct {
	Now     func() time.Time          // decides every age, and whether a certificate is valid
	Allow   func(netip.AddrPort) bool // opens single addresses that are not public, for sandboxes and tests; nil: none
	RootCAs *x509.CertPool            // nil: the system's
	Timeout time.Duration             // of one fetch from looking up the name to the last byte; 0: 5 s
	Log     *slog.Logger              // every fetch that failed; nil: none

	// Resolver looks up the names; nil: the system's. Whatever it says, an address must be public or allowed.
	Resolver *net.Resolver

	mu      sync.Mutex // never held during a fetch
	sources map[string]*source
	closed  bool
	fetches sync.WaitGroup
}

const (
	fetchTimeout = 5 * time.Second
	freshFor     = 5 * time.Minute
	staleFor     = 24 * time.Hour  // how long keys are used while their source fails
	retryAfter   = 1 * time.Minute // how long a source that failed is left alone
	seekAfter    = 1 * time.Minute // how often a set is fetched early because it lacks a kid
	maxSources   = 4096            // with maxKeys less than half a gigabyte at the very worst
	maxHeader    = 32 << 10        // of an answer, in bytes
)

// A FetchError is why there are no keys. Its text is fit for a client; what it unwraps to is for the log alone, for it
// may name addresses or quote a server.
type FetchError struct {
	text  string
	cause error
}

func (e *FetchError) Error() string { return e.text }
func (e *FetchError) Unwrap() error { return e.cause }

const notRead = "jwks_uri could not be read"

func unread(cause error) error {
	if fetch, already := errors.AsType[*FetchError](cause); already {
		return fetch
	}
	return &FetchError{notRead, cause}
}

// A source is what is known of one URL.
type source struct {
	keys     []*PublicKey
	read     time.Time     // when keys were asked for; zero: there are none
	asked    time.Time     // when the last fetch began
	sought   time.Time     // when the last fetch began that only a missing kid asked for
	err      error         // of the last fetch
	fetching chan struct{} // closed when the fetch that runs is over; nil: none runs
}

func (s *source) usable(now time.Time) bool { return now.Sub(s.read) < staleFor }

func (s *source) has(kid string) bool {
	return kid == "" || slices.ContainsFunc(s.keys, func(k *PublicKey) bool { return k.KID == kid })
}

// due reports whether the time has come to fetch the set for somebody who wants kid.
func (s *source) due(now time.Time, kid string) bool {
	if s.fetching != nil || s.err != nil && within(retryAfter, s.asked, now) {
		return false
	}
	return !within(freshFor, s.read, now) || !s.has(kid) && !within(seekAfter, s.sought, now)
}

// within reports whether now is less than limit after t. A clock that was put back makes nothing last longer.
func within(limit time.Duration, t, now time.Time) bool {
	elapsed := now.Sub(t)
	return elapsed >= 0 && elapsed < limit
}

func (s *source) answer(now time.Time) ([]*PublicKey, error) {
	if !s.usable(now) {
		return nil, s.err
	}
	return s.keys, nil
}

// Keys returns the keys at url, which belong to the Fetcher and must not be changed. The text of an error is fit for a
// client. A source that failed is asked again after a minute; until then its error is the answer.
func (f *Fetcher) Keys(ctx context.Context, url string) ([]*PublicKey, error) {
	return f.KeysFor(ctx, url, "")
}

// KeysFor is Keys for a token that names kid. When no kept key has it the set is fetched early, for any one URL at most
// once a minute whatever kids are tried. The keys returned may lack kid all the same.
func (f *Fetcher) KeysFor(ctx context.Context, url, kid string) ([]*PublicKey, error) {
	if err := validKeysURL(url, f.Allow); err != nil {
		return nil, err
	}
	now := f.Now()
	s, fetching, err := f.look(ctx, url, kid, now)
	if err != nil {
		return nil, err
	}
	if fetching != nil {
		select {
		case <-fetching:
		case <-ctx.Done():
			return nil, unread(ctx.Err())
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return s.answer(now)
}

// Try reads the keys at a URL that may never be used. What it fetches is not kept, so that nobody who can name URLs takes
// the place of those in use.
func (f *Fetcher) Try(ctx context.Context, url string) ([]*PublicKey, error) {
	if err := validKeysURL(url, f.Allow); err != nil {
		return nil, err
	}
	f.mu.Lock()
	_, inUse := f.sources[url]
	closed := f.closed
	if !inUse && !closed {
		f.fetches.Add(1)
		defer f.fetches.Done()
	}
	f.mu.Unlock()
	switch {
	case closed:
		return nil, unread(errClosed)
	case inUse:
		return f.Keys(ctx, url)
	}
	return f.fetch(ctx, url)
}

// look finds what is known of url and begins a fetch if one is due. The channel is nil when there is nothing to wait
// for.
func (f *Fetcher) look(ctx context.Context, url, kid string, now time.Time) (*source, <-chan struct{}, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return nil, nil, unread(errClosed)
	}
	s := f.source(url)
	if s.due(now, kid) {
		if within(freshFor, s.read, now) {
			s.sought = now
		}
		s.asked = now
		s.fetching = make(chan struct{})
		f.fetches.Go(func() { f.refresh(ctx, url, s) })
	}
	if s.usable(now) && s.has(kid) {
		return s, nil, nil
	}
	return s, s.fetching, nil
}

var errClosed = errors.New("jose: Fetcher is closed")

// source returns the source at url. For a new one that finds no room the source goes that was not asked for longest: a
// source in use is asked every five minutes.
func (f *Fetcher) source(url string) *source {
	if s, known := f.sources[url]; known {
		return s
	}
	if f.sources == nil {
		f.sources = map[string]*source{}
	}
	if len(f.sources) >= maxSources {
		oldest := ""
		for other, s := range f.sources {
			if oldest == "" || s.asked.Before(f.sources[oldest].asked) {
				oldest = other
			}
		}
		delete(f.sources, oldest)
	}
	s := new(source)
	f.sources[url] = s
	return s
}

// refresh fetches the set and tells those who wait. The fetch serves all of them, so it outlives the one who began it.
func (f *Fetcher) refresh(ctx context.Context, url string, s *source) {
	ctx = context.WithoutCancel(ctx)
	keys, err := f.fetch(ctx, url)
	if err != nil && f.Log != nil {
		f.Log.WarnContext(ctx, "key set not read", "url", url, "error", err, "cause", errors.Unwrap(err))
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	s.err = err
	if err == nil {
		s.keys, s.read = keys, s.asked
	}
	close(s.fetching)
	s.fetching = nil
}

func (f *Fetcher) fetch(ctx context.Context, url string) (keys []*PublicKey, err error) {
	defer survive(&err)
	ctx, cancel := context.WithTimeout(ctx, cmp.Or(f.Timeout, fetchTimeout))
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, unread(err)
	}
	request.Header.Set("Accept", "application/jwk-set+json, application/json")
	request.Header.Set("User-Agent", "gatehouse")
	response, err := f.transport(ctx).RoundTrip(request) // which, unlike a Client, follows no redirect and keeps no cookie
	if err != nil {
		return nil, unread(err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, unread(fmt.Errorf("status %d", response.StatusCode))
	}
	if !isKeySet(response.Header.Get("Content-Type")) {
		return nil, unread(errors.New("media type is not JSON"))
	}
	data, err := io.ReadAll(io.LimitReader(response.Body, maxJWKS+1)) // ParseJWKS refuses the one byte too many
	if err != nil {
		return nil, unread(err)
	}
	set, err := ParseJWKS(data)
	if err != nil {
		return nil, &FetchError{"jwks_uri: " + err.Error(), err}
	}
	return set.Keys, nil
}

// survive turns a panic into an error: whatever a server sends, it must not end the process.
func survive(err *error) {
	if fault := recover(); fault != nil {
		*err = &FetchError{notRead, fmt.Errorf("panic: %v", fault)}
	}
}

// isKeySet accepts the media type of key sets (RFC 7517 §8.5.2), the one most servers send, and none at all: what is
// not a key set fails to parse.
func isKeySet(contentType string) bool {
	if contentType == "" {
		return true
	}
	kind, _, err := mime.ParseMediaType(contentType)
	return err == nil && (kind == "application/json" || kind == "application/jwk-set+json")
}

// Close waits for the fetches that run, no longer than Timeout. Calls that come later fail.
func (f *Fetcher) Close() {
	f.mu.Lock()
	f.closed = true
	f.mu.Unlock()
	f.fetches.Wait()
}
