//go:build linux

package oidc_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"gatehouse/store/storetest"
)

// A deed is a request that may have an answer, and what its answer was about.
type deed struct {
	kind   string // assertion, code, revoke
	header http.Header
	path   string
	body   string
	code   string // that it presents
	token  string // that it revokes

	answer *answer // nil: none came
}

// deeds are what clients do until the server dies: assertions and codes are
// used, and some of the tokens revoked.
func (w *world) deeds(n int) (all []*deed) {
	w.t.Helper()
	const path = "/api/oidc/alpha/tokens"
	for i := range n {
		header, f := w.authenticated("alpha", tppA, clientCredentials)
		all = append(all, &deed{kind: "assertion", header: header, path: path, body: f.encode()})
		if i%3 == 0 {
			code := w.code("alpha", basic, nil)
			header, f := w.authenticated("alpha", basic, exchange(code))
			all = append(all, &deed{kind: "code", header: header, path: path, body: f.encode(), code: code})
		}
	}
	return all
}

// do sends the request to a server that may die of it.
func (d *deed) do(site string) {
	r, err := http.NewRequest("POST", site+d.path, strings.NewReader(d.body))
	if err != nil {
		panic(err)
	}
	r.Header = d.header
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		return
	}
	defer response.Body.Close()
	data, err := io.ReadAll(response.Body)
	if err != nil {
		return
	}
	a := &answer{Response: response, Body: string(data)}
	if json.Unmarshal(data, &a.JSON) == nil || len(data) == 0 {
		d.answer = a
	}
}

// doAll does what is to be done, four at a time, until one has no answer. Of
// each token that it gets for a code it revokes every other.
func doAll(site string, deeds []*deed) (done []*deed) {
	var mu sync.Mutex
	var workers sync.WaitGroup
	codes := 0
	next := func() *deed {
		mu.Lock()
		defer mu.Unlock()
		if len(deeds) == 0 {
			return nil
		}
		d := deeds[0]
		deeds = deeds[1:]
		return d
	}
	for range 4 {
		workers.Go(func() {
			for d := next(); d != nil; d = next() {
				d.do(site)
				mu.Lock()
				done = append(done, d)
				var r *deed
				if d.kind == "code" && d.answer != nil && d.answer.StatusCode == 200 {
					if codes++; codes%2 == 0 {
						token := d.answer.text("access_token")
						r = &deed{kind: "revoke", header: d.header, path: "/api/oidc/alpha/revoke", body: form{"token": token}.encode(), token: token}
						done = append(done, r)
					}
				}
				mu.Unlock()
				if r != nil {
					r.do(site)
				}
				if d.answer == nil || r != nil && r.answer == nil {
					return
				}
			}
		})
	}
	workers.Wait()
	return done
}

// holds checks what was done against a server that lives: (a) tokens that
// somebody got are good, (b) nothing is good for a second time, (c) what was
// revoked stays so.
func (w *world) holds(done []*deed) (acknowledged, unknown int) {
	w.t.Helper()
	revoked := map[string]*deed{}
	for _, d := range done {
		if d.kind == "revoke" {
			revoked[d.token] = d
		}
		if d.answer != nil && d.answer.StatusCode == 200 {
			acknowledged++
		} else {
			unknown++
		}
	}
	client := map[string]string{"assertion": tppA, "code": basic}
	for _, d := range done {
		if d.kind == "revoke" {
			if d.answer != nil && d.answer.StatusCode == 200 {
				isActive(w.t, w.introspect("alpha", basic, d.token), false)
			}
			continue
		}
		if d.answer != nil && d.answer.StatusCode == 200 {
			if token := d.answer.text("access_token"); revoked[token] == nil {
				isActive(w.t, w.introspect("alpha", client[d.kind], token), true)
			}
		} else if d.answer != nil {
			expect(w.t, d.answer, 503, "temporarily_unavailable")
		}
		// A second time, and a third: at most one of all succeeds.
		succeeded := d.answer != nil && d.answer.StatusCode == 200
		for range 2 {
			switch a := w.do("POST", d.path, d.header, d.body); {
			case a.StatusCode == 200 && !succeeded:
				succeeded = true
			case a.StatusCode == 200:
				w.t.Errorf("a %s was used twice", d.kind)
			case d.kind == "assertion":
				expect(w.t, a, 400, "invalid_client")
			default:
				expect(w.t, a, 400, "invalid_grant")
			}
		}
		if d.kind == "code" && d.answer != nil && d.answer.StatusCode == 200 { // it was presented again
			isActive(w.t, w.introspect("alpha", basic, d.answer.text("access_token")), false)
		}
	}
	return acknowledged, unknown
}

// A server on SQLite is killed as one of its threads syncs, or writes, for the
// n-th time. `make rounds` tries each n up to 200.
//
// Proves: S5
func TestKilledAtTheNthSync(t *testing.T) {
	highest := storetest.Rounds(t, 0)
	numbers := []int{1, 3, 8, 21, 55, 144, 233}
	if highest > 0 {
		numbers = nil
		for n := range highest {
			numbers = append(numbers, n+1)
		}
	}
	for _, call := range []string{"fsync", "pwrite64"} {
		t.Run(call, func(t *testing.T) {
			killed, acknowledged, unknown := 0, 0, 0
			for _, n := range numbers {
				w := sqliteWorld(t)
				deeds := w.deeds(60)
				must(t, w.store.Close())
				site, pid, kill := w.startVictim()
				interrupt(t, pid, fmt.Sprintf("inject=%s:signal=KILL:when=%d", call, n))
				done := doAll(site, deeds)
				if len(done) < len(deeds) || done[len(done)-1].answer == nil {
					killed++
				}
				kill()
				must(t, storetest.CheckSQLite(t.Context(), strings.TrimPrefix(w.url, "sqlite:")))
				w.site = w.replica(w.reopened())
				a, u := w.holds(done)
				acknowledged, unknown = acknowledged+a, unknown+u
				must(t, storetest.CheckSQLite(t.Context(), strings.TrimPrefix(w.url, "sqlite:")))
			}
			t.Logf("%d of %d killed under way; %d answers, %d without one", killed, len(numbers), acknowledged, unknown)
			if killed == 0 || acknowledged == 0 || unknown == 0 {
				t.Error("nothing was killed under way")
			}
		})
	}
}

// interrupt makes strace interfere with a process, and returns when it does.
func interrupt(t *testing.T, pid int, inject string) {
	t.Helper()
	tracer := exec.Command("strace", "-f", "-qq", "-o", "/dev/null", "-p", strconv.Itoa(pid), "-e", "trace=fsync,pwrite64", "-e", inject)
	must(t, tracer.Start())
	t.Cleanup(func() { tracer.Wait() }) // it ends with what it traces
	for end := time.Now().Add(30 * time.Second); ; {
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		must(t, err)
		if !strings.Contains(string(status), "TracerPid:\t0\n") {
			return
		}
		if time.Now().After(end) {
			t.Fatal("strace does not attach")
		}
	}
}

// PostgreSQL dies under a server in every way it can: its first process and
// one of the others are killed, it is stopped at once and in order.
//
// Proves: S6
func TestPostgresKilled(t *testing.T) {
	p := ownPostgres(t, directory(t))
	w := newWorld(t, p.URL)
	for name, hurt := range map[string]func(){
		"postmaster":     func() { must(t, p.Stop(syscall.SIGKILL)) },
		"immediate stop": func() { must(t, p.Stop(syscall.SIGQUIT)) },
		"fast stop":      func() { must(t, p.Stop(syscall.SIGINT)) },
		"one of the others": func() {
			raw := w.raw()
			var pid int
			must(t, raw.QueryRow(`SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()
				ORDER BY random() LIMIT 1`).Scan(&pid))
			must(t, syscall.Kill(pid, syscall.SIGKILL))
		},
	} {
		t.Run(name, func(t *testing.T) {
			w.t = t
			deeds := w.deeds(40)
			first, rest := deeds[:10], deeds[10:]
			done := doAll(w.site.URL, first)
			var under []*deed
			var work sync.WaitGroup
			begun := make(chan struct{})
			work.Go(func() {
				close(begun)
				under = doAll(w.site.URL, rest)
			})
			<-begun
			hurt()
			work.Wait()
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			if !p.Running() {
				must(t, p.Start(ctx))
			}
			for w.store.Ping(ctx) != nil {
				if ctx.Err() != nil {
					t.Fatal("the database does not come back")
				}
			}
			acknowledged, unknown := w.holds(append(done, under...))
			t.Logf("%d answers, %d without one", acknowledged, unknown)
		})
	}
}
