//go:build linux

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/jackc/pgx/v5"
)

// leaderLoss is the fault that `make ha` is about.
const leaderLoss = "leader-loss"

func (c *cluster) faults([]*replica) []fault {
	return []fault{
		{name: leaderLoss, weight: 3, do: c.loseLeader},
		{name: "leader-crash", weight: 2, do: c.crashLeader},
		{name: "leader-frozen", weight: 2, do: func(ctx context.Context, r *random) error {
			return c.freezeLeader(ctx, r, (*member).freeze)
		}},
		{name: "patroni-frozen", weight: 2, do: func(ctx context.Context, r *random) error {
			return c.freezeLeader(ctx, r, (*member).freezePatroni)
		}},
		{name: "switchover", weight: 2, do: c.switchOver},
		{name: "standby-loss", weight: 2, do: c.loseStandby},
		{name: "standby-frozen", weight: 2, do: c.freezeStandby},
		{name: "standbys-frozen", weight: 1, do: c.freezeStandbys},
		{name: "etcd-loss", weight: 1, do: func(ctx context.Context, r *random) error {
			return c.away(ctx, c.etcd, r.between(5*time.Second, 40*time.Second))
		}},
		{name: "haproxy-kill", weight: 1, do: func(ctx context.Context, r *random) error {
			return c.away(ctx, c.haproxy, r.between(0, 3*time.Second))
		}},
		{name: "pgbouncer-kill", weight: 2, do: func(ctx context.Context, r *random) error {
			return c.away(ctx, c.bouncers[r.below(len(c.bouncers))], r.between(0, 3*time.Second))
		}},
	}
}

// must returns the member of a role, which a whole cluster has.
func (c *cluster) must(ctx context.Context, role string) (*member, error) {
	m := c.memberWith(context.WithoutCancel(ctx), role)
	if m == nil {
		return nil, errors.New("no member is " + role)
	}
	return m, nil
}

// awaitLeader returns the leader that follows old.
func (c *cluster) awaitLeader(ctx context.Context, old *member) (leader *member, err error) {
	err = c.await(ctx, "elect a leader", func(ctx context.Context) error {
		leader = c.memberWith(ctx, "primary")
		if leader == nil || leader == old {
			return errors.New("no new leader")
		}
		return nil
	})
	return leader, err
}

// loseLeader is the end of the leader's machine: nobody gives its lease back.
func (c *cluster) loseLeader(ctx context.Context, r *random) error {
	old, err := c.must(ctx, "primary")
	if err != nil {
		return err
	}
	if err := old.kill(); err != nil {
		return err
	}
	if _, err := c.awaitLeader(ctx, old); err != nil {
		return err
	}
	pause(ctx, r.between(0, 5*time.Second))
	if err := old.patroni.start(); err != nil {
		return err
	}
	return c.awaitWhole(ctx)
}

// crashLeader kills PostgreSQL under a Patroni that sees it.
func (c *cluster) crashLeader(ctx context.Context, _ *random) error {
	old, err := c.must(ctx, "primary")
	if err != nil {
		return err
	}
	if err := old.killPostmaster(); err != nil {
		return err
	}
	// It leads again when no standby can take over.
	err = c.await(ctx, "notice the crash", func(ctx context.Context) error {
		if c.memberWith(ctx, "primary") == old && old.postgres() == nil {
			return errors.New("PostgreSQL is dead")
		}
		return nil
	})
	return errors.Join(err, c.awaitWhole(ctx))
}

// freezeLeader stops the leader, or only the Patroni that would end it, until
// another leads; then it goes on and believes for a moment to lead still. A
// write that it acknowledges then is lost.
func (c *cluster) freezeLeader(ctx context.Context, r *random, freeze func(*member)) error {
	old, err := c.must(ctx, "primary")
	if err != nil {
		return err
	}
	conn, err := pgx.Connect(context.WithoutCancel(ctx), c.memberURL(old))
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	freeze(old)
	_, err = c.awaitLeader(ctx, old)
	if err == nil {
		pause(ctx, r.between(0, 5*time.Second))
	}
	tempted := make(chan error, 1)
	go func() { tempted <- c.tempt(ctx, conn) }()
	pause(ctx, time.Second)
	old.thaw()
	return errors.Join(err, <-tempted, c.awaitWhole(ctx))
}

// tempt offers a write to a leader of the past, without a word from HAProxy.
func (c *cluster) tempt(ctx context.Context, conn *pgx.Conn) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 20*time.Second)
	defer cancel()
	results := conn.PgConn().Exec(ctx, `INSERT INTO probe VALUES (now())`)
	if _, err := results.ReadAll(); err == nil {
		return errors.New("split brain: a leader of the past acknowledged a write")
	}
	return nil
}

// switchOver hands the lead to the synchronous standby, as before maintenance.
func (c *cluster) switchOver(ctx context.Context, _ *random) error {
	old, err := c.must(ctx, "primary")
	if err != nil {
		return err
	}
	next, err := c.must(ctx, "sync")
	if err != nil {
		return err
	}
	body, err := json.Marshal(map[string]string{"leader": old.Name, "candidate": next.Name})
	if err != nil {
		return err
	}
	// Patroni answers when it is done, after more than c.http would wait.
	slow := *c
	slow.http = &http.Client{Timeout: clusterPatience, Transport: c.http.Transport}
	status, answer, err := slow.ask(context.WithoutCancel(ctx), http.MethodPost, old, "/switchover", string(body))
	if err != nil {
		return err
	}
	if status != http.StatusOK {
		return fmt.Errorf("switchover: %d %s", status, answer)
	}
	return c.awaitWhole(ctx)
}

// loseStandby is the end of the machine that every commit waits for.
func (c *cluster) loseStandby(ctx context.Context, r *random) error {
	standby, err := c.must(ctx, "sync")
	if err != nil {
		return err
	}
	if err := standby.kill(); err != nil {
		return err
	}
	pause(ctx, r.between(3*time.Second, 15*time.Second))
	if err := standby.patroni.start(); err != nil {
		return err
	}
	return c.awaitWhole(ctx)
}

// freezeStandby lets commits wait for a standby that says nothing.
func (c *cluster) freezeStandby(ctx context.Context, r *random) error {
	standby, err := c.must(ctx, "sync")
	if err != nil {
		return err
	}
	standby.freeze()
	pause(ctx, r.between(3*time.Second, 15*time.Second))
	standby.thaw()
	return c.awaitWhole(ctx)
}

// freezeStandbys lets commits wait for standbys that say nothing, until callers
// give up, and then ends the leader: what it acknowledged meanwhile would be
// lost. The standbys are back before wal_sender_timeout takes the synchronous
// one off the list of those that may lead.
func (c *cluster) freezeStandbys(ctx context.Context, r *random) error {
	leader, err := c.must(ctx, "primary")
	if err != nil {
		return err
	}
	var standbys []*member
	for _, m := range c.members {
		if m != leader {
			standbys = append(standbys, m)
			m.freeze()
		}
	}
	pause(ctx, r.between(3500*time.Millisecond, 4500*time.Millisecond))
	err = leader.kill()
	for _, m := range standbys {
		m.thaw()
	}
	if err != nil {
		return err
	}
	if _, err := c.awaitLeader(ctx, leader); err != nil {
		return err
	}
	if err := leader.patroni.start(); err != nil {
		return err
	}
	return c.awaitWhole(ctx)
}

// away ends a program for a while.
func (c *cluster) away(ctx context.Context, p *program, d time.Duration) error {
	if err := p.kill(); err != nil {
		return err
	}
	pause(ctx, d)
	if err := p.start(); err != nil {
		return err
	}
	return c.awaitWhole(ctx)
}
