package main

import (
	"database/sql"
	"strings"
	"testing"
)

// A later release migrates the database: this program goes on serving and
// starts anew, until a migration says that it works no more.
//
// Proves: O2, O3
func TestNewerSchema(t *testing.T) {
	url := sqliteURL(t)
	s := settings(t, url)
	addProvider(t, s)
	p := start(t, s, "serve")
	p.ready()
	admin := p.admin()
	db, err := sql.Open("sqlite", strings.TrimPrefix(url, "sqlite:"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	change := func(statement string) {
		t.Helper()
		if _, err := db.ExecContext(t.Context(), statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}

	change(`ALTER TABLE access_tokens ADD COLUMN later TEXT`)
	change(`INSERT INTO schema_versions (version_id, is_applied) VALUES (999999, 1)`)
	checkProbe(t, admin+"/readyz", 200, map[string]string{"status": "ready", "database": "ok", "keys": "ok"})
	succeed(t, s, "migrate")
	succeed(t, s, "provider", "list")
	start(t, s, "serve").ready()

	change(`UPDATE schema_support SET oldest = 999999`)
	checkProbe(t, admin+"/readyz", 503, map[string]string{"status": "unavailable", "database": "down", "keys": "unknown"})
	for _, args := range [][]string{{"serve"}, {"serve", "--migrate"}, {"migrate"}, {"provider", "list"}} {
		output, err := command(s, args...).CombinedOutput()
		if err == nil || !strings.HasPrefix(string(output), "gatehouse: database: the database schema is newer than this program") {
			t.Errorf("%s: %v: %s", args, err, output)
		}
	}
}
