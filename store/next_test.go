package store_test

import (
	"errors"
	"strconv"
	"testing"

	"gatehouse/store"
	"gatehouse/store/storetest"
)

// envNextSchema, set to anything, makes open bring the database to a schema
// that is one newer than that of the program.
const envNextSchema = "GATEHOUSE_TEST_NEXT_SCHEMA"

// nextSchema applies a migration such as the next release may have: columns,
// a table and an index are added, and nothing is taken away.
func nextSchema(t testing.TB, url string) {
	t.Helper()
	beside := raw(t, url)
	if column(t, beside, "SELECT 1 FROM next") != nil {
		return
	}
	for _, table := range []string{"providers", "signing_keys", "clients", "consumed", "authorizations", "grants", "access_tokens", "refresh_tokens", "marks",
		"consents", "notices", "events", "resource_servers", "psu_sessions"} {
		exec(t, beside, "ALTER TABLE "+table+" ADD COLUMN next TEXT DEFAULT 'next'")
	}
	exec(t, beside, "CREATE TABLE next (id BIGINT PRIMARY KEY)")
	exec(t, beside, "INSERT INTO next (id) VALUES (1)")
	exec(t, beside, "CREATE INDEX next_grants ON grants (user_id)")
	exec(t, beside, "INSERT INTO schema_versions (version_id, is_applied) SELECT MAX(version_id) + 1, is_applied FROM schema_versions GROUP BY is_applied")
}

// This program keeps the whole contract of the store on the schema of the next
// release, whether that comes before its start or while it serves.
//
// Proves: O2, S27
func TestNextSchema(t *testing.T) {
	t.Run("while serving", func(t *testing.T) {
		storetest.Each(t, func(t *testing.T, url string) {
			db := open(t, url)
			fill(t, db)
			nextSchema(t, url)
			must(t, db.Ping(t.Context()))
			checkFilled(t, db, "00007")

			again, err := store.Open(t.Context(), url)
			must(t, err)
			defer again.Close()
			must(t, again.Migrate(t.Context()))
			must(t, again.Ping(t.Context()))
			have, want, err := again.SchemaVersion(t.Context())
			must(t, err)
			equal(t, have, want+1)
		})
	})
	t.Setenv(envNextSchema, "1")
	for name, test := range map[string]func(*testing.T){
		"Providers": TestProviders, "UpdateProvider": TestUpdateProvider, "DeleteProvider": TestDeleteProvider, "Clients": TestClients, "RegisteredClients": TestRegisteredClients,
		"Lists": TestLists, "Consume": TestConsume, "Authorizations": TestAuthorizations, "Decide": TestDecide, "SetCode": TestSetCode,
		"ExchangeCode": TestExchangeCode, "Grants": TestGrants, "Refresh": TestRefresh, "Consents": TestConsents, "ConsentMoves": TestConsentMoves, "EndsTogether": TestEndsTogether, "AuthoriseAgain": TestAuthoriseAgain,
		"Notices": TestNotices, "ResourceServers": TestResourceServers, "PSUSessions": TestPSUSessions, "Events": TestEvents, "SealEvents": TestSealEvents, "WritesLast": TestWritesLast,
	} {
		t.Run(name, test)
	}
}

// A later release can say that this program works no more with its schema.
//
// Proves: O3
func TestNewerSchema(t *testing.T) {
	storetest.Each(t, func(t *testing.T, url string) {
		db, beside := open(t, url), raw(t, url)
		nextSchema(t, url)
		must(t, db.Ping(t.Context()))
		_, want, err := db.SchemaVersion(t.Context())
		must(t, err)
		for oldest, refused := range map[int64]error{want: nil, want + 1: store.ErrNewerSchema} {
			exec(t, beside, "UPDATE schema_support SET oldest = "+strconv.FormatInt(oldest, 10))
			before := dump(t, beside)
			if err := db.Ping(t.Context()); !errors.Is(err, refused) {
				t.Errorf("ping with oldest %d: got %v, want %v", oldest, err, refused)
			}
			if err := db.Migrate(t.Context()); !errors.Is(err, refused) {
				t.Errorf("migrate with oldest %d: got %v, want %v", oldest, err, refused)
			}
			equal(t, dump(t, beside), before)
		}
	})
}
