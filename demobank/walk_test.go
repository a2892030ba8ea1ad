package demobank_test

import (
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"gatehouse/demobank"
	"gatehouse/jose"
)

func TestWalk(t *testing.T) {
	w := newTown(t)
	var out strings.Builder
	if err := demobank.Walk(t.Context(), &out, *w.world); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	for _, want := range []string{
		"$ curl -sS -i '" + w.URL + "/.well-known/openid-configuration/demobank'",
		"-u 'secretive:se+cret%3A%25'",
		"--data-urlencode 'provider_code=demobank'",
		"-H 'Content-Type: application/json'",
		"425 Too Early", "Retry-After: 1", "401 Unauthorized", "404 Not Found",
		`"error_class": "InvalidClientAssertion"`, `"error_class": "InvalidRequest"`,
		`"error_class": "NotFound"`, `"error_class": "TooEarly"`, `"error": "invalid_client"`, "access_denied",
		"$ curl -sS -i '" + w.world.DirectoryURL + "/software-statements'", "$ curl -sS -i '" + w.URL + "/open_banking/v3.2/tpp/register?dry_run=true'",
		"-H 'Content-Type: application/jwt'", "201 Created", "204 No Content",
		"$ curl -sS -i -X PUT '" + w.URL + "/open_banking/v3.2/tpp/register/client-1' \\\n       -H 'Authorization: Bearer token-of-client-1'",
		`"error": "unapproved_software_statement"`, `"error": "invalid_token"`,
		"$ curl -sS -i '" + w.URL + "/api/demobank/open-banking/v3.1/aisp/account-access-consents'", `"Status": "AwaitingAuthorisation"`, `"Status": "Authorised"`,
		"-u 'gateway:se+cret%3A%25'", `"active": true`, "page: Withdraw the access of Demo TPP?", `"error_description": "the consent was revoked"`, `"active": false`, `"Status": "Revoked"`,
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the walk does not print %s", want)
		}
	}
}

// Every answer that is not the expected one ends the walk, at the step where it comes.
func TestWalkNoticesWrongAnswers(t *testing.T) {
	for name, test := range map[string]struct {
		spoil func(r *http.Request, status int, body map[string]any) int
		want  string
	}{
		"other issuer":          {member("", "issuer", "https://elsewhere.test"), "another issuer"},
		"NotFound as 500":       {status(http.StatusNotFound, http.StatusInternalServerError), "want status 404, got 500"},
		"TooEarly as 400":       {status(http.StatusTooEarly, http.StatusBadRequest), "want status 425, got 400"},
		"invalid_client as 400": {status(http.StatusUnauthorized, http.StatusBadRequest), "want status 401, got 400"},
		"other class":           {member("InvalidClientAssertion", "error_class", "InvalidRequest"), "want error_class InvalidClientAssertion"},
		"no class":              {member("InvalidRequest", "error_class", ""), "want error_class InvalidRequest"},
		"other error":           {member("InvalidClientAssertion", "error", "invalid_request"), "want error invalid_client"},
		"ID Token not a JWT":    {member("", "id_token", "x"), "id_token: not three parts"},
		"ID Token of another":   {claim(keys().server, "aud", "another"), "aud is not the client"},
		"ID Token of elsewhere": {claim(keys().server, "iss", "https://elsewhere.test"), "iss is not the issuer"},
		"ID Token, other nonce": {claim(keys().server, "nonce", "other"), "nonce is not the one sent"},
		"ID Token, other token": {claim(keys().server, "at_hash", "other"), "at_hash does not fit"},
		"ID Token over":         {claim(keys().server, "exp", began.Add(-time.Minute).Unix()), "exp is over"},
		"ID Token, other key":   {claim(keys().bank, "sub", "someone"), "no key"},
		"client_credentials":    {refuse("client_credentials"), "want status 200"},
		"code refused":          {refuse("authorization_code"), "want status 200"},
		"refresh refused":       {refuse("refresh_token"), "want status 200"},
		"trusts everybody":      {recode("unapproved_software_statement", "invalid_client_metadata"), "want error unapproved_software_statement"},
		"one problem":           {member("", "problems", []any{}), "want 2 problems, got 0"},
		"registered as 200":     {status(http.StatusCreated, http.StatusOK), "want status 201, got 200"},
		"deleted still known":   {recode("invalid_token", "invalid_client"), "want error invalid_token"},
		"consent not lodged":    {consentStatus("AwaitingAuthorisation", "Rejected"), `want a consent that is AwaitingAuthorisation, got "Rejected"`},
		"consent not allowed":   {consentStatus("Authorised", "AwaitingAuthorisation"), `want a consent that is Authorised, got "AwaitingAuthorisation"`},
		"consent not over":      {consentStatus("Revoked", "Authorised"), `want a consent that is Revoked, got "Authorised"`},
		"another consent":       {claim(keys().server, "openbanking_intent_id", "other"), "openbanking_intent_id is not the consent"},
		"token not good":        {member("", "active", false), "want active true, got false"},
		"token still good":      {member("", "active", true), "want active false, got true"},
		"token of no consent":   {member("", "consent", map[string]any{}), "does not name the consent"},
		"refused without why":   {member("InvalidRequest", "error_description", "no"), "does not say that it is the consent"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newTown(t)
			w.spoil = test.spoil
			failsWith(t, w, test.want)
		})
	}
	for name, test := range map[string]struct {
		forge func(url.Values)
		want  string
	}{
		"other state": {func(query url.Values) { query.Set("state", "x") }, "state is not the one sent"},
		"no issuer":   {func(query url.Values) { query.Del("iss") }, "iss is not the issuer"},
		"no code":     {func(query url.Values) { query.Del("code") }, "code is missing"},
		"no refusal":  {func(query url.Values) { query.Del("error") }, "want access_denied"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newTown(t)
			w.forge = test.forge
			failsWith(t, w, test.want)
		})
	}
	for name, test := range map[string]struct {
		change func(*consent)
		want   string
	}{
		"nobody has access":       {func(c *consent) { c.hidden = true }, "lists nobody who has access"},
		"withdrawal in vain":      {func(c *consent) { c.lives = true }, "want status 400, got 200"},
		"withdrawal not a page":   {func(c *consent) { c.page = http.StatusForbidden }, "want status 200, got 403"},
		"withdrawal without form": {func(c *consent) { c.formless = true }, "the page has no form"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newTown(t)
			test.change(&w.consent)
			failsWith(t, w, test.want)
		})
	}
	t.Run("no oidc provider", func(t *testing.T) {
		w := newTown(t)
		w.world.Providers = w.world.Providers[:2]
		failsWith(t, w, "no provider of profile oidc")
	})
}

func failsWith(t *testing.T, w *town, want string) {
	t.Helper()
	err := demobank.Walk(t.Context(), io.Discard, *w.world)
	if err == nil || !strings.HasPrefix(err.Error(), "step ") || !strings.Contains(err.Error(), want) {
		t.Errorf("error %v, want %q", err, want)
	}
}

func status(from, to int) func(*http.Request, int, map[string]any) int {
	return func(_ *http.Request, status int, _ map[string]any) int {
		if status == from {
			return to
		}
		return status
	}
}

// member replaces a member in answers of a class; the empty class is a token response.
func member(class, name string, value any) func(*http.Request, int, map[string]any) int {
	return func(_ *http.Request, status int, body map[string]any) int {
		got, _ := body["error_class"].(string)
		if body[name] != nil && got == class {
			body[name] = value
		}
		return status
	}
}

// recode replaces an error code by another.
func recode(from, to string) func(*http.Request, int, map[string]any) int {
	return func(_ *http.Request, status int, body map[string]any) int {
		if body["error"] == from {
			body["error"] = to
		}
		return status
	}
}

// claim replaces a claim of every ID Token that comes from a code, and signs it by key.
func claim(key *jose.PrivateKey, name string, value any) func(*http.Request, int, map[string]any) int {
	return func(r *http.Request, status int, body map[string]any) int {
		if body["id_token"] == nil || r.PostForm.Get("grant_type") != "authorization_code" {
			return status
		}
		claims := make(map[string]any)
		for n, v := range must(jose.Parse(body["id_token"].(string), jose.MaxSize)).Claims {
			claims[n] = v
		}
		maps.Copy(claims, map[string]any{name: value})
		body["id_token"] = must(key.Sign("JWT", claims))
		return status
	}
}

// consentStatus replaces a status of a consent by another.
func consentStatus(from, to string) func(*http.Request, int, map[string]any) int {
	return func(_ *http.Request, status int, body map[string]any) int {
		if data, ok := body["Data"].(map[string]any); ok && data["Status"] == from {
			data["Status"] = to
		}
		return status
	}
}

func refuse(grantType string) func(*http.Request, int, map[string]any) int {
	return func(r *http.Request, status int, body map[string]any) int {
		if r.PostForm.Get("grant_type") == grantType && status == http.StatusOK {
			return http.StatusBadRequest
		}
		return status
	}
}

func TestWorldIsWrittenAsDemoJSON(t *testing.T) {
	world := demobank.World{BaseURL: "b", SideURL: "o", DirectoryURL: "d", Providers: []demobank.Provider{{
		Code: "p", Issuer: "i", Profile: "psd2", Door: demobank.DoorBank,
		Clients: []demobank.Client{{
			ID: "c", AuthMethod: "m", Secret: "s", Alg: "a", KID: "k", KeyFile: "f", RedirectURIs: []string{"r"},
			SoftwareID: "w", SoftwareKeyFile: "g", RegistrationAccessToken: "t",
		}},
		Connector: demobank.Connector{BaseURL: "b", AppID: "a", AppSecret: "s", KeyFile: "f"},
		Gateway:   demobank.Gateway{ID: "g", Secret: "t"},
		PSUs:      []demobank.PSU{{Username: "u", Password: "p", OTP: "o"}},
	}}}
	want := `{"base_url":"b","side_url":"o","directory_url":"d","providers":[{"provider_code":"p","issuer":"i","profile":"psd2","door":"bank",` +
		`"clients":[{"client_id":"c","token_endpoint_auth_method":"m","client_secret":"s","alg":"a","kid":"k","key_file":"f","redirect_uris":["r"],` +
		`"software_id":"w","software_key_file":"g","registration_access_token":"t"}],` +
		`"connector":{"base_url":"b","app_id":"a","app_secret":"s","key_file":"f"},"gateway":{"resource_server_id":"g","secret":"t"},"psus":[{"username":"u","password":"p","otp":"o"}]}]}`
	if got := string(must(json.Marshal(world))); got != want {
		t.Errorf("demo.json\n got %s\nwant %s", got, want)
	}
}
