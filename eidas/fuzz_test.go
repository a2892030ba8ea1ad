package eidas_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"slices"
	"testing"
	"time"

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
