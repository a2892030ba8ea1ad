package oidc_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"hash"
	"math/big"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"gatehouse"
	"gatehouse/jose"
)

// attackerID is a client that gives an attack every chance: it has a secret
// beside its RSA key, and keys of other kinds in its JWKS. It is registered for
// PS256 alone.
const attackerID = "attacker"

// An attacker makes the tokens of the cases for one provider.
type attacker struct {
	w        *world
	provider string
	rsa      *rsa.PrivateKey
	ec       *ecdsa.PrivateKey
	ed       ed25519.PrivateKey
	macKeys  map[string][]byte // by the words of the cases
	fillIns  *strings.Replacer
}

func newAttacker(w *world, provider string) *attacker {
	t := w.t
	t.Helper()
	x := &attacker{w: w, provider: provider}
	block, _ := pem.Decode(clientKey(t, attackerID, jose.PS256).PEM())
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	must(t, err)
	x.rsa = parsed.(*rsa.PrivateKey)
	x.ec, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	_, x.ed, err = ed25519.GenerateKey(rand.Reader)
	must(t, err)

	point, err := x.ec.PublicKey.Bytes() // 4, x, y
	must(t, err)
	jwk, err := json.Marshal(&jose.PublicKey{KID: "rsa", Key: &x.rsa.PublicKey})
	must(t, err)
	set := fmt.Sprintf(`{"keys":[%s,{"kty":"EC","kid":"ec","crv":"P-256","x":%q,"y":%q},{"kty":"OKP","kid":"ed","crv":"Ed25519","x":%q}]}`,
		jwk, b64(point[1:33]), b64(point[33:]), b64(x.ed.Public().(ed25519.PublicKey)))
	w.addClient(gatehouse.Client{
		ID: attackerID, JWKS: json.RawMessage(set), SecretHash: gatehouse.ClientSecretHash(w.kek, attackerID, secret),
		TokenEndpointAuthSigningAlg: jose.PS256, RequestObjectSigningAlg: jose.PS256,
	})

	x.macKeys = map[string][]byte{
		"client RSA public key PEM (PKIX)":                   pkix(t, &x.rsa.PublicKey),
		"client RSA public key PEM (PKCS1)":                  pem.EncodeToMemory(&pem.Block{Type: "RSA PUBLIC KEY", Bytes: x509.MarshalPKCS1PublicKey(&x.rsa.PublicKey)}),
		"client RSA public key PEM without trailing newline": bytes.TrimSpace(pkix(t, &x.rsa.PublicKey)),
		"client RSA public key DER":                          der(t, &x.rsa.PublicKey),
		"raw modulus bytes":                                  x.rsa.N.Bytes(),
		"provider public key PEM from JWKS":                  pkix(t, x.providerKey()),
		"empty key":                                          {},
		"JSON text of the JWK":                               jwk,
		"client_secret of the same client":                   []byte(secret),
	}
	other := map[string]string{"alpha": "gamma", "beta": "alpha", "gamma": "alpha"}[provider]
	x.fillIns = strings.NewReplacer(
		"<client_id>", attackerID, "<A>", attackerID, "<CLIENT_ID upper>", strings.ToUpper(attackerID),
		"<client B>", tppB, "<B>", tppB,
		"<issuer>", issuer(provider),
		"<issuer of provider B>", issuer(other),
		"<scheme://host>", baseURL,
		"<ISSUER HOST upper>", strings.Replace(issuer(provider), "auth.example", "AUTH.EXAMPLE", 1),
		"<issuer with :443>", strings.Replace(issuer(provider), "auth.example", "auth.example:443", 1),
		"<issuer percent-encoded>", fmt.Sprintf("%s/%%%x%s", baseURL, provider[0], provider[1:]),
		"<token_endpoint>", baseURL+"/api/oidc/"+provider+"/tokens",
		"<par_endpoint>", baseURL+"/api/oidc/"+provider+"/par",
	)
	return x
}

// providerKey is the key with which a TPP verifies what the provider signs.
func (x *attacker) providerKey() *rsa.PublicKey {
	x.w.t.Helper()
	set, err := jose.ParseJWKS([]byte(x.w.get("/oidc/" + x.provider + "/jwks").Body))
	must(x.w.t, err)
	return set.Keys[0].Key
}

func der(t testing.TB, key *rsa.PublicKey) []byte {
	t.Helper()
	data, err := x509.MarshalPKIXPublicKey(key)
	must(t, err)
	return data
}

func pkix(t testing.TB, key *rsa.PublicKey) []byte {
	t.Helper()
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der(t, key)})
}

// token makes the token of a case from the claims of a good one.
func (x *attacker) token(c attack, good claims) string {
	x.w.t.Helper()
	header := claims{"alg": "PS256", "kid": "rsa", "typ": "JWT"}.with(c.Header)
	payload := good
	for name, value := range c.Payload {
		switch name {
		case "_form", "_header": // of the request around it
			if _, ok := value.(map[string]any); !ok {
				x.w.t.Fatalf("%s: cannot read %s", c.ID, name)
			}
		case "_":
			claim, _, _ := strings.Cut(strings.TrimPrefix(c.ID, "time:"), "-")
			payload = payload.with(x.described(c, claim, value, good))
		case "exp", "nbf", "iat":
			payload = payload.with(x.described(c, name, value, good))
		default:
			if strings.HasPrefix(name, "_") {
				x.w.t.Fatalf("%s: cannot read %s", c.ID, name)
			}
			payload = payload.with(claims{name: x.fill(c, value)})
		}
	}
	return x.sign(c, header, payload)
}

// fill puts the world's names into a value, wherever it has <…>.
func (x *attacker) fill(c attack, value any) any {
	x.w.t.Helper()
	switch value := value.(type) {
	case nil, float64:
		return value
	case string:
		filled := x.fillIns.Replace(value)
		if strings.ContainsAny(filled, "<>") {
			x.w.t.Fatalf("%s: cannot read %q", c.ID, value)
		}
		return filled
	case []any:
		filled := []any{} // not nil: it is JSON's empty array
		for _, member := range value {
			filled = append(filled, x.fill(c, member))
		}
		return filled
	case map[string]any:
		filled := map[string]any{}
		for name, member := range value {
			filled[name] = x.fill(c, member)
		}
		return filled
	}
	x.w.t.Fatalf("%s: cannot read %v", c.ID, value)
	return nil
}

var moment = regexp.MustCompile(`^(now|nbf)([+-][0-9.]+)(?: with exp in the future)?$`)

// described returns the patch for a time that the case describes: a moment, or
// JSON text, which may have a remark in brackets behind it.
func (x *attacker) described(c attack, claim string, value any, good claims) claims {
	x.w.t.Helper()
	text, _ := value.(string)
	if !slices.Contains([]string{"exp", "nbf", "iat"}, claim) {
		x.w.t.Fatalf("%s: %q is not a time", c.ID, claim)
	}
	if value == nil {
		return claims{claim: nil}
	}
	now := x.w.clock.Now().Unix()
	if text == "exp<nbf" { // both of them good without the other
		return claims{"exp": now + 4, "nbf": now + 8}
	}
	if m := moment.FindStringSubmatch(text); m != nil {
		from := now
		if m[1] == "nbf" {
			from = good["nbf"].(int64)
		}
		offset, err := strconv.ParseFloat(m[2], 64)
		must(x.w.t, err)
		return claims{claim: json.RawMessage(strconv.FormatFloat(float64(from)+offset, 'f', -1, 64))}
	}
	literal, _, _ := strings.Cut(text, " (")
	if !json.Valid([]byte(literal)) {
		x.w.t.Fatalf("%s: cannot read %v", c.ID, value)
	}
	return claims{claim: json.RawMessage(literal)}
}

// sign makes the token as the case describes it.
func (x *attacker) sign(c attack, header, payload claims) string {
	x.w.t.Helper()
	alg, _ := header["alg"].(string)
	macKey, isMAC := x.macKeys[strings.TrimPrefix(c.Sign, "hmac:")]
	switch {
	case c.Sign == "":
		return compact(x.w.t, header, payload, x.own(jose.PS256))
	case c.Sign == "none(empty signature)":
		return compact(x.w.t, header, payload, func([]byte) []byte { return nil })
	case c.Sign == "PSS salt length 0":
		return compact(x.w.t, header, payload, x.pss(0, sha256.New))
	case c.Sign == "PSS salt length max (222 for 2048)":
		return compact(x.w.t, header, payload, x.pss(222, sha256.New))
	case c.Sign == "PSS MGF1-SHA1":
		return compact(x.w.t, header, payload, x.pss(32, sha1.New))
	case c.Sign == "client_key with that alg", c.Sign == "client_key "+alg:
		switch alg {
		case "ES256":
			header = header.with(claims{"kid": "ec"})
		case "EdDSA":
			header = header.with(claims{"kid": "ed"})
		}
		return compact(x.w.t, header, payload, x.own(alg))
	case strings.HasPrefix(c.Sign, "hmac:") && isMAC:
		return compact(x.w.t, header, payload, mac(x.w.t, alg, macKey))
	}
	x.w.t.Fatalf("%s: cannot sign with %q", c.ID, c.Sign)
	return ""
}

// compact is the JWS compact serialization (RFC 7515 §3.1) of anything.
func compact(t testing.TB, header, payload claims, sign func(input []byte) []byte) string {
	t.Helper()
	head, err := json.Marshal(header)
	must(t, err)
	body, err := json.Marshal(payload)
	must(t, err)
	input := b64(head) + "." + b64(body)
	return input + "." + b64(sign([]byte(input)))
}

func b64(data []byte) string { return base64.RawURLEncoding.EncodeToString(data) }

// own signs with the client's own key by an algorithm of RFC 7518 §3.1,
// RFC 8037 §3.1 or, RS1, of the IANA registry.
func (x *attacker) own(alg string) func(input []byte) []byte {
	t := x.w.t
	t.Helper()
	signed := func(signature []byte, err error) []byte {
		must(t, err)
		return signature
	}
	hashes := map[string]crypto.Hash{"1": crypto.SHA1, "256": crypto.SHA256, "384": crypto.SHA384, "512": crypto.SHA512}
	switch {
	case alg == "EdDSA":
		return func(input []byte) []byte { return ed25519.Sign(x.ed, input) }
	case alg == "ES256":
		return func(input []byte) []byte {
			r, s, err := ecdsa.Sign(rand.Reader, x.ec, digest(crypto.SHA256, input))
			must(t, err)
			return append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...)
		}
	case strings.HasPrefix(alg, "RS") && hashes[alg[2:]] != 0:
		h := hashes[alg[2:]]
		return func(input []byte) []byte { return signed(rsa.SignPKCS1v15(nil, x.rsa, h, digest(h, input))) }
	case strings.HasPrefix(alg, "PS") && hashes[alg[2:]] != 0:
		h := hashes[alg[2:]]
		return func(input []byte) []byte {
			return signed(rsa.SignPSS(rand.Reader, x.rsa, h, digest(h, input), &rsa.PSSOptions{SaltLength: h.Size()}))
		}
	}
	t.Fatalf("no client has a key for alg %q", alg)
	return nil
}

func digest(h crypto.Hash, input []byte) []byte {
	state := h.New()
	state.Write(input)
	return state.Sum(nil)
}

// mac signs with HMAC (RFC 7518 §3.2).
func mac(t testing.TB, alg string, key []byte) func(input []byte) []byte {
	t.Helper()
	hashes := map[string]func() hash.Hash{"HS256": sha256.New, "HS384": sha512.New384, "HS512": sha512.New}
	if hashes[alg] == nil {
		t.Fatalf("no MAC is called %q", alg)
	}
	return func(input []byte) []byte {
		state := hmac.New(hashes[alg], key)
		state.Write(input)
		return state.Sum(nil)
	}
}

// pss signs with SHA-256 by EMSA-PSS (RFC 8017 §9.1.1) with a salt of any
// length and any hash in MGF1, where PS256 has 32 octets and SHA-256 (RFC 7518
// §3.5). crypto/rsa signs neither without salt (its 0 means the longest) nor
// with two hashes.
func (x *attacker) pss(saltLength int, mgf func() hash.Hash) func(input []byte) []byte {
	return func(input []byte) []byte {
		salt := make([]byte, saltLength)
		rand.Read(salt)
		h := sha256.Sum256(slices.Concat(make([]byte, 8), digest(crypto.SHA256, input), salt))
		em := make([]byte, x.rsa.Size())
		db := em[:len(em)-len(h)-1] // zeros, 1, salt
		db[len(db)-saltLength-1] = 1
		copy(db[len(db)-saltLength:], salt)
		for i, counter := 0, uint32(0); i < len(db); counter++ { // MGF1, RFC 8017 §B.2.1
			state := mgf()
			state.Write(binary.BigEndian.AppendUint32(h[:], counter))
			for _, mask := range state.Sum(nil) {
				if i < len(db) {
					db[i] ^= mask
					i++
				}
			}
		}
		db[0] &= 0x7f // the modulus has 8·len(em) bits, the encoded message one less
		copy(em[len(db):], h[:])
		em[len(em)-1] = 0xbc
		s := new(big.Int).Exp(new(big.Int).SetBytes(em), x.rsa.D, x.rsa.N)
		return s.FillBytes(make([]byte, len(em)))
	}
}

// A control of the attacker: its PSS signatures are good ones with the salt
// they should have, and crypto/rsa sees the difference.
func TestHandmadePSS(t *testing.T) {
	t.Parallel()
	x := newAttacker(sqliteWorld(t), "alpha")
	input := []byte("input")
	verify := func(signature []byte, saltLength int) error {
		return rsa.VerifyPSS(&x.rsa.PublicKey, crypto.SHA256, digest(crypto.SHA256, input), signature, &rsa.PSSOptions{SaltLength: saltLength})
	}
	for _, salt := range []int{0, 32, 222} {
		signature := x.pss(salt, sha256.New)(input)
		if err := verify(signature, rsa.PSSSaltLengthAuto); err != nil {
			t.Errorf("salt of %d: %v", salt, err)
		}
		if err := verify(signature, 32); (err == nil) != (salt == 32) {
			t.Errorf("salt of %d, taken for 32: %v", salt, err)
		}
	}
	if verify(x.pss(32, sha1.New)(input), rsa.PSSSaltLengthAuto) == nil {
		t.Error("MGF1 with SHA-1 is taken for SHA-256")
	}
}
