package oidc_test

// The public handler against hostile HTTP: every route, with what a peer can do
// to its path, method, headers and body. Framing and connections are those of
// cmd/gatehouse/httpwall_test.go.

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"gatehouse"
	"gatehouse/oidc"
)

// tallied says how many inputs a test had refused.
func tallied(t *testing.T, n int) { t.Attr("bad_inputs", strconv.Itoa(n)) }

// pathOf is a path of a route at alpha.
func pathOf(pattern string) string {
	return strings.NewReplacer("{provider_code}", "alpha", "{file}", "gatehouse.css", "{path...}", "aisp/accounts").
		Replace(regexp.MustCompile(`\{(client_id|authorization_id|consent_id|payment_id|thumbprint|handover|grant_id)\}`).ReplaceAllString(pattern, "x"))
}

// methodOf is the first method that a route takes.
func methodOf(r oidc.Route) string {
	method, _, _ := strings.Cut(r.Methods, ",")
	if method == "" {
		return "GET"
	}
	return method
}

// onWire sends bytes on a connection of their own and returns the first answer.
func (w *world) onWire(method, text string) *answer {
	w.t.Helper()
	conn, err := net.Dial("tcp", w.site.Listener.Addr().String())
	must(w.t, err)
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(time.Minute))
	_, err = io.WriteString(conn, text)
	must(w.t, err)
	response, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: method})
	must(w.t, err)
	data, err := io.ReadAll(response.Body)
	must(w.t, err)
	a := &answer{Response: response, Body: string(data)}
	json.Unmarshal(data, &a.JSON)
	return a
}

// rawRequest sends a request whose target is written as it is.
func (w *world) rawRequest(method, target, headers, body string) *answer {
	w.t.Helper()
	return w.onWire(method, fmt.Sprintf("%s %s HTTP/1.1\r\nConnection: close\r\nContent-Length: %d\r\n%s\r\n%s", method, target, len(body), headers, body))
}

const honestHost = "Host: auth.example\r\n"

// A line is one of the log.
type line struct {
	Message string `json:"msg"`
	Route   string `json:"route"`
	Kind    string `json:"kind"`
}

func (w *world) lines() (all []line) {
	w.t.Helper()
	for text := range strings.Lines(w.logged()) {
		var l line
		must(w.t, json.Unmarshal([]byte(text), &l))
		all = append(all, l)
	}
	return all
}

// No spelling of a path but its own reaches a handler, or a provider.
//
// Proves: N13
func TestPathTricks(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	everywhere := map[string]string{ // in place of each slash
		"two slashes": "//", "a dot": "/./", "there and back": "/x/../", "from another provider": "/beta/../", "encoded": "%2f", "encoded, capital": "%2F", "encoded twice": "%252f",
		"backslash": `\`, "encoded backslash": "%5c", "overlong": "%c0%af", "fullwidth": "%ef%bc%8f", "division slash": "\u2215", "encoded dots": "/%2e%2e/", "encoded dot": "/%2e/",
		"half encoded dots": "/.%2e/", "dots, parameter": "/..;/", "parameter": "/;/", "parameter of a segment": ";x=y/", "NUL": "%00/", "raw NUL": "\x00/", "line": "%0d%0a/", "tab": "\t/", "blank": "%20/", "plus": "+/", "three dots": "/.../",
		"query mark": "%3f/", "number sign": "#/", "encoded number sign": "%23/", "broken escape": "%/", "escape of no number": "%zz/", "unicode escape": "%u002f", "soft hyphen": "%c2%ad/", "colon": ":/", "at": "@/",
	}
	atTheEnd := []string{"/", "//", "/.", "/..", "/../", "/./", "%2f", "%00", "\x00", ";", ";x", ";x=y", `\`, "%5c", "%20", "%0a", "%0d%0aX:%20y", "..;/", "/..;/", "%3fx", "%2e", "%c0%80", "\u00e4", "#"}
	param := regexp.MustCompile(`\{[a-z_.]+\}`)
	bad := 0
	try := func(route oidc.Route, why, target string) {
		t.Helper()
		bad++
		a := w.rawRequest(methodOf(route), target, honestHost, "")
		if a.StatusCode != 404 && a.StatusCode != 400 || a.Header.Get("Location") != "" {
			t.Errorf("%s of %s: %s %q: %v", why, route.Pattern, methodOf(route), target, a)
		}
	}
	other := sqliteWorld(t) // whose log is another
	for _, route := range oidc.Routes() {
		good := pathOf(route.Pattern)
		if good == "/" {
			continue
		}
		if a := other.rawRequest(methodOf(route), good, honestHost, ""); a.StatusCode == 404 && strings.Contains(a.Body, "nothing at this path") {
			t.Errorf("%s: no route: %v", good, a)
		}
	}
	for _, route := range oidc.Routes() {
		good := pathOf(route.Pattern)
		if good == "/" {
			continue
		}
		for at, c := range good {
			if c != '/' {
				continue
			}
			for why, trick := range everywhere {
				if slices.Contains([]string{"plus", "colon", "at", "three dots"}, why) && len(param.FindAllString(strings.ReplaceAll(strings.Join(strings.Split(route.Pattern, "/")[:strings.Count(good[:at], "/")+1], "/"), "{provider_code}", "alpha"), -1)) > 0 ||
					strings.HasSuffix(route.Pattern, "{path...}") && at > strings.Index(good, "/check/") && slices.Contains([]string{"plus", "colon", "at", "three dots"}, why) {
					continue // another id, or the bearer's own path
				}
				if at == 0 && !strings.HasPrefix(trick, "/") {
					trick = "/" + trick
				}
				try(route, why, good[:at]+trick+good[at+1:])
			}
		}
		for _, trick := range atTheEnd {
			try(route, "at the end", good+trick)
		}
		try(route, "in front", "/."+good)
		try(route, "in front", "/.."+good)
		try(route, "in front", "/oidc/beta/.."+good)
		try(route, "absolute", "http://auth.example/."+good)
		try(route, "authority in front", "//auth.example"+good)
		segments := strings.Split(route.Pattern, "/")
		for i, segment := range segments {
			if segment == "" || segment == "recover" /* beside {client_id}, which takes any other word */ || param.MatchString(segment) && segment != "{provider_code}" {
				continue
			}
			own := strings.Split(good, "/")
			for why, change := range map[string]func(string) string{
				"upper case":   strings.ToUpper,
				"title":        func(s string) string { return strings.ToUpper(s[:1]) + s[1:] },
				"encoded":      func(s string) string { return fmt.Sprintf("%%%02x", s[0]) + s[1:] },
				"full stop":    func(s string) string { return s + "." },
				"long s":       func(s string) string { return strings.ReplaceAll(s, "s", "\u017f") },
				"kelvin":       func(s string) string { return strings.ReplaceAll(s, "k", "\u212a") },
				"encoded fold": func(s string) string { return strings.ReplaceAll(s, "s", "%c5%bf") },
				"parameter":    func(s string) string { return s + ";jsessionid=1" },
				"suffix":       func(s string) string { return s + "%2f..%2fbeta" },
				"extension":    func(s string) string { return s + ".json%00" },
			} {
				changed := slices.Clone(own)
				if changed[i] = change(own[i]); changed[i] == own[i] {
					continue // .well-known has no case to begin with
				}
				try(route, why, strings.Join(changed, "/"))
			}
		}
	}
	for _, l := range w.lines() {
		if l.Message == "request" && l.Route != "" && l.Route != "/" && l.Kind != "UnknownProvider" {
			t.Errorf("a trick reached %s: %s", l.Route, l.Kind)
		}
	}
	if bad < 5000 {
		t.Errorf("only %d tricks", bad)
	}
	tallied(t, bad)
}

// A provider_code is lower-case ASCII as it was given, and nothing else.
//
// Proves: N13
func TestProviderCodesAreExact(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	codes := []string{"ALPHA", "Alpha", "alphA", "alpha.", "alpha-", "alpha+", "alpha,", "alpha*", "alpha'", "alpha$", "alpha!", "alpha~", "alpha:", "alpha@", "alpha=", "alpha&", "(alpha)", "alpha,beta", "alpha+beta",
		"alph", "alphaa", "_alpha", "alpha_", "0", "-", ".", "null", "undefined", "oidc", "api", "static", "docs", "*", "'or'1'='1", strings.Repeat("a", 64), strings.Repeat("a", 65), strings.Repeat("a", 5000)}
	for _, code := range codes {
		for _, pattern := range []string{"/oidc/{provider_code}/jwks", "/.well-known/openid-configuration/{provider_code}", "/{provider_code}/.well-known/openid-configuration", "/oidc/{provider_code}/authorize", "/docs/open_banking/{provider_code}"} {
			if a := w.rawRequest("GET", strings.ReplaceAll(pattern, "{provider_code}", code), honestHost, ""); a.StatusCode != 404 {
				t.Errorf("%s: %v", code, a)
			}
		}
		if a := w.do("POST", "/api/oidc/tokens", formHeader, form{"provider_code": code, "grant_type": "client_credentials"}.encode()); a.StatusCode != 404 && a.StatusCode != 400 {
			t.Errorf("%s at the shared endpoint: %v", code, a)
		}
	}
	tallied(t, 6*len(codes))
}

// HTTP/2 hands on any text as the method: a list of methods is none of them.
//
// Proves: N14
func TestListsOfMethods(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	grant := w.grantOf("alpha", w.tokens("alpha", tppA))
	p := w.person("alpha", "psu-17")
	do := func(method, path string) int {
		r := httptest.NewRequest("GET", path, nil)
		r.Method = method
		r.Header.Set("Cookie", p.cookie)
		a := httptest.NewRecorder()
		w.site.Config.Handler.ServeHTTP(a, r)
		return a.Code
	}
	bad := 1
	written := w.written()
	if status := do("GET, POST", "/oidc/alpha/access/grants/"+grant.ID); status != 405 || written() {
		t.Errorf("withdrawal without a form: %d", status)
	}
	for _, route := range oidc.Routes() {
		methods := strings.Split(route.Methods, ", ")
		for i := range methods {
			for _, list := range []string{strings.Join(methods[i:], ", "), strings.Join(methods[:i+1], ", "), methods[i] + ",", " " + methods[i]} {
				if slices.Contains(methods, list) || route.Methods == "" {
					continue
				}
				bad++
				if status := do(list, pathOf(route.Pattern)); status != 405 {
					t.Errorf("%q %s: %d", list, route.Pattern, status)
				}
			}
		}
	}
	tallied(t, bad)
}

var allMethods = []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "PROPFIND", "QUERY", "TRACK", "DEBUG", "get", "GETX", "PRI"}

// Each route takes its methods. HEAD is GET without the body, preflights are
// answered where another origin may read, TRACE and CONNECT nowhere.
//
// Proves: N14
func TestMethodsOfEveryRoute(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	const app = "https://app.example"
	server := w.server(w.store)
	server.TokenOrigins = []string{app}
	byConfig := w.start(server)
	bad := 0
	for _, route := range oidc.Routes() {
		path := pathOf(route.Pattern)
		for _, method := range allMethods {
			a := w.rawRequest(method, path, honestHost+"Origin: "+app+"\r\nAccess-Control-Request-Method: GET\r\nCookie: a=canary\r\nX-Canary: canary\r\n", "")
			listed := slices.Contains(strings.Split(route.Methods, ", "), method) || route.Methods == ""
			preflight := method == "OPTIONS" && route.AnyOrigin
			origin := a.Header.Get("Access-Control-Allow-Origin")
			switch {
			case method == "TRACE" || method == "CONNECT" || !listed && !preflight:
				bad++
				allow := route.Methods
				if method == "CONNECT" {
					allow = ""
				}
				if a.StatusCode != 405 || a.Header.Get("Allow") != allow || len(a.Header.Values("Allow")) != 1 {
					t.Errorf("%s %s: %v, Allow %q", method, path, a, a.Header.Values("Allow"))
				}
			case a.StatusCode == 405:
				t.Errorf("%s %s: %v", method, path, a)
			case preflight:
				if a.StatusCode != 204 || a.Header.Get("Access-Control-Allow-Methods") != route.Methods || a.Body != "" {
					t.Errorf("preflight of %s: %v %v", path, a, a.Header)
				}
			}
			if route.AnyOrigin && origin != "*" && method != "CONNECT" || !route.AnyOrigin && origin != "" || a.Header.Get("Access-Control-Allow-Credentials") != "" {
				t.Errorf("%s %s: Access-Control-Allow-Origin %q", method, path, origin)
			}
			if method == "HEAD" && a.Body != "" {
				t.Errorf("HEAD %s has a body", path)
			}
			if strings.Contains(a.Body, "canary") || strings.Contains(fmt.Sprint(a.Header), "canary") {
				t.Errorf("%s %s repeats the request: %v", method, path, a)
			}
		}
		// Where the token endpoint has origins, they are let in and no others.
		for _, origin := range []string{app, "", "null", "https://app.example.evil.example", "https://evil.example", "http://app.example", "https://app.example:443", "https://APP.example", "https://app.example, https://evil.example"} {
			preflight := w.doAt(byConfig, "OPTIONS", path, http.Header{"Origin": {origin}, "Access-Control-Request-Method": {"POST"}}, "")
			got := preflight.Header.Get("Access-Control-Allow-Origin")
			want := ""
			switch {
			case route.AnyOrigin:
				want = "*"
			case route.TokenOrigins && origin == app:
				want = app
				if preflight.StatusCode != 204 || preflight.Header.Get("Access-Control-Allow-Methods") != "POST" || !strings.Contains(preflight.Header.Get("Access-Control-Allow-Headers"), "Content-Type") {
					t.Errorf("preflight of %s: %v %v", path, preflight, preflight.Header)
				}
				if a := w.doAt(byConfig, "POST", path, http.Header{"Origin": {origin}, "Content-Type": formHeader["Content-Type"]}, ""); a.Header.Get("Access-Control-Allow-Origin") != app {
					t.Errorf("POST %s: %v", path, a.Header)
				}
			default:
				bad++
			}
			if got != want || route.TokenOrigins && preflight.Header.Get("Vary") != "Origin" {
				t.Errorf("%s of %q: Access-Control-Allow-Origin %q, Vary %q", path, origin, got, preflight.Header.Get("Vary"))
			}
		}
	}
	for target, status := range map[string]int{"CONNECT evil.example:443": 405, "CONNECT http://auth.example": 405, "TRACE http://auth.example": 405, "GET http://auth.example": 404, "OPTIONS http://auth.example": 404, "TRACE *": 405, "GET *": 404} {
		method, target, _ := strings.Cut(target, " ")
		bad++
		if a := w.rawRequest(method, target, honestHost, ""); a.StatusCode != status || status != 400 && a.Header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s %s: %v %v", method, target, a, a.Header)
		}
	}
	tallied(t, bad)
}

// Whatever is answered to whatever method has the headers that protect it, and
// JSON says that it is JSON.
//
// Proves: N15, N4
func TestSecurityHeadersOfEveryRoute(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	check := func(name string, a *answer) {
		t.Helper()
		h := a.Header
		csp := h.Get("Content-Security-Policy")
		if h.Get("X-Content-Type-Options") != "nosniff" || h.Get("Strict-Transport-Security") != "max-age=31536000" || h.Get("Referrer-Policy") != "no-referrer" || h.Get("X-Fapi-Interaction-Id") == "" ||
			!strings.Contains(csp, "default-src 'none'") || !strings.Contains(csp, "frame-ancestors 'none'") || strings.Contains(csp, "unsafe") {
			t.Errorf("%s: %v", name, h)
		}
		for _, header := range []string{"Server", "X-Powered-By", "X-Aspnet-Version", "Via"} {
			if h.Get(header) != "" {
				t.Errorf("%s: %s: %s", name, header, h.Get(header))
			}
		}
		if control := h.Get("Cache-Control"); control != "no-store" && (a.StatusCode != 200 && a.StatusCode != 304 || !strings.HasPrefix(control, "public, max-age=")) {
			t.Errorf("%s: %d with Cache-Control %q", name, a.StatusCode, control)
		}
		media := h.Get("Content-Type")
		if a.JSON != nil && media != "application/json" {
			t.Errorf("%s: JSON as %q", name, media)
		}
		if a.Body != "" && media == "" || strings.HasPrefix(media, "text/html") && (!strings.HasPrefix(a.Body, "<!DOCTYPE html>") && a.Body != "" && a.StatusCode != 303 || h.Get("X-Frame-Options") != "DENY" && a.StatusCode != 303) {
			t.Errorf("%s: %q has %.20q", name, media, a.Body)
		}
	}
	for _, route := range oidc.Routes() {
		path := pathOf(route.Pattern)
		for _, method := range allMethods {
			for _, accept := range []string{"*/*", "text/html", "application/json"} {
				check(method+" "+path, w.rawRequest(method, path, honestHost+"Accept: "+accept+"\r\n", ""))
			}
		}
		check("unknown provider of "+path, w.rawRequest(methodOf(route), strings.ReplaceAll(path, "alpha", "nobody"), honestHost, ""))
		check("closed provider of "+path, w.rawRequest(methodOf(route), strings.ReplaceAll(path, "alpha", "closed"), honestHost, ""))
		check("malformed query of "+path, w.rawRequest(methodOf(route), path+"?%zz", honestHost, ""))
		check("form to "+path, w.rawRequest(methodOf(route), path, honestHost+"Content-Type: application/x-www-form-urlencoded\r\n", "a=b&a=c"))
		check("JSON to "+path, w.rawRequest(methodOf(route), path, honestHost+"Content-Type: application/json\r\n", `{"a":"<script>alert(1)</script>"}`))
	}
	for _, path := range []string{"/", "/x", "//", "/a%2fb", "/..", "/a;b"} {
		check(path, w.rawRequest("GET", path, honestHost, ""))
	}
	// net/http answers by itself what it cannot read; TestAnswersOfNetHTTP has
	// the list.
	if a := w.rawRequest("GET", "/%", honestHost, ""); a.StatusCode != 400 || a.Body != "400 Bad Request" || a.Header.Get("Content-Type") != "text/plain; charset=utf-8" {
		t.Errorf("/%%: %v %v", a, a.Header)
	}
	check("a redirect to the bank", w.get("/oidc/alpha/authorize?"+query(tppA).encode()))
	check("a redirect to the TPP", w.get("/oidc/alpha/authorize?"+query(tppA).with(form{"response_type": "token"}).encode()))
	check("tokens", w.token("alpha", tppA, clientCredentials))
	check("unchanged", w.do("GET", "/oidc/alpha/jwks", http.Header{"If-None-Match": {"*"}}, ""))

	// Where browsers come by http, https must not be demanded of them.
	local := w.server(w.store)
	local.BaseURL = "http://127.0.0.1:8080"
	if a := w.doAt(w.start(local), "GET", "/oidc/alpha/jwks", nil, ""); a.Header.Get("Strict-Transport-Security") != "" {
		t.Errorf("plain http: %v", a.Header)
	}
}

// A static file is served whole, whatever part of it is asked for.
//
// Proves: N15
func TestRangesAreIgnored(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	const path = "/static/gatehouse.css"
	whole := w.rawRequest("GET", path, honestHost, "")
	ranges := []string{"bytes=0-0", "bytes=0-0,2-2", "bytes=-1", "bytes=0-", "bytes=999999-", "bytes=5-1", "bytes=x", "bytes=", "lines=1-2", "bytes=" + strings.Repeat("0-0,", 1000) + "0-0"}
	for _, r := range ranges {
		for _, method := range []string{"GET", "HEAD"} {
			for _, condition := range []string{"", "If-Range: \"x\"\r\n", "If-Range: Mon, 30 Nov 2026 10:00:00 GMT\r\n"} {
				a := w.rawRequest(method, path, honestHost+"Range: "+r+"\r\n"+condition, "")
				if a.StatusCode != 200 || a.Header.Get("Content-Range") != "" || a.Header.Get("Content-Type") != whole.Header.Get("Content-Type") || a.Header.Get("Cache-Control") != "public, max-age=3600" ||
					a.Header.Get("Content-Length") != whole.Header.Get("Content-Length") || method == "GET" && a.Body != whole.Body {
					t.Errorf("%s %.40s %s: %d %v", method, r, condition, a.StatusCode, a.Header)
				}
			}
		}
	}
	tallied(t, 6*len(ranges))
}

// Names that a peer gives us for ourselves change nothing.
//
// Proves: N11
func TestHostChangesNothing(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	hostile := map[string]string{
		"Host":               "Host: evil.example\r\n",
		"Host with port":     "Host: auth.example:1234\r\n",
		"Host of an address": "Host: 127.0.0.1\r\n",
		"Host of metadata":   "Host: 169.254.169.254\r\n",
		"X-Forwarded":        "Host: auth.example\r\nX-Forwarded-Host: evil.example\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Port: 81\r\nX-Forwarded-Prefix: /evil\r\nX-Forwarded-Server: evil.example\r\nX-Forwarded-For: 127.0.0.1\r\nX-Forwarded-Ssl: off\r\nX-Forwarded-Scheme: http\r\n",
		"Forwarded":          "Host: auth.example\r\nForwarded: for=127.0.0.1;host=evil.example;proto=http;by=127.0.0.1\r\n",
		"rewriting":          "Host: auth.example\r\nX-Original-URL: /oidc/beta/jwks\r\nX-Rewrite-URL: /oidc/beta/jwks\r\nX-Original-Host: evil.example\r\nX-Host: evil.example\r\nX-Real-IP: 127.0.0.1\r\nFront-End-Https: off\r\nX-Url-Scheme: http\r\nTrue-Client-IP: 127.0.0.1\r\nCF-Connecting-IP: 127.0.0.1\r\n",
		"method":             "Host: auth.example\r\nX-HTTP-Method-Override: DELETE\r\nX-HTTP-Method: DELETE\r\nX-Method-Override: DELETE\r\n",
		"origin":             "Host: auth.example\r\nOrigin: https://evil.example\r\nReferer: https://evil.example/\r\n",
		"hop by hop":         "Host: auth.example\r\nConnection: X-Content-Type-Options, Authorization\r\n",
	}
	volatile := []string{"Date", "X-Fapi-Interaction-Id", "Set-Cookie", "Location"}
	bad := 0
	for _, path := range []string{
		"/.well-known/openid-configuration/alpha", "/alpha/.well-known/openid-configuration", "/.well-known/oauth-authorization-server/alpha", "/oidc/alpha/jwks",
		"/docs/open_banking/alpha", "/oidc/alpha/theme.css", "/static/gatehouse.css", "/oidc/alpha/access", "/oidc/nobody/authorize", "/",
	} {
		want := w.rawRequest("GET", path, honestHost, "")
		for name, headers := range hostile {
			for _, target := range []string{path, "http://evil.example" + path, "https://evil.example:8443" + path, "http://user:pass@evil.example" + path} {
				bad++
				got := w.rawRequest("GET", target, headers, "")
				for _, h := range volatile {
					delete(got.Header, h)
					delete(want.Header, h)
				}
				same := got.Body == want.Body || strings.Contains(want.Body, "<!DOCTYPE html>") && got.StatusCode >= 400 // with a request id
				if got.StatusCode != want.StatusCode || !maps.EqualFunc(got.Header, want.Header, slices.Equal) || !same || strings.Contains(got.Body, "evil") {
					t.Errorf("%s, %s: %v %v, want %v %v", target, name, got, got.Header, want, want.Header)
				}
			}
		}
	}
	for name, headers := range hostile {
		for _, host := range []string{"", "http://evil.example"} {
			bad += 4
			a := w.rawRequest("GET", host+"/oidc/alpha/authorize?"+query(tppA).encode(), headers, "")
			cookie := a.Header.Get("Set-Cookie")
			if a.StatusCode != 303 || !strings.HasPrefix(a.Header.Get("Location"), "https://bank.example/alpha/login?authorization_id=") || strings.Contains(fmt.Sprint(a.Header), "evil") ||
				!strings.HasPrefix(cookie, "__Host-") || !strings.Contains(cookie, "; Path=/;") || !strings.Contains(cookie, "; Secure") || strings.Contains(cookie, "Domain") {
				t.Errorf("authorize, %s: %v %v", name, a, a.Header)
			}
			a = w.rawRequest("GET", host+"/oidc/alpha/authorize?"+query(tppA).with(form{"response_type": "token"}).encode(), headers, "")
			if location, err := a.Location(); err != nil || location.Query().Get("iss") != issuer("alpha") || !strings.HasPrefix(a.Header.Get("Location"), callback+"?") {
				t.Errorf("error, %s: %v %v", name, a, a.Header)
			}
			for aud, status := range map[string]int{issuer("alpha"): 200, "https://evil.example/alpha": 400, "http://evil.example/api/oidc/alpha/tokens": 400, "https://auth.example:1234/alpha": 400} {
				f := w.asserted("alpha", tppA, clientCredentials).with(form{"client_assertion": w.assertion("alpha", tppA, claims{"aud": aud})})
				a := w.rawRequest("POST", host+"/api/oidc/alpha/tokens", headers+"Content-Type: application/x-www-form-urlencoded\r\n", f.encode())
				if a.StatusCode != status {
					t.Errorf("aud %s, %s: %v", aud, name, a)
				}
				if status == 200 && idToken(t, "alpha", "PS256", a.text("id_token"))["iss"] == nil {
					t.Errorf("%s: no iss", name)
				}
			}
		}
	}
	for _, headers := range []string{"Host: auth.example\r\nHost: evil.example\r\n", "Host: auth.example\r\nHost: auth.example\r\n", "", "Host: a b\r\n", "Host: a/b\r\n", "Host: a@b\r\n"} {
		bad++
		if a := w.rawRequest("GET", "/oidc/alpha/jwks", headers, ""); a.StatusCode != 400 {
			t.Errorf("%q: %v", headers, a)
		}
	}
	tallied(t, bad)
}

// A countedListener counts what is read from its connections.
type countedListener struct {
	net.Listener
	read *atomic.Int64
}

func (l countedListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return countedConn{conn.(*net.TCPConn), l.read}, nil
}

type countedConn struct {
	*net.TCPConn
	read *atomic.Int64
}

func (c countedConn) Read(b []byte) (int, error) {
	n, err := c.TCPConn.Read(b)
	c.read.Add(int64(n))
	return n, err
}

// An endless body is answered, also where none is taken, and read no further
// than 64 KiB beyond the limit of its route.
//
// Proves: N7
func TestBodiesAreNotReadToTheEnd(t *testing.T) {
	w := sqliteWorld(t)
	guard := w.guard("alpha")
	var read atomic.Int64
	site := httptest.NewUnstartedServer(w.server(w.store).Handler())
	site.Listener = countedListener{site.Listener, &read}
	site.Start()
	t.Cleanup(site.Close)
	w.site = site
	connector := w.connectorHeader("beta")
	headers := map[string]string{
		"form":     "Content-Type: application/x-www-form-urlencoded\r\n",
		"JSON":     "Content-Type: application/json\r\nAuthorization: Bearer x\r\n",
		"JWT":      "Content-Type: application/jwt\r\nApp-Id: " + connector.Get("App-Id") + "\r\nApp-Secret: " + connector.Get("App-Secret") + "\r\n",
		"inquirer": "Content-Type: application/x-www-form-urlencoded\r\nAuthorization: " + basicHeader(guard, guardSecret) + "\r\n",
	}
	framings := map[string]struct{ header, chunk string }{
		"declared":      {"Content-Length: 1000000000\r\n", strings.Repeat("x", 16<<10)},
		"chunked":       {"Transfer-Encoding: chunked\r\n", "4000\r\n" + strings.Repeat("x", 16<<10) + "\r\n"},
		"a megabyte":    {"Content-Length: 1048576\r\n", strings.Repeat("x", 16<<10)},
		"one extension": {"Transfer-Encoding: chunked\r\n", "1;" + strings.Repeat("x", 16<<10) + "\r\nx\r\n"},
		"a trailer":     {"Transfer-Encoding: chunked\r\n", "0\r\n" + strings.Repeat("X: y\r\n", 4<<10)},
	}
	bad := 0
	tooLarge := map[string]bool{}
	for _, route := range oidc.Routes() {
		for method := range strings.SplitSeq(route.Methods, ", ") {
			for name, header := range headers {
				for framing, f := range framings {
					bad++
					read.Store(0)
					conn, err := net.Dial("tcp", site.Listener.Addr().String())
					must(t, err)
					conn.SetDeadline(time.Now().Add(time.Minute))
					sent := make(chan struct{})
					go func() {
						defer close(sent)
						fmt.Fprintf(conn, "%s %s HTTP/1.1\r\n%s%s%s\r\n", method, pathOf(route.Pattern), honestHost, header, f.header)
						for range 64 {
							if _, err := io.WriteString(conn, f.chunk); err != nil {
								return
							}
						}
					}()
					response, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: method})
					if err != nil {
						t.Errorf("%s %s, %s, %s: %v", method, route.Pattern, name, framing, err)
						conn.Close()
						<-sent
						continue
					}
					io.Copy(io.Discard, response.Body)
					io.Copy(io.Discard, conn) // until the server has closed it
					conn.Close()
					<-sent
					if response.StatusCode == 413 {
						tooLarge[route.Pattern] = true
					}
					if response.StatusCode >= 500 || read.Load() > route.Limit+64<<10 {
						t.Errorf("%s %s, %s, %s: %d after %d bytes of a limit of %d", method, route.Pattern, name, framing, response.StatusCode, read.Load(), route.Limit)
					}
				}
			}
		}
	}
	for _, pattern := range []string{"/api/oidc/{provider_code}/tokens", "/api/oidc/tokens", "/api/oidc/{provider_code}/introspect", "/api/oidc/{provider_code}/revoke", "/oidc/{provider_code}/authorize",
		"/open_banking/v3.2/tpp/register", "/api/connectors/ob/v1/authorizations"} {
		if !tooLarge[pattern] {
			t.Errorf("%s never answered 413", pattern)
		}
	}
	tallied(t, bad)
}

// malformed are query and form texts of which nothing may be taken.
var malformed = []string{"%", "%z", "%zz=a", "a=%", "a=%4", "a=%zz", "a=%u0041", "=", "=a", "a=b&=c", "&=&", "a=%ff", "a=%c0%80", "a=%ed%a0%80", "%ff=a", "a=b&%zz", "%zz&a=b", "a=b&c=%e4", "a=\xff", "a=%f4%90%80%80", "a&a", "a=1&a=2", "a=&a=1", "a=1&%61=1", "a=1&a"}

// Nothing of a malformed text counts, wherever the fault is: url.ParseQuery
// would return the pairs that it can read.
func TestMalformedParameters(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	guard := w.guard("alpha")
	many := "x"
	for i := range 100 {
		many += fmt.Sprintf("&p%d=1", i)
	}
	p := w.person("alpha", "psu-17")
	bad := 0
	for _, text := range append(malformed, many) {
		for _, add := range []func(string) string{
			func(good string) string { return good + "&" + text },
			func(good string) string { return text + "&" + good },
		} {
			bad += 6
			if a := w.get("/oidc/alpha/authorize?" + add(query(tppA).encode())); a.StatusCode != 400 || a.Header.Get("Location") != "" {
				t.Errorf("GET authorize, %q: %v", text, a)
			}
			if a := w.do("POST", "/oidc/alpha/authorize", formHeader, add(query(tppA).encode())); a.StatusCode != 400 || a.Header.Get("Location") != "" {
				t.Errorf("POST authorize, %q: %v", text, a)
			}
			for _, path := range []string{"/api/oidc/alpha/tokens", "/api/oidc/alpha/revoke"} {
				f := w.asserted("alpha", tppA, clientCredentials.with(form{"token": "x"}))
				expect(t, w.do("POST", path, formHeader, add(f.encode())), 400, "invalid_request")
			}
			header := formHeader.Clone()
			header.Set("Authorization", basicHeader(guard, guardSecret))
			expect(t, w.do("POST", "/api/oidc/alpha/introspect", header, add("token=x")), 400, "invalid_request")
			if a := p.get("?" + add("ended=x")); a.StatusCode != 400 {
				t.Errorf("access, %q: %v", text, a)
			}
		}
	}
	tallied(t, bad)
}

// The check takes no demand that it cannot read for none, also where the query
// may be the bearer's.
func TestMalformedDemands(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	guard := w.guard("alpha")
	header := http.Header{"Resource-Server-Authorization": {basicHeader(guard, guardSecret)}, "Authorization": {"Bearer " + w.tokens("alpha", tppA).text("access_token")}}
	bad := 0
	for _, path := range []string{"/api/oidc/alpha/check", "/api/oidc/alpha/check/aisp/accounts"} {
		expect(t, w.do("GET", path+"?scope=accounts", header, ""), 200, "")
		expect(t, w.do("GET", path+"?scope=payments", header, ""), 403, "insufficient_scope")
		for _, text := range []string{"scope=payments%", "scope=payments%zz", "scope=%ff", "sc%6fpe=payments%2", "permission=%zz", "permission=Read%", "scope=payments;x=1", "scope=payments,accounts", "scope=", "scope", "permission=", "scope=Payments"} {
			for _, q := range []string{text, "scope=accounts&" + text, text + "&scope=accounts"} {
				bad++
				expect(t, w.do("GET", path+"?"+q, header, ""), 400, "invalid_request")
			}
		}
	}
	tallied(t, bad)
}

// What goes to a browser as headers is what we write: the registered URI with
// our parameters. No character of a request gets anywhere else, or gets there
// unencoded.
//
// Proves: A23
func TestNoInputReachesAHeader(t *testing.T) {
	t.Parallel()
	inCookie := regexp.MustCompile(`X-Evil|evil\.|evil=1`) // four letters alone may be a part of what is random
	w := sqliteWorld(t)
	ours := []string{"Access-Control-Allow-Origin", "Cache-Control", "Connection", "Content-Length", "Content-Security-Policy", "Content-Type", "Date", "Location", "Referrer-Policy", "Set-Cookie", "Strict-Transport-Security",
		"X-Content-Type-Options", "X-Fapi-Interaction-Id", "X-Frame-Options"}
	var evil []string
	for c := range 0x20 {
		evil = append(evil, string(rune(c))+"X-Evil: 1")
	}
	evil = append(evil, "\r\nSet-Cookie: evil=1", "\r\nLocation: https://evil.example", "\r\n\r\n<script>alert(1)</script>", "\x7f", "\u0085X-Evil: 1", "\u2028X-Evil: 1", "\u2029X-Evil: 1", "\u560d\u560aX-Evil: 1", "%0d%0aX-Evil: 1", "%E5%98%8A%E5%98%8DX-Evil: 1",
		"\\r\\nX-Evil: 1", " https://evil.example", "#https://evil.example", "?code=evil", "&code=evil", "&iss=https://evil.example", ";code=evil", "//evil.example", "@evil.example", ".evil.example", "\\@evil.example", "\t", "'\"><script>", strings.Repeat("A", 3000))
	parameters := slices.Sorted(maps.Keys(query(tppA).with(form{"response_mode": "query", "prompt": "login", "claims": "{}", "ui_locales": "de", "request_uri": "urn:x", "request": "x", "registration": "{}", "id_token_hint": "x", "login_hint": "x", "max_age": "1", "display": "page", "unknown": "x"})))
	uris := []string{callback, "https://tpp.example/cb?a=1"}
	bad, redirects := 0, 0
	for _, uri := range uris {
		separator := "?"
		if strings.Contains(uri, "?") {
			separator = "&"
		}
		for _, name := range parameters {
			for _, e := range evil {
				good := query(tppA).with(form{"redirect_uri": uri})
				value, _ := good[name].(string)
				f := good.with(form{name: value + e})
				for _, method := range []string{"GET", "POST"} {
					bad++
					var a *answer
					if method == "GET" {
						a = w.get("/oidc/alpha/authorize?" + f.encode())
					} else {
						a = w.do("POST", "/oidc/alpha/authorize", formHeader, f.encode())
					}
					for header := range a.Header {
						if !slices.Contains(ours, header) {
							t.Errorf("%s %s=%q: header %s", method, name, e, header)
						}
					}
					if a.StatusCode >= 500 || len(a.Header.Values("Location")) > 1 || len(a.Header.Values("Set-Cookie")) > 1 || inCookie.MatchString(a.Header.Get("Set-Cookie")) || strings.Contains(a.Body, "<script>") {
						t.Fatalf("%s %s=%q: %v %v", method, name, e, a, a.Header)
					}
					location := a.Header.Get("Location")
					switch {
					case location == "":
						continue
					case regexp.MustCompile(`^https://bank\.example/alpha/login\?authorization_id=[A-Za-z0-9_-]+$`).MatchString(location):
						redirects++
						continue
					}
					redirects++
					answerText, ok := strings.CutPrefix(location, uri+separator)
					if !ok || strings.ContainsFunc(location, func(r rune) bool { return r <= ' ' || r > '~' }) || strings.ContainsAny(answerText, "?#;<>\"'\\@:/ ") {
						t.Fatalf("%s %s=%q: %q", method, name, e, location)
					}
					got, err := url.ParseQuery(answerText)
					must(t, err)
					for parameter, values := range got {
						if !slices.Contains([]string{"error", "error_description", "iss", "state"}, parameter) || len(values) != 1 {
							t.Errorf("%s %s=%q: %s in %q", method, name, e, parameter, location)
						}
					}
					if state, _ := f["state"].(string); got.Get("iss") != issuer("alpha") || got.Get("state") != state || strings.Contains(got.Get("error")+got.Get("error_description"), "evil") || strings.Contains(strings.ToLower(got.Get("error_description")), "x-evil") {
						t.Errorf("%s %s=%q: %q", method, name, e, location)
					}
				}
			}
		}
	}
	if redirects < 500 {
		t.Errorf("only %d redirects", redirects)
	}
	tallied(t, bad)
}

// A nilStore panics whatever it is asked.
type nilStore struct{ gatehouse.Store }

// A panic anywhere in a handler is a 500 with the id that the log has, nothing
// of the request in the log, and the next request is served.
//
// Proves: N24
func TestPanicOfEveryRoute(t *testing.T) {
	w := sqliteWorld(t)
	site := w.replica(nilStore{})
	guard := basicHeader("x", "canary-secret")
	panicked := 0
	for _, route := range oidc.Routes() {
		for _, body := range []string{w.asserted("alpha", tppA, clientCredentials.with(form{"provider_code": "alpha", "token": "canary-token"})).encode(), ""} {
			method, path := methodOf(route), pathOf(route.Pattern)
			header := http.Header{"Content-Type": formHeader["Content-Type"], "Authorization": {"Bearer canary-bearer"}, "App-Id": {"canary-app"}, "App-Secret": {"canary-secret"},
				"Resource-Server-Authorization": {guard}, "Cookie": {"__Host-gatehouse-x=canary-cookie"}}
			a := w.doAt(site, method, path+"?canary=canary-query", header, body)
			if a.StatusCode > 500 {
				t.Errorf("%s %s: %v", method, path, a)
			}
			if a.StatusCode != 500 {
				continue // refused before it came to that
			}
			panicked++
			id := a.Header.Get("X-Fapi-Interaction-Id")
			if id == "" || strings.Count(w.logged(), `"msg":"panic","request_id":"`+id+`","panic":"`) != 1 {
				t.Errorf("%s %s: the log has no panic with id %q", method, path, id)
			}
			switch media := a.Header.Get("Content-Type"); {
			case media == "text/html; charset=utf-8" && strings.Contains(a.Body, id):
			case media != "application/json":
				t.Errorf("%s %s: %v", method, path, a)
			case a.text("error") == "server_error" && strings.Contains(a.text("error_description"), id): // OAuth
			case a.text("error_class") == "InternalServerError" && strings.Contains(a.text("error_message"), id): // banks
			case strings.Contains(a.Body, "UK.OBIE.UnexpectedError") && strings.Contains(a.Body, id): // consents
			default:
				t.Errorf("%s %s: %v", method, path, a)
			}
		}
	}
	log := w.logged()
	if strings.Contains(log, "canary-") || !strings.Contains(log, "goroutine ") {
		t.Error("the log has what the request had, or no stack")
	}
	if panicked < len(oidc.Routes())/2 {
		t.Errorf("only %d panics", panicked)
	}
	if a := w.doAt(site, "GET", "/static/gatehouse.css", nil, ""); a.StatusCode != 200 {
		t.Errorf("afterwards: %v", a)
	}
	tallied(t, panicked)
}
