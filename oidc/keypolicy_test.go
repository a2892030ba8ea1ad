package oidc_test

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"fmt"
	"math/big"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"gatehouse"
	"gatehouse/jose"
)

// modulusOf makes a number of that length that looks like an RSA modulus: odd,
// without a small factor. Nobody knows its factors.
func modulusOf(t testing.TB, bits int) *big.Int {
	t.Helper()
	for {
		n, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), uint(bits)))
		must(t, err)
		n.SetBit(n, bits-1, 1).SetBit(n, 0, 1)
		if new(big.Int).GCD(nil, nil, n, primorial(752)).Cmp(big.NewInt(1)) == 0 {
			return n
		}
	}
}

// primorial is the product of the primes below limit.
func primorial(limit int64) *big.Int {
	product := big.NewInt(1)
	for p := int64(2); p < limit; p++ {
		if i := big.NewInt(p); i.ProbablyPrime(0) {
			product.Mul(product, i)
		}
	}
	return product
}

func primeOf(t testing.TB, bits int) *big.Int {
	t.Helper()
	p, err := rand.Prime(rand.Reader, bits)
	must(t, err)
	return p
}

// A keySet is a JWK Set with something wrong about one key, or about the set.
type keySet struct {
	name, text string
	taken      bool
}

// keySets are made of a good key, which signs, and what the row adds.
func keySets(t testing.TB, good string) (rows []keySet) {
	t.Helper()
	set := func(name string, taken bool, members ...string) {
		rows = append(rows, keySet{name, `{"keys":[` + strings.Join(append(members, good), ",") + `]}`, taken})
	}
	base := claims{"kty": "RSA", "kid": "case", "n": b64(modulusOf(t, 2048).Bytes()), "e": "AQAB"}
	with := func(name string, changes claims) { set(name, false, text(t, base.with(changes))) }
	n := base["n"].(string)

	set("good", true, text(t, base))
	for _, bits := range []int{2048, 2049, 2055, 2056, 3071, 3072, 4095, 4096} {
		set(fmt.Sprint(bits, " bits"), true, text(t, base.with(claims{"n": b64(modulusOf(t, bits).Bytes())})))
	}
	for _, bits := range []int{64, 512, 768, 1023, 1024, 1025, 1536, 2040, 2046, 2047, 4097, 4104, 5120, 6144, 8191, 8192, 16383, 16384, 16385, 65536} {
		with(fmt.Sprint(bits, " bits"), claims{"n": b64(modulusOf(t, bits).Bytes())})
	}

	// Moduli that can be factored.
	p := primeOf(t, 1024)
	next := new(big.Int).Add(p, big.NewInt(2))
	for !next.ProbablyPrime(5) {
		next.Add(next, big.NewInt(2))
	}
	near := new(big.Int).Add(p, big.NewInt(1<<20))
	for near.SetBit(near, 0, 1); !near.ProbablyPrime(5); near.Add(near, big.NewInt(2)) {
	}
	times := func(a, b *big.Int) string { return b64(new(big.Int).Mul(a, b).Bytes()) }
	with("square", claims{"n": times(p, p)})
	with("neighbours (CVE-2022-26320)", claims{"n": times(p, next)})
	with("close primes (CVE-2022-26320)", claims{"n": times(p, near)})
	for _, factor := range []int64{2, 3, 5, 7, 11, 13, 17, 97, 251, 257, 509, 691, 743, 751} {
		with(fmt.Sprint("factor ", factor), claims{"n": times(big.NewInt(factor), modulusOf(t, 2048-new(big.Int).SetInt64(factor).BitLen()+1))})
	}
	for i := range 3 { // CVE-2017-15361: a power of 65537 modulo every small prime
		m := primorial(168)
		roca := new(big.Int)
		for roca.BitLen() != 2048 || new(big.Int).GCD(nil, nil, roca, primorial(752)).Cmp(big.NewInt(1)) != 0 {
			roca.Mul(modulusOf(t, 2048-m.BitLen()), m)
			roca.Add(roca, new(big.Int).Exp(big.NewInt(65537), big.NewInt(int64(i)+2), m))
		}
		with(fmt.Sprint("ROCA ", i), claims{"n": b64(roca.Bytes())})
	}
	var published []struct{ Source, N string }
	data, err := os.ReadFile("../jose/testdata/published_keys.json")
	must(t, err)
	must(t, json.Unmarshal(data, &published))
	for _, k := range published {
		with("published in "+k.Source, claims{"n": k.N})
	}
	with("zeros", claims{"n": b64(make([]byte, 256))})

	for what, v := range map[string]any{
		"absent": nil, "null": json.RawMessage("null"), "number": 65537, "list": []string{n}, "object": claims{}, "empty": "", "padded": n + "==", "line end": n[:64] + "\n" + n[64:], "CR": n + "\r", "space": n + " ",
		"zero in front": b64(append([]byte{0}, modulusOf(t, 2048).Bytes()...)), "bits behind": bitsBehind(n), "a character more": n + "AAA", "other alphabet": "+/" + n[2:], "hexadecimal": strings.Repeat("c5", 256), "decimal": strings.Repeat("9", 600), "NUL": n + "\x00",
	} {
		with("n "+what, claims{"n": v})
	}
	for what, e := range map[string]any{
		"absent": nil, "null": json.RawMessage("null"), "a number": 65537, "a list": []string{"AQAB"}, "empty": "", "0": "AA", "1": "AQ", "2": "Ag", "3": "Aw", "5": "BQ", "17": "EQ", "257": "AQE", "65536": "AQAA", "65539": "AQAD",
		"2^31-1": "f____w", "2^31+11": "gAAACw", "2^32+65537": "AQABAAE", "2^64+65537": "AQAAAAAAAQAB", "zero in front": "AAEAAQ", "padded": "AQAB====", "line end": "AQ\nAB", "line end behind": "AQAB\n", "space": " AQAB", "decimal": "65537", "twice": "AQABAQAB",
		"as long as n": n, "8 KiB": strings.Repeat("A", 8<<10) + "AQAB", "other case": "aqab", "negative": "-AQAB", "NUL": "AQAB\x00",
	} {
		with("e "+what, claims{"e": e})
	}
	for what, kty := range map[string]any{"absent": nil, "null": json.RawMessage("null"), "empty": "", "small": "rsa", "mixed": "Rsa", "a number": 1, "a list": []string{"RSA"}} {
		with("kty "+what, claims{"kty": kty})
	}
	// Private and symmetric members (CVE-2026-48523), in keys of every type.
	for _, name := range []string{"d", "p", "q", "dp", "dq", "qi", "oth", "k", "priv"} {
		for _, kty := range []string{"RSA", "EC", "OKP", "oct", "AKP", "unknown"} {
			with(name+" in "+kty, claims{"kty": kty, name: "AQAB"})
		}
		with(name+" null", claims{name: json.RawMessage("null")})
		with(name+" empty", claims{name: ""})
		with(name+" in a key for encryption", claims{"use": "enc", name: "AQAB"})
		with(name+" in a key for HS256", claims{"alg": "HS256", name: "AQAB"})
	}
	for _, name := range []string{"use", "alg", "kid"} {
		for what, v := range map[string]any{"null": json.RawMessage("null"), "number": 1, "true": true, "list": []string{"sig"}, "object": claims{}} {
			with(name+" "+what, claims{name: v})
		}
	}
	for what, ops := range map[string]any{"text": "verify", "number": 1, "list of numbers": []int{1}, "verify twice": []string{"verify", "verify"}, "verify and encrypt": []string{"verify", "encrypt"}, "verify and wrapKey": []string{"wrapKey", "verify"},
		"object": claims{"verify": true}, "list of lists": [][]string{{"verify"}}} {
		with("key_ops "+what, claims{"key_ops": ops})
	}
	with("use enc, key_ops verify", claims{"use": "enc", "key_ops": []string{"verify"}})
	with("use sig, key_ops encrypt", claims{"use": "sig", "key_ops": []string{"encrypt"}})
	with("use sig, key_ops none", claims{"use": "sig", "key_ops": []string{}})
	with("kid empty", claims{"kid": ""})
	for what, kid := range map[string]string{"NUL": "a\x00b", "line end": "a\nb", "escape": "\x1b[31m", "C1": "a\u0085b"} {
		with("kid with "+what, claims{"kid": kid})
	}
	with("kid of 256", claims{"kid": strings.Repeat("k", 256)})
	for what, chain := range map[string]any{"null": json.RawMessage("null"), "text": "AAAA", "no certificate": []string{}, "empty": []string{""}, "no DER": []string{"AAAA"}, "numbers": []int{1}, "not base64": []string{"!"}, "line end": []string{"AAAA\nAAAA"}} {
		with("x5c "+what, claims{"x5c": chain})
	}
	other := text(t, base)
	set("one kid twice", false, other, text(t, base.with(claims{"n": b64(modulusOf(t, 2048).Bytes())})))
	set("the good kid twice", false, good)
	set("good and null", false, "null")
	for what, key := range map[string]string{"number": "1", "text": `"x"`, "list": "[]", "object": "{}", "set": `{"keys":[]}`, "name twice": first(`"n":"AQAB"`, other), "name twice, escaped": first(`"\u006e":"AQAB"`, other), "kty twice": first(`"kty":"EC"`, other),
		"33 deep": first(`"x":`+strings.Repeat("[", 33)+strings.Repeat("]", 33), other)} {
		set("a key is "+what, false, key)
	}
	set("101 keys", false, strings.Split(strings.Repeat(`{"kty":"EC"} `, 100)[:1299], " ")...)
	set("keys of other kinds", true, `{"kty":"EC","crv":"P-256","x":"AA","y":"AA"}`, `{"kty":"OKP","crv":"Ed25519","x":"AA"}`, text(t, base.with(claims{"use": "enc"})), text(t, base.with(claims{"alg": "RSA-OAEP-256"})))

	whole := `{"keys":[` + good + `]}`
	for what, raw := range map[string]string{
		"keys twice": first(`"keys":[]`, whole), "keys twice, escaped": first(`"\u006beys":[]`, whole), "keys null": `{"keys":null}`, "keys an object": `{"keys":{"0":` + good + `}}`, "keys a text": `{"keys":"` + b64([]byte(good)) + `"}`,
		"Keys": `{"Keys":[` + good + `]}`, "KEYS": `{"KEYS":[` + good + `]}`, "no keys": `{}`, "key alone": good, "list alone": `[` + good + `]`, "list in a list": `{"keys":[[` + good + `]]}`, "another set": `{"jwks":` + whole + `}`,
	} {
		rows = append(rows, keySet{what, raw, false})
	}
	return rows
}

// The policy on keys, at each place where a key set comes in: in a software
// statement, at a URL when it is registered, and at the URL of a client that
// was registered before.
//
// Proves: D12
func TestKeyPolicy(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	store := w.keystore()
	own, directory := clientKey(t, "policy", jose.PS256), newForge(t, tokenDoor{key: key(t, sandboxDirectory, jose.PS256)})
	written, tried := w.written(), 0
	for i, row := range keySets(t, text(t, own.Public())) {
		w.clock.advance(15 * time.Minute) // for the rate limits
		path := fmt.Sprint("/set-", i)
		store.answer(path, sending(row.text))
		client := fmt.Sprint("policy-", i)
		w.addClient(gatehouse.Client{ID: client, JWKSURI: store.url(path)})
		written()
		statement := text(t, w.statementClaims(sandboxDirectory, "policy").with(claims{"software_jwks": "here"}))
		byValue := w.registerJSON(directory.raw(text(t, directory.header()), strings.Replace(statement, `"here"`, row.text, 1)), nil)
		stored := written()
		byURL := w.register("policy", w.statement(sandboxDirectory, "policy", pointing(store.url(path))), nil)
		stored = written() || stored
		used := w.tokenBy("alpha", client, own)
		stored = written() || stored
		if row.taken {
			if byValue.StatusCode != 201 || byURL.StatusCode != 201 || used.StatusCode != 200 {
				t.Errorf("%s: by value %v, by URL %v, used %v, want it taken", row.name, byValue, byURL, used)
			}
			continue
		}
		for how, a := range map[string]*answer{"by value": byValue, "by URL": byURL} {
			if a.StatusCode != 400 || a.text("error") != "invalid_software_statement" {
				t.Errorf("%s %s: %v", row.name, how, a)
			}
			tried++
		}
		if used.StatusCode != 400 || used.text("error") != "invalid_client" {
			t.Errorf("%s used: %v", row.name, used)
		}
		if tried++; stored {
			t.Errorf("%s: refused, but something was stored", row.name)
		}
	}
	t.Attr("bad_inputs", strconv.Itoa(tried))
}

// Weak keys whose private half somebody has sign nothing: neither when they are
// all that a client has, nor when its key set turns into them. The good keys
// that were read before keep working.
//
// Proves: D12
func TestWeakKeysSignNothing(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	store := w.keystore()
	good := clientKey(t, "rotating", jose.PS256)
	p := primeOf(t, 1024)
	q := new(big.Int).Add(p, big.NewInt(2))
	for !q.ProbablyPrime(5) {
		q.Add(q, big.NewInt(2))
	}
	of := func(e int64, p, q *big.Int) *rsa.PrivateKey {
		one := big.NewInt(1)
		phi := new(big.Int).Mul(new(big.Int).Sub(p, one), new(big.Int).Sub(q, one))
		d := new(big.Int).ModInverse(big.NewInt(e), phi)
		if d == nil {
			return nil
		}
		return &rsa.PrivateKey{PublicKey: rsa.PublicKey{N: new(big.Int).Mul(p, q), E: int(e)}, D: d, Primes: []*big.Int{p, q}}
	}
	weak := map[string]*rsa.PrivateKey{"neighbours": of(65537, p, q)}
	for weak["exponent 3"] == nil {
		weak["exponent 3"] = of(3, primeOf(t, 1024), primeOf(t, 1024))
	}
	weak["1024 bits"] = of(65537, primeOf(t, 512), primeOf(t, 512))
	weak["2040 bits"] = of(65537, primeOf(t, 1020), primeOf(t, 1020))

	tried := 0
	for name, k := range weak {
		jwk := text(t, claims{"kty": "RSA", "kid": "weak", "n": b64(k.N.Bytes()), "e": b64(big.NewInt(int64(k.E)).Bytes())})
		// s = EMSA-PKCS1-v1_5(input)^d (RFC 8017 §8.2.1), by hand: crypto/rsa will not with such keys.
		sign := func(c claims) string {
			input := b64([]byte(`{"alg":"RS256","kid":"weak"}`)) + "." + b64([]byte(text(t, c)))
			info := append([]byte{0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00, 0x04, 0x20}, digest(crypto.SHA256, []byte(input))...)
			em := append(append([]byte{0, 1}, strings.Repeat("\xff", k.Size()-len(info)-3)...), 0)
			s := new(big.Int).Exp(new(big.Int).SetBytes(append(em, info...)), k.D, k.N)
			if back := new(big.Int).Exp(s, big.NewInt(int64(k.E)), k.N); back.Cmp(new(big.Int).SetBytes(append(em, info...))) != 0 {
				t.Fatalf("%s: the key does not sign", name)
			}
			return input + "." + b64(s.FillBytes(make([]byte, k.Size())))
		}
		ask := func(client string) *answer {
			tried++
			f := clientCredentials.with(form{"client_assertion_type": assertionType, "client_assertion": sign(w.assertionClaims("alpha", client))})
			return w.do("POST", "/api/oidc/alpha/tokens", formHeader, f.encode())
		}
		path := "/" + strings.ReplaceAll(name, " ", "-")
		store.answer(path, sending(`{"keys":[`+jwk+`]}`))
		w.addClient(gatehouse.Client{ID: "only" + path[1:], JWKSURI: store.url(path)})
		expect(t, ask("only"+path[1:]), 400, "invalid_client")

		turning := path + "-later"
		store.publish(turning, good)
		w.addClient(gatehouse.Client{ID: "turned" + path[1:], JWKSURI: store.url(turning)})
		expect(t, w.tokenBy("alpha", "turned"+path[1:], good), 200, "")
		store.answer(turning, func(rw http.ResponseWriter, r *http.Request) { sending(`{"keys":[`+jwk+`]}`)(rw, r) })
		for range 3 {
			w.clock.advance(6 * time.Minute)
			before := store.requests(turning)
			expect(t, ask("turned"+path[1:]), 400, "invalid_client")
			w.settle(store.url(turning))
			if store.requests(turning) == before {
				t.Errorf("%s: the set was not read again", name)
			}
			expect(t, ask("turned"+path[1:]), 400, "invalid_client")
			expect(t, w.tokenBy("alpha", "turned"+path[1:], good), 200, "")
		}
	}
	t.Attr("bad_inputs", strconv.Itoa(tried))
}

// A key that says what it is for signs with that alone, whatever the client is
// registered for.
//
// Proves: C21 (the key)
func TestKeyAlgorithm(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	for _, own := range gatehouse.Algs() {
		id := "only-" + own
		w.addClient(gatehouse.Client{ID: id, JWKS: jwks(t, clientKey(t, id, own).Public())})
		for _, alg := range gatehouse.Algs() {
			for provider, refused := range map[string]int{"alpha": 400, "gamma": 401} {
				status := map[bool]int{true: 200, false: refused}[alg == own]
				if a := w.tokenBy(provider, id, clientKey(t, id, alg)); a.StatusCode != status {
					t.Errorf("%s by a key for %s at %s: %v", alg, own, provider, a)
				}
			}
			if o := w.askBy("alpha", id, clientKey(t, id, alg)); (o.begun() != "") != (alg == own) || alg != own && !o.tells("invalid_request_object") {
				t.Errorf("a request object, %s by a key for %s: %v", alg, own, o)
			}
		}
	}
}

// Keys that were registered by value when the policy let them pass are none;
// the client is there all the same.
//
// Proves: D12 (at use)
func TestStoredKeysMeetThePolicy(t *testing.T) {
	w := sqliteWorld(t)
	weak := `{"keys":[{"kty":"RSA","kid":"weak","e":"AQAB","n":"` + strings.Repeat("w", 171) + `"}]}`
	w.changeClient(tppA, func(c *gatehouse.Client) { c.JWKS = json.RawMessage(weak) })
	expect(t, w.token("alpha", tppA, clientCredentials), 400, "invalid_client")
	if o := w.ask("alpha", query(tppA)); o.begun() == "" {
		t.Errorf("authorize: %v", o)
	}
	if o := w.ask("alpha", query(tppA).with(form{"request": w.requestObject("alpha", tppA, nil)})); !o.tells("invalid_request_object") {
		t.Errorf("a request object: %v", o)
	}
}
