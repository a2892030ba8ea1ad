//go:build linux

package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"text/template"
	"time"

	"github.com/jackc/pgx/v5"
)

// A cluster is PostgreSQL on three members, each under a Patroni that holds
// elections in etcd; HAProxy leads to the member that is the leader, and each
// replica has a PgBouncer of its own, which leads to HAProxy:
//
//	replica ─▶ pgbouncer ─▶ haproxy ─▶ leader ─▶ synchronous standby
//
// It is what docs/operations.md describes, on loopback, and with one etcd in
// place of three.
type cluster struct {
	dir      string
	bin      string // the directory of PostgreSQL's programs
	password string // of every role
	account  *syscall.SysProcAttr
	members  []*member
	etcd     *program
	haproxy  *program
	bouncers []*program // one a replica
	http     *http.Client
}

// A member is one PostgreSQL server with its Patroni.
type member struct {
	Name    string
	REST    string // address of Patroni
	Address string // of PostgreSQL
	Data    string
	patroni *program
}

// clusterPatience is how long the cluster may take to be whole again after a
// fault: three elections.
const clusterPatience = 90 * time.Second

// clusterPrograms are those needed, by Debian package.
var clusterPrograms = []struct{ program, pkg string }{
	{"etcd", "etcd-server"}, {"patroni", "patroni"}, {"haproxy", "haproxy"}, {"pgbouncer", "pgbouncer"}, {"initdb", "postgresql"},
}

// openCluster starts a cluster. It is an opener.
func openCluster(ctx context.Context, dir string, replicas int) (environment, error) {
	paths, err := findPrograms()
	if err != nil {
		return nil, err
	}
	// The way to the files must be open to PostgreSQL's user.
	home := filepath.Join(dir, "cluster")
	if err := errors.Join(os.Chmod(dir, 0o711), os.Mkdir(home, 0o700)); err != nil {
		return nil, err
	}
	// postmaster.pid is believed when the process works in the very directory.
	home, err = filepath.EvalSymlinks(home)
	if err != nil {
		return nil, err
	}
	account, err := dropRoot(home)
	if err != nil {
		return nil, err
	}
	c := &cluster{
		dir:      home,
		bin:      filepath.Dir(paths["initdb"]),
		password: rand.Text(),
		account:  account,
		http:     &http.Client{Timeout: 2 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}},
	}
	if err := c.configure(paths, replicas); err != nil {
		return nil, err
	}
	if err := c.open(ctx); err != nil {
		return nil, errors.Join(err, c.close())
	}
	return c, nil
}

// findPrograms looks in PATH and where Debian keeps what is not in PATH.
func findPrograms() (paths map[string]string, err error) {
	paths = map[string]string{}
	var missing []string
	for _, p := range clusterPrograms {
		places := []string{"/usr/sbin/" + p.program}
		if found, err := exec.LookPath(p.program); err == nil {
			places = append(places, found)
		}
		found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/" + p.program)
		places = append(places, found...)
		at := slices.IndexFunc(places, func(path string) bool { _, err := exec.LookPath(path); return err == nil })
		if at < 0 {
			missing = append(missing, p.pkg)
			continue
		}
		if paths[p.program], err = filepath.EvalSymlinks(places[at]); err != nil {
			return nil, err
		}
	}
	if missing != nil {
		return nil, errors.New("the cluster needs these Debian packages: " + strings.Join(missing, " "))
	}
	return paths, nil
}

// configure chooses ports and writes every configuration file.
func (c *cluster) configure(paths map[string]string, replicas int) error {
	ports, err := freePorts(9 + replicas)
	if err != nil {
		return err
	}
	client, peer, entry := ports[0], ports[1], ports[2]
	c.etcd = c.program("etcd", paths["etcd"], "--name", "etcd", "--enable-v2", "--data-dir", filepath.Join(c.dir, "etcd"),
		"--listen-client-urls", "http://"+client, "--advertise-client-urls", "http://"+client,
		"--listen-peer-urls", "http://"+peer, "--initial-advertise-peer-urls", "http://"+peer, "--initial-cluster", "etcd=http://"+peer)
	for i := range 3 {
		name := fmt.Sprintf("member%d", i+1)
		c.members = append(c.members, &member{
			Name: name, REST: ports[3+2*i], Address: ports[4+2*i], Data: filepath.Join(c.dir, name),
			patroni: c.program(name, paths["patroni"], filepath.Join(c.dir, name+".yml")),
		})
	}
	for _, m := range c.members {
		err := c.write(m.Name+".yml", patroniConfig, map[string]any{"Member": m, "Etcd": client, "Bin": c.bin,
			"Password": c.password, "Dir": c.dir})
		if err != nil {
			return err
		}
	}
	if err := c.write("haproxy.cfg", haproxyConfig, map[string]any{"Entry": entry, "Members": c.members}); err != nil {
		return err
	}
	c.haproxy = c.program("haproxy", paths["haproxy"], "-db", "-f", filepath.Join(c.dir, "haproxy.cfg"))
	if err := c.write("users.txt", pgbouncerUsers, c.password); err != nil {
		return err
	}
	for i := range replicas {
		name := fmt.Sprintf("pgbouncer%d", i)
		if err := c.write(name+".ini", pgbouncerConfig, map[string]any{"Listen": ports[9+i], "Entry": entry, "Dir": c.dir}); err != nil {
			return err
		}
		p := c.program(name, paths["pgbouncer"], filepath.Join(c.dir, name+".ini"))
		p.address = ports[9+i]
		c.bouncers = append(c.bouncers, p)
	}
	return nil
}

func (c *cluster) program(name, path string, args ...string) *program {
	return &program{name: name, path: path, args: args, dir: c.dir, account: c.account}
}

// write makes a configuration file that the programs' user alone can read.
func (c *cluster) write(name string, text *template.Template, values any) error {
	var out bytes.Buffer
	if err := text.Execute(&out, values); err != nil {
		return err
	}
	path := filepath.Join(c.dir, name)
	if err := os.WriteFile(path, out.Bytes(), 0o600); err != nil {
		return err
	}
	return chown(path, c.account)
}

// freePorts returns loopback addresses that nobody listens on.
func freePorts(n int) (addresses []string, err error) {
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close() // together, or one port comes twice
		addresses = append(addresses, l.Addr().String())
	}
	return addresses, nil
}

// open starts every program, waits for the cluster to be whole, and makes the
// database.
func (c *cluster) open(ctx context.Context) error {
	programs := append([]*program{c.etcd, c.members[0].patroni, c.members[1].patroni, c.members[2].patroni, c.haproxy}, c.bouncers...)
	for _, p := range programs {
		if err := p.start(); err != nil {
			return err
		}
	}
	if err := c.awaitWhole(ctx); err != nil {
		return err
	}
	for _, sql := range []string{
		`CREATE ROLE gatehouse LOGIN PASSWORD '` + c.password + `'`,
		`CREATE DATABASE gatehouse OWNER gatehouse`,
		`CREATE TABLE probe (at TIMESTAMPTZ NOT NULL)`,
	} {
		if err := c.exec(ctx, c.leaderURL(ctx), sql); err != nil {
			return err
		}
	}
	return c.awaitWhole(ctx)
}

// url leads a replica through its own PgBouncer. Prepared statements belong to a
// connection of the server, and PgBouncer before 1.21 gives each transaction
// another one: mode exec sends text and arguments together and prepares nothing.
func (c *cluster) url(replica int) string {
	return c.connect("gatehouse", c.bouncers[replica].address, "gatehouse") + "?default_query_exec_mode=exec"
}

func (c *cluster) connect(user, address, database string) string {
	u := url.URL{Scheme: "postgres", User: url.UserPassword(user, c.password), Host: address, Path: "/" + database}
	return u.String()
}

func (c *cluster) memberURL(m *member) string { return c.connect("postgres", m.Address, "postgres") }

// leaderURL leads to the leader of this moment, or nowhere.
func (c *cluster) leaderURL(ctx context.Context) string {
	if m := c.memberWith(ctx, "primary"); m != nil {
		return c.memberURL(m)
	}
	return c.memberURL(c.members[0])
}

func (c *cluster) exec(ctx context.Context, url, sql string) error {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	_, err = conn.Exec(ctx, sql)
	return err
}

// memberWith returns the member whose Patroni says that it is "primary" or
// "sync", the synchronous standby; nil when there is none.
func (c *cluster) memberWith(ctx context.Context, role string) *member {
	for _, m := range c.members {
		if status, _, err := c.ask(ctx, http.MethodGet, m, "/"+role, ""); err == nil && status == http.StatusOK {
			return m
		}
	}
	return nil
}

// ask sends a request to the Patroni of a member.
func (c *cluster) ask(ctx context.Context, method string, m *member, path, body string) (status int, answer []byte, err error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://"+m.REST+path, strings.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	res, err := c.http.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer res.Body.Close()
	answer, err = io.ReadAll(res.Body)
	return res.StatusCode, answer, err
}

// awaitWhole returns when there is a leader with a synchronous standby, every
// member follows it, and every PgBouncer leads to it.
func (c *cluster) awaitWhole(ctx context.Context) error {
	return c.await(ctx, "be whole", c.whole)
}

func (c *cluster) await(ctx context.Context, what string, is func(context.Context) error) error {
	// A fault is healed to the end, also when the run is over.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), clusterPatience)
	defer cancel()
	for {
		err := is(ctx)
		if err == nil {
			return nil
		}
		if pause(ctx, 200*time.Millisecond); ctx.Err() != nil {
			return fmt.Errorf("the cluster does not %s: %w; its logs are in %s", what, err, c.dir)
		}
	}
}

func (c *cluster) whole(ctx context.Context) error {
	leader := c.memberWith(ctx, "primary")
	if leader == nil {
		return errors.New("no leader")
	}
	if c.memberWith(ctx, "sync") == nil {
		return errors.New("no synchronous standby")
	}
	_, answer, err := c.ask(ctx, http.MethodGet, leader, "/cluster", "")
	if err != nil {
		return err
	}
	var view struct {
		Members []struct {
			Name, State string
			Timeline    int64
			Lag         any // bytes, or "unknown"
		}
	}
	if err := json.Unmarshal(answer, &view); err != nil {
		return err
	}
	if len(view.Members) != len(c.members) {
		return fmt.Errorf("%d members", len(view.Members))
	}
	for _, m := range view.Members {
		lag, known := m.Lag.(float64)
		behind := m.Name != leader.Name && (!known || lag > 1<<20)
		if behind || m.State != "running" && m.State != "streaming" || m.Timeline != view.Members[0].Timeline {
			return fmt.Errorf("%s is %s, timeline %d, lag %v", m.Name, m.State, m.Timeline, m.Lag)
		}
	}
	for _, b := range c.bouncers {
		if err := c.writable(ctx, b); err != nil {
			return fmt.Errorf("%s: %w", b.name, err)
		}
	}
	return nil
}

// writable returns nil when a PgBouncer leads to the leader.
func (c *cluster) writable(ctx context.Context, bouncer *program) error {
	conn, err := pgx.Connect(ctx, c.connect("postgres", bouncer.address, "postgres")+"?default_query_exec_mode=exec&target_session_attrs=read-write")
	if err != nil {
		return err
	}
	return conn.Close(ctx)
}

// check compares every member with the leader, row by row, and looks into every
// index.
func (c *cluster) check(ctx context.Context) error {
	if err := c.awaitWhole(ctx); err != nil {
		return err
	}
	leader := c.memberWith(ctx, "primary")
	if leader == nil {
		return errors.New("no leader")
	}
	database := func(m *member) string { return c.connect("postgres", m.Address, "gatehouse") }
	if err := c.exec(ctx, database(leader), `CREATE EXTENSION IF NOT EXISTS amcheck`); err != nil {
		return err
	}
	if err := c.exec(ctx, database(leader), `SELECT bt_index_check(c.oid, true) FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
		JOIN pg_am a ON a.oid = c.relam AND a.amname = 'btree' WHERE c.relpersistence = 'p' AND i.indisvalid`); err != nil {
		return fmt.Errorf("index check: %w", err)
	}
	want, err := fingerprints(ctx, database(leader))
	if err != nil {
		return err
	}
	if len(want) == 0 {
		return errors.New("the database has no tables")
	}
	for _, m := range c.members {
		err := c.await(ctx, "agree", func(ctx context.Context) error {
			got, err := fingerprints(ctx, database(m))
			if err == nil && !slices.Equal(got, want) {
				err = fmt.Errorf("%s has %v, the leader %v", m.Name, got, want)
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// fingerprints says of every table how many rows it has and what they hash to.
func fingerprints(ctx context.Context, url string) ([]string, error) {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return nil, err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	rows, err := conn.Query(ctx, `SELECT tablename, (xpath('//r/text()', query_to_xml(format(
		'SELECT count(*) || '':'' || COALESCE(SUM(hashtextextended(t::text, 0)), 0) AS r FROM %I t', tablename), false, true, '')))[1]::text
		FROM pg_tables WHERE schemaname = 'public' ORDER BY tablename`)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (string, error) {
		var table, sum string
		err := row.Scan(&table, &sum)
		return table + " " + sum, err
	})
}

// close ends every program: those that lead to the leader first.
func (c *cluster) close() error {
	var errs []error
	for _, p := range append(slices.Clone(c.bouncers), c.haproxy) {
		errs = append(errs, p.kill())
	}
	for _, m := range c.members {
		errs = append(errs, m.kill())
	}
	return errors.Join(append(errs, c.etcd.kill())...)
}
