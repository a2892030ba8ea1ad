package admin_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"gatehouse"
	"gatehouse/admin"
	"gatehouse/jose"
	"gatehouse/store"
)

// newAdmin acts on an empty database, at a fixed time.
func newAdmin(t *testing.T) *admin.Admin {
	t.Helper()
	db, err := store.Open(t.Context(), "sqlite:"+filepath.Join(t.TempDir(), "gatehouse.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := db.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	kek, err := jose.NewKEK(bytes.Repeat([]byte("k"), 32))
	if err != nil {
		t.Fatal(err)
	}
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	return &admin.Admin{Store: db, KEK: kek, Now: func() time.Time { return now }}
}

func newJWKS(t *testing.T) json.RawMessage {
	t.Helper()
	key, err := jose.GenerateKey(jose.RS256, 2048)
	if err != nil {
		t.Fatal(err)
	}
	jwks, err := json.Marshal(jose.JWKS{Keys: []*jose.PublicKey{key.Public()}})
	if err != nil {
		t.Fatal(err)
	}
	return jwks
}

func newProvider(jwks json.RawMessage) admin.NewProvider {
	return admin.NewProvider{Code: "demobank", Name: "Demobank", LoginURL: "https://bank.example/login", JWKS: jwks}
}

func TestAddProvider(t *testing.T) {
	a, jwks := newAdmin(t), newJWKS(t)
	added, secret, err := a.AddProvider(t.Context(), newProvider(jwks))
	if err != nil {
		t.Fatal(err)
	}
	p, err := a.Provider(t.Context(), "demobank")
	if err != nil {
		t.Fatal(err)
	}
	if p.Status != gatehouse.Live || p.Profile != gatehouse.ProfilePSD2 || p.SigningAlg != jose.RS256 || !slices.Equal(p.Scopes, gatehouse.AllScopes()) {
		t.Errorf("defaults: %+v", p)
	}
	if !p.CreatedAt.Equal(a.Now()) || p.Connector.AppID != added.Connector.AppID {
		t.Errorf("stored %+v, returned %+v", p, added)
	}
	if !bytes.Equal(p.Connector.AppSecretHash, gatehouse.AppSecretHash(a.KEK, p.Connector.AppID, secret)) {
		t.Error("the stored hash is not that of the app_secret")
	}
	if _, _, err := a.AddProvider(t.Context(), newProvider(jwks)); !errors.Is(err, gatehouse.ErrExists) {
		t.Errorf("a second time: %v, want ErrExists", err)
	}
}

// Every provider has one key of 2048 bits for each algorithm, which nobody else
// has and which opens as its own alone.
func TestProviderKeys(t *testing.T) {
	a, jwks := newAdmin(t), newJWKS(t)
	kids := map[string]bool{}
	for _, code := range []string{"demobank", "examplebank"} {
		n := newProvider(jwks)
		n.Code = code
		if _, _, err := a.AddProvider(t.Context(), n); err != nil {
			t.Fatal(err)
		}
		keys, err := a.Keys(t.Context(), code)
		if err != nil {
			t.Fatal(err)
		}
		var algs []string
		for _, k := range keys {
			algs = append(algs, k.Alg)
			kids[k.KID] = true
			key, err := a.KEK.Open(k.Sealed, code, k.KID, k.Alg)
			if err != nil {
				t.Fatal(err)
			}
			if bits := key.Public().Key.N.BitLen(); bits != 2048 || k.KID != jose.Thumbprint(key.Public().Key) || k.KEKID != a.KEK.ID() {
				t.Errorf("%s: %d bits, kid %s, key-encryption key %s", code, bits, k.KID, k.KEKID)
			}
			if _, err := a.KEK.Open(k.Sealed, "otherbank", k.KID, k.Alg); err == nil {
				t.Error("the key opens as another provider's")
			}
		}
		slices.Sort(algs)
		if !slices.Equal(algs, []string{jose.PS256, jose.RS256}) {
			t.Errorf("%s: keys for %v", code, algs)
		}
	}
	if len(kids) != 4 {
		t.Errorf("%d different keys, want 4", len(kids))
	}
	if _, err := a.Keys(t.Context(), "nobank"); !errors.Is(err, gatehouse.ErrNotFound) {
		t.Errorf("keys of no provider: %v, want ErrNotFound", err)
	}
}

// Each row changes one member of a valid provider.
func TestAddProviderFaults(t *testing.T) {
	a, jwks := newAdmin(t), newJWKS(t)
	for _, test := range []struct {
		want   string
		change func(*admin.NewProvider)
	}{
		{"provider_code", func(n *admin.NewProvider) { n.Code = "Demobank" }},
		{"provider_code", func(n *admin.NewProvider) { n.Code = "api" }},
		{"name", func(n *admin.NewProvider) { n.Name = "" }},
		{"status", func(n *admin.NewProvider) { n.Status = "open" }},
		{"profile", func(n *admin.NewProvider) { n.Profile = "fapi" }},
		{"issuer", func(n *admin.NewProvider) { n.Issuer = "https://bank.example?a=b" }},
		{"scopes", func(n *admin.NewProvider) { n.Scopes = []string{"everything"} }},
		{"signing_alg", func(n *admin.NewProvider) { n.SigningAlg = "ES256" }},
		{"login_url", func(n *admin.NewProvider) { n.LoginURL = "" }},
		{"connector_url", func(n *admin.NewProvider) { n.ConnectorURL = "bank" }},
		{"connector jwks", func(n *admin.NewProvider) { n.JWKS = nil }},
		{"connector jwks", func(n *admin.NewProvider) { n.JWKS = json.RawMessage(`{"keys":[]}`) }},
		{"app_secret", func(n *admin.NewProvider) { n.AppSecret = "short" }},
		{"app_secret", func(n *admin.NewProvider) { n.AppSecret = strings.Repeat("a", 256) }},
		{"clock_skew", func(n *admin.NewProvider) { n.Rules.ClockSkew = gatehouse.Duration(time.Hour) }},
	} {
		n := newProvider(jwks)
		test.change(&n)
		_, _, err := a.AddProvider(t.Context(), n)
		if err == nil || !strings.HasPrefix(err.Error(), test.want) {
			t.Errorf("error %v, want one about %s", err, test.want)
		}
	}
	if all, err := a.Providers(t.Context()); err != nil || len(all) != 0 {
		t.Errorf("%d providers were added, %v", len(all), err)
	}
}

func TestProviderStatus(t *testing.T) {
	a := newAdmin(t)
	if _, _, err := a.AddProvider(t.Context(), newProvider(newJWKS(t))); err != nil {
		t.Fatal(err)
	}
	disabled, err := a.DisableProvider(t.Context(), "demobank")
	if err != nil || disabled.Status != gatehouse.Disabled {
		t.Fatalf("disabled: %+v, %v", disabled, err)
	}
	if _, err := a.EnableProvider(t.Context(), "demobank", gatehouse.Disabled); err == nil {
		t.Error("enabled as disabled")
	}
	if _, err := a.EnableProvider(t.Context(), "demobank", "open"); err == nil {
		t.Error("enabled with an unknown status")
	}
	enabled, err := a.EnableProvider(t.Context(), "demobank", gatehouse.Sandbox)
	if err != nil || enabled.Status != gatehouse.Sandbox {
		t.Errorf("enabled: %+v, %v", enabled, err)
	}
	if _, err := a.DisableProvider(t.Context(), "nobank"); !errors.Is(err, gatehouse.ErrNotFound) {
		t.Errorf("no provider: %v, want ErrNotFound", err)
	}
}

// Of concurrent changes none is lost.
func TestConcurrentUpdates(t *testing.T) {
	a := newAdmin(t)
	if _, _, err := a.AddProvider(t.Context(), newProvider(newJWKS(t))); err != nil {
		t.Fatal(err)
	}
	var changes sync.WaitGroup
	for i := range 8 {
		changes.Go(func() {
			_, err := a.UpdateProvider(t.Context(), "demobank", func(p *gatehouse.Provider) { p.Name += fmt.Sprintf(" %d", i) })
			if err != nil {
				t.Error(err)
			}
		})
	}
	changes.Wait()
	p, err := a.Provider(t.Context(), "demobank")
	if err != nil {
		t.Fatal(err)
	}
	for i := range 8 {
		if !strings.Contains(p.Name, fmt.Sprintf(" %d", i)) {
			t.Errorf("change %d is lost: %q", i, p.Name)
		}
	}
}

func newClient() admin.NewClient {
	return admin.NewClient{Name: "Budget App", RedirectURIs: []string{"https://tpp.example/callback"}}
}

// The defaults are those of RFC 7591 §2.
func TestAddClient(t *testing.T) {
	a := newAdmin(t)
	added, secret, err := a.AddClient(t.Context(), newClient())
	if err != nil {
		t.Fatal(err)
	}
	c, err := a.Client(t.Context(), added.ID)
	if err != nil {
		t.Fatal(err)
	}
	if c.TokenEndpointAuthMethod != gatehouse.AuthClientSecretBasic || !slices.Equal(c.GrantTypes, []string{gatehouse.GrantAuthorizationCode}) ||
		!slices.Equal(c.ResponseTypes, []string{"code"}) || c.Status != gatehouse.ClientActive {
		t.Errorf("defaults: %+v", c)
	}
	if !bytes.Equal(c.SecretHash, gatehouse.ClientSecretHash(a.KEK, c.ID, secret)) {
		t.Error("the stored hash is not that of the client_secret")
	}
	if bytes.Equal(c.SecretHash, gatehouse.AppSecretHash(a.KEK, c.ID, secret)) {
		t.Error("a client_secret would pass as an app_secret")
	}
	disabled, err := a.DisableClient(t.Context(), c.ID)
	if err != nil || disabled.Status != gatehouse.ClientDisabled {
		t.Errorf("disabled: %+v, %v", disabled, err)
	}
}

// Each row changes one member of a valid client.
func TestAddClientFaults(t *testing.T) {
	a, jwks := newAdmin(t), newJWKS(t)
	for _, test := range []struct {
		want   string
		change func(*admin.NewClient)
	}{
		{"client_id", func(n *admin.NewClient) { n.ID = strings.Repeat("a", 37) }},
		{"client_name", func(n *admin.NewClient) { n.Name = "" }},
		{`provider "nobank": not found`, func(n *admin.NewClient) { n.Providers = []string{"nobank"} }},
		{"redirect_uris", func(n *admin.NewClient) { n.RedirectURIs = nil }},
		{"redirect_uris", func(n *admin.NewClient) { n.RedirectURIs = []string{"http://tpp.example/callback"} }},
		{"grant_types", func(n *admin.NewClient) { n.GrantTypes = []string{"implicit"} }},
		{"scope", func(n *admin.NewClient) { n.Scopes = gatehouse.Scopes{"everything"} }},
		{"token_endpoint_auth_method", func(n *admin.NewClient) { n.TokenEndpointAuthMethod = "none" }},
		{"jwks", func(n *admin.NewClient) { n.TokenEndpointAuthMethod = gatehouse.AuthPrivateKeyJWT }},
		{"client_secret", func(n *admin.NewClient) { n.Secret = "short" }},
		{"client_secret", func(n *admin.NewClient) {
			n.TokenEndpointAuthMethod, n.JWKS, n.Secret = gatehouse.AuthPrivateKeyJWT, jwks, gatehouse.NewSecret()
		}},
	} {
		n := newClient()
		test.change(&n)
		_, _, err := a.AddClient(t.Context(), n)
		if err == nil || !strings.HasPrefix(err.Error(), test.want) {
			t.Errorf("error %v, want one about %s", err, test.want)
		}
	}
	if all, err := a.Clients(t.Context()); err != nil || len(all) != 0 {
		t.Errorf("%d clients were added, %v", len(all), err)
	}
}

// A listing goes on until its last page.
func TestClients(t *testing.T) {
	a := newAdmin(t)
	const count = 201
	for range count {
		if _, _, err := a.AddClient(t.Context(), newClient()); err != nil {
			t.Fatal(err)
		}
	}
	all, err := a.Clients(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(all) != count || !slices.IsSortedFunc(all, func(x, y *gatehouse.Client) int { return strings.Compare(x.ID, y.ID) }) {
		t.Errorf("%d clients, want %d in order", len(all), count)
	}
}
