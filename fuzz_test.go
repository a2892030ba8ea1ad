package gatehouse_test

// The parsers of this package against hostile text: what one takes, a second
// reading agrees with.

import (
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"gatehouse"
)

func FuzzRedirectURI(f *testing.F) {
	for _, raw := range []string{
		"https://tpp.example/cb", "https://tpp.example/cb?a=1&b=%20", "http://127.0.0.1:8080/cb", "http://[::1]/", "https://tpp.example/#f", "https://user@tpp.example/", "https://*.example/",
		"javascript:alert(1)", "https:tpp.example", "//tpp.example/cb", "https://10.0.0.1/", "https://[fe80::1%25eth0]/", "https://[::ffff:127.0.0.1]/", "https://2130706433/", "https://LOCALHOST./", "https://tpp.example\\@evil.example/",
		"https://tpp.example/\r\nSet-Cookie: a=b", "https://tpp.example/%", "https://tpp.example:99999/", "https://täst.example/",
	} {
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		if gatehouse.ValidRedirectURI(raw) != nil {
			return
		}
		u, err := url.ParseRequestURI(raw)
		if err != nil || !u.IsAbs() || u.User != nil || u.Fragment != "" || u.Hostname() == "" || len(raw) > 2048 {
			t.Fatalf("took %q", raw)
		}
		if i := strings.IndexFunc(raw, func(c rune) bool { return c <= ' ' || c > '~' || strings.ContainsRune("\"<>\\^`{|}#*", c) }); i >= 0 {
			t.Errorf("took %q", raw)
		}
		address, err := netip.ParseAddr(u.Hostname())
		switch loopback := err == nil && address.IsLoopback(); {
		case u.Scheme == "http" && !loopback, u.Scheme != "http" && u.Scheme != "https":
			t.Errorf("took %q", raw)
		case err == nil && !loopback && (address.Unmap().IsPrivate() || address.Unmap().IsLoopback() || address.IsLinkLocalUnicast() || address.IsUnspecified() || address.IsMulticast()):
			t.Errorf("took %q", raw)
		}
	})
}

// A theme that is taken cannot leave the value of its property.
func FuzzTheme(f *testing.F) {
	f.Add("#00ff00", "Inter, sans-serif", "4px")
	f.Add("red", "a;}body{x:url(//evil)", "4px;")
	f.Add("#00ff00\n", "'a", "99px\n")
	f.Fuzz(func(t *testing.T, colour, font, radius string) {
		theme := gatehouse.Theme{Accent: colour, Text: colour, FontFamily: font, Radius: radius}
		if theme.Validate() != nil {
			return
		}
		for _, p := range theme.Properties() {
			if p.Value == "" || len(p.Value) > 200 || strings.ContainsAny(p.Value, ";{}()/\\:\"<>&@!*\r\n\x00") {
				t.Errorf("took %+v", p)
			}
		}
	})
}

func FuzzScopes(f *testing.F) {
	f.Add("openid accounts")
	f.Add("  a  a b ")
	f.Add(strings.Repeat("a b c d e f g h i j k l m n o p q r s t ", 3))
	f.Fuzz(func(t *testing.T, text string) {
		s := gatehouse.ParseScopes(text)
		words := strings.Split(text, " ")
		for i, value := range s {
			if value == "" || slices.Contains(s[:i], value) || !slices.Contains(words, value) {
				t.Errorf("%q is read as %q", text, s)
			}
		}
		all := gatehouse.Scopes(gatehouse.AllScopes())
		within := true
		for _, word := range words {
			within = within && (word == "" || slices.Contains(all, word))
		}
		if s.Within(all) != within {
			t.Errorf("%q within %q: %v", text, all, !within)
		}
		if again := gatehouse.ParseScopes(s.String()); !slices.Equal(again, s) {
			t.Errorf("%q is read as %q, then as %q", text, s, again)
		}
	})
}

func FuzzTokenID(f *testing.F) {
	_, token := gatehouse.NewToken(time.Unix(1_800_000_000, 0))
	f.Add(token)
	f.Add("." + token)
	f.Add(token + ".")
	f.Fuzz(func(t *testing.T, text string) {
		id, ok := gatehouse.TokenID(text)
		if ok != (len(text) == 70 && strings.Index(text, ".") == 26) || ok && id != text[:26] {
			t.Errorf("%q has the id %q, %v", text, id, ok)
		}
	})
}

func FuzzProviderCode(f *testing.F) {
	for _, code := range []string{"alpha", "Alpha", "a-b_c", "a/b", "a%2fb", "..", "а", "a\n", "api", "static"} {
		f.Add(code)
	}
	f.Fuzz(func(t *testing.T, code string) {
		if !gatehouse.ValidProviderCode(code) {
			return
		}
		if code == "" || strings.Trim(code, "abcdefghijklmnopqrstuvwxyz0123456789_-") != "" || url.PathEscape(code) != code {
			t.Errorf("took %q", code)
		}
	})
}
