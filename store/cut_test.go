package store_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"gatehouse"
	"gatehouse/store"
	"gatehouse/store/storetest"

	"github.com/google/go-cmp/cmp"
)

// A store on PostgreSQL whose connections can be cut.
type cuttable struct {
	url    string // of the server
	proxy  *storetest.Proxy
	db     *store.DB // through the proxy, on one connection
	beside *sql.DB   // past it
}

func openCuttable(t *testing.T) cuttable {
	t.Helper()
	url := storetest.URL(t, "postgres")
	proxy := startProxy(t, url)
	return cuttable{url, proxy, open(t, proxy.URL()+"&pool_max_conns=1"), raw(t, url)}
}

func startProxy(t *testing.T, url string) *storetest.Proxy {
	t.Helper()
	proxy, err := storetest.StartProxy(url)
	must(t, err)
	t.Cleanup(func() { proxy.Close() })
	return proxy
}

// made fails the test when the cut was not made.
func made(t *testing.T, c *storetest.Cut) {
	t.Helper()
	select {
	case <-c.Done():
	case <-time.After(10 * time.Second):
		t.Fatal("the connection was not cut")
	}
}

func same(t *testing.T, what string, got, want []string) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got)\n%s", what, diff)
	}
}

// A connection that dies around a commit is no news to the caller: each method
// returns nil, has written what one undisturbed call writes, and what was
// single-use is used.
// Proves: S7
func TestCutOnce(t *testing.T) {
	c := openCuttable(t)
	cuts := []storetest.Cut{{At: storetest.BeforeSync}, {At: storetest.AfterSync}, {At: storetest.AfterCommit},
		{At: storetest.InAnswer, Bytes: 3}, {At: storetest.InAnswer, Bytes: 12}}
	for name, w := range writings {
		t.Run(name, func(t *testing.T) {
			empty(t, c.beside)
			w.prepare(t, c.db)
			must(t, w.call(t.Context(), c.db))
			want := rows(t, c.beside)
			for _, cut := range cuts {
				point := fmt.Sprint(cut.At, " ", cut.Bytes)
				empty(t, c.beside)
				w.prepare(t, c.db)
				c.proxy.Arm(&cut)
				if err := w.call(t.Context(), c.db); err != nil {
					t.Fatalf("%s: %v", point, err)
				}
				made(t, &cut)
				same(t, point, rows(t, c.beside), want)
				if err := w.other(t.Context(), c.db); !errors.Is(err, w.refused) {
					t.Errorf("%s: another call: got %v, want %v", point, err, w.refused)
				}
			}
		})
	}
}

// The answer to the exchange of a code may break off anywhere.
// Proves: S7
func TestCutAnywhereInAnswer(t *testing.T) {
	c := openCuttable(t)
	w := writings["ExchangeCode"]
	w.prepare(t, c.db)
	must(t, w.call(t.Context(), c.db))
	want := rows(t, c.beside)
	// Two bytes of each message at least: none is shorter than five.
	for offset := 0; offset < 200; offset += 3 {
		empty(t, c.beside)
		w.prepare(t, c.db)
		cut := storetest.Cut{At: storetest.InAnswer, Bytes: offset}
		c.proxy.Arm(&cut)
		if err := w.call(t.Context(), c.db); err != nil {
			t.Fatalf("after %d bytes: %v", offset, err)
		}
		made(t, &cut)
		same(t, fmt.Sprintf("after %d bytes", offset), rows(t, c.beside), want)
	}
}

// When the server stays away after the cut, the caller learns that nothing is
// known, whatever was written; and what was written is all of it or nothing.
// Proves: S7
func TestCutForGood(t *testing.T) {
	c := openCuttable(t)
	u, err := url.Parse(c.url)
	must(t, err)
	name := strings.TrimPrefix(u.Path, "/")
	u.Path = "/postgres"
	admin := raw(t, u.String())
	c.beside.SetMaxOpenConns(1)
	for method, w := range writings {
		t.Run(method, func(t *testing.T) {
			for _, at := range []storetest.CutPoint{storetest.BeforeSync, storetest.AfterCommit} {
				empty(t, c.beside)
				w.prepare(t, c.db)
				must(t, c.db.Ping(t.Context())) // on the connection that will be cut
				before := rows(t, c.beside)
				cut := storetest.Cut{At: at}
				c.proxy.Arm(&cut)
				exec(t, admin, "ALTER DATABASE "+name+" WITH ALLOW_CONNECTIONS false")
				err := w.call(t.Context(), c.db)
				exec(t, admin, "ALTER DATABASE "+name+" WITH ALLOW_CONNECTIONS true")
				made(t, &cut)
				if err == nil || isOfTheStore(err) {
					t.Errorf("%s: %v", at, err)
				}
				if at == storetest.BeforeSync {
					same(t, at.String(), rows(t, c.beside), before)
				} else if diff := cmp.Diff(before, rows(t, c.beside)); diff == "" {
					t.Errorf("%s: nothing was committed", at)
				}
			}
		})
	}
}

// Between the two attempts of a call another caller gets in. The second attempt
// is not fooled by what it finds.
// Proves: S7
func TestCutAndOvertaken(t *testing.T) {
	refresh := func(id, access, successor string) func(ctx context.Context, db *store.DB) error {
		return func(ctx context.Context, db *store.DB) error {
			return db.Refresh(ctx, "alpha", id, anAccessToken("alpha", access, "grant"), aRefreshToken("alpha", successor, "grant"), time.Minute, now)
		}
	}
	database := storetest.URL(t, "postgres")
	direct, beside := open(t, database), raw(t, database)
	for name, row := range map[string]struct {
		writing string
		at      storetest.CutPoint
		between func(ctx context.Context, db *store.DB) error
		want    error
	}{
		"the key is used by another": {"Consume", storetest.BeforeSync, writings["Consume"].call, gatehouse.ErrSpent},
		"the key was used by this call": {"Consume", storetest.AfterCommit,
			func(ctx context.Context, db *store.DB) error {
				return wanted(consumeKey(ctx, db), gatehouse.ErrSpent)
			}, nil},
		"the code is exchanged by another": {"ExchangeCode", storetest.BeforeSync, writings["ExchangeCode"].other, gatehouse.ErrSpent},
		"the code gets another value":      {"SetCode", storetest.BeforeSync, writings["SetCode"].other, gatehouse.ErrSpent},
		"the visit is denied by another":   {"ApproveAuthorization", storetest.BeforeSync, writings["ApproveAuthorization"].other, gatehouse.ErrConflict},
		"the visit is approved by another": {"DenyAuthorization", storetest.BeforeSync, writings["DenyAuthorization"].other, gatehouse.ErrConflict},
		"the provider is made by another":  {"CreateProvider", storetest.BeforeSync, writings["CreateProvider"].other, gatehouse.ErrExists},
		"the client is made by another":    {"CreateClient", storetest.BeforeSync, writings["CreateClient"].other, gatehouse.ErrExists},
		"the token is made by another": {"CreateGrant", storetest.BeforeSync, func(ctx context.Context, db *store.DB) error {
			access := anAccessToken("alpha", "a", "other")
			access.Hash = gatehouse.HashSecret("other")
			return db.CreateGrant(ctx, aGrant("alpha", "other"), access, nil)
		}, gatehouse.ErrExists},
		"the grant is made by another":       {"CreateGrant", storetest.BeforeSync, writings["CreateGrant"].other, gatehouse.ErrExists},
		"the provider is changed by another": {"UpdateProvider", storetest.BeforeSync, writings["UpdateProvider"].other, gatehouse.ErrConflict},
		"the client is changed by another":   {"UpdateClient", storetest.BeforeSync, writings["UpdateClient"].other, gatehouse.ErrConflict},
		"the grant is revoked":               {"Refresh", storetest.BeforeSync, writings["RevokeGrant"].call, gatehouse.ErrNotFound},
		"the same token is rotated":          {"Refresh/with rotation", storetest.BeforeSync, refresh("r", "c", "r2"), nil},
		"the successor is used":              {"Refresh/with rotation", storetest.AfterCommit, refresh("r2", "c", "r3"), nil},
	} {
		t.Run(name, func(t *testing.T) {
			empty(t, beside)
			proxy := startProxy(t, database)
			address, admit := gate(t, proxy)
			db, err := store.Open(t.Context(), address+"&pool_max_conns=1")
			must(t, err)
			defer db.Close()
			w := writings[row.writing]
			w.prepare(t, direct)
			cut := storetest.Cut{At: row.at}
			proxy.Arm(&cut)
			result := make(chan error, 1)
			go func() { result <- w.call(context.Background(), db) }()
			made(t, &cut)
			must(t, row.between(t.Context(), direct))
			admit()
			if err := <-result; !errors.Is(err, row.want) {
				t.Errorf("got %v, want %v", err, row.want)
			}
			if strings.HasPrefix(row.writing, "Refresh/") {
				_, g, err := direct.AccessToken(t.Context(), "alpha", "b")
				must(t, err)
				if !g.RevokedAt.IsZero() {
					t.Error("the call took itself for a thief")
				}
			}
		})
	}
}

// wanted returns nil for the error that is wanted.
func wanted(err, want error) error {
	if errors.Is(err, want) {
		return nil
	}
	return fmt.Errorf("got %w, want %w", err, want)
}

// gate leads to the proxy. It lets the first connection in at once, and the
// others once they are admitted.
func gate(t *testing.T, proxy *storetest.Proxy) (address string, admit func()) {
	t.Helper()
	u, err := url.Parse(proxy.URL())
	must(t, err)
	to := u.Host
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	u.Host = listener.Addr().String()
	opened := make(chan struct{})
	admit = sync.OnceFunc(func() { close(opened) })
	var running sync.WaitGroup
	running.Go(func() {
		for n := 0; ; n++ {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			running.Go(func() {
				defer client.Close()
				if n > 0 {
					<-opened
				}
				server, err := net.Dial("tcp", to)
				if err != nil {
					return
				}
				defer server.Close()
				forth := make(chan struct{})
				go func() {
					defer close(forth)
					io.Copy(server, client)
					server.Close()
				}()
				io.Copy(client, server)
				client.Close()
				<-forth
			})
		}
	})
	t.Cleanup(func() {
		admit()
		listener.Close()
		proxy.Close()
		running.Wait()
	})
	return u.String(), admit
}
