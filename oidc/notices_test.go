package oidc_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"gatehouse"
	"gatehouse/connector"
	"gatehouse/jose"
)

// A toldBank is a bank that is told. It answers 200 {} unless answer says
// otherwise.
type toldBank struct {
	*httptest.Server
	calls  chan bankHeard // every call, before it is answered
	answer func(w http.ResponseWriter, call bankHeard)
}

// A bankHeard is one call as the bank hears it.
type bankHeard struct {
	// About is the step and the consent, such as "lodged c-1".
	About  string
	Method string
	Path   string
	Header http.Header
	Data   map[string]any
}

// told gives a provider a bank at the end of its connector_url.
func (w *world) told(provider string, answer func(w http.ResponseWriter, call bankHeard)) *toldBank {
	w.t.Helper()
	b := &toldBank{calls: make(chan bankHeard, 1000), answer: answer}
	b.Server = httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		call := w.hear(provider, r)
		b.calls <- call
		if b.answer != nil {
			b.answer(rw, call)
			return
		}
		io.WriteString(rw, "{}")
	}))
	w.t.Cleanup(b.Close)
	w.changeProvider(provider, func(p *gatehouse.Provider) { p.Connector.URL = b.URL })
	return b
}

// hear opens the signed token of a call to a provider's bank.
func (w *world) hear(provider string, r *http.Request) bankHeard {
	call := bankHeard{Method: r.Method, Path: strings.TrimPrefix(r.URL.Path, "/api/priora/ob/v1"), Header: r.Header.Clone()}
	call.About = map[string]string{"POST": "lodged ", "PATCH": "revoked "}[r.Method] + r.Header.Get("Consent-Id")
	token, err := jose.Parse(strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "), 256<<10)
	if err == nil {
		err = token.Verify([]*jose.PublicKey{key(w.t, provider, jose.RS256).Public()}, jose.RS256)
	}
	if err == nil {
		err = token.Claims.Decode("data", &call.Data)
	}
	if err != nil {
		w.t.Errorf("a call to %s: %v", provider, err)
	}
	return call
}

// next is the bank's next call.
func (b *toldBank) next(t testing.TB) bankHeard {
	t.Helper()
	return receive(t, b.calls, "a call")
}

func receive[T any](t testing.TB, from <-chan T, what string) T {
	t.Helper()
	select {
	case got := <-from:
		return got
	case <-time.After(30 * time.Second):
		t.Fatalf("%s did not come", what)
		panic("unreachable")
	}
}

// A teller is a server that tells banks, and looks for notices when the test
// says so.
type teller struct {
	gatehouse.Store
	t       testing.TB
	clock   *clock
	tick    chan time.Time
	site    *httptest.Server
	claimed atomic.Int64
	settled chan settlement
	stop    func() // and wait until nothing is under way
}

// A settlement is what the teller wrote down of a call.
type settlement struct {
	About   string
	Again   time.Duration // until the notice is due again
	GivenUp bool
}

const delivered = time.Duration(-1)

func (w *world) teller(db gatehouse.Store) *teller {
	w.t.Helper()
	t := &teller{Store: db, t: w.t, clock: w.clock, tick: make(chan time.Time), settled: make(chan settlement, 1000)}
	server := w.server(t)
	server.Banks = &connector.Caller{Transport: connector.NewTransport(nil, nil), Now: w.clock.Now}
	server.After = func(time.Duration) <-chan time.Time { return t.tick }
	t.site = w.start(server)
	ctx, cancel := context.WithCancel(context.Background())
	var telling sync.WaitGroup
	telling.Go(func() { server.TellBanks(ctx) })
	t.stop = func() {
		cancel()
		telling.Wait()
	}
	w.t.Cleanup(t.stop)
	return t
}

// look makes the teller look for notices. When it returns, every call that was
// due has been claimed.
func (t *teller) look() {
	t.t.Helper()
	for range 2 { // the second is taken when the look of the first is over
		select {
		case t.tick <- time.Time{}:
		case <-time.After(30 * time.Second):
			t.t.Fatal("the teller does not look")
		}
	}
}

func (t *teller) ClaimNotices(ctx context.Context, provider, claim string, limit int, until, now time.Time) ([]*gatehouse.Notice, error) {
	notices, err := t.Store.ClaimNotices(ctx, provider, claim, limit, until, now)
	t.claimed.Add(int64(len(notices)))
	return notices, err
}

func (t *teller) NoticeDelivered(ctx context.Context, n *gatehouse.Notice) error {
	err := t.Store.NoticeDelivered(ctx, n)
	t.settled <- settlement{About: string(n.Step) + " " + n.ConsentID, Again: delivered}
	return err
}

func (t *teller) NoticeFailed(ctx context.Context, n *gatehouse.Notice, again, now time.Time) error {
	err := t.Store.NoticeFailed(ctx, n, again, now)
	s := settlement{About: string(n.Step) + " " + n.ConsentID, GivenUp: again.IsZero()}
	if !s.GivenUp {
		s.Again = again.Sub(now)
	}
	t.settled <- s
	return err
}

// next is what the teller writes down next.
func (t *teller) next() settlement {
	t.t.Helper()
	return receive(t.t, t.settled, "a settlement")
}

func (t *teller) wantDelivered(about string) {
	t.t.Helper()
	if got, want := t.next(), (settlement{About: about, Again: delivered}); got != want {
		t.t.Fatalf("settled %+v, want %+v", got, want)
	}
}

// wantIdle fails the test when the teller, told to look, finds something.
func (t *teller) wantIdle() {
	t.t.Helper()
	before := t.claimed.Load()
	if t.look(); t.claimed.Load() != before {
		t.t.Fatalf("%d notices were claimed that are not due", t.claimed.Load()-before)
	}
}

func (w *world) revokeConsent(provider, id string) {
	w.t.Helper()
	must(w.t, w.store.EndConsent(context.Background(), provider, id, gatehouse.ConsentRevoked, w.clock.Now()))
}

func refuse(status int, class string) func(http.ResponseWriter, bankHeard) {
	return func(w http.ResponseWriter, _ bankHeard) {
		w.WriteHeader(status)
		fmt.Fprintf(w, `{"error_class":%q,"error_message":"m"}`, class)
	}
}

// The bank is told of each kind of consent, and of its end where the wire has
// words for that; then nothing is left to tell.
func TestBankIsTold(t *testing.T) {
	forEachWorld(t, func(t *testing.T, w *world) {
		bank, teller := w.told("alpha", nil), w.teller(w.store)
		for _, row := range []struct {
			kind   gatehouse.ConsentKind
			lodged string
			calls  []string
			member string // that the bank is told
		}{
			{gatehouse.AccountAccess, `{"Data":{"Permissions":["ReadBalances"]},"Risk":{}}`,
				[]string{"POST /consents", "PATCH /consents/c/revoke"}, "permissions"},
			{gatehouse.DomesticPayment, aPayment, []string{"POST /payment_consents"}, "initiation"},
			{gatehouse.FundsConfirmation, `{"Data":{"DebtorAccount":{"SchemeName":"UK.OBIE.IBAN","Identification":"GB29NWBK60161331926819"}}}`,
				[]string{"POST /funds_check_consents", "PATCH /funds_check_consents/c/revoke"}, "debtor_account"},
		} {
			id := gatehouse.NewID(w.clock.Now())
			w.lodgedConsent(gatehouse.Consent{ID: id, Provider: "alpha", ClientID: tppA, Kind: row.kind, Lodged: []byte(row.lodged)})
			read, _ := w.bankCall("alpha", "GET", "/consents/"+id, nil).JSON["data"].(map[string]any)
			for i, step := range []string{"lodged ", "revoked "} {
				if step == "revoked " {
					w.revokeConsent("alpha", id)
				}
				teller.look()
				if i == len(row.calls) {
					teller.wantDelivered(step + id) // skipped
					continue
				}
				call := bank.next(t)
				teller.wantDelivered(step + id)
				if got := call.Method + " " + strings.Replace(call.Path, id, "c", 1); got != row.calls[i] {
					t.Errorf("call %s, want %s", got, row.calls[i])
				}
				if call.Data["provider_code"] != "alpha" || i == 0 && (call.Data["consent_id"] != id || call.Data["app_name"] != "TPP <tpp-a>" || call.Data[row.member] == nil) {
					t.Errorf("%s: data %v", row.calls[i], call.Data)
				}
				if token := call.Header.Get("Access-Token"); token == "" || token != read["access_token"] {
					t.Errorf("%s: Access-Token %q, want that of the consent", row.calls[i], token)
				}
				if call.Header.Get("Client-Id") != tppA || call.Header.Get("Consent-Id") != id {
					t.Errorf("%s: header %v", row.calls[i], call.Header)
				}
			}
		}
		teller.wantIdle()
		if len(bank.calls) != 0 {
			t.Errorf("the bank was called once more: %v", (<-bank.calls).About)
		}
		if got := w.logged(); strings.Contains(got, "WARN") || strings.Contains(got, "Access-Token") {
			t.Errorf("log:\n%s", got)
		}
	})
}

// What a TPP lodges and deletes is told at once, without waiting for the next
// look, as the TPP wrote it.
func TestBankHearsAtOnce(t *testing.T) {
	w := sqliteWorld(t)
	bank, teller := w.told("alpha", nil), w.teller(w.store)
	token := w.ownToken("alpha", tppA)
	path := resourceOf(gatehouse.AccountAccess).at("alpha", "v3.1")
	lodged := w.openBankingAt(teller.site, "POST", path, token, accountAccessBody)
	expect(t, lodged, 201, "")
	call := bank.next(t)
	data, _ := lodged.JSON["Data"].(map[string]any)
	id, _ := data["ConsentId"].(string)
	if call.About != "lodged "+id || call.Data["expiration_date_time"] != "2027-02-20T00:00:00+00:00" {
		t.Errorf("call %s, data %v", call.About, call.Data)
	}
	teller.wantDelivered("lodged " + id)
	if a := w.openBankingAt(teller.site, "DELETE", path+"/"+id, token, ""); a.StatusCode != 204 {
		t.Fatal(a)
	}
	if call := bank.next(t); call.About != "revoked "+id {
		t.Errorf("call %s", call.About)
	}
}

// A consent that is revoked before the bank has heard of it is told of in
// order all the same, however often the first call fails.
func TestBankIsToldInOrder(t *testing.T) {
	forEachWorld(t, func(t *testing.T, w *world) {
		faults := atomic.Int64{}
		faults.Store(2)
		bank := w.told("alpha", func(rw http.ResponseWriter, call bankHeard) {
			if faults.Add(-1) >= 0 {
				refuse(500, "InternalServerError")(rw, call)
				return
			}
			io.WriteString(rw, "{}")
		})
		w.consent("alpha", tppA, "c-1")
		w.revokeConsent("alpha", "c-1")
		teller := w.teller(w.store)
		for range 2 {
			teller.look()
			if got := teller.next(); got.About != "lodged c-1" || got.Again <= 0 {
				t.Fatalf("settled %+v", got)
			}
			w.clock.advance(2 * time.Second)
		}
		teller.look()
		teller.wantDelivered("lodged c-1")
		teller.wantDelivered("revoked c-1")
		for _, want := range []string{"lodged c-1", "lodged c-1", "lodged c-1", "revoked c-1"} {
			if got := bank.next(t).About; got != want {
				t.Errorf("call %s, want %s", got, want)
			}
		}
		teller.wantIdle()
	})
}

// A bank that names a moment is not called before it; of one that names none
// the distance grows.
//
// Proves: N21
func TestRetryAfter(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	for header, want := range map[string]func(now time.Time) string{
		"2m0s": func(time.Time) string { return "120" },
		"2m30s": func(now time.Time) string {
			return now.Add(150 * time.Second).UTC().Truncate(time.Second).Format(http.TimeFormat)
		},
		"1h0m0s": func(time.Time) string { return "86400" },
		"1s":     func(time.Time) string { return "0" },
	} {
		for _, status := range []int{400, 429, 503} {
			wait, err := time.ParseDuration(header)
			must(t, err)
			w.clock.advance(750 * time.Millisecond) // to a whole second or not
			bank := w.told("alpha", nil)
			first := atomic.Bool{}
			first.Store(true)
			bank.answer = func(rw http.ResponseWriter, call bankHeard) {
				if first.Swap(false) {
					rw.Header().Set("Retry-After", want(w.clock.Now()))
					refuse(status, "Busy")(rw, call)
					return
				}
				io.WriteString(rw, "{}")
			}
			id := gatehouse.NewID(w.clock.Now())
			w.consent("alpha", tppA, id)
			teller := w.teller(w.store)
			got := teller.next()
			if wait-got.Again < 0 || wait-got.Again >= time.Second || got.About != "lodged "+id {
				t.Fatalf("%s with %d: settled %+v", header, status, got)
			}
			w.clock.advance(got.Again - time.Millisecond)
			teller.wantIdle()
			w.clock.advance(time.Millisecond)
			teller.look()
			teller.wantDelivered("lodged " + id)
			teller.stop()
		}
	}
}

// Without Retry-After each failure doubles the distance, up to an hour, its
// upper half by chance; after a week the notice is given up, the audit log says
// so, and the next of the consent has its turn.
//
// Proves: N21, O11
func TestBankIsNotTold(t *testing.T) {
	forEachWorld(t, func(t *testing.T, w *world) {
		bank := w.told("alpha", refuse(404, "ConsentNotFound"))
		w.consent("alpha", tppA, "c-1")
		w.revokeConsent("alpha", "c-1")
		lodged := w.clock.Now()
		teller := w.teller(w.store)
		var waits []time.Duration
		for {
			teller.look()
			got := teller.next()
			if got.About != "lodged c-1" {
				t.Fatalf("settled %+v", got)
			}
			if got.GivenUp {
				break
			}
			longest := min(time.Second<<min(len(waits), 20), time.Hour)
			if got.Again <= longest/2 || got.Again > longest {
				t.Fatalf("attempt %d: again in %v, want up to %v and more than half of it", len(waits)+1, got.Again, longest)
			}
			if age := w.clock.Now().Sub(lodged); age >= 7*aDay {
				t.Fatalf("not given up after %v", age)
			}
			waits = append(waits, got.Again)
			w.clock.advance(got.Again)
			if len(waits) == 20 { // an hour or less each; on to the last day
				w.clock.advance(6 * aDay)
			}
		}
		if age := w.clock.Now().Sub(lodged); age < 7*aDay || age > 7*aDay+time.Hour {
			t.Errorf("given up after %v", age)
		}
		if last := waits[len(waits)-10:]; slices.Max(last)-slices.Min(last) < time.Minute {
			t.Errorf("no chance in %v", last)
		}
		if got := teller.next(); got.About != "revoked c-1" || !got.GivenUp { // as old, tried once
			t.Errorf("settled %+v", got)
		}
		events, err := w.store.Events(t.Context(), gatehouse.EventFilter{ConsentID: "c-1", Kind: gatehouse.EventBankNotTold}, "", 10)
		must(t, err)
		steps := map[string]int{}
		for _, e := range events {
			steps[e.Detail]++
			if e.Provider != "alpha" || e.ClientID != tppA || e.Actor != gatehouse.ActorSystem {
				t.Errorf("event %+v", e)
			}
		}
		if diff := cmp.Diff(map[string]int{"lodged": 1, "revoked": 1}, steps); diff != "" {
			t.Errorf("events (-want +got):\n%s", diff)
		}
		if n := len(bank.calls); n != len(waits)+2 {
			t.Errorf("%d calls, want %d", n, len(waits)+2)
		}
	})
}

// After five calls in a row that came to nothing a bank is left alone for half
// a minute and then asked once; when that is answered, all is told.
//
// Proves: N21
func TestBreaker(t *testing.T) {
	t.Parallel()
	for name, hurt := range map[string]func(http.ResponseWriter, bankHeard){
		"5xx":     refuse(500, "InternalServerError"),
		"cut off": func(http.ResponseWriter, bankHeard) { panic(http.ErrAbortHandler) },
		"no end": func(w http.ResponseWriter, _ bankHeard) {
			w.Header().Set("Content-Length", "10")
			io.WriteString(w, "{}")
		},
		"retry later": func(w http.ResponseWriter, c bankHeard) {
			w.Header().Set("Retry-After", "1")
			refuse(503, "Busy")(w, c)
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := sqliteWorld(t)
			w.clock.advance(time.Hour)
			var well atomic.Bool
			asked, goOn := make(chan struct{}, 100), make(chan struct{})
			bank := w.told("alpha", func(rw http.ResponseWriter, call bankHeard) {
				if !well.Load() {
					hurt(rw, call)
					return
				}
				asked <- struct{}{}
				<-goOn
				io.WriteString(rw, "{}")
			})
			const consents = 14
			for i := range consents {
				w.consent("alpha", tppA, fmt.Sprint("c-", i))
			}
			teller := w.teller(w.store)
			// Each failure makes room for another call, until five have failed;
			// those that were under way may fail, too.
			failed := 0
			for idle := false; !idle; {
				if got := teller.next(); got.Again <= 0 {
					t.Fatalf("settled %+v", got)
				}
				failed++
				teller.look()
				idle = int64(failed) == teller.claimed.Load()
			}
			if failed < 5 || failed > 5+3 {
				t.Errorf("%d calls failed before the bank was left alone", failed)
			}
			for _, pause := range []time.Duration{10 * time.Second, 19999 * time.Millisecond} {
				w.clock.advance(pause)
				teller.wantIdle()
			}
			// The first probe fails, too.
			w.clock.advance(time.Millisecond)
			teller.look()
			if got := teller.next(); got.Again <= 0 {
				t.Fatalf("settled %+v", got)
			}
			teller.wantIdle()
			w.clock.advance(29999 * time.Millisecond)
			teller.wantIdle()

			well.Store(true)
			w.clock.advance(time.Millisecond)
			teller.look()
			receive(t, asked, "the probe")
			teller.wantIdle() // one at a time
			goOn <- struct{}{}
			for range 4 { // and then as ever
				receive(t, asked, "a call")
			}
			close(goOn)
			for range consents {
				if got := teller.next(); got.Again != delivered {
					t.Fatalf("settled %+v", got)
				}
			}
			teller.wantIdle()
			if n := len(bank.calls); n != failed+1+consents {
				t.Errorf("%d calls, want %d", n, failed+1+consents)
			}
		})
	}
}

// Refusals are answers: a bank that gives them is not left alone.
func TestRefusalsDoNotBreak(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	w.told("alpha", refuse(400, "FieldInvalid"))
	for i := range 12 {
		w.consent("alpha", tppA, fmt.Sprint("c-", i))
	}
	teller := w.teller(w.store)
	for range 12 {
		if got := teller.next(); got.Again <= 0 {
			t.Fatalf("settled %+v", got)
		}
	}
}

// A bank that hangs is called four times at once and no more, while another
// gets all its notices; and the server can stop, which leaves what was under
// way to others at once.
//
// Proves: N21
func TestHangingBankDelaysNoOther(t *testing.T) {
	forEachWorld(t, func(t *testing.T, w *world) {
		over := make(chan struct{})
		var atOnce, most atomic.Int64
		hanging := w.told("alpha", func(http.ResponseWriter, bankHeard) {
			if n := atOnce.Add(1); n > most.Load() {
				most.Store(n)
			}
			<-over
			atOnce.Add(-1)
		})
		well := w.told("beta", nil)
		const each = 25
		for i := range each {
			w.consent("alpha", tppA, fmt.Sprint("a-", i))
			w.consent("beta", tppA, fmt.Sprint("b-", i))
		}
		teller := w.teller(w.store)
		for range 4 {
			hanging.next(t)
		}
		for range each { // alpha's have all been hanging since
			well.next(t)
			if got := teller.next(); !strings.HasPrefix(got.About, "lodged b-") || got.Again != delivered {
				t.Fatalf("settled %+v", got)
			}
		}
		teller.wantIdle()
		if len(hanging.calls) != 0 {
			t.Error("a fifth call to the bank that hangs")
		}
		teller.stop()
		for range 4 {
			if got := teller.next(); !strings.HasPrefix(got.About, "lodged a-") || got.Again != 0 {
				t.Fatalf("settled %+v, want it handed back", got)
			}
		}
		close(over)
		if most.Load() != 4 {
			t.Errorf("%d calls at once, want 4", most.Load())
		}

		hanging.answer = nil
		next := w.teller(w.reopened())
		seen := map[string]bool{}
		for range each {
			seen[next.next().About] = true
		}
		if len(seen) != each {
			t.Errorf("%d consents told, want %d", len(seen), each)
		}
	})
}

// Two servers on one database share the work: nothing is told twice while
// nothing fails, and no consent is ever in two calls at once, however often
// both look while calls are under way.
func TestTellersShareTheWork(t *testing.T) {
	forEachWorld(t, func(t *testing.T, w *world) {
		var mu sync.Mutex
		busy, steps := map[string]bool{}, map[string][]string{}
		release := make(chan struct{})
		w.told("alpha", func(rw http.ResponseWriter, call bankHeard) {
			step, id, _ := strings.Cut(call.About, " ")
			mu.Lock()
			if busy[id] {
				t.Errorf("two calls about %s at once", id)
			}
			busy[id] = true
			steps[id] = append(steps[id], step)
			mu.Unlock()
			<-release
			mu.Lock()
			delete(busy, id)
			mu.Unlock()
			io.WriteString(rw, "{}")
		})
		const consents = 20
		want := map[string][]string{}
		for i := range consents {
			id := fmt.Sprint("c-", i)
			w.consent("alpha", tppA, id)
			w.revokeConsent("alpha", id)
			want[id] = []string{"lodged", "revoked"}
		}
		tellers := []*teller{w.teller(w.store), w.teller(w.reopened())}
		for range 2 * consents {
			tellers[0].look()
			tellers[1].look()
			release <- struct{}{}
			select {
			case <-tellers[0].settled:
			case <-tellers[1].settled:
			}
		}
		for _, teller := range tellers {
			teller.wantIdle()
			if teller.claimed.Load() == 0 {
				t.Error("one server did all the work")
			}
		}
		mu.Lock()
		defer mu.Unlock()
		if diff := cmp.Diff(want, steps); diff != "" {
			t.Errorf("told (-want +got):\n%s", diff)
		}
	})
}

// A server that dies between claim and call leaves the notice to another one,
// half a minute later.
func TestLostClaim(t *testing.T) {
	t.Parallel()
	forEachWorld(t, func(t *testing.T, w *world) {
		bank := w.told("alpha", nil)
		w.consent("alpha", tppA, "c-1")
		now := w.clock.Now()
		claimed, err := w.store.ClaimNotices(t.Context(), "alpha", "of the dead", 10, now.Add(30*time.Second), now)
		must(t, err)
		if len(claimed) != 1 {
			t.Fatalf("claimed %v", claimed)
		}
		teller := w.teller(w.reopened())
		w.clock.advance(29 * time.Second)
		teller.wantIdle()
		w.clock.advance(time.Second)
		teller.look()
		teller.wantDelivered("lodged c-1")
		bank.next(t)
	})
}

// What makes no sense is reported to the bank, once; it counts as what its
// status says.
func TestNonsenseIsReported(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		status    int
		body      string
		delivered bool
		reported  bool
	}{
		"ok":               {200, `{}`, true, false},
		"taken, nonsense":  {200, `<html>`, true, true},
		"refused, known":   {400, `{"error_class":"FieldInvalid"}`, false, false},
		"refused, unknown": {404, `{"fault":"x"}`, false, true},
		"redirected":       {302, ``, false, true},
		"down":             {502, `<html>`, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			w := sqliteWorld(t)
			bank := w.told("alpha", func(rw http.ResponseWriter, call bankHeard) {
				if call.Path == "/errors" {
					rw.WriteHeader(500)
					return
				}
				rw.Header().Set("Location", "/elsewhere")
				rw.WriteHeader(row.status)
				io.WriteString(rw, row.body)
			})
			w.consent("alpha", tppA, "c-1")
			teller := w.teller(w.store)
			if got := teller.next(); (got.Again == delivered) != row.delivered {
				t.Errorf("settled %+v", got)
			}
			if call := bank.next(t); call.Path != "/consents" {
				t.Errorf("call %s", call.Path)
			}
			if row.reported {
				report := bank.next(t)
				request, _ := report.Data["request"].(map[string]any)
				fault, _ := report.Data["error"].(map[string]any)
				if report.Path != "/errors" || request["url"] != bank.URL+"/api/priora/ob/v1/consents" || fault["error_class"] != "InternalProviderError" {
					t.Errorf("report %s %v", report.Path, report.Data)
				}
			}
			teller.stop() // waits for a report
			if len(bank.calls) != 0 {
				t.Errorf("one more call: %s", (<-bank.calls).Path)
			}
		})
	}
}

// Who is told nothing, and who is told all the same.
func TestWhoIsTold(t *testing.T) {
	t.Run("a bank without connector_url", func(t *testing.T) {
		w := sqliteWorld(t)
		w.consent("alpha", tppA, "c-1")
		teller := w.teller(w.store)
		teller.wantDelivered("lodged c-1")
		teller.wantIdle()
	})
	t.Run("a bank that is disabled", func(t *testing.T) {
		w := sqliteWorld(t)
		bank := w.told("alpha", nil)
		w.consent("alpha", tppA, "c-1")
		w.changeProvider("alpha", func(p *gatehouse.Provider) { p.Status = gatehouse.Disabled })
		teller := w.teller(w.store)
		teller.wantDelivered("lodged c-1")
		bank.next(t)
	})
	t.Run("of a client that is deleted", func(t *testing.T) {
		w := sqliteWorld(t)
		bank := w.told("alpha", nil)
		w.consent("alpha", tppA, "c-1")
		must(t, w.store.DeleteClient(t.Context(), tppA, w.clock.Now()))
		teller := w.teller(w.store)
		teller.wantDelivered("lodged c-1")
		teller.wantDelivered("revoked c-1")
		if call := bank.next(t); call.Data["app_name"] != "TPP <tpp-a>" {
			t.Errorf("data %v", call.Data)
		}
	})
	t.Run("a bank whose provider has no RS256 key", func(t *testing.T) {
		w := sqliteWorld(t)
		w.told("alpha", nil)
		w.consent("alpha", tppA, "c-1")
		_, err := w.raw().ExecContext(t.Context(), `DELETE FROM signing_keys WHERE provider = 'alpha' AND alg = 'RS256'`)
		must(t, err)
		teller := w.teller(w.store)
		if got := teller.next(); got.Again <= 0 {
			t.Errorf("settled %+v", got)
		}
		teller.stop()
		if !strings.Contains(w.logged(), "provider alpha has no RS256 key") {
			t.Errorf("log:\n%s", w.logged())
		}
	})
	t.Run("a bank of a provider that is deleted", func(t *testing.T) {
		w := sqliteWorld(t)
		w.told("alpha", nil)
		w.consent("alpha", tppA, "c-1")
		must(t, w.store.DeleteProvider(t.Context(), "alpha", w.clock.Now()))
		w.teller(w.store).wantIdle()
	})
}
