package oidc

// OpenID Connect Discovery 1.0 §3, RFC 8414 §2, RFC 7517 §5

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"

	"gatehouse"
	"gatehouse/jose"
)

// documentMaxAge is for how many seconds discovery and JWKS may be cached; a
// new key is published at least this long before it signs.
const documentMaxAge = 300

// metadata is the discovery document. The first twelve members are the
// product's contract.
type metadata struct {
	Issuer                                     string   `json:"issuer"`
	AuthorizationEndpoint                      string   `json:"authorization_endpoint"`
	TokenEndpoint                              string   `json:"token_endpoint"`
	RegistrationEndpoint                       string   `json:"registration_endpoint"`
	ServiceDocumentation                       string   `json:"service_documentation"`
	JWKSURI                                    string   `json:"jwks_uri"`
	ScopesSupported                            []string `json:"scopes_supported"`
	ResponseTypesSupported                     []string `json:"response_types_supported"`
	GrantTypesSupported                        []string `json:"grant_types_supported"`
	TokenEndpointAuthMethodsSupported          []string `json:"token_endpoint_auth_methods_supported"`
	TokenEndpointAuthSigningAlgValuesSupported []string `json:"token_endpoint_auth_signing_alg_values_supported"`
	RequestObjectSigningAlgValuesSupported     []string `json:"request_object_signing_alg_values_supported"`

	ResponseModesSupported                     []string `json:"response_modes_supported"`
	SubjectTypesSupported                      []string `json:"subject_types_supported"`
	IDTokenSigningAlgValuesSupported           []string `json:"id_token_signing_alg_values_supported"`
	ACRValuesSupported                         []string `json:"acr_values_supported"`
	ClaimTypesSupported                        []string `json:"claim_types_supported"`
	ClaimsSupported                            []string `json:"claims_supported"`
	ClaimsParameterSupported                   bool     `json:"claims_parameter_supported"`
	RequestParameterSupported                  bool     `json:"request_parameter_supported"`
	RequestURIParameterSupported               bool     `json:"request_uri_parameter_supported"`
	RequireSignedRequestObject                 bool     `json:"require_signed_request_object"`
	CodeChallengeMethodsSupported              []string `json:"code_challenge_methods_supported"`
	AuthorizationResponseIssParameterSupported bool     `json:"authorization_response_iss_parameter_supported"`

	IntrospectionEndpoint                              string   `json:"introspection_endpoint"`
	IntrospectionEndpointAuthMethodsSupported          []string `json:"introspection_endpoint_auth_methods_supported"`
	IntrospectionEndpointAuthSigningAlgValuesSupported []string `json:"introspection_endpoint_auth_signing_alg_values_supported"`
	IntrospectionSigningAlgValuesSupported             []string `json:"introspection_signing_alg_values_supported"` // RFC 9701 §7
	RevocationEndpoint                                 string   `json:"revocation_endpoint"`
	RevocationEndpointAuthMethodsSupported             []string `json:"revocation_endpoint_auth_methods_supported"`
	RevocationEndpointAuthSigningAlgValuesSupported    []string `json:"revocation_endpoint_auth_signing_alg_values_supported"`
	UserinfoEndpoint                                   string   `json:"userinfo_endpoint"`
}

func (s *Server) renderDiscovery(p *provider) document {
	return renderDocument(metadata{
		Issuer:                            p.issuer,
		AuthorizationEndpoint:             p.authorizationEndpoint,
		TokenEndpoint:                     p.tokenEndpoint,
		RegistrationEndpoint:              s.BaseURL + registrationPath,
		ServiceDocumentation:              s.BaseURL + "/docs/open_banking/" + p.Code,
		JWKSURI:                           p.jwksURI,
		ScopesSupported:                   p.Scopes,
		ResponseTypesSupported:            []string{responseTypeCode},
		GrantTypesSupported:               gatehouse.GrantTypes(),
		TokenEndpointAuthMethodsSupported: gatehouse.AuthMethods(),
		TokenEndpointAuthSigningAlgValuesSupported: p.clientAlgs(),
		RequestObjectSigningAlgValuesSupported:     p.clientAlgs(),
		ResponseModesSupported:                     []string{responseModeQuery},
		SubjectTypesSupported:                      []string{"public"},
		IDTokenSigningAlgValuesSupported:           gatehouse.Algs(),
		ACRValuesSupported:                         gatehouse.ACRValues(),
		ClaimTypesSupported:                        []string{"normal"},
		ClaimsSupported:                            []string{"iss", "sub", "aud", "exp", "iat", "jti", "auth_time", "nonce", "acr", "at_hash", claimIntentID},
		ClaimsParameterSupported:                   true,
		RequestParameterSupported:                  true,
		RequestURIParameterSupported:               false,
		RequireSignedRequestObject:                 p.rules.RequireSignedRequest,
		CodeChallengeMethodsSupported:              []string{challengeS256},
		AuthorizationResponseIssParameterSupported: true,

		IntrospectionEndpoint:                              s.introspectionEndpoint(p),
		IntrospectionEndpointAuthMethodsSupported:          gatehouse.AuthMethods(),
		IntrospectionEndpointAuthSigningAlgValuesSupported: p.clientAlgs(),
		IntrospectionSigningAlgValuesSupported:             []string{p.SigningAlg},
		RevocationEndpoint:                                 s.revocationEndpoint(p),
		RevocationEndpointAuthMethodsSupported:             gatehouse.AuthMethods(),
		RevocationEndpointAuthSigningAlgValuesSupported:    p.clientAlgs(),
		UserinfoEndpoint:                                   s.userinfoEndpoint(p),
	})
}

func renderJWKS(p *provider) document {
	var set jose.JWKS
	for _, key := range p.keys {
		set.Keys = append(set.Keys, key.Public())
	}
	return renderDocument(set)
}

func (s *Server) discovery(w http.ResponseWriter, r *http.Request, p *provider) error {
	p.discoveryDocument.serve(w, r)
	return nil
}

func (s *Server) jwks(w http.ResponseWriter, r *http.Request, p *provider) error {
	p.jwksDocument.serve(w, r)
	return nil
}

// A document is a public JSON text, rendered once.
type document struct {
	body []byte
	etag string
}

func renderDocument(value any) document {
	body, err := json.Marshal(value)
	if err != nil {
		panic(err) // every value is ours
	}
	sum := sha256.Sum256(body)
	return document{body, `"` + base64.RawURLEncoding.EncodeToString(sum[:12]) + `"`}
}

// serve answers with the document, or 304 when the caller has it (RFC 9110
// §13.1.2).
func (d document) serve(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "public, max-age="+strconv.Itoa(documentMaxAge))
	w.Header().Set("ETag", d.etag)
	for _, tag := range strings.Split(r.Header.Get("If-None-Match"), ",") {
		if tag = strings.TrimPrefix(strings.TrimSpace(tag), "W/"); tag == d.etag || tag == "*" {
			w.WriteHeader(http.StatusNotModified)
			return
		}
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(d.body)))
	w.Write(d.body)
}
