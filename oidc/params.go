package oidc

// Parameters: RFC 6749 §3.1, §3.2 and Appendix B; no parameter twice, and one
// without a value is as good as omitted.

import (
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"

	"gatehouse"
	"gatehouse/jose"
)

// params are the parameters of a request, each once, none empty.
type params map[string]string

const maxParams = 100

// knownParams are the parameters that some endpoint reads.
var knownParams = slices.Concat(authorizeParams, []string{
	"request", "request_uri",
	"grant_type", "code", "code_verifier", "refresh_token", "provider_code", "client_secret", "client_assertion", "client_assertion_type",
	"token", "token_type_hint", "access_token", "ended", "before", "permission", "psu",
})

// shown is how an error calls a parameter: by its name, if it is one of ours.
// What a caller made up is not said back.
func shown(name string) string {
	if slices.Contains(knownParams, name) {
		return name
	}
	return "a parameter"
}

// A pair is one parameter as it was sent.
type pair struct{ name, value string }

// parsePairs reads application/x-www-form-urlencoded text in its order. Unlike
// url.ParseQuery it takes nothing from a text that is malformed anywhere.
func parsePairs(text string) ([]pair, error) {
	var pairs []pair
	for part := range strings.SplitSeq(text, "&") {
		if part == "" {
			continue
		}
		rawName, rawValue, _ := strings.Cut(part, "=")
		name, err := url.QueryUnescape(rawName)
		if err != nil || name == "" || !utf8.ValidString(name) {
			return nil, gatehouse.NewError(gatehouse.InvalidRequest, "a parameter name is empty or not validly encoded")
		}
		value, err := url.QueryUnescape(rawValue)
		if err != nil || !utf8.ValidString(value) {
			return nil, gatehouse.NewError(gatehouse.InvalidRequest, shown(name)+" is not validly encoded")
		}
		// To some readers on the way it begins another parameter.
		if strings.Contains(part, ";") {
			return nil, gatehouse.NewError(gatehouse.InvalidRequest, shown(name)+" has a semicolon that is not encoded")
		}
		if len(pairs) == maxParams {
			return nil, gatehouse.NewError(gatehouse.InvalidRequest, "there are more than 100 parameters")
		}
		pairs = append(pairs, pair{name, value})
	}
	return pairs, nil
}

// parseParams reads application/x-www-form-urlencoded text.
func parseParams(text string) (params, error) {
	pairs, err := parsePairs(text)
	if err != nil {
		return nil, err
	}
	in := params{}
	seen := map[string]bool{}
	for _, p := range pairs {
		if seen[p.name] {
			return nil, gatehouse.NewError(gatehouse.InvalidRequest, shown(p.name)+" is repeated")
		}
		seen[p.name] = true
		if p.value != "" {
			in[p.name] = p.value
		}
	}
	return in, nil
}

// readForm reads the parameters of a POST body; takeJSON says whether
// application/json with the same names is taken, too.
func readForm(r *http.Request, takeJSON bool) (params, error) {
	body, err := readBody(r)
	if err != nil {
		return nil, err
	}
	switch mediaType(r) {
	case "application/x-www-form-urlencoded":
		return parseParams(string(body))
	case "application/json":
		if takeJSON {
			return parseJSONParams(body)
		}
	}
	return nil, notForm()
}

func notForm() error {
	return gatehouse.NewError(gatehouse.UnsupportedMediaType, "Content-Type must be application/x-www-form-urlencoded")
}

// parseJSONParams reads one flat JSON object of strings, strictly.
func parseJSONParams(body []byte) (params, error) {
	object, err := jose.ParseObject(body, 1)
	if err != nil {
		return nil, gatehouse.NewError(gatehouse.InvalidRequest, "the body is not a flat JSON object: "+err.Error())
	}
	if len(object) > maxParams {
		return nil, gatehouse.NewError(gatehouse.InvalidRequest, "there are more than 100 parameters")
	}
	in := params{}
	for name, raw := range object {
		if string(raw) == "null" {
			continue
		}
		value, _, err := object.OptionalString(name)
		if err != nil {
			return nil, gatehouse.NewError(gatehouse.InvalidRequest, shown(name)+" is not a string")
		}
		if value != "" {
			in[name] = value
		}
	}
	return in, nil
}

// readBody reads a body that is not coded (RFC 9110 §8.4): who reads it on the
// way as its header says must not read another one than we do.
func readBody(r *http.Request) ([]byte, error) {
	for _, coding := range r.Header.Values("Content-Encoding") {
		if !strings.EqualFold(coding, "identity") {
			return nil, gatehouse.NewError(gatehouse.UnsupportedMediaType, "Content-Encoding must be absent or identity")
		}
	}
	body, err := io.ReadAll(r.Body)
	if _, over := errors.AsType[*http.MaxBytesError](err); over {
		return nil, tooLarge()
	}
	if err != nil {
		return nil, gatehouse.NewError(gatehouse.InvalidRequest, "the body could not be read")
	}
	return body, nil
}

func tooLarge() error {
	return gatehouse.NewError(gatehouse.PayloadTooLarge, "the body is larger than this endpoint takes")
}

// mediaType is the Content-Type without its parameters, "" when it is missing,
// malformed or repeated.
func mediaType(r *http.Request) string {
	if len(r.Header.Values("Content-Type")) != 1 {
		return ""
	}
	media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil {
		return ""
	}
	return media
}
