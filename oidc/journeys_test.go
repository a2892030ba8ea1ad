package oidc_test

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"

	"gatehouse"
	"gatehouse/jose"
	"gatehouse/store/storetest"
)

// A journey is one PSU's way from the TPP to the bank and back, of which
// everything is different from every other's.
type journey struct {
	n                int
	w                *world
	provider, client string
	id, cookie, code string
	way              url.Values // with which the browser came back to the TPP
	tokens           *answer
}

func (j *journey) mark(what string) string { return fmt.Sprintf("%s-%s-%d", what, j.provider, j.n) }

func (j *journey) account() string { return j.mark("account") }

// user is the same text at both banks.
func (j *journey) user() string { return fmt.Sprint("psu-", j.n/2) }

func (j *journey) query() form {
	return query(j.client).with(form{
		"state": j.mark("state"), "nonce": j.mark("nonce"),
	}).with(intent(j.mark("intent")))
}

// steps are those of a journey, each one or two requests to a replica. At
// alpha the browser comes to us, beta hosts the authorization endpoint.
var steps = []func(j *journey, site *httptest.Server){
	func(j *journey, site *httptest.Server) {
		j.w.consent(j.provider, j.client, j.mark("intent"))
		if j.provider == "beta" {
			j.code = gatehouse.NewSecret()
			a := j.w.connectorAt(site, "beta", "POST", "", claims{"authorize_url": "https://bank.example/beta/authorize?" + j.query().encode(), "auth_code": j.code})
			expect(j.w.t, a, 200, "")
			j.id = a.JSON["data"].(map[string]any)["authorization_id"].(string)
			return
		}
		a := j.w.doAt(site, "GET", "/oidc/alpha/authorize?"+j.query().encode(), nil, "")
		location, err := a.Location()
		must(j.w.t, err)
		j.id, j.cookie = location.Query().Get("authorization_id"), strings.Split(a.Header.Get("Set-Cookie"), ";")[0]
	},
	func(j *journey, site *httptest.Server) {
		a := j.w.connectorAt(site, j.provider, "PUT", "/"+j.id, claims{"status": "approved", "user_id": j.user(), "access": []string{j.account()}})
		expect(j.w.t, a, 200, "")
		if j.provider == "beta" {
			way, err := url.Parse(a.JSON["data"].(map[string]any)["redirect_uri"].(string))
			must(j.w.t, err)
			j.way = way.Query()
		}
	},
	func(j *journey, site *httptest.Server) {
		if j.provider == "alpha" {
			j.way = landed(j.w.t, j.w.doAt(site, "GET", "/oidc/alpha/authorize/"+j.id, http.Header{"Cookie": {j.cookie}}, ""))
			j.code = j.way.Get("code")
		}
	},
	func(j *journey, site *httptest.Server) {
		j.tokens = j.w.tokenAt(site, j.provider, j.client, exchange(j.code))
		expect(j.w.t, j.tokens, 200, "")
	},
	func(j *journey, site *httptest.Server) {
		refreshed := j.w.tokenAt(site, j.provider, j.client, refreshForm(j.tokens.text("refresh_token")))
		expect(j.w.t, refreshed, 200, "")
		j.check(refreshed, false)
	},
}

// check fails the test when an answer has anything of another journey.
func (j *journey) check(a *answer, first bool) {
	t := j.w.t
	mac := hmac.New(sha256.New, []byte(strings.Repeat(j.provider[:1], 32))) // the bank's salt
	mac.Write([]byte(j.user()))
	alg := jose.PS256
	if j.client == tppB {
		alg = jose.RS256
	}
	id := idToken(t, j.provider, alg, a.text("id_token"))
	want := map[string]string{
		"iss": issuer(j.provider), "aud": j.client, "sub": base64.RawURLEncoding.EncodeToString(mac.Sum(nil)),
		"openbanking_intent_id": j.mark("intent"), "at_hash": atHash(a.text("access_token")),
	}
	if first {
		want["nonce"] = j.mark("nonce")
	}
	for name, value := range want {
		if got, err := id.String(name); err != nil || got != value {
			t.Errorf("journey %d at %s: %s = %q, want %q", j.n, j.provider, name, got, value)
		}
	}
	tokenID, _ := gatehouse.TokenID(a.text("access_token"))
	record, grant, err := j.w.store.AccessToken(t.Context(), j.provider, tokenID)
	must(t, err)
	var accounts []string
	must(t, json.Unmarshal(grant.Accounts, &accounts))
	if len(accounts) != 1 || accounts[0] != j.account() || grant.UserID != j.user() || record.ClientID != j.client || grant.IntentID != j.mark("intent") {
		t.Errorf("journey %d at %s: grant %+v", j.n, j.provider, grant)
	}
}

// The journeys of two banks' PSUs, all under way at the same time, at two
// replicas: what comes out of each is what went into it.
//
// Proves: S20
func TestJourneysAtOnce(t *testing.T) {
	const travellers = 16 // requests at the same time
	forEachWorld(t, func(t *testing.T, w *world) {
		sites := w.pair()
		journeys := make([]*journey, 5*storetest.Rounds(t, 8)) // 1,000 in the long form
		for i := range journeys {
			journeys[i] = &journey{n: i, w: w, provider: []string{"alpha", "beta"}[i%2], client: []string{tppA, tppB, basic}[i%3]}
		}
		for _, step := range steps {
			shuffle(journeys)
			waiting := make(chan *journey, len(journeys))
			for _, j := range journeys {
				waiting <- j
			}
			close(waiting)
			var done sync.WaitGroup
			for n := range travellers {
				done.Go(func() {
					for j := range waiting {
						step(j, sites[n%2])
					}
				})
			}
			done.Wait()
		}
		subjects := map[string]string{} // of each PSU at each bank
		for _, j := range journeys {
			if j.way.Get("state") != j.mark("state") || j.way.Get("iss") != issuer(j.provider) || j.way.Get("code") != j.code {
				t.Errorf("journey %d at %s came back with %v", j.n, j.provider, j.way)
			}
			j.check(j.tokens, true)
			sub := w.introspect(j.provider, j.client, j.tokens.text("access_token")).text("sub")
			if other, known := subjects[sub]; known && other != j.provider+" "+j.user() {
				t.Errorf("sub of %s %s is that of %s", j.provider, j.user(), other)
			}
			subjects[sub] = j.provider + " " + j.user()
		}
	})
}

// shuffle puts a list into random order.
func shuffle[T any](list []T) {
	for i := len(list) - 1; i > 0; i-- {
		n, err := rand.Int(rand.Reader, big.NewInt(int64(i+1)))
		if err != nil {
			panic(err)
		}
		j := n.Int64()
		list[i], list[j] = list[j], list[i]
	}
}
