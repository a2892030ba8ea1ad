package gatehouse

import (
	"time"

	"gatehouse/jose"
)

// A ResourceServer is what a bank guards with tokens, its gateway for example
// (RFC 6749 §1.1). It may ask about every token of that one provider.
type ResourceServer struct {
	ID       string `json:"resource_server_id"`
	Provider string `json:"provider_code"`
	Name     string `json:"name"`
	// SecretHash is the keyed hash of its secret.
	SecretHash []byte    `json:"-"`
	CreatedAt  time.Time `json:"created_at"`
}

// ResourceServerSecretHash is the keyed hash of a resource server's secret,
// ResourceServer.SecretHash.
func ResourceServerSecretHash(kek *jose.KEK, provider, id, secret string) []byte {
	return kek.MAC("resource_server_secret", provider, id, secret)
}

// A PSUSession is a PSU on the page that shows what they have granted. The bank
// says who it is; a link that works once carries the browser over.
type PSUSession struct {
	ID       string
	Provider string
	UserID   string
	// HandoverHash is the hash of what is in the link, SessionHash that of the
	// cookie, nil until the link was followed.
	HandoverHash []byte
	SessionHash  []byte
	CreatedAt    time.Time
	// ExpiresAt ends the link and, once it was followed, the session.
	ExpiresAt time.Time
}
