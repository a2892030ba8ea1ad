package jose

import (
	"crypto/rsa"
	"crypto/sha256"
)

// The examples of RFC 7520 sign plain text, which Parse refuses, with a key that is refused, too. These let a test reach
// the layer below.

func SignInput(k *PrivateKey, input string) ([]byte, error) {
	digest := sha256.Sum256([]byte(input))
	return k.signDigest(digest[:])
}

func VerifyInput(alg, input string, signature []byte, key *rsa.PublicKey) bool {
	t := &JWT{Alg: alg, digest: sha256.Sum256([]byte(input)), signature: signature}
	return t.verifies(key)
}

func SignExample(key *rsa.PrivateKey, alg, input string) ([]byte, error) {
	return SignInput(&PrivateKey{Alg: alg, key: key}, input)
}
