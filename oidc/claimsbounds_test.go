package oidc_test

import (
	"encoding/json"
	"strings"
	"testing"
)

// The claims parameter has at most 32 levels and 64 KiB: plain, and in a signed
// request object as an object, whose levels count with those of the payload, or
// as its text.
//
// Proves: R9
func TestClaimsAreBounded(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	deep := func(levels int) string {
		return strings.Repeat(`{"x":`, levels-1) + "{}" + strings.Repeat("}", levels-1)
	}
	long := func(bytes int) string { return `{"x":"` + strings.Repeat("a", bytes-len(`{"x":""}`)) + `"}` }
	const bad, badObject = "invalid_request", "invalid_request_object"
	for name, test := range map[string]struct {
		claims, plain, text, object string // what becomes of them; nothing when they are taken
	}{
		"31 levels":         {deep(31), "", "", ""},
		"32 levels":         {deep(32), "", "", badObject},
		"33 levels":         {deep(33), bad, bad, badObject},
		"64 KiB":            {long(64 << 10), "", "", ""},
		"64 KiB and a byte": {long(64<<10 + 1), bad, bad, bad},
	} {
		for door, provider := range doors {
			signed := func(value any) form {
				return query(tppA).with(form{"request": w.requestObject(provider, tppA, claims{"claims": value})})
			}
			for _, c := range []struct {
				form, want string
				query      form
			}{
				{"plain", test.plain, query(tppA).with(form{"claims": test.claims})},
				{"as text", test.text, signed(test.claims)},
				{"as an object", test.object, signed(json.RawMessage(test.claims))},
			} {
				if door == "bank" && c.form != "plain" && len(test.claims) > 60<<10 {
					continue // thrice in base64 they are more than a connector's body may be
				}
				if o := w.ask(door, c.query); c.want == "" && o.begun() == "" || c.want != "" && !o.tells(c.want) {
					t.Errorf("%s, %s, at %s: %v, want %q", name, c.form, door, o, c.want)
				}
			}
		}
	}
}
