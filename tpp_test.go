package gatehouse_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"gatehouse"
	"gatehouse/eidas"
	"gatehouse/jose"
)

func TestParseRole(t *testing.T) {
	for text, want := range map[string]eidas.Role{
		"PSP_AI": eidas.AccountInformation, "AISP": eidas.AccountInformation,
		"PSP_PI": eidas.PaymentInitiation, "PISP": eidas.PaymentInitiation,
		"PSP_IC": eidas.CardIssuing, "CBPII": eidas.CardIssuing,
		"PSP_AS": eidas.AccountServicing, "ASPSP": eidas.AccountServicing,
		"": "", "aisp": "", "AISP ": "", "PSP_XX": "", "accounts": "",
	} {
		role, known := gatehouse.ParseRole(text)
		if role != want || known != (want != "") {
			t.Errorf("%q: %q, %t", text, role, known)
		}
	}
}

func TestRoleScopes(t *testing.T) {
	for name, row := range map[string]struct {
		roles []eidas.Role
		want  string
	}{
		"none":       {nil, "openid"},
		"AI":         {[]eidas.Role{eidas.AccountInformation}, "openid accounts"},
		"PI":         {[]eidas.Role{eidas.PaymentInitiation}, "openid payments"},
		"IC":         {[]eidas.Role{eidas.CardIssuing}, "openid fundsconfirmations"},
		"a bank":     {[]eidas.Role{eidas.AccountServicing}, "openid"},
		"all, twice": {[]eidas.Role{eidas.CardIssuing, eidas.PaymentInitiation, eidas.AccountInformation, eidas.CardIssuing}, "openid accounts payments fundsconfirmations"},
		"unknown":    {[]eidas.Role{"KING", ""}, "openid"},
	} {
		if got := gatehouse.RoleScopes(row.roles).String(); got != row.want {
			t.Errorf("%s: %q, want %q", name, got, row.want)
		}
	}
}

func TestEnvironmentOpens(t *testing.T) {
	for environment, opened := range map[gatehouse.Environment]map[gatehouse.ProviderStatus]bool{
		gatehouse.SandboxEnvironment: {gatehouse.Sandbox: true, gatehouse.Live: false},
		gatehouse.Production:         {gatehouse.Sandbox: true, gatehouse.Live: true},
		"":                           {gatehouse.Sandbox: true, gatehouse.Live: true},
	} {
		for status, want := range opened {
			for _, listed := range []bool{true, false} {
				p := &gatehouse.Provider{Code: "alpha", Status: status}
				c := &gatehouse.Client{Environment: environment, Providers: map[bool][]string{true: {"beta", "alpha"}, false: {"beta"}}[listed]}
				if environment.Opens(p) != want || c.MayUse(p) != (want && listed) {
					t.Errorf("%q at a %s provider, listed %t: %t, %t", environment, status, listed, environment.Opens(p), c.MayUse(p))
				}
			}
		}
	}
}

func TestScopesAt(t *testing.T) {
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	certificate := func(roles ...eidas.Role) gatehouse.Certificate {
		return gatehouse.Certificate{Roles: roles, ExpiresAt: now.Add(time.Second), Environment: gatehouse.Production}
	}
	test := certificate(eidas.PaymentInitiation)
	test.Environment = gatehouse.SandboxEnvironment
	ended := certificate(eidas.PaymentInitiation)
	ended.ExpiresAt = now
	for name, row := range map[string]struct {
		provider, client string
		certificates     []gatehouse.Certificate
		want             string
	}{
		"all":                         {"openid accounts payments fundsconfirmations", "payments openid accounts", nil, "openid accounts payments"},
		"less at the provider":        {"openid accounts", "openid accounts payments", nil, "openid accounts"},
		"nothing in common":           {"accounts", "payments", nil, ""},
		"a certificate":               {"openid accounts payments", "openid accounts payments", []gatehouse.Certificate{certificate(eidas.AccountInformation)}, "openid accounts"},
		"one without roles":           {"openid accounts", "openid accounts", []gatehouse.Certificate{certificate()}, "openid"},
		"two":                         {"openid accounts payments", "openid accounts payments", []gatehouse.Certificate{certificate(eidas.AccountInformation), certificate(eidas.PaymentInitiation)}, "openid accounts payments"},
		"one with more than is asked": {"openid accounts payments", "openid accounts", []gatehouse.Certificate{certificate(eidas.AccountInformation, eidas.PaymentInitiation)}, "openid accounts"},
		"a test certificate":          {"openid accounts payments", "openid accounts payments", []gatehouse.Certificate{test}, "openid accounts payments"},
		"a test certificate beside":   {"openid accounts payments", "openid accounts payments", []gatehouse.Certificate{certificate(eidas.AccountInformation), test}, "openid accounts"},
		"one that has ended":          {"openid accounts payments", "openid accounts payments", []gatehouse.Certificate{ended}, "openid"},
		"one that has ended beside":   {"openid accounts payments", "openid accounts payments", []gatehouse.Certificate{ended, certificate(eidas.AccountInformation)}, "openid accounts"},
		"one of another role":         {"accounts", "accounts", []gatehouse.Certificate{certificate(eidas.PaymentInitiation)}, ""},
	} {
		p := &gatehouse.Provider{Scopes: gatehouse.ParseScopes(row.provider), Status: gatehouse.Live}
		c := &gatehouse.Client{Scopes: gatehouse.ParseScopes(row.client), Certificates: row.certificates}
		if got := c.ScopesAt(p, now).String(); got != row.want {
			t.Errorf("%s: %q, want %q", name, got, row.want)
		}
		if c.Scopes.String() != row.client || gatehouse.Scopes(p.Scopes).String() != row.provider {
			t.Errorf("%s: the client or the provider was changed", name)
		}
	}
}

func TestDirectoryValidate(t *testing.T) {
	k, err := jose.GenerateKey(jose.PS256, 2048)
	if err != nil {
		t.Fatal(err)
	}
	keys, err := json.Marshal(jose.JWKS{Keys: []*jose.PublicKey{k.Public()}})
	if err != nil {
		t.Fatal(err)
	}
	for name, row := range map[string]struct {
		change func(*gatehouse.Directory)
		want   string
	}{
		"good":             {func(*gatehouse.Directory) {}, ""},
		"sandbox":          {func(d *gatehouse.Directory) { d.Environment = gatehouse.SandboxEnvironment }, ""},
		"by URL":           {func(d *gatehouse.Directory) { d.JWKS, d.JWKSURI = nil, "https://directory.example/jwks" }, ""},
		"an age":           {func(d *gatehouse.Directory) { d.StatementMaxAge = gatehouse.Duration(time.Hour) }, ""},
		"no issuer":        {func(d *gatehouse.Directory) { d.Issuer = "" }, "issuer is missing"},
		"no environment":   {func(d *gatehouse.Directory) { d.Environment = "" }, "environment must be production or sandbox"},
		"another":          {func(d *gatehouse.Directory) { d.Environment = "test" }, "environment must be production or sandbox"},
		"no keys":          {func(d *gatehouse.Directory) { d.JWKS = nil }, "either jwks or jwks_uri must be set"},
		"both":             {func(d *gatehouse.Directory) { d.JWKSURI = "https://directory.example/jwks" }, "either jwks or jwks_uri must be set"},
		"a negative age":   {func(d *gatehouse.Directory) { d.StatementMaxAge = -1 }, "statement_max_age is negative"},
		"keys not a set":   {func(d *gatehouse.Directory) { d.JWKS = json.RawMessage(`[]`) }, "jwks: "},
		"an empty set":     {func(d *gatehouse.Directory) { d.JWKS = json.RawMessage(`{"keys":[]}`) }, "jwks has no usable key"},
		"http":             {func(d *gatehouse.Directory) { d.JWKS, d.JWKSURI = nil, "http://directory.example/jwks" }, "jwks_uri "},
		"a private number": {func(d *gatehouse.Directory) { d.JWKS, d.JWKSURI = nil, "https://127.0.0.1/jwks" }, "jwks_uri "},
	} {
		d := &gatehouse.Directory{Issuer: "https://directory.example", JWKS: keys, Environment: gatehouse.Production}
		row.change(d)
		got := ""
		if err := d.Validate(); err != nil {
			got = err.Error()
		}
		if (row.want == "") != (got == "") || !strings.HasPrefix(got, row.want) {
			t.Errorf("%s: %q, want %q", name, got, row.want)
		}
	}
}

func TestMayPublishKeysAt(t *testing.T) {
	some := &gatehouse.Directory{KeyHosts: []string{"keystore.example", "Keys.example"}}
	got := map[string]bool{}
	for _, host := range []string{"keystore.example", "KEYSTORE.example", "keys.example", "a.keystore.example", "keystore.example.evil", "example", "", "keystore.example."} {
		if !(&gatehouse.Directory{}).MayPublishKeysAt(host) {
			t.Errorf("%q: refused without a list", host)
		}
		got[host] = some.MayPublishKeysAt(host)
	}
	want := map[string]bool{
		"keystore.example": true, "KEYSTORE.example": true, "keys.example": true, "a.keystore.example": false,
		"keystore.example.evil": false, "example": false, "": false, "keystore.example.": false,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// A live provider has no open registration.
//
// Proves: D17
func TestOpenRegistrationIsForSandboxes(t *testing.T) {
	k, err := jose.GenerateKey(jose.RS256, 2048)
	if err != nil {
		t.Fatal(err)
	}
	keys, err := json.Marshal(jose.JWKS{Keys: []*jose.PublicKey{k.Public()}})
	if err != nil {
		t.Fatal(err)
	}
	for status, want := range map[gatehouse.ProviderStatus]string{gatehouse.Live: "open_registration is for sandbox providers alone", gatehouse.Sandbox: ""} {
		p := gatehouse.Provider{
			Code: "alpha", Name: "Bank", Status: status, Profile: gatehouse.ProfilePSD2, AuthorizationEndpoint: "https://bank.example/authorize",
			Scopes: []string{"openid"}, SigningAlg: jose.PS256, SubjectSalt: make([]byte, 32),
			Connector: gatehouse.Connector{AppID: "app", AppSecretHash: []byte{1}, JWKS: keys}, Rules: gatehouse.Rules{OpenRegistration: true},
		}
		got := ""
		if err := p.Validate(); err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%s: %q, want %q", status, got, want)
		}
		if p.Rules.OpenRegistration = false; p.Validate() != nil {
			t.Errorf("%s without it: %v", status, p.Validate())
		}
	}
}
