//go:build linux

package main

import (
	"fmt"
	"maps"
	"slices"
)

// maxShown bounds the findings of one rule that are printed in full.
const maxShown = 20

// report prints what was done and what came of it.
func (r *run) report(findings []finding) {
	calls := map[kind]map[outcome]int{}
	for _, c := range r.history.snapshot().calls {
		if calls[c.kind] == nil {
			calls[c.kind] = map[outcome]int{}
		}
		calls[c.kind][c.outcome]++
	}
	fmt.Printf("  %-20s %9s %9s %9s\n", "calls", ok, refused, unknown)
	for _, k := range slices.Sorted(maps.Keys(calls)) {
		fmt.Printf("  %-20s %9d %9d %9d\n", k, calls[k][ok], calls[k][refused], calls[k][unknown])
	}
	fmt.Printf("  %-20s %9s %s\n", "faults", "injected", "longest recovery")
	for _, name := range slices.Sorted(maps.Keys(r.injected)) {
		fmt.Printf("  %-20s %9d %9.1f s\n", name, r.injected[name].count, r.injected[name].recovery.Seconds())
	}
	shown := map[string]int{}
	for _, f := range findings {
		if shown[f.rule]++; shown[f.rule] <= maxShown {
			fmt.Printf("  FOUND (%s) %s\n", f.rule, f.text)
		}
	}
	for _, rule := range slices.Sorted(maps.Keys(shown)) {
		if n := shown[rule] - maxShown; n > 0 {
			fmt.Printf("  FOUND (%s) %d more\n", rule, n)
		}
	}
	fmt.Printf("  %d findings\n", len(findings))
}
