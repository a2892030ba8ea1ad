package oidc_test

// Idempotency keys: UK Open Banking Read/Write API Profile 3.1, "Idempotency".

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"gatehouse"
)

func idempotent(key string) http.Header { return http.Header{"X-Idempotency-Key": {key}} }

// A payment consent that is lodged again under its key is the same one, as it
// stands; another body under it is refused.
func TestIdempotencyKey(t *testing.T) {
	t.Parallel()
	forEachWorld(t, func(t *testing.T, w *world) {
		w.addEverything()
		payments := resourceOf(gatehouse.DomesticPayment)
		path, token := payments.at("alpha", "v3.1.11"), w.ownToken("alpha", tppA)
		first := w.openBanking("POST", path, token, paymentBody, idempotent("key 1"))
		id := first.data("ConsentId")
		if first.StatusCode != 201 {
			t.Fatalf("first: %v", first)
		}
		again := func(a *answer) {
			t.Helper()
			if a.StatusCode != 201 || a.Body != first.Body {
				t.Errorf("again: %v, want %v", a, first)
			}
		}
		other := func(a *answer) {
			t.Helper()
			if a.StatusCode != 201 || a.data("ConsentId") == id {
				t.Errorf("another request: %v", a)
			}
		}
		w.clock.advance(time.Minute)
		again(w.openBanking("POST", path, w.ownToken("alpha", tppA), paymentBody, idempotent("key 1")))
		again(w.openBanking("POST", path, token, paymentBody, http.Header{"Idempotency-Key": {"key 1"}}))
		// The members in another order.
		again(w.openBanking("POST", path, token, edit(t, paymentBody, "Data.ReadRefundAccount", "Yes"), idempotent("key 1")))
		for range 2 { // signed anew each time
			w.clock.advance(time.Second)
			again(w.openBanking("POST", path, token, w.signed(tppA, paymentBody, claims{"iat": w.clock.Now().Unix(), "jti": gatehouse.NewSecret()}), idempotent("key 1"), signedHeader))
		}
		refused(t, w.openBanking("POST", path, token, edit(t, paymentBody, "Data.Initiation.InstructedAmount.Amount", "165.89"), idempotent("key 1")), 400, "Header.Invalid", "x-idempotency-key")
		other(w.openBanking("POST", path, token, paymentBody, idempotent("key 2")))
		other(w.openBanking("POST", path, token, paymentBody, idempotent("KEY 1")))
		other(w.openBanking("POST", path, token, paymentBody))
		other(w.openBanking("POST", path, w.ownToken("alpha", everything), paymentBody, idempotent("key 1")))
		other(w.openBanking("POST", payments.at("beta", "v3.1.11"), w.ownToken("beta", tppA), paymentBody, idempotent("key 1")))

		if a := w.openBanking("DELETE", path+"/"+id, token, ""); a.StatusCode != 204 {
			t.Errorf("DELETE: %v", a)
		}
		if a := w.openBanking("POST", path, token, paymentBody, idempotent("key 1")); a.StatusCode != 201 || a.data("ConsentId") != id || a.data("Status") != "Revoked" {
			t.Errorf("again after its end: %v", a)
		}
		w.clock.advance(24*time.Hour - 63*time.Second)
		if a := w.openBanking("POST", path, w.ownToken("alpha", tppA), paymentBody, idempotent("key 1")); a.data("ConsentId") != id {
			t.Errorf("a second before a day: %v", a)
		}
		w.clock.advance(time.Second)
		other(w.openBanking("POST", path, w.ownToken("alpha", tppA), paymentBody, idempotent("key 1")))
	})
}

// Keys have 1 to 40 characters, whatever is lodged.
func TestIdempotencyKeyForm(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	w.addEverything()
	token := w.ownToken("alpha", everything)
	for _, r := range resources {
		for name, header := range map[string]http.Header{
			"empty":      idempotent(""),
			"too long":   idempotent(strings.Repeat("x", 41)),
			"twice":      {"X-Idempotency-Key": {"a", "a"}},
			"both names": {"X-Idempotency-Key": {"a"}, "Idempotency-Key": {"a"}},
		} {
			t.Run(string(r.kind)+"/"+name, func(t *testing.T) {
				refused(t, w.openBanking("POST", r.at("alpha", "v3.1"), token, r.body, header), 400, "Header.Invalid", "x-idempotency-key")
			})
		}
		longest := idempotent(strings.Repeat("x", 40))
		one, two := w.openBanking("POST", r.at("alpha", "v3.1"), token, r.body, longest), w.openBanking("POST", r.at("alpha", "v3.1"), token, r.body, longest)
		if same := one.data("ConsentId") == two.data("ConsentId"); one.StatusCode != 201 || two.StatusCode != 201 || !same {
			t.Errorf("%s: %v, %v", r.kind, one, two)
		}
	}
}

// Any number of requests with one key at one moment, at two replicas, lodge one
// consent.
func TestIdempotencyKeyAtOnce(t *testing.T) {
	forEachWorld(t, func(t *testing.T, w *world) {
		sites, path, token := w.pair(), resourceOf(gatehouse.DomesticPayment).at("alpha", "v3.1"), w.ownToken("alpha", tppA)
		for round := range 3 {
			key := idempotent("round " + string(rune('a'+round)))
			answers := w.atOnce(64, func(i int) *answer { return w.openBankingAt(sites[i%2], "POST", path, token, paymentBody, key) })
			for _, a := range answers {
				if a.StatusCode != 201 || a.data("ConsentId") != answers[0].data("ConsentId") {
					t.Fatalf("%v, want %v", a, answers[0])
				}
			}
			all, err := w.store.Consents(context.Background(), "alpha", gatehouse.ConsentFilter{}, "", 100)
			must(t, err)
			if len(all) != round+1 {
				t.Fatalf("%d consents after %d keys", len(all), round+1)
			}
		}
	})
}
