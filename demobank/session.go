package demobank

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"net/http"
	"sync"
	"time"
)

// The bounds of what one bank or TPP remembers of browsers.
const (
	sessionLifetime = 15 * time.Minute
	maxSessions     = 10_000
)

// A session binds something (a PSU's visit, a TPP's journey) to one browser: the id is in the path and no secret, the
// secret is in a cookie named after the id. Tabs of one browser therefore do not disturb each other.
type session[T any] struct {
	sync.Mutex // held while a request works on the session
	id         string
	secret     string
	token      string // hidden in every form of the session's pages
	expires    time.Time
	data       T
}

// sessions holds them in memory, oldest first.
type sessions[T any] struct {
	prefix string // of cookie names
	secure bool   // the pages are on https

	mu    sync.Mutex
	byID  map[string]*session[T]
	order []*session[T]
}

func newSessions[T any](prefix string, secure bool) *sessions[T] {
	if secure {
		prefix = "__Host-" + prefix // RFC 6265bis §4.1.3.2: Secure, Path=/, no Domain
	}
	return &sessions[T]{prefix: prefix, secure: secure, byID: make(map[string]*session[T])}
}

// start opens a session and gives the browser its cookie. It reports false when the id has one already: the first
// browser that comes with an id claims it.
func (ss *sessions[T]) start(w http.ResponseWriter, id string, now time.Time, data T) bool {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	ss.drop(now)
	if ss.byID[id] != nil {
		return false
	}
	s := &session[T]{id: id, expires: now.Add(sessionLifetime), data: data}
	ss.byID[id] = s
	ss.order = append(ss.order, s)
	ss.renew(w, s)
	return true
}

// drop forgets what has expired, and the oldest session when there is no room for another.
func (ss *sessions[T]) drop(now time.Time) {
	for len(ss.order) > 0 && (len(ss.order) >= maxSessions || !now.Before(ss.order[0].expires)) {
		delete(ss.byID, ss.order[0].id)
		ss.order[0] = nil
		ss.order = ss.order[1:]
	}
}

// renew gives the session a fresh secret and form token, so that what was known before the PSU proved who they are is
// worth nothing after.
func (ss *sessions[T]) renew(w http.ResponseWriter, s *session[T]) {
	s.secret, s.token = random(), random()
	http.SetCookie(w, &http.Cookie{
		Name:     ss.prefix + s.id,
		Value:    s.secret,
		Path:     "/",
		MaxAge:   int(sessionLifetime.Seconds()),
		Secure:   ss.secure,
		HttpOnly: true,
		SameSite: http.SameSiteLaxMode, // the browser arrives by a redirect from another site
	})
}

// enter returns the session of the id, locked. It is nil when there is none or when this is not its browser; known
// tells the two apart.
func (ss *sessions[T]) enter(r *http.Request, id string, now time.Time) (s *session[T], known bool) {
	ss.mu.Lock()
	s = ss.byID[id]
	ss.mu.Unlock()
	if s == nil || !now.Before(s.expires) {
		return nil, false
	}
	s.Lock()
	cookie, err := r.Cookie(ss.prefix + id)
	if err != nil || !equal(cookie.Value, s.secret) {
		s.Unlock()
		return nil, true
	}
	return s, true
}

// random returns 256 random bits in base64url.
func random() string {
	var b [32]byte
	rand.Read(b[:])
	return base64.RawURLEncoding.EncodeToString(b[:])
}

func equal(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }
