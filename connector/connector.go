// Package connector is the signed conversation with a bank's login-and-consent
// system, as docs/connector.md has it: it reads what banks send, and calls them.
package connector

import (
	"encoding/json"
	"slices"
	"strings"
	"time"

	"gatehouse"
	"gatehouse/jose"
)

// maxBody bounds a signed body; maxAhead how far ahead its exp may be.
const (
	maxBody  = 96 << 10
	maxAhead = 10 * time.Minute
)

// A Begin says that a PSU came to the authorization endpoint that the bank
// hosts.
type Begin struct {
	AuthorizeURL string
	AuthCode     string
	// AuthCodeExp is zero when the bank left it out.
	AuthCodeExp time.Time
}

// A Verdict is what the bank decided about an authorization.
type Verdict struct {
	Approved      bool
	UserID        string
	Access        json.RawMessage // list of account identifiers, or nil
	DebtorAccount json.RawMessage // or nil
	AuthTime      time.Time       // zero when the bank left it out
	ACR           string
}

func invalid(description string) error {
	return gatehouse.NewError(gatehouse.InvalidRequest, description)
}

// open verifies a body and returns its data. Every error is a gatehouse.Error.
func open(body []byte, keys []*jose.PublicKey, now time.Time) (jose.Claims, error) {
	token, err := jose.Parse(string(body), maxBody)
	if err != nil {
		return nil, invalid("body: " + err.Error())
	}
	if typ := token.MediaType(); typ != "" && typ != "jwt" {
		return nil, invalid("body is of another typ")
	}
	if err := token.Verify(keys, jose.RS256); err != nil {
		return nil, gatehouse.NewError(gatehouse.AccessDenied, "body: "+err.Error())
	}
	exp, present, err := token.Claims.Time("exp")
	switch {
	case err != nil:
		return nil, invalid("body: " + err.Error())
	case !present:
		return nil, invalid("body: exp is missing")
	case !now.Before(exp):
		return nil, invalid("body: exp is in the past")
	case exp.After(now.Add(maxAhead)):
		return nil, invalid("body: exp is more than 10 minutes ahead")
	}
	var data jose.Claims
	if err := token.Claims.Decode("data", &data); err != nil || data == nil {
		return nil, invalid("body: data must be an object")
	}
	return data, nil
}

// ReadBegin reads the body of a begin call.
func ReadBegin(body []byte, keys []*jose.PublicKey, now time.Time) (*Begin, error) {
	data, err := open(body, keys, now)
	if err != nil {
		return nil, err
	}
	b := &Begin{}
	if b.AuthorizeURL, err = data.String("authorize_url"); err != nil {
		return nil, invalid("data." + err.Error())
	}
	if b.AuthCode, err = data.String("auth_code"); err != nil {
		return nil, invalid("data." + err.Error())
	}
	if len(b.AuthCode) < 16 || len(b.AuthCode) > 255 || !isVisible(b.AuthCode) {
		return nil, invalid("data.auth_code must be 16 to 255 visible ASCII characters")
	}
	exp, present, err := data.OptionalString("auth_code_exp")
	switch {
	case string(data["auth_code_exp"]) == "null":
	case err != nil:
		return nil, invalid("data." + err.Error())
	case present:
		if b.AuthCodeExp, err = parseTime(exp); err != nil {
			return nil, invalid("data.auth_code_exp must be an RFC 3339 time")
		}
		if !now.Before(b.AuthCodeExp) || b.AuthCodeExp.After(now.Add(24*time.Hour)) {
			return nil, invalid("data.auth_code_exp must be ahead, by at most 24 hours")
		}
	}
	return b, nil
}

// parseTime reads RFC 3339, and the form in UTC that the product's Ruby SDK
// writes.
func parseTime(text string) (time.Time, error) {
	if t, err := time.Parse(time.RFC3339, text); err == nil {
		return t, nil
	}
	return time.Parse("2006-01-02 15:04:05 UTC", text)
}

// ReadVerdict reads the body of a decide call.
func ReadVerdict(body []byte, keys []*jose.PublicKey, now time.Time) (*Verdict, error) {
	data, err := open(body, keys, now)
	if err != nil {
		return nil, err
	}
	status, err := data.String("status")
	if err != nil {
		return nil, invalid("data." + err.Error())
	}
	v := &Verdict{}
	switch status {
	case "denied":
		return v, nil
	case "approved":
		v.Approved = true
	default:
		return nil, invalid("data.status must be approved or denied")
	}
	if v.UserID, err = userID(data); err != nil {
		return nil, err
	}
	if v.Access, err = member(data, "access", "[{"); err != nil {
		return nil, err
	}
	if v.DebtorAccount, err = member(data, "debtor_account", "{"); err != nil {
		return nil, err
	}
	if v.AuthTime, _, err = data.Time("auth_time"); err != nil {
		return nil, invalid("data." + err.Error())
	}
	if v.AuthTime.After(now.Add(time.Minute)) {
		return nil, invalid("data.auth_time is in the future")
	}
	acr, _, err := data.OptionalString("acr")
	if err != nil {
		return nil, invalid("data." + err.Error())
	}
	if acr == "" {
		acr = gatehouse.ACRValues()[0]
	}
	if v.ACR = acr; !slices.Contains(gatehouse.ACRValues(), acr) {
		return nil, invalid("data.acr must be urn:openbanking:psd2:sca or urn:openbanking:psd2:ca")
	}
	return v, nil
}

// member returns an optional member whose JSON text begins with one of the
// characters in kinds.
func member(data jose.Claims, name, kinds string) (json.RawMessage, error) {
	raw := data[name]
	switch {
	case len(raw) == 0 || string(raw) == "null":
		return nil, nil
	case len(raw) > 16<<10:
		return nil, invalid("data." + name + " is larger than 16 KiB")
	case !strings.ContainsRune(kinds, rune(raw[0])):
		return nil, invalid("data." + name + " has the wrong type")
	}
	return json.RawMessage(raw), nil
}

func isVisible(s string) bool {
	for _, c := range []byte(s) {
		if c <= ' ' || c >= 0x7f {
			return false
		}
	}
	return true
}
