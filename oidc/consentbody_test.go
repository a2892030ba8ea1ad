package oidc_test

// What the bodies of consents may be, plain and signed.

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"gatehouse"
	"gatehouse/jose"
)

// absent removes a member.
var absent = new(int)

// edit is a JSON object with one member changed; the path goes through objects.
func edit(t testing.TB, body, path string, value any) string {
	t.Helper()
	object := written(t, body)
	parent, names := object, strings.Split(path, ".")
	for _, name := range names[:len(names)-1] {
		inner, ok := parent[name].(map[string]any)
		if !ok {
			t.Fatalf("%s: %s is no object", path, name)
		}
		parent = inner
	}
	parent[names[len(names)-1]] = value
	if value == absent {
		delete(parent, names[len(names)-1])
	}
	text, err := json.Marshal(object)
	must(t, err)
	return string(text)
}

// Each row is a good body with one member changed, and the Errors that it
// gets; none means that it is good still.
func TestConsentBodies(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	w.addEverything()
	token := w.ownToken("alpha", everything)
	x := func(n int) string { return strings.Repeat("x", n) }
	const accounts, payment, funds = gatehouse.AccountAccess, gatehouse.DomesticPayment, gatehouse.FundsConfirmation
	const initiation, risk = "Data.Initiation.", "Risk."
	type row struct {
		kind   gatehouse.ConsentKind
		path   string
		value  any
		faults []string
	}
	is := func(code, path string) []string { return []string{code, path} }
	rows := []row{
		{accounts, "Data", absent, is("Field.Missing", "Data")},
		{accounts, "Data", nil, is("Field.Missing", "Data")},
		{accounts, "Data", []any{}, is("Field.Invalid", "Data")},
		{accounts, "Data", "x", is("Field.Invalid", "Data")},
		{accounts, "data", map[string]any{}, is("Field.Unexpected", "data")},
		{accounts, "Data.permissions", []string{"ReadPAN"}, is("Field.Unexpected", "Data.permissions")},
		{accounts, "Data.<script>", 1, is("Field.Unexpected", "Data")},
		{accounts, x(65), 1, is("Field.Unexpected", "")},
		{accounts, "Data.ConsentId", "mine", is("Field.Unexpected", "Data.ConsentId")},
		{accounts, "Data.Status", "Authorised", is("Field.Unexpected", "Data.Status")},
		{accounts, "Risk", absent, is("Field.Missing", "Risk")},
		{accounts, "Risk.PaymentContextCode", "Other", is("Field.Unexpected", "Risk.PaymentContextCode")},
		{accounts, "Data.Permissions", absent, is("Field.Missing", "Data.Permissions")},
		{accounts, "Data.Permissions", []string{}, is("Field.Expected", "Data.Permissions")},
		{accounts, "Data.Permissions", "ReadAccountsBasic", is("Field.Invalid", "Data.Permissions")},
		{accounts, "Data.Permissions", []any{"ReadAccountsBasic", "ReadEverything"}, is("Field.Invalid", "Data.Permissions[1]")},
		{accounts, "Data.Permissions", []any{"ReadAccountsBasic", nil}, is("Field.Invalid", "Data.Permissions[1]")},
		{accounts, "Data.Permissions", []any{"ReadAccountsBasic", 7}, is("Field.Invalid", "Data.Permissions[1]")},
		{accounts, "Data.Permissions", []string{"readaccountsbasic", "ReadAccountsDetail"}, is("Field.Invalid", "Data.Permissions[0]")},
		{accounts, "Data.Permissions", []string{"ReadBalances"}, is("Field.Expected", "Data.Permissions")},
		{accounts, "Data.Permissions", []string{"ReadAccountsDetail"}, nil},
		{accounts, "Data.Permissions", []string{"ReadAccountsDetail", "ReadAccountsBasic", "ReadAccountsBasic"}, nil},
		{accounts, "Data.Permissions", []string{"ReadAccountsDetail", "ReadTransactionsBasic"}, is("Field.Expected", "Data.Permissions")},
		{accounts, "Data.Permissions", []string{"ReadAccountsDetail", "ReadTransactionsDetail"}, is("Field.Expected", "Data.Permissions")},
		{accounts, "Data.Permissions", []string{"ReadAccountsDetail", "ReadTransactionsCredits"}, is("Field.Expected", "Data.Permissions")},
		{accounts, "Data.Permissions", []string{"ReadAccountsDetail", "ReadTransactionsDebits"}, is("Field.Expected", "Data.Permissions")},
		{accounts, "Data.Permissions", []string{"ReadAccountsDetail", "ReadTransactionsBasic", "ReadTransactionsDebits"}, nil},
		{accounts, "Data.Permissions", strings.Split(strings.Repeat("ReadAccountsBasic ", 101)[:101*18-1], " "), is("Field.Invalid", "Data.Permissions")},
		{accounts, "Data.ExpirationDateTime", absent, nil},
		{accounts, "Data.ExpirationDateTime", nil, nil},
		{accounts, "Data.ExpirationDateTime", "2026-11-23T12:00:00.251Z", nil},
		{accounts, "Data.ExpirationDateTime", "2026-11-23T12:00:00.250Z", is("Field.InvalidDate", "Data.ExpirationDateTime")},
		{accounts, "Data.ExpirationDateTime", "2026-11-23T13:00:00+01:00", is("Field.InvalidDate", "Data.ExpirationDateTime")},
		{accounts, "Data.ExpirationDateTime", "2016-11-23T12:00:00Z", is("Field.InvalidDate", "Data.ExpirationDateTime")},
		{accounts, "Data.ExpirationDateTime", "2027-02-20", is("Field.InvalidDate", "Data.ExpirationDateTime")},
		{accounts, "Data.ExpirationDateTime", "2027-02-20T00:00:00", is("Field.InvalidDate", "Data.ExpirationDateTime")},
		{accounts, "Data.ExpirationDateTime", "2027-02-30T00:00:00Z", is("Field.InvalidDate", "Data.ExpirationDateTime")},
		{accounts, "Data.ExpirationDateTime", "2027-02-20T0:00:00Z", is("Field.InvalidDate", "Data.ExpirationDateTime")},
		{accounts, "Data.ExpirationDateTime", "2027-02-20T00:00:00,5Z", is("Field.InvalidDate", "Data.ExpirationDateTime")},
		{accounts, "Data.ExpirationDateTime", 1800000000, is("Field.InvalidDate", "Data.ExpirationDateTime")},
		{accounts, "Data.ExpirationDateTime", "", is("Field.InvalidDate", "Data.ExpirationDateTime")},
		{accounts, "Data.TransactionFromDateTime", "yesterday", is("Field.InvalidDate", "Data.TransactionFromDateTime")},
		{accounts, "Data.TransactionFromDateTime", "2027-01-01T00:00:00Z", is("Field.InvalidDate", "Data.TransactionToDateTime")},
		{accounts, "Data.TransactionFromDateTime", absent, nil},
		{accounts, "Data.TransactionToDateTime", absent, nil},
		{accounts, "Data.TransactionToDateTime", "2026-01-01T00:00:00Z", nil},
		{accounts, "Data.TransactionToDateTime", true, is("Field.InvalidDate", "Data.TransactionToDateTime")},

		{funds, "Risk", map[string]any{}, is("Field.Unexpected", "Risk")},
		{funds, "Data.DebtorAccount", absent, is("Field.Missing", "Data.DebtorAccount")},
		{funds, "Data.DebtorAccount.SchemeName", absent, is("Field.Missing", "Data.DebtorAccount.SchemeName")},
		{funds, "Data.DebtorAccount.SchemeName", x(40), nil},
		{funds, "Data.DebtorAccount.SchemeName", x(41), is("Field.Invalid", "Data.DebtorAccount.SchemeName")},
		{funds, "Data.DebtorAccount.Identification", absent, is("Field.Missing", "Data.DebtorAccount.Identification")},
		{funds, "Data.DebtorAccount.Identification", "GB76 LOYD", is("Unsupported.AccountIdentifier", "Data.DebtorAccount.Identification")},
		{funds, "Data.DebtorAccount.Name", x(350), nil},
		{funds, "Data.DebtorAccount.Name", x(351), is("Field.Invalid", "Data.DebtorAccount.Name")},
		{funds, "Data.DebtorAccount.SecondaryIdentification", x(35), is("Field.Invalid", "Data.DebtorAccount.SecondaryIdentification")},
		{funds, "Data.ExpirationDateTime", "2026-11-23T12:00:00Z", is("Field.InvalidDate", "Data.ExpirationDateTime")},
		{funds, "Data.ExpirationDateTime", nil, nil},

		{payment, "Risk", absent, is("Field.Missing", "Risk")},
		{payment, "Risk", map[string]any{}, nil},
		{payment, "Data.Permission", "Create", is("Field.Unexpected", "Data.Permission")},
		{payment, "Data.ReadRefundAccount", "yes", is("Field.Invalid", "Data.ReadRefundAccount")},
		{payment, "Data.Initiation", absent, is("Field.Missing", "Data.Initiation")},
		{payment, initiation + "InstructionIdentification", absent, is("Field.Missing", initiation+"InstructionIdentification")},
		{payment, initiation + "InstructionIdentification", "", is("Field.Invalid", initiation+"InstructionIdentification")},
		{payment, initiation + "InstructionIdentification", x(36), is("Field.Invalid", initiation+"InstructionIdentification")},
		{payment, initiation + "EndToEndIdentification", absent, is("Field.Missing", initiation+"EndToEndIdentification")},
		{payment, initiation + "EndToEndIdentification", strings.Repeat("ü", 35), nil},
		{payment, initiation + "LocalInstrument", x(51), is("Field.Invalid", initiation+"LocalInstrument")},
		{payment, initiation + "InstructedAmount", "165.88", is("Field.Invalid", initiation+"InstructedAmount")},
		{payment, initiation + "InstructedAmount.Amount", 165.88, is("Field.Invalid", initiation+"InstructedAmount.Amount")},
		{payment, initiation + "InstructedAmount.Amount", "1234567890123.12345", nil},
		{payment, initiation + "InstructedAmount.Amount", "12345678901234", is("Field.Invalid", initiation+"InstructedAmount.Amount")},
		{payment, initiation + "InstructedAmount.Amount", "1.123456", is("Field.Invalid", initiation+"InstructedAmount.Amount")},
		{payment, initiation + "InstructedAmount.Amount", "-1", is("Field.Invalid", initiation+"InstructedAmount.Amount")},
		{payment, initiation + "InstructedAmount.Amount", "1.", is("Field.Invalid", initiation+"InstructedAmount.Amount")},
		{payment, initiation + "InstructedAmount.Amount", "1\n", is("Field.Invalid", initiation+"InstructedAmount.Amount")},
		{payment, initiation + "InstructedAmount.Amount", "١", is("Field.Invalid", initiation+"InstructedAmount.Amount")},
		{payment, initiation + "InstructedAmount.Currency", "gbp", is("Field.Invalid", initiation+"InstructedAmount.Currency")},
		{payment, initiation + "InstructedAmount.Currency", absent, is("Field.Missing", initiation+"InstructedAmount.Currency")},
		{payment, initiation + "DebtorAccount", absent, nil},
		{payment, initiation + "DebtorAccount.Name", absent, nil},
		{payment, initiation + "CreditorAccount", absent, is("Field.Missing", initiation+"CreditorAccount")},
		{payment, initiation + "CreditorAccount.Name", absent, is("Field.Missing", initiation+"CreditorAccount.Name")},
		{payment, initiation + "CreditorAccount.Name", "ACME\u202egnihtemoS", is("Field.Invalid", initiation+"CreditorAccount.Name")},
		{payment, initiation + "CreditorAccount.Name", "ACME\x00", is("Field.Invalid", initiation+"CreditorAccount.Name")},
		{payment, initiation + "CreditorAccount.Identification", "0808002132569", is("Unsupported.AccountIdentifier", initiation+"CreditorAccount.Identification")},
		{payment, initiation + "CreditorAccount.SchemeName", "IBAN", is("Unsupported.AccountIdentifier", initiation+"CreditorAccount.Identification")},
		{payment, initiation + "CreditorAccount.SchemeName", "UK.SomeBank.Scheme", nil},
		{payment, initiation + "CreditorAccount.LEI", "X", is("Field.Unexpected", initiation+"CreditorAccount.LEI")},
		{payment, initiation + "CreditorPostalAddress.AddressType", "Home", is("Field.Invalid", initiation+"CreditorPostalAddress.AddressType")},
		{payment, initiation + "CreditorPostalAddress.Country", "GBR", is("Field.Invalid", initiation+"CreditorPostalAddress.Country")},
		{payment, initiation + "CreditorPostalAddress.AddressLine", []string{"1", "2", "3", "4", "5", "6", "7"}, nil},
		{payment, initiation + "CreditorPostalAddress.AddressLine", []string{"1", "2", "3", "4", "5", "6", "7", "8"}, is("Field.Invalid", initiation+"CreditorPostalAddress.AddressLine")},
		{payment, initiation + "CreditorPostalAddress.AddressLine", []string{"1", x(71)}, is("Field.Invalid", initiation+"CreditorPostalAddress.AddressLine[1]")},
		{payment, initiation + "RemittanceInformation.Unstructured", x(141), is("Field.Invalid", initiation+"RemittanceInformation.Unstructured")},
		{payment, initiation + "RemittanceInformation.Reference", x(36), is("Field.Invalid", initiation+"RemittanceInformation.Reference")},
		{payment, initiation + "SupplementaryData", []any{}, is("Field.Invalid", initiation+"SupplementaryData")},
		{payment, initiation + "Frequency", "EvryDay", is("Field.Unexpected", initiation+"Frequency")},
		{payment, "Data.Authorisation", map[string]any{}, is("Field.Missing", "Data.Authorisation.AuthorisationType")},
		{payment, "Data.Authorisation.AuthorisationType", "Auth", is("Field.Invalid", "Data.Authorisation.AuthorisationType")},
		{payment, "Data.Authorisation.CompletionDateTime", "2026-11-23T12:00:00Z", is("Field.InvalidDate", "Data.Authorisation.CompletionDateTime")},
		{payment, "Data.SCASupportData.RequestedSCAExemptionType", "Any", is("Field.Invalid", "Data.SCASupportData.RequestedSCAExemptionType")},
		{payment, "Data.SCASupportData.AppliedAuthenticationApproach", "None", is("Field.Invalid", "Data.SCASupportData.AppliedAuthenticationApproach")},
		{payment, "Data.SCASupportData.ReferencePaymentOrderId", x(129), is("Field.Invalid", "Data.SCASupportData.ReferencePaymentOrderId")},
		{payment, risk + "PaymentContextCode", "Fun", is("Field.Invalid", risk+"PaymentContextCode")},
		{payment, risk + "PaymentContextCode", "EcommerceGoods", nil},
		{payment, risk + "MerchantCategoryCode", "59", is("Field.Invalid", risk+"MerchantCategoryCode")},
		{payment, risk + "ContractPresentIndicator", "true", is("Field.Invalid", risk+"ContractPresentIndicator")},
		{payment, risk + "ContractPresentInidicator", true, nil},
		{payment, risk + "BeneficiaryAccountType", "Secret", is("Field.Invalid", risk+"BeneficiaryAccountType")},
		{payment, risk + "DeliveryAddress.TownName", absent, is("Field.Missing", risk+"DeliveryAddress.TownName")},
		{payment, risk + "DeliveryAddress.Country", absent, is("Field.Missing", risk+"DeliveryAddress.Country")},
		{payment, risk + "DeliveryAddress.AddressLine", []string{"1", "2", "3"}, is("Field.Invalid", risk+"DeliveryAddress.AddressLine")},
		{payment, risk + "Score", 5, is("Field.Unexpected", risk+"Score")},
	}
	for i, row := range rows {
		t.Run(strconv.Itoa(i)+" "+row.path, func(t *testing.T) {
			r := resourceOf(row.kind)
			a := w.openBanking("POST", r.at("alpha", "v3.1.11"), token, edit(t, r.body, row.path, row.value))
			if row.faults != nil {
				refused(t, a, 400, row.faults...)
			} else if a.StatusCode != 201 {
				t.Errorf("%v", a)
			}
		})
	}
}

// All faults of a body come at once, in the order of the specification, and
// never too many.
func TestAllFaultsOfABody(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	token, r := w.ownToken("alpha", tppA), resourceOf(gatehouse.AccountAccess)
	body := `{"Other":1,"Data":{"Zeta":1,"Permissions":["ReadPAN","None"],"ExpirationDateTime":"now","Alpha":1,"TransactionFromDateTime":"2026-01-02T00:00:00Z","TransactionToDateTime":"2026-01-01T00:00:00Z"}}`
	a := w.openBanking("POST", r.at("alpha", "v3.1.11"), token, body)
	refused(t, a, 400, "Field.Invalid", "Data.Permissions[1]", "Field.Expected", "Data.Permissions", "Field.InvalidDate", "Data.ExpirationDateTime",
		"Field.Unexpected", "Data.Alpha", "Field.Unexpected", "Data.Zeta", "Field.InvalidDate", "Data.TransactionToDateTime",
		"Field.Missing", "Risk", "Field.Unexpected", "Other")
	if strings.Contains(a.Body, "None") {
		t.Errorf("a value of the request is repeated: %v", a)
	}
	many := edit(t, r.body, "Data.Permissions", strings.Split(strings.Repeat("x ", 99)+"x", " "))
	if got := openBankingFaults(t, w.openBanking("POST", r.at("alpha", "v3.1.11"), token, many)); len(got) != 25 {
		t.Errorf("%d faults of 101", len(got))
	}
}

// A body that is not one JSON object, strictly, is of the wrong format.
func TestConsentBodyIsStrict(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	token, r := w.ownToken("alpha", tppA), resourceOf(gatehouse.AccountAccess)
	for name, body := range map[string]string{
		"empty":                "",
		"not JSON":             "Data=1",
		"truncated":            r.body[:len(r.body)-1],
		"array":                "[" + r.body + "]",
		"null":                 "null",
		"two":                  r.body + r.body,
		"member twice":         strings.Replace(r.body, `"Risk": {}`, `"Risk": {}, "Risk": {}`, 1),
		"member twice, inside": strings.Replace(r.body, `"Permissions"`, `"Permissions": ["ReadPAN"], "\u0050ermissions"`, 1),
		"not UTF-8":            strings.Replace(r.body, "ReadBalances", "\xff", 1),
		"half a character":     strings.Replace(r.body, "ReadBalances", `\ud800`, 1),
		"deep":                 strings.Replace(r.body, `"Risk": {}`, `"Risk": `+strings.Repeat(`{"a":`, 16)+"1"+strings.Repeat("}", 16), 1),
	} {
		a := w.openBanking("POST", r.at("alpha", "v3.1"), token, body, http.Header{"Content-Type": {"application/json"}})
		if got := openBankingFaults(t, a); a.StatusCode != 400 || len(got) != 1 || got[0].ErrorCode != "UK.OBIE.Resource.InvalidFormat" {
			t.Errorf("%s: %v", name, a)
		}
	}
}

// Bodies as TPP software in use sends them.
func TestBodiesInUse(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	w.addEverything()
	token := w.ownToken("alpha", everything)
	const withoutRisk = `{"Data":{"ExpirationDateTime":"2026-12-23T12:00:00.000Z","Permissions":["ReadAccountsBasic","ReadAccountsDetail","ReadBalances","ReadBeneficiariesBasic",
		"ReadBeneficiariesDetail","ReadTransactionsBasic","ReadTransactionsCredits","ReadTransactionsDebits","ReadTransactionsDetail","ReadPAN","ReadParty","ReadDirectDebits",
		"ReadStandingOrdersBasic","ReadStandingOrdersDetail"]}}`
	for _, row := range []struct {
		kind          gatehouse.ConsentKind
		version, body string
		expires       time.Time
	}{
		{gatehouse.AccountAccess, "v3.1", withoutRisk, time.Date(2026, 12, 23, 12, 0, 0, 0, time.UTC)},
		{gatehouse.AccountAccess, "v3.1", edit(t, withoutRisk, "Risk", nil), time.Date(2026, 12, 23, 12, 0, 0, 0, time.UTC)},
		{gatehouse.AccountAccess, "v3.1.11", `{"Data":{"Permissions":["ReadAccountsBasic"],"ExpirationDateTime":"2027-02-20T12:00:00Z"},"Risk":{}}`, time.Date(2027, 2, 20, 12, 0, 0, 0, time.UTC)},
		{gatehouse.FundsConfirmation, "v3.1.11", `{"Data":{"ExpirationDateTime":null,"DebtorAccount":{"SchemeName":"UK.OBIE.SortCodeAccountNumber","Identification":"60304560543816","Name":"Ricardos Current Account"}}}`, time.Time{}},
	} {
		path := resourceOf(row.kind).at("alpha", row.version)
		a := w.openBanking("POST", path, token, row.body)
		if a.StatusCode != 201 {
			t.Errorf("%v", a)
			continue
		}
		if _, hasRisk := a.JSON["Risk"].(map[string]any); hasRisk != (row.kind != gatehouse.FundsConfirmation) {
			t.Errorf("Risk: %v", a)
		}
		c, err := w.store.Consent(context.Background(), "alpha", a.data("ConsentId"))
		must(t, err)
		if !c.ExpiresAt.Equal(row.expires) || c.ClientID != everything || c.Kind != row.kind {
			t.Errorf("kept: %+v", c)
		}
	}
	refused(t, w.openBanking("POST", resourceOf(gatehouse.AccountAccess).at("alpha", "v3.1.11"), token, withoutRisk), 400, "Field.Missing", "Risk")
}

var signedHeader = http.Header{"Content-Type": {"application/jwt"}}

// signed is a body in a JWT of the client.
func (w *world) signed(client, body string, more claims) string {
	w.t.Helper()
	alg := jose.PS256
	if client == tppB {
		alg = jose.RS256
	}
	return w.signedBy(clientKey(w.t, client, alg), "", body, more)
}

func (w *world) signedBy(key *jose.PrivateKey, typ, body string, more claims) string {
	w.t.Helper()
	var members map[string]json.RawMessage
	must(w.t, json.Unmarshal([]byte(body), &members))
	payload := claims{}
	for name, value := range members {
		payload[name] = value
	}
	text, err := key.Sign(typ, payload.with(more))
	must(w.t, err)
	return text
}

// A body may be the payload of a JWT of the client; the claims that are about
// the token are checked and are no part of it.
func TestSignedConsentBody(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	w.addEverything()
	w.clock.advance(750 * time.Millisecond) // to a whole second
	path, now := resourceOf(gatehouse.AccountAccess).at("alpha", "v3.1.11"), w.clock.Now()
	all := claims{"iss": everything, "aud": issuer("alpha"), "exp": now.Add(time.Minute).Unix(), "nbf": now.Unix(), "iat": now.Unix(), "jti": "1"}
	token := w.ownToken("alpha", everything)
	send := func(text, media string) *answer {
		return w.openBanking("POST", path, token, text, http.Header{"Content-Type": {media}})
	}
	good := []string{
		w.signed(everything, accountAccessBody, nil),
		w.signed(everything, accountAccessBody, all),
		w.signed(everything, accountAccessBody, all.with(claims{"aud": []string{"x", baseURL + path}, "iat": now.Unix() + 10, "exp": nil})),
		w.signed(everything, accountAccessBody, claims{"aud": baseURL + "/api/oidc/alpha/tokens"}),
		w.signedBy(clientKey(t, everything, jose.RS256), "JOSE", accountAccessBody, all),
		w.signedBy(clientKey(t, everything, jose.PS256), "application/jwt", accountAccessBody, all),
	}
	for i, text := range good {
		for _, media := range []string{"application/jwt", "application/jose"} {
			a := send(text, media)
			if a.StatusCode != 201 {
				t.Errorf("%d: %v", i, a)
				continue
			}
			c, err := w.store.Consent(context.Background(), "alpha", a.data("ConsentId"))
			must(t, err)
			if got, want := fmt.Sprint(written(t, string(c.Lodged))), fmt.Sprint(written(t, accountAccessBody)); got != want {
				t.Errorf("%d: kept %s, want %s", i, got, want)
			}
		}
	}

	other := key(t, "nobody", jose.PS256)
	tampered := strings.Split(good[0], ".")
	tampered[1] = strings.Split(w.signed(everything, edit(t, accountAccessBody, "Data.ExpirationDateTime", absent), nil), ".")[1]
	for _, row := range []struct {
		name, text string
		faults     []string
	}{
		{"JSON", accountAccessBody, []string{"Signature.Malformed", ""}},
		{"two parts", strings.Join(tampered[:2], "."), []string{"Signature.Malformed", ""}},
		{"unsigned", "eyJhbGciOiJub25lIn0." + tampered[1] + ".AA", []string{"Signature.Malformed", ""}},
		{"tampered", strings.Join(tampered, "."), []string{"Signature.Invalid", ""}},
		{"key of nobody", w.signedBy(other, "", accountAccessBody, all), []string{"Signature.Invalid", ""}},
		{"key of another client", w.signed(tppA, accountAccessBody, nil), []string{"Signature.Invalid", ""}},
		{"key of the bank", w.signedBy(key(t, "bank alpha", jose.RS256), "", accountAccessBody, nil), []string{"Signature.Invalid", ""}},
		{"typ", w.signedBy(clientKey(t, everything, jose.PS256), "oauth-authz-req+jwt", accountAccessBody, all), []string{"Signature.InvalidClaim", "typ"}},
		{"iss", w.signed(everything, accountAccessBody, all.with(claims{"iss": tppA})), []string{"Signature.InvalidClaim", "iss"}},
		{"aud", w.signed(everything, accountAccessBody, all.with(claims{"aud": issuer("beta")})), []string{"Signature.InvalidClaim", "aud"}},
		{"aud of no form", w.signed(everything, accountAccessBody, all.with(claims{"aud": 1})), []string{"Signature.InvalidClaim", "aud"}},
		{"exp", w.signed(everything, accountAccessBody, all.with(claims{"exp": now.Unix()})), []string{"Signature.InvalidClaim", "exp"}},
		{"nbf", w.signed(everything, accountAccessBody, all.with(claims{"nbf": now.Unix() + 11})), []string{"Signature.InvalidClaim", "nbf"}},
		{"iat", w.signed(everything, accountAccessBody, all.with(claims{"iat": now.Unix() + 11})), []string{"Signature.InvalidClaim", "iat"}},
		{"iat of no form", w.signed(everything, accountAccessBody, all.with(claims{"iat": "now"})), []string{"Signature.InvalidClaim", "iat"}},
		{"sub", w.signed(everything, accountAccessBody, all.with(claims{"sub": everything})), []string{"Field.Unexpected", "sub"}},
		{"response_type", w.signed(everything, accountAccessBody, all.with(claims{"response_type": "code"})), []string{"Field.Unexpected", "response_type"}},
		{"assertion", w.assertion("alpha", everything, nil), []string{"Field.Missing", "Data", "Field.Missing", "Risk", "Field.Unexpected", "sub"}},
		{"a fault inside", w.signed(everything, edit(t, accountAccessBody, "Data.Permissions", absent), all), []string{"Field.Missing", "Data.Permissions"}},
	} {
		t.Run(row.name, func(t *testing.T) { refused(t, send(row.text, "application/jwt"), 400, row.faults...) })
	}
	// And the other way round.
	request := exchange("x")
	maps.Copy(request, form{"client_assertion_type": assertionType, "client_assertion": w.signed(everything, accountAccessBody, all)})
	expect(t, w.do("POST", "/api/oidc/alpha/tokens", formHeader, request.encode()), 400, "invalid_client")

	// A client that is registered for one algorithm signs with no other.
	narrow := w.ownToken("alpha", tppB)
	if a := w.openBanking("POST", path, narrow, w.signed(tppB, accountAccessBody, nil), signedHeader); a.StatusCode != 201 {
		t.Errorf("as registered: %v", a)
	}
	refused(t, w.openBanking("POST", path, narrow, w.signedBy(clientKey(t, tppB, jose.PS256), "", accountAccessBody, nil), signedHeader), 400, "Signature.Invalid", "")
}
