package oidc

// Software statements: RFC 7591 §2.3, and their claims as directories of UK
// Open Banking write them.

import (
	"context"
	"errors"
	"net/url"
	"slices"
	"time"

	"gatehouse"
	"gatehouse/eidas"
	"gatehouse/jose"
)

// A softwareStatement is one that a trusted directory signed.
type softwareStatement struct {
	directory    *gatehouse.Directory
	text         string
	softwareID   string
	tpp          gatehouse.TPP
	clientName   string
	redirectURIs []string
	jwks         []byte // the software's keys by value; nil when they are at jwksURI
	jwksURI      string
}

const (
	maxStatement    = 64 << 10
	statementMaxAge = 24 * time.Hour
)

func badStatement(description string) error {
	return gatehouse.NewError(gatehouse.InvalidSoftwareStatement, "software_statement: "+description)
}

// openStatement verifies a software statement and reads it.
func (s *Server) openStatement(ctx context.Context, text string) (*softwareStatement, error) {
	token, err := jose.Parse(text, maxStatement)
	if err != nil {
		return nil, badStatement(err.Error())
	}
	if typ := token.MediaType(); typ != "" && typ != "jwt" {
		return nil, badStatement("is of another typ")
	}
	iss, err := token.Claims.String("iss")
	if err != nil {
		return nil, badStatement(err.Error())
	}
	i := slices.IndexFunc(s.Directories, func(d gatehouse.Directory) bool { return d.Issuer == iss })
	if i < 0 {
		return nil, gatehouse.NewError(gatehouse.UnapprovedSoftwareStatement, "software_statement: iss is not a directory that is trusted here")
	}
	directory := &s.Directories[i]
	keys, err := s.directoryKeys(ctx, directory, token.KID)
	if err != nil {
		return nil, unavailable(err)
	}
	wrong, err := s.verify(ctx, "", token, keys, gatehouse.Algs()...)
	if err != nil {
		return nil, err
	}
	if wrong != nil {
		return nil, badStatement(wrong.Error())
	}
	if err := checkStatementTimes(token.Claims, directory, s.Now()); err != nil {
		return nil, err
	}
	statement := &softwareStatement{directory: directory, text: text, tpp: gatehouse.TPP{Directory: directory.Issuer}}
	if err := statement.read(token.Claims); err != nil {
		return nil, err
	}
	return statement, nil
}

// isOf reports whether a client was registered for the same software of the
// same organisation, by the word of the same directory.
func (s *softwareStatement) isOf(c *gatehouse.Client) bool {
	return c.TPP != nil && c.TPP.Directory == s.tpp.Directory && c.TPP.URN == s.tpp.URN && c.SoftwareID == s.softwareID
}

// directoryKeys returns the keys of a directory. Those given by value are kept,
// for everybody can have statements checked.
func (s *Server) directoryKeys(ctx context.Context, d *gatehouse.Directory, kid string) ([]*jose.PublicKey, error) {
	if d.JWKSURI != "" {
		return s.keysAt(ctx, nil, d.JWKSURI, kid)
	}
	return s.directories.get(ctx, d.Issuer, s.Now(), func(ctx context.Context) ([]*jose.PublicKey, error) {
		return s.keysAt(ctx, d.JWKS, "", kid)
	})
}

// keysAt returns keys given by value or by URL.
func (s *Server) keysAt(ctx context.Context, jwks []byte, jwksURI, kid string) ([]*jose.PublicKey, error) {
	if jwksURI != "" {
		if s.Fetcher == nil {
			return nil, errors.New("there is no fetcher for jwks_uri")
		}
		return s.Fetcher.KeysFor(ctx, jwksURI, kid)
	}
	if len(jwks) == 0 {
		return nil, nil
	}
	set, err := jose.ParseJWKS(jwks)
	if err != nil {
		return nil, err
	}
	return set.Keys, nil
}

func checkStatementTimes(claims jose.Claims, directory *gatehouse.Directory, now time.Time) error {
	oldest := time.Duration(directory.StatementMaxAge)
	if oldest == 0 {
		oldest = statementMaxAge
	}
	iat, present, err := claims.Time("iat")
	switch {
	case err != nil:
		return badStatement(err.Error())
	case !present:
		return badStatement("iat is missing")
	case iat.After(now.Add(time.Minute)):
		return badStatement("iat is in the future")
	case iat.Before(now.Add(-oldest)):
		return badStatement("iat is too long ago")
	}
	exp, present, err := claims.Time("exp")
	switch {
	case err != nil:
		return badStatement(err.Error())
	case present && !now.Before(exp):
		return badStatement("exp is in the past")
	}
	nbf, _, err := claims.Time("nbf")
	switch {
	case err != nil:
		return badStatement(err.Error())
	case nbf.After(now.Add(time.Minute)):
		return badStatement("nbf is in the future")
	}
	return nil
}

// read takes what registration needs from the claims.
func (s *softwareStatement) read(claims jose.Claims) (err error) {
	for _, text := range []struct {
		claim    string
		required bool
		value    *string
	}{
		{"software_id", true, &s.softwareID},
		{"org_id", true, &s.tpp.URN},
		{"org_name", false, &s.tpp.Name},
		{"software_client_name", false, &s.clientName},
	} {
		value, present, err := claims.OptionalString(text.claim)
		switch {
		case err != nil:
			return badStatement(err.Error())
		case text.required && (!present || value == ""):
			return badStatement(text.claim + " is missing")
		case !printable(value, 255):
			return badStatement(text.claim + " must be at most 255 bytes without control characters")
		}
		*text.value = value
	}
	environment, present, err := claims.OptionalString("software_environment")
	if err != nil {
		return badStatement(err.Error())
	}
	if present && gatehouse.Environment(environment) != s.directory.Environment {
		return badStatement("software_environment is not that of the directory")
	}
	if s.redirectURIs, err = textList(claims, "software_redirect_uris"); err != nil {
		return badStatement(err.Error())
	}
	if s.tpp.Roles, err = rolesOf(claims, s.directory.RolesClaim); err != nil {
		return err
	}
	return s.readKeys(claims)
}

func rolesOf(claims jose.Claims, claim string) ([]eidas.Role, error) {
	if claim == "" {
		claim = "software_roles"
	}
	names, err := textList(claims, claim)
	if err != nil {
		return nil, badStatement(err.Error())
	}
	var held []eidas.Role
	for _, name := range names {
		role, known := gatehouse.ParseRole(name)
		if !known {
			return nil, badStatement(claim + " has a role that does not exist")
		}
		if !slices.Contains(held, role) {
			held = append(held, role)
		}
	}
	return held, nil
}

// readKeys finds the software's keys, by value or by URL.
func (s *softwareStatement) readKeys(claims jose.Claims) error {
	for _, name := range []string{"software_jwks", "jwks"} {
		if !claims.Has(name) {
			continue
		}
		set, err := jose.ParseJWKS(claims[name])
		switch {
		case err != nil:
			return badStatement(name + ": " + err.Error())
		case len(set.Keys) == 0:
			return badStatement(name + " has no usable key")
		}
		s.jwks = claims[name]
		return nil
	}
	for _, name := range []string{"software_jwks_endpoint", "jwks_uri"} {
		if !claims.Has(name) {
			continue
		}
		uri, err := claims.String(name)
		if err != nil {
			return badStatement(err.Error())
		}
		if err := jose.ValidKeysURL(uri); err != nil {
			return badStatement(err.Error())
		}
		if u, err := url.Parse(uri); err != nil || !s.directory.MayPublishKeysAt(u.Hostname()) {
			return badStatement(name + " is at a host that the directory may not use")
		}
		s.jwksURI = uri
		return nil
	}
	return badStatement("software_jwks_endpoint and software_jwks are missing")
}

// textList reads an optional claim that is a list of strings.
func textList(claims jose.Claims, name string) ([]string, error) {
	if !claims.Has(name) {
		return nil, nil
	}
	var list []string
	if err := claims.Decode(name, &list); err != nil || list == nil {
		return nil, &jose.ClaimError{Claim: name, Fault: "is not a list of strings"}
	}
	if len(list) > 100 {
		return nil, &jose.ClaimError{Claim: name, Fault: "has more than 100 members"}
	}
	return list, nil
}
