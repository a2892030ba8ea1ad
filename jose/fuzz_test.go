package jose_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	gojose "github.com/go-jose/go-jose/v4"

	"gatehouse/jose"
)

// reference reads one JSON object with the standard library, and refuses what
// that lets pass: repeated names, and what is not UTF-8.
func reference(data []byte, maxDepth int) (map[string]any, error) {
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	value, err := referenceValue(d, maxDepth)
	if err != nil {
		return nil, err
	}
	_, end := d.Token()
	object, ok := value.(map[string]any)
	if !ok || end != io.EOF || !utf8.Valid(data) {
		return nil, errors.New("not one object in UTF-8")
	}
	return object, nil
}

func referenceValue(d *json.Decoder, maxDepth int) (any, error) {
	token, err := d.Token()
	if err != nil {
		return nil, err
	}
	delim, compound := token.(json.Delim)
	if !compound {
		return token, nil
	}
	if maxDepth == 0 {
		return nil, errors.New("too deep")
	}
	object, list := map[string]any{}, []any{}
	for d.More() {
		var name string
		if delim == '{' {
			token, err := d.Token()
			if err != nil {
				return nil, err
			}
			name = token.(string)
		}
		value, err := referenceValue(d, maxDepth-1)
		if err != nil {
			return nil, err
		}
		if _, twice := object[name]; twice {
			return nil, errors.New("a name twice")
		}
		if delim == '{' {
			object[name] = value
		} else {
			list = append(list, value)
		}
	}
	if _, err := d.Token(); err != nil {
		return nil, err
	}
	if delim == '{' {
		return object, nil
	}
	return list, nil
}

// Whatever Parse accepts has one spelling only, the standard library reads the same from it, and another
// implementation takes it for a signed token, too. What it refuses for no reason of ours, that refuses, too.
func FuzzParse(f *testing.F) {
	f.Add(token(f, goodHeader, goodPayload))
	f.Add(token(f, `{"alg":"PS256","kid":"\u0061","x":[{},"]"]}`, `{"aud":["a"],"exp":1.5}`))
	f.Add(token(f, `{"alg":"RS256","alg":"none"}`, `{"a":{"b":1,"b":2}}`))
	f.Add(token(f, `{"alg":"RS256","cty":"JWT"}`, strings.Repeat(`{"a":`, 33)+"1"+strings.Repeat("}", 33)))
	f.Add(token(f, `{"alg":"RS256","typ":"at+jwt","crit":["b64"],"b64":false}`, `{"exp":1e3,"aud":[]}`))
	f.Add("a.b.c")
	f.Add("eyJhbGciOiJub25lIn0.e30.")
	f.Fuzz(func(t *testing.T, s string) {
		jwt, err := jose.Parse(s, jose.MaxSize)
		if err != nil {
			return
		}
		parts := strings.Split(s, ".")
		if len(parts) != 3 || len(s) > jose.MaxSize {
			t.Fatalf("took %q", s)
		}
		var read []map[string]any
		for i, part := range parts {
			data, err := base64.RawURLEncoding.Strict().DecodeString(part)
			if err != nil || b64(data) != part {
				t.Fatalf("%q is not canonical: %v", s, err)
			}
			if i == 2 {
				break
			}
			object, err := reference(data, 32)
			if err != nil {
				t.Fatalf("took %s: %v", data, err)
			}
			read = append(read, object)
		}
		for name := range read[0] {
			if !slices.Contains([]string{"alg", "kid", "typ", "cty", "x5t", "x5t#S256"}, name) {
				t.Errorf("took the header member %s", name)
			}
		}
		if kid, _ := read[0]["kid"].(string); read[0]["alg"] != jwt.Alg || kid != jwt.KID || jwt.Alg != jose.RS256 && jwt.Alg != jose.PS256 {
			t.Errorf("%v is read as %q, %q", read[0], jwt.Alg, jwt.KID)
		}
		if len(read[1]) != len(jwt.Claims) {
			t.Errorf("%v is read as %v", read[1], jwt.Claims)
		}
		for name, value := range read[1] {
			text, isText := value.(string)
			got, _, err := jwt.Claims.OptionalString(name)
			if isText != (err == nil) || got != text {
				t.Errorf("%s of %v is read as %q, %v", name, read[1], got, err)
			}
			number, isNumber := value.(json.Number)
			at, _, err := jwt.Claims.Time(name)
			if seconds, fault := number.Float64(); err == nil && (!isNumber || fault != nil || float64(at.Unix()) > seconds || seconds-float64(at.Unix()) >= 1 && seconds < 1<<52 || seconds > 1<<53) {
				t.Errorf("%s of %v is read as %v", name, read[1], at)
			}
		}
		if aud, single, err := jwt.Claims.Audience(); err == nil && (len(aud) == 0 || slices.Contains(aud, "") || single && aud[0] != read[1]["aud"]) {
			t.Errorf("aud %v is read as %q", read[1]["aud"], aud)
		}
		if _, err := gojose.ParseSignedCompact(s, []gojose.SignatureAlgorithm{gojose.RS256, gojose.PS256}); err != nil {
			t.Errorf("go-jose refuses %q: %v", s, err)
		}
		if jwt.Verify([]*jose.PublicKey{otherKey().Public()}, jose.RS256, jose.PS256) == nil {
			t.Errorf("%q verifies with a key that signed nothing", s)
		}
	})
}

// ParseObject takes what the reference takes, and nothing else but what that reads more leniently: a lone surrogate.
func FuzzParseObject(f *testing.F) {
	for _, text := range []string{
		`{"a":1,"b":[null,{"c":"\ud83d\ude00"}]}`, `{"a":1,"a":2}`, `{"a":1,"\u0061":2}`, `{"A":1,"a":2}`, `{"a":"\ud800"}`, `{} {}`, `null`, `{"a":01}`, `{"a":1,}`, "{\"a\":\"\xff\"}", "\ufeff{}",
		`{"a":1e400}`, `{"a":"` + "\x00" + `"}`, strings.Repeat(`{"a":`, 9) + "1" + strings.Repeat("}", 9), strings.Repeat(`{"a":`, 8) + "[]" + strings.Repeat("}", 8), `{"a":"\"}`, `{"[[[[[[[[[[[":"{{{{{{{{{{{{"}`,
	} {
		f.Add([]byte(text))
	}
	const depth = 8
	f.Fuzz(func(t *testing.T, data []byte) {
		claims, err := jose.ParseObject(data, depth)
		want, fault := reference(data, depth)
		switch {
		case err == nil && fault != nil:
			t.Errorf("took %q: %v", data, fault)
		case err != nil && fault == nil && !bytes.Contains(bytes.ToLower(data), []byte(`\ud`)):
			t.Errorf("refused %q: %v", data, err)
		case err == nil && len(claims) != len(want):
			t.Errorf("%q has %d members, not %d", data, len(claims), len(want))
		}
	})
}

// Whatever ParseJWKS accepts verifies with bounded cost, no key id is ambiguous, and it is what another implementation
// finds in the set.
func FuzzParseJWKS(f *testing.F) {
	f.Add(jwks(f, goodMember("a"), goodMember("b")))
	f.Add(jwks(f, goodMember("a"), goodMember("a")))
	f.Add([]byte(`{"keys":[{"kty":"RSA","n":"AQ","e":"AQAB","x5c":["MII="]}]}`))
	f.Add([]byte(`{"keys":[{"kty":"RSA","kty":"oct","k":"AA"},{"kty":"EC"},null,7]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		set, err := jose.ParseJWKS(data)
		if err != nil {
			return
		}
		if _, err := reference(data, 1000); err != nil {
			t.Fatalf("took %s: %v", data, err)
		}
		kids := map[string]bool{}
		for _, k := range set.Keys {
			if bits := k.Key.N.BitLen(); bits < 2048 || bits > 4096 || k.Key.E != 65537 || kids[k.KID] && k.KID != "" || k.Key.N.Bit(0) == 0 {
				t.Errorf("accepted %+v", k)
			}
			kids[k.KID] = true
			written, err := json.Marshal(k)
			var other gojose.JSONWebKey
			if err != nil || other.UnmarshalJSON(written) != nil || !other.Valid() || !other.IsPublic() || other.KeyID != k.KID {
				t.Errorf("%s is no key to go-jose: %v", written, err)
			}
		}
	})
}

// Keys are fetched only from an https URL that the standard library reads alike, at no address that is not public.
func FuzzKeysURL(f *testing.F) {
	for _, raw := range []string{
		"https://keys.example/jwks", "https://keys.example:8443/a?b=c", "http://keys.example/", "https://user:x@keys.example/", "https://127.0.0.1/", "https://[::1]/", "https://0x7f.1/", "https://2130706433/", "https://keys.example#@evil.example/",
		"https://localhost/", "https://169.254.169.254/latest", "https://[::ffff:10.0.0.1]/", "https://keys.example\\@127.0.0.1/", "https://keys.example./", "https://a..b/", "https://%31%32%37.0.0.1/", "file:///etc/passwd", "https:keys.example",
	} {
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		if jose.ValidKeysURL(raw) != nil {
			return
		}
		u, err := url.Parse(raw)
		if err != nil || u.Scheme != "https" || u.User != nil || u.Fragment != "" || u.Opaque != "" || u.Hostname() == "" {
			t.Fatalf("took %q", raw)
		}
		address, err := netip.ParseAddr(strings.TrimSuffix(u.Hostname(), "."))
		if err == nil && (address.Unmap().IsLoopback() || address.Unmap().IsPrivate() || address.Unmap().IsLinkLocalUnicast() || address.IsUnspecified() || address.IsMulticast()) || strings.EqualFold(u.Hostname(), "localhost") {
			t.Errorf("took %q", raw)
		}
	})
}
