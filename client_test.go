package gatehouse_test

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"gatehouse"
)

// registering is a good client but for its redirect_uris.
func registering(uris ...string) *gatehouse.Client {
	return &gatehouse.Client{
		ID: "tpp", Name: "TPP", RedirectURIs: uris, GrantTypes: gatehouse.GrantTypes(), ResponseTypes: []string{"code"},
		Scopes: gatehouse.Scopes{"openid"}, TokenEndpointAuthMethod: gatehouse.AuthClientSecretBasic, SecretHash: []byte{1},
		Status: gatehouse.ClientActive,
	}
}

// The cases of redirect_uri_cases.json: what may be presented beside
// registered URIs, and what cannot be registered.
func TestRedirectURICases(t *testing.T) {
	data, err := os.ReadFile("oidc/testdata/redirect_uri_cases.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Cases []struct {
			Registered, Register []string
			Expect, Why          string
		}
	}
	if err := json.Unmarshal(data, &file); err != nil {
		t.Fatal(err)
	}
	refused := 0
	for _, c := range file.Cases {
		if c.Register == nil {
			if err := registering(c.Registered...).Validate(); err != nil {
				t.Errorf("%s: registered %v: %v", c.Why, c.Registered, err)
			}
			continue
		}
		if c.Expect != "invalid_redirect_uri" {
			t.Fatalf("%s: cannot read expect %q", c.Why, c.Expect)
		}
		refused++
		for _, uri := range c.Register {
			fault := gatehouse.ValidRedirectURI(uri)
			if fault == nil {
				t.Errorf("%s: no fault", c.Why)
				continue
			}
			err := registering("https://tpp.example/cb", uri).Validate()
			if err == nil || err.Error() != fault.Error() || !strings.HasPrefix(err.Error(), "redirect_uris ") {
				t.Errorf("%s: Validate says %v, ValidRedirectURI %v", c.Why, err, fault)
			}
		}
	}
	t.Logf("%d cases of registration", refused)
	if refused == 0 {
		t.Error("no case is about registration")
	}
}

// Beside the cases: the edges of the rules.
func TestValidRedirectURI(t *testing.T) {
	long := "https://tpp.example/" + strings.Repeat("a", 2048-len("https://tpp.example/"))
	for uri, want := range map[string]string{
		"https://tpp.example/cb":        "",
		"https://tpp.example":           "",
		"https://tpp.example:8443/a?b=": "",
		"https://xn--bcher-kva.example": "",
		"https://8.8.8.8/cb":            "",
		"http://127.0.0.1:8080/cb":      "",
		"http://[::1]:8080/cb":          "",
		"https://127.0.0.1/cb":          "",
		long:                            "",
		long + "a":                      "redirect_uris has a member of more than 2,048 characters",
		"https://tpp.example/cb#":       "redirect_uris has a member with a fragment",
		"https://tpp.example/*":         "redirect_uris has a member with a wildcard",
		"https://@tpp.example/cb":       "redirect_uris has a member with user information",
		"https:tpp.example/cb":          "redirect_uris has a member that is not an absolute URI",
		"https:///cb":                   "redirect_uris has a member that is not an absolute URI",
		"//tpp.example/cb":              "redirect_uris has a member that is not https",
		"https://tpp.example/c b":       "redirect_uris has a member that is not an absolute URI",
		"https://tpp.example/\r\nx: y":  "redirect_uris has a member that is not an absolute URI",
		"https://tpp.example/\\evil":    "redirect_uris has a member that is not an absolute URI",
		"https://bücher.example/":       "redirect_uris has a member that is not an absolute URI",
		"https://tpp.example/%zz":       "redirect_uris has a member that is not an absolute URI",
		"http://localhost/cb":           "redirect_uris has a member that is not https",
		"http://127.0.0.1.evil.example": "redirect_uris has a member that is not https",
		"https://LOCALHOST./cb":         "redirect_uris has a member at localhost",
		"https://a.localhost/cb":        "redirect_uris has a member at localhost",
		"https://[fe80::1]/cb":          "redirect_uris has a member at a private address",
		"https://[::ffff:10.0.0.1]/cb":  "redirect_uris has a member at a private address",
		"https://0.0.0.0/cb":            "redirect_uris has a member at a private address",
		"https://169.254.169.254/":      "redirect_uris has a member at a private address",
		"ftp://tpp.example/cb":          "redirect_uris has a member that is not https",
		"https://tpp.example./cb":       "",
		"https://4.tpp.example/cb":      "",
		"https://10.0.0.1./cb":          "redirect_uris has a member at a private address",
		"https://10.1/cb":               "redirect_uris has a member that does not name a public host",
		"https://0xa000001/cb":          "redirect_uris has a member that does not name a public host",
		"https://tpp%E3%80%82example/":  "redirect_uris has a member that does not name a public host",
		"https://tpp/cb":                "redirect_uris has a member that does not name a public host",
		"https://./cb":                  "redirect_uris has a member that does not name a public host",
		"https://[::1%25lo]/cb":         "redirect_uris has a member at a private address",
		"https://tpp.example/cb?a;b":    "redirect_uris has a member whose query is not form-encoded",
		"https://tpp.example/cb?%zz":    "redirect_uris has a member whose query is not form-encoded",
		"http://127.0.0.1/?state=":      "redirect_uris has a member with a parameter of the authorization response",
		"https://tpp.example/?a=code":   "",
		"https://tpp.example/?Code=1":   "",
		"https://tpp.example/?code=1":   "redirect_uris has a member with a parameter of the authorization response",
		"https://tpp.example/?a&%69ss":  "redirect_uris has a member with a parameter of the authorization response",
	} {
		got := ""
		if err := gatehouse.ValidRedirectURI(uri); err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%q: %q, want %q", uri, got, want)
		}
	}
}
