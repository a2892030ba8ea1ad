//go:build linux

package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"gatehouse/store/storetest"
)

// postgresServer is an environment: a PostgreSQL server of its own, and a
// proxy between it and each replica.
type postgresServer struct {
	server  *storetest.Postgres
	proxies []*storetest.Proxy
	disk    *disk // nil unless it shall be filled
}

func openPostgres(ctx context.Context, dir string, replicas int, withDisk bool) (_ environment, err error) {
	p := &postgresServer{}
	defer func() {
		if err != nil {
			err = errors.Join(err, p.close())
		}
	}()
	// The way to the files must be open to PostgreSQL's user.
	home := filepath.Join(dir, "postgres")
	if err := errors.Join(os.Chmod(dir, 0o711), os.Mkdir(home, 0o700)); err != nil {
		return nil, err
	}
	if withDisk {
		if p.disk, err = mountDisk(home); err != nil {
			return nil, err
		}
	}
	if p.server, err = storetest.NewPostgres(home); err != nil {
		return nil, err
	}
	p.server.Attributes.Pdeathsig = syscall.SIGQUIT
	p.server.Settings = []string{"-c", "max_wal_size=128MB", "-c", "min_wal_size=32MB", "-c", "checkpoint_timeout=30s", "-c", "shared_buffers=32MB"}
	if err := p.server.Start(ctx); err != nil {
		return nil, err
	}
	for range replicas {
		proxy, err := storetest.StartProxy(p.server.URL)
		if err != nil {
			return nil, err
		}
		p.proxies = append(p.proxies, proxy)
	}
	return p, nil
}

func (p *postgresServer) url(replica int) string { return p.proxies[replica].URL() }

func (p *postgresServer) faults(replicas []*replica) []fault {
	proxy := func(r *random) *storetest.Proxy { return p.proxies[r.below(len(p.proxies))] }
	cut := func(at storetest.CutPoint) func(context.Context, *random) error {
		return func(ctx context.Context, r *random) error { return cutSome(ctx, r, proxy(r), at) }
	}
	return []fault{
		{name: "postmaster-kill", weight: 5, do: func(ctx context.Context, r *random) error {
			return p.bounce(ctx, r, syscall.SIGKILL, time.Second)
		}},
		{name: "postgres-immediate", weight: 5, do: func(ctx context.Context, r *random) error {
			return p.bounce(ctx, r, syscall.SIGQUIT, 6*time.Second)
		}},
		{name: "postgres-restart", weight: 3, do: func(ctx context.Context, r *random) error {
			return p.bounce(ctx, r, syscall.SIGINT, time.Second)
		}},
		{name: "backend-kill", weight: 6, do: p.killBackend},
		{name: "cut-before-sync", weight: 6, do: cut(storetest.BeforeSync)},
		{name: "cut-after-sync", weight: 6, do: cut(storetest.AfterSync)},
		{name: "cut-after-commit", weight: 6, do: cut(storetest.AfterCommit)},
		{name: "cut-in-answer", weight: 6, do: cut(storetest.InAnswer)},
		{name: "break-connections", weight: 3, do: func(_ context.Context, r *random) error {
			proxy(r).Break()
			return nil
		}},
		{name: "black-hole", weight: 4, do: func(ctx context.Context, r *random) error {
			x := proxy(r)
			x.Freeze()
			pause(ctx, r.between(500*time.Millisecond, 8*time.Second))
			x.Thaw()
			return nil
		}},
		{name: "read-only", weight: 3, do: p.readOnly},
		{name: diskFull, weight: 3, do: func(ctx context.Context, r *random) error {
			err := p.disk.fillFor(ctx, r.between(2*time.Second, 8*time.Second))
			if err != nil || p.server.Running() {
				return err
			}
			return p.server.Start(context.WithoutCancel(ctx)) // it gives up when it cannot recover
		}},
	}
}

// bounce ends the server, leaves it away for a while, and starts it again.
func (p *postgresServer) bounce(ctx context.Context, r *random, signal syscall.Signal, away time.Duration) error {
	pause(ctx, r.between(0, 300*time.Millisecond))
	if err := p.server.Stop(signal); err != nil {
		return err
	}
	pause(ctx, r.between(0, away))
	return p.server.Start(context.WithoutCancel(ctx))
}

// killBackend kills one of the processes that serve connections; the server
// then ends all others and recovers.
func (p *postgresServer) killBackend(ctx context.Context, r *random) error {
	pause(ctx, r.between(0, 300*time.Millisecond))
	var backends []int
	children, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return err
	}
	for _, file := range children {
		stat, err := os.ReadFile(file)
		if err != nil {
			continue // gone
		}
		title, _ := os.ReadFile(filepath.Join(filepath.Dir(file), "cmdline"))
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		if parentOf(string(stat)) == p.server.PID() && strings.HasPrefix(string(title), "postgres: postgres postgres") {
			backends = append(backends, pid)
		}
	}
	if len(backends) == 0 {
		return nil // nobody is connected
	}
	if err := syscall.Kill(backends[r.below(len(backends))], syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
		return err
	}
	return nil
}

// parentOf reads the parent's id from proc_pid_stat(5): the second field after
// the name, which is in parentheses.
func parentOf(stat string) int {
	fields := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
	if len(fields) < 2 {
		return 0
	}
	pid, _ := strconv.Atoi(fields[1])
	return pid
}

// cutSome cuts a few connections, one after the other, at one point of their
// transactions.
func cutSome(ctx context.Context, r *random, proxy *storetest.Proxy, at storetest.CutPoint) error {
	defer proxy.Disarm()
	for range 1 + r.below(5) {
		// An answer to one statement has some 30 bytes.
		c := &storetest.Cut{At: at, Bytes: 1 + r.below(60)}
		proxy.Arm(c)
		select {
		case <-c.Done():
		case <-time.After(5 * time.Second):
			return nil // nobody writes
		case <-ctx.Done():
			return nil
		}
	}
	return nil
}

// readOnly is what a standby is after a failover that went wrong.
func (p *postgresServer) readOnly(ctx context.Context, r *random) error {
	if err := p.server.Exec(ctx, "ALTER SYSTEM SET default_transaction_read_only = on"); err != nil {
		return err
	}
	if err := p.server.Exec(ctx, "SELECT pg_reload_conf()"); err != nil {
		return err
	}
	pause(ctx, r.between(time.Second, 5*time.Second))
	ctx = context.WithoutCancel(ctx)
	if err := p.server.Exec(ctx, "ALTER SYSTEM RESET default_transaction_read_only"); err != nil {
		return err
	}
	return p.server.Exec(ctx, "SELECT pg_reload_conf()")
}

func (p *postgresServer) check(ctx context.Context) error { return p.server.Check(ctx) }

func (p *postgresServer) close() (err error) {
	for _, proxy := range p.proxies {
		err = errors.Join(err, proxy.Close())
	}
	if p.server != nil {
		err = errors.Join(err, p.server.Stop(syscall.SIGQUIT))
	}
	return errors.Join(err, p.disk.unmount())
}
