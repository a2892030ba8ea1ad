package eidas_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/crypto/ocsp"

	"gatehouse/eidas"
)

const (
	revoked = "certificate is revoked"
	unknown = "revocation status of the certificate is unknown"
)

// A publisher answers for issuers, at /crl and /ocsp.
type publisher struct {
	*httptest.Server
	mu      sync.Mutex
	answers map[string]http.HandlerFunc
	asked   atomic.Int32
}

func newPublisher(t *testing.T) *publisher {
	p := &publisher{answers: map[string]http.HandlerFunc{}}
	p.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.asked.Add(1)
		p.mu.Lock()
		answer := p.answers[r.URL.Path]
		p.mu.Unlock()
		if answer == nil {
			answer = http.NotFound
		}
		answer(w, r)
	}))
	t.Cleanup(p.Close)
	return p
}

// set changes what is answered from now on; nil is 404.
func (p *publisher) set(path string, answer http.HandlerFunc) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.answers[path] = answer
}

func says(body []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { w.Write(body) }
}

// silent answers when the other side has lost patience.
func silent(_ http.ResponseWriter, r *http.Request) {
	io.Copy(io.Discard, r.Body)
	<-r.Context().Done()
}

// A list is what a CRL is made from.
type list struct {
	x509.RevocationList
	by *authority
}

func goodList(serials ...int64) *list {
	l := &list{by: issuer()}
	l.Number, l.ThisUpdate, l.NextUpdate = big.NewInt(1), now.Add(-time.Hour), now.Add(48*time.Hour)
	for _, serial := range serials {
		l.RevokedCertificateEntries = append(l.RevokedCertificateEntries,
			x509.RevocationListEntry{SerialNumber: big.NewInt(serial), RevocationTime: now.Add(-2 * time.Hour)})
	}
	return l
}

func (l *list) der(t testing.TB) []byte {
	t.Helper()
	der, err := x509.CreateRevocationList(rand.Reader, &l.RevocationList, l.by.cert, l.by.key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// A response is what an OCSP response is made from.
type response struct {
	ocsp.Response
	about     *x509.Certificate // whose issuer is named
	responder *x509.Certificate
	key       *rsa.PrivateKey
}

func goodResponse() *response {
	r := &response{about: issuer().cert, responder: issuer().cert, key: issuerKey()}
	r.Status, r.SerialNumber, r.ThisUpdate, r.NextUpdate = ocsp.Good, big.NewInt(7), now.Add(-time.Hour), now.Add(48*time.Hour)
	return r
}

func (r *response) der(t testing.TB) []byte {
	t.Helper()
	der, err := ocsp.CreateResponse(r.about, r.responder, r.Response, r.key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// responder makes a certificate to which issuer's task of signing responses is given.
func responder(t testing.TB, change func(*x509.Certificate), by *authority) *x509.Certificate {
	template := &x509.Certificate{
		SerialNumber: big.NewInt(77), Subject: pkix.Name{CommonName: "Responder"},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageOCSPSigning},
	}
	change(template)
	return sign(t, template, responderKey(), by)
}

// asking returns a Trust that asks the publisher, and a certificate that names the addresses to ask at.
func asking(t *testing.T, p *publisher, paths ...string) (*eidas.Trust, *eidas.Certificate) {
	r := good(eidas.QSeal)
	r.NotBefore, r.NotAfter = now.AddDate(0, -1, 0), now.AddDate(1, 0, 0)
	for _, path := range paths {
		if path == "/ocsp" {
			r.OCSPServer = append(r.OCSPServer, p.URL+path)
		} else {
			r.CRLDistributionPoints = append(r.CRLDistributionPoints, p.URL+path)
		}
	}
	trust := &eidas.Trust{
		Roots:      pool(issuer().cert),
		Revocation: &eidas.Revocation{HTTP: p.Client(), Timeout: 10 * time.Second},
	}
	return trust, r.parsed(t)
}

// Each row is a good list with one thing changed.
func TestCRL(t *testing.T) {
	stranger := newAuthority(t, "Stranger", strangerKey(), nil)
	impostor := newAuthority(t, "Issuer", strangerKey(), stranger)
	renamed := newAuthority(t, "Renamed", issuerKey(), nil)
	noCRL := newAuthority(t, "Issuer", issuerKey(), nil, func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageCertSign })
	extension := func(arc int, critical bool, value []byte) pkix.Extension {
		return pkix.Extension{Id: asn1.ObjectIdentifier{2, 5, 29, arc}, Critical: critical, Value: value}
	}
	p := newPublisher(t)
	scope := func(point string, flags ...byte) []pkix.Extension {
		body := []byte{}
		if point != "" {
			name := append([]byte{0x86, byte(len(point))}, point...)
			full := append([]byte{0xa0, byte(len(name))}, name...)
			body = append([]byte{0xa0, byte(len(full))}, full...)
		}
		for _, flag := range flags {
			body = append(body, 0x80|flag, 1, 0xff)
		}
		return []pkix.Extension{extension(28, true, append([]byte{0x30, byte(len(body))}, body...))}
	}
	rows := []struct {
		name   string
		change func(*list)
		want   string
	}{
		{"as it should be", func(*list) {}, ""},
		{"others revoked", func(l *list) { l.RevokedCertificateEntries = goodList(6, 8).RevokedCertificateEntries }, ""},
		{"revoked", func(l *list) { l.RevokedCertificateEntries = goodList(6, 7, 8).RevokedCertificateEntries }, revoked},
		{"on hold", func(l *list) {
			l.RevokedCertificateEntries = goodList(7).RevokedCertificateEntries
			l.RevokedCertificateEntries[0].ReasonCode = 6
		}, revoked},
		{"outdated", func(l *list) { l.NextUpdate = now }, unknown},
		{"nearly outdated", func(l *list) { l.NextUpdate = now.Add(time.Second) }, ""},
		{"from the near future", func(l *list) { l.ThisUpdate = now.Add(5 * time.Minute) }, ""},
		{"from the future", func(l *list) { l.ThisUpdate = now.Add(5*time.Minute + time.Second) }, unknown},
		{"another issuer", func(l *list) { l.by = stranger }, unknown},
		{"another issuer of that name", func(l *list) { l.by = impostor }, unknown},
		{"another name of the issuer", func(l *list) { l.by = renamed }, unknown},
		{"long", func(l *list) { l.ExtraExtensions = []pkix.Extension{extension(99, false, make([]byte, 4<<20))} }, ""},
		{"too long", func(l *list) { l.ExtraExtensions = []pkix.Extension{extension(99, false, make([]byte, 5<<20))} }, unknown},
		{"SHA-1", func(l *list) { l.SignatureAlgorithm = x509.SHA1WithRSA }, unknown},
		{"SHA-512", func(l *list) { l.SignatureAlgorithm = x509.SHA512WithRSA }, ""},
		{"only changes", func(l *list) { l.ExtraExtensions = []pkix.Extension{extension(27, true, []byte{2, 1, 1})} }, unknown},
		{"only changes, not critical", func(l *list) { l.ExtraExtensions = []pkix.Extension{extension(27, false, []byte{2, 1, 1})} }, unknown},
		{"unknown extension", func(l *list) { l.ExtraExtensions = []pkix.Extension{extension(99, false, []byte{5, 0})} }, ""},
		{"unknown critical extension", func(l *list) { l.ExtraExtensions = []pkix.Extension{extension(99, true, []byte{5, 0})} }, unknown},
		{"critical extension of an entry", func(l *list) {
			l.RevokedCertificateEntries = goodList(6).RevokedCertificateEntries
			l.RevokedCertificateEntries[0].ExtraExtensions = []pkix.Extension{extension(29, true, []byte{0x30, 0})}
		}, unknown},
		{"scope of everything", func(l *list) { l.ExtraExtensions = scope("") }, ""},
		{"scope of this address", func(l *list) { l.ExtraExtensions = scope(p.URL + "/crl") }, ""},
		{"scope of another address", func(l *list) { l.ExtraExtensions = scope(p.URL + "/crl2") }, unknown},
		{"scope of users", func(l *list) { l.ExtraExtensions = scope(p.URL+"/crl", 1) }, ""},
		{"scope of issuers", func(l *list) { l.ExtraExtensions = scope(p.URL+"/crl", 2) }, unknown},
		{"scope of some reasons", func(l *list) { l.ExtraExtensions = scope("", 3) }, unknown},
		{"scope of other issuers", func(l *list) { l.ExtraExtensions = scope("", 4) }, unknown},
		{"scope of attributes", func(l *list) { l.ExtraExtensions = scope("", 5) }, unknown},
		{"malformed scope", func(l *list) { l.ExtraExtensions = []pkix.Extension{extension(28, true, []byte{5, 0})} }, unknown},
	}
	for _, row := range rows {
		l := goodList()
		row.change(l)
		p.set("/crl", says(l.der(t)))
		trust, c := asking(t, p, "/crl")
		if err := trust.Verify(t.Context(), c, nil, now); errorText(err) != row.want {
			t.Errorf("%s: got %v (%v), want %q", row.name, err, errors.Unwrap(err), row.want)
		}
	}

	// An issuer whose certificate is not for lists.
	p.set("/crl", says(goodList().der(t)))
	trust, c := asking(t, p, "/crl")
	trust.Roots = pool(noCRL.cert)
	if err := trust.Verify(t.Context(), c, nil, now); errorText(err) != unknown {
		t.Errorf("issuer not for lists: got %v", err)
	}
}

// Each row is a good response with one thing changed.
func TestOCSP(t *testing.T) {
	stranger := newAuthority(t, "Stranger", strangerKey(), nil)
	impostor := newAuthority(t, "Issuer", strangerKey(), stranger)
	sibling := newAuthority(t, "Sibling", strangerKey(), root())
	renamed := newAuthority(t, "Renamed", issuerKey(), nil)
	delegate := func(by *authority, change func(*x509.Certificate)) func(*response) {
		return func(r *response) {
			r.Certificate = responder(t, change, by)
			r.responder, r.key = r.Certificate, responderKey()
		}
	}
	asIs := func(*x509.Certificate) {}
	rows := []struct {
		name   string
		change func(*response)
		want   string
	}{
		{"as it should be", func(*response) {}, ""},
		{"revoked", func(r *response) { r.Status, r.RevokedAt = ocsp.Revoked, now.Add(-time.Hour) }, revoked},
		{"on hold", func(r *response) { r.Status, r.RevokedAt, r.RevocationReason = ocsp.Revoked, now, ocsp.CertificateHold }, revoked},
		{"unknown", func(r *response) { r.Status = ocsp.Unknown }, unknown},
		{"outdated", func(r *response) { r.NextUpdate = now }, unknown},
		{"nearly outdated", func(r *response) { r.NextUpdate = now.Add(time.Second) }, ""},
		{"from the future", func(r *response) { r.ThisUpdate = now.Add(6 * time.Minute) }, unknown},
		{"without an end", func(r *response) { r.NextUpdate, r.ThisUpdate = time.Time{}, now.Add(-59*time.Minute) }, ""},
		{"without an end, old", func(r *response) { r.NextUpdate, r.ThisUpdate = time.Time{}, now.Add(-time.Hour) }, unknown},
		{"another serial number", func(r *response) { r.SerialNumber = big.NewInt(8) }, unknown},
		{"another issuer's certificate", func(r *response) { r.about = sibling.cert }, unknown},
		{"another issuer's of that name", func(r *response) { r.about = impostor.cert }, unknown},
		{"another name's of the issuer", func(r *response) { r.about = renamed.cert }, unknown},
		{"long", func(r *response) {
			r.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 2, 3}, Value: make([]byte, 60<<10)}}
		}, ""},
		{"too long", func(r *response) {
			r.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 2, 3}, Value: make([]byte, 64<<10)}}
		}, unknown},
		{"issuer's certificate inside", func(r *response) { r.Certificate = issuer().cert }, ""},
		{"SHA-1", func(r *response) { r.SignatureAlgorithm = x509.SHA1WithRSA }, unknown},
		{"SHA-384", func(r *response) { r.SignatureAlgorithm = x509.SHA384WithRSA }, ""},
		{"unknown critical extension", func(r *response) {
			r.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 2, 3}, Critical: true, Value: []byte{5, 0}}}
		}, unknown},

		{"signed by a stranger", func(r *response) { r.key = strangerKey() }, unknown},
		{"signed by a stranger with a certificate", func(r *response) {
			r.Certificate, r.responder, r.key = stranger.cert, stranger.cert, strangerKey()
		}, unknown},
		{"responder", delegate(issuer(), asIs), ""},
		{"responder that says revoked", func(r *response) {
			delegate(issuer(), asIs)(r)
			r.Status, r.RevokedAt = ocsp.Revoked, now
		}, revoked},
		{"responder without key usage", delegate(issuer(), func(c *x509.Certificate) { c.KeyUsage = 0 }), ""},
		{"responder for encryption", delegate(issuer(), func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageKeyEncipherment }), unknown},
		{"responder for other purposes", delegate(issuer(), func(c *x509.Certificate) {
			c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageAny}
		}), unknown},
		{"responder for no purpose", delegate(issuer(), func(c *x509.Certificate) { c.ExtKeyUsage = nil }), unknown},
		{"responder expired", delegate(issuer(), func(c *x509.Certificate) { c.NotAfter = now.Add(-time.Second) }), unknown},
		{"responder not valid yet", delegate(issuer(), func(c *x509.Certificate) { c.NotBefore = now.Add(time.Second) }), unknown},
		{"responder with a critical extension", delegate(issuer(), func(c *x509.Certificate) {
			c.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 2, 3}, Critical: true, Value: []byte{5, 0}}}
		}), unknown},
		{"responder of the root", delegate(root(), asIs), unknown},
		{"responder of another name of the issuer", delegate(renamed, asIs), unknown},
		{"responder of an issuer of that name", delegate(impostor, asIs), unknown},
		{"signed with the certificate in question", func(r *response) {
			r.Certificate = good(eidas.QSeal).parsed(t).X509
			r.responder, r.key = r.Certificate, tppKey()
		}, unknown},
	}
	p := newPublisher(t)
	for _, row := range rows {
		r := goodResponse()
		row.change(r)
		p.set("/ocsp", says(r.der(t)))
		trust, c := asking(t, p, "/ocsp")
		if err := trust.Verify(t.Context(), c, nil, now); errorText(err) != row.want {
			t.Errorf("%s: got %v (%v), want %q", row.name, err, errors.Unwrap(err), row.want)
		}
	}
}

// A source that gives no usable answer leaves the status unknown: refused, or let pass if that is the policy.
func TestNoAnswer(t *testing.T) {
	p := newPublisher(t)
	fine := goodList().der(t)
	rows := []struct {
		name   string
		answer http.HandlerFunc
	}{
		{"nothing", says(nil)},
		{"garbage", says([]byte("<html>Welcome"))},
		{"cut short", says(fine[:len(fine)-1])},
		{"try later", says(ocsp.TryLaterErrorResponse)},
		{"unauthorized", says(ocsp.UnauthorizedErrorResponse)},
		{"too long", says(make([]byte, 5<<20+1))},
		{"not found", nil},
		{"server error", func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusInternalServerError)
			w.Write(fine)
		}},
		{"redirect", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/elsewhere", http.StatusFound) }},
		{"cut off", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "1000")
			w.Write(fine[:10])
		}},
		{"silence", silent},
	}
	for _, path := range []string{"/crl", "/ocsp"} {
		for _, row := range rows {
			p.set(path, row.answer)
			before := p.asked.Load()
			for _, soft := range []bool{false, true} {
				want := map[bool]string{false: unknown, true: ""}[soft]
				trust, c := asking(t, p, path)
				trust.Revocation.SoftFail = soft
				trust.Revocation.Timeout = 100 * time.Millisecond
				err := trust.Verify(t.Context(), c, nil, now)
				if errorText(err) != want {
					t.Errorf("%s: %s: got %v, want %q", path, row.name, err, want)
				}
				var fault *eidas.UnknownStatusError
				if !soft && (!errors.As(err, &fault) || fault.Cause == nil) {
					t.Errorf("%s: %s: no cause", path, row.name)
				}
			}
			if asked := p.asked.Load() - before; asked != 2 {
				t.Errorf("%s: %s: %d requests", path, row.name, asked)
			}
		}
	}

	trust, c := asking(t, p)
	if err := trust.Verify(t.Context(), c, nil, now); errorText(err) != unknown {
		t.Errorf("no address: got %v", err)
	}
	trust.Revocation.SoftFail = true
	if err := trust.Verify(t.Context(), c, nil, now); err != nil {
		t.Errorf("no address, soft: got %v", err)
	}
}

// OCSP comes first, then every list; the first usable answer decides, and policy never makes revoked good.
func TestOrderOfSources(t *testing.T) {
	p := newPublisher(t)
	bad := goodResponse()
	bad.Status, bad.RevokedAt = ocsp.Revoked, now
	good, none := says(goodResponse().der(t)), http.HandlerFunc(nil)
	goodCRL, badCRL := says(goodList().der(t)), says(goodList(7).der(t))
	rows := []struct {
		name      string
		ocsp, crl http.HandlerFunc
		want      string
		asked     int32
	}{
		{"OCSP good", good, badCRL, "", 1},
		{"OCSP revoked", says(bad.der(t)), goodCRL, revoked, 1},
		{"OCSP silent, CRL good", none, goodCRL, "", 2},
		{"OCSP silent, CRL revoked", none, badCRL, revoked, 2},
		{"both silent", none, none, unknown, 2},
	}
	for _, row := range rows {
		for _, soft := range []bool{false, true} {
			p.set("/ocsp", row.ocsp)
			p.set("/crl", row.crl)
			p.asked.Store(0)
			trust, c := asking(t, p, "/ocsp", "/crl")
			trust.Revocation.SoftFail = soft
			want := row.want
			if soft && want == unknown {
				want = ""
			}
			if err := trust.Verify(t.Context(), c, nil, now); errorText(err) != want {
				t.Errorf("%s, soft %v: got %v, want %q", row.name, soft, err, want)
			}
			if asked := p.asked.Load(); asked != row.asked {
				t.Errorf("%s: %d requests", row.name, asked)
			}
		}
	}
}

// At most four addresses of each sort are tried.
func TestManyAddresses(t *testing.T) {
	for _, path := range []string{"/crl", "/ocsp"} {
		p := newPublisher(t)
		p.set("/crl", says(goodList().der(t)))
		p.set("/ocsp", says(goodResponse().der(t)))
		_, c := asking(t, p, path)
		address := append(c.X509.OCSPServer, c.X509.CRLDistributionPoints...)[0]
		for others, want := range map[int]string{3: "", 4: unknown} {
			r := good(eidas.QSeal)
			var all []string
			for range others {
				all = append(all, p.URL+"/none"+string(rune('a'+len(all))))
			}
			if all = append(all, address); path == "/ocsp" {
				r.OCSPServer = all
			} else {
				r.CRLDistributionPoints = all
			}
			trust, _ := asking(t, p)
			p.asked.Store(0)
			if err := trust.Verify(t.Context(), r.parsed(t), nil, now); errorText(err) != want || p.asked.Load() != 4 {
				t.Errorf("%s after %d others: got %v after %d requests", path, others, err, p.asked.Load())
			}
		}
	}
}

// An answer lasts for MaxAge, for MaxStale when the source is silent, and never past its nextUpdate. A source that was
// silent is left alone for a minute. An older answer does not replace a newer one.
func TestStaleness(t *testing.T) {
	type step struct {
		at    time.Duration // after now
		crl   string        // what the source says
		want  string
		asked int32 // so far
	}
	old := goodList()
	old.ThisUpdate = now.Add(-2 * time.Hour)
	short := goodList()
	short.NextUpdate = now.Add(2 * time.Hour)
	later := goodList()
	later.ThisUpdate = now.Add(time.Hour)
	lists := map[string]http.HandlerFunc{
		"good": says(goodList().der(t)), "revoked": says(goodList(7).der(t)), "old": says(old.der(t)),
		"short": says(short.der(t)), "later": says(later.der(t)), "silent": nil,
	}
	for name, steps := range map[string][]step{
		"kept": {{0, "good", "", 1}, {59 * time.Minute, "revoked", "", 1}, {time.Hour, "revoked", revoked, 2}, {time.Hour, "good", revoked, 2}},
		"stale": {
			{0, "good", "", 1}, {2 * time.Hour, "silent", "", 2}, {2*time.Hour + 59*time.Second, "good", "", 2},
			{2*time.Hour + time.Minute, "silent", "", 3}, {24*time.Hour - time.Second, "silent", "", 4},
			{24 * time.Hour, "silent", unknown, 4}, {25 * time.Hour, "silent", unknown, 5}, {26 * time.Hour, "good", "", 6},
		},
		"outdated":                   {{0, "short", "", 1}, {2*time.Hour - time.Second, "silent", "", 2}, {2 * time.Hour, "silent", unknown, 2}},
		"revoked stays while silent": {{0, "revoked", revoked, 1}, {2 * time.Hour, "silent", revoked, 2}},
		"no way back":                {{0, "revoked", revoked, 1}, {time.Hour, "old", revoked, 2}, {2 * time.Hour, "later", "", 3}},
		"clock put back":             {{0, "good", "", 1}, {-time.Hour, "revoked", revoked, 2}},
		"silent at first":            {{0, "silent", unknown, 1}, {30 * time.Second, "good", unknown, 1}, {time.Minute, "good", "", 2}},
	} {
		p := newPublisher(t)
		trust, c := asking(t, p, "/crl")
		for _, s := range steps {
			p.set("/crl", lists[s.crl])
			err := trust.Verify(t.Context(), c, nil, now.Add(s.at))
			if errorText(err) != s.want || p.asked.Load() != s.asked {
				t.Errorf("%s: after %s: got %v and %d requests, want %q and %d", name, s.at, err, p.asked.Load(), s.want, s.asked)
			}
		}
	}
}

// The bounds can be set.
func TestStalenessSettings(t *testing.T) {
	p := newPublisher(t)
	trust, c := asking(t, p, "/ocsp")
	trust.Revocation.MaxAge, trust.Revocation.MaxStale = time.Minute, 10*time.Minute
	p.set("/ocsp", says(goodResponse().der(t)))
	for _, s := range []struct {
		at   time.Duration
		want string
	}{{0, ""}, {59 * time.Second, ""}, {10*time.Minute - time.Second, ""}, {10 * time.Minute, unknown}} {
		if err := trust.Verify(t.Context(), c, nil, now.Add(s.at)); errorText(err) != s.want {
			t.Errorf("after %s: got %v, want %q", s.at, err, s.want)
		}
		p.set("/ocsp", nil)
	}
}

// Many who ask about certificates of one issuer at once make one request.
func TestOneRequest(t *testing.T) {
	p := newPublisher(t)
	p.set("/crl", says(goodList().der(t)))
	trust, c := asking(t, p, "/crl")
	var wg sync.WaitGroup
	for range 32 {
		wg.Go(func() {
			if err := trust.Verify(t.Context(), c, nil, now); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if asked := p.asked.Load(); asked != 1 {
		t.Errorf("%d requests", asked)
	}
}

// A caller who gives up neither waits nor makes the source count as silent.
func TestGivingUp(t *testing.T) {
	p := newPublisher(t)
	started := make(chan struct{})
	p.set("/crl", func(w http.ResponseWriter, r *http.Request) {
		close(started)
		silent(w, r)
	})
	trust, c := asking(t, p, "/crl")
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- trust.Verify(ctx, c, nil, now) }()
	<-started
	waiting, giveUp := context.WithCancel(t.Context())
	giveUp()
	if err := trust.Verify(waiting, c, nil, now); !errors.Is(err, context.Canceled) || errorText(err) != unknown {
		t.Errorf("who waits: got %v", err)
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) || errorText(err) != unknown {
		t.Errorf("who asks: got %v", err)
	}
	p.set("/crl", says(goodList().der(t)))
	if err := trust.Verify(t.Context(), c, nil, now); err != nil {
		t.Errorf("who comes after: got %v", err)
	}
}

// Every certificate below the anchor is asked about, and an answer of one issuer is none of another, even at the same
// address.
func TestRevokedIssuer(t *testing.T) {
	p := newPublisher(t)
	middle := newAuthority(t, "Middle", strangerKey(), root(), func(c *x509.Certificate) {
		c.CRLDistributionPoints = []string{p.URL + "/ocsp"}
	})
	r := good(eidas.QSeal)
	r.by, r.CRLDistributionPoints = middle, []string{p.URL + "/crl"}
	c := r.parsed(t)
	of := func(by *authority, serials ...int64) http.HandlerFunc {
		l := goodList(serials...)
		l.by = by
		return says(l.der(t))
	}
	scoped := func(flag byte) http.HandlerFunc {
		l := goodList()
		l.by = root()
		l.ExtraExtensions = []pkix.Extension{{
			Id: asn1.ObjectIdentifier{2, 5, 29, 28}, Critical: true, Value: []byte{0x30, 3, 0x80 | flag, 1, 0xff},
		}}
		return says(l.der(t))
	}
	rows := []struct {
		name           string
		leafs, issuers http.HandlerFunc
		want           string
	}{
		{"as it should be", of(middle), of(root()), ""},
		{"issuer revoked", of(middle), of(root(), 1000), revoked},
		{"certificate revoked", of(middle, 7), of(root()), revoked},
		{"same serial number of another issuer", of(middle, 1000), of(root(), 7), ""},
		{"issuer unknown", of(middle), nil, unknown},
		{"certificate unknown", nil, of(root()), unknown},
		{"list of the other", of(root()), of(root()), unknown},
		{"list of issuers", of(middle), scoped(2), ""},
		{"list of users", of(middle), scoped(1), unknown},
	}
	for _, row := range rows {
		p.set("/crl", row.leafs)
		p.set("/ocsp", row.issuers)
		trust := &eidas.Trust{Roots: pool(root().cert), Revocation: &eidas.Revocation{HTTP: p.Client()}}
		if err := trust.Verify(t.Context(), c, []*x509.Certificate{middle.cert}, now); errorText(err) != row.want {
			t.Errorf("%s: got %v, want %q", row.name, err, row.want)
		}
	}
}

// What one issuer says at an address is not believed of another, whose certificates name the same address.
func TestSharedAddress(t *testing.T) {
	p := newPublisher(t)
	trust, c := asking(t, p, "/crl")
	sibling := newAuthority(t, "Sibling", strangerKey(), nil)
	trust.Roots.AddCert(sibling.cert)
	p.set("/crl", says(goodList().der(t)))
	if err := trust.Verify(t.Context(), c, nil, now); err != nil {
		t.Fatal(err)
	}
	r := good(eidas.QSeal)
	r.by, r.CRLDistributionPoints = sibling, []string{p.URL + "/crl"}
	other := r.parsed(t)
	if err := trust.Verify(t.Context(), other, nil, now); errorText(err) != unknown {
		t.Errorf("with the list of the first: got %v", err)
	}
	l := goodList(7)
	l.by = sibling
	p.set("/crl", says(l.der(t)))
	if err := trust.Verify(t.Context(), other, nil, now.Add(time.Minute)); err != eidas.ErrRevoked {
		t.Errorf("with its own list: got %v", err)
	}
	if err := trust.Verify(t.Context(), c, nil, now.Add(time.Minute)); err != nil {
		t.Errorf("the first again: got %v", err)
	}
}

// A list that covers users only, checked for one, is not believed of an issuer.
func TestSharedList(t *testing.T) {
	p := newPublisher(t)
	l := goodList()
	l.by = root()
	l.ExtraExtensions = []pkix.Extension{{
		Id: asn1.ObjectIdentifier{2, 5, 29, 28}, Critical: true, Value: []byte{0x30, 3, 0x81, 1, 0xff},
	}}
	p.set("/crl", says(l.der(t)))
	middle := newAuthority(t, "Middle", strangerKey(), root(), func(c *x509.Certificate) {
		c.CRLDistributionPoints = []string{p.URL + "/crl"}
	})
	trust := &eidas.Trust{Roots: pool(root().cert), Revocation: &eidas.Revocation{HTTP: p.Client()}}
	users := good(eidas.QSeal)
	users.by, users.CRLDistributionPoints = root(), []string{p.URL + "/crl"}
	if err := trust.Verify(t.Context(), users.parsed(t), nil, now); err != nil {
		t.Fatal(err)
	}
	below := good(eidas.QSeal)
	below.by, below.CRLDistributionPoints = middle, []string{p.URL + "/ocsp"}
	l = goodList()
	l.by = middle
	p.set("/ocsp", says(l.der(t)))
	if err := trust.Verify(t.Context(), below.parsed(t), []*x509.Certificate{middle.cert}, now); errorText(err) != unknown {
		t.Errorf("got %v", err)
	}
}

// A response about two certificates is refused: package ocsp would take the first with the right serial number.
func TestOCSPTwoResponses(t *testing.T) {
	type responseData struct {
		Responder  asn1.RawValue
		ProducedAt time.Time `asn1:"generalized"`
		Responses  []asn1.RawValue
	}
	ours := goodResponse()
	ours.Status, ours.RevokedAt = ocsp.Revoked, now
	var both, one responseData
	for _, r := range []*response{goodResponse(), ours} {
		parsed, err := ocsp.ParseResponse(r.der(t), issuer().cert)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := asn1.Unmarshal(parsed.TBSResponseData, &one); err != nil {
			t.Fatal(err)
		}
		both.Responder, both.ProducedAt, both.Responses = one.Responder, one.ProducedAt, append(both.Responses, one.Responses...)
	}
	p := newPublisher(t)
	for _, row := range []struct {
		name string
		data responseData
		want string
	}{{"one", one, revoked}, {"both", both, unknown}} {
		tbs := marshal(t, row.data)
		digest := sha256.Sum256(tbs)
		signature, err := rsa.SignPKCS1v15(rand.Reader, issuerKey(), crypto.SHA256, digest[:])
		if err != nil {
			t.Fatal(err)
		}
		type bytesOf struct {
			Type     asn1.ObjectIdentifier
			Response []byte
		}
		p.set("/ocsp", says(marshal(t, struct {
			Status asn1.Enumerated
			Bytes  bytesOf `asn1:"explicit,tag:0"`
		}{0, bytesOf{asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 48, 1, 1}, marshal(t, struct {
			Data      asn1.RawValue
			Algorithm pkix.AlgorithmIdentifier
			Signature asn1.BitString
		}{
			asn1.RawValue{FullBytes: tbs},
			pkix.AlgorithmIdentifier{Algorithm: asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 11}, Parameters: asn1.NullRawValue},
			asn1.BitString{Bytes: signature, BitLength: 8 * len(signature)},
		})}})))
		trust, c := asking(t, p, "/ocsp")
		if err := trust.Verify(t.Context(), c, nil, now); errorText(err) != row.want {
			t.Errorf("%s: got %v (%v), want %q", row.name, err, errors.Unwrap(err), row.want)
		}
	}
}

// Nobody is asked about a certificate that is not trusted anyway: its addresses may be anybody's.
func TestAskedLast(t *testing.T) {
	p := newPublisher(t)
	p.set("/crl", says(goodList().der(t)))
	rows := []struct {
		name   string
		change func(*eidas.Trust)
	}{
		{"not trusted", func(trust *eidas.Trust) { trust.Roots = pool(newAuthority(t, "Stranger", strangerKey(), nil).cert) }},
		{"not accepted", func(trust *eidas.Trust) { trust.Kinds = []eidas.Kind{eidas.QWAC} }},
	}
	for _, row := range rows {
		trust, c := asking(t, p, "/crl", "/ocsp")
		row.change(trust)
		if err := trust.Verify(t.Context(), c, nil, now); err == nil || p.asked.Load() != 0 {
			t.Errorf("%s: got %v after %d requests", row.name, err, p.asked.Load())
		}
	}
}

// Responders are asked with POST and a request for the certificate, its issuer named (RFC 6960 §A.1).
func TestOCSPRequest(t *testing.T) {
	p := newPublisher(t)
	fine := goodResponse().der(t)
	name := sha1.Sum(issuer().cert.RawSubject)
	p.set("/ocsp", func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		req, err := ocsp.ParseRequest(body)
		if err != nil || r.Method != http.MethodPost || r.Header.Get("Content-Type") != "application/ocsp-request" ||
			req.SerialNumber.Int64() != 7 || !bytes.Equal(req.IssuerNameHash, name[:]) {
			t.Errorf("%s %v: %+v, %v", r.Method, r.Header, req, err)
		}
		w.Write(fine)
	})
	trust, c := asking(t, p, "/ocsp")
	if err := trust.Verify(t.Context(), c, nil, now); err != nil {
		t.Error(err)
	}
}
