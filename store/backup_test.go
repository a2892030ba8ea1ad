package store_test

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"gatehouse"
	"gatehouse/jose"
	"gatehouse/store"
	"gatehouse/store/storetest"
)

func aKEK(t testing.TB, secret string) *jose.KEK {
	t.Helper()
	kek, err := jose.ParseKEK(base64.StdEncoding.EncodeToString(gatehouse.HashSecret(secret)))
	must(t, err)
	return kek
}

func aSigningKey(t testing.TB) *jose.PrivateKey {
	t.Helper()
	key, err := jose.GenerateKey("PS256", 2048)
	must(t, err)
	return key
}

// aBank adds the clients tpp and gone, and a provider whose key the KEK
// "kek" opens.
func aBank(t testing.TB, db *store.DB, key *jose.PrivateKey, rotate bool) {
	t.Helper()
	p := aProvider("alpha")
	p.Rules.RotateRefreshTokens = rotate
	sealed, err := aKEK(t, "kek").Seal(key, p.Code)
	must(t, err)
	must(t, db.CreateProvider(t.Context(), p, []*gatehouse.Key{{
		KID: key.KID, Provider: p.Code, Alg: key.Alg, Sealed: sealed, KEKID: aKEK(t, "kek").ID(), CreatedAt: now}}))
	for _, id := range []string{"tpp", "gone"} {
		must(t, db.CreateClient(t.Context(), aClient(id)))
	}
}

// aPast adds a visit in every state, named after it, a grant with tokens, and
// one that has rotated its refresh token.
func aPast(t testing.TB, db *store.DB) {
	t.Helper()
	ctx := t.Context()
	must(t, db.CreateAuthorization(ctx, aVisit("alpha", "pending")))
	approved(t, db, "alpha", "approved")
	codeless := aVisit("alpha", "codeless")
	codeless.CodeHash, codeless.CodeExpiresAt = nil, time.Time{}
	must(t, db.CreateAuthorization(ctx, codeless))
	must(t, db.ApproveAuthorization(ctx, "alpha", "codeless", aGrant("alpha", "codeless"), now))
	authorised(t, db, "alpha", "consented")
	approved(t, db, "alpha", "exchanged")
	must(t, db.ExchangeCode(ctx, "alpha", "exchanged", anAccessToken("alpha", "exchanged", "exchanged"), aRefreshToken("alpha", "exchanged", "exchanged"), now))
	must(t, db.CreateAuthorization(ctx, aVisit("alpha", "denied")))
	must(t, db.DenyAuthorization(ctx, "alpha", "denied", now))
	must(t, db.CreateGrant(ctx, aGrant("alpha", "standing"), anAccessToken("alpha", "standing", "standing"), aRefreshToken("alpha", "standing", "standing")))
	must(t, db.Refresh(ctx, "alpha", "standing", anAccessToken("alpha", "second", "standing"), aRefreshToken("alpha", "successor", "standing"), time.Minute, now))
	must(t, db.Consume(ctx, "", gatehouse.ConsumeAssertion, "early", now, now.Add(time.Minute), now))
}

// aLoss does what a restore forgets.
func aLoss(t testing.TB, db *store.DB) {
	t.Helper()
	ctx := t.Context()
	for _, id := range []string{"approved", "codeless"} {
		if id == "codeless" {
			must(t, db.SetCode(ctx, "alpha", id, codeHash(id), now.Add(time.Minute)))
		}
		must(t, db.ExchangeCode(ctx, "alpha", id, anAccessToken("alpha", id, id), nil, now))
	}
	must(t, db.Consume(ctx, "", gatehouse.ConsumeAssertion, "late", now, now.Add(time.Hour), now))
}

// wantPast checks that what was spent by aLoss cannot be spent again.
func wantPast(t *testing.T, db *store.DB, r *store.Restored) {
	t.Helper()
	ctx := t.Context()
	later := r.RestoredAt
	wantErr := func(what string, got, want error) {
		t.Helper()
		if !errors.Is(got, want) {
			t.Errorf("%s: got %v, want %v", what, got, want)
		}
	}
	if err := db.SetCode(ctx, "alpha", "codeless", codeHash("another"), later.Add(time.Hour)); err != nil && !errors.Is(err, gatehouse.ErrSpent) {
		t.Fatal(err)
	}
	for _, id := range []string{"approved", "codeless"} {
		wantErr("code of the visit "+id, db.ExchangeCode(ctx, "alpha", id, anAccessToken("alpha", "again "+id, id), nil, later), gatehouse.ErrConflict)
		// A clock that is behind changes nothing.
		wantErr("the same, earlier", db.ExchangeCode(ctx, "alpha", id, anAccessToken("alpha", "again "+id, id), nil, now), gatehouse.ErrConflict)
	}
	for _, id := range []string{"pending", "approved"} {
		a, err := db.Authorization(ctx, "alpha", id)
		must(t, err)
		if !a.ExpiresAt.Equal(time.Unix(0, 0)) || !a.CodeExpiresAt.Equal(time.Unix(0, 0)) {
			t.Errorf("visit %s goes on until %v, its code until %v", id, a.ExpiresAt, a.CodeExpiresAt)
		}
	}
	wantErr("approval of a visit from before", db.ApproveAuthorization(ctx, "alpha", "pending", aGrant("alpha", "pending"), now), gatehouse.ErrConflict)
	wantErr("denial of a visit from before", db.DenyAuthorization(ctx, "alpha", "pending", now), gatehouse.ErrConflict)
	for _, row := range []struct {
		key    string
		issued time.Time
		want   error
	}{
		{"early", now, gatehouse.ErrSpent},
		{"late", now, gatehouse.ErrSpent},
		{"late, issued ahead of its use", r.RestoredAt.Add(time.Minute - time.Millisecond), gatehouse.ErrSpent},
		{"afterwards", r.AssertionsFrom, nil},
		{"afterwards", r.AssertionsFrom, gatehouse.ErrSpent},
	} {
		err := db.Consume(ctx, "", gatehouse.ConsumeAssertion, row.key, row.issued, later.Add(time.Hour), later)
		wantErr("assertion "+row.key, err, row.want)
	}
	// What was spent before is known to be.
	wantErr("code spent before", db.ExchangeCode(ctx, "alpha", "exchanged", anAccessToken("alpha", "again", "exchanged"), nil, later), gatehouse.ErrSpent)
	wantErr("rotation", db.Refresh(ctx, "alpha", "standing", anAccessToken("alpha", "third", "standing"), nil, time.Minute, now.Add(2*time.Minute)), gatehouse.ErrNotFound)
}

// A copy that is taken while others write has all that was written before, and
// nothing by halves; what was spent after it stays spent.
// Proves: S21
func TestBackupUnderLoad(t *testing.T) {
	ctx := t.Context()
	url := storetest.URL(t, "sqlite")
	dir := filepath.Dir(strings.TrimPrefix(url, "sqlite:"))
	db, replica := open(t, url), open(t, url)
	aBank(t, db, aSigningKey(t), false)
	aPast(t, db)

	const writers, early = 8, 200
	acknowledged, stop := make(chan string), make(chan struct{})
	var done sync.WaitGroup
	for w := range writers {
		done.Go(func() {
			for n := 0; ; n++ {
				id := fmt.Sprintf("%d of %d", n, w)
				if err := []*store.DB{db, replica}[w%2].CreateGrant(ctx, aGrant("alpha", id), anAccessToken("alpha", id, id), aRefreshToken("alpha", id, id)); err != nil {
					t.Errorf("write beside the backup: %v", err)
				}
				select {
				case acknowledged <- id:
				case <-stop:
					return
				}
			}
		})
	}
	var before []string
	for range early {
		before = append(before, <-acknowledged)
	}
	file := filepath.Join(dir, "backup.db")
	backedUp := make(chan error)
	go func() { backedUp <- store.Backup(ctx, url, file, now.Add(time.Second)) }()
	meanwhile := 0
	for running := true; running; {
		select {
		case <-acknowledged:
			meanwhile++
		case err := <-backedUp:
			must(t, err)
			running = false
		}
	}
	close(stop)
	done.Wait()
	t.Logf("%d writes during the backup", meanwhile)
	aLoss(t, db)
	must(t, db.Close())
	must(t, replica.Close())

	at := now.Add(10 * time.Minute)
	r, faults, err := store.Restore(ctx, url, file, store.RestoreOptions{
		Replace: true, KEK: aKEK(t, "kek"), Revoke: store.RevokeNone, Now: func() time.Time { return at }})
	must(t, err)
	equal(t, len(faults), 0)
	equal(t, r.BackupAt, now.Add(time.Second))
	equal(t, r.RestoredAt, at)
	equal(t, []int64{r.AuthorizationsVoided, r.GrantsEnded, r.Clients, r.Providers}, []int64{4, 3, 2, 1})
	equal(t, directory(t, dir), []string{"backup.db", "gatehouse.db"})

	db = open(t, url)
	for _, id := range before {
		if _, g, err := db.AccessToken(ctx, "alpha", id); err != nil || !g.ActiveAt(now) {
			t.Fatalf("token %s was acknowledged before the backup and is gone: %v", id, err)
		}
		if _, _, err := db.RefreshToken(ctx, "alpha", id); err != nil {
			t.Fatalf("refresh token %s was acknowledged before the backup and is gone: %v", id, err)
		}
	}
	wantFaults(t, db)
	wantPast(t, db, r)

	// From now on it is no copy.
	r, err = db.RestoreEpoch(ctx, store.RevokeNone, at)
	must(t, err)
	equal(t, r.BackupAt, time.Time{})
}

// The report says what was lost, and what was done about it.
// Proves: S21
func TestRestoreEpoch(t *testing.T) {
	key := aSigningKey(t)
	for _, row := range []struct {
		revoke         store.RevokeGrants
		rotate         bool
		ended, inForce int64
	}{
		{store.RevokeNone, false, 3, 2},
		{store.RevokeNone, true, 3, 2},
		{store.RevokeRotating, false, 3, 2},
		{store.RevokeRotating, true, 5, 0},
		{store.RevokeAll, false, 5, 0},
	} {
		t.Run(fmt.Sprintf("%s %t", row.revoke, row.rotate), func(t *testing.T) {
			storetest.Each(t, func(t *testing.T, url string) {
				ctx := t.Context()
				db := open(t, url)
				aBank(t, db, key, row.rotate)
				aPast(t, db)
				at := now.Add(10 * time.Minute)
				r, err := db.RestoreEpoch(ctx, row.revoke, at)
				must(t, err)
				want := &store.Restored{
					RestoredAt: at, LastWriteAt: now, AssertionsFrom: at.Add(time.Minute), AuthorizationsVoided: 4, GrantsEnded: row.ended,
					GrantsInForce: row.inForce, Clients: 2, Providers: 1, Rotating: []store.RotatingProvider{},
				}
				if row.rotate {
					want.Rotating = []store.RotatingProvider{{Code: "alpha", GrantsInForce: row.inForce}}
				}
				for _, m := range []*time.Time{&want.RestoredAt, &want.LastWriteAt, &want.AssertionsFrom} {
					*m = m.Truncate(time.Millisecond)
				}
				equal(t, r, want)
				_, g, err := db.AccessToken(ctx, "alpha", "standing")
				must(t, err)
				equal(t, g.RevokedAt.IsZero(), row.inForce > 0)
				beside := raw(t, url)
				equal(t, count(t, beside, `SELECT COUNT(*) FROM consents WHERE status = 'Revoked'`), 1)
				equal(t, count(t, beside, `SELECT COUNT(*) FROM notices WHERE step = 'revoked'`), 1)
				equal(t, count(t, beside, `SELECT COUNT(*) FROM events WHERE kind = 'database.restored'`), 1)
				wantFaults(t, db)

				// A second time, with an earlier clock, voids nothing and lets
				// nothing through.
				again, err := db.RestoreEpoch(ctx, store.RevokeNone, now)
				must(t, err)
				equal(t, again.AuthorizationsVoided, int64(0))
				equal(t, again.AssertionsFrom, r.AssertionsFrom)
				wantPast(t, db, r)
			})
		})
	}
}

// Proves: S21
func TestVerify(t *testing.T) {
	key := aSigningKey(t)
	orphan := "access token without its client's grant"
	for _, row := range []struct {
		name, change, want string
	}{
		{"successor that Purge took first", `UPDATE refresh_tokens SET expires_at = 1; DELETE FROM refresh_tokens WHERE id = 'successor'`, ""},
		{"grant that Purge took first", `UPDATE authorizations SET decided_at = 1 WHERE id = 'approved'; DELETE FROM grants WHERE id = 'approved'`, ""},
		{"deleted provider, half purged", `UPDATE providers SET deleted_at = 1; DELETE FROM grants; DELETE FROM refresh_tokens WHERE id = 'successor'`, ""},
		{"deleted client, ended grants", `UPDATE clients SET status = 'deleted'; UPDATE grants SET revoked_at = 1`, ""},
		{"deleted client, expired grants", `UPDATE clients SET status = 'deleted'; UPDATE grants SET expires_at = 1`, ""},
		{"no grant", `DELETE FROM grants WHERE id = 'standing'`, orphan},
		{"token of another client", `UPDATE access_tokens SET client_id = 'gone' WHERE id = 'standing'`, orphan},
		{"refresh token of another client", `UPDATE refresh_tokens SET client_id = 'gone' WHERE id = 'standing'`, "refresh token without its client's grant"},
		{"no provider", `UPDATE grants SET provider = 'beta' WHERE id = 'codeless'`, "grant of an unknown provider"},
		{"no client", `UPDATE grants SET client_id = 'nobody' WHERE id = 'codeless'`, "grant of an unknown client"},
		{"deleted client", `UPDATE clients SET status = 'deleted' WHERE id = 'tpp'`, "grant in force of a deleted client"},
		{"no successor", `UPDATE refresh_tokens SET successor_id = 'nobody' WHERE id = 'standing'`, "successor that is no refresh token of the grant"},
		{"successor of another grant", `UPDATE refresh_tokens SET successor_id = 'exchanged' WHERE id = 'standing'`, "successor that is no refresh token of the grant"},
		{"approved for nothing", `UPDATE authorizations SET grant_id = NULL WHERE id = 'approved'`, "approved authorization without grant_id"},
		{"approved for another", `UPDATE authorizations SET client_id = 'gone' WHERE id = 'approved'`, "approved authorization without its client's grant"},
		{"authorised for nothing", `UPDATE consents SET grant_id = 'nobody'`, "authorised consent without its client's grant"},
		{"authorised for another", `UPDATE consents SET client_id = 'gone'`, "authorised consent without its client's grant"},
		{"ended alone", `UPDATE consents SET status = 'Revoked'`, "grant in force of a consent that has ended"},
		{"exchanged for nothing", `UPDATE authorizations SET access_token_id = NULL WHERE id = 'exchanged'`, "exchanged authorization without access_token_id"},
		{"spent and open", `UPDATE authorizations SET status = 'approved' WHERE id = 'exchanged'`, "spent authorization that is not exchanged"},
		{"no key", `DELETE FROM signing_keys`, "provider without a signing key for its signing_alg"},
		{"no key for the algorithm", `UPDATE providers SET settings = replace(settings, 'PS256', 'RS256')`, "provider without a signing key for its signing_alg"},
		{"key of another algorithm", `UPDATE signing_keys SET alg = 'RS256'`, "signing key that the key-encryption key does not open"},
		{"changed key", `UPDATE signing_keys SET sealed = 'AQ'`, "signing key that the key-encryption key does not open"},
	} {
		t.Run(row.name, func(t *testing.T) {
			storetest.Each(t, func(t *testing.T, url string) {
				db := open(t, url)
				aBank(t, db, key, true)
				aPast(t, db)
				wantFaults(t, db)
				beside := raw(t, url)
				for change := range strings.SplitSeq(row.change, ";") {
					exec(t, beside, change)
				}
				if row.want == "" {
					wantFaults(t, db)
					return
				}
				faults, err := db.Verify(t.Context(), aKEK(t, "kek"), now)
				must(t, err)
				if !slices.ContainsFunc(faults, func(f store.Fault) bool { return f.Check == row.want && f.Rows > 0 && f.First != "" }) {
					t.Errorf("got %v, want %q", faults, row.want)
				}
			})
		})
	}
}

func TestVerifyKEK(t *testing.T) {
	forEachDB(t, func(t *testing.T, open func() *store.DB) {
		db := open()
		aBank(t, db, aSigningKey(t), false)
		faults, err := db.Verify(t.Context(), aKEK(t, "another"), now)
		must(t, err)
		if len(faults) != 1 || faults[0].Check != "signing key that the key-encryption key does not open" || !strings.HasPrefix(faults[0].First, "alpha/") {
			t.Errorf("got %v", faults)
		}
	})
}

// What Purge takes, and in what order, is no fault.
func TestVerifyAfterPurge(t *testing.T) {
	forEachDB(t, func(t *testing.T, open func() *store.DB) {
		db := open()
		aBank(t, db, aSigningKey(t), true)
		aPast(t, db)
		for _, after := range []time.Duration{25 * time.Hour, 48 * time.Hour} {
			_, err := db.Purge(t.Context(), now.Add(after))
			must(t, err)
			faults, err := db.Verify(t.Context(), aKEK(t, "kek"), now.Add(after))
			must(t, err)
			equal(t, len(faults), 0)
		}
	})
}

// wantFaults checks that there are none.
func wantFaults(t *testing.T, db *store.DB) {
	t.Helper()
	faults, err := db.Verify(t.Context(), aKEK(t, "kek"), now)
	must(t, err)
	if len(faults) > 0 {
		t.Errorf("faults: %v", faults)
	}
}

// A damaged index is found by verify, keeps a backup from being made, and one
// from being restored.
// Proves: S21
func TestDamage(t *testing.T) {
	for name, damage := range map[string]func(page []byte){
		"zeroes":      func(page []byte) { clear(page[:100]) },
		"wrong entry": func(page []byte) { copy(page[bytes.LastIndex(page, []byte("tpp")):], "tpq") },
	} {
		t.Run(name, func(t *testing.T) {
			ctx := t.Context()
			url := storetest.URL(t, "sqlite")
			dir := filepath.Dir(strings.TrimPrefix(url, "sqlite:"))
			db := open(t, url)
			aBank(t, db, aSigningKey(t), false)
			aPast(t, db)
			file := filepath.Join(dir, "backup.db")
			must(t, store.Backup(ctx, url, file, now))
			must(t, db.Close())
			for _, path := range []string{file, strings.TrimPrefix(url, "sqlite:")} {
				changePage(t, path, "grants_client", damage)
			}
			if err := store.Backup(ctx, url, file+"2", now); err == nil || !strings.Contains(err.Error(), "damaged") && !strings.Contains(err.Error(), "malformed") {
				t.Errorf("backup of a damaged database: got %v", err)
			}
			db, err := store.Open(ctx, url)
			must(t, err)
			defer db.Close()
			faults, err := db.Verify(ctx, aKEK(t, "kek"), now)
			must(t, err)
			if len(faults) != 1 || faults[0].Check != "integrity_check" {
				t.Errorf("verify: got %v", faults)
			}
			_, faults, err = store.Restore(ctx, "sqlite:"+dir+"/restored.db", file, store.RestoreOptions{KEK: aKEK(t, "kek"), Now: func() time.Time { return now }})
			must(t, err)
			if len(faults) != 1 || faults[0].Check != "integrity_check" {
				t.Errorf("restore: got %v", faults)
			}
			equal(t, directory(t, dir), []string{"backup.db", "gatehouse.db", "gatehouse.db-shm", "gatehouse.db-wal"})
		})
	}
}

// changePage changes the first page of an index.
func changePage(t *testing.T, path, index string, change func(page []byte)) {
	t.Helper()
	db := raw(t, "sqlite:"+path)
	root := column(t, db, "SELECT rootpage FROM sqlite_schema WHERE name = '"+index+"'")
	must(t, db.Close())
	n, err := strconv.ParseInt(root[0], 10, 64)
	must(t, err)
	data, err := os.ReadFile(path)
	must(t, err)
	const size = 4096
	change(data[(n-1)*size : n*size])
	must(t, os.WriteFile(path, data, 0o600))
}

func TestBackupFile(t *testing.T) {
	ctx := t.Context()
	url := storetest.URL(t, "sqlite")
	dir := t.TempDir()
	file := filepath.Join(dir, "a b?c#d%20.db")
	if err := store.Backup(ctx, url, file, now); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("backup of no file: got %v", err)
	}
	db, err := store.Open(ctx, url)
	must(t, err)
	defer db.Close()
	if err := store.Backup(ctx, url, file, now); err == nil || !strings.Contains(err.Error(), "no schema") {
		t.Errorf("backup of nothing: got %v", err)
	}
	must(t, db.Migrate(ctx))
	aBank(t, db, aSigningKey(t), false)
	must(t, store.Backup(ctx, url, file, now))
	equal(t, directory(t, dir), []string{filepath.Base(file)})
	info, err := os.Stat(file)
	must(t, err)
	equal(t, info.Mode().Perm(), fs.FileMode(0o600))
	before, err := os.ReadFile(file)
	must(t, err)
	if err := store.Backup(ctx, url, file, now); !errors.Is(err, fs.ErrExist) {
		t.Errorf("backup over another: got %v", err)
	}
	after, err := os.ReadFile(file)
	must(t, err)
	equal(t, after, before)

	// What was deleted is not in it: here, the sealed key of a bank.
	keys, err := db.Keys(ctx, "alpha")
	must(t, err)
	sealed := base64.RawURLEncoding.EncodeToString(keys[0].Sealed)[:60]
	equal(t, strings.Contains(string(before), sealed), true)
	must(t, db.DeleteProvider(ctx, "alpha", now))
	must(t, store.Backup(ctx, url, file+"2", now))
	second, err := os.ReadFile(file + "2")
	must(t, err)
	equal(t, strings.Contains(string(second), sealed), false)

	if err := store.Backup(ctx, url, filepath.Join(dir, "no", "directory"), now); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("backup into nowhere: got %v", err)
	}
}

func TestBackupPostgres(t *testing.T) {
	url := storetest.URL(t, "postgres")
	file := filepath.Join(t.TempDir(), "backup.db")
	if err := store.Backup(t.Context(), url, file, now); err == nil || !strings.Contains(err.Error(), "pg_basebackup") {
		t.Errorf("backup: got %v", err)
	}
	if _, _, err := store.Restore(t.Context(), url, file, store.RestoreOptions{}); err == nil || !strings.Contains(err.Error(), "restore-epoch") {
		t.Errorf("restore: got %v", err)
	}
}

// What is refused leaves everything as it was.
func TestRestoreRefuses(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	write := func(name, text string) { must(t, os.WriteFile(at(name), []byte(text), 0o600)) }
	db := open(t, "sqlite:"+at("source.db"))
	aBank(t, db, aSigningKey(t), false)
	must(t, store.Backup(t.Context(), "sqlite:"+at("source.db"), at("backup.db"), now))
	must(t, db.CreateGrant(t.Context(), aGrant("nowhere", "1"), anAccessToken("nowhere", "1", "1"), nil))
	must(t, store.Backup(t.Context(), "sqlite:"+at("source.db"), at("faulty.db"), now))
	open(t, "sqlite:"+at("used.db"))
	must(t, open(t, "sqlite:"+at("idle.db")).Close())
	write("text", strings.Repeat("This is not a database. ", 100))
	write("truncated.db", "SQLite format 3\x00")
	write("empty", "")
	other := raw(t, "sqlite:"+at("other.db"))
	exec(t, other, "CREATE TABLE t (a)")
	must(t, other.Close())
	newer := raw(t, "sqlite:"+at("newer.db"))
	exec(t, raw(t, "sqlite:"+at("backup.db")), "VACUUM INTO '"+at("newer.db")+"'")
	exec(t, newer, "INSERT INTO schema_versions (version_id, is_applied) VALUES (999999, 1)")
	exec(t, newer, "UPDATE schema_support SET oldest = 999999")
	must(t, newer.Close())

	for _, row := range []struct {
		name, target, file string
		replace            bool
		want               string
	}{
		{"target exists", "idle.db", "backup.db", false, "only --force replaces it"},
		{"target in use", "used.db", "backup.db", true, "is in use"},
		{"target beyond locking", "text", "backup.db", true, "too damaged"},
		{"no backup", "new.db", "nothing.db", false, "no such file"},
		{"a database in use", "new.db", "source.db", false, "is a database in use"},
		{"itself", "idle.db", "idle.db", true, "is the database itself"},
		{"text", "idle.db", "text", true, "not a database"},
		{"cut off", "idle.db", "truncated.db", true, "not a backup"},
		{"empty", "idle.db", "empty", true, "not a backup of gatehouse"},
		{"another program's", "new.db", "other.db", false, "not a backup of gatehouse"},
		{"newer schema", "new.db", "newer.db", false, "newer than this program"},
		{"no directory", "no/new.db", "backup.db", false, "no such file"},
		{"faults", "idle.db", "faulty.db", true, ""},
		{"faults, new", "new.db", "faulty.db", false, ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			before, _ := os.ReadFile(at(row.target))
			names := directory(t, dir)
			r, faults, err := store.Restore(t.Context(), "sqlite:"+at(row.target), at(row.file), store.RestoreOptions{
				Replace: row.replace, KEK: aKEK(t, "kek"), Now: func() time.Time { return now }})
			if r != nil {
				t.Error("restored")
			}
			if row.want == "" {
				must(t, err)
				equal(t, len(faults), 1)
			} else if err == nil || !strings.Contains(err.Error(), row.want) {
				t.Errorf("got %v, want %q", err, row.want)
			}
			after, _ := os.ReadFile(at(row.target))
			equal(t, after, before)
			equal(t, directory(t, dir), names)
		})
	}
	r, faults, err := store.Restore(t.Context(), "sqlite:"+at("idle.db"), at("faulty.db"), store.RestoreOptions{
		Replace: true, AcceptFaults: true, KEK: aKEK(t, "kek"), Now: func() time.Time { return now }})
	must(t, err)
	equal(t, len(faults), 1)
	equal(t, r.GrantsInForce, int64(1))
}

// The log that a crash of the old database has left is not taken for one of the
// new, and nobody opens either meanwhile.
// Proves: S21
func TestRestoreBesideOldLog(t *testing.T) {
	ctx := t.Context()
	dir := t.TempDir()
	url := "sqlite:" + filepath.Join(dir, "gatehouse.db")
	db := open(t, url)
	aBank(t, db, aSigningKey(t), false)
	file := filepath.Join(dir, "backup.db")
	must(t, store.Backup(ctx, url, file, now))
	for n := range 50 {
		id := fmt.Sprint(n)
		must(t, db.CreateGrant(ctx, aGrant("alpha", id), anAccessToken("alpha", id, id), nil))
	}
	for name, missing := range map[string]string{"crashed": "", "deleted": "gatehouse.db"} {
		t.Run(name, func(t *testing.T) {
			crashed := t.TempDir()
			for _, name := range []string{"gatehouse.db", "gatehouse.db-wal"} {
				if name == missing {
					continue
				}
				data, err := os.ReadFile(filepath.Join(dir, name))
				must(t, err)
				must(t, os.WriteFile(filepath.Join(crashed, name), data, 0o600))
			}
			target := "sqlite:" + filepath.Join(crashed, "gatehouse.db")
			r, faults, err := store.Restore(ctx, target, file, store.RestoreOptions{Replace: true, KEK: aKEK(t, "kek"), Now: func() time.Time {
				if _, err := raw(t, target).ExecContext(ctx, "SELECT 1 FROM sqlite_schema"); err == nil || !strings.Contains(err.Error(), "locked") {
					t.Errorf("another process while it is restored: got %v", err)
				}
				return now
			}})
			must(t, err)
			equal(t, len(faults), 0)
			equal(t, r.GrantsInForce, int64(0))
			equal(t, directory(t, crashed), []string{"gatehouse.db"})
			restored := open(t, target)
			wantFaults(t, restored)
			if _, _, err := restored.AccessToken(ctx, "alpha", "1"); !errors.Is(err, gatehouse.ErrNotFound) {
				t.Errorf("a token from after the backup: %v", err)
			}
			must(t, restored.Close())
		})
	}
}

// A backup that an older program has made, of a schema that knows no marks, is
// restored with the schema of this one.
func TestRestoreOlderSchema(t *testing.T) {
	ctx := t.Context()
	url, dir := load(t, "sqlite", "testdata/schema/00002.sqlite.sql"), t.TempDir()
	db, err := store.Open(ctx, url)
	must(t, err)
	defer db.Close()
	must(t, store.Backup(ctx, url, filepath.Join(dir, "backup.db"), now))
	target := "sqlite:" + filepath.Join(dir, "restored.db")
	r, faults, err := store.Restore(ctx, target, filepath.Join(dir, "backup.db"), store.RestoreOptions{
		AcceptFaults: true, KEK: aKEK(t, "kek"), Now: func() time.Time { return now.Add(time.Hour) }})
	must(t, err)
	equal(t, len(faults), 1) // keys that are none
	equal(t, r.BackupAt, time.Time{})
	equal(t, r.LastWriteAt, now)
	restored, err := store.Open(ctx, target)
	must(t, err)
	defer restored.Close()
	must(t, restored.Ping(ctx))
}

func directory(t testing.TB, path string) []string {
	t.Helper()
	entries, err := os.ReadDir(path)
	must(t, err)
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}
