package main

import (
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"gatehouse/store/storetest"
)

// A server writes while it is backed up, and is in the way of a restore as
// long as it runs.
// Proves: S16, S21
func TestBackupBesideServer(t *testing.T) {
	s := settings(t, sqliteURL(t))
	addProvider(t, s)
	server := start(t, s, "serve")
	server.ready()
	file := filepath.Join(t.TempDir(), "backup.db")
	succeed(t, s, "backup", file)
	succeed(t, s, "verify")
	succeed(t, s, "provider", "disable", "demobank")

	output, err := command(s, "restore", file, "--force").CombinedOutput()
	if err == nil || !strings.Contains(string(output), "is in use: stop every gatehouse first") {
		t.Errorf("restore beside a server: %v: %s", err, output)
	}
	if output, err := command(s, "provider", "show", "demobank", "--output", "json").CombinedOutput(); err != nil || !strings.Contains(string(output), `"disabled"`) {
		t.Errorf("after a refused restore: %v: %s", err, output)
	}

	server.signal(syscall.SIGTERM)
	if err := server.wait(); err != nil {
		t.Fatal(err)
	}
	succeed(t, s, "restore", file, "--force")
	if output, err := command(s, "provider", "show", "demobank", "--output", "json").CombinedOutput(); err != nil || !strings.Contains(string(output), `"live"`) {
		t.Errorf("after a restore: %v: %s", err, output)
	}
	start(t, s, "serve").ready()
}

// A server that was killed holds nothing; what it left beside the database
// does not mix with what is restored.
// Proves: S21
func TestRestoreAfterKill(t *testing.T) {
	s := settings(t, sqliteURL(t))
	file := filepath.Join(t.TempDir(), "backup.db")
	succeed(t, s, "backup", file)
	server := start(t, s, "serve")
	server.ready()
	addProvider(t, s)
	server.signal(syscall.SIGKILL)
	server.wait()
	succeed(t, s, "restore", file, "--force")
	if output, err := command(s, "provider", "list", "--output", "json").CombinedOutput(); err != nil || strings.TrimSpace(string(output)) != "[]" {
		t.Errorf("providers after a restore: %v: %s", err, output)
	}
	succeed(t, s, "verify")
}

// The epoch on PostgreSQL, where the copy comes by other means.
// Proves: S21
func TestRestoreEpochPostgres(t *testing.T) {
	s := settings(t, storetest.URL(t, "postgres"))
	addProvider(t, s)
	output, err := command(s, "restore-epoch").CombinedOutput()
	if err != nil || !strings.Contains(string(output), "assertions_from") {
		t.Errorf("restore-epoch: %v: %s", err, output)
	}
	succeed(t, s, "verify")
	output, err = command(s, "backup", filepath.Join(t.TempDir(), "backup.db")).CombinedOutput()
	if err == nil || !strings.Contains(string(output), "pg_basebackup") {
		t.Errorf("backup: %v: %s", err, output)
	}
}
