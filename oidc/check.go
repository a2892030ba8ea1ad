package oidc

// The check that a gateway makes for each request: nginx auth_request, Envoy
// ext_authz, Caddy forward_auth. Answers to the bearer are those of RFC 6750
// §3; see docs/gateway.md.

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"unicode/utf16"

	"gatehouse"
)

// resourceServerHeader has the gateway's own credentials: Authorization is the
// bearer's.
const resourceServerHeader = "Resource-Server-Authorization"

// check serves every method at /api/oidc/{provider_code}/check and below: 200
// with who the bearer is, or 401 or 403 for the bearer. A fault of the gateway
// is 400: a 401 or 403 would pass for the bearer's.
func (s *Server) check(w http.ResponseWriter, r *http.Request, p *provider) error {
	if err := s.authenticateGateway(r, p); err != nil {
		return err
	}
	need, err := readDemand(r)
	if err != nil {
		return err
	}
	presented, err := bearer(r)
	if err != nil {
		return err
	}
	t, err := s.liveToken(r.Context(), p, presented)
	if errors.Is(err, gatehouse.ErrNotFound) {
		return badBearer("the access token is unknown, expired or revoked")
	}
	if err != nil {
		return unavailable(err)
	}
	if err := need.metBy(t); err != nil {
		return err
	}
	s.touch(r.Context(), p, t.grant)
	setIdentity(w.Header(), t)
	w.WriteHeader(http.StatusOK)
	return nil
}

func (s *Server) authenticateGateway(r *http.Request, p *provider) error {
	header := r.Header.Values(resourceServerHeader)
	if len(header) == 0 {
		return invalid(resourceServerHeader + " is missing: the gateway must say which resource server it is")
	}
	rs, err := s.authenticateResourceServer(r.Context(), p, header)
	if fault := asError(err); fault != nil && fault.Kind == gatehouse.RateLimited {
		return fault
	}
	if err != nil {
		return gatehouse.NewError(gatehouse.InvalidRequest, resourceServerHeader+" has the wrong secret").Because(err)
	}
	if rs == nil {
		return invalid(resourceServerHeader + " is not of the Basic scheme with the id of a resource server of this provider")
	}
	return nil
}

// A demand is what the gateway wants of a token.
type demand struct {
	scope       gatehouse.Scopes
	permissions []string // of the consent
	psuOptional bool     // a client's own token will do
}

// readDemand reads scope, permission and psu. At /check they are all there is.
// Below it, where the gateway adds what the bearer asked for, the query may be
// the bearer's: it can demand more, but nothing in it can demand less. A demand
// that cannot be read is none that was met.
func readDemand(r *http.Request) (*demand, error) {
	text := r.URL.RawQuery
	gatewaysOwn := r.PathValue("path") == ""
	if !gatewaysOwn {
		text = demandsIn(text)
	}
	query, err := parsePairs(text)
	if err != nil {
		return nil, err
	}
	d := new(demand)
	for _, p := range query {
		switch {
		case p.name == "scope":
			scope := gatehouse.ParseScopes(p.value)
			if len(scope) == 0 || !scope.Within(gatehouse.AllScopes()) {
				return nil, invalid("scope must be some of openid, accounts, payments, fundsconfirmations")
			}
			d.scope = gatehouse.ParseScopes(d.scope.String() + " " + p.value)
		case p.name == "permission":
			permissions := strings.Fields(p.value)
			if len(permissions) == 0 {
				return nil, invalid("permission is empty")
			}
			d.permissions = append(d.permissions, permissions...)
		case p.name == "psu" && p.value == "optional" && !d.psuOptional:
			d.psuOptional = true
		default:
			return nil, invalid("the query may have scope, permission and psu=optional only")
		}
	}
	return d, nil
}

// demandsIn keeps of a query what is a demand by its name: the rest is the
// bearer's, and for the resource to read.
func demandsIn(query string) string {
	var demands []string
	for part := range strings.SplitSeq(query, "&") {
		rawName, _, _ := strings.Cut(part, "=")
		if name, err := url.QueryUnescape(rawName); err == nil && (name == "scope" || name == "permission") {
			demands = append(demands, part)
		}
	}
	return strings.Join(demands, "&")
}

// metBy returns nil when a token has all that is demanded. A PSU is demanded
// unless the gateway says otherwise: a TPP gets tokens of its own, of the same
// scopes, without asking anybody.
func (d *demand) metBy(t *liveToken) error {
	switch {
	case !d.scope.Within(t.scope):
		return insufficientScope("the access token has not all of the scope that is needed", d.scope)
	case t.grant.UserID == "" && !d.psuOptional:
		return insufficientScope("the access token is of a client, not of a PSU", d.scope)
	}
	for _, permission := range d.permissions {
		if t.consent == nil || !t.consent.HasPermission(permission) {
			return insufficientScope("the consent has not all of the permissions that are needed", d.scope)
		}
	}
	return nil
}

// setIdentity says whose token it is. Every header is there, empty when there
// is nothing to say, so that a gateway that copies what it finds also
// overwrites what the bearer has sent under the same name.
func setIdentity(h http.Header, t *liveToken) {
	authTime := ""
	if !t.grant.AuthTime.IsZero() {
		authTime = strconv.FormatInt(t.grant.AuthTime.Unix(), 10)
	}
	var kind gatehouse.ConsentKind
	var permissions []string
	if t.consent != nil {
		kind, permissions = t.consent.Kind, t.consent.Permissions()
	}
	for name, value := range map[string]string{
		"Gatehouse-Client-Id":    t.ClientID,
		"Gatehouse-Subject":      t.grant.Subject,
		"Gatehouse-User-Id":      t.grant.UserID,
		"Gatehouse-Scope":        t.scope.String(),
		"Gatehouse-Consent-Id":   t.grant.IntentID,
		"Gatehouse-Consent-Kind": string(kind),
		"Gatehouse-Permissions":  strings.Join(permissions, " "),
		"Gatehouse-Acr":          t.grant.ACR,
		"Gatehouse-Auth-Time":    authTime,
		"Gatehouse-Token-Id":     t.ID,
	} {
		h.Set(name, headerText(value))
	}
	h.Set("Gatehouse-Accounts", asciiJSON(t.grant.Accounts))
}

// headerText writes a text so that it fits into a header: what is not a visible
// ASCII character or a blank between two, and the percent sign, is
// percent-encoded (RFC 3986 §2.1).
func headerText(text string) string {
	var b strings.Builder
	for i := range len(text) {
		c := text[i]
		inside := i > 0 && i < len(text)-1
		if c > ' ' && c < 0x7f && c != '%' || c == ' ' && inside {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}

// asciiJSON writes JSON on one line, and characters beyond ASCII as escapes
// (RFC 8259 §7).
func asciiJSON(data json.RawMessage) string {
	var line bytes.Buffer
	if len(data) == 0 || json.Compact(&line, data) != nil {
		return ""
	}
	var b strings.Builder
	for _, c := range line.String() {
		if c < 0x7f {
			b.WriteRune(c)
			continue
		}
		for _, unit := range utf16.Encode([]rune{c}) {
			fmt.Fprintf(&b, `\u%04x`, unit)
		}
	}
	return b.String()
}
