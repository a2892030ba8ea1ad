package oidc_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"gatehouse"
	"gatehouse/jose"
	"gatehouse/oidc"
)

// Every row of the error table has its own name and known statuses.
func TestErrorTable(t *testing.T) {
	names := map[string]bool{}
	for i, row := range gatehouse.Kinds() {
		kind := gatehouse.Kind(i)
		if names[row.Name] || row.Name == "" || row.Code == "" || row.Class == "" || row.Text == "" {
			t.Errorf("row %d: %+v", i, row)
		}
		names[row.Name] = true
		for _, profile := range []gatehouse.Profile{gatehouse.ProfilePSD2, gatehouse.ProfileOIDC, ""} {
			if http.StatusText(kind.Status(profile)) == "" {
				t.Errorf("%s: status %d", row.Name, kind.Status(profile))
			}
		}
	}
	// The product's own classes and statuses.
	for kind, want := range map[gatehouse.Kind]string{
		gatehouse.InvalidClientAssertion: "InvalidClientAssertion 400", gatehouse.InvalidRequest: "InvalidRequest 400",
		gatehouse.ProviderDisabled: "Forbidden 403", gatehouse.UnknownProvider: "NotFound 404", gatehouse.UnknownClient: "NotFound 404",
		gatehouse.UnknownCode: "NotFound 404", gatehouse.PendingCode: "TooEarly 425", gatehouse.InvalidGrant: "InvalidRequest 400",
	} {
		if got := fmt.Sprint(kind.Class(), " ", kind.Status(gatehouse.ProfilePSD2)); got != want {
			t.Errorf("%s: %s", kind, got)
		}
	}
}

// Proves: N7
func TestBodyLimits(t *testing.T) {
	w := sqliteWorld(t)
	for path, limit := range map[string]int{
		"/api/oidc/alpha/tokens": 64 << 10, "/api/oidc/tokens": 64 << 10, "/oidc/alpha/authorize": 128 << 10,
	} {
		big := "provider_code=alpha&grant_type=client_credentials&x=" + strings.Repeat("x", limit)
		if a := w.do("POST", path, formHeader, big); a.StatusCode != 413 {
			t.Errorf("%s: %v", path, a.Status)
		}
		if a := w.do("POST", path, formHeader, big[:limit]); a.StatusCode == 413 {
			t.Errorf("%s within the limit: %v", path, a.Status)
		}
	}
	if a := w.do("POST", "/api/connectors/ob/v1/authorizations", w.connectorHeader("beta"), strings.Repeat("x", 129<<10)); a.StatusCode != 413 {
		t.Errorf("connector: %v", a)
	}
	// No more is read than the limit and some: the server hangs up on an endless body.
	conn, err := net.Dial("tcp", w.site.Listener.Addr().String())
	must(t, err)
	defer conn.Close()
	fmt.Fprintf(conn, "POST /api/oidc/alpha/tokens HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 1000000000\r\n\r\n")
	answered := make(chan string, 1)
	go func() {
		line, _ := bufio.NewReader(conn).ReadString('\n')
		answered <- line
	}()
	sent := 0
	for chunk := bytes.Repeat([]byte("x"), 16<<10); ; {
		n, err := conn.Write(chunk)
		if sent += n; err != nil || sent > 64<<20 {
			break
		}
	}
	if line := <-answered; !strings.Contains(line, " 413 ") || sent > 32<<20 {
		t.Errorf("%q after %d bytes", line, sent)
	}
}

// Proves: N15
func TestHeadersOfEveryResponse(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	for _, path := range []string{
		"/", "/nothing", "/api", "/api/oidc/alpha/tokens", "/oidc/alpha/jwks", "/oidc/alpha/authorize", "/static/gatehouse.css", "/static/",
		"/docs/open_banking/alpha", "/api/connectors/ob/v1/authorizations", "//oidc/alpha/jwks", "/oidc/%61lpha/jwks", "/oidc/alpha/jwks/",
		"/oidc/./alpha/jwks", "/oidc/alpha;x/jwks", "/oidc/alpha/../beta/jwks", "/Oidc/alpha/jwks", "/oidc/alpha%2fjwks", "/%2e%2e/metrics", "/metrics", "/healthz", "/readyz",
	} {
		conn := w.get(path)
		if conn.Header.Get("X-Content-Type-Options") != "nosniff" || conn.Header.Get("Server") != "" || conn.Header.Get("X-Powered-By") != "" || conn.Header.Get("X-Fapi-Interaction-Id") == "" {
			t.Errorf("%s: %v", path, conn.Header)
		}
		if conn.JSON != nil && conn.Header.Get("Content-Type") != "application/json" {
			t.Errorf("%s: JSON as %s", path, conn.Header.Get("Content-Type"))
		}
		if strings.ContainsAny(path, "%;.") && !strings.HasSuffix(path, ".css") || strings.Contains(path, "//") {
			if conn.StatusCode != 404 {
				t.Errorf("%s: %v", path, conn)
			}
		}
	}
}

func TestInteractionID(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	for sent, kept := range map[string]bool{
		"93bac548-d2de-4546-b106-880a5018460d": true, "": false, "short": false, strings.Repeat("a", 65): false, "93bac548-d2de-4546<script>": false,
	} {
		a := w.do("GET", "/oidc/alpha/jwks", http.Header{"X-Fapi-Interaction-Id": {sent}}, "")
		if got := a.Header.Get("X-Fapi-Interaction-Id"); (got == sent) != kept || got == "" {
			t.Errorf("%q came back as %q", sent, got)
		}
		if kept && !strings.Contains(w.logged(), sent) {
			t.Error("the id is not in the log")
		}
	}
}

// A brokenStore panics where a test wants it to.
type brokenStore struct {
	gatehouse.Store
	fault func()
}

func (b brokenStore) Consume(context.Context, string, gatehouse.ConsumeKind, string, time.Time, time.Time, time.Time) error {
	b.fault()
	return errors.New("disk full: password=hunter2 is not a thing we say to clients")
}

// Proves: N24
func TestPanic(t *testing.T) {
	w := sqliteWorld(t)
	for name, fault := range map[string]func(){
		"runtime": func() { _ = []int{}[len(os.Args[:0])] },
		"value":   func() { panic("canary-of-a-secret") },
	} {
		site := w.replica(brokenStore{w.store, fault})
		a := w.tokenAt(site, "alpha", tppA, clientCredentials)
		expect(t, a, 500, "server_error")
		if id := a.Header.Get("X-Fapi-Interaction-Id"); id == "" || !strings.Contains(a.Body, id) || !strings.Contains(w.logged(), id) {
			t.Errorf("%s: no request id: %v", name, a)
		}
		if !strings.Contains(w.logged(), "goroutine") || strings.Contains(w.logged(), "canary-of-a-secret") {
			t.Errorf("%s: log: %s", name, w.logged())
		}
		expect(t, w.doAt(site, "GET", "/oidc/alpha/jwks", nil, ""), 200, "") // it survives
	}
}

// What the store fails to say is a 503 and never a statement about the request.
func TestStoreFault(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	a := w.tokenAt(w.replica(brokenStore{w.store, func() {}}), "alpha", tppA, clientCredentials)
	expect(t, a, 503, "temporarily_unavailable")
	if strings.Contains(a.Body, "hunter2") || a.Header.Get("Retry-After") == "" {
		t.Errorf("%v", a)
	}
}

// Proves: O9
func TestReady(t *testing.T) {
	t.Parallel()
	forEachWorld(t, func(t *testing.T, w *world) {
		server := &oidc.Server{Store: w.store, KEK: w.kek, BaseURL: baseURL, Now: w.clock.Now, Log: slog.New(slog.DiscardHandler)}
		must(t, server.Ready(t.Context()))
		wrong, err := jose.NewKEK(bytes.Repeat([]byte{9}, 32))
		must(t, err)
		other := &oidc.Server{Store: w.store, KEK: wrong, BaseURL: baseURL, Now: w.clock.Now, Log: server.Log}
		if err := other.Ready(t.Context()); !errors.Is(err, oidc.ErrKeys) || errors.Is(err, oidc.ErrDatabase) {
			t.Errorf("wrong key-encryption key: %v", err)
		}
		must(t, w.store.Close())
		if err := server.Ready(t.Context()); !errors.Is(err, oidc.ErrDatabase) || errors.Is(err, oidc.ErrKeys) {
			t.Errorf("no database: %v", err)
		}
	})
}

// A whole life of secrets, then a search for them: in the log at its most
// talkative, and in the files of the database.
//
// Proves: O1, K10
func TestNoSecretIsKept(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	var canaries []string
	keep := func(values ...string) { canaries = append(canaries, values...) }
	for _, provider := range everyProvider {
		f := w.asserted(provider, tppA, clientCredentials)
		keep(f["client_assertion"].(string))
		for range 2 { // the second is a replay
			a := w.do("POST", "/api/oidc/"+provider+"/tokens", formHeader, f.encode())
			keep(a.text("access_token"), a.text("id_token"), a.text("refresh_token"))
		}
		code := w.code(provider, tppA, nil)
		keep(code, verifier, secret)
		for _, change := range []form{{"code_verifier": strings.Repeat("w", 50)}, nil, nil} {
			a := w.token(provider, tppA, exchange(code).with(change))
			keep(a.text("access_token"), a.text("id_token"), a.text("refresh_token"))
		}
		w.token(provider, tppA, form{"grant_type": "refresh_token", "refresh_token": canaries[len(canaries)-4]})
		w.token(provider, basic, clientCredentials)
	}
	request, err := clientKey(t, tppA, "PS256").Sign("JWT", claims{"iss": tppA})
	must(t, err)
	keep(request)
	w.get("/oidc/alpha/authorize?" + query(tppA).with(form{"request": request}).encode())
	v := w.visit("alpha", query(tppA))
	keep(strings.Split(v.cookie, "=")[1])
	v.decide(approval.with(claims{"user_id": "psu-canary-4711"}))
	v.back()
	for _, b := range w.banks {
		keep(b.appSecret)
	}
	for _, provider := range everyProvider {
		keep(string(key(t, provider, "PS256").PEM()[40:100]))
	}
	w.do("POST", "/api/oidc/alpha/tokens?client_secret=canary-in-the-query", formHeader, "%zz=canary-in-the-body")
	keep("canary-in-the-query", "canary-in-the-body")
	site := w.replica(brokenStore{w.store, func() { panic(canaries[0]) }})
	w.tokenAt(site, "alpha", tppA, clientCredentials)

	log := w.logged()
	files := ""
	path := strings.TrimPrefix(w.url, "sqlite:")
	for _, suffix := range []string{"", "-wal"} {
		data, err := os.ReadFile(path + suffix)
		must(t, err)
		files += string(data)
	}
	if len(log) < 1000 || !strings.Contains(files, "psu-canary-4711") {
		t.Fatal("there is nothing to search in")
	}
	searched := 0
	for _, canary := range append(canaries, "psu-canary-4711") {
		if canary == "" {
			continue
		}
		searched++
		for _, text := range []string{
			canary, url.QueryEscape(canary), base64.StdEncoding.EncodeToString([]byte(canary))[:len(canary)],
			base64.RawURLEncoding.EncodeToString([]byte(canary))[:len(canary)], hex.EncodeToString([]byte(canary)),
		} {
			if strings.Contains(log, text) {
				t.Errorf("the log has a secret: %.12s…", canary)
			}
			if canary != "psu-canary-4711" && strings.Contains(files, text) {
				t.Errorf("the database has a secret: %.12s…", canary)
			}
		}
	}
	if searched < 30 {
		t.Errorf("only %d canaries", searched)
	}
}
