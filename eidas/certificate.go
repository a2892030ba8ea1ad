package eidas

// RFC 5280 §4 (certificates), RFC 7468 (PEM), ETSI TS 119 495 §5 (PSD2 certificates), ETSI EN 319 412-1 §5.1.4
// (organizationIdentifier), RFC 8705 §3.1 (thumbprint)

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
)

// Kind is the kind of a PSD2 certificate.
type Kind string

// The kinds. A certificate for websites authenticates its holder in TLS, one for seals signs what its holder says.
const (
	QWAC   Kind = "qwac"   // qualified website authentication certificate
	QSeal  Kind = "qseal"  // qualified certificate for electronic seals (QSealC)
	OBWAC  Kind = "obwac"  // as QWAC, by the UK Open Banking Directory
	OBSeal Kind = "obseal" // as QSeal, by the UK Open Banking Directory
)

// kinds says what each kind's qcStatements hold. A certificate of the Open Banking Directory has the same type and the
// same PSD2 statement as a qualified one, but need not claim to be qualified (EN 319 412-5 §4.2.1): its issuer is not
// on a trusted list. Whether the claim may be believed is for the trust anchor to say: see Trust.Kinds.
var kinds = map[Kind]struct {
	qcType    asn1.ObjectIdentifier
	qualified bool
}{
	QWAC:   {oidQcTypeWeb, true},
	QSeal:  {oidQcTypeESeal, true},
	OBWAC:  {oidQcTypeWeb, false},
	OBSeal: {oidQcTypeESeal, false},
}

// Valid reports whether k is one of the four kinds.
func (k Kind) Valid() bool {
	_, ok := kinds[k]
	return ok
}

// Web reports whether k is for TLS, and not for seals.
func (k Kind) Web() bool { return k == QWAC || k == OBWAC }

// Certificate is a PSD2 certificate taken apart. Nothing in it is to be believed before Trust.Verify.
type Certificate struct {
	Kind Kind // as it claims to be: see As

	OrganizationName       string // 2.5.4.10, the legal name
	OrganizationIdentifier string // 2.5.4.97, such as "PSDNL-DNB-034681" (ETSI TS 119 495 §5.2.1)

	Country             string // of the authority, from OrganizationIdentifier: "NL", an ISO 3166-1 code
	Authority           string // from OrganizationIdentifier: "DNB"
	AuthorizationNumber string // from OrganizationIdentifier: "034681"

	Roles         []Role // at least one
	AuthorityName string // from the PSD2 statement: "De Nederlandsche Bank"
	AuthorityID   string // from the PSD2 statement: "NL-DNB"

	Thumbprint string // x5t#S256 (RFC 8705 §3.1)
	X509       *x509.Certificate
}

// As makes kind the Kind of c, as its sender calls it. A certificate for websites is none for seals, and one that does
// not claim to be qualified is no QWAC or QSeal. One that does may still be an OBWAC or OBSeal, if Trust says so.
func (c *Certificate) As(kind Kind) error {
	if !kind.Valid() || kind.Web() != c.Kind.Web() || kinds[kind].qualified && !kinds[c.Kind].qualified {
		return errors.New("certificate is not of the kind it is called")
	}
	c.Kind = kind
	return nil
}

// MaxSize bounds what Parse looks at, in bytes.
const MaxSize = 16 << 10

var oidOrganizationIdentifier = asn1.ObjectIdentifier{2, 5, 4, 97}

// Parse reads exactly one certificate, as one PEM block "CERTIFICATE" or as DER, with nothing before or after it but
// white space around the PEM. Certificates of its issuers go to Trust.Verify apart.
func Parse(pemOrDER []byte) (*Certificate, error) {
	if len(pemOrDER) > MaxSize {
		return nil, fmt.Errorf("certificate is longer than %d bytes", MaxSize)
	}
	der, err := onlyBlock(pemOrDER)
	if err != nil {
		return nil, err
	}
	parsed, err := x509.ParseCertificate(der) // refuses trailing bytes and repeated extensions
	if err != nil {
		return nil, errors.New("not a well-formed X.509 certificate")
	}
	return New(parsed)
}

// New takes apart a certificate that is already parsed, for example the one of a TLS connection.
func New(parsed *x509.Certificate) (*Certificate, error) {
	sum := sha256.Sum256(parsed.Raw)
	c := &Certificate{X509: parsed, Thumbprint: base64.RawURLEncoding.EncodeToString(sum[:])}
	if len(parsed.Subject.Organization) == 0 || !printable(parsed.Subject.Organization[0]) {
		return nil, errors.New("organizationName is missing or not printable")
	}
	c.OrganizationName = parsed.Subject.Organization[0]
	if err := c.readIdentifier(parsed.Subject); err != nil {
		return nil, err
	}
	for _, extension := range parsed.Extensions {
		if !extension.Id.Equal(oidQCStatements) {
			continue
		}
		if extension.Critical { // EN 319 412-5 §4.1
			return nil, errors.New("qcStatements is marked critical")
		}
		s, err := parseStatements(extension.Value)
		if err != nil {
			return nil, err
		}
		c.Kind, c.Roles, c.AuthorityName, c.AuthorityID = s.kind, s.roles, s.authorityName, s.authorityID
		return c, nil
	}
	return nil, errors.New("qcStatements is missing")
}

func onlyBlock(data []byte) ([]byte, error) {
	if len(data) > 0 && data[0] == 0x30 { // a SEQUENCE: DER
		return data, nil
	}
	data = bytes.TrimSpace(data)
	block, rest := pem.Decode(data) // skips what it does not understand, so count what begins
	if block == nil || block.Type != "CERTIFICATE" || len(block.Headers) != 0 || len(rest) != 0 ||
		!bytes.HasPrefix(data, []byte("-----BEGIN ")) || bytes.Count(data, []byte("-----BEGIN ")) != 1 {
		return nil, errors.New("neither DER nor exactly one PEM block of a certificate")
	}
	return block.Bytes, nil
}

// readIdentifier reads the organizationIdentifier: "PSD", country, "-", authority, "-", authorization number
// (ETSI TS 119 495 §5.2.1, in the frame of ETSI EN 319 412-1 §5.1.4). An identifier of another scheme, which the
// specification allows where no authority has issued a number, names nobody whom an authority has authorised.
func (c *Certificate) readIdentifier(subject pkix.Name) error {
	for _, attribute := range subject.Names {
		if !attribute.Type.Equal(oidOrganizationIdentifier) {
			continue
		}
		if c.OrganizationIdentifier != "" {
			return errors.New("organizationIdentifier is repeated")
		}
		c.OrganizationIdentifier, _ = attribute.Value.(string)
		if !printable(c.OrganizationIdentifier) {
			return errors.New("organizationIdentifier is malformed")
		}
	}
	if c.OrganizationIdentifier == "" {
		return errors.New("organizationIdentifier is missing")
	}
	scheme, rest, _ := strings.Cut(c.OrganizationIdentifier, "-")
	authority, number, _ := strings.Cut(rest, "-")
	country, isPSD := strings.CutPrefix(scheme, "PSD")
	if !isPSD || !capitals(country, 2, 2) || !capitals(authority, 2, 8) || number == "" {
		return errors.New("organizationIdentifier is malformed")
	}
	c.Country, c.Authority, c.AuthorizationNumber = country, authority, number
	return nil
}

// capitals reports whether s is of least to most letters A to Z.
func capitals(s string, least, most int) bool {
	return len(s) >= least && len(s) <= most && strings.Trim(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") == ""
}
