package main

import (
	"bytes"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"gatehouse/demobank"
	"gatehouse/jose"
)

// newDirectory serves a sandbox directory and writes what an operator needs to
// trust it: directory.json and roots.pem.
func newDirectory(t *testing.T, dir string) *demobank.Directory {
	t.Helper()
	key, err := jose.GenerateKey(jose.PS256, keyBits)
	if err != nil {
		t.Fatal(err)
	}
	ca, caKey, err := demobank.NewCA(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(nil)
	d := &demobank.Directory{
		URL: "http://" + server.Listener.Addr().String() + "/directory", Issuer: "A directory", Key: key,
		CA: ca, CAKey: caKey, Now: time.Now, Log: slog.New(slog.DiscardHandler),
	}
	server.Config.Handler = d.Handler()
	server.Start()
	t.Cleanup(server.Close)
	jwks, err := json.Marshal(jose.JWKS{Keys: []*jose.PublicKey{key.Public()}})
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "directory.json"), jwks)
	write(t, filepath.Join(dir, "roots.pem"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.Raw}))
	return d
}

func write(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// A server believes the directories and the authorities of its configuration,
// within the environment and the providers that it gives them.
func TestServeTrusts(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	directory := newDirectory(t, dir)
	address := freeAddress(t)
	write(t, filepath.Join(dir, "gatehouse.yaml"), fmt.Appendf(nil, `
base_url: http://%s
listen: %[1]s
admin_listen: 127.0.0.1:0
directories:
  - issuer: A directory
    jwks_file: directory.json
    environment: sandbox
    providers: [sandbank, livebank]
certificate_trust:
  - environment: sandbox
    roots_file: roots.pem
    skip_revocation: true
`, address))
	write(t, filepath.Join(dir, "jwks.json"), publicJWKS(t))
	run := func(args ...string) (string, error) {
		cmd := command([]string{"KEY_ENCRYPTION_KEY=" + kekText('k')}, args...)
		cmd.Dir = dir
		output, err := cmd.CombinedOutput()
		return string(output), err
	}
	must := func(args ...string) string {
		t.Helper()
		output, err := run(args...)
		if err != nil {
			t.Fatalf("gatehouse %s: %v\n%s", strings.Join(args, " "), err, output)
		}
		return output
	}
	must("migrate")
	for code, status := range map[string]string{"sandbank": "sandbox", "otherbank": "sandbox", "livebank": "live"} {
		must("provider", "add", code, "--name", code, "--connector-jwks", "jwks.json", "--login-url", "https://bank.example/login", "--status", status)
	}
	cmd := command([]string{"KEY_ENCRYPTION_KEY=" + kekText('k')}, "serve")
	cmd.Dir = dir
	p := startCommand(t, cmd)
	server := p.ready()

	must("tpp", "new", "--name", "App", "--redirect-uri", "https://app.example/callback", "--directory", directory.URL)
	must("tpp", "register", "--server", server)
	must("tpp", "token", "--provider", "sandbank")
	for _, code := range []string{"otherbank", "livebank"} {
		if output, err := run("tpp", "token", "--provider", code); err == nil || !strings.HasPrefix(output, "gatehouse: unauthorized_client: ") {
			t.Errorf("a token at %s: %v %s", code, err, output)
		}
	}
	checkCertificate(t, dir, server, directory)
}

// checkCertificate adds a certificate to the client in dir/tpp: the server
// takes one of the authority it trusts, and none of another.
func checkCertificate(t *testing.T, dir, server string, directory *demobank.Directory) {
	t.Helper()
	var client demobank.Registrant
	data, err := os.ReadFile(filepath.Join(dir, "tpp", tppFile))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &client); err != nil {
		t.Fatal(err)
	}
	key, err := readKey(filepath.Join(dir, "tpp", tppKeyFile), jose.PS256, "")
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(key.Public().Key)
	if err != nil {
		t.Fatal(err)
	}
	public := string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
	for _, test := range []struct {
		directory *demobank.Directory
		status    int
	}{{directory, http.StatusCreated}, {newDirectory(t, t.TempDir()), http.StatusBadRequest}} {
		var issued struct{ Certificate string }
		status := post(t, test.directory.URL+"/certificates", "", map[string]any{
			"type": "qseal", "public_key": public, "org_id": client.OrgID, "roles": []string{"PSP_AI"},
		}, &issued)
		if status != http.StatusOK {
			t.Fatalf("the directory answers %d", status)
		}
		var answer any
		status = post(t, server+"/api/sandbank/open-banking/v3.1/tpp/certificates", client.AccessToken, map[string]any{
			"data": map[string]any{"certificate": map[string]any{"pem": issued.Certificate, "name": "Signing", "type": "qseal"}},
		}, &answer)
		if status != test.status {
			t.Errorf("status %d, want %d: %v", status, test.status, answer)
		}
	}
}

// Where to ask about a certificate stands in the certificate, so it must not
// lead to a machine of ours.
func TestRevocationClientStaysOutside(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.NotFoundHandler())
	defer server.Close()
	for _, address := range []string{server.URL, "http://10.0.0.1/", "http://169.254.169.254/", "http://[::1]/", "http://[fd00::1]/", "http://[::ffff:127.0.0.1]/"} {
		if res, err := revocationClient().Get(address); err == nil || !strings.Contains(err.Error(), "not a public address") {
			t.Errorf("%s: %v %v", address, res, err)
		}
	}
}

// Calls to banks and questions about certificates go where they are meant to,
// whatever proxy the environment names: one could read them, and answer.
// net/http reads the environment once, so they are made by a process of its own.
func TestNoProxyOfTheEnvironment(t *testing.T) {
	if target := os.Getenv("TEST_TARGET"); target != "" {
		callPastProxies(t, target)
		return
	}
	t.Parallel()
	var trapped, reached atomic.Int64
	trap := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { trapped.Add(1) }))
	defer trap.Close()
	bank := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached.Add(1) }))
	defer bank.Close()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "-test.run=^TestNoProxyOfTheEnvironment$", "-test.count=1")
	// No proxy is ever used for 127.0.0.1; 0.0.0.0 is this machine, too.
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), noRaceSleep, "HTTP_PROXY=" + trap.URL, "HTTPS_PROXY=" + trap.URL, "TEST_TARGET=" + strings.Replace(bank.URL, "127.0.0.1", "0.0.0.0", 1)}
	if output, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, output)
	}
	if trapped.Load() != 1 || reached.Load() != 1 {
		t.Errorf("the proxy had %d calls, want the one that was meant for it; the bank had %d, want 1", trapped.Load(), reached.Load())
	}
}

func callPastProxies(t *testing.T, target string) {
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, target, nil)
	if err != nil {
		t.Fatal(err)
	}
	banks, err := defaultConfig().banks(time.Now)
	if err != nil {
		t.Fatal(err)
	}
	for _, transport := range []http.RoundTripper{&http.Transport{Proxy: http.ProxyFromEnvironment}, banks.Transport} {
		res, err := transport.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
	}
	for _, scheme := range []string{"http", "https"} {
		address := strings.Replace(target, "http", scheme, 1)
		if res, err := revocationClient().Get(address); err == nil || !strings.Contains(err.Error(), "dial tcp 0.0.0.0:") || !strings.Contains(err.Error(), "not a public address") {
			t.Errorf("%s: %v %v", address, res, err)
		}
	}
}

// post sends JSON, by a bearer token if there is one, and reads the answer.
func post(t *testing.T, address, token string, body, into any) (status int) {
	t.Helper()
	data, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, address, bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if err := json.NewDecoder(res.Body).Decode(into); err != nil {
		t.Fatal(err)
	}
	return res.StatusCode
}

func freeAddress(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}
