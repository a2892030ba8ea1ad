package demobank_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"gatehouse/demobank"
)

// doors lead a person to a fresh visit, in both ways there are.
var doors = map[string]func(*gatehouse, *demobank.Bank) string{
	"gatehouse": func(g *gatehouse, b *demobank.Bank) string { return g.arrival(b) },
	"bank":      func(_ *gatehouse, b *demobank.Bank) string { return b.URL + "/authorize?client_id=c&state=a%20b&x=%2F" },
}

var approved = map[string]any{
	"status": "approved", "access": []any{"acc-current", "acc-card"},
	"auth_time": float64(began.Unix()), "acr": "urn:openbanking:psd2:sca",
}

func withUser(id string) map[string]any {
	v := map[string]any{"user_id": id}
	for name, value := range approved {
		v[name] = value
	}
	return v
}

func TestEachPSUMeetsItsOutcome(t *testing.T) {
	denied := map[string]any{"status": "denied"}
	decided, undecided := "https://tpp.test/decided?status=", "https://tpp.test/undecided?id="
	for door, address := range doors {
		for _, test := range []struct {
			psu, click, to string
			now, late      map[string]any // the verdict when the browser leaves, and after SlowDelay
		}{
			{"approve", "approve", decided + "approved", withUser("psu-approve"), nil},
			{"approve", "deny", decided + "denied", denied, nil},
			{"deny", "approve", decided + "denied", denied, nil},
			{"deny", "deny", decided + "denied", denied, nil},
			{"slow", "approve", undecided, nil, withUser("psu-slow")},
			{"slow", "deny", undecided, nil, denied},
			{"never", "approve", undecided, nil, nil},
		} {
			t.Run(door+" "+test.psu+" "+test.click, func(t *testing.T) {
				g := newGatehouse(t, &clock{now: began})
				due, asked := make(chan time.Time), make(chan time.Duration, 1)
				bank, server := newBank(t, g, false, func(b *demobank.Bank) {
					b.After = func(d time.Duration) <-chan time.Time { asked <- d; return due }
				})
				p := newPerson(t, server)
				visit, first := p.arrive(address(g, bank))
				consent := p.upToConsent(visit, first, test.psu)
				if !strings.Contains(consent.body, "<strong>"+appName+"</strong>") || !strings.Contains(consent.body, "until 28 August 2026") {
					t.Errorf("consent does not name the TPP and how long:\n%s", consent.body)
				}
				left := p.step(visit, "consent", consent, url.Values{"decision": {test.click}, "account": {"acc-current", "acc-card"}})
				if left.status != http.StatusSeeOther || !strings.HasPrefix(left.location, test.to) {
					t.Fatalf("left with %d to %q, want %q", left.status, left.location, test.to)
				}
				if test.now == nil && len(g.verdicts()) != 0 || test.now != nil && !cmp.Equal(g.verdicts(), []map[string]any{test.now}) {
					t.Errorf("verdicts when the browser left: %v, want %v", g.verdicts(), test.now)
				}
				if test.late != nil {
					if d := <-asked; d != demobank.SlowDelay {
						t.Errorf("verdict is due after %v", d)
					}
					<-g.drain()
					due <- time.Time{}
					if diff := cmp.Diff(test.late, <-g.decided); diff != "" {
						t.Errorf("late verdict (-want +got):\n%s", diff)
					}
				}
				bank.Close()
				if n := len(g.verdicts()); n > 1 || n == 1 && test.now == nil && test.late == nil {
					t.Errorf("%d verdicts", n)
				}
				if again := p.get(visit); again.status != http.StatusOK || again.location != "" || strings.Contains(again.body, "tpp.test") {
					t.Errorf("a visit that is over leads on again: %d %q", again.status, again.location)
				}
			})
		}
	}
}

// drain empties decided, so that what comes next is new.
func (g *gatehouse) drain() <-chan struct{} {
	done := make(chan struct{})
	close(done)
	for {
		select {
		case <-g.decided:
		default:
			return done
		}
	}
}

func TestLockedPSU(t *testing.T) {
	g := newGatehouse(t, &clock{now: began})
	bank, server := newBank(t, g, false, nil)
	p := newPerson(t, server)
	visit, first := p.arrive(g.arrival(bank))
	locked := p.step(visit, "login", first, url.Values{"username": {"locked"}, "password": {"demo"}})
	if locked.status != http.StatusForbidden || !strings.Contains(locked.body, "locked") || len(g.verdicts()) != 0 {
		t.Fatalf("status %d, verdicts %v\n%s", locked.status, g.verdicts(), locked.body)
	}
	left := p.step(visit, "return", locked, url.Values{})
	if want := "https://tpp.test/decided?status=denied"; left.location != want {
		t.Errorf("returned to %q, want %q", left.location, want)
	}
}

func TestCloseGivesUpLateVerdicts(t *testing.T) {
	g := newGatehouse(t, &clock{now: began})
	bank, server := newBank(t, g, false, func(b *demobank.Bank) {
		b.After = func(time.Duration) <-chan time.Time { return nil }
	})
	p := newPerson(t, server)
	visit, first := p.arrive(g.arrival(bank))
	p.step(visit, "consent", p.upToConsent(visit, first, "slow"), url.Values{"decision": {"approve"}, "account": {"acc-card"}})
	bank.Close()
	if v := g.verdicts(); len(v) != 0 {
		t.Errorf("verdicts after Close: %v", v)
	}
}

func TestBankHostedEndpointHandsTheRequestOver(t *testing.T) {
	for name, test := range map[string]struct {
		ask  func(p *person, b *demobank.Bank) *page
		want string // authorize_url, after the bank's own address
	}{
		"GET": {
			func(p *person, b *demobank.Bank) *page { return p.get(b.URL + "/authorize?a=1&a=2&b=%2f+%20") },
			"?a=1&a=2&b=%2f+%20",
		},
		"Host is not believed": {
			func(p *person, b *demobank.Bank) *page {
				req := must(http.NewRequest(http.MethodGet, b.URL+"/authorize?a=1", nil))
				req.Host = "evil.test"
				return p.do(req)
			},
			"?a=1",
		},
		"POST": {
			func(p *person, b *demobank.Bank) *page { return p.post(b.URL+"/authorize", url.Values{"a": {"1"}}) },
			"?a=1",
		},
		"POST with a query": {
			func(p *person, b *demobank.Bank) *page { return p.post(b.URL+"/authorize?a=2", url.Values{"a": {"1"}}) },
			"?a=2&a=1",
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := newGatehouse(t, &clock{now: began})
			bank, server := newBank(t, g, false, nil)
			if got := test.ask(newPerson(t, server), bank); got.status != http.StatusSeeOther {
				t.Fatalf("status %d\n%s", got.status, got.body)
			}
			if got, want := g.authorizations[0].url, bank.URL+"/authorize"+test.want; got != want {
				t.Errorf("authorize_url\n got %s\nwant %s", got, want)
			}
		})
	}
}

func TestRefusedBegin(t *testing.T) {
	for name, test := range map[string]struct {
		status   int
		answer   string
		want     int
		location string
		shown    string
	}{
		"may be told to the TPP": {400, `{"data":{"redirect_uri":"https://tpp.test/cb?error=x"},"error_class":"InvalidRequest","error_message":"m"}`, 303, "https://tpp.test/cb?error=x", ""},
		"may not":                {400, `{"error_class":"InvalidRequest","error_message":"redirect_uri is <not> registered"}`, 400, "", "InvalidRequest: redirect_uri is &lt;not&gt; registered"},
		"unknown client":         {404, `{"error_class":"NotFound","error_message":"client_id is unknown"}`, 400, "", "client_id is unknown"},
		"forbidden":              {403, `{"error_class":"Forbidden","error_message":"hidden detail"}`, 400, "", "Forbidden"},
	} {
		t.Run(name, func(t *testing.T) {
			g := newGatehouse(t, &clock{now: began})
			g.fail = func(*http.Request) (int, string) { return test.status, test.answer }
			bank, server := newBank(t, g, false, nil)
			got := newPerson(t, server).get(bank.URL + "/authorize?x=y")
			if got.status != test.want || got.location != test.location {
				t.Errorf("%d to %q, want %d to %q", got.status, got.location, test.want, test.location)
			}
			if !strings.Contains(got.body, test.shown) || strings.Contains(got.body, "hidden detail") {
				t.Errorf("page:\n%s", got.body)
			}
		})
	}
}

func TestServerOutOfOrder(t *testing.T) {
	for name, test := range map[string]struct {
		status int
		body   string
		want   int
	}{
		"unavailable": {503, `{"error_class":"ServiceUnavailable","error_message":"hidden detail"}`, 503},
		"too busy":    {429, `{}`, 503},
		"broken":      {500, `{"error_message":"hidden detail"}`, 502},
		"credentials": {401, `{"error_message":"hidden detail"}`, 502},
		"no JSON":     {200, `hidden detail`, 502},
		"no data":     {200, `{}`, 502},
	} {
		for _, at := range []string{"login", "consent"} {
			t.Run(name+" at "+at, func(t *testing.T) {
				g := newGatehouse(t, &clock{now: began})
				bank, server := newBank(t, g, false, nil)
				p := newPerson(t, server)
				fail := func(*http.Request) (int, string) { return test.status, test.body }
				var got *page
				if at == "login" {
					address := g.arrival(bank)
					g.fail = fail
					got = p.get(address)
				} else {
					visit, first := p.arrive(g.arrival(bank))
					consent := p.upToConsent(visit, first, "approve")
					g.mu.Lock()
					g.fail = fail
					g.mu.Unlock()
					got = p.step(visit, "consent", consent, url.Values{"decision": {"approve"}, "account": {"acc-card"}})
				}
				if got.status != test.want || got.location != "" || strings.Contains(got.body, "hidden detail") {
					t.Errorf("%d to %q\n%s", got.status, got.location, got.body)
				}
				if (got.header.Get("Retry-After") != "") != (test.want == 503) {
					t.Errorf("Retry-After is %q", got.header.Get("Retry-After"))
				}
			})
		}
	}
	t.Run("gone", func(t *testing.T) {
		g := newGatehouse(t, &clock{now: began})
		bank, server := newBank(t, g, false, nil)
		address := g.arrival(bank)
		g.Close()
		got := newPerson(t, server).get(address)
		if got.status != http.StatusServiceUnavailable || strings.Contains(got.body, "127.0.0.1") {
			t.Errorf("status %d\n%s", got.status, got.body)
		}
	})
}

func TestVerdictRefused(t *testing.T) {
	g := newGatehouse(t, &clock{now: began})
	bank, server := newBank(t, g, false, nil)
	p := newPerson(t, server)
	visit, first := p.arrive(g.arrival(bank))
	consent := p.upToConsent(visit, first, "approve")
	g.authorizations[0].status = "denied" // decided elsewhere meanwhile
	got := p.step(visit, "consent", consent, url.Values{"decision": {"approve"}, "account": {"acc-card"}})
	if got.status != http.StatusConflict || !strings.Contains(got.body, `href="https://tpp.test/undecided?id=`) {
		t.Errorf("status %d\n%s", got.status, got.body)
	}
}

func TestWrongAnswersEndTheVisit(t *testing.T) {
	right := url.Values{"username": {"approve"}, "password": {"demo"}}
	for name, test := range map[string]struct {
		step  string
		wrong url.Values
	}{
		"password": {"login", url.Values{"username": {"approve"}, "password": {"Demo"}}},
		"username": {"login", url.Values{"username": {"nobody"}, "password": {"demo"}}},
		"code":     {"code", url.Values{"otp": {"000000"}}},
	} {
		t.Run(name, func(t *testing.T) {
			g := newGatehouse(t, &clock{now: began})
			bank, server := newBank(t, g, false, nil)
			p := newPerson(t, server)
			visit, shown := p.arrive(g.arrival(bank))
			if test.step == "code" {
				shown = p.step(visit, "login", shown, right)
			}
			for n := range 4 {
				if shown = p.step(visit, test.step, shown, test.wrong); shown.status != http.StatusUnprocessableEntity || !strings.Contains(shown.body, `role="alert"`) {
					t.Fatalf("wrong answer %d: status %d\n%s", n+1, shown.status, shown.body)
				}
			}
			if len(g.verdicts()) != 0 {
				t.Fatalf("verdict before the fifth: %v", g.verdicts())
			}
			last := p.step(visit, test.step, shown, test.wrong)
			if last.status != http.StatusForbidden || !strings.Contains(last.body, `href="https://tpp.test/decided?status=denied"`) {
				t.Errorf("fifth: status %d\n%s", last.status, last.body)
			}
			if diff := cmp.Diff([]map[string]any{{"status": "denied"}}, g.verdicts()); diff != "" {
				t.Errorf("verdicts (-want +got):\n%s", diff)
			}
			p.post(visit+"/login", url.Values{"token": {shown.token()}, "username": {"approve"}, "password": {"demo"}})
			if page := p.get(visit); strings.Contains(page.body, "<form") {
				t.Errorf("the visit goes on:\n%s", page.body)
			}
		})
	}
}

func TestApprovalNeedsKnownAccounts(t *testing.T) {
	g := newGatehouse(t, &clock{now: began})
	bank, server := newBank(t, g, false, nil)
	p := newPerson(t, server)
	visit, first := p.arrive(g.arrival(bank))
	consent := p.upToConsent(visit, first, "approve")
	for name, form := range map[string]url.Values{
		"no account":         {"decision": {"approve"}},
		"somebody's account": {"decision": {"approve"}, "account": {"acc-current", "acc-of-somebody"}},
		"no decision":        {"account": {"acc-current"}},
	} {
		if got := p.step(visit, "consent", consent, form); got.status != http.StatusUnprocessableEntity {
			t.Errorf("%s: status %d", name, got.status)
		}
	}
	if v := g.verdicts(); len(v) != 0 {
		t.Errorf("verdicts: %v", v)
	}
}

func TestArrivalWithoutAnOpenRequest(t *testing.T) {
	g := newGatehouse(t, &clock{now: began})
	bank, server := newBank(t, g, false, nil)
	answered, late := g.arrival(bank), g.arrival(bank)
	g.authorizations[0].status = "approved"
	for name, test := range map[string]struct {
		address string
		age     time.Duration
		want    int
	}{
		"no id":      {bank.URL + "/login", 0, 404},
		"unknown id": {bank.URL + "/login?authorization_id=unknown", 0, 404},
		"answered":   {answered, 0, 409},
		"late":       {late, time.Hour, 409},
	} {
		g.clock.move(test.age)
		if got := newPerson(t, server).get(test.address); got.status != test.want || got.header.Get("Set-Cookie") != "" {
			t.Errorf("%s: status %d, want %d", name, got.status, test.want)
		}
		g.clock.move(-test.age)
	}
}

func TestArrivalWithWhatIsNoIdentifier(t *testing.T) {
	g := newGatehouse(t, &clock{now: began})
	bank, server := newBank(t, g, false, nil)
	g.fail = func(r *http.Request) (int, string) {
		t.Errorf("the server is asked for %s", r.URL)
		return http.StatusNotFound, "{}"
	}
	for _, id := range []string{"", ".", "..", "a/b", "../authorizations", "a%2fb", "a b", "a\nb", "é", strings.Repeat("a", 65)} {
		if got := newPerson(t, server).get(bank.URL + "/login?authorization_id=" + url.QueryEscape(id)); got.status != http.StatusNotFound {
			t.Errorf("%q: status %d", id, got.status)
		}
	}
}

func TestVisitExpires(t *testing.T) {
	g := newGatehouse(t, &clock{now: began})
	bank, server := newBank(t, g, false, nil)
	p := newPerson(t, server)
	visit, _ := p.arrive(g.arrival(bank))
	g.clock.move(15*time.Minute - time.Second)
	if got := p.get(visit); got.status != http.StatusOK {
		t.Errorf("before 15 minutes: status %d", got.status)
	}
	g.clock.move(time.Second)
	if got := p.get(visit); got.status != http.StatusNotFound {
		t.Errorf("after 15 minutes: status %d", got.status)
	}
}
