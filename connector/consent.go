package connector

// docs/connector.md, "What the bank is told" and "Consents"; UK Open Banking
// Read/Write API 3.1, whose member names the wire writes in snake case.

import (
	"encoding/json"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode"

	"gatehouse"
	"gatehouse/jose"
)

// An App is the TPP's application as a bank is told of it.
type App struct {
	Name string
	URN  string // tpp_global_urn; empty when nobody vouches for the TPP
}

// wire says, of each kind of consent, the paths of the calls about it, and what
// a bank is told of the body that the TPP lodged.
var wire = map[gatehouse.ConsentKind]struct {
	lodge, revoke string // revoke is empty when the wire has no such call
	data          []string
}{
	gatehouse.AccountAccess: {"/consents", "/consents/{consent_id}/revoke",
		[]string{"Permissions", "ExpirationDateTime", "TransactionFromDateTime", "TransactionToDateTime"}},
	gatehouse.DomesticPayment: {"/payment_consents", "",
		[]string{"ReadRefundAccount", "Initiation", "Authorisation", "SCASupportData"}},
	gatehouse.FundsConfirmation: {"/funds_check_consents", "/funds_check_consents/{consent_id}/revoke",
		[]string{"ExpirationDateTime", "DebtorAccount"}},
}

// Lodged is the call that tells a bank of a consent that waits for its PSU.
func Lodged(c *gatehouse.Consent, app App, accessToken string) (*Call, error) {
	data, err := consentData(c, app, accessToken)
	if err != nil {
		return nil, err
	}
	return &Call{
		Method: http.MethodPost, Path: wire[c.Kind].lodge, Data: data,
		ClientID: c.ClientID, ConsentID: c.ID, AccessToken: accessToken,
	}, nil
}

// Revoked is the call that tells a bank of the end of a consent; nil when the
// wire has none for its kind.
func Revoked(c *gatehouse.Consent, accessToken string) *Call {
	if wire[c.Kind].revoke == "" {
		return nil
	}
	return &Call{
		Method:   http.MethodPatch,
		Path:     strings.Replace(wire[c.Kind].revoke, "{consent_id}", url.PathEscape(c.ID), 1),
		Data:     map[string]any{"provider_code": c.Provider},
		ClientID: c.ClientID, ConsentID: c.ID, AccessToken: accessToken,
	}
}

// ConsentData is everything about a consent, for a bank that asks: what the
// call of Lodged has, and where the consent stands.
func ConsentData(c *gatehouse.Consent, app App, accessToken string) (map[string]any, error) {
	data, err := consentData(c, app, accessToken)
	if err != nil {
		return nil, err
	}
	data["client_id"] = c.ClientID
	data["kind"] = c.Kind
	maps.Copy(data, standing(c))
	return data, nil
}

// standing is what changes about a consent, and when it began.
func standing(c *gatehouse.Consent) map[string]any {
	return map[string]any{
		"status":                  c.Status,
		"creation_date_time":      c.CreatedAt.UTC().Format(time.RFC3339),
		"status_update_date_time": c.StatusUpdatedAt.UTC().Format(time.RFC3339),
	}
}

// consentData has the members that the documented call has, and no others but
// read_refund_account. Nothing that a TPP lodges takes the place of what the
// server says.
func consentData(c *gatehouse.Consent, app App, accessToken string) (map[string]any, error) {
	lodged, err := jose.ParseObject(c.Lodged, maxLodgedDepth)
	if err != nil {
		return nil, err
	}
	var body jose.Claims
	if err := lodged.Decode("Data", &body); err != nil {
		return nil, err
	}
	data := map[string]any{
		"app_name":       app.Name,
		"tpp_global_urn": orNull(app.URN),
		"provider_code":  c.Provider,
		"access_token":   accessToken,
		"consent_id":     c.ID,
	}
	for _, name := range wire[c.Kind].data {
		if len(body[name]) == 0 || string(body[name]) == "null" { // alike, as lodging has it
			continue
		}
		if data[snake(name)], err = snakeNames(json.RawMessage(body[name])); err != nil {
			return nil, err
		}
	}
	switch c.Kind {
	case gatehouse.FundsConfirmation:
		data["status"] = c.Status
	case gatehouse.DomesticPayment:
		maps.Copy(data, standing(c))
		data["payment_type"] = "domestic_payment"
		if lodged.Has("Risk") {
			data["risk"], err = snakeNames(json.RawMessage(lodged["Risk"]))
		}
	}
	return data, err
}

const maxLodgedDepth = 32

func orNull(text string) any {
	if text == "" {
		return nil
	}
	return text
}

// snakeNames renames the members of all objects in a JSON value, numbers and
// texts staying as they were sent. SupplementaryData keeps the names that the
// TPP gave its members. Of two members that would have one name the one in the
// spelling of the standard stays: capitals sort first.
func snakeNames(value json.RawMessage) (any, error) {
	switch value[0] {
	case '[':
		var list []json.RawMessage
		if err := json.Unmarshal(value, &list); err != nil {
			return nil, err
		}
		renamed := make([]any, len(list))
		for i := range list {
			var err error
			if renamed[i], err = snakeNames(list[i]); err != nil {
				return nil, err
			}
		}
		return renamed, nil
	case '{':
		object, err := jose.ParseObject(value, maxLodgedDepth)
		if err != nil {
			return nil, err
		}
		renamed := make(map[string]any, len(object))
		for _, name := range slices.Sorted(maps.Keys(object)) {
			member := json.RawMessage(object[name])
			if _, taken := renamed[snake(name)]; taken {
				continue
			}
			if name == "SupplementaryData" {
				renamed[snake(name)] = member
			} else if renamed[snake(name)], err = snakeNames(member); err != nil {
				return nil, err
			}
		}
		return renamed, nil
	}
	return value, nil
}

// snake is a name in snake case: creditor_account of CreditorAccount, and
// sca_support_data of SCASupportData.
func snake(name string) string {
	var b strings.Builder
	runes := []rune(name)
	for i, r := range runes {
		if i > 0 && unicode.IsUpper(r) &&
			(!unicode.IsUpper(runes[i-1]) || i+1 < len(runes) && unicode.IsLower(runes[i+1])) {
			b.WriteByte('_')
		}
		b.WriteRune(unicode.ToLower(r))
	}
	return b.String()
}

// ReadConsentStatus reads the body of a call that moves a consent.
func ReadConsentStatus(body []byte, keys []*jose.PublicKey, consentID string, now time.Time) (gatehouse.ConsentStatus, error) {
	data, err := openFor(body, keys, consentID, now)
	if err != nil {
		return "", err
	}
	status, err := data.String("status")
	if err != nil {
		return "", invalid("data." + err.Error())
	}
	switch to := gatehouse.ConsentStatus(status); to {
	case gatehouse.ConsentRejected, gatehouse.ConsentRevoked, gatehouse.ConsentConsumed:
		return to, nil
	}
	return "", invalid("data.status must be Rejected, Revoked or Consumed")
}

// ReadRevocation reads the body of a call that revokes a consent.
func ReadRevocation(body []byte, keys []*jose.PublicKey, consentID string, now time.Time) error {
	data, err := openFor(body, keys, consentID, now)
	if err != nil {
		return err
	}
	// A bank may send no data at all, but what makes it another call.
	for _, name := range []string{"status", "user_id", "authorize_url", "auth_code"} {
		if data.Has(name) {
			return invalid("data." + name + " has no place in a revocation")
		}
	}
	return nil
}

// openFor opens a body about a consent. One that names another consent was
// signed for another call.
func openFor(body []byte, keys []*jose.PublicKey, consentID string, now time.Time) (jose.Claims, error) {
	data, err := open(body, keys, now)
	if err != nil {
		return nil, err
	}
	named, present, err := data.OptionalString("consent_id")
	switch {
	case err != nil:
		return nil, invalid("data." + err.Error())
	case present && named != consentID:
		return nil, invalid("data.consent_id is not that of the path")
	}
	return data, nil
}

// A PaymentStatus says what became of a payment at the bank.
type PaymentStatus struct {
	ConsentID string
	// Accepted reports that the payment is on its way or made.
	Accepted bool
}

// paymentAccepted has every status of a payment (UK Open Banking Read/Write API
// 3.1, domestic-payments), and whether it means that the payment is accepted.
var paymentAccepted = map[string]bool{
	"Pending":                           false,
	"Rejected":                          false,
	"AcceptedSettlementInProcess":       true,
	"AcceptedSettlementCompleted":       true,
	"AcceptedWithoutPosting":            true,
	"AcceptedCreditSettlementCompleted": true,
}

// ReadPaymentStatus reads the body of a payment status call.
func ReadPaymentStatus(body []byte, keys []*jose.PublicKey, now time.Time) (*PaymentStatus, error) {
	data, err := open(body, keys, now)
	if err != nil {
		return nil, err
	}
	s := &PaymentStatus{}
	if s.ConsentID, err = data.String("consent_id"); err != nil {
		return nil, invalid("data." + err.Error())
	}
	status, err := data.String("status")
	if err != nil {
		return nil, invalid("data." + err.Error())
	}
	accepted, known := paymentAccepted[status]
	if !known {
		return nil, invalid("data.status is no status of a payment")
	}
	s.Accepted = accepted
	return s, nil
}
