package oidc_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"maps"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gatehouse"
	"gatehouse/jose"
)

const keystoreHost = "keystore.example"

// A keystore is a server on loopback where TPPs publish their keys, by TLS. Its
// name server says that every name is there.
type keystore struct {
	*httptest.Server
	t       testing.TB
	address netip.AddrPort
	roots   *x509.CertPool
	lookups atomic.Int64

	mu      sync.Mutex
	answers map[string]http.HandlerFunc // by path
	asked   map[string]int
}

// keystore makes a world whose server reads keys by URL, and from nowhere but
// the keystore.
func (w *world) keystore() *keystore {
	w.t.Helper()
	k := &keystore{t: w.t, roots: x509.NewCertPool(), answers: map[string]http.HandlerFunc{}, asked: map[string]int{}}
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(w.t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: w.clock.Now().Add(-time.Hour), NotAfter: w.clock.Now().AddDate(0, 1, 0),
		DNSNames: []string{keystoreHost, "*.tpp.example"}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	must(w.t, err)
	leaf, err := x509.ParseCertificate(der)
	must(w.t, err)
	k.roots.AddCert(leaf)
	k.Server = httptest.NewUnstartedServer(k)
	k.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: private, Leaf: leaf}}}
	k.Config.ErrorLog = log.New(io.Discard, "", 0)
	k.StartTLS()
	w.t.Cleanup(k.Close)
	k.address = netip.MustParseAddrPort(k.Listener.Addr().String())
	w.fetcher = k.fetcher(w)
	w.site = w.replica(w.store)
	return k
}

// fetcher makes one that has read nothing yet.
func (k *keystore) fetcher(w *world) *jose.Fetcher {
	f := &jose.Fetcher{
		Now: w.clock.Now, RootCAs: k.roots, Resolver: k.names(),
		Allow: func(address netip.AddrPort) bool { return address == k.address },
	}
	w.t.Cleanup(f.Close)
	return f
}

// names answers each question for a name (RFC 1035 §4.1) with 127.0.0.1, over
// a stream, where messages have their length in front (§4.2.2).
func (k *keystore) names() *net.Resolver {
	return &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		k.lookups.Add(1)
		ours, theirs := net.Pipe()
		go func() {
			defer ours.Close()
			length := make([]byte, 2)
			if _, err := io.ReadFull(ours, length); err != nil {
				return
			}
			query := make([]byte, binary.BigEndian.Uint16(length))
			if _, err := io.ReadFull(ours, query); err != nil {
				return
			}
			end := 12 + bytes.IndexByte(query[12:], 0) + 5 // after name, type and class
			reply := append([]byte{query[0], query[1], 0x81, 0x80, 0, 1, 0, 0, 0, 0, 0, 0}, query[12:end]...)
			if query[end-3] == 1 { // type A
				reply[7] = 1
				reply = append(reply, 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4, 127, 0, 0, 1)
			}
			ours.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(reply))), reply...))
		}()
		return theirs, nil
	}}
}

func (k *keystore) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	k.mu.Lock()
	k.asked[r.URL.Path]++
	answer := k.answers[r.URL.Path]
	k.mu.Unlock()
	if answer == nil {
		answer = http.NotFound
	}
	answer(w, r)
}

// answer says how a path answers from now on.
func (k *keystore) answer(path string, h http.HandlerFunc) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.answers[path] = h
}

// publish puts keys at a path.
func (k *keystore) publish(path string, keys ...*jose.PrivateKey) {
	k.answer(path, sending(string(k.set(keys...))))
}

func (k *keystore) set(keys ...*jose.PrivateKey) json.RawMessage {
	var public []*jose.PublicKey
	for _, private := range keys {
		p := *private.Public()
		p.Alg = "" // either
		public = append(public, &p)
	}
	return jwks(k.t, public...)
}

func sending(body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/jwk-set+json")
		io.WriteString(w, body)
	}
}

// requests returns how often a path was asked for.
func (k *keystore) requests(path string) int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.asked[path]
}

func (k *keystore) url(path string) string {
	return fmt.Sprintf("https://%s:%d%s", keystoreHost, k.address.Port(), path)
}

// named is the owner's key under another kid.
func named(t testing.TB, owner, kid string) *jose.PrivateKey {
	t.Helper()
	private, err := jose.ParsePrivateKeyPEM(key(t, owner, jose.PS256).PEM(), jose.PS256, kid)
	must(t, err)
	return private
}

// pointing are the changes of a statement whose keys are at a URL.
func pointing(url string) claims {
	return claims{"software_jwks": nil, "software_jwks_endpoint": url}
}

// registeredAt registers the owner's client with keys at a URL, one of which
// is clientKey, and returns its id.
func (w *world) registeredAt(owner, url string) string {
	w.t.Helper()
	a := w.register(owner, w.statement(sandboxDirectory, owner, pointing(url)), nil)
	expect(w.t, a, 201, "")
	if a.text("jwks_uri") != url || a.JSON["jwks"] != nil {
		w.t.Fatalf("registered with other keys: %v", a)
	}
	return a.text("client_id")
}

// tokenBy asks for a token by client_credentials; the key signs for the client.
func (w *world) tokenBy(provider, client string, by *jose.PrivateKey) *answer {
	w.t.Helper()
	return w.tokenByAt(w.site, provider, client, by)
}

func (w *world) tokenByAt(site *httptest.Server, provider, client string, by *jose.PrivateKey) *answer {
	w.t.Helper()
	assertion, err := by.Sign("JWT", w.assertionClaims(provider, client))
	must(w.t, err)
	f := clientCredentials.with(form{"client_assertion_type": assertionType, "client_assertion": assertion})
	return w.doAt(site, "POST", "/api/oidc/"+provider+"/tokens", formHeader, f.encode())
}

// askBy makes an authorization request by an object that the key signs.
func (w *world) askBy(door, client string, by *jose.PrivateKey) *outcome {
	w.t.Helper()
	object, err := by.Sign("oauth-authz-req+jwt", w.requestClaims(doors[door], client))
	must(w.t, err)
	q := query(client)
	return w.ask(door, q.with(form{"request": object}))
}

// settle waits for the fetch of a URL that runs.
func (w *world) settle(url string) {
	w.t.Helper()
	w.fetcher.KeysFor(context.Background(), url, "nobody's")
}

// Proves: C17 (unknown kids)
func TestUnknownKidsFetchOnceAMinute(t *testing.T) {
	w := sqliteWorld(t)
	store := w.keystore()
	own := clientKey(t, "uri-tpp", jose.PS256)
	store.publish("/shared", own)
	clients := []string{w.registeredAt("uri-tpp", store.url("/shared")), w.registeredAt("uri-tpp", store.url("/shared"))}
	tries := 0
	try := func(want int) {
		t.Helper()
		for range 6 {
			for _, client := range clients {
				tries++
				unknown := named(t, "stranger", fmt.Sprint("kid-", tries))
				expect(t, w.tokenBy("alpha", client, unknown), 400, "invalid_client")
				expect(t, w.tokenBy("gamma", client, unknown), 401, "invalid_client")
				if o := w.askBy("alpha", client, unknown); !o.tells("invalid_request_object") {
					t.Error(o)
				}
				expect(t, w.tokenBy("alpha", client, own), 200, "")
			}
		}
		if got := store.requests("/shared"); got != want {
			t.Fatalf("%d fetches after %d unknown kids, want %d", got, tries, want)
		}
	}
	if got := store.requests("/shared"); got != 1 {
		t.Fatalf("two registrations made %d fetches", got)
	}
	try(2)
	w.clock.advance(59 * time.Second)
	try(2)
	w.clock.advance(time.Second)
	try(3)
	w.clock.advance(59 * time.Second)
	try(3)
}

// Proves: C17 (same kid)
func TestSameKidNeverCrosses(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	store := w.keystore()
	owners := []string{"uri-a", "uri-b", "value-a", "value-b"}
	ids := map[string]string{}
	for _, owner := range owners {
		// The key of the registration, and one whose kid all of them have.
		both := []*jose.PrivateKey{clientKey(t, owner, jose.PS256), named(t, owner, "1")}
		changes := claims{"software_jwks": store.set(both...)}
		if strings.HasPrefix(owner, "uri") {
			store.publish("/"+owner, both...)
			changes = pointing(store.url("/" + owner))
		}
		a := w.register(owner, w.statement(sandboxDirectory, owner, changes), nil)
		expect(t, a, 201, "")
		ids[owner] = a.text("client_id")
	}
	for _, client := range owners {
		for _, signer := range owners {
			for provider, refusal := range map[string]int{"alpha": 400, "gamma": 401} {
				a := w.tokenBy(provider, ids[client], named(t, signer, "1"))
				o := w.askBy(provider, ids[client], named(t, signer, "1"))
				if client == signer {
					expect(t, a, 200, "")
					if o.begun() == "" {
						t.Errorf("%s at %s: %v", client, provider, o)
					}
					continue
				}
				expect(t, a, refusal, "invalid_client")
				if !o.tells("invalid_request_object") {
					t.Errorf("%s signed for %s at %s: %v", signer, client, provider, o)
				}
			}
		}
	}
}

// Proves: C18
func TestColdCacheFetchesOnce(t *testing.T) {
	const n = 200
	w := sqliteWorld(t)
	store := w.keystore()
	own := clientKey(t, "cold", jose.PS256)
	w.addClient(gatehouse.Client{ID: "cold", JWKSURI: store.url("/cold")})
	// The keystore answers when all have asked.
	var sent sync.WaitGroup
	sent.Add(n)
	keys := sending(string(store.set(own)))
	store.answer("/cold", func(rw http.ResponseWriter, r *http.Request) {
		sent.Wait()
		keys(rw, r)
	})
	requests := make([]*http.Request, n)
	for i := range requests {
		assertion, err := own.Sign("JWT", w.assertionClaims("alpha", "cold"))
		must(t, err)
		f := clientCredentials.with(form{"client_assertion_type": assertionType, "client_assertion": assertion})
		trace := httptrace.WithClientTrace(context.Background(), &httptrace.ClientTrace{WroteRequest: func(httptrace.WroteRequestInfo) { sent.Done() }})
		requests[i], err = http.NewRequestWithContext(trace, "POST", w.site.URL+"/api/oidc/alpha/tokens", strings.NewReader(f.encode()))
		must(t, err)
		requests[i].Header = maps.Clone(formHeader)
	}
	transport := &http.Transport{DisableKeepAlives: true} // else a request could be sent twice
	statuses := map[int]int{}
	var mu sync.Mutex
	w.atOnce(n, func(i int) *answer {
		response, err := transport.RoundTrip(requests[i])
		if err != nil {
			t.Error(err)
			return nil
		}
		response.Body.Close()
		mu.Lock()
		defer mu.Unlock()
		statuses[response.StatusCode]++
		return nil
	})
	if statuses[200] != n {
		t.Errorf("statuses: %v", statuses)
	}
	if got := store.requests("/cold"); got != 1 {
		t.Errorf("%d fetches", got)
	}
}

// Proves: C20
func TestKeySourceIsDown(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]http.HandlerFunc{
		"500 with the keys": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(500)
			w.Write(clientJWKS(t, "down"))
		},
		"no key set":           sending(`<html>`),
		"a set with a bad key": sending(`{"keys":[{"kty":"RSA","kid":"down-key","n":"AQAB","e":"AQAB"}]}`),
		"an empty set":         sending(``),
		"too large":            sending(`{"keys":[]}` + strings.Repeat(" ", 300<<10)),
		"hangs up":             func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		"hangs up half-way": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "1000")
			w.Write([]byte(`{"keys":[`))
		},
		"not JSON by its type": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			w.Write(clientJWKS(t, "down"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := sqliteWorld(t)
			store := w.keystore()
			own := clientKey(t, "down", jose.PS256)
			store.publish("/keys", own)
			url := store.url("/keys")
			started := w.clock.Now()
			id := w.registeredAt("down", url)
			store.answer("/keys", answer)

			// A replica that has read the keys uses them for a day.
			for _, age := range []time.Duration{0, 6 * time.Minute, 12 * time.Hour, 24*time.Hour - time.Second} {
				w.clock.advance(age - w.clock.Now().Sub(started))
				expect(t, w.tokenBy("alpha", id, own), 200, "")
				w.settle(url)
			}
			if got := store.requests("/keys"); got < 4 {
				t.Errorf("the keystore was asked %d times", got)
			}
			w.clock.advance(time.Second)
			expect(t, w.tokenBy("alpha", id, own), 400, "invalid_client")

			// One that has not refuses the client, asks once a minute, and
			// serves everybody else.
			w.fetcher = store.fetcher(w)
			cold := w.replica(w.store)
			before := store.requests("/keys")
			for range 3 {
				expect(t, w.tokenByAt(cold, "alpha", id, own), 400, "invalid_client")
				expect(t, w.tokenByAt(cold, "gamma", id, own), 401, "invalid_client")
				expect(t, w.tokenAt(cold, "alpha", tppA, clientCredentials), 200, "")
			}
			if got := store.requests("/keys") - before; got != 1 {
				t.Errorf("a cold replica asked %d times", got)
			}
			store.publish("/keys", own)
			w.clock.advance(59 * time.Second)
			expect(t, w.tokenByAt(cold, "alpha", id, own), 400, "invalid_client")
			w.clock.advance(time.Second)
			expect(t, w.tokenByAt(cold, "alpha", id, own), 200, "")
			expect(t, w.tokenBy("alpha", id, own), 200, "")
		})
	}
}

// Proves: C20 (slow)
func TestSlowKeySourceDelaysNobodyElse(t *testing.T) {
	w := sqliteWorld(t)
	store := w.keystore()
	w.fetcher.Timeout = time.Second
	store.publish("/quick", clientKey(t, "quick", jose.PS256))
	w.addClient(gatehouse.Client{ID: "slow", JWKSURI: store.url("/slow")})
	w.addClient(gatehouse.Client{ID: "quick", JWKSURI: store.url("/quick")})
	arrived, over := make(chan struct{}), make(chan struct{})
	t.Cleanup(func() { close(over) })
	store.answer("/slow", func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Content-Type", "application/json")
		io.WriteString(rw, `{"keys":[`)
		rw.(http.Flusher).Flush()
		close(arrived)
		<-over
	})
	began := time.Now()
	refused := make(chan *answer)
	go func() { refused <- w.tokenBy("alpha", "slow", clientKey(t, "slow", jose.PS256)) }()
	select {
	case <-arrived:
	case a := <-refused:
		t.Fatalf("the slow keystore was not asked: %v", a)
	}
	for range 5 {
		expect(t, w.tokenBy("alpha", "quick", clientKey(t, "quick", jose.PS256)), 200, "")
		expect(t, w.token("alpha", tppA, clientCredentials), 200, "")
	}
	select {
	case a := <-refused:
		t.Errorf("the slow keystore was not waited for: %v", a)
	default:
	}
	expect(t, <-refused, 400, "invalid_client")
	if took := time.Since(began); took > 6*time.Second {
		t.Errorf("refused after %v", took)
	}
}

func TestKeysRotateAtTheirURL(t *testing.T) {
	w := sqliteWorld(t)
	store := w.keystore()
	url := store.url("/rotating")
	old, fresh := clientKey(t, "rotating", jose.PS256), named(t, "rotated", "rotated-key")
	store.publish("/rotating", old)
	id := w.registeredAt("rotating", url)
	expect(t, w.tokenBy("alpha", id, fresh), 400, "invalid_client") // which uses up this minute's early fetch

	store.publish("/rotating", old, fresh)
	expect(t, w.tokenBy("alpha", id, fresh), 400, "invalid_client")
	w.clock.advance(time.Minute)
	expect(t, w.tokenBy("alpha", id, fresh), 200, "")
	if o := w.askBy("alpha", id, fresh); o.begun() == "" {
		t.Error(o)
	}
	expect(t, w.tokenBy("alpha", id, old), 200, "")

	// A key that was taken away goes when the set is read again: after five
	// minutes, for which nobody is kept waiting.
	asked := make(chan struct{}, 1)
	rest := sending(string(store.set(fresh)))
	store.answer("/rotating", func(rw http.ResponseWriter, r *http.Request) {
		rest(rw, r)
		asked <- struct{}{}
	})
	w.clock.advance(5*time.Minute - time.Second)
	expect(t, w.tokenBy("alpha", id, old), 200, "")
	w.clock.advance(time.Second)
	expect(t, w.tokenBy("alpha", id, old), 200, "")
	select {
	case <-asked:
	case <-time.After(10 * time.Second):
		t.Fatal("the set was not read again")
	}
	w.settle(url)
	expect(t, w.tokenBy("alpha", id, old), 400, "invalid_client")
	if o := w.askBy("alpha", id, old); !o.tells("invalid_request_object") {
		t.Error(o)
	}
	expect(t, w.tokenBy("alpha", id, fresh), 200, "")
}

// Proves: D10
func TestKeysURLRules(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	store := w.keystore()
	store.publish("/keys", clientKey(t, "uri-tpp", jose.PS256))
	store.publish("/stranger", clientKey(t, "stranger", jose.PS256))
	port := fmt.Sprint(":", store.address.Port())
	good := store.url("/keys")
	tried := 0
	for _, c := range []struct {
		name, directory, url string
		code                 string // of the error; "" registers
		says                 string
	}{
		{"as it should be", sandboxDirectory, good, "", ""},
		{"a host that the directory allows", liveDirectory, good, "", ""},
		{"its name in capitals", liveDirectory, strings.Replace(good, keystoreHost, "KEYSTORE.example", 1), "", ""},
		{"any host where the directory names none", sandboxDirectory, "https://keys.tpp.example" + port + "/keys", "", ""},
		{"a query", sandboxDirectory, good + "?client=1", "", ""},

		{"a host that the directory does not allow", liveDirectory, "https://keys.tpp.example" + port + "/keys", "invalid_software_statement", "host that the directory may not use"},
		{"a host below one that it allows", liveDirectory, "https://a.keystore.example" + port + "/keys", "invalid_software_statement", "host that the directory may not use"},
		{"a host that ends like one", liveDirectory, "https://notkeystore.example" + port + "/keys", "invalid_software_statement", "host that the directory may not use"},
		{"an allowed host as user name", liveDirectory, "https://keystore.example@keys.tpp.example" + port + "/keys", "invalid_software_statement", "jwks_uri must not have a user name"},
		{"http", sandboxDirectory, strings.Replace(good, "https", "http", 1), "invalid_software_statement", "jwks_uri must be https"},
		{"a user name", sandboxDirectory, strings.Replace(good, "//", "//me@", 1), "invalid_software_statement", "jwks_uri must not have a user name"},
		{"a fragment", sandboxDirectory, good + "#keys", "invalid_software_statement", "jwks_uri must not have a fragment"},
		{"an empty fragment", sandboxDirectory, good + "#", "invalid_software_statement", "jwks_uri must not have a fragment"},
		{"port 22", sandboxDirectory, "https://keystore.example:22/keys", "invalid_software_statement", "jwks_uri must have port"},
		{"the address itself", sandboxDirectory, "https://" + store.address.String() + "/keys", "invalid_software_statement", "jwks_uri does not name a public host"},
		{"a name without a dot", sandboxDirectory, "https://keystore" + port + "/keys", "invalid_software_statement", "jwks_uri does not name a public host"},
		{"too long", sandboxDirectory, good + "?" + strings.Repeat("a", 2048), "invalid_software_statement", "jwks_uri is longer than"},
		{"no URL", sandboxDirectory, "https://keystore.example /keys", "invalid_software_statement", "jwks_uri is not a URL"},
		{"empty", sandboxDirectory, "", "invalid_software_statement", "software_jwks_endpoint is empty"},

		{"nothing there", sandboxDirectory, store.url("/nothing"), "invalid_software_statement", "keys could not be read"},
		{"a host of no certificate", sandboxDirectory, "https://other.example" + port + "/keys", "invalid_software_statement", "keys could not be read"},
		{"somebody else's keys", sandboxDirectory, store.url("/stranger"), "invalid_client_metadata", "the registration request"},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := w.register("uri-tpp", w.statement(c.directory, "uri-tpp", pointing(c.url)), nil)
			if c.code != "" {
				tried++
				expect(t, a, 400, c.code)
				if !strings.Contains(a.text("error_description"), c.says) {
					t.Errorf("%v does not say %q", a, c.says)
				}
				return
			}
			expect(t, a, 201, "")
			if a.text("jwks_uri") != c.url {
				t.Errorf("registered with %q", a.text("jwks_uri"))
			}
			expect(t, w.tokenBy("alpha", a.text("client_id"), clientKey(t, "uri-tpp", jose.PS256)), 200, "")
			// A statement may use the name of RFC 7591 §2.
			standard := w.register("uri-tpp", w.statement(c.directory, "uri-tpp", claims{"software_jwks": nil, "jwks_uri": c.url}), nil)
			expect(t, standard, 201, "")
			// The member of the request may only repeat the statement.
			same := w.register("uri-tpp", w.statement(c.directory, "uri-tpp", pointing(c.url)), claims{"jwks_uri": c.url})
			expect(t, same, 201, "")
			other := w.register("uri-tpp", w.statement(c.directory, "uri-tpp", pointing(c.url)), claims{"jwks_uri": c.url + "2"})
			expect(t, other, 400, "invalid_client_metadata")
			w.clock.advance(time.Minute) // for the rate limit
		})
	}
	t.Attr("bad_inputs", strconv.Itoa(tried))
}

// Proves: N1
func TestKeysURLReachesNobodyInside(t *testing.T) {
	w := sqliteWorld(t)
	store := w.keystore()
	w.changeProvider("alpha", func(p *gatehouse.Provider) { p.Rules.OpenRegistration = true })
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
	var file struct {
		Description  string
		Fields       []string
		NeverFetched []string `json:"never_fetched_fields"`
		URLs         []struct{ URL, Expect string }
		Behaviours   []any
	}
	readCases(t, "../../jose/testdata/ssrf_cases.json", &file)
	if len(file.URLs) != 22 {
		t.Fatalf("%d cases", len(file.URLs))
	}
	var urls []string
	for _, c := range file.URLs {
		urls = append(urls, c.URL)
	}
	_, port, err := net.SplitHostPort(trap.Addr().String())
	must(t, err)
	for _, host := range []string{"127.0.0.1", "localhost", "localhost.", "a.localhost", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0", "127.1", "0x7f.0.0.1", "2130706433", "127.0.0.1.nip.example@127.0.0.1"} {
		urls = append(urls, "https://"+host+":"+port+"/")
	}
	tried := 0
	attempt := func(url, lookedUp string) {
		t.Helper()
		w.clock.advance(time.Minute) // for the rate limit
		for _, name := range []string{"software_jwks_endpoint", "jwks_uri"} {
			statement := w.statement(sandboxDirectory, "uri-tpp", claims{"software_jwks": nil, name: url})
			expect(t, w.register("uri-tpp", statement, nil), 400, "invalid_software_statement")
			tried++
		}
		if lookedUp != "" {
			return
		}
		body, err := json.Marshal(claims{"software_statement": w.statement(sandboxDirectory, "uri-tpp", pointing(url)), "token_endpoint_auth_method": "private_key_jwt"})
		must(t, err)
		expect(t, w.do("POST", registerPath, jsonBody, string(body)), 400, "invalid_software_statement")
		body, err = json.Marshal(claims{"provider_code": "alpha", "client_name": "x", "redirect_uris": []string{callback}, "jwks_uri": url, "token_endpoint_auth_method": "private_key_jwt"})
		must(t, err)
		expect(t, w.do("POST", registerPath, jsonBody, string(body)), 400, "invalid_client_metadata")
		tried += 2
	}
	for _, url := range urls {
		attempt(url, "")
	}
	if n := store.lookups.Load(); n > 0 {
		t.Errorf("%d names were looked up", n)
	}
	// A name that leads inside is refused at the moment of dialling, at
	// registration and whenever it is used.
	rebound := "https://rebound.tpp.example:" + port + "/"
	attempt(rebound, "in vain")
	w.addClient(gatehouse.Client{ID: "rebound", JWKSURI: rebound})
	expect(t, w.tokenBy("alpha", "rebound", clientKey(t, "rebound", jose.PS256)), 400, "invalid_client")
	if store.lookups.Load() == 0 {
		t.Error("the name was not looked up")
	}
	own, err := net.Dial("tcp", trap.Addr().String())
	must(t, err)
	defer own.Close()
	// Connections are accepted in their order: ours is the first.
	if visitor := <-visitors; visitor != own.LocalAddr().String() {
		t.Error("somebody connected to the trap")
	}
	t.Attr("bad_inputs", strconv.Itoa(tried))
}

// Proves: N1 (redirects)
func TestKeysURLIsNotRedirected(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	store := w.keystore()
	w.addClient(gatehouse.Client{ID: "moved", JWKSURI: store.url("/here")})
	store.publish("/there", clientKey(t, "moved", jose.PS256))
	for _, status := range []int{301, 302, 303, 307, 308} {
		store.answer("/here", func(rw http.ResponseWriter, r *http.Request) { http.Redirect(rw, r, store.url("/there"), status) })
		statement := w.statement(sandboxDirectory, "moved", pointing(store.url("/here")))
		expect(t, w.register("moved", statement, nil), 400, "invalid_software_statement")
		expect(t, w.tokenBy("alpha", "moved", clientKey(t, "moved", jose.PS256)), 400, "invalid_client")
		w.clock.advance(time.Minute)
	}
	if here, there := store.requests("/here"), store.requests("/there"); here != 5 || there != 0 {
		t.Errorf("%d requests, of which %d were followed", here, there)
	}
}

var jsonBody = http.Header{"Content-Type": {"application/json"}}

// Proves: D12
func TestJWKPolicyAtRegistration(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	store := w.keystore()
	var file struct {
		Description string
		Policy      any
		Keys        []struct {
			ID, Expect, Why, Source string
			JWK                     map[string]any
		}
	}
	readCases(t, "../../jose/testdata/jwk_policy_cases.json", &file)
	if len(file.Keys) != 25 {
		t.Fatalf("%d cases", len(file.Keys))
	}
	tried := 0
	for i, c := range file.Keys {
		t.Run(c.ID, func(t *testing.T) {
			if bits, ok := c.JWK["n_bits"].(float64); ok { // no modulus in the file
				n := make([]byte, int(bits)/8)
				rand.Read(n)
				n[0] |= 0x80
				n[len(n)-1] |= 1
				c.JWK["n"] = b64(n)
			}
			w.clock.advance(time.Minute) // for the rate limit
			own := clientKey(t, "policy", jose.PS256)
			alone := map[string]any{"keys": []any{c.JWK}}
			beside := map[string]any{"keys": []any{c.JWK, json.RawMessage(mustJSON(t, own.Public()))}}
			// By value, not signed: the key of the case has no private half here.
			body := mustJSON(t, claims{"software_statement": w.statement(sandboxDirectory, "policy", claims{"software_jwks": alone}), "token_endpoint_auth_method": "private_key_jwt"})
			a := w.do("POST", registerPath, jsonBody, string(body))
			// By value and by URL, beside a good key that signs.
			signed := w.register("policy", w.statement(sandboxDirectory, "policy", claims{"software_jwks": beside}), nil)
			path := fmt.Sprint("/policy-", i)
			store.answer(path, sending(string(mustJSON(t, beside))))
			byURL := w.register("policy", w.statement(sandboxDirectory, "policy", pointing(store.url(path))), nil)
			w.addClient(gatehouse.Client{ID: fmt.Sprint("policy-", i), JWKSURI: store.url(path)})
			used := w.tokenBy("alpha", fmt.Sprint("policy-", i), own)
			switch c.Expect {
			case "accept":
				expect(t, a, 201, "")
				expect(t, signed, 201, "")
				expect(t, byURL, 201, "")
				expect(t, used, 200, "")
			case "reject":
				tried += 4
				expect(t, a, 400, "invalid_software_statement")
				expect(t, signed, 400, "invalid_software_statement")
				expect(t, byURL, 400, "invalid_software_statement")
				expect(t, used, 400, "invalid_client")
			default:
				t.Errorf("expect is %q", c.Expect)
			}
		})
	}
	t.Attr("bad_inputs", strconv.Itoa(tried))
}

func mustJSON(t testing.TB, v any) []byte {
	t.Helper()
	data, err := json.Marshal(v)
	must(t, err)
	return data
}

// Keys at a URL are read at registration, also when the request itself is not
// signed by one of them.
//
// Proves: D10
func TestKeysURLIsReadAtRegistration(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	store := w.keystore()
	w.changeProvider("alpha", func(p *gatehouse.Provider) { p.Rules.OpenRegistration = true })
	unsigned := func(statement bool, url string) *answer {
		body := claims{"token_endpoint_auth_method": "private_key_jwt"}
		if statement {
			body["software_statement"] = w.statement(sandboxDirectory, "tpp", pointing(url))
		} else {
			body = body.with(claims{"provider_code": "alpha", "client_name": "App", "redirect_uris": []string{callback}, "jwks_uri": url})
		}
		return w.do("POST", registerPath, http.Header{"Content-Type": {"application/json"}}, string(mustJSON(t, body)))
	}
	store.publish("/good", clientKey(t, "tpp", jose.PS256))
	store.answer("/empty", sending(`{"keys":[]}`))
	for _, statement := range []bool{true, false} {
		for path, status := range map[string]int{"/good": 201, "/nothing": 400, "/empty": 400} {
			a := unsigned(statement, store.url(path))
			if a.StatusCode != status || status == 400 && a.text("error") != "invalid_client_metadata" {
				t.Errorf("statement %t, %s: %v", statement, path, a)
			}
		}
	}
	if store.requests("/good") == 0 || store.requests("/nothing") == 0 {
		t.Error("the keys were not asked for")
	}
}
