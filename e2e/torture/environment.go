//go:build linux

package main

import (
	"context"
	"slices"
	"time"
)

// An environment is a database under the replicas, and the faults it knows.
// Each kind of database has a constructor with the signature of an opener.
type environment interface {
	// url is the database url that a replica is configured with.
	url(replica int) string
	// faults are what can be done to the database, and to replicas in ways
	// that only make sense on it.
	faults(replicas []*replica) []fault
	// check says whether the database is whole. It is called once, after the
	// run, when no replica runs any more.
	check(ctx context.Context) error
	// close ends everything that open started and removes what it made outside
	// its directory.
	close() error
}

// An opener makes an environment for so many replicas, empty and running,
// with its files in dir, which exists.
type opener func(ctx context.Context, dir string, replicas int) (environment, error)

// A choice names the faults of a run; an empty one means all there are.
type choice []string

func (c choice) has(fault string) bool { return len(c) == 0 || slices.Contains(c, fault) }

// A fault is one thing that can go wrong.
type fault struct {
	name string
	// weight is how often it is chosen, beside the weights of the others.
	weight int
	// clock says that the servers' clocks are wrong meanwhile: refusals of
	// what is too old or too young are no findings then.
	clock bool
	// stalls says that a replica itself is held up: its answers may be late.
	stalls bool
	// replicas says that the fault acts on replicas, not on what they need. One
	// of each sort may happen at the same time.
	replicas bool
	// do injects the fault, lets it last, heals it, and returns when it is
	// healed, also when ctx ends early. Whatever it chooses it chooses by r, so
	// that a seed gives the same run. An error says that the fault could not be
	// injected or healed, and ends the run.
	do func(ctx context.Context, r *random) error
}

// pause waits for d, or less when ctx ends.
func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
