package oidc_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"gatehouse"
	"gatehouse/jose"
)

// Proves: A13
func TestVerdictIsTheBanksOwn(t *testing.T) {
	t.Parallel()
	forEachWorld(t, func(t *testing.T, w *world) {
		v := w.visit("alpha", query(tppA))
		betaID, betaCode, _ := w.bankCode(query(tppA), nil)
		const path = "/api/connectors/ob/v1/authorizations/"
		signed := func(bank string, payload claims) string {
			body, err := key(t, "bank "+bank, jose.RS256).Sign("", payload)
			must(t, err)
			return body
		}
		good := claims{"data": approval, "exp": w.clock.Now().Add(time.Minute).Unix()}
		wrongSecret := w.connectorHeader("alpha")
		wrongSecret.Set("App-Secret", "x")
		otherID := w.connectorHeader("alpha")
		otherID.Set("App-Id", "app-beta")
		noID := w.connectorHeader("alpha")
		noID.Del("App-Id")
		asText := w.connectorHeader("alpha")
		asText.Set("Content-Type", "application/json")
		for name, row := range map[string]struct {
			header http.Header
			id     string
			body   string
			status int
		}{
			"another bank's authorization": {w.connectorHeader("beta"), v.id, signed("beta", good), 404},
			"ours by another bank":         {w.connectorHeader("alpha"), betaID, signed("alpha", good), 404},
			"unknown":                      {w.connectorHeader("alpha"), gatehouse.NewID(w.clock.Now()), signed("alpha", good), 404},
			"another bank's key":           {w.connectorHeader("alpha"), v.id, signed("beta", good), 403},
			"wrong secret":                 {wrongSecret, v.id, signed("alpha", good), 403},
			"another bank's id":            {otherID, v.id, signed("alpha", good), 403},
			"no id":                        {noID, v.id, signed("alpha", good), 403},
			"no credentials":               {http.Header{"Content-Type": {"application/jwt"}}, v.id, signed("alpha", good), 403},
			"another media type":           {asText, v.id, signed("alpha", good), 415},
			"not signed":                   {w.connectorHeader("alpha"), v.id, `{"data":{"status":"approved"}}`, 400},
			"empty":                        {w.connectorHeader("alpha"), v.id, "", 400},
			"exp missing":                  {w.connectorHeader("alpha"), v.id, signed("alpha", good.with(claims{"exp": nil})), 400},
			"exp past":                     {w.connectorHeader("alpha"), v.id, signed("alpha", good.with(claims{"exp": w.clock.Now().Unix()})), 400},
			"exp far":                      {w.connectorHeader("alpha"), v.id, signed("alpha", good.with(claims{"exp": w.clock.Now().Add(time.Hour).Unix()})), 400},
			"data missing":                 {w.connectorHeader("alpha"), v.id, signed("alpha", good.with(claims{"data": nil})), 400},
			"data text":                    {w.connectorHeader("alpha"), v.id, signed("alpha", good.with(claims{"data": "x"})), 400},
			"status missing":               {w.connectorHeader("alpha"), v.id, signed("alpha", good.with(claims{"data": approval.with(claims{"status": nil})})), 400},
			"status unknown":               {w.connectorHeader("alpha"), v.id, signed("alpha", good.with(claims{"data": approval.with(claims{"status": "Approved"})})), 400},
			"user_id missing":              {w.connectorHeader("alpha"), v.id, signed("alpha", good.with(claims{"data": approval.with(claims{"user_id": nil})})), 400},
			"user_id too long":             {w.connectorHeader("alpha"), v.id, signed("alpha", good.with(claims{"data": approval.with(claims{"user_id": strings.Repeat("u", 256)})})), 400},
			"user_id with a NUL":           {w.connectorHeader("alpha"), v.id, signed("alpha", good.with(claims{"data": approval.with(claims{"user_id": "psu\x00"})})), 400},
			"access text":                  {w.connectorHeader("alpha"), v.id, signed("alpha", good.with(claims{"data": approval.with(claims{"access": "x"})})), 400},
			"debtor_account list":          {w.connectorHeader("alpha"), v.id, signed("alpha", good.with(claims{"data": approval.with(claims{"debtor_account": []int{1}})})), 400},
			"acr unknown":                  {w.connectorHeader("alpha"), v.id, signed("alpha", good.with(claims{"data": approval.with(claims{"acr": "urn:x"})})), 400},
			"auth_time ahead":              {w.connectorHeader("alpha"), v.id, signed("alpha", good.with(claims{"data": approval.with(claims{"auth_time": w.clock.Now().Add(time.Hour).Unix()})})), 400},
		} {
			a := w.do("PUT", path+row.id, row.header, row.body)
			if a.StatusCode != row.status || a.text("error_class") == "" || a.text("error_message") == "" {
				t.Errorf("%s: %v", name, a)
			}
		}
		expect(t, w.token("beta", tppA, exchange(betaCode)), 425, "authorization_pending") // nothing of this decided anything

		approved := v.decide(approval)
		data, _ := approved.JSON["data"].(map[string]any)
		if approved.StatusCode != 200 || data["status"] != "Authorised" || data["authorization_id"] != v.id || !strings.HasPrefix(data["redirect_uri"].(string), baseURL+"/oidc/alpha/authorize/") {
			t.Fatal(approved)
		}
		// The same verdict again is answered alike; another one is refused.
		if again := v.decide(approval); again.StatusCode != 200 || again.Body != approved.Body {
			t.Errorf("again: %v", again)
		}
		if other := v.decide(claims{"status": "denied"}); other.StatusCode != 400 {
			t.Errorf("another verdict: %v", other)
		}
		code := landed(t, v.back()).Get("code")
		a := w.token("alpha", tppA, exchange(code))
		expect(t, a, 200, "")
		if again := v.decide(approval); again.StatusCode != 200 {
			t.Errorf("after the exchange: %v", again)
		}
		if !w.active("alpha", a.text("access_token")) {
			t.Error("a late verdict changed a finished visit")
		}
	})
}

// Concurrent verdicts: one decides, whoever agrees is told so.
func TestVerdictsAtOnce(t *testing.T) {
	forEachWorld(t, func(t *testing.T, w *world) {
		for range 10 {
			v := w.visit("alpha", query(tppA))
			answers := w.atOnce(16, func(i int) *answer {
				if i%2 == 0 {
					return v.decide(approval)
				}
				return v.decide(claims{"status": "denied"})
			})
			counts := map[bool]map[int]int{false: {}, true: {}}
			for i, a := range answers {
				counts[i%2 == 0][a.StatusCode]++
			}
			approved, denied := counts[true][200] == 8 && counts[false][400] == 8, counts[false][200] == 8 && counts[true][400] == 8
			if approved == denied {
				t.Fatalf("%v", counts)
			}
			if got := landed(t, v.back()); got.Has("code") != approved || got.Has("error") != denied {
				t.Fatalf("%v after %v", got, counts)
			}
		}
	})
}

func TestBegin(t *testing.T) {
	t.Parallel()
	forEachWorld(t, func(t *testing.T, w *world) {
		intent := w.consent("beta", tppA, "18463")
		id, _, a := w.bankCode(query(tppA).with(intent), nil)
		data, _ := a.JSON["data"].(map[string]any)
		if a.StatusCode != 200 || id == "" || data["consent_id"] != "18463" || len(data["access_token"].(string)) != 43 {
			t.Fatal(a)
		}
		if _, _, plain := w.bankCode(query(tppA), nil); plain.JSON["data"].(map[string]any)["consent_id"] != nil {
			t.Errorf("without a consent: %v", plain)
		}
		read := w.do("GET", "/api/connectors/ob/v1/authorizations/"+id, w.connectorHeader("beta"), "")
		got, _ := read.JSON["data"].(map[string]any)
		for name, want := range map[string]any{"authorization_id": id, "consent_id": "18463", "status": "pending", "client_id": tppA, "app_name": "TPP <tpp-a>"} {
			if got[name] != want {
				t.Errorf("read: %s = %v", name, got[name])
			}
		}
		if location, _ := got["redirect_uri"].(string); !strings.HasPrefix(location, callback+"?code=") {
			t.Errorf("read: redirect_uri %s", location)
		}
		for name, change := range map[string]claims{
			"auth_code missing":       {"auth_code": nil},
			"auth_code of 15":         {"auth_code": strings.Repeat("c", 15)},
			"auth_code of 256":        {"auth_code": strings.Repeat("c", 256)},
			"auth_code with a space":  {"auth_code": strings.Repeat("c ", 10)},
			"auth_code_exp past":      {"auth_code_exp": w.clock.Now().Add(-time.Second).Format(time.RFC3339)},
			"auth_code_exp far":       {"auth_code_exp": w.clock.Now().Add(25 * time.Hour).Format(time.RFC3339)},
			"auth_code_exp text":      {"auth_code_exp": "soon"},
			"auth_code_exp CET":       {"auth_code_exp": w.clock.Now().Add(time.Minute).Format("2006-01-02 15:04:05 CET")},
			"auth_code_exp number":    {"auth_code_exp": 5},
			"authorize_url missing":   {"authorize_url": nil},
			"authorize_url no URL":    {"authorize_url": "https://bank.example/%zz"},
			"authorize_url no query":  {"authorize_url": "https://bank.example/beta/authorize"},
			"authorize_url malformed": {"authorize_url": "https://bank.example/beta/authorize?%zz"},
		} {
			if _, _, a := w.bankCode(query(tppA), change); a.StatusCode != 400 || a.text("error_class") != "InvalidRequest" || a.JSON["data"] != nil {
				t.Errorf("%s: %v", name, a)
			}
		}
		for _, exp := range []any{nil, w.clock.Now().Add(time.Minute).Format("2006-01-02 15:04:05 UTC"), w.clock.Now().Add(time.Minute).Format("2006-01-02T15:04:05.000Z07:00")} {
			if _, _, a := w.bankCode(query(tppA), claims{"auth_code_exp": exp}); a.StatusCode != 200 {
				t.Errorf("auth_code_exp %v: %v", exp, a)
			}
		}
		same := claims{"auth_code": strings.Repeat("c", 16)}
		if _, _, a := w.bankCode(query(tppA), same); a.StatusCode != 200 {
			t.Error(a)
		}
		if _, _, a := w.bankCode(query(tppA), same); a.StatusCode != 400 {
			t.Errorf("a code twice: %v", a)
		}
		if a := w.connector("alpha", "POST", "", claims{"authorize_url": "https://x.example/?" + query(tppA).encode(), "auth_code": strings.Repeat("c", 16)}); a.StatusCode != 403 {
			t.Errorf("a bank that does not host: %v", a)
		}
	})
}

// What the TPP asks of the authentication must be met by the bank's report.
func TestVerdictMeetsTheRequest(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	essential := form{"claims": `{"id_token":{"acr":{"essential":true,"value":"urn:openbanking:psd2:sca"}}}`}
	for name, row := range map[string]struct {
		request form
		verdict claims
		status  int
	}{
		"acr met":         {essential, nil, 200},
		"acr missed":      {essential, claims{"acr": "urn:openbanking:psd2:ca"}, 400},
		"acr voluntary":   {form{"acr_values": "urn:openbanking:psd2:sca"}, claims{"acr": "urn:openbanking:psd2:ca"}, 200},
		"max_age met":     {form{"max_age": "300"}, claims{"auth_time": w.clock.Now().Add(-4 * time.Minute).Unix()}, 200},
		"max_age missed":  {form{"max_age": "300"}, claims{"auth_time": w.clock.Now().Add(-7 * time.Minute).Unix()}, 400},
		"max_age default": {form{"max_age": "0"}, nil, 200},
	} {
		v := w.visit("alpha", query(tppA).with(row.request))
		if a := v.decide(approval.with(row.verdict)); a.StatusCode != row.status {
			t.Errorf("%s: %v", name, a)
		}
		if got := landed(t, v.back()); (got.Get("error") == "access_denied") != (row.status == 400) {
			t.Errorf("%s: %v", name, got)
		}
	}
}
