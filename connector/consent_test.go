package connector_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"gatehouse"
	"gatehouse/connector"
	"gatehouse/jose"
)

var app = connector.App{Name: "Kiwi Budget", URN: "PSDNL-FCA-034681"}

func consent(kind gatehouse.ConsentKind, lodged string) *gatehouse.Consent {
	return &gatehouse.Consent{
		ID: "consent-1", Provider: "alpha", ClientID: "client-1", Kind: kind, Status: gatehouse.ConsentAwaitingAuthorisation,
		Lodged: json.RawMessage(lodged), CreatedAt: now, StatusUpdatedAt: now.Add(time.Minute),
	}
}

// consents are one of each kind, with all that the standard knows and some
// that it does not, and what a bank is told of it.
var consents = map[gatehouse.ConsentKind]struct{ lodged, told string }{
	gatehouse.AccountAccess: {`{"Data":{
		"Permissions":["ReadAccountsBasic","ReadBalances"],"ExpirationDateTime":"2027-01-01T00:00:00+00:00",
		"TransactionFromDateTime":"2026-01-01T00:00:00+00:00","TransactionToDateTime":"2026-12-31T23:59:59+00:00",
		"Status":"Authorised","AppName":"Your bank","ConsentId":"another","PaymentType":"x"},"Risk":{}}`, `{
		"app_name":"Kiwi Budget","tpp_global_urn":"PSDNL-FCA-034681","provider_code":"alpha","access_token":"token-1","consent_id":"consent-1",
		"permissions":["ReadAccountsBasic","ReadBalances"],"expiration_date_time":"2027-01-01T00:00:00+00:00",
		"transaction_from_date_time":"2026-01-01T00:00:00+00:00","transaction_to_date_time":"2026-12-31T23:59:59+00:00"}`},

	gatehouse.DomesticPayment: {`{"Data":{
		"ReadRefundAccount":"Yes",
		"Initiation":{
			"InstructionIdentification":"ACME412","EndToEndIdentification":"FRESCO.21302.GFX.20",
			"InstructedAmount":{"Amount":"165.88","Currency":"GBP"},
			"CreditorAccount":{"SchemeName":"UK.OBIE.SortCodeAccountNumber","Identification":"08080021325698","Name":"ACME Inc","SecondaryIdentification":"0002"},
			"creditorAccount":{"Identification":"a thief's"},
			"CreditorPostalAddress":{"AddressLine":["1 The Street","Town"],"CountrySubDivision":"ES"},
			"RemittanceInformation":{"Reference":"FRESCO-101"},
			"SupplementaryData":{"OurOwn":{"CamelCase":1.50}}},
		"Authorisation":{"AuthorisationType":"Single","CompletionDateTime":"2026-12-01T00:00:00Z"},
		"SCASupportData":{"RequestedSCAExemptionType":"PartyToParty"},
		"Permissions":["ReadBalances"]},
		"Risk":{"PaymentContextCode":"EcommerceGoods","DeliveryAddress":{"PostCode":"EC1"}}}`, `{
		"app_name":"Kiwi Budget","tpp_global_urn":"PSDNL-FCA-034681","provider_code":"alpha","access_token":"token-1","consent_id":"consent-1",
		"payment_type":"domestic_payment","status":"AwaitingAuthorisation",
		"creation_date_time":"2026-11-23T12:00:00Z","status_update_date_time":"2026-11-23T12:01:00Z",
		"read_refund_account":"Yes",
		"initiation":{
			"instruction_identification":"ACME412","end_to_end_identification":"FRESCO.21302.GFX.20",
			"instructed_amount":{"amount":"165.88","currency":"GBP"},
			"creditor_account":{"scheme_name":"UK.OBIE.SortCodeAccountNumber","identification":"08080021325698","name":"ACME Inc","secondary_identification":"0002"},
			"creditor_postal_address":{"address_line":["1 The Street","Town"],"country_sub_division":"ES"},
			"remittance_information":{"reference":"FRESCO-101"},
			"supplementary_data":{"OurOwn":{"CamelCase":1.50}}},
		"authorisation":{"authorisation_type":"Single","completion_date_time":"2026-12-01T00:00:00Z"},
		"sca_support_data":{"requested_sca_exemption_type":"PartyToParty"},
		"risk":{"payment_context_code":"EcommerceGoods","delivery_address":{"post_code":"EC1"}}}`},

	gatehouse.FundsConfirmation: {`{"Data":{
		"ExpirationDateTime":"2027-01-01T00:00:00+00:00",
		"DebtorAccount":{"SchemeName":"UK.OBIE.IBAN","Identification":"GB29NWBK60161331926819","Name":"A. N. Other"}}}`, `{
		"app_name":"Kiwi Budget","tpp_global_urn":"PSDNL-FCA-034681","provider_code":"alpha","access_token":"token-1","consent_id":"consent-1",
		"status":"AwaitingAuthorisation","expiration_date_time":"2027-01-01T00:00:00+00:00",
		"debtor_account":{"scheme_name":"UK.OBIE.IBAN","identification":"GB29NWBK60161331926819","name":"A. N. Other"}}`},
}

// same compares data as they arrive in a signed token with a JSON text, as to
// what they mean, numbers by their spelling.
func same(t *testing.T, what string, data any, want string) {
	t.Helper()
	token, err := jose.Parse(string(signed(t, keys().provider, object{"data": data})), jose.MaxSize)
	if err != nil {
		t.Fatal(err)
	}
	read := func(text []byte) (value map[string]any) {
		d := json.NewDecoder(bytes.NewReader(text))
		d.UseNumber()
		if err := d.Decode(&value); err != nil {
			t.Fatal(err)
		}
		return value
	}
	if diff := cmp.Diff(read([]byte(want)), read(token.Claims["data"])); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

// A bank is told of each kind of consent at its own path, what was lodged and
// nothing that the TPP has put beside it.
func TestLodged(t *testing.T) {
	paths := map[gatehouse.ConsentKind]string{
		gatehouse.AccountAccess: "/consents", gatehouse.DomesticPayment: "/payment_consents", gatehouse.FundsConfirmation: "/funds_check_consents",
	}
	for kind, test := range consents {
		call, err := connector.Lodged(consent(kind, test.lodged), app, "token-1")
		if err != nil {
			t.Fatal(err)
		}
		same(t, string(kind), call.Data, test.told)
		call.Data = nil
		want := &connector.Call{Method: "POST", Path: paths[kind], ClientID: "client-1", ConsentID: "consent-1", AccessToken: "token-1"}
		if diff := cmp.Diff(want, call); diff != "" {
			t.Errorf("%s (-want +got):\n%s", kind, diff)
		}
	}
}

// Nobody vouches for the TPP, and nothing optional was lodged.
func TestLodgedLittle(t *testing.T) {
	call, err := connector.Lodged(consent(gatehouse.AccountAccess, `{"Data":{"Permissions":["ReadBalances"],"ExpirationDateTime":null},"Risk":{}}`), connector.App{Name: "X"}, "t")
	if err != nil {
		t.Fatal(err)
	}
	same(t, "little", call.Data, `{"app_name":"X","tpp_global_urn":null,"provider_code":"alpha","access_token":"t","consent_id":"consent-1","permissions":["ReadBalances"]}`)
	for _, lodged := range []string{`{}`, `{"Data":1}`, `nothing`} {
		if _, err := connector.Lodged(consent(gatehouse.AccountAccess, lodged), app, "t"); err == nil {
			t.Errorf("no error for %s", lodged)
		}
	}
}

func TestRevoked(t *testing.T) {
	for kind, path := range map[gatehouse.ConsentKind]string{
		gatehouse.AccountAccess: "/consents/consent-1/revoke", gatehouse.FundsConfirmation: "/funds_check_consents/consent-1/revoke",
	} {
		want := &connector.Call{Method: "PATCH", Path: path, Data: map[string]any{"provider_code": "alpha"},
			ClientID: "client-1", ConsentID: "consent-1", AccessToken: "token-1"}
		if diff := cmp.Diff(want, connector.Revoked(consent(kind, ""), "token-1")); diff != "" {
			t.Errorf("%s (-want +got):\n%s", kind, diff)
		}
	}
	if call := connector.Revoked(consent(gatehouse.DomesticPayment, ""), "token-1"); call != nil {
		t.Errorf("a payment consent: %+v, want no call", call)
	}
}

// A bank that asks gets what it was told, and where the consent stands.
func TestConsentData(t *testing.T) {
	for kind, test := range consents {
		c := consent(kind, test.lodged)
		c.Status = gatehouse.ConsentAuthorised
		got, err := connector.ConsentData(c, app, "token-1")
		if err != nil {
			t.Fatal(err)
		}
		same(t, string(kind), got, test.told[:len(test.told)-1]+`,"kind":"`+string(kind)+`","client_id":"client-1","status":"Authorised",
			"creation_date_time":"2026-11-23T12:00:00Z","status_update_date_time":"2026-11-23T12:01:00Z"}`)
	}
}

// signed is a call of the bank.
func signed(t *testing.T, key *jose.PrivateKey, payload any) []byte {
	t.Helper()
	text, err := key.Sign("", payload)
	if err != nil {
		t.Fatal(err)
	}
	return []byte(text)
}

type object = map[string]any

const none = "<nil>"

// Each row is a call of the bank with its data, and the fault in it.
func TestReadConsentCalls(t *testing.T) {
	status := func(body []byte) error {
		_, err := connector.ReadConsentStatus(body, bankKeys(), "consent-1", now)
		return err
	}
	revocation := func(body []byte) error {
		return connector.ReadRevocation(body, bankKeys(), "consent-1", now)
	}
	payment := func(body []byte) error {
		_, err := connector.ReadPaymentStatus(body, bankKeys(), now)
		return err
	}
	for _, test := range []struct {
		name  string
		read  func([]byte) error
		data  any
		fault string
	}{
		{"rejected", status, object{"status": "Rejected"}, none},
		{"revoked", status, object{"status": "Revoked", "consent_id": "consent-1"}, none},
		{"consumed", status, object{"status": "Consumed", "app_name": "x"}, none},
		{"authorised", status, object{"status": "Authorised"}, "data.status must be Rejected, Revoked or Consumed"},
		{"case", status, object{"status": "revoked"}, "data.status must be Rejected, Revoked or Consumed"},
		{"no status", status, object{}, "data.status is missing"},
		{"status of another type", status, object{"status": 1}, "data.status is not a string"},
		{"of another consent", status, object{"status": "Revoked", "consent_id": "consent-2"}, "data.consent_id is not that of the path"},
		{"consent_id of another type", status, object{"status": "Revoked", "consent_id": 1}, "data.consent_id is not a string"},
		{"no data", status, nil, "body: data must be an object"},
		{"data of another type", status, "Revoked", "body: data must be an object"},

		{"revocation", revocation, object{}, none},
		{"revocation of this", revocation, object{"consent_id": "consent-1", "provider_code": "alpha"}, none},
		{"revocation of another", revocation, object{"consent_id": "consent-2"}, "data.consent_id is not that of the path"},
		{"revocation without data", revocation, nil, "body: data must be an object"},

		{"pending", payment, object{"consent_id": "c", "status": "Pending", "app_name": "x"}, none},
		{"unknown", payment, object{"consent_id": "c", "status": "Done"}, "data.status is no status of a payment"},
		{"payment without consent", payment, object{"status": "Pending"}, "data.consent_id is missing"},
		{"payment without status", payment, object{"consent_id": "c"}, "data.status is missing"},
		{"payment with a number", payment, object{"consent_id": 12, "status": "Pending"}, "data.consent_id is not a string"},
	} {
		t.Run(test.name, func(t *testing.T) {
			good := object{"data": test.data, "exp": now.Add(time.Minute).Unix()}
			if fault := text(test.read(signed(t, keys().bank, good))); fault != test.fault {
				t.Errorf("fault %q, want %q", fault, test.fault)
			}
			for name, body := range map[string][]byte{
				"key":    signed(t, keys().stranger, good),
				"no exp": signed(t, keys().bank, object{"data": test.data}),
				"old":    signed(t, keys().bank, object{"data": test.data, "exp": now.Unix()}),
				"ahead":  signed(t, keys().bank, object{"data": test.data, "exp": now.Add(11 * time.Minute).Unix()}),
				"empty":  nil,
				"JSON":   []byte(`{"data":{"status":"Revoked","consent_id":"c"}}`),
			} {
				if err := test.read(body); err == nil {
					t.Errorf("%s: no error", name)
				}
			}
		})
	}
	for status, accepted := range map[string]bool{
		"Pending": false, "Rejected": false, "AcceptedSettlementInProcess": true, "AcceptedSettlementCompleted": true,
		"AcceptedWithoutPosting": true, "AcceptedCreditSettlementCompleted": true,
	} {
		got, err := connector.ReadPaymentStatus(signed(t, keys().bank, object{
			"data": object{"consent_id": "c", "status": status}, "exp": now.Add(time.Minute).Unix(),
		}), bankKeys(), now)
		if err != nil || got.Accepted != accepted || got.ConsentID != "c" {
			t.Errorf("%s: %+v %v", status, got, err)
		}
	}
}

func bankKeys() []*jose.PublicKey { return []*jose.PublicKey{keys().bank.Public()} }

// text is what the bank is told of an error.
func text(err error) string {
	if fault, ok := errors.AsType[*gatehouse.Error](err); ok {
		return fault.Description
	}
	return fmt.Sprint(err)
}
