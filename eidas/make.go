package eidas

// ETSI TS 119 495 §5.2 and Annex A, ETSI EN 319 412-5 §4.2: the other direction, for sandbox directories and tests.

import (
	"crypto/x509/pkix"
	"errors"
	"fmt"

	"golang.org/x/crypto/cryptobyte"
	tag "golang.org/x/crypto/cryptobyte/asn1"
)

// PSD2Statement returns the PSD2 statement as DER, the QCStatement with its object identifier around it. AuthorityName
// and authorityID are such as "De Nederlandsche Bank" and "NL-DNB".
func PSD2Statement(roles []Role, authorityName, authorityID string) ([]byte, error) {
	if len(roles) == 0 {
		return nil, errors.New("no roles")
	}
	if !printable(authorityName) || !printable(authorityID) {
		return nil, errors.New("authority is missing or not printable")
	}
	var b cryptobyte.Builder
	b.AddASN1(tag.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1ObjectIdentifier(oidPSD2)
		b.AddASN1(tag.SEQUENCE, func(b *cryptobyte.Builder) {
			b.AddASN1(tag.SEQUENCE, func(b *cryptobyte.Builder) {
				for _, role := range roles {
					addRole(b, role)
				}
			})
			addText(b, authorityName)
			addText(b, authorityID)
		})
	})
	return b.Bytes()
}

func addRole(b *cryptobyte.Builder, role Role) {
	arc := roleArc(role)
	if arc == 0 {
		b.SetError(fmt.Errorf("unknown role %q", role))
		return
	}
	b.AddASN1(tag.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1ObjectIdentifier(append(oidRole[:len(oidRole):len(oidRole)], arc))
		addText(b, string(role))
	})
}

func addText(b *cryptobyte.Builder, text string) {
	b.AddASN1(tag.UTF8String, func(b *cryptobyte.Builder) { b.AddBytes([]byte(text)) })
}

// Extension returns the qcStatements extension of a certificate of that kind, for the ExtraExtensions of
// x509.CreateCertificate. It has what Parse looks for and no more: a real qualified certificate states more of itself.
func Extension(kind Kind, roles []Role, authorityName, authorityID string) (pkix.Extension, error) {
	traits, ok := kinds[kind]
	if !ok {
		return pkix.Extension{}, fmt.Errorf("unknown kind %q", kind)
	}
	psd2, err := PSD2Statement(roles, authorityName, authorityID)
	if err != nil {
		return pkix.Extension{}, err
	}
	var b cryptobyte.Builder
	b.AddASN1(tag.SEQUENCE, func(b *cryptobyte.Builder) {
		if traits.qualified {
			b.AddASN1(tag.SEQUENCE, func(b *cryptobyte.Builder) { b.AddASN1ObjectIdentifier(oidQcCompliance) })
		}
		b.AddASN1(tag.SEQUENCE, func(b *cryptobyte.Builder) {
			b.AddASN1ObjectIdentifier(oidQcType)
			b.AddASN1(tag.SEQUENCE, func(b *cryptobyte.Builder) { b.AddASN1ObjectIdentifier(traits.qcType) })
		})
		b.AddBytes(psd2)
	})
	value, err := b.Bytes()
	return pkix.Extension{Id: oidQCStatements, Value: value}, err
}

// Subject returns the name of a certificate's holder, with the organizationIdentifier (such as "PSDNL-DNB-034681")
// that pkix.Name has no field for.
func Subject(country, organization, organizationIdentifier, commonName string) pkix.Name {
	return pkix.Name{
		Country:      []string{country},
		Organization: []string{organization},
		CommonName:   commonName,
		ExtraNames:   []pkix.AttributeTypeAndValue{{Type: oidOrganizationIdentifier, Value: organizationIdentifier}},
	}
}
