package eidas_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"gatehouse/eidas"
)

// The moment of every test.
var now = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)

// TestMain makes the root of these tests one that the system trusts, so that it shows if that is asked for its roots.
func TestMain(m *testing.M) {
	os.Exit(withSystemRoot(m))
}

func withSystemRoot(m *testing.M) int {
	dir, err := os.MkdirTemp("", "eidas")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "root.pem")
	if err := os.WriteFile(file, toPEM(root().cert.Raw), 0o600); err != nil {
		panic(err)
	}
	os.Setenv("SSL_CERT_FILE", file)
	return m.Run()
}

// The keys of these tests, each made once.
var (
	rootKey      = sync.OnceValue(generate)
	issuerKey    = sync.OnceValue(generate)
	tppKey       = sync.OnceValue(generate)
	responderKey = sync.OnceValue(generate)
	strangerKey  = sync.OnceValue(generate)
)

func generate() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return key
}

// An authority is a certificate with its key, that signs others.
type authority struct {
	cert *x509.Certificate
	key  *rsa.PrivateKey
}

// newAuthority makes an issuer certificate, signed by parent or, if that is nil, by itself.
func newAuthority(t testing.TB, name string, key *rsa.PrivateKey, parent *authority, change ...func(*x509.Certificate)) *authority {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(1000),
		Subject:               pkix.Name{Country: []string{"NL"}, Organization: []string{"Trust B.V."}, CommonName: name},
		NotBefore:             now.AddDate(-1, 0, 0),
		NotAfter:              now.AddDate(9, 0, 0),
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	for _, f := range change {
		f(template)
	}
	if parent == nil {
		parent = &authority{template, key}
	}
	return &authority{sign(t, template, key, parent), key}
}

func sign(t testing.TB, template *x509.Certificate, key *rsa.PrivateKey, by *authority) *x509.Certificate {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, by.cert, &key.PublicKey, by.key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

var (
	root   = sync.OnceValue(func() *authority { return newAuthority(&testing.T{}, "Root", rootKey(), nil) })
	issuer = sync.OnceValue(func() *authority { return newAuthority(&testing.T{}, "Issuer", issuerKey(), root()) })
)

// A request is what a certificate is made from; rows of tables change one thing in it.
type request struct {
	x509.Certificate
	kind                       eidas.Kind
	roles                      []eidas.Role
	authorityName, authorityID string
	statements                 []byte // instead of what kind, roles and authority give
	by                         *authority
}

// good is the request for a certificate that is as it should be.
func good(kind eidas.Kind) *request {
	r := &request{
		Certificate: x509.Certificate{
			SerialNumber:          big.NewInt(7),
			Subject:               eidas.Subject("NL", "Example Payments B.V.", "PSDNL-DNB-034681", "tpp.example"),
			NotBefore:             now.Add(-time.Hour),
			NotAfter:              now.Add(time.Hour),
			BasicConstraintsValid: true,
		},
		kind:          kind,
		roles:         []eidas.Role{eidas.PaymentInitiation, eidas.AccountInformation},
		authorityName: "De Nederlandsche Bank",
		authorityID:   "NL-DNB",
		by:            issuer(),
	}
	if kind.Web() {
		r.KeyUsage = x509.KeyUsageDigitalSignature
		r.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	} else {
		r.KeyUsage = x509.KeyUsageDigitalSignature | x509.KeyUsageContentCommitment
	}
	return r
}

// der issues the certificate.
func (r *request) der(t testing.TB) []byte {
	t.Helper()
	extension, err := eidas.Extension(r.kind, r.roles, r.authorityName, r.authorityID)
	if err != nil {
		t.Fatal(err)
	}
	if r.statements != nil {
		extension.Value = r.statements
	}
	if r.kind != "" && len(r.ExtraExtensions) == 0 {
		r.ExtraExtensions = []pkix.Extension{extension}
	}
	der, err := x509.CreateCertificate(rand.Reader, &r.Certificate, r.by.cert, &tppKey().PublicKey, r.by.key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func (r *request) parsed(t testing.TB) *eidas.Certificate {
	t.Helper()
	c, err := eidas.Parse(r.der(t))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func pool(certs ...*x509.Certificate) *x509.CertPool {
	p := x509.NewCertPool()
	for _, c := range certs {
		p.AddCert(c)
	}
	return p
}

func toPEM(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// marshal writes DER with encoding/asn1, another encoder than the one of the package.
func marshal(t testing.TB, v any) []byte {
	t.Helper()
	der, err := asn1.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
