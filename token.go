package gatehouse

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"encoding/base64"
	"encoding/binary"
	"slices"
	"strings"
	"time"
)

// An AccessToken is the record of an access token: what it opens and until
// when. The token itself is never stored, only its hash.
type AccessToken struct {
	ID        string
	Provider  string
	GrantID   string
	ClientID  string
	Scope     Scopes
	Hash      []byte
	IssuedAt  time.Time
	ExpiresAt time.Time
}

// A RefreshToken is the record of a refresh token.
type RefreshToken struct {
	ID        string
	Provider  string
	GrantID   string
	ClientID  string
	Hash      []byte
	IssuedAt  time.Time
	ExpiresAt time.Time
	// SuccessorID and RotatedAt are set once another refresh token has taken
	// its place.
	SuccessorID string
	RotatedAt   time.Time
}

// Tokens are "{id}.{secret}": the id finds the row and tells nothing, the
// secret of 256 random bits proves possession.

// NewToken returns a fresh token and its id.
func NewToken(now time.Time) (id, token string) {
	id = NewID(now)
	return id, id + "." + NewSecret()
}

// DeriveToken returns the token, and its id, that belong to a moment, at least
// 10 bytes that make the id unique, and a secret of 32 bytes.
func DeriveToken(at time.Time, unique, secret []byte) (id, token string) {
	id = formatID(at, unique)
	return id, id + "." + base64.RawURLEncoding.EncodeToString(secret)
}

// TokenID returns the id of a presented token, and false for a text that
// cannot be one.
func TokenID(token string) (string, bool) {
	id, secret, found := strings.Cut(token, ".")
	return id, found && len(id) == idLength && len(secret) == secretLength
}

const (
	idLength     = 26 // 16 bytes in base32hex
	secretLength = 43 // 32 bytes in base64url
)

var idEncoding = base32.NewEncoding("0123456789abcdefghijklmnopqrstuv").WithPadding(base32.NoPadding)

// NewID returns a unique identifier that sorts by time, so that new rows lie
// together in an index: 48 bits of milliseconds, then 80 random bits.
func NewID(now time.Time) string {
	var random [10]byte
	rand.Read(random[:])
	return formatID(now, random[:])
}

// FirstID is where the ids begin that NewID makes from a moment on.
func FirstID(at time.Time) string { return formatID(at, make([]byte, 10)) }

func formatID(at time.Time, unique []byte) string {
	b := binary.BigEndian.AppendUint64(nil, uint64(at.UnixMilli())<<16)
	return idEncoding.EncodeToString(append(b[:6], unique[:10]...))
}

// NewSecret returns 256 random bits in base64url: a code, the secret part of a
// token, a client secret.
func NewSecret() string {
	var b [32]byte
	rand.Read(b[:])
	return base64.RawURLEncoding.EncodeToString(b[:])
}

// HashSecret is how codes, tokens and cookies are stored and looked up:
// SHA-256, enough for values of 256 random bits.
func HashSecret(secret string) []byte {
	sum := sha256.Sum256([]byte(secret))
	return sum[:]
}

// Scopes is a set of scope values (RFC 6749 §3.3), written as one
// space-separated string.
type Scopes []string

// ParseScopes splits a scope parameter; order and repetition do not matter.
func ParseScopes(text string) Scopes {
	var s Scopes
	for value := range strings.SplitSeq(text, " ") {
		if value != "" && !slices.Contains(s, value) {
			if len(s) == maxScopes {
				return append(s, value)
			}
			s = append(s, value)
		}
	}
	return s
}

// maxScopes bounds the quadratic cost of sets; more values than exist cannot
// be a subset of anything, so what is cut off does not matter.
const maxScopes = 16

func (s Scopes) String() string { return strings.Join(s, " ") }

// Has reports whether value is in the set.
func (s Scopes) Has(value string) bool { return slices.Contains(s, value) }

// Within reports whether every value of s is in all.
func (s Scopes) Within(all Scopes) bool { return isSubset(s, all) }

// Intersect returns the values of s that are also in other, in the order of s.
func (s Scopes) Intersect(other Scopes) Scopes {
	var both Scopes
	for _, value := range s {
		if other.Has(value) {
			both = append(both, value)
		}
	}
	return both
}

// MarshalText writes the space-separated form.
func (s Scopes) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads the space-separated form.
func (s *Scopes) UnmarshalText(text []byte) error {
	*s = ParseScopes(string(text))
	return nil
}
