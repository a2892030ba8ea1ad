package oidc_test

import (
	"context"
	"encoding/json"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"gatehouse"
	"gatehouse/jose"
)

// bankCall makes a signed call of the provider's bank, below the API's base.
func (w *world) bankCall(provider, method, path string, data claims) *answer {
	w.t.Helper()
	return w.bankCallAt(w.site, provider, method, path, data)
}

func (w *world) bankCallAt(site *httptest.Server, provider, method, path string, data claims) *answer {
	w.t.Helper()
	body := ""
	if method != "GET" {
		signed, err := key(w.t, "bank "+provider, jose.RS256).Sign("", claims{"data": data, "exp": w.clock.Now().Add(2 * time.Minute).Unix()})
		must(w.t, err)
		body = signed
	}
	return w.doAt(site, method, "/api/connectors/ob/v1"+path, w.connectorHeader(provider), body)
}

// What the bank signed for another call revokes nothing.
//
// Proves: C27
func TestBodiesOfOtherCallsRevokeNothing(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	w.consent("alpha", tppA, "kept")
	for name, data := range map[string]claims{
		"approval":       approval,
		"denial":         {"status": "denied"},
		"hand-over":      {"user_id": "psu-17"},
		"begin":          {"authorize_url": "https://bank.example/authorize", "auth_code": "0123456789abcdef"},
		"consent status": {"consent_id": "kept", "status": "Revoked"},
		"payment status": {"consent_id": "kept", "status": "AcceptedSettlementCompleted"},
		"of another":     {"consent_id": "another"},
	} {
		a := w.bankCall("alpha", "PATCH", "/consents/kept/revoke", data)
		if a.StatusCode != 400 || w.consentStatus("alpha", "kept") == gatehouse.ConsentRevoked {
			t.Errorf("%s: %v", name, a)
		}
	}
	if a := w.bankCall("alpha", "PATCH", "/consents/kept/revoke", claims{"consent_id": "kept", "reason": "asked by phone"}); a.StatusCode != 200 {
		t.Errorf("a revocation: %v", a)
	}
	tallied(t, 7)
}

// aPayment is what a TPP lodges to pay somebody.
const aPayment = `{"Data":{"Initiation":{"InstructionIdentification":"ACME412","EndToEndIdentification":"FRESCO","InstructedAmount":{"Amount":"165.88","Currency":"GBP"},` +
	`"CreditorAccount":{"SchemeName":"UK.OBIE.SortCodeAccountNumber","Identification":"08080021325698","Name":"ACME Inc"}}},"Risk":{"PaymentContextCode":"Other"}}`

// A bank reads everything that was lodged, by itself or with the authorization
// that asks for it.
func TestBankReadsAConsent(t *testing.T) {
	t.Parallel()
	forEachWorld(t, func(t *testing.T, w *world) {
		now := w.clock.Now().UTC().Format(time.RFC3339)
		for _, row := range []struct {
			consent gatehouse.Consent
			want    claims
		}{
			{gatehouse.Consent{ID: "accounts-1", Lodged: json.RawMessage(`{"Data":{"Permissions":["ReadBalances"],"ExpirationDateTime":"2027-01-01T00:00:00Z"},"Risk":{}}`)},
				claims{"kind": "account-access", "permissions": []any{"ReadBalances"}, "expiration_date_time": "2027-01-01T00:00:00Z"}},
			{gatehouse.Consent{ID: "payment-1", Kind: gatehouse.DomesticPayment, Lodged: json.RawMessage(aPayment)},
				claims{"kind": "domestic-payment", "payment_type": "domestic_payment", "risk": map[string]any{"payment_context_code": "Other"},
					"initiation": map[string]any{
						"instruction_identification": "ACME412", "end_to_end_identification": "FRESCO",
						"instructed_amount": map[string]any{"amount": "165.88", "currency": "GBP"},
						"creditor_account":  map[string]any{"scheme_name": "UK.OBIE.SortCodeAccountNumber", "identification": "08080021325698", "name": "ACME Inc"},
					}}},
		} {
			row.consent.Provider, row.consent.ClientID = "alpha", tppA
			named := w.lodgedConsent(row.consent)
			want := claims{
				"app_name": "TPP <tpp-a>", "tpp_global_urn": nil, "provider_code": "alpha", "client_id": tppA, "consent_id": row.consent.ID,
				"status": "AwaitingAuthorisation", "creation_date_time": now, "status_update_date_time": now,
			}
			for name, value := range row.want {
				want[name] = value
			}
			a := w.bankCall("alpha", "GET", "/consents/"+row.consent.ID, nil)
			expect(t, a, 200, "")
			read, _ := a.JSON["data"].(map[string]any)
			token, _ := read["access_token"].(string)
			if len(token) < 43 {
				t.Errorf("access_token %q", token)
			}
			want["access_token"] = token
			if diff := cmp.Diff(map[string]any(want), read); diff != "" {
				t.Errorf("%s (-want +got):\n%s", row.consent.ID, diff)
			}
			visit := w.visit("alpha", query(tppA).with(named).with(form{"scope": "openid accounts payments"}))
			asked, _ := w.connector("alpha", "GET", "/"+visit.id, nil).JSON["data"].(map[string]any)
			if diff := cmp.Diff(read, asked["consent"]); diff != "" {
				t.Errorf("%s, with the authorization (-alone +with):\n%s", row.consent.ID, diff)
			}
		}
		// Another client's is not shown, however the authorization came to name it.
		foreign := &gatehouse.Authorization{
			ID: "foreign", Provider: "alpha", ClientID: tppB, Request: gatehouse.AuthorizationRequest{ClientID: tppB, RedirectURI: callback, IntentID: "payment-1"},
			Status: gatehouse.AuthorizationPending, BrowserHash: []byte("browser"), CreatedAt: w.clock.Now(), ExpiresAt: w.clock.Now().Add(time.Minute),
		}
		must(t, w.store.CreateAuthorization(t.Context(), foreign))
		if a := w.connector("alpha", "GET", "/foreign", nil); a.StatusCode != 200 || !strings.Contains(a.Body, `"consent":null`) {
			t.Errorf("of another client: %v", a)
		}
		visit := w.visit("alpha", query(tppA))
		asked, _ := w.connector("alpha", "GET", "/"+visit.id, nil).JSON["data"].(map[string]any)
		if consent, there := asked["consent"]; !there || consent != nil {
			t.Errorf("without a consent: %v", consent)
		}
	})
}

// stages bring a consent of alpha to where it stands.
var stages = map[gatehouse.ConsentStatus]func(w *world, named form, id string){
	gatehouse.ConsentAwaitingAuthorisation: func(*world, form, string) {},
	gatehouse.ConsentAuthorised: func(w *world, named form, _ string) {
		w.code("alpha", tppA, named.with(form{"scope": "openid accounts payments"}))
	},
	gatehouse.ConsentRejected: func(w *world, _ form, id string) {
		must(w.t, w.store.EndConsent(context.Background(), "alpha", id, gatehouse.ConsentRejected, w.clock.Now()))
	},
	gatehouse.ConsentRevoked: func(w *world, _ form, id string) {
		must(w.t, w.store.EndConsent(context.Background(), "alpha", id, gatehouse.ConsentRevoked, w.clock.Now()))
	},
	gatehouse.ConsentConsumed: func(w *world, named form, id string) {
		w.code("alpha", tppA, named.with(form{"scope": "openid accounts payments"}))
		must(w.t, w.store.EndConsent(context.Background(), "alpha", id, gatehouse.ConsentConsumed, w.clock.Now()))
	},
}

// The bank moves a consent where its state allows, as often as it likes to say
// so, and nowhere else.
//
// Proves: A13
func TestBankMovesAConsent(t *testing.T) {
	t.Parallel()
	const waiting, given, rejected, revoked, consumed = gatehouse.ConsentAwaitingAuthorisation, gatehouse.ConsentAuthorised,
		gatehouse.ConsentRejected, gatehouse.ConsentRevoked, gatehouse.ConsentConsumed
	moves := map[gatehouse.ConsentStatus][]gatehouse.ConsentStatus{ // from, to
		waiting:  {rejected, revoked},
		given:    {revoked, consumed},
		rejected: {rejected}, revoked: {revoked}, consumed: {consumed},
	}
	calls := []struct {
		method, path string
		data         claims
		to           gatehouse.ConsentStatus
	}{
		{"PUT", "/consents/", claims{"status": "Rejected"}, rejected},
		{"PUT", "/consents/", claims{"status": "Revoked"}, revoked},
		{"PUT", "/consents/", claims{"status": "Consumed"}, consumed},
		{"PATCH", "/revoke", claims{}, revoked},
		{"PUT", "/payments/", claims{"status": "AcceptedSettlementInProcess", "app_name": "x"}, consumed},
		{"PUT", "/payments/", claims{"status": "AcceptedCreditSettlementCompleted"}, consumed},
		{"PUT", "/payments/", claims{"status": "Pending"}, ""},
		{"PUT", "/payments/", claims{"status": "Rejected"}, ""},
	}
	forEachWorld(t, func(t *testing.T, w *world) {
		for from := range moves {
			for _, call := range calls {
				id := gatehouse.NewID(w.clock.Now())
				named := w.lodgedConsent(gatehouse.Consent{ID: id, Provider: "alpha", ClientID: tppA, Kind: gatehouse.DomesticPayment, Lodged: json.RawMessage(aPayment)})
				stages[from](w, named, id)
				path, data, want := call.path+id, call.data, from
				switch call.path {
				case "/payments/":
					path, data = "/payments/payment-1", data.with(claims{"consent_id": id})
				case "/revoke":
					path = "/consents/" + id + "/revoke"
				}
				allowed := call.to == "" || slices.Contains(moves[from], call.to)
				if allowed && call.to != "" {
					want = call.to
				}
				for range 2 {
					a := w.bankCall("alpha", call.method, path, data)
					switch {
					case !allowed && (a.StatusCode != 400 || !strings.HasPrefix(a.text("error_message"), "data.")):
						t.Errorf("%s, %s %s %v: %v, want 400", from, call.method, call.path, call.data, a)
					case allowed && call.path == "/payments/" && (a.StatusCode != 200 || a.Body != "{}"),
						allowed && call.path != "/payments/" && (a.StatusCode != 200 || a.Body != `{"data":{"consent_id":"`+id+`","status":"`+string(want)+`"}}`):
						t.Errorf("%s, %s %s %v: %v", from, call.method, call.path, call.data, a)
					}
				}
				if got := w.consentStatus("alpha", id); got != want {
					t.Errorf("%s, %s %s %v: the consent is %s, want %s", from, call.method, call.path, call.data, got, want)
				}
			}
		}
	})
}

// What the bank revokes is over for the TPP, on every replica, and the bank is
// not told of it.
//
// Proves: A13
func TestBankRevokes(t *testing.T) {
	t.Parallel()
	forEachWorld(t, func(t *testing.T, w *world) {
		id := gatehouse.NewID(w.clock.Now())
		tokens := w.token("alpha", tppA, exchange(w.code("alpha", tppA, w.lodgedConsent(gatehouse.Consent{ID: id, Provider: "alpha", ClientID: tppA}))))
		expect(t, tokens, 200, "")
		a := w.bankCallAt(w.pair()[1], "alpha", "PATCH", "/consents/"+id+"/revoke", claims{})
		if a.StatusCode != 200 {
			t.Fatal(a)
		}
		if w.active("alpha", tokens.text("access_token")) {
			t.Error("the access token is good")
		}
		expect(t, w.token("alpha", tppA, form{"grant_type": "refresh_token", "refresh_token": tokens.text("refresh_token")}), 400, "invalid_grant")
		if got := w.noticesOf("alpha"); !slices.Equal(got, []string{id + " lodged"}) {
			t.Errorf("notices %v", got)
		}
		events, err := w.store.Events(t.Context(), gatehouse.EventFilter{ConsentID: id, Kind: gatehouse.EventConsentRevoked}, "", 10)
		must(t, err)
		if len(events) != 1 || events[0].Actor != gatehouse.ActorBank {
			t.Errorf("events %+v", events)
		}
	})
}

// noticesOf claims all there is to tell a bank, to its end.
func (w *world) noticesOf(provider string) (all []string) {
	w.t.Helper()
	for {
		now := w.clock.Now()
		notices, err := w.store.ClaimNotices(context.Background(), provider, gatehouse.NewID(now), 10, now.Add(time.Minute), now)
		must(w.t, err)
		if len(notices) == 0 {
			return all
		}
		for _, n := range notices {
			all = append(all, n.ConsentID+" "+string(n.Step))
			must(w.t, w.store.NoticeDelivered(context.Background(), n))
		}
	}
}

// A bank has its own consents and no others; whoever is not a bank has none.
//
// Proves: A13
func TestConsentsAreTheBanksOwn(t *testing.T) {
	t.Parallel()
	forEachWorld(t, func(t *testing.T, w *world) {
		named := w.lodgedConsent(gatehouse.Consent{ID: "payment", Provider: "alpha", ClientID: tppA, Kind: gatehouse.DomesticPayment, Lodged: json.RawMessage(aPayment)})
		w.code("alpha", tppA, named.with(form{"scope": "openid payments"}))
		w.lodgedConsent(gatehouse.Consent{ID: "accounts", Provider: "beta", ClientID: tppA})
		good := func(data claims) claims {
			return claims{"data": data, "exp": w.clock.Now().Add(2 * time.Minute).Unix()}
		}
		signed := func(owner string, payload claims) string {
			text, err := key(t, owner, jose.RS256).Sign("", payload)
			must(t, err)
			return text
		}
		for _, call := range []struct {
			method, path string
			data         claims
		}{
			{"GET", "/consents/payment", nil},
			{"PUT", "/consents/payment", claims{"status": "Revoked"}},
			{"PATCH", "/consents/payment/revoke", claims{}},
			{"PUT", "/payments/payment-1", claims{"consent_id": "payment", "status": "AcceptedSettlementInProcess"}},
		} {
			for _, row := range []struct {
				name     string
				provider string
				owner    string // of the key
				payload  claims
				status   int
				change   func(header map[string][]string)
			}{
				{name: "another bank", provider: "beta", status: 404},
				{name: "another bank's key", owner: "bank beta", status: 403},
				{name: "no App-Id", change: func(h map[string][]string) { delete(h, "App-Id") }, status: 403},
				{name: "wrong App-Secret", change: func(h map[string][]string) { h["App-Secret"] = []string{"x"} }, status: 403},
				{name: "another bank's App-Secret", change: func(h map[string][]string) { h["App-Secret"] = []string{w.banks["beta"].appSecret} }, status: 403},
				{name: "old", payload: claims{"data": call.data, "exp": w.clock.Now().Unix()}, status: 400},
				{name: "not signed", change: func(h map[string][]string) { h["Content-Type"] = []string{"application/json"} }, status: 415},
			} {
				provider, owner, payload := row.provider, row.owner, row.payload
				if provider == "" {
					provider = "alpha"
				}
				if owner == "" {
					owner = "bank " + provider
				}
				if payload == nil {
					payload = good(call.data)
				}
				header := w.connectorHeader(provider)
				if row.change != nil {
					row.change(header)
				}
				if call.method == "GET" && (row.owner != "" || row.payload != nil || row.status == 415) {
					continue // nothing is signed
				}
				if a := w.do(call.method, "/api/connectors/ob/v1"+call.path, header, signed(owner, payload)); a.StatusCode != row.status || strings.Contains(a.Body, "ACME") {
					t.Errorf("%s, %s %s: %v, want %d", row.name, call.method, call.path, a, row.status)
				}
				if got := w.consentStatus("alpha", "payment"); got != gatehouse.ConsentAuthorised {
					t.Fatalf("%s, %s %s: the consent is %s", row.name, call.method, call.path, got)
				}
			}
			unknown := strings.Replace(call.path, "/consents/payment", "/consents/nothing", 1)
			data := call.data
			if data["consent_id"] != nil {
				data = data.with(claims{"consent_id": "nothing"})
			}
			if a := w.bankCall("alpha", call.method, unknown, data); a.StatusCode != 404 {
				t.Errorf("%s %s: %v, want 404", call.method, unknown, a)
			}
		}
		// A payment is not made with a consent to accounts, even by its own bank.
		if a := w.bankCall("beta", "PUT", "/payments/p", claims{"consent_id": "accounts", "status": "AcceptedSettlementInProcess"}); a.StatusCode != 404 {
			t.Errorf("with a consent to accounts: %v", a)
		}
		if a := w.bankCall("alpha", "PUT", "/consents/payment", claims{"status": "Revoked", "consent_id": "another"}); a.StatusCode != 400 {
			t.Errorf("signed for another: %v", a)
		}
	})
}

// Of two banks' minds at once one holds, and the other is told so.
//
// Proves: A13
func TestBankMovesAtOnce(t *testing.T) {
	forEachWorld(t, func(t *testing.T, w *world) {
		sites := w.pair()
		for range 5 {
			id := gatehouse.NewID(w.clock.Now())
			w.code("alpha", tppA, w.lodgedConsent(gatehouse.Consent{ID: id, Provider: "alpha", ClientID: tppA}))
			var at sync.WaitGroup
			answers := make([]*answer, 8)
			wants := []string{"Revoked", "Consumed"}
			for i := range answers {
				at.Go(func() {
					answers[i] = w.bankCallAt(sites[i/2%2], "alpha", "PUT", "/consents/"+id, claims{"status": wants[i%2]})
				})
			}
			at.Wait()
			end := string(w.consentStatus("alpha", id))
			for i, a := range answers {
				if want := map[bool]int{true: 200, false: 400}[wants[i%2] == end]; a.StatusCode != want {
					t.Errorf("the consent is %s, one who said %s got %v", end, wants[i%2], a)
				}
			}
			if n := len(w.noticesOf("alpha")); n != 1 {
				t.Errorf("%d notices, want that it was lodged", n)
			}
		}
	})
}
