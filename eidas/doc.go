// Package eidas reads the certificates by which a third party (TPP) shows that it is a regulated payment service
// provider: QWAC and QSealC, the qualified certificates of ETSI TS 119 495, and OBWAC and OBSeal, their likes from the
// UK Open Banking Directory. Parse takes one apart, strictly; Trust decides whether to believe it; Revocation asks
// whether its issuer still stands by it.
//
// The key in a certificate is not judged here: package jose does that for every RSA key.
//
// Errors are lower case, name the part at fault and hold no value of the certificate, so they may be shown to the
// sender behind the name of the parameter: "pem: organizationIdentifier is missing".
package eidas
