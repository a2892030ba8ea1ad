package oidc

// Client metadata: RFC 7591 §2 and §2.3, OpenID Connect Dynamic Client
// Registration §2, UK Open Banking DCR 3.3.

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"

	"gatehouse"
	"gatehouse/jose"
)

const applicationTypeWeb = "web"

// The checks read the metadata, one member each. What a software statement says
// wins over the body; without one that could be read, statementChecks would
// only find that everything is missing.
var (
	metadataChecks = []func(*registration) error{
		takeGrantTypes, takeResponseTypes, takeAuthMethod, takeAssertionAlg, takeRequestObjectAlg, takeIDTokenAlg,
		takeRequireSigned, takeApplicationType,
	}
	statementChecks = []func(*registration) error{takeStatement, takeName, takeRedirectURIs, takeScope, takeKeys}
)

// takeStatement takes what the statement alone decides.
func takeStatement(g *registration) error {
	c := &g.client
	switch {
	case g.statement != nil:
		tpp := g.statement.tpp
		c.SoftwareID, c.SoftwareStatement, c.TPP = g.statement.softwareID, g.statement.text, &tpp
		c.Environment, c.Providers = g.statement.directory.Environment, g.statement.directory.Providers
		if sent, present, err := g.claims.OptionalString("software_id"); err != nil || present && sent != c.SoftwareID {
			return badMetadata("software_id differs from that of the statement")
		}
	case g.provider != nil:
		c.Environment, c.Providers = gatehouse.SandboxEnvironment, []string{g.provider.Code}
	}
	return nil
}

func takeName(g *registration) error {
	name, _, err := g.claims.OptionalString("client_name")
	if err != nil {
		return badMetadata(err.Error())
	}
	if g.statement != nil && g.statement.clientName != "" {
		name = g.statement.clientName
	}
	if name == "" || !printable(name, 255) {
		return badMetadata("client_name must be 1 to 255 bytes without control characters")
	}
	g.client.Name = name
	return nil
}

func takeRedirectURIs(g *registration) error {
	uris, err := textList(g.claims, "redirect_uris")
	if err != nil {
		return gatehouse.NewError(gatehouse.InvalidRedirectURI, err.Error())
	}
	if g.statement != nil {
		if uris == nil {
			uris = g.statement.redirectURIs
		}
		for _, uri := range uris {
			if !slices.Contains(g.statement.redirectURIs, uri) {
				return gatehouse.NewError(gatehouse.InvalidRedirectURI, "redirect_uris has a member that the software statement does not have")
			}
		}
	}
	if len(uris) == 0 {
		return gatehouse.NewError(gatehouse.InvalidRedirectURI, "redirect_uris is missing")
	}
	for _, uri := range uris {
		if err := gatehouse.ValidRedirectURI(uri); err != nil {
			return gatehouse.NewError(gatehouse.InvalidRedirectURI, err.Error())
		}
	}
	g.client.RedirectURIs = uris
	return nil
}

func takeGrantTypes(g *registration) error {
	types, err := textList(g.claims, "grant_types")
	if err != nil {
		return badMetadata(err.Error())
	}
	if types == nil {
		types = []string{gatehouse.GrantAuthorizationCode}
	}
	for _, grant := range types {
		if !slices.Contains(gatehouse.GrantTypes(), grant) {
			return badMetadata("grant_types may only have authorization_code, client_credentials and refresh_token")
		}
	}
	if len(types) == 0 {
		return badMetadata("grant_types is empty")
	}
	slices.Sort(types)
	g.client.GrantTypes = slices.Compact(types)
	return nil
}

// takeResponseTypes keeps response types and grant types together (RFC 7591
// §2.1).
func takeResponseTypes(g *registration) error {
	types, err := textList(g.claims, "response_types")
	if err != nil {
		return badMetadata(err.Error())
	}
	if g.client.GrantTypes == nil {
		return nil // grant_types is at fault
	}
	byCode := slices.Contains(g.client.GrantTypes, gatehouse.GrantAuthorizationCode)
	if types == nil {
		types = []string{}
		if byCode {
			types = []string{responseTypeCode}
		}
	}
	for _, response := range types {
		if response != responseTypeCode {
			return badMetadata("response_types may only have code")
		}
	}
	if len(types) > 0 != byCode {
		return badMetadata("response_types code and grant_types authorization_code belong together")
	}
	g.client.ResponseTypes = slices.Compact(types)
	return nil
}

func takeAuthMethod(g *registration) error {
	method, present, err := g.claims.OptionalString("token_endpoint_auth_method")
	if err != nil {
		return badMetadata(err.Error())
	}
	if !present {
		method = gatehouse.AuthClientSecretBasic
	}
	if !slices.Contains(gatehouse.AuthMethods(), method) {
		return badMetadata("token_endpoint_auth_method must be private_key_jwt or client_secret_basic")
	}
	// A statement is no secret: who only shows one must prove its keys at every
	// use, and gets no secret in their stead.
	if g.statement != nil && g.token == nil && method != gatehouse.AuthPrivateKeyJWT {
		return badMetadata("token_endpoint_auth_method must be private_key_jwt when the request is not signed")
	}
	g.client.TokenEndpointAuthMethod = method
	return nil
}

func takeScope(g *registration) error {
	allowed := gatehouse.Scopes(gatehouse.AllScopes())
	if g.statement != nil {
		allowed = gatehouse.RoleScopes(g.statement.tpp.Roles)
	}
	text, present, err := g.claims.OptionalString("scope")
	if err != nil {
		return badMetadata(err.Error())
	}
	scope := gatehouse.ParseScopes(text)
	switch {
	case !present:
		scope = allowed
	case len(scope) == 0:
		return badMetadata("scope is empty")
	case !scope.Within(allowed):
		return badMetadata("scope is wider than the roles of the software open")
	}
	g.client.Scopes = scope
	return nil
}

// takeKeys takes the software's keys from the statement; the body may only say
// the same. Without a statement they are the body's.
func takeKeys(g *registration) error {
	uri, hasURI, err := g.claims.OptionalString("jwks_uri")
	if err != nil {
		return badMetadata(err.Error())
	}
	jwks, hasJWKS := g.claims["jwks"], g.claims.Has("jwks")
	if hasURI && hasJWKS {
		return badMetadata("jwks and jwks_uri cannot both be given")
	}
	c := &g.client
	if g.statement != nil {
		if hasURI && uri != g.statement.jwksURI {
			return badMetadata("jwks_uri differs from that of the software statement")
		}
		if hasJWKS && !sameJSON(jwks, g.statement.jwks) {
			return badMetadata("jwks differs from that of the software statement")
		}
		c.JWKS, c.JWKSURI = g.statement.jwks, g.statement.jwksURI
		return nil
	}
	switch {
	case hasURI:
		if err := jose.ValidKeysURL(uri); err != nil {
			return badMetadata(err.Error())
		}
		c.JWKSURI = uri
	case hasJWKS:
		set, err := jose.ParseJWKS(jwks)
		if err != nil {
			return badMetadata("jwks: " + err.Error())
		}
		if len(set.Keys) == 0 {
			return badMetadata("jwks has no usable key")
		}
		c.JWKS = json.RawMessage(jwks)
	case c.TokenEndpointAuthMethod == gatehouse.AuthPrivateKeyJWT:
		return badMetadata("jwks_uri and jwks are missing: private_key_jwt needs a key")
	}
	return nil
}

// sameJSON compares two texts without their white space.
func sameJSON(a, b []byte) bool {
	var x, y bytes.Buffer
	return json.Compact(&x, a) == nil && json.Compact(&y, b) == nil && bytes.Equal(x.Bytes(), y.Bytes())
}

func takeAssertionAlg(g *registration) error {
	return takeAlg(g.claims, "token_endpoint_auth_signing_alg", &g.client.TokenEndpointAuthSigningAlg)
}

func takeRequestObjectAlg(g *registration) error {
	return takeAlg(g.claims, "request_object_signing_alg", &g.client.RequestObjectSigningAlg)
}

func takeIDTokenAlg(g *registration) error {
	return takeAlg(g.claims, "id_token_signed_response_alg", &g.client.IDTokenSignedResponseAlg)
}

func takeAlg(claims jose.Claims, name string, field *string) error {
	alg, present, err := claims.OptionalString(name)
	if err != nil {
		return badMetadata(err.Error())
	}
	if present && !slices.Contains(gatehouse.Algs(), alg) {
		return badMetadata(name + " must be RS256 or PS256")
	}
	*field = alg
	return nil
}

func takeRequireSigned(g *registration) error {
	if !g.claims.Has("require_signed_request_object") {
		return nil
	}
	if err := g.claims.Decode("require_signed_request_object", &g.client.RequireSignedRequestObject); err != nil {
		return badMetadata("require_signed_request_object must be true or false")
	}
	return nil
}

func takeApplicationType(g *registration) error {
	kind, present, err := g.claims.OptionalString("application_type")
	if err != nil {
		return badMetadata(err.Error())
	}
	if present && strings.ToLower(kind) != applicationTypeWeb {
		return badMetadata("application_type must be web")
	}
	return nil
}
