package oidc

import "context"

// NewQueue returns the do of a queue.
func NewQueue() func(ctx context.Context, work func(), owner ...string) error {
	return new(queue).do
}

const MaxWaiting = maxWaiting

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
