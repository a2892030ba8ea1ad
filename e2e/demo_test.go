package e2e_test

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A demo is a running `gatehouse demo` and what demo.json says of it.
type demo struct {
	BaseURL   string `json:"base_url"`
	Providers []bank `json:"providers"`

	dir       string
	transport http.RoundTripper // trusts the demo's CA

	process *os.Process
	walked  chan struct{} // closed when the walk has gone well
	exited  chan error    // how the process ended, once
}

type bank struct {
	Code    string `json:"provider_code"`
	Issuer  string `json:"issuer"`
	Profile string `json:"profile"`
	Door    string `json:"door"`
	Clients []tpp  `json:"clients"`
	PSUs    []psu  `json:"psus"`
}

// A tpp is one registered client.
type tpp struct {
	ID           string   `json:"client_id"`
	AuthMethod   string   `json:"token_endpoint_auth_method"`
	Secret       string   `json:"client_secret"`
	Alg          string   `json:"alg"`
	KID          string   `json:"kid"`
	KeyFile      string   `json:"key_file"`
	RedirectURIs []string `json:"redirect_uris"`
}

// name tells the client from the others of its bank.
func (c *tpp) name() string { return strings.TrimSuffix(c.AuthMethod+"-"+c.Alg, "-") }

type psu struct {
	Username string `json:"username"`
	Password string `json:"password"`
	OTP      string `json:"otp"`
}

func (b *bank) psu(t *testing.T, username string) psu {
	t.Helper()
	i := slices.IndexFunc(b.PSUs, func(p psu) bool { return p.Username == username })
	if i < 0 {
		t.Fatalf("demo.json: %s has no PSU %q", b.Code, username)
	}
	return b.PSUs[i]
}

const (
	startLimit = time.Minute
	stopLimit  = 30 * time.Second
)

// startDemo starts the program and returns when it says that it is ready.
func startDemo(program, dir string, flags ...string) (*demo, error) {
	cmd := exec.Command(program, append([]string{"demo", "--addr", "127.0.0.1:0", "--data", dir}, flags...)...)
	cmd.SysProcAttr = diesWithParent()
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	d := &demo{dir: dir, process: cmd.Process, walked: make(chan struct{}), exited: make(chan error, 1)}
	ready := make(chan string, 1)
	go func() {
		last := d.follow(stdout, ready)
		if err := cmd.Wait(); err != nil || stderr.Len() > 0 {
			d.exited <- fmt.Errorf("%s: %v\nthe last it said: %s\n%s", cmd, err, last, &stderr)
		}
		close(d.exited)
	}()
	select {
	case url := <-ready:
		if err := d.read(url); err != nil {
			return nil, errors.Join(err, d.process.Kill(), <-d.exited)
		}
		return d, nil
	case err := <-d.exited:
		return nil, fmt.Errorf("ended before it was ready: %v", err)
	case <-time.After(startLimit):
		return nil, errors.Join(errors.New("no ready line within "+startLimit.String()), d.process.Kill(), <-d.exited)
	}
}

// follow reads what the program prints and returns its last line.
func (d *demo) follow(stdout io.Reader, ready chan<- string) (last string) {
	lines := bufio.NewScanner(stdout)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		line := lines.Text()
		if url, ok := strings.CutPrefix(line, "ready "); ok {
			ready <- url
		}
		if strings.HasSuffix(line, " steps went as they should.") {
			close(d.walked)
		}
		if strings.TrimSpace(line) != "" {
			last = line
		}
	}
	return last
}

// read takes demo.json, and the CA when there is one.
func (d *demo) read(readyURL string) error {
	data, err := os.ReadFile(filepath.Join(d.dir, "demo.json"))
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, d); err != nil {
		return fmt.Errorf("demo.json: %w", err)
	}
	if d.BaseURL != readyURL {
		return fmt.Errorf("demo.json: base_url is %q, the ready line said %q", d.BaseURL, readyURL)
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	d.transport = transport
	if !d.secure() {
		return nil
	}
	ca, err := os.ReadFile(d.caFile())
	if err != nil {
		return err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(ca) {
		return errors.New("ca.pem holds no certificate")
	}
	transport.TLSClientConfig = &tls.Config{RootCAs: roots}
	return nil
}

func (d *demo) secure() bool { return strings.HasPrefix(d.BaseURL, "https://") }

func (d *demo) caFile() string { return filepath.Join(d.dir, "ca.pem") }

// stop lets the walk end, stops the program by a signal and tells what was
// wrong with its end or in its log.
func (d *demo) stop() error {
	limit := time.After(stopLimit)
	select {
	case <-d.walked:
	case err := <-d.exited:
		return fmt.Errorf("ended by itself: %v", err)
	case <-limit:
		return errors.Join(errors.New("the walk did not end"), d.process.Kill(), <-d.exited)
	}
	if err := d.process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	select {
	case err := <-d.exited:
		return errors.Join(err, d.checkLog())
	case <-limit:
		return errors.Join(errors.New("SIGTERM did not end it"), d.process.Kill(), <-d.exited)
	}
}

// checkLog reports the lines of level ERROR: whatever the tests sent, nothing
// may have been the server's fault.
func (d *demo) checkLog() error {
	log, err := os.ReadFile(filepath.Join(d.dir, "gatehouse.log"))
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(log)) {
		var entry struct{ Level string }
		if err := json.Unmarshal([]byte(line), &entry); err != nil {
			return fmt.Errorf("gatehouse.log: a line is not JSON: %s", line)
		}
		if entry.Level == "ERROR" {
			return fmt.Errorf("gatehouse.log: %s", line)
		}
	}
	return nil
}

// forEachClient runs a test for every client of every bank over http and https.
func forEachClient(t *testing.T, test func(t *testing.T, d *demo, b *bank, c *tpp)) {
	for scheme, d := range demos(t) {
		for i := range d.Providers {
			b := &d.Providers[i]
			for j := range b.Clients {
				t.Run(scheme+"/"+b.Code+"-"+b.Clients[j].name(), func(t *testing.T) {
					t.Parallel()
					test(t, d, b, &b.Clients[j])
				})
			}
		}
	}
}
