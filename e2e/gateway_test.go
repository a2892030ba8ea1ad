package e2e_test

// Debian's nginx in front of a sample resource, as docs/gateway.md sets it up.

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"
)

var nginxBlock = regexp.MustCompile("(?ms)^```nginx\n# /etc/nginx/(\\S+\\.conf).*?\n(.*?)^```")

// TestGateway asks nginx for a resource with good and bad tokens, and without
// Gatehouse: whatever goes wrong, the resource is not reached.
func TestGateway(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*flowLimit)
	defer cancel()
	program := filepath.Join(demos(t)["http"].dir, "..", "gatehouse")
	d, err := startDemo(program, filepath.Join(t.TempDir(), "demo")) // of its own: it is stopped halfway
	if err != nil {
		t.Fatal(err)
	}
	stopped := false
	stop := func() {
		if stopped {
			return
		}
		stopped = true
		if err := d.stop(); err != nil {
			t.Error(err)
		}
	}
	defer stop()
	b := &d.Providers[0]
	c := &b.Clients[0]
	ctx, r := newRelyingParty(ctx, t, d, b, c)
	id, secret := addResourceServer(t, program, d, b.Code)

	resource := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		body, err := io.ReadAll(req.Body)
		if err != nil {
			t.Error(err)
		}
		json.NewEncoder(w).Encode(map[string]any{"header": req.Header, "body": string(body)})
	}))
	defer resource.Close()
	wrong := startNginx(t, d, b.Code, resource.Listener.Addr().String(), id, "not the secret")
	gateway := startNginx(t, d, b.Code, resource.Listener.Addr().String(), id, secret)

	code, token, sub := r.tokenOf(ctx, t, "openid accounts")
	const path = "/open-banking/v3.1/aisp/accounts?fromBookingDateTime=2026-01-01"
	// The server hears of the new resource server within seconds.
	for gateway.ask(ctx, t, "GET", path, token, nil).status == http.StatusInternalServerError {
		select {
		case <-ctx.Done():
			t.Fatal("the resource server is never known")
		case <-time.After(100 * time.Millisecond):
		}
	}

	// A bearer that calls itself somebody else.
	forged := http.Header{"Gatehouse-Forged": {"1"}}
	for _, name := range identityHeaders {
		forged[name] = []string{"forged"}
		forged[strings.ReplaceAll(name, "-", "_")] = []string{"forged"}
	}
	forged.Set("Resource-Server-Authorization", "Basic Zm9yZ2VkOmZvcmdlZA==")
	a := gateway.ask(ctx, t, "POST", path, token, forged)
	if a.status != http.StatusOK || a.body != "a body" {
		t.Fatalf("a good token: %d %s", a.status, a.text)
	}
	want := map[string]string{"Gatehouse-Client-Id": c.ID, "Gatehouse-Subject": sub, "Gatehouse-Scope": "openid accounts", "Gatehouse-Acr": "urn:openbanking:psd2:sca",
		"Gatehouse-Token-Id": strings.Split(token, ".")[0]}
	for name, value := range want {
		if a.header.Get(name) != value {
			t.Errorf("%s: %q, want %q", name, a.header.Values(name), value)
		}
	}
	for _, name := range []string{"Gatehouse-User-Id", "Gatehouse-Accounts", "Gatehouse-Auth-Time"} {
		if a.header.Get(name) == "" {
			t.Errorf("%s is missing", name)
		}
	}
	for name, values := range a.header {
		if strings.HasPrefix(name, "Gatehouse") && name != "Gatehouse-Forged" && strings.Contains(strings.Join(values, " "), "forged") || strings.HasSuffix(name, "Authorization") {
			t.Errorf("the resource gets %s: %s", name, values)
		}
	}

	_, openid, _ := r.tokenOf(ctx, t, "openid")
	own := clientcredentials.Config{ClientID: c.ID, ClientSecret: c.Secret, AuthStyle: r.oauth.Endpoint.AuthStyle, TokenURL: r.oauth.Endpoint.TokenURL, Scopes: []string{"accounts"}}
	clients, err := own.Token(ctx)
	if err != nil {
		t.Fatal(err)
	}
	balances := strings.Replace(path, "accounts", "balances", 1)
	for name, row := range map[string]struct {
		method, path, token string
		status              int
		challenge           string
	}{
		"no token":                {"GET", path, "", 401, `Bearer realm="gatehouse"`},
		"no token, OPTIONS":       {"OPTIONS", path, "", 401, `Bearer realm="gatehouse"`},
		"a wrong token":           {"GET", path, token[:len(token)-2] + "AA", 401, `error="invalid_token"`},
		"the code":                {"GET", path, code, 401, `error="invalid_token"`},
		"no scope accounts":       {"GET", path, openid, 403, `error="insufficient_scope"`},
		"and which one is needed": {"GET", path, openid, 403, `scope="accounts"`},
		"no PSU":                  {"GET", path, clients.AccessToken, 403, `error="insufficient_scope"`},
		"no permission":           {"GET", balances, token, 403, `error="insufficient_scope"`},
		"no permission, spelt so": {"GET", strings.Replace(balances, "?", "/?", 1), token, 403, `error="insufficient_scope"`},
		"the check itself":        {"GET", "/check/accounts", token, 404, ""},
		"another path":            {"GET", "/open-banking/v3.1/pisp/x", token, 404, ""},
		"a good token":            {"GET", path, token, 200, ""},
	} {
		a := gateway.ask(ctx, t, row.method, row.path, row.token, nil)
		if a.status != row.status || !strings.Contains(a.challenge, row.challenge) || (a.challenge == "") != (row.challenge == "") {
			t.Errorf("%s: %d, WWW-Authenticate %q, want %d %q", name, a.status, a.challenge, row.status, row.challenge)
		}
		if (a.header != nil) != (row.status == 200) {
			t.Errorf("%s: the resource was reached: %t", name, a.header != nil)
		}
	}
	// A gateway that does not know its secret blames nobody but the bank.
	if a := wrong.ask(ctx, t, "GET", path, token, nil); a.status != http.StatusInternalServerError || a.header != nil || a.challenge != "" {
		t.Errorf("a gateway with the wrong secret: %d %q", a.status, a.challenge)
	}

	// The next request after the end of the grant is refused.
	if status := revoke(ctx, t, r, token); status != http.StatusOK {
		t.Fatalf("revocation: %d", status)
	}
	if a := gateway.ask(ctx, t, "GET", path, token, nil); a.status != http.StatusUnauthorized || a.header != nil || !strings.Contains(a.challenge, `error="invalid_token"`) {
		t.Errorf("after the revocation: %d %q", a.status, a.challenge)
	}

	_, token, _ = r.tokenOf(ctx, t, "openid accounts")
	if a := gateway.ask(ctx, t, "GET", path, token, nil); a.status != http.StatusOK {
		t.Errorf("with Gatehouse: %d", a.status)
	}
	stop()
	if a := gateway.ask(ctx, t, "GET", path, token, nil); a.status != http.StatusInternalServerError || a.header != nil {
		t.Errorf("without Gatehouse: %d", a.status)
	}
	if log := wrong.log(); !strings.Contains(log, "auth request unexpected status: 400") {
		t.Errorf("nginx does not say what is wrong with its secret: %s", log)
	}
}

var identityHeaders = []string{
	"Gatehouse-Client-Id", "Gatehouse-Subject", "Gatehouse-User-Id", "Gatehouse-Scope", "Gatehouse-Consent-Id", "Gatehouse-Consent-Kind",
	"Gatehouse-Permissions", "Gatehouse-Accounts", "Gatehouse-Acr", "Gatehouse-Auth-Time", "Gatehouse-Token-Id",
}

// tokenOf takes a PSU through the bank and returns the code, the access token
// and its subject.
func (r *relyingParty) tokenOf(ctx context.Context, t *testing.T, scope string) (code, token, sub string) {
	t.Helper()
	q, back := r.authorize(ctx, t, "approve", "approve", oauth2.SetAuthURLParam("scope", scope))
	response, err := r.exchange(ctx, q, back.Get("code"))
	if err != nil {
		t.Fatal(err)
	}
	return back.Get("code"), response.AccessToken, r.verify(ctx, t, response).Subject
}

// revoke gives a token back, as its client.
func revoke(ctx context.Context, t *testing.T, r *relyingParty, token string) int {
	t.Helper()
	var metadata struct {
		Endpoint string `json:"revocation_endpoint"`
	}
	if err := r.provider.Claims(&metadata); err != nil {
		t.Fatal(err)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, metadata.Endpoint, strings.NewReader(url.Values{"token": {token}}.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if r.client.Secret != "" {
		request.SetBasicAuth(url.QueryEscape(r.client.ID), url.QueryEscape(r.client.Secret))
	}
	response, err := ctx.Value(oauth2.HTTPClient).(*http.Client).Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	return response.StatusCode
}

// addResourceServer does what an operator of the demo would.
func addResourceServer(t *testing.T, program string, d *demo, provider string) (id, secret string) {
	t.Helper()
	config := filepath.Join(t.TempDir(), "gatehouse.yaml")
	text := fmt.Sprintf("base_url: %s\ndatabase: sqlite:%s\nkey_encryption_key_file: %s\n", d.BaseURL, filepath.Join(d.dir, "gatehouse.db"), filepath.Join(d.dir, "key-encryption-key"))
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), program, "--config", config, "--output", "json", "resource-server", "add", "Gateway", "--provider", provider).Output()
	if err != nil {
		t.Fatal(err, string(out))
	}
	var added struct {
		ID     string `json:"resource_server_id"`
		Secret string `json:"secret"`
	}
	if err := json.Unmarshal(out, &added); err != nil || added.ID == "" || added.Secret == "" {
		t.Fatalf("resource-server add: %v %s", err, out)
	}
	return added.ID, added.Secret
}

// An nginx is a running one.
type nginx struct {
	url    string
	errors string // its log
}

// startNginx runs nginx with the files of docs/gateway.md, as nobody in
// particular and on loopback, until the test ends.
func startNginx(t *testing.T, d *demo, provider, resource, id, secret string) *nginx {
	t.Helper()
	program, err := exec.LookPath("nginx")
	if err != nil {
		program = "/usr/sbin/nginx" // not in everybody's PATH
	}
	dir, err := os.MkdirTemp("", "gatehouse-nginx-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	attributes := diesWithParent()
	if os.Getuid() == 0 {
		const nobody = 65534
		attributes.Credential = &syscall.Credential{Uid: nobody, Gid: nobody}
		if err := os.Chown(dir, nobody, nobody); err != nil {
			t.Fatal(err)
		}
	}
	g := &nginx{url: "http://" + freeAddress(t), errors: filepath.Join(dir, "error.log")}
	for name, text := range gatewayFiles(t) {
		text = strings.NewReplacer(
			"127.0.0.1:8080", strings.TrimPrefix(d.BaseURL, "http://"), "127.0.0.1:8090", strings.TrimPrefix(g.url, "http://"), "127.0.0.1:9090", resource,
			"/demobank/", "/"+provider+"/", "BASE64_OF_ID_AND_SECRET", base64.StdEncoding.EncodeToString([]byte(url.QueryEscape(id)+":"+url.QueryEscape(secret))),
		).Replace(text)
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	const main = `daemon off; master_process off; pid nginx.pid;
events {}
http {
    access_log off;
    client_body_temp_path client_body; proxy_temp_path proxy; fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;
    include accounts.conf;
}
`
	if err := os.WriteFile(filepath.Join(dir, "nginx.conf"), []byte(main), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "-e", "error.log", "-p", dir, "-c", "nginx.conf")
	cmd.SysProcAttr = attributes
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	if err := cmd.Start(); err != nil {
		t.Fatal("nginx is needed (.ci/tools installs it): ", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		<-ended
	})
	for {
		conn, err := net.Dial("tcp", strings.TrimPrefix(g.url, "http://"))
		if err == nil {
			conn.Close()
			return g
		}
		select {
		case err := <-ended:
			ended <- err
			t.Fatalf("nginx ended: %v\n%s%s", err, &output, g.log())
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// gatewayFiles are the files for nginx in docs/gateway.md, by their names.
func gatewayFiles(t *testing.T) map[string]string {
	t.Helper()
	text, err := os.ReadFile("../docs/gateway.md")
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for _, block := range nginxBlock.FindAllStringSubmatch(string(text), -1) {
		files[filepath.Base(block[1])] = block[2]
	}
	if files["accounts.conf"] == "" || files["gatehouse-check.conf"] == "" || len(files) != 2 {
		t.Fatalf("docs/gateway.md has %d files for nginx", len(files))
	}
	return files
}

func (g *nginx) log() string {
	text, err := os.ReadFile(g.errors)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// A gatewayAnswer is what comes back through nginx; header is what the resource
// saw, nil when it was not reached.
type gatewayAnswer struct {
	status    int
	challenge string
	header    http.Header
	body      string
	text      string
}

func (g *nginx) ask(ctx context.Context, t *testing.T, method, path, token string, header http.Header) *gatewayAnswer {
	t.Helper()
	var body io.Reader
	if method == http.MethodPost {
		body = strings.NewReader("a body")
	}
	request, err := http.NewRequestWithContext(ctx, method, g.url+path, body)
	if err != nil {
		t.Fatal(err)
	}
	for name, values := range header {
		request.Header[name] = values
	}
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	response, err := http.DefaultTransport.RoundTrip(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	a := &gatewayAnswer{status: response.StatusCode, challenge: strings.Join(response.Header.Values("WWW-Authenticate"), "\n"), text: string(text)}
	var seen struct {
		Header http.Header
		Body   string
	}
	if json.Unmarshal(text, &seen) == nil {
		a.header, a.body = seen.Header, seen.Body
	}
	return a
}
