package demobank

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"strings"

	"gatehouse/jose"
)

// A TPP is the demo third party: a web application that sends a browser to a bank, receives the code and shows what it
// got. Set the exported fields, then call Handler once. Each of its clients must have URL + "/callback" among its
// redirect_uris.
type TPP struct {
	World *World
	Name  string
	URL   string // public base of its pages, such as http://127.0.0.1:8081/tpp, without a slash at the end
	Log   *slog.Logger

	base     string
	journeys *sessions[journey]
}

// A journey is one browser on its way to a bank and back. Its id is the state parameter; the cookie of its session
// proves that the browser that comes back is the one that left (RFC 9700 §4.7).
type journey struct {
	party   *party
	attempt attempt
	code    string
	refusal *oauthError
	tokens  tokens
	claims  jose.Claims // of the ID Token, verified
	renewed int         // how often the tokens were refreshed
}

// Handler serves everything below the path of URL, which it expects on every request.
func (t *TPP) Handler() http.Handler {
	u, err := url.Parse(t.URL)
	if err != nil {
		panic("demobank: TPP.URL: " + err.Error())
	}
	t.base = u.Path
	t.journeys = newSessions[journey]("journey-", u.Scheme == "https")

	mux := http.NewServeMux()
	mux.Handle("GET "+t.base+"/{$}", t.serve(t.home))
	mux.Handle("GET "+t.base+"/start", t.serve(t.start))
	mux.Handle("GET "+t.base+"/callback", t.serve(t.callback))
	mux.Handle("GET "+t.base+"/journeys/{id}", t.serve(t.show))
	mux.Handle("POST "+t.base+"/journeys/{id}/exchange", t.serve(t.again))
	mux.Handle("POST "+t.base+"/journeys/{id}/refresh", t.serve(t.refresh))
	mux.HandleFunc("GET "+t.base+"/pages.css", stylesheet)
	mux.Handle(t.base+"/", t.serve(func(http.ResponseWriter, *http.Request) error { return faultNoJourney }))
	return guard(mux)
}

func (t *TPP) serve(handle func(http.ResponseWriter, *http.Request) error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		err := handle(w, r)
		if err == nil {
			return
		}
		f, ok := errors.AsType[*fault](err)
		if !ok {
			f = faultExchange
		}
		t.Log.InfoContext(r.Context(), "a journey stopped", "status", f.Status, "error", err)
		t.render(w, f.Status, "message", f.backTo(t.base+"/", "Start again").Message)
	})
}

func (t *TPP) render(w http.ResponseWriter, status int, name string, p any) {
	render(w, status, name, layout{Base: t.base, Brand: t.Name, Kind: "Demo third party", Page: p})
}

// A choice is one link of the first page.
type choice struct {
	Provider, Profile, Door string
	Clients                 []choiceClient
}

type choiceClient struct{ Href, Method string }

func (t *TPP) home(w http.ResponseWriter, _ *http.Request) error {
	var choices []choice
	for _, p := range t.World.Providers {
		c := choice{Provider: p.Code, Profile: p.Profile, Door: p.Door}
		for _, client := range p.Clients {
			query := url.Values{"provider": {p.Code}, "client": {client.ID}}
			c.Clients = append(c.Clients, choiceClient{t.base + "/start?" + query.Encode(), strings.TrimSpace(client.AuthMethod + " " + client.Alg)})
		}
		choices = append(choices, c)
	}
	t.render(w, http.StatusOK, "home", choices)
	return nil
}

// start sends the browser to the bank. It takes provider, and client when it is not to be the provider's first.
func (t *TPP) start(w http.ResponseWriter, r *http.Request) error {
	provider, client := t.find(r.URL.Query().Get("provider"), r.URL.Query().Get("client"))
	if client == nil {
		return faultNoJourney
	}
	var m metadata
	if err := t.World.get(r.Context(), t.World.discoveryURL(provider.Code), &m); err != nil {
		return err
	}
	p, err := newParty(t.World, provider, client, m)
	if err != nil {
		return err
	}
	a := newAttempt(t.URL+"/callback", "openid accounts")
	to, err := p.authorizationURL(a)
	if err != nil {
		return err
	}
	t.journeys.start(w, a.state, t.World.Now(), journey{party: p, attempt: a})
	http.Redirect(w, r, to, http.StatusSeeOther)
	return nil
}

func (t *TPP) find(providerCode, clientID string) (*Provider, *Client) {
	for i := range t.World.Providers {
		p := &t.World.Providers[i]
		for j := range p.Clients {
			if c := &p.Clients[j]; p.Code == providerCode && (clientID == "" || c.ID == clientID) {
				return p, c
			}
		}
	}
	return nil, nil
}

// callback takes the answer and leads on to a page whose address holds no code (RFC 9700 §4.2.4).
func (t *TPP) callback(w http.ResponseWriter, r *http.Request) error {
	query := r.URL.Query()
	s, _ := t.journeys.enter(r, query.Get("state"), t.World.Now())
	if s == nil {
		return faultState
	}
	defer s.Unlock()
	j := &s.data
	if j.code != "" || j.refusal != nil { // the page was reloaded; a code must not be sent twice
		return t.toJourney(w, r, s)
	}
	code, err := j.party.answer(j.attempt, query)
	if e, ok := errors.AsType[*oauthError](err); ok {
		j.refusal = e
		return t.toJourney(w, r, s)
	}
	if err != nil {
		t.Log.WarnContext(r.Context(), "authorization response refused", "error", err)
		return faultState
	}
	j.code = code
	if err := t.obtain(r.Context(), j, j.attempt.exchange(code)); err != nil {
		return err
	}
	return t.toJourney(w, r, s)
}

// obtain asks for tokens. What the token endpoint refuses is kept for the page to show.
func (t *TPP) obtain(ctx context.Context, j *journey, form url.Values) error {
	req, err := j.party.tokenRequest(ctx, form)
	if err != nil {
		return err
	}
	var got tokens
	err = t.World.fetch(req, &got)
	if e, ok := errors.AsType[*oauthError](err); ok {
		j.refusal = e
		return nil
	}
	if err != nil {
		return err
	}
	j.refusal = nil
	if got.RefreshToken == "" { // RFC 6749 §6: without a new one the old one stays
		got.RefreshToken = j.tokens.RefreshToken
	}
	j.tokens = got
	if got.IDToken == "" {
		return nil
	}
	var raw json.RawMessage
	if err := t.World.get(ctx, j.party.metadata.JWKSURI, &raw); err != nil {
		return err
	}
	set, err := jose.ParseJWKS(raw)
	if err != nil {
		return err
	}
	nonce := j.attempt.nonce
	if form.Get("grant_type") == "refresh_token" {
		nonce = ""
	}
	j.claims, err = j.party.verifyIDToken(set.Keys, got, nonce)
	return err
}

func (t *TPP) toJourney(w http.ResponseWriter, r *http.Request, s *session[journey]) error {
	http.Redirect(w, r, t.base+"/journeys/"+s.id, http.StatusSeeOther)
	return nil
}

// A journeyPage shows what the TPP knows after its journey, without the tokens themselves.
type journeyPage struct {
	Here, Home, Token string
	Provider, Client  string
	Refusal           *oauthError
	Early             bool // the refusal is that the bank has not decided yet
	Tokens            *tokens
	Claims            string
	Renewed           int
}

func (t *TPP) show(w http.ResponseWriter, r *http.Request) error {
	s, err := t.enter(r)
	if err != nil {
		return err
	}
	defer s.Unlock()
	j := &s.data
	p := journeyPage{
		Here:     t.base + "/journeys/" + s.id,
		Home:     t.base + "/",
		Token:    s.token,
		Provider: j.party.provider.Code,
		Client:   j.party.client.AuthMethod,
		Refusal:  j.refusal,
		Early:    j.refusal != nil && j.refusal.Code == "authorization_pending",
		Renewed:  j.renewed,
	}
	if j.tokens.AccessToken != "" {
		p.Tokens = &j.tokens
	}
	if j.claims != nil {
		p.Claims = indent(j.claims)
	}
	t.render(w, http.StatusOK, "journey", p)
	return nil
}

func (t *TPP) enter(r *http.Request) (*session[journey], error) {
	s, known := t.journeys.enter(r, r.PathValue("id"), t.World.Now())
	if s == nil && known {
		return nil, faultState
	}
	if s == nil {
		return nil, faultNoJourney
	}
	return s, nil
}

// again exchanges a code that came too early for the bank.
func (t *TPP) again(w http.ResponseWriter, r *http.Request) error {
	return t.post(w, r, func(j *journey) error {
		if j.code == "" || j.tokens.AccessToken != "" {
			return nil
		}
		return t.obtain(r.Context(), j, j.attempt.exchange(j.code))
	})
}

func (t *TPP) refresh(w http.ResponseWriter, r *http.Request) error {
	return t.post(w, r, func(j *journey) error {
		if j.tokens.RefreshToken == "" {
			return nil
		}
		j.renewed++
		return t.obtain(r.Context(), j, url.Values{"grant_type": {"refresh_token"}, "refresh_token": {j.tokens.RefreshToken}})
	})
}

func (t *TPP) post(w http.ResponseWriter, r *http.Request, act func(*journey) error) error {
	s, err := t.enter(r)
	if err != nil {
		return err
	}
	defer s.Unlock()
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	if !equal(r.PostFormValue("token"), s.token) {
		return faultState
	}
	if err := act(&s.data); err != nil {
		return err
	}
	return t.toJourney(w, r, s)
}

func indent(v any) string {
	text, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// The pages on which a journey ends early.
var (
	faultNoJourney = &fault{http.StatusNotFound, message{
		Title: "There is nothing here",
		What:  "The address is wrong, or it is older than 15 minutes.",
		Do:    "Choose a bank again.",
	}}
	faultState = &fault{http.StatusForbidden, message{
		Title: "This answer is not for this browser",
		What:  "The state or the issuer of the answer does not belong to a journey that began here.",
		Do:    "Nothing was done with it. Choose a bank again.",
	}}
	faultExchange = &fault{http.StatusBadGateway, message{
		Title: "The server's answer cannot be used",
		What:  "The authorization server does not answer, or with something this program does not trust.",
		Do:    "See this program's log, then choose a bank again.",
	}}
)
