package store_test

import (
	"context"
	"database/sql"
	"errors"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"gatehouse"
	"gatehouse/store"
	"gatehouse/store/storetest"
)

// A writing is one call of a method that writes. Every call of it has the same
// ids, so that what it leaves can be compared.
type writing struct {
	// prepare makes the rows that call needs.
	prepare func(t testing.TB, db *store.DB)
	// call succeeds once.
	call func(ctx context.Context, db *store.DB) error
	// other is what somebody else may not do after call: it returns refused.
	other   func(ctx context.Context, db *store.DB) error
	refused error
}

// writings has every method of gatehouse.Store that writes. A name goes on
// after a slash when a method writes in several ways.
var writings = map[string]writing{
	"CreateProvider": {
		prepare: func(testing.TB, *store.DB) {},
		call: func(ctx context.Context, db *store.DB) error {
			return db.CreateProvider(ctx, aProvider("alpha"), []*gatehouse.Key{aKey("alpha", "key", now)})
		},
		other: func(ctx context.Context, db *store.DB) error {
			p := aProvider("alpha")
			p.Connector.AppID, p.SubjectSalt = "another", gatehouse.HashSecret("another")
			return db.CreateProvider(ctx, p, nil)
		},
		refused: gatehouse.ErrExists,
	},
	"UpdateProvider": {
		prepare: withProvider,
		call: func(ctx context.Context, db *store.DB) error {
			p := aProvider("alpha")
			p.Name, p.UpdatedAt = "New name", now.Add(time.Hour)
			return db.UpdateProvider(ctx, p)
		},
		other: func(ctx context.Context, db *store.DB) error {
			p := aProvider("alpha")
			p.Name, p.UpdatedAt = "Other name", now.Add(2*time.Hour)
			return db.UpdateProvider(ctx, p)
		},
		refused: gatehouse.ErrConflict,
	},
	"DeleteProvider": {
		prepare: withProvider,
		call:    func(ctx context.Context, db *store.DB) error { return db.DeleteProvider(ctx, "alpha", now) },
		other:   func(ctx context.Context, db *store.DB) error { return db.DeleteProvider(ctx, "alpha", now) },
		refused: gatehouse.ErrNotFound,
	},
	"CreateClient": {
		prepare: func(testing.TB, *store.DB) {},
		call:    func(ctx context.Context, db *store.DB) error { return db.CreateClient(ctx, aClient("tpp")) },
		other: func(ctx context.Context, db *store.DB) error {
			c := aClient("tpp")
			c.SecretHash = gatehouse.HashSecret("another")
			return db.CreateClient(ctx, c)
		},
		refused: gatehouse.ErrExists,
	},
	"UpdateClient": {
		prepare: withClient,
		call: func(ctx context.Context, db *store.DB) error {
			c := aClient("tpp")
			c.Name, c.UpdatedAt = "New name", now.Add(time.Hour)
			return db.UpdateClient(ctx, c)
		},
		other: func(ctx context.Context, db *store.DB) error {
			c := aClient("tpp")
			c.Name, c.UpdatedAt = "Other name", now.Add(2*time.Hour)
			return db.UpdateClient(ctx, c)
		},
		refused: gatehouse.ErrConflict,
	},
	"DeleteClient": {
		prepare: func(t testing.TB, db *store.DB) {
			withClient(t, db)
			withGrant(t, db)
		},
		call:    func(ctx context.Context, db *store.DB) error { return db.DeleteClient(ctx, "tpp", now) },
		other:   func(ctx context.Context, db *store.DB) error { return db.DeleteClient(ctx, "tpp", now) },
		refused: gatehouse.ErrNotFound,
	},
	"Consume": {
		prepare: func(testing.TB, *store.DB) {},
		call:    consumeKey,
		other:   consumeKey,
		refused: gatehouse.ErrSpent,
	},
	"CreateAuthorization": {
		prepare: func(testing.TB, *store.DB) {},
		call: func(ctx context.Context, db *store.DB) error {
			return db.CreateAuthorization(ctx, aVisit("alpha", "visit"))
		},
		other: func(ctx context.Context, db *store.DB) error {
			return db.CreateAuthorization(ctx, aVisit("alpha", "visit"))
		},
		refused: gatehouse.ErrExists,
	},
	"ApproveAuthorization": {
		prepare: withVisit,
		call: func(ctx context.Context, db *store.DB) error {
			return db.ApproveAuthorization(ctx, "alpha", "visit", aGrant("alpha", "grant"), now)
		},
		other: func(ctx context.Context, db *store.DB) error {
			return db.DenyAuthorization(ctx, "alpha", "visit", now)
		},
		refused: gatehouse.ErrConflict,
	},
	"DenyAuthorization": {
		prepare: withVisit,
		call: func(ctx context.Context, db *store.DB) error {
			return db.DenyAuthorization(ctx, "alpha", "visit", now)
		},
		other: func(ctx context.Context, db *store.DB) error {
			return db.ApproveAuthorization(ctx, "alpha", "visit", aGrant("alpha", "grant"), now)
		},
		refused: gatehouse.ErrConflict,
	},
	"SetCode": {
		prepare: func(t testing.TB, db *store.DB) {
			a := aVisit("alpha", "visit")
			a.CodeHash, a.CodeExpiresAt = nil, time.Time{}
			must(t, db.CreateAuthorization(context.Background(), a))
		},
		call: func(ctx context.Context, db *store.DB) error {
			return db.SetCode(ctx, "alpha", "visit", codeHash("visit"), now.Add(time.Minute))
		},
		other: func(ctx context.Context, db *store.DB) error {
			return db.SetCode(ctx, "alpha", "visit", codeHash("other"), now.Add(time.Minute))
		},
		refused: gatehouse.ErrSpent,
	},
	"ExchangeCode": {
		prepare: func(t testing.TB, db *store.DB) { approved(t, db, "alpha", "visit") },
		call: func(ctx context.Context, db *store.DB) error {
			return db.ExchangeCode(ctx, "alpha", "visit", anAccessToken("alpha", "a", "visit"), aRefreshToken("alpha", "r", "visit"), now)
		},
		other: func(ctx context.Context, db *store.DB) error {
			return db.ExchangeCode(ctx, "alpha", "visit", anAccessToken("alpha", "other", "visit"), nil, now)
		},
		refused: gatehouse.ErrSpent,
	},
	"CreateGrant": {
		prepare: func(testing.TB, *store.DB) {},
		call: func(ctx context.Context, db *store.DB) error {
			return db.CreateGrant(ctx, aGrant("alpha", "grant"), anAccessToken("alpha", "a", "grant"), aRefreshToken("alpha", "r", "grant"))
		},
		other: func(ctx context.Context, db *store.DB) error {
			return db.CreateGrant(ctx, aGrant("alpha", "grant"), anAccessToken("alpha", "other", "grant"), nil)
		},
		refused: gatehouse.ErrExists,
	},
	"Refresh": {
		prepare: withGrant,
		call: func(ctx context.Context, db *store.DB) error {
			return db.Refresh(ctx, "alpha", "r", anAccessToken("alpha", "b", "grant"), nil, 0, now)
		},
		other: func(ctx context.Context, db *store.DB) error {
			return db.Refresh(ctx, "alpha", "r", anAccessToken("alpha", "b", "grant"), nil, 0, now)
		},
		refused: gatehouse.ErrExists,
	},
	"Refresh/with rotation": {
		prepare: withGrant,
		call: func(ctx context.Context, db *store.DB) error {
			return db.Refresh(ctx, "alpha", "r", anAccessToken("alpha", "b", "grant"), aRefreshToken("alpha", "r2", "grant"), time.Minute, now)
		},
		other: func(ctx context.Context, db *store.DB) error {
			return db.Refresh(ctx, "alpha", "r", anAccessToken("alpha", "c", "grant"), nil, time.Minute, now.Add(time.Hour))
		},
		refused: gatehouse.ErrNotFound,
	},
	"RevokeGrant": {
		prepare: withGrant,
		call:    func(ctx context.Context, db *store.DB) error { return db.RevokeGrant(ctx, "alpha", "grant", now) },
		other: func(ctx context.Context, db *store.DB) error {
			return db.Refresh(ctx, "alpha", "r", anAccessToken("alpha", "b", "grant"), nil, 0, now)
		},
		refused: gatehouse.ErrNotFound,
	},
	"DenyAuthorization/of a consent": {
		prepare: withVisitFor,
		call: func(ctx context.Context, db *store.DB) error {
			return db.DenyAuthorization(ctx, "alpha", "visit", now)
		},
		other: func(ctx context.Context, db *store.DB) error {
			return db.ApproveAuthorization(ctx, "alpha", "visit", aGrantFor("alpha", "grant", "consent"), now)
		},
		refused: gatehouse.ErrConflict,
	},
	"ApproveAuthorization/of a consent": {
		prepare: withVisitFor,
		call: func(ctx context.Context, db *store.DB) error {
			return db.ApproveAuthorization(ctx, "alpha", "visit", aGrantFor("alpha", "grant", "consent"), now)
		},
		other: func(ctx context.Context, db *store.DB) error {
			return db.ApproveAuthorization(ctx, "alpha", "visit", aGrantFor("alpha", "other", "consent"), now)
		},
		refused: gatehouse.ErrConflict,
	},
	"ApproveAuthorization/of a consent again": {
		prepare: func(t testing.TB, db *store.DB) {
			authorised(t, db, "alpha", "consent")
			must(t, db.CreateAuthorization(context.Background(), aVisitFor("alpha", "visit", "consent")))
		},
		call: func(ctx context.Context, db *store.DB) error {
			g := aGrantFor("alpha", "consent", "consent")
			g.Accounts, g.AuthTime = []byte(`["2"]`), now.Add(time.Minute)
			return db.ApproveAuthorization(ctx, "alpha", "visit", g, now.Add(time.Minute))
		},
		other: func(ctx context.Context, db *store.DB) error {
			return db.ApproveAuthorization(ctx, "alpha", "visit", aGrantFor("alpha", "consent", "consent"), now.Add(time.Minute))
		},
		refused: gatehouse.ErrConflict,
	},
	"RevokeGrant/with a consent": {
		prepare: func(t testing.TB, db *store.DB) { authorised(t, db, "alpha", "consent") },
		call:    func(ctx context.Context, db *store.DB) error { return db.RevokeGrant(ctx, "alpha", "consent", now) },
		other: func(ctx context.Context, db *store.DB) error {
			return db.EndConsent(ctx, "alpha", "consent", gatehouse.ConsentConsumed, now)
		},
		refused: gatehouse.ErrConflict,
	},
	"DeleteClient/with a consent": {
		prepare: func(t testing.TB, db *store.DB) {
			withClient(t, db)
			authorised(t, db, "alpha", "consent")
		},
		call:    func(ctx context.Context, db *store.DB) error { return db.DeleteClient(ctx, "tpp", now) },
		other:   func(ctx context.Context, db *store.DB) error { return db.DeleteClient(ctx, "tpp", now) },
		refused: gatehouse.ErrNotFound,
	},
	"TouchGrant": {
		prepare: withGrant,
		call:    func(ctx context.Context, db *store.DB) error { return db.TouchGrant(ctx, "alpha", "grant", now) },
		other:   func(ctx context.Context, db *store.DB) error { return db.TouchGrant(ctx, "alpha", "grant", now) },
	},
	"CreateConsent": {
		prepare: func(testing.TB, *store.DB) {},
		call: func(ctx context.Context, db *store.DB) error {
			_, err := db.CreateConsent(ctx, aConsent("alpha", "consent"), now)
			return err
		},
		other: func(ctx context.Context, db *store.DB) error {
			c := aConsent("alpha", "other")
			c.IdempotencyKeyHash = gatehouse.HashSecret("key of consent")
			_, err := db.CreateConsent(ctx, c, now)
			return err
		},
		refused: gatehouse.ErrConflict,
	},
	"EndConsent": {
		prepare: func(t testing.TB, db *store.DB) { authorised(t, db, "alpha", "consent") },
		call: func(ctx context.Context, db *store.DB) error {
			return db.EndConsent(ctx, "alpha", "consent", gatehouse.ConsentRevoked, now)
		},
		other: func(ctx context.Context, db *store.DB) error {
			return db.EndConsent(ctx, "alpha", "consent", gatehouse.ConsentConsumed, now)
		},
		refused: gatehouse.ErrConflict,
	},
	"ClaimNotices": {
		prepare: func(t testing.TB, db *store.DB) { lodged(t, db, "alpha", "consent") },
		call:    func(ctx context.Context, db *store.DB) error { return claimNotices(ctx, db, "claim", 1) },
		other:   func(ctx context.Context, db *store.DB) error { return claimNotices(ctx, db, "other", 1) },
		refused: errNotices,
	},
	"NoticeDelivered": {
		prepare: withNotice,
		call: func(ctx context.Context, db *store.DB) error {
			return db.NoticeDelivered(ctx, &gatehouse.Notice{Provider: "alpha", ConsentID: "consent", Step: gatehouse.NoticeLodged, Claim: "held"})
		},
		other:   func(ctx context.Context, db *store.DB) error { return claimNotices(ctx, db, "other", 1) },
		refused: errNotices,
	},
	"NoticeFailed": {
		prepare: withNotice,
		call: func(ctx context.Context, db *store.DB) error {
			n := &gatehouse.Notice{Provider: "alpha", ConsentID: "consent", Step: gatehouse.NoticeLodged, Claim: "held"}
			return db.NoticeFailed(ctx, n, now.Add(time.Hour), now)
		},
		other:   func(ctx context.Context, db *store.DB) error { return claimNotices(ctx, db, "other", 1) },
		refused: errNotices,
	},
	"NoticeFailed/given up": {
		prepare: withNotice,
		call: func(ctx context.Context, db *store.DB) error {
			n := &gatehouse.Notice{Provider: "alpha", ConsentID: "consent", Step: gatehouse.NoticeLodged, Claim: "held"}
			return db.NoticeFailed(ctx, n, time.Time{}, now)
		},
		other:   func(ctx context.Context, db *store.DB) error { return claimNotices(ctx, db, "other", 1) },
		refused: errNotices,
	},
	"CreateResourceServer": {
		prepare: withProvider,
		call: func(ctx context.Context, db *store.DB) error {
			return db.CreateResourceServer(ctx, aResourceServer("alpha", "gateway"))
		},
		other: func(ctx context.Context, db *store.DB) error {
			r := aResourceServer("alpha", "gateway")
			r.SecretHash = gatehouse.HashSecret("another")
			return db.CreateResourceServer(ctx, r)
		},
		refused: gatehouse.ErrExists,
	},
	"DeleteResourceServer": {
		prepare: withResourceServer,
		call: func(ctx context.Context, db *store.DB) error {
			return db.DeleteResourceServer(ctx, "alpha", "gateway", now)
		},
		other: func(ctx context.Context, db *store.DB) error {
			return db.DeleteResourceServer(ctx, "alpha", "gateway", now)
		},
		refused: gatehouse.ErrNotFound,
	},
	"CreatePSUSession": {
		prepare: func(testing.TB, *store.DB) {},
		call: func(ctx context.Context, db *store.DB) error {
			return db.CreatePSUSession(ctx, aPSUSession("alpha", "session"))
		},
		other: func(ctx context.Context, db *store.DB) error {
			s := aPSUSession("alpha", "session")
			s.HandoverHash = linkHash("another")
			return db.CreatePSUSession(ctx, s)
		},
		refused: gatehouse.ErrExists,
	},
	"EnterPSUSession": {
		prepare: withLink,
		call:    func(ctx context.Context, db *store.DB) error { return enterPSUSession(ctx, db, "browser") },
		other:   func(ctx context.Context, db *store.DB) error { return enterPSUSession(ctx, db, "another") },
		refused: gatehouse.ErrNotFound,
	},
	"EndPSUSession": {
		prepare: withPSUSession,
		call: func(ctx context.Context, db *store.DB) error {
			return db.EndPSUSession(ctx, "alpha", cookieHash("browser"))
		},
		other: func(ctx context.Context, db *store.DB) error {
			_, err := db.PSUSession(ctx, "alpha", cookieHash("browser"))
			return err
		},
		refused: gatehouse.ErrNotFound,
	},
	"Record": {
		prepare: func(testing.TB, *store.DB) {},
		call:    func(ctx context.Context, db *store.DB) error { return db.Record(ctx, anEvent("alpha", "detail", now)) },
		other:   func(ctx context.Context, db *store.DB) error { return db.Record(ctx, anEvent("alpha", "detail", now)) },
	},
	"SealEvents": {
		prepare: func(t testing.TB, db *store.DB) {
			for n, detail := range []string{"first", "second", "third"} {
				record(t, db, detail, now.Add(time.Duration(n)*time.Second))
			}
		},
		call:  seal,
		other: seal,
	},
	"Purge": {
		prepare: func(t testing.TB, db *store.DB) {
			must(t, consumeKey(context.Background(), db))
			withVisit(t, db)
			withGrant(t, db)
		},
		call: func(ctx context.Context, db *store.DB) error {
			_, err := db.Purge(ctx, now.Add(48*time.Hour))
			return err
		},
		other:   consumeKey,
		refused: gatehouse.ErrSpent,
	},
}

// readings has every other method but Watch and Close.
var readings = map[string]func(ctx context.Context, db *store.DB) error{
	"Provider":        func(ctx context.Context, db *store.DB) error { _, err := db.Provider(ctx, "alpha"); return err },
	"ProviderByAppID": func(ctx context.Context, db *store.DB) error { _, err := db.ProviderByAppID(ctx, "app"); return err },
	"Providers":       func(ctx context.Context, db *store.DB) error { _, err := db.Providers(ctx, "", 10); return err },
	"Keys":            func(ctx context.Context, db *store.DB) error { _, err := db.Keys(ctx, "alpha"); return err },
	"Client":          func(ctx context.Context, db *store.DB) error { _, err := db.Client(ctx, "tpp"); return err },
	"Clients":         func(ctx context.Context, db *store.DB) error { _, err := db.Clients(ctx, "", 10); return err },
	"ClientsOfSoftware": func(ctx context.Context, db *store.DB) error {
		_, err := db.ClientsOfSoftware(ctx, "dir", "org", "app")
		return err
	},
	"CountRegistrations": func(ctx context.Context, db *store.DB) error {
		_, err := db.CountRegistrations(ctx, "dir", "org", now)
		return err
	},
	"Authorization": func(ctx context.Context, db *store.DB) error {
		_, err := db.Authorization(ctx, "alpha", "visit")
		return err
	},
	"AuthorizationByCode": func(ctx context.Context, db *store.DB) error {
		_, _, err := db.AuthorizationByCode(ctx, "alpha", codeHash("visit"))
		return err
	},
	"RefreshToken": func(ctx context.Context, db *store.DB) error {
		_, _, err := db.RefreshToken(ctx, "alpha", "r")
		return err
	},
	"AccessToken": func(ctx context.Context, db *store.DB) error {
		_, _, err := db.AccessToken(ctx, "alpha", "a")
		return err
	},
	"ClientAccessToken": func(ctx context.Context, db *store.DB) error {
		_, _, err := db.ClientAccessToken(ctx, "tpp", "a")
		return err
	},
	"Grant": func(ctx context.Context, db *store.DB) error { _, err := db.Grant(ctx, "alpha", "grant"); return err },
	"Grants": func(ctx context.Context, db *store.DB) error {
		_, err := db.Grants(ctx, "alpha", gatehouse.GrantFilter{}, "", 10)
		return err
	},
	"Consent": func(ctx context.Context, db *store.DB) error {
		_, err := db.Consent(ctx, "alpha", "consent")
		return err
	},
	"Consents": func(ctx context.Context, db *store.DB) error {
		_, err := db.Consents(ctx, "alpha", gatehouse.ConsentFilter{}, "", 10)
		return err
	},
	"ProvidersToTell": func(ctx context.Context, db *store.DB) error { _, err := db.ProvidersToTell(ctx, now); return err },
	"ResourceServers": func(ctx context.Context, db *store.DB) error { _, err := db.ResourceServers(ctx, "alpha"); return err },
	"PSUSession": func(ctx context.Context, db *store.DB) error {
		_, err := db.PSUSession(ctx, "alpha", cookieHash("browser"))
		return err
	},
	"Events": func(ctx context.Context, db *store.DB) error {
		_, err := db.Events(ctx, gatehouse.EventFilter{Provider: "alpha"}, "", 10)
		return err
	},
	"Chain": func(ctx context.Context, db *store.DB) error { _, err := db.Chain(ctx, 0, 10); return err },
	"Ping":  func(ctx context.Context, db *store.DB) error { return db.Ping(ctx) },
}

func withProvider(t testing.TB, db *store.DB) {
	must(t, db.CreateProvider(context.Background(), aProvider("alpha"), []*gatehouse.Key{aKey("alpha", "key", now)}))
}

func withClient(t testing.TB, db *store.DB) {
	must(t, db.CreateClient(context.Background(), aClient("tpp")))
}

func withVisit(t testing.TB, db *store.DB) {
	must(t, db.CreateAuthorization(context.Background(), aVisit("alpha", "visit")))
}

func withVisitFor(t testing.TB, db *store.DB) {
	lodged(t, db, "alpha", "consent")
	must(t, db.CreateAuthorization(context.Background(), aVisitFor("alpha", "visit", "consent")))
}

func withNotice(t testing.TB, db *store.DB) {
	withProvider(t, db)
	lodged(t, db, "alpha", "consent")
	must(t, claimNotices(context.Background(), db, "held", 1))
}

func withResourceServer(t testing.TB, db *store.DB) {
	withProvider(t, db)
	must(t, db.CreateResourceServer(context.Background(), aResourceServer("alpha", "gateway")))
}

func withLink(t testing.TB, db *store.DB) {
	must(t, db.CreatePSUSession(context.Background(), aPSUSession("alpha", "session")))
}

func withPSUSession(t testing.TB, db *store.DB) {
	withLink(t, db)
	must(t, enterPSUSession(context.Background(), db, "browser"))
}

func enterPSUSession(ctx context.Context, db *store.DB, browser string) error {
	return db.EnterPSUSession(ctx, "alpha", linkHash("session"), cookieHash(browser), now.Add(time.Hour), now)
}

// seal seals under a hash that two runs have in common: ids differ.
func seal(ctx context.Context, db *store.DB) error {
	_, err := db.SealEvents(ctx, func(previous []byte, e *gatehouse.Event) []byte {
		return gatehouse.HashSecret(string(previous) + e.Detail)
	})
	return err
}

func withGrant(t testing.TB, db *store.DB) {
	must(t, db.CreateGrant(context.Background(), aGrant("alpha", "grant"), anAccessToken("alpha", "a", "grant"), aRefreshToken("alpha", "r", "grant")))
}

func consumeKey(ctx context.Context, db *store.DB) error {
	return db.Consume(ctx, "alpha", gatehouse.ConsumeAssertion, "key", now, now.Add(time.Minute), now)
}

// A method that is new has a case in writings or readings.
func TestEveryMethod(t *testing.T) {
	seen := map[string]bool{"Watch": true, "Close": true}
	for name := range writings {
		method, _, _ := strings.Cut(name, "/")
		seen[method] = true
	}
	for name := range readings {
		seen[name] = true
	}
	for method := range reflect.TypeFor[gatehouse.Store]().Methods() {
		if !seen[method.Name] {
			t.Errorf("%s has no case", method.Name)
		}
		delete(seen, method.Name)
	}
	for name := range seen {
		t.Errorf("%s is not a method of the store", name)
	}
}

// Each case of writings does what the tests that use it rely on.
func TestWritings(t *testing.T) {
	storetest.Each(t, func(t *testing.T, url string) {
		db, beside := open(t, url), raw(t, url)
		for name, w := range writings {
			t.Run(name, func(t *testing.T) {
				empty(t, beside)
				w.prepare(t, db)
				before := rows(t, beside)
				must(t, w.call(t.Context(), db))
				if after := rows(t, beside); reflect.DeepEqual(before, after) {
					t.Error("the call changes nothing")
				}
				if err := w.other(t.Context(), db); !errors.Is(err, w.refused) {
					t.Errorf("another call: got %v, want %v", err, w.refused)
				}
			})
		}
	})
}

// byChance is what a call makes up for itself alone.
var byChance = regexp.MustCompile(`^(events) id=\S+| (used_by|\w+_event)=\S+`)

// rows is a dump that two runs of one call have in common.
func rows(t testing.TB, beside *sql.DB) []string {
	t.Helper()
	var list []string
	for _, line := range dump(t, beside) {
		if !strings.HasPrefix(line, "schema_") {
			list = append(list, byChance.ReplaceAllString(line, "$1"))
		}
	}
	slices.Sort(list)
	return list
}

// empty deletes every row but what migrations wrote.
func empty(t testing.TB, beside *sql.DB) {
	t.Helper()
	tables := column(t, beside, `SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'`)
	postgres := tables == nil
	if postgres {
		tables = column(t, beside, `SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'`)
	}
	tx, err := beside.BeginTx(t.Context(), nil)
	must(t, err)
	defer tx.Rollback()
	if postgres { // without foreign keys
		_, err := tx.ExecContext(t.Context(), "SET LOCAL session_replication_role = replica")
		must(t, err)
	}
	for _, table := range tables {
		if strings.HasPrefix(table, "schema_") {
			continue
		}
		_, err := tx.ExecContext(t.Context(), "DELETE FROM "+table)
		must(t, err)
	}
	must(t, tx.Commit())
}
