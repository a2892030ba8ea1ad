package oidc

// Request objects: RFC 9101, OpenID Connect Core §6.1; exp and nbf as FAPI 1.0
// Advanced §5.2.2 (13, 17) has them.

import (
	"context"
	"slices"
	"strconv"
	"time"

	"gatehouse"
	"gatehouse/jose"
)

// requestObjectMaxLifetime bounds exp - nbf, and the age of nbf.
const requestObjectMaxLifetime = time.Hour

func badRequestObject(description string) *gatehouse.Error {
	return gatehouse.NewError(gatehouse.InvalidRequestObject, description)
}

// openRequestObject verifies a request object of the client and returns its
// parameters. They alone count (RFC 9101 §6.3).
func (s *Server) openRequestObject(ctx context.Context, p *provider, c *client, outer params) (params, error) {
	token, err := jose.Parse(outer["request"], maxRequestObject)
	if err != nil {
		return nil, badRequestObject("request: " + err.Error())
	}
	if !slices.Contains([]string{"", "jwt", "oauth-authz-req+jwt"}, token.MediaType()) {
		return nil, badRequestObject("request is of another typ")
	}
	keys, err := s.keysOf(ctx, c, p, token.KID)
	if err != nil {
		return nil, badRequestObject("request: " + err.Error())
	}
	wrong, err := s.verify(ctx, p.Code, token, keys, p.algsFor(c.RequestObjectSigningAlg)...)
	if err != nil {
		return nil, err
	}
	if wrong != nil {
		return nil, badRequestObject("request: " + wrong.Error())
	}
	claims := token.Claims
	for _, name := range []string{"iss", "client_id"} {
		value, err := claims.String(name)
		if err != nil {
			return nil, badRequestObject("request: " + err.Error())
		}
		if value != c.ID {
			return nil, badRequestObject("request: " + name + " must be the client_id of the query")
		}
	}
	aud, _, err := claims.Audience()
	if err != nil {
		return nil, badRequestObject("request: " + err.Error())
	}
	if !slices.Contains(aud, p.issuer) && !(p.rules.LegacyRequestObjects && slices.Contains(aud, p.tokenEndpoint)) {
		return nil, badRequestObject("request: aud must be the issuer")
	}
	if err := checkRequestTimes(claims, p.rules, s.Now()); err != nil {
		return nil, err
	}
	in, err := claimsToParams(claims)
	if err != nil {
		return nil, err
	}
	// RFC 9101 §4: an object cannot hold another; OpenID Connect Core §6.1:
	// response_type stands outside, too, and must be the same.
	if claims.Has("request") || claims.Has("request_uri") {
		return nil, badRequestObject("request: request and request_uri cannot be inside")
	}
	if sent, ok := outer["response_type"]; ok && sent != in["response_type"] {
		return nil, badRequestObject("request: response_type differs from that of the query")
	}
	return in, nil
}

// maxRequestObject leaves room for the 64 KiB that claims may have.
const maxRequestObject = 96 << 10

// checkRequestTimes: exp and nbf are required, at most an hour apart, and nbf
// at most an hour ago. Where the provider takes legacy request objects they
// may be absent.
func checkRequestTimes(claims jose.Claims, rules gatehouse.Rules, now time.Time) error {
	skew := time.Duration(rules.ClockSkew)
	times := map[string]time.Time{}
	for _, name := range []string{"exp", "nbf", "iat"} {
		t, present, err := claims.Time(name)
		switch {
		case err != nil:
			return badRequestObject("request: " + err.Error())
		case present:
			times[name] = t
		case name != "iat" && !rules.LegacyRequestObjects:
			return badRequestObject("request: " + name + " is missing")
		}
		if present && name != "exp" && t.After(now.Add(skew)) {
			return badRequestObject("request: " + name + " is in the future")
		}
		if present && name != "exp" && t.Before(now.Add(-requestObjectMaxLifetime)) {
			return badRequestObject("request: " + name + " is too long ago")
		}
	}
	exp, hasExp := times["exp"]
	if !hasExp {
		return nil
	}
	begin, hasBegin := times["nbf"]
	if !hasBegin {
		begin = now
	}
	switch {
	case !now.Before(exp):
		return badRequestObject("request: exp is in the past")
	case !exp.After(begin):
		return badRequestObject("request: exp is not after nbf")
	case exp.Sub(begin) > requestObjectMaxLifetime:
		return badRequestObject("request: exp is more than 60 minutes after nbf")
	}
	return nil
}

// claimsToParams turns the claims of a request object into parameters: strings
// as they are, max_age from a number, claims as JSON (OpenID Connect Core §6.1).
func claimsToParams(claims jose.Claims) (params, error) {
	in := params{}
	for _, name := range authorizeParams {
		if !claims.Has(name) {
			continue
		}
		switch name {
		case "max_age":
			var age int64
			if err := claims.Decode(name, &age); err == nil {
				in[name] = strconv.FormatInt(age, 10)
				continue
			}
		case "claims":
			if claims[name].Kind() == '{' {
				in[name] = string(claims[name])
				continue
			}
		}
		value, _, err := claims.OptionalString(name)
		if err != nil {
			return nil, badRequestObject("request: " + err.Error())
		}
		if value != "" {
			in[name] = value
		}
	}
	return in, nil
}

// authorizeParams are the parameters that an authorization request may have.
var authorizeParams = []string{
	"client_id", "response_type", "response_mode", "redirect_uri", "scope", "state", "nonce",
	"code_challenge", "code_challenge_method", "prompt", "max_age", "claims", "acr_values",
}
