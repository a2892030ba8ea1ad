package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"gatehouse"
)

// tallied says how many inputs a test had refused.
func tallied(t *testing.T, n int) { t.Attr("bad_inputs", strconv.Itoa(n)) }

// open serves handler as serve does, and returns the site.
func open(t *testing.T, config *config, certificate *tls.Certificate, handler http.Handler) *site {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := newSite(listener, handler, config, slog.New(slog.DiscardHandler), certificate)
	serveUntilCleanup(t, s)
	return s
}

func serveUntilCleanup(t *testing.T, s *site) {
	served := make(chan error, 1)
	go func() { served <- s.serve() }()
	t.Cleanup(func() {
		s.server.Close()
		<-served
	})
}

func (s *site) address() string { return s.listener.Addr().String() }

// A reception is a handler that remembers what it was asked.
type reception struct {
	read bool // the body

	mu   sync.Mutex
	seen []string
}

func (h *reception) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body := ""
	if h.read {
		data, err := io.ReadAll(r.Body)
		if err != nil {
			w.WriteHeader(http.StatusBadRequest)
		}
		body = " " + string(data)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.seen = append(h.seen, r.Method+" "+r.RequestURI+body)
}

func (h *reception) take() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	seen := h.seen
	h.seen = nil
	return seen
}

// dial connects; the test fails when the server keeps it waiting.
func dial(t *testing.T, address string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	conn.SetDeadline(time.Now().Add(patience))
	t.Cleanup(func() { conn.Close() })
	return conn
}

// say sends bytes and returns the status lines of all that comes back until
// the server closes the connection.
func say(t *testing.T, address, text string) (statuses []string) {
	t.Helper()
	conn := dial(t, address)
	defer conn.Close()
	io.WriteString(conn, text) // it may be refused before it is sent
	data, err := io.ReadAll(conn)
	if errors.Is(err, context.DeadlineExceeded) || isTimeout(err) {
		t.Fatalf("the connection stays open after %q", text)
	}
	for line := range strings.Lines(string(data)) {
		if version, status, ok := strings.Cut(strings.TrimSpace(line), " "); ok && strings.HasPrefix(version, "HTTP/1.") {
			statuses = append(statuses, status[:3])
		}
	}
	return statuses
}

func isTimeout(err error) bool {
	timeout, ok := errors.AsType[net.Error](err)
	return ok && timeout.Timeout()
}

// What two servers may take for different requests is one request at most, and
// the connection ends with its answer.
//
// Proves: N10, N11
func TestSmuggling(t *testing.T) {
	const (
		second = "GET /second HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
		post   = "POST /first HTTP/1.1\r\nHost: x\r\n"
		get    = "GET /first HTTP/1.1\r\nHost: x\r\n"
		te     = post + "Transfer-Encoding: chunked\r\n\r\n"
	)
	rows := map[string]string{
		"CL and TE":                      post + "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"TE and CL":                      post + "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n",
		"TE and CL of 0":                 post + "Transfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n0\r\n\r\n",
		"TE and CL of all that follows":  post + "Transfer-Encoding: chunked\r\nContent-Length: 70\r\n\r\n0\r\n\r\n",
		"TE and a malformed CL":          post + "Transfer-Encoding: chunked\r\nContent-Length: x\r\n\r\n0\r\n\r\n",
		"TE of a GET and CL":             get + "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n",
		"two CLs":                        post + "Content-Length: 0\r\nContent-Length: 70\r\n\r\n",
		"two CLs, the larger first":      post + "Content-Length: 70\r\nContent-Length: 0\r\n\r\n",
		"two CLs, one with a zero":       post + "Content-Length: 1\r\nContent-Length: 01\r\n\r\na",
		"a list of CLs":                  post + "Content-Length: 0, 0\r\n\r\n",
		"CL +0":                          post + "Content-Length: +0\r\n\r\n",
		"CL -1":                          post + "Content-Length: -1\r\n\r\n",
		"CL 0x0":                         post + "Content-Length: 0x0\r\n\r\n",
		"CL 0.0":                         post + "Content-Length: 0.0\r\n\r\n",
		"CL 1e0":                         post + "Content-Length: 1e0\r\n\r\na",
		"CL 0_0":                         post + "Content-Length: 0_0\r\n\r\n",
		"CL with a blank inside":         post + "Content-Length: 0 0\r\n\r\n",
		"CL with a comment":              post + "Content-Length: 0;a\r\n\r\n",
		"CL empty":                       post + "Content-Length:\r\n\r\n",
		"CL of 65 bits":                  post + "Content-Length: 18446744073709551616\r\n\r\n",
		"CL in other digits":             post + "Content-Length: \u0660\r\n\r\n",
		"CL of a form feed":              post + "Content-Length: \f0\r\n\r\n",
		"blank before the colon of CL":   post + "Content-Length : 0\r\n\r\n",
		"blank before the colon":         post + "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
		"tab before the colon":           post + "Transfer-Encoding\t: chunked\r\n\r\n0\r\n\r\n",
		"blank before the name":          post + " Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"xchunked":                       post + "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
		"chunkedx":                       post + "Transfer-Encoding: chunkedx\r\n\r\n0\r\n\r\n",
		"chunked in quotes":              post + "Transfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n",
		"chunked with a parameter":       post + "Transfer-Encoding: chunked;q=1\r\n\r\n0\r\n\r\n",
		"chunked after a vertical tab":   post + "Transfer-Encoding: \vchunked\r\n\r\n0\r\n\r\n",
		"chunked before a NUL":           post + "Transfer-Encoding: chunked\x00\r\n\r\n0\r\n\r\n",
		"chunked with a Kelvin sign":     post + "Transfer-Encoding: chun\u212aed\r\n\r\n0\r\n\r\n",
		"chunked by comma alone":         post + "Transfer-Encoding: ,chunked\r\n\r\n0\r\n\r\n",
		"gzip, chunked":                  post + "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
		"chunked, identity":              post + "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
		"identity":                       post + "Transfer-Encoding: identity\r\nContent-Length: 0\r\n\r\n",
		"TE empty":                       post + "Transfer-Encoding:\r\n\r\n",
		"TE twice":                       post + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"TE and TE of another kind":      post + "Transfer-Encoding: chunked\r\nTransfer-Encoding: cow\r\n\r\n0\r\n\r\n",
		"TE on a folded line":            post + "Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
		"TE after a bare LF":             post + "X: a\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"TE after a bare CR":             post + "X: a\rTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"TE with an underscore":          post + "Transfer_Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"chunk size 0x0":                 te + "0x0\r\n\r\n",
		"chunk size -1":                  te + "-1\r\n\r\n",
		"chunk size +0":                  te + "+0\r\n\r\n",
		"chunk size empty":               te + "\r\n\r\n",
		"chunk size after a blank":       te + " 0\r\n\r\n",
		"chunk size of 17 digits":        te + "00000000000000000\r\n\r\n",
		"chunk size beyond 64 bits":      te + "1ffffffffffffffff\r\n\r\n",
		"chunk size ffffffffffffffff":    te + "ffffffffffffffff\r\n\r\n",
		"chunk size with underscore":     te + "0_0\r\n\r\n",
		"chunk size no number":           te + "zero\r\n\r\n",
		"chunk size, bare LF":            te + "0\n\r\n",
		"chunk size, two CRs":            te + "0\r\r\n\r\n",
		"chunk extension, bare LF":       te + "0;a\nb\r\n\r\n",
		"chunk extension, bare CR":       te + "0;a\rb\r\n\r\n",
		"chunk data, bare LF":            te + "1\r\na\n0\r\n\r\n",
		"chunk data longer than size":    te + "1\r\nab\r\n0\r\n\r\n",
		"chunk data, no CRLF":            te + "1\r\naXX0\r\n\r\n",
		"last chunk, bare LF":            te + "1\r\na\r\n0\n\n",
		"trailer, bare LF":               te + "0\r\n\n",
		"trailer with CL":                te + "0\r\nContent-Length: 70\r\n\r\n",
		"trailer with Host":              te + "0\r\nHost: evil.example\r\n\r\n",
		"trailer malformed":              te + "0\r\na b\r\n\r\n",
		"HTTP/1.0 and TE":                "POST /first HTTP/1.0\r\nHost: x\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n",
		"HTTP/1.0, TE and chunks":        "POST /first HTTP/1.0\r\nHost: x\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"HTTP/1.0, TE and CL":            "POST /first HTTP/1.0\r\nHost: x\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
		"HTTP/1.0 without Host":          "GET /first HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
		"HTTP/1.2":                       "GET /first HTTP/1.2\r\nHost: x\r\n\r\n",
		"HTTP/0.9":                       "GET /first\r\n\r\n",
		"HTTP/2.0 in the line":           "GET /first HTTP/2.0\r\nHost: x\r\n\r\n",
		"HTTP/1.10":                      "GET /first HTTP/1.10\r\nHost: x\r\n\r\n",
		"http in lower case":             "GET /first http/1.1\r\nHost: x\r\n\r\n",
		"the preface of HTTP/2":          "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
		"no version":                     "GET /first HTTP/\r\nHost: x\r\n\r\n",
		"two Hosts":                      "GET /first HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
		"two Hosts of one name":          "GET /first HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n",
		"no Host":                        "GET /first HTTP/1.1\r\n\r\n",
		"a Host with a blank":            "GET /first HTTP/1.1\r\nHost: x y\r\n\r\n",
		"a Host with a path":             "GET /first HTTP/1.1\r\nHost: x/y\r\n\r\n",
		"a list of Hosts":                "GET /first HTTP/1.1\r\nHost: x, y\r\n\r\n",
		"a Host with user information":   "GET /first HTTP/1.1\r\nHost: a@x\r\n\r\n",
		"blank before Host":              "GET /first HTTP/1.1\r\n Host: x\r\n\r\n",
		"NUL in a value":                 get + "X: a\x00b\r\n\r\n",
		"NUL in a name":                  get + "X\x00: a\r\n\r\n",
		"NUL in the path":                "GET /first\x00 HTTP/1.1\r\nHost: x\r\n\r\n",
		"CR in a value":                  get + "X: a\rb\r\n\r\n",
		"DEL in the path":                "GET /first\x7f HTTP/1.1\r\nHost: x\r\n\r\n",
		"a line without a colon":         get + "first\r\n\r\n",
		"a header without a name":        get + ": a\r\n\r\n",
		"a name with a slash":            get + "a/b: c\r\n\r\n",
		"a name beyond ASCII":            get + "\u00e4: c\r\n\r\n",
		"two blanks in the request line": "GET  /first HTTP/1.1\r\nHost: x\r\n\r\n",
		"a tab in the request line":      "GET\t/first HTTP/1.1\r\nHost: x\r\n\r\n",
		"a blank in the path":            "GET /fir st HTTP/1.1\r\nHost: x\r\n\r\n",
		"no path":                        "GET HTTP/1.1\r\nHost: x\r\n\r\n",
		"a path without its slash":       "GET first HTTP/1.1\r\nHost: x\r\n\r\n",
		"a broken escape":                "GET /fir%zzst HTTP/1.1\r\nHost: x\r\n\r\n",
		"a line feed first":              "\nGET /first HTTP/1.1\r\nHost: x\r\n\r\n",
		"an empty line first":            "\r\nGET /first HTTP/1.1\r\nHost: x\r\n\r\n",
		"a method with a colon":          "GE:T /first HTTP/1.1\r\nHost: x\r\n\r\n",
		"a method with a NUL":            "GET\x00 /first HTTP/1.1\r\nHost: x\r\n\r\n",
		"CONNECT to an authority":        "CONNECT evil.example:443 HTTP/1.1\r\nHost: evil.example:443\r\n\r\n",
		"CONNECT to a path":              "CONNECT /first HTTP/1.1\r\nHost: x\r\n\r\n",
		"an expectation nobody knows":    post + "Expect: everything\r\nContent-Length: 0\r\n\r\n",
		"bytes of TLS":                   "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
		"nothing but NULs":               strings.Repeat("\x00", 100) + "\r\n\r\n",
	}
	// As RFC 9112 lets a server take them: two requests, the same two that
	// everybody else finds.
	fair := map[string][]string{
		post + "Content-Length: 3\r\n\r\nabc":                                      {"POST /first", " abc"},
		post + "Content-Length: 1\r\nContent-Length: 1\r\n\r\na":                   {"POST /first", " a"},                  // RFC 9110 §8.6
		post + "X: a\r\n Content-Length: 5\r\nContent-Length: 1\r\n\r\na":          {"POST /first", " a"},                  // RFC 9112 §5.2
		"POST /first HTTP/1.1\nHost: x\nContent-Length: 1\n\na":                    {"POST /first", " a"},                  // RFC 9112 §2.2
		get + "Content-Length: 3\r\n\r\nabc":                                       {"GET /first", " abc"},                 // RFC 9110 §9.3.1
		"GET http://evil.example/first HTTP/1.1\r\nHost: x\r\n\r\n":                {"GET http://evil.example/first", " "}, // RFC 9112 §3.2.2
		get + "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\r\n":        {"GET /first", " "},                    // RFC 9113 §3.1
		post + "Connection: Content-Length\r\nContent-Length: 1\r\n\r\na":          {"POST /first", " a"},                  // RFC 9110 §7.6.1
		"GET /first?a=http://evil.example HTTP/1.1\r\nHost: x\r\nTE: gzip\r\n\r\n": {"GET /first?a=http://evil.example", " "},
	}
	for _, read := range []bool{true, false} {
		h := &reception{read: read}
		config := defaultConfig()
		config.Timeouts.ReadHeader, config.Timeouts.Read = gatehouse.Duration(time.Second), gatehouse.Duration(time.Second) // some wait for more
		s := open(t, config, nil, h)
		for name, request := range rows {
			statuses := say(t, s.address(), request+second)
			seen := h.take()
			if len(seen) > 1 || len(statuses) > 1 {
				t.Errorf("%s, body read %t: requests %q, answers %v", name, read, seen, statuses)
			}
			if len(seen) == 0 && (len(statuses) == 0 || statuses[0] < "400" || statuses[0] > "505" || statuses[0] == "500") {
				t.Errorf("%s: no request and answers %v", name, statuses)
			}
			if len(seen) == 1 && !strings.Contains(seen[0], "first") && !strings.HasPrefix(seen[0], "CONNECT ") && !strings.HasPrefix(seen[0], "PRI ") {
				t.Errorf("%s: the request was %q", name, seen[0])
			}
		}
		if statuses := say(t, s.address(), te+"1\r\na\r\n0\r\n\r\n"+second); len(statuses) != 1 || statuses[0] != "200" || len(h.take()) != 1 {
			t.Errorf("good chunks: %v", statuses)
		}
		for request, want := range fair {
			statuses := say(t, s.address(), request+second)
			first := want[0]
			if read {
				first += want[1]
			}
			if seen := h.take(); len(seen) != 2 || seen[0] != first || !strings.HasPrefix(seen[1], "GET /second") || len(statuses) != 2 {
				t.Errorf("%q: requests %q, answers %v", request, seen, statuses)
			}
		}
	}
	tallied(t, 2*len(rows))
}

// A certificateOf is one of localhost that signs itself, and who trusts it.
func certificateOf(t *testing.T, rsaKey bool) (*tls.Certificate, *x509.CertPool) {
	t.Helper()
	var key interface {
		Public() any
	}
	if rsaKey {
		k, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			t.Fatal(err)
		}
		key = publicOf{k.Public(), k}
	} else {
		k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		key = publicOf{k.Public(), k}
	}
	private := key.(publicOf).private
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "localhost"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(1, 0, 0),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(leaf)
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: private, Leaf: leaf}, roots
}

type publicOf struct{ public, private any }

func (k publicOf) Public() any { return k.public }

// Every suite of TLS 1.2 by itself, with both kinds of certificate: the AEAD
// suites with forward secrecy succeed, no other. Every version by itself.
//
// Proves: N3
func TestTLSHandshakes(t *testing.T) {
	bad := 0
	for kind, rsaKey := range map[string]bool{"ECDSA": false, "RSA": true} {
		certificate, roots := certificateOf(t, rsaKey)
		s := open(t, defaultConfig(), certificate, &reception{})
		shake := func(name string, client *tls.Config, want bool) {
			t.Helper()
			client.RootCAs = roots
			conn, err := tls.DialWithDialer(&net.Dialer{Timeout: patience}, "tcp", s.address(), client)
			if err == nil {
				conn.Close()
			}
			if (err == nil) != want {
				t.Errorf("%s with %s: %v, want success %t", name, kind, err, want)
			}
			if !want {
				bad++
			}
		}
		suites := slices.Concat(tls.CipherSuites(), tls.InsecureCipherSuites())
		for _, suite := range suites {
			if !slices.Contains(suite.SupportedVersions, tls.VersionTLS12) {
				continue
			}
			aead := strings.HasPrefix(suite.Name, "TLS_ECDHE_"+kind) && (strings.Contains(suite.Name, "_GCM_") || strings.Contains(suite.Name, "_CHACHA20_"))
			shake(suite.Name, &tls.Config{MinVersion: tls.VersionTLS12, MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{suite.ID}}, aead)
		}
		all := make([]uint16, len(suites))
		for i, suite := range suites {
			all[i] = suite.ID
		}
		for version, want := range map[uint16]bool{tls.VersionTLS10: false, tls.VersionTLS11: false, tls.VersionTLS12: true, tls.VersionTLS13: true} {
			shake(tls.VersionName(version), &tls.Config{MinVersion: version, MaxVersion: version, CipherSuites: all}, want)
		}
		statuses := say(t, s.address(), "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		if len(statuses) != 1 || statuses[0] != "400" {
			t.Errorf("plain http: %v", statuses)
		}
		bad++
	}
	tallied(t, bad)
}

// A session resumes, but not one of last week: its ticket is too old. That
// nobody could read it either is TestTicketKeysRotate's to show.
//
// Proves: N3
func TestTLSTickets(t *testing.T) {
	certificate, roots := certificateOf(t, false)
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		s := newSite(listener, &reception{}, defaultConfig(), slog.New(slog.DiscardHandler), certificate)
		var later atomic.Int64
		s.server.TLSConfig.Time = func() time.Time { return time.Now().Add(time.Duration(later.Load())) }
		serveUntilCleanup(t, s)
		client := &tls.Config{RootCAs: roots, MinVersion: version, MaxVersion: version, ClientSessionCache: tls.NewLRUClientSessionCache(1)}
		resumed := func() bool {
			conn, err := tls.DialWithDialer(&net.Dialer{Timeout: patience}, "tcp", s.address(), client)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
			if _, err := io.ReadAll(conn); err != nil { // tickets of TLS 1.3 come with the answer
				t.Fatal(err)
			}
			return conn.ConnectionState().DidResume
		}
		resumed()
		if !resumed() {
			t.Errorf("%s: no session resumes", tls.VersionName(version))
		}
		later.Store(int64(8 * 24 * time.Hour))
		if resumed() {
			t.Errorf("%s: a ticket of last week is good", tls.VersionName(version))
		}
	}
	tallied(t, 2)
}

// The keys of tickets are new each day and gone after a week, and no other
// server has them, not even one with the same certificate. A ticket is tried on
// the settings that sealed it, which look at its key and not at its age.
//
// Proves: N3
func TestTicketKeysRotate(t *testing.T) {
	certificate, roots := certificateOf(t, false)
	var later atomic.Int64
	serving := func() *site {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		s := newSite(listener, &reception{}, defaultConfig(), slog.New(slog.DiscardHandler), certificate)
		s.server.TLSConfig.Time = func() time.Time { return time.Now().Add(time.Duration(later.Load())) }
		served := make(chan error, 1)
		go func() { served <- s.server.Serve(tls.NewListener(s.listener, s.server.TLSConfig)) }() // ServeTLS would take a copy
		t.Cleanup(func() {
			s.server.Close()
			<-served
		})
		return s
	}
	const day = 24 * time.Hour
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		name := tls.VersionName(version)
		later.Store(0)
		here, there := serving(), serving()
		sessions := &keptSession{}
		visit := func(s *site) (ticket []byte, resumed bool) {
			t.Helper()
			client := &tls.Config{RootCAs: roots, ServerName: "127.0.0.1", MinVersion: version, MaxVersion: version, ClientSessionCache: sessions}
			conn := tls.Client(dial(t, s.address()), client)
			io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
			if _, err := io.ReadAll(conn); err != nil { // tickets of TLS 1.3 come with the answer
				t.Fatal(err)
			}
			ticket, _, err := sessions.last.ResumptionState()
			if err != nil || len(ticket) == 0 {
				t.Fatalf("%s: no ticket: %v", name, err)
			}
			return ticket, conn.ConnectionState().DidResume
		}
		readable := func(s *site, ticket []byte) bool {
			t.Helper()
			session, err := s.server.TLSConfig.DecryptTicket(ticket, tls.ConnectionState{})
			if err != nil {
				t.Fatal(err)
			}
			return session != nil
		}
		today, _ := visit(here)
		if readable(there, today) || !readable(here, today) {
			t.Errorf("%s: a ticket is readable where it was made: %t, elsewhere: %t", name, readable(here, today), readable(there, today))
		}
		if _, resumed := visit(there); resumed {
			t.Errorf("%s: another server resumes the session", name)
		}
		sessions.last = nil
		later.Store(int64(day + time.Hour))
		tomorrow, _ := visit(here)
		if !readable(here, today) || !readable(here, tomorrow) {
			t.Errorf("%s: tickets of a day are not readable on the next", name)
		}
		later.Store(int64(7*day + 2*time.Hour))
		sessions.last = nil
		visit(here) // by a key of that day
		if readable(here, today) || !readable(here, tomorrow) {
			t.Errorf("%s: after a week the first day's ticket is readable: %t, the second's: %t", name, readable(here, today), readable(here, tomorrow))
		}
	}
	tallied(t, 6)
}

// A keptSession keeps the last session, whoever it was with.
type keptSession struct{ last *tls.ClientSessionState }

func (k *keptSession) Get(string) (*tls.ClientSessionState, bool) { return k.last, k.last != nil }

func (k *keptSession) Put(_ string, session *tls.ClientSessionState) {
	if session != nil {
		k.last = session
	}
}

// HTTP/2 has the limits of HTTP/1.1: of headers, and of bodies that nobody
// reads.
//
// Proves: N7
func TestHTTP2Limits(t *testing.T) {
	certificate, roots := certificateOf(t, false)
	var handled atomic.Int64
	s := open(t, defaultConfig(), certificate, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		handled.Add(1)
		w.WriteHeader(http.StatusRequestEntityTooLarge)
	}))
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, ForceAttemptHTTP2: true}
	defer transport.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	send := func(change func(*http.Request), body io.Reader) (*http.Response, error) {
		t.Helper()
		r, err := http.NewRequestWithContext(ctx, "POST", s.url()+"/", body)
		if err != nil {
			t.Fatal(err)
		}
		change(r)
		res, err := transport.RoundTrip(r)
		if err == nil && res.ProtoMajor != 2 {
			t.Fatalf("%s", res.Proto)
		}
		return res, err
	}
	for _, change := range []func(*http.Request){
		func(r *http.Request) { r.Header.Set("X-Fill", strings.Repeat("a", 33<<10)) },
		func(r *http.Request) { r.URL.Path = "/" + strings.Repeat("a", 33<<10) },
		func(r *http.Request) { r.URL.RawQuery = strings.Repeat("a", 33<<10) },
		func(r *http.Request) {
			for i := range 1000 {
				r.Header.Set(fmt.Sprint("X-", i), "a")
			}
		},
	} {
		// One value over the limit ends the connection: nobody knows any more
		// how the next header is compressed (RFC 7541 §2.2).
		if res, err := send(change, nil); err == nil && res.StatusCode != 431 || err != nil && !strings.Contains(err.Error(), "COMPRESSION_ERROR") && !strings.Contains(err.Error(), "larger than peer's advertised limit") {
			t.Errorf("header over the limit: %v %v", res, err)
		}
	}
	if n := handled.Load(); n != 0 {
		t.Errorf("%d requests with a header over the limit were handled", n)
	}
	endless := &countedReader{}
	if res, err := send(func(*http.Request) {}, endless); err != nil || res.StatusCode != 413 || endless.read.Load() > 128<<10 {
		t.Errorf("%v %v after %d bytes", res, err, endless.read.Load())
	}
	tallied(t, 5)
}

// A countedReader has no end.
type countedReader struct{ read atomic.Int64 }

func (r *countedReader) Read(b []byte) (int, error) {
	n := min(len(b), 4096)
	r.read.Add(int64(n))
	return n, nil
}

// A thousand clients that say a byte now and then, or nothing, or never listen:
// each is cut off in time, and others are answered at once.
//
// Proves: N5
func TestSlowClients(t *testing.T) {
	config := defaultConfig()
	second := gatehouse.Duration(time.Second)
	config.Timeouts.ReadHeader, config.Timeouts.Read, config.Timeouts.Write, config.Timeouts.Idle = second, second, second, second
	config.Limits.ConnectionsPerAddress = 2000 // all of them come from one
	large := make([]byte, 8<<20)
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/large" {
			w.Write(large)
			return
		}
		if _, err := io.ReadAll(r.Body); err != nil {
			w.WriteHeader(http.StatusBadRequest)
		}
	})
	certificate, _ := certificateOf(t, false)
	plain, overTLS := open(t, config, nil, handler), open(t, config, certificate, handler)
	const get = "GET / HTTP/1.1\r\nHost: x\r\n"
	kinds := []struct {
		name   string
		number int
		site   *site
		first  string // then a byte now and then
		drip   string
		deaf   bool
	}{
		{"header", 300, plain, get + "X: ", "a", false},
		{"request line", 100, plain, "GET /", "a", false},
		{"many headers", 100, plain, get, "A: b\r\n", false},
		{"body", 200, plain, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n", "a", false},
		{"chunks", 100, plain, "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", "1\r\na\r\n", false},
		{"after a request", 50, plain, get + "\r\n", "G", false},
		{"silence", 50, plain, "", "", false},
		{"handshake", 50, overTLS, "\x16\x03\x01\x02\x00", "\x01", false},
		{"silence before TLS", 50, overTLS, "", "", false},
		{"preface of HTTP/2", 50, plain, "PRI * HTTP/2.0\r\n\r\nSM\r", "", false},
		{"no ears", 10, plain, "GET /large HTTP/1.1\r\nHost: x\r\n\r\n", "", true},
	}
	var attackers sync.WaitGroup
	total := 0
	for _, kind := range kinds {
		total += kind.number
		for range kind.number {
			conn, err := net.Dial("tcp", kind.site.address())
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { conn.Close() })
			if kind.deaf {
				conn.(*net.TCPConn).SetReadBuffer(4096)
			}
			began := time.Now()
			conn.SetDeadline(began.Add(patience))
			if _, err := io.WriteString(conn, kind.first); err != nil {
				t.Fatal(err)
			}
			ended := make(chan struct{})
			attackers.Go(func() {
				defer close(ended)
				if kind.deaf { // the answer does not fit: the server must give up by itself
					awaitReset(conn)
				} else {
					_, err := io.Copy(io.Discard, conn)
					if isTimeout(err) {
						t.Errorf("%s: not cut off", kind.name)
					}
				}
				if took := time.Since(began); took > 15*time.Second {
					t.Errorf("%s: cut off after %s", kind.name, took)
				}
			})
			attackers.Go(func() {
				tick := time.NewTicker(200 * time.Millisecond)
				defer tick.Stop()
				for {
					select {
					case <-ended:
						return
					case <-tick.C:
						io.WriteString(conn, kind.drip)
					}
				}
			})
		}
	}
	for range 20 {
		began := time.Now()
		statuses := say(t, plain.address(), get+"Connection: close\r\n\r\n")
		if took := time.Since(began); took > time.Second || len(statuses) != 1 || statuses[0] != "200" {
			t.Errorf("meanwhile: %v after %s", statuses, took)
		}
	}
	attackers.Wait()
	if total < 1000 {
		t.Errorf("only %d", total)
	}
	tallied(t, total)
}

// awaitReset writes until the peer has gone.
func awaitReset(conn net.Conn) {
	for {
		if _, err := io.WriteString(conn, " "); err != nil {
			return
		}
		time.Sleep(50 * time.Millisecond) // a client's own pace
	}
}

// What is configured is in force, and the defaults are those of
// docs/operations.md: a slow connection is over within half a minute.
//
// Proves: N5, N3
func TestListenerSettings(t *testing.T) {
	certificate, _ := certificateOf(t, false)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	config := defaultConfig()
	second := gatehouse.Duration(time.Second)
	if diff := cmp.Diff(timeoutsConfig{ReadHeader: 5 * second, Read: 10 * second, Write: 20 * second, Drain: 5 * second, Shutdown: 10 * second}, config.Timeouts); diff != "" {
		t.Errorf("default timeouts (-want +got):\n%s", diff)
	}
	limits := limitsConfig{
		HeaderBytes: 32768, Connections: 10_000, ConnectionsPerAddress: 500,
		Client: rateConfig{200, 1000}, Provider: rateConfig{1000, 2000},
		AuthorizeAddress: rateConfig{20, 200}, AuthorizeClient: rateConfig{100, 1000}, AuthorizeProvider: rateConfig{500, 2000}, WrongSecrets: rateConfig{1, 60},
	}
	if diff := cmp.Diff(limits, config.Limits); diff != "" {
		t.Errorf("default limits (-want +got):\n%s", diff)
	}
	s := newSite(listener, &reception{}, config, slog.New(slog.DiscardHandler), certificate)
	if g := s.listener.(*gate); cap(g.places) != 10_000 || g.perAddress != 500 || s.server.MaxHeaderBytes != 32768-bufferSlop {
		t.Errorf("by default %d connections, %d of an address, %d bytes of header", cap(g.places), g.perAddress, s.server.MaxHeaderBytes)
	}
	server := s.server
	if server.ReadHeaderTimeout != 5*time.Second || server.ReadTimeout != 10*time.Second || server.WriteTimeout != 20*time.Second || server.IdleTimeout != 25*time.Second {
		t.Errorf("default timeouts: %v %v %v %v", server.ReadHeaderTimeout, server.ReadTimeout, server.WriteTimeout, server.IdleTimeout)
	}
	want := http.HTTP2Config{
		MaxConcurrentStreams: 20, MaxReadFrameSize: 16 << 10, MaxReceiveBufferPerConnection: 64 << 10, MaxReceiveBufferPerStream: 64 << 10,
		SendPingTimeout: 10 * time.Second, PingTimeout: 5 * time.Second, WriteByteTimeout: 20 * time.Second,
	}
	if diff := cmp.Diff(want, *server.HTTP2); diff != "" {
		t.Errorf("HTTP/2 (-want +got):\n%s", diff)
	}
	// A handshake may take as long as a header; the preface of HTTP/2 takes 10 s
	// at most, and GOAWAY one, whatever is configured.
	for name, sum := range map[string]time.Duration{
		"a header after a rest":         server.IdleTimeout + server.ReadHeaderTimeout,
		"an answer that nobody takes":   2*server.ReadHeaderTimeout + server.WriteTimeout,
		"HTTP/2 without a whole frame":  server.ReadHeaderTimeout + 10*time.Second + want.SendPingTimeout + want.PingTimeout,
		"HTTP/2 that takes nothing":     server.ReadHeaderTimeout + want.WriteByteTimeout,
		"HTTP/2 at rest with pings":     server.IdleTimeout + time.Second,
		"HTTP/2 with a body that drips": server.ReadHeaderTimeout + server.ReadTimeout + time.Second,
	} {
		if sum > 30*time.Second {
			t.Errorf("%s lasts %s", name, sum)
		}
	}
	if c := server.TLSConfig; c.MinVersion != tls.VersionTLS12 || c.MaxVersion != 0 || c.SessionTicketsDisabled {
		t.Errorf("TLS: %+v", c)
	}
	config.BehindProxy = true
	s = newSite(listener, &reception{}, config, slog.New(slog.DiscardHandler), nil)
	if idle := s.server.IdleTimeout; idle != 75*time.Second {
		t.Errorf("behind a proxy a connection rests for %s", idle)
	}
	if err := config.parse([]byte("timeouts: {read_header: 1s, read: 2s, write: 3s, idle: 4s}\nlimits: {header_bytes: 10000, connections: 7, connections_per_address: 6}\n")); err != nil {
		t.Fatal(err)
	}
	s = newSite(listener, &reception{}, config, slog.New(slog.DiscardHandler), nil)
	if s.server.ReadHeaderTimeout != time.Second || s.server.ReadTimeout != 2*time.Second || s.server.WriteTimeout != 3*time.Second || s.server.IdleTimeout != 4*time.Second ||
		s.server.MaxHeaderBytes != 10000-bufferSlop || cap(s.listener.(*gate).places) != 7 || s.listener.(*gate).perAddress != 6 ||
		s.server.HTTP2.SendPingTimeout != 2*time.Second || s.server.HTTP2.PingTimeout != time.Second || s.server.HTTP2.WriteByteTimeout != 3*time.Second {
		t.Errorf("configured: %+v", s.server)
	}
}

// From one address come only so many connections, and only so many in all; the
// next one waits for the end of another.
//
// Proves: N5
func TestConnectionLimits(t *testing.T) {
	const get = "GET /%s HTTP/1.1\r\nHost: x\r\n\r\n"
	dialFrom := func(t *testing.T, from, to string) net.Conn {
		t.Helper()
		dialer := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
		conn, err := dialer.Dial("tcp", to)
		if err != nil {
			t.Fatal(err)
		}
		conn.SetDeadline(time.Now().Add(patience))
		t.Cleanup(func() { conn.Close() })
		return conn
	}
	ask := func(conn net.Conn) error {
		fmt.Fprintf(conn, get, "a")
		res, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err == nil && res.StatusCode != 200 {
			err = errors.New(res.Status)
		}
		return err
	}
	limited := func() *config {
		config := defaultConfig()
		config.Limits.Connections, config.Limits.ConnectionsPerAddress = 5, 3
		return config
	}

	t.Run("per address", func(t *testing.T) {
		s := open(t, limited(), nil, &reception{})
		var mine []net.Conn
		for range 3 {
			mine = append(mine, dialFrom(t, "127.0.0.1", s.address()))
		}
		for i, conn := range mine {
			if err := ask(conn); err != nil {
				t.Fatalf("connection %d: %v", i, err)
			}
		}
		for range 20 {
			if err := ask(dialFrom(t, "127.0.0.1", s.address())); err == nil {
				t.Fatal("one too many from an address")
			}
		}
		if err := ask(dialFrom(t, "127.0.0.2", s.address())); err != nil {
			t.Errorf("another address: %v", err)
		}
		mine[0].Close()
		for end := time.Now().Add(patience); ; { // until the server has seen it
			err := ask(dialFrom(t, "127.0.0.1", s.address()))
			if err == nil {
				break
			}
			if time.Now().After(end) {
				t.Fatalf("a place is not given back: %v", err)
			}
		}
	})
	t.Run("in all", func(t *testing.T) {
		s := open(t, limited(), nil, &reception{})
		var all []net.Conn
		for i := range 5 {
			conn := dialFrom(t, fmt.Sprint("127.0.0.", 1+i), s.address())
			if err := ask(conn); err != nil {
				t.Fatal(err)
			}
			all = append(all, conn)
		}
		next := dialFrom(t, "127.0.0.9", s.address())
		fmt.Fprintf(next, get, "next")
		next.SetReadDeadline(time.Now().Add(300 * time.Millisecond))
		if _, err := next.Read(make([]byte, 1)); !isTimeout(err) {
			t.Fatalf("one too many: %v", err)
		}
		all[0].Close()
		next.SetReadDeadline(time.Now().Add(patience))
		if res, err := http.ReadResponse(bufio.NewReader(next), nil); err != nil || res.StatusCode != 200 {
			t.Errorf("who waited: %v", err)
		}
		for _, conn := range all[1:] {
			if err := ask(conn); err != nil {
				t.Errorf("who was there: %v", err)
			}
		}
	})
	for name, change := range map[string]func(*config){
		"a trusted proxy": func(c *config) { c.TrustedProxies = []string{"127.0.0.0/30"} },
		"behind a proxy":  func(c *config) { c.BehindProxy = true },
	} {
		t.Run(name, func(t *testing.T) {
			config := limited()
			change(config)
			s := open(t, config, nil, &reception{})
			for i := range 5 {
				if err := ask(dialFrom(t, "127.0.0.1", s.address())); err != nil {
					t.Errorf("connection %d: %v", i, err)
				}
			}
		})
	}
	t.Run("stopping", func(t *testing.T) { // with the last place taken
		s := open(t, limited(), nil, &reception{})
		for i := range 5 {
			if err := ask(dialFrom(t, fmt.Sprint("127.0.0.", 1+i), s.address())); err != nil {
				t.Fatal(err)
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		if err := s.server.Shutdown(ctx); err != nil {
			t.Error(err)
		}
	})
	for address, want := range map[string]string{
		"192.0.2.1": "192.0.2.1/32", "::ffff:192.0.2.1": "192.0.2.1/32", "2001:db8:1:2:3:4:5:6": "2001:db8:1:2::/64",
		"fe80::1%eth0": "fe80::/64", "::1": "::1/128",
	} {
		if got := networkOf(netip.MustParseAddr(address)).String(); got != want {
			t.Errorf("%s counts as %s, want %s", address, got, want)
		}
	}
	tallied(t, 21)
}

// A trusted proxy is known by its own address; who is not one has a network, of
// which each address counts as the other.
//
// Proves: N5
func TestTrustedProxyByAddress(t *testing.T) {
	config := defaultConfig()
	config.Limits.ConnectionsPerAddress = 1
	config.TrustedProxies = []string{"2001:db8::5", "192.0.2.5", "fe80::5"}
	g := newGate(nil, config, slog.New(slog.DiscardHandler))
	for address, trusted := range map[string]bool{
		"2001:db8::5": true, "192.0.2.5": true, "::ffff:192.0.2.5": true, "fe80::5%eth0": true,
		"2001:db8:0:1::5": false, "192.0.2.6": false, "fe80:0:0:1::5%eth0": false,
	} {
		peer := netip.MustParseAddr(address)
		if !g.enter(peer) {
			t.Errorf("%s has no connection", address)
		}
		if g.enter(peer) != trusted {
			t.Errorf("%s has a second connection: %t, want %t", address, !trusted, trusted)
		}
	}
	if g.enter(netip.MustParseAddr("2001:db8::6")) {
		t.Error("a neighbour of a trusted proxy has the proxy's connections")
	}
	tallied(t, 4)
}

// Without TLS the public listener is for this machine, unless the operator says
// that a proxy is in front.
//
// Proves: N4, N17
func TestPlainListener(t *testing.T) {
	valid := func() *config {
		c := defaultConfig()
		c.BaseURL = "https://gatehouse.example"
		return c
	}
	hosts := []string{"", "0.0.0.0", "[::]", "192.0.2.1", "10.0.0.1", "[2001:db8::1]", "gatehouse.example", "localhost.example", "127.0.0.1.example", "[::ffff:10.0.0.1]", "0", "2130706433"}
	for _, host := range hosts {
		c := valid()
		c.Listen = host + ":8080"
		if err := c.validate(); err == nil {
			t.Errorf("listen %q without TLS", host)
		}
		c.BehindProxy = true
		if err := c.validate(); err != nil {
			t.Errorf("listen %q behind a proxy: %v", host, err)
		}
		c.BehindProxy, c.TLS = false, tlsConfig{"cert.pem", "key.pem"}
		if err := c.validate(); err != nil {
			t.Errorf("listen %q with TLS: %v", host, err)
		}
		c = valid()
		c.AdminListen = host + ":8081"
		if err := c.validate(); err == nil {
			t.Errorf("admin_listen %q", host)
		}
		c.AdminRemote = true
		if err := c.validate(); err != nil {
			t.Errorf("admin_listen %q with admin_remote: %v", host, err)
		}
	}
	for _, host := range []string{"127.0.0.1", "127.9.9.9", "[::1]", "localhost"} {
		c := valid()
		c.Listen, c.AdminListen = host+":8080", host+":8081"
		if err := c.validate(); err != nil {
			t.Errorf("%s: %v", host, err)
		}
	}
	if host, _, _ := net.SplitHostPort(defaultConfig().AdminListen); !isLoopback(host) {
		t.Errorf("admin_listen is %s by default", host)
	}
	origins := []string{"", "*", "null", "app.example", "http://app.example", "https://", "https://app.example/", "https://app.example/x", "https://app.example?x", "https://app.example#x", "https://u@app.example", "https://App.example", "https://app.example:443", "HTTPS://app.example", "https://*.example/", " https://app.example"}
	for _, origin := range origins {
		c := valid()
		c.TokenOrigins = []string{"https://good.example:8443", origin}
		if err := c.validate(); err == nil {
			t.Errorf("token_origins %q", origin)
		}
	}
	tallied(t, 2*len(hosts)+len(origins))
}

// What net/http answers by itself no handler sees, so it has none of our
// headers. This is all of it: constant text with nothing of the request, and
// the connection ends. docs/operations.md says so.
//
// Proves: N15
func TestAnswersOfNetHTTP(t *testing.T) {
	certificate, _ := certificateOf(t, false)
	h := &reception{}
	plain, overTLS := open(t, defaultConfig(), nil, h), open(t, defaultConfig(), certificate, h)
	const plainText = "text/plain; charset=utf-8"
	rows := []struct {
		name    string
		site    *site
		request string
		status  int
		media   string
		body    string
	}{
		{"malformed line", plain, "GET /canary\r\n\r\n", 400, plainText, "400 Bad Request"},
		{"malformed path", plain, "GET /canary% HTTP/1.1\r\nHost: x\r\n\r\n", 400, plainText, "400 Bad Request"},
		{"malformed header", plain, "GET / HTTP/1.1\r\nHost: x\r\nX canary\r\n\r\n", 400, plainText, "400 Bad Request"},
		{"no Host", plain, "GET /canary HTTP/1.1\r\n\r\n", 400, plainText, "400 Bad Request: missing required Host header"},
		{"malformed Host", plain, "GET / HTTP/1.1\r\nHost: can ary\r\n\r\n", 400, plainText, "400 Bad Request: malformed Host header"},
		{"malformed value", plain, "GET / HTTP/1.1\r\nHost: x\r\nX: canary\x01\r\n\r\n", 400, plainText, "400 Bad Request"},
		{"expectation", plain, "POST / HTTP/1.1\r\nHost: x\r\nExpect: canary\r\nContent-Length: 0\r\n\r\n", 417, "", ""},
		{"large header", plain, "GET / HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("canary", 8<<10) + "\r\n\r\n", 431, plainText, "431 Request Header Fields Too Large"},
		{"transfer coding", plain, "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: canary\r\n\r\n", 501, plainText, "Unsupported transfer encoding"},
		{"version", plain, "GET /canary HTTP/2.0\r\nHost: x\r\n\r\n", 505, plainText, "505 HTTP Version Not Supported: unsupported protocol version"},
		{"http where TLS is", overTLS, "GET /canary HTTP/1.1\r\nHost: x\r\n\r\n", 400, "", "Client sent an HTTP request to an HTTPS server.\n"},
	}
	for _, row := range rows {
		conn := dial(t, row.site.address())
		io.WriteString(conn, row.request) // it may be refused before it is sent
		res, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatalf("%s: %v", row.name, err)
		}
		body, err := io.ReadAll(res.Body)
		if err != nil || !res.Close && res.ProtoMinor == 1 {
			t.Errorf("%s: the connection goes on: %v", row.name, err)
		}
		if res.StatusCode != row.status || res.Header.Get("Content-Type") != row.media || string(body) != row.body || strings.Contains(fmt.Sprint(res.Header), "canary") {
			t.Errorf("%s: %d %v %q", row.name, res.StatusCode, res.Header, body)
		}
		for header := range res.Header {
			if !slices.Contains([]string{"Connection", "Content-Length", "Content-Type", "Date"}, header) {
				t.Errorf("%s: %s is not net/http's: it is not on this list", row.name, header)
			}
		}
	}
	if seen := h.take(); len(seen) != 0 {
		t.Errorf("a handler saw %q", seen)
	}
	tallied(t, len(rows))
}

// A path of the listener for operators has one spelling, and whatever it
// answers is JSON that nobody keeps or takes for something else.
//
// Proves: N15, N17
func TestAdminAnswers(t *testing.T) {
	p := start(t, settings(t, sqliteURL(t)), "serve")
	p.ready()
	address := strings.TrimPrefix(p.admin(), "http://")
	rows := []struct {
		request string
		status  int
		allow   string
	}{
		{"GET /healthz", 200, ""}, {"GET /healthz?a=b", 200, ""}, {"HEAD /healthz", 200, ""}, {"GET /readyz", 200, ""}, {"HEAD /readyz", 200, ""}, {"GET http://x/healthz", 200, ""},
		{"POST /healthz", 405, "GET, HEAD"}, {"OPTIONS /readyz", 405, "GET, HEAD"}, {"TRACE /healthz", 405, "GET, HEAD"}, {"get /healthz", 405, "GET, HEAD"}, {"CONNECT /healthz", 405, "GET, HEAD"},
	}
	for _, request := range []string{
		"GET //healthz", "GET /./healthz", "GET /x/../healthz", "GET /healthz/", "GET /healthz/.", "GET /healthz//", "GET /%68ealthz", "GET /healthz%2f", "GET /%2fhealthz", "GET /healthz;a", "GET /HEALTHZ",
		"GET http://x//healthz", "GET /", "GET //", "GET /..", "GET /clock", "PUT /clock", "OPTIONS *", "CONNECT x:443", "HEAD //readyz", "POST //readyz", "GET /<script>alert(1)</script>",
	} {
		rows = append(rows, struct {
			request string
			status  int
			allow   string
		}{request, 404, ""})
	}
	for _, row := range rows {
		conn := dial(t, address)
		fmt.Fprintf(conn, "%s HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", row.request)
		method, _, _ := strings.Cut(row.request, " ")
		res, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: method})
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		h := res.Header
		if res.StatusCode != row.status || h.Get("Allow") != row.allow || h.Get("Location") != "" || (method != "HEAD") != json.Valid(body) || bytes.Contains(body, []byte("script")) ||
			h.Get("Content-Type") != "application/json" || h.Get("X-Content-Type-Options") != "nosniff" || h.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: %d %v %s", row.request, res.StatusCode, h, body)
		}
	}
	tallied(t, len(rows)-6)
}

// The listeners have nothing in common, by whatever name one is asked for the
// other's.
//
// Proves: N17
func TestListenersAreSeparate(t *testing.T) {
	s := settings(t, sqliteURL(t), "MODE=development", "ALLOW_CLOCK_CONTROL=true")
	addProvider(t, s)
	p := start(t, s, "serve")
	public, admin := strings.TrimPrefix(p.ready(), "http://"), strings.TrimPrefix(p.admin(), "http://")
	ask := func(address, method, target, header string) string {
		t.Helper()
		statuses := say(t, address, method+" "+target+" HTTP/1.1\r\n"+header+"Connection: close\r\nContent-Length: 0\r\n\r\n")
		if len(statuses) != 1 {
			t.Fatalf("%s %s: %v", method, target, statuses)
		}
		return statuses[0]
	}
	bad := 0
	for _, path := range []string{
		"/healthz", "/readyz", "/clock", "/metrics", "/admin", "/admin/", "/debug/pprof/", "/debug/pprof/heap", "/debug/vars", "/api/admin", "/console", "/server-status",
		"/actuator/env", "/.env", "/.git/config", "/swagger.json", "/graphql", "/static/../healthz", "/static/..%2fhealthz", "/oidc/demobank/../../healthz", "/%68ealthz", "//healthz", "/healthz/", "/HEALTHZ", "/./clock", "/clock;a",
	} {
		for _, method := range []string{"GET", "POST", "PUT"} {
			for name, header := range map[string]string{
				"plain": "Host: gatehouse.example\r\n", "the admin's Host": "Host: " + admin + "\r\n",
				"forwarded": "Host: x\r\nX-Original-URL: /clock\r\nX-Rewrite-URL: /clock\r\nX-Forwarded-Host: " + admin + "\r\nX-Forwarded-For: 127.0.0.1\r\nX-Forwarded-Prefix: /clock\r\n",
			} {
				if status := ask(public, method, path, header); status != "404" && status != "400" {
					t.Errorf("%s %s, %s: %s", method, path, name, status)
				}
				bad++
			}
			if status := ask(public, method, "http://"+admin+path, "Host: "+admin+"\r\n"); status != "404" && status != "400" {
				t.Errorf("%s http://ADMIN%s: %s", method, path, status)
			}
			bad++
		}
	}
	for _, path := range []string{"/.well-known/openid-configuration/demobank", "/oidc/demobank/jwks", "/oidc/demobank/authorize", "/api/oidc/demobank/tokens", "/static/gatehouse.css", "/"} {
		if status := ask(admin, "GET", path, "Host: gatehouse.example\r\n"); status != "404" {
			t.Errorf("%s at admin_listen: %s", path, status)
		}
		bad++
	}
	for _, address := range []string{public, admin} {
		if status := ask(address, "OPTIONS", "*", "Host: x\r\n"); status != "404" && status != "400" {
			t.Errorf("OPTIONS *: %s", status)
		}
		bad++
	}
	for address, target := range map[string]string{public: "/oidc/demobank/jwks", admin: "/clock"} {
		if status := ask(address, "GET", target, "Host: x\r\n"); status != "200" {
			t.Errorf("%s: %s", target, status)
		}
	}
	tallied(t, bad)
}
