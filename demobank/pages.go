package demobank

import (
	"bytes"
	"cmp"
	"embed"
	"errors"
	"html/template"
	"net/http"
	"time"
)

//go:embed templates
var files embed.FS

var pages = map[string]*template.Template{
	"access":   page("access"),
	"login":    page("login"),
	"code":     page("code"),
	"consent":  page("consent"),
	"consents": page("consents"),
	"message":  page("message"),
	"home":     page("home"),
	"journey":  page("journey"),
}

func page(name string) *template.Template {
	return template.Must(template.ParseFS(files, "templates/layout.html", "templates/"+name+".html"))
}

// guard sets the headers of every answer. The content policy allows the one stylesheet and nothing else; form-action is
// added by render, page by page.
func guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Cache-Control", "no-store")
		h.Set("Content-Security-Policy", contentPolicy)
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Frame-Options", "DENY")
		next.ServeHTTP(w, r)
	})
}

const contentPolicy = "default-src 'none'; style-src 'self'; base-uri 'none'; frame-ancestors 'none'"

func stylesheet(w http.ResponseWriter, r *http.Request) {
	http.ServeFileFS(w, r, files, "templates/pages.css")
}

// A layout is what every page shows around its own content.
type layout struct {
	Base  string // path of the stylesheet's folder
	Brand string // whose page this is
	Kind  string // "Sandbox bank" or "Demo third party"
	Page  any
}

// A visitPage is what the pages of a visit show.
type visitPage struct {
	Action   string // where the form goes
	Token    string
	Error    string
	App      string
	Username string // who logged in, or tried to

	// for the sandbox notes
	PSUs          []PSU
	Password, OTP string

	Scopes   []string // in plain words
	Purpose  string   // of the consent that was lodged, if one was
	Lodged   []entry  // all that stands in it
	Until    string
	Accounts []account
	One      bool // one account is to be chosen
}

// page renders the page of the visit's step, with the fault of the last answer if there is one.
func (b *Bank) page(w http.ResponseWriter, s *session[visit], status int, fault string) error {
	v, here := &s.data, b.base+"/visits/"+s.id
	p := visitPage{Token: s.token, Error: fault, App: v.asked.AppName, Username: v.username}
	switch v.step {
	case stepLogin:
		p.Action, p.PSUs, p.Password = here+"/login", PSUs(), PSUs()[0].Password
		// What is typed here must not go elsewhere. The consent page cannot say so: Chromium applies form-action to the
		// redirects that follow a form, and those lead to the TPP.
		w.Header().Set("Content-Security-Policy", contentPolicy+"; form-action 'self'")
		b.render(w, status, "login", p)
	case stepCode:
		p.Action, p.OTP = here+"/code", v.psu.OTP
		w.Header().Set("Content-Security-Policy", contentPolicy+"; form-action 'self'")
		b.render(w, status, "code", p)
	case stepConsent:
		p.Action, p.Scopes, p.Until = here+"/consent", v.asked.plainScopes(), day(v.asked.AccessExpiresAt)
		if c := v.asked.Consent; c != nil {
			p.Scopes, p.Purpose, p.Lodged, p.One = nil, purposeWords[c.Kind], c.Entries(), v.asked.wantsOneAccount()
			if c.Kind == kindPayment {
				p.Until = ""
			} else if !c.ExpirationDateTime.IsZero() {
				p.Until = c.Until()
			}
		}
		if v.asked.wantsAccounts() {
			p.Accounts = accounts()
		}
		b.render(w, status, "consent", p)
	case stepLocked:
		m := messageLocked
		m.Form, m.Token, m.Link = here+"/return", s.token, "Return to "+v.asked.AppName
		b.render(w, http.StatusForbidden, "message", m)
	default:
		b.render(w, http.StatusOK, "message", messageLeft)
	}
	return nil
}

func (b *Bank) render(w http.ResponseWriter, status int, name string, p any) {
	render(w, status, name, layout{Base: b.base, Brand: b.Name, Kind: "Sandbox bank", Page: p})
}

// render writes a page, or nothing of it.
func render(w http.ResponseWriter, status int, name string, l layout) {
	var body bytes.Buffer
	if err := pages[name].ExecuteTemplate(&body, "layout", l); err != nil {
		panic(err) // a template and its data do not fit
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(body.Bytes()) // a browser that went away is no fault
}

// purposeWords say what a third party asks to do, for each kind of consent.
var purposeWords = map[string]string{
	kindAccounts: "see your accounts",
	kindPayment:  "make this payment from your account, once",
	kindFunds:    "be told whether an amount is available on your account. The answer is only yes or no",
}

// scopeWords say in plain words what a scope lets the TPP do.
var scopeWords = map[string]string{
	"openid":             "Recognise you when you come back, by a pseudonym. It does not learn your name or your login.",
	"accounts":           "See the accounts you choose below: their balances and transactions.",
	"payments":           "Start payments from the accounts you choose below.",
	"fundsconfirmations": "Ask whether an amount is available on an account. The answer is only yes or no.",
}

func (q *request) plainScopes() []string {
	var plain []string
	for _, scope := range q.Scopes {
		plain = append(plain, cmp.Or(scopeWords[scope], "Something this bank has no words for: "+scope))
	}
	return plain
}

func day(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("2 January 2006")
}

// A message is a page that says what happened, what to do, and how to get away.
type message struct {
	Title  string
	What   string
	Do     string
	Detail string // for the TPP's developer
	Href   string // a link away, or
	Form   string // a form away, with
	Token  string
	Link   string // text of either
}

// A fault is a message with a status.
type fault struct {
	Status  int
	Message message
}

func (f *fault) Error() string { return f.Message.What }

func (f *fault) backTo(href, text string) *fault {
	back := *f
	back.Message.Href, back.Message.Link = href, text
	return &back
}

func (f *fault) told(detail string) *fault {
	told := *f
	told.Message.Detail = detail
	return &told
}

const (
	startAgain  = "Go back to the application you came from and start again there."
	nothingDone = "Nothing has been shared. "
)

// The pages on which a visit ends early.
var (
	faultNoPage = &fault{http.StatusNotFound, message{
		Title: "There is no page here",
		What:  "The bank's pages open when an application asks to see your accounts. This address is none of them.",
		Do:    startAgain,
	}}
	faultNoVisit = &fault{http.StatusNotFound, message{
		Title: "This request is not open",
		What:  "Either the link is wrong or it is too old: a request stays open for 15 minutes.",
		Do:    nothingDone + startAgain,
	}}
	faultOtherBrowser = &fault{http.StatusForbidden, message{
		Title: "This page belongs to another visit",
		What:  "The request was opened in another browser, or this page was replaced by a newer one.",
		Do:    "Go on in the browser and the window where you began. If you did not begin this yourself, close the window.",
	}}
	faultOver = &fault{http.StatusConflict, message{
		Title: "This request has been answered",
		What:  "An answer was given already, or the time for it is over.",
		Do:    startAgain,
	}}
	faultEnded = &fault{http.StatusConflict, message{
		Title: "This consent has ended",
		What:  "It was rejected or used up before, so there is nothing to revoke.",
		Do:    "The list shows what the bank was told of it.",
	}}
	faultForm = &fault{http.StatusBadRequest, message{
		Title: "The form could not be read",
		What:  "What the browser sent is not a form, or too large.",
		Do:    nothingDone + startAgain,
	}}
	faultTries = &fault{http.StatusForbidden, message{
		Title: "Too many wrong answers",
		What:  "To protect the account the bank has refused this request.",
		Do:    nothingDone + "You can start again from the application.",
	}}
	faultRefused = &fault{http.StatusBadRequest, message{
		Title: "The application made a mistake",
		What:  "What the application asked for cannot be trusted, so the bank does not send you back to it.",
		Do:    nothingDone + "Go back to the application and tell the people who run it what is written below.",
	}}
	faultUnreachable = &fault{http.StatusServiceUnavailable, message{
		Title: "The bank cannot go on at the moment",
		What:  "A part of the bank's systems does not answer.",
		Do:    nothingDone + "Wait a minute and reload this page, or start again from the application.",
	}}
	faultBroken = &fault{http.StatusBadGateway, message{
		Title: "The bank cannot go on at the moment",
		What:  "A part of the bank's systems gave an answer that makes no sense.",
		Do:    nothingDone + "Start again from the application. If this happens again, call the bank.",
	}}
)

var (
	messageLocked = message{
		Title: "Your account is locked",
		What:  "The bank lets nobody into this account until you have called it.",
		Do:    nothingDone + "You can return to the application; it will be told that the request was refused.",
	}
	messageLeft = message{
		Title: "You have answered",
		What:  "The bank has sent you back to the application.",
		Do:    "You can close this window. To change your answer, start again from the application.",
	}
)

// faultOf finds the page for an error. Why a system does not answer is for the log alone.
func faultOf(err error) *fault {
	if f, ok := errors.AsType[*fault](err); ok {
		return f
	}
	e, ok := errors.AsType[*refusal](err)
	if !ok || e.Status == http.StatusServiceUnavailable || e.Status == http.StatusTooManyRequests {
		return faultUnreachable
	}
	return faultBroken
}
