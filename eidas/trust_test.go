package eidas_test

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"math/big"
	"strconv"
	"testing"
	"time"

	"gatehouse/eidas"
)

// Each row is a good certificate, presented in the right way, with one thing changed.
func TestVerify(t *testing.T) {
	const (
		notAccepted = "certificate is of a kind that is not accepted here"
		untrusted   = "certificate does not lead to a configured trust anchor"
		signatures  = "key usage does not allow signatures"
		client      = "extended key usage does not allow client authentication"
		country     = "organizationIdentifier has a country that is not in ISO 3166-1"
		authority   = "PSD2 statement names another authority than organizationIdentifier"
	)
	type presented struct {
		*request
		trust *eidas.Trust
		chain []*x509.Certificate
		now   time.Time
	}
	organization := func(identifier, id string) func(*presented) {
		return func(p *presented) { p.Subject.ExtraNames[0].Value, p.authorityID = identifier, id }
	}
	stranger := newAuthority(t, "Stranger", strangerKey(), nil)
	impostor := newAuthority(t, "Issuer", strangerKey(), stranger)
	expired := newAuthority(t, "Expired", issuerKey(), root(), func(c *x509.Certificate) { c.NotAfter = now.Add(-time.Second) })
	noCA := newAuthority(t, "No issuer", issuerKey(), root(), func(c *x509.Certificate) { c.IsCA, c.KeyUsage = false, x509.KeyUsageDigitalSignature })
	serverOnly := newAuthority(t, "For servers", issuerKey(), root(), func(c *x509.Certificate) {
		c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	})
	if _, err := issuer().cert.Verify(x509.VerifyOptions{CurrentTime: now}); err != nil {
		t.Fatalf("the system does not trust the root of these tests: %v", err)
	}
	rows := []struct {
		name   string
		kind   eidas.Kind
		change func(*presented)
		want   string
	}{
		{"QWAC", eidas.QWAC, func(*presented) {}, ""},
		{"QSeal", eidas.QSeal, func(*presented) {}, ""},
		{"OBWAC", eidas.OBWAC, func(*presented) {}, ""},
		{"OBSeal", eidas.OBSeal, func(*presented) {}, ""},

		{"first moment", eidas.QSeal, func(p *presented) { p.now = p.NotBefore }, ""},
		{"last moment", eidas.QSeal, func(p *presented) { p.now = p.NotAfter }, ""},
		{"not valid yet", eidas.QSeal, func(p *presented) { p.now = p.NotBefore.Add(-time.Second) }, "certificate is not valid yet"},
		{"expired", eidas.QSeal, func(p *presented) { p.now = p.NotAfter.Add(time.Second) }, "certificate has expired"},

		{"accepted kind", eidas.OBSeal, func(p *presented) { p.trust.Kinds = []eidas.Kind{eidas.OBWAC, eidas.OBSeal} }, ""},
		{"other kind", eidas.QSeal, func(p *presented) { p.trust.Kinds = []eidas.Kind{eidas.OBWAC, eidas.OBSeal} }, notAccepted},

		{"issuer configured", eidas.QSeal, func(p *presented) { p.chain, p.trust.Intermediates = nil, pool(issuer().cert) }, ""},
		{"issuer is the anchor", eidas.QSeal, func(p *presented) { p.chain, p.trust.Roots = nil, pool(issuer().cert) }, ""},
		{"issuers in any order", eidas.QSeal, func(p *presented) {
			p.chain = []*x509.Certificate{root().cert, stranger.cert, issuer().cert}
		}, ""},
		{"issuer missing", eidas.QSeal, func(p *presented) { p.chain = nil }, untrusted},
		{"other anchor", eidas.QSeal, func(p *presented) { p.trust.Roots = pool(stranger.cert) }, untrusted},
		{"no anchors", eidas.QSeal, func(p *presented) { p.trust.Roots = nil }, untrusted},
		{"empty anchors", eidas.QSeal, func(p *presented) { p.trust.Roots = pool() }, untrusted},
		{"anchor brought along", eidas.QSeal, func(p *presented) {
			p.by, p.chain = stranger, []*x509.Certificate{stranger.cert}
		}, untrusted},
		{"issuer of the same name", eidas.QSeal, func(p *presented) { p.by = impostor }, untrusted},
		{"expired issuer", eidas.QSeal, func(p *presented) { p.by, p.chain = expired, []*x509.Certificate{expired.cert} }, untrusted},
		{"issuer that is none", eidas.QSeal, func(p *presented) { p.by, p.chain = noCA, []*x509.Certificate{noCA.cert} }, untrusted},
		{"issuer for servers only", eidas.QWAC, func(p *presented) { p.by, p.chain = serverOnly, []*x509.Certificate{serverOnly.cert} }, untrusted},
		{"eight issuers", eidas.QSeal, func(p *presented) {
			for len(p.chain) < 8 {
				p.chain = append(p.chain, root().cert)
			}
		}, ""},
		{"nine issuers", eidas.QSeal, func(p *presented) {
			for len(p.chain) < 9 {
				p.chain = append(p.chain, root().cert)
			}
		}, "more than 8 issuer certificates"},
		{"unknown critical extension", eidas.QSeal, func(p *presented) {
			extension, err := eidas.Extension(eidas.QSeal, p.roles, p.authorityName, p.authorityID)
			if err != nil {
				t.Fatal(err)
			}
			p.ExtraExtensions = []pkix.Extension{extension, {Id: asn1.ObjectIdentifier{1, 2, 3}, Critical: true, Value: []byte{5, 0}}}
		}, untrusted},

		{"seal, signature only", eidas.QSeal, func(p *presented) { p.KeyUsage = x509.KeyUsageDigitalSignature }, ""},
		{"seal, commitment only", eidas.OBSeal, func(p *presented) { p.KeyUsage = x509.KeyUsageContentCommitment }, ""},
		{"seal for encryption", eidas.QSeal, func(p *presented) { p.KeyUsage = x509.KeyUsageKeyEncipherment }, signatures},
		{"seal without key usage", eidas.QSeal, func(p *presented) { p.KeyUsage = 0 }, signatures},
		{"websites without signature", eidas.QWAC, func(p *presented) { p.KeyUsage = x509.KeyUsageKeyEncipherment }, signatures},
		{"websites with commitment only", eidas.QWAC, func(p *presented) { p.KeyUsage = x509.KeyUsageContentCommitment }, signatures},
		{"websites for servers only", eidas.QWAC, func(p *presented) { p.ExtKeyUsage = p.ExtKeyUsage[:1] }, client},
		{"websites without extended key usage", eidas.OBWAC, func(p *presented) { p.ExtKeyUsage = nil }, client},
		{"an issuer itself", eidas.QSeal, func(p *presented) { p.IsCA, p.KeyUsage = true, p.KeyUsage|x509.KeyUsageCertSign },
			"certificate is one of an issuer"},

		{"Great Britain", eidas.OBSeal, organization("PSDGB-FCA-123456", "GB-FCA"), ""},
		{"the Directory as authority", eidas.OBSeal, organization("PSDGB-OB-Unknown0015800001041REAAY", "GB-OB"), ""},
		{"first country", eidas.QSeal, organization("PSDAD-AFA-1", "AD-AFA"), ""},
		{"last country", eidas.QSeal, organization("PSDZW-RBZ-1", "ZW-RBZ"), ""},
		{"country UK", eidas.OBSeal, organization("PSDUK-FCA-123456", "UK-FCA"), country},
		{"country EU", eidas.QSeal, organization("PSDEU-ECB-1", "EU-ECB"), country},
		{"country XX", eidas.QSeal, organization("PSDXX-AAA-1", "XX-AAA"), country},
		{"country across two codes", eidas.QSeal, organization("PSDDA-AAA-1", "DA-AAA"), country},
		{"other country", eidas.QSeal, organization("PSDNL-DNB-034681", "BE-DNB"), authority},
		{"other authority", eidas.QSeal, organization("PSDNL-DNB-034681", "NL-AFM"), authority},
		{"lower case authority", eidas.QSeal, organization("PSDNL-DNB-034681", "nl-dnb"), authority},
		{"authority without country", eidas.QSeal, organization("PSDNL-DNB-034681", "DNB"), authority},
	}
	tried := 0
	for _, row := range rows {
		if row.want != "" {
			tried++
		}
		p := &presented{
			request: good(row.kind),
			trust:   &eidas.Trust{Roots: pool(root().cert)},
			chain:   []*x509.Certificate{issuer().cert},
			now:     now,
		}
		row.change(p)
		err := p.trust.Verify(t.Context(), p.parsed(t), p.chain, p.now)
		if errorText(err) != row.want {
			t.Errorf("%s: got %v, want %q", row.name, err, row.want)
		}
		if errors.Is(err, eidas.ErrUntrusted) != (row.want == untrusted) {
			t.Errorf("%s: ErrUntrusted is wrong", row.name)
		}
	}
	t.Attr("bad_inputs", strconv.Itoa(tried))
}

// A certificate whose signature is not the issuer's is not trusted, whatever else it says.
func TestVerifySignature(t *testing.T) {
	der := good(eidas.QSeal).der(t)
	der[len(der)-1] ^= 1
	c, err := eidas.Parse(der)
	if err != nil {
		t.Fatal(err)
	}
	trust := &eidas.Trust{Roots: pool(issuer().cert)}
	if err := trust.Verify(t.Context(), c, nil, now); err != eidas.ErrUntrusted {
		t.Errorf("got %v", err)
	}
}

// The pool of the configuration does not learn from what is presented.
func TestVerifyKeepsNothing(t *testing.T) {
	trust := &eidas.Trust{Roots: pool(root().cert), Intermediates: pool()}
	c := good(eidas.QSeal).parsed(t)
	if err := trust.Verify(t.Context(), c, []*x509.Certificate{issuer().cert}, now); err != nil {
		t.Fatal(err)
	}
	if err := trust.Verify(t.Context(), c, nil, now); err != eidas.ErrUntrusted {
		t.Errorf("got %v", err)
	}
}

// New reads a certificate that crypto/tls has parsed.
func TestNew(t *testing.T) {
	want := good(eidas.QWAC).parsed(t)
	got, err := eidas.New(want.X509)
	if err != nil || got.Thumbprint != want.Thumbprint || got.Kind != eidas.QWAC {
		t.Errorf("got %+v, %v", got, err)
	}
	if _, err := eidas.New(&x509.Certificate{SerialNumber: big.NewInt(1)}); err == nil {
		t.Error("an empty certificate: no error")
	}
}
