package jose

// RFC 8259 (JSON), RFC 7519 §2 and §4 (claims), RFC 7515 §4 and RFC 8725 §2.4 (duplicate members)

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Claims are the members of a JSON object as they were sent. Names are compared byte by byte after unescaping.
type Claims map[string]jsontext.Value

// ClaimError says what is wrong with one claim: "exp is missing".
type ClaimError struct {
	Claim string
	Fault string
}

func (e *ClaimError) Error() string { return e.Claim + " " + e.Fault }

var (
	errNotUTF8   = errors.New("not UTF-8")
	errNotJSON   = errors.New("not JSON")
	errNotObject = errors.New("not a JSON object")
	errDuplicate = errors.New("repeated member name")
)

// ParseObject reads data as one JSON object and nothing after it, strictly: valid UTF-8, no member name twice in one
// object at any depth, not nested deeper than maxDepth (the outer object counts one). The caller bounds len(data).
func ParseObject(data []byte, maxDepth int) (Claims, error) {
	if !utf8.Valid(data) {
		return nil, errNotUTF8
	}
	if depth(data) > maxDepth {
		return nil, fmt.Errorf("nested deeper than %d levels", maxDepth)
	}
	var claims Claims
	err := json.Unmarshal(data, &claims)
	switch {
	case errors.Is(err, jsontext.ErrDuplicateName):
		return nil, errDuplicate
	case err != nil && !jsontext.Value(data).IsValid():
		return nil, errNotJSON
	case err != nil || claims == nil: // another value, or null
		return nil, errNotObject
	}
	return claims, nil
}

// depth returns the deepest nesting of objects and arrays in data. It counts brackets outside strings without
// recursion or allocation; up to the first syntax error that is what a parser sees.
func depth(data []byte) int {
	var open, deepest int
	var inString bool
	for i := 0; i < len(data); i++ {
		switch c := data[i]; {
		case c == '"':
			inString = !inString
		case inString && c == '\\':
			i++
		case inString:
		case c == '{' || c == '[':
			open++
			deepest = max(deepest, open)
		case c == '}' || c == ']':
			open--
		}
	}
	return deepest
}

// Has reports whether the claim is there, be it null.
func (c Claims) Has(name string) bool {
	_, ok := c[name]
	return ok
}

// String returns a claim that must be there and be a string that is not empty.
func (c Claims) String(name string) (string, error) {
	s, ok, err := c.OptionalString(name)
	if err != nil {
		return "", err
	}
	if !ok {
		return "", &ClaimError{name, "is missing"}
	}
	if s == "" {
		return "", &ClaimError{name, "is empty"}
	}
	return s, nil
}

// OptionalString returns a claim that must be a string if it is there; the string may be empty.
func (c Claims) OptionalString(name string) (string, bool, error) {
	value, ok := c[name]
	if !ok {
		return "", false, nil
	}
	if value.Kind() != '"' {
		return "", true, &ClaimError{name, "is not a string"}
	}
	var s string
	if err := json.Unmarshal(value, &s); err != nil {
		return "", true, &ClaimError{name, "is not a string"}
	}
	return s, true, nil
}

// Time returns a NumericDate (RFC 7519 §2): seconds since the epoch in plain decimal notation, from 0 to below 2^53.
// A fraction is cut off, which makes an instant up to a second earlier. Exponents and signs are refused: nobody writes
// a date that way but to find out how large numbers wrap around.
func (c Claims) Time(name string) (t time.Time, present bool, err error) {
	value, ok := c[name]
	if !ok {
		return time.Time{}, false, nil
	}
	if value.Kind() != '0' {
		return time.Time{}, true, &ClaimError{name, "is not a number"}
	}
	whole, fraction, _ := strings.Cut(string(value), ".")
	if strings.ContainsAny(whole+fraction, "eE-") {
		return time.Time{}, true, &ClaimError{name, "is not a number of seconds in plain decimal notation"}
	}
	seconds, err := strconv.ParseInt(whole, 10, 64)
	if err != nil || seconds >= 1<<53 {
		return time.Time{}, true, &ClaimError{name, "is out of range"}
	}
	return time.Unix(seconds, 0).UTC(), true, nil
}

// Audience returns aud: one string (single), or an array of one or more strings (RFC 7519 §4.1.3).
func (c Claims) Audience() (aud []string, single bool, err error) {
	value, ok := c["aud"]
	if !ok {
		return nil, false, &ClaimError{"aud", "is missing"}
	}
	switch value.Kind() {
	case '"':
		s, err := c.String("aud")
		if err != nil {
			return nil, false, err
		}
		return []string{s}, true, nil
	case '[':
		var members []jsontext.Value
		if err := json.Unmarshal(value, &members); err != nil || len(members) == 0 {
			return nil, false, &ClaimError{"aud", "is an empty array"}
		}
		for _, m := range members {
			s, err := Claims{"aud": m}.String("aud")
			if err != nil {
				return nil, false, &ClaimError{"aud", "has a member that is not a string or is empty"}
			}
			aud = append(aud, s)
		}
		return aud, false, nil
	}
	return nil, false, &ClaimError{"aud", "is not a string or an array of strings"}
}

// Decode stores a claim that must be there in what into points to, with exact member names. Members that into does
// not know are ignored.
func (c Claims) Decode(name string, into any) error {
	value, ok := c[name]
	if !ok {
		return &ClaimError{name, "is missing"}
	}
	if err := json.Unmarshal(value, into); err != nil {
		return &ClaimError{name, "has the wrong type or form"}
	}
	return nil
}
