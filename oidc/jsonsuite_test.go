package oidc_test

import (
	"encoding/json"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"gatehouse"
	"gatehouse/jose"
)

// A jsonDoor is a place where JSON comes in. Send puts a member, as text, in
// front of those of a good object.
type jsonDoor struct {
	name    string
	closed  bool // may refuse a member that it does not know
	send    func(member string) *answer
	refused func(a *answer) bool
}

func jsonDoors(w *world) []jsonDoor {
	t := w.t
	own, directory := clientKey(t, tppA, jose.PS256), key(t, sandboxDirectory, jose.PS256)
	tokenRequest := func(assertion string) *answer {
		return w.do("POST", "/api/oidc/alpha/tokens", formHeader, clientCredentials.with(form{"client_assertion_type": assertionType, "client_assertion": assertion}).encode())
	}
	says := func(codes ...string) func(*answer) bool {
		return func(a *answer) bool {
			for _, code := range codes {
				if a.StatusCode == 400 && (a.text("error") == code || a.text("error_class") == code) {
					return true
				}
			}
			return false
		}
	}
	signing := func(k *jose.PrivateKey) *forge { return newForge(t, tokenDoor{key: k, typ: "JWT"}) }
	visit := w.visit("alpha", query(tppA))
	access := w.ownToken("alpha", tppA)
	return []jsonDoor{
		{"claims of an assertion", false, func(member string) *answer {
			f := signing(own)
			return tokenRequest(f.raw(text(t, f.header()), first(member, text(t, w.assertionClaims("alpha", tppA)))))
		}, says("invalid_client")},
		{"claims, a parameter", false, func(member string) *answer {
			return w.ask("alpha", query(tppA).with(form{"claims": first(member, `{"userinfo":{}}`)})).answer
		}, func(a *answer) bool {
			return a.StatusCode == 303 && strings.HasPrefix(a.Header.Get("Location"), callback+"?error=invalid_request&")
		}},
		{"claims of a request object", false, func(member string) *answer {
			f := signing(own)
			return w.ask("alpha", query(tppA).with(form{"request": f.raw(text(t, f.header()), first(member, text(t, w.requestClaims("alpha", tppA))))})).answer
		}, func(a *answer) bool {
			return a.StatusCode == 303 && strings.HasPrefix(a.Header.Get("Location"), callback+"?error=invalid_request_object&")
		}},
		{"body of a registration", false, func(member string) *answer {
			body := text(t, claims{"software_statement": w.statement(sandboxDirectory, "m", nil), "token_endpoint_auth_method": "private_key_jwt"})
			return w.do("POST", registerPath, jsonHeader, first(member, body))
		}, says("invalid_client_metadata")},
		{"claims of a statement", false, func(member string) *answer {
			f := signing(directory)
			return w.registerJSON(f.raw(text(t, f.header()), first(member, text(t, w.statementClaims(sandboxDirectory, "m")))), nil)
		}, says("invalid_software_statement")},
		{"a key", false, func(member string) *answer {
			f, object := signing(directory), text(t, w.statementClaims(sandboxDirectory, "m").with(claims{"software_jwks": "here"}))
			set := strings.Replace(string(clientJWKS(t, "m")), `{"kty"`, "{"+member+`,"kty"`, 1)
			return w.registerJSON(f.raw(text(t, f.header()), strings.Replace(object, `"here"`, set, 1)), nil)
		}, says("invalid_software_statement")},
		{"a call of a connector", false, func(member string) *answer {
			f := newForge(t, tokenDoor{key: key(t, "bank alpha", jose.RS256)})
			payload := first(member, text(t, claims{"data": approval, "exp": w.clock.Now().Add(2 * time.Minute).Unix()}))
			a := w.do("PUT", "/api/connectors/ob/v1/authorizations/"+visit.id, w.connectorHeader("alpha"), f.raw(text(t, f.header()), payload))
			if a.StatusCode == 200 { // the next one needs another
				visit = w.visit("alpha", query(tppA))
			}
			return a
		}, func(a *answer) bool {
			return a.StatusCode == 400 && a.text("error_message") != "" && a.JSON["data"] == nil
		}},
		{"body of a consent", true, func(member string) *answer {
			return w.openBanking("POST", resourceOf(gatehouse.AccountAccess).at("alpha", "v3.1.11"), access, first(member, accountAccessBody))
		}, func(a *answer) bool { return a.StatusCode == 400 && a.JSON["Errors"] != nil && a.JSON["Data"] == nil }},
		{"body of a token request", true, func(member string) *answer {
			f := w.asserted("alpha", tppA, clientCredentials)
			return w.do("POST", "/api/oidc/alpha/tokens", http.Header{"Content-Type": {"application/json"}}, first(member, text(t, f)))
		}, says("invalid_request")},
	}
}

// What a JSON parser must refuse is refused at every door where JSON comes in,
// though all the rest of it is good, and nothing is stored. What a parser must
// take is taken where a member that nobody knows may be.
func TestJSONTestSuiteAtEveryDoor(t *testing.T) {
	t.Parallel()
	data, err := os.ReadFile("../jose/testdata/json_test_suite.json")
	must(t, err)
	var cases []struct{ Name, Input string }
	must(t, json.Unmarshal(data, &cases))
	w := sqliteWorld(t)
	written, tried, taken := w.written(), 0, 0
	for _, c := range cases {
		w.clock.advance(24 * time.Hour) // what may be registered in a day is limited
		good := strings.HasPrefix(c.Name, "y_") && !strings.HasPrefix(c.Name, "y_object_duplicated_key")
		for _, door := range jsonDoors(w) {
			written()
			a := door.send(`"member":` + c.Input)
			switch refused := door.refused(a); {
			case refused && !written() && (!good || door.closed):
				tried++
			case !refused && a.StatusCode < 400 && !strings.HasPrefix(c.Name, "n_"):
				taken++
			default:
				t.Errorf("%s: %s: %.60q: %v %v", door.name, c.Name, c.Input, a, a.Header["Location"])
			}
		}
	}
	if taken < 500 {
		t.Errorf("only %d taken", taken)
	}
	tallied(t, tried)
}
