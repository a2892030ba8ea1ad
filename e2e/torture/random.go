//go:build linux

package main

import "time"

// A random is a seeded generator, SplitMix64: the run that a seed gave can be
// had again. It is not for secrets and not for several goroutines.
//
// Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, OOPSLA
// 2014, figure 17.
type random struct{ state uint64 }

// newRandom returns a generator for one purpose of a run.
func newRandom(seed, purpose uint64) *random {
	r := &random{seed ^ purpose*0xd1342543de82ef95}
	r.next()
	return r
}

func (r *random) next() uint64 {
	r.state += 0x9e3779b97f4a7c15
	z := r.state
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// below returns a number from 0 to n-1.
func (r *random) below(n int) int { return int(r.next() % uint64(n)) }

// in reports true once in n calls.
func (r *random) in(n int) bool { return r.below(n) == 0 }

// between returns a duration from low to below high.
func (r *random) between(low, high time.Duration) time.Duration {
	return low + time.Duration(r.next()%uint64(high-low))
}

// pick returns the index of one of the weights, as often as they say.
func (r *random) pick(weights []int) int {
	total := 0
	for _, w := range weights {
		total += w
	}
	n := r.below(total)
	for i, w := range weights {
		if n < w {
			return i
		}
		n -= w
	}
	panic("unreachable")
}
