package oidc_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gatehouse"
	"gatehouse/jose"
	"gatehouse/oidc"
	"gatehouse/store"
	"gatehouse/store/storetest"
)

// envVictim makes the test binary a server that waits to be killed.
const envVictim = "GATEHOUSE_TEST_VICTIM"

// A victim is what that server must know.
type victim struct {
	Database    string
	KEK         []byte
	Now         time.Time
	Directories []gatehouse.Directory
}

// serveUntilKilled serves the victim in the environment and writes its URL.
func serveUntilKilled() error {
	var v victim
	if err := json.Unmarshal([]byte(os.Getenv(envVictim)), &v); err != nil {
		return err
	}
	kek, err := jose.NewKEK(v.KEK)
	if err != nil {
		return err
	}
	db, err := store.Open(context.Background(), v.Database)
	if err != nil {
		return err
	}
	server := &oidc.Server{Store: db, KEK: kek, BaseURL: baseURL, Now: func() time.Time { return v.Now },
		Log: slog.New(slog.DiscardHandler), Directories: v.Directories}
	fmt.Println(httptest.NewServer(server.Handler()).URL)
	_, err = io.ReadAll(os.Stdin) // which ends with the test
	return err
}

// A server is killed at any moment of many registrations: every 201 that
// somebody received is a client that works, and whatever else is there is
// whole, too.
//
// Proves: D5
func TestKilledUnderRegistrations(t *testing.T) {
	w := sqliteWorld(t)
	must(t, w.store.Close())
	acknowledged, lost := 0, 0
	for round := range storetest.Rounds(t, 8) {
		org := fmt.Sprint("org-", round)
		statement := w.statement(sandboxDirectory, "m", claims{"org_id": org})
		bodies := make(chan string, 28) // below the burst of an address
		for i := range cap(bodies) {
			method := gatehouse.AuthMethods()[i%2]
			bodies <- w.registrationRequest("m", statement, claims{"token_endpoint_auth_method": method})
		}
		close(bodies)

		server, _, kill := w.startVictim()
		var random [2]byte
		rand.Read(random[:])
		left := atomic.Int32{}
		left.Store(int32(random[0]%25) + 1)
		delay := time.Duration(random[1]) * 20 * time.Microsecond // up to 5 ms: a few writes
		var mu sync.Mutex
		var received []*answer
		var unanswered []string
		var workers sync.WaitGroup
		for range 4 {
			workers.Go(func() {
				for body := range bodies {
					a := try(server, body)
					mu.Lock()
					if a != nil {
						received = append(received, a)
					} else {
						unanswered = append(unanswered, body)
					}
					mu.Unlock()
					if left.Add(-1) == 0 {
						time.AfterFunc(delay, kill)
					}
				}
			})
		}
		workers.Wait()
		kill()

		db, err := store.Open(t.Context(), w.url)
		must(t, err)
		w.site = w.replica(db)
		for _, a := range received {
			expect(t, a, 201, "")
			r := w.registrantOf("m", a)
			expect(t, w.do("GET", r.path(), bearerHeader(r.token), ""), 200, "")
			known := func(a *answer) { expect(t, a, 404, "invalid_grant") } // only of a client is a code asked for
			if f := (form{"grant_type": "authorization_code", "code": "x"}); r.secret == "" {
				known(r.ask("alpha", f))
			} else {
				header := formHeader.Clone()
				header.Set("Authorization", basicHeader(r.id, r.secret))
				known(w.do("POST", "/api/oidc/alpha/tokens", header, f.encode()))
			}
		}
		clients, err := db.ClientsOfSoftware(t.Context(), sandboxDirectory, org, "software-m")
		must(t, err)
		if len(clients) < len(received) || len(clients) > len(received)+len(unanswered) {
			t.Fatalf("%d clients of %d answers and %d requests without one", len(clients), len(received), len(unanswered))
		}
		for _, c := range clients {
			if err := c.Validate(); err != nil || len(c.RegistrationTokenHash) == 0 || len(c.GrantTypes) != 3 || c.SoftwareStatement != statement ||
				(c.TokenEndpointAuthMethod == gatehouse.AuthClientSecretBasic) != (len(c.SecretHash) > 0) {
				t.Errorf("half a client: %+v, %v", c, err)
			}
		}
		for id, token := range recovered(t, w.recover("m", statement, nil)) {
			expect(t, w.do("GET", registerPath+"/"+id, bearerHeader(token), ""), 200, "")
		}
		// A request without an answer is either spent or as good as new.
		again := 0
		for _, body := range unanswered {
			switch a := w.do("POST", registerPath, jwtHeader, body); a.StatusCode {
			case 201:
				again++
			default:
				expect(t, a, 400, "invalid_client_metadata")
			}
		}
		if clients := len(clients) + again; clients > cap(bodies) {
			t.Errorf("%d requests made %d clients", cap(bodies), clients)
		}
		acknowledged, lost = acknowledged+len(received), lost+len(unanswered)
		must(t, db.Close())
	}
	t.Logf("%d answers, %d requests without one", acknowledged, lost)
	if acknowledged == 0 || lost == 0 {
		t.Error("nothing was killed under way")
	}
}

// try posts a registration to a server that may die of it: nil is no answer.
func try(server, body string) *answer {
	response, err := http.Post(server+registerPath, "application/jwt", strings.NewReader(body))
	if err != nil {
		return nil
	}
	defer response.Body.Close()
	data, err := io.ReadAll(response.Body)
	a := &answer{Response: response, Body: string(data)}
	if err != nil || json.Unmarshal(data, &a.JSON) != nil {
		return nil
	}
	return a
}

// startVictim starts a server on the world's database in a process of its own;
// kill ends it with SIGKILL, as often as one likes.
func (w *world) startVictim() (url string, pid int, kill func()) {
	t := w.t
	t.Helper()
	data, err := json.Marshal(victim{w.url, bytes.Repeat([]byte{7}, 32), w.clock.Now(), []gatehouse.Directory{
		{Issuer: sandboxDirectory, JWKS: jwks(t, key(t, sandboxDirectory, jose.PS256).Public()), Environment: gatehouse.SandboxEnvironment},
	}})
	must(t, err)
	process := exec.Command(os.Args[0])
	process.Env = append(os.Environ(), envVictim+"="+string(data))
	process.Stderr = os.Stderr
	_, err = process.StdinPipe()
	must(t, err)
	out, err := process.StdoutPipe()
	must(t, err)
	must(t, process.Start())
	kill = sync.OnceFunc(func() {
		process.Process.Kill()
		process.Wait() // says that it was killed
	})
	t.Cleanup(kill)
	if _, err := fmt.Fscanln(out, &url); err != nil {
		t.Fatalf("the server did not start: %v", err)
	}
	return url, process.Process.Pid, kill
}
