package oidc_test

import (
	"testing"
	"time"
)

// strangeRedirects are URIs whose host one reader takes for a name and another
// for an address or for another name (Orange Tsai, "A New Era of SSRF", 2017;
// Claroty and Snyk, "Exploiting URL Parsing Confusion", 2022; WHATWG URL §3.5
// and its host tests), hosts that are nobody's on the Internet, and queries that
// would answer for us.
var strangeRedirects = []string{
	// Browsers read all these as addresses.
	"https://2130706433/cb", "https://017700000001/cb", "https://0x7f000001/cb", "https://0x7F.1/cb", "https://0/cb", "https://0x/cb", "https://0xa000001/cb", "https://167772161/cb", "https://10.1/cb", "https://10.0.1/cb", "https://012.0.0.1/cb",
	"https://0x0a.0x0.0x0.0x1/cb", "https://192.168.257/cb", "https://3232235777/cb", "https://0xa9fea9fe/latest/meta-data/", "https://169.16689662/cb", "https://10.0.0.1./cb", "https://10.1./cb", "https://0xa000001./cb", "https://4294967296/cb", "https://256.0.0.1/cb",
	"https://1.2.3.4.5/cb", "https://tpp.example.0x7f/cb", "https://tpp.09/cb",
	// Percent-encoded letters that turn into others: 。 ． ｡ ① ⑩ ／ ？ ＠ ＃, soft hyphen, zero-width space, dotless ı, ß.
	"https://127%E3%80%820%E3%80%820%E3%80%821/cb", "https://tpp%EF%BC%8Eexample/cb", "https://tpp.example%EF%BD%A1evil.example/cb", "https://%E2%91%A0%E2%93%AA.0.0.1/cb", "https://%E2%91%A9.0.0.1/cb", "https://tpp.example%EF%BC%8Fevil.example/cb",
	"https://tpp.example%EF%BC%9F.evil.example/cb", "https://tpp.example%EF%BC%A0evil.example/cb", "https://tpp.example%EF%BC%83.evil.example/cb", "https://tp%C2%ADp.example/cb", "https://tpp%E2%80%8B.example/cb", "https://tpp.example%C4%B1/cb", "https://stra%C3%9Fe.example/cb",
	"https://%E2%80%AEelpmaxe.ppt/cb", "https://tpp.example%ff/cb", "https://tpp.example%C0%AE/cb", "https://tpp.exampl%65/cb", "https://tpp.example%00.evil.example/cb", "https://tpp.example%2Fevil.example/cb",
	// What one reader takes for the end of the host and another does not.
	"https://tpp.example,evil.example/cb", "https://tpp.example;evil.example/cb", "https://tpp.example&evil.example/cb", "https://tpp.example$evil.example/cb", "https://tpp.example!evil.example/cb", "https://tpp.example'evil.example/cb", "https://(tpp.example)/cb",
	"https://tpp.example=evil.example/cb", "https://tpp.example~evil.example/cb", "https://tpp.example+evil.example/cb", "https://tpp.example_evil.example/cb", "https://tpp.example:443:80/cb", "https://tpp.example:80evil.example/cb", "https://tpp.example:-1/cb",
	"https://tpp.example\\evil.example/cb", "https://tpp.example\\@evil.example/cb", "https://tpp.example\\.evil.example/cb", "https://evil.example#@tpp.example/cb", "https://evil.example%23@tpp.example/cb", "https://evil.example:443@tpp.example/cb", "https://@@tpp.example/cb",
	"https://tpp.example@evil.example@tpp.example/cb", "https://[tpp.example]/cb", "https://[::1]evil.example/cb", "https://[::1].evil.example/cb", "https://[::1%25lo]/cb", "https://[v1.tpp]/cb", "https://[::ffff:7f00:1%25]/cb", "https://[/cb", "https:/tpp.example/cb",
	"https:\\\\tpp.example/cb", "https:///tpp.example/cb", "https:////tpp.example/cb", "https:tpp.example/cb", "https//tpp.example/cb", "https ://tpp.example/cb", "ht\ntps://tpp.example/cb", "https://\ttpp.example/cb", "https://tpp.example\t/cb", "\x01https://tpp.example/cb", "https://tpp.example/cb\n",
	// Names that are no names.
	"https://./cb", "https://../cb", "https://.../cb", "https://.tpp.example/cb", "https://tpp..example/cb", "https://tpp.example../cb", "https://-/cb", "https://-tpp.example/cb", "https://tpp-.example/cb", "https://_/cb", "https://xn--/cb", "https://tpp/cb", "https://intranet/cb",
	"https://localhost/cb", "https://localhost./cb", "https://tpp.localhost/cb", "https://LOCALHOST/cb",
	// Addresses that are not of the Internet (IANA special-purpose registries), also inside IPv6.
	"https://100.64.0.1/cb", "https://100.100.100.200/cb", "https://192.0.0.192/cb", "https://168.63.129.16/cb", "https://198.18.0.1/cb", "https://192.0.2.1/cb", "https://240.0.0.1/cb", "https://255.255.255.255/cb", "https://[::10.0.0.1]/cb", "https://[::ffff:10.0.0.1]/cb",
	"https://[::ffff:0:10.0.0.1]/cb", "https://[64:ff9b::10.0.0.1]/cb", "https://[64:ff9b:1::a00:1]/cb", "https://[2002:a00:1::]/cb", "https://[2001:0:a00:1::]/cb", "https://[fec0::1]/cb", "https://[fd00:ec2::254]/cb", "https://[fe80::1]/cb", "https://[100::1]/cb", "https://[2001:db8::1]/cb",
	// A parameter of the answer would be there twice.
	"https://tpp.example/cb?code=x", "https://tpp.example/cb?a=1&state=x", "https://tpp.example/cb?iss=https://bank.example", "https://tpp.example/cb?error=x", "https://tpp.example/cb?error_description=x", "https://tpp.example/cb?error_uri=x", "https://tpp.example/cb?c%6Fde=x",
	"https://tpp.example/cb?code", "https://tpp.example/cb?%zz&iss=x",
}

// What readers disagree on cannot be registered, alone or beside a good one, by
// a statement or by a request, and leads nowhere when it is presented.
//
// Proves: A1
func TestRedirectURIsThatReadersDisagreeOn(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	written := w.written()
	for i, uri := range strangeRedirects {
		if i%20 == 0 {
			w.clock.advance(24 * time.Hour) // what may be registered in a day is limited
			expect(t, w.registerJSON(w.statement(sandboxDirectory, "m", claims{"software_redirect_uris": []string{callback, "https://tpp.example./cb", "https://8.8.8.8/cb", "https://xn--bcher-kva.example:8443/?a=code"}}), nil), 201, "")
			if o := w.ask("alpha", query(tppA)); o.begun() == "" {
				t.Fatal(o)
			}
			written()
		}
		statement := w.statement(sandboxDirectory, "m", claims{"software_redirect_uris": []string{callback, uri}})
		for name, a := range map[string]*answer{
			"in the statement":    w.registerJSON(statement, nil),
			"asked for":           w.registerJSON(statement, claims{"redirect_uris": []string{uri}}),
			"in a signed request": w.register("m", statement, claims{"redirect_uris": []string{callback, uri}}),
		} {
			if a.StatusCode != 400 || a.text("error") != "invalid_redirect_uri" || a.JSON["client_id"] != nil || written() {
				t.Errorf("%q %s: %v", uri, name, a)
			}
		}
		for door := range doors {
			if o := w.ask(door, query(tppA).with(form{"redirect_uri": uri})); !o.hidden() || written() {
				t.Errorf("%q presented at %s: %v", uri, door, o)
			}
		}
	}
	tallied(t, 5*len(strangeRedirects))
}
