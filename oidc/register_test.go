package oidc_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"gatehouse"
	"gatehouse/jose"
)

const (
	sandboxDirectory = "https://directory.sandbox.example"
	liveDirectory    = "https://directory.example"

	registerPath = "/open_banking/v3.2/tpp/register"
)

// statementClaims are those of a good software statement, whose key is that of
// the owner: clientKey(t, owner, …).
func (w *world) statementClaims(directory, owner string) claims {
	environment := "sandbox"
	if directory == liveDirectory {
		environment = "production"
	}
	return claims{
		"iss": directory, "iat": w.clock.Now().Unix(), "exp": w.clock.Now().Add(time.Hour).Unix(), "jti": gatehouse.NewSecret(),
		"software_id": "software-" + owner, "org_id": "PSDGB-FCA-" + owner, "org_name": "Organisation of " + owner,
		"software_client_name": "App of " + owner, "software_redirect_uris": []string{callback, "https://tpp.example/other"},
		"software_roles": []string{"AISP", "PISP"}, "software_jwks": clientJWKS(w.t, owner), "software_environment": environment,
	}
}

func (w *world) statement(directory, owner string, changes claims) string {
	w.t.Helper()
	text, err := key(w.t, directory, jose.PS256).Sign("JWT", w.statementClaims(directory, owner).with(changes))
	must(w.t, err)
	return text
}

// registrationClaims are those of a good registration request.
func (w *world) registrationClaims(owner, statement string) claims {
	now := w.clock.Now()
	return claims{
		"iss": "software-" + owner, "aud": baseURL, "iat": now.Unix(), "exp": now.Add(5 * time.Minute).Unix(), "jti": gatehouse.NewSecret(),
		"software_statement": statement, "token_endpoint_auth_method": "private_key_jwt",
		"grant_types": []string{"authorization_code", "client_credentials", "refresh_token"},
	}
}

var jwtHeader = http.Header{"Content-Type": {"application/jwt"}}

// register sends a signed registration request of the owner.
func (w *world) register(owner, statement string, changes claims) *answer {
	w.t.Helper()
	return w.do("POST", registerPath, jwtHeader, w.registrationRequest(owner, statement, changes))
}

func (w *world) registrationRequest(owner, statement string, changes claims) string {
	w.t.Helper()
	body, err := clientKey(w.t, owner, jose.PS256).Sign("JWT", w.registrationClaims(owner, statement).with(changes))
	must(w.t, err)
	return body
}

// registered registers a client of the owner in the sandbox and returns the
// answer.
func (w *world) registered(owner string, changes claims) *answer {
	w.t.Helper()
	a := w.register(owner, w.statement(sandboxDirectory, owner, nil), changes)
	expect(w.t, a, 201, "")
	return a
}

func bearerHeader(token string) http.Header { return http.Header{"Authorization": {"Bearer " + token}} }

// Proves: D6
func TestRegister(t *testing.T) {
	forEachWorld(t, func(t *testing.T, w *world) {
		a := w.registered("new-tpp", nil)
		id := a.text("client_id")
		if len(id) != 22 || a.Header.Get("Cache-Control") != "no-store" || a.JSON["client_secret"] != nil ||
			!strings.HasPrefix(a.text("registration_client_uri"), baseURL+registerPath+"/") || a.text("client_name") != "App of new-tpp" ||
			a.text("scope") != "openid accounts payments" || a.JSON["client_id_issued_at"] != float64(w.clock.Now().Unix()) {
			t.Errorf("%v", a)
		}
		assertion, err := clientKey(t, "new-tpp", jose.PS256).Sign("JWT", w.assertionClaims("alpha", id))
		must(t, err)
		token := w.do("POST", "/api/oidc/alpha/tokens", formHeader, clientCredentials.with(form{"client_assertion_type": assertionType, "client_assertion": assertion}).encode())
		expect(t, token, 200, "")

		self := registerPath + "/" + id
		for name, bearer := range map[string]string{"registration access token": a.text("registration_access_token"), "access token": token.text("access_token")} {
			if got := w.do("GET", self, bearerHeader(bearer), ""); got.StatusCode != 200 || got.text("client_id") != id {
				t.Errorf("%s: %v", name, got)
			}
		}
		if got := w.do("DELETE", self, bearerHeader(token.text("access_token")), ""); got.StatusCode != 204 {
			t.Fatal(got)
		}
		for name, bearer := range map[string]string{"registration access token": a.text("registration_access_token"), "access token": token.text("access_token")} {
			expect(t, w.do("GET", self, bearerHeader(bearer), ""), 401, "invalid_token")
			_ = name
		}
		if w.active("alpha", token.text("access_token")) {
			t.Error("the token outlived the client")
		}
	})
}
