package eidas

// RFC 6960 (OCSP)

import (
	"bytes"
	"context"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"net/http"
	"slices"
	"time"

	"golang.org/x/crypto/ocsp"
)

// maxOCSP bounds a response, in bytes.
const maxOCSP = 64 << 10

// fetchOCSP asks about cert. No nonce is sent: most responders sign in advance, and the times in the response bound how
// long it can be replayed.
func (r *Revocation) fetchOCSP(ctx context.Context, address string, cert, issuer *x509.Certificate, now time.Time) (*answer, error) {
	question, err := ocsp.CreateRequest(cert, issuer, nil)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, address, bytes.NewReader(question))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/ocsp-request")
	body, err := r.fetch(req, maxOCSP)
	if err != nil {
		return nil, err
	}
	response, err := ocsp.ParseResponseForCert(body, cert, nil) // nil: the signer is checked here
	if err != nil {
		return nil, err
	}
	if err := checkSigner(response, issuer, now); err != nil {
		return nil, err
	}
	if err := checkSubject(response, question); err != nil {
		return nil, err
	}
	a := &answer{thisUpdate: response.ThisUpdate, nextUpdate: response.NextUpdate}
	if a.nextUpdate.IsZero() { // newer information is always available (§4.2.2.1), so this one is not for keeping long
		a.nextUpdate = a.thisUpdate.Add(r.maxAge())
	}
	if err := checkTime(a.thisUpdate, a.nextUpdate, now); err != nil {
		return nil, err
	}
	switch response.Status {
	case ocsp.Good:
		return a, nil
	case ocsp.Revoked:
		a.revoked = map[string]bool{cert.SerialNumber.String(): true}
		return a, nil
	}
	return nil, errors.New("responder does not know the certificate")
}

// checkSigner: the response is signed by the issuer itself, or by somebody to whom the issuer gave a certificate for
// this purpose (RFC 6960 §4.2.2.2). Package ocsp does not look at the purpose: to it, every certificate of the issuer
// would do, also the one in question. Such a certificate is believed as long as it is valid.
func checkSigner(response *ocsp.Response, issuer *x509.Certificate, now time.Time) error {
	if err := checkStrength(response.SignatureAlgorithm); err != nil {
		return err
	}
	signer := response.Certificate
	if signer == nil {
		return response.CheckSignatureFrom(issuer)
	}
	if signer.Equal(issuer) { // the signature was checked with the certificate in the response when that was parsed
		return nil
	}
	if !bytes.Equal(signer.RawIssuer, issuer.RawSubject) || signer.CheckSignatureFrom(issuer) != nil {
		return errors.New("responder has no certificate of the issuer")
	}
	if !slices.Contains(signer.ExtKeyUsage, x509.ExtKeyUsageOCSPSigning) || len(signer.UnhandledCriticalExtensions) > 0 ||
		signer.KeyUsage != 0 && signer.KeyUsage&x509.KeyUsageDigitalSignature == 0 {
		return errors.New("responder has no certificate for signing responses")
	}
	if now.Before(signer.NotBefore) || now.After(signer.NotAfter) {
		return errors.New("responder has no certificate that is valid now")
	}
	return nil
}

// checkSubject: the response is about the certificate in question and no other (RFC 6960 §3.2). Package ocsp has
// compared serial numbers only, which another issuer with the same responder may have given too.
func checkSubject(response *ocsp.Response, question []byte) error {
	type certID struct {
		Hash              pkix.AlgorithmIdentifier
		NameHash, KeyHash []byte
	}
	var data struct { // ResponseData (§4.2.1); encoding/asn1 skips members at the end of a SEQUENCE that have no field
		Version    int `asn1:"optional,explicit,default:0,tag:0"`
		Responder  asn1.RawValue
		ProducedAt time.Time `asn1:"generalized"`
		Responses  []struct{ CertID certID }
	}
	if _, err := asn1.Unmarshal(response.TBSResponseData, &data); err != nil {
		return err
	}
	asked, err := ocsp.ParseRequest(question)
	if err != nil {
		return err
	}
	if len(data.Responses) != 1 {
		return errors.New("response is not about exactly one certificate")
	}
	about := data.Responses[0].CertID
	if !bytes.Equal(about.NameHash, asked.IssuerNameHash) || !bytes.Equal(about.KeyHash, asked.IssuerKeyHash) {
		return errors.New("response is about another certificate")
	}
	return nil
}
