package demobank

// UK Open Banking Read/Write API 3.1: what a third party lodges, as docs/connector.md passes it on

import (
	"cmp"
	"encoding/json"
	"strings"
	"time"
)

// Values of consent.Kind.
const (
	kindAccounts = "account-access"
	kindPayment  = "domestic-payment"
	kindFunds    = "funds-confirmation"
)

// A consent is what a bank knows of one.
type consent struct {
	ID      string `json:"consent_id"`
	Kind    string `json:"kind"`
	Status  string `json:"status"`
	AppName string `json:"app_name"`

	Permissions         []string  `json:"permissions"`
	ExpirationDateTime  time.Time `json:"expiration_date_time"`
	TransactionFromDate time.Time `json:"transaction_from_date_time"`
	TransactionToDate   time.Time `json:"transaction_to_date_time"`

	Initiation    initiation    `json:"initiation"`
	DebtorAccount *namedAccount `json:"debtor_account"` // that a funds-confirmation consent is about
}

// An initiation is a payment as it was lodged.
type initiation struct {
	InstructedAmount struct {
		Amount   string `json:"amount"`
		Currency string `json:"currency"`
	} `json:"instructed_amount"`
	CreditorAccount       namedAccount    `json:"creditor_account"`
	DebtorAccount         *namedAccount   `json:"debtor_account"` // when the third party has chosen it
	RemittanceInformation json.RawMessage `json:"remittance_information"`
}

// A namedAccount names an account in the way of the standard.
type namedAccount struct {
	SchemeName     string `json:"scheme_name"`
	Identification string `json:"identification"`
	Name           string `json:"name,omitzero"`
	Secondary      string `json:"secondary_identification,omitzero"`
}

// schemeWords say what kind of number an account is named by.
var schemeWords = map[string]string{
	"UK.OBIE.BBAN":                  "BBAN",
	"UK.OBIE.IBAN":                  "IBAN",
	"UK.OBIE.PAN":                   "card number",
	"UK.OBIE.Paym":                  "mobile number",
	"UK.OBIE.SortCodeAccountNumber": "sort code and account number",
}

// number is how a page writes the account's number.
func (a *namedAccount) number() string {
	text := a.Identification
	if a.Secondary != "" {
		text += ", " + a.Secondary
	}
	return text + " (" + cmp.Or(schemeWords[a.SchemeName], a.SchemeName) + ")"
}

// String is how a page writes the account.
func (a *namedAccount) String() string { return strings.TrimSpace(a.Name + " " + a.number()) }

// named is the account of the PSU that the TPP has named; nil when the PSU chooses.
func (c *consent) named() *namedAccount {
	switch {
	case c == nil:
		return nil
	case c.Kind == kindPayment:
		return c.Initiation.DebtorAccount
	}
	return c.DebtorAccount
}

// What says in a few words what the consent is about.
func (c *consent) What() string {
	switch c.Kind {
	case kindAccounts:
		return "See accounts"
	case kindPayment:
		return "Pay " + c.Initiation.InstructedAmount.Amount + " " + c.Initiation.InstructedAmount.Currency + " to " + c.Initiation.CreditorAccount.Name
	case kindFunds:
		return "Ask whether an amount is available"
	}
	return c.Kind
}

// permissionWords say in plain words what a permission lets the third party see.
var permissionWords = map[string]string{
	"ReadAccountsBasic":           "Which accounts you have, their currency and your name for them",
	"ReadAccountsDetail":          "Which accounts you have, with names and numbers",
	"ReadBalances":                "Balances",
	"ReadBeneficiariesBasic":      "That you have saved payees, without who they are",
	"ReadBeneficiariesDetail":     "Payees you have saved, with their account numbers",
	"ReadDirectDebits":            "Direct debits",
	"ReadOffers":                  "Offers made to you",
	"ReadPAN":                     "Card numbers in full",
	"ReadParty":                   "Names and addresses of the account holders",
	"ReadPartyPSU":                "Your own name and address",
	"ReadProducts":                "Fees, interest and benefits of your accounts",
	"ReadScheduledPaymentsBasic":  "Planned payments, without the payee",
	"ReadScheduledPaymentsDetail": "Planned payments, with the payee",
	"ReadStandingOrdersBasic":     "Standing orders, without the payee",
	"ReadStandingOrdersDetail":    "Standing orders, with the payee",
	"ReadStatementsBasic":         "Which statements there are",
	"ReadStatementsDetail":        "All that is in your statements",
	"ReadTransactionsBasic":       "Transactions, without who was paid",
	"ReadTransactionsCredits":     "Money coming in",
	"ReadTransactionsDebits":      "Money going out",
	"ReadTransactionsDetail":      "Transactions, with who was paid and what for",
}

// An entry is one thing that was lodged, as the consent page shows it.
type entry struct {
	Term  string
	Texts []string
}

// Until is the end that the TPP has set, to the minute.
func (c *consent) Until() string { return minute(c.ExpirationDateTime) }

// minute is empty for no moment.
func minute(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("2 January 2006, 15:04 UTC")
}

// Open reports whether the consent has not ended.
func (c *consent) Open() bool { return c.Status == "AwaitingAuthorisation" || c.Status == "Authorised" }

// Entries are everything that was lodged, in words.
func (c *consent) Entries() (all []entry) {
	show := func(term string, texts ...string) {
		if len(texts) > 0 && texts[0] != "" {
			all = append(all, entry{term, texts})
		}
	}
	switch c.Kind {
	case kindAccounts:
		var words []string
		for _, permission := range c.Permissions {
			words = append(words, cmp.Or(permissionWords[permission], permission))
		}
		show("It will see", words...)
		show("Transactions from", minute(c.TransactionFromDate))
		show("Transactions until", minute(c.TransactionToDate))
	case kindPayment:
		i := &c.Initiation
		show("Amount", i.InstructedAmount.Amount+" "+i.InstructedAmount.Currency)
		show("To", i.CreditorAccount.Name)
		show("Account of the payee", i.CreditorAccount.number())
		show("Reference", i.remittance()...)
		if i.DebtorAccount != nil {
			show("From your account", i.DebtorAccount.String())
		}
	case kindFunds:
		if c.DebtorAccount != nil {
			show("About your account", c.DebtorAccount.String())
		}
	}
	return all
}

// remittance are the texts that go with a payment: in version 3.1 Unstructured is one, later a list.
func (i *initiation) remittance() (texts []string) {
	var one struct {
		Reference    string          `json:"reference"`
		Unstructured json.RawMessage `json:"unstructured"`
	}
	if json.Unmarshal(i.RemittanceInformation, &one) != nil {
		return nil
	}
	var text string
	var list []string
	if json.Unmarshal(one.Unstructured, &text) == nil {
		list = []string{text}
	} else if json.Unmarshal(one.Unstructured, &list) != nil {
		list = nil
	}
	for _, t := range append([]string{one.Reference}, list...) {
		if t != "" {
			texts = append(texts, t)
		}
	}
	return texts
}
