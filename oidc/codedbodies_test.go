package oidc_test

import (
	"bytes"
	"compress/gzip"
	"net/http"
	"testing"

	"gatehouse"
)

// A body that says it is coded is not read as if it were not, nor unpacked.
func TestCodedBodies(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	access := w.ownToken("alpha", tppA)
	var bomb bytes.Buffer
	z := gzip.NewWriter(&bomb)
	for range 1024 { // 64 MiB in 64 KiB
		z.Write(make([]byte, 64<<10))
	}
	must(t, z.Close())
	packed := func(body string) string {
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		z.Write([]byte(body))
		must(t, z.Close())
		return b.String()
	}
	bank := newForge(t, tokenDoor{key: key(t, "bank beta", "RS256"), claims: func() claims {
		return claims{"data": claims{"authorize_url": "https://bank.example/beta/authorize?" + query(tppA).encode(), "auth_code": gatehouse.NewSecret()}, "exp": w.clock.Now().Unix() + 120}
	}})
	resource := resourceOf(gatehouse.AccountAccess)
	written, tried := w.written(), 0
	for _, door := range []struct {
		path   string
		header http.Header
		body   func() string
		status int
	}{
		{"/api/oidc/alpha/tokens", formHeader, func() string { return w.asserted("alpha", tppA, clientCredentials).encode() }, 200},
		{"/api/oidc/tokens", jsonHeader, func() string {
			return text(t, w.asserted("alpha", tppA, clientCredentials).with(form{"provider_code": "alpha"}))
		}, 200},
		{"/api/oidc/alpha/revoke", formHeader, func() string { return w.asserted("alpha", tppA, form{"token": "x"}).encode() }, 200},
		{"/oidc/alpha/authorize", formHeader, func() string { return query(tppA).encode() }, 303},
		{registerPath, jsonHeader, func() string {
			return text(t, claims{"software_statement": w.statement(sandboxDirectory, "m", nil), "token_endpoint_auth_method": "private_key_jwt"})
		}, 201},
		{resource.at("alpha", "v3.1.11"), http.Header{"Content-Type": {"application/json"}, "Authorization": {"Bearer " + access}}, func() string { return resource.body }, 201},
		{"/api/connectors/ob/v1/authorizations", w.connectorHeader("beta"), bank.good, 200},
	} {
		for _, none := range []string{"", "identity"} {
			header := door.header.Clone()
			if none != "" {
				header.Set("Content-Encoding", none)
			}
			if a := w.do("POST", door.path, header, door.body()); a.StatusCode != door.status {
				t.Errorf("%s, Content-Encoding %q: %v", door.path, none, a)
			}
		}
		written()
		for _, coding := range []string{"gzip", "x-gzip", "GZIP", "deflate", "br", "zstd", "compress", "gzip, identity", "identity, gzip", "aes128gcm", "x", ","} {
			for name, body := range map[string]string{"plain": door.body(), "packed": packed(door.body()), "a bomb": bomb.String()[:min(bomb.Len(), 60<<10)]} {
				tried++
				header := door.header.Clone()
				header.Set("Content-Encoding", coding)
				a := w.do("POST", door.path, header, body)
				if a.StatusCode != 415 || a.JSON["access_token"] != nil || a.Header.Get("Location") != "" || written() {
					t.Errorf("%s, %s, %s: %v", door.path, coding, name, a)
				}
			}
		}
	}
	tallied(t, tried)
}
