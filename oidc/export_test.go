package oidc

import (
	"context"
	"runtime"

	"gatehouse"
)

// NewQueue returns the do of a queue.
func NewQueue() func(ctx context.Context, work func(), owner ...string) error {
	return new(queue).do
}

const MaxWaiting = maxWaiting

// HoldVerifying takes every processor for the verification of tokens until let
// is called; waiting is how many wait for one.
func (s *Server) HoldVerifying() (waiting func() int, let func()) { return s.verifying.hold() }

// HoldSigning does so for signatures.
func (s *Server) HoldSigning() (waiting func() int, let func()) { return s.signing.hold() }

func (q *queue) hold() (waiting func() int, let func()) {
	for range runtime.GOMAXPROCS(0) {
		q.enter(context.Background(), nil)
	}
	waiting = func() int {
		q.mu.Lock()
		defer q.mu.Unlock()
		return q.waiting.length
	}
	return waiting, func() {
		for range runtime.GOMAXPROCS(0) {
			q.leave()
		}
	}
}

// A Route is what tests know of one.
type Route struct {
	Pattern, Methods string
	Limit            int64
	AnyOrigin        bool
	TokenOrigins     bool
}

// Routes returns the routes of every server.
func Routes() (all []Route) {
	for _, r := range new(Server).routes() {
		all = append(all, Route{r.pattern, r.methods, r.limit, r.cors == anyOrigin, r.cors == tokenOrigins})
	}
	return all
}

// Owner is whose turn it is when a client's is.
func Owner(c *gatehouse.Client) string { return (&client{Client: c}).owner() }
