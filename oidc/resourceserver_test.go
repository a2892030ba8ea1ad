package oidc_test

// Resource servers: RFC 7662 with RFC 9701, and whatever ends a token as each
// of the endpoints sees it that are not the client's own.

import (
	"context"
	"crypto"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	rp "github.com/coreos/go-oidc/v3/oidc"
	"github.com/google/go-cmp/cmp"

	"gatehouse"
	"gatehouse/jose"
)

const guardSecret = "gu4rd of %+: ü, 16 or more"

// guard adds a resource server to a provider and returns its id, which needs
// the form encoding of RFC 6749 §2.3.1.
func (w *world) guard(provider string) string {
	w.t.Helper()
	id := "rs: " + provider
	must(w.t, w.store.CreateResourceServer(context.Background(), &gatehouse.ResourceServer{
		ID: id, Provider: provider, Name: "Gateway of " + provider, CreatedAt: w.clock.Now(),
		SecretHash: gatehouse.ResourceServerSecretHash(w.kek, provider, id, guardSecret),
	}))
	w.clock.advance(6 * time.Second) // servers may have the provider in their caches
	return id
}

// introspectBy is what introspection tells a resource server.
func (w *world) introspectBy(site *httptest.Server, provider, guard, token string, accept ...string) *answer {
	w.t.Helper()
	header := formHeader.Clone()
	header.Set("Authorization", basicHeader(guard, guardSecret))
	header["Accept"] = accept
	return w.doAt(site, "POST", "/api/oidc/"+provider+"/introspect", header, form{"token": token}.encode())
}

// check asks as a gateway does for the bearer of a token.
func (w *world) check(site *httptest.Server, provider, guard, token, query string) *answer {
	w.t.Helper()
	return w.doAt(site, "GET", "/api/oidc/"+provider+"/check"+query, checkHeader(guard, token), "")
}

func checkHeader(guard, token string) http.Header {
	return http.Header{"Resource-Server-Authorization": {basicHeader(guard, guardSecret)}, "Authorization": {"Bearer " + token}}
}

func (w *world) userinfo(site *httptest.Server, provider, token string) *answer {
	w.t.Helper()
	return w.doAt(site, "GET", "/api/oidc/"+provider+"/userinfo", bearerHeader(token), "")
}

// isGood fails the test unless every endpoint of a site that takes an access
// token says of it what is wanted.
func (w *world) isGood(name string, site *httptest.Server, provider, guard, token string, want bool) {
	w.t.Helper()
	inquired, checked, told := w.introspectBy(site, provider, guard, token), w.check(site, provider, guard, token, ""), w.userinfo(site, provider, token)
	if want {
		if inquired.JSON["active"] != true || checked.StatusCode != 200 || told.StatusCode != 200 {
			w.t.Errorf("%s at %s: introspection %v, check %v, userinfo %v", name, provider, inquired, checked, told)
		}
		return
	}
	if inquired.StatusCode != 200 || inquired.Body != `{"active":false}` {
		w.t.Errorf("%s at %s: introspection: %v", name, provider, inquired)
	}
	for _, a := range []*answer{checked, told} {
		if a.StatusCode != 401 || a.text("error") != "invalid_token" || !strings.Contains(a.Header.Get("WWW-Authenticate"), `error="invalid_token"`) {
			w.t.Errorf("%s at %s: %s: %v %v", name, provider, a.Request.URL.Path, a, a.Header)
		}
		for header := range a.Header {
			if strings.HasPrefix(header, "Gatehouse-") {
				w.t.Errorf("%s at %s: refused with %s", name, provider, header)
			}
		}
	}
}

// unknown is a token with the id of another.
func unknown(token string) string { return token[:27] + gatehouse.NewSecret() }

// decided takes a PSU through a visit that the bank ends with the verdict, and
// returns the token response.
func (w *world) decided(provider, client string, q form, verdict claims) *answer {
	w.t.Helper()
	q = query(client).with(q)
	var code string
	if provider == "beta" {
		id, bankCode, a := w.bankCode(q, nil)
		expect(w.t, a, 200, "")
		expect(w.t, w.connector("beta", "PUT", "/"+id, verdict), 200, "")
		code = bankCode
	} else {
		v := w.visit(provider, q)
		expect(w.t, v.decide(verdict), 200, "")
		code = landed(w.t, v.back()).Get("code")
	}
	a := w.token(provider, client, exchange(code))
	expect(w.t, a, 200, "")
	return a
}

// A resource server is told all that it needs to serve the bearer; the token's
// audience is the issuer.
//
// Proves: K13
func TestResourceServerIsTold(t *testing.T) {
	forEachWorld(t, func(t *testing.T, w *world) {
		for _, provider := range everyProvider {
			guard := w.guard(provider)
			now := w.clock.Now()
			ends := now.Add(time.Hour)
			debtor := claims{"scheme_name": "UK.OBIE.IBAN", "identification": "GB29", "name": "Zoë <&>", "secondary_identification": nil}
			for _, row := range []struct {
				name    string
				lodged  gatehouse.Consent
				verdict claims
				scope   string
				want    claims // what the token is told with beyond what every token is
			}{
				{"accounts", gatehouse.Consent{ID: "accounts-1", ExpiresAt: ends, Lodged: json.RawMessage(`{"Data":{"Permissions":["ReadBalances","ReadTransactionsDetail"],` +
					`"ExpirationDateTime":"2026-11-23T14:00:00+01:00","TransactionFromDateTime":"2026-01-01T00:00:00+00:00","TransactionToDateTime":"2026-06-30T00:00:00Z"},"Risk":{}}`)},
					approval, "openid accounts", claims{"openbanking_intent_id": "accounts-1", "accounts": []any{"GB29NWBK60161331926819"}, "consent": map[string]any{
						"consent_id": "accounts-1", "kind": "account-access", "status": "Authorised", "permissions": []any{"ReadBalances", "ReadTransactionsDetail"},
						"expiration_date_time": ends.UTC().Format(time.RFC3339), "transaction_from_date_time": "2026-01-01T00:00:00+00:00", "transaction_to_date_time": "2026-06-30T00:00:00Z",
					}}},
				{"accounts for ever", gatehouse.Consent{ID: "accounts-2"}, approval.with(claims{"access": nil}), "openid accounts", claims{"openbanking_intent_id": "accounts-2",
					"consent": map[string]any{"consent_id": "accounts-2", "kind": "account-access", "status": "Authorised", "permissions": []any{"ReadBalances"}}}},
				{"payment", gatehouse.Consent{ID: "payment-1", Kind: gatehouse.DomesticPayment, Lodged: json.RawMessage(`{"Data":{"Initiation":{}},"Risk":{}}`)},
					approval.with(claims{"access": nil, "debtor_account": debtor}), "openid payments", claims{"openbanking_intent_id": "payment-1", "debtor_account": map[string]any(debtor),
						"consent": map[string]any{"consent_id": "payment-1", "kind": "domestic-payment", "status": "Authorised"}}},
				{"no consent", gatehouse.Consent{}, approval, "openid accounts", claims{"accounts": []any{"GB29NWBK60161331926819"}}},
			} {
				q := form{"scope": row.scope}
				if row.lodged.ID != "" {
					row.lodged.Provider, row.lodged.ClientID = provider, tppA
					q = q.with(w.lodgedConsent(row.lodged))
				}
				tokens := w.decided(provider, tppA, q, row.verdict)
				id, _ := gatehouse.TokenID(tokens.text("access_token"))
				want := claims{
					"active": true, "iss": issuer(provider), "aud": issuer(provider), "client_id": tppA, "sub": w.grantOf(provider, tokens).Subject,
					"scope": row.scope, "token_type": "Bearer", "jti": id, "iat": float64(now.Unix()), "exp": float64(now.Add(10 * time.Minute).Unix()),
					"auth_time": float64(now.Unix()), "acr": "urn:openbanking:psd2:sca", "user_id": "psu-17",
				}.with(row.want)
				got := w.introspectBy(w.site, provider, guard, tokens.text("access_token"))
				if diff := cmp.Diff(map[string]any(want), got.JSON); got.StatusCode != 200 || diff != "" {
					t.Errorf("%s at %s: %v: %s", row.name, provider, got, diff)
				}
				// Nothing of it is for the TPP.
				own := w.introspect(provider, tppA, tokens.text("access_token"))
				for _, member := range []string{"user_id", "accounts", "debtor_account", "consent"} {
					if own.JSON["active"] != true || own.JSON[member] != nil {
						t.Errorf("%s at %s: the TPP is told %s: %v", row.name, provider, member, own)
					}
				}
			}
			// A client's own token has no PSU.
			own := w.token(provider, basic, form{"grant_type": "client_credentials", "scope": "payments"})
			id, _ := gatehouse.TokenID(own.text("access_token"))
			want := map[string]any{
				"active": true, "iss": issuer(provider), "aud": issuer(provider), "client_id": basic, "sub": basic, "scope": "payments", "token_type": "Bearer", "jti": id,
				"iat": float64(now.Unix()), "exp": float64(now.Add(10 * time.Minute).Unix()),
			}
			if diff := cmp.Diff(want, w.introspectBy(w.site, provider, guard, own.text("access_token")).JSON); diff != "" {
				t.Errorf("client_credentials at %s: %s", provider, diff)
			}
		}
	})
}

// A resource server sees every access token of its provider and nothing else.
//
// Proves: T37
func TestResourceServerSeesItsProviderAlone(t *testing.T) {
	t.Parallel()
	forEachWorld(t, func(t *testing.T, w *world) {
		guards := map[string]string{}
		for _, provider := range everyProvider {
			guards[provider] = w.guard(provider)
		}
		tokens := map[string][]*answer{}
		for _, provider := range everyProvider {
			for _, client := range []string{tppA, tppB, basic} {
				tokens[provider] = append(tokens[provider], w.tokens(provider, client))
			}
		}
		for _, here := range everyProvider {
			for _, there := range everyProvider {
				for _, a := range tokens[there] {
					w.isGood("of "+there, w.site, here, guards[here], a.text("access_token"), here == there)
					for _, kind := range []string{"refresh_token", "id_token"} {
						w.isGood(kind+" of "+there, w.site, here, guards[here], a.text(kind), false)
					}
				}
			}
		}
		mine := tokens["alpha"][0].text("access_token")
		for name, token := range map[string]string{
			"an unknown secret": mine[:27] + gatehouse.NewSecret(), "the id": mine[:26], "longer": mine + "A", "another case": strings.ToUpper(mine),
			"an unknown id": gatehouse.NewID(w.clock.Now()) + mine[26:], "a code": w.code("alpha", tppA, nil), "one character": "x", "long": strings.Repeat("x", 3000),
		} {
			w.isGood(name, w.site, "alpha", guards["alpha"], token, false)
		}
	})
}

// Each row is a good request with one thing changed. A resource server is
// nobody at another provider, even with the same id and secret, and it revokes
// nothing.
//
// Proves: T37
func TestResourceServerCredentials(t *testing.T) {
	t.Parallel()
	forEachWorld(t, func(t *testing.T, w *world) {
		alpha, gamma := w.guard("alpha"), w.guard("gamma")
		// The row of alpha's, copied by somebody who can write to the database.
		must(t, w.store.CreateResourceServer(context.Background(), &gatehouse.ResourceServer{ID: alpha, Provider: "gamma", Name: "copied", CreatedAt: w.clock.Now(),
			SecretHash: gatehouse.ResourceServerSecretHash(w.kek, "alpha", alpha, guardSecret)}))
		w.clock.advance(6 * time.Second)
		at := map[string]string{"alpha": w.tokens("alpha", basic).text("access_token"), "gamma": w.tokens("gamma", basic).text("access_token")}
		plain := func(id, secret string) string {
			return "Basic " + base64.StdEncoding.EncodeToString([]byte(id+":"+secret))
		}
		for name, row := range map[string]struct {
			provider      string
			authorization []string
			form          form
			status        int
			code          string
		}{
			"wrong secret":             {"alpha", []string{basicHeader(alpha, guardSecret+"x")}, nil, 400, "invalid_client"},
			"wrong secret at gamma":    {"gamma", []string{basicHeader(gamma, guardSecret+"x")}, nil, 401, "invalid_client"},
			"empty secret":             {"alpha", []string{basicHeader(alpha, "")}, nil, 400, "invalid_client"},
			"a client's secret":        {"alpha", []string{basicHeader(alpha, secret)}, nil, 400, "invalid_client"},
			"a client with its secret": {"alpha", []string{basicHeader(basic, guardSecret)}, nil, 400, "invalid_client"},
			"another provider's":       {"alpha", []string{basicHeader(gamma, guardSecret)}, nil, 404, "invalid_client"},
			"alpha's at gamma":         {"gamma", []string{basicHeader(alpha, guardSecret)}, nil, 401, "invalid_client"},
			"not form-encoded":         {"alpha", []string{plain(alpha, guardSecret)}, nil, 400, "invalid_client"},
			"twice":                    {"alpha", []string{basicHeader(alpha, guardSecret), basicHeader(alpha, guardSecret)}, nil, 400, "invalid_client"},
			"another scheme":           {"alpha", []string{strings.Replace(basicHeader(alpha, guardSecret), "Basic", "Bearer", 1)}, nil, 400, "invalid_client"},
			"in the body":              {"alpha", nil, form{"client_id": alpha, "client_secret": guardSecret}, 400, "invalid_client"},
			"and a body":               {"alpha", []string{basicHeader(alpha, guardSecret)}, form{"client_secret": guardSecret}, 400, "invalid_request"},
			"and an assertion":         {"alpha", []string{basicHeader(alpha, guardSecret)}, w.asserted("alpha", tppA, nil), 400, "invalid_request"},
			"nothing":                  {"alpha", nil, nil, 400, "invalid_client"},
		} {
			header := formHeader.Clone()
			header["Authorization"] = row.authorization
			a := w.do("POST", "/api/oidc/"+row.provider+"/introspect", header, form{"token": at[row.provider]}.with(row.form).encode())
			if a.StatusCode != row.status || a.text("error") != row.code || a.JSON["active"] != nil || strings.Contains(a.Body, "gu4rd") {
				t.Errorf("%s: %v", name, a)
			}
		}
		for provider, unknown := range map[string]int{"alpha": 404, "gamma": 401} {
			guard := map[string]string{"alpha": alpha, "gamma": gamma}[provider]
			header := formHeader.Clone()
			header.Set("Authorization", basicHeader(guard, guardSecret))
			for _, endpoint := range []string{"revoke", "tokens"} {
				a := w.do("POST", "/api/oidc/"+provider+"/"+endpoint, header, form{"token": at[provider], "grant_type": "client_credentials"}.encode())
				expect(t, a, unknown, "invalid_client")
			}
			w.isGood("after all that", w.site, provider, guard, at[provider], true)
		}
		for name, f := range map[string]form{"no token": {}, "two": {"token": []string{"a", "b"}}} {
			header := formHeader.Clone()
			header.Set("Authorization", basicHeader(alpha, guardSecret))
			if a := w.do("POST", "/api/oidc/alpha/introspect", header, f.encode()); a.StatusCode != 400 || a.text("error") != "invalid_request" {
				t.Errorf("%s: %v", name, a)
			}
		}
		if strings.Contains(w.logged(), "gu4rd") {
			t.Error("the log has the secret")
		}
		// A resource server ends when an operator says so.
		must(t, w.store.DeleteResourceServer(context.Background(), "alpha", alpha, w.clock.Now()))
		w.clock.advance(6 * time.Second)
		expect(t, w.introspectBy(w.site, "alpha", alpha, at["alpha"]), 404, "invalid_client")
		expect(t, w.check(w.site, "alpha", alpha, at["alpha"], ""), 400, "invalid_request")
	})
}

// An id that a resource server and a client share, which admin refuses to
// make, is the resource server's at introspection, and the client's where only
// clients go.
func TestResourceServerWithTheIDOfAClient(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	must(t, w.store.CreateResourceServer(context.Background(), &gatehouse.ResourceServer{ID: basic, Provider: "alpha", Name: "x", CreatedAt: w.clock.Now(),
		SecretHash: gatehouse.ResourceServerSecretHash(w.kek, "alpha", basic, guardSecret)}))
	token := w.tokens("alpha", tppA).text("access_token")
	isActive(t, w.introspectBy(w.site, "alpha", basic, token), true)
	expect(t, w.introspect("alpha", basic, token), 400, "invalid_client")
	expect(t, w.token("alpha", basic, clientCredentials), 200, "")
	isActive(t, w.introspect("gamma", basic, w.tokens("gamma", basic).text("access_token")), true)
}

// However a grant ends, its tokens open nothing from that moment, whoever asks
// at whichever replica. No clock moves and no cache grows old meanwhile.
//
// Proves: T1, T37, A24
func TestEndsAreSeenAtOnce(t *testing.T) {
	forEachWorld(t, func(t *testing.T, w *world) {
		guard := w.guard("alpha")
		sites := w.pair()
		ctx := context.Background()
		n := 0
		for name, end := range map[string]func(tokens *answer, intent, code string){
			"revoked by its client": func(tokens *answer, _, _ string) {
				expect(t, w.revoke("alpha", tppB, tokens.text("access_token")), 200, "")
			},
			"its refresh token given back": func(tokens *answer, _, _ string) {
				expect(t, w.revoke("alpha", tppB, tokens.text("refresh_token")), 200, "")
			},
			"its code replayed": func(_ *answer, _, code string) {
				expect(t, w.token("alpha", tppB, exchange(code)), 400, "invalid_grant")
			},
			"revoked by an operator": func(tokens *answer, _, _ string) {
				must(t, w.store.RevokeGrant(ctx, "alpha", w.grantOf("alpha", tokens).ID, w.clock.Now()))
			},
			"the consent revoked": func(_ *answer, intent, _ string) {
				must(t, w.store.EndConsent(ctx, "alpha", intent, gatehouse.ConsentRevoked, w.clock.Now()))
			},
			"the payment made": func(_ *answer, intent, _ string) {
				must(t, w.store.EndConsent(ctx, "alpha", intent, gatehouse.ConsentConsumed, w.clock.Now()))
			},
		} {
			n++
			consent := gatehouse.Consent{ID: fmt.Sprint("consent-", n), Provider: "alpha", ClientID: tppB}
			scope := form{}
			if name == "the payment made" {
				consent.Kind, scope = gatehouse.DomesticPayment, form{"scope": "openid payments"}
			}
			code := w.code("alpha", tppB, w.lodgedConsent(consent).with(scope))
			tokens := w.token("alpha", tppB, exchange(code))
			expect(t, tokens, 200, "")
			for _, site := range sites {
				w.isGood(name+", before", site, "alpha", guard, tokens.text("access_token"), true)
			}
			end(tokens, consent.ID, code)
			for _, site := range sites {
				w.isGood(name, site, "alpha", guard, tokens.text("access_token"), false)
			}
		}
		// With a client, every grant of it.
		tokens := w.tokens("alpha", tppB)
		for _, site := range sites {
			w.isGood("the client deleted, before", site, "alpha", guard, tokens.text("access_token"), true)
		}
		must(t, w.store.DeleteClient(ctx, tppB, w.clock.Now()))
		for _, site := range sites {
			w.isGood("the client deleted", site, "alpha", guard, tokens.text("access_token"), false)
		}
	})
}

// A consent that is over is enough, should its grant ever be left behind.
func TestConsentWithoutItsGrant(t *testing.T) {
	t.Parallel()
	forEachWorld(t, func(t *testing.T, w *world) {
		guard := w.guard("alpha")
		intent := w.lodgedConsent(gatehouse.Consent{ID: "consent-1", Provider: "alpha", ClientID: tppA})
		token := w.decided("alpha", tppA, intent, approval).text("access_token")
		w.isGood("before", w.site, "alpha", guard, token, true)
		statement := "UPDATE consents SET status = 'Revoked' WHERE id = 'consent-1'"
		w.exec(map[string]string{"sqlite": statement, "pgx": statement})
		w.isGood("after", w.site, "alpha", guard, token, false)
	})
}

// A token is good only while its own time, both clocks of the grant, the
// client and the provider allow.
func TestTimeAndRightsAreUp(t *testing.T) {
	t.Parallel()
	forEachWorld(t, func(t *testing.T, w *world) {
		guard := w.guard("alpha")
		w.changeProvider("alpha", func(p *gatehouse.Provider) {
			p.Rules.AccessTokenLifetime, p.Rules.AuthenticationLifetime = gatehouse.Duration(2*time.Hour), gatehouse.Duration(time.Hour)
		})
		until := func(name string, q form, d time.Duration) {
			t.Helper()
			token := w.decided("alpha", tppA, q, approval).text("access_token")
			w.clock.advance(d - time.Millisecond)
			w.isGood(name+", a moment before", w.site, "alpha", guard, token, true)
			w.clock.advance(time.Millisecond)
			w.isGood(name, w.site, "alpha", guard, token, false)
		}
		ends := w.clock.Now().Add(30 * time.Minute)
		until("the consent's end", w.lodgedConsent(gatehouse.Consent{ID: "consent-1", Provider: "alpha", ClientID: tppA, ExpiresAt: ends}), 30*time.Minute)
		until("the age of the authentication", nil, time.Hour)
		w.changeProvider("alpha", func(p *gatehouse.Provider) { p.Rules.AccessTokenLifetime = gatehouse.Duration(20 * time.Minute) })
		until("its own time", nil, 20*time.Minute)

		token := w.tokens("alpha", tppA).text("access_token")
		for name, change := range map[string]func(*gatehouse.Client){
			"client disabled":          func(c *gatehouse.Client) { c.Status = gatehouse.ClientDisabled },
			"client not for this bank": func(c *gatehouse.Client) { c.Providers = []string{"beta"} },
			"nothing left of it":       func(c *gatehouse.Client) { c.Scopes = gatehouse.Scopes{"payments"} },
		} {
			before, err := w.store.Client(t.Context(), tppA)
			must(t, err)
			w.changeClient(tppA, change)
			w.isGood(name, w.site, "alpha", guard, token, false)
			w.changeClient(tppA, func(c *gatehouse.Client) {
				c.Status, c.Providers, c.Scopes = before.Status, before.Providers, before.Scopes
			})
			w.isGood(name+", and back", w.site, "alpha", guard, token, true)
		}
		w.changeProvider("alpha", func(p *gatehouse.Provider) { p.Status = gatehouse.Disabled })
		for _, a := range []*answer{w.introspectBy(w.site, "alpha", guard, token), w.check(w.site, "alpha", guard, token, ""), w.userinfo(w.site, "alpha", token)} {
			expect(t, a, 403, "access_denied")
		}
	})
}

// A token opens what the client and the grant still have of its scope.
func TestScopeThatIsLeft(t *testing.T) {
	t.Parallel()
	forEachWorld(t, func(t *testing.T, w *world) {
		guard := w.guard("alpha")
		intent := w.lodgedConsent(gatehouse.Consent{ID: "consent-1", Provider: "alpha", ClientID: tppA})
		token := w.decided("alpha", tppA, intent, approval).text("access_token")
		shows := func(name, want string) {
			t.Helper()
			inquired, checked, own := w.introspectBy(w.site, "alpha", guard, token), w.check(w.site, "alpha", guard, token, ""), w.introspect("alpha", tppA, token)
			if inquired.text("scope") != want || checked.Header.Get("Gatehouse-Scope") != want || own.text("scope") != want {
				t.Errorf("%s: introspection %v, check %v, the client's own %v, want %q", name, inquired, checked.Header, own, want)
			}
		}
		shows("at first", "openid accounts")
		w.changeClient(tppA, func(c *gatehouse.Client) { c.Scopes = gatehouse.Scopes{"accounts", "payments"} })
		shows("the client has less", "accounts")
		expect(t, w.userinfo(w.site, "alpha", token), 403, "insufficient_scope")
		expect(t, w.check(w.site, "alpha", guard, token, "?scope=openid"), 403, "insufficient_scope")
		w.changeClient(tppA, func(c *gatehouse.Client) { c.Scopes = gatehouse.Scopes{"openid", "accounts", "payments"} })
		shows("the client has it again", "openid accounts")
		w.decided("alpha", tppA, intent.with(form{"scope": "accounts"}), approval) // the PSU authorises again
		shows("the grant has less", "accounts")
	})
}

// A limitedStore fails to do one thing.
type limitedStore struct {
	gatehouse.Store
	fails string
}

func (l limitedStore) AccessToken(ctx context.Context, provider, id string) (*gatehouse.AccessToken, *gatehouse.Grant, error) {
	if l.fails == "AccessToken" {
		return nil, nil, errDisk
	}
	return l.Store.AccessToken(ctx, provider, id)
}

func (l limitedStore) Consent(ctx context.Context, provider, id string) (*gatehouse.Consent, error) {
	if l.fails == "Consent" {
		return nil, errDisk
	}
	return l.Store.Consent(ctx, provider, id)
}

func (l limitedStore) Client(ctx context.Context, id string) (*gatehouse.Client, error) {
	if l.fails == "Client" {
		return nil, errDisk
	}
	return l.Store.Client(ctx, id)
}

func (l limitedStore) ResourceServers(ctx context.Context, provider string) ([]*gatehouse.ResourceServer, error) {
	if l.fails == "ResourceServers" {
		return nil, errDisk
	}
	return l.Store.ResourceServers(ctx, provider)
}

func (l limitedStore) TouchGrant(ctx context.Context, provider, id string, now time.Time) error {
	if l.fails == "TouchGrant" {
		return errDisk
	}
	return l.Store.TouchGrant(ctx, provider, id, now)
}

// What cannot be read is neither good nor bad.
//
// Proves: T37
func TestTokensWithoutStorage(t *testing.T) {
	forEachWorld(t, func(t *testing.T, w *world) {
		guard := w.guard("alpha")
		intent := w.lodgedConsent(gatehouse.Consent{ID: "consent-1", Provider: "alpha", ClientID: tppA})
		token := w.decided("alpha", tppA, intent, approval).text("access_token")
		refused := func(site *httptest.Server, name string) {
			t.Helper()
			for _, a := range []*answer{w.introspectBy(site, "alpha", guard, token), w.introspectBy(site, "alpha", guard, token, "application/token-introspection+jwt"),
				w.check(site, "alpha", guard, token, ""), w.userinfo(site, "alpha", token)} {
				if a.StatusCode != 503 || a.text("error") != "temporarily_unavailable" || a.JSON["active"] != nil || strings.Contains(a.Body, "hunter2") || a.Header.Get("Retry-After") == "" {
					t.Errorf("%s: %s: %v", name, a.Request.URL.Path, a)
				}
			}
		}
		for _, fails := range []string{"AccessToken", "Consent", "Client", "ResourceServers"} {
			refused(w.replica(limitedStore{w.store, fails}), fails)
		}
		w.isGood("before", w.site, "alpha", guard, token, true)
		must(t, w.store.Close())
		refused(w.site, "no database")
	})
}

// A use is written down, but not each one; where it cannot be, that is no
// reason to refuse.
func TestUseIsWrittenDown(t *testing.T) {
	t.Parallel()
	forEachWorld(t, func(t *testing.T, w *world) {
		guard := w.guard("alpha")
		for name, use := range map[string]func(site *httptest.Server, token string) *answer{
			"introspection": func(site *httptest.Server, token string) *answer { return w.introspectBy(site, "alpha", guard, token) },
			"check":         func(site *httptest.Server, token string) *answer { return w.check(site, "alpha", guard, token, "") },
			"userinfo":      func(site *httptest.Server, token string) *answer { return w.userinfo(site, "alpha", token) },
		} {
			w.changeProvider("alpha", func(p *gatehouse.Provider) { p.Rules.AccessTokenLifetime = gatehouse.Duration(time.Hour) })
			tokens := w.tokens("alpha", tppA)
			used := func() time.Time { return w.grantOf("alpha", tokens).LastUsedAt }
			if !used().IsZero() {
				t.Errorf("%s: used before: %v", name, used())
			}
			w.introspect("alpha", tppA, tokens.text("access_token")) // its own question is no use
			if !used().IsZero() {
				t.Errorf("%s: the client's own question counts", name)
			}
			first := w.clock.Now()
			for _, later := range []time.Duration{0, 10 * time.Minute} {
				w.clock.advance(later)
				expect(t, use(w.site, tokens.text("access_token")), 200, "")
				if !used().Equal(first.Truncate(time.Millisecond)) {
					t.Errorf("%s, after %s: last used %v, first at %v", name, later, used(), first)
				}
			}
			failing := w.replica(limitedStore{w.store, "TouchGrant"})
			for later, tried := range []int{0, 1} { // the store is asked only when there is something to write
				w.clock.advance(time.Duration(later) * 5 * time.Minute)
				before := strings.Count(w.logged(), "use of a grant not written down")
				expect(t, use(failing, tokens.text("access_token")), 200, "")
				if n := strings.Count(w.logged(), "use of a grant not written down") - before; n != tried || !used().Equal(first.Truncate(time.Millisecond)) {
					t.Errorf("%s: tried %d times, want %d; last used %v", name, n, tried, used())
				}
			}
			expect(t, use(w.site, tokens.text("access_token")), 200, "")
			if !used().Equal(w.clock.Now().Truncate(time.Millisecond)) {
				t.Errorf("%s: last used %v, now is %v", name, used(), w.clock.Now())
			}
		}
	})
}

// RFC 9701: an answer is signed when it is asked for by its name, and can pass
// for no other token.
func TestSignedIntrospection(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	const signedType = "application/token-introspection+jwt"
	for provider, alg := range map[string]string{"alpha": jose.PS256, "beta": jose.PS256, "gamma": jose.RS256} {
		guard := w.guard(provider)
		intent := w.lodgedConsent(gatehouse.Consent{ID: "consent-1", Provider: provider, ClientID: tppA})
		tokens := w.decided(provider, tppA, intent, approval)
		token := tokens.text("access_token")
		for name, row := range map[string]struct {
			plain, signed *answer
			caller        string
		}{
			"active":           {w.introspectBy(w.site, provider, guard, token), w.introspectBy(w.site, provider, guard, token, signedType), guard},
			"inactive":         {w.introspectBy(w.site, provider, guard, "x"), w.introspectBy(w.site, provider, guard, "x", signedType), guard},
			"a refresh token":  {w.introspectBy(w.site, provider, guard, tokens.text("refresh_token")), w.introspectBy(w.site, provider, guard, tokens.text("refresh_token"), signedType), guard},
			"the client's own": {w.introspect(provider, tppA, token), w.introspectSigned(provider, tppA, token), tppA},
		} {
			if row.signed.StatusCode != 200 || row.signed.Header.Get("Content-Type") != signedType || row.signed.Header.Get("Cache-Control") != "no-store" {
				t.Fatalf("%s at %s: %v %v", name, provider, row.signed, row.signed.Header)
			}
			jwt, err := jose.Parse(row.signed.Body, jose.MaxSize)
			must(t, err)
			if jwt.Typ != "token-introspection+jwt" || jwt.Alg != alg || jwt.KID != key(t, provider, alg).KID {
				t.Errorf("%s at %s: typ %s, alg %s, kid %s", name, provider, jwt.Typ, jwt.Alg, jwt.KID)
			}
			must(t, jwt.Verify([]*jose.PublicKey{key(t, provider, alg).Public()}, alg))
			want := map[string]any{
				"iss": issuer(provider), "aud": row.caller, "iat": float64(w.clock.Now().Unix()), "token_introspection": row.plain.JSON,
			}
			if diff := cmp.Diff(want, payload(t, row.signed.Body)); diff != "" {
				t.Errorf("%s at %s: %s", name, provider, diff)
			}
			// It is no token: not for us, and not an ID Token for its caller,
			// since nothing says until when it is good.
			for skip, want := range map[bool]bool{true: true, false: false} {
				config := &rp.Config{ClientID: row.caller, SupportedSigningAlgs: []string{alg}, Now: w.clock.Now, SkipExpiryCheck: skip}
				keys := &rp.StaticKeySet{PublicKeys: []crypto.PublicKey{key(t, provider, alg).Public().Key}}
				if _, err := rp.NewVerifier(issuer(provider), keys, config).Verify(t.Context(), row.signed.Body); (err == nil) != want {
					t.Errorf("%s at %s: as an ID Token, expiry skipped %t: %v", name, provider, skip, err)
				}
			}
			w.isGood("a signed answer", w.site, provider, guard, row.signed.Body, false)
			f := form{"client_assertion_type": assertionType, "client_assertion": row.signed.Body, "grant_type": "client_credentials"}
			if a := w.do("POST", "/api/oidc/"+provider+"/tokens", formHeader, f.encode()); a.text("error") != "invalid_client" {
				t.Errorf("%s at %s: a signed answer as an assertion: %v", name, provider, a)
			}
		}

		for accept, signed := range map[string]bool{
			signedType:                                         true,
			"Application/Token-Introspection+JWT":              true,
			signedType + "; q=0.1":                             true,
			signedType + ", application/json":                  true,
			"application/json, " + signedType:                  true,
			"application/json;q=0.9, " + signedType + ";q=0.8": false,
			signedType + ";q=0.8, application/json;q=0.8":      true,
			signedType + ";q=0.5, */*;q=0.1":                   true,
			signedType + ";q=0.5, */*":                         false,
			signedType + ";q=0.5, */*, application/json;q=0.4": true,
			signedType + ";q=0.5, application/*, */*;q=0.1":    false,
			signedType + ";q=0":                                false,
			signedType + ";q=0.000, application/json;q=0":      false,
			signedType + ";q=much":                             false,
			"application/json;q=0, " + signedType:              true,
			"*/*":                                              false,
			"application/*":                                    false,
			"application/jwt":                                  false,
			"application/json":                                 false,
			"token-introspection+jwt":                          false,
			signedType + "x":                                   false,
			"":                                                 false,
			";;;, " + signedType:                               true,
		} {
			a := w.introspectBy(w.site, provider, guard, token, accept)
			want := map[bool]string{true: signedType, false: "application/json"}[signed]
			if a.StatusCode != 200 || a.Header.Get("Content-Type") != want {
				t.Errorf("Accept: %s: %v", accept, a.Header)
			}
		}
		if a := w.introspectBy(w.site, provider, guard, token, "application/json", signedType); a.Header.Get("Content-Type") != signedType {
			t.Errorf("two Accept headers: %v", a.Header)
		}
		// Errors are errors (RFC 7662 §2.3).
		header := formHeader.Clone()
		header.Set("Accept", signedType)
		a := w.do("POST", "/api/oidc/"+provider+"/introspect", header, form{"token": token}.encode())
		if a.text("error") != "invalid_client" || a.Header.Get("Content-Type") != "application/json" {
			t.Errorf("an error: %v %v", a, a.Header)
		}
	}
}

func (w *world) introspectSigned(provider, client, token string) *answer {
	w.t.Helper()
	header, f := w.authenticated(provider, client, form{"token": token})
	header = header.Clone()
	header.Set("Accept", "application/token-introspection+jwt")
	return w.do("POST", "/api/oidc/"+provider+"/introspect", header, f.encode())
}

// payload is that of a JWT as any library would read it.
func payload(t testing.TB, token string) (claims map[string]any) {
	t.Helper()
	data, err := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[1])
	must(t, err)
	must(t, json.Unmarshal(data, &claims))
	return claims
}
