package demobank

import (
	"context"
	"net/http"
	"slices"
	"strings"
)

// sessionsPath is where a bank hands its customers over (docs/connector.md).
const sessionsPath = "/api/connectors/ob/v1/psu_sessions"

// handOver returns where to send the browser of a PSU who has just logged in and wants to see who has access.
func (b *Bank) handOver(ctx context.Context, userID string) (redirectURI string, err error) {
	var answer struct {
		RedirectURI string `json:"redirect_uri"`
	}
	err = b.call(ctx, http.MethodPost, sessionsPath, map[string]any{"user_id": userID}, &answer)
	return answer.RedirectURI, err
}

// access is the bank's own way to the page that shows who has access: whoever logs in here is sent there. It keeps no
// session, so its form needs no token: whoever makes somebody else's browser send it must know a password and a code.
func (b *Bank) access(w http.ResponseWriter, r *http.Request) error {
	if r.Method == http.MethodGet {
		b.accessPage(w, http.StatusOK, "", "")
		return nil
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	if err := r.ParseForm(); err != nil {
		return faultForm
	}
	username, password := strings.TrimSpace(r.PostForm.Get("username")), r.PostForm.Get("password")
	otp := strings.ReplaceAll(r.PostForm.Get("otp"), " ", "")
	i := slices.IndexFunc(PSUs(), func(p PSU) bool { return p.Username == username })
	if i < 0 || !equal(PSUs()[i].Password, password) || !equal(PSUs()[i].OTP, otp) {
		b.accessPage(w, http.StatusUnprocessableEntity, username, "The username, the password or the code is wrong.")
		return nil
	}
	if username == PSULocked {
		return faultLocked
	}
	to, err := b.handOver(r.Context(), userID(PSUs()[i]))
	if err != nil {
		return err
	}
	http.Redirect(w, r, to, http.StatusSeeOther)
	return nil
}

func (b *Bank) accessPage(w http.ResponseWriter, status int, username, fault string) {
	// Chromium applies form-action to the redirect that follows, too.
	w.Header().Set("Content-Security-Policy", contentPolicy+"; form-action 'self' "+b.GatehouseURL)
	b.render(w, status, "access", visitPage{
		Action: b.base + "/access", Username: username, Error: fault,
		PSUs: PSUs(), Password: PSUs()[0].Password, OTP: PSUs()[0].OTP,
	})
}

// userID is the bank's identifier of a PSU.
func userID(p PSU) string { return "psu-" + p.Username }

var faultLocked = &fault{http.StatusForbidden, message{
	Title: messageLocked.Title,
	What:  messageLocked.What,
	Do:    "Call the bank to have it opened again.",
}}
