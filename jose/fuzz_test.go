package jose_test

import (
	"strings"
	"testing"

	"gatehouse/jose"
)

// Whatever Parse accepts has one spelling only: its parts decode and encode to themselves, and its objects read again.
func FuzzParse(f *testing.F) {
	f.Add(token(f, goodHeader, goodPayload))
	f.Add(token(f, `{"alg":"PS256","kid":"\u0061","x":[{},"]"]}`, `{"aud":["a"],"exp":1.5}`))
	f.Add("a.b.c")
	f.Fuzz(func(t *testing.T, s string) {
		jwt, err := jose.Parse(s, jose.MaxSize)
		if err != nil {
			return
		}
		var again []string
		for part := range strings.SplitSeq(s, ".") {
			again = append(again, b64([]byte(decoded(t, part))))
		}
		if strings.Join(again, ".") != s {
			t.Errorf("%q is not canonical", s)
		}
		if jwt.Alg != jose.RS256 && jwt.Alg != jose.PS256 {
			t.Errorf("alg %q", jwt.Alg)
		}
		if jwt.Verify([]*jose.PublicKey{otherKey().Public()}, jose.RS256, jose.PS256) == nil {
			t.Errorf("%q verifies with a key that signed nothing", s)
		}
		jwt.Claims.Time("exp")
		jwt.Claims.Audience()
	})
}

// Whatever ParseJWKS accepts verifies with bounded cost, and no key id is ambiguous.
func FuzzParseJWKS(f *testing.F) {
	f.Add(jwks(f, goodMember("a"), goodMember("b")))
	f.Add([]byte(`{"keys":[{"kty":"RSA","n":"AQ","e":"AQAB","x5c":["MII="]}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		set, err := jose.ParseJWKS(data)
		if err != nil {
			return
		}
		kids := map[string]bool{}
		for _, k := range set.Keys {
			if bits := k.Key.N.BitLen(); bits < 2048 || bits > 4096 || k.Key.E != 65537 || kids[k.KID] && k.KID != "" {
				t.Errorf("accepted %+v", k)
			}
			kids[k.KID] = true
		}
	})
}
