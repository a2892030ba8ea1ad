package oidc

// Proof Key for Code Exchange: RFC 7636.

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"strings"

	"gatehouse"
)

const challengeS256 = "S256"

const unreserved = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~"

// verifyPKCE checks code_verifier against the challenge of the authorization
// request (RFC 7636 §4.6). A verifier without a challenge is refused, too: the
// request was tampered with on its way (RFC 9700 §2.1.1).
func verifyPKCE(challenge, verifier string) error {
	switch {
	case challenge == "" && verifier == "":
		return nil
	case challenge == "":
		return gatehouse.NewError(gatehouse.InvalidGrant, "code_verifier was sent but the authorization request had no code_challenge")
	case verifier == "":
		return gatehouse.NewError(gatehouse.InvalidGrant, "code_verifier is missing")
	case len(verifier) < 43 || len(verifier) > 128 || strings.Trim(verifier, unreserved) != "":
		return gatehouse.NewError(gatehouse.InvalidGrant, "code_verifier must be 43 to 128 unreserved characters")
	}
	sum := sha256.Sum256([]byte(verifier))
	if subtle.ConstantTimeCompare([]byte(base64.RawURLEncoding.EncodeToString(sum[:])), []byte(challenge)) != 1 {
		return gatehouse.NewError(gatehouse.InvalidGrant, "code_verifier does not match code_challenge")
	}
	return nil
}
