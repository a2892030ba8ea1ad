package oidc_test

import (
	"database/sql"
	"errors"
	"strings"
	"testing"

	"gatehouse/oidc"
)

// Whoever can write to the database but has no key-encryption key gets nothing
// out of moving keys about.
//
// Proves: K7
func TestSwappedKeysAreFoundOut(t *testing.T) {
	t.Parallel()
	for name, statement := range map[string]string{
		"a sealed key of another provider": `UPDATE signing_keys SET sealed = (SELECT o.sealed FROM signing_keys o WHERE o.provider = 'alpha' AND o.alg = signing_keys.alg) WHERE provider = 'beta'`,
		"a sealed key of its own":          `UPDATE signing_keys SET sealed = (SELECT o.sealed FROM signing_keys o WHERE o.provider = 'beta' AND o.alg = 'RS256') WHERE provider = 'beta' AND alg = 'PS256'`,
		"the provider of a key":            `UPDATE signing_keys SET provider = 'beta' WHERE provider = 'alpha'`,
		"the algorithm of a key":           `UPDATE signing_keys SET alg = 'PS256'`,
	} {
		t.Run(name, func(t *testing.T) {
			w := sqliteWorld(t)
			db, err := sql.Open("sqlite", strings.TrimPrefix(w.url, "sqlite:"))
			must(t, err)
			defer db.Close()
			if _, err := db.ExecContext(t.Context(), statement); err != nil {
				t.Fatal(err)
			}
			server := &oidc.Server{Store: w.store, KEK: w.kek, BaseURL: baseURL, Now: w.clock.Now}
			if err := server.Ready(t.Context()); !errors.Is(err, oidc.ErrKeys) {
				t.Errorf("ready: %v", err)
			}
			expect(t, w.token("beta", tppA, clientCredentials), 503, "temporarily_unavailable")
		})
	}
}
