package eidas_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"io"
	"math/big"
	"net/http"
	"slices"
	"testing"
	"time"

	"golang.org/x/crypto/ocsp"

	"gatehouse/eidas"
)

// Whatever Parse accepts is one certificate with an identifier, roles and a kind, and reads the same again.
func FuzzParse(f *testing.F) {
	for _, kind := range []eidas.Kind{eidas.QWAC, eidas.QSeal, eidas.OBWAC, eidas.OBSeal} {
		der := good(kind).der(f)
		f.Add(der)
		f.Add(toPEM(der))
	}
	f.Add(root().cert.Raw)
	f.Add([]byte("-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----"))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := eidas.Parse(data)
		if err != nil {
			return
		}
		checkAccepted(t, c)
		again, err := eidas.Parse(toPEM(c.X509.Raw))
		if err != nil || again.Thumbprint != c.Thumbprint || !slices.Equal(again.Roles, c.Roles) {
			t.Errorf("reads as %+v, then %+v, %v", c, again, err)
		}
		trust := &eidas.Trust{Roots: pool(root().cert), Kinds: []eidas.Kind{"none"}}
		if trust.Verify(t.Context(), c, nil, now) == nil {
			t.Error("verified")
		}
	})
}

// Whatever is accepted as the qcStatements of a certificate makes sense.
func FuzzStatements(f *testing.F) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		f.Fatal(err)
	}
	for _, kind := range []eidas.Kind{eidas.QWAC, eidas.OBSeal} {
		extension, err := eidas.Extension(kind, []eidas.Role{"PSP_AS", "PSP_PI", "PSP_AI", "PSP_IC"}, "Authority", "NL-DNB")
		if err != nil {
			f.Fatal(err)
		}
		f.Add(extension.Value)
	}
	f.Add(nested(300))
	f.Fuzz(func(t *testing.T, value []byte) {
		template := &x509.Certificate{
			SerialNumber: big.NewInt(1), NotBefore: now, NotAfter: now.Add(time.Hour),
			Subject:         eidas.Subject("NL", "Example", "PSDNL-DNB-1", ""),
			ExtraExtensions: []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 1, 3}, Value: value}},
		}
		der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
		if err != nil {
			t.Fatal(err)
		}
		if c, err := eidas.Parse(der); err == nil {
			checkAccepted(t, c)
		}
	})
}

func checkAccepted(t *testing.T, c *eidas.Certificate) {
	t.Helper()
	if !c.Kind.Valid() || c.OrganizationName == "" || c.AuthorityName == "" || c.AuthorityID == "" || len(c.Thumbprint) != 43 ||
		c.OrganizationIdentifier != "PSD"+c.Country+"-"+c.Authority+"-"+c.AuthorizationNumber {
		t.Errorf("accepted %+v", c)
	}
	if _, err := eidas.PSD2Statement(c.Roles, c.AuthorityName, c.AuthorityID); err != nil {
		t.Errorf("accepted %+v: %v", c, err)
	}
	for i, role := range c.Roles {
		if slices.Contains(c.Roles[:i], role) {
			t.Errorf("accepted roles %v", c.Roles)
		}
	}
}

// said answers every request with itself.
type said []byte

func (s said) RoundTrip(r *http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: io.NopCloser(bytes.NewReader(s)), Request: r}, nil
}

// fuzzAnswer lets a publisher answer anything about certificate 7, and hands
// what was believed to check: nil or ErrRevoked.
func fuzzAnswer(f *testing.F, path string, check func(t *testing.T, answer []byte, verdict error)) {
	r := good(eidas.QSeal)
	r.NotBefore, r.NotAfter = now.AddDate(0, -1, 0), now.AddDate(1, 0, 0)
	if path == "/ocsp" {
		r.OCSPServer = []string{"http://publisher.example/ocsp"}
	} else {
		r.CRLDistributionPoints = []string{"http://publisher.example/crl"}
	}
	certificate := r.parsed(f)
	f.Fuzz(func(t *testing.T, answer []byte) {
		trust := &eidas.Trust{
			Roots:      pool(issuer().cert),
			Revocation: &eidas.Revocation{HTTP: &http.Client{Transport: said(answer)}, Timeout: 10 * time.Second},
		}
		if err := trust.Verify(t.Context(), certificate, nil, now); err == nil || errors.Is(err, eidas.ErrRevoked) {
			check(t, answer, err)
		}
	})
}

// A list is believed only as its issuer has signed it.
func FuzzCRL(f *testing.F) {
	stale, strange := goodList(7), goodList(7)
	stale.NextUpdate = now.Add(-time.Minute)
	strange.by = newAuthority(f, "Issuer", strangerKey(), nil)
	for _, l := range []*list{goodList(), goodList(7), goodList(6, 8), stale, strange} {
		f.Add(l.der(f))
	}
	f.Add(goodResponse().der(f))
	fuzzAnswer(f, "/crl", func(t *testing.T, answer []byte, verdict error) {
		l, err := x509.ParseRevocationList(answer)
		if err != nil || l.CheckSignatureFrom(issuer().cert) != nil || now.Before(l.ThisUpdate) || now.After(l.NextUpdate) {
			t.Fatalf("believed %x: %v", answer, err)
		}
		revoked := slices.ContainsFunc(l.RevokedCertificateEntries, func(e x509.RevocationListEntry) bool { return e.SerialNumber.Cmp(big.NewInt(7)) == 0 })
		if revoked != (verdict != nil) {
			t.Errorf("%x: revoked %v, but %v", answer, revoked, verdict)
		}
	})
}

// A response is believed only as the issuer has signed it, or whom it gave the
// task.
func FuzzOCSP(f *testing.F) {
	revoked, other, stale, strange, delegated := goodResponse(), goodResponse(), goodResponse(), goodResponse(), goodResponse()
	revoked.Status, revoked.RevokedAt = ocsp.Revoked, now.Add(-2*time.Hour)
	other.SerialNumber = big.NewInt(8)
	stale.NextUpdate = now.Add(-time.Minute)
	strange.key = strangerKey()
	delegated.responder = responder(f, func(*x509.Certificate) {}, issuer())
	delegated.Certificate, delegated.key = delegated.responder, responderKey()
	for _, r := range []*response{goodResponse(), revoked, other, stale, strange, delegated} {
		f.Add(r.der(f))
	}
	f.Add(ocsp.TryLaterErrorResponse)
	f.Add(goodList(7).der(f))
	fuzzAnswer(f, "/ocsp", func(t *testing.T, answer []byte, verdict error) {
		r, err := ocsp.ParseResponse(answer, issuer().cert)
		if err != nil || r.SerialNumber.Cmp(big.NewInt(7)) != 0 || now.Before(r.ThisUpdate) || now.After(r.NextUpdate) {
			t.Fatalf("believed %x: %v", answer, err)
		}
		if (r.Status == ocsp.Good) != (verdict == nil) || (r.Status == ocsp.Revoked) != (verdict != nil) {
			t.Errorf("%x: status %d, but %v", answer, r.Status, verdict)
		}
	})
}
