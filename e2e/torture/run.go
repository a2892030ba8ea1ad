//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// rotationGrace is the providers' default: how long a refresh token may be
// presented again after it was replaced.
const rotationGrace = 60 * time.Second

// recoveryLimit is how long after a fault is healed the service may take to
// work again without anybody's help.
const recoveryLimit = 10 * time.Second

// faultPatience is how long one fault may take where their count ends the run.
const faultPatience = 2 * time.Minute

// A run is one database's turn.
type run struct {
	*options
	*world
	environment environment
	faults      []fault
	extra       []finding
	injected    map[string]*tally
}

// A tally is what happened by one fault.
type tally struct {
	count    int
	recovery time.Duration // the longest
}

// runOn tortures the program on one database.
func runOn(ctx context.Context, o *options, database, dir string) (found int, err error) {
	fmt.Printf("%s: seed %d, %s, %d replicas, %d callers\n", database, o.seed, o.duration, o.replicas, o.callers)
	e, err := openers(o.faults)[database](ctx, dir, o.replicas)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, e.close()) }()
	r := &run{options: o, environment: e, injected: map[string]*tally{}, world: &world{
		history: &history{}, http: newHTTPClient(o.callers), run: fmt.Sprint(time.Now().UnixNano()),
	}}
	// Whatever happens, no process outlives the run.
	defer func() {
		for _, x := range r.world.replicas {
			err = errors.Join(err, x.kill())
		}
	}()
	if err := r.setUp(ctx, dir); err != nil {
		return 0, err
	}
	if err := r.load(ctx); err != nil {
		return 0, err
	}
	r.reportGrants()
	fmt.Println("  audit of the history ...")
	begun := time.Now()
	r.audit(context.WithoutCancel(ctx))
	for _, x := range r.world.replicas {
		if err := x.stop(); err != nil {
			r.extra = append(r.extra, finding{rule: "e", text: err.Error()})
		}
		for _, line := range x.complaints() {
			r.extra = append(r.extra, finding{rule: "e", text: fmt.Sprintf("replica %d: %s", x.number, line)})
		}
	}
	if err := e.check(context.WithoutCancel(ctx)); err != nil {
		r.extra = append(r.extra, finding{rule: "d", text: err.Error()})
	}
	fmt.Printf("  audited in %s\n", time.Since(begun).Round(time.Second))
	findings := append(r.history.findings(rotationGrace), r.extra...)
	r.report(findings)
	if database == "cluster" {
		r.history.reportOutages(findings)
	}
	if len(findings) == 0 || !o.keep {
		return len(findings), nil
	}
	file, err := os.Create(filepath.Join(dir, "findings.txt"))
	if err != nil {
		return len(findings), err
	}
	tell(file, findings)
	return len(findings), file.Close()
}

// setUp makes banks and clients and starts the replicas.
func (r *run) setUp(ctx context.Context, dir string) error {
	d, err := newDeployment(r.program, dir, r.environment, []string{
		"GATEHOUSE_ALLOW_CLOCK_CONTROL=true", "GATEHOUSE_TIMEOUTS_DRAIN=0s", "GATEHOUSE_PURGE_EVERY=3s",
	})
	if err != nil {
		return err
	}
	if err := d.cli(ctx, nil, "migrate"); err != nil {
		return err
	}
	for code, flags := range map[string][]string{plainProvider: nil, rotatingProvider: {"--rotate-refresh-tokens"}} {
		b, err := d.addBank(ctx, code, flags...)
		if err != nil {
			return err
		}
		r.banks = append(r.banks, b)
	}
	for n := range 6 {
		p, err := d.addParty(ctx, fmt.Sprintf("tpp-%d", n), n%2 == 1)
		if err != nil {
			return err
		}
		r.parties = append(r.parties, p)
	}
	for n := range r.options.replicas {
		x, err := newReplica(n, r.program, dir, append([]string{"GATEHOUSE_DATABASE=" + r.environment.url(n)}, d.settings...))
		if err != nil {
			return err
		}
		if err := x.start(ctx); err != nil {
			return err
		}
		r.world.replicas = append(r.world.replicas, x)
	}
	replicas := r.world.replicas
	all := slices.Concat(replicaFaults(replicas), clockFaults(replicas), r.environment.faults(replicas))
	r.faults, err = chosenFaults(r.options, all)
	return err
}

// load drives the callers and injects faults until the time is over.
func (r *run) load(ctx context.Context) error {
	working, stop := context.WithTimeout(ctx, r.duration)
	defer stop()
	var callers sync.WaitGroup
	for n := range r.callers {
		c := &caller{world: r.world, random: newRandom(r.seed, uint64(n)), party: r.parties[n%len(r.parties)]}
		callers.Go(func() { c.work(working, r.rest) })
	}
	err := r.hurt(working)
	stop()
	callers.Wait()
	return err
}

// hurt injects one fault after the other, sometimes two at once, with a calm
// after each.
func (r *run) hurt(ctx context.Context) error {
	chance := newRandom(r.seed, 1<<32)
	for n := uint64(1); ; n++ {
		if r.count > 0 && n > uint64(r.count) {
			pause(ctx, 2*calm)
			return nil
		}
		pause(ctx, chance.between(time.Second, 5*time.Second))
		if ctx.Err() != nil || len(r.faults) == 0 {
			pause(ctx, r.duration)
			return nil
		}
		chosen := []fault{pickFault(chance, r.faults)}
		if chance.in(4) {
			others := slices.DeleteFunc(slices.Clone(r.faults), func(f fault) bool { return f.replicas == chosen[0].replicas })
			if len(others) > 0 {
				chosen = append(chosen, pickFault(chance, others))
			}
		}
		if err := r.inject(ctx, n, chosen); err != nil {
			return err
		}
	}
}

func pickFault(chance *random, faults []fault) fault {
	weights := make([]int, len(faults))
	for i, f := range faults {
		weights[i] = f.weight
	}
	return faults[chance.pick(weights)]
}

// inject lets faults happen at once and waits until the service works again.
func (r *run) inject(ctx context.Context, number uint64, chosen []fault) error {
	start := time.Now()
	r.history.open(start, chosen...)
	errs := make([]error, len(chosen))
	names := make([]string, len(chosen))
	var faults sync.WaitGroup
	for i, f := range chosen {
		names[i] = f.name
		chance := newRandom(r.seed, 1<<33+2*number+uint64(i))
		faults.Go(func() {
			if err := f.do(ctx, chance); err != nil {
				errs[i] = fmt.Errorf("fault %s: %w", f.name, err)
			}
		})
	}
	faults.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	healed := time.Now()
	works := r.awaitService(context.WithoutCancel(ctx))
	recovered := time.Now()
	r.history.close(healed, recovered)
	name, took := strings.Join(names, "+"), recovered.Sub(healed)
	fmt.Printf("  %-28s %5.1f s, works again %4.1f s later\n", name, healed.Sub(start).Seconds(), took.Seconds())
	for _, f := range chosen {
		t := r.injected[f.name]
		if t == nil {
			t = &tally{}
			r.injected[f.name] = t
		}
		t.count++
		t.recovery = max(t.recovery, took)
	}
	if !works {
		return fmt.Errorf("after fault %s the service does not work again", name)
	}
	if took > recoveryLimit {
		r.extra = append(r.extra, finding{rule: "f", text: fmt.Sprintf("after fault %s the service worked again only after %s", name, took.Round(100*time.Millisecond))})
	}
	return nil
}

// awaitService returns when every replica gives tokens of every bank, and
// whether it does.
func (r *run) awaitService(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	for ctx.Err() == nil {
		if r.serves(ctx) {
			return true
		}
		pause(ctx, 100*time.Millisecond)
	}
	return false
}

func (r *run) serves(ctx context.Context) bool {
	for _, x := range r.world.replicas {
		if !x.ready(ctx) {
			return false
		}
		for _, b := range r.banks {
			if r.credentials(ctx, x, b, r.parties[0], assertion{}).outcome != ok {
				return false
			}
		}
	}
	return true
}
