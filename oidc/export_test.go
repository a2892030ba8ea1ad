package oidc

import "context"

// NewQueue returns the do of a queue.
func NewQueue() func(ctx context.Context, work func(), owner ...string) error {
	return new(queue).do
}

const MaxWaiting = maxWaiting
