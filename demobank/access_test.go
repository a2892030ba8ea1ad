package demobank_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// TestHandOver: whoever logs in at the bank is handed over by the identifier that verdicts name, and nobody else.
func TestHandOver(t *testing.T) {
	c := &clock{now: began}
	g := newGatehouse(t, c)
	var handed []map[string]any
	g.mux.HandleFunc("POST /api/connectors/ob/v1/psu_sessions", g.connector(func(_ *http.Request, data map[string]any) (int, any) {
		handed = append(handed, data)
		return http.StatusOK, map[string]any{"data": map[string]any{"redirect_uri": g.URL + "/oidc/demobank/access/enter/x"}}
	}))
	bank, server := newBank(t, g, false, nil)
	p := newPerson(t, server)

	first := p.get(bank.URL + "/access")
	if policy := first.header.Get("Content-Security-Policy"); first.status != http.StatusOK || !strings.HasSuffix(policy, "; form-action 'self' "+g.URL) {
		t.Fatalf("status %d, policy %s", first.status, policy)
	}
	good := url.Values{"username": {"approve"}, "password": {"demo"}, "otp": {"123 456"}}
	for name, row := range map[string]struct {
		change url.Values
		status int
	}{
		"an unknown PSU":   {url.Values{"username": {"nobody"}}, 422},
		"a wrong password": {url.Values{"password": {"Demo"}}, 422},
		"no code":          {url.Values{"otp": {""}}, 422},
		"a wrong code":     {url.Values{"otp": {"000000"}}, 422},
		"a locked account": {url.Values{"username": {"locked"}}, 403},
	} {
		form := url.Values{}
		for _, values := range []url.Values{good, row.change} {
			for field, value := range values {
				form[field] = value
			}
		}
		if got := p.post(bank.URL+"/access", form); got.status != row.status || got.location != "" {
			t.Errorf("%s: status %d, location %q", name, got.status, got.location)
		}
	}
	if len(handed) != 0 {
		t.Fatalf("handed over: %v", handed)
	}
	got := p.post(bank.URL+"/access", good)
	if got.status != http.StatusSeeOther || got.location != g.URL+"/oidc/demobank/access/enter/x" {
		t.Errorf("status %d, location %q", got.status, got.location)
	}
	if len(handed) != 1 || len(handed[0]) != 1 || handed[0]["user_id"] != "psu-approve" {
		t.Errorf("handed over: %v", handed)
	}
}

// TestHandOverRefused: a server that does not answer is a page, not a redirect to nowhere.
func TestHandOverRefused(t *testing.T) {
	c := &clock{now: began}
	g := newGatehouse(t, c)
	bank, server := newBank(t, g, false, nil)
	got := newPerson(t, server).post(bank.URL+"/access", url.Values{"username": {"approve"}, "password": {"demo"}, "otp": {"123456"}})
	if got.status < 500 || got.location != "" || !strings.Contains(got.body, "cannot go on") {
		t.Errorf("status %d, location %q\n%s", got.status, got.location, got.body)
	}
}
