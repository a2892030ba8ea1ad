package oidc_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"gatehouse"
	"gatehouse/eidas"
	"gatehouse/jose"
)

// A certifier issues PSD2 certificates and lists those it has revoked.
type certifier struct {
	t    testing.TB
	now  time.Time
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	// crl is where its list is; listed says whether the list can be had.
	crl    string
	listed atomic.Bool
	last   int64 // serial number
}

const revokedSerial = 666

func newCertifier(t testing.TB, name string, now time.Time) *certifier {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: eidas.Subject("GB", name, "VATGB-1", name),
		NotBefore: now.AddDate(-1, 0, 0), NotAfter: now.AddDate(9, 0, 0),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	must(t, err)
	c := &certifier{t: t, now: now, key: private, last: 1000}
	c.cert, err = x509.ParseCertificate(der)
	must(t, err)
	c.listed.Store(true)
	list, err := x509.CreateRevocationList(rand.Reader, &x509.RevocationList{
		Number: big.NewInt(1), ThisUpdate: now.Add(-time.Hour), NextUpdate: now.AddDate(1, 0, 0),
		RevokedCertificateEntries: []x509.RevocationListEntry{{SerialNumber: big.NewInt(revokedSerial), RevocationTime: now.Add(-2 * time.Hour)}},
	}, c.cert, private)
	must(t, err)
	site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if !c.listed.Load() {
			w.WriteHeader(503)
			return
		}
		w.Write(list)
	}))
	t.Cleanup(site.Close)
	c.crl = site.URL + "/list.crl"
	return c
}

func (c *certifier) trust() *eidas.Trust {
	roots := x509.NewCertPool()
	roots.AddCert(c.cert)
	return &eidas.Trust{Roots: roots, Revocation: &eidas.Revocation{HTTP: http.DefaultClient}}
}

// A certified is what a certificate is made from.
type certified struct {
	x509.Certificate
	kind         eidas.Kind
	roles        []eidas.Role
	authorityID  string
	key          any // public
	noStatements bool
	by           *certifier
}

// issue makes a certificate for the organisation of the owner and the key of
// "{owner} {kind}", in PEM.
func (c *certifier) issue(owner string, kind eidas.Kind, changes ...func(*certified)) string {
	c.t.Helper()
	c.last++
	r := &certified{
		Certificate: x509.Certificate{
			SerialNumber: big.NewInt(c.last), Subject: eidas.Subject("GB", "Organisation of "+owner, "PSDGB-FCA-"+owner, "tpp.example"),
			NotBefore: c.now.Add(-time.Hour), NotAfter: c.now.AddDate(1, 0, 0),
			BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature, CRLDistributionPoints: []string{c.crl},
		},
		kind: kind, roles: []eidas.Role{eidas.AccountInformation, eidas.PaymentInitiation}, authorityID: "GB-FCA", by: c,
		key: named(c.t, owner+" "+string(kind), "").Public().Key,
	}
	if kind.Web() {
		r.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth}
	}
	for _, change := range changes {
		change(r)
	}
	if !r.noStatements {
		statements, err := eidas.Extension(r.kind, r.roles, "Financial Conduct Authority", r.authorityID)
		must(c.t, err)
		r.ExtraExtensions = append(r.ExtraExtensions, statements)
	}
	der, err := x509.CreateCertificate(rand.Reader, &r.Certificate, r.by.cert, r.key, r.by.key)
	must(c.t, err)
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

// withRoles changes the roles of a certificate.
func withRoles(roles ...eidas.Role) func(*certified) { return func(c *certified) { c.roles = roles } }

// sealKey is the key of a certificate that certifier.issue makes.
func sealKey(t testing.TB, owner string, kind eidas.Kind, kid string) *jose.PrivateKey {
	t.Helper()
	return named(t, owner+" "+string(kind), kid)
}

// A certifiedWorld is a world that trusts a certifier in each environment, with
// a live provider.
type certifiedWorld struct {
	*world
	production, sandbox *certifier
}

const live = "live"

func newCertifiedWorld(w *world) *certifiedWorld {
	w.t.Helper()
	c := &certifiedWorld{w, newCertifier(w.t, "Qualified Trust", w.clock.Now()), newCertifier(w.t, "Sandbox Trust", w.clock.Now())}
	w.trust = map[gatehouse.Environment]*eidas.Trust{gatehouse.Production: c.production.trust(), gatehouse.SandboxEnvironment: c.sandbox.trust()}
	w.site = w.replica(w.store)
	w.addProvider(gatehouse.Provider{Code: live, Profile: gatehouse.ProfilePSD2, Status: gatehouse.Live, Connector: gatehouse.Connector{LoginURL: "https://bank.example/live/login"}})
	return c
}

// tpp registers a client of the owner by a directory and returns its id and
// registration access token.
func (w *certifiedWorld) tpp(directory, owner string) (id, token string) {
	w.t.Helper()
	a := w.register(owner, w.statement(directory, owner, nil), nil)
	expect(w.t, a, 201, "")
	return a.text("client_id"), a.text("registration_access_token")
}

func certificatesPath(provider string) string {
	return "/api/" + provider + "/open-banking/v3.1/tpp/certificates"
}

func certificateBody(kind eidas.Kind, pem string) claims {
	return claims{"data": claims{"certificate": claims{"pem": pem, "name": "Signing 2026", "type": string(kind)}}}
}

func (w *certifiedWorld) add(provider, token string, kind eidas.Kind, pem string) *answer {
	w.t.Helper()
	return w.addBody(provider, token, string(mustJSON(w.t, certificateBody(kind, pem))))
}

func (w *certifiedWorld) addBody(provider, token, body string) *answer {
	w.t.Helper()
	header := bearerHeader(token)
	header.Set("Content-Type", "application/json")
	return w.do("POST", certificatesPath(provider), header, body)
}

// added adds a certificate, which must work.
func (w *certifiedWorld) added(provider, token string, kind eidas.Kind, pem string) {
	w.t.Helper()
	expect(w.t, w.add(provider, token, kind, pem), 201, "")
}

func (w *certifiedWorld) stored(client string) []gatehouse.Certificate {
	w.t.Helper()
	c, err := w.store.Client(context.Background(), client)
	must(w.t, err)
	return c.Certificates
}

// anonymous signs claims under a header without kid.
func anonymous(t testing.TB, private *jose.PrivateKey, typ string, c claims) string {
	t.Helper()
	block, _ := pem.Decode(private.PEM())
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	must(t, err)
	return compact(t, claims{"alg": "PS256", "typ": typ}, c, func(input []byte) []byte {
		signature, err := rsa.SignPSS(rand.Reader, parsed.(*rsa.PrivateKey), crypto.SHA256, digest(crypto.SHA256, input), &rsa.PSSOptions{SaltLength: 32})
		must(t, err)
		return signature
	})
}

func (w *world) tokenByAnonymous(provider, client string, private *jose.PrivateKey) *answer {
	w.t.Helper()
	assertion := anonymous(w.t, private, "JWT", w.assertionClaims(provider, client))
	f := clientCredentials.with(form{"client_assertion_type": assertionType, "client_assertion": assertion})
	return w.do("POST", "/api/oidc/"+provider+"/tokens", formHeader, f.encode())
}

func TestSealCertificateSigns(t *testing.T) {
	t.Parallel()
	forEachWorld(t, func(t *testing.T, plain *world) {
		w := newCertifiedWorld(plain)
		for _, kind := range []eidas.Kind{eidas.OBSeal, eidas.QSeal} {
			owner := "owner-of-" + string(kind)
			id, token := w.tpp(sandboxDirectory, owner)
			refused := func(when string) {
				t.Helper()
				expect(t, w.tokenBy("alpha", id, sealKey(t, owner, kind, "1")), 400, "invalid_client")
				expect(t, w.tokenByAnonymous("alpha", id, sealKey(t, owner, kind, "1")), 400, "invalid_client")
				if o := w.askBy("alpha", id, sealKey(t, owner, kind, "1")); !o.tells("invalid_request_object") {
					t.Errorf("%s: %v", when, o)
				}
			}
			refused("before it is added")
			text := w.sandbox.issue(owner, kind)
			for range 2 { // adding is idempotent
				a := w.add("alpha", token, kind, text)
				expect(t, a, 201, "")
				block, _ := pem.Decode([]byte(text))
				sum := sha256.Sum256(block.Bytes)
				want := map[string]any{"data": map[string]any{"certificate": map[string]any{
					"name": "Signing 2026", "type": string(kind), "thumbprint": b64(sum[:]), "roles": []any{"PSP_AI", "PSP_PI"},
					"expires_at": w.clock.Now().AddDate(1, 0, 0).Truncate(time.Second).Format(time.RFC3339),
				}}}
				if diff := cmp.Diff(want, a.JSON); diff != "" {
					t.Error(diff)
				}
			}
			if all := w.stored(id); len(all) != 1 || all[0].PEM != text || all[0].Environment != gatehouse.SandboxEnvironment {
				t.Errorf("stored: %v", all)
			}
			for _, provider := range everyProvider {
				for _, kid := range []string{"1", "", owner, "x"} {
					expect(t, w.tokenBy(provider, id, sealKey(t, owner, kind, kid)), 200, "")
				}
				expect(t, w.tokenByAnonymous(provider, id, sealKey(t, owner, kind, "1")), 200, "")
				expect(t, w.tokenBy(provider, id, clientKey(t, owner, jose.PS256)), 200, "")
			}
			for door := range doors {
				if o := w.askBy(door, id, sealKey(t, owner, kind, "1")); o.begun() == "" {
					t.Errorf("%s: %v", door, o)
				}
				q := query(id)
				q["request"] = anonymous(t, sealKey(t, owner, kind, "1"), "oauth-authz-req+jwt", w.requestClaims(doors[door], id))
				if o := w.ask(door, q); o.begun() == "" {
					t.Errorf("%s without kid: %v", door, o)
				}
			}
			// Nobody else's key, and nobody else's client.
			expect(t, w.tokenBy("alpha", id, sealKey(t, "stranger", kind, "1")), 400, "invalid_client")
			other, _ := w.tpp(sandboxDirectory, owner)
			expect(t, w.tokenBy("alpha", other, sealKey(t, owner, kind, "1")), 400, "invalid_client")
		}
	})
}

func TestWebCertificateSignsNothing(t *testing.T) {
	t.Parallel()
	w := newCertifiedWorld(sqliteWorld(t))
	id, token := w.tpp(sandboxDirectory, "web")
	for _, kind := range []eidas.Kind{eidas.QWAC, eidas.OBWAC} {
		w.added("alpha", token, kind, w.sandbox.issue("web", kind))
		expect(t, w.tokenBy("alpha", id, sealKey(t, "web", kind, "1")), 400, "invalid_client")
		expect(t, w.tokenByAnonymous("alpha", id, sealKey(t, "web", kind, "1")), 400, "invalid_client")
		if o := w.askBy("alpha", id, sealKey(t, "web", kind, "1")); !o.tells("invalid_request_object") {
			t.Error(o)
		}
	}
	if n := len(w.stored(id)); n != 2 {
		t.Errorf("%d certificates", n)
	}
	expect(t, w.tokenBy("alpha", id, clientKey(t, "web", jose.PS256)), 200, "")
}

func TestCertificateIsRefused(t *testing.T) {
	t.Parallel()
	w := newCertifiedWorld(sqliteWorld(t))
	id, token := w.tpp(liveDirectory, "tpp")
	stranger := newCertifier(t, "Qualified Trust", w.clock.Now())
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	short, err := rsa.GenerateKey(rand.Reader, 1024)
	must(t, err)
	issue := func(change func(*certified)) string { return w.production.issue("tpp", eidas.OBSeal, change) }
	good := issue(func(*certified) {})
	const metadata, request, forbidden = "invalid_client_metadata", "invalid_request", "unauthorized_client"
	rows := []struct {
		name   string
		kind   eidas.Kind
		pem    string
		status int
		code   string
		says   string
	}{
		{"a seal called another", eidas.QSeal, good, 400, metadata, "data.certificate.type is not that of the certificate"},
		{"a seal called one for websites", eidas.OBWAC, good, 400, metadata, "data.certificate.type is not that"},
		{"one for websites called a seal", eidas.OBSeal, w.production.issue("tpp", eidas.OBWAC), 400, metadata, "data.certificate.type is not that"},
		{"a kind that does not exist", "seal", good, 400, request, "data.certificate.type must be"},
		{"expired", eidas.OBSeal, issue(func(c *certified) { c.NotAfter = w.clock.Now().Add(-time.Second) }), 400, metadata, "data.certificate.pem: certificate has expired"},
		{"not valid yet", eidas.OBSeal, issue(func(c *certified) { c.NotBefore = w.clock.Now().Add(2 * time.Second) }), 400, metadata, "data.certificate.pem: certificate is not valid yet"},
		{"of an issuer that is not trusted", eidas.OBSeal, issue(func(c *certified) { c.by = stranger }), 400, metadata, "data.certificate.pem: certificate does not lead to"},
		{"revoked", eidas.OBSeal, issue(func(c *certified) { c.SerialNumber = big.NewInt(revokedSerial) }), 400, metadata, "data.certificate.pem: certificate is revoked"},
		{"nowhere to ask whether it is revoked", eidas.OBSeal, issue(func(c *certified) { c.CRLDistributionPoints = nil }), 503, "temporarily_unavailable", ""},
		{"nobody says whether it is revoked", eidas.OBSeal, issue(func(c *certified) { c.CRLDistributionPoints = []string{w.production.crl + "?2"} }), 503, "temporarily_unavailable", ""},
		{"an issuer's", eidas.OBSeal, issue(func(c *certified) { c.IsCA = true }), 400, metadata, "data.certificate.pem: certificate is one of an issuer"},
		{"not for signatures", eidas.OBSeal, issue(func(c *certified) { c.KeyUsage = x509.KeyUsageKeyEncipherment }), 400, metadata, "data.certificate.pem: key usage"},
		{"another authority in its statement", eidas.OBSeal, issue(func(c *certified) { c.authorityID = "NL-DNB" }), 400, metadata, "data.certificate.pem: PSD2 statement"},
		{"no PSD2 statement", eidas.OBSeal, issue(func(c *certified) { c.noStatements = true }), 400, metadata, "data.certificate.pem: qcStatements"},
		{"no organizationIdentifier", eidas.OBSeal, issue(func(c *certified) { c.Subject.ExtraNames = nil }), 400, metadata, "data.certificate.pem: organizationIdentifier"},
		{"a key that is not RSA", eidas.OBSeal, issue(func(c *certified) { c.key = &ec.PublicKey }), 400, metadata, "data.certificate.pem: certificate has no RSA key"},
		{"a short key", eidas.OBSeal, issue(func(c *certified) { c.key = &short.PublicKey }), 400, metadata, "data.certificate.pem: "},

		{"of another organisation", eidas.OBSeal, w.production.issue("other", eidas.OBSeal), 403, forbidden, "another organisation"},
		{"of an organisation of that name at another authority", eidas.OBSeal, issue(func(c *certified) {
			c.Subject, c.authorityID = eidas.Subject("NL", "TPP", "PSDNL-DNB-tpp", "tpp.example"), "NL-DNB"
		}), 403, forbidden, "another organisation"},
		{"a test certificate", eidas.OBSeal, w.sandbox.issue("tpp", eidas.OBSeal), 403, forbidden, "a test certificate opens sandbox providers only"},

		{"empty", eidas.OBSeal, "", 400, request, "data.certificate.pem is empty"},
		{"text", eidas.OBSeal, "certificate", 400, metadata, "data.certificate.pem: "},
		{"two", eidas.OBSeal, good + good, 400, metadata, "data.certificate.pem: "},
		{"text in front", eidas.OBSeal, "subject: me\n" + good, 400, metadata, "data.certificate.pem: "},
		{"cut", eidas.OBSeal, good[:400] + "\n-----END CERTIFICATE-----\n", 400, metadata, "data.certificate.pem: "},
		{"a private key", eidas.OBSeal, string(sealKey(t, "tpp", eidas.OBSeal, "").PEM()), 400, metadata, "data.certificate.pem: "},
		{"a private key beside it", eidas.OBSeal, good + string(sealKey(t, "tpp", eidas.OBSeal, "").PEM()), 400, metadata, "data.certificate.pem: "},
		{"too long", eidas.OBSeal, good + strings.Repeat("\n", 20<<10), 400, metadata, "data.certificate.pem: certificate is longer than"},
	}
	for _, c := range rows {
		t.Run(c.name, func(t *testing.T) {
			w.production.listed.Store(!strings.HasPrefix(c.name, "nobody says"))
			a := w.add(live, token, c.kind, c.pem)
			expect(t, a, c.status, c.code)
			if !strings.Contains(a.text("error_description"), c.says) {
				t.Errorf("%v does not say %q", a, c.says)
			}
			switch {
			case c.status == 403 && a.text("error_class") != "Forbidden":
				t.Errorf("error_class: %v", a)
			case c.status == 503 && a.Header.Get("Retry-After") == "":
				t.Error("no Retry-After")
			}
		})
	}
	w.production.listed.Store(true)
	if n := len(w.stored(id)); n != 0 {
		t.Errorf("%d certificates were stored", n)
	}
	w.added(live, token, eidas.OBSeal, good)
	if strings.Contains(w.logged(), strings.Split(good, "\n")[1]) {
		t.Error("a certificate was logged")
	}
}

func TestCertificateRequestIsMalformed(t *testing.T) {
	t.Parallel()
	w := newCertifiedWorld(sqliteWorld(t))
	id, token := w.tpp(sandboxDirectory, "tpp")
	good := w.sandbox.issue("tpp", eidas.OBSeal)
	member := func(changes claims) string {
		certificate := claims{"pem": good, "name": "n", "type": "obseal"}.with(changes)
		return string(mustJSON(t, claims{"data": claims{"certificate": certificate}}))
	}
	for _, c := range []struct {
		name, body string
		status     int
		says       string
	}{
		{"empty", "", 400, "the body is not a JSON object"},
		{"not JSON", "pem=x", 400, "the body is not a JSON object"},
		{"a list", "[]", 400, "the body is not a JSON object"},
		{"two", member(nil) + member(nil), 400, "the body is not a JSON object"},
		{"a member twice", `{"data":{},"data":{}}`, 400, "the body is not a JSON object"},
		{"an inner member twice", strings.Replace(member(nil), `"name":"n"`, `"name":"n","name":"n"`, 1), 400, ""},
		{"nested deeply", strings.Repeat(`{"data":`, 9) + "1" + strings.Repeat("}", 9), 400, "the body is not a JSON object"},
		{"no data", "{}", 400, "data.certificate is missing"},
		{"data is null", `{"data":null}`, 400, "data.certificate is missing"},
		{"data is text", `{"data":"x"}`, 400, "data.certificate is missing"},
		{"no certificate", `{"data":{}}`, 400, "data.certificate is missing"},
		{"certificate is text", string(mustJSON(t, claims{"data": claims{"certificate": good}})), 400, "data.certificate is missing"},
		{"no pem", member(claims{"pem": nil}), 400, "data.certificate.pem is missing"},
		{"no name", member(claims{"name": nil}), 400, "data.certificate.name is missing"},
		{"no type", member(claims{"type": nil}), 400, "data.certificate.type is missing"},
		{"nothing", member(claims{"pem": nil, "name": nil, "type": nil}), 400, "data.certificate.pem is missing"},
		{"pem is a list", member(claims{"pem": []string{good}}), 400, "data.certificate.pem is not a string"},
		{"name is a number", member(claims{"name": 1}), 400, "data.certificate.name is not a string"},
		{"type is a number", member(claims{"type": 1}), 400, "data.certificate.type is not a string"},
		{"name too long", member(claims{"name": strings.Repeat("n", 256)}), 400, "data.certificate.name must be at most 255 bytes"},
		{"name of two lines", member(claims{"name": "a\nb"}), 400, "data.certificate.name must be at most 255 bytes"},
		{"type in capitals", member(claims{"type": "OBSEAL"}), 400, "data.certificate.type must be"},
		{"too large", member(claims{"note": strings.Repeat("n", 64<<10)}), 413, "larger than this endpoint takes"},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := w.addBody("alpha", token, c.body)
			expect(t, a, c.status, "invalid_request")
			if !strings.Contains(a.text("error_description"), c.says) {
				t.Errorf("%v does not say %q", a, c.says)
			}
		})
	}
	header := bearerHeader(token)
	header.Set("Content-Type", "application/x-pem-file")
	expect(t, w.do("POST", certificatesPath("alpha"), header, good), 415, "invalid_request")
	expect(t, w.do("GET", certificatesPath("alpha"), bearerHeader(token), ""), 405, "invalid_request")
	if n := len(w.stored(id)); n != 0 {
		t.Errorf("%d certificates were stored", n)
	}
	expect(t, w.addBody("alpha", token, member(claims{"name": strings.Repeat("n", 255), "note": 1})), 201, "")
}

// A qualified certificate may be called by the weaker name.
func TestCertificateTypes(t *testing.T) {
	t.Parallel()
	kinds := []eidas.Kind{eidas.QWAC, eidas.QSeal, eidas.OBWAC, eidas.OBSeal}
	taken := map[eidas.Kind][]eidas.Kind{
		eidas.QWAC: {eidas.QWAC, eidas.OBWAC}, eidas.OBWAC: {eidas.OBWAC},
		eidas.QSeal: {eidas.QSeal, eidas.OBSeal}, eidas.OBSeal: {eidas.OBSeal},
	}
	w := newCertifiedWorld(sqliteWorld(t))
	for _, kind := range kinds {
		for _, called := range kinds {
			_, token := w.tpp(sandboxDirectory, "tpp")
			a := w.add("alpha", token, called, w.sandbox.issue("tpp", kind))
			if !slices.Contains(taken[kind], called) {
				expect(t, a, 400, "invalid_client_metadata")
				continue
			}
			expect(t, a, 201, "")
			if !strings.Contains(a.Body, `"type":"`+string(called)+`"`) {
				t.Errorf("%s called %s: %v", kind, called, a)
			}
		}
	}
}

// The Open Banking Directory writes its org_id behind "Unknown" when no
// authority has given a number.
func TestCertificateOfADirectorysOrganisation(t *testing.T) {
	t.Parallel()
	w := newCertifiedWorld(sqliteWorld(t))
	identified := func(identifier string) string {
		return w.sandbox.issue("tpp", eidas.OBSeal, func(c *certified) {
			c.Subject, c.authorityID = eidas.Subject("GB", "TPP", identifier, "tpp.example"), "GB-OB"
		})
	}
	a := w.register("tpp", w.statement(sandboxDirectory, "tpp", claims{"org_id": "0015800001ZEZ1iAAH"}), nil)
	expect(t, a, 201, "")
	token := a.text("registration_access_token")
	expect(t, w.add("alpha", token, eidas.OBSeal, identified("PSDGB-OB-Unknown0015800001ZEZ2iAAH")), 403, "unauthorized_client")
	expect(t, w.add("alpha", token, eidas.OBSeal, identified("PSDGB-OB-0015800001ZEZ1iAAH")), 403, "unauthorized_client")
	w.added("alpha", token, eidas.OBSeal, identified("PSDGB-OB-Unknown0015800001ZEZ1iAAH"))
	expect(t, w.tokenBy("alpha", a.text("client_id"), sealKey(t, "tpp", eidas.OBSeal, "1")), 200, "")
}

// What is for the sandbox opens nothing at a live provider.
func TestTestCertificate(t *testing.T) {
	t.Parallel()
	w := newCertifiedWorld(sqliteWorld(t))
	id, token := w.tpp(liveDirectory, "tpp")
	test := w.sandbox.issue("tpp", eidas.OBSeal)
	a := w.add(live, token, eidas.OBSeal, test)
	expect(t, a, 403, "unauthorized_client")
	w.added("alpha", token, eidas.OBSeal, test)
	own, seal := clientKey(t, "tpp", jose.PS256), sealKey(t, "tpp", eidas.OBSeal, "1")
	expect(t, w.tokenBy("alpha", id, seal), 200, "")
	expect(t, w.tokenBy(live, id, seal), 400, "invalid_client")
	expect(t, w.tokenByAnonymous(live, id, seal), 400, "invalid_client")
	expect(t, w.tokenBy(live, id, own), 200, "")

	// A production certificate of the same client opens both.
	w.added(live, token, eidas.QSeal, w.production.issue("tpp", eidas.QSeal))
	expect(t, w.tokenBy("alpha", id, sealKey(t, "tpp", eidas.QSeal, "1")), 200, "")
	expect(t, w.tokenBy(live, id, sealKey(t, "tpp", eidas.QSeal, "1")), 200, "")
	expect(t, w.tokenBy(live, id, seal), 400, "invalid_client")

	// A client of a sandbox statement is refused there whatever it has.
	sandboxed, token := w.tpp(sandboxDirectory, "tpp")
	expect(t, w.add(live, token, eidas.QSeal, w.production.issue("tpp", eidas.QSeal)), 403, "unauthorized_client")
	w.added("alpha", token, eidas.QSeal, w.production.issue("tpp", eidas.QSeal))
	expect(t, w.tokenBy("alpha", sandboxed, sealKey(t, "tpp", eidas.QSeal, "1")), 200, "")
	expect(t, w.tokenBy(live, sandboxed, sealKey(t, "tpp", eidas.QSeal, "1")), 403, "unauthorized_client")

	// One that an operator registered has no organisation.
	w.addClient(gatehouse.Client{ID: "operators", JWKS: clientJWKS(t, "operators")})
	cc := w.tokenBy("alpha", "operators", clientKey(t, "operators", jose.PS256))
	expect(t, cc, 200, "")
	expect(t, w.add("alpha", cc.text("access_token"), eidas.OBSeal, test), 403, "unauthorized_client")
}

func TestWithoutTrustAnchors(t *testing.T) {
	w := newCertifiedWorld(sqliteWorld(t))
	w.trust = nil
	w.site = w.replica(w.store)
	_, token := w.tpp(sandboxDirectory, "tpp")
	expect(t, w.add("alpha", token, eidas.OBSeal, w.sandbox.issue("tpp", eidas.OBSeal)), 400, "invalid_client_metadata")
}

func TestCertificateEnds(t *testing.T) {
	w := newCertifiedWorld(sqliteWorld(t))
	id, token := w.tpp(sandboxDirectory, "tpp")
	end := w.clock.Now().Truncate(time.Second).Add(2 * time.Hour)
	w.added("alpha", token, eidas.OBSeal, w.sandbox.issue("tpp", eidas.OBSeal, func(c *certified) { c.NotAfter = end }))
	seal := sealKey(t, "tpp", eidas.OBSeal, "1")
	w.clock.advance(end.Sub(w.clock.Now()) - time.Second)
	expect(t, w.tokenBy("alpha", id, seal), 200, "")
	w.clock.advance(time.Second) // a server has the client in its cache
	expect(t, w.tokenBy("alpha", id, seal), 400, "invalid_client")
	expect(t, w.tokenByAnonymous("alpha", id, seal), 400, "invalid_client")
	if o := w.askBy("alpha", id, seal); !o.tells("invalid_request_object") {
		t.Error(o)
	}
	expect(t, w.tokenBy("alpha", id, clientKey(t, "tpp", jose.PS256)), 200, "")
}

func TestCertificateOutlivesAnUpdate(t *testing.T) {
	t.Parallel()
	forEachWorld(t, func(t *testing.T, plain *world) {
		w := newCertifiedWorld(plain)
		id, token := w.tpp(sandboxDirectory, "tpp")
		w.added("alpha", token, eidas.OBSeal, w.sandbox.issue("tpp", eidas.OBSeal))
		seal := sealKey(t, "tpp", eidas.OBSeal, "1")
		header := bearerHeader(token)
		header.Set("Content-Type", "application/jwt")
		self := registerPath + "/" + id
		expect(t, w.do("PUT", self, header, w.registrationRequest("tpp", w.statement(sandboxDirectory, "tpp", nil), nil)), 200, "")
		expect(t, w.tokenBy("alpha", id, seal), 200, "")
		expect(t, w.do("DELETE", self, bearerHeader(token), ""), 204, "")
		expect(t, w.tokenBy("alpha", id, seal), 404, "invalid_client")
	})
}

func TestCertificateRolesNarrowScopes(t *testing.T) {
	t.Parallel()
	forEachWorld(t, func(t *testing.T, plain *world) {
		w := newCertifiedWorld(plain)
		id, token := w.tpp(sandboxDirectory, "tpp")
		own := clientKey(t, "tpp", jose.PS256)
		scope := func(want string) {
			t.Helper()
			a := w.tokenBy("alpha", id, own)
			expect(t, a, 200, "")
			if got := a.text("scope"); !sameScope(got, want) {
				t.Errorf("scope %q, want %q", got, want)
			}
		}
		asks := func(scope string) (*answer, *outcome) {
			t.Helper()
			assertion, err := own.Sign("JWT", w.assertionClaims("alpha", id))
			must(t, err)
			f := clientCredentials.with(form{"client_assertion_type": assertionType, "client_assertion": assertion, "scope": scope})
			return w.do("POST", "/api/oidc/alpha/tokens", formHeader, f.encode()), w.ask("alpha", query(id).with(form{"scope": "openid " + scope}))
		}
		scope("openid accounts payments")
		w.added("alpha", token, eidas.OBSeal, w.sandbox.issue("tpp", eidas.OBSeal, withRoles(eidas.AccountInformation)))
		scope("openid accounts")
		a, o := asks("payments")
		expect(t, a, 400, "invalid_scope")
		if !o.tells("invalid_scope") {
			t.Error(o)
		}
		a, o = asks("accounts")
		expect(t, a, 200, "")
		if o.begun() == "" {
			t.Error(o)
		}

		// Another certificate brings another role, but none that the software
		// does not have.
		w.added("alpha", token, eidas.OBWAC, w.sandbox.issue("tpp", eidas.OBWAC, withRoles(eidas.PaymentInitiation, eidas.CardIssuing)))
		scope("openid accounts payments")
		a, o = asks("fundsconfirmations")
		expect(t, a, 400, "invalid_scope")
		if !o.tells("invalid_scope") {
			t.Error(o)
		}
		if a, o = asks("payments"); a.StatusCode != 200 || o.begun() == "" {
			t.Error(a, o)
		}

		// A bank's role opens nothing.
		bank, token := w.tpp(sandboxDirectory, "bank")
		w.added("alpha", token, eidas.OBSeal, w.sandbox.issue("bank", eidas.OBSeal, withRoles(eidas.AccountServicing)))
		if a := w.tokenBy("alpha", bank, clientKey(t, "bank", jose.PS256)); a.text("scope") != "openid" {
			t.Error(a)
		}
	})
}

func TestWhoAddsCertificates(t *testing.T) {
	t.Parallel()
	w := newCertifiedWorld(sqliteWorld(t))
	id, registration := w.tpp(sandboxDirectory, "tpp")
	other, foreign := w.tpp(sandboxDirectory, "other")
	own := clientKey(t, "tpp", jose.PS256)
	cc := func(provider, client string, by *jose.PrivateKey) string {
		a := w.tokenBy(provider, client, by)
		expect(t, a, 200, "")
		return a.text("access_token")
	}
	old := cc("alpha", id, own)
	w.clock.advance(11 * time.Minute)
	v := w.visit("alpha", query(id))
	if a := v.decide(approval); a.StatusCode != 200 {
		t.Fatal(a)
	}
	assertion, err := own.Sign("JWT", w.assertionClaims("alpha", id))
	must(t, err)
	f := exchange(landed(t, v.back()).Get("code")).with(form{"client_assertion_type": assertionType, "client_assertion": assertion})
	psu := w.do("POST", "/api/oidc/alpha/tokens", formHeader, f.encode())
	expect(t, psu, 200, "")
	gone, lost := w.tpp(sandboxDirectory, "gone")
	goneToken := cc("alpha", gone, clientKey(t, "gone", jose.PS256))
	expect(t, w.do("DELETE", registerPath+"/"+gone, bearerHeader(lost), ""), 204, "")

	text := w.sandbox.issue("tpp", eidas.OBSeal)
	body := string(mustJSON(t, certificateBody(eidas.OBSeal, text)))
	secret := strings.TrimPrefix(registration, id)
	for name, header := range map[string][]string{
		"none":                              nil,
		"empty":                             {"Bearer "},
		"two":                               {"Bearer " + registration, "Bearer " + registration},
		"Basic":                             {basicHeader(id, registration)},
		"no scheme":                         {registration},
		"unknown":                           {"Bearer " + gatehouse.NewSecret()},
		"the client_id alone":               {"Bearer " + id},
		"the client_id with a wrong secret": {"Bearer " + id + "." + gatehouse.NewSecret()},
		"the client_id with another one's secret":  {"Bearer " + id + strings.TrimPrefix(foreign, other)},
		"another client_id with the secret":        {"Bearer " + other + secret},
		"cut":                                      {"Bearer " + registration[:len(registration)-1]},
		"a PSU's access token":                     {"Bearer " + psu.text("access_token")},
		"a refresh token":                          {"Bearer " + psu.text("refresh_token")},
		"an access token of another provider":      {"Bearer " + cc("beta", id, own)},
		"an access token that ended":               {"Bearer " + old},
		"a registration token of a deleted client": {"Bearer " + lost},
		"an access token of a deleted client":      {"Bearer " + goneToken},
	} {
		t.Run(name, func(t *testing.T) {
			a := w.do("POST", certificatesPath("alpha"), http.Header{"Authorization": header, "Content-Type": {"application/json"}}, body)
			expect(t, a, 401, "invalid_token")
			if !strings.HasPrefix(a.Header.Get("WWW-Authenticate"), "Bearer ") {
				t.Errorf("WWW-Authenticate: %q", a.Header.Get("WWW-Authenticate"))
			}
		})
	}
	// Another client's token speaks for that client, whose certificate it is not.
	expect(t, w.addBody("alpha", foreign, body), 403, "unauthorized_client")
	for _, client := range []string{id, other, gone} {
		if n := len(w.stored(client)); n != 0 {
			t.Errorf("%d certificates were stored", n)
		}
	}
	expect(t, w.addBody("alpha", registration, body), 201, "")
	expect(t, w.addBody("alpha", cc("alpha", id, own), body), 201, "")
	expect(t, w.addBody("beta", cc("beta", id, own), body), 201, "")
	expect(t, w.addBody("closed", registration, body), 403, "access_denied")
	expect(t, w.addBody("nobody", registration, body), 404, "invalid_request")
	header := bearerHeader(registration)
	header.Set("Content-Type", "application/json")
	expect(t, w.do("POST", "/api/alpha/open-banking/v3.1.11/tpp/certificates", header, body), 201, "")
	expect(t, w.do("POST", "/api/alpha/open-banking/v4.0/tpp/certificates", header, body), 404, "invalid_request")
}

func TestTenCertificates(t *testing.T) {
	t.Parallel()
	w := newCertifiedWorld(sqliteWorld(t))
	id, token := w.tpp(sandboxDirectory, "tpp")
	owned := func(i int, days int) string {
		return w.sandbox.issue("tpp", eidas.QSeal, func(c *certified) {
			c.key = sealKey(t, fmt.Sprint("seal-", i), eidas.QSeal, "").Public().Key
			c.NotAfter = w.clock.Now().AddDate(0, 0, days)
		})
	}
	first := owned(0, 1)
	w.added("alpha", token, eidas.QSeal, first)
	for i := 1; i < 10; i++ {
		w.added("alpha", token, eidas.QSeal, owned(i, 100))
	}
	eleventh := owned(10, 100)
	a := w.add("alpha", token, eidas.QSeal, eleventh)
	expect(t, a, 400, "invalid_client_metadata")
	if !strings.Contains(a.text("error_description"), "10 certificates") {
		t.Error(a)
	}
	w.added("alpha", token, eidas.QSeal, first) // it has this one
	if n := len(w.stored(id)); n != 10 {
		t.Errorf("%d certificates", n)
	}
	// Few keys are tried for a token without kid: the newest are.
	newest := sealKey(t, "seal-9", eidas.QSeal, "1")
	expect(t, w.tokenByAnonymous("alpha", id, newest), 200, "")
	expect(t, w.tokenBy("alpha", id, newest), 200, "")
	// A certificate that has ended makes room.
	w.clock.advance(25 * time.Hour)
	w.added("alpha", token, eidas.QSeal, eleventh)
	if n := len(w.stored(id)); n != 10 {
		t.Errorf("%d certificates", n)
	}
	expect(t, w.tokenBy("alpha", id, sealKey(t, "seal-10", eidas.QSeal, "1")), 200, "")
	expect(t, w.tokenBy("alpha", id, sealKey(t, "seal-0", eidas.QSeal, "1")), 400, "invalid_client")
}

// No certificate that was acknowledged is lost.
//
// Proves: S25 (certificates)
func TestCertificatesAtOnce(t *testing.T) {
	forEachWorld(t, func(t *testing.T, plain *world) {
		w := newCertifiedWorld(plain)
		id, token := w.tpp(sandboxDirectory, "tpp")
		var texts []string
		for range 8 {
			texts = append(texts, w.sandbox.issue("tpp", eidas.OBSeal))
		}
		statuses := map[int]int{}
		for _, a := range w.atOnce(len(texts), func(i int) *answer { return w.add("alpha", token, eidas.OBSeal, texts[i]) }) {
			statuses[a.StatusCode]++
		}
		if n := len(w.stored(id)); n == 0 || n != statuses[201] || statuses[201]+statuses[503] != len(texts) {
			t.Errorf("%d certificates, statuses %v", n, statuses)
		}
	})
}
