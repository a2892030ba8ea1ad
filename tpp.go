package gatehouse

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"

	"gatehouse/eidas"
	"gatehouse/jose"
)

// A TPP is a regulated third party: who it is, and what its competent
// authority lets it do, as a software statement or a certificate says.
type TPP struct {
	// Directory is the issuer of the statement that vouches for the TPP: what
	// another directory calls by the same URN may be anybody.
	Directory string `json:"directory"`
	// URN is its organisation identifier, such as PSDNL-DNB-034681 or the
	// org_id of a directory.
	URN  string `json:"tpp_global_urn"`
	Name string `json:"name,omitempty"`
	// Roles are those of PSD2.
	Roles []eidas.Role `json:"roles"`
}

// roles lists each role of PSD2 with the name that directories of UK Open
// Banking give it and the scope that it opens.
var roles = []struct {
	role     eidas.Role
	software string
	scope    string
}{
	{eidas.AccountInformation, "AISP", "accounts"},
	{eidas.PaymentInitiation, "PISP", "payments"},
	{eidas.CardIssuing, "CBPII", "fundsconfirmations"},
	{eidas.AccountServicing, "ASPSP", ""},
}

// ParseRole reads a role by its PSD2 name or by that of UK Open Banking.
func ParseRole(text string) (eidas.Role, bool) {
	for _, r := range roles {
		if text == string(r.role) || text == r.software {
			return r.role, true
		}
	}
	return "", false
}

// RoleScopes are all the scopes that the roles open: openid, and one for each.
func RoleScopes(held []eidas.Role) Scopes {
	scopes := Scopes{ScopeOpenID}
	for _, r := range roles {
		if r.scope != "" && slices.Contains(held, r.role) {
			scopes = append(scopes, r.scope)
		}
	}
	return scopes
}

// An Environment says which providers credentials open.
type Environment string

// Production credentials open every provider, sandbox credentials sandbox
// providers only. The empty environment is production.
const (
	Production         Environment = "production"
	SandboxEnvironment Environment = "sandbox"
)

// Opens reports whether credentials of the environment open the provider.
func (e Environment) Opens(p *Provider) bool {
	return e != SandboxEnvironment || p.Status == Sandbox
}

// A Directory issues software statements that the deployment trusts
// (RFC 7591 §2.3).
type Directory struct {
	// Issuer is the iss of its statements.
	Issuer string
	// JWKS holds its keys by value; without it they are read from JWKSURI.
	JWKS    json.RawMessage
	JWKSURI string
	// Environment is that of the clients it vouches for.
	Environment Environment
	// Providers are the provider codes its clients may use; empty means all.
	Providers []string
	// RolesClaim names the claim with the software's roles; empty means
	// software_roles.
	RolesClaim string
	// KeyHosts are the hosts that a jwks_uri may be at; empty means any.
	KeyHosts []string
	// StatementMaxAge bounds the age of a statement, by its iat; zero means 24
	// hours.
	StatementMaxAge Duration
}

// Validate reports the first fault of the directory, naming the member.
func (d *Directory) Validate() error {
	switch {
	case d.Issuer == "":
		return errors.New("issuer is missing")
	case d.Environment != Production && d.Environment != SandboxEnvironment:
		return errors.New("environment must be production or sandbox")
	case (len(d.JWKS) == 0) == (d.JWKSURI == ""):
		return errors.New("either jwks or jwks_uri must be set")
	case d.StatementMaxAge < 0:
		return errors.New("statement_max_age is negative")
	}
	if d.JWKSURI != "" {
		return jose.ValidKeysURL(d.JWKSURI)
	}
	if set, err := jose.ParseJWKS(d.JWKS); err != nil {
		return errors.New("jwks: " + err.Error())
	} else if len(set.Keys) == 0 {
		return errors.New("jwks has no usable key")
	}
	return nil
}

// MayPublishKeysAt reports whether a jwks_uri may be at the host, as in
// url.URL.Hostname.
func (d *Directory) MayPublishKeysAt(host string) bool {
	return len(d.KeyHosts) == 0 || slices.ContainsFunc(d.KeyHosts, func(allowed string) bool {
		return strings.EqualFold(allowed, host)
	})
}
