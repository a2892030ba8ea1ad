package oidc_test

// The audit log, over the wire: RTS on SCA (EU) 2018/389 Article 29.

import (
	"context"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"gatehouse"
	"gatehouse/admin"
	"gatehouse/eidas"
)

// events is the whole audit log, in the order of its ids.
func (w *world) events() []*gatehouse.Event {
	w.t.Helper()
	events, err := w.store.Events(context.Background(), gatehouse.EventFilter{}, "", 100_000)
	must(w.t, err)
	return events
}

// told is what an event tells: kind, actor, provider, client, detail, and
// whether it names a grant and a consent.
func told(e *gatehouse.Event) string {
	words := []string{string(e.Kind), string(e.Actor), e.Provider, e.ClientID}
	if e.GrantID != "" {
		words = append(words, "grant")
	}
	if e.ConsentID != "" {
		words = append(words, "consent")
	}
	return strings.Join(strings.Fields(strings.Join(append(words, e.Detail), " ")), " ")
}

// decisionTables are all that a decision may write to, but for the marks of
// used assertions.
var decisionTables = []string{"authorizations", "grants", "access_tokens", "refresh_tokens", "consents", "notices", "clients", "psu_sessions", "events"}

// A decision is a call that may decide something, and the event that it then
// leaves: "" for none. What prepare returns makes the call, more than once.
type decision struct {
	name    string
	event   string
	prepare func(w *world) func() *answer
}

// consented is a visit to alpha that asks for a consent just lodged.
func (w *world) consented() (v *visit, consentID string) {
	w.t.Helper()
	id := w.lodge("alpha", tppA, gatehouse.AccountAccess, "")
	return w.visit("alpha", query(tppA).with(intent(id))), id
}

// authorised is a consent of alpha with its grant and tokens.
func (w *world) authorised(kind gatehouse.ConsentKind) (tokens *answer, consentID string) {
	w.t.Helper()
	id := w.lodge("alpha", tppA, kind, "")
	tokens = w.token("alpha", tppA, exchange(w.code("alpha", tppA, intent(id).with(form{"scope": "openid " + kind.Scope()}))))
	expect(w.t, tokens, 200, "")
	return tokens, id
}

// handedOver is the link that alpha gives its customer, whose approval the
// world's visits have.
func (w *world) handedOver() string {
	w.t.Helper()
	a := w.bankCall("alpha", "POST", "/psu_sessions", claims{"user_id": approval["user_id"]})
	data, _ := a.JSON["data"].(map[string]any)
	link, _ := data["redirect_uri"].(string)
	if link == "" {
		w.t.Fatalf("hand-over: %v", a)
	}
	return link
}

var withdrawForm = regexp.MustCompile(`/grants/[^>]+>\s*<input type="hidden" name="token" value="([^"]+)"`)

// withdrawal opens the page of a grant and returns the call that its button
// makes.
func (w *world) withdrawal(grantID string) func() *answer {
	w.t.Helper()
	entered := w.get(w.handedOver())
	if len(entered.Cookies()) != 1 {
		w.t.Fatalf("enter: %v", entered)
	}
	header := http.Header{"Cookie": {entered.Cookies()[0].Name + "=" + entered.Cookies()[0].Value}}
	path := "/oidc/alpha/access/grants/" + grantID
	page := w.do("GET", path, header, "")
	token := withdrawForm.FindStringSubmatch(page.Body)
	if token == nil {
		w.t.Fatalf("no form: %v", page)
	}
	header.Set("Content-Type", "application/x-www-form-urlencoded")
	return func() *answer { return w.do("POST", path, header, form{"token": token[1]}.encode()) }
}

var decisions = []decision{
	{"client_credentials", "token.issued client alpha tpp-a grant client_credentials", func(w *world) func() *answer {
		return func() *answer { return w.token("alpha", tppA, clientCredentials) }
	}},
	{"client_credentials at the shared path", "token.issued client gamma tpp-a grant client_credentials", func(w *world) func() *answer {
		return func() *answer {
			f := w.asserted("gamma", tppA, clientCredentials.with(form{"provider_code": "gamma"}))
			return w.do("POST", "/api/oidc/tokens", formHeader, f.encode())
		}
	}},
	{"code", "token.issued client beta tpp-a grant authorization_code", func(w *world) func() *answer {
		code := w.code("beta", tppA, nil)
		return func() *answer { return w.token("beta", tppA, exchange(code)) }
	}},
	{"code with a consent", "token.issued client alpha tpp-a grant consent authorization_code", func(w *world) func() *answer {
		code := w.code("alpha", tppA, intent(w.lodge("alpha", tppA, gatehouse.AccountAccess, "")))
		return func() *answer { return w.token("alpha", tppA, exchange(code)) }
	}},
	{"refresh", "token.issued client alpha tpp-a grant refresh_token", func(w *world) func() *answer {
		token := w.tokens("alpha", tppA).text("refresh_token")
		return func() *answer { return w.token("alpha", tppA, refreshForm(token)) }
	}},
	{"code twice", "code.replayed client alpha tpp-a grant", func(w *world) func() *answer {
		code := w.code("alpha", tppA, nil)
		expect(w.t, w.token("alpha", tppA, exchange(code)), 200, "")
		return func() *answer { return w.token("alpha", tppA, exchange(code)) }
	}},
	{"rotated refresh token", "refresh_token.replayed client gamma tpp-a grant", func(w *world) func() *answer {
		w.changeProvider("gamma", rotate(true))
		first := w.tokens("gamma", tppA).text("refresh_token")
		second := w.token("gamma", tppA, refreshForm(first)).text("refresh_token")
		expect(w.t, w.token("gamma", tppA, refreshForm(second)), 200, "")
		return func() *answer { return w.token("gamma", tppA, refreshForm(first)) }
	}},
	{"assertion twice", "assertion.replayed client alpha tpp-a", func(w *world) func() *answer {
		f := w.asserted("alpha", tppA, clientCredentials).encode()
		expect(w.t, w.do("POST", "/api/oidc/alpha/tokens", formHeader, f), 200, "")
		return func() *answer { return w.do("POST", "/api/oidc/alpha/tokens", formHeader, f) }
	}},
	{"token given back", "grant.revoked client alpha tpp-a grant", func(w *world) func() *answer {
		token := w.tokens("alpha", tppA).text("access_token")
		return func() *answer { return w.revoke("alpha", tppA, token) }
	}},
	{"token with a consent given back", "grant.revoked client alpha tpp-a grant consent", func(w *world) func() *answer {
		tokens, _ := w.authorised(gatehouse.AccountAccess)
		return func() *answer { return w.revoke("alpha", tppA, tokens.text("refresh_token")) }
	}},

	{"bank approves", "authorization.approved bank alpha tpp-a grant", func(w *world) func() *answer {
		v := w.visit("alpha", query(tppA))
		return func() *answer { return v.decide(approval) }
	}},
	{"bank approves a consent", "authorization.approved bank alpha tpp-a grant consent", func(w *world) func() *answer {
		v, _ := w.consented()
		return func() *answer { return v.decide(approval) }
	}},
	{"bank denies", "authorization.denied bank alpha tpp-a", func(w *world) func() *answer {
		v := w.visit("alpha", query(tppA))
		return func() *answer { return v.decide(claims{"status": "denied", "user_id": "psu-17"}) }
	}},
	{"bank denies a consent", "authorization.denied bank alpha tpp-a consent", func(w *world) func() *answer {
		v, _ := w.consented()
		return func() *answer { return v.decide(claims{"status": "denied", "user_id": "psu-17"}) }
	}},

	{"consent lodged", "consent.lodged client alpha tpp-a consent domestic-payment", func(w *world) func() *answer {
		token := w.ownToken("alpha", tppA)
		return func() *answer {
			return w.openBanking("POST", resourceOf(gatehouse.DomesticPayment).at("alpha", "v3.1"), token, paymentBody)
		}
	}},
	{"consent deleted", "consent.revoked client alpha tpp-a grant consent", func(w *world) func() *answer {
		_, id := w.authorised(gatehouse.AccountAccess)
		token := w.ownToken("alpha", tppA)
		return func() *answer {
			return w.openBanking("DELETE", resourceOf(gatehouse.AccountAccess).at("alpha", "v3.1")+"/"+id, token, "")
		}
	}},
	{"bank revokes a consent", "consent.revoked bank alpha tpp-a grant consent", func(w *world) func() *answer {
		_, id := w.authorised(gatehouse.AccountAccess)
		return func() *answer { return w.bankCall("alpha", "PATCH", "/consents/"+id+"/revoke", claims{}) }
	}},
	{"bank rejects a consent", "consent.rejected bank alpha tpp-a consent", func(w *world) func() *answer {
		id := w.lodge("alpha", tppA, gatehouse.AccountAccess, "")
		return func() *answer { return w.bankCall("alpha", "PUT", "/consents/"+id, claims{"status": "Rejected"}) }
	}},
	{"bank makes a payment", "consent.consumed bank alpha tpp-a grant consent", func(w *world) func() *answer {
		_, id := w.authorised(gatehouse.DomesticPayment)
		return func() *answer {
			return w.bankCall("alpha", "PUT", "/payments/payment-1", claims{"consent_id": id, "status": "AcceptedSettlementCompleted"})
		}
	}},

	{"PSU enters", "psu.entered psu alpha", func(w *world) func() *answer {
		link := w.handedOver()
		return func() *answer { return w.get(link) }
	}},
	{"PSU withdraws", "grant.revoked psu alpha tpp-a grant", func(w *world) func() *answer {
		return w.withdrawal(w.grantOf("alpha", w.tokens("alpha", tppA)).ID)
	}},
	{"PSU withdraws a consent", "grant.revoked psu alpha tpp-a grant consent", func(w *world) func() *answer {
		tokens, _ := w.authorised(gatehouse.AccountAccess)
		return w.withdrawal(w.grantOf("alpha", tokens).ID)
	}},

	{"registration", "client.created client *", func(w *world) func() *answer {
		return func() *answer { return w.register("a", w.statement(sandboxDirectory, "a", nil), nil) }
	}},
	{"registration twice", "assertion.replayed client registration", func(w *world) func() *answer {
		request := w.registrationRequest("a", w.statement(sandboxDirectory, "a", nil), nil)
		expect(w.t, w.do("POST", registerPath, jwtHeader, request), 201, "")
		return func() *answer { return w.do("POST", registerPath, jwtHeader, request) }
	}},
	{"registration replaced", "client.updated client * active", func(w *world) func() *answer {
		r := w.registrant("a", nil)
		return func() *answer { return r.put(w.statement(sandboxDirectory, "a", nil), nil) }
	}},
	{"registration recovered", "client.updated client * active", func(w *world) func() *answer {
		w.registrant("recovering", nil)
		return func() *answer { return w.recover("recovering", w.statement(sandboxDirectory, "recovering", nil), nil) }
	}},
	{"registration deleted", "client.deleted client *", func(w *world) func() *answer {
		r := w.registrant("a", nil)
		return func() *answer { return w.do("DELETE", r.path(), bearerHeader(r.token), "") }
	}},

	{"discovery", "", func(w *world) func() *answer {
		return func() *answer { return w.get("/.well-known/openid-configuration/alpha") }
	}},
	{"introspection", "", func(w *world) func() *answer {
		token := w.tokens("alpha", tppA).text("access_token")
		return func() *answer { return w.introspect("alpha", tppA, token) }
	}},
	{"pending code", "", func(w *world) func() *answer {
		_, code, _ := w.bankCode(query(tppA), nil)
		return func() *answer { return w.token("beta", tppA, exchange(code)) }
	}},
	{"unknown code", "", func(w *world) func() *answer {
		return func() *answer { return w.token("alpha", tppA, exchange(gatehouse.NewSecret())) }
	}},
	{"token of nobody given back", "", func(w *world) func() *answer {
		return func() *answer { return w.revoke("alpha", tppA, gatehouse.NewSecret()) }
	}},
	{"browser comes back", "", func(w *world) func() *answer {
		v := w.visit("alpha", query(tppA))
		expect(w.t, v.decide(approval), 200, "")
		return v.back
	}},
	{"bank reads a consent", "", func(w *world) func() *answer {
		id := w.lodge("alpha", tppA, gatehouse.AccountAccess, "")
		return func() *answer { return w.bankCall("alpha", "GET", "/consents/"+id, nil) }
	}},
}

// Every decision leaves one event, of the request that made it; what decides
// nothing leaves none. Without its event there is no decision either.
//
// Proves: O11
func TestDecisionsLeaveOneEvent(t *testing.T) {
	t.Parallel()
	forEachWorld(t, func(t *testing.T, w *world) {
		noEvent := fault{"events", "INSERT", "AFTER"}
		if strings.HasPrefix(w.url, "sqlite") {
			noEvent.how = "ABORT"
		}
		for _, d := range decisions {
			t.Run(d.name, func(t *testing.T) {
				do := d.prepare(w)
				w.clock.advance(time.Second)
				if d.event != "" {
					before := w.rows(decisionTables...)
					w.inject(noEvent, "true")
					a := do()
					w.repair(noEvent)
					if a.StatusCode != 503 {
						t.Errorf("without the event: %v", a)
					}
					if diff := cmp.Diff(before, w.rows(decisionTables...)); diff != "" {
						t.Errorf("without the event something happened: %s", diff)
					}
				}
				before := len(w.events())
				a := do()
				if a.StatusCode >= 500 {
					t.Fatalf("%v", a)
				}
				var got []string
				for _, e := range w.events()[before:] {
					line := told(e)
					if strings.HasPrefix(string(e.Kind), "client.") { // whose id is random
						line = strings.Replace(line, e.ClientID, "*", 1)
					}
					got = append(got, line)
					if e.RequestID != a.Header.Get("X-Fapi-Interaction-Id") || e.RequestID == "" || !e.At.Equal(w.clock.Now()) {
						t.Errorf("event %+v, of request %s", e, a.Header.Get("X-Fapi-Interaction-Id"))
					}
				}
				var want []string
				if d.event != "" {
					want = []string{d.event}
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("events (-want +got):\n%s\n%v", diff, a)
				}
			})
		}
	})
}

// A certificate that comes or goes changes what a client may sign with.
//
// Proves: O11
func TestCertificatesLeaveOneEvent(t *testing.T) {
	t.Parallel()
	w := newCertifiedWorld(sqliteWorld(t))
	id, token := w.tpp(sandboxDirectory, "certified")
	certificate := w.sandbox.issue("certified", eidas.QSeal)
	for _, step := range []func(){
		func() { w.added("alpha", token, eidas.QSeal, certificate) },
		func() {
			thumbprint := w.stored(id)[0].Thumbprint
			expect(t, w.do("DELETE", certificatesPath("alpha")+"/"+thumbprint, bearerHeader(token), ""), 204, "")
		},
	} {
		w.clock.advance(time.Second)
		before := len(w.events())
		step()
		var got []string
		for _, e := range w.events()[before:] {
			got = append(got, told(e))
		}
		if want := []string{"client.updated client " + id + " active"}; !slices.Equal(got, want) {
			t.Errorf("events %q, want %q", got, want)
		}
	}
}

// The request id of the caller is that of the event.
//
// Proves: O11
func TestEventHasTheInteractionID(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	const id = "93bac548-d2de-4546-b106-880a5018460d"
	w.clock.advance(time.Second)
	header := formHeader.Clone()
	header.Set("X-Fapi-Interaction-Id", id)
	expect(t, w.do("POST", "/api/oidc/alpha/tokens", header, w.asserted("alpha", tppA, clientCredentials).encode()), 200, "")
	events := w.events()
	if last := events[len(events)-1]; last.RequestID != id {
		t.Errorf("event %+v", last)
	}
}

// No event has anything of a PSU, a token or a code in it.
//
// Proves: O11
func TestEventsTellNoSecret(t *testing.T) {
	w := sqliteWorld(t)
	code := w.code("alpha", tppA, intent(w.lodge("alpha", tppA, gatehouse.AccountAccess, "")))
	a := w.token("alpha", tppA, exchange(code))
	expect(t, a, 200, "")
	must(t, w.store.RevokeGrant(t.Context(), "alpha", w.grantOf("alpha", a).ID, w.clock.Now()))
	text := fmt.Sprint(w.rows("events"))
	for _, secret := range []string{code, a.text("access_token"), a.text("refresh_token"), "psu-17", "GB29NWBK60161331926819", verifier} {
		if strings.Contains(text, secret) {
			t.Errorf("an event has %q", secret)
		}
	}
}

// While two replicas serve and both seal, every answer that a decision was made
// has its event, and the chain has each once, without a gap.
//
// Proves: O11
func TestChainOfTwoReplicas(t *testing.T) {
	forEachWorld(t, func(t *testing.T, w *world) {
		sites := w.pair()
		ctx, stop := context.WithCancel(context.Background())
		defer stop()
		var sealing sync.WaitGroup
		for range 2 {
			a := &admin.Admin{Store: w.reopened(), KEK: w.kek, Now: w.clock.Now}
			sealing.Go(func() {
				for ctx.Err() == nil {
					if _, err := a.SealEvents(context.Background()); err != nil {
						t.Error(err)
					}
				}
			})
		}
		code := w.code("alpha", tppA, nil)
		answers := w.atOnce(48, func(i int) *answer {
			site := sites[i%2]
			switch i % 3 {
			case 0:
				return w.tokenAt(site, "alpha", tppA, clientCredentials)
			case 1:
				return w.tokenAt(site, "gamma", basic, clientCredentials)
			}
			return w.tokenAt(site, "alpha", tppA, exchange(code))
		})
		stop()
		sealing.Wait()
		auditor := &admin.Admin{Store: w.store, KEK: w.kek, Now: w.clock.Now}
		_, err := auditor.SealEvents(t.Context())
		must(t, err)

		var want, got []string
		for _, a := range answers {
			if a.StatusCode == 200 {
				want = append(want, a.Header.Get("X-Fapi-Interaction-Id"))
			}
		}
		events := w.events()
		for _, e := range events {
			if e.Kind == gatehouse.EventTokenIssued {
				got = append(got, e.RequestID)
			}
		}
		slices.Sort(want)
		slices.Sort(got)
		if diff := cmp.Diff(want, got); diff != "" || len(want) != 33 {
			t.Errorf("%d tokens were issued, want 33; events (-want +got):\n%s", len(want), diff)
		}
		state, err := auditor.VerifyEvents(t.Context(), admin.Head{})
		must(t, err)
		if state.Fault != nil || state.Waiting != 0 || state.Head.Sequence != int64(len(events)) {
			t.Errorf("%d events; chain %+v, fault %v", len(events), state, state.Fault)
		}
	})
}
