package store_test

import (
	"database/sql"
	"fmt"
	"os"
	osexec "os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"gatehouse"
	"gatehouse/store"
	"gatehouse/store/storetest"

	"github.com/jackc/pgx/v5"
)

// envWriteFixtures, set to anything, makes TestFixtures write the fixtures of
// the present schema first; see testdata/schema/README.md.
const envWriteFixtures = "GATEHOUSE_TEST_WRITE_FIXTURES"

// The database of every released schema, with rows, becomes the present one,
// and the rows mean what they meant.
//
// Proves: O2
func TestFixtures(t *testing.T) {
	storetest.Each(t, func(t *testing.T, url string) {
		present, engine := open(t, url), filepath.Base(t.Name())
		_, want, err := present.SchemaVersion(t.Context())
		must(t, err)
		newest := fmt.Sprintf("testdata/schema/%05d.%s.sql", want, engine)
		if os.Getenv(envWriteFixtures) != "" {
			filled := storetest.URL(t, engine)
			fill(t, open(t, filled))
			must(t, os.MkdirAll(filepath.Dir(newest), 0o755))
			must(t, os.WriteFile(newest, []byte(script(t, filled)), 0o644))
		}
		fixtures, err := filepath.Glob("testdata/schema/*." + engine + ".sql")
		must(t, err)
		if !slices.Contains(fixtures, newest) {
			t.Errorf("%s is missing; testdata/schema/README.md says how to write it", newest)
		}
		fresh := catalog(t, raw(t, url))
		for _, fixture := range fixtures {
			t.Run(strings.TrimSuffix(filepath.Base(fixture), "."+engine+".sql"), func(t *testing.T) {
				url := load(t, engine, fixture)
				db, err := store.Open(t.Context(), url)
				must(t, err)
				defer db.Close()
				must(t, db.Migrate(t.Context()))
				must(t, db.Ping(t.Context()))
				beside := raw(t, url)
				equal(t, catalog(t, beside), fresh)
				version, _, _ := strings.Cut(filepath.Base(fixture), ".")
				checkFilled(t, db, version)
				if engine == "sqlite" {
					equal(t, column(t, beside, "PRAGMA integrity_check"), []string{"ok"})
				}
			})
		}
	})
}

// fill writes rows into every table, by way of the store.
func fill(t *testing.T, db *store.DB) {
	ctx := t.Context()
	must(t, db.CreateProvider(ctx, aProvider("alpha"), []*gatehouse.Key{aKey("alpha", "first", now), aKey("alpha", "second", now)}))
	must(t, db.CreateClient(ctx, aClient("tpp")))
	long := now.Add(-48 * time.Hour)
	must(t, db.Consume(ctx, "", gatehouse.ConsumeAssertion, "purged", long, long, long))
	_, err := db.Purge(ctx, now)
	must(t, err)
	must(t, db.Consume(ctx, "", gatehouse.ConsumeAssertion, "spent", now, now.Add(time.Hour), now))
	must(t, db.CreateAuthorization(ctx, aVisit("alpha", "pending")))
	must(t, db.CreateAuthorization(ctx, aVisit("alpha", "denied")))
	must(t, db.DenyAuthorization(ctx, "alpha", "denied", now))
	approved(t, db, "alpha", "approved")
	approved(t, db, "alpha", "exchanged")
	must(t, db.ExchangeCode(ctx, "alpha", "exchanged", anAccessToken("alpha", "exchanged", "exchanged"), aRefreshToken("alpha", "exchanged", "exchanged"), now))
	for _, id := range []string{"granted", "revoked"} {
		must(t, db.CreateGrant(ctx, aGrant("alpha", id), anAccessToken("alpha", id, id), aRefreshToken("alpha", id, id)))
	}
	must(t, db.RevokeGrant(ctx, "alpha", "revoked", now))
	lodged(t, db, "alpha", "waiting")
	for _, id := range []string{"authorised", "withdrawn"} {
		authorised(t, db, "alpha", id)
	}
	must(t, db.EndConsent(ctx, "alpha", "withdrawn", gatehouse.ConsentRevoked, now))
	must(t, db.CreateResourceServer(ctx, aResourceServer("alpha", "gateway")))
	must(t, db.CreatePSUSession(ctx, aPSUSession("alpha", "session")))
	_, err = db.SealEvents(ctx, chainHash(t))
	must(t, err)
}

// checkFilled uses what fill has written at a schema version.
func checkFilled(t *testing.T, db *store.DB, version string) {
	ctx := t.Context()
	p, err := db.Provider(ctx, "alpha")
	must(t, err)
	equal(t, []any{p.Name, p.Status, p.SubjectSalt}, []any{"Bank alpha", gatehouse.Live, gatehouse.HashSecret("salt of alpha")})
	keys, err := db.Keys(ctx, "alpha")
	must(t, err)
	equal(t, keys, []*gatehouse.Key{aKey("alpha", "first", now), aKey("alpha", "second", now)})
	c, err := db.Client(ctx, "tpp")
	must(t, err)
	equal(t, []any{c.Status, c.SecretHash}, []any{gatehouse.ClientActive, gatehouse.HashSecret("secret of tpp")})
	access, g, err := db.AccessToken(ctx, "alpha", "granted")
	must(t, err)
	equal(t, access, anAccessToken("alpha", "granted", "granted"))
	want := aGrant("alpha", "granted")
	if version < "00005" { // no second clock, and consents that nobody had lodged
		want.IntentID, want.AuthenticationExpiresAt = "intent", time.Time{}
	}
	equal(t, g, want)

	consume := func(key string) func() error {
		return func() error {
			return db.Consume(ctx, "", gatehouse.ConsumeAssertion, key, now, now.Add(time.Hour), now)
		}
	}
	exchange := func(visit string) func() error {
		return func() error {
			return db.ExchangeCode(ctx, "alpha", visit, anAccessToken("alpha", "new "+visit, visit), aRefreshToken("alpha", "new "+visit, visit), now)
		}
	}
	refresh := func(token, access string) func() error {
		return func() error {
			return db.Refresh(ctx, "alpha", token, anAccessToken("alpha", access, token), nil, 0, now)
		}
	}
	walk(t, []step{
		{"a key that was spent", consume("spent"), gatehouse.ErrSpent},
		{"a new key", consume("unspent"), nil},
		{"a refresh token", refresh("granted", "a"), nil},
		{"a refresh token, once more", refresh("granted", "b"), nil},
		{"a revoked refresh token", refresh("revoked", "c"), gatehouse.ErrNotFound},
		{"a refresh token that came with a code", refresh("exchanged", "d"), nil},
		{"a code", exchange("approved"), nil},
		{"a code that was exchanged", exchange("exchanged"), gatehouse.ErrSpent},
		{"the refresh token of that code", refresh("exchanged", "e"), gatehouse.ErrNotFound},
		{"a pending visit", func() error { return db.DenyAuthorization(ctx, "alpha", "pending", now) }, nil},
		{"a denied visit", func() error { return db.DenyAuthorization(ctx, "alpha", "denied", now) }, gatehouse.ErrConflict},
	})
	if version < "00005" {
		return
	}
	walk(t, []step{
		{"a consent that waits", func() error { return db.EndConsent(ctx, "alpha", "waiting", gatehouse.ConsentRejected, now) }, nil},
		{"an authorised consent", func() error { return db.EndConsent(ctx, "alpha", "authorised", gatehouse.ConsentConsumed, now) }, nil},
		{"its code", exchange("authorised"), gatehouse.ErrConflict},
		{"a withdrawn consent", func() error { return db.EndConsent(ctx, "alpha", "withdrawn", gatehouse.ConsentConsumed, now) }, gatehouse.ErrConflict},
		{"the code of a withdrawn consent", exchange("withdrawn"), gatehouse.ErrConflict},
	})
	servers, err := db.ResourceServers(ctx, "alpha")
	must(t, err)
	equal(t, servers, []*gatehouse.ResourceServer{aResourceServer("alpha", "gateway")})
	chain, err := db.Chain(ctx, 0, 1000)
	must(t, err)
	if len(chain) == 0 {
		t.Error("there is no chain of events")
	}
}

// load runs a fixture in an empty database.
func load(t testing.TB, engine, fixture string) (url string) {
	t.Helper()
	text, err := os.ReadFile(fixture)
	must(t, err)
	url = storetest.URL(t, engine)
	if engine == "sqlite" {
		exec(t, raw(t, url), string(text))
		return url
	}
	conn, err := pgx.Connect(t.Context(), url)
	must(t, err)
	defer conn.Close(t.Context())
	_, err = conn.PgConn().Exec(t.Context(), string(text)).ReadAll() // many statements
	must(t, err)
	return url
}

// script writes a database as SQL.
func script(t *testing.T, url string) string {
	t.Helper()
	if strings.HasPrefix(url, "sqlite:") {
		return sqliteScript(t, raw(t, url))
	}
	out, err := osexec.Command("pg_dump", "--inserts", "--no-owner", "--no-privileges", url).Output()
	must(t, err)
	var lines []string
	for line := range strings.Lines(string(out)) {
		// Settings, some of which other releases of PostgreSQL do not know.
		if !slices.ContainsFunc([]string{"--", "SET ", `\`, "SELECT pg_catalog.set_config", "\n"}, func(s string) bool { return strings.HasPrefix(line, s) }) {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "")
}

func sqliteScript(t *testing.T, db *sql.DB) string {
	text := "BEGIN;\n"
	for _, table := range column(t, db, "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY rowid") {
		text += column(t, db, "SELECT sql FROM sqlite_schema WHERE name = '"+table+"'")[0] + ";\n"
		values := column(t, db, "SELECT group_concat('quote(\"' || name || '\")', ' || '','' || ') FROM pragma_table_info('"+table+"')")[0]
		for _, row := range column(t, db, "SELECT "+values+" FROM "+table) {
			text += "INSERT INTO " + table + " VALUES (" + row + ");\n"
		}
	}
	for _, index := range column(t, db, "SELECT sql FROM sqlite_schema WHERE type = 'index' AND sql IS NOT NULL ORDER BY name") {
		text += index + ";\n"
	}
	return text + "COMMIT;\n"
}

// catalog describes everything in the schema of a database.
func catalog(t testing.TB, db *sql.DB) []string {
	t.Helper()
	if list := column(t, db, `SELECT type || ' ' || name || ': ' || COALESCE(sql, '') FROM sqlite_schema ORDER BY 1`); list != nil {
		return list
	}
	return column(t, db, `
		SELECT concat_ws(' ', 'column', table_name, ordinal_position, column_name, data_type, collation_name, is_nullable, column_default, identity_generation)
		FROM information_schema.columns WHERE table_schema = 'public'
		UNION ALL
		SELECT concat_ws(' ', 'index', pg_get_indexdef(indexrelid), CASE WHEN indisvalid THEN 'valid' END)
		FROM pg_index JOIN pg_class c ON c.oid = indexrelid WHERE relnamespace = 'public'::regnamespace
		UNION ALL
		SELECT concat_ws(' ', 'constraint', conrelid::regclass, conname, pg_get_constraintdef(oid), CASE WHEN convalidated THEN 'valid' END)
		FROM pg_constraint WHERE connamespace = 'public'::regnamespace
		UNION ALL
		SELECT concat_ws(' ', 'collation', collname, collcollate) FROM pg_collation WHERE collnamespace = 'public'::regnamespace
		ORDER BY 1`)
}
