package oidc_test

import (
	"crypto/x509"
	"math/big"
	"testing"
	"time"

	"gatehouse"
	"gatehouse/eidas"
	"gatehouse/jose"
)

// A removed certificate signs no more, at once; nobody else can remove it.
func TestCertificateIsRemoved(t *testing.T) {
	t.Parallel()
	w := newCertifiedWorld(sqliteWorld(t))
	id, token := w.tpp(sandboxDirectory, "tpp")
	_, stranger := w.tpp(sandboxDirectory, "stranger")
	w.added("alpha", token, eidas.OBSeal, w.sandbox.issue("tpp", eidas.OBSeal))
	seal := sealKey(t, "tpp", eidas.OBSeal, "1")
	path := certificatesPath("alpha") + "/" + w.stored(id)[0].Thumbprint

	expect(t, w.do("DELETE", path, bearerHeader(stranger), ""), 404, "invalid_request")
	expect(t, w.do("DELETE", path, nil, ""), 401, "invalid_token")
	expect(t, w.do("DELETE", certificatesPath("alpha")+"/nothing", bearerHeader(token), ""), 404, "invalid_request")
	expect(t, w.tokenBy("alpha", id, seal), 200, "")
	if a := w.do("DELETE", path, bearerHeader(token), ""); a.StatusCode != 204 {
		t.Fatal(a)
	}
	expect(t, w.tokenBy("alpha", id, seal), 400, "invalid_client")
	if len(w.stored(id)) != 0 {
		t.Error("the certificate is still there")
	}
	expect(t, w.do("DELETE", path, bearerHeader(token), ""), 404, "invalid_request")
}

// A certificate is believed only while its issuer and its anchor stand by it.
func TestCertificateIsCheckedAgain(t *testing.T) {
	t.Parallel()
	w := newCertifiedWorld(sqliteWorld(t))
	id, token := w.tpp(sandboxDirectory, "tpp")
	seal := sealKey(t, "tpp", eidas.OBSeal, "1")
	current := w.trust[gatehouse.SandboxEnvironment]
	unasked := *current
	unasked.Revocation = nil // nobody has revoked it yet
	for name, later := range map[string]*eidas.Trust{"revoked": current, "anchor removed": {Roots: x509.NewCertPool()}, "environment removed": nil} {
		w.trust[gatehouse.SandboxEnvironment] = &unasked
		w.added("alpha", token, eidas.OBSeal, w.sandbox.issue("tpp", eidas.OBSeal, func(c *certified) { c.SerialNumber = big.NewInt(revokedSerial) }))
		expect(t, w.tokenBy("alpha", id, seal), 200, "")
		w.trust[gatehouse.SandboxEnvironment] = later
		w.clock.advance(6 * time.Second) // the age of a cache
		if a := w.tokenBy("alpha", id, seal); a.StatusCode != 400 || a.text("error") != "invalid_client" {
			t.Errorf("%s: %v", name, a)
		}
		expect(t, w.tokenBy("alpha", id, clientKey(t, "tpp", jose.PS256)), 200, "") // its other key is as good as ever
	}
}

// What a TPP may no longer have it cannot refresh or exchange either, and a
// test certificate says nothing of live providers.
func TestRolesNarrowWhatWasGranted(t *testing.T) {
	t.Parallel()
	w := newCertifiedWorld(sqliteWorld(t))
	id, token := w.tpp(sandboxDirectory, "tpp")
	own := clientKey(t, "tpp", jose.PS256)
	ask := func(f form) *answer {
		t.Helper()
		assertion, err := own.Sign("JWT", w.assertionClaims("alpha", id))
		must(t, err)
		return w.do("POST", "/api/oidc/alpha/tokens", formHeader, f.with(form{"client_assertion_type": assertionType, "client_assertion": assertion}).encode())
	}
	all := form{"scope": "openid accounts payments"}
	before := ask(exchange(w.code("alpha", id, all)))
	expect(t, before, 200, "")
	code, onlyPayments := w.code("alpha", id, all), w.code("alpha", id, form{"scope": "payments"})
	w.added("alpha", token, eidas.OBSeal, w.sandbox.issue("tpp", eidas.OBSeal, withRoles(eidas.AccountInformation)))
	for name, a := range map[string]*answer{
		"refresh":  ask(form{"grant_type": "refresh_token", "refresh_token": before.text("refresh_token")}),
		"exchange": ask(exchange(code)),
	} {
		if a.StatusCode != 200 || !sameScope(a.text("scope"), "openid accounts") {
			t.Errorf("%s: %v", name, a)
		}
	}
	expect(t, ask(form{"grant_type": "refresh_token", "refresh_token": before.text("refresh_token"), "scope": "payments"}), 400, "invalid_scope")
	expect(t, ask(exchange(onlyPayments)), 403, "unauthorized_client")

	liveID, liveToken := w.tpp(liveDirectory, "live-tpp")
	w.added(live, liveToken, eidas.QSeal, w.production.issue("live-tpp", eidas.QSeal, withRoles(eidas.AccountInformation)))
	w.added("alpha", liveToken, eidas.OBSeal, w.sandbox.issue("live-tpp", eidas.OBSeal, withRoles(eidas.PaymentInitiation)))
	for provider, want := range map[string]string{live: "openid accounts", "alpha": "openid accounts payments"} {
		a := w.tokenBy(provider, liveID, clientKey(t, "live-tpp", jose.PS256))
		if a.StatusCode != 200 || !sameScope(a.text("scope"), want) {
			t.Errorf("%s: %v, want %s", provider, a, want)
		}
	}
}

// The UK Open Banking Directory writes its org_id into the common name.
func TestCertificateNamesTheDirectorysOrganisation(t *testing.T) {
	t.Parallel()
	w := newCertifiedWorld(sqliteWorld(t))
	statement := w.statement(sandboxDirectory, "tpp", claims{"org_id": "0015800001041RHAAY"})
	a := w.register("tpp", statement, nil)
	expect(t, a, 201, "")
	named := func(c *certified) { c.Subject.CommonName = "0015800001041RHAAY" }
	expect(t, w.add("alpha", a.text("registration_access_token"), eidas.OBSeal, w.sandbox.issue("tpp", eidas.OBSeal, named)), 201, "")
	// Who claims to be qualified is named by its number alone.
	expect(t, w.add("alpha", a.text("registration_access_token"), eidas.QSeal, w.sandbox.issue("tpp", eidas.QSeal, named)), 403, "unauthorized_client")
}
