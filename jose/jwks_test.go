package jose_test

import (
	"bytes"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/big"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"gatehouse/jose"
)

// member is a JWK as a test changes it.
type member map[string]any

func goodMember(kid string) member {
	return member{"kty": "RSA", "use": "sig", "alg": "PS256", "kid": kid, "n": b64(rsKey().Public().Key.N.Bytes()), "e": "AQAB"}
}

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

func jwks(t testing.TB, members ...member) []byte {
	t.Helper()
	data, err := json.Marshal(map[string]any{"keys": members})
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// Proves: D12 (the policy)
func TestJWKPolicyCases(t *testing.T) {
	data, err := os.ReadFile("testdata/jwk_policy_cases.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Keys []struct {
			ID, Expect string
			JWK        member
		}
	}
	if err := json.Unmarshal(data, &file); err != nil {
		t.Fatal(err)
	}
	if len(file.Keys) != 25 {
		t.Fatalf("%d cases", len(file.Keys))
	}
	tried := 0
	for _, c := range file.Keys {
		if bits, ok := c.JWK["n_bits"].(float64); ok {
			n := make([]byte, int(bits)/8)
			rand.Read(n)
			n[0] |= 0x80
			n[len(n)-1] |= 1
			c.JWK["n"] = b64(n)
		}
		set, err := jose.ParseJWKS(jwks(t, c.JWK))
		switch c.Expect {
		case "accept":
			if err != nil || len(set.Keys) != 1 {
				t.Errorf("%s: %v", c.ID, err)
			}
		case "reject":
			tried++
			if err == nil {
				t.Errorf("%s: accepted", c.ID)
			}
		default:
			t.Errorf("%s: expect is %q", c.ID, c.Expect)
		}
	}
	t.Attr("bad_inputs", strconv.Itoa(tried))
}

// A row is a good key with one thing changed; a nil value takes the member away.
func TestParseJWKSMembers(t *testing.T) {
	n := rsKey().Public().Key.N.Bytes()
	type row struct {
		name    string
		changes member
		want    string // the error; "" accepts, "skip" leaves the key out
	}
	rows := []row{
		{"good", member{}, ""},
		{"no kid", member{"kid": nil}, ""},
		{"no use", member{"use": nil}, ""},
		{"no alg", member{"alg": nil}, ""},
		{"alg RS256", member{"alg": "RS256"}, ""},
		{"unknown member", member{"x-note": member{"d": 1}}, ""},
		{"key_ops verify", member{"key_ops": []string{"verify"}}, ""},
		{"key_ops sign and verify", member{"key_ops": []string{"sign", "verify"}}, ""},

		{"use enc", member{"use": "enc"}, "skip"},
		{"use of another kind", member{"use": "tls"}, "skip"},
		{"kty EC", member{"kty": "EC"}, "skip"},
		{"kty OKP", member{"kty": "OKP"}, "skip"},
		{"alg RS512", member{"alg": "RS512"}, "skip"},
		{"alg RSA-OAEP", member{"alg": "RSA-OAEP", "use": nil}, "skip"},
		{"key_ops encrypt", member{"use": nil, "key_ops": []string{"encrypt"}}, "skip"},
		{"short key for encryption", member{"use": "enc", "n": "AQAB"}, "skip"},

		{"no kty", member{"kty": nil}, "keys[0]: kty is missing"},
		{"kty number", member{"kty": 1}, "keys[0]: kty is not a string"},
		{"kty rSA", member{"kty": "rSA"}, "keys[0]: kty is not spelled RSA"},
		{"use number", member{"use": 1}, "keys[0]: use is not a string"},
		{"alg number", member{"alg": 256}, "keys[0]: alg is not a string"},
		{"kid number", member{"kid": 1}, "keys[0]: kid is not a string"},
		{"kid empty", member{"kid": ""}, "keys[0]: kid is empty"},
		{"kid long", member{"kid": strings.Repeat("k", 256)}, "keys[0]: kid is longer than 255 bytes"},
		{"key_ops string", member{"key_ops": "verify"}, "keys[0]: key_ops has the wrong type or form"},
		{"key_ops encrypt, use sig", member{"key_ops": []string{"encrypt"}}, "keys[0]: use and key_ops contradict each other"},
		{"key_ops empty, use sig", member{"key_ops": []string{}}, "keys[0]: use and key_ops contradict each other"},
		{"key_ops verify, use enc", member{"use": "enc", "key_ops": []string{"verify"}}, "keys[0]: use and key_ops contradict each other"},
		{"key_ops mixed", member{"key_ops": []string{"verify", "encrypt"}}, "keys[0]: key_ops mixes verify with other operations"},
		{"key_ops repeated", member{"key_ops": []string{"verify", "verify"}}, "keys[0]: key_ops has a repeated member"},

		{"no n", member{"n": nil}, "keys[0]: n is missing"},
		{"no e", member{"e": nil}, "keys[0]: e is missing"},
		{"n and e swapped", member{"n": "AQAB", "e": b64(n)}, "keys[0]: RSA exponent is not 65537"},
		{"e with a leading zero", member{"e": "AAEAAQ"}, "keys[0]: RSA exponent is not 65537"},
		{"e padded", member{"e": "AQAB===="}, "keys[0]: RSA exponent is not 65537"},
		{"e number", member{"e": 65537}, "keys[0]: e is not a string"},
		{"n with a leading zero", member{"n": b64(append([]byte{0}, n...))}, "keys[0]: n has a leading zero octet"},
		{"n padded", member{"n": base64.URLEncoding.EncodeToString(n)}, "keys[0]: n: not canonical base64url"},
		{"n with a newline", member{"n": b64(n) + "\n"}, "keys[0]: n: not canonical base64url"},
		{"n with trailing bits", member{"n": strings.Repeat("_", 342)}, "keys[0]: n: not canonical base64url"},
		{"n even", member{"n": b64(append(n[:255:255], n[255]&^1))}, "keys[0]: RSA modulus is even"},

		{"x5c string", member{"x5c": "MII"}, "keys[0]: x5c has the wrong type or form"},
		{"x5c empty", member{"x5c": []string{}}, "keys[0]: x5c is empty"},
		{"x5c not base64", member{"x5c": []string{"-_"}}, "keys[0]: x5c is not base64"},
		{"x5c no certificate", member{"x5c": []string{"MII="}}, "keys[0]: x5c has no certificate"},
		{"x5c of this key", member{"x5c": []string{certificate(t, rsKey())}}, ""},
		{"x5c of another key", member{"x5c": []string{certificate(t, otherKey())}}, "keys[0]: x5c is for another key"},
	}
	for _, name := range []string{"d", "p", "q", "dp", "dq", "qi", "oth", "k"} {
		fault := "keys[0]: " + name + " does not belong in a public key"
		rows = append(rows, row{"private " + name, member{name: "AQAB"}, fault},
			row{"private " + name + " in a key that is skipped", member{"kty": "EC", "use": "enc", name: "AQAB"}, fault})
	}
	for _, row := range rows {
		m := goodMember("k")
		for name, value := range row.changes {
			if m[name] = value; value == nil {
				delete(m, name)
			}
		}
		set, err := jose.ParseJWKS(jwks(t, m))
		got := ""
		switch {
		case err != nil:
			got = err.Error()
		case len(set.Keys) == 0:
			got = "skip"
		}
		if got != row.want {
			t.Errorf("%s: got %q, want %q", row.name, got, row.want)
		}
	}
}

// certificate returns an x5c member: standard base64 of a self-signed certificate.
func certificate(t testing.TB, k *jose.PrivateKey) string {
	t.Helper()
	key := raw(t, k)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "tpp"}, NotAfter: time.Unix(1<<31, 0)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(der)
}

func TestParseJWKSForm(t *testing.T) {
	good := string(jwks(t, goodMember("a")))
	many := make([]member, 101)
	for i := range many {
		many[i] = member{"kty": "EC"}
	}
	rows := []struct{ name, data, want string }{
		{"good", good, ""},
		{"white space around", " \n" + good + "\n", ""},
		{"no keys in it", `{"keys":[]}`, ""},
		{"100 keys", string(jwks(t, many[:100]...)), ""},
		{"unknown members", `{"keys":[],"note":{"keys":1}}`, ""},
		{"101 keys", string(jwks(t, many...)), "keys has more than 100 members"},
		{"long", good + strings.Repeat(" ", 256<<10), "longer than 262144 bytes"},
		{"as long as may be", good + strings.Repeat(" ", 256<<10-len(good)), ""},
		{"empty", "", "not JSON"},
		{"array", "[]", "not a JSON object"},
		{"null", "null", "not a JSON object"},
		{"keys missing", "{}", "keys is missing"},
		{"Keys", `{"Keys":[]}`, "keys is missing"},
		{"keys null", `{"keys":null}`, "keys is not an array"},
		{"keys object", `{"keys":{}}`, "keys has the wrong type or form"},
		{"key null", `{"keys":[null]}`, "keys[0]: not a JSON object"},
		{"key string", `{"keys":["k"]}`, "keys has the wrong type or form"},
		{"two sets", good + good, "not JSON"},
		{"keys twice", `{"keys":[],"keys":[]}`, "repeated member name"},
		{"kty twice", `{"keys":[{"kty":"EC","kt\u0079":"RSA"}]}`, "repeated member name"},
		{"deep", `{"keys":` + strings.Repeat("[", 32) + strings.Repeat("]", 32) + "}", "nested deeper than 32 levels"},
		{"kid twice", string(jwks(t, goodMember("a"), goodMember("b"), goodMember("a"))), "keys[2]: kid is repeated"},
	}
	tried := 0
	for _, row := range rows {
		if row.want != "" {
			tried++
		}
		_, err := jose.ParseJWKS([]byte(row.data))
		if got := errorText(err); got != row.want {
			t.Errorf("%s: got %q, want %q", row.name, got, row.want)
		}
	}
	if set, err := jose.ParseJWKS(jwks(t, member{"kty": "EC"}, goodMember("a"), goodMember("b"))); err != nil || len(set.Keys) != 2 ||
		set.Keys[1].KID != "b" || set.Keys[1].Alg != jose.PS256 || !set.Keys[1].Key.Equal(rsKey().Public().Key) {
		t.Errorf("got %+v, %v", set, err)
	}
	t.Attr("bad_inputs", strconv.Itoa(tried))
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// What is marshalled here is read again here, and an empty set is a set.
func TestJWKSRoundTrip(t *testing.T) {
	want := jose.JWKS{Keys: []*jose.PublicKey{rsKey().Public(), psKey().Public(), {Key: otherKey().Public().Key}}}
	data, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	got, err := jose.ParseJWKS(data)
	if err != nil {
		t.Fatal(err)
	}
	again, err := json.Marshal(got)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(again, data) {
		t.Errorf("got %s, want %s", again, data)
	}
	if data, err := json.Marshal(jose.JWKS{}); err != nil || string(data) != `{"keys":[]}` {
		t.Errorf("empty set: %s, %v", data, err)
	}
}

// The policy must not be a way to spend the server's time: the worst set it looks at in full.
func BenchmarkParseJWKS(b *testing.B) {
	var members []member
	for i := range 100 {
		m := goodMember(fmt.Sprint(i))
		if i%2 == 1 {
			m["n"] = b64(otherKey().Public().Key.N.Bytes())
		}
		members = append(members, m)
	}
	data := jwks(b, members...)
	for b.Loop() {
		if _, err := jose.ParseJWKS(data); err != nil {
			b.Fatal(err)
		}
	}
}
