package demobank

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"time"

	"gatehouse/jose"
)

// SlowDelay is how long after the browser left the bank sends its verdict on the PSU "slow".
const SlowDelay = 3 * time.Second

// A Bank is one sandbox bank: its connector and its pages. Set the exported fields, then call Handler once; Close when
// nobody calls the handler any more.
type Bank struct {
	Code string // provider_code
	Name string // as the pages show it
	URL  string // public base of the pages, such as http://127.0.0.1:8081/demobank, without a slash at the end

	GatehouseURL     string // base of the connector API, without a slash at the end
	AppID, AppSecret string
	Key              *jose.PrivateKey // signs the connector's calls; RS256
	HTTP             *http.Client     // for those calls; give it a timeout

	Now func() time.Time
	// After is time.After, and what tests put in its place. A verdict that is waiting for it dies with Close.
	After func(time.Duration) <-chan time.Time
	Log   *slog.Logger

	base   string // path of URL
	ledger ledger
	visits *sessions[visit]
	late   sync.WaitGroup // verdicts on their way
	closed context.Context
	close  context.CancelFunc
}

// Handler serves everything below the path of URL, which it expects on every request: /authorize is the authorization
// endpoint of a bank that hosts it, /login the page that the server sends the browser to when it hosts the endpoint
// itself. Both lead to /visits/{authorization_id}. URL is also the connector_url: the server's calls come to
// /api/priora/ob/v1/, and /consents shows what they told.
func (b *Bank) Handler() http.Handler {
	u, err := url.Parse(b.URL)
	if err != nil {
		panic("demobank: Bank.URL: " + err.Error())
	}
	b.base = u.Path
	b.visits = newSessions[visit]("visit-", u.Scheme == "https")
	b.closed, b.close = context.WithCancel(context.Background())

	mux := http.NewServeMux()
	mux.Handle("GET "+b.base+"/authorize", b.serve(b.authorize))
	mux.Handle("POST "+b.base+"/authorize", b.serve(b.authorize))
	mux.Handle("GET "+b.base+"/login", b.serve(b.login))
	mux.Handle("GET "+b.base+"/visits/{id}", b.serve(b.step(stepAny, b.show)))
	mux.Handle("POST "+b.base+"/visits/{id}/login", b.serve(b.step(stepLogin, b.checkPassword)))
	mux.Handle("POST "+b.base+"/visits/{id}/code", b.serve(b.step(stepCode, b.checkCode)))
	mux.Handle("POST "+b.base+"/visits/{id}/consent", b.serve(b.step(stepConsent, b.consent)))
	mux.Handle("POST "+b.base+"/visits/{id}/return", b.serve(b.step(stepLocked, b.refuse)))
	mux.Handle("GET "+b.base+"/access", b.serve(b.access))
	mux.Handle("POST "+b.base+"/access", b.serve(b.access))
	mux.Handle("GET "+b.base+"/consents", b.serve(b.consents))
	mux.Handle("POST "+b.base+"/consents/{id}/revoke", b.serve(b.revoke))
	for path, kind := range map[string]string{"/consents": kindAccounts, "/payment_consents": kindPayment, "/funds_check_consents": kindFunds} {
		mux.Handle("POST "+b.base+noticePath+path, b.notice(b.lodged(kind)))
		mux.Handle("PATCH "+b.base+noticePath+path+"/{id}/revoke", b.notice(b.revoked))
	}
	mux.Handle("POST "+b.base+noticePath+"/errors", b.notice(b.reported))
	mux.HandleFunc("GET "+b.base+"/pages.css", stylesheet)
	mux.Handle(b.base+"/", b.serve(func(http.ResponseWriter, *http.Request) error { return faultNoPage }))
	return guard(mux)
}

// Close gives up the verdicts that are still waiting to be sent and waits until nothing of the bank runs.
func (b *Bank) Close() {
	if b.close != nil {
		b.close()
	}
	b.late.Wait()
}

// serve shows what a handler could not do.
func (b *Bank) serve(handle func(http.ResponseWriter, *http.Request) error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		err := handle(w, r)
		if err == nil {
			return
		}
		f := faultOf(err)
		level := slog.LevelInfo
		if f.Status >= 500 {
			level = slog.LevelError
		}
		b.Log.Log(r.Context(), level, "a visit stopped", "provider_code", b.Code, "status", f.Status, "error", err)
		if f.Status == http.StatusServiceUnavailable {
			w.Header().Set("Retry-After", "10")
		}
		b.render(w, f.Status, "message", f.Message)
	})
}

// authorize is the authorization endpoint of a bank that hosts it (OpenID Connect Core §3.1.2.1). The bank does not
// read the request: it mints the code and hands both over.
func (b *Bank) authorize(w http.ResponseWriter, r *http.Request) error {
	query := []string{r.URL.RawQuery}
	if r.Method == http.MethodPost {
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxForm))
		if err != nil || !strings.HasPrefix(r.Header.Get("Content-Type"), contentTypeForm) {
			return faultForm
		}
		query = append(query, string(body)) // both, so that a parameter sent twice is seen twice
	}
	authorizeURL := b.URL + "/authorize?" + strings.Trim(strings.Join(query, "&"), "&")
	id, err := b.begin(r.Context(), authorizeURL, random())
	e, refused := errors.AsType[*refusal](err)
	switch {
	case refused && e.RedirectURI != "":
		http.Redirect(w, r, e.RedirectURI, http.StatusSeeOther)
		return nil
	case refused && (e.Status == http.StatusBadRequest || e.Status == http.StatusNotFound):
		return faultRefused.told(e.Class + ": " + e.Message)
	case refused && e.Status == http.StatusForbidden: // the TPP's fault, or that of the bank's own credentials
		return faultRefused.told(e.Class)
	case err != nil:
		return err
	}
	return b.arrive(w, r, id)
}

// authorizationID keeps what is not an identifier out of the path of the read call.
var authorizationID = regexp.MustCompile(`^[0-9A-Za-z_-]{1,64}$`)

// login takes a browser that the server sent, and shows a returning one its visit.
func (b *Bank) login(w http.ResponseWriter, r *http.Request) error {
	id := r.URL.Query().Get("authorization_id")
	if !authorizationID.MatchString(id) {
		return faultNoVisit
	}
	if s, _ := b.visits.enter(r, id, b.Now()); s != nil {
		s.Unlock()
		return b.toVisit(w, r, id)
	}
	return b.arrive(w, r, id)
}

// arrive opens the visit: the browser that comes first has it.
func (b *Bank) arrive(w http.ResponseWriter, r *http.Request, id string) error {
	asked, err := b.read(r.Context(), id)
	if e, ok := errors.AsType[*refusal](err); ok && e.Status == http.StatusNotFound {
		return faultNoVisit
	}
	if err != nil {
		return err
	}
	if asked.Status != statusPending || !b.Now().Before(asked.ExpiresAt) {
		return faultOver
	}
	if !b.visits.start(w, id, b.Now(), visit{asked: asked, step: stepLogin}) {
		return faultOtherBrowser
	}
	return b.toVisit(w, r, id)
}

func (b *Bank) toVisit(w http.ResponseWriter, r *http.Request, id string) error {
	http.Redirect(w, r, b.base+"/visits/"+id, http.StatusSeeOther)
	return nil
}
