package connector_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode"

	"gatehouse/connector"
)

// A said is a bank that says one thing, without a network.
type said struct {
	status     int
	retryAfter string
	body       []byte
}

func (s said) RoundTrip(*http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: s.status, Header: http.Header{"Retry-After": {s.retryAfter}}, Body: io.NopCloser(bytes.NewReader(s.body))}, nil
}

var seconds = regexp.MustCompile(`^[0-9]+$`)

// A bank may answer anything. When it wants to be asked again is never longer
// than an hour from now nor less than a second, and what makes sense of its body
// the standard library can read, too.
func FuzzAnswer(f *testing.F) {
	const good = `{"error_class":"ConsentNotFound","error_message":"x"}`
	for _, status := range []uint16{200, 201, 204, 301, 399, 400, 429, 499, 500, 503, 599} {
		f.Add(status, "", []byte(good))
		f.Add(status, "17", []byte(`{}`))
	}
	for _, text := range []string{
		"0", "3600", "3601", "-1", "+1", "1.5", " 5", "00", "4294967296", "99999999999999999999999", "1e3", "١", "Mon, 23 Nov 2026 12:00:30 GMT", "Monday, 23-Nov-26 12:00:30 GMT",
		"Mon Nov 23 12:00:30 2026", "Mon, 23 Nov 2026 11:00:00 GMT", "Fri, 31 Dec 9999 23:59:59 GMT", "Mon, 01 Jan 0001 00:00:00 GMT", "Mon, 23 Nov 2026 12:00:30 CET",
	} {
		f.Add(uint16(503), text, []byte("busy"))
	}
	for _, body := range []string{
		"", "null", "[]", "{", "{}{}", "{} ", `{"error_class":null}`, `{"error_class":["a"]}`, `{"error_class":"a","error_class":"b"}`, `{"error_class":"\ud800"}`, "{\"error_class\":\"\xff\"}",
		`{"a":` + strings.Repeat("[", 40) + strings.Repeat("]", 40) + `}`, `{"a":"` + strings.Repeat("a", 64<<10) + `"}`, strings.Repeat(" ", 64<<10), "{}" + strings.Repeat(" ", 64<<10), `{"\r\nA: b":1,"error_class":"\r\n"}`,
	} {
		f.Add(uint16(200), "", []byte(body))
		f.Add(uint16(400), "", []byte(body))
	}
	f.Fuzz(func(t *testing.T, status uint16, retryAfter string, body []byte) {
		s := said{200 + int(status)%400, retryAfter, body}
		if status >= 200 && status < 600 {
			s.status = int(status)
		}
		caller := &connector.Caller{Transport: s, Now: func() time.Time { return now }}
		a, err := caller.Call(t.Context(), connector.Bank{URL: "https://bank.example", Issuer: "https://auth.example/alpha", Key: keys().provider}, lodging)
		if err != nil {
			t.Fatal(err)
		}
		if a.Status != s.status || a.Taken() != (s.status/100 == 2) {
			t.Errorf("%d is answered as %+v", s.status, a)
		}
		_, noDate := http.ParseTime(retryAfter)
		if said := noDate == nil || seconds.MatchString(retryAfter); said != (a.RetryAfter >= time.Second) || !said && a.RetryAfter != 0 || a.RetryAfter > time.Hour {
			t.Errorf("Retry-After %q is %v", retryAfter, a.RetryAfter)
		}
		if a.Class != "" && a.Status < 400 {
			t.Errorf("%d has the class %q", a.Status, a.Class)
		}
		if len(a.Fault) > 500 || strings.ContainsFunc(a.Fault, unicode.IsControl) {
			t.Errorf("the fault is %q", a.Fault)
		}
		var object map[string]any
		readable := json.Unmarshal(body, &object) == nil && object != nil
		if a.Class != "" && (!readable || object["error_class"] != a.Class) {
			t.Errorf("the class of %s is %q", body, a.Class)
		}
		hasBody := a.Status < 500 && a.Status != http.StatusNoContent
		if !hasBody && a.Fault != "" {
			t.Errorf("%d %s has a fault: %s", a.Status, body, a.Fault)
		}
		if hasBody && a.Fault == "" {
			_, class := object["error_class"].(string)
			if !readable || len(body) > 64<<10 || a.Status/100 == 3 || a.Status >= 400 && !class {
				t.Errorf("%d %s makes sense", a.Status, body)
			}
		}
	})
}
