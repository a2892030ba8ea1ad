package oidc

// The PSU's own page: who has access to their accounts, who had it, and an end
// to it. The bank hands its customer over as docs/connector.md has it.

import (
	"context"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"net/http"
	"net/url"
	"regexp"
	"time"

	"gatehouse"
	"gatehouse/connector"
)

// Limits of a PSU's session. The link is followed at once by the redirect that
// the bank answers with; a PSU who comes back later comes by the bank again.
const (
	handOverLifetime   = 60 * time.Second
	psuSessionLifetime = 15 * time.Minute
	accessBodyLimit    = 8 << 10
	accessBatch        = 100 // grants read at once
	historyYears       = 2
)

// What a PSU can meet on these pages; accessAdvice says what to do.
var (
	errPrefetched  = gatehouse.NewError(gatehouse.AccessDenied, "a prefetch does not follow the link")
	errLinkSpent   = gatehouse.NewError(gatehouse.AccessDenied, "the link is unknown, used or expired")
	errSessionOver = gatehouse.NewError(gatehouse.AccessDenied, "there is no session in this browser, or it is over")
	errForeignForm = gatehouse.NewError(gatehouse.AccessDenied, "the form is not of this session")
	errNoSuchGrant = gatehouse.NewError(gatehouse.NotFound, "there is no such grant of this PSU")
)

// accessPath is where the pages of a provider begin.
func accessPath(p *provider) string { return "/oidc/" + p.Code + "/access" }

// handOver serves POST /api/connectors/ob/v1/psu_sessions: the bank, which has
// authenticated its customer, gets a link for the customer's browser.
func (s *Server) handOver(w http.ResponseWriter, r *http.Request, _ *provider) error {
	p, body, err := s.signedCall(r)
	if err != nil {
		return err
	}
	now := s.Now()
	call, err := connector.ReadHandOver(body, p.connectorKeys, now)
	if err != nil {
		return err
	}
	link := gatehouse.NewSecret()
	session := &gatehouse.PSUSession{
		ID: gatehouse.NewID(now), Provider: p.Code, UserID: call.UserID, HandoverHash: gatehouse.HashSecret(link),
		CreatedAt: now, ExpiresAt: now.Add(handOverLifetime),
	}
	if err := s.Store.CreatePSUSession(r.Context(), session); err != nil {
		return unavailable(err)
	}
	writeJSON(w, http.StatusOK, map[string]any{"data": map[string]string{
		"redirect_uri": s.BaseURL + accessPath(p) + "/enter/" + link,
		"expires_at":   session.ExpiresAt.UTC().Format(time.RFC3339),
	}})
	return nil
}

// enterAccess serves GET /oidc/{provider_code}/access/enter/{handover}: it
// spends the link and gives the browser a secret that was in no URL. The only
// way to the link is the bank's redirect, so no mail program or chat looks at
// it first; a browser that fetches ahead says so.
func (s *Server) enterAccess(w http.ResponseWriter, r *http.Request, p *provider) error {
	if r.Header.Get("Sec-Purpose") != "" || r.Header.Get("Purpose") == "prefetch" {
		return errPrefetched
	}
	now := s.Now()
	secret := gatehouse.NewSecret()
	err := s.Store.EnterPSUSession(r.Context(), p.Code, gatehouse.HashSecret(r.PathValue("handover")),
		gatehouse.HashSecret(secret), now.Add(psuSessionLifetime), now)
	if errors.Is(err, gatehouse.ErrNotFound) {
		return errLinkSpent
	}
	if err != nil {
		return unavailable(err)
	}
	http.SetCookie(w, s.accessCookie(p, secret, psuSessionLifetime))
	http.Redirect(w, r, accessPath(p), http.StatusSeeOther)
	return nil
}

// accessCookie carries the session at one provider.
func (s *Server) accessCookie(p *provider, secret string, lifetime time.Duration) *http.Cookie {
	return s.browserCookie("access-"+p.Code, secret, lifetime)
}

// psuSession returns the session that the browser is in.
func (s *Server) psuSession(r *http.Request, p *provider) (*gatehouse.PSUSession, error) {
	cookie, err := r.Cookie(s.accessCookie(p, "", 0).Name)
	if err != nil {
		return nil, errSessionOver
	}
	session, err := s.Store.PSUSession(r.Context(), p.Code, gatehouse.HashSecret(cookie.Value))
	switch {
	case errors.Is(err, gatehouse.ErrNotFound):
		return nil, errSessionOver
	case err != nil:
		return nil, unavailable(err)
	case !s.Now().Before(session.ExpiresAt):
		return nil, errSessionOver
	}
	return session, nil
}

// formToken is what a form of a session's pages carries, so that no other
// site's form is taken for it.
func (s *Server) formToken(session *gatehouse.PSUSession, action string) string {
	return base64.RawURLEncoding.EncodeToString(
		s.KEK.MAC("psu form", session.Provider, session.ID, string(session.SessionHash), action))
}

// checkForm refuses a form that the session's own page did not make.
func (s *Server) checkForm(r *http.Request, session *gatehouse.PSUSession, action string) error {
	in, err := readForm(r, false)
	if err != nil {
		return err
	}
	if !s.fromOurPage(r) || subtle.ConstantTimeCompare([]byte(in["token"]), []byte(s.formToken(session, action))) != 1 {
		return errForeignForm
	}
	return nil
}

// fromOurPage reports whether the browser, as far as it tells, sends the form
// of a page of ours (Fetch Metadata, Sec-Fetch-Site). The Origin of such a form
// is "null" where browsers honour our Referrer-Policy (Fetch, "append a request
// Origin header").
func (s *Server) fromOurPage(r *http.Request) bool {
	if site := r.Header.Get("Sec-Fetch-Site"); site != "" {
		return site == "same-origin"
	}
	origin := r.Header.Get("Origin")
	return origin == "" || origin == "null" || origin == s.BaseURL
}

// access serves GET /oidc/{provider_code}/access: who has access now.
func (s *Server) access(w http.ResponseWriter, r *http.Request, p *provider) error {
	session, err := s.psuSession(r, p)
	if err != nil {
		return err
	}
	in, err := parseParams(r.URL.RawQuery)
	if err != nil {
		return err
	}
	var page struct {
		Ended          *holding // the one that was withdrawn just now
		Active, Paused []*holding
	}
	if in["ended"] != "" {
		h, err := s.ownHolding(r.Context(), p, session, in["ended"])
		if err != nil {
			return err
		}
		if h.State == holdingEnded {
			page.Ended = h
		}
	}
	err = s.eachGrant(r.Context(), p, session.UserID, func(g *gatehouse.Grant) error {
		if !g.RevokedAt.IsZero() { // most of them; the history has them
			return nil
		}
		h, err := s.holding(r.Context(), p, g)
		switch {
		case err != nil:
			return err
		case h.State == holdingActive:
			page.Active = append(page.Active, h)
		case h.State == holdingPaused:
			page.Paused = append(page.Paused, h)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return s.writeAccess(w, p, session, "now", "access.html", "Who has access to your accounts", page)
}

// eachGrant reads all grants of a PSU, the newest first.
func (s *Server) eachGrant(ctx context.Context, p *provider, userID string, do func(*gatehouse.Grant) error) error {
	before := ""
	for {
		grants, err := s.Store.Grants(ctx, p.Code, gatehouse.GrantFilter{UserID: userID, OfPSUs: true}, before, accessBatch)
		if err != nil {
			return unavailable(err)
		}
		for _, g := range grants {
			if err := do(g); err != nil {
				return err
			}
			before = g.ID
		}
		if len(grants) < accessBatch {
			return nil
		}
	}
}

// grantID is the form of gatehouse.NewID.
var grantID = regexp.MustCompile(`^[0-9a-v]{26}$`)

// accessHistory serves GET /oidc/{provider_code}/access/history: what has
// ended in the last two years.
func (s *Server) accessHistory(w http.ResponseWriter, r *http.Request, p *provider) error {
	session, err := s.psuSession(r, p)
	if err != nil {
		return err
	}
	in, err := parseParams(r.URL.RawQuery)
	if err != nil {
		return err
	}
	if in["before"] != "" && !grantID.MatchString(in["before"]) {
		return invalid("before is not a grant_id")
	}
	grants, err := s.Store.Grants(r.Context(), p.Code, gatehouse.GrantFilter{UserID: session.UserID, OfPSUs: true}, in["before"], accessBatch)
	if err != nil {
		return unavailable(err)
	}
	since := s.Now().AddDate(-historyYears, 0, 0)
	var page struct {
		Ended        []*holding
		Older, Newer string
	}
	for _, g := range grants {
		h, err := s.holding(r.Context(), p, g)
		if err != nil {
			return err
		}
		if h.State == holdingEnded && h.StoppedAt.After(since) {
			page.Ended = append(page.Ended, h)
		}
	}
	if len(grants) == accessBatch {
		page.Older = "?" + url.Values{"before": {grants[len(grants)-1].ID}}.Encode()
	}
	if in["before"] != "" {
		page.Newer = accessPath(p) + "/history"
	}
	return s.writeAccess(w, p, session, "history", "access_history.html", "Past access to your accounts", page)
}

// withdraw serves GET and POST /oidc/{provider_code}/access/grants/{grant_id}:
// it asks whether the PSU means it, and ends the grant.
func (s *Server) withdraw(w http.ResponseWriter, r *http.Request, p *provider) error {
	session, err := s.psuSession(r, p)
	if err != nil {
		return err
	}
	h, err := s.ownHolding(r.Context(), p, session, r.PathValue("grant_id"))
	if err != nil {
		return err
	}
	if r.Method != http.MethodGet {
		if err := s.checkForm(r, session, h.ID); err != nil {
			return err
		}
	}
	switch {
	case h.State == holdingEnded:
	case r.Method == http.MethodGet:
		h.Token = s.formToken(session, h.ID)
		return s.writeAccess(w, p, session, "", "access_withdraw.html", "Withdraw access", h)
	default:
		if err := s.Store.RevokeGrant(r.Context(), p.Code, h.ID, s.Now()); err != nil {
			return unavailable(err)
		}
	}
	http.Redirect(w, r, accessPath(p)+"?ended="+h.ID, http.StatusSeeOther)
	return nil
}

// ownHolding returns a grant of the session's PSU. Another PSU's is as good as
// unknown.
func (s *Server) ownHolding(ctx context.Context, p *provider, session *gatehouse.PSUSession, id string) (*holding, error) {
	g, err := s.Store.Grant(ctx, p.Code, id)
	if err != nil && !errors.Is(err, gatehouse.ErrNotFound) {
		return nil, unavailable(err)
	}
	if err != nil || g.UserID != session.UserID {
		return nil, errNoSuchGrant
	}
	return s.holding(ctx, p, g)
}

// leaveAccess serves POST /oidc/{provider_code}/access/leave. Who is not in a
// session has left already.
func (s *Server) leaveAccess(w http.ResponseWriter, r *http.Request, p *provider) error {
	if !s.fromOurPage(r) { // before the cookie goes: another site's form comes without it
		return errForeignForm
	}
	session, err := s.psuSession(r, p)
	if err != nil && !errors.Is(err, errSessionOver) {
		return err
	}
	if err == nil {
		if err := s.checkForm(r, session, "leave"); err != nil {
			return err
		}
		if err := s.Store.EndPSUSession(r.Context(), p.Code, session.SessionHash); err != nil {
			return unavailable(err)
		}
	}
	http.SetCookie(w, s.accessCookie(p, "", -time.Second))
	page := p.accessPage("You have left this page")
	page.Page = advice{
		What: "Nobody can see your page in this browser any more.",
		Do:   "You can close this window, or go back to " + p.Name + ".",
	}
	return writePage(w, http.StatusOK, "access_message.html", page)
}

// An accessPage is what every page shows around its own content.
type accessPage struct {
	Title   string
	Bank    string
	Sandbox bool
	Base    string // accessPath, "" when the provider is not known
	Theme   string
	// ClosesAt and Leave, the token of the form to leave by, are set in a
	// session.
	ClosesAt time.Time
	Leave    string
	At       string // now, history or neither
	Page     any
}

func (p *provider) accessPage(title string) accessPage {
	return accessPage{
		Title: title, Bank: p.Name, Sandbox: p.Status == gatehouse.Sandbox,
		Base: accessPath(p), Theme: "/oidc/" + p.Code + "/theme.css",
	}
}

// writeAccess renders a page of a session.
func (s *Server) writeAccess(w http.ResponseWriter, p *provider, session *gatehouse.PSUSession, at, name, title string, content any) error {
	page := p.accessPage(title)
	page.ClosesAt, page.Leave = session.ExpiresAt, s.formToken(session, "leave")
	page.At, page.Page = at, content
	return writePageWithForms(w, http.StatusOK, name, page)
}

// An advice tells a PSU what happened and what to do.
type advice struct{ Title, What, Do, List, Reference string }

const backToTheBank = "Go back to your bank and open this page from there again."

var accessAdvice = map[*gatehouse.Error]advice{
	errPrefetched: {
		Title: "This link has not been opened yet",
		What:  "Your browser asked for it before you did.",
		Do:    "Open it again.",
	},
	errLinkSpent: {
		Title: "This link does not open any more",
		What:  "A link from your bank opens once, within a minute.",
		Do:    backToTheBank,
	},
	errSessionOver: {
		Title: "This page is closed",
		What:  "To protect you it closes 15 minutes after you came from your bank, or when you leave it.",
		Do:    backToTheBank,
	},
	errForeignForm: {
		Title: "Nothing was changed",
		What:  "What your browser sent does not belong to the page that you have open. It may be from an earlier visit.",
		Do:    "Go back to the list and try again from there.",
	},
	errNoSuchGrant: {
		Title: "We cannot find that",
		What:  "There is no such access to your accounts.",
		Do:    "Go back to the list to see who has access.",
	},
}

// failAccess writes a page for the PSU.
func (s *Server) failAccess(w *response, r *http.Request, p *provider, fault *gatehouse.Error) {
	status := fault.Kind.Status(profileOf(p))
	told, known := accessAdvice[fault]
	switch {
	case known:
	case status >= 500:
		told = advice{
			Title: "We cannot answer just now",
			What:  "The fault is on our side.",
			Do:    "Please try again in a minute. If you were withdrawing access, look at the list whether it is still there.",
		}
	default:
		told = advice{
			Title: "This page does not work",
			What:  "What your browser asked for cannot be answered.",
			Do:    backToTheBank,
		}
	}
	told.Reference = w.requestID
	page := accessPage{Title: told.Title}
	if p != nil {
		page = p.accessPage(told.Title)
	}
	if fault == errForeignForm || fault == errNoSuchGrant {
		told.List = page.Base
	}
	page.Page = told
	if err := writePage(w, status, "access_message.html", page); err != nil {
		s.Log.Error("page", "request_id", w.requestID, "cause", err.Error())
	}
}
