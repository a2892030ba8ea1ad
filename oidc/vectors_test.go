package oidc_test

import (
	"bytes"
	"database/sql"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"gatehouse"
)

// An attack is one case of jwt_attack_cases.json: a good token with something
// changed. The zero value changes nothing.
type attack struct {
	ID, Source      string
	Targets         []string
	Expect          string
	Header, Payload claims // nil deletes
	Sign            string // in words
}

// choices are the cases that the file leaves to the server.
var choices = map[string]bool{
	"time:exp-past-within-skew":    false, // there is no grace after exp
	"assertion:aud-issuer-array1":  false, // "strict": aud must be one string
	"assertion:aud-token-endpoint": true,  // "compat": profiles psd2 and oidc take it
}

// accepted reports what the server must make of the case.
func (c attack) accepted(t testing.TB) bool {
	t.Helper()
	if choice, left := choices[c.ID]; left {
		return choice
	}
	verdict, _, _ := strings.Cut(c.Expect, " ")
	switch strings.TrimSuffix(verdict, ":") {
	case "accept":
		return true
	case "reject":
		return false
	}
	t.Fatalf("%s: cannot read expect %q", c.ID, c.Expect)
	return false
}

// attacks returns the cases for one kind of token.
func attacks(t testing.TB, target string) []attack {
	t.Helper()
	var file struct {
		Description string
		Count       int
		Cases       []attack
	}
	readCases(t, "jwt_attack_cases.json", &file)
	if len(file.Cases) != file.Count {
		t.Fatalf("%d cases, not %d", len(file.Cases), file.Count)
	}
	return slices.DeleteFunc(file.Cases, func(c attack) bool { return !slices.Contains(c.Targets, target) })
}

// readCases reads a file of testdata; a member that nobody here knows fails.
func readCases(t testing.TB, name string, into any) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name))
	must(t, err)
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	must(t, decoder.Decode(into))
}

// Proves: C1, C3, C5
func TestAssertionAttacks(t *testing.T) {
	t.Parallel()
	tried := 0
	for provider, refused := range map[string]int{"alpha": 400, "gamma": 401} {
		w := sqliteWorld(t)
		x := newAttacker(w, provider)
		written := w.written()
		send := func(c attack) *answer {
			f := clientCredentials.with(form{
				"client_assertion_type": assertionType,
				"client_assertion":      x.token(c, w.assertionClaims(provider, attackerID).with(claims{"iat": minuteAgo(w)})),
			})
			if extra, ok := c.Payload["_form"].(map[string]any); ok {
				f = f.with(x.fill(c, extra).(map[string]any))
			}
			header := formHeader.Clone()
			if extra, ok := c.Payload["_header"].(map[string]any); ok {
				for name, value := range extra {
					header.Set(name, value.(string))
				}
			}
			return w.doForHost("POST", "/api/oidc/"+provider+"/tokens", header, f.encode())
		}
		taken := func(a *answer) bool { return a.StatusCode == 200 && a.text("access_token") != "" && written() }
		cases := attacks(t, "client_assertion")
		for _, c := range cases {
			if a := send(attack{}); !taken(a) {
				t.Fatalf("before %s: the good assertion: %v", c.ID, a)
			}
			a := send(c)
			switch {
			case c.accepted(t):
				if !taken(a) {
					t.Errorf("%s: %s: %v, want it accepted", provider, c.ID, a)
				}
			case a.StatusCode != refused || a.text("error") != "invalid_client" || a.JSON["access_token"] != nil:
				t.Errorf("%s: %s: %v, want %d invalid_client", provider, c.ID, a, refused)
			case written():
				t.Errorf("%s: %s: refused, but something was stored", provider, c.ID)
			default:
				tried++
			}
		}
		t.Logf("client_assertion at %s: %d cases", provider, len(cases))
	}
	t.Attr("bad_inputs", strconv.Itoa(tried))
}

// Proves: R1
func TestRequestObjectAttacks(t *testing.T) {
	t.Parallel()
	tried := 0
	for door, provider := range map[string]string{"alpha": "alpha", "bank": "beta"} {
		w := sqliteWorld(t)
		x := newAttacker(w, provider)
		written := w.written()
		send := func(c attack) *outcome {
			good := w.requestClaims(provider, attackerID).with(claims{"iat": minuteAgo(w), "nbf": minuteAgo(w)})
			return w.ask(door, query(attackerID).with(form{"request": x.token(c, good)}))
		}
		taken := func(o *outcome) bool { return o.begun() != "" && written() }
		cases := attacks(t, "request_object")
		for _, c := range cases {
			if c.Payload["_form"] != nil || c.Payload["_header"] != nil {
				t.Fatalf("%s: cannot be sent", c.ID)
			}
			if o := send(attack{}); !taken(o) {
				t.Fatalf("before %s: the good object: %v", c.ID, o)
			}
			o := send(c)
			switch {
			case c.accepted(t):
				if !taken(o) {
					t.Errorf("%s: %s: %v, want it accepted", door, c.ID, o)
				}
			case !o.tells("invalid_request_object"):
				t.Errorf("%s: %s: %v, want the TPP told invalid_request_object", door, c.ID, o)
			case written():
				t.Errorf("%s: %s: refused, but something was stored", door, c.ID)
			default:
				tried++
			}
		}
		t.Logf("request_object at %s: %d cases", door, len(cases))
	}
	t.Attr("bad_inputs", strconv.Itoa(tried))
}

// minuteAgo is when the good tokens were made: so that an exp that has just
// passed is wrong for no other reason.
func minuteAgo(w *world) int64 { return w.clock.Now().Add(-time.Minute).Unix() }

// Every choice is about a case that exists.
func TestChoicesExist(t *testing.T) {
	known := append(attacks(t, "client_assertion"), attacks(t, "request_object")...)
	for id := range choices {
		if !slices.ContainsFunc(known, func(c attack) bool { return c.ID == id }) {
			t.Errorf("%s is not a case", id)
		}
	}
}

// written returns a function that reports whether anything was committed to
// the database since it last was asked, but for the audit log.
func (w *world) written() func() bool {
	w.t.Helper()
	db, err := sql.Open("sqlite", strings.TrimPrefix(w.url, "sqlite:"))
	must(w.t, err)
	w.t.Cleanup(func() { db.Close() })
	ctx := w.t.Context()
	rows, err := db.QueryContext(ctx, "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT IN ('events', 'test_changes') AND name NOT LIKE 'sqlite_%'")
	must(w.t, err)
	statements := []string{"CREATE TABLE IF NOT EXISTS test_changes (n INTEGER)"}
	for rows.Next() {
		var table string
		must(w.t, rows.Scan(&table))
		for _, change := range []string{"INSERT", "UPDATE", "DELETE"} {
			statements = append(statements, fmt.Sprintf("CREATE TRIGGER IF NOT EXISTS test_%s_%s AFTER %[2]s ON %[1]s BEGIN INSERT INTO test_changes VALUES (1); END", table, change))
		}
	}
	must(w.t, rows.Err())
	for _, statement := range statements {
		_, err := db.ExecContext(ctx, statement)
		must(w.t, err)
	}
	changes := func() (n int64) {
		must(w.t, db.QueryRowContext(ctx, "SELECT coalesce(max(rowid), 0) FROM test_changes").Scan(&n))
		return n
	}
	last := changes()
	return func() bool {
		before := last
		last = changes()
		return last != before
	}
}

// doForHost is do, and takes the Host of the request from header.
func (w *world) doForHost(method, target string, header http.Header, body string) *answer {
	w.t.Helper()
	r, err := http.NewRequest(method, w.site.URL+target, strings.NewReader(body))
	must(w.t, err)
	maps.Copy(r.Header, header)
	r.Host = header.Get("Host")
	response, err := http.DefaultTransport.RoundTrip(r)
	must(w.t, err)
	defer response.Body.Close()
	data, err := io.ReadAll(response.Body)
	must(w.t, err)
	a := &answer{Response: response, Body: string(data)}
	json.Unmarshal(data, &a.JSON)
	return a
}

// A redirectCase is one case of redirect_uri_cases.json, of those two kinds it
// has: a presented beside registered URIs, and URIs that are to be registered.
type redirectCase struct {
	Registered []string
	Presented  any // a string, a list when it is sent more than once, nil when it is not sent
	Register   []string
	Expect     string
	Why        string
	Source     string
}

// accepted reports whether the presented URI is the registered one.
func (c redirectCase) accepted(t testing.TB) bool {
	t.Helper()
	switch {
	case strings.HasPrefix(c.Expect, "redirect"):
		return true
	case strings.HasPrefix(c.Expect, "error-page-no-redirect"):
		return false
	}
	t.Fatalf("%s: cannot read expect %q", c.Why, c.Expect)
	return false
}

// presented is redirect_uri as a parameter.
func (c redirectCase) presented(t testing.TB) form {
	t.Helper()
	switch presented := c.Presented.(type) {
	case nil, string:
		return form{"redirect_uri": presented}
	case []any:
		var list []string
		for _, member := range presented {
			list = append(list, member.(string))
		}
		return form{"redirect_uri": list}
	}
	t.Fatalf("%s: cannot present %v", c.Why, c.Presented)
	return nil
}

// redirectCases returns the cases that match a URI. Those that register one
// are for package gatehouse.
func redirectCases(t testing.TB) []redirectCase {
	t.Helper()
	var file struct {
		Description string
		Cases       []redirectCase
	}
	readCases(t, "redirect_uri_cases.json", &file)
	return slices.DeleteFunc(file.Cases, func(c redirectCase) bool { return c.Register != nil })
}

// redirectClients registers a client for each list of URIs in the cases and
// returns the function that finds it.
func (w *world) redirectClients(cases []redirectCase) func(redirectCase) string {
	w.t.Helper()
	ids := map[string]string{}
	name := func(c redirectCase) string { return strings.Join(c.Registered, " ") }
	for _, c := range cases {
		if ids[name(c)] == "" {
			id := fmt.Sprintf("redirect-%d", len(ids))
			w.addClient(gatehouse.Client{ID: id, JWKS: clientJWKS(w.t, id), RedirectURIs: c.Registered})
			ids[name(c)] = id
		}
	}
	return func(c redirectCase) string { return ids[name(c)] }
}

// Proves: A1
func TestRedirectURICases(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	cases := redirectCases(t)
	client, written := w.redirectClients(cases), w.written()
	tried := 0
	for door := range doors {
		for _, c := range cases {
			good := query(client(c)).with(form{"redirect_uri": c.Registered[0]})
			if o := w.ask(door, good); o.begun() == "" || !written() {
				t.Fatalf("before %s: the registered URI at %s: %v", c.Why, door, o)
			}
			o := w.ask(door, good.with(c.presented(t)))
			if !c.accepted(t) {
				tried++
			}
			switch {
			case c.accepted(t):
				if o.begun() == "" || !written() {
					t.Errorf("%s at %s: %v, want it accepted", c.Why, door, o)
				}
			case !o.hidden():
				t.Errorf("%s at %s: %v, want a page", c.Why, door, o)
			case written():
				t.Errorf("%s at %s: refused, but something was stored", c.Why, door)
			}
		}
		t.Logf("redirect_uri at %s: %d cases", door, len(cases))
	}
	t.Attr("bad_inputs", strconv.Itoa(tried))
}

// The answer goes to the registered URI as it is written, query and all.
//
// Proves: A23
func TestRedirectURIKeepsItsQuery(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	cases := slices.DeleteFunc(redirectCases(t), func(c redirectCase) bool { return !c.accepted(t) })
	client := w.redirectClients(cases)
	for _, c := range cases {
		want := c.Presented.(string) + "?"
		if strings.Contains(c.Presented.(string), "?") {
			want = c.Presented.(string) + "&"
		}
		q := query(client(c)).with(c.presented(t))
		for door := range doors {
			if o := w.ask(door, q.with(form{"response_type": "token"})); !strings.HasPrefix(o.location.String(), want) || o.location.Query().Get("error") == "" {
				t.Errorf("%s: error at %s: %v", c.Why, door, o)
			}
		}
		v := w.visit("alpha", q)
		v.decide(approval)
		if location := v.back().Header.Get("Location"); !strings.HasPrefix(location, want) || !strings.Contains(location, "code=") {
			t.Errorf("%s: %s", c.Why, location)
		}
		id, _, _ := w.bankCode(q, nil)
		data, _ := w.connector("beta", "PUT", "/"+id, approval).JSON["data"].(map[string]any)
		if location, _ := data["redirect_uri"].(string); !strings.HasPrefix(location, want) || !strings.Contains(location, "code=") {
			t.Errorf("%s: %s", c.Why, location)
		}
	}
}

// Proves: T7
func TestRedirectURICasesAtTheTokenEndpoint(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	cases := redirectCases(t)
	client := w.redirectClients(cases)
	tried := 0
	for _, provider := range everyProvider {
		for _, c := range cases {
			registered := form{"redirect_uri": c.Registered[0]}
			good := exchange(w.code(provider, client(c), registered)).with(registered)
			a := w.token(provider, client(c), good.with(c.presented(t)))
			if c.accepted(t) {
				expect(t, a, 200, "")
				continue
			}
			tried++
			fault := "invalid_grant"
			if _, twice := c.Presented.([]any); twice {
				fault = "invalid_request"
			}
			if a.StatusCode != 400 || a.text("error") != fault {
				t.Errorf("%s at %s: %v, want %s", c.Why, provider, a, fault)
			}
			expect(t, w.token(provider, client(c), good), 200, "") // the code is as good as before
		}
		t.Logf("redirect_uri at the token endpoint of %s: %d cases", provider, len(cases))
	}
	t.Attr("bad_inputs", strconv.Itoa(tried))
}
