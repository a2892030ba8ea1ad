package oidc_test

// Hostile input against the public surface. Every answer that a target gets
// passes through quarry.RoundTrip, which holds it against what is true of all
// answers; a target adds what must be true of its own.

import (
	"bufio"
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	gojose "github.com/go-jose/go-jose/v4"

	"gatehouse"
	"gatehouse/eidas"
	"gatehouse/jose"
	"gatehouse/oidc"
)

// A quarry is a world that is asked by one goroutine, without a network: it is
// what http.DefaultTransport is while a target runs.
type quarry struct {
	*world
	handler http.Handler
	wrote   func() bool
	log     string        // what the last request logged
	took    time.Duration // by the last request
}

func newQuarry(f *testing.F) *quarry {
	w := sqliteWorld(f)
	q := &quarry{world: w, handler: w.server(w.store).Handler(), wrote: w.written()}
	before := http.DefaultTransport
	http.DefaultTransport = q
	f.Cleanup(func() { http.DefaultTransport = before })
	return q
}

// in takes the test that is running; the world's helpers fail it.
func (q *quarry) in(t *testing.T) *quarry { q.t = t; return q }

func (q *quarry) RoundTrip(r *http.Request) (*http.Response, error) {
	t := q.t
	t.Helper()
	var body []byte
	if r.Body != nil {
		body, _ = io.ReadAll(r.Body)
	}
	in := r.Clone(r.Context())
	in.Body, in.RemoteAddr, in.Host = io.NopCloser(bytes.NewReader(body)), "192.0.2.1:4711", "auth.example"
	if in.RequestURI == "" {
		in.RequestURI = r.URL.RequestURI()
	}
	q.logged()
	recorder, begun := httptest.NewRecorder(), time.Now()
	q.handler.ServeHTTP(recorder, in)
	q.took = time.Since(begun)
	q.log = q.logged()
	a := recorder.Result()
	wall(t, a.StatusCode, a.Header, recorder.Body.Bytes())
	wallLog(t, q.log)
	for _, sent := range []string{string(body), r.URL.RawQuery, r.Header.Get("Authorization"), r.Header.Get("Cookie")} {
		if len(sent) >= 40 && strings.Contains(q.log, sent) {
			t.Errorf("the log has what was sent: %s", q.log)
		}
	}
	return a, nil
}

// logged is what was logged since it was last called.
func (q *quarry) logged() string {
	q.world.log.mu.Lock()
	defer q.world.log.mu.Unlock()
	text := q.world.log.text.String()
	q.world.log.text.Reset()
	return text
}

// secrets of every world must not be in any answer or log.
var secrets = []string{secret, url.QueryEscape(secret), "app secret of", "PRIVATE KEY"}

// wall is what every answer must be, whatever was asked.
func wall(t testing.TB, status int, header http.Header, body []byte) {
	t.Helper()
	if status < 200 || status >= 500 {
		t.Errorf("status %d: %s", status, body)
	}
	if header.Get("X-Content-Type-Options") != "nosniff" || !interactionID.MatchString(header.Get("X-Fapi-Interaction-Id")) {
		t.Errorf("headers of every answer: %v", header)
	}
	for name, values := range header {
		for _, value := range values {
			if strings.ContainsFunc(value, func(c rune) bool { return c < ' ' || c > '~' }) {
				t.Errorf("%s: %q", name, value)
			}
		}
	}
	for _, secret := range secrets {
		if bytes.Contains(body, []byte(secret)) {
			t.Errorf("the answer has a secret: %s", body)
		}
	}
	if location := header.Get("Location"); location != "" {
		goodLocation(t, location)
	}
	var answer struct {
		Error       *string `json:"error"`
		Description *string `json:"error_description"`
		Class       *string `json:"error_class"`
		Message     *string `json:"error_message"`
		Code        *string
		Errors      []struct{ ErrorCode, Message, Path string }
		Data        struct {
			RedirectURI string `json:"redirect_uri"`
		} `json:"data"`
	}
	isJSON := strings.HasPrefix(header.Get("Content-Type"), "application/json")
	if isJSON && len(body) > 0 && json.Unmarshal(body, &answer) != nil && json.Unmarshal(body, new(any)) != nil {
		t.Errorf("no JSON: %s", body)
	}
	if strings.Contains(answer.Data.RedirectURI, "/cb") {
		goodLocation(t, answer.Data.RedirectURI)
	}
	if status < 400 || !isJSON {
		return
	}
	if answer.Code != nil {
		known := strings.HasPrefix(*answer.Code, strconv.Itoa(status)+" ") && len(answer.Errors) >= 1 && len(answer.Errors) <= 25
		for _, fault := range answer.Errors {
			known = known && strings.HasPrefix(fault.ErrorCode, "UK.OBIE.") && descriptive(fault.Message) && !strings.ContainsAny(fault.Path, "<>\"\r\n")
		}
		if !known {
			t.Errorf("%d %s", status, body)
		}
		return
	}
	known := slices.ContainsFunc(gatehouse.Kinds(), func(k gatehouse.KindRow) bool {
		return (status == k.PSD2 || status == k.HTTP) && answer.Class != nil && *answer.Class == k.Class &&
			(answer.Error != nil && *answer.Error == k.Code && answer.Description != nil && descriptive(*answer.Description) ||
				answer.Error == nil && answer.Message != nil && descriptive(*answer.Message))
	})
	if !known {
		t.Errorf("%d %s", status, body)
	}
}

var interactionID = regexp.MustCompile(`^[0-9a-fA-F-]{8,64}$`)

// descriptive reports whether s may be an error_description (RFC 6749 §5.2).
func descriptive(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(c rune) bool { return c < ' ' || c > '~' || c == '"' || c == '\\' })
}

// wallLog is what every log must be.
func wallLog(t testing.TB, log string) {
	t.Helper()
	if fault := faultOf(log); fault != "" {
		t.Errorf("the log has %s: %s", fault, log)
	}
}

// faultOf is what must not be in a log and is.
func faultOf(log string) string {
	for _, bad := range append([]string{`"level":"ERROR"`, `"msg":"panic"`}, secrets...) {
		if strings.Contains(log, bad) {
			return bad
		}
	}
	return ""
}

var (
	atBank    = regexp.MustCompile(`^https://bank\.example/(alpha|gamma)/login\?authorization_id=[0-9a-v]{26}$`)
	atPage    = regexp.MustCompile(`^(https://auth\.example)?/oidc/(alpha|beta|gamma)/access(/enter/[\w-]{43})?$`)
	ourParams = regexp.MustCompile(`^[A-Za-z0-9%+._~=&-]*$`)
)

// goodLocation is the bank's page, the PSU's, or a registered redirect_uri with
// parameters of ours behind it, each once.
//
// Proves: A23
func goodLocation(t testing.TB, location string) {
	t.Helper()
	if atBank.MatchString(location) || atPage.MatchString(location) {
		return
	}
	for _, registered := range []string{callback + "?a=1&", callback + "?"} {
		ours, found := strings.CutPrefix(location, registered)
		if !found {
			continue
		}
		values, err := url.ParseQuery(ours)
		if err != nil || !ourParams.MatchString(ours) || values.Has("code") == values.Has("error") || !strings.HasPrefix(values.Get("iss"), baseURL+"/") {
			t.Errorf("Location %q", location)
		}
		for name, all := range values {
			if len(all) != 1 || !slices.Contains([]string{"code", "state", "iss", "error", "error_description"}, name) {
				t.Errorf("Location %q has %s", location, name)
			}
		}
		return
	}
	t.Errorf("Location %q", location)
}

// quick fails the test when doing it takes more than 50 ms each of ten times:
// whatever else the machine does, a slow input is slow always.
func (q *quarry) quick(do func()) {
	q.t.Helper()
	for range 10 {
		do()
		if q.took <= 50*time.Millisecond {
			return
		}
	}
	q.t.Errorf("took %v, ten times", q.took)
}

// strictJSON reads one object by the standard library, refusing what that lets
// pass: repeated names, and what is not UTF-8.
func strictJSON(data []byte) (map[string]any, error) {
	if !utf8.Valid(data) {
		return nil, errors.New("not UTF-8")
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	value, err := strictValue(d)
	if err != nil {
		return nil, err
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, errors.New("more than one value")
	}
	object, ok := value.(map[string]any)
	if !ok {
		return nil, errors.New("not an object")
	}
	return object, nil
}

func strictValue(d *json.Decoder) (any, error) {
	token, err := d.Token()
	if err != nil {
		return nil, err
	}
	switch token {
	case json.Delim('{'):
		object := map[string]any{}
		for d.More() {
			name, err := d.Token()
			if err != nil {
				return nil, err
			}
			if _, twice := object[name.(string)]; twice {
				return nil, errors.New("a name twice")
			}
			if object[name.(string)], err = strictValue(d); err != nil {
				return nil, err
			}
		}
		_, err = d.Token()
		return object, err
	case json.Delim('['):
		var list []any
		for d.More() {
			value, err := strictValue(d)
			if err != nil {
				return nil, err
			}
			list = append(list, value)
		}
		_, err = d.Token()
		return list, err
	}
	return token, nil
}

// authorized holds the answer to a GET of alpha's authorization endpoint
// against the parameters that were sent.
func (q *quarry) authorized(a *answer, raw string) {
	t := q.t
	t.Helper()
	wrote, location := q.wrote(), a.Header.Get("Location")
	sent, err := url.ParseQuery(raw)
	if err != nil || strings.Contains(raw, ";") {
		if a.StatusCode != 400 || location != "" || wrote {
			t.Errorf("%q: %v", raw, a)
		}
		return
	}
	if location != "" && (len(sent["redirect_uri"]) != 1 || !strings.HasPrefix(location, "https://bank.example/") && !strings.HasPrefix(location, sent.Get("redirect_uri")) ||
		!slices.Contains([]string{callback, callback + "?a=1"}, sent.Get("redirect_uri"))) {
		t.Errorf("%q is sent to %s", raw, location)
	}
	if told, _ := url.Parse(location); told != nil && told.Host == "tpp.example" && told.Query().Get("state") != sent.Get("state") {
		t.Errorf("%q: the state comes back as %q", raw, told.Query().Get("state"))
	}
	id, begun := strings.CutPrefix(location, "https://bank.example/alpha/login?authorization_id=")
	if begun != wrote || begun != (len(a.Cookies()) == 1) {
		t.Errorf("%q: begun %v, written %v, %d cookies", raw, begun, wrote, len(a.Cookies()))
	}
	if !begun {
		return
	}
	for name, values := range sent {
		if len(values) != 1 {
			t.Errorf("%s is repeated in %q", name, raw)
		}
	}
	stored, err := q.store.Authorization(context.Background(), "alpha", id)
	must(t, err)
	r := stored.Request
	for name, value := range map[string]string{
		"client_id": r.ClientID, "redirect_uri": r.RedirectURI, "response_type": r.ResponseType, "state": r.State, "nonce": r.Nonce, "code_challenge": r.CodeChallenge,
	} {
		if sent.Get(name) != value {
			t.Errorf("%s of %q is stored as %q", name, raw, value)
		}
	}
	if r.ResponseType != "code" || !r.Scope.Within(gatehouse.Scopes{"openid", "accounts", "payments"}) || r.CodeChallenge != "" && sent.Get("code_challenge_method") != "S256" ||
		sent.Has("request_uri") && sent.Get("request_uri") != "" || len(r.State) > 2048 || len(r.Nonce) > 512 {
		t.Errorf("%q is begun as %+v", raw, r)
	}
}

// Proves: A23, N22, R9
func FuzzAuthorize(f *testing.F) {
	q := newQuarry(f)
	good := query(tppA)
	f.Add(good.encode(), false)
	f.Add(good.with(form{"redirect_uri": "https://tpp.example/cb?a=1", "prompt": "none", "state": "\r\nSet-Cookie: a=b"}).encode(), true)
	f.Add(good.with(form{"max_age": "60", "acr_values": "urn:openbanking:psd2:sca", "claims": `{"id_token":{"acr":{"essential":true,"values":["urn:openbanking:psd2:ca"]}}}`}).encode(), false)
	f.Add(good.with(form{"response_type": "token"}).encode()+"&state=2;x=%zz", true)
	f.Add(good.with(q.consent("alpha", tppA, "aac-1")).encode(), false)
	f.Add(good.with(form{"claims": strings.Repeat(`{"id_token":`, 33) + strings.Repeat("}", 33)}).encode(), false)
	for _, c := range redirectCases(f) {
		if presented, ok := c.Presented.(string); ok {
			f.Add(good.with(form{"redirect_uri": presented}).encode(), false)
		}
	}
	f.Fuzz(func(t *testing.T, raw string, post bool) {
		q.in(t)
		ask := func() *answer { return q.do("POST", "/oidc/alpha/authorize", formHeader, raw) }
		if !post {
			if _, err := url.ParseRequestURI("/x?" + raw); err != nil || strings.ContainsAny(raw, " #") {
				return // is never so far
			}
			ask = func() *answer {
				r := &http.Request{Method: "GET", URL: &url.URL{Path: "/oidc/alpha/authorize", RawQuery: raw}, RequestURI: "/oidc/alpha/authorize?" + raw, Header: http.Header{}}
				return q.answered(r)
			}
		}
		q.quick(func() { q.authorized(ask(), raw) })
	})
}

// answered is do with a request that is ready.
func (q *quarry) answered(r *http.Request) *answer {
	q.t.Helper()
	response, err := q.RoundTrip(r)
	must(q.t, err)
	body, err := io.ReadAll(response.Body)
	must(q.t, err)
	a := &answer{Response: response, Body: string(body)}
	json.Unmarshal(body, &a.JSON)
	return a
}

// Every parameter by itself, always well encoded.
//
// Proves: A23, R9
func FuzzAuthorizeFields(f *testing.F) {
	q := newQuarry(f)
	names := []string{"client_id", "redirect_uri", "response_type", "scope", "state", "nonce", "code_challenge", "code_challenge_method", "prompt", "max_age", "claims", "acr_values"}
	add := func(changes form) {
		all := query(tppA).with(changes)
		v := make([]string, len(names))
		for i, name := range names {
			v[i], _ = all[name].(string)
		}
		f.Add(v[0], v[1], v[2], v[3], v[4], v[5], v[6], v[7], v[8], v[9], v[10], v[11])
	}
	add(nil)
	add(form{"redirect_uri": "https://tpp.example/cb?a=1", "state": "\r\nLocation: https://evil.example", "prompt": "login consent", "max_age": "0"})
	add(form{"redirect_uri": callback + "/../cb", "claims": `{"id_token":{"acr":{"essential":true,"value":"x","values":null}},"userinfo":{}}`, "acr_values": "urn:openbanking:psd2:ca x"})
	add(q.consent("alpha", tppA, "aac-1").with(form{"response_type": "code id_token"}))
	f.Fuzz(func(t *testing.T, a, b, c, d, e, g, h, i, j, k, l, m string) {
		q.in(t)
		sent := form{}
		for n, value := range []string{a, b, c, d, e, g, h, i, j, k, l, m} {
			if value != "" {
				sent[names[n]] = value
			}
		}
		raw := sent.encode()
		q.quick(func() { q.authorized(q.get("/oidc/alpha/authorize?"+raw), raw) })
	})
}

// Stand-ins in the payloads of fuzzTokens: what a good token has afresh.
const (
	freshID        = "a-fresh-id-a-fresh-id-a-fresh-id"
	freshStatement = "a.fresh.statement"
)

// fuzzTokens lets loose on the doors of these names tokens that their signer
// signed and others. What is taken, another implementation must take, and the
// reader of the standard library; what is not signed is never taken and leaves
// nothing behind.
func fuzzTokens(f *testing.F, names ...string) {
	q := newQuarry(f)
	var doors []tokenDoor
	for _, door := range tokenDoors(q.world) {
		if slices.Contains(names, door.name) {
			doors = append(doors, door)
		}
	}
	slices.SortFunc(doors, func(a, b tokenDoor) int { return strings.Compare(a.name, b.name) })
	if len(doors) != len(names) {
		f.Fatalf("%d doors of %v", len(doors), names)
	}
	stamp := q.clock.Now().Unix()
	const signed, strange, unsigned, hashed, raw = 0, 1, 2, 3, 4
	for i, door := range doors {
		payload := door.claims()
		for _, name := range []string{"jti", "software_statement"} {
			if payload[name] != nil {
				payload[name] = map[string]string{"jti": freshID, "software_statement": freshStatement}[name]
			}
		}
		if data, ok := payload["data"].(claims); ok && data["auth_code"] != nil {
			payload["data"] = data.with(claims{"auth_code": freshID})
		}
		forge := newForge(f, door)
		header, object := text(f, forge.header()), text(f, payload)
		for by := range byte(4) {
			f.Add(byte(i), by, []byte(header), []byte(object))
		}
		for _, marred := range badForms {
			f.Add(byte(i), byte(signed), []byte(header), []byte(marred.mar(object)))
		}
		for slip := range slipped(object) {
			f.Add(byte(i), byte(signed), []byte(header), []byte(slip))
		}
		f.Add(byte(i), byte(signed), []byte(text(f, forge.header().with(claims{"alg": "none", "crit": []string{"exp"}}))), []byte(object))
		f.Add(byte(i), byte(signed), []byte(header), []byte(first(`"exp":1e400,"aud":["a"],"iss":null`, object)))
		f.Add(byte(i), byte(raw), []byte(forge.good()), []byte(nil))
	}
	x := newAttacker(q.world, "alpha")
	for _, c := range attacks(f, "client_assertion") {
		f.Add(byte(0), byte(raw), []byte(x.token(c, q.assertionClaims("alpha", attackerID))), []byte(nil))
	}
	f.Fuzz(func(t *testing.T, which, by byte, header, payload []byte) {
		q.in(t)
		door := doors[int(which)%len(doors)]
		forge := newForge(t, door)
		now := q.clock.Now().Unix()
		object := strings.ReplaceAll(string(payload), freshID, gatehouse.NewSecret())
		if strings.Contains(object, freshStatement) {
			object = strings.ReplaceAll(object, freshStatement, q.statement(sandboxDirectory, forger, nil))
		}
		for _, after := range []int64{-60, 0, 120, 300, 3600} {
			object = strings.ReplaceAll(object, strconv.FormatInt(stamp+after, 10), strconv.FormatInt(now+after, 10))
		}
		input := b64(header) + "." + b64([]byte(object))
		token := string(header)
		switch by % 5 {
		case signed:
			token = forge.signed(input)
		case strange:
			other := door
			other.key = clientKey(t, tppB, door.key.Alg)
			token = newForge(t, other).signed(input)
		case unsigned:
			token = input + "."
		case hashed:
			mac := hmac.New(sha256.New, door.key.Public().Key.N.Bytes())
			mac.Write([]byte(input))
			token = input + "." + b64(mac.Sum(nil))
		}
		if len(door.required) == 2 && len(token) == 0 {
			return // a body that is not there
		}
		door.send(forge.good()) // what the door needs is ready, and not written while the token is tried
		q.wrote()
		var verdict verdictOf
		q.quick(func() { verdict = door.send(token) })
		if verdict.taken {
			q.clock.advance(15 * time.Minute) // registrations of one organisation have a limit
			accepted(t, door, token, time.Unix(now, 0))
		} else if !verdict.refused && !(verdict.denied && (by%5 == signed || by%5 == raw)) && verdict.text != "" && !strings.Contains(verdict.text, "slow_down") {
			t.Errorf("%s is neither taken nor refused as it should be: %s", door.name, verdict.text)
		}
		if wrote := q.wrote(); verdict.taken && !wrote || wrote && by%5 != signed && by%5 != raw {
			t.Errorf("%s: taken %v, written %v", door.name, verdict.taken, wrote)
		}
		if parts := strings.Split(token, "."); len(parts) == 3 && len(parts[2]) > 40 && strings.Contains(q.log, parts[2]) {
			t.Errorf("the log has the token: %s", q.log)
		}
	})
}

// slipped yields the object with a slip of the pen at the end of a word, of one
// after the other, in names and values.
func slipped(object string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for end := 1; end < len(object); end++ {
			last := object[end-1]
			if strings.IndexByte(`" &%+\`, object[end]) < 0 || (last < '0' || last > '9') && (last < 'a' || last > 'z') {
				continue
			}
			if !yield(object[:end-1] + string(last^1) + object[end:]) {
				return
			}
		}
	}
}

// accepted holds a token that was taken against what others make of it.
func accepted(t testing.TB, door tokenDoor, token string, now time.Time) {
	t.Helper()
	token = strings.TrimRight(token, "\r\n")
	object, err := gojose.ParseSignedCompact(token, []gojose.SignatureAlgorithm{gojose.RS256, gojose.PS256})
	must(t, err)
	payload, err := object.Verify(door.key.Public().Key)
	if err != nil {
		t.Fatalf("%s: %v: %s", door.name, err, token)
	}
	got, err := strictJSON(payload)
	if err != nil {
		t.Fatalf("%s took %s: %v", door.name, payload, err)
	}
	wanted := door.claims()
	for _, name := range door.required {
		if got[name] == nil {
			t.Errorf("%s took %s without %s", door.name, payload, name)
		}
	}
	for _, name := range door.times {
		number, _ := got[name].(json.Number)
		at, err := number.Float64()
		switch {
		case got[name] == nil:
		case err != nil:
			t.Errorf("%s took %s: %s is no time", door.name, payload, name)
		case name == "exp" && at <= float64(now.Unix()), name != "exp" && at > float64(now.Unix()+60):
			t.Errorf("%s took %s: %s is not its time", door.name, payload, name)
		}
	}
	if iss, sent := got[door.iss]; door.iss != "" && sent && iss != wanted[door.iss] {
		t.Errorf("%s took iss %v", door.name, iss)
	}
	if aud, sent := got[door.aud]; door.aud != "" && sent {
		list, isList := aud.([]any)
		if !isList {
			list = []any{aud}
		}
		if !slices.ContainsFunc(list, func(a any) bool { s, _ := a.(string); return strings.HasPrefix(s, baseURL) }) {
			t.Errorf("%s took aud %v", door.name, aud)
		}
	}
}

// Proves: R13, R9
func FuzzRequestObject(f *testing.F) {
	fuzzTokens(f, "request object at alpha", "request object at bank")
}

func FuzzClientAssertion(f *testing.F) { fuzzTokens(f, "assertion at alpha", "assertion at gamma") }

func FuzzStatement(f *testing.F) { fuzzTokens(f, "statement") }

func FuzzRegistration(f *testing.F) { fuzzTokens(f, "registration") }

func FuzzConnector(f *testing.F) { fuzzTokens(f, "verdict", "begin", "hand-over") }

func FuzzConsentToken(f *testing.F) { fuzzTokens(f, "consent body") }

// A consent is lodged only from one strict JSON object, and as it came; what is
// refused leaves nothing behind.
func FuzzConsentBody(f *testing.F) {
	q := newQuarry(f)
	q.addEverything()
	token := q.ownToken("alpha", everything)
	for i, r := range resources {
		f.Add(byte(i), []byte(r.body))
		for _, marred := range badForms {
			f.Add(byte(i), []byte(marred.mar(r.body)))
		}
		f.Add(byte(i), []byte(first(`"Data":{},"data":[]`, r.body)))
	}
	f.Add(byte(0), []byte(strings.Repeat(`{"Data":`, 5000)))
	f.Fuzz(func(t *testing.T, which byte, body []byte) {
		q.in(t)
		r := resources[int(which)%len(resources)]
		var a *answer
		q.wrote()
		q.quick(func() {
			a = q.do("POST", r.at("alpha", "v3.1.11"), http.Header{"Authorization": {"Bearer " + token}, "Content-Type": {"application/json"}}, string(body))
		})
		wrote := q.wrote()
		if a.StatusCode != 201 {
			if wrote || a.StatusCode != 400 && a.StatusCode != 413 {
				t.Errorf("written %v: %v", wrote, a)
			}
			return
		}
		sent, err := strictJSON(body)
		if err != nil {
			t.Fatalf("took %s: %v", body, err)
		}
		stored, err := q.store.Consent(context.Background(), "alpha", a.data("ConsentId"))
		must(t, err)
		if stored.ClientID != everything || stored.Kind != r.kind || stored.Status != gatehouse.ConsentAwaitingAuthorisation || !wrote {
			t.Errorf("lodged %+v", stored)
		}
		lodged, err := strictJSON(stored.Lodged)
		must(t, err)
		for name, member := range lodged {
			was, _ := json.Marshal(sent[name])
			is, _ := json.Marshal(member)
			if !bytes.Equal(was, is) {
				t.Errorf("%s came as %s and is kept as %s", name, was, is)
			}
		}
	})
}

// The token endpoint with any body, and whoever asks. A token is given only to
// who is authenticated.
func FuzzToken(f *testing.F) {
	q := newQuarry(f)
	const bodyType = "application/x-www-form-urlencoded"
	for _, body := range []string{
		clientCredentials.encode(), exchange(gatehouse.NewSecret()).encode(),
		form{"grant_type": "refresh_token", "refresh_token": gatehouse.NewSecret()}.encode(),
		clientCredentials.with(form{"client_id": basic, "client_secret": "x", "scope": "accounts accounts"}).encode(),
		"grant_type=client_credentials&grant_type=client_credentials", "grant_type=%", "a=b;c=d", strings.Repeat("a&", 200),
	} {
		for as := range byte(4) {
			f.Add(as, bodyType, body)
		}
	}
	f.Add(byte(0), "application/json", `{"grant_type":"client_credentials"}`)
	f.Add(byte(1), "application/json", `{"grant_type":"client_credentials","grant_type":null}`)
	f.Fuzz(func(t *testing.T, as byte, media, body string) {
		q.in(t)
		header := http.Header{"Content-Type": {media}}
		good := as%4 != 0
		switch as % 4 {
		case 1:
			header.Set("Authorization", basicHeader(basic, secret))
		case 2:
			body += "&" + q.asserted("gamma", tppA, nil).encode()
		case 3:
			header.Set("Authorization", basicHeader(basic, "not the secret"))
			good = false
		}
		q.wrote()
		var a *answer
		q.quick(func() { a = q.do("POST", "/api/oidc/gamma/tokens", header, body) })
		wrote := q.wrote()
		if a.StatusCode != 200 {
			if a.JSON["access_token"] != nil || wrote && !good {
				t.Errorf("written %v: %v", wrote, a)
			}
			return
		}
		if !good || !q.active("gamma", a.text("access_token")) || a.text("token_type") != "Bearer" {
			t.Errorf("%q as %d: %v", body, as%4, a)
		}
		if media == bodyType {
			sent, err := url.ParseQuery(body)
			if err != nil || len(sent["grant_type"]) != 1 || sent.Get("grant_type") != "client_credentials" {
				t.Errorf("%q gets a token", body)
			}
		}
	})
}

// A surface is every public route, with what it needs to be served: a software
// of this name that registers, and a resource server of alpha.
func surface(w *world, owner, guard string) []*http.Request {
	w.t.Helper()
	v := w.visit("alpha", query(tppA))
	token := w.ownToken("alpha", tppA)
	consent := w.lodge("alpha", tppA, gatehouse.AccountAccess, "")
	tpp, leaving := w.registrant(owner, nil), w.registrant(owner+"-leaving", nil)
	psu := w.person("alpha", "psu-17")
	var all []*http.Request
	add := func(method, target string, header http.Header, body string) {
		r, err := http.NewRequest(method, baseURL+target, strings.NewReader(body))
		must(w.t, err)
		for name, values := range header {
			r.Header[name] = values
		}
		all = append(all, r)
	}
	connector := func(method, path string, data claims) {
		add(method, "/api/connectors/ob/v1"+path, w.connectorHeader("alpha"),
			sign(w.t, key(w.t, "bank alpha", jose.RS256), "", claims{"data": data, "exp": w.clock.Now().Add(5 * time.Minute).Unix()}))
	}
	add("GET", "/.well-known/openid-configuration/alpha", nil, "")
	add("GET", "/alpha/.well-known/openid-configuration", nil, "")
	add("GET", "/.well-known/oauth-authorization-server/alpha", nil, "")
	add("GET", "/oidc/alpha/jwks", nil, "")
	add("GET", "/oidc/alpha/authorize?"+query(tppA).encode(), nil, "")
	add("POST", "/oidc/gamma/authorize", formHeader, query(tppA).encode())
	add("GET", "/oidc/alpha/authorize/"+v.id, http.Header{"Cookie": {v.cookie}}, "")
	for _, path := range []string{"/api/oidc/gamma/tokens", "/api/oidc/tokens", "/api/oidc/gamma/introspect", "/api/oidc/gamma/revoke"} {
		header := formHeader.Clone()
		header.Set("Authorization", basicHeader(basic, secret))
		add("POST", path, header, clientCredentials.with(form{"token": token}).encode())
		add("POST", path, formHeader, w.asserted("gamma", tppA, clientCredentials.with(form{"token": token})).encode())
	}
	add("GET", "/api/oidc/alpha/userinfo", bearerHeader(token), "")
	add("POST", "/api/oidc/alpha/userinfo", formHeader, "access_token="+token)
	add("GET", "/api/oidc/alpha/check/a/b?scope=accounts", http.Header{"Resource-Server-Authorization": {basicHeader(guard, guardSecret)}, "Authorization": {"Bearer " + token}}, "")
	add("GET", "/api/oidc/alpha/check", http.Header{"Resource-Server-Authorization": {basicHeader(guard, guardSecret)}}, "")
	add("POST", registerPath, jwtHeader, w.registrationRequest(owner, w.statement(sandboxDirectory, owner, nil), nil))
	add("POST", registerPath+"/recover", jwtHeader, w.registrationRequest(owner, w.statement(sandboxDirectory, owner, nil), nil))
	add("GET", tpp.path(), bearerHeader(tpp.token), "")
	add("PUT", tpp.path(), http.Header{"Authorization": {"Bearer " + tpp.token}, "Content-Type": jwtHeader["Content-Type"]}, w.registrationRequest(owner, w.statement(sandboxDirectory, owner, nil), claims{"client_id": tpp.id}))
	add("DELETE", leaving.path(), bearerHeader(leaving.token), "")
	for _, path := range []string{certificatesPath("alpha"), strings.Replace(certificatesPath("alpha"), "v3.1", "v3.1.11", 1)} {
		add("POST", path, http.Header{"Authorization": {"Bearer " + token}, "Content-Type": {"application/json"}},
			text(w.t, certificateBody(eidas.QSeal, "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n")))
	}
	add("DELETE", certificatesPath("alpha")+"/"+strings.Repeat("A", 43), bearerHeader(token), "")
	connector("POST", "/authorizations", claims{"authorize_url": "https://bank.example/beta/authorize?" + query(tppA).encode(), "auth_code": gatehouse.NewSecret()})
	connector("PUT", "/authorizations/"+v.id, approval)
	connector("GET", "/authorizations/"+v.id, nil)
	connector("GET", "/consents/"+consent, nil)
	connector("PUT", "/consents/"+consent, claims{"consent_id": consent, "status": "Authorised"})
	connector("PATCH", "/consents/"+consent+"/revoke", claims{"consent_id": consent})
	connector("PUT", "/payments/p-1", claims{"payment_id": "p-1", "status": "AcceptedSettlementCompleted"})
	connector("POST", "/psu_sessions", claims{"user_id": "psu-17"})
	session := http.Header{"Cookie": {psu.cookie}}
	add("GET", "/oidc/alpha/access", session, "")
	add("GET", "/oidc/alpha/access/history", session, "")
	add("GET", "/oidc/alpha/access/enter/"+gatehouse.NewSecret(), nil, "")
	add("POST", "/oidc/alpha/access/leave", http.Header{"Cookie": {psu.cookie}, "Content-Type": formHeader["Content-Type"]}, "token=x")
	add("GET", "/oidc/alpha/access/grants/"+gatehouse.FirstID(w.clock.Now()), session, "")
	add("POST", "/oidc/alpha/access/grants/"+gatehouse.FirstID(w.clock.Now()), http.Header{"Cookie": {psu.cookie}, "Content-Type": formHeader["Content-Type"]}, "token=x")
	add("GET", "/oidc/alpha/theme.css", nil, "")
	add("GET", "/docs/open_banking/alpha", nil, "")
	add("GET", "/static/page.css", nil, "")
	for _, r := range resources {
		for _, version := range []string{"v3.1", "v3.1.11"} {
			add("POST", r.at("alpha", version), http.Header{"Authorization": {"Bearer " + token}, "Content-Type": {"application/json"}}, r.body)
			add("GET", r.at("alpha", version)+"/"+consent, bearerHeader(token), "")
			add("DELETE", r.at("alpha", version)+"/"+gatehouse.NewSecret(), bearerHeader(token), "")
		}
	}
	return all
}

// routeOf returns which of the routes a path is of.
func routeOf() func(r *http.Request) oidc.Route {
	mux, routes := http.NewServeMux(), map[string]oidc.Route{}
	for _, route := range oidc.Routes() {
		mux.Handle(route.Pattern, http.NotFoundHandler())
		routes[route.Pattern] = route
	}
	return func(r *http.Request) oidc.Route {
		_, pattern := mux.Handler(r)
		return routes[pattern]
	}
}

// The surface has every method of every route, but for HEAD, which is GET.
func TestSurfaceIsWhole(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	missing := map[string]bool{}
	for _, route := range oidc.Routes() {
		for method := range strings.SplitSeq(route.Methods, ", ") {
			missing[method+" "+route.Pattern] = method != "HEAD" && route.Pattern != "/"
		}
	}
	of := routeOf()
	for _, r := range surface(w, "surface", w.guard("alpha")) {
		route := of(r)
		if route.Methods == "" { // any
			r.Method = ""
		}
		delete(missing, r.Method+" "+route.Pattern)
	}
	for what, is := range missing {
		if is {
			t.Errorf("the surface lacks %s", what)
		}
	}
}

// Any request at any route with its method and one header changed. A method
// that is not one of the route's is refused as such, and no other is.
//
// Proves: A23, N22
func FuzzEndpoints(f *testing.F) {
	q := newQuarry(f)
	routes, of := surface(q.world, "surface", q.guard("alpha")), routeOf()
	for i, r := range routes {
		f.Add(byte(i), of(r).Methods, "Accept", "*/*", "", "")
		body, err := io.ReadAll(r.Body)
		must(f, err)
		f.Add(byte(i), r.Method, "X-Fapi-Interaction-Id", "93bac548-d2de-4546-b106-880a5018460d", string(body), "")
		f.Add(byte(i), "OPTIONS", "Origin", "https://evil.example", "", "dry_run=true")
	}
	for _, header := range [][2]string{
		{"Authorization", "Bearer " + strings.Repeat(".", 70)}, {"Authorization", "Basic ::::"}, {"Authorization", "Basic \xff"}, {"Cookie", "a=b; a=c; =;;"},
		{"Content-Type", "application/json; charset=\"utf-8"}, {"X-Forwarded-For", "::1, a"}, {"X-Fapi-Interaction-Id", "a\r\nb"}, {"Accept", "text/html;q=2"},
		{"X-Idempotency-Key", strings.Repeat("k", 41)}, {"X-Jws-Signature", "a..b"}, {"X-Fapi-Auth-Date", "Sun"}, {"Accept-Language", "de-DE, ;q=0"}, {"App-Id", "app-alpha"},
	} {
		for i := range routes {
			f.Add(byte(i), routes[i].Method, header[0], header[1], "", "a=%00")
		}
	}
	f.Fuzz(func(t *testing.T, which byte, method, name, value, body, rawQuery string) {
		q.in(t)
		r := routes[int(which)%len(routes)].Clone(t.Context())
		r.Method, r.Body = method, io.NopCloser(strings.NewReader(body))
		if rawQuery != "" {
			r.URL.RawQuery = rawQuery
		}
		r.Header[http.CanonicalHeaderKey(name)] = []string{value}
		route := of(r)
		takes := route.Methods == "" || slices.Contains(strings.Split(route.Methods, ", "), method) || method == "OPTIONS" && route.AnyOrigin
		if method == "TRACE" || method == "CONNECT" {
			takes = false
		}
		q.quick(func() {
			a := q.answered(r)
			if takes != (a.StatusCode != 405) {
				t.Errorf("%s %s is answered %s", method, route.Pattern, a.Status)
			}
			if id := a.Header.Get("X-Fapi-Interaction-Id"); len(value) >= 8 && http.CanonicalHeaderKey(name) == "X-Fapi-Interaction-Id" && (id == value) != interactionID.MatchString(value) {
				t.Errorf("%q is answered with %q", value, id)
			}
			r.Body = io.NopCloser(strings.NewReader(body))
		})
	})
}

// reached is the route and the provider that a request came to, as it is
// logged.
func reached(t testing.TB, log string) (route, provider string) {
	t.Helper()
	for line := range strings.Lines(log) {
		var entry struct {
			Msg, Route string
			Provider   string `json:"provider_code"`
		}
		must(t, json.Unmarshal([]byte(line), &entry))
		if entry.Msg == "request" {
			route, provider = entry.Route, entry.Provider
		}
	}
	return route, provider
}

// fits reports whether a path is, byte for byte, one of a route at a provider.
func fits(path, route, provider string) bool {
	have, want := strings.Split(path, "/"), strings.Split(route, "/")
	if len(want) > 0 && want[len(want)-1] == "{path...}" && len(have) >= len(want) {
		have, want = have[:len(want)-1], want[:len(want)-1]
	}
	if len(have) != len(want) {
		return false
	}
	for i := range want {
		switch {
		case want[i] == "{provider_code}":
			if provider != "" && have[i] != provider {
				return false
			}
		case strings.HasPrefix(want[i], "{"):
			if have[i] == "" || have[i] == "." || have[i] == ".." {
				return false
			}
		case have[i] != want[i]:
			return false
		}
	}
	return true
}

// Whatever a path looks like, it reaches the route that it spells, at the
// provider that it spells, or none.
//
// Proves: N13
func FuzzPaths(f *testing.F) {
	q := newQuarry(f)
	for _, r := range surface(q.world, "surface", q.guard("alpha")) {
		f.Add(r.Method, r.URL.Path)
	}
	for _, path := range []string{
		"/oidc/ALPHA/jwks", "//oidc/alpha/jwks", "/oidc/alpha/./jwks", "/oidc/beta/../alpha/jwks", "/oidc/beta%2f..%2falpha/jwks", "/oidc/alpha;beta/jwks", "/oidc/alpha/jwks/",
		"/oidc/al%70ha/jwks", "/oidc/alpha%00/jwks", "/oidc/alpha\\jwks", "/oidc/alpha/jwks;x=1", "/OIDC/alpha/jwks", "/admin/v1/providers", "/api/admin/providers", "*",
		"http://evil.example/oidc/alpha/jwks", "/oidc/alpha%252fjwks", "/oidc/аlpha/jwks", "/oidc/alpha/jwks?/../beta", "/oidc/alpha/jwks#/beta", "/healthz", "/metrics",
		"/api/oidc/alpha/check//a", "/api/oidc/alpha/check/../../beta/check", "/static/../static/page.css", "/static/..%2fstyle.css", "/static/.", "/oidc/{provider_code}/jwks",
	} {
		f.Add("GET", path)
	}
	f.Fuzz(func(t *testing.T, method, target string) {
		q.in(t)
		r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(method + " " + target + " HTTP/1.1\r\nHost: auth.example\r\n\r\n")))
		if err != nil {
			return // net/http answers
		}
		a := q.answered(r)
		route, provider := reached(t, q.log)
		if route == "" || route == "/" {
			if a.StatusCode != 404 || provider != "" {
				t.Errorf("%s %s: %v at %q", method, target, a, provider)
			}
			return
		}
		path, _, _ := strings.Cut(r.RequestURI, "?")
		if _, rest, absolute := strings.Cut(path, "://"); absolute && !strings.HasPrefix(path, "/") {
			_, path, _ = strings.Cut(rest, "/")
			path = "/" + path
		}
		if !fits(path, route, provider) || strings.Contains(route, "admin") {
			t.Errorf("%s %s reaches %s at %q", method, target, route, provider)
		}
	})
}

// Behind a trusted proxy a request counts as one that came, without any proxy,
// from the last address that no such proxy wrote; and whatever the client wrote
// before that, it counts as the same.
//
// Proves: N11
func FuzzForwardedFor(f *testing.F) {
	q := newQuarry(f)
	proxies := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("2001:db8:5::/48")}
	q.limited(oidc.Limits{AuthorizeAddress: oidc.Rate{PerSecond: 1, Burst: 1}}, proxies...)
	proxy := netip.MustParseAddr("10.0.0.1")
	trusted := func(address netip.Addr) bool {
		return slices.ContainsFunc(proxies, func(p netip.Prefix) bool { return p.Contains(address) })
	}
	for _, hops := range []string{
		"1.1.1.1", "1.1.1.1, 10.0.0.2", "10.1.1.1", "2001:db8::1", "2001:db8:5::7", "1.1.1.1,2001:db8:5::7", "::ffff:1.1.1.1", "::ffff:10.0.0.2", "fe80::1%eth0", "10.0.0.2%eth0", "2001:db8:5::7%a",
		"1.1.1.1:80", "[2001:db8::1]:80", "[::1]", "unknown", "_hidden", "", ",", " , ,", "01.1.1.1", "1.1.1", "0x0a000001", "1.1.1.1\t", "\u00a01.1.1.1", "::", "::ffff:0:0", "10.0.0.1/8", "for=1.1.1.1", "1.1.1.1;2.2.2.2",
		strings.Repeat("10.0.0.2,", 2000),
	} {
		f.Add("", hops, false)
		f.Add("9.9.9.9, 8.8.8.8", hops, true)
		f.Add("10.0.0.3,", hops, false)
	}
	f.Fuzz(func(t *testing.T, written, hops string, apart bool) {
		q.in(t)
		if strings.ContainsFunc(written+hops, func(c rune) bool { return c < ' ' && c != '\t' || c == 0x7f }) {
			return // is never so far
		}
		ask := func(peer netip.Addr, header ...string) int {
			r := httptest.NewRequest("GET", "/oidc/alpha/authorize?%", nil) // malformed, but counted
			r.RemoteAddr, r.Header["X-Forwarded-For"] = netip.AddrPortFrom(peer, 4711).String(), header
			recorder := httptest.NewRecorder()
			q.site.Config.Handler.ServeHTTP(recorder, r)
			wall(t, recorder.Code, recorder.Header(), recorder.Body.Bytes())
			return recorder.Code
		}
		header := []string{written, hops}
		if !apart {
			header = []string{written + "," + hops}
		}
		// own is who is in front of the proxies that are in hops; ours says that
		// it is not one of those themselves.
		own, ours := proxy, false
		for _, hop := range slices.Backward(strings.Split(hops, ",")) {
			next, err := netip.ParseAddr(strings.Trim(hop, " \t\u00a0\u0085"))
			if err == nil {
				own = next.Unmap().WithZone("")
			}
			if ours = err != nil || !trusted(own); ours {
				break
			}
		}
		q.clock.advance(time.Minute)
		q.quick(func() {
			begun := time.Now()
			q.clock.advance(time.Minute)
			if status := ask(proxy, header...); status != 400 {
				t.Errorf("%q is answered %d", header, status)
			}
			q.took = time.Since(begun)
		})
		if ours {
			for _, status := range []int{ask(own), ask(proxy, hops), ask(proxy, "4.4.4.4,10.0.0.9,"+hops), ask(proxy, "4.4.4.4", "x", hops)} {
				if status != 429 {
					t.Errorf("%q is not counted as %v", header, own)
				}
			}
		}
		if other := netip.MustParseAddr("203.0.113.77"); !strings.Contains(written+hops, "203") && ask(other) != 400 {
			t.Errorf("%q is counted as %v", header, other)
		}
		wallLog(t, q.logged())
	})
}

// A patient connection hides the end of input from a handler that runs:
// net/http takes it for a client that has gone, and gives up the request. It
// looks for it one byte at a time; so does, now and then, a reader of a header,
// whose deadline then ends the wait.
type patient struct {
	net.Conn
	over chan struct{} // the handler is

	mu       sync.Mutex
	deadline time.Time
}

func (p *patient) Read(b []byte) (int, error) {
	n, err := p.Conn.Read(b)
	if err != io.EOF || len(b) != 1 {
		return n, err
	}
	p.mu.Lock()
	deadline := p.deadline
	p.mu.Unlock()
	var late <-chan time.Time
	if !deadline.IsZero() {
		late = time.After(time.Until(deadline))
	}
	select {
	case <-p.over:
	case <-late:
	}
	return 0, os.ErrDeadlineExceeded
}

func (p *patient) SetReadDeadline(t time.Time) error {
	select {
	case <-p.over:
	default:
	}
	if !t.IsZero() && t.Before(time.Now()) {
		p.over <- struct{}{}
	} else {
		p.mu.Lock()
		p.deadline = t
		p.mu.Unlock()
	}
	return p.Conn.SetReadDeadline(t)
}

func (p *patient) Close() error {
	select {
	case p.over <- struct{}{}:
	default:
	}
	return p.Conn.Close()
}

type patientListener struct{ net.Listener }

func (l patientListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	return &patient{Conn: conn, over: make(chan struct{}, 1)}, err
}

// wire serves a handler on a socket for raw bytes.
func wire(t testing.TB, handler http.Handler, log *slog.Logger) (exchange func(t testing.TB, raw []byte) []byte, stop func()) {
	dir, err := os.MkdirTemp("", "gatehouse")
	must(t, err)
	address := filepath.Join(dir, "s")
	listener, err := net.Listen("unix", address)
	must(t, err)
	server := &http.Server{
		Handler: handler, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelWarn),
		ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: 10 * time.Second, IdleTimeout: 10 * time.Second, MaxHeaderBytes: 16 << 10,
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(patientListener{listener}) }()
	exchange = func(t testing.TB, raw []byte) []byte {
		t.Helper()
		conn, err := net.Dial("unix", address)
		must(t, err)
		defer conn.Close()
		must(t, conn.SetDeadline(time.Now().Add(30*time.Second)))
		conn.Write(raw) // the server may have seen enough before the end
		conn.(*net.UnixConn).CloseWrite()
		answer, err := io.ReadAll(conn)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%q: no end of the answer", raw)
		}
		return answer
	}
	stop = func() {
		server.Close()
		<-served
		os.RemoveAll(dir)
	}
	return exchange, stop
}

var statusLine = regexp.MustCompile(`(?m)^HTTP/1\.[01] ([0-9]{3}) `)

// wallRaw is what every stream of answers must be. net/http answers 501 and 505
// by itself to transfer codings and versions that it does not know (RFC 9112
// §6.1, RFC 9110 §15.6.6).
func wallRaw(t testing.TB, raw, answer []byte) {
	t.Helper()
	statuses := statusLine.FindAllSubmatch(answer, -1)
	if len(answer) > 0 && (len(statuses) == 0 || !bytes.HasPrefix(answer, []byte("HTTP/1."))) {
		t.Errorf("%q: %q", raw, answer)
	}
	for _, status := range statuses {
		if s := string(status[1]); s >= "500" && s != "501" && s != "505" {
			t.Errorf("%q: %q", raw, answer)
		}
	}
	for _, secret := range secrets {
		if bytes.Contains(answer, []byte(secret)) {
			t.Errorf("%q: a secret: %q", raw, answer)
		}
	}
}

// dump is a request as it is on the wire.
func dump(t testing.TB, r *http.Request) []byte {
	t.Helper()
	var b bytes.Buffer
	must(t, r.Clone(t.Context()).Write(&b))
	return b.Bytes()
}

// Any bytes on a connection.
//
// Proves: N22
func FuzzRawHTTP(f *testing.F) {
	q := newQuarry(f)
	requests := surface(q.world, "surface", q.guard("alpha"))
	exchange, stop := wire(f, q.handler, q.server(q.store).Log)
	f.Cleanup(stop)
	for _, r := range requests {
		f.Add(dump(f, r))
	}
	for _, raw := range rawSeeds {
		f.Add([]byte(raw))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		q.in(t)
		q.logged()
		answer := exchange(t, raw)
		wallRaw(t, raw, answer)
		log := q.logged()
		wallLog(t, log)
		if ours := bytes.Count(answer, []byte("X-Fapi-Interaction-Id: ")); ours > strings.Count(log, `"msg":"request"`) {
			t.Errorf("%d answers, log %s", ours, log)
		}
	})
}

// rawSeeds are shapes on which servers have disagreed.
var rawSeeds = []string{
	"GET /oidc/alpha/jwks HTTP/1.1\r\nHost: a\r\n\r\nGET /oidc/beta/jwks HTTP/1.1\r\nHost: a\r\n\r\n",
	"POST /api/oidc/alpha/tokens HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET / HTTP/1.1\r\n\r\n",
	"POST /api/oidc/alpha/tokens HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nabcde",
	"POST /api/oidc/alpha/tokens HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Type: application/x-www-form-urlencoded\r\n\r\n1;x=\"\r\n\"\r\na\r\nffffffffffffffff\r\n",
	"POST /api/oidc/alpha/tokens HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 10\r\n\r\n",
	"POST /api/oidc/alpha/tokens HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
	"GET /oidc/alpha/jwks HTTP/1.0\n\n", "GET  /oidc/alpha/jwks HTTP/1.1\r\n\r\n", "GET /oidc/alpha/jwks HTTP/9.9\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
	"GET /oidc/alpha/jwks HTTP/1.1\r\nHost: a\r\n b: folded\r\n\r\n", "GET /oidc/alpha/jwks HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", "GET /oidc/alpha/jwks HTTP/1.1\r\nHost: a b\r\n\r\n",
	"CONNECT auth.example:443 HTTP/1.1\r\nHost: a\r\n\r\n", "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", "GET /oidc/alpha/jwks HTTP/1.1\r\nHost: a\r\nUpgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\n\r\n",
	"GET /oidc/alpha/jwks HTTP/1.1\r\nHost: a\r\nX: " + strings.Repeat("a", 4095-len("GET /oidc/alpha/jwks HTTP/1.1\r\nHost: a\r\nX: ")), // one byte less than the reader's buffer
	"GET /" + strings.Repeat("a", 20<<10) + " HTTP/1.1\r\nHost: a\r\n\r\n", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "\x00", "",
	fmt.Sprintf("GET /oidc/alpha/jwks HTTP/1.1\r\nHost: a\r\n%s\r\n", strings.Repeat("a: b\r\n", 3000)),
}
