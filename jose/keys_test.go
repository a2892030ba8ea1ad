package jose_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"log/slog"
	"math/big"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"

	"gatehouse/jose"
)

// The keys of these tests, each made once.
var (
	rsKey    = sync.OnceValue(func() *jose.PrivateKey { return generate(jose.RS256) })
	psKey    = sync.OnceValue(func() *jose.PrivateKey { return generate(jose.PS256) })
	otherKey = sync.OnceValue(func() *jose.PrivateKey { return generate(jose.RS256) })
)

func generate(alg string) *jose.PrivateKey {
	k, err := jose.GenerateKey(alg, 2048)
	if err != nil {
		panic(err)
	}
	return k
}

// raw returns the crypto/rsa key inside k.
func raw(t testing.TB, k *jose.PrivateKey) *rsa.PrivateKey {
	t.Helper()
	block, _ := pem.Decode(k.PEM())
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return key.(*rsa.PrivateKey)
}

// Proves: K11 (the key part)
func TestGenerateKey(t *testing.T) {
	for _, bits := range []int{512, 1024, 2047, 4097, 16384} {
		if _, err := jose.GenerateKey(jose.RS256, bits); err == nil {
			t.Errorf("%d bits: no error", bits)
		}
	}
	for _, alg := range []string{"", "RS384", "rs256", "HS256", "none"} {
		if _, err := jose.GenerateKey(alg, 2048); err == nil {
			t.Errorf("alg %q: no error", alg)
		}
	}
	a, b := rsKey(), otherKey()
	if a.KID == b.KID || raw(t, a).N.Cmp(raw(t, b).N) == 0 {
		t.Error("two generated keys are the same")
	}
	for _, k := range []*jose.PrivateKey{a, b, psKey()} {
		if got := raw(t, k).N.BitLen(); got != 2048 {
			t.Errorf("modulus of %d bits", got)
		}
		if k.KID != jose.Thumbprint(k.Public().Key) {
			t.Error("kid is not the thumbprint")
		}
	}
}

// The example of RFC 7638 §3.1.
func TestThumbprint(t *testing.T) {
	const n = "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiF" +
		"V4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9" +
		"c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1" +
		"jF44-csFCur-kEgU8awapJzKnqDKgw"
	octets, err := base64.RawURLEncoding.DecodeString(n)
	if err != nil {
		t.Fatal(err)
	}
	got := jose.Thumbprint(&rsa.PublicKey{N: new(big.Int).SetBytes(octets), E: 65537})
	if want := "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestPrivateKeyPEM(t *testing.T) {
	k := psKey()
	again, err := jose.ParsePrivateKeyPEM(k.PEM(), jose.PS256, "")
	if err != nil {
		t.Fatal(err)
	}
	if again.KID != k.KID || !raw(t, again).Equal(raw(t, k)) {
		t.Error("another key came back")
	}
	if named, err := jose.ParsePrivateKeyPEM(k.PEM(), jose.PS256, "1"); err != nil || named.KID != "1" {
		t.Errorf("named %v, %v", named, err)
	}
	short, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	small, err := x509.MarshalPKCS8PrivateKey(short)
	if err != nil {
		t.Fatal(err)
	}
	pkcs1 := pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(raw(t, k))})
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ecPrivate, err := x509.MarshalPKCS8PrivateKey(ec)
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{
		"empty":        nil,
		"text":         []byte("key"),
		"PKCS#1":       pkcs1,
		"two blocks":   bytes.Repeat(k.PEM(), 2),
		"text after":   append(k.PEM(), "key"...),
		"truncated":    pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte{0x30, 0x82}}),
		"1024 bits":    pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: small}),
		"a public key": publicPEM(t, k.Public().Key),
		"an EC key":    pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: ecPrivate}),
	} {
		if _, err := jose.ParsePrivateKeyPEM(data, jose.PS256, ""); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func publicPEM(t testing.TB, key any) []byte {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
}

func TestPublicKeyPEM(t *testing.T) {
	good := rsKey().Public().Key
	k, err := jose.ParsePublicKeyPEM(publicPEM(t, good), "", "")
	if err != nil {
		t.Fatal(err)
	}
	if k.KID != "" || k.Alg != "" || !k.Key.Equal(good) {
		t.Errorf("got %+v", k)
	}
	for name, data := range map[string][]byte{
		"exponent 3":    publicPEM(t, &rsa.PublicKey{N: good.N, E: 3}),
		"1024 bits":     publicPEM(t, &rsa.PublicKey{N: new(big.Int).Rsh(good.N, 1024), E: 65537}),
		"a private key": rsKey().PEM(),
		"empty":         nil,
	} {
		if _, err := jose.ParsePublicKeyPEM(data, "", ""); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if _, err := jose.ParsePublicKeyPEM(publicPEM(t, good), "RS512", ""); err == nil {
		t.Error("alg RS512: no error")
	}
	if _, err := jose.ParsePublicKeyPEM(publicPEM(t, good), "", strings.Repeat("k", 256)); err == nil {
		t.Error("kid of 256 bytes: no error")
	}
}

// Weak moduli are made here in the way the faulty software makes them.
func TestWeakKeys(t *testing.T) {
	prime := func(bits int) *big.Int {
		p, err := rand.Prime(rand.Reader, bits)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	nextPrime := func(n *big.Int) *big.Int {
		p := new(big.Int).Add(n, big.NewInt(2))
		for !p.ProbablyPrime(10) {
			p.Add(p, big.NewInt(2))
		}
		return p
	}
	rocaPrime := func() *big.Int {
		m := big.NewInt(1)
		for p := int64(2); p <= 701; p++ {
			if i := big.NewInt(p); i.ProbablyPrime(10) {
				m.Mul(m, i)
			}
		}
		for { // p = k·M + (65537^a mod M)
			a, k := prime(60), prime(1024-m.BitLen())
			p := new(big.Int).Exp(big.NewInt(65537), a, m)
			if p.Add(p, k.Mul(k, m)); p.BitLen() == 1024 && p.ProbablyPrime(10) {
				return p
			}
		}
	}
	p := prime(1024)
	rows := []struct {
		name  string
		n     *big.Int
		fault string
	}{
		{"small factor", new(big.Int).Mul(big.NewInt(751), prime(2040)), "RSA modulus has a small factor"},
		{"square", new(big.Int).Mul(p, p), "RSA modulus is of two primes too close together"},
		{"neighbours", new(big.Int).Mul(p, nextPrime(p)), "RSA modulus is of two primes too close together"},
		{"ROCA", new(big.Int).Mul(rocaPrime(), rocaPrime()), "RSA modulus has the ROCA weakness"},
		{"even", new(big.Int).Lsh(prime(2047), 1), "RSA modulus is even"},
	}
	for _, row := range rows {
		_, err := jose.NewPublicKey(&rsa.PublicKey{N: row.n, E: 65537}, "", "")
		if err == nil || err.Error() != row.fault {
			t.Errorf("%s: %v", row.name, err)
		}
	}
}

// Keys that everybody can sign with are nobody's, wherever one is read.
func TestPublishedKeys(t *testing.T) {
	data, err := os.ReadFile("testdata/published_keys.json")
	if err != nil {
		t.Fatal(err)
	}
	var keys []struct{ Source, N string }
	if err := json.Unmarshal(data, &keys); err != nil {
		t.Fatal(err)
	}
	const fault = "RSA key is an example whose private half is published"
	for _, k := range keys {
		n := new(big.Int).SetBytes([]byte(decoded(t, k.N)))
		if _, err := jose.NewPublicKey(&rsa.PublicKey{N: n, E: 65537}, "", ""); errorText(err) != fault {
			t.Errorf("%s: %v", k.Source, err)
		}
		if _, err := jose.ParseJWKS([]byte(`{"keys":[{"kty":"RSA","e":"AQAB","n":"` + k.N + `"}]}`)); errorText(err) != "keys[0]: "+fault {
			t.Errorf("%s in a set: %v", k.Source, err)
		}
		other := b64(n.SetBit(n, 1024, n.Bit(1024)^1).Bytes()) // another number, of which nothing is known
		if _, err := jose.ParseJWKS([]byte(`{"keys":[{"kty":"RSA","e":"AQAB","n":"` + other + `"}]}`)); errorText(err) == "keys[0]: "+fault {
			t.Errorf("%s, a bit changed: %v", k.Source, err)
		}
	}
	t.Attr("bad_inputs", strconv.Itoa(2*len(keys)))
}

// Proves: K2
func TestPublicKeyJSON(t *testing.T) {
	k := rsKey().Public()
	data, err := json.Marshal(jose.JWKS{Keys: []*jose.PublicKey{k, {Key: k.Key}}})
	if err != nil {
		t.Fatal(err)
	}
	var set struct{ Keys []map[string]string }
	if err := json.Unmarshal(data, &set); err != nil {
		t.Fatal(err)
	}
	n := base64.RawURLEncoding.EncodeToString(k.Key.N.Bytes())
	want := []map[string]string{
		{"kty": "RSA", "use": "sig", "kid": k.KID, "alg": "RS256", "n": n, "e": "AQAB"},
		{"kty": "RSA", "use": "sig", "n": n, "e": "AQAB"},
	}
	if fmt.Sprint(set.Keys) != fmt.Sprint(want) {
		t.Errorf("got %v, want %v", set.Keys, want)
	}
	if len(n) != 342 || strings.ContainsAny(n, "=+/") { // 256 octets: none in front, no padding
		t.Errorf("n is %s", n)
	}
}

func TestPrivateKeyIsNotPrinted(t *testing.T) {
	k := rsKey()
	d := raw(t, k).D.String()
	var out bytes.Buffer
	fmt.Fprintf(&out, "%v %+v %#v %s %d %x\n", k, k, k, k, k, *k)
	fmt.Fprintln(&out, struct{ K *jose.PrivateKey }{k}, []jose.PrivateKey{*k})
	slog.New(slog.NewTextHandler(&out, nil)).Info("key", "key", k)
	slog.New(slog.NewJSONHandler(&out, nil)).Info("key", "key", k)
	if strings.Contains(out.String(), d[:20]) || strings.Contains(out.String(), "Primes") {
		t.Errorf("a private key was printed: %s", &out)
	}
	if got := fmt.Sprintf("%+v", k); got != "jose.PrivateKey("+k.KID+")" {
		t.Errorf("printed %s", got)
	}
}
