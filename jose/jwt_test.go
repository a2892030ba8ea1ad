package jose_test

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"hash"
	"math/big"
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"gatehouse/jose"
)

// token signs header and payload as they are with the key of rsKey, RS256.
func token(t testing.TB, header, payload string) string {
	t.Helper()
	input := b64([]byte(header)) + "." + b64([]byte(payload))
	signature, err := jose.SignInput(rsKey(), input)
	if err != nil {
		t.Fatal(err)
	}
	return input + "." + b64(signature)
}

const (
	goodHeader  = `{"alg":"RS256","typ":"JWT"}`
	goodPayload = `{"iss":"tpp","exp":1}`
)

// Each row is a good header with something changed.
func TestParseHeader(t *testing.T) {
	rows := []struct{ name, header, want string }{
		{"good", goodHeader, ""},
		{"alg alone", `{"alg":"RS256"}`, ""},
		{"white space", " {\n\"alg\" : \"RS256\"\t}\r\n", ""},
		{"escaped name", `{"\u0061lg":"RS256"}`, ""},
		{"x5t", `{"alg":"RS256","x5t":"a","x5t#S256":"b"}`, ""},
		{"all that there may be", `{"alg":"RS256","kid":"k","typ":"JWT","cty":"json","x5t":"a","x5t#S256":"b"}`, ""},
		{"kid of 255", `{"alg":"RS256","kid":"` + strings.Repeat("k", 255) + `"}`, ""},
		{"cty other", `{"alg":"RS256","cty":"json"}`, ""},
		{"depth 32", `{"alg":"RS256","x5t":` + strings.Repeat("[", 31) + strings.Repeat("]", 31) + `}`, ""},
		{"brackets in a string", `{"alg":"RS256","x5t":"\"` + strings.Repeat("[{", 40) + `"}`, ""},

		{"alg missing", `{"typ":"JWT"}`, "header alg is missing"},
		{"alg in capitals", `{"ALG":"RS256"}`, "header has a member besides alg, kid, typ, cty, x5t, x5t#S256"},
		{"alg null", `{"alg":null}`, "header alg is not a string"},
		{"alg array", `{"alg":["RS256"]}`, "header alg is not a string"},
		{"alg number", `{"alg":256}`, "header alg is not a string"},
		{"alg empty", `{"alg":""}`, "header alg is empty"},

		{"kid number", `{"alg":"RS256","kid":1}`, "header kid is not a string"},
		{"kid null", `{"alg":"RS256","kid":null}`, "header kid is not a string"},
		{"kid empty", `{"alg":"RS256","kid":""}`, "header kid is empty"},
		{"kid of 256", `{"alg":"RS256","kid":"` + strings.Repeat("k", 256) + `"}`, "header kid is longer than 255 bytes"},
		{"typ number", `{"alg":"RS256","typ":1}`, "header typ is not a string"},
		{"typ of letters that turn into ASCII when made small", `{"alg":"RS256","typ":"appl\u0130cation/jwt"}`, "header typ is not a media type"},
		{"typ without a subtype", `{"alg":"RS256","typ":"application/"}`, "header typ is not a media type"},
		{"typ with a space", `{"alg":"RS256","typ":"JWT "}`, "header typ is not a media type"},
		{"typ with NUL", `{"alg":"RS256","typ":"JWT\u0000"}`, "header typ is not a media type"},
		{"cty number", `{"alg":"RS256","cty":1}`, "header cty is not a string"},
		{"cty JWT", `{"alg":"RS256","cty":"JWT"}`, "header cty says that the token is nested"},
		{"cty application/jwt", `{"alg":"RS256","cty":"application/jwt"}`, "header cty says that the token is nested"},

		{"empty object", `{}`, "header alg is missing"},
		{"array", `["RS256"]`, "header: not a JSON object"},
		{"null", `null`, "header: not a JSON object"},
		{"string", `"RS256"`, "header: not a JSON object"},
		{"not JSON", `alg`, "header: not JSON"},
		{"single quotes", `{'alg':'RS256'}`, "header: not JSON"},
		{"comma at the end", `{"alg":"RS256",}`, "header: not JSON"},
		{"two objects", goodHeader + goodHeader, "header: not JSON"},
		{"NUL after", goodHeader + "\x00", "header: not JSON"},
		{"byte order mark", "\ufeff" + goodHeader, "header: not JSON"},
		{"not UTF-8", "{\"alg\":\"RS256\",\"x\":\"\xff\"}", "header: not UTF-8"},
		{"overlong UTF-8", "{\"alg\":\"RS256\",\"x\":\"\xc0\xaf\"}", "header: not UTF-8"},
		{"half a surrogate pair", `{"alg":"RS256","x":"\ud800"}`, "header: not JSON"},
		{"alg twice", `{"alg":"RS256","alg":"none"}`, "header: repeated member name"},
		{"alg twice by an escape", `{"alg":"RS256","\u0061lg":"none"}`, "header: repeated member name"},
		{"twice inside", `{"alg":"RS256","x5t":[{"a":1,"a":1}]}`, "header: repeated member name"},
		{"depth 33", `{"alg":"RS256","x":` + strings.Repeat("[", 32) + strings.Repeat("]", 32) + `}`, "header: nested deeper than 32 levels"},
		{"depth 2000", `{"alg":"RS256","x":` + strings.Repeat(`{"":`, 2000) + `1` + strings.Repeat("}", 2001), "header: nested deeper than 32 levels"},
	}
	// Registered (IANA, JSON Web Signature and Encryption Header Parameters), spelled like a registered one, or nobody's.
	for name := range strings.FieldsSeq(`crit b64 jku jwk x5u x5c enc zip epk apu apv iv tag p2s p2c iss sub aud exp url nonce ppt svt trust_chain
		Alg ALG KID Kid Typ x5T x5t#s256 \u0430lg \u212aid alg\u0000 \u0020alg http://openbanking.org.uk/iat constructor __proto__ x`) {
		for _, value := range []string{`null`, `[]`, `"https://evil.example/"`, `["exp"]`} {
			rows = append(rows, struct{ name, header, want string }{name + " " + value, `{"alg":"RS256","` + name + `":` + value + `}`,
				"header has a member besides alg, kid, typ, cty, x5t, x5t#S256"})
		}
	}
	tried := 0
	for _, row := range rows {
		if row.want != "" {
			tried++
		}
		_, err := jose.Parse(token(t, row.header, goodPayload), jose.MaxSize)
		if got := errorText(err); got != row.want {
			t.Errorf("%s: got %q, want %q", row.name, got, row.want)
		}
	}
	t.Attr("bad_inputs", strconv.Itoa(tried))
}

func TestParseAlg(t *testing.T) {
	algs := []string{"none", "None", "NONE", "nOnE", "noNE ", "HS256", "HS384", "HS512", "RS384", "RS512", "PS384", "PS512",
		"ES256", "EdDSA", "RS1", "ps256", "rs256", "RS256 ", " RS256", "RS256\u0000", "RSA-OAEP", "dir", "A128KW", "XX999"}
	for _, alg := range algs {
		header, err := json.Marshal(map[string]string{"alg": alg})
		if err != nil {
			t.Fatal(err)
		}
		good := token(t, string(header), goodPayload)
		if _, err := jose.Parse(good, jose.MaxSize); !errors.Is(err, jose.ErrAlg) {
			t.Errorf("alg %q: %v", alg, err)
		}
		if _, err := jose.Parse(good[:strings.LastIndexByte(good, '.')+1], jose.MaxSize); err == nil {
			t.Errorf("alg %q without signature: no error", alg)
		}
	}
	t.Attr("bad_inputs", strconv.Itoa(2*len(algs)))
}

// Each row is a good payload or a good token with something changed.
func TestParseForm(t *testing.T) {
	good := token(t, goodHeader, goodPayload)
	parts := strings.Split(good, ".")
	signature := parts[2]
	const (
		form     = "not three parts with dots between"
		alphabet = "has a character that is not base64url"
	)
	rows := []struct{ name, token, want string }{
		{"good", good, ""},
		{"empty", "", form},
		{"one dot", parts[0] + "." + parts[1], form},
		{"three dots", good + ".", form},
		{"five parts, as in JWE", good + ".AA.AA", form},
		{"no header", "." + parts[1] + "." + signature, form},
		{"no payload", parts[0] + ".." + signature, form},
		{"no signature", parts[0] + "." + parts[1] + ".", form},
		{"dots", "...", form},
		{"JSON serialization", `{"payload":"","signatures":[]}`, alphabet},
		{"space before", " " + good, alphabet},
		{"space after", good + " ", alphabet},
		{"newline after", good + "\n", alphabet},
		{"newline in the signature", good[:len(good)-10] + "\n" + good[len(good)-10:], alphabet},
		{"carriage return in the header", good[:8] + "\r\n" + good[8:], alphabet},
		{"padding", good + "==", alphabet},
		{"plus", parts[0] + "." + parts[1] + "+." + signature, alphabet},
		{"slash", parts[0] + "/." + parts[1] + "." + signature, alphabet},
		{"percent", parts[0] + "%2e" + parts[1] + "." + signature, alphabet},
		{"NUL", good + "\x00", alphabet},
		{"not ASCII", good + "é", alphabet},
		{"impossible length of the header", parts[0] + "AAAAA"[:5-len(parts[0])%4] + "." + parts[1] + "." + signature, "header: not canonical base64url"},
		{"trailing bits in the header", trailingBits(goodHeader+" ") + "." + parts[1] + "." + signature, "header: not canonical base64url"},
		{"trailing bits in the payload", parts[0] + "." + trailingBits(goodPayload+" ") + "." + signature, "payload: not canonical base64url"},
		{"trailing bits in the signature", parts[0] + "." + parts[1] + "." + signature[:len(signature)-1] + "_", "signature: not canonical base64url"},
		{"a character short", good[:len(good)-1], "signature: not canonical base64url"},

		{"payload empty object", token(t, goodHeader, `{}`), ""},
		{"payload array", token(t, goodHeader, `[]`), "payload: not a JSON object"},
		{"payload null", token(t, goodHeader, `null`), "payload: not a JSON object"},
		{"payload text", token(t, goodHeader, `text`), "payload: not JSON"},
		{"payload twice", token(t, goodHeader, goodPayload+goodPayload), "payload: not JSON"},
		{"payload not UTF-8", token(t, goodHeader, "{\"iss\":\"\xed\xa0\x80\"}"), "payload: not UTF-8"},
		{"exp twice", token(t, goodHeader, `{"exp":1,"exp":2}`), "payload: repeated member name"},
		{"exp twice by an escape", token(t, goodHeader, `{"exp":1,"\u0065xp":2}`), "payload: repeated member name"},
		{"depth 33", token(t, goodHeader, `{"a":`+strings.Repeat("[", 32)+strings.Repeat("]", 32)+`}`), "payload: nested deeper than 32 levels"},
		{"16 KiB and one byte", good + strings.Repeat("A", jose.MaxSize+1-len(good)), "longer than 16384 bytes"},
		{"16 KiB", sized(t, jose.MaxSize), ""},
	}
	tried := 0
	for _, row := range rows {
		if row.want != "" {
			tried++
		}
		_, err := jose.Parse(row.token, jose.MaxSize)
		if got := errorText(err); got != row.want {
			t.Errorf("%s: got %q, want %q", row.name, got, row.want)
		}
	}
	t.Attr("bad_inputs", strconv.Itoa(tried))
}

// trailingBits encodes text, padded with spaces to 3n+1 bytes, and sets a bit that decodes to nothing.
func trailingBits(text string) string {
	for len(text)%3 != 1 {
		text += " "
	}
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	s := b64([]byte(text))
	last := strings.IndexByte(alphabet, s[len(s)-1])
	return s[:len(s)-1] + alphabet[last+1:last+2]
}

// sized returns a good token of exactly n bytes.
func sized(t testing.TB, n int) string {
	t.Helper()
	for pad := 3*n/4 - 400; pad < n; pad++ {
		s := token(t, `{"alg":"RS256"}`, `{"x":"`+strings.Repeat("x", pad)+`"}`)
		if len(s) == n {
			return s
		}
	}
	t.Fatalf("no token of %d bytes", n)
	return ""
}

func TestParsedFields(t *testing.T) {
	jwt, err := jose.Parse(token(t, `{"alg":"RS256","kid":"a\u0062","typ":"at+jwt"}`, `{"iss":"tpp","n":{"x":1}}`), jose.MaxSize)
	if err != nil {
		t.Fatal(err)
	}
	if jwt.Alg != "RS256" || jwt.KID != "ab" || jwt.Typ != "at+jwt" || string(jwt.Claims["n"]) != `{"x":1}` || len(jwt.Claims) != 2 {
		t.Errorf("got %+v", jwt)
	}
}

// Proves: C25
func TestHostileLengthCostsNothing(t *testing.T) {
	const huge = 1_000_000
	rows := []struct {
		name, token string
		limit       int
	}{
		{"dots beyond the limit", strings.Repeat(".", huge), jose.MaxSize},
		{"dots below a limit", strings.Repeat(".", huge), 2 * huge},
		{"letters and dots", strings.Repeat("A.", huge), 4 * huge},
		{"base64url beyond the limit", strings.Repeat("A", huge) + ".A.A", jose.MaxSize},
		{"16 KiB and one byte", strings.Repeat("A", jose.MaxSize-3) + ".A.A", jose.MaxSize},
		{"brackets to the limit", b64([]byte(strings.Repeat("[", jose.MaxSize/2))) + ".A.A", jose.MaxSize},
	}
	for _, row := range rows {
		var before, after runtime.MemStats
		best := time.Hour
		runtime.ReadMemStats(&before)
		for range 5 {
			start := time.Now()
			if _, err := jose.Parse(row.token, row.limit); err == nil {
				t.Errorf("%s: no error", row.name)
			}
			best = min(best, time.Since(start))
		}
		runtime.ReadMemStats(&after)
		if best > 5*time.Millisecond {
			t.Errorf("%s: %s", row.name, best)
		}
		if got := (after.TotalAlloc - before.TotalAlloc) / 5; got > 64<<10 {
			t.Errorf("%s: %d bytes allocated", row.name, got)
		}
	}
}

func TestVerifyCandidates(t *testing.T) {
	key, other := rsKey().Public().Key, otherKey().Public().Key
	pub := func(kid, alg string, k *rsa.PublicKey) *jose.PublicKey {
		return &jose.PublicKey{KID: kid, Alg: alg, Key: k}
	}
	wrong := make([]*jose.PublicKey, 8)
	for i := range wrong {
		wrong[i] = pub("", "", other)
	}
	both := []string{jose.RS256, jose.PS256}
	rows := []struct {
		name string
		kid  string
		keys []*jose.PublicKey
		algs []string
		want error
	}{
		{"kid", "a", []*jose.PublicKey{pub("b", "", other), pub("a", "", key)}, both, nil},
		{"kid of another key", "b", []*jose.PublicKey{pub("b", "", other), pub("a", "", key)}, both, jose.ErrSignature},
		{"kid of another key, ours without", "b", []*jose.PublicKey{pub("b", "", other), pub("", "", key)}, both, jose.ErrSignature},
		{"kid unknown", "c", []*jose.PublicKey{pub("a", "", key)}, both, jose.ErrNoKey},
		{"kid unknown, key without kid", "1", []*jose.PublicKey{pub("b", "", other), pub("", "", key)}, both, nil},
		{"kid in other letters", "A", []*jose.PublicKey{pub("a", "", key)}, both, jose.ErrNoKey},
		{"kid on two keys", "a", []*jose.PublicKey{pub("a", "", other), pub("a", "", key)}, both, nil},
		{"no kid", "", []*jose.PublicKey{pub("b", "", other), pub("a", "", key)}, both, nil},
		{"no kid, key without kid first", "", []*jose.PublicKey{pub("", "", other), pub("a", "", key)}, both, nil},
		{"no keys", "", nil, both, jose.ErrNoKey},
		{"wrong key", "", []*jose.PublicKey{pub("", "", other)}, both, jose.ErrSignature},
		{"alg of the key", "a", []*jose.PublicKey{pub("a", "RS256", key)}, both, nil},
		{"key is for the other alg", "a", []*jose.PublicKey{pub("a", "PS256", key)}, both, jose.ErrNoKey},
		{"alg not asked for", "a", []*jose.PublicKey{pub("a", "", key)}, []string{jose.PS256}, jose.ErrAlg},
		{"no alg asked for", "a", []*jose.PublicKey{pub("a", "", key)}, nil, jose.ErrAlg},
		{"eighth key", "", append(wrong[:7:7], pub("", "", key)), both, nil},
		{"ninth key", "", append(wrong[:8:8], pub("", "", key)), both, jose.ErrSignature},
		{"ninth key behind eight for the other alg", "", append(forAlg(wrong, jose.PS256), pub("", "", key)), both, nil},
		{"exponent 3", "", []*jose.PublicKey{pub("", "", &rsa.PublicKey{N: key.N, E: 3})}, both, jose.ErrNoKey},
		{"1024 bits", "", []*jose.PublicKey{pub("", "", &rsa.PublicKey{N: new(big.Int).Rsh(key.N, 1024), E: 65537})}, both, jose.ErrNoKey},
		{"8192 bits", "", []*jose.PublicKey{pub("", "", &rsa.PublicKey{N: new(big.Int).Exp(key.N, big.NewInt(4), nil), E: 65537})}, both, jose.ErrNoKey},
	}
	for _, row := range rows {
		header := `{"alg":"RS256"}`
		if row.kid != "" {
			header = `{"alg":"RS256","kid":"` + row.kid + `"}`
		}
		jwt, err := jose.Parse(token(t, header, goodPayload), jose.MaxSize)
		if err != nil {
			t.Fatal(err)
		}
		if err := jwt.Verify(row.keys, row.algs...); err != row.want {
			t.Errorf("%s: got %v, want %v", row.name, err, row.want)
		}
	}
}

func forAlg(keys []*jose.PublicKey, alg string) []*jose.PublicKey {
	var out []*jose.PublicKey
	for _, k := range keys {
		out = append(out, &jose.PublicKey{KID: k.KID, Alg: alg, Key: k.Key})
	}
	return out
}

// A row signs the same claims in another way.
func TestVerifySignature(t *testing.T) {
	key := raw(t, psKey())
	keys := []*jose.PublicKey{{Key: &key.PublicKey}}
	pss := func(salt int) func([]byte) []byte {
		return func(digest []byte) []byte {
			s, err := rsa.SignPSS(rand.Reader, key, crypto.SHA256, digest, &rsa.PSSOptions{SaltLength: salt})
			if err != nil {
				t.Fatal(err)
			}
			return s
		}
	}
	pkcs1 := func(digest []byte) []byte {
		s, err := rsa.SignPKCS1v15(nil, key, crypto.SHA256, digest)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	handmade := func(mgf func() hash.Hash) func([]byte) []byte {
		return func(digest []byte) []byte { return signPSS(key, digest, mgf) }
	}
	rows := []struct {
		name, alg string
		sign      func(digest []byte) []byte
		want      error
	}{
		{"PS256", "PS256", pss(32), nil},
		{"PS256 made by hand", "PS256", handmade(sha256.New), nil},
		{"PS256 with MGF1-SHA1", "PS256", handmade(sha1.New), jose.ErrSignature},
		{"PS256 with salt 1", "PS256", pss(1), jose.ErrSignature},
		{"PS256 with salt 20", "PS256", pss(20), jose.ErrSignature},
		{"PS256 with salt 31", "PS256", pss(31), jose.ErrSignature},
		{"PS256 with salt 33", "PS256", pss(33), jose.ErrSignature},
		{"PS256 with the longest salt", "PS256", pss(222), jose.ErrSignature},
		{"RS256", "RS256", pkcs1, nil},
		{"RS256 under alg PS256", "PS256", pkcs1, jose.ErrSignature},
		{"PS256 under alg RS256", "RS256", pss(32), jose.ErrSignature},
		{"zero", "RS256", func([]byte) []byte { return make([]byte, 256) }, jose.ErrSignature},
		{"one", "RS256", func([]byte) []byte { return append(make([]byte, 255), 1) }, jose.ErrSignature},
		{"modulus", "RS256", func([]byte) []byte { return key.N.Bytes() }, jose.ErrSignature},
		{"short", "RS256", func(d []byte) []byte { return pkcs1(d)[1:] }, jose.ErrSignature},
		{"zero octet in front", "RS256", func(d []byte) []byte { return append([]byte{0}, pkcs1(d)...) }, jose.ErrSignature},
		{"zero octet behind", "RS256", func(d []byte) []byte { return append(pkcs1(d), 0) }, jose.ErrSignature},
		{"signature plus modulus", "RS256", func(d []byte) []byte {
			s := new(big.Int).SetBytes(pkcs1(d))
			return s.Add(s, key.N).Bytes()
		}, jose.ErrSignature},
		{"hash of a hash", "RS256", func(d []byte) []byte { dd := sha256.Sum256(d); return pkcs1(dd[:]) }, jose.ErrSignature},
	}
	tried := 0
	for _, row := range rows {
		if row.want != nil {
			tried++
		}
		input := b64([]byte(`{"alg":"`+row.alg+`"}`)) + "." + b64([]byte(goodPayload))
		digest := sha256.Sum256([]byte(input))
		jwt, err := jose.Parse(input+"."+b64(row.sign(digest[:])), jose.MaxSize)
		if err != nil {
			t.Fatal(row.name, err)
		}
		if err := jwt.Verify(keys, jose.RS256, jose.PS256); err != row.want {
			t.Errorf("%s: got %v, want %v", row.name, err, row.want)
		}
	}
	t.Attr("bad_inputs", strconv.Itoa(tried))
}

// signPSS is EMSA-PSS of RFC 8017 §9.1.1 with SHA-256, a salt of 32 zero octets, and any hash inside MGF1.
func signPSS(key *rsa.PrivateKey, digest []byte, mgf func() hash.Hash) []byte {
	salt := make([]byte, 32)
	h := sha256.Sum256(append(append(make([]byte, 8), digest...), salt...))
	em := make([]byte, 256)
	db := em[:256-32-1]
	db[len(db)-33] = 1 // PS is zero octets, then 0x01, then the salt
	for i, counter := 0, uint32(0); i < len(db); counter++ {
		m := mgf()
		m.Write(h[:])
		binary.Write(m, binary.BigEndian, counter)
		for _, mask := range m.Sum(nil) {
			if i < len(db) {
				db[i] ^= mask
				i++
			}
		}
	}
	db[0] &= 0x7f
	copy(em[len(db):], h[:])
	em[255] = 0xbc
	s := new(big.Int).Exp(new(big.Int).SetBytes(em), key.D, key.N)
	return s.FillBytes(make([]byte, 256))
}

// One changed bit anywhere in the token is found, by Parse or by Verify.
func TestEveryPartIsSigned(t *testing.T) {
	good := token(t, goodHeader, goodPayload)
	keys := []*jose.PublicKey{rsKey().Public()}
	verify := func(s string) error {
		jwt, err := jose.Parse(s, jose.MaxSize)
		if err != nil {
			return err
		}
		return jwt.Verify(keys, jose.RS256)
	}
	if err := verify(good); err != nil {
		t.Fatal(err)
	}
	for i := range good {
		for _, c := range []byte("Aa9_") {
			if changed := good[:i] + string(c) + good[i+1:]; changed != good && verify(changed) == nil {
				t.Fatalf("byte %d changed to %c: no error", i, c)
			}
		}
	}
}

func TestSign(t *testing.T) {
	for _, k := range []*jose.PrivateKey{rsKey(), psKey()} {
		signed, err := k.Sign("at+jwt", map[string]any{"iss": "https://bank.example/<&>", "b": []int{1}, "a": nil})
		if err != nil {
			t.Fatal(err)
		}
		parts := strings.Split(signed, ".")
		if got, want := decoded(t, parts[0]), `{"alg":"`+k.Alg+`","kid":"`+k.KID+`","typ":"at+jwt"}`; got != want {
			t.Errorf("header %s, want %s", got, want)
		}
		if got, want := decoded(t, parts[1]), `{"a":null,"b":[1],"iss":"https://bank.example/<&>"}`; got != want {
			t.Errorf("payload %s, want %s", got, want)
		}
		jwt, err := jose.Parse(signed, jose.MaxSize)
		if err != nil {
			t.Fatal(err)
		}
		if err := jwt.Verify([]*jose.PublicKey{k.Public()}, k.Alg); err != nil {
			t.Error(err)
		}
	}
	plain, err := rsKey().Sign("", struct{}{})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := decoded(t, strings.Split(plain, ".")[0]), `{"alg":"RS256","kid":"`+rsKey().KID+`"}`; got != want {
		t.Errorf("header %s, want %s", got, want)
	}
	for name, claims := range map[string]any{"nil": nil, "text": "x", "array": []int{1}, "channel": make(chan int), "not UTF-8": map[string]string{"a": "\xff"}} {
		if _, err := rsKey().Sign("", claims); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func decoded(t testing.TB, part string) string {
	t.Helper()
	data, err := base64.RawURLEncoding.DecodeString(part)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// RFC 7520 §4.1 signs a line of prose with RS256, which is no JWT: the signature is checked below Parse, and Parse
// refuses it for its payload. §4.2 uses PS384, which Parse refuses for its alg.
func TestRFC7520(t *testing.T) {
	type example struct {
		Input   struct{ Key map[string]string }
		Signing struct {
			Input string `json:"sig-input"`
			Sig   string
		}
		Output struct{ Compact string }
	}
	read := func(name string) (e example) {
		data, err := os.ReadFile("testdata/rfc7520/" + name)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(data, &e); err != nil {
			t.Fatal(err)
		}
		return e
	}
	number := func(s string) *big.Int { return new(big.Int).SetBytes([]byte(decoded(t, s))) }

	e := read("4_1.rsa_v15_signature.json")
	key := &rsa.PrivateKey{
		PublicKey: rsa.PublicKey{N: number(e.Input.Key["n"]), E: 65537},
		D:         number(e.Input.Key["d"]),
		Primes:    []*big.Int{number(e.Input.Key["p"]), number(e.Input.Key["q"])},
	}
	if !jose.VerifyInput(jose.RS256, e.Signing.Input, []byte(decoded(t, e.Signing.Sig)), &key.PublicKey) {
		t.Error("§4.1: signature is wrong")
	}
	if jose.VerifyInput(jose.RS256, e.Signing.Input+"A", []byte(decoded(t, e.Signing.Sig)), &key.PublicKey) {
		t.Error("§4.1: signature is right for another text")
	}
	if signature, err := jose.SignExample(key, jose.RS256, e.Signing.Input); err != nil || b64(signature) != e.Signing.Sig {
		t.Errorf("§4.1: signed %s, %v", b64(signature), err)
	}
	if _, err := jose.Parse(e.Output.Compact, jose.MaxSize); errorText(err) != "payload: not JSON" {
		t.Errorf("§4.1: %v", err)
	}
	if _, err := jose.Parse(read("4_2.rsa-pss_signature.json").Output.Compact, jose.MaxSize); err != jose.ErrAlg {
		t.Errorf("§4.2: %v", err)
	}
}

// Of the examples of RFC 7520 none is a token or a key here: other algorithms, other serializations, prose for a payload,
// private keys, and a public key whose private half is printed beside it.
func TestRFC7520IsRefused(t *testing.T) {
	files, err := os.ReadDir("testdata/rfc7520")
	if err != nil {
		t.Fatal(err)
	}
	keys, tokens := 0, 0
	for _, file := range files {
		data, err := os.ReadFile("testdata/rfc7520/" + file.Name())
		if err != nil {
			t.Fatal(err)
		}
		var e struct {
			Kty    string
			Output map[string]json.RawMessage
		}
		if err := json.Unmarshal(data, &e); err != nil {
			t.Fatal(err)
		}
		if e.Kty != "" {
			keys++
			if set, err := jose.ParseJWKS([]byte(`{"keys":[` + string(data) + `]}`)); err == nil && len(set.Keys) > 0 {
				t.Errorf("%s is a key", file.Name())
			}
		}
		for form, output := range e.Output {
			tokens++
			text := string(output)
			json.Unmarshal(output, &text) // where it is a string
			if _, err := jose.Parse(text, jose.MaxSize); err == nil {
				t.Errorf("%s, %s, is a token", file.Name(), form)
			}
		}
	}
	if keys != 6 || tokens != 22 {
		t.Errorf("%d keys and %d tokens", keys, tokens)
	}
}
