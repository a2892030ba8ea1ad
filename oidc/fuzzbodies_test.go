package oidc_test

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/pem"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"gatehouse"
	"gatehouse/eidas"
)

// Where nobody vouches for a client, it registers by what its body says. It is
// registered as that, at the provider that is open, or nothing is stored.
//
// Proves: D15
func FuzzRegistrationBody(f *testing.F) {
	q := newQuarry(f)
	q.changeProvider("alpha", func(p *gatehouse.Provider) { p.Rules.OpenRegistration = true })
	good := claims{
		"provider_code": "alpha", "client_name": "Anybody", "redirect_uris": []string{callback}, "scope": "openid accounts", "grant_types": gatehouse.GrantTypes(), "response_types": []string{"code"},
		"token_endpoint_auth_method": "private_key_jwt", "token_endpoint_auth_signing_alg": "PS256", "request_object_signing_alg": "PS256", "id_token_signed_response_alg": "PS256",
		"application_type": "web", "require_signed_request_object": true, "jwks": clientJWKS(f, "anybody"),
	}
	f.Add([]byte(text(f, good)))
	f.Add([]byte(text(f, good.with(claims{"jwks": nil, "token_endpoint_auth_method": "client_secret_basic"}))))
	f.Add([]byte(text(f, good.with(claims{"redirect_uris": []string{callback, callback + "?a=1"}}))))
	for _, name := range slices.Sorted(maps.Keys(good)) {
		for _, value := range []any{nil, "", 7, []any{nil}, claims{}, []string{"", "https://tpp.example/#", "a\x00"}, strings.Repeat("n", 4096)} {
			f.Add([]byte(text(f, good.with(claims{name: value}))))
		}
	}
	for name, value := range map[string]any{
		"jwks_uri": "https://tpp.example/jwks", "software_statement": "a.b.c", "software_id": "x", "client_id": tppA, "client_secret": secret, "registration_access_token": "x", "status": "active",
		"environment": "production", "providers": []string{"gamma"}, "default_max_age": 1, "request_uris": []string{callback}, "tls_client_auth_subject_dn": "CN=x", "error": "x",
	} {
		f.Add([]byte(text(f, good.with(claims{name: value}))))
	}
	for _, marred := range badForms {
		f.Add([]byte(marred.mar(text(f, good))))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		q.in(t)
		q.clock.advance(time.Hour) // an address may not register so often
		q.wrote()
		var a *answer
		q.quick(func() {
			a = q.do("POST", registerPath, http.Header{"Content-Type": {"application/json"}}, string(body))
		})
		wrote := q.wrote()
		if a.StatusCode != 201 {
			if wrote || a.StatusCode == 429 {
				t.Errorf("written %v: %v", wrote, a)
			}
			return
		}
		sent, err := strictJSON(body)
		if err != nil || !wrote {
			t.Fatalf("took %s: %v, written %v", body, err, wrote)
		}
		c, err := q.store.Client(context.Background(), a.text("client_id"))
		must(t, err)
		must(t, c.Validate())
		var uris []any
		for _, uri := range c.RedirectURIs {
			uris = append(uris, uri)
		}
		if list, _ := sent["redirect_uris"].([]any); c.Name != sent["client_name"] || !slices.Equal(uris, list) || sent["provider_code"] != "alpha" || !slices.Equal(c.Providers, []string{"alpha"}) {
			t.Errorf("%s is registered as %+v", body, c)
		}
		scopes := gatehouse.AllScopes()
		if scope, ok := sent["scope"].(string); ok {
			scopes = gatehouse.ParseScopes(scope)
		}
		if c.Environment != gatehouse.SandboxEnvironment || c.TPP != nil || c.SoftwareStatement != "" || !slices.Equal(c.Scopes, scopes) || c.ID == sent["client_id"] {
			t.Errorf("%s is registered as %+v", body, c)
		}
	})
}

// Stand-ins for certificates, which each process issues by itself.
var freshCertificates = map[string]eidas.Kind{"a-fresh-obseal": eidas.OBSeal, "a-fresh-qseal": eidas.QSeal}

func thumbprint(der []byte) string {
	sum := sha256.Sum256(der)
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// A certificate is stored as it came, or not at all.
func FuzzCertificateBody(f *testing.F) {
	q := newQuarry(f)
	w := newCertifiedWorld(q.world)
	for _, trust := range w.trust {
		trust.Revocation.HTTP = &http.Client{Transport: new(http.Transport)} // the list of the revoked is on the network
	}
	q.handler = q.server(q.store).Handler()
	id, token := w.tpp(sandboxDirectory, "tpp")
	issued := map[string]string{"a-foreign-obseal": w.sandbox.issue("other", eidas.OBSeal), "a-live-obseal": w.production.issue("tpp", eidas.OBSeal)}
	for name, kind := range freshCertificates {
		issued[name] = w.sandbox.issue("tpp", kind)
	}
	var stand []string
	qualified := map[string]bool{} // by thumbprint
	for name, certificate := range issued {
		block, _ := pem.Decode([]byte(certificate))
		qualified[thumbprint(block.Bytes)] = name == "a-fresh-qseal"
		inner := strings.Trim(text(f, certificate), `"`)
		stand = append(stand, name, inner)
		for _, kind := range []eidas.Kind{eidas.OBSeal, eidas.QSeal, eidas.OBWAC} {
			f.Add([]byte(text(f, certificateBody(kind, name))))
		}
	}
	inStead := strings.NewReplacer(stand...)
	good := certificateBody(eidas.OBSeal, "a-fresh-obseal")
	inner := good["data"].(claims)["certificate"].(claims)
	for _, name := range slices.Sorted(maps.Keys(inner)) {
		was := inner[name]
		held := was.(string)
		for _, value := range []any{nil, "", 7, []any{was}, claims{}, held + "\n", "\n" + held, held + held, strings.Repeat("n", 4096)} {
			f.Add([]byte(text(f, claims{"data": claims{"certificate": inner.with(claims{name: value})}})))
		}
	}
	for _, marred := range badForms {
		f.Add([]byte(marred.mar(text(f, good))))
	}
	for _, body := range []string{"", "{}", `{"data":null}`, `{"data":{"certificate":null}}`, strings.Repeat(`{"data":`, 9) + "{}" + strings.Repeat("}", 9)} {
		f.Add([]byte(body))
	}
	f.Fuzz(func(t *testing.T, template []byte) {
		q.in(t)
		body := inStead.Replace(string(template))
		var a *answer
		q.wrote()
		q.quick(func() { a = w.addBody("alpha", token, body) })
		wrote := q.wrote()
		if a.StatusCode != 201 {
			if wrote {
				t.Errorf("written: %v", a)
			}
			return
		}
		sent, err := strictJSON([]byte(body))
		if err != nil || !wrote {
			t.Fatalf("took %s: %v, written %v", body, err, wrote)
		}
		data, _ := sent["data"].(map[string]any)
		certificate, _ := data["certificate"].(map[string]any)
		armoured, _ := certificate["pem"].(string)
		block, rest := pem.Decode([]byte(armoured))
		if block == nil || block.Type != "CERTIFICATE" || strings.TrimSpace(string(rest)) != "" {
			t.Fatalf("took %q", armoured)
		}
		environment := gatehouse.SandboxEnvironment
		if strings.Contains(string(template), "a-live-obseal") {
			environment = gatehouse.Production
		}
		stored := w.stored(id)
		last := stored[len(stored)-1]
		if last.PEM != armoured || last.Name != certificate["name"] || last.Type != certificate["type"] || last.Environment != environment ||
			last.Thumbprint != thumbprint(block.Bytes) || last.Type != "obseal" && (last.Type != "qseal" || !qualified[last.Thumbprint]) {
			t.Errorf("%s is stored as %+v", body, last)
		}
	})
}
