package jose

// RFC 7517 (JSON Web Key), RFC 7518 §6.3.1 (RSA public keys)

import (
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
)

// JWKS is a set of public signature keys. It marshals to a JWK Set (RFC 7517 §5).
type JWKS struct {
	Keys []*PublicKey `json:"keys"`
}

// MarshalJSON writes an array even for a set without keys.
func (s JWKS) MarshalJSON() ([]byte, error) {
	return json.Marshal(map[string][]*PublicKey{"keys": s.Keys})
}

// The bounds of a key set from outside.
const (
	maxJWKS = 256 << 10
	maxKeys = 100
)

// ParseJWKS reads a key set from outside, strictly. Keys that are not for RS256 or PS256 signatures are left out, as
// RFC 7517 §5 asks: other kty, use or alg. Every other key must pass the policy, or the whole set is refused, so that
// its owner learns of it. A private or symmetric key anywhere refuses the set.
func ParseJWKS(data []byte) (*JWKS, error) {
	if len(data) > maxJWKS {
		return nil, fmt.Errorf("longer than %d bytes", maxJWKS)
	}
	object, err := ParseObject(data, maxDepth)
	if err != nil {
		return nil, err
	}
	var members []Claims
	if err := object.Decode("keys", &members); err != nil {
		return nil, err
	}
	if members == nil {
		return nil, &ClaimError{"keys", "is not an array"}
	}
	if len(members) > maxKeys {
		return nil, fmt.Errorf("keys has more than %d members", maxKeys)
	}
	set := &JWKS{Keys: []*PublicKey{}}
	for i, m := range members {
		key, err := parseJWK(m)
		if err != nil {
			return nil, fmt.Errorf("keys[%d]: %w", i, err)
		}
		if key == nil {
			continue
		}
		if key.KID != "" && slices.ContainsFunc(set.Keys, func(k *PublicKey) bool { return k.KID == key.KID }) {
			return nil, fmt.Errorf("keys[%d]: kid is repeated", i)
		}
		set.Keys = append(set.Keys, key)
	}
	return set, nil
}

// private are the members of private and symmetric keys (RFC 7518 §6.2.2, §6.3.2, §6.4.1; RFC 8037 §2), and
// priv of AKP keys, which are those of ML-DSA.
var private = []string{"d", "p", "q", "dp", "dq", "qi", "oth", "k", "priv"}

// parseJWK returns nil without an error for a key that is not for RS256 or PS256 signatures.
func parseJWK(jwk Claims) (*PublicKey, error) {
	if jwk == nil {
		return nil, errNotObject
	}
	for _, name := range private {
		if jwk.Has(name) {
			return nil, fmt.Errorf("%s does not belong in a public key", name)
		}
	}
	kty, err := jwk.String("kty")
	if err != nil {
		return nil, err
	}
	if kty != "RSA" {
		if strings.EqualFold(kty, "RSA") { // RFC 7517 §4.1: case-sensitive
			return nil, errors.New("kty is not spelled RSA")
		}
		return nil, nil
	}
	signature, err := forSignatures(jwk)
	if err != nil {
		return nil, err
	}
	alg, hasAlg, err := jwk.OptionalString("alg")
	if err != nil {
		return nil, err
	}
	if !signature || hasAlg && alg != RS256 && alg != PS256 {
		return nil, nil
	}
	kid := ""
	if jwk.Has("kid") {
		if kid, err = jwk.String("kid"); err != nil {
			return nil, err
		}
	}
	key, err := rsaKey(jwk)
	if err != nil {
		return nil, err
	}
	if err := checkX5C(jwk, key); err != nil {
		return nil, err
	}
	return NewPublicKey(key, alg, kid)
}

// forSignatures reads use (RFC 7517 §4.2) and key_ops (§4.3), which must not contradict each other.
func forSignatures(jwk Claims) (bool, error) {
	use, hasUse, err := jwk.OptionalString("use")
	if err != nil {
		return false, err
	}
	if !jwk.Has("key_ops") {
		return !hasUse || use == "sig", nil
	}
	var ops []string
	if err := jwk.Decode("key_ops", &ops); err != nil {
		return false, err
	}
	verify := slices.Contains(ops, "verify")
	if hasUse && verify != (use == "sig") {
		return false, errors.New("use and key_ops contradict each other")
	}
	for i, op := range ops {
		if slices.Contains(ops[:i], op) {
			return false, errors.New("key_ops has a repeated member")
		}
		if verify && op != "verify" && op != "sign" { // the one combination §4.3 permits
			return false, errors.New("key_ops mixes verify with other operations")
		}
	}
	return verify, nil
}

// rsaKey reads n and e (RFC 7518 §6.3.1).
func rsaKey(jwk Claims) (*rsa.PublicKey, error) {
	n, err := jwk.String("n")
	if err != nil {
		return nil, err
	}
	e, err := jwk.String("e")
	if err != nil {
		return nil, err
	}
	if e != "AQAB" { // the one canonical form of 65537
		return nil, errExponent
	}
	if strings.ContainsAny(n, "\r\n") { // which encoding/base64 skips
		return nil, fmt.Errorf("n: %w", errBase64url)
	}
	octets, err := base64url.DecodeString(n)
	if err != nil {
		return nil, fmt.Errorf("n: %w", errBase64url)
	}
	if octets[0] == 0 {
		return nil, errors.New("n has a leading zero octet")
	}
	return &rsa.PublicKey{N: new(big.Int).SetBytes(octets), E: exponent}, nil
}

// checkX5C demands that the first certificate of x5c, if there is one, holds the key (RFC 7517 §4.7).
func checkX5C(jwk Claims, key *rsa.PublicKey) error {
	if !jwk.Has("x5c") {
		return nil
	}
	var chain []string
	if err := jwk.Decode("x5c", &chain); err != nil {
		return err
	}
	if len(chain) == 0 {
		return &ClaimError{"x5c", "is empty"}
	}
	der, err := base64.StdEncoding.Strict().DecodeString(chain[0])
	if err != nil || strings.ContainsAny(chain[0], "\r\n") { // which encoding/base64 skips
		return &ClaimError{"x5c", "is not base64"}
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		return &ClaimError{"x5c", "has no certificate"}
	}
	if !key.Equal(certificate.PublicKey) {
		return &ClaimError{"x5c", "is for another key"}
	}
	return nil
}
