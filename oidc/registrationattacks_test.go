package oidc_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"gatehouse"
	"gatehouse/jose"
)

// Each attack on registration hits one of two tokens: the software statement,
// which then comes in a plain JSON body, or the signed request around it.
const (
	atStatement = "software_statement"
	atRequest   = "dcr_request_jwt"
)

// ofStatement are the cases that change what the statement says. Every other
// case changes the metadata in the body, whatever its form is.
var ofStatement = []string{"dcr:sig-invalid", "dcr:issuer-untrusted", "dcr:expired", "dcr:iat-old", "dcr:ssa-of-other-env"}

// A registrationAttack is a request with one case in it.
type registrationAttack struct {
	attack
	target string
	// body and statement are patches of the good claims.
	body, statement claims
	directory       string
	times           int
}

// readRegistrationAttack finds out what a case changes where.
func readRegistrationAttack(x *attacker, c attack, target string) registrationAttack {
	t := x.w.t
	t.Helper()
	r := registrationAttack{attack: c, target: target, directory: sandboxDirectory, times: 1, body: claims{}, statement: claims{}}
	patch := r.body
	switch {
	case c.ID == "dcr:ssa-of-other-env": // in a statement, whatever the body is
		patch, r.directory = r.statement, liveDirectory
	case c.ID == "dcr:scope-exceeds-ssa-roles":
		r.statement["software_roles"] = []string{"AISP"}
	case target == atStatement && slices.Contains(ofStatement, c.ID):
		patch = r.statement
	}
	for name, value := range c.Payload {
		switch {
		case name == "_repeat":
			r.times = int(value.(float64))
		case name == "exp" || name == "iat":
			patch[name] = pastOf(x, c, value)
		case strings.HasPrefix(name, "_"):
			t.Fatalf("%s: cannot read %s", c.ID, name)
		default:
			patch[name] = x.fill(c, value)
		}
	}
	return r
}

var days = regexp.MustCompile(`^now-([0-9]+)d$`)

// pastOf reads a time of the dcr cases.
func pastOf(x *attacker, c attack, value any) int64 {
	x.w.t.Helper()
	if value == "past" {
		return x.w.clock.Now().Add(-time.Second).Unix()
	}
	text, _ := value.(string)
	m := days.FindStringSubmatch(text)
	if m == nil {
		x.w.t.Fatalf("%s: cannot read %v", c.ID, value)
	}
	n, err := strconv.Atoi(m[1])
	must(x.w.t, err)
	return x.w.clock.Now().Add(time.Duration(-n) * 24 * time.Hour).Unix()
}

// send sends the request of a case. The tokens that the case leaves alone are
// good ones.
func (r registrationAttack) send(x *attacker) *answer {
	w, t := x.w, x.w.t
	t.Helper()
	statement := w.statementClaims(r.directory, attackerID).with(claims{"iat": minuteAgo(w), "software_jwks": x.jwks(&x.rsa.PublicKey, "rsa")}).with(r.statement)
	body := w.registrationClaims(attackerID, "").with(claims{"iat": minuteAgo(w)}).with(r.body)
	ofDirectory := x.signingWith(key(t, r.directory, jose.PS256))
	directoryHeader := claims{"alg": "PS256", "kid": key(t, r.directory, jose.PS256).KID, "typ": "JWT"}
	ownHeader := claims{"alg": "PS256", "kid": "rsa", "typ": "JWT"}

	broken := r.ID == "dcr:sig-invalid"
	if r.target == atStatement {
		signed := ofDirectory.sign(r.attack, directoryHeader.with(r.Header), statement)
		if broken {
			signed = flipped(signed)
		}
		for _, name := range []string{"iss", "aud", "iat", "exp", "jti"} {
			delete(body, name)
		}
		return w.do("POST", registerPath, jsonHeader, text(t, body.with(claims{"software_statement": signed})))
	}
	body = body.with(claims{"software_statement": ofDirectory.sign(attack{}, directoryHeader, statement)})
	signed := x.sign(r.attack, ownHeader.with(r.Header), body)
	if broken {
		signed = flipped(signed)
	}
	return w.do("POST", registerPath, jwtHeader, signed)
}

// signingWith returns the same attacker with another RSA key, and its public
// half as the secret of a MAC.
func (x *attacker) signingWith(k *jose.PrivateKey) *attacker {
	t := x.w.t
	t.Helper()
	block, _ := pem.Decode(k.PEM())
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	must(t, err)
	y := *x
	y.rsa = parsed.(*rsa.PrivateKey)
	y.macKeys = maps.Clone(x.macKeys)
	maps.Copy(y.macKeys, map[string][]byte{
		"client RSA public key PEM (PKIX)":                   pkix(t, &y.rsa.PublicKey),
		"client RSA public key PEM (PKCS1)":                  pem.EncodeToMemory(&pem.Block{Type: "RSA PUBLIC KEY", Bytes: x509.MarshalPKCS1PublicKey(&y.rsa.PublicKey)}),
		"client RSA public key PEM without trailing newline": bytes.TrimSpace(pkix(t, &y.rsa.PublicKey)),
		"client RSA public key DER":                          der(t, &y.rsa.PublicKey),
		"raw modulus bytes":                                  y.rsa.N.Bytes(),
		"JSON text of the JWK":                               []byte(text(t, k.Public())),
	})
	return &y
}

// jwks is a key set with an RSA key and the attacker's keys of other kinds.
func (x *attacker) jwks(k *rsa.PublicKey, kid string) json.RawMessage {
	t := x.w.t
	t.Helper()
	point, err := x.ec.PublicKey.Bytes() // 4, x, y
	must(t, err)
	return json.RawMessage(fmt.Sprintf(`{"keys":[%s,{"kty":"EC","kid":"ec","crv":"P-256","x":%q,"y":%q},{"kty":"OKP","kid":"ed","crv":"Ed25519","x":%q}]}`,
		text(t, &jose.PublicKey{KID: kid, Key: k}), b64(point[1:33]), b64(point[33:]), b64(x.ed.Public().(ed25519.PublicKey))))
}

// flipped changes a bit of the signature.
func flipped(token string) string {
	parts := strings.Split(token, ".")
	first := "A"
	if parts[2][0] == 'A' {
		first = "B"
	}
	return parts[0] + "." + parts[1] + "." + first + parts[2][1:]
}

// fault is the error code that a case must give; "" when it is accepted.
func (r registrationAttack) fault() string {
	switch verdict, _, _ := strings.Cut(r.Expect, " "); {
	case r.Expect == "SSA value wins", strings.HasPrefix(r.Expect, "2nd: same client or 4xx"):
		return ""
	case r.target == atRequest && (verdict == "reject" || slices.Contains(ofStatement, r.ID)) && r.ID != "dcr:ssa-of-other-env":
		// The statement is good: what is wrong is the request around it.
		return "invalid_client_metadata"
	case verdict == "reject":
		return "invalid_software_statement"
	case verdict == "invalid_client_metadata": // "or reduced": it is refused
		return verdict
	case slices.Contains([]string{"invalid_software_statement", "unapproved_software_statement", "invalid_redirect_uri"}, r.Expect):
		return r.Expect
	default:
		return "cannot read " + r.Expect
	}
}

// Proves: D1
func TestRegistrationAttacks(t *testing.T) {
	t.Parallel()
	tried := 0
	for _, target := range []string{atStatement, atRequest} {
		w := sqliteWorld(t)
		x := newAttacker(w, "alpha")
		var directories []gatehouse.Directory
		for issuer, environment := range map[string]gatehouse.Environment{sandboxDirectory: gatehouse.SandboxEnvironment, liveDirectory: gatehouse.Production} {
			public := key(t, issuer, jose.PS256).Public()
			directories = append(directories, gatehouse.Directory{Issuer: issuer, Environment: environment, JWKS: x.jwks(public.Key, public.KID)})
		}
		w.site = w.replicaWith(directories...)
		written := w.written()
		taken := func(a *answer) bool { return a.StatusCode == 201 && a.text("client_id") != "" && written() }
		cases := attacks(t, target)
		for _, c := range cases {
			// A burst of an address and the day of an organisation would end.
			w.clock.advance(time.Hour)
			for _, directory := range []string{sandboxDirectory, liveDirectory} {
				if a := (registrationAttack{target: target, directory: directory}).send(x); !taken(a) {
					t.Fatalf("before %s: the good request: %v", c.ID, a)
				}
			}
			r := readRegistrationAttack(x, c, target)
			a := r.send(x)
			if fault := r.fault(); fault != "" {
				tried++
				switch {
				case a.StatusCode != 400 || a.text("error") != fault || a.JSON["client_id"] != nil:
					t.Errorf("%s: %s: %v, want %s", target, c.ID, a, fault)
				case written():
					t.Errorf("%s: %s: refused, but something was stored", target, c.ID)
				}
				continue
			}
			if !taken(a) || a.text("client_name") != "App of "+attackerID {
				t.Errorf("%s: %s: %v, want it accepted with the name of the statement", target, c.ID, a)
			}
			for range r.times - 1 { // a statement may register several, each its own
				if again := r.send(x); !taken(again) || again.text("client_id") == a.text("client_id") || again.text("registration_access_token") == a.text("registration_access_token") {
					t.Errorf("%s: %s: again: %v", target, c.ID, again)
				}
			}
		}
		t.Logf("%s: %d cases", target, len(cases))
		if len(cases) < 40 {
			t.Errorf("%s: only %d cases", target, len(cases))
		}
	}
	t.Attr("bad_inputs", strconv.Itoa(tried))
}

// What is signed for one purpose registers nothing, and what registers is good
// for nothing else.
//
// Proves: C27
func TestRegistrationTokensOfAnotherKind(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	r := w.registrant("m", nil)
	w.clock.advance(time.Minute)
	own := clientKey(t, "m", jose.PS256)
	statementText := w.statement(sandboxDirectory, "m", nil)
	registration := w.registrationClaims("m", statementText)
	statement := w.statementClaims(sandboxDirectory, "m")
	assertion := w.assertionClaims("alpha", r.id)
	object := w.requestClaims("alpha", r.id)
	idToken := w.idTokenOf(r)
	written := w.written()

	// As a registration request, at each door that takes one, and as a statement.
	bearer := http.Header{"Content-Type": {"application/jwt"}, "Authorization": {"Bearer " + r.token}}
	for name, token := range map[string]string{
		"an assertion":                    sign(t, own, "JWT", assertion),
		"an assertion that says so":       sign(t, own, "client-authentication+jwt", assertion.with(registration)),
		"an assertion with a statement":   sign(t, own, "JWT", assertion.with(claims{"software_statement": statementText})),
		"a request object":                sign(t, own, "oauth-authz-req+jwt", object),
		"a request object of typ JWT":     sign(t, own, "JWT", object),
		"a request object that says so":   sign(t, own, "oauth-authz-req+jwt", object.with(registration)),
		"a request object with statement": sign(t, own, "JWT", object.with(claims{"software_statement": statementText})),
		"a statement":                     statementText,
		"a statement of the software":     sign(t, own, "JWT", statement),
		"a token that says it is one":     sign(t, own, "at+jwt", registration),
		"a logout token that says it is":  sign(t, own, "logout+jwt", registration),
		"an ID Token of the bank":         idToken,
	} {
		for _, door := range []struct {
			method, path string
			header       http.Header
		}{{"POST", registerPath, jwtHeader}, {"PUT", r.path(), bearer}, {"POST", registerPath + "/recover", jwtHeader}} {
			a := w.do(door.method, door.path, door.header, token)
			if a.StatusCode != 400 || !slices.Contains([]string{"invalid_client_metadata", "invalid_software_statement"}, a.text("error")) || written() {
				t.Errorf("%s as registration request, %s %s: %v", name, door.method, door.path, a)
			}
		}
		if token == statementText {
			continue
		}
		a := w.register("m", token, nil)
		if a.StatusCode != 400 || !slices.Contains([]string{"invalid_software_statement", "unapproved_software_statement"}, a.text("error")) || written() {
			t.Errorf("%s as statement: %v", name, a)
		}
	}

	// The reverse.
	reverse := map[string]string{
		"a registration request":            sign(t, own, "JWT", registration),
		"a registration request with sub":   sign(t, own, "JWT", registration.with(claims{"iss": r.id, "sub": r.id, "aud": issuer("alpha")})),
		"a statement":                       statementText,
		"a statement with sub":              sign(t, own, "JWT", statement.with(claims{"iss": r.id, "sub": r.id, "aud": issuer("alpha"), "software_statement": "x"})),
		"a registration request, as object": sign(t, own, "JWT", registration.with(claims{"client_id": r.id, "aud": issuer("alpha"), "nbf": registration["iat"]})),
	}
	for name, token := range reverse {
		for _, provider := range []string{"alpha", "gamma"} {
			f := clientCredentials.with(form{"client_assertion_type": assertionType, "client_assertion": token})
			a := w.do("POST", "/api/oidc/"+provider+"/tokens", formHeader, f.encode())
			want := statuses(400, 401)[provider]
			if a.text("error_class") == "NotFound" { // iss is no client at all
				want = statuses(404, 401)[provider]
			}
			if a.StatusCode != want || a.text("error") != "invalid_client" || written() {
				t.Errorf("%s as assertion at %s: %v", name, provider, a)
			}
		}
		for door := range doors {
			if o := w.ask(door, query(r.id).with(form{"request": token})); !o.tells("invalid_request_object") && !o.hidden() || written() {
				t.Errorf("%s as request object at %s: %v", name, door, o)
			}
		}
	}
	// Each is good where it belongs.
	expect(t, w.do("POST", "/api/oidc/alpha/tokens", formHeader, clientCredentials.with(form{"client_assertion_type": assertionType, "client_assertion": sign(t, own, "JWT", assertion)}).encode()), 200, "")
	expect(t, w.do("POST", registerPath, jwtHeader, sign(t, own, "JWT", registration)), 201, "")
}

// idTokenOf has an ID Token made for the registrant.
func (w *world) idTokenOf(r *registrant) string {
	w.t.Helper()
	a := r.ask("alpha", exchange(w.code("alpha", r.id, nil)))
	expect(w.t, a, 200, "")
	return a.text("id_token")
}

// Every case that is about the statement exists.
func TestRegistrationCasesExist(t *testing.T) {
	known := attacks(t, atStatement)
	for _, id := range ofStatement {
		if !slices.ContainsFunc(known, func(c attack) bool { return c.ID == id }) {
			t.Errorf("%s is not a case", id)
		}
	}
}
