package jose_test

import (
	"testing"

	"gatehouse/jose"
)

var benchClaims = map[string]any{
	"iss": "tpp", "sub": "tpp", "aud": "https://as.example/demobank", "iat": 1700000000, "exp": 1700000060, "jti": "0123456789abcdef0123456789abcdef",
}

func BenchmarkSign(b *testing.B) {
	for _, k := range []*jose.PrivateKey{rsKey(), psKey()} {
		b.Run(k.Alg, func(b *testing.B) {
			for b.Loop() {
				if _, err := k.Sign("JWT", benchClaims); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkParse(b *testing.B) {
	signed, err := rsKey().Sign("JWT", benchClaims)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := jose.Parse(signed, jose.MaxSize); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkVerify(b *testing.B) {
	for _, k := range []*jose.PrivateKey{rsKey(), psKey()} {
		b.Run(k.Alg, func(b *testing.B) {
			signed, err := k.Sign("JWT", benchClaims)
			if err != nil {
				b.Fatal(err)
			}
			jwt, err := jose.Parse(signed, jose.MaxSize)
			if err != nil {
				b.Fatal(err)
			}
			keys := []*jose.PublicKey{k.Public()}
			for b.Loop() {
				if err := jwt.Verify(keys, k.Alg); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkOpen(b *testing.B) {
	k := kek(b, 1)
	sealed, err := k.Seal(rsKey(), "demobank")
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := k.Open(sealed, "demobank", rsKey().KID, jose.RS256); err != nil {
			b.Fatal(err)
		}
	}
}
