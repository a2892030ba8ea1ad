package demobank_test

import (
	"encoding/json"
	"io"
	"net/http"

	"gatehouse/jose"
)

const gatewayID = "gateway"

// A consent is the one that the fake server keeps, and what may be wrong with its pages.
type consent struct {
	status   string
	hidden   bool // the PSU's page does not list it
	formless bool // and cannot withdraw it
	lives    bool // its tokens go on after its end
	page     int  // status of the page after the withdrawal; 0: 200
}

// serveConsent lets the fake server keep a consent and show it to its PSU.
func (w *town) serveConsent() {
	const resource = "/api/{code}/open-banking/v3.1/aisp/account-access-consents"
	w.mux.HandleFunc("POST "+resource, func(rw http.ResponseWriter, r *http.Request) {
		var lodged struct {
			Data struct {
				Permissions        []string
				ExpirationDateTime string
			}
			Risk *struct{}
		}
		err := json.NewDecoder(r.Body).Decode(&lodged)
		if err != nil || lodged.Data.Permissions == nil || lodged.Data.ExpirationDateTime == "" || lodged.Risk == nil {
			panic("not a consent")
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		w.consent.status = "AwaitingAuthorisation"
		w.writeConsent(rw, r, http.StatusCreated)
	})
	w.mux.HandleFunc("GET "+resource+"/consent-1", func(rw http.ResponseWriter, r *http.Request) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.writeConsent(rw, r, http.StatusOK)
	})
	w.mux.HandleFunc("POST /introspect", w.introspect)
	w.mux.HandleFunc("POST /api/connectors/ob/v1/psu_sessions", w.connector(func(*http.Request, map[string]any) (int, any) {
		return http.StatusOK, map[string]any{"data": map[string]any{"redirect_uri": w.URL + "/access/enter"}}
	}))
	w.mux.Handle("GET /access/enter", http.RedirectHandler("/access", http.StatusSeeOther))
	w.mux.HandleFunc("GET /access", func(rw http.ResponseWriter, r *http.Request) {
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.consent.status == "Revoked" && w.consent.page != 0 {
			rw.WriteHeader(w.consent.page)
		}
		list := `<a href="/access/grants/grant-1">Withdraw</a>`
		if w.consent.hidden {
			list = ""
		}
		io.WriteString(rw, `<form method="post" action="/access/leave"><input name="token" value="a"></form><h1>Access</h1>`+list)
	})
	w.mux.HandleFunc("GET /access/grants/grant-1", func(rw http.ResponseWriter, r *http.Request) {
		page := `<form method="post" action="/access/leave"><input name="token" value="a"></form><h1>Withdraw the access of <bdi>Demo TPP</bdi>?</h1>`
		if !w.consent.formless {
			page += `<form method="post" action="/access/grants/grant-1"><input name="token" value="b"></form>`
		}
		io.WriteString(rw, page)
	})
	w.mux.HandleFunc("POST /access/grants/grant-1", func(rw http.ResponseWriter, r *http.Request) {
		if r.FormValue("token") != "b" {
			panic("not the form of this page")
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		w.consent.status = "Revoked"
		http.Redirect(rw, r, "/access", http.StatusSeeOther)
	})
}

func (w *town) writeConsent(rw http.ResponseWriter, r *http.Request, status int) {
	if r.Header.Get("Authorization") != "Bearer access" {
		panic("not the token of the TPP")
	}
	w.write(rw, r, status, map[string]any{"Data": map[string]any{"ConsentId": "consent-1", "Status": w.consent.status}})
}

// introspect tells the gateway of the consent, and a client not.
func (w *town) introspect(rw http.ResponseWriter, r *http.Request) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := r.ParseForm(); err != nil || r.PostForm.Get("token") != "access" {
		panic("not the token")
	}
	in := map[string]string{"client_assertion": r.PostForm.Get("client_assertion")}
	caller := w.authenticate(r, in)
	if caller == "" {
		w.write(rw, r, http.StatusBadRequest, refused("invalid_client", "InvalidClientAssertion"))
		return
	}
	body := map[string]any{"active": w.consent.status == "Authorised"}
	if caller == gatewayID && w.consent.status == "Authorised" {
		body["consent"] = map[string]any{"consent_id": "consent-1"}
	}
	w.write(rw, r, http.StatusOK, body)
}

// intent is the consent that a request object asks for.
func intent(a *authorization) string {
	object := a.query.Get("request")
	if object == "" {
		return ""
	}
	var claims struct {
		IDToken struct {
			Intent struct {
				Value     string `json:"value"`
				Essential bool   `json:"essential"`
			} `json:"openbanking_intent_id"`
		} `json:"id_token"`
	}
	if err := json.Unmarshal(must(jose.Parse(object, jose.MaxSize)).Claims["claims"], &claims); err != nil {
		panic(err)
	}
	return claims.IDToken.Intent.Value
}
