package gatehouse

import (
	"encoding/json"
	"errors"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"gatehouse/eidas"
	"gatehouse/jose"
)

// A Client is one registered application of a TPP. It belongs to the
// deployment; Providers may limit it to some banks. The JSON names are those
// of RFC 7591 §2.
type Client struct {
	ID   string `json:"client_id"`
	Name string `json:"client_name"`
	// Providers are the provider codes the client may use; empty means all.
	Providers     []string `json:"providers,omitempty"`
	RedirectURIs  []string `json:"redirect_uris"`
	GrantTypes    []string `json:"grant_types"`
	ResponseTypes []string `json:"response_types"`
	// Scopes are all the client may ever have, at any provider.
	Scopes                  Scopes `json:"scope"`
	TokenEndpointAuthMethod string `json:"token_endpoint_auth_method"`
	// The three algorithms below are exact when set; empty means any that the
	// provider allows (for ID Tokens: the provider's default).
	TokenEndpointAuthSigningAlg string `json:"token_endpoint_auth_signing_alg,omitempty"`
	RequestObjectSigningAlg     string `json:"request_object_signing_alg,omitempty"`
	IDTokenSignedResponseAlg    string `json:"id_token_signed_response_alg,omitempty"`
	// RequireSignedRequestObject refuses authorization requests of this
	// client without a signed request object (RFC 9101 §10.5).
	RequireSignedRequestObject bool `json:"require_signed_request_object,omitempty"`
	// JWKS holds the client's public keys by value, JWKSURI is where they are;
	// one of them is empty.
	JWKS    json.RawMessage `json:"jwks,omitempty"`
	JWKSURI string          `json:"jwks_uri,omitempty"`
	// Certificates are those that were added to the client; their keys sign
	// for it, too.
	Certificates []Certificate `json:"certificates,omitempty"`
	// SoftwareID and SoftwareStatement are those of the registration; empty
	// when an operator registered the client.
	SoftwareID        string `json:"software_id,omitempty"`
	SoftwareStatement string `json:"software_statement,omitempty"`
	// TPP is who the client belongs to; nil when nobody vouched for it.
	TPP *TPP `json:"tpp,omitempty"`
	// Environment says which providers the client's credentials open.
	Environment Environment `json:"software_environment,omitempty"`
	// SecretHash is the keyed hash of client_secret, for client_secret_basic.
	SecretHash []byte `json:"-"`
	// RegistrationTokenHash is the hash of the registration access token
	// (RFC 7592 §3); nil when an operator registered the client.
	RegistrationTokenHash []byte       `json:"-"`
	Status                ClientStatus `json:"status"`
	// Version counts changes; an update of an older version is refused.
	Version   int64     `json:"version"`
	CreatedAt time.Time `json:"created_at"`
	UpdatedAt time.Time `json:"updated_at"`
}

// ClientStatus says whether a client may authenticate.
type ClientStatus string

// A disabled client is refused everywhere; its tokens stop being refreshed. A
// deleted one is as good as unknown; its row stays, so that its id is never
// given to another.
const (
	ClientActive   ClientStatus = "active"
	ClientDisabled ClientStatus = "disabled"
	ClientDeleted  ClientStatus = "deleted"
)

// A Certificate is one that a TPP added to its client.
type Certificate struct {
	Name string `json:"name"`
	// Type is qwac, qseal, obwac or obseal.
	Type string `json:"type"`
	PEM  string `json:"pem"`
	// Thumbprint is the x5t#S256 of RFC 7515 §4.1.8.
	Thumbprint string `json:"thumbprint"`
	// Roles are those that the certificate gives.
	Roles     []eidas.Role `json:"roles"`
	ExpiresAt time.Time    `json:"expires_at"`
	// Environment is that of the trust anchor.
	Environment Environment `json:"environment"`
}

// Grant types (RFC 6749 §4).
const (
	GrantAuthorizationCode = "authorization_code"
	GrantClientCredentials = "client_credentials"
	GrantRefreshToken      = "refresh_token"
)

// Client authentication methods (OpenID Connect Core §9).
const (
	AuthPrivateKeyJWT     = "private_key_jwt"
	AuthClientSecretBasic = "client_secret_basic"
)

// GrantTypes are those the token endpoint serves.
func GrantTypes() []string {
	return []string{GrantAuthorizationCode, GrantClientCredentials, GrantRefreshToken}
}

// AuthMethods are those that clients authenticate by.
func AuthMethods() []string { return []string{AuthPrivateKeyJWT, AuthClientSecretBasic} }

// MayUse reports whether the client is allowed at the provider.
func (c *Client) MayUse(p *Provider) bool {
	return c.Environment.Opens(p) && (len(c.Providers) == 0 || slices.Contains(c.Providers, p.Code))
}

// ScopesAt returns all that the client may have at the provider, in the
// provider's order. Certificates that open the provider narrow it: a TPP that
// shows what its authority lets it do gets no more than that, and no more of
// what a certificate gave that has ended.
func (c *Client) ScopesAt(p *Provider, now time.Time) Scopes {
	scopes := Scopes(p.Scopes).Intersect(c.Scopes)
	var held []eidas.Role
	narrowed := false
	for _, certificate := range c.Certificates {
		if !certificate.Environment.Opens(p) {
			continue
		}
		narrowed = true
		if now.Before(certificate.ExpiresAt) {
			held = append(held, certificate.Roles...)
		}
	}
	if !narrowed {
		return scopes
	}
	return scopes.Intersect(RoleScopes(held))
}

// Validate reports the first fault of the client, naming the member.
func (c *Client) Validate() error {
	switch {
	case c.ID == "" || len(c.ID) > 36:
		return errors.New("client_id must be 1 to 36 characters")
	case c.Name == "":
		return errors.New("client_name is missing")
	case len(c.GrantTypes) == 0 || !isSubset(c.GrantTypes, GrantTypes()):
		return errors.New("grant_types must be some of authorization_code, client_credentials, refresh_token")
	case !isSubset(c.ResponseTypes, []string{"code"}):
		return errors.New("response_types may only be code")
	case slices.Contains(c.GrantTypes, GrantAuthorizationCode) && len(c.RedirectURIs) == 0:
		return errors.New("redirect_uris is missing")
	case len(c.RedirectURIs) > 100:
		return errors.New("redirect_uris has more than 100 members")
	case len(c.Scopes) == 0 || !isSubset(c.Scopes, allScopes):
		return errors.New("scope must be some of openid, accounts, payments, fundsconfirmations")
	case c.Status != ClientActive && c.Status != ClientDisabled:
		return errors.New("status must be active or disabled")
	case len(c.JWKS) > 0 && c.JWKSURI != "":
		return errors.New("jwks and jwks_uri cannot both be set")
	}
	for _, alg := range []string{c.TokenEndpointAuthSigningAlg, c.RequestObjectSigningAlg, c.IDTokenSignedResponseAlg} {
		if alg != "" && !slices.Contains(allAlgs, alg) {
			return errors.New("signing algorithms may only be RS256 or PS256")
		}
	}
	for _, uri := range c.RedirectURIs {
		if err := ValidRedirectURI(uri); err != nil {
			return err
		}
	}
	if len(c.JWKS) > 0 {
		if _, err := jose.ParseJWKS(c.JWKS); err != nil {
			return errors.New("jwks: " + err.Error())
		}
	}
	if c.JWKSURI != "" {
		if err := jose.ValidKeysURL(c.JWKSURI); err != nil {
			return err
		}
	}
	switch c.TokenEndpointAuthMethod {
	case AuthPrivateKeyJWT:
		if len(c.JWKS) == 0 && c.JWKSURI == "" && len(c.Certificates) == 0 {
			return errors.New("jwks is missing: private_key_jwt needs a key")
		}
	case AuthClientSecretBasic:
		if len(c.SecretHash) == 0 {
			return errors.New("client_secret is missing: client_secret_basic needs one")
		}
	default:
		return errors.New("token_endpoint_auth_method must be private_key_jwt or client_secret_basic")
	}
	return nil
}

// ValidRedirectURI says why a redirect_uri cannot be registered: it must be an
// absolute https URI without user information, wildcard or fragment, of at
// most 2,048 characters (RFC 6749 §3.1.2, RFC 9700 §2.1), at a public host,
// and without a parameter that is ours to send. Loopback addresses are
// accepted, also by plain http: the redirection of RFC 8252 §7.3.
func ValidRedirectURI(raw string) error {
	u, err := url.Parse(raw)
	switch {
	case raw == "":
		return errors.New("redirect_uris has an empty member")
	case len(raw) > 2048:
		return errors.New("redirect_uris has a member of more than 2,048 characters")
	case err != nil || u.Hostname() == "" || u.Opaque != "" || !isURIText(raw):
		return errors.New("redirect_uris has a member that is not an absolute URI")
	case strings.Contains(raw, "#"):
		return errors.New("redirect_uris has a member with a fragment")
	case u.User != nil:
		return errors.New("redirect_uris has a member with user information")
	case strings.Contains(raw, "*"):
		return errors.New("redirect_uris has a member with a wildcard")
	}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return errors.New("redirect_uris has a member whose query is not form-encoded")
	}
	for name := range query {
		if slices.Contains(responseParameters, name) { // it would be there twice
			return errors.New("redirect_uris has a member with a parameter of the authorization response")
		}
	}
	host := strings.TrimSuffix(strings.ToLower(u.Hostname()), ".")
	address, notAddress := netip.ParseAddr(host)
	switch {
	case (u.Scheme == "http" || u.Scheme == "https") && notAddress == nil && address.IsLoopback() && address.Zone() == "":
		return nil
	case u.Scheme != "https":
		return errors.New("redirect_uris has a member that is not https")
	case host == "localhost" || strings.HasSuffix(host, ".localhost"):
		return errors.New("redirect_uris has a member at localhost")
	case notAddress == nil && !address.IsGlobalUnicast(), notAddress == nil && address.IsPrivate():
		return errors.New("redirect_uris has a member at a private address")
	// Browsers read more as addresses than we do: 10.1, 0xa000001, and letters
	// outside ASCII that turn into digits and dots (WHATWG URL §3.5).
	case !jose.PublicHost(u.Hostname()):
		return errors.New("redirect_uris has a member that does not name a public host")
	}
	return nil
}

// responseParameters may be in no redirect_uri (RFC 6749 §3.1 and §4.1.2,
// RFC 9207 §2).
var responseParameters = []string{"code", "state", "iss", "error", "error_description", "error_uri"}

// isURIText reports whether s has only characters of RFC 3986 §2.
func isURIText(s string) bool {
	for _, c := range []byte(s) {
		if c <= ' ' || c >= 0x7f || strings.IndexByte("\"<>\\^`{|}", c) >= 0 {
			return false
		}
	}
	return true
}
