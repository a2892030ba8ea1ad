package jose_test

import (
	"bytes"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"strings"
	"testing"

	"gatehouse/jose"
)

func kek(t testing.TB, fill byte) *jose.KEK {
	t.Helper()
	k, err := jose.NewKEK(bytes.Repeat([]byte{fill}, 32))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// Proves: K7 (the sealing; the rows of the database are tested where they are)
func TestSeal(t *testing.T) {
	k, key := kek(t, 1), psKey()
	sealed, err := k.Seal(key, "demobank")
	if err != nil {
		t.Fatal(err)
	}
	opened, err := k.Open(sealed, "demobank", key.KID, key.Alg)
	if err != nil {
		t.Fatal(err)
	}
	if opened.KID != key.KID || opened.Alg != key.Alg || !raw(t, opened).Equal(raw(t, key)) {
		t.Error("another key came back")
	}
	der, err := x509.MarshalPKCS8PrivateKey(raw(t, key))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+16 <= len(der); i += 16 {
		if bytes.Contains(sealed, der[i:i+16]) {
			t.Fatal("part of the key is in the clear")
		}
	}
	if again, _ := k.Seal(key, "demobank"); bytes.Equal(again, sealed) {
		t.Error("sealed twice to the same bytes")
	}

	rows := []struct {
		name               string
		kek                *jose.KEK
		sealed             []byte
		provider, kid, alg string
	}{
		{"another KEK", kek(t, 2), sealed, "demobank", key.KID, key.Alg},
		{"another provider", k, sealed, "otherbank", key.KID, key.Alg},
		{"another kid", k, sealed, "demobank", rsKey().KID, key.Alg},
		{"another alg", k, sealed, "demobank", key.KID, jose.RS256},
		{"no kid", k, sealed, "demobank", "", key.Alg},
		{"provider and kid moved apart", k, sealed, "demobank" + key.KID[:1], key.KID[1:], key.Alg},
		{"empty", k, nil, "demobank", key.KID, key.Alg},
		{"version alone", k, sealed[:1], "demobank", key.KID, key.Alg},
		{"cut", k, sealed[:len(sealed)-1], "demobank", key.KID, key.Alg},
		{"longer", k, append(sealed[:len(sealed):len(sealed)], 0), "demobank", key.KID, key.Alg},
	}
	for _, row := range rows {
		if _, err := row.kek.Open(row.sealed, row.provider, row.kid, row.alg); err == nil {
			t.Errorf("%s: no error", row.name)
		}
	}
	for i := range sealed {
		changed := bytes.Clone(sealed)
		changed[i] ^= 1
		if _, err := k.Open(changed, "demobank", key.KID, key.Alg); err == nil {
			t.Fatalf("byte %d changed: no error", i)
		}
	}
}

func TestParseKEK(t *testing.T) {
	secret := bytes.Repeat([]byte{0xfb, 0xff}, 16) // both alphabets differ in it
	want, err := jose.NewKEK(secret)
	if err != nil {
		t.Fatal(err)
	}
	for _, encoding := range []*base64.Encoding{base64.StdEncoding, base64.RawStdEncoding, base64.URLEncoding, base64.RawURLEncoding} {
		got, err := jose.ParseKEK(" \t" + encoding.EncodeToString(secret) + "\r\n")
		if err != nil || got.ID() != want.ID() {
			t.Errorf("%v, %v", got, err)
		}
	}
	for _, text := range []string{"", "secret", strings.Repeat("a", 64), b64(secret[:31]), b64(append(secret, 0)), b64(secret)[:42] + "*"} {
		if _, err := jose.ParseKEK(text); err == nil || len(text) > 5 && strings.Contains(err.Error(), text) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestKEKIsNotPrinted(t *testing.T) {
	k := kek(t, 'S')
	printed := fmt.Sprintf("%v %+v %#v %s %x", k, k, *k, k, k)
	if printed != strings.TrimSpace(strings.Repeat("jose.KEK("+k.ID()+") ", 5)) {
		t.Errorf("printed %s", printed)
	}
	if k.ID() == kek(t, 'T').ID() || len(k.ID()) != 16 {
		t.Errorf("id %s", k.ID())
	}
}

func TestMAC(t *testing.T) {
	k := kek(t, 1)
	seen := map[string]string{}
	for name, mac := range map[string][]byte{
		"base":            k.MAC("client secret", "a", "bc"),
		"another KEK":     kek(t, 2).MAC("client secret", "a", "bc"),
		"another purpose": k.MAC("handle", "a", "bc"),
		"other parts":     k.MAC("client secret", "a", "bd"),
		"moved boundary":  k.MAC("client secret", "ab", "c"),
		"zeros in a part": k.MAC("client secret", "a\x00\x00\x00\x00bc"),
		"one part":        k.MAC("client secret", "abc"),
		"an empty part":   k.MAC("client secret", "a", "bc", ""),
		"other order":     k.MAC("client secret", "bc", "a"),
		"no parts":        k.MAC("client secret"),
	} {
		if len(mac) != 32 {
			t.Errorf("%s: %d bytes", name, len(mac))
		}
		if other, ok := seen[string(mac)]; ok {
			t.Errorf("%s and %s are the same", name, other)
		}
		seen[string(mac)] = name
	}
	if !bytes.Equal(k.MAC("client secret", "a", "bc"), kek(t, 1).MAC("client secret", "a", "bc")) {
		t.Error("the same call gives another MAC")
	}
}
