package oidc

// The authorization response: RFC 6749 §4.1.2 and §4.1.2.1, with the issuer in
// it (RFC 9207 §2).

import (
	"net/url"
	"strings"

	"gatehouse"
)

func codeRedirect(p *provider, redirectURI, state, code string) string {
	return redirect(p, redirectURI, state, url.Values{"code": {code}})
}

func errorRedirect(p *provider, redirectURI, state string, fault *gatehouse.Error) string {
	return redirect(p, redirectURI, state, url.Values{"error": {fault.Kind.Code()}, "error_description": {fault.Description}})
}

func redirect(p *provider, redirectURI, state string, answer url.Values) string {
	answer.Set("iss", p.issuer)
	if state != "" {
		answer.Set("state", state)
	}
	separator := "?"
	if strings.Contains(redirectURI, "?") {
		separator = "&"
	}
	return redirectURI + separator + answer.Encode()
}
