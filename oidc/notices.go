package oidc

// Telling banks about consents, as docs/connector.md has it: at least once, of
// each consent in order, one bank never waiting for another.

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"net/http"
	"sync"
	"time"

	"gatehouse"
	"gatehouse/connector"
	"gatehouse/jose"
)

const (
	// tellEvery is how often notices are looked for that nobody announced:
	// those of other processes, and those whose time has come.
	tellEvery = time.Second
	// callsAtOnce bounds the calls of this process to one bank.
	callsAtOnce = 4
	// noticeLease is how long a notice belongs to the process that claimed it:
	// longer than a call may take, with what the store is asked around it.
	noticeLease = 30 * time.Second
	// A notice is told again after firstRetry, then after twice as long each
	// time, up to maxRetry, until it is noticeLife old.
	firstRetry = time.Second
	maxRetry   = time.Hour
	noticeLife = 7 * 24 * time.Hour
	// After breakerFaults calls in a row without a sound answer a bank is left
	// alone for breakerPause, and then asked once.
	breakerFaults = 5
	breakerPause  = 30 * time.Second
	// storeTime bounds what a call asks of the store before, and writes down
	// after, also when the server stops.
	storeTime = 5 * time.Second
)

// TellBanks tells banks of consents that were lodged and revoked, until ctx
// ends and no call is under way any more. Any number of processes may do so on
// one database.
func (s *Server) TellBanks(ctx context.Context) {
	lines := map[string]*line{}
	var calls sync.WaitGroup
	defer calls.Wait()
	failing := false
	tick := s.after(tellEvery)
	for {
		err := s.tellDue(ctx, lines, &calls)
		if err != nil && !failing && ctx.Err() == nil {
			s.Log.Warn("notices to banks cannot be read", "error", err)
		}
		failing = err != nil
		select {
		case <-ctx.Done():
			return
		case <-s.notices.rung():
		case <-tick:
			tick = s.after(tellEvery)
		}
	}
}

// after is time.After, unless a test has its own.
func (s *Server) after(d time.Duration) <-chan time.Time {
	if s.After == nil {
		return time.After(d)
	}
	return s.After(d)
}

// tellDue begins the calls that are due, as many as the line of each bank
// takes. It waits for the store alone, never for a bank.
func (s *Server) tellDue(ctx context.Context, lines map[string]*line, calls *sync.WaitGroup) error {
	reading, cancel := context.WithTimeout(ctx, requestDeadline)
	defer cancel()
	codes, err := s.Store.ProvidersToTell(reading, s.Now())
	if err != nil {
		return err
	}
	for _, code := range codes {
		if lines[code] == nil {
			lines[code] = new(line)
		}
		l, now := lines[code], s.Now()
		n := l.take(now)
		if n == 0 {
			continue
		}
		notices, err := s.Store.ClaimNotices(reading, code, gatehouse.NewID(now), n, now.Add(noticeLease), now)
		l.leave(n - len(notices))
		if err != nil {
			return err
		}
		for _, notice := range notices {
			calls.Go(func() { s.tell(ctx, l, notice) })
		}
	}
	return nil
}

// tell makes the call of one notice and writes down what came of it. A call
// that the end of this process cut off is left to whichever process looks next.
func (s *Server) tell(ctx context.Context, l *line, n *gatehouse.Notice) {
	defer s.notices.ring() // there is room for another one, perhaps the next of this consent
	defer l.leave(1)
	bank, call, err := s.callOf(ctx, n)
	var answer *connector.Answer
	if err == nil && call != nil {
		answer, err = s.Banks.Call(ctx, bank, call)
		l.heard(err == nil && answer.Status < http.StatusInternalServerError, s.Now())
	}
	settling, cancel := context.WithTimeout(context.WithoutCancel(ctx), storeTime)
	defer cancel()
	now := s.Now()
	switch {
	case err == nil && (call == nil || answer.Taken()):
		err = s.Store.NoticeDelivered(settling, n)
	case err != nil && ctx.Err() != nil:
		err = s.Store.NoticeFailed(settling, n, now, now)
	default:
		err = s.Store.NoticeFailed(settling, n, s.again(n, answer, err, now), now)
	}
	if err != nil { // the claim ends by itself, and the bank is told again
		s.Log.Warn("notice to a bank is not settled", append(about(n), "error", err)...)
	}
	if answer != nil && answer.Fault != "" {
		err := s.Banks.Report(ctx, bank, call, answer.Fault)
		s.Log.Warn("bank gave an answer that makes no sense", append(about(n), "fault", answer.Fault, "reported", err == nil)...)
	}
}

func about(n *gatehouse.Notice) []any {
	return []any{"provider_code", n.Provider, "consent_id", n.ConsentID, "step", n.Step, "attempts", n.Attempts}
}

// callOf is the call for a notice; nil when there is nothing to be told: the
// bank has no connector_url, or the wire no such call, or the consent is gone.
// A bank that is disabled is told all the same: what it knows of may end.
func (s *Server) callOf(ctx context.Context, n *gatehouse.Notice) (connector.Bank, *connector.Call, error) {
	ctx, cancel := context.WithTimeout(ctx, storeTime)
	defer cancel()
	var bank connector.Bank
	p, err := s.cachedProvider(ctx, n.Provider)
	if err != nil {
		return bank, nil, err
	}
	c, err := s.Store.Consent(ctx, p.Code, n.ConsentID)
	if p.Connector.URL == "" || errors.Is(err, gatehouse.ErrNotFound) {
		return bank, nil, nil
	}
	if err != nil {
		return bank, nil, err
	}
	if bank.Key, err = p.signingKey(jose.RS256); err != nil {
		return bank, nil, err
	}
	bank.URL, bank.Issuer = p.Connector.URL, p.issuer
	token := s.connectorToken(p, c.ID)
	if n.Step == gatehouse.NoticeRevoked {
		return bank, connector.Revoked(c, token), nil
	}
	app, err := s.appOf(ctx, c)
	if err != nil {
		return bank, nil, err
	}
	call, err := connector.Lodged(c, app, token)
	return bank, call, err
}

// again is when a notice that failed is due again; zero when it is given up.
func (s *Server) again(n *gatehouse.Notice, answer *connector.Answer, err error, now time.Time) time.Time {
	wait, attrs := retryDelay(n.Attempts), about(n)
	if answer == nil {
		attrs = append(attrs, "error", err)
	} else {
		attrs = append(attrs, "status", answer.Status, "error_class", answer.Class)
		if answer.RetryAfter > 0 {
			wait = answer.RetryAfter
		}
	}
	if !now.Before(n.CreatedAt.Add(noticeLife)) {
		s.Log.Error("bank not told, given up", attrs...)
		return time.Time{}
	}
	s.Log.Warn("bank not told, will try again", append(attrs, "again_in", wait.Round(time.Millisecond).String())...)
	return now.Add(wait)
}

// retryDelay doubles with each attempt. Its upper half is left to chance, so
// that notices which failed together do not come back together.
func retryDelay(attempts int) time.Duration {
	delay := maxRetry
	if doubled := attempts - 1; doubled < 12 { // 2^12 seconds are more than an hour
		delay = firstRetry << doubled
	}
	var b [8]byte
	rand.Read(b[:])
	return delay - time.Duration(binary.BigEndian.Uint64(b[:])%uint64(delay/2))
}

// A line is one bank at the end of a line: how many calls it has under way,
// and whether it is worth calling. The zero value is ready.
type line struct {
	mu     sync.Mutex
	calls  int
	faults int       // in a row
	last   time.Time // of them
}

// take reserves the calls that may begin now.
func (l *line) take(now time.Time) (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	paused := now.Sub(l.last) >= 0 && now.Sub(l.last) < breakerPause
	switch {
	case l.faults < breakerFaults:
		n = callsAtOnce - l.calls
	case !paused && l.calls == 0:
		n = 1
	}
	l.calls += n
	return n
}

// leave ends n calls.
func (l *line) leave(n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.calls -= n
}

// heard notes how a call ended.
func (l *line) heard(sound bool, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if sound {
		l.faults = 0
		return
	}
	l.faults, l.last = l.faults+1, now
}

// A bell wakes one who waits; rings that nobody waits for are heard as one. The
// zero value is ready.
type bell struct {
	once sync.Once
	rang chan struct{}
}

func (b *bell) rung() chan struct{} {
	b.once.Do(func() { b.rang = make(chan struct{}, 1) })
	return b.rang
}

func (b *bell) ring() {
	select {
	case b.rung() <- struct{}{}:
	default:
	}
}
