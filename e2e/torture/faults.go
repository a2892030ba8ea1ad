//go:build linux

package main

import (
	"context"
	"fmt"
	"os/exec"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// replicaFaults are what can be done to replicas on every database.
func replicaFaults(replicas []*replica) []fault {
	one := func(do func(context.Context, *random, *replica) error) func(context.Context, *random) error {
		return func(ctx context.Context, r *random) error { return do(ctx, r, replicas[r.below(len(replicas))]) }
	}
	return []fault{
		{name: "kill", weight: 12, replicas: true, do: one(killReplica)},
		{name: "kill-all", weight: 3, replicas: true, do: func(ctx context.Context, r *random) error { return killAll(ctx, r, replicas) }},
		{name: "stop", weight: 4, replicas: true, stalls: true, do: one(pauseReplica)},
		{name: "restart", weight: 3, replicas: true, do: one(restartReplica)},
	}
}

// clockFaults are those of the replicas' clocks, which a PostgreSQL server does
// not share.
func clockFaults(replicas []*replica) []fault {
	return []fault{
		{name: "clock-ahead", weight: 3, replicas: true, clock: true, do: func(ctx context.Context, r *random) error {
			return jump(ctx, r, replicas, func(int) time.Duration { return 2 * time.Hour })
		}},
		{name: "clock-ahead-one", weight: 3, replicas: true, clock: true, do: func(ctx context.Context, r *random) error {
			n := r.below(len(replicas))
			return jump(ctx, r, replicas[n:n+1], func(int) time.Duration { return 2 * time.Hour })
		}},
		// What is written meanwhile is a day past its expiry when the clock is
		// right again, and purged.
		{name: "clock-behind", weight: 3, replicas: true, clock: true, do: func(ctx context.Context, r *random) error {
			n := r.below(len(replicas))
			return jump(ctx, r, replicas[n:n+1], func(int) time.Duration { return -30 * time.Hour })
		}},
		{name: "clock-skew", weight: 3, replicas: true, clock: true, do: func(ctx context.Context, r *random) error {
			return jump(ctx, r, replicas, func(n int) time.Duration { return []time.Duration{20 * time.Second, -20 * time.Second}[n%2] })
		}},
	}
}

func killReplica(ctx context.Context, r *random, victim *replica) error {
	pause(ctx, r.between(0, 300*time.Millisecond))
	if err := victim.kill(); err != nil {
		return err
	}
	pause(ctx, r.between(0, time.Second))
	return victim.startAgain(context.WithoutCancel(ctx))
}

// killAll leaves nobody who could finish what was begun.
func killAll(ctx context.Context, r *random, replicas []*replica) error {
	pause(ctx, r.between(0, 300*time.Millisecond))
	for _, victim := range replicas {
		if err := victim.kill(); err != nil {
			return err
		}
	}
	return each(replicas, func(victim *replica) error { return victim.startAgain(context.WithoutCancel(ctx)) })
}

// each acts on all replicas at once and returns one of the errors.
func each(replicas []*replica, act func(*replica) error) error {
	faults := make(chan error, len(replicas))
	var all sync.WaitGroup
	for _, r := range replicas {
		all.Go(func() { faults <- act(r) })
	}
	all.Wait()
	for range replicas {
		if err := <-faults; err != nil {
			return err
		}
	}
	return nil
}

// pauseReplica stops a process where it is, perhaps in the middle of a
// transaction, for longer than others wait for it.
func pauseReplica(ctx context.Context, r *random, victim *replica) error {
	if err := victim.signal(syscall.SIGSTOP); err != nil {
		return err
	}
	pause(ctx, r.between(500*time.Millisecond, 8*time.Second))
	return victim.signal(syscall.SIGCONT)
}

// restartReplica is what a deployment does.
func restartReplica(ctx context.Context, r *random, victim *replica) error {
	if err := victim.stop(); err != nil {
		return err
	}
	return victim.startAgain(context.WithoutCancel(ctx))
}

// jump puts clocks off for a while.
func jump(ctx context.Context, r *random, replicas []*replica, offset func(int) time.Duration) error {
	for i, victim := range replicas {
		if err := victim.setClock(ctx, offset(i)); err != nil {
			return err
		}
	}
	pause(ctx, r.between(3*time.Second, 9*time.Second))
	for _, victim := range replicas {
		if err := victim.setClock(context.WithoutCancel(ctx), 0); err != nil {
			return err
		}
	}
	return nil
}

// straceKill kills a replica when one of its threads makes its n-th call of a
// system call; when that does not come, it is killed all the same.
func straceKill(ctx context.Context, victim *replica, call string, n int) error {
	inject := fmt.Sprintf("inject=%s:signal=KILL:when=%d", call, n)
	ended := victim.expectEnd()
	tracer, err := attach(victim, inject)
	if err != nil {
		return err
	}
	select {
	case <-ended:
	case <-time.After(10 * time.Second):
	case <-ctx.Done():
	}
	if err := victim.kill(); err != nil {
		return err
	}
	tracer.Wait() // it ends with what it traced
	return victim.startAgain(context.WithoutCancel(ctx))
}

// straceFail lets system calls of a replica fail for a while.
func straceFail(ctx context.Context, r *random, victim *replica, call, errno string) error {
	tracer, err := attach(victim, fmt.Sprintf("inject=%s:error=%s", call, errno))
	if err != nil {
		return err
	}
	pause(ctx, r.between(time.Second, 4*time.Second))
	if err := tracer.Process.Signal(syscall.SIGINT); err != nil { // it detaches
		return err
	}
	tracer.Wait()
	return nil
}

// attach makes strace interfere with a running replica.
func attach(victim *replica, inject string) (*exec.Cmd, error) {
	tracer := exec.Command("strace", "-f", "-qq", "-o", "/dev/null", "-p", strconv.Itoa(victim.pid()), "-e", "trace=fsync,pwrite64", "-e", inject)
	tracer.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGINT}
	return tracer, tracer.Start()
}

// upTo counts from 1 to most, again and again.
func upTo(most int) func() int {
	n := 0
	return func() int {
		n = n%most + 1
		return n
	}
}
