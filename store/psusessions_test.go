package store_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"gatehouse"
	"gatehouse/store"
	"gatehouse/store/storetest"
)

// aPSUSession has a link and a cookie whose hashes follow from its id.
func aPSUSession(provider, id string) *gatehouse.PSUSession {
	return &gatehouse.PSUSession{
		ID: id, Provider: provider, UserID: "user", HandoverHash: linkHash(id), CreatedAt: now, ExpiresAt: now.Add(time.Minute),
	}
}

func linkHash(id string) []byte   { return gatehouse.HashSecret("link of " + id) }
func cookieHash(id string) []byte { return gatehouse.HashSecret("cookie of " + id) }

func TestPSUSessions(t *testing.T) {
	until := now.Add(15 * time.Minute)
	forEachDB(t, func(t *testing.T, open func() *store.DB) {
		db := open()
		origin := gatehouse.Origin{Actor: gatehouse.ActorPSU, RequestID: "request"}
		ctx := gatehouse.WithOrigin(t.Context(), origin)
		create := func(s *gatehouse.PSUSession) func() error {
			return func() error { return db.CreatePSUSession(ctx, s) }
		}
		enter := func(provider, link, cookie string, at time.Time) func() error {
			return func() error { return db.EnterPSUSession(ctx, provider, linkHash(link), cookieHash(cookie), until, at) }
		}
		read := func(provider string, sessionHash []byte) func() error {
			return func() error { _, err := db.PSUSession(ctx, provider, sessionHash); return err }
		}
		end := func(provider, cookie string) func() error {
			return func() error { return db.EndPSUSession(ctx, provider, cookieHash(cookie)) }
		}
		otherLink, otherID := aPSUSession("alpha", "a"), aPSUSession("alpha", "a")
		otherLink.HandoverHash, otherID.ID = linkHash("other"), "other"
		walk(t, []step{
			{"create", create(aPSUSession("alpha", "a")), nil},
			{"an id that is taken", create(otherLink), gatehouse.ErrExists},
			{"a link that is taken", create(otherID), gatehouse.ErrExists},
			{"at another provider", create(aPSUSession("beta", "b")), nil},
			{"another", create(aPSUSession("alpha", "c")), nil},
			{"before it began", read("alpha", cookieHash("a")), gatehouse.ErrNotFound},
			{"without a cookie, before it began", read("alpha", nil), gatehouse.ErrNotFound},
			{"by no link", enter("alpha", "other", "a", now), gatehouse.ErrNotFound},
			{"by a link of another provider", enter("alpha", "b", "b", now), gatehouse.ErrNotFound},
			{"after its end", enter("alpha", "a", "a", now.Add(time.Minute)), gatehouse.ErrNotFound},
			{"just before its end", enter("alpha", "a", "a", now.Add(time.Minute-time.Millisecond)), nil},
			{"again", enter("alpha", "a", "thief", now), gatehouse.ErrNotFound},
			{"by a cookie that is none", read("alpha", cookieHash("thief")), gatehouse.ErrNotFound},
			{"by the link", read("alpha", linkHash("a")), gatehouse.ErrNotFound},
			{"at another provider", read("beta", cookieHash("a")), gatehouse.ErrNotFound},
		})
		s, err := db.PSUSession(ctx, "alpha", cookieHash("a"))
		must(t, err)
		want := aPSUSession("alpha", "a")
		want.SessionHash, want.ExpiresAt = cookieHash("a"), until
		equal(t, s, want)
		walk(t, []step{
			{"end at another provider", end("beta", "a"), nil},
			{"it goes on", read("alpha", cookieHash("a")), nil},
			{"end", end("alpha", "a"), nil},
			{"it is over", read("alpha", cookieHash("a")), gatehouse.ErrNotFound},
			{"end again", end("alpha", "a"), nil},
			{"by the link of one that is over", enter("alpha", "a", "d", now), gatehouse.ErrNotFound},
			{"end without a cookie", func() error { return db.EndPSUSession(ctx, "alpha", nil) }, nil},
			{"another link still works", enter("alpha", "c", "c", now), nil},
			{"and that of the other provider", enter("beta", "b", "b", now), nil},
		})
		entered := func(provider string, at time.Time) *gatehouse.Event {
			return &gatehouse.Event{At: at, Kind: gatehouse.EventPSUEntered, Provider: provider, Origin: origin}
		}
		leaves(t, db, gatehouse.EventPSUEntered, entered("alpha", now.Add(time.Minute-time.Millisecond)), entered("alpha", now), entered("beta", now))
	})
}

// A link lets one browser in, however many follow it at once, and what is
// written about it says nothing of the PSU.
// Proves: S4
func TestPSUSessionEnteredOnce(t *testing.T) {
	storetest.Each(t, func(t *testing.T, url string) {
		handles, beside := []*store.DB{open(t, url), open(t, url)}, raw(t, url)
		for range storetest.Rounds(t, 5) {
			empty(t, beside)
			s := aPSUSession("alpha", "session")
			s.UserID = "a.customer@bank.example"
			must(t, handles[0].CreatePSUSession(t.Context(), s))
			cookie := func(n int) []byte { return gatehouse.HashSecret(string(rune('a' + n))) }
			winner := oneWins(t, together(16, func(n int) error {
				return handles[n%2].EnterPSUSession(context.Background(), "alpha", s.HandoverHash, cookie(n), now.Add(time.Hour), now)
			}), gatehouse.ErrNotFound)
			for n := range 16 {
				found, err := handles[0].PSUSession(t.Context(), "alpha", cookie(n))
				if (err == nil) != (n == winner) {
					t.Errorf("browser %d: got %v, %v, and call %d has succeeded", n, found, err, winner)
				}
			}
			leaves(t, handles[0], gatehouse.EventPSUEntered, &gatehouse.Event{
				At: now, Kind: gatehouse.EventPSUEntered, Provider: "alpha", Origin: gatehouse.Origin{Actor: gatehouse.ActorSystem}})
			for _, line := range dump(t, beside) {
				if strings.HasPrefix(line, "events ") && strings.Contains(line, s.UserID) {
					t.Errorf("an event names the PSU: %s", line)
				}
			}
		}
	})
}
