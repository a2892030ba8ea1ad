package jose_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/binary"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"gatehouse/jose"
)

// keysHost is the name of the TPP's server in these tests.
const keysHost = "keys.tpp.example"

// TestMain makes whatever heeds the proxy of the environment fail. It is set before the first request because net/http
// reads it once.
func TestMain(m *testing.M) {
	os.Setenv("HTTPS_PROXY", "http://127.0.0.1:1")
	os.Exit(m.Run())
}

// A clock stands until it is moved.
type clock struct{ seconds atomic.Int64 }

func (c *clock) Now() time.Time         { return time.Unix(1_800_000_000+c.seconds.Load(), 0) }
func (c *clock) Move(d time.Duration)   { c.seconds.Add(int64(d / time.Second)) }
func (c *clock) MoveTo(d time.Duration) { c.seconds.Store(int64(d / time.Second)) }

// A keyServer is a TPP's server on loopback, with a certificate for keysHost and 127.0.0.1.
type keyServer struct {
	*httptest.Server
	url     string // of its key set
	address netip.AddrPort
	asked   atomic.Int64 // requests so far
	mu      sync.Mutex
	handler http.HandlerFunc
}

// answer says how requests are answered from now on.
func (s *keyServer) answer(h http.HandlerFunc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.handler = h
}

func (s *keyServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.asked.Add(1)
	s.mu.Lock()
	h := s.handler
	s.mu.Unlock()
	h(w, r)
}

func (s *keyServer) wantAsked(t *testing.T, want int64) {
	t.Helper()
	if got := s.asked.Load(); got != want {
		t.Errorf("asked %d times, want %d", got, want)
	}
}

// serveKeys starts a keyServer that answers with the keys of kids. Each change has its own way with TLS.
func serveKeys(t *testing.T, ca *authority, changes ...func(*tls.Config)) *keyServer {
	s := &keyServer{handler: keySet(t, "a")}
	s.Server = httptest.NewUnstartedServer(s)
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.TLS = &tls.Config{Certificates: []tls.Certificate{ca.issue(t, nil)}}
	for _, change := range changes {
		change(s.TLS)
	}
	s.StartTLS()
	t.Cleanup(s.Close)
	s.address = netip.MustParseAddrPort(s.Listener.Addr().String())
	s.url = fmt.Sprintf("https://%s:%d/jwks", keysHost, s.address.Port())
	return s
}

// keySet answers with a set of keys with these kids.
func keySet(t *testing.T, kids ...string) http.HandlerFunc {
	var members []member
	for _, kid := range kids {
		members = append(members, goodMember(kid))
	}
	data := jwks(t, members...)
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/jwk-set+json")
		w.Write(data)
	}
}

// A fetchWorld is a Fetcher with what it needs: a clock, a name server, and servers it may ask.
type fetchWorld struct {
	*jose.Fetcher
	clock *clock
	ca    *authority
	names *nameServer
	opens sync.Map // netip.AddrPort: what Allow opens
}

// newFetchWorld makes a Fetcher that no test leaves a goroutine of.
func newFetchWorld(t *testing.T) *fetchWorld {
	t.Helper()
	before := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, before) })
	w := &fetchWorld{clock: new(clock), names: &nameServer{answers: map[string][]string{keysHost: {"127.0.0.1"}}}}
	w.ca = newAuthority(t, w.clock.Now())
	roots := x509.NewCertPool()
	roots.AddCert(w.ca.certificate)
	w.Fetcher = &jose.Fetcher{Now: w.clock.Now, RootCAs: roots, Timeout: time.Minute, Allow: func(a netip.AddrPort) bool {
		_, open := w.opens.Load(a)
		return open
	}}
	w.Resolver = w.names.resolver()
	t.Cleanup(w.Close)
	return w
}

// serve starts a server that the Fetcher may ask.
func (w *fetchWorld) serve(t *testing.T, changes ...func(*tls.Config)) *keyServer {
	s := serveKeys(t, w.ca, changes...)
	w.opens.Store(s.address, true)
	return s
}

// A nameServer answers for the names it knows; others do not exist. An answer is an IPv4 or IPv6 address.
type nameServer struct {
	mu      sync.Mutex
	answers map[string][]string
	asked   int
}

func (n *nameServer) set(name string, addresses ...string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.answers[name] = addresses
}

func (n *nameServer) resolver() *net.Resolver {
	return &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		ours, theirs := net.Pipe()
		go func() {
			defer ours.Close()
			length := make([]byte, 2) // RFC 1035 §4.2.2: a stream of messages with their lengths
			if _, err := io.ReadFull(ours, length); err != nil {
				return
			}
			query := make([]byte, binary.BigEndian.Uint16(length))
			if _, err := io.ReadFull(ours, query); err != nil {
				return
			}
			reply := n.reply(query)
			ours.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(reply))), reply...))
		}()
		return theirs, nil
	}}
}

// reply answers one question (RFC 1035 §4.1).
func (n *nameServer) reply(query []byte) []byte {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.asked++
	var labels []string
	end := 12
	for query[end] != 0 {
		labels = append(labels, string(query[end+1:end+1+int(query[end])]))
		end += 1 + int(query[end])
	}
	kind := binary.BigEndian.Uint16(query[end+1:])
	addresses, known := n.answers[strings.Join(labels, ".")]
	reply := append([]byte{query[0], query[1], 0x81, 0x80, 0, 1, 0, 0, 0, 0, 0, 0}, query[12:end+5]...)
	if !known {
		reply[3] |= 3 // no such name
	}
	for _, text := range addresses {
		address := netip.MustParseAddr(text)
		if address.Is4() != (kind == 1) {
			continue
		}
		reply[7]++
		reply = append(reply, 0xc0, 12, 0, byte(kind), 0, 1, 0, 0, 0, 0, 0, byte(address.BitLen()/8))
		reply = append(reply, address.AsSlice()...)
	}
	return reply
}

// An authority issues the certificates of the servers.
type authority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
	now         time.Time
}

func newAuthority(t *testing.T, now time.Time) *authority {
	t.Helper()
	a := &authority{now: now}
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: "test"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	issued := a.issue(t, func(c *x509.Certificate) { *c = *template })
	a.certificate, a.key = issued.Leaf, issued.PrivateKey.(*ecdsa.PrivateKey)
	return a
}

// issue makes a certificate for keysHost and 127.0.0.1, valid for two days, unless change says otherwise.
func (a *authority) issue(t *testing.T, change func(*x509.Certificate)) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{DNSNames: []string{keysHost, "other.tpp.example"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	if change != nil {
		change(template)
	}
	template.SerialNumber = big.NewInt(1)
	if template.NotAfter.IsZero() {
		template.NotBefore, template.NotAfter = a.now.Add(-time.Hour), a.now.Add(48*time.Hour)
	}
	parent, signer := a.certificate, a.key
	if parent == nil {
		parent, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

// A trap is a port on loopback that nobody may connect to.
type trap struct{ net.Listener }

func newTrap(t *testing.T) trap {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return trap{l}
}

func (l trap) addrPort() netip.AddrPort { return netip.MustParseAddrPort(l.Addr().String()) }
func (l trap) port() uint16             { return l.addrPort().Port() }

// sprung reports whether somebody connected. Connections are accepted in their order, so that the first one is our own
// when nobody did.
func (l trap) sprung(t *testing.T) bool {
	t.Helper()
	own, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer own.Close()
	others := false
	for {
		first, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		first.Close()
		if first.RemoteAddr().String() == own.LocalAddr().String() {
			return others
		}
		others = true
	}
}
