package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"gatehouse/store/storetest"
)

// settings are those of a server on an empty, migrated database.
func settings(t *testing.T, database string, more ...string) []string {
	t.Helper()
	s := append([]string{
		"BASE_URL=https://gatehouse.example",
		"LISTEN=127.0.0.1:0",
		"ADMIN_LISTEN=127.0.0.1:0",
		"TIMEOUTS_DRAIN=0s",
		"DATABASE=" + database,
		"KEY_ENCRYPTION_KEY=" + kekText('k'),
	}, more...)
	succeed(t, s, "migrate")
	return s
}

func kekText(b byte) string {
	return base64.StdEncoding.EncodeToString([]byte(strings.Repeat(string(b), 32)))
}

func sqliteURL(t *testing.T) string { return "sqlite:" + filepath.Join(t.TempDir(), "gatehouse.db") }

func addProvider(t *testing.T, settings []string) {
	t.Helper()
	jwks := filepath.Join(t.TempDir(), "jwks.json")
	if err := os.WriteFile(jwks, publicJWKS(t), 0o600); err != nil {
		t.Fatal(err)
	}
	succeed(t, settings, "provider", "add", "demobank", "--name", "Demobank", "--login-url", "https://bank.example/login", "--connector-jwks", jwks)
}

// probe returns the status and the body of a probe.
func probe(t *testing.T, url string) (int, map[string]string) {
	t.Helper()
	res, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var body map[string]string
	if err := json.NewDecoder(res.Body).Decode(&body); err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, body
}

func checkProbe(t *testing.T, url string, status int, body map[string]string) {
	t.Helper()
	gotStatus, gotBody := probe(t, url)
	if diff := cmp.Diff(body, gotBody); gotStatus != status || diff != "" {
		t.Errorf("%s: status %d, want %d; body (-want +got):\n%s", url, gotStatus, status, diff)
	}
}

// Proves: O9
func TestReadiness(t *testing.T) {
	alive := map[string]string{"status": "ok"}

	t.Run("database down", func(t *testing.T) {
		server := storetest.StartPostgres(t)
		p := start(t, settings(t, server.URL), "serve")
		p.ready()
		admin := p.admin()
		checkProbe(t, admin+"/readyz", 200, map[string]string{"status": "ready", "database": "ok", "keys": "ok"})
		checkProbe(t, admin+"/healthz", 200, alive)
		server.Stop(t)
		checkProbe(t, admin+"/readyz", 503, map[string]string{"status": "unavailable", "database": "down", "keys": "unknown"})
		checkProbe(t, admin+"/healthz", 200, alive)
	})

	t.Run("keys unavailable", func(t *testing.T) {
		s := settings(t, sqliteURL(t))
		addProvider(t, s)
		p := start(t, append(s, "KEY_ENCRYPTION_KEY="+kekText('x')), "serve") // not the one that sealed the keys
		p.ready()
		admin := p.admin()
		checkProbe(t, admin+"/readyz", 503, map[string]string{"status": "unavailable", "database": "ok", "keys": "unavailable"})
		checkProbe(t, admin+"/healthz", 200, alive)
	})
}

// When the server is told to stop it says so to its probe, takes no more
// connections, finishes the request under way, and exits with 0.
func TestGracefulStop(t *testing.T) {
	s := settings(t, sqliteURL(t))
	addProvider(t, s)
	p := start(t, s, "serve")
	address := strings.TrimPrefix(p.ready(), "http://")
	admin := p.admin()

	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(patience))
	const body = "grant_type=client_credentials"
	fmt.Fprintf(conn, "POST /api/oidc/demobank/tokens HTTP/1.1\r\nHost: %s\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: %d\r\nExpect: 100-continue\r\n\r\n", address, len(body))
	answers := bufio.NewReader(conn)
	if line, err := answers.ReadString('\n'); err != nil || !strings.HasPrefix(line, "HTTP/1.1 100") {
		t.Fatalf("the handler does not read the body: %q %v", line, err)
	}
	if _, err := answers.ReadString('\n'); err != nil {
		t.Fatal(err)
	}

	p.signal(syscall.SIGTERM)
	p.await(p.log, `"msg":"stopping"`)
	checkProbe(t, admin+"/readyz", 503, map[string]string{"status": "draining", "database": "unknown", "keys": "unknown"})
	awaitRefusal(t, address)
	select {
	case err := <-p.exit:
		t.Fatalf("the program ended with a request under way: %v", err)
	default:
	}

	io.WriteString(conn, body)
	res, err := http.ReadResponse(answers, nil)
	if err != nil {
		t.Fatalf("the request under way got no answer: %v", err)
	}
	if res.StatusCode != http.StatusBadRequest { // no client authentication
		t.Errorf("status %d, want 400", res.StatusCode)
	}
	if err := p.wait(); err != nil {
		t.Errorf("exit: %v, want 0", err)
	}
}

// A request that does not end is cut off at timeouts.shutdown.
func TestStopIsBounded(t *testing.T) {
	s := settings(t, sqliteURL(t), "TIMEOUTS_SHUTDOWN=1ms")
	addProvider(t, s)
	p := start(t, s, "serve")
	address := strings.TrimPrefix(p.ready(), "http://")
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(patience))
	fmt.Fprintf(conn, "POST /api/oidc/demobank/tokens HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 9\r\nExpect: 100-continue\r\n\r\n")
	if _, err := bufio.NewReader(conn).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	p.signal(syscall.SIGINT)
	exit, ok := errors.AsType[*exec.ExitError](p.wait())
	if !ok || exit.ExitCode() != exitFailure {
		t.Errorf("exit: %v, want %d", exit, exitFailure)
	}
	p.await(p.log, "gatehouse: stopping before requests had finished")
}

// awaitRefusal connects until nobody listens any more.
func awaitRefusal(t *testing.T, address string) {
	t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); {
		conn, err := net.Dial("tcp", address)
		if errors.Is(err, syscall.ECONNREFUSED) {
			return
		}
		if err == nil {
			conn.Close()
		}
	}
	t.Fatal("the server still takes connections")
}

// The limit holds to the byte, for the request line and header together.
// Proves: N7
func TestHeaderLimit(t *testing.T) {
	const limit = 32 << 10
	p := start(t, settings(t, sqliteURL(t)), "serve")
	address := strings.TrimPrefix(p.ready(), "http://")
	for _, test := range []struct {
		name   string
		size   int
		format string // of the request with one value to fill it up
		want   int
	}{
		{"header at the limit", limit, "GET / HTTP/1.1\r\nHost: x\r\nX-Fill: %s\r\n\r\n", 404},
		{"header over the limit", limit + 1, "GET / HTTP/1.1\r\nHost: x\r\nX-Fill: %s\r\n\r\n", 431},
		{"path at the limit", limit, "GET /%s HTTP/1.1\r\nHost: x\r\n\r\n", 404},
		{"path over the limit", limit + 1, "GET /%s HTTP/1.1\r\nHost: x\r\n\r\n", 431},
		{"path far over the limit", 4 * limit, "GET /%s HTTP/1.1\r\nHost: x\r\n\r\n", 431},
	} {
		t.Run(test.name, func(t *testing.T) {
			conn, err := net.Dial("tcp", address)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			conn.SetDeadline(time.Now().Add(patience))
			fill := strings.Repeat("a", test.size-len(fmt.Sprintf(test.format, "")))
			sent := make(chan struct{})
			go func() { // the server may answer before it has read everything
				defer close(sent)
				fmt.Fprintf(conn, test.format, fill)
			}()
			res, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil {
				t.Fatal(err)
			}
			if res.StatusCode != test.want {
				t.Errorf("status %d, want %d", res.StatusCode, test.want)
			}
			conn.Close()
			<-sent
		})
	}
}

func TestTLS(t *testing.T) {
	dir := t.TempDir()
	if err := makeDevCertificate(dir, time.Now()); err != nil {
		t.Fatal(err)
	}
	p := start(t, settings(t, sqliteURL(t),
		"TLS_CERT_FILE="+filepath.Join(dir, tlsCertFile),
		"TLS_KEY_FILE="+filepath.Join(dir, tlsKeyFile)), "serve")
	address := strings.TrimPrefix(p.ready(), "https://")
	ca, err := os.ReadFile(filepath.Join(dir, caFile))
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	for _, test := range []struct {
		name   string
		client *tls.Config
		want   bool
	}{
		{"TLS 1.3", &tls.Config{MinVersion: tls.VersionTLS13}, true},
		{"TLS 1.2 AEAD", &tls.Config{MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256}}, true},
		{"TLS 1.2 CBC", &tls.Config{MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA}}, false},
		{"TLS 1.1", &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.client.RootCAs = roots
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			conn, err := (&tls.Dialer{Config: test.client}).DialContext(ctx, "tcp", address)
			if err == nil {
				conn.Close()
			}
			if (err == nil) != test.want {
				t.Errorf("handshake: %v, want success %t", err, test.want)
			}
		})
	}
}
