package jose_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"gatehouse/jose"
)

// kids of the keys, or the text of the error.
func outcome(keys []*jose.PublicKey, err error) string {
	if err != nil {
		return err.Error()
	}
	var kids []string
	for _, k := range keys {
		kids = append(kids, k.KID)
	}
	return strings.Join(kids, " ")
}

const notRead = "jwks_uri could not be read"

// cause is the part of an error for the log.
func cause(err error) string {
	if fetch := (*jose.FetchError)(nil); errors.As(err, &fetch) && fetch.Unwrap() != nil {
		return fetch.Unwrap().Error()
	}
	return ""
}

func TestFetch(t *testing.T) {
	w := newFetchWorld(t)
	s := w.serve(t)
	for range 3 {
		if got := outcome(w.Keys(t.Context(), s.url)); got != "a" {
			t.Fatal(got)
		}
	}
	s.wantAsked(t, 1)

	w.clock.Move(5*time.Minute - time.Second)
	s.answer(keySet(t, "b", "c"))
	if got := outcome(w.Keys(t.Context(), s.url)); got != "a" {
		t.Error(got)
	}
	w.clock.Move(time.Second)
	if got := outcome(w.Keys(t.Context(), s.url)); got != "a" { // nobody waits for the new ones
		t.Error(got)
	}
	w.Settle()
	if got := outcome(w.Keys(t.Context(), s.url)); got != "b c" {
		t.Error(got)
	}
	s.wantAsked(t, 2)
}

// A clock that was put back makes keys no longer fresh, and a failed source no
// longer silent.
func TestFetchAfterTheClockWasPutBack(t *testing.T) {
	w := newFetchWorld(t)
	s := w.serve(t)
	ask := func(asked int64) {
		t.Helper()
		w.Keys(t.Context(), s.url)
		w.Settle()
		s.wantAsked(t, asked)
	}
	w.clock.Move(4 * time.Hour)
	ask(1)
	w.clock.Move(-2 * time.Hour)
	s.answer(func(rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(http.StatusInternalServerError) })
	ask(2)
	ask(2) // not for a minute
	w.clock.Move(-2 * time.Hour)
	ask(3)
}

// What is sent, and what is not.
func TestFetchRequest(t *testing.T) {
	w := newFetchWorld(t)
	s := w.serve(t)
	for range 2 {
		s.answer(func(rw http.ResponseWriter, r *http.Request) {
			want := http.Header{"Accept": {"application/jwk-set+json, application/json"}, "User-Agent": {"gatehouse"}, "Connection": {"close"}}
			if diff := cmp.Diff(want, r.Header); diff != "" || r.Method != "GET" || r.RequestURI != "/jwks" || r.ProtoMajor != 1 {
				t.Errorf("%s %s %s\n%s", r.Method, r.RequestURI, r.Proto, diff)
			}
			rw.Header().Set("Set-Cookie", "c=1; Path=/")
			rw.Header().Set("Content-Type", "application/json")
			fmt.Fprint(rw, `{"keys":[]}`)
		})
		if got := outcome(w.Keys(t.Context(), s.url)); got != "" {
			t.Error(got)
		}
		w.clock.Move(time.Hour)
		w.Keys(t.Context(), s.url)
		w.Settle()
	}
}

// Proves: N1 (the URLs), D10 (the form)
func TestFetchRefusesURLs(t *testing.T) {
	data, err := os.ReadFile("testdata/ssrf_cases.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		URLs []struct{ URL string }
	}
	if err := json.Unmarshal(data, &file); err != nil {
		t.Fatal(err)
	}
	if len(file.URLs) != 22 {
		t.Fatalf("%d cases", len(file.URLs))
	}
	w := newFetchWorld(t)
	trap := newTrap(t)
	var urls []string
	for _, c := range file.URLs {
		urls = append(urls, c.URL)
	}
	for _, host := range []string{ // by whatever name, a port that somebody listens at
		"127.0.0.1", "0.0.0.0", "[::1]", "[::]", "[::ffff:127.0.0.1]", "[::127.0.0.1]", "[64:ff9b::127.0.0.1]", "[2002:7f00:1::]",
		"[::1%25lo]", "localhost", "LOCALHOST.", "a.localhost", "ip6-localhost", "127.1", "127.0.1", "127.000.000.001", "0177.0.0.1",
		"0x7f.0.0.1", "0x7f000001", "2130706433", "127.0.0.1.", "①②⑦.0.0.1", "%31%32%37.0.0.1",
	} {
		urls = append(urls, fmt.Sprintf("https://%s:%d/", host, trap.port()))
	}
	for _, url := range urls {
		if jose.ValidKeysURL(url) == nil {
			t.Errorf("%s: valid", url)
			continue // which keeps a test that fails from dialling
		}
		if _, err := w.Keys(t.Context(), url); err == nil || err.Error() == notRead {
			t.Errorf("%s: got %v", url, err)
		}
	}
	if trap.sprung(t) || w.names.asked != 0 {
		t.Errorf("something was dialled, or one of %d names looked up", w.names.asked)
	}
}

// Proves: D10 (the form)
func TestValidKeysURL(t *testing.T) {
	const notPublic, port, notURL = "jwks_uri does not name a public host", "jwks_uri must have port 443 or one from 1024 to 65535", "jwks_uri is not a URL"
	long := "https://tpp.example/" + strings.Repeat("a", 2048-len("https://tpp.example/"))
	rows := []struct{ url, want string }{
		{"https://tpp.example/jwks", ""},
		{"HTTPS://TPP.Example", ""},
		{"https://tpp.example./a%20b?c=d&e", ""},
		{"https://xn--bcher-kva.example:443/", ""},
		{"https://tpp.example:1024/", ""},
		{"https://tpp.example:65535/", ""},
		{"https://8.8.8.8/", ""},
		{"https://[2606:4700:4700::1111]:8443/", ""},
		{long, ""},

		{long + "a", "jwks_uri is longer than 2048 bytes"},
		{"", "jwks_uri must be https"},
		{"/jwks", "jwks_uri must be https"},
		{"tpp.example", "jwks_uri must be https"},
		{"http://tpp.example/", "jwks_uri must be https"},
		{"https", "jwks_uri must be https"},
		{"https:", notPublic},
		{"https:tpp.example/jwks", notPublic},
		{"https:///jwks", notPublic},
		{" https://tpp.example/", notURL},
		{"https://tpp.example/ ", notURL},
		{"https://tpp.example/\n", notURL},
		{"https://tpp.example/\\a", notURL},
		{"https://tpp.example/é", notURL},
		{"https://tpp.example/%zz", notURL},
		{"https://tpp.example\\@127.0.0.1/", notURL},
		{"https://tpp.example:a/", notURL},
		{"https://a@tpp.example/", "jwks_uri must not have a user name or password"},
		{"https://a:b@tpp.example/", "jwks_uri must not have a user name or password"},
		{"https://@tpp.example/", "jwks_uri must not have a user name or password"},
		{"https://tpp.example/#a", "jwks_uri must not have a fragment"},
		{"https://tpp.example/#", "jwks_uri must not have a fragment"},
		{"https://tpp.example:0/", port},
		{"https://tpp.example:25/", port},
		{"https://tpp.example:1023/", port},
		{"https://tpp.example:65536/", port},
		{"https://tpp.example:18446744073709551617/", port},
		{"https://tpp/", notPublic},
		{"https://tpp./", notPublic},
		{"https://.example/", notPublic},
		{"https://a..example/", notPublic},
		{"https://-a.example/", notPublic},
		{"https://a_b.example/", notPublic},
		{"https://tpp.example.localhost/", notPublic},
		{"https://" + strings.Repeat("a", 64) + ".example/", notPublic},
		{"https://" + strings.Repeat("a.", 125) + "example/", notPublic},
	}
	for _, row := range rows {
		if got := errorText(jose.ValidKeysURL(row.url)); got != row.want {
			t.Errorf("%q: got %q, want %q", row.url, got, row.want)
		}
	}
}

// The first and last addresses of what is not public, and their neighbours that are.
//
// Proves: D10 (special ranges)
func TestPublicAddresses(t *testing.T) {
	for _, row := range []struct {
		addresses string
		public    bool
	}{
		{"0.0.0.0 0.255.255.255 10.0.0.0 10.255.255.255 100.64.0.0 100.127.255.255 127.0.0.0 127.255.255.255", false},
		{"168.63.129.16 169.254.0.0 169.254.169.254 169.254.255.255 172.16.0.0 172.31.255.255 192.0.0.0 192.0.0.192", false},
		{"192.0.0.255 192.0.2.1 192.31.196.1 192.52.193.1 192.88.99.1 192.168.0.0 192.168.255.255 192.175.48.1", false},
		{"198.18.0.0 198.19.255.255 198.51.100.1 203.0.113.1 224.0.0.0 239.255.255.255 240.0.0.0 255.255.255.255", false},
		{"1.0.0.0 9.255.255.255 11.0.0.0 100.63.255.255 100.128.0.0 126.255.255.255 128.0.0.0 168.63.129.15", true},
		{"169.253.255.255 169.255.0.0 172.15.255.255 172.32.0.0 192.0.1.0 192.167.255.255 192.169.0.0", true},
		{"198.17.255.255 198.20.0.0 223.255.255.255", true},
		{":: ::1 ::ffff:0:1 ::ffff:10.0.0.1 ::ffff:169.254.169.254 ::8.8.8.8 64:ff9b::808:808 64:ff9b:1::1 100::1", false},
		{"1fff:ffff::1 2001::1 2001:1ff:ffff::1 2001:db8::1 2002:808:808::1 2620:4f:8000::1 3fff:fff::1 4000::1 5f00::1", false},
		{"fc00::1 fd00:ec2::254 fe80::1 fec0::1 ff02::1 ffff::1", false},
		{"2000::1 2001:200::1 2001:db7::1 2001:db9::1 2003::1 2a00::1 3ffe::1 3fff:1000::1 ::ffff:8.8.8.8", true},
	} {
		for address := range strings.FieldsSeq(row.addresses) {
			url := "https://" + address + "/"
			if strings.Contains(address, ":") {
				url = "https://[" + address + "]/"
			}
			if got := jose.ValidKeysURL(url) == nil; got != row.public {
				t.Errorf("%s: public %t, want %t", address, got, row.public)
			}
		}
	}
}

// The address that counts is the one dialled, not the name.
//
// Proves: N1 (the address)
func TestFetchRefusesAddresses(t *testing.T) {
	w := newFetchWorld(t)
	trap := newTrap(t)
	for i, addresses := range [][]string{
		{"127.0.0.1"}, {"0.0.0.0"}, {"::ffff:127.0.0.1"}, {"::1"}, {"::"}, {"127.0.0.1", "::ffff:127.0.0.1", "127.0.0.1"},
	} {
		name := fmt.Sprintf("%d.tpp.example", i)
		w.names.set(name, addresses...)
		_, err := w.Keys(t.Context(), fmt.Sprintf("https://%s:%d/", name, trap.port()))
		if got := outcome(nil, err); got != notRead || !strings.HasSuffix(cause(err), "jwks_uri does not name a public host") {
			t.Errorf("%v: got %s: %s", addresses, got, cause(err))
		}
	}
	if trap.sprung(t) {
		t.Error("connected")
	}

	s := w.serve(t) // open is one port of one address
	for url, want := range map[string]string{
		s.url: "a",
		strings.Replace(s.url, keysHost, "127.0.0.1", 1):           "a",
		fmt.Sprintf("https://127.0.0.1:%d/", trap.port()):          "jwks_uri does not name a public host",
		fmt.Sprintf("https://"+keysHost+":%d/", trap.port()):       notRead,
		fmt.Sprintf("https://127.0.0.2:%d/jwks", s.address.Port()): "jwks_uri does not name a public host",
	} {
		if got := outcome(w.Keys(t.Context(), url)); got != want {
			t.Errorf("%s: got %s, want %s", url, got, want)
		}
	}
	if trap.sprung(t) {
		t.Error("connected to a port that is not open")
	}
}

// Nothing of an answer is believed that is not a key set sent the plain way.
//
// Proves: N1 (the behaviours)
func TestFetchAnswers(t *testing.T) {
	w := newFetchWorld(t)
	s := w.serve(t)
	trap := newTrap(t)
	good := string(jwks(t, goodMember("a")))
	const marker = "of-the-answer"
	says := func(status int, contentType, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header()["Content-Type"] = []string{contentType}
			if contentType == "" {
				w.Header()["Content-Type"] = nil
			}
			w.WriteHeader(status)
			fmt.Fprint(w, body)
		}
	}
	redirects := func(status int, location string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Location", location)
			says(status, "application/json", good)(w, r)
		}
	}
	var squeezed bytes.Buffer
	z := gzip.NewWriter(&squeezed)
	z.Write(bytes.Repeat([]byte(" "), 10<<20))
	z.Close()
	var sent atomic.Int64
	rows := []struct {
		name    string
		handler http.HandlerFunc
		want    string
		cause   string // part of it
	}{
		{"key set", says(200, "application/jwk-set+json", good), "a", ""},
		{"JSON", says(200, "application/json; charset=utf-8", good), "a", ""},
		{"APPLICATION/JSON", says(200, "APPLICATION/JSON", good), "a", ""},
		{"no media type", says(200, "", good), "a", ""},
		{"no keys", says(200, "application/json", `{"keys":[]}`), "", ""},
		{"early hints", func(rw http.ResponseWriter, r *http.Request) {
			rw.WriteHeader(http.StatusEarlyHints)
			says(200, "application/json", good)(rw, r)
		}, "a", ""},

		{"302 to a private address", redirects(302, "http://"+trap.Addr().String()), notRead, "status 302"},
		{"307 on the same host", redirects(307, "/other"), notRead, "status 307"},
		{"301", redirects(301, s.url+"/other"), notRead, "status 301"},
		{"303", redirects(303, "/other"), notRead, "status 303"},
		{"308", redirects(308, "/other"), notRead, "status 308"},
		{"300", redirects(300, "/other"), notRead, "status 300"},
		{"201", says(201, "application/json", good), notRead, "status 201"},
		{"203", says(203, "application/json", good), notRead, "status 203"},
		{"204", says(204, "application/json", ""), notRead, "status 204"},
		{"304", says(304, "application/json", ""), notRead, "status 304"},
		{"401", says(401, "application/json", good), notRead, "status 401"},
		{"404", says(404, "application/json", good), notRead, "status 404"},
		{"500", says(500, "application/json", good), notRead, "status 500"},

		{"HTML", says(200, "text/html", good), notRead, "media type is not JSON"},
		{"text", says(200, "text/plain", good), notRead, "media type is not JSON"},
		{"one key", says(200, "application/jwk+json", good), notRead, "media type is not JSON"},
		{"bad media type", says(200, "application/json;;"+marker, good), notRead, "media type is not JSON"},

		{"garbage", says(200, "application/json", marker), "jwks_uri: not JSON", ""},
		{"empty", says(200, "application/json", ""), "jwks_uri: not JSON", ""},
		{"garbage members", says(200, "application/json", `{"keys":{"`+marker+`":"`+marker+`"}}`), "jwks_uri: keys has the wrong type or form", ""},
		{"bad key", says(200, "application/json", string(jwks(t, member{"kty": "RSA", "n": marker, "e": marker}))), "jwks_uri: keys[0]: RSA exponent is not 65537", ""},
		{"private key", says(200, "application/json", string(jwks(t, member{"kty": "RSA", "d": marker}))), "jwks_uri: keys[0]: d does not belong in a public key", ""},

		{"long", says(200, "application/json", good+strings.Repeat(" ", 1<<20)), "jwks_uri: longer than", ""},
		{"endless", func(rw http.ResponseWriter, r *http.Request) {
			rw.Header().Set("Content-Type", "application/json")
			for r.Context().Err() == nil && sent.Load() < 1<<30 {
				n, _ := rw.Write(make([]byte, 64<<10))
				sent.Add(int64(n))
			}
		}, "jwks_uri: longer than", ""},
		{"gzip", func(rw http.ResponseWriter, r *http.Request) {
			rw.Header().Set("Content-Encoding", "gzip")
			says(200, "application/json", squeezed.String())(rw, r)
		}, "jwks_uri: not ", ""},
		{"long header", func(rw http.ResponseWriter, r *http.Request) {
			rw.Header().Set("X-Long", strings.Repeat("a", 40<<10))
			says(200, "application/json", good)(rw, r)
		}, notRead, "exceeded"},
		{"cut off", func(rw http.ResponseWriter, r *http.Request) {
			rw.Header().Set("Content-Length", fmt.Sprint(len(good)+1))
			says(200, "application/json", good)(rw, r)
		}, notRead, "unexpected EOF"},
		{"broken off", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, notRead, "EOF"},
		{"not HTTP", func(rw http.ResponseWriter, _ *http.Request) {
			conn, _, _ := http.NewResponseController(rw).Hijack()
			fmt.Fprint(conn, marker+"\r\n\r\n")
			conn.Close()
		}, notRead, "malformed"},
	}
	for _, row := range rows {
		s.answer(row.handler)
		before := s.asked.Load()
		keys, err := w.Keys(t.Context(), s.url+"?"+fmt.Sprintf("%x", row.name))
		if got := outcome(keys, err); got != row.want && (err == nil || row.want == "" || row.want == notRead || !strings.HasPrefix(got, row.want)) {
			t.Errorf("%s: got %q, want %q (%s)", row.name, got, row.want, cause(err))
		}
		if !strings.Contains(cause(err), row.cause) {
			t.Errorf("%s: cause %q, want %q", row.name, cause(err), row.cause)
		}
		if err != nil && strings.Contains(err.Error(), marker) {
			t.Errorf("%s: the error quotes the answer: %v", row.name, err)
		}
		if n := s.asked.Load() - before; n != 1 {
			t.Errorf("%s: asked %d times", row.name, n)
		}
	}
	if sent.Load() > 100<<20 {
		t.Errorf("%d bytes of an endless answer were taken", sent.Load())
	}
	if trap.sprung(t) {
		t.Error("followed a redirect to a private address")
	}
}

// Whatever a server is slow at, the fetch is over in time.
//
// Proves: N1 (the behaviours)
func TestFetchTimeout(t *testing.T) {
	w := newFetchWorld(t)
	w.Timeout = 200 * time.Millisecond
	s := w.serve(t)
	hangs := func(rw http.ResponseWriter, r *http.Request) {
		<-r.Context().Done()
		panic(http.ErrAbortHandler) // no proper end, which the client might still read
	}
	drips := func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Content-Type", "application/json")
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for {
			fmt.Fprint(rw, " ")
			http.NewResponseController(rw).Flush()
			select {
			case <-tick.C:
			case <-r.Context().Done():
				panic(http.ErrAbortHandler)
			}
		}
	}
	silent := newTrap(t) // accepts by the kernel's hand and never says a word
	w.opens.Store(silent.addrPort(), true)
	rows := []struct {
		name, url string
		handler   http.HandlerFunc
	}{
		{"no answer", s.url + "?1", hangs},
		{"one byte at a time", s.url + "?2", drips},
		{"no handshake", fmt.Sprintf("https://%s:%d/", keysHost, silent.port()), hangs},
	}
	for _, row := range rows {
		s.answer(row.handler)
		began := time.Now()
		_, err := w.Keys(t.Context(), row.url)
		if err == nil || err.Error() != notRead || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: %v: %s", row.name, err, cause(err))
		}
		if took := time.Since(began); took < w.Timeout || took > 20*w.Timeout {
			t.Errorf("%s: took %v", row.name, took)
		}
	}

	conn, err := silent.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetReadDeadline(time.Now().Add(20 * w.Timeout))
	if _, err := io.Copy(io.Discard, conn); err != nil { // a connection closed ends without an error
		t.Errorf("no handshake: the connection is left open: %v", err)
	}
}

func TestFetchTLS(t *testing.T) {
	w := newFetchWorld(t)
	stranger := newAuthority(t, w.clock.Now())
	with := func(ca *authority, change func(*x509.Certificate)) func(*tls.Config) {
		return func(c *tls.Config) { c.Certificates = []tls.Certificate{ca.issue(t, change)} }
	}
	for _, row := range []struct {
		name   string
		change func(*tls.Config)
		cause  string
	}{
		{"1.2", func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 }, ""},
		{"1.1", func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS10, tls.VersionTLS11 }, "protocol version"},
		{"unknown authority", with(stranger, nil), "unknown authority"},
		{"another name", with(w.ca, func(c *x509.Certificate) { c.DNSNames = []string{"tpp.example"} }), "not " + keysHost},
		{"expired", with(w.ca, func(c *x509.Certificate) {
			c.NotBefore, c.NotAfter = w.clock.Now().Add(-time.Hour), w.clock.Now().Add(-time.Second)
		}), "expired"},
		{"not yet valid", with(w.ca, func(c *x509.Certificate) {
			c.NotBefore, c.NotAfter = w.clock.Now().Add(time.Minute), w.clock.Now().Add(time.Hour)
		}), "not yet valid"},
		{"not for servers", with(w.ca, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} }), "key usage"},
	} {
		s := w.serve(t, row.change)
		_, err := w.Keys(t.Context(), s.url)
		if (err == nil) != (row.cause == "") || err != nil && err.Error() != notRead || !strings.Contains(cause(err), row.cause) {
			t.Errorf("%s: got %v: %s, want %s", row.name, err, cause(err), row.cause)
		}
		if err != nil {
			s.wantAsked(t, 0)
		}
	}

	plain := newTrap(t)
	w.opens.Store(plain.addrPort(), true)
	go func() {
		if conn, err := plain.Accept(); err == nil {
			fmt.Fprint(conn, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 11\r\n\r\n{\"keys\":[]}")
			conn.Close()
		}
	}()
	if _, err := w.Keys(t.Context(), fmt.Sprintf("https://%s:%d/", keysHost, plain.port())); err == nil || !strings.Contains(cause(err), "does not look like a TLS handshake") {
		t.Errorf("http on the port: %s", cause(err))
	}
}

// Proves: C17 (fetches)
func TestUnknownKids(t *testing.T) {
	w := newFetchWorld(t)
	s, other := w.serve(t), w.serve(t)
	other.answer(keySet(t, "b"))
	for range 2 { // kids of one URL do not count at another
		if got := outcome(w.KeysFor(t.Context(), s.url, "a")) + outcome(w.KeysFor(t.Context(), other.url, "b")); got != "ab" {
			t.Fatal(got)
		}
	}
	s.wantAsked(t, 1)
	for i := range 1000 {
		if got := outcome(w.KeysFor(t.Context(), s.url, fmt.Sprint("k", i))); got != "a" {
			t.Fatal(got)
		}
	}
	s.wantAsked(t, 2)
	w.clock.Move(59 * time.Second)
	w.KeysFor(t.Context(), s.url, "b")
	s.wantAsked(t, 2)

	s.answer(keySet(t, "a", "b"))
	w.clock.Move(time.Second)
	if got := outcome(w.KeysFor(t.Context(), s.url, "b")); got != "a b" { // the one who needs it waits for it
		t.Error(got)
	}
	s.wantAsked(t, 3)
	for second := range 600 { // ten minutes, ten kids a second
		for i := range 10 {
			w.KeysFor(t.Context(), s.url, fmt.Sprint("k", second, i))
		}
		w.clock.Move(time.Second)
	}
	s.wantAsked(t, 3+9)
	other.wantAsked(t, 1)

	s.answer(func(rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(500) }) // a source that fails is not asked more often
	for i := range 600 {
		if got := outcome(w.KeysFor(t.Context(), s.url, fmt.Sprint("k", i))); got != "a b" {
			t.Fatal(got)
		}
	}
	s.wantAsked(t, 3+9+1)
}

// Proves: C18 (the fetch)
func TestFetchedOnce(t *testing.T) {
	w := newFetchWorld(t)
	s := w.serve(t)
	for round, kid := range []string{"", "a", "none"} {
		entered, release := make(chan struct{}, 200), make(chan struct{})
		s.answer(func(rw http.ResponseWriter, r *http.Request) {
			entered <- struct{}{}
			<-release
			keySet(t, "a")(rw, r)
		})
		before := s.asked.Load()
		var started, done sync.WaitGroup
		for range 200 {
			started.Add(1)
			done.Go(func() {
				started.Done()
				if got := outcome(w.KeysFor(t.Context(), fmt.Sprint(s.url, "?", round), kid)); got != "a" {
					t.Error(got)
				}
			})
		}
		<-entered
		started.Wait()
		close(release)
		done.Wait()
		n := s.asked.Load() - before
		if n != 1 && (kid != "none" || n != 2) { // whoever comes after the fetch may have it repeated for a missing kid
			t.Errorf("kid %q: asked %d times", kid, n)
		}
	}
}

// Keys outlive their source by a day, and whoever has some does not wait.
//
// Proves: C20 (kept keys)
func TestStaleKeys(t *testing.T) {
	for name, fault := range map[string]func(http.ResponseWriter, *http.Request){
		"down":    func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		"500":     func(rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(500) },
		"slow":    func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
		"garbage": func(rw http.ResponseWriter, _ *http.Request) { fmt.Fprint(rw, "<html>") },
	} {
		t.Run(name, func(t *testing.T) {
			w := newFetchWorld(t)
			w.Timeout = 100 * time.Millisecond
			var lines bytes.Buffer
			w.Log = slog.New(slog.NewTextHandler(&lines, nil))
			s := w.serve(t)
			w.Keys(t.Context(), s.url)
			s.wantAsked(t, 1)
			s.answer(fault)

			asked := int64(1)
			for _, age := range []time.Duration{5 * time.Minute, time.Hour, 24*time.Hour - time.Second} {
				w.clock.MoveTo(age)
				for range 3 {
					if got := outcome(w.KeysFor(t.Context(), s.url, "a")); got != "a" {
						t.Errorf("after %v: %s", age, got)
					}
					w.Settle()
				}
				asked++
				s.wantAsked(t, asked)
			}
			if n := strings.Count(lines.String(), "key set not read"); n != 3 {
				t.Errorf("%d lines in the log: %s", n, &lines)
			}

			w.clock.MoveTo(24 * time.Hour)
			if got := outcome(w.KeysFor(t.Context(), s.url, "a")); !strings.HasPrefix(got, "jwks_uri") {
				t.Errorf("after a day: %s", got)
			}
			w.clock.Move(time.Minute)
			s.answer(keySet(t, "b"))
			if got := outcome(w.Keys(t.Context(), s.url)); got != "b" {
				t.Errorf("when it is back: %s", got)
			}
		})
	}
}

// Nobody listens any more.
func TestSourceGone(t *testing.T) {
	w := newFetchWorld(t)
	s := w.serve(t)
	w.Keys(t.Context(), s.url)
	s.Close()
	w.clock.Move(time.Hour)
	for range 2 {
		if got := outcome(w.Keys(t.Context(), s.url)); got != "a" {
			t.Error(got)
		}
		w.Settle()
	}
	if _, err := w.Keys(t.Context(), s.url+"?"); outcome(nil, err) != notRead || !strings.Contains(cause(err), "refused") {
		t.Errorf("%v: %s", err, cause(err))
	}
}

// While one source hangs, others answer, and so do its own kept keys.
//
// Proves: C20 (other clients)
func TestSlowSource(t *testing.T) {
	w := newFetchWorld(t)
	slow, quick := w.serve(t), w.serve(t)
	w.Keys(t.Context(), slow.url)
	entered, release := make(chan struct{}, 2), make(chan struct{})
	slow.answer(func(rw http.ResponseWriter, r *http.Request) {
		entered <- struct{}{}
		<-release
		keySet(t, "b")(rw, r)
	})
	w.clock.Move(5 * time.Minute)
	if got := outcome(w.Keys(t.Context(), slow.url)); got != "a" { // begins a fetch
		t.Error(got)
	}
	<-entered
	for range 10 {
		if got := outcome(w.KeysFor(t.Context(), slow.url, "a")) + outcome(w.Keys(t.Context(), quick.url)); got != "aa" {
			t.Error(got)
		}
	}
	late := make(chan string)
	go func() { late <- outcome(w.KeysFor(t.Context(), slow.url, "b")) }() // waits for the fetch that runs
	close(release)
	if got := <-late; got != "b" {
		t.Error(got)
	}
}

// A source that failed is left alone for a minute, one that was given up by a caller is not.
func TestFailureIsRemembered(t *testing.T) {
	w := newFetchWorld(t)
	s := w.serve(t)
	s.answer(func(rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(500) })
	for range 2 {
		for range 100 {
			if got := outcome(w.Keys(t.Context(), s.url)); got != notRead {
				t.Fatal(got)
			}
		}
		w.clock.Move(59 * time.Second)
		w.Keys(t.Context(), s.url)
		w.clock.Move(time.Second)
	}
	s.wantAsked(t, 2)
	s.answer(keySet(t, "a"))
	if got := outcome(w.Keys(t.Context(), s.url)); got != "a" {
		t.Error(got)
	}

	entered, release := make(chan struct{}), make(chan struct{})
	s.answer(func(rw http.ResponseWriter, r *http.Request) {
		close(entered)
		<-release
		keySet(t, "a")(rw, r)
	})
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-entered
		cancel()
	}()
	if _, err := w.Keys(ctx, s.url+"?given-up"); outcome(nil, err) != notRead || !errors.Is(err, context.Canceled) {
		t.Errorf("%v: %s", err, cause(err))
	}
	close(release)
	if got := outcome(w.Keys(t.Context(), s.url+"?given-up")); got != "a" {
		t.Error(got)
	}
	s.wantAsked(t, 4)
}

// The number of URLs that are kept has a bound; the one not asked for longest goes.
func TestSourcesAreBounded(t *testing.T) {
	w := newFetchWorld(t)
	s := w.serve(t)
	w.Keys(t.Context(), s.url)
	w.clock.Move(time.Second)
	for i := range 4095 {
		w.Keys(t.Context(), fmt.Sprintf("https://%d.unknown.example/", i))
	}
	w.Keys(t.Context(), s.url)
	s.wantAsked(t, 1)
	w.Keys(t.Context(), "https://one.more.example/")
	w.Keys(t.Context(), s.url)
	s.wantAsked(t, 2)
}

// Close waits for what runs, and nothing begins after it.
func TestCloseFetcher(t *testing.T) {
	w := newFetchWorld(t)
	s := w.serve(t)
	w.Keys(t.Context(), s.url)
	w.clock.Move(5 * time.Minute)
	entered, release := make(chan struct{}), make(chan struct{})
	var over atomic.Bool
	s.answer(func(rw http.ResponseWriter, r *http.Request) {
		close(entered)
		<-release
		over.Store(true)
		keySet(t, "b")(rw, r)
	})
	w.Keys(t.Context(), s.url)
	<-entered
	time.AfterFunc(50*time.Millisecond, func() { close(release) })
	w.Close()
	if !over.Load() {
		t.Error("Close did not wait")
	}
	for _, url := range []string{s.url, s.url + "?new"} {
		if got := outcome(w.Keys(t.Context(), url)); got != notRead {
			t.Error(got)
		}
	}
	s.wantAsked(t, 2)
}

// Where nothing is set a fetch has five seconds, be it the name server that hangs.
//
// Proves: C20 (without keys)
func TestFetchTimeoutByDefault(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &jose.Fetcher{Now: time.Now, Resolver: &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
			ours, theirs := net.Pipe()
			go io.Copy(io.Discard, theirs)
			return ours, nil
		}}}
		began := time.Now()
		if _, err := f.Keys(t.Context(), "https://tpp.example/jwks"); err == nil {
			t.Error("no error")
		}
		if took := time.Since(began); took != 5*time.Second {
			t.Errorf("given up after %v", took)
		}
		f.Close()
		time.Sleep(time.Minute) // until the questions are given up, too
	})
}

// What panics while a server is asked ends the fetch, not the process.
func TestFetchSurvivesAPanic(t *testing.T) {
	w := newFetchWorld(t)
	s := w.serve(t)
	allow := w.Allow
	w.Allow = func(netip.AddrPort) bool { panic("hostile") } // as the connection is about to be made
	_, err := w.Keys(t.Context(), s.url)
	if got := outcome(nil, err); got != notRead || !strings.Contains(cause(err), "hostile") {
		t.Errorf("%s: %s", got, cause(err))
	}
	w.Allow = allow
	w.clock.Move(time.Minute)
	if got := outcome(w.Keys(t.Context(), s.url)); got == notRead {
		t.Error(got)
	}
}
