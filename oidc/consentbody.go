package oidc

// Bodies of the Open Banking APIs: how they are read, plain or signed, and how
// they are held against a data dictionary (consentmembers.go).

import (
	"encoding/json"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"gatehouse"
	"gatehouse/jose"
)

const (
	consentBodyDepth = 16
	// maxFaults bounds Errors.
	maxFaults = 25
)

// readConsentBody returns the members of a body: of a JSON object, or of a JWT
// that the client has signed around it, as the documented product has it.
func (s *Server) readConsentBody(r *http.Request, p *provider, c *client) (map[string]json.RawMessage, error) {
	media := mediaType(r)
	if !slices.Contains([]string{"application/json", "application/jwt", "application/jose"}, media) {
		return nil, gatehouse.NewError(gatehouse.UnsupportedMediaType, "Content-Type must be application/json or application/jwt")
	}
	text, err := readBody(r)
	if err != nil {
		return nil, err
	}
	var body jose.Claims
	if media == "application/json" {
		if body, err = jose.ParseObject(text, consentBodyDepth); err != nil {
			return nil, refusal(codeInvalidFormat, "", "the body is not a JSON object: "+err.Error())
		}
	} else if body, err = s.openConsentToken(r, p, c, string(text)); err != nil {
		return nil, err
	}
	members := map[string]json.RawMessage{}
	for name, value := range body {
		members[name] = json.RawMessage(value)
	}
	return members, nil
}

// openConsentToken verifies a signed body and returns its payload without the
// registered claims of JWT (RFC 7519 §4.1), which are about the token. There is
// no sub among them, and all other members are those of the body: no token of
// another kind passes for one of this.
func (s *Server) openConsentToken(r *http.Request, p *provider, c *client, text string) (jose.Claims, error) {
	token, err := jose.Parse(text, consentBodyLimit)
	if err != nil {
		return nil, refusal(codeSignatureMalformed, "", "the body is not a JWT: "+err.Error())
	}
	if !slices.Contains([]string{"", "jwt", "jose"}, token.MediaType()) {
		return nil, badConsentToken("typ", "is of another kind of token")
	}
	keys, err := s.keysOf(r.Context(), c, p, token.KID)
	if err != nil {
		return nil, refusal(codeSignatureInvalid, "", "the body: "+err.Error())
	}
	wrong, err := s.verify(r.Context(), p.Code, token, keys, p.algsFor(c.RequestObjectSigningAlg)...)
	if err != nil {
		return nil, err
	}
	if wrong != nil {
		return nil, refusal(codeSignatureInvalid, "", "the body: "+wrong.Error())
	}
	claims := token.Claims
	if iss, sent, err := claims.OptionalString("iss"); err != nil || sent && iss != c.ID {
		return nil, badConsentToken("iss", "must be the client_id")
	}
	if aud, _, err := claims.Audience(); claims.Has("aud") && (err != nil || !slices.ContainsFunc(aud, func(a string) bool {
		return a == p.issuer || a == p.tokenEndpoint || a == s.BaseURL+r.URL.Path
	})) {
		return nil, badConsentToken("aud", "must be the issuer, or the URL of this resource")
	}
	now := s.Now()
	for _, name := range []string{"exp", "nbf", "iat"} {
		t, sent, err := claims.Time(name)
		switch {
		case err != nil:
			return nil, badConsentToken(name, "is not a NumericDate")
		case sent && name == "exp" && !now.Before(t):
			return nil, badConsentToken(name, "is in the past")
		case sent && name != "exp" && t.After(now.Add(time.Duration(p.rules.ClockSkew))):
			return nil, badConsentToken(name, "is in the future")
		}
	}
	for _, name := range []string{"iss", "aud", "exp", "nbf", "iat", "jti"} {
		delete(claims, name)
	}
	return claims, nil
}

func badConsentToken(claim, fault string) error {
	return refusal(codeSignatureInvalidClaim, claim, "the body: "+claim+" "+fault)
}

// checkConsentBody returns all faults of a body in one error.
func checkConsentBody(body map[string]json.RawMessage, wanted object, now time.Time) error {
	f := findings{now: now}
	wanted.check(&f, "", body)
	if len(f.faults) == 0 {
		return nil
	}
	return gatehouse.NewError(gatehouse.InvalidRequest, "the body is not what this resource takes: Errors says why").Because(f.faults)
}

// findings are the faults that were found in a body.
type findings struct {
	now    time.Time
	faults openBankingFaults
}

func (f *findings) add(code, path, fault string) {
	subject := path
	if path == "" {
		subject = "the body"
	}
	if len(f.faults) < maxFaults {
		f.faults = append(f.faults, openBankingFault{code, subject + " " + fault, path})
	}
}

// A rule says what a value must be, and adds what it is not to the findings.
type rule func(f *findings, path string, value json.RawMessage)

// An object has these members and no others.
type object []member

// A member of an object. One that is null is as good as absent, which TPP
// software in use relies on.
type member struct {
	name     string
	required bool
	rule     rule
}

const (
	required = true
	optional = false
)

func (o object) check(f *findings, path string, sent map[string]json.RawMessage) {
	prefix := path
	if prefix != "" {
		prefix += "."
	}
	known := map[string]bool{}
	for _, m := range o {
		known[m.name] = true
		value, there := sent[m.name]
		switch {
		case there && string(value) != "null":
			m.rule(f, prefix+m.name, value)
		case m.required:
			f.add(codeFieldMissing, prefix+m.name, "is missing")
		}
	}
	for _, name := range slices.Sorted(maps.Keys(sent)) {
		switch {
		case known[name]:
		case plainName.MatchString(name):
			f.add(codeFieldUnexpected, prefix+name, "is not known here")
		default:
			f.add(codeFieldUnexpected, path, "has a member that is not known here")
		}
	}
}

// plainName is the name of a member that may be repeated to whoever sent it.
var plainName = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_]{0,63}$`)

func isObject(members ...member) rule {
	return func(f *findings, path string, value json.RawMessage) {
		var sent map[string]json.RawMessage
		if json.Unmarshal(value, &sent) != nil {
			f.add(codeFieldInvalid, path, "is not an object")
			return
		}
		object(members).check(f, path, sent)
	}
}

// isAnyObject is SupplementaryData, which each bank defines for itself.
func isAnyObject(f *findings, path string, value json.RawMessage) {
	if value[0] != '{' {
		f.add(codeFieldInvalid, path, "is not an object")
	}
}

func isList(longest int, each rule) rule {
	return func(f *findings, path string, value json.RawMessage) {
		var list []json.RawMessage
		if json.Unmarshal(value, &list) != nil {
			f.add(codeFieldInvalid, path, "is not an array")
			return
		}
		if len(list) > longest {
			f.add(codeFieldInvalid, path, "has more than "+strconv.Itoa(longest)+" members")
			return
		}
		for i, value := range list {
			each(f, path+"["+strconv.Itoa(i)+"]", value)
		}
	}
}

func isBoolean(f *findings, path string, value json.RawMessage) {
	if string(value) != "true" && string(value) != "false" {
		f.add(codeFieldInvalid, path, "is not true or false")
	}
}

// stringOf reads a string, and adds a fault when the value is none.
func stringOf(f *findings, path string, value json.RawMessage) (string, bool) {
	var text *string
	if json.Unmarshal(value, &text) != nil || text == nil {
		f.add(codeFieldInvalid, path, "is not a string")
		return "", false
	}
	return *text, true
}

// isText is a text that a person can be shown: without control characters,
// nor those that change the direction of what follows.
func isText(shortest, longest int) rule {
	fault := "must have " + strconv.Itoa(shortest) + " to " + strconv.Itoa(longest) + " characters"
	return func(f *findings, path string, value json.RawMessage) {
		text, ok := stringOf(f, path, value)
		switch {
		case !ok:
		case utf8.RuneCountInString(text) < shortest || utf8.RuneCountInString(text) > longest:
			f.add(codeFieldInvalid, path, fault)
		case strings.ContainsFunc(text, func(c rune) bool { return !unicode.IsGraphic(c) }):
			f.add(codeFieldInvalid, path, "has characters that cannot be shown")
		}
	}
}

func isCode(codes ...string) rule {
	fault := "is none of " + strings.Join(codes, ", ")
	return func(f *findings, path string, value json.RawMessage) {
		if text, ok := stringOf(f, path, value); ok && !slices.Contains(codes, text) {
			f.add(codeFieldInvalid, path, fault)
		}
	}
}

func isLike(pattern string, fault string) rule {
	form := regexp.MustCompile(pattern)
	return func(f *findings, path string, value json.RawMessage) {
		if text, ok := stringOf(f, path, value); ok && !form.MatchString(text) {
			f.add(codeFieldInvalid, path, fault)
		}
	}
}

// timeOf reads an ISODateTime in the form of RFC 3339 §5.6, which has a time
// zone: the PSU and the bank must read the same moment as the TPP.
func timeOf(value json.RawMessage) (t time.Time, ok bool) {
	return t, timeForm.Match(value) && json.Unmarshal(value, &t) == nil
}

// timeForm is what package time takes, without its tolerance.
var timeForm = regexp.MustCompile(`^"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]([01]\d|2[0-3]):[0-5]\d)"$`)

func isTime(f *findings, path string, value json.RawMessage) {
	if _, ok := timeOf(value); !ok {
		f.add(codeFieldInvalidDate, path, "is not a date and time with a time zone (RFC 3339)")
	}
}

func isFutureTime(f *findings, path string, value json.RawMessage) {
	isTime(f, path, value)
	if t, ok := timeOf(value); ok && !f.now.Before(t) {
		f.add(codeFieldInvalidDate, path, "is not in the future")
	}
}

// all holds a value against several rules.
func all(rules ...rule) rule {
	return func(f *findings, path string, value json.RawMessage) {
		for _, r := range rules {
			r(f, path, value)
		}
	}
}
