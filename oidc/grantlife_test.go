package oidc_test

// The life of a grant: its consent, its two clocks, its end.

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"gatehouse"
)

const aDay = 24 * time.Hour

// lodgedConsent is a consent as a test changes it.
func (w *world) lodgedConsent(c gatehouse.Consent) form {
	w.t.Helper()
	now := w.clock.Now()
	c.Status, c.CreatedAt, c.StatusUpdatedAt = gatehouse.ConsentAwaitingAuthorisation, now, now
	if c.Kind == "" {
		c.Kind = gatehouse.AccountAccess
	}
	if c.Lodged == nil {
		c.Lodged = json.RawMessage(`{"Data":{"Permissions":["ReadBalances"]},"Risk":{}}`)
	}
	_, err := w.store.CreateConsent(context.Background(), &c, now)
	must(w.t, err)
	return intent(c.ID)
}

func (w *world) consentStatus(provider, id string) gatehouse.ConsentStatus {
	w.t.Helper()
	c, err := w.store.Consent(context.Background(), provider, id)
	must(w.t, err)
	return c.Status
}

// A consent that is not this client's, here and now, is refused like one that
// never was, at either door, and the bank's page is never reached.
//
// Proves: A22
func TestConsentOfAnother(t *testing.T) {
	t.Parallel()
	forEachWorld(t, func(t *testing.T, w *world) {
		w.addProvider(gatehouse.Provider{Code: "delta", Profile: gatehouse.ProfilePSD2, AuthorizationEndpoint: "https://bank.example/delta/authorize"})
		for door, provider := range doors {
			w.lodgedConsent(gatehouse.Consent{ID: "another-client", Provider: provider, ClientID: tppB})
			w.lodgedConsent(gatehouse.Consent{ID: "expired-" + door, Provider: provider, ClientID: tppA, ExpiresAt: w.clock.Now()})
			w.lodgedConsent(gatehouse.Consent{ID: "elsewhere-" + door, Provider: "delta", ClientID: tppA})
			for status, end := range map[string]gatehouse.ConsentStatus{"rejected": gatehouse.ConsentRejected, "revoked": gatehouse.ConsentRevoked} {
				w.lodgedConsent(gatehouse.Consent{ID: status, Provider: provider, ClientID: tppA})
				must(t, w.store.EndConsent(context.Background(), provider, status, end, w.clock.Now()))
			}
			w.lodgedConsent(gatehouse.Consent{ID: "payment", Provider: provider, ClientID: tppA, Kind: gatehouse.DomesticPayment})
			w.code(provider, tppA, intent("payment").with(form{"scope": "openid payments"}))
			var first string
			for _, id := range []string{"nobody", "another-client", "expired-" + door, "elsewhere-" + door, "rejected", "revoked", "payment"} {
				o := w.ask(door, query(tppA).with(intent(id)))
				if !o.tells("invalid_request") {
					t.Errorf("%s at %s: %v", id, door, o)
				}
				description := o.location.Query().Get("error_description")
				if first == "" {
					first = description
				}
				if description != first || strings.Contains(description, id) {
					t.Errorf("%s at %s is told apart: %s", id, door, description)
				}
			}
			if o := w.ask(door, query(tppA).with(w.lodgedConsent(gatehouse.Consent{ID: "good", Provider: provider, ClientID: tppA}))); o.begun() == "" {
				t.Errorf("a good one at %s: %v", door, o)
			}
		}
	})
}

// A grant opens what its consent is about, whatever scope was asked for beside
// it; and a provider may ask for a consent always.
func TestScopeOfAConsent(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	for _, row := range []struct {
		kind         gatehouse.ConsentKind
		asked, given string
	}{
		{gatehouse.AccountAccess, "openid accounts payments", "openid accounts"},
		{gatehouse.AccountAccess, "accounts", "accounts"},
		{gatehouse.AccountAccess, "payments", "accounts"},
		{gatehouse.DomesticPayment, "openid accounts payments", "openid payments"},
	} {
		id := gatehouse.NewID(w.clock.Now())
		code := w.code("alpha", tppA, w.lodgedConsent(gatehouse.Consent{ID: id, Provider: "alpha", ClientID: tppA, Kind: row.kind}).with(form{"scope": row.asked}))
		a := w.token("alpha", tppA, exchange(code))
		expect(t, a, 200, "")
		if a.text("scope") != row.given {
			t.Errorf("%s, asked for %s: got %s", row.kind, row.asked, a.text("scope"))
		}
	}
	// The client's own scopes have no fundsconfirmations.
	funds := w.lodgedConsent(gatehouse.Consent{ID: "funds", Provider: "alpha", ClientID: tppA, Kind: gatehouse.FundsConfirmation})
	if o := w.ask("alpha", query(tppA).with(funds)); !o.tells("invalid_scope") {
		t.Errorf("beyond the client: %v", o)
	}
	w.changeProvider("alpha", func(p *gatehouse.Provider) { p.Rules.RequireConsent = true })
	if o := w.ask("alpha", query(tppA)); !o.tells("invalid_request") {
		t.Errorf("without a consent: %v", o)
	}
	if o := w.ask("alpha", query(tppA).with(form{"scope": "openid"})); o.begun() == "" {
		t.Errorf("openid alone needs none: %v", o)
	}
}

// The refusal of a PSU rejects the consent, the first approval authorises it,
// the second, by the same PSU, renews it.
func TestConsentDecided(t *testing.T) {
	t.Parallel()
	forEachWorld(t, func(t *testing.T, w *world) {
		refused := w.visit("alpha", query(tppA).with(w.consent("alpha", tppA, "refused")))
		if a := refused.decide(claims{"status": "denied"}); a.StatusCode != 200 || w.consentStatus("alpha", "refused") != gatehouse.ConsentRejected {
			t.Errorf("refused: %v, %s", a, w.consentStatus("alpha", "refused"))
		}
		named := w.consent("alpha", tppA, "given")
		first := w.token("alpha", tppA, exchange(w.code("alpha", tppA, named)))
		expect(t, first, 200, "")
		if status := w.consentStatus("alpha", "given"); status != gatehouse.ConsentAuthorised {
			t.Errorf("given: %s", status)
		}
		stranger := w.visit("alpha", query(tppA).with(named))
		if a := stranger.decide(approval.with(claims{"user_id": "another"})); a.StatusCode != 400 || !strings.Contains(a.text("error_message"), "data.user_id") {
			t.Errorf("another PSU: %v", a)
		}
		if got := landed(t, stranger.back()); got.Get("error") != "access_denied" {
			t.Errorf("another PSU: %v", got)
		}
		again := w.token("alpha", tppA, exchange(w.code("alpha", tppA, named)))
		expect(t, again, 200, "")
		a, b := w.grantOf("alpha", first), w.grantOf("alpha", again)
		if a.ID != b.ID || a.Subject != b.Subject {
			t.Errorf("grants %+v and %+v", a, b)
		}
		for _, tokens := range []*answer{first, again} {
			expect(t, w.token("alpha", tppA, form{"grant_type": "refresh_token", "refresh_token": tokens.text("refresh_token")}), 200, "")
		}

		// What another visit has authorised in the meantime cannot be approved.
		named = w.consent("alpha", tppA, "twice")
		one, two := w.visit("alpha", query(tppA).with(named)), w.visit("alpha", query(tppA).with(named))
		if a := one.decide(approval); a.StatusCode != 200 {
			t.Errorf("one: %v", a)
		}
		if a := one.decide(approval); a.StatusCode != 200 {
			t.Errorf("one, once more: %v", a)
		}
		if a := two.decide(approval.with(claims{"user_id": "another"})); a.StatusCode != 400 {
			t.Errorf("two: %v", a)
		}
	})
}

func (w *world) grantOf(provider string, tokens *answer) *gatehouse.Grant {
	w.t.Helper()
	id, _ := gatehouse.TokenID(tokens.text("access_token"))
	_, g, err := w.store.AccessToken(context.Background(), provider, id)
	must(w.t, err)
	return g
}

// Refreshing ends with the consent or with the age of the PSU's proof of who
// they are, whatever is first, to the moment; who has the token is told which;
// and the PSU's next visit starts the second clock again.
//
// Proves: T22
func TestTwoClocks(t *testing.T) {
	const expired, old = "the consent of this refresh_token is expired", "the PSU's authentication is too old"
	rows := map[string]struct {
		consent  time.Duration // until its ExpirationDateTime; 0 has none
		lifetime time.Duration // AuthenticationLifetime; 0 is the default
		ends     time.Duration
		told     string
	}{
		"the consent first":            {30 * aDay, 0, 30 * aDay, expired},
		"the authentication first":     {89 * aDay, 10 * aDay, 10 * aDay, old},
		"both by default":              {0, 0, 180 * aDay, old},
		"a consent of several years":   {1000 * aDay, 0, 180 * aDay, old},
		"both at once":                 {10 * aDay, 10 * aDay, 10 * aDay, expired},
		"without an end, authenticate": {0, 10 * aDay, 10 * aDay, old},
	}
	forEachWorld(t, func(t *testing.T, w *world) {
		for name, row := range rows {
			t.Run(name, func(t *testing.T) {
				w.changeProvider("alpha", func(p *gatehouse.Provider) { p.Rules.AuthenticationLifetime = gatehouse.Duration(row.lifetime) })
				began := w.clock.Now()
				consent := gatehouse.Consent{ID: gatehouse.NewID(began), Provider: "alpha", ClientID: tppA}
				if row.consent != 0 {
					consent.ExpiresAt = began.Add(row.consent)
				}
				named := w.lodgedConsent(consent)
				began = began.Truncate(time.Second) // of a verdict without auth_time
				verdict := approval.with(claims{"auth_time": began.Unix()})
				v := w.visit("alpha", query(tppA).with(named))
				if a := v.decide(verdict); a.StatusCode != 200 {
					t.Fatal(a)
				}
				tokens := w.token("alpha", tppA, exchange(landed(t, v.back()).Get("code")))
				expect(t, tokens, 200, "")
				refresh := func() *answer {
					return w.token("alpha", tppA, form{"grant_type": "refresh_token", "refresh_token": tokens.text("refresh_token")})
				}
				end := began.Add(row.ends)
				if row.told == expired {
					end = consent.ExpiresAt
				}
				w.clock.advance(end.Sub(w.clock.Now()) - 2*time.Second)
				last := refresh()
				expect(t, last, 200, "")
				if seconds := last.JSON["expires_in"].(float64); seconds > 2 {
					t.Errorf("the last token is good for %v seconds", seconds)
				}
				w.clock.advance(2 * time.Second)
				over := refresh()
				expect(t, over, 400, "invalid_grant")
				if !strings.HasPrefix(over.text("error_description"), row.told) {
					t.Errorf("told: %v", over)
				}
				isActive(t, w.introspect("alpha", tppA, last.text("access_token")), false)
				stranger := w.token("alpha", tppB, form{"grant_type": "refresh_token", "refresh_token": tokens.text("refresh_token")})
				expect(t, stranger, 400, "invalid_grant")
				if strings.HasPrefix(stranger.text("error_description"), row.told) {
					t.Errorf("a stranger is told: %v", stranger)
				}

				if row.told == expired {
					if o := w.ask("alpha", query(tppA).with(named)); !o.tells("invalid_request") {
						t.Errorf("an expired consent: %v", o)
					}
					return
				}
				again := w.token("alpha", tppA, exchange(w.code("alpha", tppA, named)))
				expect(t, again, 200, "")
				if row.consent != 0 { // its refresh token has not reached its own end
					expect(t, refresh(), 200, "")
				}
				expect(t, w.token("alpha", tppA, form{"grant_type": "refresh_token", "refresh_token": again.text("refresh_token")}), 200, "")
			})
		}
	})
}

// max_age and prompt=login are the bank's to meet: it is told, and a verdict
// that rests on an older authentication is a refusal.
//
// Proves: A18
func TestAuthenticateAgain(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	for name, row := range map[string]struct {
		ask  form
		told string // member of the read call
		age  time.Duration
		ok   bool
	}{
		"nothing asked":                    {nil, "", time.Hour, true},
		"max_age 0, in this visit":         {form{"max_age": "0"}, "max_age", -time.Minute, true},
		"max_age 0, in a session":          {form{"max_age": "0"}, "max_age", 11 * time.Second, false},
		"max_age within":                   {form{"max_age": "300"}, "max_age", 300 * time.Second, true},
		"max_age over":                     {form{"max_age": "300"}, "max_age", 312 * time.Second, false},
		"prompt login, in this visit":      {form{"prompt": "login"}, "prompt", -time.Minute, true},
		"prompt login, in a session":       {form{"prompt": "login"}, "prompt", 11 * time.Second, false},
		"prompt consent and login, before": {form{"prompt": "consent login"}, "prompt", time.Minute, false},
		"longer ago than counts":           {nil, "", 181 * aDay, false},
	} {
		began := w.clock.Now()
		v := w.visit("alpha", query(tppA).with(row.ask))
		read := w.do("GET", "/api/connectors/ob/v1/authorizations/"+v.id, w.connectorHeader("alpha"), "")
		if data, _ := read.JSON["data"].(map[string]any); row.told != "" && data[row.told] == nil {
			t.Errorf("%s: the bank reads %v", name, read)
		}
		w.clock.advance(2 * time.Minute)
		a := v.decide(approval.with(claims{"auth_time": began.Add(-row.age).Unix()}))
		if got := landed(t, v.back()); (a.StatusCode == http.StatusOK) != row.ok || got.Has("code") != row.ok || !row.ok && got.Get("error") != "access_denied" {
			t.Errorf("%s: %v, then %v", name, a, got)
		}
	}
	for door := range doors {
		if o := w.ask(door, query(tppA).with(form{"prompt": "none"})); !o.tells("login_required") {
			t.Errorf("prompt none at %s: %v", door, o)
		}
	}
}
