package eidas

// RFC 5280 §6.3 (who may be believed about revocation); the answers themselves are read in crl.go and ocsp.go

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"
)

// Revocation asks the issuers of certificates whether they still stand by them: by OCSP first, then by CRL, at the
// addresses in the certificate. Every certificate of a path is asked about but the anchor.
//
// It keeps answers. One is used without asking again for MaxAge, and when asking fails for MaxStale, but never after
// its nextUpdate; an older answer never replaces a newer one. So a revocation is noticed within MaxAge of the issuer's
// publishing it, and within MaxStale if the issuer cannot be reached. Somebody on the way who repeats the last answer
// before it can hide one until that answer's nextUpdate: that is for the issuer to choose.
//
// A Revocation may be used from many goroutines. Its fields must not change once it is in use.
type Revocation struct {
	// HTTP asks, mostly over plain http: the answers are signed. It must not be nil. Its dialer decides which
	// addresses may be reached; redirects are not followed.
	HTTP *http.Client

	Timeout  time.Duration // for one question; zero means 5 seconds
	MaxAge   time.Duration // zero means an hour
	MaxStale time.Duration // zero means a day

	// SoftFail lets a certificate pass about which no issuer gives an answer, or none of "good" and "revoked". By
	// default it is refused: whoever can keep answers away could otherwise use a revoked certificate.
	SoftFail bool

	mu      sync.Mutex
	sources map[source]*record
}

const (
	maxAddresses = 4               // of each sort, in one certificate
	maxRecords   = 4096            // answers kept
	retryAfter   = time.Minute     // from a question that failed to the next one
	clockSkew    = 5 * time.Minute // an answer may be from the future
)

// ErrRevoked is that of a certificate which its issuer has revoked or suspended, or whose issuer has been revoked.
var ErrRevoked = errors.New("certificate is revoked")

// UnknownStatusError is that of a certificate about which nobody gives a usable answer. Cause is for the log: it may
// hold addresses.
type UnknownStatusError struct{ Cause error }

func (e *UnknownStatusError) Error() string { return "revocation status of the certificate is unknown" }
func (e *UnknownStatusError) Unwrap() error { return e.Cause }

// A source is where an answer comes from. An answer is believed for one issuer only, and a list only for the sort of
// certificates it was checked for.
type source struct {
	address string
	issuer  [sha256.Size]byte
	serial  string // OCSP: the certificate; CRL: empty
	ca      bool
}

// An answer is one of "good" or "revoked", about a certificate or about all of an issuer.
type answer struct {
	thisUpdate, nextUpdate time.Time
	revoked                map[string]bool // by serial number
}

// A record is what is known from one source. Its turn is taken by whoever reads or writes it.
type record struct {
	turn     chan struct{}
	answer   *answer
	received time.Time
	failed   time.Time
}

// checkPath asks about every certificate of path below the anchor, which is the last one.
func (r *Revocation) checkPath(ctx context.Context, path []*x509.Certificate, now time.Time) error {
	for i, cert := range path[:len(path)-1] {
		if err := r.check(ctx, cert, path[i+1], now); err != nil {
			return err
		}
	}
	return nil
}

func (r *Revocation) check(ctx context.Context, cert, issuer *x509.Certificate, now time.Time) error {
	cause := errors.New("certificate has no address to ask at")
	for _, of := range sourcesOf(cert, issuer) {
		a, err := r.ask(ctx, of, cert, issuer, now)
		switch {
		case err != nil:
			cause = fmt.Errorf("%s: %w", of.address, err)
		case a.revoked[cert.SerialNumber.String()]:
			return ErrRevoked
		default:
			return nil
		}
	}
	if r.SoftFail {
		return nil
	}
	return &UnknownStatusError{cause}
}

// sourcesOf returns where to ask about cert, in order.
func sourcesOf(cert, issuer *x509.Certificate) []source {
	var all []source
	of := source{issuer: sha256.Sum256(issuer.Raw), ca: cert.IsCA, serial: cert.SerialNumber.String()}
	for _, of.address = range cert.OCSPServer[:min(len(cert.OCSPServer), maxAddresses)] {
		all = append(all, of)
	}
	of.serial = ""
	for _, of.address = range cert.CRLDistributionPoints[:min(len(cert.CRLDistributionPoints), maxAddresses)] {
		all = append(all, of)
	}
	return all
}

// ask returns the answer of one source, from memory if it is recent enough. One caller at a time asks a source; the
// others wait for what it learns.
func (r *Revocation) ask(ctx context.Context, of source, cert, issuer *x509.Certificate, now time.Time) (*answer, error) {
	known := r.record(of)
	select {
	case known.turn <- struct{}{}:
		defer func() { <-known.turn }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if known.counts(r.maxAge(), now) {
		return known.answer, nil
	}
	err := errors.New("asked without success a moment ago")
	if !within(retryAfter, known.failed, now) {
		if err = r.renew(ctx, known, of, cert, issuer, now); err == nil {
			return known.answer, nil
		}
		if ctx.Err() == nil { // else our caller gave up, which says nothing about the source
			known.failed = now
		}
	}
	if known.counts(orElse(r.MaxStale, 24*time.Hour), now) {
		return known.answer, nil
	}
	return nil, err
}

// renew asks the source and keeps what it says.
func (r *Revocation) renew(ctx context.Context, known *record, of source, cert, issuer *x509.Certificate, now time.Time) error {
	fetch := r.fetchCRL
	if of.serial != "" {
		fetch = r.fetchOCSP
	}
	fresh, err := fetch(ctx, of.address, cert, issuer, now)
	if err != nil {
		return err
	}
	if known.answer != nil && fresh.thisUpdate.Before(known.answer.thisUpdate) {
		return errors.New("answer is older than the one before")
	}
	known.answer, known.received = fresh, now
	return nil
}

func (r *Revocation) record(of source) *record {
	r.mu.Lock()
	defer r.mu.Unlock()
	known, ok := r.sources[of]
	if ok {
		return known
	}
	if r.sources == nil {
		r.sources = map[source]*record{}
	}
	for other := range r.sources {
		if len(r.sources) < maxRecords {
			break
		}
		delete(r.sources, other) // any: it can be asked again
	}
	known = &record{turn: make(chan struct{}, 1)}
	r.sources[of] = known
	return known
}

// counts reports whether the answer was received at most limit ago and is not outdated.
func (k *record) counts(limit time.Duration, now time.Time) bool {
	return k.answer != nil && within(limit, k.received, now) && now.Before(k.answer.nextUpdate)
}

// within reports whether now is less than limit after t. A clock that was put back makes nothing last longer.
func within(limit time.Duration, t, now time.Time) bool {
	elapsed := now.Sub(t)
	return elapsed >= 0 && elapsed < limit
}

func (r *Revocation) maxAge() time.Duration { return orElse(r.MaxAge, time.Hour) }

func orElse(d, fallback time.Duration) time.Duration {
	if d == 0 {
		return fallback
	}
	return d
}

// checkTime: an answer is neither from the future nor outdated.
func checkTime(thisUpdate, nextUpdate, now time.Time) error {
	if thisUpdate.After(now.Add(clockSkew)) {
		return errors.New("answer is from the future")
	}
	if !now.Before(nextUpdate) {
		return errors.New("answer is outdated")
	}
	return nil
}

// checkStrength: crypto/x509 refuses SHA-1 in certificates, but not in what else they sign.
func checkStrength(algorithm x509.SignatureAlgorithm) error {
	switch algorithm {
	case x509.SHA256WithRSA, x509.SHA384WithRSA, x509.SHA512WithRSA, x509.SHA256WithRSAPSS, x509.SHA384WithRSAPSS,
		x509.SHA512WithRSAPSS, x509.ECDSAWithSHA256, x509.ECDSAWithSHA384, x509.ECDSAWithSHA512, x509.PureEd25519:
		return nil
	}
	return errors.New("signature algorithm is not accepted")
}

// fetch returns the body of a 200 answer of at most limit bytes.
func (r *Revocation) fetch(req *http.Request, limit int64) ([]byte, error) {
	ctx, cancel := context.WithTimeout(req.Context(), orElse(r.Timeout, 5*time.Second))
	defer cancel()
	client := *r.HTTP
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	resp, err := client.Do(req.WithContext(ctx))
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("status %d", resp.StatusCode)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(body)) > limit {
		return nil, fmt.Errorf("answer is longer than %d bytes", limit)
	}
	return body, nil
}
