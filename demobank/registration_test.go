package demobank_test

import (
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"gatehouse/demobank"
	"gatehouse/jose"
)

// A registration is what the town's server remembers of a client that registered itself.
type registration struct {
	token, secret string
	software      string
	metadata      map[string]any
	keys          []*jose.PublicKey
}

const registerPath = "/open_banking/v3.2/tpp/register"

// serveRegistration answers as docs/registration.md says, as far as the walk and a Registrant meet it.
func (w *town) serveRegistration() {
	w.mux.HandleFunc("POST "+registerPath, w.locked(w.register))
	w.mux.HandleFunc("POST "+registerPath+"/recover", w.locked(w.recover))
	w.mux.HandleFunc("GET "+registerPath+"/{id}", w.locked(w.manage))
	w.mux.HandleFunc("PUT "+registerPath+"/{id}", w.locked(w.manage))
	w.mux.HandleFunc("DELETE "+registerPath+"/{id}", w.locked(w.manage))
	w.mux.HandleFunc("POST /api/{code}/open-banking/v3.1/tpp/certificates", w.locked(w.addCertificate))
}

func (w *town) locked(answer func(*http.Request) (int, map[string]any)) http.HandlerFunc {
	return func(rw http.ResponseWriter, r *http.Request) {
		w.mu.Lock()
		status, body := answer(r)
		w.mu.Unlock()
		if status == http.StatusNoContent {
			rw.WriteHeader(status)
			return
		}
		w.write(rw, r, status, body)
	}
}

// open reads a signed registration: its metadata, and the software's keys.
func (w *town) openRegistration(r *http.Request) (metadata map[string]any, keys []*jose.PublicKey, fault string) {
	if r.Header.Get("Content-Type") != "application/jwt" {
		return nil, nil, "invalid_client_metadata"
	}
	token, err := jose.Parse(string(must(io.ReadAll(r.Body))), 1<<18)
	if err != nil {
		return nil, nil, "invalid_client_metadata"
	}
	text, _ := token.Claims.String("software_statement")
	statement, err := jose.Parse(text, jose.MaxSize)
	if err != nil {
		return nil, nil, "invalid_software_statement"
	}
	if iss, _ := statement.Claims.String("iss"); iss != directoryName {
		return nil, nil, "unapproved_software_statement"
	}
	if statement.Verify([]*jose.PublicKey{directoryKey().Public()}, jose.PS256) != nil {
		return nil, nil, "invalid_software_statement"
	}
	set, err := jose.ParseJWKS(statement.Claims["software_jwks"])
	if err != nil || token.Verify(set.Keys, jose.PS256) != nil {
		return nil, nil, "invalid_client_metadata"
	}
	jti, _ := token.Claims.String("jti")
	iss, _ := token.Claims.String("iss")
	software, _ := statement.Claims.String("software_id")
	aud, _, err := token.Claims.Audience()
	if err != nil || !slices.Equal(aud, []string{w.URL}) || jti == "" || w.used[jti] || iss != software {
		return nil, nil, "invalid_client_metadata"
	}
	w.used[jti] = true
	metadata = map[string]any{}
	for name, value := range token.Claims {
		if !slices.Contains([]string{"iss", "aud", "iat", "exp", "jti"}, name) {
			metadata[name] = json.RawMessage(value)
		}
	}
	metadata["software_id"] = software
	return metadata, set.Keys, ""
}

func problem(code string) map[string]any {
	return map[string]any{"error": code, "error_description": "no"}
}

func (w *town) register(r *http.Request) (int, map[string]any) {
	metadata, keys, fault := w.openRegistration(r)
	if fault != "" {
		return http.StatusBadRequest, problem(fault)
	}
	if r.URL.RawQuery == "dry_run=true" {
		if metadata["scope"] == nil {
			return http.StatusOK, map[string]any{"valid": true}
		}
		body := problem("invalid_redirect_uri")
		body["problems"] = []any{problem("invalid_redirect_uri"), problem("invalid_client_metadata")}
		return http.StatusBadRequest, body
	}
	id := fmt.Sprintf("client-%d", len(w.registrations)+1)
	g := &registration{token: "token-of-" + id, software: metadata["software_id"].(string), metadata: metadata, keys: keys}
	if string(metadata["token_endpoint_auth_method"].(json.RawMessage)) == `"client_secret_basic"` {
		g.secret = clientSecret
	}
	w.registrations[id] = g
	answer := w.information(id)
	answer["client_secret"], answer["registration_access_token"] = g.secret, g.token
	return http.StatusCreated, answer
}

func (w *town) information(id string) map[string]any {
	answer := map[string]any{"client_id": id, "registration_client_uri": w.URL + registerPath + "/" + id}
	for name, value := range w.registrations[id].metadata {
		answer[name] = value
	}
	return answer
}

func (w *town) manage(r *http.Request) (int, map[string]any) {
	id := r.PathValue("id")
	g := w.registrations[id]
	if g == nil || r.Header.Get("Authorization") != "Bearer "+g.token {
		return http.StatusUnauthorized, problem("invalid_token")
	}
	switch r.Method {
	case http.MethodDelete:
		w.registrations[id] = nil
		return http.StatusNoContent, nil
	case http.MethodPut:
		metadata, keys, fault := w.openRegistration(r)
		if fault != "" {
			return http.StatusBadRequest, problem(fault)
		}
		if string(metadata["client_id"].(json.RawMessage)) != `"`+id+`"` || metadata["software_id"] != g.software {
			return http.StatusBadRequest, problem("invalid_client_metadata")
		}
		g.metadata, g.keys = metadata, keys
	}
	return http.StatusOK, w.information(id)
}

func (w *town) recover(r *http.Request) (int, map[string]any) {
	metadata, _, fault := w.openRegistration(r)
	if fault != "" {
		return http.StatusBadRequest, problem(fault)
	}
	clients := []any{}
	for i := range len(w.registrations) {
		id := fmt.Sprintf("client-%d", i+1)
		if g := w.registrations[id]; g != nil && g.software == metadata["software_id"] {
			g.token = "new-" + g.token
			clients = append(clients, map[string]any{
				"client_id": id, "registration_access_token": g.token, "registration_client_uri": w.URL + registerPath + "/" + id,
			})
		}
	}
	return http.StatusOK, map[string]any{"clients": clients}
}

func (w *town) addCertificate(r *http.Request) (int, map[string]any) {
	var in struct {
		Data struct {
			Certificate struct{ PEM, Name, Type string }
		}
	}
	if json.NewDecoder(r.Body).Decode(&in) != nil || in.Data.Certificate.Name == "" || in.Data.Certificate.Type != "obseal" {
		return http.StatusBadRequest, problem("invalid_request")
	}
	block, _ := pem.Decode([]byte(in.Data.Certificate.PEM))
	key := must(x509.ParseCertificate(block.Bytes)).PublicKey.(*rsa.PublicKey)
	for _, g := range w.registrations {
		if g != nil && r.Header.Get("Authorization") == "Bearer "+g.token {
			g.keys = append(g.keys, must(jose.NewPublicKey(key, "", "")))
			return http.StatusCreated, map[string]any{"data": map[string]any{}}
		}
	}
	return http.StatusUnauthorized, problem("invalid_token")
}

// deleted reports whether a request is of a client that is no more.
func (w *town) deleted(in map[string]string) bool {
	token, err := jose.Parse(in["client_assertion"], jose.MaxSize)
	if err != nil {
		return false
	}
	sub, _ := token.Claims.String("sub")
	g, known := w.registrations[sub]
	return known && g == nil
}

func newRegistrant(w *town, method string) *demobank.Registrant {
	return &demobank.Registrant{
		Name: "Budget App", RedirectURIs: []string{"https://app.example/callback"}, Roles: []string{"AISP"},
		Directory: w.world.DirectoryURL, Server: w.URL, AuthMethod: method, Alg: jose.PS256,
		Key: keys().client, HTTP: w.Client(), Now: w.clock.Now,
	}
}

// An application registers by either method, gets tokens with what it was given, and goes.
func TestRegistrant(t *testing.T) {
	for _, method := range []string{"private_key_jwt", "client_secret_basic"} {
		t.Run(method, func(t *testing.T) {
			w := newTown(t)
			g := newRegistrant(w, method)
			if _, err := g.Rehearse(t.Context()); err != nil || len(w.registrations) > 0 {
				t.Fatalf("a dry run: %v, %d clients", err, len(w.registrations))
			}
			for name, call := range map[string]func() error{
				"read":   func() error { _, err := g.Read(t.Context()); return err },
				"update": func() error { return g.Update(t.Context()) },
				"delete": func() error { return g.Delete(t.Context()) },
				"token":  func() error { _, err := g.Token(t.Context(), "demobank"); return err },
			} {
				if err := call(); err == nil || err.Error() != "the application is not registered" {
					t.Errorf("%s before registering: %v", name, err)
				}
			}
			if err := g.Register(t.Context()); err != nil {
				t.Fatal(err)
			}
			if g.ClientID != "client-1" || g.AccessToken == "" || g.SoftwareID == "" || g.OrgID != demobank.DefaultOrgID || (g.Secret != "") != (method == "client_secret_basic") {
				t.Errorf("registered: client_id %q, software_id %q, org_id %q", g.ClientID, g.SoftwareID, g.OrgID)
			}
			if err := g.Register(t.Context()); err == nil || err.Error() != "the application is registered already" {
				t.Errorf("registering twice: %v", err)
			}
			for _, bank := range []string{"demobank", "oidcbank"} {
				answer, err := g.Token(t.Context(), bank)
				if err != nil || !strings.Contains(string(answer), `"access_token"`) {
					t.Errorf("token at %s: %s %v", bank, answer, err)
				}
			}
			g.RedirectURIs = []string{"https://app.example/other"}
			if err := g.Update(t.Context()); err != nil {
				t.Fatal(err)
			}
			if answer, err := g.Read(t.Context()); err != nil || !strings.Contains(string(answer), "https://app.example/other") {
				t.Errorf("read: %s %v", answer, err)
			}
			if err := g.Delete(t.Context()); err != nil || g.ClientID != "" || g.Secret != "" || g.AccessToken != "" || g.URI != "" {
				t.Errorf("delete: %v, client_id %q", err, g.ClientID)
			}
		})
	}
}

// Renew registers what the server does not know, and updates what it knows.
func TestRegistrantRenews(t *testing.T) {
	w := newTown(t)
	g := newRegistrant(w, "private_key_jwt")
	for _, want := range []string{"client-1", "client-1"} {
		if err := g.Renew(t.Context()); err != nil || g.ClientID != want {
			t.Fatalf("%v, client_id %q, want %q", err, g.ClientID, want)
		}
	}
	other := *g
	if err := other.Delete(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := g.Renew(t.Context()); err != nil || g.ClientID != "client-2" || g.AccessToken != "token-of-client-2" {
		t.Errorf("after a deletion: %v, client_id %q", err, g.ClientID)
	}
	g.Roles = nil
	if err := g.Renew(t.Context()); err == nil || g.ClientID != "client-2" {
		t.Errorf("refused: %v, client_id %q", err, g.ClientID)
	}
}

// A registration that was lost is found by the key; one of several by its client_id.
func TestRegistrantRecovers(t *testing.T) {
	w := newTown(t)
	first := newRegistrant(w, "private_key_jwt")
	if err := first.Register(t.Context()); err != nil {
		t.Fatal(err)
	}
	second := *first
	second.ClientID = ""
	if err := second.Register(t.Context()); err != nil {
		t.Fatal(err)
	}
	for lost, want := range map[string]string{"client-1": "client-1", "client-2": "client-2", "": "client-2", "client-9": "client-2"} {
		g := *first
		g.ClientID, g.AccessToken, g.URI, g.Secret = lost, "", "", "secret-of-"+lost
		if err := g.Recover(t.Context()); err != nil || g.ClientID != want || (g.Secret != "") != (lost == want) {
			t.Errorf("lost %q: %v, found %s, secret %q", lost, err, g.ClientID, g.Secret)
			continue
		}
		if _, err := g.Read(t.Context()); err != nil {
			t.Errorf("lost %q: read: %v", lost, err)
		}
	}
	stranger := newRegistrant(w, "private_key_jwt")
	if err := stranger.Recover(t.Context()); err == nil || err.Error() != "the server has no registration of this software" {
		t.Errorf("other software: %v", err)
	}
}

// What the server or the directory refuses is an error that says so; nothing is kept of it.
func TestRegistrantRefused(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*town, *demobank.Registrant)
		want   string
	}{
		"directory refuses": {func(_ *town, g *demobank.Registrant) { g.Roles = nil }, "directory: invalid_request: roles must be"},
		"server refuses": {func(w *town, _ *demobank.Registrant) {
			w.spoil = func(*http.Request, int, map[string]any) int { return http.StatusBadRequest }
		}, "without an error in JSON"},
		"unknown audience": {func(w *town, g *demobank.Registrant) {
			g.Server = strings.Replace(w.URL, "127.0.0.1", "localhost", 1)
		}, "invalid_client_metadata: no"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newTown(t)
			g := newRegistrant(w, "private_key_jwt")
			test.change(w, g)
			if err := g.Register(t.Context()); err == nil || !strings.Contains(err.Error(), test.want) || g.ClientID != "" || g.AccessToken != "" {
				t.Errorf("error %v, want %q; client_id %q", err, test.want, g.ClientID)
			}
		})
	}
	w := newTown(t)
	g := newRegistrant(w, "private_key_jwt")
	if err := g.Register(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := g.Token(t.Context(), "nobank"); err == nil || !strings.Contains(err.Error(), "invalid_request") {
		t.Errorf("token at an unknown provider: %v", err)
	}
}
