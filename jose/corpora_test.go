package jose_test

import (
	"crypto/rsa"
	"encoding/hex"
	"encoding/json"
	"math/big"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"gatehouse/jose"
)

func readCorpus(t testing.TB, name string, into any) {
	t.Helper()
	data, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, into); err != nil {
		t.Fatal(err)
	}
}

// BER instead of DER, garbage behind or inside DigestInfo, wrong padding, salts and hash functions, numbers out of range.
func TestWycheproofSignatures(t *testing.T) {
	var groups []struct {
		Source, Alg, N string
		Tests          []struct {
			Comment, Msg, Sig string
			Valid             bool
		}
	}
	readCorpus(t, "wycheproof_rsa.json", &groups)
	good, bad := 0, 0
	for _, g := range groups {
		key := &rsa.PublicKey{N: new(big.Int).SetBytes([]byte(decoded(t, g.N))), E: 65537}
		if _, err := jose.NewPublicKey(key, g.Alg, ""); err != nil {
			t.Errorf("%s: %v", g.Source, err)
		}
		for _, c := range g.Tests {
			message, err := hex.DecodeString(c.Msg)
			if err != nil {
				t.Fatal(err)
			}
			if jose.VerifyInput(g.Alg, string(message), []byte(decoded(t, c.Sig)), key) != c.Valid {
				t.Errorf("%s: %s: want %t", g.Source, c.Comment, c.Valid)
			}
			if c.Valid {
				good++
			} else {
				bad++
			}
		}
	}
	if good < 10 || bad < 300 {
		t.Errorf("only %d good and %d bad signatures", good, bad)
	}
	t.Attr("bad_inputs", strconv.Itoa(bad))
}

// Each text stands as the value of a member, since a text alone would be refused for not being an object.
func TestJSONTestSuite(t *testing.T) {
	var cases []struct{ Name, Input string }
	readCorpus(t, "json_test_suite.json", &cases)
	// Stricter than the suite asks: a name twice (RFC 7515 §4). And its choices, where it leaves one: numbers are read by
	// those who want them, halves of surrogate pairs are no text.
	twice := []string{"y_object_duplicated_key", "y_object_duplicated_key_and_value"}
	taken := 0
	for _, c := range cases {
		want := ""
		switch {
		case slices.Contains(twice, c.Name):
			want = "repeated member name"
		case strings.HasPrefix(c.Name, "n_"), strings.HasPrefix(c.Name, "i_") && !strings.HasPrefix(c.Name, "i_number"):
			want = "not JSON"
		}
		_, err := jose.ParseObject([]byte(`{"a":`+c.Input+`}`), 8)
		if got := errorText(err); got != want {
			t.Errorf("%s: %.40q: %q, want %q", c.Name, c.Input, got, want)
		}
		if err == nil {
			taken++
		}
	}
	if taken < 80 || len(cases)-taken < 180 {
		t.Errorf("%d of %d taken", taken, len(cases))
	}
	t.Attr("bad_inputs", strconv.Itoa(len(cases)-taken))
}
