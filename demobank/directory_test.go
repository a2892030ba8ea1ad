package demobank_test

import (
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"gatehouse/demobank"
	"gatehouse/eidas"
	"gatehouse/jose"
)

// directoryKey is made once.
var directoryKey = sync.OnceValue(func() *jose.PrivateKey { return must(jose.GenerateKey(jose.PS256, 2048)) })

const directoryName = "A sandbox directory"

func newDirectory(address string, c *clock) *demobank.Directory {
	ca, caKey, err := demobank.NewCA(c.Now())
	if err != nil {
		panic(err)
	}
	return &demobank.Directory{
		URL: address, Issuer: directoryName, Key: directoryKey(), CA: ca, CAKey: caKey, Now: c.Now, Log: slog.New(slog.DiscardHandler),
	}
}

func serveDirectory(t *testing.T) (*demobank.Directory, *httptest.Server) {
	server := httptest.NewUnstartedServer(nil)
	d := newDirectory("http://"+server.Listener.Addr().String()+"/directory", &clock{now: began})
	server.Config.Handler = d.Handler()
	server.Start()
	t.Cleanup(server.Close)
	return d, server
}

// ask posts a body and returns the answer.
func ask(t *testing.T, address, contentType, body string) (int, map[string]any) {
	t.Helper()
	res, err := http.Post(address, contentType, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if res.Header.Get("Content-Type") != "application/json" {
		t.Errorf("Content-Type %q", res.Header.Get("Content-Type"))
	}
	var answer map[string]any
	if err := json.Unmarshal(must(io.ReadAll(res.Body)), &answer); err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, answer
}

// object writes a JSON object with members changed; nil takes one away.
func object(members, change map[string]any) string {
	all := map[string]any{}
	for _, m := range []map[string]any{members, change} {
		for name, value := range m {
			if all[name] = value; value == nil {
				delete(all, name)
			}
		}
	}
	return string(must(json.Marshal(all)))
}

func goodSoftware() map[string]any {
	return map[string]any{
		"client_name": "Budget App", "redirect_uris": []string{"https://app.example/callback"}, "roles": []string{"AISP", "PISP"},
		"jwks": jose.JWKS{Keys: []*jose.PublicKey{keys().client.Public()}},
	}
}

func TestDirectoryIssuesStatements(t *testing.T) {
	d, server := serveDirectory(t)
	set := must(jose.ParseJWKS(must(io.ReadAll(must(http.Get(d.URL + "/jwks")).Body))))
	for name, test := range map[string]struct {
		change map[string]any
		org    string
	}{
		"defaults":    {nil, demobank.DefaultOrgID},
		"own numbers": {map[string]any{"org_id": "PSDNL-DNB-034681", "software_id": "budget-1"}, "PSDNL-DNB-034681"},
	} {
		t.Run(name, func(t *testing.T) {
			status, answer := ask(t, server.URL+"/directory/software-statements", "application/json", object(goodSoftware(), test.change))
			if status != http.StatusOK || answer["org_id"] != test.org {
				t.Fatalf("%d %v", status, answer)
			}
			token := must(jose.Parse(answer["software_statement"].(string), jose.MaxSize))
			if err := token.Verify(set.Keys, jose.PS256); err != nil {
				t.Fatal(err)
			}
			got := map[string]any{}
			for claim := range token.Claims {
				var value any
				if err := token.Claims.Decode(claim, &value); err != nil {
					t.Fatal(err)
				}
				got[claim] = value
			}
			if software := got["software_id"].(string); software == "" || software != answer["software_id"] || test.change != nil && software != "budget-1" {
				t.Errorf("software_id %q, answer %v", software, answer)
			}
			if got["jti"] == "" {
				t.Error("no jti")
			}
			var jwks any
			if err := json.Unmarshal(must(json.Marshal(goodSoftware()["jwks"])), &jwks); err != nil {
				t.Fatal(err)
			}
			want := map[string]any{
				"iss": directoryName, "iat": float64(began.Unix()), "exp": float64(began.Add(time.Hour).Unix()), "jti": got["jti"],
				"org_id": test.org, "org_name": "Sandbox TPP " + test.org, "software_id": got["software_id"],
				"software_client_name": "Budget App", "software_redirect_uris": []any{"https://app.example/callback"},
				"software_roles": []any{"AISP", "PISP"}, "software_jwks": jwks, "software_environment": "sandbox",
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("claims (-want +got):\n%s", diff)
			}
		})
	}
}

// publicKey is a key in PEM, as openssl rsa -pubout writes it.
func publicKey(key *jose.PrivateKey) string {
	der := must(x509.MarshalPKIXPublicKey(key.Public().Key))
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
}

// What the directory certifies is what package eidas trusts under its authority, and what it does not under another.
func TestDirectoryIssuesCertificates(t *testing.T) {
	d, server := serveDirectory(t)
	roots := x509.NewCertPool()
	roots.AddCert(d.CA)
	trust := &eidas.Trust{Roots: roots}
	for _, kind := range []eidas.Kind{eidas.QWAC, eidas.QSeal, eidas.OBWAC, eidas.OBSeal} {
		t.Run(string(kind), func(t *testing.T) {
			status, answer := ask(t, server.URL+"/directory/certificates", "application/json", object(map[string]any{
				"type": kind, "public_key": publicKey(keys().client), "org_id": "PSDNL-DNB-034681", "roles": []string{"PSP_AI", "PSP_PI"},
			}, nil))
			if status != http.StatusOK {
				t.Fatalf("%d %v", status, answer)
			}
			c := must(eidas.Parse([]byte(answer["certificate"].(string))))
			if err := trust.Verify(t.Context(), c, nil, began); err != nil {
				t.Error(err)
			}
			if err := trust.Verify(t.Context(), c, nil, began.Add(91*24*time.Hour)); err == nil {
				t.Error("trusted after its end")
			}
			if c.Kind != kind || c.OrganizationIdentifier != "PSDNL-DNB-034681" || !slices.Equal(c.Roles, []eidas.Role{eidas.AccountInformation, eidas.PaymentInitiation}) {
				t.Errorf("got %+v", c)
			}
			if !keys().client.Public().Key.Equal(c.X509.PublicKey) {
				t.Error("another key")
			}
		})
	}
	status, answer := ask(t, server.URL+"/directory/certificates", "application/json", object(map[string]any{
		"type": "qseal", "public_key": publicKey(keys().client), "roles": []string{"PSP_IC"},
	}, nil))
	if status != http.StatusOK {
		t.Fatalf("%d %v", status, answer)
	}
	c := must(eidas.Parse([]byte(answer["certificate"].(string))))
	if c.OrganizationIdentifier != demobank.DefaultOrgID {
		t.Errorf("default organisation %s", c.OrganizationIdentifier)
	}
	other := x509.NewCertPool()
	other.AddCert(newDirectory("http://other.example", &clock{now: began}).CA)
	if err := (&eidas.Trust{Roots: other}).Verify(t.Context(), c, nil, began); err == nil {
		t.Error("trusted under another authority")
	}
}

// Each row is a good request with one thing changed.
func TestDirectoryRefuses(t *testing.T) {
	_, server := serveDirectory(t)
	long := strings.Repeat("x", 101)
	for _, test := range []struct {
		name   string
		change map[string]any
		want   string
	}{
		{"no name", map[string]any{"client_name": nil}, "client_name must be"},
		{"long name", map[string]any{"client_name": long}, "client_name must be"},
		{"no redirect_uris", map[string]any{"redirect_uris": nil}, "redirect_uris must be"},
		{"relative redirect_uri", map[string]any{"redirect_uris": []string{"/callback"}}, "redirect_uris must be"},
		{"redirect_uri with fragment", map[string]any{"redirect_uris": []string{"https://app.example/#x"}}, "redirect_uris must be"},
		{"too many redirect_uris", map[string]any{"redirect_uris": slices.Repeat([]string{"https://app.example/"}, 101)}, "redirect_uris must be"},
		{"no roles", map[string]any{"roles": []string{}}, "roles must be"},
		{"a bank", map[string]any{"roles": []string{"ASPSP"}}, "roles must be"},
		{"no keys", map[string]any{"jwks": nil}, "jwks: "},
		{"an empty set", map[string]any{"jwks": map[string]any{"keys": []any{}}}, "jwks has no key"},
		{"a private key", map[string]any{"jwks": map[string]any{"keys": []any{map[string]any{"kty": "RSA", "d": "x"}}}}, "jwks: "},
		{"org_id", map[string]any{"org_id": "a b"}, "org_id must be"},
		{"software_id", map[string]any{"software_id": long}, "software_id must be"},
		{"unknown member", map[string]any{"rolls": []string{"AISP"}}, "the body has a member"},
		{"another type", map[string]any{"roles": "AISP"}, "the body has a member"},
	} {
		t.Run("statement/"+test.name, func(t *testing.T) {
			refuses(t, server.URL+"/directory/software-statements", "application/json", object(goodSoftware(), test.change), http.StatusBadRequest, test.want)
		})
	}
	good := map[string]any{"type": "obseal", "public_key": publicKey(keys().client), "roles": []string{"PSP_AI"}}
	for _, test := range []struct {
		name   string
		change map[string]any
		want   string
	}{
		{"type", map[string]any{"type": "tls"}, "type must be"},
		{"no key", map[string]any{"public_key": nil}, "public_key: "},
		{"a private key", map[string]any{"public_key": string(keys().client.PEM())}, "public_key: "},
		{"org_id", map[string]any{"org_id": "DNB"}, "org_id must be"},
		{"no roles", map[string]any{"roles": nil}, "roles must be"},
		{"a bank", map[string]any{"roles": []string{"PSP_AS"}}, "roles must be"},
	} {
		t.Run("certificate/"+test.name, func(t *testing.T) {
			refuses(t, server.URL+"/directory/certificates", "application/json", object(good, test.change), http.StatusBadRequest, test.want)
		})
	}
	for _, test := range []struct {
		name, contentType, body string
		status                  int
		want                    string
	}{
		{"not JSON", "application/json", "{", http.StatusBadRequest, "the body: not JSON"},
		{"a list", "application/json", "[]", http.StatusBadRequest, "the body: not a JSON object"},
		{"a name twice", "application/json", `{"roles":[],"roles":[]}`, http.StatusBadRequest, "the body: repeated member name"},
		{"deep", "application/json", `{"jwks":` + strings.Repeat("[", 9) + strings.Repeat("]", 9) + `}`, http.StatusBadRequest, "the body: nested deeper"},
		{"a form", "application/x-www-form-urlencoded", "a=b", http.StatusUnsupportedMediaType, "the body must be application/json"},
		{"too long", "application/json", `{"client_name":"` + strings.Repeat("x", 64<<10) + `"}`, http.StatusRequestEntityTooLarge, "the body is longer than 64 KiB"},
	} {
		t.Run("body/"+test.name, func(t *testing.T) {
			refuses(t, server.URL+"/directory/software-statements", test.contentType, test.body, test.status, test.want)
		})
	}
}

func refuses(t *testing.T, address, contentType, body string, status int, want string) {
	t.Helper()
	got, answer := ask(t, address, contentType, body)
	description, _ := answer["error_description"].(string)
	if got != status || answer["error"] != "invalid_request" || !strings.HasPrefix(description, want) {
		t.Errorf("%d %v, want %d %q", got, answer, status, want)
	}
}
