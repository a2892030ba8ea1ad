package eidas_test

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"gatehouse/eidas"
)

// Every kind is read back as it was made, from DER and from PEM.
func TestParse(t *testing.T) {
	for _, kind := range []eidas.Kind{eidas.QWAC, eidas.QSeal, eidas.OBWAC, eidas.OBSeal} {
		der := good(kind).der(t)
		sum := sha256.Sum256(der)
		want := &eidas.Certificate{
			Kind:                   kind,
			OrganizationName:       "Example Payments B.V.",
			OrganizationIdentifier: "PSDNL-DNB-034681",
			Country:                "NL",
			Authority:              "DNB",
			AuthorizationNumber:    "034681",
			Roles:                  []eidas.Role{"PSP_PI", "PSP_AI"},
			AuthorityName:          "De Nederlandsche Bank",
			AuthorityID:            "NL-DNB",
			Thumbprint:             base64.RawURLEncoding.EncodeToString(sum[:]),
		}
		for _, input := range [][]byte{der, toPEM(der), bytes.ReplaceAll(toPEM(der), []byte("\n"), []byte("\r\n")), append([]byte(" \n"), toPEM(der)...)} {
			got, err := eidas.Parse(input)
			if err != nil {
				t.Fatalf("%s: %v", kind, err)
			}
			if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(eidas.Certificate{}, "X509")); diff != "" {
				t.Errorf("%s: %s", kind, diff)
			}
			if !bytes.Equal(got.X509.Raw, der) {
				t.Errorf("%s: X509 is another certificate", kind)
			}
		}
	}
}

// Each row is the input of a good certificate with one thing changed.
func TestParseInput(t *testing.T) {
	const form = "neither DER nor exactly one PEM block of a certificate"
	der := good(eidas.QSeal).der(t)
	withHeader := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Headers: map[string]string{"A": "b"}, Bytes: der})
	broken := []byte("-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n")
	rows := []struct {
		name  string
		input []byte
		want  string
	}{
		{"nothing", nil, form},
		{"text", []byte("certificate"), form},
		{"text before", append([]byte("x\n"), toPEM(der)...), form},
		{"text after", append(toPEM(der), 'x'), form},
		{"two blocks", append(toPEM(der), toPEM(der)...), form},
		{"a broken block before", append(broken, toPEM(der)...), form},
		{"a private key", bytes.ReplaceAll(toPEM(der), []byte("CERTIFICATE"), []byte("PRIVATE KEY")), form},
		{"another type", bytes.ReplaceAll(toPEM(der), []byte("CERTIFICATE"), []byte("X509 CERTIFICATE")), form},
		{"headers", withHeader, form},
		{"base64 without PEM", []byte(base64.StdEncoding.EncodeToString(der)), form},
		{"trailing byte", append(slices.Clone(der), 0), "not a well-formed X.509 certificate"},
		{"trailing byte in PEM", toPEM(append(slices.Clone(der), 0)), "not a well-formed X.509 certificate"},
		{"cut short", der[:len(der)-1], "not a well-formed X.509 certificate"},
		{"an empty sequence", []byte{0x30, 0}, "not a well-formed X.509 certificate"},
		{"deeply nested", nested(8000), "not a well-formed X.509 certificate"},
		{"as long as allowed", append([]byte{0x30}, make([]byte, eidas.MaxSize-1)...), "not a well-formed X.509 certificate"},
		{"too long", append([]byte{0x30}, make([]byte, eidas.MaxSize)...), "certificate is longer than 16384 bytes"},
	}
	for _, row := range rows {
		if _, err := eidas.Parse(row.input); errorText(err) != row.want {
			t.Errorf("%s: got %v, want %q", row.name, err, row.want)
		}
	}
}

// nested returns SEQUENCEs in SEQUENCEs, of about n bytes.
func nested(n int) []byte {
	der := []byte{0x30, 0}
	for len(der) < n {
		switch l := len(der); {
		case l < 128:
			der = append([]byte{0x30, byte(l)}, der...)
		case l < 256:
			der = append([]byte{0x30, 0x81, byte(l)}, der...)
		default:
			der = append([]byte{0x30, 0x82, byte(l >> 8), byte(l)}, der...)
		}
	}
	return der
}

// Each row is a good certificate whose subject has one thing changed.
func TestParseSubject(t *testing.T) {
	const (
		missing   = "organizationIdentifier is missing"
		malformed = "organizationIdentifier is malformed"
	)
	identifier := func(value any) func(*pkix.Name) {
		return func(n *pkix.Name) { n.ExtraNames[0].Value = value }
	}
	rows := []struct {
		name   string
		change func(*pkix.Name)
		want   string
	}{
		{"as it should be", func(*pkix.Name) {}, ""},
		{"a hyphen in the number", identifier("PSDNL-DNB-03-4681"), ""},
		{"a number of any characters", identifier("PSDDE-BAFIN-Ümlaut 12/3"), ""},
		{"an authority of eight letters", identifier("PSDNL-ABCDEFGH-1"), ""},
		{"none", func(n *pkix.Name) { n.ExtraNames = nil }, missing},
		{"two", func(n *pkix.Name) { n.ExtraNames = append(n.ExtraNames, n.ExtraNames[0]) }, "organizationIdentifier is repeated"},
		{"empty", identifier(""), malformed},
		{"not a string", identifier(1), "not a well-formed X.509 certificate"},
		{"another scheme", identifier("VATNL-123456789"), malformed},
		{"another scheme with three parts", identifier("NTRNL-DNB-034681"), malformed},
		{"lower case scheme", identifier("psdNL-DNB-034681"), malformed},
		{"lower case country", identifier("PSDnl-DNB-034681"), malformed},
		{"country of one letter", identifier("PSDN-DNB-034681"), malformed},
		{"country of three letters", identifier("PSDNLD-DNB-034681"), malformed},
		{"no country", identifier("PSD-DNB-034681"), malformed},
		{"authority of one letter", identifier("PSDNL-D-034681"), malformed},
		{"authority of nine letters", identifier("PSDNL-ABCDEFGHI-034681"), malformed},
		{"authority with a digit", identifier("PSDNL-DN8-034681"), malformed},
		{"lower case authority", identifier("PSDNL-dnb-034681"), malformed},
		{"Greek letters", identifier("PSDNL-ΔΝΒ-034681"), malformed},
		{"no number", identifier("PSDNL-DNB-"), malformed},
		{"no authority", identifier("PSDNL-034681"), malformed},
		{"other hyphens", identifier("PSDNL–DNB–034681"), malformed},
		{"a line break", identifier("PSDNL-DNB-0346\n81"), malformed},
		{"a right-to-left mark", identifier("PSDNL-DNB-0346\u200f81"), malformed},
		{"257 characters", identifier("PSDNL-DNB-" + strings.Repeat("1", 247)), malformed},
		{"256 characters", identifier("PSDNL-DNB-" + strings.Repeat("1", 246)), ""},
		{"no organization", func(n *pkix.Name) { n.Organization = nil }, "organizationName is missing or not printable"},
		{"empty organization", func(n *pkix.Name) { n.Organization = []string{""} }, "organizationName is missing or not printable"},
		{"control characters", func(n *pkix.Name) { n.Organization = []string{"a\x1b[2Jb"} }, "organizationName is missing or not printable"},
	}
	for _, row := range rows {
		r := good(eidas.QSeal)
		row.change(&r.Subject)
		if _, err := eidas.Parse(r.der(t)); errorText(err) != row.want {
			t.Errorf("%s: got %v, want %q", row.name, err, row.want)
		}
	}
}

// Structures of the qcStatements extension, written with encoding/asn1.
type (
	roleOfPSP struct {
		ID   asn1.ObjectIdentifier
		Name string `asn1:"utf8"`
	}
	psd2QcType struct {
		Roles []roleOfPSP
		Name  string `asn1:"utf8"`
		ID    string `asn1:"utf8"`
	}
	qcStatement struct {
		ID   asn1.ObjectIdentifier
		Info any `asn1:"optional"`
	}
)

var (
	oidCompliance = asn1.ObjectIdentifier{0, 4, 0, 1862, 1, 1}
	oidType       = asn1.ObjectIdentifier{0, 4, 0, 1862, 1, 6}
	oidPSD2       = asn1.ObjectIdentifier{0, 4, 0, 19495, 2}
)

func oidRole(arc int) asn1.ObjectIdentifier   { return asn1.ObjectIdentifier{0, 4, 0, 19495, 1, arc} }
func oidQcType(arc int) asn1.ObjectIdentifier { return asn1.ObjectIdentifier{0, 4, 0, 1862, 1, 6, arc} }

// Each row is the extension of a good certificate with one thing changed.
func TestParseStatements(t *testing.T) {
	const (
		malformed = "qcStatements is malformed"
		psd2      = "PSD2 statement is malformed"
		mismatch  = "PSD2 statement has a role whose name is not that of its object identifier"
		noRole    = "PSD2 statement has no role of PSD2"
	)
	compliance := struct{ ID asn1.ObjectIdentifier }{oidCompliance}
	seal := qcStatement{oidType, []asn1.ObjectIdentifier{oidQcType(2)}}
	body := func(roles ...roleOfPSP) psd2QcType { return psd2QcType{roles, "De Nederlandsche Bank", "NL-DNB"} }
	statement := func(info any) []byte { return marshal(t, []any{compliance, seal, qcStatement{oidPSD2, info}}) }
	roles := func(roles ...roleOfPSP) []byte { return statement(body(roles...)) }
	pi, ai := roleOfPSP{oidRole(2), "PSP_PI"}, roleOfPSP{oidRole(3), "PSP_AI"}
	fine := qcStatement{oidPSD2, body(pi, ai)}
	var many []any
	for arc := range 40 {
		many = append(many, qcStatement{asn1.ObjectIdentifier{1, 2, 3, arc}, 1})
	}
	var manyRoles []roleOfPSP
	for arc := range 17 {
		manyRoles = append(manyRoles, roleOfPSP{oidRole(100 + arc), "X"})
	}
	rows := []struct {
		name  string
		value []byte
		want  string
	}{
		{"as it should be", roles(pi, ai), ""},
		{"all four roles", roles(roleOfPSP{oidRole(4), "PSP_IC"}, ai, pi, roleOfPSP{oidRole(1), "PSP_AS"}), ""},
		{"an unknown statement", marshal(t, []any{qcStatement{asn1.ObjectIdentifier{1, 2, 3}, nested(200)}, compliance, seal, fine}), ""},
		{"a role of another law besides", roles(pi, roleOfPSP{oidRole(7), "VOP_RS"}), ""},

		{"empty", []byte{0x30, 0}, "qcStatements has no PSD2 statement"},
		{"no PSD2 statement", marshal(t, []any{compliance, seal}), "qcStatements has no PSD2 statement"},
		{"no bytes", []byte{}, malformed},
		{"a SET", append([]byte{0x31}, roles(pi)[1:]...), malformed},
		{"trailing bytes", append(roles(pi), 5, 0), malformed},
		{"cut short", roles(pi)[:50], malformed},
		{"indefinite length", append(append([]byte{0x30, 0x80}, roles(pi)[2:]...), 0, 0), malformed},
		{"length not minimal", notMinimal(roles(pi)), malformed},
		{"a statement that is no sequence", marshal(t, []any{1}), malformed},
		{"a statement without identifier", marshal(t, []any{[]int{1}}), malformed},
		{"nested", nested(8000), malformed},
		{"the PSD2 statement twice", marshal(t, []any{compliance, seal, fine, fine}), "qcStatements repeats a statement"},
		{"another statement twice", marshal(t, []any{compliance, compliance, seal, fine}), "qcStatements repeats a statement"},
		{"many statements", marshal(t, append(many, compliance, seal, fine)), "qcStatements has too many statements"},

		{"no type", marshal(t, []any{compliance, fine}), "qcStatements has no certificate type"},
		{"type for signatures", marshal(t, []any{compliance, qcStatement{oidType, []asn1.ObjectIdentifier{oidQcType(1)}}, fine}),
			"qcStatements has a certificate type that is not website authentication or seal"},
		{"two types", marshal(t, []any{compliance, qcStatement{oidType, []asn1.ObjectIdentifier{oidQcType(2), oidQcType(3)}}, fine}),
			"qcStatements has more than one certificate type"},
		{"a type that is none", marshal(t, []any{compliance, qcStatement{oidType, []int{2}}, fine}),
			"qcStatements has a malformed certificate type"},
		{"no types", marshal(t, []any{compliance, qcStatement{oidType, []int{}}, fine}), "qcStatements has a malformed certificate type"},
		{"compliance with a value", marshal(t, []any{qcStatement{oidCompliance, 1}, seal, fine}),
			"qcStatements has a malformed statement of compliance"},

		{"no roles", roles(), noRole},
		{"only a role of another law", roles(roleOfPSP{oidRole(7), "VOP_RS"}), noRole},
		{"unspecified role", roles(roleOfPSP{oidRole(0), "Unspecified"}), noRole},
		{"unknown identifier outside", roles(roleOfPSP{asn1.ObjectIdentifier{1, 2, 3, 2}, "X"}), noRole},
		{"unknown identifier, known name", roles(roleOfPSP{oidRole(7), "PSP_PI"}), mismatch},
		{"identifier outside, known name", roles(roleOfPSP{asn1.ObjectIdentifier{1, 2, 3, 2}, "PSP_PI"}), mismatch},
		{"identifier beside, known name", roles(roleOfPSP{asn1.ObjectIdentifier{0, 4, 0, 19495, 2, 2}, "PSP_PI"}), mismatch},
		{"longer identifier, known name", roles(roleOfPSP{append(oidRole(2), 1), "PSP_PI"}), mismatch},
		{"name of another role", roles(roleOfPSP{oidRole(2), "PSP_AI"}), mismatch},
		{"unknown name", roles(roleOfPSP{oidRole(2), "Payment Initiation"}), mismatch},
		{"lower case name", roles(roleOfPSP{oidRole(2), "psp_pi"}), mismatch},
		{"a role twice", roles(pi, ai, pi), "PSD2 statement repeats a role"},
		{"many roles", roles(append(manyRoles, pi)...), "PSD2 statement has too many roles"},
		{"no value", marshal(t, []any{compliance, seal, struct{ ID asn1.ObjectIdentifier }{oidPSD2}}), psd2},
		{"two values", marshal(t, []any{compliance, seal, struct {
			ID   asn1.ObjectIdentifier
			A, B psd2QcType
		}{oidPSD2, body(pi), body(ai)}}), psd2},
		{"a number", statement(1), psd2},
		{"no authority", statement(struct{ Roles []roleOfPSP }{[]roleOfPSP{pi}}), psd2},
		{"no authority identifier", statement(struct {
			Roles []roleOfPSP
			Name  string `asn1:"utf8"`
		}{[]roleOfPSP{pi}, "De Nederlandsche Bank"}), psd2},
		{"one member more", statement(struct {
			Roles           []roleOfPSP
			Name, ID, Extra string `asn1:"utf8"`
		}{[]roleOfPSP{pi}, "De Nederlandsche Bank", "NL-DNB", "x"}), psd2},
		{"empty authority", statement(psd2QcType{[]roleOfPSP{pi}, "", "NL-DNB"}), psd2},
		{"authority with a line break", statement(psd2QcType{[]roleOfPSP{pi}, "De\nBank", "NL-DNB"}), psd2},
		{"long authority", statement(psd2QcType{[]roleOfPSP{pi}, strings.Repeat("é", 257), "NL-DNB"}), psd2},
		{"as long as allowed", statement(psd2QcType{[]roleOfPSP{pi}, strings.Repeat("é", 256), "NL-DNB"}), ""},
		{"not UTF-8", bytes.Replace(roles(pi), []byte("Bank"), []byte("B\xffnk"), 1), psd2},
		{"another string type", statement(struct {
			Roles    []roleOfPSP
			Name, ID string `asn1:"printable"`
		}{[]roleOfPSP{pi}, "De Nederlandsche Bank", "NL-DNB"}), psd2},
		{"a role with one member more", statement(struct {
			Roles []struct {
				ID      asn1.ObjectIdentifier
				Name, X string `asn1:"utf8"`
			}
			Name, ID string `asn1:"utf8"`
		}{[]struct {
			ID      asn1.ObjectIdentifier
			Name, X string `asn1:"utf8"`
		}{{oidRole(2), "PSP_PI", "x"}}, "De Nederlandsche Bank", "NL-DNB"}), psd2},
	}
	for _, row := range rows {
		r := good(eidas.QSeal)
		r.statements = row.value
		if _, err := eidas.Parse(r.der(t)); errorText(err) != row.want {
			t.Errorf("%s: got %v, want %q", row.name, err, row.want)
		}
	}
}

// notMinimal writes the length of a short SEQUENCE with one octet more than needed.
func notMinimal(der []byte) []byte { return append([]byte{0x30, 0x81, der[1]}, der[2:]...) }

// Each row is a good certificate whose extensions have one thing changed.
func TestParseExtensions(t *testing.T) {
	extension, err := eidas.Extension(eidas.QSeal, []eidas.Role{eidas.AccountInformation}, "De Nederlandsche Bank", "NL-DNB")
	if err != nil {
		t.Fatal(err)
	}
	critical := extension
	critical.Critical = true
	other := pkix.Extension{Id: asn1.ObjectIdentifier{1, 2, 3}, Value: []byte{5, 0}}
	rows := []struct {
		name       string
		extensions []pkix.Extension
		want       string
	}{
		{"as it should be", []pkix.Extension{extension}, ""},
		{"another besides", []pkix.Extension{other, extension}, ""},
		{"none", []pkix.Extension{other}, "qcStatements is missing"},
		{"critical", []pkix.Extension{critical}, "qcStatements is marked critical"},
		{"twice", []pkix.Extension{extension, extension}, "not a well-formed X.509 certificate"},
		{"another twice", []pkix.Extension{other, other, extension}, "not a well-formed X.509 certificate"},
	}
	for _, row := range rows {
		r := good(eidas.QSeal)
		r.ExtraExtensions = row.extensions
		if _, err := eidas.Parse(r.der(t)); errorText(err) != row.want {
			t.Errorf("%s: got %v, want %q", row.name, err, row.want)
		}
	}
}

// What the Open Banking Directory publishes for certificate requests, with its type of nesting of roles since 2020 and
// the one before, which never was that of ETSI TS 119 495.
func TestParsePublishedStatements(t *testing.T) {
	rows := []struct{ name, value, want string }{
		{"OBSeal, three roles", "30713013060604008e4601063009060704008e46010602305a06060400819827023050303930110607040081982701020c06" +
			"5053505f504930110607040081982701030c065053505f414930110607040081982701040c065053505f49430c0c4f70656e2042616e6b696e67" +
			"0c0547422d4f42", ""},
		{"OBWAC, two roles", "306e3013060604008e4601063009060704008e4601060330570606040081982702304d302630110607040081982701020c06" +
			"5053505f504930110607040081982701030c065053505f41490c1b46696e616e6369616c20436f6e6475637420417574686f726974790c064742" +
			"2d464341", ""},
		{"OBWAC, two roles in one", "306c3013060604008e4601063009060704008e4601060330550606040081982702304b302430220607040081982701020c" +
			"065053505f50490607040081982701030c065053505f41490c1b46696e616e6369616c20436f6e6475637420417574686f726974790c0647422d" +
			"464341", "PSD2 statement is malformed"},
	}
	want := []eidas.Certificate{
		{Kind: eidas.OBSeal, Roles: []eidas.Role{"PSP_PI", "PSP_AI", "PSP_IC"}, AuthorityName: "Open Banking", AuthorityID: "GB-OB"},
		{Kind: eidas.OBWAC, Roles: []eidas.Role{"PSP_PI", "PSP_AI"}, AuthorityName: "Financial Conduct Authority", AuthorityID: "GB-FCA"},
	}
	for i, row := range rows {
		r := good(eidas.OBSeal)
		var err error
		if r.statements, err = hex.DecodeString(row.value); err != nil {
			t.Fatal(err)
		}
		c, err := eidas.Parse(r.der(t))
		if errorText(err) != row.want {
			t.Fatalf("%s: got %v, want %q", row.name, err, row.want)
		}
		if err != nil {
			continue
		}
		got := eidas.Certificate{Kind: c.Kind, Roles: c.Roles, AuthorityName: c.AuthorityName, AuthorityID: c.AuthorityID}
		if diff := cmp.Diff(want[i], got); diff != "" {
			t.Errorf("%s: %s", row.name, diff)
		}
		made, err := eidas.Extension(c.Kind, c.Roles, c.AuthorityName, c.AuthorityID)
		if err != nil || !bytes.Equal(made.Value, r.statements) {
			t.Errorf("%s: Extension makes %x, %v", row.name, made.Value, err)
		}
	}
}

func TestAs(t *testing.T) {
	allowed := map[eidas.Kind][]eidas.Kind{
		eidas.QWAC:   {eidas.QWAC, eidas.OBWAC},
		eidas.QSeal:  {eidas.QSeal, eidas.OBSeal},
		eidas.OBWAC:  {eidas.OBWAC},
		eidas.OBSeal: {eidas.OBSeal},
	}
	for kind := range allowed {
		for _, name := range []eidas.Kind{eidas.QWAC, eidas.QSeal, eidas.OBWAC, eidas.OBSeal, "", "QWAC", "ca"} {
			c := good(kind).parsed(t)
			want, fault := kind, "certificate is not of the kind it is called"
			if slices.Contains(allowed[kind], name) {
				want, fault = name, ""
			}
			if err := c.As(name); errorText(err) != fault || c.Kind != want {
				t.Errorf("%s as %q: %v, then %s", kind, name, err, c.Kind)
			}
		}
	}
}

func TestExtensionRefuses(t *testing.T) {
	ai := []eidas.Role{eidas.AccountInformation}
	rows := []struct {
		name      string
		kind      eidas.Kind
		roles     []eidas.Role
		authority string
	}{
		{"unknown kind", "ca", ai, "x"},
		{"no roles", eidas.QWAC, nil, "x"},
		{"unknown role", eidas.QWAC, []eidas.Role{"PSP_XX"}, "x"},
		{"no authority", eidas.QWAC, ai, ""},
	}
	for _, row := range rows {
		if _, err := eidas.Extension(row.kind, row.roles, row.authority, "NL-DNB"); err == nil {
			t.Errorf("%s: no error", row.name)
		}
	}
}
