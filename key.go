package gatehouse

import "time"

// A Key is one signing key of a provider. Its private part is sealed under a
// key-encryption key that is never in the database.
type Key struct {
	// KID is the thumbprint of the public key (RFC 7638), unique in the
	// deployment.
	KID      string `json:"kid"`
	Provider string `json:"provider_code"`
	// Alg is the one algorithm the key signs with.
	Alg string `json:"alg"`
	// Sealed is the private key, encrypted and bound to provider, kid and alg.
	Sealed []byte `json:"-"`
	// KEKID names the key-encryption key.
	KEKID     string    `json:"key_encryption_key_id"`
	CreatedAt time.Time `json:"created_at"`
}
