package oidc

// What a grant is in words that its PSU understands.

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"gatehouse"
)

// A holding is a grant as its PSU reads of it. Names and all other texts are
// what TPPs and banks sent: hostile.
type holding struct {
	*gatehouse.Grant
	State holdingState
	// Name is that of the application, Organisation that of the TPP when a
	// directory or a certificate named it.
	Name, Organisation string
	// Kind says in a word or two what it is for.
	Kind    string
	Payment bool
	May     []permit
	Facts   []fact
	// Reads are the accounts that the PSU chose.
	Reads []string
	// Until is when it ends for good; zero for a consent without an end.
	Until time.Time
	// ConfirmBy is when the PSU must prove again who they are; zero when there
	// is nothing to be gained by it.
	ConfirmBy time.Time
	// StoppedAt is when it ended or was paused.
	StoppedAt time.Time
	// EndedBy is who ended it before its time. Consumed says that it was used
	// up, Unconfirmed that the PSU did not prove again who they are.
	EndedBy               gatehouse.Actor
	Consumed, Unconfirmed bool
	// Token is for the form that withdraws it.
	Token string
}

// holdingState says whether the application has access.
type holdingState string

// A paused grant opens nothing until the PSU has proved again who they are.
const (
	holdingActive holdingState = "active"
	holdingPaused holdingState = "paused"
	holdingEnded  holdingState = "ended"
)

// A permit is one thing that the application may do; Topic may be empty.
type permit struct{ Topic, Text string }

// A fact is something particular that was agreed to.
type fact struct{ Term, Text string }

// holding reads what else is known of a grant.
func (s *Server) holding(ctx context.Context, p *provider, g *gatehouse.Grant) (*holding, error) {
	h := &holding{Grant: g, Name: "An application that is not registered any more", Reads: accountNames(g.Accounts)}
	c, err := s.Store.Client(ctx, g.ClientID) // deleted ones have a name, too
	switch {
	case errors.Is(err, gatehouse.ErrNotFound):
	case err != nil:
		return nil, unavailable(err)
	default:
		h.Name = c.Name
		if c.TPP != nil && c.TPP.Name != c.Name {
			h.Organisation = c.TPP.Name
		}
	}
	var consent *gatehouse.Consent
	if g.IntentID != "" {
		consent, err = s.Store.Consent(ctx, p.Code, g.IntentID)
		if err != nil && !errors.Is(err, gatehouse.ErrNotFound) {
			return nil, unavailable(err)
		}
	}
	if consent != nil {
		h.describeConsent(consent)
	} else {
		h.describeScopes()
	}
	h.settle(consent, s.Now())
	return h, nil
}

// settle finds out whether there is access, until when, or since when there is
// none. What can be authorised again is not over before its consent is.
func (h *holding) settle(consent *gatehouse.Consent, now time.Time) {
	h.State, h.Until = holdingActive, h.EndsAt()
	renewable := consent != nil && consent.Kind != gatehouse.DomesticPayment
	if renewable {
		h.Until = consent.ExpiresAt
		if h.Until.IsZero() || h.EndsAt().Before(h.Until) {
			h.ConfirmBy = h.EndsAt()
		}
	}
	if h.ActiveAt(now) {
		return
	}
	h.State, h.StoppedAt = holdingEnded, h.EndsAt()
	switch revoked := !h.RevokedAt.IsZero(); {
	case revoked && (h.RevokedAt.Before(h.StoppedAt) || renewable && !consent.ExpiredAt(h.RevokedAt)):
		h.StoppedAt, h.EndedBy = h.RevokedAt, cmp.Or(h.RevokedBy, gatehouse.ActorSystem)
		h.Consumed = consent != nil && consent.Status == gatehouse.ConsentConsumed
	case !revoked && consent != nil && consent.MayBeAuthorised(now):
		h.State = holdingPaused
	default:
		h.Unconfirmed = h.StoppedAt.Equal(h.ConfirmBy)
	}
}

// lodged is what the page reads of Consent.Lodged (UK Open Banking Read/Write
// API 3.1).
type lodged struct {
	Data struct {
		TransactionFromDateTime, TransactionToDateTime string

		Initiation struct {
			InstructedAmount               struct{ Amount, Currency string }
			CreditorAccount, DebtorAccount json.RawMessage
			RemittanceInformation          struct{ Reference, Unstructured string }
		}

		DebtorAccount json.RawMessage
	}
}

func (h *holding) describeConsent(c *gatehouse.Consent) {
	var said lodged
	json.Unmarshal(c.Lodged, &said) // was read when it was lodged; what is missing is not shown
	data := said.Data
	switch c.Kind {
	case gatehouse.AccountAccess:
		h.Kind = "Account information"
		h.May = permits(c.Permissions(), period(data.TransactionFromDateTime, data.TransactionToDateTime))
	case gatehouse.DomesticPayment:
		h.Kind, h.Payment = "Payment", true
		h.May = []permit{{Text: "Make this one payment"}}
		h.know("Amount", strings.TrimSpace(data.Initiation.InstructedAmount.Amount+" "+data.Initiation.InstructedAmount.Currency))
		h.know("To", accountNames(data.Initiation.CreditorAccount)...)
		h.know("Reference", data.Initiation.RemittanceInformation.Reference)
		h.know("Message", data.Initiation.RemittanceInformation.Unstructured)
		from := accountNames(h.DebtorAccount)
		if len(from) == 0 {
			from = accountNames(data.Initiation.DebtorAccount)
		}
		h.know("From", from...)
	case gatehouse.FundsConfirmation:
		h.Kind = "Funds check"
		h.May = []permit{{Text: scopeWords["fundsconfirmations"].may}}
		h.know("Account", accountNames(data.DebtorAccount)...)
	}
}

func (h *holding) know(term string, texts ...string) {
	if text := strings.Join(texts, ", "); text != "" {
		h.Facts = append(h.Facts, fact{term, text})
	}
}

// scopeWords say what a scope lets an application do.
var scopeWords = map[string]struct{ kind, may string }{
	"accounts":            {"Account information", "See your accounts: their details, balances and transactions"},
	"payments":            {"Payments", "Start payments from your accounts"},
	"fundsconfirmations":  {"Funds check", "Ask whether an amount is available on your account; the answer is only yes or no"},
	gatehouse.ScopeOpenID: {"Sign-in", "Recognise you when you come back, by a pseudonym"},
}

func (h *holding) describeScopes() {
	var kinds []string
	for _, scope := range gatehouse.AllScopes() {
		if words := scopeWords[scope]; h.Scope.Has(scope) {
			h.May = append(h.May, permit{Text: words.may})
			kinds = append(kinds, words.kind)
		}
	}
	if len(kinds) > 1 && h.Scope.Has(gatehouse.ScopeOpenID) {
		kinds = kinds[1:] // recognising comes with everything else
	}
	h.Kind = strings.Join(kinds, ", ")
	h.know("From", accountNames(h.DebtorAccount)...)
}

// topics are the data clusters of the Open Banking Customer Experience
// Guidelines, "Permissions and Data Clusters for AIS journeys".
var topics = []struct {
	name        string
	permissions [][2]string // code, words
}{
	{"Account details", [][2]string{
		{"ReadAccountsBasic", "currencies and nicknames of your accounts"},
		{"ReadAccountsDetail", "names and numbers of your accounts"},
		{"ReadBalances", "balances"},
		{"ReadPAN", "card numbers"},
	}},
	{"Regular payments", [][2]string{
		{"ReadBeneficiariesBasic", "that you have saved payees"},
		{"ReadBeneficiariesDetail", "payees you have saved"},
		{"ReadStandingOrdersBasic", "standing orders, without the payee"},
		{"ReadStandingOrdersDetail", "standing orders"},
		{"ReadDirectDebits", "direct debits"},
		{"ReadScheduledPaymentsBasic", "planned payments, without the payee"},
		{"ReadScheduledPaymentsDetail", "planned payments"},
	}},
	{transactionsTopic, [][2]string{
		{"ReadTransactionsCredits", "money coming in"},
		{"ReadTransactionsDebits", "money going out"},
		{"ReadTransactionsBasic", "without details such as who was paid"},
		{"ReadTransactionsDetail", "with all details, such as who was paid"},
	}},
	{"Statements", [][2]string{
		{"ReadStatementsBasic", "which there are"},
		{"ReadStatementsDetail", "all that is in them"},
	}},
	{"Account terms", [][2]string{
		{"ReadProducts", "fees, interest and benefits"},
		{"ReadOffers", "offers made to you"},
	}},
	{"Contact details", [][2]string{
		{"ReadParty", "names, addresses, telephone numbers and email addresses of the account holders"},
		{"ReadPartyPSU", "your own name, address, telephone number and email address"},
	}},
}

const transactionsTopic = "Transactions"

// permits puts the permissions of an account-access consent in words. The
// Detail of anything contains its Basic.
func permits(codes []string, period string) []permit {
	var all []permit
	left := slices.Clone(codes)
	for _, topic := range topics {
		var words []string
		for _, p := range topic.permissions {
			basic, isBasic := strings.CutSuffix(p[0], "Basic")
			if slices.Contains(codes, p[0]) && !(isBasic && slices.Contains(codes, basic+"Detail")) {
				words = append(words, p[1])
			}
			left = slices.DeleteFunc(left, func(code string) bool { return code == p[0] })
		}
		if topic.name == transactionsTopic && period != "" {
			words = append(words, period)
		}
		if len(words) > 0 {
			all = append(all, permit{topic.name, strings.Join(words, ", ")})
		}
	}
	if len(left) > 0 { // no words for it is no reason to keep it from the PSU
		all = append(all, permit{"Other", strings.Join(left, ", ")})
	}
	return all
}

// period says which transactions may be read, "" when the consent does not.
func period(from, to string) string {
	var words []string
	for _, end := range [][2]string{{"from", from}, {"to", to}} {
		if t, err := time.Parse(time.RFC3339, end[1]); err == nil {
			words = append(words, end[0]+" "+t.UTC().Format("2 January 2006"))
		}
	}
	return strings.Join(words, " ")
}

// The members by which banks name an account and its number, the best first:
// UK Open Banking, Berlin Group, and what our own connector wire has.
var (
	accountNameMembers   = []string{"name", "Name", "nickname", "Nickname", "display_name", "displayName", "account_name", "product"}
	accountNumberMembers = []string{"iban", "IBAN", "identification", "Identification", "account_number", "bban", "masked_pan", "maskedPan", "pan", "account_id", "AccountId", "accountId", "resourceId", "id"}
)

// accountNames reads accounts as banks send them: one or a list, each a text
// or an object, or an object of lists.
func accountNames(raw json.RawMessage) []string {
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.UseNumber()
	var value any
	if decoder.Decode(&value) != nil {
		return nil
	}
	return namesIn(value)
}

func namesIn(value any) []string {
	var names []string
	switch value := value.(type) {
	case string:
		if value != "" {
			names = append(names, spaced(value))
		}
	case json.Number:
		names = append(names, value.String())
	case []any:
		for _, member := range value {
			names = append(names, namesIn(member)...)
		}
	case map[string]any:
		name, number := firstText(value, accountNameMembers), spaced(firstText(value, accountNumberMembers))
		switch {
		case name != "" && number != "":
			names = append(names, name+" ("+number+")")
		case name+number != "":
			names = append(names, name+number)
		default:
			for _, key := range slices.Sorted(maps.Keys(value)) {
				if list, ok := value[key].([]any); ok {
					names = append(names, namesIn(list)...)
				}
			}
		}
	}
	return names
}

func firstText(object map[string]any, members []string) string {
	for _, member := range members {
		switch text := object[member].(type) {
		case string:
			if text != "" {
				return text
			}
		case json.Number:
			return text.String()
		}
	}
	return ""
}

var (
	iban        = regexp.MustCompile(`^[A-Z]{2}[0-9]{2}[A-Z0-9]{11,30}$`)
	sortAccount = regexp.MustCompile(`^([0-9]{2})([0-9]{2})([0-9]{2})([0-9]{8})$`)
	four        = regexp.MustCompile(`.{4}`)
)

// spaced writes an IBAN in groups of four (ISO 13616), and a British sort code
// with account number as people do.
func spaced(number string) string {
	if iban.MatchString(number) {
		return strings.TrimSpace(four.ReplaceAllString(number, "$0 "))
	}
	return sortAccount.ReplaceAllString(number, "$1-$2-$3 $4")
}
