package demobank_test

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"gatehouse/demobank"
	"gatehouse/jose"
)

// lodgings are consents as a bank reads them, what the page must show of each, and the verdict of a PSU who clicks
// Approve.
var lodgings = map[string]struct {
	consent map[string]any
	shows   []string
	chosen  []string
	verdict map[string]any
}{
	"accounts": {
		map[string]any{"kind": "account-access", "permissions": []any{"ReadBalances", "ReadTransactionsDebits", "ReadSomethingNew"},
			"expiration_date_time": "2026-06-01T12:30:00+01:00", "transaction_from_date_time": "2025-01-01T00:00:00Z"},
		[]string{"see your accounts", "<dd>Balances</dd>", "<dd>Money going out</dd>", "<dd>ReadSomethingNew</dd>", "until 1 June 2026, 11:30 UTC",
			"<dd>1 January 2025, 00:00 UTC</dd>", `<input type="checkbox" id="acc-current"`, "For which accounts?"},
		[]string{"acc-current", "acc-card"},
		map[string]any{"access": []any{"acc-current", "acc-card"}},
	},
	"accounts without an end": {
		map[string]any{"kind": "account-access", "permissions": []any{"ReadBalances"}},
		[]string{"until 28 August 2026"},
		[]string{"acc-savings"},
		map[string]any{"access": []any{"acc-savings"}},
	},
	"payment": {
		map[string]any{"kind": "domestic-payment", "payment_type": "domestic_payment", "initiation": map[string]any{
			"instructed_amount":      map[string]any{"amount": "165.88", "currency": "GBP"},
			"creditor_account":       map[string]any{"scheme_name": "UK.OBIE.SortCodeAccountNumber", "identification": "08080021325698", "name": "ACME <Inc>", "secondary_identification": "0002"},
			"remittance_information": map[string]any{"reference": "FRESCO-101", "unstructured": "Internal ops code"},
		}},
		[]string{"make this payment", "<dd>165.88 GBP</dd>", "<dd>ACME &lt;Inc&gt;</dd>", "<dd>08080021325698, 0002 (sort code and account number)</dd>", "<dd>FRESCO-101</dd>",
			"<dd>Internal ops code</dd>", `<input type="radio" id="acc-current"`, "From which account?"},
		[]string{"acc-savings"},
		map[string]any{"debtor_account": map[string]any{"scheme_name": "UK.OBIE.SortCodeAccountNumber", "identification": "20000112342002", "name": "Savings account"}},
	},
	"payment from a named account": {
		map[string]any{"kind": "domestic-payment", "initiation": map[string]any{
			"instructed_amount": map[string]any{"amount": "1", "currency": "EUR"},
			"creditor_account":  map[string]any{"scheme_name": "UK.OBIE.IBAN", "identification": "GB76LOYD30949301273801", "name": "B"},
			"debtor_account":    map[string]any{"scheme_name": "UK.OBIE.IBAN", "identification": "GB29NWBK60161331926819", "name": "A"},
		}},
		[]string{"<dd>1 EUR</dd>", "<dd>A GB29NWBK60161331926819 (IBAN)</dd>"},
		nil,
		map[string]any{"debtor_account": map[string]any{"scheme_name": "UK.OBIE.IBAN", "identification": "GB29NWBK60161331926819", "name": "A"}},
	},
	"funds": {
		map[string]any{"kind": "funds-confirmation", "expiration_date_time": "2026-06-01T00:00:00Z",
			"debtor_account": map[string]any{"scheme_name": "UK.OBIE.IBAN", "identification": "GB29NWBK60161331926819"}},
		[]string{"whether an amount is available", "<dd>GB29NWBK60161331926819 (IBAN)</dd>", "until 1 June 2026, 00:00 UTC"},
		nil,
		map[string]any{"debtor_account": map[string]any{"scheme_name": "UK.OBIE.IBAN", "identification": "GB29NWBK60161331926819"}},
	},
}

// TestConsentPage: the PSU sees what was lodged and nothing of the scopes, chooses where there is something to choose,
// and the verdict says what they chose.
func TestConsentPage(t *testing.T) {
	for name, test := range lodgings {
		t.Run(name, func(t *testing.T) {
			g := newGatehouse(t, &clock{now: began})
			g.consent = map[string]any{"consent_id": "c-1", "status": "AwaitingAuthorisation", "app_name": appName}
			for member, value := range test.consent {
				g.consent[member] = value
			}
			bank, server := newBank(t, g, false, nil)
			p := newPerson(t, server)
			visit, first := p.arrive(g.arrival(bank))
			page := p.upToConsent(visit, first, "approve")
			for _, text := range test.shows {
				if !strings.Contains(page.body, text) {
					t.Errorf("the page does not show %q", text)
				}
			}
			if strings.Contains(page.body, "Start payments from") || strings.Contains(page.body, "ZgotmplZ") || strings.Contains(page.body, "Something this bank") {
				t.Error("the page shows what was not lodged")
			}
			if choice := strings.Contains(page.body, "<fieldset>"); choice != (test.chosen != nil) {
				t.Errorf("choice of accounts: %v", choice)
			}
			if t.Failed() {
				t.Log(page.body)
			}
			if test.chosen != nil {
				wrong := [][]string{nil, {"acc-other"}}
				if test.verdict["debtor_account"] != nil {
					wrong = append(wrong, []string{"acc-current", "acc-card"})
				}
				for _, accounts := range wrong {
					page = p.step(visit, "consent", page, url.Values{"decision": {"approve"}, "account": accounts})
					if page.status != http.StatusUnprocessableEntity {
						t.Errorf("with accounts %v: status %d", accounts, page.status)
					}
				}
			}
			left := p.step(visit, "consent", page, url.Values{"decision": {"approve"}, "account": test.chosen})
			want := map[string]any{"status": "approved", "user_id": "psu-approve", "auth_time": float64(began.Unix()), "acr": "urn:openbanking:psd2:sca"}
			for member, value := range test.verdict {
				want[member] = value
			}
			if diff := cmp.Diff([]map[string]any{want}, g.verdicts()); diff != "" || left.status != http.StatusSeeOther {
				t.Errorf("status %d, verdict (-want +got):\n%s", left.status, diff)
			}
		})
	}
}

// A teller makes the server's calls to a bank.
type teller struct {
	t     *testing.T
	clock *clock
	bank  *demobank.Bank
	key   *jose.PrivateKey
}

// newTeller starts a bank whose server publishes the keys that published returns.
func newTeller(t *testing.T, log *slog.Logger, published func() []*jose.PublicKey) (*teller, *gatehouse, *httptest.Server) {
	g := newGatehouse(t, &clock{now: began})
	g.mux.HandleFunc("GET /oidc/demobank/jwks", func(w http.ResponseWriter, _ *http.Request) {
		json.NewEncoder(w).Encode(jose.JWKS{Keys: published()})
	})
	bank, server := newBank(t, g, false, func(b *demobank.Bank) {
		if log != nil {
			b.Log = log
		}
	})
	return &teller{t, g.clock, bank, keys().server}, g, server
}

func serverKey() []*jose.PublicKey { return []*jose.PublicKey{keys().server.Public()} }

// tell makes a call and returns the status and the error_class.
func (l *teller) tell(method, path string, data any) (int, string) {
	l.t.Helper()
	signed := must(l.key.Sign("", map[string]any{"data": data, "exp": l.clock.Now().Add(2 * time.Minute).Unix()}))
	return l.send(method, path, "Bearer "+signed)
}

func (l *teller) send(method, path, authorization string) (int, string) {
	l.t.Helper()
	req := must(http.NewRequest(method, l.bank.URL+"/api/priora/ob/v1"+path, nil))
	if authorization != "" {
		req.Header.Set("Authorization", authorization)
	}
	res := must(http.DefaultClient.Do(req))
	defer res.Body.Close()
	var answer struct {
		Class string `json:"error_class"`
	}
	if err := json.NewDecoder(res.Body).Decode(&answer); err != nil {
		l.t.Errorf("%s %s: %v", method, path, err)
	}
	return res.StatusCode, answer.Class
}

func lodged(id string) map[string]any {
	return map[string]any{"consent_id": id, "app_name": appName, "provider_code": "demobank", "access_token": "t", "permissions": []any{"ReadBalances"}}
}

// TestTold: what the server tells is on the page for the staff, once, however often it is told.
func TestTold(t *testing.T) {
	l, _, server := newTeller(t, nil, serverKey)
	list := func() string { return newPerson(t, server).get(l.bank.URL + "/consents").body }
	for range 2 {
		if status, class := l.tell("POST", "/consents", lodged("c-1")); status != 200 {
			t.Fatalf("%d %s", status, class)
		}
	}
	if got := list(); strings.Count(got, appName+": AwaitingAuthorisation") != 1 || !strings.Contains(got, "<dd>Balances</dd>") || !strings.Contains(got, "Revoke") {
		t.Errorf("list:\n%s", got)
	}
	for range 2 {
		if status, class := l.tell("PATCH", "/consents/c-1/revoke", map[string]any{"provider_code": "demobank"}); status != 200 {
			t.Fatalf("%d %s", status, class)
		}
	}
	if status, _ := l.tell("POST", "/consents", lodged("c-1")); status != 200 { // late
		t.Errorf("status %d", status)
	}
	if got := list(); strings.Count(got, appName+": Revoked") != 1 || strings.Contains(got, "Awaiting") || strings.Contains(got, "<form") {
		t.Errorf("list:\n%s", got)
	}
	for path, data := range map[string]map[string]any{
		"/payment_consents":     {"consent_id": "c-2", "app_name": "B", "initiation": map[string]any{"instructed_amount": map[string]any{"amount": "9.99", "currency": "GBP"}}},
		"/funds_check_consents": {"consent_id": "c-3", "app_name": "C"},
	} {
		if status, class := l.tell("POST", path, data); status != 200 {
			t.Errorf("%s: %d %s", path, status, class)
		}
	}
	if got := list(); !strings.Contains(got, "9.99 GBP") || !strings.Contains(got, "C: AwaitingAuthorisation") {
		t.Errorf("list:\n%s", got)
	}
	if status, class := l.tell("PATCH", "/consents/c-9/revoke", nil); status != 404 || class != "ConsentNotFound" {
		t.Errorf("an unknown consent: %d %s", status, class)
	}
	if status, class := l.tell("POST", "/consents", "c-1"); status != 400 || class != "WrongRequestFormat" {
		t.Errorf("no consent: %d %s", status, class)
	}
}

// TestTellersAreChecked: nobody but the server tells, and not with an old token.
func TestTellersAreChecked(t *testing.T) {
	l, _, server := newTeller(t, nil, serverKey)
	data := lodged("c-1")
	sign := func(key *jose.PrivateKey, payload map[string]any) string {
		return "Bearer " + must(key.Sign("", payload))
	}
	soon := began.Add(time.Minute).Unix()
	for name, test := range map[string]struct{ authorization, class string }{
		"nothing":     {"", "AuthorizationMissing"},
		"no token":    {"Bearer x", "JWTDecodeError"},
		"another key": {sign(keys().bank, map[string]any{"data": data, "exp": soon}), "JWTDecodeError"},
		"old":         {sign(keys().server, map[string]any{"data": data, "exp": began.Unix()}), "JWTExpiredSignature"},
		"without end": {sign(keys().server, map[string]any{"data": data}), "JWTExpiredSignature"},
		"another alg": {sign(keys().client, map[string]any{"data": data, "exp": soon}), "JWTDecodeError"},
		"no scheme":   {strings.TrimPrefix(sign(keys().server, map[string]any{"data": data, "exp": soon}), "Bearer "), "AuthorizationMissing"},
	} {
		for _, path := range []string{"/consents", "/payment_consents", "/funds_check_consents", "/errors"} {
			if status, class := l.send("POST", path, test.authorization); status != 400 || class != test.class {
				t.Errorf("%s, %s: %d %s, want 400 %s", name, path, status, class, test.class)
			}
		}
	}
	if got := newPerson(t, server).get(l.bank.URL + "/consents").body; !strings.Contains(got, "Nothing yet") {
		t.Errorf("list:\n%s", got)
	}
}

// TestServerKeys: they are kept, read again when the server signs with a new one, and not for every token that names
// another.
func TestServerKeys(t *testing.T) {
	var reads atomic.Int64
	var rotated atomic.Bool
	l, _, _ := newTeller(t, nil, func() []*jose.PublicKey {
		reads.Add(1)
		if rotated.Load() {
			return append(serverKey(), keys().bank.Public())
		}
		return serverKey()
	})
	check := func(status int, class string, want int64) {
		t.Helper()
		if gotStatus, gotClass := l.tell("POST", "/consents", lodged("c-1")); gotStatus != status || gotClass != class || reads.Load() != want {
			t.Errorf("%d %s after %d reads, want %d %s after %d", gotStatus, gotClass, reads.Load(), status, class, want)
		}
	}
	check(200, "", 1)
	l.clock.move(time.Hour)
	check(200, "", 1)
	l.key = keys().bank // the next key
	check(400, "JWTDecodeError", 2)
	rotated.Store(true)
	check(400, "JWTDecodeError", 2)
	l.clock.move(10 * time.Second)
	check(200, "", 3)
}

// TestServerWithoutKeys: a bank that cannot check a call asks for it again.
func TestServerWithoutKeys(t *testing.T) {
	l, g, _ := newTeller(t, nil, serverKey)
	g.Close()
	if status, class := l.tell("POST", "/consents", lodged("c-1")); status != 503 || class != "InternalServerError" {
		t.Errorf("%d %s", status, class)
	}
}

// TestReportedErrors: what the server thinks of the bank's answers is in the bank's log.
func TestReportedErrors(t *testing.T) {
	var log bytes.Buffer
	l, _, _ := newTeller(t, slog.New(slog.NewTextHandler(&log, nil)), serverKey)
	if status, _ := l.tell("POST", "/errors", map[string]any{"error": map[string]any{"error_class": "InternalProviderError"}}); status != 200 {
		t.Errorf("status %d", status)
	}
	if !strings.Contains(log.String(), "InternalProviderError") {
		t.Errorf("log: %s", log.String())
	}
}

// TestBankRevokes: the staff revoke a consent, the server hears of it, and no other site makes them.
func TestBankRevokes(t *testing.T) {
	l, g, server := newTeller(t, nil, serverKey)
	var revoked []string
	g.mux.HandleFunc("PATCH /api/connectors/ob/v1/consents/{id}/revoke", g.connector(func(r *http.Request, data map[string]any) (int, any) {
		if r.PathValue("id") == "c-2" {
			return http.StatusBadRequest, refusal("InvalidRequest", "the consent cannot go there")
		}
		revoked = append(revoked, r.PathValue("id")+" "+data["consent_id"].(string))
		return http.StatusOK, map[string]any{"data": map[string]any{"consent_id": r.PathValue("id"), "status": "Revoked"}}
	}))
	l.tell("POST", "/consents", lodged("c-1"))
	l.tell("POST", "/payment_consents", lodged("c-2"))
	p := newPerson(t, server)

	foreign := must(http.NewRequest("POST", l.bank.URL+"/consents/c-1/revoke", nil))
	foreign.Header.Set("Sec-Fetch-Site", "cross-site")
	if got := p.do(foreign); got.status != http.StatusForbidden || len(revoked) != 0 {
		t.Errorf("from another site: status %d", got.status)
	}
	if got := p.post(l.bank.URL+"/consents/c-9/revoke", nil); got.status != http.StatusNotFound {
		t.Errorf("an unknown consent: status %d", got.status)
	}
	if got := p.post(l.bank.URL+"/consents/c-1/revoke", nil); got.status != http.StatusSeeOther || got.location != l.bank.URL+"/consents" {
		t.Errorf("status %d to %q", got.status, got.location)
	}
	if diff := cmp.Diff([]string{"c-1 c-1"}, revoked); diff != "" {
		t.Errorf("revoked (-want +got):\n%s", diff)
	}
	if got := p.get(l.bank.URL + "/consents").body; !strings.Contains(got, appName+": Revoked") {
		t.Errorf("list:\n%s", got)
	}
	if got := p.post(l.bank.URL+"/consents/c-2/revoke", nil); got.status != http.StatusConflict || !strings.Contains(got.body, "has ended") {
		t.Errorf("one that has ended: status %d\n%s", got.status, got.body)
	}
}
