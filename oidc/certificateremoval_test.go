package oidc_test

import (
	"testing"

	"gatehouse/eidas"
)

// A removed certificate signs no more, at once; nobody else can remove it.
func TestCertificateIsRemoved(t *testing.T) {
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
