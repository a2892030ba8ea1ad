package demobank_test

import (
	"encoding/json"
	"html"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"gatehouse/demobank"
)

// Proves: A7
func TestHeadersOfEveryPage(t *testing.T) {
	g := newGatehouse(t, &clock{now: began})
	bank, server := newBank(t, g, false, nil)
	p := newPerson(t, server)
	arrival := p.get(g.arrival(bank))
	visit := arrival.location
	login := p.get(visit)
	wrong := p.step(visit, "login", login, url.Values{"username": {"approve"}, "password": {"x"}})
	code := p.step(visit, "login", wrong, url.Values{"username": {"approve"}, "password": {"demo"}})
	consent := p.step(visit, "code", code, url.Values{"otp": {"123456"}})
	left := p.step(visit, "consent", consent, url.Values{"decision": {"deny"}})
	for name, got := range map[string]struct {
		*page
		status int
	}{
		"arrival": {arrival, 303}, "login": {login, 200}, "wrong password": {wrong, 422}, "code": {code, 200},
		"consent": {consent, 200}, "left": {left, 303}, "over": {p.get(visit), 200},
		"unknown visit": {p.get(bank.URL + "/visits/none"), 404}, "unknown page": {p.get(bank.URL + "/none"), 404},
		"GET of a form's target": {p.get(visit + "/consent"), 404}, "other browser": {newPerson(t, server).get(visit), 403},
		"stylesheet": {p.get(bank.URL + "/pages.css"), 200},
	} {
		if got.page.status != got.status {
			t.Errorf("%s: status %d, want %d", name, got.page.status, got.status)
		}
		for header, want := range map[string]string{
			"X-Frame-Options": "DENY", "Referrer-Policy": "no-referrer", "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff",
		} {
			if h := got.header.Get(header); h != want {
				t.Errorf("%s: %s is %q", name, header, h)
			}
		}
		policy := strings.Split(got.header.Get("Content-Security-Policy"), "; ")
		for _, directive := range []string{"default-src 'none'", "style-src 'self'", "frame-ancestors 'none'", "base-uri 'none'"} {
			if !slices.Contains(policy, directive) {
				t.Errorf("%s: Content-Security-Policy is %q", name, policy)
			}
		}
		for _, foreign := range []string{"<script", "<style", " style=", "src="} {
			if strings.Contains(got.body, foreign) {
				t.Errorf("%s: has %q", name, foreign)
			}
		}
		if inlineHandler(got.body) {
			t.Errorf("%s: has an inline handler", name)
		}
	}
}

// inlineHandler reports whether a tag has an attribute such as onclick.
func inlineHandler(body string) bool {
	for tag := range strings.SplitSeq(body, "<") {
		tag, _, _ = strings.Cut(tag, ">")
		for attribute := range strings.FieldsSeq(tag) {
			if name, _, ok := strings.Cut(attribute, "="); ok && strings.HasPrefix(name, "on") {
				return true
			}
		}
	}
	return false
}

// Proves: A10
func TestVisitBelongsToOneBrowser(t *testing.T) {
	for door, address := range doors {
		t.Run(door, func(t *testing.T) {
			g := newGatehouse(t, &clock{now: began})
			bank, server := newBank(t, g, false, nil)
			owner, thief := newPerson(t, server), newPerson(t, server)
			visit, first := owner.arrive(address(g, bank))
			id := visit[strings.LastIndex(visit, "/")+1:]

			for name, got := range map[string]*page{
				"arrival":         thief.get(bank.URL + "/login?authorization_id=" + id),
				"page":            thief.get(visit),
				"login":           thief.post(visit+"/login", url.Values{"token": {first.token()}, "username": {"approve"}, "password": {"demo"}}),
				"consent at once": thief.post(visit+"/consent", url.Values{"token": {first.token()}, "decision": {"approve"}, "account": {"acc-card"}}),
			} {
				if got.status != http.StatusForbidden || got.location != "" {
					t.Errorf("%s by another browser: %d to %q", name, got.status, got.location)
				}
			}
			consent := owner.upToConsent(visit, first, "approve")
			yes := url.Values{"token": {consent.token()}, "decision": {"approve"}, "account": {"acc-card"}}
			if got := thief.post(visit+"/consent", yes); got.status != http.StatusForbidden || len(g.verdicts()) != 0 {
				t.Errorf("consent by another browser with the owner's token: %d, verdicts %v", got.status, g.verdicts())
			}
			other, _ := thief.arrive(address(g, bank))
			crossed := strings.Replace(visit, id, other[strings.LastIndex(other, "/")+1:], 1)
			if got := owner.post(crossed+"/consent", yes); got.status != http.StatusForbidden {
				t.Errorf("owner at the other's visit: %d", got.status)
			}
			if got := owner.post(visit+"/consent", yes); got.location != "https://tpp.test/decided?status=approved" {
				t.Errorf("the owner is not let through: %d to %q", got.status, got.location)
			}
		})
	}
}

// Proves: A12
func TestCookies(t *testing.T) {
	for name, overTLS := range map[string]bool{"http": false, "https": true} {
		t.Run(name, func(t *testing.T) {
			g := newGatehouse(t, &clock{now: began})
			bank, server := newBank(t, g, overTLS, nil)
			p := newPerson(t, server)
			arrival := p.get(g.arrival(bank))
			visit := arrival.location
			login := p.get(visit)
			code := p.post(visit+"/login", url.Values{"token": {login.token()}, "username": {"approve"}, "password": {"demo"}})
			before := onlyCookie(t, code)
			consent := p.post(visit+"/code", url.Values{"token": {p.get(visit).token()}, "otp": {"123456"}})
			after := onlyCookie(t, consent)

			if at := onlyCookie(t, arrival); at.Value == before.Value || before.Value == after.Value || at.Name != after.Name {
				t.Errorf("session id does not change: %q, %q, %q", at, before, after)
			}
			if prefixed := strings.HasPrefix(after.Name, "__Host-"); prefixed != overTLS || after.Secure != overTLS {
				t.Errorf("cookie %q over %s", after, name)
			}
			if !after.HttpOnly || after.SameSite != http.SameSiteLaxMode || after.Path != "/" || after.Domain != "" {
				t.Errorf("attributes of %q", after)
			}
			for _, word := range []string{"approve", "psu", "demo"} {
				if strings.Contains(after.Name+after.Value, word) {
					t.Errorf("cookie %q tells of the PSU", after)
				}
			}
			stale := must(http.NewRequest(http.MethodGet, visit, nil))
			stale.AddCookie(&http.Cookie{Name: before.Name, Value: before.Value})
			if got := newPerson(t, server).do(stale); got.status != http.StatusForbidden {
				t.Errorf("the session id from before authentication still opens the visit: %d", got.status)
			}
		})
	}
}

func onlyCookie(t *testing.T, got *page) *http.Cookie {
	t.Helper()
	cookies := (&http.Response{Header: got.header}).Cookies()
	if len(cookies) != 1 {
		t.Fatalf("%d cookies, status %d\n%s", len(cookies), got.status, got.body)
	}
	return cookies[0]
}

func TestFormsNeedTheirToken(t *testing.T) {
	g := newGatehouse(t, &clock{now: began})
	bank, server := newBank(t, g, false, nil)
	p := newPerson(t, server)
	visit, first := p.arrive(g.arrival(bank))
	consent := p.upToConsent(visit, first, "approve")
	for name, token := range map[string]string{"none": "", "of the page before": first.token(), "wrong": "x"} {
		got := p.post(visit+"/consent", url.Values{"token": {token}, "decision": {"approve"}, "account": {"acc-card"}})
		if got.status != http.StatusForbidden || !strings.Contains(got.body, `href="/demobank/visits/`) {
			t.Errorf("token %s: status %d", name, got.status)
		}
	}
	if got := p.post(visit+"/login", url.Values{"token": {consent.token()}, "username": {"approve"}, "password": {"demo"}}); got.location != visit {
		t.Errorf("a form of an earlier step: %d to %q", got.status, got.location)
	}
	if v := g.verdicts(); len(v) != 0 {
		t.Errorf("verdicts: %v", v)
	}
	p.step(visit, "consent", consent, url.Values{"decision": {"approve"}, "account": {"acc-card"}})
	again := p.step(visit, "consent", consent, url.Values{"decision": {"deny"}})
	if again.location != "https://tpp.test/decided?status=approved" || len(g.verdicts()) != 1 {
		t.Errorf("second click: to %q, verdicts %v", again.location, g.verdicts())
	}
}

func TestStepsCannotBeSkipped(t *testing.T) {
	g := newGatehouse(t, &clock{now: began})
	bank, server := newBank(t, g, false, nil)
	p := newPerson(t, server)
	visit, first := p.arrive(g.arrival(bank))
	for _, shown := range []func() *page{
		func() *page { return first },
		func() *page {
			return p.step(visit, "login", first, url.Values{"username": {"approve"}, "password": {"demo"}})
		},
	} {
		token := shown().token()
		got := p.post(visit+"/consent", url.Values{"token": {token}, "decision": {"approve"}, "account": {"acc-card"}})
		if got.location != visit || len(g.verdicts()) != 0 {
			t.Errorf("consent too early: %d to %q, verdicts %v", got.status, got.location, g.verdicts())
		}
	}
}

// Proves: A10
func TestOneOfManyBrowsersClaimsAVisit(t *testing.T) {
	const browsers = 8
	g := newGatehouse(t, &clock{now: began})
	reading := make(chan struct{})
	var arrived sync.WaitGroup
	arrived.Add(browsers)
	bank, server := newBank(t, g, false, func(b *demobank.Bank) {
		b.HTTP = &http.Client{Transport: roundTripper(func(req *http.Request) (*http.Response, error) {
			arrived.Done() // no browser is told that the request is open before all have asked
			<-reading
			return g.Client().Transport.RoundTrip(req)
		})}
	})
	address := g.arrival(bank)
	statuses := make(chan int)
	for range browsers {
		p := newPerson(t, server)
		go func() {
			res, err := p.client.Get(address)
			if err != nil {
				statuses <- 0
				return
			}
			res.Body.Close()
			statuses <- res.StatusCode
		}()
	}
	arrived.Wait()
	close(reading)
	count := make(map[int]int)
	for range browsers {
		count[<-statuses]++
	}
	if want := map[int]int{http.StatusSeeOther: 1, http.StatusForbidden: browsers - 1}; !maps.Equal(count, want) {
		t.Errorf("statuses %v, want %v", count, want)
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

func TestVisitsAreBounded(t *testing.T) {
	g := newGatehouse(t, &clock{now: began})
	bank, server := newBank(t, g, false, func(b *demobank.Bank) {
		b.HTTP = &http.Client{Transport: roundTripper(func(req *http.Request) (*http.Response, error) {
			w := httptest.NewRecorder() // without a network
			g.Config.Handler.ServeHTTP(w, req)
			return w.Result(), nil
		})}
	})
	oldest, newer := newPerson(t, server), newPerson(t, server)
	first, _ := oldest.arrive(g.arrival(bank))
	second, _ := newer.arrive(g.arrival(bank))
	for range 9_999 {
		server.Config.Handler.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, g.arrival(bank), nil))
	}
	if got := oldest.get(first); got.status != http.StatusNotFound {
		t.Errorf("the oldest of 10,001 visits: status %d", got.status)
	}
	if got := newer.get(second); got.status != http.StatusOK {
		t.Errorf("the second oldest: status %d", got.status)
	}
}

func TestHostileNames(t *testing.T) {
	var names []string
	if err := json.Unmarshal(must(os.ReadFile("testdata/blns.json")), &names); err != nil {
		t.Fatal(err)
	}
	g := newGatehouse(t, &clock{now: began})
	bank, server := newBank(t, g, false, nil)
	show := func(name string) []*page {
		g.appName = name
		p := newPerson(t, server)
		visit, first := p.arrive(g.arrival(bank))
		return []*page{first, p.upToConsent(visit, first, "approve")}
	}
	tags := func(got *page) int { return strings.Count(got.body, "<") }
	harmless := show(appName)
	markup := 0
	for _, name := range names {
		if !strings.ContainsAny(name, `<>"'&`) {
			continue
		}
		markup++
		for i, got := range show(name) {
			if !strings.Contains(html.UnescapeString(got.body), "<strong>"+name+"</strong>") {
				t.Errorf("%q is not shown", name)
			}
			if tags(got) != tags(harmless[i]) {
				t.Errorf("%q changes the tags of the page", name)
			}
		}
	}
	if markup < 100 {
		t.Errorf("only %d names with markup", markup)
	}
}
