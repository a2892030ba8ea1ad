package gatehouse

import (
	"encoding/json"
	"errors"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"gatehouse/jose"
)

// A Provider is one bank (in PSD2 words: an ASPSP) with its own issuer, keys,
// connector and rules.
type Provider struct {
	// Code is the provider_code: the provider's name in every URL.
	Code string `json:"provider_code"`
	Name string `json:"name"`
	// Status says whether the provider serves, and whom.
	Status ProviderStatus `json:"status"`
	// Profile is the security profile; see the table in docs/architecture.md.
	Profile Profile `json:"profile"`
	// Issuer is the issuer identifier; empty means {base_url}/{provider_code}.
	Issuer string `json:"issuer,omitempty"`
	// AuthorizationEndpoint is set when the bank hosts the authorization
	// endpoint itself and mints the code; empty means that Gatehouse does.
	AuthorizationEndpoint string `json:"authorization_endpoint,omitempty"`
	// Scopes are those a token of this provider may have.
	Scopes []string `json:"scopes"`
	// SigningAlg signs ID Tokens of clients that registered no
	// id_token_signed_response_alg.
	SigningAlg string    `json:"signing_alg"`
	Connector  Connector `json:"connector"`
	Rules      Rules     `json:"rules"`
	// Theme is how the PSU's page looks.
	Theme Theme `json:"theme,omitzero"`
	// SubjectSalt keys the pseudonyms (`sub`) of the bank's PSUs, 32 bytes.
	SubjectSalt []byte `json:"-"`
	// Version counts changes; an update of an older version is refused.
	Version   int64     `json:"version"`
	CreatedAt time.Time `json:"created_at"`
	UpdatedAt time.Time `json:"updated_at"`
}

// A Connector is the bank's login-and-consent system as Gatehouse knows it.
type Connector struct {
	// URL is the base of the calls that Gatehouse makes to the bank.
	URL string `json:"connector_url,omitempty"`
	// LoginURL is the bank's page that the PSU's browser is sent to when
	// Gatehouse hosts the authorization endpoint; authorization_id is added
	// to its query.
	LoginURL string `json:"login_url,omitempty"`
	// AppID and the secret whose keyed hash is AppSecretHash authenticate the
	// bank's calls to Gatehouse.
	AppID         string `json:"app_id"`
	AppSecretHash []byte `json:"-"`
	// JWKS holds the bank's public keys (RFC 7517 §5); its calls are signed.
	JWKS json.RawMessage `json:"jwks"`
}

// ProviderStatus says whether a provider serves, and whom.
type ProviderStatus string

// A live provider serves TPPs with production credentials, a sandbox provider
// also those with test ones, a disabled provider nobody.
const (
	Live     ProviderStatus = "live"
	Sandbox  ProviderStatus = "sandbox"
	Disabled ProviderStatus = "disabled"
)

// A Profile is the set of rules on which standards contradict each other.
type Profile string

// ProfilePSD2 keeps the contract of the documented product: error statuses by
// class, all five members in every token response. ProfileOIDC keeps to
// RFC 6749 and OpenID Connect Core.
const (
	ProfilePSD2 Profile = "psd2"
	ProfileOIDC Profile = "oidc"
)

// Rules are a provider's limits; the zero value of each means its default.
type Rules struct {
	// AuthorizationLifetime bounds a PSU's visit, from the authorization
	// request to the bank's verdict. Default 15 minutes.
	AuthorizationLifetime Duration `json:"authorization_lifetime,omitzero"`
	// CodeLifetime is that of a code Gatehouse mints, and of a bank's code
	// that came without auth_code_exp. Default 60 seconds.
	CodeLifetime Duration `json:"code_lifetime,omitzero"`
	// AccessTokenLifetime defaults to 10 minutes.
	AccessTokenLifetime Duration `json:"access_token_lifetime,omitzero"`
	// GrantLifetime ends a grant whose consent names no end of its own, and
	// every refresh token of it; refreshing never extends it. Default 180 days.
	GrantLifetime Duration `json:"grant_lifetime,omitzero"`
	// AuthenticationLifetime is how long a PSU's strong authentication counts.
	// After it a grant opens nothing until the PSU has authorised the consent
	// again. Default 180 days (RTS on SCA, Article 10).
	AuthenticationLifetime Duration `json:"authentication_lifetime,omitzero"`
	// RequireConsent refuses authorization requests for more than openid that
	// name no consent lodged here.
	RequireConsent bool `json:"require_consent,omitempty"`
	// RotateRefreshTokens gives out a new refresh token with every refresh.
	// The old one goes on being good, for the same new one, until that is used
	// or RotationGrace is over; whoever uses it after that ends the grant
	// (RFC 9700 §4.14.2).
	RotateRefreshTokens bool `json:"rotate_refresh_tokens,omitempty"`
	// RotationGrace defaults to 60 seconds.
	RotationGrace Duration `json:"rotation_grace,omitzero"`
	// AssertionMaxLifetime bounds exp of a client assertion, from its iat and
	// from now.
	// Default 10 minutes, at most 60.
	AssertionMaxLifetime Duration `json:"assertion_max_lifetime,omitzero"`
	// ClockSkew is how far ahead iat and nbf may be. Default 10 seconds, at
	// most 60.
	ClockSkew Duration `json:"clock_skew,omitzero"`
	// RequireSignedRequest refuses authorization requests without a signed
	// request object.
	RequireSignedRequest bool `json:"require_signed_request_object,omitempty"`
	// RequirePKCE refuses authorization requests without code_challenge.
	RequirePKCE bool `json:"require_pkce,omitempty"`
	// RequirePS256 takes no signature of a client by RS256 (FAPI 1.0 Advanced
	// §8.6), whatever the client is registered for.
	RequirePS256 bool `json:"require_ps256,omitempty"`
	// OpenRegistration lets anybody register at a sandbox provider, without a
	// software statement.
	OpenRegistration bool `json:"open_registration,omitempty"`
	// LegacyRequestObjects also takes request objects as TPP software of the
	// first generation sends them: exp and nbf may be absent, and the token
	// endpoint may stand in for the issuer in aud.
	LegacyRequestObjects bool `json:"legacy_request_objects,omitempty"`
}

// WithDefaults returns the rules with every default filled in.
func (r Rules) WithDefaults() Rules {
	for _, d := range []struct {
		field    *Duration
		fallback time.Duration
	}{
		{&r.AuthorizationLifetime, 15 * time.Minute},
		{&r.CodeLifetime, 60 * time.Second},
		{&r.AccessTokenLifetime, 10 * time.Minute},
		{&r.GrantLifetime, 180 * 24 * time.Hour},
		{&r.AuthenticationLifetime, 180 * 24 * time.Hour},
		{&r.RotationGrace, 60 * time.Second},
		{&r.AssertionMaxLifetime, 10 * time.Minute},
		{&r.ClockSkew, 10 * time.Second},
	} {
		if *d.field == 0 {
			*d.field = Duration(d.fallback)
		}
	}
	return r
}

// A Duration is written as "10m" in JSON and YAML.
type Duration time.Duration

// String says the duration in words, in the largest unit that fits evenly:
// "180 days", "90 seconds".
func (d Duration) String() string {
	for _, unit := range []struct {
		length time.Duration
		name   string
	}{{24 * time.Hour, "day"}, {time.Hour, "hour"}, {time.Minute, "minute"}, {time.Second, "second"}} {
		if n := time.Duration(d) / unit.length; n > 0 && time.Duration(d)%unit.length == 0 {
			if n == 1 {
				return "1 " + unit.name
			}
			return strconv.FormatInt(int64(n), 10) + " " + unit.name + "s"
		}
	}
	return time.Duration(d).String()
}

// MarshalText writes the form of time.Duration.String.
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// UnmarshalText reads the form of time.ParseDuration.
func (d *Duration) UnmarshalText(text []byte) error {
	v, err := time.ParseDuration(string(text))
	*d = Duration(v)
	return err
}

// Vocabulary of the contract: what a provider may offer.
var (
	allScopes = []string{ScopeOpenID, "accounts", "payments", "fundsconfirmations"}
	allAlgs   = []string{jose.RS256, jose.PS256}
)

// ScopeOpenID asks for an ID Token (OpenID Connect Core §3.1.2.1).
const ScopeOpenID = "openid"

// AllScopes are the scopes that exist: openid and one for each kind of access
// PSD2 knows.
func AllScopes() []string { return slices.Clone(allScopes) }

// Algs are the signature algorithms in use for assertions, request objects
// and ID Tokens.
func Algs() []string { return slices.Clone(allAlgs) }

var providerCode = regexp.MustCompile(`^[a-z0-9_]{1,64}$`)

// reservedCodes are first path segments of the public surface.
var reservedCodes = []string{"api", "docs", "healthz", "oidc", "open_banking", "readyz", "static"}

// ValidProviderCode reports whether code may name a provider: 1 to 64 of
// a-z, 0-9 and _, and no word of the public surface.
func ValidProviderCode(code string) bool {
	return providerCode.MatchString(code) && !slices.Contains(reservedCodes, code)
}

// Validate reports the first fault of the provider, naming the member.
func (p *Provider) Validate() error {
	r := p.Rules.WithDefaults()
	switch {
	case !ValidProviderCode(p.Code):
		return errors.New("provider_code must be 1 to 64 of a-z, 0-9 and _ and not a word of the public surface")
	case p.Name == "":
		return errors.New("name is missing")
	case !slices.Contains([]ProviderStatus{Live, Sandbox, Disabled}, p.Status):
		return errors.New("status must be live, sandbox or disabled")
	case p.Profile != ProfilePSD2 && p.Profile != ProfileOIDC:
		return errors.New("profile must be psd2 or oidc")
	case p.Issuer != "" && !isEndpointURL(p.Issuer):
		return errors.New("issuer must be an absolute http(s) URL without query or fragment")
	case p.AuthorizationEndpoint != "" && !isEndpointURL(p.AuthorizationEndpoint):
		return errors.New("authorization_endpoint must be an absolute http(s) URL without query or fragment")
	case len(p.Scopes) == 0 || !isSubset(p.Scopes, allScopes):
		return errors.New("scopes must be some of openid, accounts, payments, fundsconfirmations")
	case !slices.Contains(allAlgs, p.SigningAlg):
		return errors.New("signing_alg must be RS256 or PS256")
	case p.AuthorizationEndpoint == "" && !isEndpointURL(p.Connector.LoginURL):
		return errors.New("login_url must be an absolute http(s) URL without query or fragment, or authorization_endpoint must be set")
	case p.Connector.URL != "" && !isEndpointURL(p.Connector.URL):
		return errors.New("connector_url must be an absolute http(s) URL without query or fragment")
	case p.Connector.AppID == "" || len(p.Connector.AppSecretHash) == 0:
		return errors.New("app_id and app_secret of the connector are missing")
	case len(p.SubjectSalt) != 32:
		return errors.New("subject salt must be 32 bytes")
	case min(r.AuthorizationLifetime, r.CodeLifetime, r.AccessTokenLifetime, r.GrantLifetime, r.AuthenticationLifetime, r.RotationGrace, r.AssertionMaxLifetime, r.ClockSkew) < 0:
		return errors.New("rules: a duration is negative")
	case r.AssertionMaxLifetime > Duration(time.Hour):
		return errors.New("assertion_max_lifetime is above 60m")
	case r.OpenRegistration && p.Status == Live:
		return errors.New("open_registration is for sandbox providers alone")
	case r.ClockSkew > Duration(time.Minute):
		return errors.New("clock_skew is above 60s")
	}
	if err := p.Theme.Validate(); err != nil {
		return err
	}
	if keys, err := jose.ParseJWKS(p.Connector.JWKS); err != nil {
		return errors.New("connector jwks: " + err.Error())
	} else if len(keys.Keys) == 0 {
		return errors.New("connector jwks has no usable key")
	}
	return nil
}

// HostsAuthorization reports whether Gatehouse hosts the authorization
// endpoint; otherwise the bank does and mints the code.
func (p *Provider) HostsAuthorization() bool { return p.AuthorizationEndpoint == "" }

func isEndpointURL(raw string) bool {
	u, err := url.Parse(raw)
	return err == nil && (u.Scheme == "https" || u.Scheme == "http") && u.Host != "" && u.User == nil &&
		u.RawQuery == "" && !u.ForceQuery && !strings.Contains(raw, "#")
}

func isSubset(some, all []string) bool {
	for _, s := range some {
		if !slices.Contains(all, s) {
			return false
		}
	}
	return true
}
