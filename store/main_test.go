package store_test

import (
	"context"
	"database/sql"
	"fmt"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"gatehouse"
	"gatehouse/store"
	"gatehouse/store/storetest"

	_ "github.com/jackc/pgx/v5/stdlib"
)

func TestMain(m *testing.M) {
	if os.Getenv(envSecondProcess) != "" {
		os.Exit(secondProcess())
	}
	if os.Getenv(envMigrate) != "" {
		os.Exit(migrateProcess())
	}
	os.Exit(storetest.Main(m))
}

var now = time.Date(2026, 3, 1, 12, 0, 0, 123e6, time.UTC)

// forEachDB runs test on SQLite and on PostgreSQL. Every call of open opens the
// same database anew, migrated.
func forEachDB(t *testing.T, test func(t *testing.T, open func() *store.DB)) {
	storetest.Each(t, func(t *testing.T, url string) {
		test(t, func() *store.DB { return open(t, url) })
	})
}

// open opens and migrates a database, until the test ends.
func open(t testing.TB, url string) *store.DB {
	t.Helper()
	db, err := store.Open(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	if err := db.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	if os.Getenv(envNextSchema) != "" {
		nextSchema(t, url)
	}
	return db
}

// raw opens a database beside the store.
func raw(t testing.TB, database string) *sql.DB {
	t.Helper()
	driver, dsn := "pgx", database
	if path, ok := strings.CutPrefix(database, "sqlite:"); ok {
		driver, dsn = "sqlite", (&url.URL{Scheme: "file", Path: path}).String()
	}
	db, err := sql.Open(driver, dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

// exec runs a statement beside the store.
func exec(t testing.TB, db *sql.DB, query string) {
	t.Helper()
	if _, err := db.ExecContext(t.Context(), query); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
}

// dump returns every row of every table as "table column=value …".
func dump(t testing.TB, db *sql.DB) []string {
	t.Helper()
	tables := column(t, db, `SELECT name FROM sqlite_master WHERE type = 'table'`)
	if tables == nil {
		tables = column(t, db, `SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'`)
	}
	var lines []string
	for _, table := range tables {
		rows, err := db.QueryContext(t.Context(), "SELECT * FROM "+table)
		if err != nil {
			t.Fatal(err)
		}
		names, err := rows.Columns()
		if err != nil {
			t.Fatal(err)
		}
		values, fields := make([]any, len(names)), make([]any, len(names))
		for i := range values {
			fields[i] = &values[i]
		}
		for rows.Next() {
			if err := rows.Scan(fields...); err != nil {
				t.Fatal(err)
			}
			line := table
			for i, name := range names {
				line += fmt.Sprintf(" %s=%v", name, values[i])
			}
			lines = append(lines, line)
		}
		if err := rows.Err(); err != nil {
			t.Fatal(err)
		}
	}
	slices.Sort(lines)
	return lines
}

// column returns the first column of a query, or nil when it cannot be asked.
func column(t testing.TB, db *sql.DB, query string) []string {
	rows, err := db.QueryContext(t.Context(), query)
	if err != nil {
		return nil
	}
	defer rows.Close()
	var list []string
	for rows.Next() {
		var s string
		if err := rows.Scan(&s); err != nil {
			t.Fatal(err)
		}
		list = append(list, s)
	}
	return list
}

// The valid rows that tests start from.

func aProvider(code string) *gatehouse.Provider {
	return &gatehouse.Provider{
		Code: code, Name: "Bank " + code, Status: gatehouse.Live, Profile: gatehouse.ProfilePSD2,
		Issuer: "https://bank.example/" + code, Scopes: []string{"openid", "accounts"}, SigningAlg: "PS256",
		Connector: gatehouse.Connector{
			URL: "https://bank.example/connector", LoginURL: "https://bank.example/login",
			AppID: "app-" + code, AppSecretHash: gatehouse.HashSecret("secret of " + code), JWKS: []byte(`{"keys":[]}`),
		},
		Rules:       gatehouse.Rules{CodeLifetime: gatehouse.Duration(30 * time.Second), RequirePKCE: true},
		SubjectSalt: gatehouse.HashSecret("salt of " + code), Version: 1, CreatedAt: now, UpdatedAt: now,
	}
}

func aKey(provider, kid string, created time.Time) *gatehouse.Key {
	return &gatehouse.Key{KID: kid, Provider: provider, Alg: "PS256", Sealed: []byte("sealed " + kid), KEKID: "kek", CreatedAt: created}
}

func aClient(id string) *gatehouse.Client {
	return &gatehouse.Client{
		ID: id, Name: "TPP " + id, Providers: []string{"alpha"}, RedirectURIs: []string{"https://tpp.example/back?a=1&b=<2>"},
		GrantTypes: gatehouse.GrantTypes(), ResponseTypes: []string{"code"}, Scopes: gatehouse.Scopes{"openid", "accounts"},
		TokenEndpointAuthMethod: gatehouse.AuthClientSecretBasic, IDTokenSignedResponseAlg: "PS256",
		JWKS: []byte(`{"keys":[]}`), SecretHash: gatehouse.HashSecret("secret of " + id), Status: gatehouse.ClientActive,
		Version: 1, CreatedAt: now, UpdatedAt: now,
	}
}

// aVisit has a code whose hash follows from its id, as has the grant of it.
func aVisit(provider, id string) *gatehouse.Authorization {
	maxAge := int64(300)
	return &gatehouse.Authorization{
		ID: id, Provider: provider, ClientID: "tpp",
		Request: gatehouse.AuthorizationRequest{
			ClientID: "tpp", RedirectURI: "https://tpp.example/back", ResponseType: "code",
			Scope: gatehouse.Scopes{"openid", "accounts"}, State: "state\x00<&>", Nonce: "nonce", CodeChallenge: "challenge",
			Prompt: []string{"login"}, MaxAge: &maxAge, ACRValues: []string{"sca"}, ACREssential: true,
		},
		Status: gatehouse.AuthorizationPending, BrowserHash: gatehouse.HashSecret("browser"),
		CodeHash: codeHash(id), SealedCode: []byte("sealed code of " + id), CodeExpiresAt: now.Add(time.Minute),
		CreatedAt: now, ExpiresAt: now.Add(15 * time.Minute),
	}
}

func codeHash(id string) []byte { return gatehouse.HashSecret("code of " + id) }

func aGrant(provider, id string) *gatehouse.Grant {
	return &gatehouse.Grant{
		ID: id, Provider: provider, ClientID: "tpp", UserID: "user", Subject: "subject",
		Scope: gatehouse.Scopes{"openid", "accounts"}, Accounts: []byte(`[ {"id": "<1>"} ]`),
		DebtorAccount: []byte(`{"iban":"GB33"}`), AuthTime: now.Add(-time.Minute), ACR: "sca",
		CreatedAt: now, ExpiresAt: now.Add(time.Hour), AuthenticationExpiresAt: now.Add(2 * time.Hour),
	}
}

// aConsent is what a visit of aVisitFor and a grant of aGrantFor are about.
func aConsent(provider, id string) *gatehouse.Consent {
	return &gatehouse.Consent{
		ID: id, Provider: provider, ClientID: "tpp", Kind: gatehouse.AccountAccess, Status: gatehouse.ConsentAwaitingAuthorisation,
		Lodged: []byte(`{"Data":{"Permissions":["ReadBalances"]},"Risk":{}}`), ExpiresAt: now.Add(time.Hour),
		IdempotencyKeyHash: gatehouse.HashSecret("key of " + id), RequestHash: gatehouse.HashSecret("request of " + id),
		CreatedAt: now, StatusUpdatedAt: now,
	}
}

func aVisitFor(provider, id, consent string) *gatehouse.Authorization {
	a := aVisit(provider, id)
	a.Request.IntentID = consent
	return a
}

func aGrantFor(provider, id, consent string) *gatehouse.Grant {
	g := aGrant(provider, id)
	g.IntentID = consent
	return g
}

// lodged adds a consent.
func lodged(t testing.TB, db *store.DB, provider, id string) {
	t.Helper()
	_, err := db.CreateConsent(context.Background(), aConsent(provider, id), now)
	must(t, err)
}

// authorised adds a consent, and a visit and a grant of the same id that
// authorise it.
func authorised(t testing.TB, db *store.DB, provider, id string) {
	t.Helper()
	lodged(t, db, provider, id)
	must(t, db.CreateAuthorization(context.Background(), aVisitFor(provider, id, id)))
	must(t, db.ApproveAuthorization(context.Background(), provider, id, aGrantFor(provider, id, id), now))
}

func anAccessToken(provider, id, grant string) *gatehouse.AccessToken {
	return &gatehouse.AccessToken{
		ID: id, Provider: provider, GrantID: grant, ClientID: "tpp", Scope: gatehouse.Scopes{"accounts"},
		Hash: gatehouse.HashSecret(provider + " access " + id), IssuedAt: now, ExpiresAt: now.Add(10 * time.Minute),
	}
}

func aRefreshToken(provider, id, grant string) *gatehouse.RefreshToken {
	return &gatehouse.RefreshToken{
		ID: id, Provider: provider, GrantID: grant, ClientID: "tpp",
		Hash: gatehouse.HashSecret(provider + " refresh " + id), IssuedAt: now, ExpiresAt: now.Add(30 * time.Minute),
	}
}

// must ends the test when a step that prepares it fails.
func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// approved adds a visit and approves it; its grant has the same id.
func approved(t testing.TB, db *store.DB, provider, id string) {
	t.Helper()
	must(t, db.CreateAuthorization(context.Background(), aVisit(provider, id)))
	must(t, db.ApproveAuthorization(context.Background(), provider, id, aGrant(provider, id), now))
}

// await returns when a query beside the store has a row, and what it is.
func await(t testing.TB, beside *sql.DB, query string) string {
	t.Helper()
	limit := time.After(20 * time.Second)
	for {
		if found := column(t, beside, query); len(found) > 0 {
			return found[0]
		}
		select {
		case <-limit:
			t.Fatalf("it never came: %s", query)
		case <-time.After(2 * time.Millisecond):
		}
	}
}
