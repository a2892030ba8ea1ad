package oidc_test

// The consent resources of the UK Open Banking Read/Write API 3.1, over HTTP.

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"gatehouse"
)

// everything is a client that may have every scope; those of the world have no
// fundsconfirmations.
const everything = "everything"

func (w *world) addEverything() {
	w.t.Helper()
	w.addClient(gatehouse.Client{ID: everything, JWKS: clientJWKS(w.t, everything), Scopes: gatehouse.AllScopes()})
}

// Good bodies, each with every member that there is.
const (
	accountAccessBody = `{"Data": {
		"Permissions": ["ReadAccountsBasic", "ReadBalances", "ReadTransactionsDetail", "ReadTransactionsCredits"],
		"ExpirationDateTime": "2027-02-20T00:00:00+00:00",
		"TransactionFromDateTime": "2026-01-01T00:00:00Z", "TransactionToDateTime": "2026-12-31T23:59:59.999+01:00"
	}, "Risk": {}}`

	paymentBody = `{"Data": {
		"ReadRefundAccount": "Yes",
		"Initiation": {
			"InstructionIdentification": "ACME412", "EndToEndIdentification": "FRESCO.21302.GFX.20", "LocalInstrument": "UK.OBIE.FPS",
			"InstructedAmount": {"Amount": "165.88", "Currency": "GBP"},
			"DebtorAccount": {"SchemeName": "UK.OBIE.IBAN", "Identification": "GB29NWBK60161331926819", "Name": "A Smith", "SecondaryIdentification": "0001"},
			"CreditorAccount": {"SchemeName": "UK.OBIE.SortCodeAccountNumber", "Identification": "08080021325698", "Name": "ACME & Söhne <Ltd>", "SecondaryIdentification": "0002"},
			"CreditorPostalAddress": {"AddressType": "Business", "Department": "Sales", "SubDepartment": "East", "StreetName": "Acacia Avenue", "BuildingNumber": "27",
				"PostCode": "GU31 2ZZ", "TownName": "Sparsholt", "CountrySubDivision": "Wessex", "Country": "GB", "AddressLine": ["Flat 7", "Acacia Lodge"]},
			"RemittanceInformation": {"Reference": "FRESCO-101", "Unstructured": "Internal ops code 5120101"},
			"SupplementaryData": {"Rate": 1.10, "Exact": 12345678901234567890}
		},
		"Authorisation": {"AuthorisationType": "Any", "CompletionDateTime": "2026-11-30T12:00:00Z"},
		"SCASupportData": {"RequestedSCAExemptionType": "EcommerceGoods", "AppliedAuthenticationApproach": "SCA", "ReferencePaymentOrderId": "O-611265"}
	}, "Risk": {
		"PaymentContextCode": "EcommerceMerchantInitiatedPayment", "MerchantCategoryCode": "5967", "MerchantCustomerIdentification": "053598653254",
		"ContractPresentIndicator": false, "BeneficiaryPrepopulatedIndicator": true, "PaymentPurposeCode": "EPAY", "BeneficiaryAccountType": "Business",
		"DeliveryAddress": {"AddressLine": ["Flat 7"], "StreetName": "Acacia Avenue", "BuildingNumber": "27", "PostCode": "GU31 2ZZ", "TownName": "Sparsholt",
			"CountrySubDivision": "Wessex", "Country": "GB"}
	}}`

	fundsBody = `{"Data": {
		"ExpirationDateTime": "2027-02-20T00:00:00Z",
		"DebtorAccount": {"SchemeName": "UK.OBIE.IBAN", "Identification": "GB76LOYD30949301273801", "SecondaryIdentification": "Roll 56988"}
	}}`
)

// A resource is one of the three, with a good body.
type resource struct {
	kind gatehouse.ConsentKind
	path string
	body string
}

var resources = []resource{
	{gatehouse.AccountAccess, "/aisp/account-access-consents", accountAccessBody},
	{gatehouse.DomesticPayment, "/pisp/domestic-payment-consents", paymentBody},
	{gatehouse.FundsConfirmation, "/cbpii/funds-confirmation-consents", fundsBody},
}

func resourceOf(kind gatehouse.ConsentKind) resource {
	return resources[slices.IndexFunc(resources, func(r resource) bool { return r.kind == kind })]
}

// at is the path of a resource in a version of the API.
func (r resource) at(provider, version string) string {
	return "/api/" + provider + "/open-banking/" + version + r.path
}

// ownToken is an access token that a client got for itself.
func (w *world) ownToken(provider, client string) string {
	w.t.Helper()
	a := w.token(provider, client, form{"grant_type": "client_credentials"})
	expect(w.t, a, 200, "")
	return a.text("access_token")
}

// openBanking makes a call with an access token.
func (w *world) openBanking(method, path, token, body string, more ...http.Header) *answer {
	w.t.Helper()
	return w.openBankingAt(w.site, method, path, token, body, more...)
}

func (w *world) openBankingAt(site *httptest.Server, method, path, token, body string, more ...http.Header) *answer {
	w.t.Helper()
	header := http.Header{"Authorization": {"Bearer " + token}}
	if body != "" {
		header.Set("Content-Type", "application/json")
	}
	for _, h := range more {
		maps.Copy(header, h)
	}
	return w.doAt(site, method, path, header, body)
}

// lodge lodges a consent of a client as its TPP does, and returns its id. An
// empty body is a good one.
func (w *world) lodge(provider, client string, kind gatehouse.ConsentKind, body string) string {
	w.t.Helper()
	r := resourceOf(kind)
	if body == "" {
		body = r.body
	}
	a := w.openBanking("POST", r.at(provider, "v3.1.11"), w.ownToken(provider, client), body)
	if a.StatusCode != http.StatusCreated {
		w.t.Fatalf("lodge: %v", a)
	}
	return a.data("ConsentId")
}

// data is a text of Data in an answer.
func (a *answer) data(name string) string {
	data, _ := a.JSON["Data"].(map[string]any)
	text, _ := data[name].(string)
	return text
}

// A codeAt is one of the Errors of an answer.
type codeAt struct{ ErrorCode, Path string }

// openBankingFaults reads an error of the Open Banking APIs, whose form it
// checks. Of a 401 there is nothing.
func openBankingFaults(t testing.TB, a *answer) (faults []codeAt) {
	t.Helper()
	if a.StatusCode == http.StatusUnauthorized {
		if a.Body != "" || a.Header.Get("Content-Type") != "" || !strings.HasPrefix(a.Header.Get("WWW-Authenticate"), `Bearer realm="gatehouse"`) {
			t.Errorf("401 with %q, %v", a.Body, a.Header)
		}
		return nil
	}
	var body struct {
		Code, ID, Message string
		Errors            []struct{ ErrorCode, Message, Path string }
	}
	decoder := json.NewDecoder(strings.NewReader(a.Body))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&body); err != nil {
		t.Fatalf("%v is no error of the API: %v", a, err)
	}
	if want := a.Status[:3] + " " + strings.ReplaceAll(http.StatusText(a.StatusCode), " ", ""); body.Code != want || a.JSON["Id"] == nil ||
		body.ID != a.Header.Get("X-Fapi-Interaction-Id") || body.Message == "" || len(body.Errors) == 0 {
		t.Errorf("%v: want code %q and the request's id", a, want)
	}
	for _, e := range body.Errors {
		if e.Message == "" || len(e.Message) > 500 || len(e.Path) > 500 || !strings.HasPrefix(e.ErrorCode, "UK.OBIE.") {
			t.Errorf("in %v: %+v", a, e)
		}
		faults = append(faults, codeAt{e.ErrorCode, e.Path})
	}
	return faults
}

// refused fails the test unless the answer has the status and these Errors,
// written as pairs of ErrorCode, without its prefix, and Path.
func refused(t testing.TB, a *answer, status int, pairs ...string) {
	t.Helper()
	var want []codeAt
	for i := 0; i < len(pairs); i += 2 {
		want = append(want, codeAt{"UK.OBIE." + pairs[i], pairs[i+1]})
	}
	if diff := cmp.Diff(want, openBankingFaults(t, a)); a.StatusCode != status || diff != "" {
		t.Errorf("%v, want %d: %s", a, status, diff)
	}
}

// written is the JSON object of a text, its numbers as they were written.
func written(t testing.TB, text string) map[string]any {
	t.Helper()
	var object map[string]any
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.UseNumber()
	must(t, decoder.Decode(&object))
	return object
}

// A consent is lodged, read and deleted, and looks as its specification has it;
// what was lodged comes back as it was.
func TestConsentResources(t *testing.T) {
	t.Parallel()
	forEachWorld(t, func(t *testing.T, w *world) {
		w.addEverything()
		for _, provider := range []string{"alpha", "gamma"} {
			for _, r := range resources {
				for _, version := range []string{"v3.1", "v3.1.11"} {
					path, token := r.at(provider, version), w.ownToken(provider, everything)
					lodgedAt := w.clock.Now().UTC().Format(time.RFC3339)
					a := w.openBanking("POST", path, token, r.body, http.Header{"X-Fapi-Interaction-Id": {"93bac548-d2de-4546-b106-880a5018460d"}})
					id := a.data("ConsentId")
					want := written(t, r.body)
					data := want["Data"].(map[string]any)
					data["ConsentId"], data["Status"], data["CreationDateTime"], data["StatusUpdateDateTime"] = id, "AwaitingAuthorisation", lodgedAt, lodgedAt
					want["Links"], want["Meta"] = map[string]any{"Self": baseURL + path + "/" + id}, map[string]any{"TotalPages": json.Number("1")}
					if diff := cmp.Diff(want, written(t, a.Body)); a.StatusCode != 201 || id == "" || len(id) > 128 || diff != "" {
						t.Fatalf("POST %s: %v: %s", path, a, diff)
					}
					if h := a.Header; h.Get("X-Fapi-Interaction-Id") != "93bac548-d2de-4546-b106-880a5018460d" || h.Get("Content-Type") != "application/json" || h.Get("Cache-Control") != "no-store" {
						t.Errorf("headers: %v", h)
					}

					w.clock.advance(time.Second)
					if again := w.openBanking("GET", path+"/"+id, token, ""); again.StatusCode != 200 || again.Body != a.Body {
						t.Errorf("GET: %v, want the body of POST", again)
					}
					if newer := w.openBanking("GET", r.at(provider, "v3.1.11")+"/"+id, token, ""); newer.JSON["Links"].(map[string]any)["Self"] != baseURL+r.at(provider, "v3.1.11")+"/"+id {
						t.Errorf("GET in the newer version: %v", newer)
					}

					if gone := w.openBanking("DELETE", path+"/"+id, token, ""); gone.StatusCode != 204 || gone.Body != "" {
						t.Errorf("DELETE: %v", gone)
					}
					data["Status"], data["StatusUpdateDateTime"] = "Revoked", w.clock.Now().UTC().Format(time.RFC3339)
					w.clock.advance(time.Second)
					for range 2 { // deleting it again changes nothing
						after := w.openBanking("GET", path+"/"+id, token, "")
						if diff := cmp.Diff(want, written(t, after.Body)); after.StatusCode != 200 || diff != "" {
							t.Errorf("GET after DELETE: %v: %s", after, diff)
						}
						if gone := w.openBanking("DELETE", path+"/"+id, token, ""); gone.StatusCode != 204 {
							t.Errorf("DELETE again: %v", gone)
						}
					}
				}
			}
		}
	})
}

// Only a token that the client got for itself, here, for this, and that is good
// now, opens a resource.
func TestTokensForConsents(t *testing.T) {
	t.Parallel()
	forEachWorld(t, func(t *testing.T, w *world) {
		w.addEverything()
		w.addClient(gatehouse.Client{ID: "no-payments", JWKS: clientJWKS(t, "no-payments"), Scopes: gatehouse.Scopes{"openid", "accounts", "fundsconfirmations"}})
		path := resourceOf(gatehouse.DomesticPayment).at("alpha", "v3.1")
		id := w.lodge("alpha", everything, gatehouse.DomesticPayment, "")
		calls := func(header http.Header, check func(*answer)) {
			check(w.do("POST", path, header, paymentBody))
			check(w.do("GET", path+"/"+id, header, ""))
			check(w.do("DELETE", path+"/"+id, header, ""))
		}
		with := func(token string) http.Header {
			return http.Header{"Authorization": {"Bearer " + token}, "Content-Type": {"application/json"}}
		}
		own := w.token("alpha", everything, form{"grant_type": "client_credentials"})
		expired, revoked, disabled, deleted := w.ownToken("alpha", everything), w.ownToken("alpha", everything), w.ownToken("alpha", tppA), w.ownToken("alpha", tppB)
		w.clock.advance(time.Second)
		good := w.ownToken("alpha", everything)
		expect(t, w.inquire(w.site, "revoke", "alpha", everything, form{"token": revoked}), 200, "")
		c, err := w.store.Client(context.Background(), tppA)
		must(t, err)
		c.Status = gatehouse.ClientDisabled
		must(t, w.store.UpdateClient(context.Background(), c))
		must(t, w.store.DeleteClient(context.Background(), tppB, w.clock.Now()))
		narrow, psu := w.ownToken("alpha", "no-payments"), w.tokens("alpha", everything).text("access_token")
		w.clock.advance(10*time.Minute - time.Second)

		for name, header := range map[string]http.Header{
			"none":              {},
			"two":               {"Authorization": {"Bearer " + good, "Bearer " + good}},
			"Basic":             {"Authorization": {basicHeader(basic, secret)}},
			"empty":             {"Authorization": {"Bearer "}},
			"garbage":           with("garbage"),
			"unknown":           with(strings.Repeat("0", 26) + "." + gatehouse.NewSecret()),
			"wrong secret":      with(good[:27] + gatehouse.NewSecret()),
			"expired":           with(expired),
			"revoked":           with(revoked),
			"refresh token":     with(own.text("refresh_token")),
			"client disabled":   with(disabled),
			"client deleted":    with(deleted),
			"of another bank":   with(w.ownToken("beta", everything)),
			"registration kind": with(everything + "." + gatehouse.NewSecret()),
		} {
			calls(header, func(a *answer) {
				refused(t, a, 401)
				if challenge := a.Header.Get("WWW-Authenticate"); strings.Contains(challenge, "error=") != (name != "none" && name != "Basic") {
					t.Errorf("%s: %s", name, challenge)
				}
			})
		}
		for name, header := range map[string]http.Header{"scope": with(narrow), "PSU": with(psu)} {
			calls(header, func(a *answer) {
				refused(t, a, 403, "Header.Invalid", "Authorization")
				if challenge := a.Header.Get("WWW-Authenticate"); !strings.Contains(challenge, `error="insufficient_scope"`) || strings.Contains(challenge, `scope="payments"`) != (name == "scope") {
					t.Errorf("%s: %s", name, challenge)
				}
			})
		}
		if a := w.openBanking("GET", path+"/"+id, good, ""); a.data("Status") != "AwaitingAuthorisation" {
			t.Errorf("after all that: %v", a)
		}
		all, err := w.store.Consents(context.Background(), "alpha", gatehouse.ConsentFilter{}, "", 10)
		must(t, err)
		if len(all) != 1 {
			t.Errorf("%d consents, want 1", len(all))
		}
	})
}

// Whatever is not the client's own, at this bank and of this kind, is answered
// as what never was.
func TestConsentIsItsClientsOwn(t *testing.T) {
	t.Parallel()
	forEachWorld(t, func(t *testing.T, w *world) {
		w.addEverything()
		accounts := resourceOf(gatehouse.AccountAccess)
		token := w.ownToken("alpha", everything)
		ids := map[string]string{
			"of another client": w.lodge("alpha", tppA, gatehouse.AccountAccess, ""),
			"at another bank":   w.lodge("beta", everything, gatehouse.AccountAccess, ""),
			"of another kind":   w.lodge("alpha", everything, gatehouse.DomesticPayment, ""),
			"unknown":           gatehouse.NewID(w.clock.Now()),
			"no id":             "~",
			"long":              strings.Repeat("x", 4000),
		}
		fixed := http.Header{"X-Fapi-Interaction-Id": {"93bac548-d2de-4546-b106-880a5018460d"}}
		var first string
		for name, id := range ids {
			for _, method := range []string{"GET", "DELETE"} {
				a := w.openBanking(method, accounts.at("alpha", "v3.1")+"/"+id, token, "", fixed)
				refused(t, a, 400, "Resource.NotFound", "")
				if first == "" {
					first = a.Body
				}
				if a.Body != first {
					t.Errorf("%s is told apart: %v", name, a)
				}
			}
		}
		for provider, id := range map[string]string{"alpha": ids["of another client"], "beta": ids["at another bank"]} {
			if status := w.consentStatus(provider, id); status != gatehouse.ConsentAwaitingAuthorisation {
				t.Errorf("at %s: %s", provider, status)
			}
		}
		if status := w.consentStatus("alpha", ids["of another kind"]); status != gatehouse.ConsentAwaitingAuthorisation {
			t.Errorf("of another kind: %s", status)
		}
	})
}

// Deleting a consent ends what a PSU granted on it; one that was rejected or
// consumed stays what it is.
func TestConsentIsDeleted(t *testing.T) {
	t.Parallel()
	forEachWorld(t, func(t *testing.T, w *world) {
		accounts, payments := resourceOf(gatehouse.AccountAccess), resourceOf(gatehouse.DomesticPayment)
		id := w.lodge("alpha", tppA, gatehouse.AccountAccess, "")
		token := w.ownToken("alpha", tppA)
		tokens := w.token("alpha", tppA, exchange(w.code("alpha", tppA, intent(id))))
		expect(t, tokens, 200, "")
		if a := w.openBanking("GET", accounts.at("alpha", "v3.1")+"/"+id, token, ""); a.data("Status") != "Authorised" {
			t.Errorf("approved: %v", a)
		}
		if a := w.openBanking("DELETE", accounts.at("alpha", "v3.1")+"/"+id, token, ""); a.StatusCode != 204 {
			t.Errorf("DELETE: %v", a)
		}
		if w.active("alpha", tokens.text("access_token")) {
			t.Error("the access token outlives its consent")
		}
		expect(t, w.token("alpha", tppA, form{"grant_type": "refresh_token", "refresh_token": tokens.text("refresh_token")}), 400, "invalid_grant")

		payment := w.lodge("alpha", tppA, gatehouse.DomesticPayment, "")
		w.code("alpha", tppA, intent(payment).with(form{"scope": "openid payments"}))
		if a := w.openBanking("DELETE", payments.at("alpha", "v3.1")+"/"+payment, token, ""); a.StatusCode != 204 {
			t.Errorf("DELETE of an authorised payment: %v", a)
		}
		consumed := w.lodge("alpha", tppA, gatehouse.DomesticPayment, "")
		w.code("alpha", tppA, intent(consumed).with(form{"scope": "openid payments"}))
		must(t, w.store.EndConsent(context.Background(), "alpha", consumed, gatehouse.ConsentConsumed, w.clock.Now()))
		rejected := w.lodge("alpha", tppA, gatehouse.DomesticPayment, "")
		must(t, w.store.EndConsent(context.Background(), "alpha", rejected, gatehouse.ConsentRejected, w.clock.Now()))
		for id, status := range map[string]string{consumed: "Consumed", rejected: "Rejected"} {
			refused(t, w.openBanking("DELETE", payments.at("alpha", "v3.1")+"/"+id, token, ""), 400, "Resource.InvalidConsentStatus", "Data.Status")
			if a := w.openBanking("GET", payments.at("alpha", "v3.1")+"/"+id, token, ""); a.data("Status") != status {
				t.Errorf("%s: %v", status, a)
			}
		}
	})
}

// silent is a store that does not answer about consents.
type silent struct{ gatehouse.Store }

var errSilent = errors.New("no answer")

func (silent) CreateConsent(context.Context, *gatehouse.Consent, time.Time) (*gatehouse.Consent, error) {
	return nil, errSilent
}

func (silent) EndConsent(context.Context, string, string, gatehouse.ConsentStatus, time.Time) error {
	return errSilent
}

// deaf does not even find any.
type deaf struct{ gatehouse.Store }

func (deaf) Consent(context.Context, string, string) (*gatehouse.Consent, error) {
	return nil, errSilent
}

// lost does not answer about tokens.
type lost struct{ gatehouse.Store }

func (lost) AccessToken(context.Context, string, string) (*gatehouse.AccessToken, *gatehouse.Grant, error) {
	return nil, nil, errSilent
}

// A store that does not answer is no statement about a consent.
func TestConsentsWithoutStorage(t *testing.T) {
	w := sqliteWorld(t)
	token, r := w.ownToken("alpha", tppA), resourceOf(gatehouse.AccountAccess)
	id := w.lodge("alpha", tppA, gatehouse.AccountAccess, "")
	for _, row := range []struct {
		db     gatehouse.Store
		method string
		target string
		body   string
	}{
		{silent{w.store}, "POST", "", r.body},
		{silent{w.store}, "DELETE", "/" + id, ""},
		{deaf{w.store}, "GET", "/" + id, ""},
		{deaf{w.store}, "DELETE", "/" + id, ""},
		{lost{w.store}, "POST", "", r.body},
		{lost{w.store}, "GET", "/" + id, ""},
		{lost{w.store}, "DELETE", "/" + id, ""},
	} {
		a := w.openBankingAt(w.replica(row.db), row.method, r.at("alpha", "v3.1")+row.target, token, row.body)
		refused(t, a, 503, "UnexpectedError", "")
		if a.Header.Get("Retry-After") == "" {
			t.Errorf("%T, %s: no Retry-After", row.db, row.method)
		}
	}
}

// Faults that are found before the resource have its form of error, too.
func TestOpenBankingErrors(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	token, r := w.ownToken("alpha", tppA), resourceOf(gatehouse.AccountAccess)
	path := r.at("alpha", "v3.1")
	refused(t, w.openBanking("POST", r.at("nobody", "v3.1"), token, r.body), 404, "Resource.NotFound", "")
	refused(t, w.openBanking("POST", r.at("closed", "v3.1"), token, r.body), 403, "UnexpectedError", "")
	for method, target := range map[string]string{"PUT": path, "GET": path, "POST": path + "/x", "HEAD": path} {
		a := w.openBanking(method, target, token, "")
		if method == "HEAD" {
			if a.StatusCode != 405 || a.Body != "" {
				t.Errorf("HEAD: %v", a)
			}
			continue
		}
		refused(t, a, 405, "UnexpectedError", "")
		if a.Header.Get("Allow") == "" {
			t.Errorf("%s: no Allow", method)
		}
	}
	refused(t, w.openBanking("POST", path, token, `{"Data":"`+strings.Repeat("x", 64<<10)+`"}`), 413, "Resource.InvalidFormat", "")
	for _, media := range []string{"text/plain", "application/x-www-form-urlencoded", "application/jose+jwe", "application/json, application/json"} {
		refused(t, w.openBanking("POST", path, token, r.body, http.Header{"Content-Type": {media}}), 415, "Header.Invalid", "Content-Type")
	}
	if a := w.openBanking("POST", path, token, r.body, http.Header{"Content-Type": {"application/json; charset=utf-8"}}); a.StatusCode != 201 {
		t.Errorf("with a charset: %v", a)
	}
	// An id of the client's own making may be longer than Max40Text.
	long := strings.Repeat("a", 64)
	a := w.openBanking("GET", path+"/x", token, "", http.Header{"X-Fapi-Interaction-Id": {long}})
	if a.Header.Get("X-Fapi-Interaction-Id") != long || a.text("Id") != long[:40] {
		t.Errorf("long id: %v", a)
	}
}
