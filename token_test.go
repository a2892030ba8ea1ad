package gatehouse_test

import (
	"math"
	"strings"
	"testing"
	"time"

	"gatehouse"
)

// Codes, tokens, ids and secrets: 10,000 of each are different, and each
// character of the secret part is drawn from all of base64url.
//
// Proves: K11, C16 (random)
func TestEntropy(t *testing.T) {
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	const n = 10_000
	seen := map[string]bool{}
	counts := [42]map[byte]int{} // the 43rd character has 4 bits only
	for i := range counts {
		counts[i] = map[byte]int{}
	}
	for range n {
		id, token := gatehouse.NewToken(now)
		secret := token[len(id)+1:]
		if got, ok := gatehouse.TokenID(token); !ok || got != id || len(secret) != 43 {
			t.Fatalf("token %s of id %s", token, id)
		}
		for _, value := range []string{id, secret, gatehouse.NewSecret()} {
			if seen[value] {
				t.Fatal("a value repeats")
			}
			seen[value] = true
		}
		for i := range counts {
			counts[i][secret[i]]++
		}
	}
	var bits float64
	for _, count := range counts {
		for _, c := range count {
			p := float64(c) / n
			bits -= p * math.Log2(p)
		}
	}
	if bits < 250 {
		t.Errorf("%.0f bits in the first 42 characters, want 252", bits)
	}
}

func TestIDsSortByTime(t *testing.T) {
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	last := ""
	for range 1000 {
		id := gatehouse.NewID(now)
		if id <= last {
			t.Fatalf("%s after %s", id, last)
		}
		last = id
		now = now.Add(time.Millisecond)
	}
}

func TestTokenID(t *testing.T) {
	_, token := gatehouse.NewToken(time.Now())
	for _, bad := range []string{"", ".", token[:len(token)-1], token + "x", token[1:], strings.Replace(token, ".", "", 1), strings.Repeat("x", 70)} {
		if id, ok := gatehouse.TokenID(bad); ok {
			t.Errorf("%q has id %s", bad, id)
		}
	}
}

func TestScopes(t *testing.T) {
	all := gatehouse.Scopes{"openid", "accounts", "payments"}
	for text, want := range map[string]string{
		"": "", " ": "", "openid": "openid", "accounts  openid accounts": "accounts openid", "a\tb": "a\tb",
	} {
		if got := gatehouse.ParseScopes(text).String(); got != want {
			t.Errorf("%q: %q", text, got)
		}
	}
	if !gatehouse.ParseScopes("payments openid").Within(all) || gatehouse.ParseScopes("openid x").Within(all) {
		t.Error("Within")
	}
	if got := all.Intersect(gatehouse.Scopes{"payments", "x", "openid"}).String(); got != "openid payments" {
		t.Errorf("Intersect: %s", got)
	}
	if gatehouse.ParseScopes(strings.Repeat("openid x ", 5) + "a b c d e f g h i j k l m n o p q").Within(all) {
		t.Error("many values")
	}
}

func TestDurationInWords(t *testing.T) {
	for d, want := range map[time.Duration]string{
		180 * 24 * time.Hour: "180 days", 24 * time.Hour: "1 day", 90 * time.Second: "90 seconds", time.Minute: "1 minute",
		36 * time.Hour: "36 hours", 1500 * time.Millisecond: "1.5s", 0: "0s",
	} {
		if got := gatehouse.Duration(d).String(); got != want {
			t.Errorf("%v: %s", d, got)
		}
	}
}
