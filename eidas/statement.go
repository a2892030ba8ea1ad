package eidas

// RFC 3739 §3.2.6 (the extension), ETSI EN 319 412-5 §4.2 (type, compliance), ETSI TS 119 495 §5.2 and Annex A (PSD2)

import (
	"encoding/asn1"
	"errors"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/crypto/cryptobyte"
	tag "golang.org/x/crypto/cryptobyte/asn1"
)

// Role is what an authority allows a payment service provider to do (ETSI TS 119 495 §4.2, §5.2.2).
type Role string

// The roles of PSD2.
const (
	AccountServicing   Role = "PSP_AS" // keeps accounts: a bank
	PaymentInitiation  Role = "PSP_PI" // starts payments
	AccountInformation Role = "PSP_AI" // reads accounts
	CardIssuing        Role = "PSP_IC" // issues card-based payment instruments: asks whether funds are there
)

// roles are the PSD2 roles by the last arc of their object identifier, 0.4.0.19495.1.x (ETSI TS 119 495 §5.2.2).
var roles = map[int]Role{1: AccountServicing, 2: PaymentInitiation, 3: AccountInformation, 4: CardIssuing}

var (
	oidQCStatements = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 1, 3} // RFC 3739 §3.2.6
	oidQcCompliance = asn1.ObjectIdentifier{0, 4, 0, 1862, 1, 1}       // EN 319 412-5 §4.2.1
	oidQcType       = asn1.ObjectIdentifier{0, 4, 0, 1862, 1, 6}       // EN 319 412-5 §4.2.3
	oidQcTypeESeal  = asn1.ObjectIdentifier{0, 4, 0, 1862, 1, 6, 2}
	oidQcTypeWeb    = asn1.ObjectIdentifier{0, 4, 0, 1862, 1, 6, 3}
	oidRole         = asn1.ObjectIdentifier{0, 4, 0, 19495, 1} // TS 119 495 Annex A
	oidPSD2         = asn1.ObjectIdentifier{0, 4, 0, 19495, 2}
)

// The bounds of the extension.
const (
	maxStatements = 32
	maxRoles      = 16
	maxText       = 256 // characters of a name or an identifier (TS 119 495 Annex A)
)

// A statement is what the qcStatements extension says of a PSD2 certificate.
type statement struct {
	kind                       Kind
	roles                      []Role
	authorityName, authorityID string
}

// parseStatements reads the value of the qcStatements extension. Statements it does not know are skipped.
func parseStatements(der []byte) (*statement, error) {
	input := cryptobyte.String(der)
	var all cryptobyte.String
	if !input.ReadASN1(&all, tag.SEQUENCE) || !input.Empty() {
		return nil, errors.New("qcStatements is malformed")
	}
	seen := map[string]cryptobyte.String{}
	for !all.Empty() {
		var one cryptobyte.String
		var id asn1.ObjectIdentifier
		if !all.ReadASN1(&one, tag.SEQUENCE) || !one.ReadASN1ObjectIdentifier(&id) {
			return nil, errors.New("qcStatements is malformed")
		}
		if _, repeated := seen[id.String()]; repeated {
			return nil, errors.New("qcStatements repeats a statement")
		}
		if len(seen) == maxStatements {
			return nil, errors.New("qcStatements has too many statements")
		}
		seen[id.String()] = one
	}
	info, ok := seen[oidPSD2.String()]
	if !ok {
		return nil, errors.New("qcStatements has no PSD2 statement")
	}
	s, err := parsePSD2(info)
	if err != nil {
		return nil, err
	}
	compliance, qualified := seen[oidQcCompliance.String()]
	if !compliance.Empty() {
		return nil, errors.New("qcStatements has a malformed statement of compliance")
	}
	s.kind, err = parseType(seen[oidQcType.String()], qualified)
	if err != nil {
		return nil, err
	}
	return s, nil
}

// parseType reads a QcType: exactly one type, as EN 319 412-5 §4.2.3 asks since V2.5.0.
func parseType(info cryptobyte.String, qualified bool) (Kind, error) {
	if info.Empty() {
		return "", errors.New("qcStatements has no certificate type")
	}
	var types cryptobyte.String
	var id asn1.ObjectIdentifier
	if !info.ReadASN1(&types, tag.SEQUENCE) || !info.Empty() || !types.ReadASN1ObjectIdentifier(&id) {
		return "", errors.New("qcStatements has a malformed certificate type")
	}
	if !types.Empty() {
		return "", errors.New("qcStatements has more than one certificate type")
	}
	for kind, traits := range kinds {
		if traits.qcType.Equal(id) && traits.qualified == qualified {
			return kind, nil
		}
	}
	return "", errors.New("qcStatements has a certificate type that is not website authentication or seal")
}

// parsePSD2 reads a PSD2QcType (TS 119 495 Annex A):
//
//	PSD2QcType ::= SEQUENCE { rolesOfPSP SEQUENCE OF RoleOfPSP, nCAName UTF8String, nCAId UTF8String }
//	RoleOfPSP  ::= SEQUENCE { roleOfPspOid OBJECT IDENTIFIER, roleOfPspName UTF8String }
func parsePSD2(info cryptobyte.String) (*statement, error) {
	var body, list cryptobyte.String
	if !info.ReadASN1(&body, tag.SEQUENCE) || !info.Empty() || !body.ReadASN1(&list, tag.SEQUENCE) {
		return nil, errPSD2
	}
	s := &statement{}
	for n := 0; !list.Empty(); n++ {
		if n == maxRoles {
			return nil, errors.New("PSD2 statement has too many roles")
		}
		var one cryptobyte.String
		if !list.ReadASN1(&one, tag.SEQUENCE) {
			return nil, errPSD2
		}
		role, err := parseRole(one)
		if err != nil {
			return nil, err
		}
		if slices.Contains(s.roles, role) {
			return nil, errors.New("PSD2 statement repeats a role")
		}
		if role != "" {
			s.roles = append(s.roles, role)
		}
	}
	if len(s.roles) == 0 {
		return nil, errors.New("PSD2 statement has no role of PSD2")
	}
	if !readText(&body, &s.authorityName) || !readText(&body, &s.authorityID) || !body.Empty() {
		return nil, errPSD2
	}
	return s, nil
}

// parseRole returns no role for one of another law: the specification knows some, such as those of the Instant
// Payments Regulation, and they allow nothing here. The name must be the one of the object identifier (REG-5.2.2-5).
func parseRole(role cryptobyte.String) (Role, error) {
	var id asn1.ObjectIdentifier
	var name string
	if !role.ReadASN1ObjectIdentifier(&id) || !readText(&role, &name) || !role.Empty() {
		return "", errPSD2
	}
	want := Role("")
	if len(id) == len(oidRole)+1 && id[:len(oidRole)].Equal(oidRole) {
		want = roles[id[len(oidRole)]]
	}
	if want == "" && roleArc(Role(name)) == 0 {
		return "", nil
	}
	if want != Role(name) {
		return "", errors.New("PSD2 statement has a role whose name is not that of its object identifier")
	}
	return want, nil
}

// roleArc returns the last arc of a role's object identifier, or 0.
func roleArc(role Role) int {
	for arc, r := range roles {
		if r == role {
			return arc
		}
	}
	return 0
}

var errPSD2 = errors.New("PSD2 statement is malformed")

// readText reads a UTF8String of 1 to 256 printable characters.
func readText(input *cryptobyte.String, text *string) bool {
	var value cryptobyte.String
	if !input.ReadASN1(&value, tag.UTF8String) {
		return false
	}
	*text = string(value)
	return printable(*text)
}

func printable(s string) bool {
	n := utf8.RuneCountInString(s)
	return n > 0 && n <= maxText && utf8.ValidString(s) &&
		!strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) })
}
