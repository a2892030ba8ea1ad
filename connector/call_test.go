package connector_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"gatehouse/connector"
	"gatehouse/jose"
)

var now = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// keys are made once: they are slow to make.
var keys = sync.OnceValue(func() (k struct{ provider, bank, stranger *jose.PrivateKey }) {
	for _, into := range []**jose.PrivateKey{&k.provider, &k.bank, &k.stranger} {
		key, err := jose.GenerateKey(jose.RS256, 2048)
		if err != nil {
			panic(err)
		}
		*into = key
	}
	return k
})

// A heard is one call as a bank receives it, its token opened.
type heard struct {
	Method, Path string
	Header       http.Header
	Body         string
	Typ, Alg     string
	Payload      map[string]any
}

// serve starts a bank that answers by answer and passes on what it hears.
func serve(t *testing.T, answer http.HandlerFunc) (connector.Bank, chan heard) {
	t.Helper()
	calls := make(chan heard, 16)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		calls <- hear(t, r)
		answer(w, r)
	}))
	t.Cleanup(server.Close)
	return bankAt(server), calls
}

func bankAt(server *httptest.Server) connector.Bank {
	return connector.Bank{URL: server.URL + "/base", Issuer: "https://auth.example/alpha", Key: keys().provider}
}

func hear(t *testing.T, r *http.Request) heard {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		t.Error(err)
	}
	h := heard{Method: r.Method, Path: r.URL.Path, Header: r.Header.Clone(), Body: string(body)}
	signed, found := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	token, err := jose.Parse(signed, 256<<10)
	if err != nil || !found {
		t.Errorf("Authorization: %v", err)
		return h
	}
	if err := token.Verify([]*jose.PublicKey{keys().provider.Public()}, jose.RS256); err != nil {
		t.Error(err)
	}
	h.Typ, h.Alg, h.Payload = token.Typ, token.Alg, map[string]any{}
	for name := range token.Claims {
		var value any
		if err := token.Claims.Decode(name, &value); err != nil {
			t.Error(err)
		}
		h.Payload[name] = value
	}
	h.Header.Del("Authorization")
	return h
}

func caller() *connector.Caller {
	return &connector.Caller{Transport: connector.NewTransport(nil, nil), Now: func() time.Time { return now }}
}

func say(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		io.WriteString(w, body)
	}
}

var lodging = &connector.Call{
	Method: "POST", Path: "/consents", Data: map[string]any{"a": "<b>"},
	ClientID: "client-1", ConsentID: "consent-1", AccessToken: "token-1",
}

// Everything is in the signed token and the headers; there is no body.
func TestCallWire(t *testing.T) {
	bank, calls := serve(t, say(200, `{}`))
	answer, err := caller().Call(t.Context(), bank, lodging)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(&connector.Answer{Status: 200}, answer); diff != "" || !answer.Taken() {
		t.Errorf("answer (-want +got):\n%s", diff)
	}
	want := heard{
		Method: "POST", Path: "/base/api/priora/ob/v1/consents", Alg: "RS256",
		Header: http.Header{
			"Accept": {"application/json"}, "Content-Type": {"application/json"}, "Content-Length": {"0"}, "User-Agent": {"gatehouse"},
			"Client-Id": {"client-1"}, "Consent-Id": {"consent-1"}, "Access-Token": {"token-1"},
		},
		Payload: map[string]any{
			"data": map[string]any{"a": "<b>"}, "exp": float64(now.Add(2 * time.Minute).Unix()), "iss": "https://auth.example/alpha",
		},
	}
	if diff := cmp.Diff(want, <-calls); diff != "" {
		t.Errorf("call (-want +got):\n%s", diff)
	}
}

// The largest consent that can be lodged fits in the header, as far as we are
// concerned.
func TestLargeCall(t *testing.T) {
	bank, calls := serve(t, say(200, `{}`))
	text := strings.Repeat("x", 64<<10)
	if _, err := caller().Call(t.Context(), bank, &connector.Call{Method: "POST", Path: "/payment_consents", Data: map[string]any{"text": text}}); err != nil {
		t.Fatal(err)
	}
	if data, _ := (<-calls).Payload["data"].(map[string]any); data["text"] != text {
		t.Error("the data did not arrive whole")
	}
}

// What sense each answer makes.
func TestAnswers(t *testing.T) {
	for name, test := range map[string]struct {
		status int
		body   string
		want   connector.Answer
		taken  bool
	}{
		"ok":                  {200, `{}`, connector.Answer{}, true},
		"created":             {201, `{"data":{"a":[1]}}`, connector.Answer{}, true},
		"no content":          {204, ``, connector.Answer{}, true},
		"no body":             {200, ``, connector.Answer{Fault: "the body: not JSON"}, true},
		"a page":              {200, `<html>`, connector.Answer{Fault: "the body: not JSON"}, true},
		"a list":              {200, `[]`, connector.Answer{Fault: "the body: not a JSON object"}, true},
		"two members":         {200, `{"a":1,"a":2}`, connector.Answer{Fault: "the body: repeated member name"}, true},
		"largest":             {200, `{"a":"` + strings.Repeat("x", 64<<10-8) + `"}`, connector.Answer{}, true},
		"too large":           {200, `{"a":"` + strings.Repeat("x", 64<<10-7) + `"}`, connector.Answer{Fault: "the body is larger than 64 KiB"}, true},
		"redirect":            {307, `{}`, connector.Answer{Fault: "a redirect is not followed"}, false},
		"refused":             {400, `{"error_class":"FieldInvalid","error_message":"m"}`, connector.Answer{Class: "FieldInvalid"}, false},
		"refused, odd":        {404, `{"message":"m"}`, connector.Answer{Fault: "the body: error_class is missing"}, false},
		"refused, odder":      {404, `{"error_class":7}`, connector.Answer{Fault: "the body: error_class is not a string"}, false},
		"refused by a proxy":  {413, `<html>`, connector.Answer{Fault: "the body: not JSON"}, false},
		"broken":              {500, `{"error_class":"InternalServerError"}`, connector.Answer{Class: "InternalServerError"}, false},
		"broken, by a proxy":  {502, `<html>`, connector.Answer{}, false},
		"overloaded, no body": {503, ``, connector.Answer{}, false},
	} {
		t.Run(name, func(t *testing.T) {
			bank, calls := serve(t, func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Location", "/elsewhere")
				say(test.status, test.body)(w, r)
			})
			got, err := caller().Call(t.Context(), bank, lodging)
			if err != nil {
				t.Fatal(err)
			}
			test.want.Status = test.status
			if diff := cmp.Diff(&test.want, got); diff != "" || got.Taken() != test.taken {
				t.Errorf("taken %v, answer (-want +got):\n%s", got.Taken(), diff)
			}
			if len(calls) != 1 {
				t.Errorf("%d calls, want 1", len(calls))
			}
		})
	}
}

// RFC 9110 §10.2.3: seconds or a date; never sooner than in a second, never
// later than in an hour.
func TestRetryAfter(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"":                     0,
		"soon":                 0,
		"-5":                   0,
		"1.5":                  0,
		"0":                    time.Second,
		"7":                    7 * time.Second,
		"3600":                 time.Hour,
		"3601":                 time.Hour,
		"99999999999999999999": time.Hour,
		now.Add(90 * time.Second).Format(http.TimeFormat): 90 * time.Second,
		now.Add(2 * time.Hour).Format(http.TimeFormat):    time.Hour,
		now.Add(-time.Hour).Format(http.TimeFormat):       time.Second,
		now.Add(time.Minute).Format(time.RFC3339):         0,
	} {
		for _, status := range []int{200, 400, 503} {
			bank, _ := serve(t, func(w http.ResponseWriter, r *http.Request) {
				if text != "" {
					w.Header().Set("Retry-After", text)
				}
				say(status, `{"error_class":"Busy"}`)(w, r)
			})
			if got, err := caller().Call(t.Context(), bank, lodging); err != nil || got.RetryAfter != want {
				t.Errorf("Retry-After %q with %d: %+v %v, want %v", text, status, got, err, want)
			}
		}
	}
}

// A bank that does not answer, or not to the end, costs no more than the
// deadline.
//
// Proves: N21
func TestHangingBank(t *testing.T) {
	for name, begin := range map[string]func(w http.ResponseWriter){
		"before the answer": func(http.ResponseWriter) {},
		"in the answer": func(w http.ResponseWriter) {
			io.WriteString(w, "{")
			w.(http.Flusher).Flush()
		},
	} {
		t.Run(name, func(t *testing.T) {
			over := make(chan struct{})
			bank, _ := serve(t, func(w http.ResponseWriter, _ *http.Request) {
				begin(w)
				<-over
			})
			defer close(over)
			c := caller()
			c.Timeout = 100 * time.Millisecond
			if answer, err := c.Call(t.Context(), bank, lodging); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("answer %+v, error %v, want that of the deadline", answer, err)
			}
		})
	}
}

// A bank must show a certificate of an authority that is trusted, and sees
// ours when it asks for one.
//
// Proves: N21
func TestCallTLS(t *testing.T) {
	var shown []*x509.Certificate
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		shown = r.TLS.PeerCertificates
		io.WriteString(w, `{}`)
	}))
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.TLS = &tls.Config{ClientAuth: tls.RequireAnyClientCert}
	server.StartTLS()
	defer server.Close()
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())
	ours := &server.TLS.Certificates[0] // any will do

	for name, test := range map[string]struct {
		certificate *tls.Certificate
		roots       *x509.CertPool
		works       bool
	}{
		"both":                {ours, roots, true},
		"no certificate":      {nil, roots, false},
		"unknown authority":   {ours, nil, false},
		"another authority's": {ours, x509.NewCertPool(), false},
	} {
		c := caller()
		c.Transport = connector.NewTransport(test.certificate, test.roots)
		if _, err := c.Call(t.Context(), bankAt(server), lodging); (err == nil) != test.works {
			t.Errorf("%s: error %v", name, err)
		}
	}
	if len(shown) != 1 || !shown[0].Equal(server.Certificate()) {
		t.Errorf("the bank saw %d certificates of ours", len(shown))
	}
}

// A report names the call, without its secrets.
func TestReport(t *testing.T) {
	bank, calls := serve(t, say(200, `{}`))
	if err := caller().Report(t.Context(), bank, lodging, "the body: not JSON"); err != nil {
		t.Fatal(err)
	}
	got := <-calls
	if got.Method != "POST" || got.Path != "/base/api/priora/ob/v1/errors" || got.Header.Get("Access-Token") != "" {
		t.Errorf("%s %s %v", got.Method, got.Path, got.Header)
	}
	want := map[string]any{
		"request": map[string]any{
			"method": "POST", "url": bank.URL + "/api/priora/ob/v1/consents",
			"headers": map[string]any{
				"Accept": "application/json", "Content-Type": "application/json", "User-Agent": "gatehouse",
				"Client-Id": "client-1", "Consent-Id": "consent-1",
			},
		},
		"error": map[string]any{"error_class": "InternalProviderError", "error_message": "the body: not JSON"},
	}
	if diff := cmp.Diff(want, got.Payload["data"]); diff != "" {
		t.Errorf("data (-want +got):\n%s", diff)
	}
	if text, _ := json.Marshal(got); strings.Contains(string(text), "token-1") {
		t.Error("the report has the Access-Token of the call")
	}

	deaf, _ := serve(t, say(404, `{"error_class":"RouteNotFound"}`))
	if err := caller().Report(t.Context(), deaf, lodging, "x"); err == nil {
		t.Error("no error from a bank that does not listen")
	}
}
