package jose_test

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/json"
	"testing"

	gojose "github.com/go-jose/go-jose/v4"

	"gatehouse/jose"
)

// go-jose, an independent library, reads what is signed here and signs what is read here.
func TestInterop(t *testing.T) {
	for _, k := range []*jose.PrivateKey{rsKey(), psKey()} {
		alg := gojose.SignatureAlgorithm(k.Alg)

		signed, err := k.Sign("JWT", map[string]string{"iss": "bank"})
		if err != nil {
			t.Fatal(err)
		}
		theirs, err := gojose.ParseSignedCompact(signed, []gojose.SignatureAlgorithm{alg})
		if err != nil {
			t.Fatal(err)
		}
		payload, err := theirs.Verify(k.Public().Key)
		if err != nil || string(payload) != `{"iss":"bank"}` {
			t.Errorf("%s: they read %s, %v", k.Alg, payload, err)
		}
		if got := theirs.Signatures[0].Protected.KeyID; got != k.KID {
			t.Errorf("%s: they read kid %s", k.Alg, got)
		}

		options := (&gojose.SignerOptions{}).WithType("JWT").WithHeader("kid", k.KID)
		signer, err := gojose.NewSigner(gojose.SigningKey{Algorithm: alg, Key: raw(t, k)}, options)
		if err != nil {
			t.Fatal(err)
		}
		object, err := signer.Sign([]byte(`{"iss":"tpp"}`))
		if err != nil {
			t.Fatal(err)
		}
		compact, err := object.CompactSerialize()
		if err != nil {
			t.Fatal(err)
		}
		ours, err := jose.Parse(compact, jose.MaxSize)
		if err != nil {
			t.Fatal(err)
		}
		if err := ours.Verify([]*jose.PublicKey{otherKey().Public(), k.Public()}, k.Alg); err != nil {
			t.Errorf("%s: %v", k.Alg, err)
		}
		if iss, err := ours.Claims.String("iss"); err != nil || iss != "tpp" || ours.Typ != "JWT" || ours.KID != k.KID {
			t.Errorf("%s: read %+v, %v", k.Alg, ours, err)
		}
	}
}

// Proves: K2
func TestInteropJWKS(t *testing.T) {
	k := psKey()
	data, err := json.Marshal(jose.JWKS{Keys: []*jose.PublicKey{k.Public()}})
	if err != nil {
		t.Fatal(err)
	}
	var theirs gojose.JSONWebKeySet
	if err := json.Unmarshal(data, &theirs); err != nil {
		t.Fatal(err)
	}
	if len(theirs.Keys) != 1 {
		t.Fatalf("they read %d keys", len(theirs.Keys))
	}
	their := theirs.Keys[0]
	if !their.Valid() || !their.IsPublic() || !k.Public().Key.Equal(their.Key) || their.KeyID != k.KID || their.Algorithm != k.Alg || their.Use != "sig" {
		t.Errorf("they read %+v", their)
	}
	thumbprint, err := their.Thumbprint(crypto.SHA256)
	if err != nil || b64(thumbprint) != k.KID {
		t.Errorf("their thumbprint %s, %v; ours %s", b64(thumbprint), err, k.KID)
	}

	if data, err = json.Marshal(theirs); err != nil {
		t.Fatal(err)
	}
	ours, err := jose.ParseJWKS(data)
	if err != nil {
		t.Fatal(err)
	}
	if len(ours.Keys) != 1 || ours.Keys[0].KID != k.KID || ours.Keys[0].Alg != k.Alg || !ours.Keys[0].Key.Equal(k.Public().Key) {
		t.Errorf("read %+v", ours.Keys)
	}
}

// Why the verification is not go-jose's: RFC 7518 §3.5 fixes the salt of PS256 at 32 octets, and go-jose 4.1.8 takes
// any. If this test fails, that reason is gone.
func TestGoJoseTakesAnySalt(t *testing.T) {
	key := raw(t, psKey())
	input := b64([]byte(`{"alg":"PS256"}`)) + "." + b64([]byte(goodPayload))
	digest := sha256.Sum256([]byte(input))
	signature, err := rsa.SignPSS(rand.Reader, key, crypto.SHA256, digest[:], &rsa.PSSOptions{SaltLength: 20})
	if err != nil {
		t.Fatal(err)
	}
	token := input + "." + b64(signature)
	theirs, err := gojose.ParseSignedCompact(token, []gojose.SignatureAlgorithm{gojose.PS256})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := theirs.Verify(&key.PublicKey); err != nil {
		t.Errorf("go-jose: %v", err)
	}
	ours, err := jose.Parse(token, jose.MaxSize)
	if err != nil {
		t.Fatal(err)
	}
	if err := ours.Verify([]*jose.PublicKey{psKey().Public()}, jose.PS256); err != jose.ErrSignature {
		t.Errorf("ours: %v", err)
	}
}
