package oidc_test

// The PSU's own page.

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"html"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"gatehouse"
	"gatehouse/jose"
)

const psuSessions = "/api/connectors/ob/v1/psu_sessions"

// handOver makes the bank's call.
func (w *world) handOver(provider string, data claims) *answer {
	w.t.Helper()
	body, err := key(w.t, "bank "+provider, jose.RS256).Sign("", claims{"data": data, "exp": w.clock.Now().Add(time.Minute).Unix()})
	must(w.t, err)
	return w.do("POST", psuSessions, w.connectorHeader(provider), body)
}

// link is a fresh one for a PSU.
func (w *world) link(provider, userID string) string {
	w.t.Helper()
	a := w.handOver(provider, claims{"user_id": userID})
	data, _ := a.JSON["data"].(map[string]any)
	link, _ := data["redirect_uri"].(string)
	if a.StatusCode != http.StatusOK || link == "" {
		w.t.Fatalf("hand-over: %v", a)
	}
	return link
}

// A person is a PSU's browser in a session at one bank.
type person struct {
	w        *world
	site     *httptest.Server
	provider string
	cookie   string
}

// person brings a PSU from the bank to their page.
func (w *world) person(provider, userID string) *person {
	w.t.Helper()
	a := w.get(w.link(provider, userID))
	if a.StatusCode != http.StatusSeeOther || len(a.Cookies()) != 1 {
		w.t.Fatalf("enter: %v", a)
	}
	return &person{w, w.site, provider, a.Cookies()[0].Name + "=" + a.Cookies()[0].Value}
}

func (p *person) path() string { return "/oidc/" + p.provider + "/access" }

func (p *person) get(path string) *answer {
	p.w.t.Helper()
	return p.w.doAt(p.site, "GET", p.path()+path, http.Header{"Cookie": {p.cookie}}, "")
}

func (p *person) post(path string, header http.Header, f form) *answer {
	p.w.t.Helper()
	all := formHeader.Clone()
	all.Set("Cookie", p.cookie)
	for name, values := range header {
		all[name] = values
	}
	return p.w.doAt(p.site, "POST", p.path()+path, all, f.encode())
}

// page is an answer that must be a page.
func (p *person) page(path string) string {
	p.w.t.Helper()
	a := p.get(path)
	if a.StatusCode != http.StatusOK {
		p.w.t.Fatalf("%s: %v", path, a)
	}
	return a.Body
}

var formToken = regexp.MustCompile(`name="token" value="([^"]+)"`)

// tokens are those of a page's forms: to leave, and to withdraw if it is there.
func (p *person) tokens(path string) []string {
	p.w.t.Helper()
	var all []string
	for _, found := range formToken.FindAllStringSubmatch(p.page(path), -1) {
		all = append(all, found[1])
	}
	return all
}

// withdraw goes through the question and the answer.
func (p *person) withdraw(grantID string) *answer {
	p.w.t.Helper()
	tokens := p.tokens("/grants/" + grantID)
	return p.post("/grants/"+grantID, nil, form{"token": tokens[len(tokens)-1]})
}

// shows reports which texts of a page are and are not there as a person reads
// them.
func shows(t testing.TB, page string, want, not []string) {
	t.Helper()
	text := read(page)
	for _, words := range want {
		if !strings.Contains(text, words) {
			t.Errorf("the page does not say %q:\n%s", words, text)
		}
	}
	for _, words := range not {
		if strings.Contains(text, words) {
			t.Errorf("the page says %q:\n%s", words, text)
		}
	}
}

var (
	tags  = regexp.MustCompile(`<[^>]*>`)
	white = regexp.MustCompile(`\s+`)
)

// read is the text of a page.
func read(page string) string {
	_, body, _ := strings.Cut(page, "<main")
	return strings.TrimSpace(white.ReplaceAllString(html.UnescapeString(tags.ReplaceAllString("<main"+body, " ")), " "))
}

// The bank alone hands a PSU over, and says nothing but who it is.
func TestHandOver(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	signed := func(bank string, payload claims) string {
		body, err := key(t, "bank "+bank, jose.RS256).Sign("", payload)
		must(t, err)
		return body
	}
	user := claims{"user_id": "psu-17"}
	good := claims{"data": user, "exp": w.clock.Now().Add(time.Minute).Unix()}
	wrong := w.connectorHeader("alpha")
	wrong.Set("App-Secret", "x")
	asText := w.connectorHeader("alpha")
	asText.Set("Content-Type", "application/json")
	for name, row := range map[string]struct {
		header http.Header
		body   string
		status int
	}{
		"wrong secret":          {wrong, signed("alpha", good), 403},
		"no credentials":        {http.Header{"Content-Type": {"application/jwt"}}, signed("alpha", good), 403},
		"another bank's key":    {w.connectorHeader("alpha"), signed("beta", good), 403},
		"a bank that is closed": {w.connectorHeader("closed"), signed("closed", good), 403},
		"another media type":    {asText, signed("alpha", good), 415},
		"not signed":            {w.connectorHeader("alpha"), `{"data":{"user_id":"psu-17"}}`, 400},
		"exp past":              {w.connectorHeader("alpha"), signed("alpha", good.with(claims{"exp": w.clock.Now().Unix()})), 400},
		"exp far":               {w.connectorHeader("alpha"), signed("alpha", good.with(claims{"exp": w.clock.Now().Add(time.Hour).Unix()})), 400},
		"nobody":                {w.connectorHeader("alpha"), signed("alpha", good.with(claims{"data": claims{}})), 400},
		"empty":                 {w.connectorHeader("alpha"), signed("alpha", good.with(claims{"data": claims{"user_id": ""}})), 400},
		"too long":              {w.connectorHeader("alpha"), signed("alpha", good.with(claims{"data": claims{"user_id": strings.Repeat("u", 256)}})), 400},
		"with a NUL":            {w.connectorHeader("alpha"), signed("alpha", good.with(claims{"data": claims{"user_id": "psu\x00"}})), 400},
		"a verdict":             {w.connectorHeader("alpha"), signed("alpha", good.with(claims{"data": approval})), 400},
	} {
		a := w.do("POST", psuSessions, row.header, row.body)
		if a.StatusCode != row.status || a.text("error_class") == "" || a.text("error_message") == "" || a.JSON["data"] != nil {
			t.Errorf("%s: %v", name, a)
		}
	}
	a := w.handOver("alpha", user)
	data, _ := a.JSON["data"].(map[string]any)
	link, _ := data["redirect_uri"].(string)
	secret, found := strings.CutPrefix(link, baseURL+"/oidc/alpha/access/enter/")
	if a.StatusCode != 200 || !found || len(secret) != 43 || data["expires_at"] != "2026-11-23T12:01:00Z" || len(data) != 2 {
		t.Errorf("hand-over: %v", a)
	}
	w.get(link)
	if strings.Contains(w.logged(), secret) || strings.Contains(w.logged(), "psu-17") {
		t.Error("the link or the PSU is in the log")
	}
}

// A link opens once, within a minute, at its own bank; looking at it does not
// count.
func TestLinkOpensOnce(t *testing.T) {
	forEachWorld(t, func(t *testing.T, w *world) {
		spent := func(name string, a *answer) {
			t.Helper()
			if a.StatusCode != 403 || len(a.Cookies()) != 0 || !strings.Contains(read(a.Body), "Go back to your bank") {
				t.Errorf("%s: %v", name, a)
			}
		}
		link := w.link("alpha", "psu-17")
		if a := w.do("HEAD", link, nil, ""); a.StatusCode != 405 {
			t.Errorf("HEAD: %v", a)
		}
		for _, ahead := range []http.Header{{"Sec-Purpose": {"prefetch;prerender"}}, {"Purpose": {"prefetch"}}} {
			if a := w.do("GET", link, ahead, ""); a.StatusCode != 403 || len(a.Cookies()) != 0 {
				t.Errorf("%v: %v", ahead, a)
			}
		}
		spent("another bank", w.get(strings.Replace(link, "/alpha/", "/gamma/", 1)))
		spent("nothing", w.get(link[:len(link)-1]))
		entered := 0
		for _, a := range w.atOnce(8, func(int) *answer { return w.get(link) }) {
			if a.StatusCode == http.StatusSeeOther {
				entered++
			} else {
				spent("at once", a)
			}
		}
		if entered != 1 {
			t.Errorf("%d of 8 entered", entered)
		}
		spent("again", w.get(link))

		for age, status := range map[time.Duration]int{59 * time.Second: 303, 60 * time.Second: 403} {
			link := w.link("alpha", "psu-17")
			w.clock.advance(age)
			if a := w.get(link); a.StatusCode != status {
				t.Errorf("after %v: %v", age, a)
			}
		}
	})
}

// What the browser gets is not what was in the link, and tells nothing.
//
// Proves: A12
func TestAccessCookie(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	link := w.link("alpha", "psu-17")
	a := w.get(link)
	if a.StatusCode != http.StatusSeeOther || a.Header.Get("Location") != "/oidc/alpha/access" || len(a.Cookies()) != 1 {
		t.Fatal(a)
	}
	c := a.Cookies()[0]
	if c.Name != "__Host-gatehouse-access-alpha" || !c.Secure || !c.HttpOnly || c.SameSite != http.SameSiteLaxMode || c.Path != "/" || c.Domain != "" || c.MaxAge != 900 {
		t.Errorf("cookie %v", c)
	}
	if !regexp.MustCompile(`^[A-Za-z0-9_-]{43}$`).MatchString(c.Value) || strings.Contains(link, c.Value) {
		t.Errorf("value %s", c.Value)
	}
	if again := w.get(w.link("alpha", "psu-17")); again.Cookies()[0].Value == c.Value {
		t.Error("two sessions have one secret")
	}
}

// Nothing but the cookie of the session, at its own bank and in its time, opens
// a page.
//
// Proves: A10
func TestSessionBelongsToOneBrowser(t *testing.T) {
	t.Parallel()
	forEachWorld(t, func(t *testing.T, w *world) {
		grant := w.grantOf("alpha", w.tokens("alpha", tppA))
		link := w.link("alpha", "psu-17")
		p, elsewhere := w.person("alpha", "psu-17"), w.person("gamma", "psu-17")
		name, value, _ := strings.Cut(p.cookie, "=")
		_, value2, _ := strings.Cut(elsewhere.cookie, "=")
		closed := func(what, cookie string) {
			t.Helper()
			for _, request := range []struct{ method, path string }{
				{"GET", ""}, {"GET", "/history"}, {"GET", "/grants/" + grant.ID}, {"POST", "/grants/" + grant.ID},
			} {
				header := formHeader.Clone()
				header.Set("Cookie", cookie)
				a := w.do(request.method, "/oidc/alpha/access"+request.path, header, "token=x")
				if a.StatusCode != 403 || strings.Contains(a.Body, "TPP") || !strings.Contains(read(a.Body), "Go back to your bank") {
					t.Errorf("%s: %s %s: %v", what, request.method, request.path, a)
				}
			}
		}
		closed("no cookie", "")
		closed("empty", name+"=")
		closed("made up", name+"="+gatehouse.NewSecret())
		closed("another bank's cookie", elsewhere.cookie)
		closed("another bank's secret", name+"="+value2)
		closed("another bank's name", strings.Replace(p.cookie, "alpha", "gamma", 1))
		closed("the secret of a link", name+"="+link[strings.LastIndex(link, "/")+1:])
		closed("the hash of the secret", name+"="+base64.RawURLEncoding.EncodeToString(gatehouse.HashSecret(value)))

		left := w.person("alpha", "psu-17")
		if a := left.post("/leave", nil, form{"token": left.tokens("")[0]}); a.StatusCode != 200 || len(a.Cookies()) != 1 || a.Cookies()[0].MaxAge >= 0 {
			t.Errorf("leave: %v", a)
		}
		closed("left", left.cookie)
		if a := left.post("/leave", nil, nil); a.StatusCode != 200 {
			t.Errorf("left already: %v", a)
		}
		stays := w.person("alpha", "psu-17")
		if a := stays.post("/leave", nil, form{"token": p.tokens("")[0]}); a.StatusCode != 403 {
			t.Errorf("leave by another session's form: %v", a)
		}
		if a := (&person{w, w.site, "alpha", ""}).post("/leave", http.Header{"Sec-Fetch-Site": {"cross-site"}}, nil); a.StatusCode != 403 || len(a.Cookies()) != 0 {
			t.Errorf("leave by another site's form: %v", a)
		}
		stays.page("")

		last := w.person("alpha", "psu-17")
		w.clock.advance(15*time.Minute - time.Millisecond)
		last.page("")
		w.clock.advance(time.Millisecond)
		closed("over", last.cookie)
	})
}

// The list has all that this PSU has granted at this bank and that is in
// force, in words.
//
// Proves: A24
func TestAccessPage(t *testing.T) {
	t.Parallel()
	forEachWorld(t, func(t *testing.T, w *world) {
		if text := read(w.person("alpha", "psu-17").page("")); !strings.Contains(text, "No application has access to your accounts at Bank alpha.") {
			t.Errorf("nobody: %s", text)
		}
		w.changeClient(tppB, func(c *gatehouse.Client) {
			c.Name, c.TPP = "Kiwi Budget", &gatehouse.TPP{Directory: sandboxDirectory, URN: "PSDNL-DNB-034681", Name: "Kiwi Financial Ltd"}
			c.Scopes = gatehouse.AllScopes()
		})
		began := w.clock.Now()
		for _, c := range []gatehouse.Consent{
			{ID: "accounts", Kind: gatehouse.AccountAccess, ExpiresAt: began.Add(400 * aDay), Lodged: json.RawMessage(`{"Data":{
				"Permissions":["ReadAccountsBasic","ReadAccountsDetail","ReadBalances","ReadTransactionsBasic","ReadTransactionsCredits","ReadTransactionsDebits","ReadPartyPSU","ReadTheFuture"],
				"TransactionFromDateTime":"2025-05-03T00:00:00+00:00"}}`)},
			{ID: "payment", Kind: gatehouse.DomesticPayment, Lodged: json.RawMessage(`{"Data":{"Initiation":{
				"InstructedAmount":{"Amount":"165.88","Currency":"GBP"},
				"CreditorAccount":{"SchemeName":"UK.OBIE.SortCodeAccountNumber","Identification":"08080021325698","Name":"ACME Inc"},
				"RemittanceInformation":{"Reference":"FRESCO-101","Unstructured":"Internal ops code 5120101"}}}}`)},
			{ID: "funds", Kind: gatehouse.FundsConfirmation, Lodged: json.RawMessage(`{"Data":{"DebtorAccount":{
				"SchemeName":"UK.OBIE.IBAN","Identification":"GB76LOYD30949301273801","Name":"Andrea Smith"}}}`)},
		} {
			c.Provider, c.ClientID = "alpha", tppB
			verdict := approval.with(claims{"access": []any{
				"acc-1", claims{"name": "Savings", "iban": "GB29NWBK60161331926819"}, claims{"account_id": 17}}})
			if c.Kind == gatehouse.DomesticPayment {
				verdict = approval.with(claims{"access": nil, "debtor_account": claims{"name": "Current", "identification": "7"}})
			}
			v := w.visit("alpha", query(tppB).with(w.lodgedConsent(c)))
			expect(t, v.decide(verdict), 200, "")
		}
		w.tokens("alpha", basic)
		// None of these is psu-17's at alpha, or in force.
		for provider, user := range map[string]string{"alpha": "another", "gamma": "psu-17"} {
			v := w.visit(provider, query(tppA))
			expect(t, v.decide(approval.with(claims{"user_id": user})), 200, "")
		}
		expect(t, w.token("alpha", tppA, form{"grant_type": "client_credentials"}), 200, "")

		page := w.person("alpha", "psu-17").page("")
		if n := strings.Count(page, "<article"); n != 4 {
			t.Errorf("%d entries", n)
		}
		shows(t, page, []string{
			"TPP <basic> Account information What it may do Recognise you when you come back, by a pseudonym See your accounts: their details, balances and transactions Account GB29 NWBK 6016 1331 9268 19",
			"Kiwi Budget by Kiwi Financial Ltd Account information What it may do Account details: names and numbers of your accounts, balances Transactions: money coming in, money going out, without details such as who was paid, from 3 May 2025 Contact details: your own name, address, telephone number and email address Other: ReadTheFuture Accounts acc-1 Savings (GB29 NWBK 6016 1331 9268 19) 17 Since 23 November 2026, 12:00 UTC Last used Not used yet Until 28 December 2027, 12:00 UTC You confirm again that it is you by 22 May 2027, 12:00 UTC",
			"Payment What it may do Make this one payment Amount 165.88 GBP To ACME Inc (08-08-00 21325698) Reference FRESCO-101 Message Internal ops code 5120101 From Current (7) Since",
			"Funds check What it may do Ask whether an amount is available on your account; the answer is only yes or no Account Andrea Smith (GB76 LOYD 3094 9301 2738 01)",
			"Until You withdraw it You confirm again",
		}, []string{"TPP <" + tppA, "another", "psu-17", "Paused"})
	})
}

// The page knows of each use, of the pause when the PSU has not confirmed again
// for too long, and of the end.
//
// Proves: T22
func TestAccessPaused(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	guard := w.guard("alpha")
	named := w.lodgedConsent(gatehouse.Consent{ID: "c", Provider: "alpha", ClientID: tppA, ExpiresAt: w.clock.Now().Add(300 * aDay)})
	tokens := w.token("alpha", tppA, exchange(w.code("alpha", tppA, named)))
	expect(t, tokens, 200, "")
	w.clock.advance(time.Minute)
	isActive(t, w.introspectBy(w.site, "alpha", guard, tokens.text("access_token")), true)
	shows(t, w.person("alpha", "psu-17").page(""), []string{"Last used 23 November 2026, 12:01 UTC Until 19 September 2027, 12:00 UTC You confirm again that it is you by 22 May 2027, 12:00 UTC"}, nil)

	w.clock.advance(180 * aDay)
	p := w.person("alpha", "psu-17")
	shows(t, p.page(""), []string{"Paused These applications can see and do nothing now.", "Paused since 22 May 2027, 12:00 UTC Can come back until 19 September 2027, 12:00 UTC"}, []string{"Access now"})
	shows(t, p.page("/history"), []string{"Nothing has ended"}, nil)

	w.code("alpha", tppA, named)
	shows(t, p.page(""), []string{"Access now", "Since 23 November 2026, 12:00 UTC"}, []string{"Paused"})

	w.clock.advance(120 * aDay)
	p = w.person("alpha", "psu-17")
	shows(t, p.page(""), []string{"No application has access"}, nil)
	shows(t, p.page("/history"), []string{"Ended 19 September 2027, 12:00 UTC How it ended Its time was over"}, nil)
}

// A withdrawal ends tokens and consent, on every replica, and the TPP is told
// by clear errors.
//
// Proves: A24
func TestWithdraw(t *testing.T) {
	t.Parallel()
	forEachWorld(t, func(t *testing.T, w *world) {
		sites := w.pair()
		tokens := w.token("alpha", tppA, exchange(w.code("alpha", tppA, w.consent("alpha", tppA, "c-1"))))
		expect(t, tokens, 200, "")
		kept := w.tokens("alpha", tppB)
		grant := w.grantOf("alpha", tokens)
		inquiry := form{"token": tokens.text("access_token")}
		isActive(t, w.inquire(sites[1], "introspect", "alpha", tppA, inquiry), true)

		p := w.person("alpha", "psu-17")
		shows(t, p.page("/grants/"+grant.ID), []string{
			"Withdraw the access of TPP <tpp-a> ?",
			"can no longer use your accounts at Bank alpha, from this moment on.",
			"What it has already received stays with it.",
		}, nil)
		isActive(t, w.inquire(sites[1], "introspect", "alpha", tppA, inquiry), true) // asking is not doing

		w.clock.advance(time.Minute)
		a := p.withdraw(grant.ID)
		if a.StatusCode != http.StatusSeeOther || a.Header.Get("Location") != "/oidc/alpha/access?ended="+grant.ID {
			t.Fatal(a)
		}
		for i, site := range sites {
			isActive(t, w.inquire(site, "introspect", "alpha", tppA, inquiry), false)
			refused := w.tokenAt(site, "alpha", tppA, form{"grant_type": "refresh_token", "refresh_token": tokens.text("refresh_token")})
			expect(t, refused, 400, "invalid_grant")
			isActive(t, w.inquire(site, "introspect", "alpha", tppB, form{"token": kept.text("access_token")}), true)
			p.site = site
			shows(t, p.page("?ended="+grant.ID), []string{"You have withdrawn the access of TPP <tpp-a> . It has had none since 23 November 2026, 12:01 UTC .", "TPP <tpp-b>"}, nil)
			if n := strings.Count(p.page(""), "<article"); n != 1 {
				t.Errorf("site %d: %d entries", i, n)
			}
		}
		if status := w.consentStatus("alpha", "c-1"); status != gatehouse.ConsentRevoked {
			t.Errorf("the consent is %s", status)
		}
		shows(t, p.page("/history"), []string{"TPP <tpp-a> Account information What it could do Account details: names and numbers of your accounts, balances", "Ended 23 November 2026, 12:01 UTC How it ended You withdrew it"}, []string{"tpp-b"})

		// What is over cannot be withdrawn again; looking at it leads to the list.
		if a := p.get("/grants/" + grant.ID); a.StatusCode != http.StatusSeeOther || a.Header.Get("Location") != "/oidc/alpha/access?ended="+grant.ID {
			t.Errorf("the question about what is over: %v", a)
		}
		events, err := w.store.Events(t.Context(), gatehouse.EventFilter{GrantID: grant.ID, Kind: gatehouse.EventGrantRevoked}, "", 10)
		must(t, err)
		if len(events) != 1 || events[0].Actor != gatehouse.ActorPSU || events[0].RequestID != a.Header.Get("X-Fapi-Interaction-Id") {
			t.Errorf("events %+v", events)
		}
	})
}

// Only the form of the session's own page withdraws, and only what is the
// PSU's: another PSU's, another bank's and nobody's are told apart by nothing.
func TestWithdrawIsThePSUsOwn(t *testing.T) {
	t.Parallel()
	forEachWorld(t, func(t *testing.T, w *world) {
		mine, second := w.tokens("alpha", tppA), w.tokens("alpha", tppB)
		v := w.visit("alpha", query(tppA))
		expect(t, v.decide(approval.with(claims{"user_id": "another"})), 200, "")
		theirs := w.token("alpha", tppA, exchange(landed(t, v.back()).Get("code")))
		elsewhere, machine := w.tokens("gamma", tppA), w.token("alpha", tppA, form{"grant_type": "client_credentials"})
		grant := w.grantOf("alpha", mine)
		p, q := w.person("alpha", "psu-17"), w.person("alpha", "psu-17")
		good := p.tokens("/grants/" + grant.ID)[1]

		first := ""
		for name, id := range map[string]string{
			"another PSU's":  w.grantOf("alpha", theirs).ID,
			"another bank's": w.grantOf("gamma", elsewhere).ID,
			"a machine's":    w.grantOf("alpha", machine).ID,
			"nobody's":       gatehouse.NewID(w.clock.Now()),
			"no id":          "x",
		} {
			for _, a := range []*answer{p.get("/grants/" + id), p.post("/grants/"+id, nil, form{"token": good}), p.get("?ended=" + id), p.get("?ended=%00")} {
				body := strings.Replace(a.Body, a.Header.Get("X-Fapi-Interaction-Id"), "", 1)
				if first == "" {
					first = body
				}
				if a.StatusCode != 404 || body != first {
					t.Errorf("%s: %v", name, a)
				}
			}
		}
		for name, row := range map[string]struct {
			header http.Header
			form   form
			status int
		}{
			"no token":                   {nil, nil, 403},
			"an empty token":             {nil, form{"token": ""}, 403},
			"another session's token":    {nil, form{"token": q.tokens("/grants/" + grant.ID)[1]}, 403},
			"another grant's token":      {nil, form{"token": p.tokens("/grants/" + w.grantOf("alpha", second).ID)[1]}, 403},
			"the token for leaving":      {nil, form{"token": p.tokens("")[0]}, 403},
			"two tokens":                 {nil, form{"token": []string{good, good}}, 400},
			"another site":               {http.Header{"Sec-Fetch-Site": {"cross-site"}}, form{"token": good}, 403},
			"another host of the site":   {http.Header{"Sec-Fetch-Site": {"same-site"}}, form{"token": good}, 403},
			"typed":                      {http.Header{"Sec-Fetch-Site": {"none"}}, form{"token": good}, 403},
			"another origin":             {http.Header{"Origin": {"https://evil.example"}}, form{"token": good}, 403},
			"an origin that begins so":   {http.Header{"Origin": {baseURL + ".evil.example"}}, form{"token": good}, 403},
			"no form":                    {http.Header{"Content-Type": {"text/plain"}}, form{"token": good}, 415},
			"as JSON":                    {http.Header{"Content-Type": {"application/json"}}, form{"token": good}, 415},
			"a form of nine kilobytes":   {nil, form{"token": good, "x": strings.Repeat("x", 9<<10)}, 413},
			"the right token, no cookie": {http.Header{"Cookie": nil}, form{"token": good}, 403},
		} {
			if a := p.post("/grants/"+grant.ID, row.header, row.form); a.StatusCode != row.status || a.Header.Get("Location") != "" {
				t.Errorf("%s: %v", name, a)
			}
		}
		for _, tokens := range []*answer{mine, second, theirs, machine} {
			if !w.active("alpha", tokens.text("access_token")) {
				t.Error("a grant ended")
			}
		}
		if !w.active("gamma", elsewhere.text("access_token")) {
			t.Error("another bank's grant ended")
		}
		// What browsers send with our own forms, Referrer-Policy and all: those
		// that say where a form is from, others, and the oldest.
		for _, header := range []http.Header{
			{"Sec-Fetch-Site": {"same-origin"}, "Origin": {"null"}}, {"Origin": {"null"}}, {"Origin": {baseURL}}, nil,
		} {
			a := p.post("/grants/"+grant.ID, header, form{"token": good})
			if a.StatusCode != http.StatusSeeOther || w.active("alpha", mine.text("access_token")) {
				t.Errorf("our own form, %v: %v", header, a)
			}
		}
	})
}

// The history says how each ended, whoever did it, for two years.
func TestAccessHistory(t *testing.T) {
	t.Parallel()
	forEachWorld(t, func(t *testing.T, w *world) {
		w.changeProvider("alpha", func(p *gatehouse.Provider) { p.Rules.GrantLifetime = gatehouse.Duration(10 * aDay) })
		began := w.clock.Now()
		p := w.person("alpha", "psu-17")
		grant := func(c gatehouse.Consent) *gatehouse.Grant {
			c.Provider, c.ClientID = "alpha", tppA
			changes := form{}
			if c.ID != "" {
				changes = w.lodgedConsent(c)
			}
			return w.grantOf("alpha", w.token("alpha", tppA, exchange(w.code("alpha", tppA, changes))))
		}
		by := func(actor gatehouse.Actor) context.Context {
			return gatehouse.WithOrigin(t.Context(), gatehouse.Origin{Actor: actor})
		}
		ends := map[string]string{} // of each grant
		for actor, words := range map[gatehouse.Actor]string{
			gatehouse.ActorClient: "Ended by TPP <tpp-a>", gatehouse.ActorBank: "Ended by Bank alpha",
			gatehouse.ActorOperator: "Ended by those who run this service for Bank alpha", gatehouse.ActorSystem: "Ended automatically",
		} {
			g := grant(gatehouse.Consent{ID: "by-" + string(actor)})
			must(t, w.store.RevokeGrant(by(actor), "alpha", g.ID, w.clock.Now()))
			ends[g.ID] = words
		}
		withdrawn := grant(gatehouse.Consent{ID: "withdrawn"})
		p.withdraw(withdrawn.ID)
		ends[withdrawn.ID] = "You withdrew it"
		g := grant(gatehouse.Consent{ID: "payment", Kind: gatehouse.DomesticPayment})
		must(t, w.store.EndConsent(by(gatehouse.ActorBank), "alpha", "payment", gatehouse.ConsentConsumed, w.clock.Now()))
		ends[g.ID] = "It was used up: the payment was handed to Bank alpha"
		ends[grant(gatehouse.Consent{ID: "expired", ExpiresAt: began.Add(5 * aDay)}).ID] = "Its time was over"
		ends[grant(gatehouse.Consent{}).ID] = "Its time was over"
		w.changeProvider("alpha", func(p *gatehouse.Provider) { p.Rules.AuthenticationLifetime = gatehouse.Duration(2 * aDay) })
		ends[grant(gatehouse.Consent{ID: "unconfirmed", ExpiresAt: began.Add(6 * aDay)}).ID] = "You did not confirm it again in time"
		open := grant(gatehouse.Consent{ID: "open"})
		v := w.visit("alpha", query(tppB))
		expect(t, v.decide(approval.with(claims{"user_id": "another"})), 200, "")

		w.clock.advance(30 * aDay)
		p = w.person("alpha", "psu-17")
		p.withdraw(open.ID) // paused until now
		ends[open.ID] = "You withdrew it"
		shows(t, p.page("/history"), []string{"Ended 23 December 2026"}, []string{tppB})
		for _, before := range []string{"%00", "x", "%FF"} {
			if a := p.get("/history?before=" + before); a.StatusCode != 400 {
				t.Errorf("before %s: %v", before, a)
			}
		}
		shows(t, w.person("alpha", "another").page("/history"), []string{tppB}, []string{tppA})
		checked := 0
		for article := range strings.SplitSeq(p.page("/history"), "<article") {
			for id, words := range ends {
				if strings.Contains(article, id) {
					checked++
					if text := read("<main" + article); !strings.Contains(text, "How it ended "+words) {
						t.Errorf("want %q: %s", words, text)
					}
				}
			}
		}
		if checked != len(ends) {
			t.Errorf("%d of %d in the history", checked, len(ends))
		}
		// A client that is gone has a name still, and ends nothing twice.
		must(t, w.store.DeleteClient(by(gatehouse.ActorOperator), tppA, w.clock.Now()))
		if n := strings.Count(p.page("/history"), "<bdi>TPP &lt;tpp-a&gt;</bdi></h3>"); n != len(ends) {
			t.Errorf("%d of %d by name", n, len(ends))
		}
		shows(t, p.page("/history"), []string{"Its time was over", "You did not confirm it again in time"}, nil)

		for _, row := range []struct {
			days int
			kept bool
		}{{729, true}, {732, false}} {
			w.clock.advance(began.Add(time.Duration(row.days) * aDay).Sub(w.clock.Now()))
			_, err := w.store.Purge(t.Context(), w.clock.Now())
			must(t, err)
			if has := strings.Contains(w.person("alpha", "psu-17").page("/history"), withdrawn.ID); has != row.kept {
				t.Errorf("after %d days: %v", row.days, has)
			}
		}
	})
}

// More than one page of grants is read, and shown, in parts.
func TestManyGrants(t *testing.T) {
	w := sqliteWorld(t)
	now := w.clock.Now()
	ids := make([]string, 250)
	for i := range ids {
		w.clock.advance(time.Millisecond)
		ids[i] = gatehouse.NewID(w.clock.Now())
		must(t, w.store.CreateGrant(t.Context(), &gatehouse.Grant{
			ID: ids[i], Provider: "alpha", ClientID: tppA, UserID: "psu-17", Subject: "s", Scope: gatehouse.Scopes{"accounts"},
			CreatedAt: now, AuthTime: now, ExpiresAt: now.Add(aDay), AuthenticationExpiresAt: now.Add(aDay),
		}, &gatehouse.AccessToken{
			ID: gatehouse.NewID(now), Provider: "alpha", GrantID: ids[i], ClientID: tppA, Hash: gatehouse.HashSecret(ids[i]), IssuedAt: now, ExpiresAt: now.Add(time.Minute),
		}, nil))
	}
	p := w.person("alpha", "psu-17")
	if n := strings.Count(p.page(""), "<article"); n != len(ids) {
		t.Errorf("%d of %d are listed", n, len(ids))
	}
	w.clock.advance(2 * aDay)
	p = w.person("alpha", "psu-17")
	seen, path := map[string]bool{}, "/history"
	for range 4 {
		page := p.page(path)
		for _, id := range ids {
			if strings.Contains(page, `id="g`+id+`"`) {
				seen[id] = true
			}
		}
		older := regexp.MustCompile(`href="(\?before=[^"]+)"`).FindStringSubmatch(page)
		if older == nil {
			break
		}
		path = "/history" + older[1]
	}
	if len(seen) != len(ids) {
		t.Errorf("%d of %d are in the history", len(seen), len(ids))
	}
	if !strings.Contains(p.page(path), `href="/oidc/alpha/access/history">Newest`) {
		t.Error("no way back")
	}
}

// Proves: A7, N15
func TestAccessHeaders(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	grant := w.grantOf("alpha", w.tokens("alpha", tppA))
	p := w.person("alpha", "psu-17")
	stranger := &person{w, w.site, "alpha", ""}
	unknown := &person{w, w.site, "nobody", ""}
	for name, row := range map[string]struct {
		answer *answer
		status int
		forms  string
	}{
		"list":              {p.get(""), 200, "'self'"},
		"history":           {p.get("/history"), 200, "'self'"},
		"question":          {p.get("/grants/" + grant.ID), 200, "'self'"},
		"no such grant":     {p.get("/grants/x"), 404, "'none'"},
		"another form":      {p.post("/grants/"+grant.ID, nil, nil), 403, "'none'"},
		"another method":    {p.post("", nil, nil), 405, "'none'"},
		"no session":        {stranger.get(""), 403, "'none'"},
		"a link that is no": {stranger.get("/enter/x"), 403, "'none'"},
		"left":              {stranger.post("/leave", nil, nil), 200, "'none'"},
		"bad query":         {p.get("?ended=%zz"), 400, "'none'"},
		"no such bank":      {unknown.get(""), 404, "'none'"},
		"a closed bank":     {(&person{w, w.site, "closed", ""}).get(""), 403, "'none'"},
	} {
		a, h := row.answer, row.answer.Header
		if a.StatusCode != row.status || h.Get("Content-Type") != "text/html; charset=utf-8" ||
			h.Get("Content-Security-Policy") != "default-src 'none'; style-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action "+row.forms ||
			h.Get("X-Frame-Options") != "DENY" || h.Get("Referrer-Policy") != "no-referrer" ||
			h.Get("Cache-Control") != "no-store" || h.Get("X-Content-Type-Options") != "nosniff" || h.Get("Server") != "" {
			t.Errorf("%s: %d %v", name, a.StatusCode, h)
		}
		if !strings.HasPrefix(a.Body, `<!DOCTYPE html>`) || !strings.Contains(a.Body, `<html lang="en">`) || strings.Count(a.Body, "<h1>") != 1 ||
			strings.Contains(a.Body, "<script") || strings.Contains(a.Body, "style=") || strings.Contains(a.Body, "http:") || strings.Contains(a.Body, "https:") {
			t.Errorf("%s: %s", name, a.Body)
		}
	}
	if a := w.get("/static/access.css"); a.StatusCode != 200 || strings.Contains(a.Body, "url(") || strings.Contains(a.Body, "@import") {
		t.Errorf("style sheet: %v", a)
	}
}

// Whatever a TPP calls itself or asks for, and whatever a bank calls an
// account, is text: the page has the same tags as with harmless names.
//
// Proves: A9
func TestAccessPageEscapes(t *testing.T) {
	t.Parallel()
	var naughty []string
	data, err := os.ReadFile("testdata/blns.json")
	must(t, err)
	must(t, json.Unmarshal(data, &naughty))
	naughty = slices.DeleteFunc(naughty, func(s string) bool { return strings.TrimSpace(s) == "" })
	if len(naughty) < 400 {
		t.Fatalf("only %d strings", len(naughty))
	}
	w := sqliteWorld(t)
	// pages puts one string wherever there is room for one, in each kind of
	// consent by turns, and in all of them and on all pages once in a while.
	pages := func(i int, text string) []string {
		w.clock.advance(time.Second)
		now := w.clock.Now()
		client := gatehouse.Client{ID: gatehouse.NewID(now), Name: text, TPP: &gatehouse.TPP{Directory: "d", URN: "u", Name: text + " "},
			GrantTypes: []string{gatehouse.GrantClientCredentials}, Scopes: gatehouse.AllScopes(),
			TokenEndpointAuthMethod: gatehouse.AuthPrivateKeyJWT, JWKS: clientJWKS(t, tppA), Status: gatehouse.ClientActive, CreatedAt: now, UpdatedAt: now}
		must(t, w.store.CreateClient(t.Context(), &client))
		user := "psu-" + client.ID
		var grants []string
		consents := []gatehouse.Consent{
			{Kind: gatehouse.AccountAccess, Lodged: lodge(claims{"Permissions": []string{text}})},
			{Kind: gatehouse.DomesticPayment, Lodged: lodge(claims{"Initiation": claims{
				"InstructedAmount":      claims{"Amount": text, "Currency": text},
				"CreditorAccount":       claims{"Identification": text, "Name": text},
				"RemittanceInformation": claims{"Reference": text, "Unstructured": text}}})},
			{Kind: gatehouse.FundsConfirmation, Lodged: lodge(claims{"DebtorAccount": claims{"Identification": text, "Name": text}})},
		}
		full := i%20 == 0
		if !full {
			consents = consents[i%20%3 : i%20%3+1]
		}
		for _, c := range consents {
			w.clock.advance(time.Millisecond) // ids sort by time
			c.ID, c.ClientID, c.Provider = gatehouse.NewID(w.clock.Now()), client.ID, "alpha"
			w.lodgedConsent(c)
			grants = append(grants, c.ID)
			must(t, w.store.CreateGrant(t.Context(), &gatehouse.Grant{
				ID: c.ID, Provider: "alpha", ClientID: client.ID, UserID: user, Subject: "s", IntentID: c.ID,
				Accounts: rawJSON([]any{text, claims{"name": text, "iban": text}}), DebtorAccount: rawJSON(claims{"name": text, "identification": text}),
				CreatedAt: now, AuthTime: now, ExpiresAt: now.Add(aDay), AuthenticationExpiresAt: now.Add(aDay),
			}, &gatehouse.AccessToken{
				ID: c.ID, Provider: "alpha", GrantID: c.ID, ClientID: client.ID, Hash: gatehouse.HashSecret(c.ID), IssuedAt: now, ExpiresAt: now.Add(time.Minute),
			}, nil))
		}
		p := w.person("alpha", user)
		all := []string{p.page("")}
		if !full {
			return all
		}
		for _, id := range grants {
			all = append(all, p.page("/grants/"+id))
			p.withdraw(id)
		}
		return append(all, p.page("?ended="+grants[0]), p.page("/history"))
	}
	shape := func(page string) string {
		page = regexp.MustCompile(`g?[0-9a-v]{26}|(value|datetime)="[^"]*"`).ReplaceAllString(page, "")
		return strings.Join(tags.FindAllString(page, -1), "\n")
	}
	var harmless [20][]string
	for i := range harmless {
		harmless[i] = pages(i, "harmless")
	}
	for i, text := range naughty {
		for j, page := range pages(i, text) {
			if shape(page) != shape(harmless[i%len(harmless)][j]) {
				t.Fatalf("%q changes page %d: %s", text, j, cmp.Diff(shape(harmless[i%len(harmless)][j]), shape(page)))
			}
			seen := strings.ReplaceAll(strings.ToValidUTF8(text, "�"), "\x00", "�")
			if !strings.Contains(html.UnescapeString(page), seen) {
				t.Errorf("%q is not on page %d", text, j)
			}
		}
	}
}

func lodge(data claims) json.RawMessage { return rawJSON(claims{"Data": data}) }

func rawJSON(value any) json.RawMessage {
	text, err := json.Marshal(value)
	if err != nil {
		panic(err)
	}
	return text
}

// The theme is the bank's, readable whatever it left open, and cacheable.
func TestTheme(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	for name, row := range map[string]struct {
		theme gatehouse.Theme
		css   []string
	}{
		"none":         {gatehouse.Theme{}, []string{":root {\n  color-scheme: light dark;\n}\n"}},
		"a shape only": {gatehouse.Theme{Radius: "2px", FontFamily: "Inter, sans-serif"}, []string{"color-scheme: light dark;\n  --font-family: Inter, sans-serif;\n  --radius: 2px;\n}"}},
		"dark accent":  {gatehouse.Theme{Accent: "#00693e"}, []string{"color-scheme: light;", "--accent: #00693e;", "--on-accent: #ffffff;", "--surface: #ffffff;", "--text: #1b1f27;", "--link: #00693e;"}},
		"light accent": {gatehouse.Theme{Accent: "#ffd400"}, []string{"--on-accent: #000000;", "--link: #1b1f27;"}},
		"dark page":    {gatehouse.Theme{Accent: "#c6a0ff", Background: "#0c0a12", Surface: "#1a1624", Text: "#f2eefb"}, []string{"color-scheme: dark;", "--on-accent: #000000;", "--link: #c6a0ff;"}},
		"all":          {gatehouse.Theme{Accent: "#00693e", OnAccent: "#ffff00"}, []string{"--on-accent: #ffff00;"}},
	} {
		w.changeProvider("alpha", func(p *gatehouse.Provider) { p.Theme = row.theme })
		a := w.get("/oidc/alpha/theme.css")
		if a.StatusCode != 200 || a.Header.Get("Content-Type") != "text/css; charset=utf-8" || a.Header.Get("Cache-Control") != "public, max-age=300" || a.Header.Get("ETag") == "" {
			t.Errorf("%s: %v %v", name, a, a.Header)
		}
		for _, text := range row.css {
			if !strings.Contains(a.Body, text) {
				t.Errorf("%s: no %q in %s", name, text, a.Body)
			}
		}
		if again := w.do("GET", "/oidc/alpha/theme.css", http.Header{"If-None-Match": {a.Header.Get("ETag")}}, ""); again.StatusCode != 304 || again.Body != "" {
			t.Errorf("%s: again: %v", name, again)
		}
	}
	page := w.person("alpha", "psu-17").page("")
	if !strings.Contains(page, `href="/static/access.css"`) || !strings.Contains(page, `href="/oidc/alpha/theme.css"`) || strings.Index(page, "access.css") > strings.Index(page, "theme.css") {
		t.Errorf("style sheets: %s", page)
	}
	if a := w.get("/oidc/nobody/theme.css"); a.StatusCode != 404 {
		t.Errorf("nobody: %v", a)
	}
}

// A store that does not answer is our fault and says nothing about the PSU.
func TestAccessWithoutStorage(t *testing.T) {
	w := sqliteWorld(t)
	grant := w.grantOf("alpha", w.tokens("alpha", tppA))
	p, link := w.person("alpha", "psu-17"), w.link("alpha", "psu-17")
	tokens := p.tokens("/grants/" + grant.ID)
	for method, request := range map[string]func() *answer{
		"PSUSession":      func() *answer { return p.get("") },
		"Grants":          func() *answer { return p.get("") },
		"Client":          func() *answer { return p.get("/history") },
		"Grant":           func() *answer { return p.get("/grants/" + grant.ID) },
		"RevokeGrant":     func() *answer { return p.post("/grants/"+grant.ID, nil, form{"token": tokens[1]}) },
		"EndPSUSession":   func() *answer { return p.post("/leave", nil, form{"token": tokens[0]}) },
		"EnterPSUSession": func() *answer { return w.doAt(p.site, "GET", link, nil, "") },
	} {
		p.site = w.replica(&away{w.store, method})
		a := request()
		if a.StatusCode != 503 || a.Header.Get("Retry-After") == "" || !strings.Contains(read(a.Body), "The fault is on our side.") || len(a.Cookies()) != 0 {
			t.Errorf("without %s: %v", method, a)
		}
	}
	p.site = w.site
	p.page("/grants/" + grant.ID)
}

// away is a store one of whose methods does not answer.
type away struct {
	gatehouse.Store
	method string
}

var errAway = errors.New("the database is away")

func (s *away) fails(method string) error {
	if s.method == method {
		return errAway
	}
	return nil
}

func (s *away) PSUSession(ctx context.Context, provider string, hash []byte) (*gatehouse.PSUSession, error) {
	if err := s.fails("PSUSession"); err != nil {
		return nil, err
	}
	return s.Store.PSUSession(ctx, provider, hash)
}

func (s *away) EnterPSUSession(ctx context.Context, provider string, handover, hash []byte, until, now time.Time) error {
	if err := s.fails("EnterPSUSession"); err != nil {
		return err
	}
	return s.Store.EnterPSUSession(ctx, provider, handover, hash, until, now)
}

func (s *away) EndPSUSession(ctx context.Context, provider string, hash []byte) error {
	if err := s.fails("EndPSUSession"); err != nil {
		return err
	}
	return s.Store.EndPSUSession(ctx, provider, hash)
}

func (s *away) Grants(ctx context.Context, provider string, f gatehouse.GrantFilter, before string, limit int) ([]*gatehouse.Grant, error) {
	if err := s.fails("Grants"); err != nil {
		return nil, err
	}
	return s.Store.Grants(ctx, provider, f, before, limit)
}

func (s *away) Grant(ctx context.Context, provider, id string) (*gatehouse.Grant, error) {
	if err := s.fails("Grant"); err != nil {
		return nil, err
	}
	return s.Store.Grant(ctx, provider, id)
}

func (s *away) Client(ctx context.Context, id string) (*gatehouse.Client, error) {
	if err := s.fails("Client"); err != nil {
		return nil, err
	}
	return s.Store.Client(ctx, id)
}

func (s *away) RevokeGrant(ctx context.Context, provider, id string, now time.Time) error {
	if err := s.fails("RevokeGrant"); err != nil {
		return err
	}
	return s.Store.RevokeGrant(ctx, provider, id, now)
}
