package jose

// RFC 7515 (JSON Web Signature), RFC 7519 (JSON Web Token), RFC 8725 (best current practices)

import (
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// MaxSize is the length in bytes above which a JWT from outside is refused unread.
const MaxSize = 16 << 10

const (
	maxDepth      = 32
	maxCandidates = 8
)

// The errors of Parse and Verify that callers tell apart.
var (
	ErrAlg       = errors.New("header alg is not accepted")
	ErrNoKey     = errors.New("no key for this kid and alg")
	ErrSignature = errors.New("signature is wrong")
)

// JWT is a token that has been read. Nothing in it may be believed before Verify returns nil.
type JWT struct {
	Alg    string // RS256 or PS256
	KID    string // empty when absent
	Typ    string // empty when absent
	Claims Claims

	digest    [sha256.Size]byte // of the JWS Signing Input
	signature []byte
}

// Parse reads a token in the compact serialization of at most limit bytes (MaxSize, unless there is a reason). Length
// and alphabet are checked before anything is decoded, so that a hostile token costs one pass over it and no memory.
//
// The header may have the members of accepted and no others, so no key in it, or where it points to, is ever used, no
// extension is asked for (RFC 7515 §4.1.11), and nothing is encrypted. x5t and x5t#S256 are not looked at.
func Parse(token string, limit int) (*JWT, error) {
	if len(token) > limit {
		return nil, fmt.Errorf("longer than %d bytes", limit)
	}
	parts, err := split(token)
	if err != nil {
		return nil, err
	}
	header, err := decodeObject(parts[0])
	if err != nil {
		return nil, fmt.Errorf("header: %w", err)
	}
	t := new(JWT)
	if err := t.readHeader(header); err != nil {
		return nil, err
	}
	if t.Claims, err = decodeObject(parts[1]); err != nil {
		return nil, fmt.Errorf("payload: %w", err)
	}
	if t.signature, err = base64url.DecodeString(parts[2]); err != nil {
		return nil, fmt.Errorf("signature: %w", errBase64url)
	}
	t.digest = sha256.Sum256([]byte(token[:len(parts[0])+1+len(parts[1])]))
	return t, nil
}

// split checks that token is three non-empty parts of base64url characters (RFC 7515 §7.1).
func split(token string) (parts [3]string, err error) {
	n, start := 0, 0
	for i := 0; i < len(token); i++ {
		c := token[i]
		switch {
		case c == '.':
			if n == 2 || i == start {
				return parts, errParts
			}
			parts[n] = token[start:i]
			n, start = n+1, i+1
		case 'A' <= c && c <= 'Z', 'a' <= c && c <= 'z', '0' <= c && c <= '9', c == '-', c == '_':
		default:
			return parts, errAlphabet
		}
	}
	if n != 2 || start == len(token) {
		return parts, errParts
	}
	parts[2] = token[start:]
	return parts, nil
}

var (
	errHeader    = errors.New("header has a member besides " + strings.Join(accepted, ", "))
	errParts     = errors.New("not three parts with dots between")
	errAlphabet  = errors.New("has a character that is not base64url")
	errBase64url = errors.New("not canonical base64url")
)

func decodeObject(part string) (Claims, error) {
	data, err := base64url.DecodeString(part)
	if err != nil {
		return nil, errBase64url
	}
	return ParseObject(data, maxDepth)
}

// accepted are the header members that a token may have. RFC 7515 §4 would have others ignored; but those that exist say
// where a key is, that the token is encrypted, or that it means something else, and another reader might not ignore them.
var accepted = []string{"alg", "kid", "typ", "cty", "x5t", "x5t#S256"}

func (t *JWT) readHeader(header Claims) (err error) {
	for name := range header {
		if !slices.Contains(accepted, name) {
			return errHeader
		}
	}
	if t.Alg, err = header.String("alg"); err != nil {
		return fmt.Errorf("header %w", err)
	}
	if t.Alg != RS256 && t.Alg != PS256 {
		return ErrAlg
	}
	if header.Has("kid") {
		if t.KID, err = header.String("kid"); err != nil {
			return fmt.Errorf("header %w", err)
		}
	}
	if len(t.KID) > maxKID {
		return fmt.Errorf("header kid is longer than %d bytes", maxKID)
	}
	if t.Typ, _, err = header.OptionalString("typ"); err != nil {
		return fmt.Errorf("header %w", err)
	}
	if strings.ContainsFunc(t.Typ, notVisible) || strings.HasSuffix(t.Typ, "/") {
		return errors.New("header typ is not a media type")
	}
	cty, _, err := header.OptionalString("cty")
	if err != nil {
		return fmt.Errorf("header %w", err)
	}
	if strings.TrimPrefix(strings.ToLower(cty), "application/") == "jwt" { // RFC 7519 §5.2
		return errors.New("header cty says that the token is nested")
	}
	return nil
}

// MediaType is Typ in lower case without the "application/" that may stand before it (RFC 7515 §4.1.9).
func (t *JWT) MediaType() string { return strings.TrimPrefix(strings.ToLower(t.Typ), "application/") }

// notVisible reports whether a rune cannot be in a media type. Outside ASCII there are letters whose small forms are
// inside it.
func notVisible(r rune) bool { return r <= ' ' || r >= 0x7f }

// Verify checks the signature. The token's alg must be one of algs. A kid that some key has selects those keys; a kid
// that none has leaves the keys without a kid of their own; without kid every key is tried. A key with an Alg is tried
// for that alg only, a key outside the bounds of NewPublicKey never, and no more than eight keys at all.
//
// It returns ErrAlg, ErrNoKey when no key is left to try, or ErrSignature.
func (t *JWT) Verify(keys []*PublicKey, algs ...string) error {
	if !slices.Contains(algs, t.Alg) {
		return ErrAlg
	}
	candidates := t.candidates(keys)
	if len(candidates) == 0 {
		return ErrNoKey
	}
	for _, k := range candidates {
		if t.verifies(k.Key) {
			return nil
		}
	}
	return ErrSignature
}

func (t *JWT) candidates(keys []*PublicKey) []*PublicKey {
	want := ""
	for _, k := range keys {
		if k.KID == t.KID {
			want = t.KID
		}
	}
	var candidates []*PublicKey
	for _, k := range keys {
		switch {
		case t.KID != "" && k.KID != want:
		case k.Alg != "" && k.Alg != t.Alg:
		case checkShape(k.Key) != nil:
		case len(candidates) == maxCandidates:
		default:
			candidates = append(candidates, k)
		}
	}
	return candidates
}

func (t *JWT) verifies(key *rsa.PublicKey) bool {
	switch t.Alg {
	case RS256:
		return rsa.VerifyPKCS1v15(key, crypto.SHA256, t.digest[:], t.signature) == nil
	case PS256:
		return rsa.VerifyPSS(key, crypto.SHA256, t.digest[:], t.signature, &pss) == nil
	}
	return false
}
