package demobank

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"
)

// A visit is one PSU on the way from login to verdict.
type visit struct {
	asked *request
	step  step
	tries int // wrong answers at this step

	username string // as typed
	psu      PSU    // who logged in, from stepCode on

	authTime time.Time
	leaveURL string // where the browser was sent, at stepLeft
}

// A step is the page that the PSU is at.
type step int

const (
	stepAny step = iota
	stepLogin
	stepCode
	stepConsent
	stepLocked
	stepLeft
)

const (
	maxTries = 5       // wrong passwords, and wrong codes, in one visit
	maxForm  = 1 << 16 // bytes of a form
)

// step finds the visit for a handler: only from its own browser, with the token of its own form, at its own step.
func (b *Bank) step(want step, handle func(http.ResponseWriter, *http.Request, *session[visit]) error) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error {
		s, known := b.visits.enter(r, r.PathValue("id"), b.Now())
		if s == nil && known {
			return faultOtherBrowser
		}
		if s == nil {
			return faultNoVisit
		}
		defer s.Unlock()
		if want == stepAny {
			return handle(w, r, s)
		}
		r.Body = http.MaxBytesReader(w, r.Body, maxForm)
		if err := r.ParseForm(); err != nil {
			return faultForm
		}
		if !equal(r.PostForm.Get("token"), s.token) {
			return faultOtherBrowser.backTo(b.base+"/visits/"+s.id, "Go on where you were")
		}
		if s.data.step == stepLeft { // a second click; the first may have been dropped by the browser
			http.Redirect(w, r, s.data.leaveURL, http.StatusSeeOther)
			return nil
		}
		if s.data.step != want {
			return b.toVisit(w, r, s.id)
		}
		return handle(w, r, s)
	}
}

// show renders the page of the visit's step.
func (b *Bank) show(w http.ResponseWriter, _ *http.Request, s *session[visit]) error {
	return b.page(w, s, http.StatusOK, "")
}

func (b *Bank) checkPassword(w http.ResponseWriter, r *http.Request, s *session[visit]) error {
	username, password := strings.TrimSpace(r.PostForm.Get("username")), r.PostForm.Get("password")
	s.data.username = username
	i := slices.IndexFunc(PSUs(), func(p PSU) bool { return p.Username == username })
	if i < 0 || !equal(PSUs()[i].Password, password) {
		return b.wrong(w, r, s, "The username or the password is wrong.")
	}
	s.data.psu = PSUs()[i]
	if username == PSULocked {
		return b.advance(w, r, s, stepLocked)
	}
	return b.advance(w, r, s, stepCode)
}

func (b *Bank) checkCode(w http.ResponseWriter, r *http.Request, s *session[visit]) error {
	otp := strings.ReplaceAll(r.PostForm.Get("otp"), " ", "")
	if !equal(otp, s.data.psu.OTP) {
		return b.wrong(w, r, s, "This is not the code.")
	}
	s.data.authTime = b.Now()
	return b.advance(w, r, s, stepConsent)
}

// wrong counts a wrong answer. The last one ends the visit with a refusal.
func (b *Bank) wrong(w http.ResponseWriter, r *http.Request, s *session[visit], text string) error {
	if s.data.tries++; s.data.tries < maxTries {
		return b.page(w, s, http.StatusUnprocessableEntity, text)
	}
	if err := b.leave(r, s, verdict{Status: statusDenied}); err != nil {
		s.data.tries-- // no verdict was given, so this answer may be given again
		return err
	}
	return faultTries.backTo(s.data.leaveURL, "Return to "+s.data.asked.AppName)
}

// advance moves the visit on and gives the browser a fresh session: who is behind it is now better known.
func (b *Bank) advance(w http.ResponseWriter, r *http.Request, s *session[visit], to step) error {
	s.data.step, s.data.tries = to, 0
	b.visits.renew(w, s)
	return b.toVisit(w, r, s.id)
}

// consent is the last page: approve or deny.
func (b *Bank) consent(w http.ResponseWriter, r *http.Request, s *session[visit]) error {
	chosen := r.PostForm["account"]
	v := verdict{Status: statusDenied}
	switch {
	case r.PostForm.Get("decision") == "deny", s.data.psu.Username == PSUDeny:
	case r.PostForm.Get("decision") != "approve":
		return b.page(w, s, http.StatusUnprocessableEntity, "Approve or deny.")
	default:
		if fault := s.data.asked.choose(&v, chosen); fault != "" {
			return b.page(w, s, http.StatusUnprocessableEntity, fault)
		}
		v.Status = statusApproved
	}
	if v.Status == statusApproved {
		v.UserID, v.AuthTime, v.ACR = userID(s.data.psu), s.data.authTime.Unix(), acrSCA
	}
	switch s.data.psu.Username {
	case PSUSlow:
		b.decideLater(s.data.asked, v)
		s.data.step, s.data.leaveURL = stepLeft, s.data.asked.RedirectURI
	case PSUNever:
		s.data.step, s.data.leaveURL = stepLeft, s.data.asked.RedirectURI
	default:
		if err := b.leave(r, s, v); err != nil {
			return err
		}
	}
	http.Redirect(w, r, s.data.leaveURL, http.StatusSeeOther)
	return nil
}

// refuse is the way out of a page that lets nobody in.
func (b *Bank) refuse(w http.ResponseWriter, r *http.Request, s *session[visit]) error {
	if err := b.leave(r, s, verdict{Status: statusDenied}); err != nil {
		return err
	}
	http.Redirect(w, r, s.data.leaveURL, http.StatusSeeOther)
	return nil
}

// leave gives the verdict and ends the visit. It finishes even when the browser goes away in the middle.
func (b *Bank) leave(r *http.Request, s *session[visit], v verdict) error {
	to, err := b.decide(context.WithoutCancel(r.Context()), s.data.asked, v)
	if e, ok := errors.AsType[*refusal](err); ok && e.Status == http.StatusBadRequest {
		return faultOver.backTo(s.data.asked.RedirectURI, "Return to "+s.data.asked.AppName)
	}
	if err != nil {
		return err
	}
	s.data.step, s.data.leaveURL = stepLeft, to
	return nil
}

// decideLater gives the verdict SlowDelay from now.
func (b *Bank) decideLater(asked *request, v verdict) {
	due := b.After(SlowDelay)
	b.late.Go(func() {
		select {
		case <-b.closed.Done():
			return
		case <-due:
		}
		if _, err := b.decide(b.closed, asked, v); err != nil {
			b.Log.Warn("late verdict refused", "provider_code", b.Code, "authorization_id", asked.AuthorizationID, "error", err)
		}
	})
}

// An account is one of the accounts that every PSU of a sandbox bank has.
type account struct {
	ID, Name, Number string
	Identification   string // sort code and account number
	Checked          bool
}

func accounts() []account {
	return []account{
		{ID: "acc-current", Name: "Current account", Number: "•••• 1001", Identification: "20000112341001", Checked: true},
		{ID: "acc-savings", Name: "Savings account", Number: "•••• 2002", Identification: "20000112342002"},
		{ID: "acc-card", Name: "Credit card", Number: "•••• 3003", Identification: "20000112343003"},
	}
}

// named is the account in the way of the standard.
func (a account) named() *namedAccount {
	return &namedAccount{SchemeName: "UK.OBIE.SortCodeAccountNumber", Identification: a.Identification, Name: a.Name}
}

func accountIndex(id string) int {
	return slices.IndexFunc(accounts(), func(a account) bool { return a.ID == id })
}

func knownAccounts(ids []string) bool {
	return !slices.ContainsFunc(ids, func(id string) bool { return accountIndex(id) < 0 })
}

// choose puts the accounts of an approval into the verdict. It returns what is wrong with the choice.
func (q *request) choose(v *verdict, chosen []string) (fault string) {
	switch {
	case q.Consent.named() != nil:
		v.DebtorAccount = q.Consent.named()
	case !q.wantsAccounts():
	case len(chosen) == 0 || !knownAccounts(chosen):
		return "Choose at least one account, or deny."
	case q.wantsOneAccount() && len(chosen) > 1:
		return "Choose one account, or deny."
	case q.wantsOneAccount():
		v.DebtorAccount = accounts()[accountIndex(chosen[0])].named()
	default:
		v.Access = chosen
	}
	return ""
}

// wantsAccounts reports whether the PSU has accounts to choose: anything asked for concerns them, and the TPP has not
// named the account itself.
func (q *request) wantsAccounts() bool {
	if q.Consent != nil {
		return q.Consent.named() == nil
	}
	return slices.ContainsFunc(q.Scopes, func(s string) bool { return s != "openid" })
}

// wantsOneAccount reports whether the one account is asked for that a payment is made from.
func (q *request) wantsOneAccount() bool { return q.Consent != nil && q.Consent.Kind == kindPayment }
