package oidc_test

// The check of a gateway; with a real one: e2e/gateway_test.go.

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"gatehouse"
)

// identity is what an answer says of the bearer: every Gatehouse header.
func identity(a *answer) map[string]string {
	all := map[string]string{}
	for name, values := range a.Header {
		if short, ok := strings.CutPrefix(name, "Gatehouse-"); ok {
			all[short] = strings.Join(values, "\n")
		}
	}
	return all
}

// The answer has nothing but headers, and always all of them, so that a
// gateway that copies them overwrites whatever the bearer sent.
func TestCheckSaysWhoTheBearerIs(t *testing.T) {
	t.Parallel()
	type row struct {
		tokens *answer
		query  string
		want   map[string]string
	}
	forEachWorld(t, func(t *testing.T, w *world) {
		const oddClient = "tpp\r\nX-Admin: 1"
		w.addClient(gatehouse.Client{ID: oddClient, TokenEndpointAuthMethod: gatehouse.AuthClientSecretBasic, SecretHash: gatehouse.ClientSecretHash(w.kek, oddClient, secret)})
		for _, provider := range everyProvider {
			guard := w.guard(provider)
			now := fmt.Sprint(w.clock.Now().Unix())
			nobody := map[string]string{
				"Client-Id": tppA, "User-Id": "", "Scope": "", "Consent-Id": "", "Consent-Kind": "", "Permissions": "", "Accounts": "", "Acr": "", "Auth-Time": "",
			}
			rows := map[string]row{
				"accounts": {w.decided(provider, tppA, w.consent(provider, tppA, "consent-1"), approval), "?scope=accounts&permission=ReadBalances", map[string]string{
					"User-Id": "psu-17", "Scope": "openid accounts", "Consent-Id": "consent-1", "Consent-Kind": "account-access",
					"Permissions": "ReadAccountsDetail ReadBalances", "Accounts": `["GB29NWBK60161331926819"]`, "Acr": "urn:openbanking:psd2:sca", "Auth-Time": now,
				}},
				"payment": {w.decided(provider, tppA, w.lodgedConsent(gatehouse.Consent{ID: "consent-2", Provider: provider, ClientID: tppA, Kind: gatehouse.DomesticPayment}).with(form{"scope": "payments"}),
					approval.with(claims{"access": nil})), "?scope=payments", map[string]string{
					"User-Id": "psu-17", "Scope": "payments", "Consent-Id": "consent-2", "Consent-Kind": "domestic-payment", "Acr": "urn:openbanking:psd2:sca", "Auth-Time": now,
				}},
				"no consent": {w.decided(provider, tppA, nil, approval.with(claims{"acr": "urn:openbanking:psd2:ca"})), "", map[string]string{
					"User-Id": "psu-17", "Scope": "openid accounts", "Accounts": `["GB29NWBK60161331926819"]`, "Acr": "urn:openbanking:psd2:ca", "Auth-Time": now,
				}},
				"a client's own": {w.token(provider, tppA, form{"grant_type": "client_credentials", "scope": "payments"}), "?psu=optional&scope=payments", map[string]string{"Scope": "payments"}},
				// What a bank calls its customers and accounts has any characters.
				"odd names": {w.decided(provider, tppA, nil, approval.with(claims{"user_id": " Zoë: 100% \u00a0\u2028", "access": []any{"Zoë \U0001f600\u007f", map[string]any{"a": "\r\n\u2028"}}})), "", map[string]string{
					"User-Id": "%20Zo%C3%AB: 100%25 %C2%A0%E2%80%A8", "Scope": "openid accounts", "Acr": "urn:openbanking:psd2:sca", "Auth-Time": now,
					"Accounts": `["Zo\u00eb \ud83d\ude00\u007f",{"a":"\r\n\u2028"}]`,
				}},
			}
			odd := w.do("POST", "/api/oidc/"+provider+"/tokens", http.Header{"Content-Type": formHeader["Content-Type"], "Authorization": {basicHeader(oddClient, secret)}}, clientCredentials.encode())
			expect(t, odd, 200, "")
			rows["an odd client"] = row{odd, "?psu=optional", map[string]string{"Client-Id": "tpp%0D%0AX-Admin: 1", "Subject": "tpp%0D%0AX-Admin: 1", "Scope": "openid accounts payments"}}
			for name, row := range rows {
				want := maps.Clone(nobody)
				want["Subject"] = w.grantOf(provider, row.tokens).Subject
				want["Token-Id"], _ = gatehouse.TokenID(row.tokens.text("access_token"))
				maps.Copy(want, row.want)
				a := w.check(w.site, provider, guard, row.tokens.text("access_token"), row.query)
				if diff := cmp.Diff(want, identity(a)); a.StatusCode != 200 || a.Body != "" || diff != "" {
					t.Errorf("%s at %s: %v: %s", name, provider, a, diff)
				}
				for header, values := range a.Header {
					for _, value := range values {
						if strings.ContainsFunc(value, func(r rune) bool { return r < ' ' || r > '~' }) {
							t.Errorf("%s at %s: %s: %q", name, provider, header, value)
						}
					}
				}
				if user, err := url.PathUnescape(a.Header.Get("Gatehouse-User-Id")); err != nil || user != w.grantOf(provider, row.tokens).UserID {
					t.Errorf("%s at %s: User-Id is decoded as %q: %v", name, provider, user, err)
				}
				if accounts := w.grantOf(provider, row.tokens).Accounts; len(accounts) > 0 {
					if diff := cmp.Diff(asJSON(t, string(accounts)), asJSON(t, a.Header.Get("Gatehouse-Accounts"))); diff != "" {
						t.Errorf("%s at %s: accounts: %s", name, provider, diff)
					}
				}
			}
		}
	})
}

// A demand that the token does not meet is 403, whatever else it could do; one
// that cannot be read is the gateway's fault.
func TestCheckDemands(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	guard := w.guard("alpha")
	account := w.decided("alpha", tppA, w.consent("alpha", tppA, "consent-1"), approval).text("access_token")
	payment := w.decided("alpha", tppA, w.lodgedConsent(gatehouse.Consent{ID: "consent-2", Provider: "alpha", ClientID: tppA, Kind: gatehouse.DomesticPayment,
		Lodged: json.RawMessage(`{"Data":{"Permissions":["ReadBalances"]},"Risk":{}}`)}).with(form{"scope": "payments"}), approval).text("access_token")
	without := w.decided("alpha", tppA, nil, approval).text("access_token")
	own := w.token("alpha", tppA, form{"grant_type": "client_credentials"}).text("access_token")
	const beyond = `error="insufficient_scope"`
	for _, row := range []struct {
		token, query, challenge string
		status                  int
	}{
		{account, "", "-", 200},
		{account, "?scope=accounts", "-", 200},
		{account, "?scope=openid%20accounts", "-", 200},
		{account, "?scope=openid+accounts", "-", 200},
		{account, "?scope=openid&scope=accounts&scope=accounts", "-", 200},
		{account, "?scope=payments", beyond + ` scope="payments"`, 403},
		{account, "?scope=accounts+payments", beyond + ` scope="accounts payments"`, 403},
		{account, "?scope=payments&scope=accounts", beyond + ` scope="payments accounts"`, 403},
		{account, "?permission=ReadBalances", "-", 200},
		{account, "?permission=ReadBalances+ReadAccountsDetail", "-", 200},
		{account, "?permission=ReadBalances&permission=ReadAccountsDetail", "-", 200},
		{account, "?permission=ReadBalances+ReadPAN", beyond, 403},
		{account, "?permission=ReadPAN&permission=ReadBalances", beyond, 403},
		{account, "?permission=readbalances", beyond, 403},
		{account, "?permission=ReadPAN&scope=accounts", beyond + ` scope="accounts"`, 403},
		{account, "?permission=ReadBalances&scope=payments", beyond + ` scope="payments"`, 403},
		{payment, "?permission=ReadBalances", beyond, 403}, // it is not for accounts, whatever it says
		{without, "?permission=ReadBalances", beyond, 403},
		{own, "", beyond, 403},
		{own, "?scope=accounts", beyond + ` scope="accounts"`, 403},
		{own, "?psu=optional", "-", 200},
		{own, "?psu=optional&scope=accounts", "-", 200},
		{own, "?psu=optional&scope=fundsconfirmations", beyond + ` scope="fundsconfirmations"`, 403},
		{account, "?psu=optional", "-", 200},

		{account, "?scope=", "-", 400},
		{account, "?scope=+", "-", 400},
		{account, "?scope=accounts&scope=", "-", 400},
		{account, "?scope=everything", "-", 400},
		{account, "?scope=accounts%22%0d%0aX:1", "-", 400},
		{account, "?permission=", "-", 400},
		{account, "?permission=ReadBalances&permission=", "-", 400},
		{account, "?psu=", "-", 400},
		{account, "?psu=none", "-", 400},
		{account, "?psu=optional&psu=optional", "-", 400},
		{account, "?scopes=accounts", "-", 400},
		{account, "?Scope=accounts", "-", 400},
		{account, "?scope=accounts&x", "-", 400},
		{account, "?scope=accounts;x=1", "-", 400},
		{account, "?scope=%zz", "-", 400},

		// Below /check the query may be the bearer's: what it adds is demanded,
		// what it relaxes or misspells counts for nothing.
		{account, "/aisp/accounts", "-", 200},
		{account, "/aisp/accounts/17/transactions?fromBookingDateTime=2026-01-01T00:00:00&fromBookingDateTime=x&%zz&a;b", "-", 200},
		{account, "/aisp/accounts?scope=payments", beyond + ` scope="payments"`, 403},
		{account, "/aisp/accounts?permission=ReadPAN&scope=accounts", beyond + ` scope="accounts"`, 403},
		{account, "/aisp/accounts?scope=everything", "-", 400},
		{own, "/aisp/accounts", beyond, 403},
		{own, "/aisp/accounts?psu=optional", beyond, 403},
	} {
		a := w.check(w.site, "alpha", guard, row.token, row.query)
		if a.StatusCode != row.status || challengeOf(a) != row.challenge || a.Header.Get("X") != "" {
			t.Errorf("%s: %v, challenge %q, want %d %q", row.query, a, challengeOf(a), row.status, row.challenge)
		}
		if allowed := len(identity(a)) > 0; allowed != (row.status == 200) {
			t.Errorf("%s: %v: %v", row.query, a, identity(a))
		}
	}
}

// What is wrong with the bearer's token is 401 or 403 and nothing else, what is
// wrong with the gateway neither: nginx makes a 500 of it and tells its log.
func TestCheckTellsTheGatewayFromTheBearer(t *testing.T) {
	forEachWorld(t, func(t *testing.T, w *world) {
		guards := map[string]string{"alpha": w.guard("alpha"), "gamma": w.guard("gamma")}
		for provider, other := range map[string]string{"alpha": "gamma", "gamma": "alpha"} {
			guard, elsewhere := guards[provider], guards[other]
			token := w.tokens(provider, tppA).text("access_token")
			bearer, gateway := []string{"Bearer " + token}, []string{basicHeader(guard, guardSecret)}
			for name, row := range map[string]struct {
				gateway, bearer []string
				status          int
				code, challenge string
			}{
				"good":                          {gateway, bearer, 200, "", "-"},
				"gateway missing":               {nil, bearer, 400, "invalid_request", "-"},
				"gateway missing, no token":     {nil, nil, 400, "invalid_request", "-"},
				"gateway empty":                 {[]string{""}, bearer, 400, "invalid_request", "-"},
				"gateway's secret wrong":        {[]string{basicHeader(guard, guardSecret+"x")}, bearer, 400, "invalid_request", "-"},
				"gateway unknown":               {[]string{basicHeader("nobody", guardSecret)}, bearer, 400, "invalid_request", "-"},
				"gateway of another provider":   {[]string{basicHeader(elsewhere, guardSecret)}, bearer, 400, "invalid_request", "-"},
				"gateway is a client":           {[]string{basicHeader(basic, secret)}, bearer, 400, "invalid_request", "-"},
				"gateway twice":                 {[]string{gateway[0], gateway[0]}, bearer, 400, "invalid_request", "-"},
				"gateway as bearer":             {bearer, bearer, 400, "invalid_request", "-"},
				"gateway only in Authorization": {nil, gateway, 400, "invalid_request", "-"},
				"no token":                      {gateway, nil, 401, "invalid_token", ""},
				"another scheme":                {gateway, gateway, 401, "invalid_token", ""},
				"an empty header":               {gateway, []string{""}, 401, "invalid_token", ""},
				"no token after the scheme":     {gateway, []string{"Bearer "}, 401, "invalid_token", `error="invalid_token"`},
				"the token twice":               {gateway, []string{bearer[0], bearer[0]}, 401, "invalid_token", `error="invalid_token"`},
				"a wrong token":                 {gateway, []string{"Bearer " + unknown(token)}, 401, "invalid_token", `error="invalid_token"`},
				"no ASCII":                      {gateway, []string{"Bearer \u00ff"}, 401, "invalid_token", `error="invalid_token"`},
			} {
				header := http.Header{}
				header["Resource-Server-Authorization"], header["Authorization"] = row.gateway, row.bearer
				a := w.do("GET", "/api/oidc/"+provider+"/check", header, "")
				if a.StatusCode != row.status || a.text("error") != row.code || challengeOf(a) != row.challenge || strings.Contains(a.Body, "gu4rd") {
					t.Errorf("%s at %s: %v, challenge %q", name, provider, a, challengeOf(a))
				}
				if row.status == 400 && !strings.Contains(a.text("error_description"), "Resource-Server-Authorization") {
					t.Errorf("%s at %s is not told to the operator: %v", name, provider, a)
				}
				if (len(identity(a)) > 0) != (row.status == 200) {
					t.Errorf("%s at %s: %v", name, provider, identity(a))
				}
			}
		}
		if log := w.logged(); strings.Contains(log, "gu4rd") || !strings.Contains(log, "Resource-Server-Authorization has the wrong secret") {
			t.Error("the log has the secret, or not what is wrong with it")
		}
	})
}

// Gateways differ in the method they ask with: some send the bearer's. No
// method passes unasked, and no body is waited for.
func TestCheckMethods(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	guard := w.guard("alpha")
	token := w.tokens("alpha", tppA).text("access_token")
	for _, path := range []string{"/api/oidc/alpha/check", "/api/oidc/alpha/check/aisp/accounts"} {
		for _, method := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND"} {
			for status, presented := range map[int]string{200: token, 401: unknown(token)} {
				a := w.do(method, path, checkHeader(guard, presented), "")
				if a.StatusCode != status || (len(identity(a)) > 0) != (status == 200) {
					t.Errorf("%s %s: %v, want %d", method, path, a, status)
				}
			}
			if a := w.do(method, path, http.Header{"Origin": {"https://x.example"}, "Access-Control-Request-Method": {"GET"}}, ""); a.StatusCode != 400 {
				t.Errorf("%s %s without anything: %v", method, path, a)
			}
		}
	}
	// Paths that the server takes for no path are denied.
	for _, path := range []string{"/check/", "/check/aisp/", "/check//aisp", "/check/a/../b", "/check/a%2fb", "/check/a;b", "/check%2f", "/Check"} {
		if a := w.do("GET", "/api/oidc/alpha"+path, checkHeader(guard, token), ""); a.StatusCode != 404 || len(identity(a)) > 0 {
			t.Errorf("%s: %v", path, a)
		}
	}
	for provider, status := range map[string]int{"nobody": 404, "closed": 403} {
		if a := w.check(w.site, provider, guard, token, ""); a.StatusCode != status {
			t.Errorf("%s: %v", provider, a)
		}
	}
	// A body that never comes.
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	body := &silence{ctx.Done()}
	r, err := http.NewRequestWithContext(ctx, "POST", w.site.URL+"/api/oidc/alpha/check", body)
	must(t, err)
	r.ContentLength = 1 << 30
	r.Header = checkHeader(guard, token)
	response, err := http.DefaultTransport.RoundTrip(r)
	must(t, err)
	response.Body.Close()
	if response.StatusCode != 200 {
		t.Errorf("with a body that never comes: %s", response.Status)
	}
}

// silence is a body that says nothing until the request is over.
type silence struct{ over <-chan struct{} }

func (s *silence) Read([]byte) (int, error) {
	<-s.over
	return 0, context.Canceled
}
