package oidc_test

// Advisories on servers of this kind that no other test meets;
// docs/security.md lists them all.

import (
	"net"
	"strconv"
	"testing"
	"time"

	"gatehouse"
)

// A client that was disabled gets nothing more for what it held before
// (GO-2025-4137, GO-2026-6119).
func TestDisabledClientKeepsNothing(t *testing.T) {
	t.Parallel()
	forEachWorld(t, func(t *testing.T, w *world) {
		for door, provider := range doors {
			for _, id := range []string{tppA, basic} {
				change := func(status gatehouse.ClientStatus) {
					c, err := w.store.Client(t.Context(), id)
					must(t, err)
					c.Status = status
					must(t, w.store.UpdateClient(t.Context(), c))
					w.clock.advance(6 * time.Second) // as long as servers may have it in their caches
				}
				code, held := w.code(provider, id, nil), w.tokens(provider, id)
				refresh := form{"grant_type": "refresh_token", "refresh_token": held.text("refresh_token")}
				change(gatehouse.ClientDisabled)
				for name, f := range map[string]form{"a code": exchange(code), "a refresh token": refresh, "itself": clientCredentials} {
					a := w.token(provider, id, f)
					if a.StatusCode != statuses(403, 400)[provider] || a.text("error") != "unauthorized_client" || a.JSON["access_token"] != nil {
						t.Errorf("%s of %s at %s: %v", name, id, provider, a)
					}
				}
				if o := w.ask(door, query(id)); o.begun() != "" {
					t.Errorf("%s at %s: %v", id, provider, o)
				}
				change(gatehouse.ClientActive)
				expect(t, w.token(provider, id, refresh), 200, "") // it was the status
			}
		}
	})
}

// What a client says of its pages and pictures is fetched by nobody
// (CVE-2021-26715).
func TestPagesOfAClientAreNotFetched(t *testing.T) {
	w := sqliteWorld(t)
	store := w.keystore()
	var file struct {
		Description  string
		Fields       []string
		NeverFetched []string `json:"never_fetched_fields"`
		URLs         []any
		Behaviours   []any
	}
	readCases(t, "../../jose/testdata/ssrf_cases.json", &file)
	trap, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer trap.Close()
	visitors := make(chan string, 100)
	go func() {
		for {
			connection, err := trap.Accept()
			if err != nil {
				return
			}
			visitors <- connection.RemoteAddr().String()
			connection.Close()
		}
	}()
	tried, registered := 0, 0
	for _, name := range append(file.NeverFetched, "software_logo_uri", "software_client_uri", "software_policy_uri", "software_tos_uri", "sector_identifier_uri", "request_uris") {
		for _, url := range []string{"https://" + trap.Addr().String() + "/", store.url("/picture")} {
			w.clock.advance(time.Minute) // for the rate limit
			owner := "picture-" + strconv.Itoa(tried)
			statement := w.statement(sandboxDirectory, owner, claims{name: url})
			if a := w.register(owner, statement, claims{name: url}); a.StatusCode == 201 {
				registered++
			}
			tried++
		}
	}
	own, err := net.Dial("tcp", trap.Addr().String())
	must(t, err)
	defer own.Close()
	// Connections are accepted in their order: ours is the first.
	if visitor := <-visitors; visitor != own.LocalAddr().String() {
		t.Error("somebody connected to the trap")
	}
	if n := store.requests("/picture"); n != 0 || registered < 10 {
		t.Errorf("%d pictures fetched for %d clients", n, registered)
	}
}
