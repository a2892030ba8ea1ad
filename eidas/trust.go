package eidas

// RFC 5280 §6 (paths) and §4.2.1.3, §4.2.1.12 (key usage), ETSI TS 119 495 §5.2.3 and ISO 3166-1 (countries)

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Trust decides which certificates are believed. One Trust is one scheme: the qualified issuers of the EU trusted
// lists, the Open Banking Directory, or a sandbox. Its fields must not change while Verify runs.
type Trust struct {
	Roots         *x509.CertPool // the trust anchors; a nil or empty pool trusts nobody, and never the system's roots
	Intermediates *x509.CertPool // certificates of further issuers, not trusted by themselves; may be nil
	Kinds         []Kind         // what these anchors may issue; empty: every kind
	Revocation    *Revocation    // nil: certificates are not asked about, which is for sandboxes only
}

// maxChain bounds the issuer certificates that somebody sends along.
const maxChain = 8

// ErrUntrusted is that of a certificate which leads to none of the anchors.
var ErrUntrusted = errors.New("certificate does not lead to a configured trust anchor")

// Verify decides about c at the moment now. Chain has the issuer certificates that came with it, in any order, and may
// be empty. The certificate must be of a kind that the anchors may issue, valid now, allow what its kind is for, name
// the same authority, of an ISO 3166-1 country, in its subject and its PSD2 statement, lead to an anchor, and not be
// revoked. ErrRevoked and *UnknownStatusError say that everything else was in order; the latter may pass. The time
// that asking takes is bounded for each question by Revocation.Timeout and for all of them by ctx.
func (t *Trust) Verify(ctx context.Context, c *Certificate, chain []*x509.Certificate, now time.Time) error {
	if len(t.Kinds) > 0 && !slices.Contains(t.Kinds, c.Kind) {
		return errors.New("certificate is of a kind that is not accepted here")
	}
	if now.Before(c.X509.NotBefore) {
		return errors.New("certificate is not valid yet")
	}
	if now.After(c.X509.NotAfter) {
		return errors.New("certificate has expired")
	}
	if err := checkUsage(c); err != nil {
		return err
	}
	if err := checkAuthority(c); err != nil {
		return err
	}
	paths, err := t.paths(c, chain, now)
	if err != nil {
		return err
	}
	return t.checkRevocation(ctx, paths, now)
}

// checkUsage: a key for seals signs (EN 319 412-2 §4.3.2 allows either bit, alone or both); one for TLS authenticates a
// client there (RFC 5280 §4.2.1.12) by signing the handshake.
func checkUsage(c *Certificate) error {
	if c.X509.IsCA {
		return errors.New("certificate is one of an issuer")
	}
	allowed := x509.KeyUsageDigitalSignature
	if !c.Kind.Web() {
		allowed |= x509.KeyUsageContentCommitment
	}
	if c.X509.KeyUsage&allowed == 0 {
		return errors.New("key usage does not allow signatures")
	}
	if c.Kind.Web() && !slices.Contains(c.X509.ExtKeyUsage, x509.ExtKeyUsageClientAuth) {
		return errors.New("extended key usage does not allow client authentication")
	}
	return nil
}

// checkAuthority: the subject and the PSD2 statement name the same authority (TS 119 495 §5.2.1, §5.2.3).
func checkAuthority(c *Certificate) error {
	if !strings.Contains(countries, c.Country) { // two capitals, Parse has seen to that
		return errors.New("organizationIdentifier has a country that is not in ISO 3166-1")
	}
	if c.AuthorityID != c.Country+"-"+c.Authority {
		return errors.New("PSD2 statement names another authority than organizationIdentifier")
	}
	return nil
}

// paths returns every path from c to an anchor.
func (t *Trust) paths(c *Certificate, chain []*x509.Certificate, now time.Time) ([][]*x509.Certificate, error) {
	if t.Roots == nil { // crypto/x509 would take the system's
		return nil, ErrUntrusted
	}
	if len(chain) > maxChain {
		return nil, fmt.Errorf("more than %d issuer certificates", maxChain)
	}
	intermediates := x509.NewCertPool()
	if t.Intermediates != nil {
		intermediates = t.Intermediates.Clone()
	}
	for _, issuer := range chain {
		intermediates.AddCert(issuer)
	}
	usage := x509.ExtKeyUsageAny
	if c.Kind.Web() {
		usage = x509.ExtKeyUsageClientAuth
	}
	paths, err := c.X509.Verify(x509.VerifyOptions{
		Roots: t.Roots, Intermediates: intermediates, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{usage},
	})
	if err != nil {
		return nil, ErrUntrusted
	}
	return paths, nil
}

// checkRevocation is content with one path on which nobody below the anchor is revoked. It runs last: addresses to ask
// at stand in the certificates, and are followed only when an anchor vouches for them.
func (t *Trust) checkRevocation(ctx context.Context, paths [][]*x509.Certificate, now time.Time) error {
	if t.Revocation == nil {
		return nil
	}
	var first error
	for _, path := range paths {
		err := t.Revocation.checkPath(ctx, path, now)
		if err == nil {
			return nil
		}
		if first == nil {
			first = err
		}
	}
	return first
}

// countries are the codes that ISO 3166-1 assigns. The United Kingdom is GB; UK is only reserved.
const countries = " AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS BT " +
	"BV BW BY BZ CA CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ EC EE EG EH ER ES ET FI FJ " +
	"FK FM FO FR GA GB GD GE GF GG GH GI GL GM GN GP GQ GR GS GT GU GW GY HK HM HN HR HT HU ID IE IL IM IN IO IQ IR IS " +
	"IT JE JM JO JP KE KG KH KI KM KN KP KR KW KY KZ LA LB LC LI LK LR LS LT LU LV LY MA MC MD ME MF MG MH MK ML MM MN " +
	"MO MP MQ MR MS MT MU MV MW MX MY MZ NA NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM PN PR PS PT PW " +
	"PY QA RE RO RS RU RW SA SB SC SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV SX SY SZ TC TD TF TG TH TJ TK TL TM TN " +
	"TO TR TT TV TW TZ UA UG UM US UY UZ VA VC VE VG VI VN VU WF WS YE YT ZA ZM ZW "
