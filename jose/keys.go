package jose

// RFC 7517 (JSON Web Key), RFC 7518 §3.3, §3.5 and §6.3 (RSA), RFC 7638 (thumbprint)

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"strings"
	"unicode"

	"github.com/go-json-experiment/json"
)

// The signature algorithms (RFC 7518 §3.1).
const (
	RS256 = "RS256" // RSASSA-PKCS1-v1_5 with SHA-256
	PS256 = "PS256" // RSASSA-PSS with SHA-256, MGF1 with SHA-256, salt of 32 octets
)

// The bounds of every RSA key, ours and others'. RFC 7518 §3.3 asks for 2048 bits or more; verification costs grow with
// the square of the length and with the exponent, so both have an upper bound too.
const (
	minBits  = 2048
	maxBits  = 4096
	exponent = 65537
)

// maxKID bounds a key id, in bytes.
const maxKID = 255

// pss is what RFC 7518 §3.5 says of PS256: MGF1 with the same hash, the salt as long as the hash value.
var pss = rsa.PSSOptions{SaltLength: sha256.Size, Hash: crypto.SHA256}

// PrivateKey is a signing key. It signs with one algorithm only (RFC 8725 §3.1).
type PrivateKey struct {
	KID string
	Alg string // RS256 or PS256
	key *rsa.PrivateKey
}

// GenerateKey makes a key of 2048 to 4096 bits. Its kid is its RFC 7638 thumbprint.
func GenerateKey(alg string, bits int) (*PrivateKey, error) {
	if bits < minBits || bits > maxBits {
		return nil, fmt.Errorf("RSA key must have %d to %d bits", minBits, maxBits)
	}
	key, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		return nil, err
	}
	return NewPrivateKey(key, alg, "")
}

// NewPrivateKey checks key and prepares it for fast signing; key must not be used by others while this runs. An empty
// kid means the thumbprint.
func NewPrivateKey(key *rsa.PrivateKey, alg, kid string) (*PrivateKey, error) {
	if alg != RS256 && alg != PS256 {
		return nil, errAlgName
	}
	if kid == "" {
		kid = Thumbprint(&key.PublicKey)
	}
	if _, err := NewPublicKey(&key.PublicKey, alg, kid); err != nil {
		return nil, err
	}
	key.Precompute()
	if err := key.Validate(); err != nil {
		return nil, err
	}
	return &PrivateKey{KID: kid, Alg: alg, key: key}, nil
}

// ParsePrivateKeyPEM reads one PKCS#8 "PRIVATE KEY" block. An empty kid means the thumbprint.
func ParsePrivateKeyPEM(data []byte, alg, kid string) (*PrivateKey, error) {
	der, err := onlyBlock(data, "PRIVATE KEY")
	if err != nil {
		return nil, err
	}
	return parsePKCS8(der, alg, kid)
}

func parsePKCS8(der []byte, alg, kid string) (*PrivateKey, error) {
	parsed, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, errors.New("not a PKCS#8 private key") // without the cause: nothing of a private key belongs in a log
	}
	key, ok := parsed.(*rsa.PrivateKey)
	if !ok {
		return nil, errNotRSA
	}
	return NewPrivateKey(key, alg, kid)
}

// PEM returns the key in the clear, as one PKCS#8 "PRIVATE KEY" block.
func (k *PrivateKey) PEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: k.pkcs8()})
}

func (k *PrivateKey) pkcs8() []byte {
	der, err := x509.MarshalPKCS8PrivateKey(k.key)
	if err != nil {
		panic(err) // NewPrivateKey has validated the key
	}
	return der
}

// Public returns the half that may be published.
func (k *PrivateKey) Public() *PublicKey {
	return &PublicKey{KID: k.KID, Alg: k.Alg, Key: &k.key.PublicKey}
}

// Format prints the kid for every verb, so that no log line can hold a private key.
func (k PrivateKey) Format(s fmt.State, _ rune) { io.WriteString(s, "jose.PrivateKey("+k.KID+")") }

// Sign returns the compact serialization (RFC 7515 §3.1) of claims, which must marshal to a JSON object. The header
// has alg, kid and, unless empty, typ.
func (k *PrivateKey) Sign(typ string, claims any) (string, error) {
	header, err := json.Marshal(struct {
		Alg string `json:"alg"`
		KID string `json:"kid"`
		Typ string `json:"typ,omitzero"`
	}{k.Alg, k.KID, typ})
	if err != nil {
		return "", err
	}
	payload, err := json.Marshal(claims, json.Deterministic(true))
	if err != nil {
		return "", err
	}
	if payload[0] != '{' {
		return "", errors.New("claims are not a JSON object")
	}
	input := base64url.EncodeToString(header) + "." + base64url.EncodeToString(payload)
	digest := sha256.Sum256([]byte(input))
	signature, err := k.signDigest(digest[:])
	if err != nil {
		return "", err
	}
	return input + "." + base64url.EncodeToString(signature), nil
}

func (k *PrivateKey) signDigest(digest []byte) ([]byte, error) {
	switch k.Alg {
	case RS256:
		return rsa.SignPKCS1v15(rand.Reader, k.key, crypto.SHA256, digest)
	case PS256:
		return rsa.SignPSS(rand.Reader, k.key, crypto.SHA256, digest, &pss)
	}
	return nil, errAlgName
}

// PublicKey is a key that verifies signatures.
type PublicKey struct {
	KID string // empty: the key has no id of its own
	Alg string // RS256, PS256 or empty: either
	Key *rsa.PublicKey
}

// NewPublicKey checks a key that came from elsewhere, for example out of a certificate: its length, its exponent, and
// that it is neither one of the kinds of weak key that can be told cheaply nor a well-known example. Alg and kid may be empty.
func NewPublicKey(key *rsa.PublicKey, alg, kid string) (*PublicKey, error) {
	if alg != "" && alg != RS256 && alg != PS256 {
		return nil, errAlgName
	}
	if len(kid) > maxKID {
		return nil, fmt.Errorf("kid is longer than %d bytes", maxKID)
	}
	if strings.ContainsFunc(kid, unicode.IsControl) {
		return nil, errors.New("kid has a control character")
	}
	if err := checkShape(key); err != nil {
		return nil, err
	}
	if err := checkWeak(key.N); err != nil {
		return nil, err
	}
	if err := checkPublished(key); err != nil {
		return nil, err
	}
	return &PublicKey{KID: kid, Alg: alg, Key: key}, nil
}

// ParsePublicKeyPEM reads one PKIX "PUBLIC KEY" block and checks the key as NewPublicKey does.
func ParsePublicKeyPEM(data []byte, alg, kid string) (*PublicKey, error) {
	der, err := onlyBlock(data, "PUBLIC KEY")
	if err != nil {
		return nil, err
	}
	parsed, err := x509.ParsePKIXPublicKey(der)
	if err != nil {
		return nil, errors.New("not a public key")
	}
	key, ok := parsed.(*rsa.PublicKey)
	if !ok {
		return nil, errNotRSA
	}
	return NewPublicKey(key, alg, kid)
}

// MarshalJSON writes the key as a JWK: n is the modulus and e the exponent (RFC 7518 §6.3.1).
func (k *PublicKey) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		Kty string `json:"kty"`
		Use string `json:"use"`
		KID string `json:"kid,omitzero"`
		Alg string `json:"alg,omitzero"`
		N   string `json:"n"`
		E   string `json:"e"`
	}{"RSA", "sig", k.KID, k.Alg, modulus(k.Key), publicExponent(k.Key)})
}

// Thumbprint returns the RFC 7638 SHA-256 thumbprint in base64url.
func Thumbprint(key *rsa.PublicKey) string {
	sum := sha256.Sum256([]byte(`{"e":"` + publicExponent(key) + `","kty":"RSA","n":"` + modulus(key) + `"}`)) // RFC 7638 §3.2
	return base64url.EncodeToString(sum[:])
}

// modulus and publicExponent write Base64urlUInt: big-endian without leading zero octets (RFC 7518 §2).
func modulus(key *rsa.PublicKey) string { return base64url.EncodeToString(key.N.Bytes()) }

func publicExponent(key *rsa.PublicKey) string {
	return base64url.EncodeToString(big.NewInt(int64(key.E)).Bytes())
}

// base64url is the encoding of RFC 7515 §2, without padding; it refuses non-zero trailing bits.
var base64url = base64.RawURLEncoding.Strict()

var (
	errAlgName = errors.New("alg is not RS256 or PS256")
	errNotRSA  = errors.New("not an RSA key")
)

func onlyBlock(data []byte, kind string) ([]byte, error) {
	block, rest := pem.Decode(data)
	if block == nil || block.Type != kind || len(bytes.TrimSpace(rest)) != 0 {
		return nil, fmt.Errorf("not exactly one PEM block %q", kind)
	}
	return block.Bytes, nil
}
