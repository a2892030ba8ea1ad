package jose

// Private keys at rest: AES-256-GCM (NIST SP 800-38D) under keys derived with HKDF-SHA-256 (RFC 5869)

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"
)

// KEK is the key-encryption key of a deployment. It comes from outside the database. The secret itself encrypts and
// signs nothing: every purpose has a key of its own, derived from it.
type KEK struct {
	secret []byte
	id     string
	aead   cipher.AEAD
}

// The purposes. Changing one makes what was written under it unreadable.
const (
	infoID   = "gatehouse kek id v1"
	infoSeal = "gatehouse seal v1"
	infoMAC  = "gatehouse mac v1 " // followed by the caller's purpose
)

// sealVersion is the first byte of everything Seal returns.
const sealVersion = 1

// NewKEK takes a secret of exactly 32 random bytes.
func NewKEK(secret []byte) (*KEK, error) {
	if len(secret) != 32 {
		return nil, errors.New("key-encryption key is not of 32 bytes")
	}
	k := &KEK{secret: append([]byte(nil), secret...)}
	id, err := k.derive(infoID, 8)
	if err != nil {
		return nil, err
	}
	k.id = hex.EncodeToString(id)
	key, err := k.derive(infoSeal, 32)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	if k.aead, err = cipher.NewGCMWithRandomNonce(block); err != nil {
		return nil, err
	}
	return k, nil
}

// ParseKEK takes the 32 bytes in base64, of either alphabet, padded or not. White space around them is ignored.
func ParseKEK(text string) (*KEK, error) {
	text = strings.TrimRight(strings.TrimSpace(text), "=")
	text = strings.NewReplacer("+", "-", "/", "_").Replace(text)
	secret, err := base64url.DecodeString(text)
	if err != nil {
		return nil, errors.New("key-encryption key is not base64") // without the cause, which quotes the text
	}
	return NewKEK(secret)
}

// ID names the key in public, for example beside what it encrypted. It tells nothing about the secret.
func (k *KEK) ID() string { return k.id }

// Format prints the id for every verb, so that no log line can hold the secret.
func (k KEK) Format(s fmt.State, _ rune) { io.WriteString(s, "jose.KEK("+k.id+")") }

// Seal encrypts a private key for storage. Only Open with the same KEK, provider, kid and alg reads it again, so that
// rows swapped in a database are found out.
func (k *KEK) Seal(key *PrivateKey, provider string) ([]byte, error) {
	bound := lengthPrefixed(provider, key.KID, key.Alg)
	return k.aead.Seal([]byte{sealVersion}, nil, key.pkcs8(), bound), nil
}

// Open decrypts what Seal returned.
func (k *KEK) Open(sealed []byte, provider, kid, alg string) (*PrivateKey, error) {
	if len(sealed) == 0 || sealed[0] != sealVersion {
		return nil, errors.New("not a sealed key of a known version")
	}
	der, err := k.aead.Open(nil, nil, sealed[1:], lengthPrefixed(provider, kid, alg))
	if err != nil {
		return nil, errors.New("sealed key does not open: it was changed, or sealed under another KEK, provider, kid or alg")
	}
	return parsePKCS8(der, alg, kid)
}

// SealText encrypts a text for storage. Only OpenText with the same purpose and bound values reads it again.
func (k *KEK) SealText(text, purpose string, bound ...string) []byte {
	return k.aead.Seal([]byte{sealVersion}, nil, []byte(text), textBinding(purpose, bound))
}

// OpenText decrypts what SealText returned.
func (k *KEK) OpenText(sealed []byte, purpose string, bound ...string) (string, error) {
	if len(sealed) == 0 || sealed[0] != sealVersion {
		return "", errors.New("not a sealed text of a known version")
	}
	text, err := k.aead.Open(nil, nil, sealed[1:], textBinding(purpose, bound))
	if err != nil {
		return "", errors.New("sealed text does not open: it was changed, or sealed under another KEK or for something else")
	}
	return string(text), nil
}

// textBinding cannot equal the binding of a private key, which is three parts and begins with a provider code.
func textBinding(purpose string, bound []string) []byte {
	return lengthPrefixed(append([]string{"text", purpose, ""}, bound...)...)
}

// MAC returns the HMAC-SHA-256 of parts, in order and kept apart, under a key that serves this purpose only.
func (k *KEK) MAC(purpose string, parts ...string) []byte {
	key, err := k.derive(infoMAC+purpose, sha256.Size)
	if err != nil {
		panic(err) // HKDF fails only for a length that is too large
	}
	mac := hmac.New(sha256.New, key)
	mac.Write(lengthPrefixed(parts...))
	return mac.Sum(nil)
}

func (k *KEK) derive(info string, length int) ([]byte, error) {
	return hkdf.Key(sha256.New, k.secret, nil, info, length)
}

// lengthPrefixed joins parts so that no two lists give the same bytes.
func lengthPrefixed(parts ...string) []byte {
	var b []byte
	for _, p := range parts {
		b = binary.BigEndian.AppendUint32(b, uint32(len(p)))
		b = append(b, p...)
	}
	return b
}
