package oidc_test

import (
	"crypto"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"hash"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf16"
	"unicode/utf8"

	"gatehouse"
	"gatehouse/jose"
)

// A tokenDoor is an endpoint that reads one kind of signed token.
type tokenDoor struct {
	name  string
	key   *jose.PrivateKey // signs the good tokens
	typ   string           // of the good tokens
	typs  []string         // every typ that is taken, in lower case
	limit int              // of the length of a token

	claims   func() claims // of a fresh good token
	required []string      // each of them must be there, as a string, number or object
	times    []string      // claims that are NumericDates
	iss, aud string        // claims that name the signer and this server; "" when the kind has none
	closed   bool          // a claim that is not known is refused
	lists    bool          // aud may be a list with this server in it
	endless  bool          // exp may be any time ahead

	send func(token string) verdictOf
}

// A verdictOf is what a door made of a token.
type verdictOf struct {
	taken   bool
	refused bool // 4xx of the form that is documented for the door
	text    string
	denied  bool // refused for what it asks, though the token may be well
}

const forger = "forger"

// tokenDoors are all of them, in one world.
func tokenDoors(w *world) []tokenDoor {
	t := w.t
	w.addClient(gatehouse.Client{ID: forger, JWKS: clientJWKS(t, forger), Scopes: gatehouse.AllScopes()})
	own, directory := clientKey(t, forger, jose.PS256), key(t, sandboxDirectory, jose.PS256)
	jwtOnly := []string{"", "jwt"}
	var all []tokenDoor

	for provider, status := range map[string]int{"alpha": 400, "gamma": 401} {
		all = append(all, tokenDoor{
			name: "assertion at " + provider, key: own, typ: "JWT", typs: append(jwtOnly, "client-authentication+jwt"), limit: jose.MaxSize,
			claims:   func() claims { return w.assertionClaims(provider, forger) },
			required: []string{"iss", "sub", "aud", "exp", "jti"}, times: []string{"exp", "nbf", "iat"}, iss: "iss", aud: "aud",
			send: func(token string) verdictOf {
				f := clientCredentials.with(form{"client_assertion_type": assertionType, "client_assertion": token})
				a := w.do("POST", "/api/oidc/"+provider+"/tokens", formHeader, f.encode())
				// A client that is not known is 404 with profile psd2. What is not UTF-8 is not even a value of a parameter.
				known := a.text("error") == "invalid_client" && (a.StatusCode == status || a.StatusCode == 404 && status == 400) ||
					a.text("error") == "invalid_request" && a.StatusCode == 400 && !utf8.ValidString(token)
				return verdictOf{taken: a.StatusCode == 200 && a.text("access_token") != "", refused: known && a.JSON["access_token"] == nil, text: a.String()}
			},
		})
	}
	for door, provider := range map[string]string{"alpha": "alpha", "bank": "beta"} {
		all = append(all, tokenDoor{
			name: "request object at " + door, key: own, typ: "oauth-authz-req+jwt", typs: append(jwtOnly, "oauth-authz-req+jwt"), limit: 96 << 10, lists: true,
			claims:   func() claims { return w.requestClaims(provider, forger) },
			required: []string{"iss", "client_id", "aud", "exp", "nbf", "redirect_uri", "response_type"}, times: []string{"exp", "nbf", "iat"}, iss: "iss", aud: "aud",
			send: func(token string) verdictOf {
				o := w.ask(door, query(forger).with(form{"request": token}))
				var object struct{ State string } // may be that of the answer
				if parts := strings.Split(token, "."); len(parts) == 3 {
					payload, _ := base64.RawURLEncoding.DecodeString(parts[1])
					json.Unmarshal(payload, &object)
				}
				state := o.location.Query().Get("state")
				denied := !slices.Contains([]string{"", "server_error", "temporarily_unavailable"}, o.told()) && (state == object.State || state == o.sent["state"])
				return verdictOf{taken: o.begun() != "", refused: o.tells("invalid_request_object") || o.hidden(), text: o.String(), denied: denied}
			},
		})
	}
	all = append(all, tokenDoor{
		name: "statement", key: directory, typ: "JWT", typs: jwtOnly, limit: 64 << 10, endless: true,
		claims:   func() claims { return w.statementClaims(sandboxDirectory, forger) },
		required: []string{"iss", "iat", "software_id", "org_id", "software_jwks"}, times: []string{"exp", "nbf", "iat"}, iss: "iss",
		send: func(token string) verdictOf {
			a := w.registerJSON(token, nil)
			if a.StatusCode == 201 {
				w.clock.advance(4 * time.Second) // as is what may be in a minute
			}
			refused := slices.Contains([]string{"invalid_software_statement", "unapproved_software_statement"}, a.text("error"))
			denied := slices.Contains([]string{"invalid_client_metadata", "invalid_redirect_uri"}, a.text("error"))
			none := a.StatusCode == 400 && a.JSON["client_id"] == nil
			return verdictOf{taken: a.StatusCode == 201, refused: none && refused, text: a.String(), denied: none && denied}
		},
	}, tokenDoor{
		name: "registration", key: own, typ: "JWT", typs: jwtOnly, limit: 256 << 10,
		claims:   func() claims { return w.registrationClaims(forger, w.statement(sandboxDirectory, forger, nil)) },
		required: []string{"iss", "aud", "exp", "iat", "jti", "software_statement"}, times: []string{"exp", "nbf", "iat"}, iss: "iss", aud: "aud",
		send: func(token string) verdictOf {
			a := w.do("POST", registerPath, jwtHeader, token)
			if a.StatusCode == 201 {
				w.clock.advance(4 * time.Second) // as is what may be in a minute
			}
			refused := slices.Contains([]string{"invalid_client_metadata", "invalid_software_statement"}, a.text("error"))
			denied := slices.Contains([]string{"invalid_redirect_uri", "unapproved_software_statement"}, a.text("error"))
			none := a.StatusCode == 400 && a.JSON["client_id"] == nil
			return verdictOf{taken: a.StatusCode == 201, refused: none && refused, text: a.String(), denied: none && denied}
		},
	})

	ofBank := func(a *answer) verdictOf {
		refused := a.StatusCode == 400 && a.text("error_class") != "" || a.StatusCode == 403 && a.text("error_class") == "Forbidden"
		data, _ := a.JSON["data"].(map[string]any)
		told, _ := data["redirect_uri"].(string) // the bank leads the PSU there
		return verdictOf{
			taken: a.StatusCode == 200, refused: refused && a.text("error_message") != "" && a.JSON["data"] == nil, text: a.String(),
			denied: refused && len(data) == 1 && strings.HasPrefix(told, callback+"?error="),
		}
	}
	envelope := func(data claims) claims {
		return claims{"data": data, "exp": w.clock.Now().Add(2 * time.Minute).Unix()}
	}
	pending, begun := (*visit)(nil), time.Time{}
	beginning := func() claims {
		return envelope(claims{"authorize_url": "https://bank.example/beta/authorize?" + query(forger).encode(), "auth_code": gatehouse.NewSecret()})
	}
	bank := tokenDoor{typs: jwtOnly, limit: 96 << 10, required: []string{"data", "exp"}, times: []string{"exp"}}
	verdict, begin, handOver := bank, bank, bank
	verdict.name, verdict.key = "verdict", key(t, "bank alpha", jose.RS256)
	verdict.claims = func() claims { return envelope(approval) }
	verdict.send = func(token string) verdictOf {
		if now := w.clock.Now(); now.Sub(begun) > time.Minute {
			pending, begun = w.visit("alpha", query(forger)), now
		}
		a := w.do("PUT", "/api/connectors/ob/v1/authorizations/"+pending.id, w.connectorHeader("alpha"), token)
		if a.StatusCode == 200 { // the next one needs another
			pending = w.visit("alpha", query(forger))
		}
		return ofBank(a)
	}
	begin.name, begin.key, begin.claims = "begin", key(t, "bank beta", jose.RS256), beginning
	begin.send = func(token string) verdictOf {
		return ofBank(w.do("POST", "/api/connectors/ob/v1/authorizations", w.connectorHeader("beta"), token))
	}
	handOver.name, handOver.key = "hand-over", key(t, "bank alpha", jose.RS256)
	handOver.claims = func() claims { return envelope(claims{"user_id": "psu-17"}) }
	handOver.send = func(token string) verdictOf {
		return ofBank(w.do("POST", psuSessions, w.connectorHeader("alpha"), token))
	}

	revocation := bank
	revocation.name, revocation.key = "revocation", key(t, "bank alpha", jose.RS256)
	revocation.claims = func() claims { return envelope(claims{"reason": "asked by phone"}) }
	ended := 0
	w.consent("alpha", forger, "ends-0")
	revocation.send = func(token string) verdictOf {
		a := w.do("PATCH", fmt.Sprint("/api/connectors/ob/v1/consents/ends-", ended, "/revoke"), w.connectorHeader("alpha"), token)
		if a.StatusCode == 200 { // the next one needs another
			ended++
			w.consent("alpha", forger, fmt.Sprint("ends-", ended))
		}
		return ofBank(a)
	}

	path := resourceOf(gatehouse.AccountAccess).at("alpha", "v3.1.11")
	access, since := "", time.Time{}
	var lodged claims
	must(t, json.Unmarshal([]byte(accountAccessBody), &lodged))
	return append(all, verdict, begin, handOver, revocation, tokenDoor{
		name: "consent body", key: own, typs: append(jwtOnly, "jose"), limit: 64 << 10, closed: true, lists: true, endless: true,
		claims: func() claims {
			now := w.clock.Now()
			return lodged.with(claims{"iss": forger, "aud": issuer("alpha"), "iat": now.Add(-time.Minute).Unix(), "exp": now.Add(5 * time.Minute).Unix()})
		},
		required: []string{"Data", "Risk"}, times: []string{"exp", "nbf", "iat"}, iss: "iss", aud: "aud",
		send: func(token string) verdictOf {
			if now := w.clock.Now(); now.Sub(since) > time.Minute {
				access, since = w.ownToken("alpha", forger), now
			}
			a := w.openBanking("POST", path, access, token, signedHeader)
			faults, _ := a.JSON["Errors"].([]any)
			return verdictOf{taken: a.StatusCode == 201, refused: a.StatusCode == 400 && len(faults) > 0 && a.JSON["Data"] == nil, text: a.String()}
		},
	})
}

// A forgery is a token for a door with something wrong; taken, when the door
// must not mind. What is too large may be refused by whatever meets it first.
type forgery struct {
	name         string
	taken, large bool
	token        string
}

// A forge makes tokens that one door's signer has truly signed, whatever they
// are, unless the signature is what is wrong.
type forge struct {
	t    testing.TB
	door tokenDoor
	rsa  *rsa.PrivateKey
	bad  []forgery
}

func newForge(t testing.TB, door tokenDoor) *forge {
	t.Helper()
	block, _ := pem.Decode(door.key.PEM())
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	must(t, err)
	return &forge{t: t, door: door, rsa: parsed.(*rsa.PrivateKey)}
}

func (f *forge) refuse(name, token string) { f.bad = append(f.bad, forgery{name: name, token: token}) }
func (f *forge) take(name, token string) {
	f.bad = append(f.bad, forgery{name: name, token: token, taken: true})
}

func (f *forge) header() claims {
	h := claims{"alg": f.door.key.Alg, "kid": f.door.key.KID}
	if f.door.typ != "" {
		h["typ"] = f.door.typ
	}
	return h
}

// signature is over any text, by the door's key and alg.
func (f *forge) signature(input string) []byte {
	sum := digest(crypto.SHA256, []byte(input))
	var s []byte
	var err error
	if f.door.key.Alg == jose.RS256 {
		s, err = rsa.SignPKCS1v15(nil, f.rsa, crypto.SHA256, sum)
	} else {
		s, err = rsa.SignPSS(rand.Reader, f.rsa, crypto.SHA256, sum, &rsa.PSSOptions{SaltLength: 32})
	}
	must(f.t, err)
	return s
}

func (f *forge) signed(input string) string { return input + "." + b64(f.signature(input)) }

// raw signs any two texts.
func (f *forge) raw(header, payload string) string {
	return f.signed(b64([]byte(header)) + "." + b64([]byte(payload)))
}

func (f *forge) good() string { return f.raw(text(f.t, f.header()), text(f.t, f.door.claims())) }

func (f *forge) withHeader(changes claims) string {
	return f.raw(text(f.t, f.header().with(changes)), text(f.t, f.door.claims()))
}

func (f *forge) withClaims(changes claims) string {
	return f.raw(text(f.t, f.header()), text(f.t, f.door.claims().with(changes)))
}

// first puts more members in front of those of an object.
func first(members, object string) string { return "{" + members + "," + object[1:] }

// A formOf is a way to write or mar a JSON object.
type formOf struct {
	name string
	mar  func(object string) string
}

// badForms are not one JSON object in UTF-8, or one with a repeated name.
var badForms = []formOf{
	{"null", constant("null")}, {"array", constant("[]")}, {"string", constant(`"x"`)}, {"number", constant("1")}, {"true", constant("true")},
	{"empty object", constant("{}")}, {"blank", constant(" ")}, {"NUL", constant("\x00")},
	{"in an array", func(o string) string { return "[" + o + "]" }},
	{"in a string", func(o string) string { return strconv.Quote(o) }},
	{"cut short", func(o string) string { return o[:len(o)-1] }},
	{"closed twice", func(o string) string { return o + "}" }},
	{"twice", func(o string) string { return o + o }},
	{"second object", func(o string) string { return o + " {}" }},
	{"comma behind", func(o string) string { return o + "," }},
	{"comma inside", func(o string) string { return o[:len(o)-1] + ",}" }},
	{"comma first", func(o string) string { return "{," + o[1:] }},
	{"comment", func(o string) string { return "/**/" + o }},
	{"line comment", func(o string) string { return o + "//" }},
	{"hash comment", func(o string) string { return "#\n" + o }},
	{"single quotes", func(o string) string { return strings.ReplaceAll(o, `"`, `'`) }},
	{"bare name", func(o string) string { return first(`a:1`, o) }},
	{"NaN", func(o string) string { return first(`"a":NaN`, o) }},
	{"Infinity", func(o string) string { return first(`"a":Infinity`, o) }},
	{"leading zero", func(o string) string { return first(`"a":01`, o) }},
	{"plus sign", func(o string) string { return first(`"a":+1`, o) }},
	{"hexadecimal", func(o string) string { return first(`"a":0x1`, o) }},
	{"BOM", func(o string) string { return "\ufeff" + o }},
	{"NUL behind", func(o string) string { return o + "\x00" }},
	{"NUL before", func(o string) string { return "\x00" + o }},
	{"NUL in a string", func(o string) string { return first("\"a\":\"\x00\"", o) }},
	{"line end in a string", func(o string) string { return first("\"a\":\"\n\"", o) }},
	{"vertical tab", func(o string) string { return "\v" + o }},
	{"no-break space", func(o string) string { return "\u00a0" + o }},
	{"not UTF-8", func(o string) string { return first("\"a\":\"\xff\"", o) }},
	{"not UTF-8 in a name", func(o string) string { return first("\"\xff\":1", o) }},
	{"overlong UTF-8", func(o string) string { return first("\"a\":\"\xc0\xaf\"", o) }},
	{"surrogate in UTF-8", func(o string) string { return first("\"a\":\"\xed\xa0\x80\"", o) }},
	{"lone surrogate", func(o string) string { return first(`"a":"\ud800"`, o) }},
	{"surrogates swapped", func(o string) string { return first(`"a":"\udc00\ud800"`, o) }},
	{"bad escape", func(o string) string { return first(`"a":"\x61"`, o) }},
	{"UTF-16", func(o string) string {
		var b []byte
		for _, u := range utf16.Encode([]rune(o)) {
			b = append(b, byte(u>>8), byte(u))
		}
		return string(b)
	}},
	{"name twice", func(o string) string { return first(`"a":1,"a":1`, o) }},
	{"empty name twice", func(o string) string { return first(`"":1,"":1`, o) }},
	{"name twice, escaped", func(o string) string { return first(`"ab":1,"\u0061b":1`, o) }},
	{"name twice, both escaped", func(o string) string { return first(`"\u0061b":1,"a\u0062":1`, o) }},
	{"name twice, inside", func(o string) string { return first(`"a":{"b":1,"b":2}`, o) }},
	{"name twice, in a list", func(o string) string { return first(`"a":[[{"b":1,"\u0062":2}]]`, o) }},
	{"lists 33 deep", func(o string) string { return first(`"a":`+strings.Repeat("[", 32)+strings.Repeat("]", 32), o) }},
	{"objects 33 deep", func(o string) string { return first(`"a":`+strings.Repeat(`{"a":`, 32)+"1"+strings.Repeat("}", 32), o) }},
	{"lists 4,000 deep", func(o string) string { return first(`"a":`+strings.Repeat("[", 4000)+strings.Repeat("]", 4000), o) }},
	{"unclosed lists", func(o string) string { return first(`"a":`+strings.Repeat("[", 5000), o) }},
}

func constant(text string) func(string) string { return func(string) string { return text } }

// goodForms are other ways to write the same object (RFC 8259 §2).
var goodForms = []formOf{
	{"space around", func(o string) string { return " \t\r\n" + o + "\n" }},
	{"space inside", func(o string) string { return "{ \n" + o[1:len(o)-1] + "\t}" }},
	{"a name escaped", func(o string) string { // the first letter of the first name
		return fmt.Sprintf(`{"\u%04x`, o[2]) + o[3:]
	}},
}

// serializations: what is around good parts.
func (f *forge) serializations() {
	good := f.good()
	parts := strings.Split(good, ".")
	h, p, s := parts[0], parts[1], parts[2]
	f.refuse("nothing but dots", "..")
	for _, n := range []int{1, 3, 4, 5, 100} {
		f.refuse(fmt.Sprint(n, " dots"), strings.Repeat(".", n))
	}
	for name, token := range map[string]string{
		"two parts": h + "." + p, "no signature": h + "." + p + ".", "no header": "." + p + "." + s, "no payload (detached)": h + ".." + s,
		"a dot behind": good + ".", "a dot before": "." + good, "four parts": good + "." + s, "five parts": h + "." + p + "." + s + "." + p + "." + s,
		"JWE of five parts": b64([]byte(`{"alg":"RSA-OAEP-256","enc":"A256GCM","kid":"x"}`)) + ".AAAA.AAAA.AAAA.AAAA",
		"JWE, dir":          b64([]byte(`{"alg":"dir","enc":"A128CBC-HS256","zip":"DEF"}`)) + "..AAAA.AAAA.AAAA",
		"JWE, PBES2":        b64([]byte(`{"alg":"PBES2-HS256+A128KW","enc":"A128GCM","p2c":2147483647,"p2s":"AAAA"}`)) + ".AAAA.AAAA.AAAA.AAAA",
		"twice":             good + good, "twice, comma": good + "," + good, "twice, space": good + " " + good, "twice, dot": good + "." + good,
		"Bearer": "Bearer " + good, "in quotes": `"` + good + `"`, "in a list": `["` + good + `"]`, "in brackets": "<" + good + ">",
		"encoded again": b64([]byte(good)), "data URL": "data:application/jwt," + good,
		"flattened":                 fmt.Sprintf(`{"protected":%q,"payload":%q,"signature":%q}`, h, p, s),
		"general":                   fmt.Sprintf(`{"payload":%q,"signatures":[{"protected":%q,"signature":%q}]}`, p, h, s),
		"general, two":              fmt.Sprintf(`{"payload":%q,"signatures":[{"protected":"e30","signature":"AA"},{"protected":%q,"signature":%q}]}`, p, h, s),
		"flattened, alg outside":    fmt.Sprintf(`{"protected":%q,"header":{"alg":"none"},"payload":%q,"signature":%q}`, h, p, s), // GHSA-jc38-x7x8-2xc8
		"payload not encoded":       h + "." + text(f.t, f.door.claims()) + "." + s,
		"header not encoded":        text(f.t, f.header()) + "." + p + "." + s,
		"percent-encoded dots":      strings.ReplaceAll(good, ".", "%2e"),
		"full-width dots":           strings.ReplaceAll(good, ".", "\uff0e"),
		"full-width letter":         strings.Replace(good, "e", "\uff45", 1),
		"other case":                strings.ToUpper(good),
		"parts swapped":             p + "." + h + "." + s,
		"tildes (SD-JWT)":           good + "~",
		"unsecured, alg none":       b64([]byte(`{"alg":"none"}`)) + "." + p + ".",
		"JSON":                      text(f.t, f.door.claims()),
		"XML":                       "<samlp:Response/>",
		"PEM":                       string(pkix(f.t, &f.rsa.PublicKey)),
		"a format string":           "%s%n%x.%s.%s",
		"a file":                    "file:///etc/passwd",
		"a URL":                     "https://tpp.example/token.jwt",
		"template (CVE-2021-44228)": "${jndi:ldap://tpp.example/a}",
	} {
		f.refuse(name, token)
	}
	// encoding/base64 passes over line ends; others pass over all these.
	for _, c := range []string{" ", "\t", "\n", "\r", "\r\n", "\x00", "\v", "\x7f", "\u00a0", "\u200b", "\ufeff", "=", "==", "+", "/", "*", "\\", "~", ":", "é", "\xff"} {
		name := strconv.Quote(c)
		places := map[string]string{
			"before": c + good, "behind": good + c, "in the header": h[:4] + c + h[4:] + "." + p + "." + s, "behind the header": h + c + "." + p + "." + s,
			"before the payload": h + "." + c + p + "." + s, "in the payload": h + "." + p[:4] + c + p[4:] + "." + s, "behind the payload": h + "." + p + c + "." + s,
			"before the signature": h + "." + p + "." + c + s, "in the signature": h + "." + p + "." + s[:4] + c + s[4:],
		}
		for place, token := range places {
			if place == "behind" && f.door.name == "registration" && strings.Trim(c, "\r\n") == "" {
				continue // as curl sends it
			}
			f.refuse(name+" "+place, token)
		}
		// The same with a signature that is good for what is there.
		f.refuse(name+" in the header, signed", f.signed(h[:4]+c+h[4:]+"."+p))
		f.refuse(name+" in the payload, signed", f.signed(h+"."+p[:4]+c+p[4:]))
	}
	// Padding, bits behind the last octet, and one character too many (RFC 7515 §2), each truly signed.
	for spaces := range 3 {
		header, payload := text(f.t, f.header())+strings.Repeat(" ", spaces), text(f.t, f.door.claims())+strings.Repeat(" ", spaces)
		h, p := b64([]byte(header)), b64([]byte(payload))
		for part, other := range map[string]string{"header": h, "payload": p} {
			join := func(changed string) string {
				if part == "header" {
					return f.signed(changed + "." + p)
				}
				return f.signed(h + "." + changed)
			}
			f.refuse(fmt.Sprintf("%s of %d characters and one more", part, len(other)), join(other[:len(other)/4*4]+"A"))
			if free := len(other) % 4; free != 0 {
				f.refuse(fmt.Sprintf("%s padded, %d", part, spaces), join(other+strings.Repeat("=", 4-free)))
				f.refuse(fmt.Sprintf("%s with bits behind, %d", part, spaces), join(bitsBehind(other)))
			}
		}
	}
	f.refuse("signature padded", good+"==")
	f.refuse("signature with bits behind", h+"."+p+"."+bitsBehind(s))
	if std := base64.RawStdEncoding.EncodeToString(f.signature(h + "." + p)); strings.ContainsAny(std, "+/") {
		f.refuse("signature in the other alphabet", h+"."+p+"."+std)
	}
	// Length.
	room := f.door.limit - len(good)
	f.bad = append(f.bad, forgery{name: "too long by much", large: true, token: f.withClaims(claims{"x": strings.Repeat("x", f.door.limit)})},
		forgery{name: "header too long", large: true, token: f.withHeader(claims{"x5t": strings.Repeat("x", f.door.limit)})},
		forgery{name: "only dots, long", large: true, token: strings.Repeat(".", 1<<20)}, // CVE-2025-27144, CVE-2025-30204
		forgery{name: "only letters, long", large: true, token: strings.Repeat("A", 1<<20)})
	if f.door.limit == jose.MaxSize {
		f.take("long", f.withClaims(claims{"x": strings.Repeat("x", room*3/4-32)}))
	}
}

// bitsBehind sets the lowest bit of the last character of a part whose last
// character has bits to spare.
func bitsBehind(part string) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	last := strings.IndexByte(alphabet, part[len(part)-1])
	return part[:len(part)-1] + string(alphabet[last|1])
}

// headers: what the header says, truly signed.
func (f *forge) headers() {
	header, payload := text(f.t, f.header()), text(f.t, f.door.claims())
	for _, form := range badForms {
		f.refuse("header: "+form.name, f.raw(form.mar(header), payload))
	}
	for _, form := range goodForms {
		f.take("header: "+form.name, f.raw(form.mar(header), text(f.t, f.door.claims())))
	}
	for _, alg := range []any{
		nil, "", "none", "None", "NONE", "nOnE", "none ", "null", "HS256", "HS384", "HS512", "RS1", "RS384", "RS512", "PS384", "PS512", "ES256", "ES256K", "ES384", "EdDSA", "Ed25519",
		"ML-DSA-44", "dir", "A128KW", "A256GCMKW", "RSA1_5", "RSA-OAEP", "RSA-OAEP-256", "ECDH-ES", "PBES2-HS256+A128KW", "rs256", "ps256", "Ps256", " PS256", "PS256 ", "PS256\x00",
		"PS256\n", "PS-256", "RSASSA-PSS", "SHA256withRSA", "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256", "RS256,PS256", 0, 256, true, json.RawMessage("null"),
		[]string{"PS256"}, []string{"RS256"}, claims{"": "PS256"}, strings.Repeat("PS256", 100),
	} {
		f.refuse(fmt.Sprintf("alg %v", alg), f.withHeader(claims{"alg": alg}))
	}
	other := map[string]string{jose.PS256: jose.RS256, jose.RS256: jose.PS256}[f.door.key.Alg]
	f.refuse("alg of the other padding", f.withHeader(claims{"alg": other}))

	// The public key as the secret of a MAC: CVE-2015-9235; with blanks in front, CVE-2026-34950; as a JWK, CVE-2026-48526;
	// no secret at all, CVE-2026-44351 and CVE-2026-44699.
	jwk := text(f.t, f.door.key.Public())
	pemText := string(pkix(f.t, &f.rsa.PublicKey))
	pkcs1 := x509.MarshalPKCS1PublicKey(&f.rsa.PublicKey)
	for name, secret := range map[string]string{
		"PEM": pemText, "PEM without its line end": strings.TrimSpace(pemText), "PEM behind a blank": " " + pemText, "PEM behind a line end": "\n" + pemText, "PEM with CRLF": strings.ReplaceAll(pemText, "\n", "\r\n"),
		"PKCS#1 PEM": string(pem.EncodeToMemory(&pem.Block{Type: "RSA PUBLIC KEY", Bytes: pkcs1})), "PKCS#1 DER": string(pkcs1), "DER": string(der(f.t, &f.rsa.PublicKey)),
		"modulus": string(f.rsa.N.Bytes()), "modulus in base64url": b64(f.rsa.N.Bytes()), "JWK": jwk, "JWKS": `{"keys":[` + jwk + `]}`,
		"thumbprint": jose.Thumbprint(&f.rsa.PublicKey), "kid": f.door.key.KID, "nothing": "", "a zero": "\x00", "32 zeros": strings.Repeat("\x00", 32),
		"null": "null", "undefined": "undefined", "secret": "secret", "[object Object]": "[object Object]", "client_id": forger,
	} {
		for alg, h := range map[string]func() hash.Hash{"HS256": sha256.New, "HS384": sha512.New384, "HS512": sha512.New} {
			input := b64([]byte(text(f.t, f.header().with(claims{"alg": alg})))) + "." + b64([]byte(payload))
			state := hmac.New(h, []byte(secret))
			state.Write([]byte(input))
			f.refuse(alg+" with "+name, input+"."+b64(state.Sum(nil)))
		}
	}
	for _, alg := range []string{"none", "None", "NONE", "nOnE", "NoNe", "", "PS256", "RS256", "HS256"} { // CVE-2020-28042
		input := b64([]byte(text(f.t, f.header().with(claims{"alg": alg})))) + "." + b64([]byte(payload))
		for _, signature := range []string{"", "AA", "AAAA", "e30", "bnVsbA"} {
			f.refuse(fmt.Sprintf("alg %q with signature %q", alg, signature), input+"."+signature)
		}
	}

	// Members that bring a key (CVE-2018-0114, CVE-2026-27962), ask for something (CVE-2025-59420) or hide something.
	own := newForge(f.t, tokenDoor{key: key(f.t, "stranger", f.door.key.Alg), claims: f.door.claims, typ: f.door.typ})
	for name, value := range map[string]any{
		"jwk": json.RawMessage(text(f.t, own.door.key.Public())), "jku": "https://tpp.example/jwks", "x5u": "https://tpp.example/certificate", "x5c": []string{"AAAA"},
		"crit": []string{"exp"}, "b64": false, "enc": "A256GCM", "zip": "DEF", "epk": claims{}, "apu": "AA", "apv": "AA", "p2s": "AA", "p2c": 1 << 30, "iv": "AA", "tag": "AA",
		"iss": "x", "sub": "x", "aud": "x", "exp": 1, "nonce": "x", "url": "x", "svt": "x", "trust_chain": []string{}, "ppt": "x", "iheSSId": "x", "key": "x", "keys": []string{},
		"Alg": "none", "ALG": "none", "alg\x00": "none", " alg": "none", "KID": "x", "Typ": "x", "": "x", "\x00": "x", "__proto__": claims{"alg": "none"}, "constructor": claims{}, "aIg": "none",
		"client_assertion": "x", "orig_iat": 1, "http://openbanking.org.uk/iat": 1, "http://openbanking.org.uk/tan": "x",
	} {
		f.refuse("header member "+strconv.Quote(name), f.withHeader(claims{name: value}))
		f.refuse("header member "+strconv.Quote(name)+" null", f.withHeader(claims{name: json.RawMessage("null")}))
		own.door.key = key(f.t, "stranger", f.door.key.Alg)
		f.refuse("stranger's key, header member "+strconv.Quote(name), own.raw(text(f.t, f.header().with(claims{name: value})), payload))
	}
	f.refuse("jwk and its own kid", own.raw(text(f.t, own.header().with(claims{"jwk": json.RawMessage(text(f.t, own.door.key.Public()))})), payload))
	for name, crit := range map[string]any{"none": []string{}, "alg": []string{"alg"}, "b64": []string{"b64"}, "a string": "exp", "unknown": []string{"bork"}, "null": nil} {
		f.refuse("crit: "+name, f.withHeader(claims{"crit": crit, "bork": 1, "b64": true}))
	}
	for _, members := range []string{
		`"alg":"none"`, `"alg":"` + f.door.key.Alg + `"`, `"\u0061lg":"none"`, `"alg":null`, `"kid":"x"`, `"\u006bid":"x"`, `"typ":"x","typ":"x"`, `"alg":"none","\u0061\u006c\u0067":"HS256"`,
	} {
		f.refuse("header twice: "+members, f.raw(first(members, header), payload))
		f.refuse("header twice, behind: "+members, f.raw(header[:len(header)-1]+","+members+"}", payload))
	}

	for _, kid := range []any{
		"", " ", "x", 0, true, json.RawMessage("null"), []string{f.door.key.KID}, claims{"kid": f.door.key.KID}, strings.ToUpper(f.door.key.KID) + "X", f.door.key.KID + " ", " " + f.door.key.KID, f.door.key.KID + "\x00",
		f.door.key.KID + "\n", f.door.key.KID + "#", "../../../../dev/null", "/dev/null", "file:///proc/sys/kernel/randomize_va_space", "https://tpp.example/key", "x' UNION SELECT 'secret'--", "x'; DROP TABLE clients;--",
		"| id", "$(id)", "%00", "${jndi:ldap://tpp.example}", "<script>", strings.Repeat("k", 256), strings.Repeat("k", 8000), "é", "\u202e" + f.door.key.KID,
	} {
		f.refuse(fmt.Sprintf("kid %.40v", kid), f.withHeader(claims{"kid": kid}))
	}
	f.take("no kid", f.withHeader(claims{"kid": nil}))

	for _, typ := range []any{
		"at+jwt", "application/at+jwt", "logout+jwt", "secevent+jwt", "dpop+jwt", "dc+sd-jwt", "vc+jwt", "entity-statement+jwt", "token-introspection+jwt", "oauth-authz-req+jwt", "client-authentication+jwt",
		"authorization-grant+jwt", "id_token", "JWE", "JOSE", "JOSE+JSON", "jwt+at", "JWT ", " JWT", "JWT;q=1", "JWT\x00", "application/", "application/application/jwt", "text/jwt", "x/jwt", "*", "jwt,at+jwt",
		"clİent-authentİcation+jwt", "applİcation/jwt", "\u217etest", "ＪＷＴ", 0, true, json.RawMessage("null"), []string{"JWT"}, claims{"JWT": 1}, strings.Repeat("J", 4000),
	} {
		name, _ := typ.(string)
		if slices.Contains(f.door.typs, strings.ToLower(name)) && name != "" {
			continue
		}
		f.refuse(fmt.Sprintf("typ %.40v", typ), f.withHeader(claims{"typ": typ}))
	}
	for _, typ := range f.door.typs {
		f.take("typ "+typ, f.withHeader(claims{"typ": typ}))
		f.take("typ in capitals "+typ, f.withHeader(claims{"typ": strings.ToUpper(typ)}))
	}
	for _, cty := range []any{"JWT", "jwt", "application/jwt", "Application/JWT", 0, []string{"JWT"}, json.RawMessage("null")} {
		f.refuse(fmt.Sprintf("cty %v", cty), f.withHeader(claims{"cty": cty}))
	}
	good := f.good()
	f.refuse("nested", f.raw(header, good)) // CVE-2026-29000 without the encryption
	f.refuse("nested in a string", f.raw(header, strconv.Quote(good)))
	f.refuse("nested, cty", f.raw(text(f.t, f.header().with(claims{"cty": "JWT"})), good))
	f.refuse("payload not encoded, b64 false", f.signed(b64([]byte(text(f.t, f.header().with(claims{"b64": false, "crit": []string{"b64"}}))))+"."+"payload"))
}

// payloads: what the claims say, truly signed.
func (f *forge) payloads() {
	header := text(f.t, f.header())
	payload := func() string { return text(f.t, f.door.claims()) }
	for _, form := range badForms {
		f.refuse("payload: "+form.name, f.raw(header, form.mar(payload())))
	}
	for _, form := range goodForms {
		f.take("payload: "+form.name, f.raw(header, form.mar(payload())))
	}
	if !f.door.closed {
		f.take("a claim that nobody knows", f.withClaims(claims{"unknown": claims{"a": []int{1}}}))
		f.take("31 deep", f.raw(header, first(`"a":`+strings.Repeat("[", 31)+strings.Repeat("]", 31), payload())))
	}
	wrong := map[string]any{"absent": nil, "null": json.RawMessage("null"), "true": true, "list": []any{}, "list of a list": []any{[]any{}}}
	for _, name := range f.door.required {
		good := f.door.claims()[name]
		for what, value := range wrong {
			f.refuse(name+" "+what, f.withClaims(claims{name: value}))
		}
		if _, isText := good.(string); isText {
			for what, value := range map[string]any{"empty": "", "number": 1, "object": claims{"": good}, "list of it": []any{good, good}, "NUL behind": good.(string) + "\x00"} {
				if name == "jti" && what == "NUL behind" || name == "aud" && what == "list of it" && f.door.lists {
					continue // that is one, too
				}
				f.refuse(name+" "+what, f.withClaims(claims{name: value}))
			}
		}
		// Names are compared octet by octet: another case is another claim, and beside the good one, none or an unknown one.
		for _, alias := range []string{strings.ToUpper(name), strings.ToUpper(name[:1]) + name[1:], name + " ", " " + name, name + "\x00", name + "[]", name + ".0", strings.Replace(name, "s", "ſ", 1)} {
			if alias != name {
				f.refuse(strconv.Quote(name)+" as "+strconv.Quote(alias), f.withClaims(claims{name: nil, alias: good}))
			}
		}
	}
	for name, good := range f.door.claims() {
		value := text(f.t, good)
		escaped := fmt.Sprintf(`"\u%04x%s"`, name[0], name[1:])
		f.refuse(name+" twice", f.raw(header, first(fmt.Sprintf("%q:%s", name, value), payload())))
		f.refuse(name+" twice, escaped", f.raw(header, first(escaped+":"+value, payload())))
		f.refuse(name+" twice, null first", f.raw(header, first(strconv.Quote(name)+":null", payload())))
		body := payload()
		f.refuse(name+" twice, null behind", f.raw(header, body[:len(body)-1]+","+escaped+":null}"))
	}

	now := f.door.claims()["exp"].(int64)
	for _, name := range f.door.times {
		at, sent := f.door.claims()[name].(int64)
		if !sent {
			at = now - 300
		}
		for what, value := range map[string]string{
			"null": "null", "true": "true", "string": strconv.Quote(strconv.FormatInt(at, 10)), "RFC 3339": `"2026-11-23T12:00:00Z"`, "list": fmt.Sprintf("[%d]", at), "object": fmt.Sprintf(`{"v":%d}`, at), "empty": `""`,
			"exponent": fmt.Sprintf("%d.%09de9", at/1e9, at%1e9), "exponent of nothing": fmt.Sprintf("%de0", at), "capital exponent": fmt.Sprintf("%dE0", at), "negative exponent": fmt.Sprintf("%d0e-1", at),
			"1e400": "1e400", "1e18": "1e18", "1e-400": "1e-400", "-1": "-1", "-0": "-0", "-0.0": "-0.0", "negated": strconv.FormatInt(-at, 10),
			"2^53": "9007199254740992", "2^63-1": "9223372036854775807", "2^63": "9223372036854775808", "2^64": "18446744073709551616", "2^64 and it": new(big.Int).Add(new(big.Int).Lsh(big.NewInt(1), 64), big.NewInt(at)).String(),
			"400 digits": strings.Repeat("9", 400), "milliseconds": strconv.FormatInt(at*1000, 10), "nanoseconds": strconv.FormatInt(at*1e9, 10),
			"2^32 and it": strconv.FormatInt(at+1<<32, 10), "2^31 and it": strconv.FormatInt(at+1<<31, 10), "2^53-1": "9007199254740991",
		} {
			if name == "exp" && f.door.endless && slices.Contains([]string{"milliseconds", "2^31 and it", "2^32 and it", "2^53-1"}, what) {
				continue
			}
			f.refuse(name+" "+what, f.raw(header, first(strconv.Quote(name)+":"+value, text(f.t, f.door.claims().with(claims{name: nil})))))
		}
	}
	for _, at := range []int64{0, 1, now - 365*86400} {
		f.refuse(fmt.Sprint("exp ", at), f.withClaims(claims{"exp": at}))
	}

	if f.door.iss != "" {
		good := f.door.claims()[f.door.iss].(string)
		for _, iss := range append(nearly(good), tppA, issuer("alpha"), baseURL, liveDirectory, "*", "%", "' OR ''='") {
			if iss != good {
				f.refuse(fmt.Sprintf("iss %.60q", iss), f.withClaims(claims{f.door.iss: iss}))
				if f.door.claims()["sub"] != nil {
					f.refuse(fmt.Sprintf("iss and sub %.60q", iss), f.withClaims(claims{"iss": iss, "sub": iss}))
					f.refuse(fmt.Sprintf("sub alone %.60q", iss), f.withClaims(claims{"sub": iss}))
				}
				if f.door.claims()["client_id"] != nil {
					f.refuse(fmt.Sprintf("client_id alone %.60q", iss), f.withClaims(claims{"client_id": iss}))
				}
			}
		}
	}
	if f.door.aud != "" {
		good := f.door.claims()["aud"].(string)
		for _, aud := range append(nearly(good), issuer("beta")+"x", issuer("closed"), "https://other.example/alpha", "https://auth.example.evil.example/alpha", "https://auth.example:443/alpha", "https://auth.example@evil.example/alpha",
			"auth.example", "alpha", forger, "*", "https://tpp.example", baseURL+"/.well-known/openid-configuration", baseURL+"/alpha/../alpha", baseURL+"//alpha", baseURL+"/alpha/par", "http://auth.example/alpha") {
			f.refuse(fmt.Sprintf("aud %.60q", aud), f.withClaims(claims{"aud": aud}))
			f.refuse(fmt.Sprintf("aud list of %.60q", aud), f.withClaims(claims{"aud": []string{aud}}))
		}
		for what, aud := range map[string]any{ // CVE-2025-27370
			"number": 1, "empty list": []string{}, "list in a list": [][]string{{good}}, "object": claims{"aud": good}, "list with null": []any{good, nil}, "list with a number": []any{good, 1}, "list with an empty string": []string{good, ""},
			"text of a list": text(f.t, []string{good}), "two in a string": good + " https://other.example", "comma": good + "," + good,
		} {
			f.refuse("aud "+what, f.withClaims(claims{"aud": aud}))
		}
	}
}

// nearly are texts that a careless comparison takes for the good one.
func nearly(good string) []string {
	return []string{
		strings.ToUpper(good), strings.ToUpper(good[:1]) + good[1:], good + " ", " " + good, good + "/", good + "\x00", good + "\n", good + "\t", good + "#", good + "?", good + "x", good[:len(good)-1], good[1:],
		good + "%00", good + ".", strings.Replace(good, "e", "é", 1), strings.Replace(good, "e", "e\u0301", 1), strings.Replace(good, "e", "%65", 1), strings.Replace(good, "e", "\u0435", 1), "\ufeff" + good, good + "\u200b",
		good + ",other", good + " other", "[" + good + "]",
	}
}

// signatures: good texts with signatures that are not, or not by whom they
// should be.
func (f *forge) signatures(t testing.TB) {
	header, payload := text(t, f.header()), text(t, f.door.claims())
	input := b64([]byte(header)) + "." + b64([]byte(payload))
	good := f.signature(input)
	n, s, size := f.rsa.N, new(big.Int).SetBytes(good), len(good)
	put := func(name string, signature []byte) { f.refuse("signature: "+name, input+"."+b64(signature)) }
	for name, v := range map[string]*big.Int{
		"0": new(big.Int), "1": big.NewInt(1), "n": n, "n-1": new(big.Int).Sub(n, big.NewInt(1)), "n-s": new(big.Int).Sub(n, s), "s-1": new(big.Int).Sub(s, big.NewInt(1)),
		"s+1": new(big.Int).Add(s, big.NewInt(1)), "s+n": new(big.Int).Add(s, n), "s+2n": new(big.Int).Add(s, new(big.Int).Lsh(n, 1)), "2s": new(big.Int).Mod(new(big.Int).Lsh(s, 1), n), "s^2": new(big.Int).Exp(s, big.NewInt(2), n),
	} {
		put(name, v.Bytes())
		if v.BitLen() <= 8*size {
			put(name+", filled", v.FillBytes(make([]byte, size)))
		}
		put(name+", zero in front", append([]byte{0}, v.Bytes()...))
	}
	for _, cut := range []int{1, 2, 20, 32, 64, 128, size - 1} {
		put(fmt.Sprint("without the last ", cut), good[:size-cut])
		put(fmt.Sprint("without the first ", cut), good[cut:])
		put(fmt.Sprint("zeros behind: ", cut), append(slices.Clone(good), make([]byte, cut)...))
		put(fmt.Sprint("zeros in front: ", cut), append(make([]byte, cut), good...))
	}
	for _, length := range []int{1, 32, 64, 70, 96, 132, 255, 256, 257, 384, 512, 1024} {
		put(fmt.Sprint("zeros: ", length), make([]byte, length))
		put(fmt.Sprint("ones: ", length), slices.Repeat([]byte{0xff}, length))
		f.refuse(fmt.Sprint("ES256 with zeros: ", length), b64([]byte(text(t, f.header().with(claims{"alg": "ES256"}))))+"."+b64([]byte(payload))+"."+b64(make([]byte, length))) // CVE-2022-21449
	}
	for bit := 0; bit < 8*size; bit += 97 {
		flipped := slices.Clone(good)
		flipped[bit/8] ^= 1 << (bit % 8)
		put(fmt.Sprint("bit ", bit), flipped)
	}
	put("reversed", func() []byte { r := slices.Clone(good); slices.Reverse(r); return r }())
	put("the digest", digest(crypto.SHA256, []byte(input)))
	put("of another token", f.signature("x."+input))
	put("of the payload", f.signature(b64([]byte(payload))))
	put("of the text decoded", f.signature(header+"."+payload))
	put("with a dot behind", f.signature(input+"."))

	x := &attacker{rsa: f.rsa}
	pss := func(alg, name string, sign func([]byte) []byte) {
		input := b64([]byte(text(t, f.header().with(claims{"alg": alg})))) + "." + b64([]byte(payload))
		f.refuse(alg+" with "+name, input+"."+b64(sign([]byte(input))))
	}
	for _, salt := range []int{0, 1, 20, 31, 33, 48, 64, 128, 222} { // RFC 7518 §3.5: 32
		pss(jose.PS256, fmt.Sprint("salt of ", salt), x.pss(salt, sha256.New))
	}
	pss(jose.PS256, "MGF1 of SHA-1", x.pss(32, sha1.New))
	pss(jose.PS256, "MGF1 of SHA-512", x.pss(32, sha512.New))
	for _, h := range []crypto.Hash{crypto.SHA1, crypto.SHA224, crypto.SHA384, crypto.SHA512, crypto.MD5SHA1} {
		if h == crypto.MD5SHA1 { // no DigestInfo at all
			pss(jose.RS256, "no DigestInfo", func(in []byte) []byte {
				s, err := rsa.SignPKCS1v15(nil, f.rsa, 0, digest(crypto.SHA256, in))
				must(t, err)
				return s
			})
			continue
		}
		pss(jose.RS256, "digest of "+h.String(), func(in []byte) []byte {
			s, err := rsa.SignPKCS1v15(nil, f.rsa, h, digest(h, in))
			must(t, err)
			return s
		})
		pss(jose.PS256, "digest of "+h.String(), func(in []byte) []byte {
			s, err := rsa.SignPSS(rand.Reader, f.rsa, h, digest(h, in), &rsa.PSSOptions{SaltLength: 32})
			must(t, err)
			return s
		})
	}
	// Signers that are somebody, but not this token's.
	for _, signer := range []string{tppA, tppB, "stranger", "alpha", "beta", "gamma", "bank alpha", "bank beta", "bank gamma", liveDirectory, sandboxDirectory, forger} {
		k := newForge(t, tokenDoor{key: key(t, signer, f.door.key.Alg), claims: f.door.claims, typ: f.door.typ})
		if k.rsa.N.Cmp(n) == 0 {
			continue
		}
		f.refuse("signed by "+signer, k.raw(text(t, f.header()), payload))
		f.refuse("signed by "+signer+", its kid", k.raw(text(t, k.header()), payload))
		f.refuse("signed by "+signer+", no kid", k.raw(text(t, f.header().with(claims{"kid": nil})), payload))
	}
}

// others: good tokens of every other kind, as they are and signed by whom this
// door believes.
func (f *forge) others(all []tokenDoor) {
	kind := func(name string) string { kind, _, _ := strings.Cut(name, " at "); return kind }
	for _, other := range all {
		if kind(other.name) == kind(f.door.name) {
			continue
		}
		theirs := newForge(f.t, other)
		f.refuse("a "+other.name, theirs.good())
		for _, typ := range []string{"", "JWT", other.typ, f.door.typ} {
			header := claims{"alg": f.door.key.Alg, "kid": f.door.key.KID, "typ": typ}
			f.refuse("the claims of a "+other.name+", typ "+typ, f.raw(text(f.t, header), text(f.t, other.claims())))
			// With the right issuer and audience, too.
			mixed := other.claims()
			for _, name := range []string{"iss", "aud", "exp"} {
				if good, has := f.door.claims()[name]; has {
					mixed[name] = good
				}
			}
			f.refuse("the claims of a "+other.name+" for this door, typ "+typ, f.raw(text(f.t, header), text(f.t, mixed)))
		}
	}
}

// Every kind of token that the server reads, with everything that can be wrong
// about one: it is refused in the documented form, and nothing is stored. A
// good one that was made at the same time is taken before every twenty.
//
// Proves: C27, C25 (what is too large)
func TestForgedTokens(t *testing.T) {
	t.Parallel()
	tried := 0
	for i := range tokenDoors(sqliteWorld(t)) {
		w := sqliteWorld(t)
		all := tokenDoors(w)
		slices.SortFunc(all, func(a, b tokenDoor) int { return strings.Compare(a.name, b.name) })
		door := all[i]
		t.Run(door.name, func(t *testing.T) {
			written := w.written()
			refused := 0
			try := func(group string, fill func(*forge)) {
				w.clock.advance(24 * time.Hour) // what may be registered in a day is limited
				f := newForge(t, door)
				fill(f)
				var good []string // made when the bad ones were
				for range len(f.bad)/20 + 1 {
					good = append(good, f.good())
				}
				for i, c := range f.bad {
					if i%20 == 0 {
						if v := door.send(good[i/20]); !v.taken || !written() {
							t.Fatalf("before %s: the good token: %s", c.name, v.text)
						}
					}
					switch v := door.send(c.token); {
					case c.taken:
						if !v.taken || !written() {
							t.Errorf("%s: %s: %s, want it taken", group, c.name, v.text)
						}
						continue
					case v.taken, !v.refused && !(c.large && strings.HasPrefix(v.text, "413 ")):
						t.Errorf("%s: %s: %s", group, c.name, v.text)
						written()
					case written():
						t.Errorf("%s: %s: refused, but something was stored", group, c.name)
					}
					refused++
				}
			}
			try("serialization", (*forge).serializations)
			try("header", (*forge).headers)
			try("payload", (*forge).payloads)
			try("signature", func(f *forge) { f.signatures(t) })
			try("another kind", func(f *forge) { f.others(all) })
			t.Logf("%d forged tokens", refused)
			tried += refused
		})
	}
	t.Attr("bad_inputs", strconv.Itoa(tried))
}
