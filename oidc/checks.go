package oidc

// What an authorization request must be: RFC 6749 §4.1.1, OpenID Connect Core
// §3.1.2.1 and §5.5, RFC 7636 §4.3, the UK Open Banking profile.

import (
	"encoding/base64"
	"slices"
	"strconv"
	"strings"
	"time"

	"gatehouse"
	"gatehouse/jose"
)

const (
	responseTypeCode  = "code"
	responseModeQuery = "query"
	claimIntentID     = "openbanking_intent_id"
)

// A check looks at one parameter of a request whose client and redirect_uri
// are known, and fills its place in q.
type check struct {
	Parameter string
	Rule      string // for the documentation page
	Source    string
	run       func(q *question) error
}

// A question is an authorization request being checked.
type question struct {
	provider *provider
	client   *client
	outer    params // those of the query or form
	in       params // those that count: of the request object, if there is one
	signed   bool   // there is one
	now      time.Time
	gatehouse.AuthorizationRequest
}

// checks runs in this order; the first fault is the answer.
var checks = []check{
	{"request_uri", "none is registered or made here, and nothing is fetched", "RFC 9101 §10.4", checkRequestURI},
	{"response_type", "must be code", "RFC 6749 §3.1.1", checkResponseType},
	{"response_mode", "must be query, or absent", "OAuth 2.0 Multiple Response Types §2.1", checkResponseMode},
	{"client_id", "the client must be registered for authorization_code and for this provider", "RFC 6749 §4.1.2.1", checkClient},
	{"request", "a signed request object where the provider or the client requires one", "RFC 9101 §10.5", checkSigned},
	{"scope", "must be within the client's scopes at this provider; absent means all of them", "RFC 6749 §3.3", checkScope},
	{"nonce", "at most 512 bytes", "OpenID Connect Core §3.1.2.1", checkNonce},
	{"code_challenge", "43 characters of base64url with code_challenge_method S256", "RFC 7636 §4.3", checkPKCE},
	{"prompt", "some of login, consent, select_account; none cannot be met, because banks always authenticate", "OpenID Connect Core §3.1.2.1", checkPrompt},
	{"max_age", "a whole number of seconds", "OpenID Connect Core §3.1.2.1", checkMaxAge},
	{"claims", "a JSON object; id_token.openbanking_intent_id, a consent of the client that waits for a PSU, and id_token.acr are understood", "OpenID Connect Core §5.5", checkClaims},
	{"acr_values", "preferences among urn:openbanking:psd2:sca and urn:openbanking:psd2:ca", "OpenID Connect Core §3.1.2.1", checkACRValues},
}

func invalid(description string) error {
	return gatehouse.NewError(gatehouse.InvalidRequest, description)
}

func checkResponseType(q *question) error {
	q.ResponseType = q.in["response_type"]
	switch q.ResponseType {
	case responseTypeCode:
		return nil
	case "":
		return invalid("response_type is missing")
	}
	return gatehouse.NewError(gatehouse.UnsupportedResponseType, "response_type must be code")
}

func checkResponseMode(q *question) error {
	if mode, sent := q.in["response_mode"]; sent && mode != responseModeQuery {
		return invalid("response_mode must be query")
	}
	return nil
}

func checkClient(q *question) error {
	switch {
	case q.client.Status != gatehouse.ClientActive:
		return gatehouse.NewError(gatehouse.UnauthorizedClient, "the client is disabled")
	case !q.client.MayUse(q.provider.Provider):
		return gatehouse.NewError(gatehouse.UnauthorizedClient, "the client may not use this provider")
	case !slices.Contains(q.client.GrantTypes, gatehouse.GrantAuthorizationCode):
		return gatehouse.NewError(gatehouse.UnauthorizedClient, "the client is not registered for authorization_code")
	}
	return nil
}

func checkSigned(q *question) error {
	if !q.signed && (q.provider.rules.RequireSignedRequest || q.client.RequireSignedRequestObject) {
		return invalid("request is missing: a signed request object is required")
	}
	return nil
}

func checkRequestURI(q *question) error {
	if _, sent := q.outer["request_uri"]; sent {
		if q.signed { // RFC 9101 §5
			return invalid("request and request_uri cannot be combined")
		}
		return gatehouse.NewError(gatehouse.InvalidRequestURI, "request_uri is not registered, and nothing is fetched: send the object as request")
	}
	return nil
}

func checkScope(q *question) (err error) {
	q.Scope, err = requestedScope(q.in, q.client.ScopesAt(q.provider.Provider, q.now))
	return err
}

func checkNonce(q *question) error {
	q.Nonce = q.in["nonce"]
	if len(q.Nonce) > 512 {
		return invalid("nonce is longer than 512 bytes")
	}
	return nil
}

func checkPKCE(q *question) error {
	challenge, sent := q.in["code_challenge"]
	method, hasMethod := q.in["code_challenge_method"]
	if !sent {
		switch {
		case hasMethod:
			return invalid("code_challenge is missing beside code_challenge_method")
		case q.provider.rules.RequirePKCE:
			return invalid("code_challenge is missing: this provider requires PKCE")
		}
		return nil
	}
	// An absent method means plain (RFC 7636 §4.3), which protects nothing here.
	if method != challengeS256 {
		return invalid("code_challenge_method must be S256")
	}
	if sum, err := base64.RawURLEncoding.Strict().DecodeString(challenge); err != nil || len(sum) != 32 {
		return invalid("code_challenge must be 43 characters of base64url")
	}
	q.CodeChallenge = challenge
	return nil
}

func checkPrompt(q *question) error {
	q.Prompt = strings.Fields(q.in["prompt"])
	for _, value := range q.Prompt {
		if !slices.Contains([]string{"none", "login", "consent", "select_account"}, value) {
			return invalid("prompt must be some of none, login, consent, select_account")
		}
	}
	if !slices.Contains(q.Prompt, "none") {
		return nil
	}
	if len(q.Prompt) > 1 {
		return invalid("prompt: none cannot be combined")
	}
	// Every visit needs strong customer authentication at the bank, so there
	// is never a session that would do.
	return gatehouse.NewError(gatehouse.LoginRequired, "prompt=none cannot be met: the PSU must log in at the bank")
}

func checkMaxAge(q *question) error {
	text, sent := q.in["max_age"]
	if !sent {
		return nil
	}
	age, err := strconv.ParseUint(text, 10, 31)
	if err != nil {
		return invalid("max_age must be a whole number of seconds")
	}
	seconds := int64(age)
	q.MaxAge = &seconds
	return nil
}

// claimsDepth bounds the nesting of the claims parameter.
const claimsDepth = 32

func checkClaims(q *question) error {
	text, sent := q.in["claims"]
	if !sent {
		return nil
	}
	if len(text) > 64<<10 {
		return invalid("claims is larger than 64 KiB")
	}
	claims, err := jose.ParseObject([]byte(text), claimsDepth)
	if err != nil {
		return invalid("claims is not a JSON object: " + err.Error())
	}
	if !claims.Has("id_token") {
		return nil
	}
	var wanted map[string]*struct {
		Essential bool     `json:"essential"`
		Value     any      `json:"value"`
		Values    []string `json:"values"`
	}
	if err := claims.Decode("id_token", &wanted); err != nil {
		return invalid("claims: id_token must be an object of objects with essential, value and values")
	}
	if intent := wanted[claimIntentID]; intent != nil {
		id, isText := intent.Value.(string)
		if !isText || id == "" || len(id) > 128 || strings.Trim(id, unreserved+":") != "" {
			return invalid("claims: openbanking_intent_id must have a value of 1 to 128 letters, digits, '-', '.', '_', '~' or ':'")
		}
		q.IntentID = id
	}
	if acr := wanted["acr"]; acr != nil {
		q.ACRValues, q.ACREssential = acr.Values, acr.Essential
		if value, isText := acr.Value.(string); isText {
			q.ACRValues = append(q.ACRValues, value)
		}
		return checkACR(q)
	}
	return nil
}

func checkACRValues(q *question) error {
	if text, sent := q.in["acr_values"]; sent && len(q.ACRValues) == 0 {
		q.ACRValues = strings.Fields(text)
	}
	return checkACR(q)
}

// checkACR keeps those classes that exist here. An essential claim that cannot
// be met is an error, a voluntary one is not (OpenID Connect Core §5.5.1.1).
func checkACR(q *question) error {
	asked := len(q.ACRValues) > 0
	q.ACRValues = slices.DeleteFunc(slices.Clone(q.ACRValues), func(value string) bool {
		return !slices.Contains(gatehouse.ACRValues(), value)
	})
	if asked && q.ACREssential && len(q.ACRValues) == 0 {
		return invalid("claims: acr asks for classes that do not exist here")
	}
	return nil
}
