package eidas

// RFC 5280 §5 (certificate revocation lists) and §6.3.3 (using them)

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"net/http"
	"time"

	"golang.org/x/crypto/cryptobyte"
	tag "golang.org/x/crypto/cryptobyte/asn1"
)

// maxCRL bounds a list, in bytes: about 100,000 certificates.
const maxCRL = 5 << 20

var (
	oidDeltaCRL = asn1.ObjectIdentifier{2, 5, 29, 27} // RFC 5280 §5.2.4
	oidScope    = asn1.ObjectIdentifier{2, 5, 29, 28} // issuingDistributionPoint, RFC 5280 §5.2.5
)

// fetchCRL gets the list of issuer that covers cert.
func (r *Revocation) fetchCRL(ctx context.Context, address string, cert, issuer *x509.Certificate, now time.Time) (*answer, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	body, err := r.fetch(req, maxCRL)
	if err != nil {
		return nil, err
	}
	list, err := x509.ParseRevocationList(body)
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(list.RawIssuer, issuer.RawSubject) {
		return nil, errors.New("list is of another issuer")
	}
	if err := checkStrength(list.SignatureAlgorithm); err != nil {
		return nil, err
	}
	if err := list.CheckSignatureFrom(issuer); err != nil {
		return nil, err
	}
	if err := checkTime(list.ThisUpdate, list.NextUpdate, now); err != nil { // nextUpdate must be there (§5.1.2.5)
		return nil, err
	}
	if err := checkExtensions(list, address, cert.IsCA); err != nil {
		return nil, err
	}
	a := &answer{thisUpdate: list.ThisUpdate, nextUpdate: list.NextUpdate, revoked: map[string]bool{}}
	for _, entry := range list.RevokedCertificateEntries {
		a.revoked[entry.SerialNumber.String()] = true // on hold is revoked too
	}
	return a, nil
}

// checkExtensions refuses a list that is not the complete one for the certificate, and one with a critical extension
// that is not understood (RFC 5280 §5.2, §5.3).
func checkExtensions(list *x509.RevocationList, address string, ca bool) error {
	for _, extension := range list.Extensions {
		switch {
		case extension.Id.Equal(oidDeltaCRL):
			return errors.New("list has only changes")
		case extension.Id.Equal(oidScope):
			if !covers(extension.Value, address, ca) {
				return errors.New("list is of another scope")
			}
		case extension.Critical:
			return errors.New("list has an unknown critical extension")
		}
	}
	for _, entry := range list.RevokedCertificateEntries {
		for _, extension := range entry.Extensions {
			if extension.Critical {
				return errors.New("list has an entry with a critical extension")
			}
		}
	}
	return nil
}

// covers reads an issuingDistributionPoint (RFC 5280 §5.2.5, §6.3.3 (b)(2)). The list must be the one of this address,
// for all reasons, of no other issuer, and for certificates of the right sort.
func covers(der cryptobyte.String, address string, ca bool) bool {
	var scope, point cryptobyte.String
	var hasPoint, users, issuers bool
	return der.ReadASN1(&scope, tag.SEQUENCE) && der.Empty() &&
		scope.ReadOptionalASN1(&point, &hasPoint, tag.Tag(0).Constructed().ContextSpecific()) &&
		(!hasPoint || names(point, address)) &&
		readFlag(&scope, &users, 1) && readFlag(&scope, &issuers, 2) && scope.Empty() &&
		(!users || !ca) && (!issuers || ca)
}

// names reports whether a DistributionPointName has the URI among its full names.
func names(point cryptobyte.String, uri string) bool {
	var all cryptobyte.String
	if !point.ReadASN1(&all, tag.Tag(0).Constructed().ContextSpecific()) || !point.Empty() {
		return false
	}
	for !all.Empty() {
		var name cryptobyte.String
		var kind tag.Tag
		if !all.ReadAnyASN1(&name, &kind) {
			return false
		}
		if kind == tag.Tag(6).ContextSpecific() && string(name) == uri {
			return true
		}
	}
	return false
}

// readFlag reads an [n] IMPLICIT BOOLEAN DEFAULT FALSE.
func readFlag(input *cryptobyte.String, flag *bool, n uint8) bool {
	var value cryptobyte.String
	ok := input.ReadOptionalASN1(&value, flag, tag.Tag(n).ContextSpecific())
	return ok && (!*flag || bytes.Equal(value, []byte{0xff}))
}
