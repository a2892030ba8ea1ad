package store_test

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"gatehouse"
	"gatehouse/store"
	"gatehouse/store/storetest"

	"github.com/google/go-cmp/cmp"
)

// A tenantCase is what one method of the store may do at a provider. A method
// of the deployment as a whole has a reason instead.
type tenantCase struct {
	deployment string
	// prepare makes the rows that act needs, of this id at this provider.
	prepare func(t *testing.T, db *store.DB, provider, id string)
	// act calls the method once; reads check whose row they got.
	act func(ctx context.Context, db *store.DB, provider, id string) error
	// elsewhere is what act returns when only another provider has the row.
	elsewhere error
}

var errForeign = errors.New("got a row of another provider")

func own(got, provider string, err error) error {
	if err == nil && got != provider {
		return errForeign
	}
	return err
}

func pending(t *testing.T, db *store.DB, provider, id string) {
	must(t, db.CreateAuthorization(t.Context(), aVisit(provider, id)))
}

func codeless(t *testing.T, db *store.DB, provider, id string) {
	a := aVisit(provider, id)
	a.CodeHash = nil
	must(t, db.CreateAuthorization(t.Context(), a))
}

func decided(t *testing.T, db *store.DB, provider, id string) { approved(t, db, provider, id) }

func granted(t *testing.T, db *store.DB, provider, id string) {
	must(t, db.CreateGrant(t.Context(), aGrant(provider, id), anAccessToken(provider, id, id), aRefreshToken(provider, id, id)))
}

func consented(t *testing.T, db *store.DB, provider, id string) { authorised(t, db, provider, id) }

func claimable(t *testing.T, db *store.DB, provider, id string) { lodged(t, db, provider, id) }

// noticed adds a consent whose notice is held by a claim named as the consent.
func noticed(t *testing.T, db *store.DB, provider, id string) {
	lodged(t, db, provider, id)
	_, err := db.ClaimNotices(t.Context(), provider, id, 1000, now.Add(time.Minute), now)
	must(t, err)
}

func heldNotice(provider, id string) *gatehouse.Notice {
	return &gatehouse.Notice{Provider: provider, ConsentID: id, Step: gatehouse.NoticeLodged, Claim: id}
}

func guarded(t *testing.T, db *store.DB, provider, id string) {
	must(t, db.CreateResourceServer(t.Context(), aResourceServer(provider, id)))
}

func linked(t *testing.T, db *store.DB, provider, id string) {
	must(t, db.CreatePSUSession(t.Context(), aPSUSession(provider, id)))
}

func entered(t *testing.T, db *store.DB, provider, id string) {
	linked(t, db, provider, id)
	must(t, db.EnterPSUSession(t.Context(), provider, linkHash(id), cookieHash(id), now.Add(time.Hour), now))
}

func nothing(*testing.T, *store.DB, string, string) {}

// tenantCases has every method of gatehouse.Store.
var tenantCases = map[string]tenantCase{
	"CreateProvider":     {deployment: "a provider is a tenant; codes, app_ids and kids are unique in the deployment"},
	"Provider":           {deployment: "a provider is a tenant; its code is the key"},
	"ProviderByAppID":    {deployment: "finds the tenant of a connector; app_ids are unique in the deployment"},
	"Providers":          {deployment: "lists the tenants"},
	"CreateClient":       {deployment: "a client belongs to the deployment"},
	"Client":             {deployment: "a client belongs to the deployment"},
	"Clients":            {deployment: "a client belongs to the deployment"},
	"UpdateClient":       {deployment: "a client belongs to the deployment"},
	"DeleteClient":       {deployment: "a client belongs to the deployment, and its grants end at every provider"},
	"ClientsOfSoftware":  {deployment: "a client belongs to the deployment"},
	"CountRegistrations": {deployment: "a client belongs to the deployment"},
	"ClientAccessToken":  {deployment: "a token that stands for its client, who belongs to the deployment; bound to the client"},
	"DeleteProvider":     {deployment: "a provider is a tenant; TestDeleteProvider has two"},
	"Purge":              {deployment: "goes by the age of a row, and by whose provider is deleted; TestPurgeOfDeletedProvider has two"},
	"Watch":              {deployment: "tells of providers and clients"},
	"Ping":               {deployment: "asks about the database"},
	"Close":              {deployment: "releases the database"},
	"UpdateProvider": {
		prepare: nothing,
		act: func(ctx context.Context, db *store.DB, provider, id string) error {
			p, err := db.Provider(ctx, provider)
			if err != nil {
				return err
			}
			p.Name = id
			return db.UpdateProvider(ctx, p)
		},
	},
	"Keys": {
		prepare: nothing,
		act: func(ctx context.Context, db *store.DB, provider, _ string) error {
			keys, err := db.Keys(ctx, provider)
			if err == nil && len(keys) != 1 {
				return errForeign
			}
			return own(keys[0].Provider, provider, err)
		},
	},
	"Consume": {
		prepare: nothing,
		act: func(ctx context.Context, db *store.DB, provider, id string) error {
			return db.Consume(ctx, provider, gatehouse.ConsumeAssertion, id, now, now.Add(time.Minute), now)
		},
	},
	"CreateAuthorization": {
		prepare: nothing,
		act: func(ctx context.Context, db *store.DB, provider, id string) error {
			return db.CreateAuthorization(ctx, aVisit(provider, id))
		},
	},
	"Authorization": {
		prepare:   pending,
		elsewhere: gatehouse.ErrNotFound,
		act: func(ctx context.Context, db *store.DB, provider, id string) error {
			a, err := db.Authorization(ctx, provider, id)
			if err != nil {
				return err
			}
			return own(a.Provider, provider, nil)
		},
	},
	"AuthorizationByCode": {
		prepare:   decided,
		elsewhere: gatehouse.ErrNotFound,
		act: func(ctx context.Context, db *store.DB, provider, id string) error {
			a, g, err := db.AuthorizationByCode(ctx, provider, codeHash(id))
			if err != nil {
				return err
			}
			return errors.Join(own(a.Provider, provider, nil), own(g.Provider, provider, nil))
		},
	},
	"ApproveAuthorization": {
		prepare:   pending,
		elsewhere: gatehouse.ErrNotFound,
		act: func(ctx context.Context, db *store.DB, provider, id string) error {
			return db.ApproveAuthorization(ctx, provider, id, aGrant(provider, id), now)
		},
	},
	"DenyAuthorization": {
		prepare:   pending,
		elsewhere: gatehouse.ErrNotFound,
		act: func(ctx context.Context, db *store.DB, provider, id string) error {
			return db.DenyAuthorization(ctx, provider, id, now)
		},
	},
	"SetCode": {
		prepare:   codeless,
		elsewhere: gatehouse.ErrNotFound,
		act: func(ctx context.Context, db *store.DB, provider, id string) error {
			return db.SetCode(ctx, provider, id, codeHash(id), now.Add(time.Minute))
		},
	},
	"ExchangeCode": {
		prepare:   decided,
		elsewhere: gatehouse.ErrNotFound,
		act: func(ctx context.Context, db *store.DB, provider, id string) error {
			token := gatehouse.NewID(now)
			return db.ExchangeCode(ctx, provider, id, anAccessToken(provider, token, id), aRefreshToken(provider, token, id), now)
		},
	},
	"CreateGrant": {
		prepare: nothing,
		act: func(ctx context.Context, db *store.DB, provider, id string) error {
			return db.CreateGrant(ctx, aGrant(provider, id), anAccessToken(provider, id, id), aRefreshToken(provider, id, id))
		},
	},
	"Refresh": {
		prepare:   granted,
		elsewhere: gatehouse.ErrNotFound,
		act: func(ctx context.Context, db *store.DB, provider, id string) error {
			return db.Refresh(ctx, provider, id, anAccessToken(provider, gatehouse.NewID(now), id), nil, 0, now)
		},
	},
	"Refresh/with rotation": {
		prepare:   granted,
		elsewhere: gatehouse.ErrNotFound,
		act: func(ctx context.Context, db *store.DB, provider, id string) error {
			return db.Refresh(ctx, provider, id, anAccessToken(provider, gatehouse.NewID(now), id), aRefreshToken(provider, "after "+id, id), time.Minute, now)
		},
	},
	"Refresh/by a thief": {
		prepare: func(t *testing.T, db *store.DB, provider, id string) {
			granted(t, db, provider, id)
			must(t, db.Refresh(t.Context(), provider, id, anAccessToken(provider, gatehouse.NewID(now), id), aRefreshToken(provider, "after "+id, id), 0, now))
		},
		elsewhere: gatehouse.ErrNotFound,
		act: func(ctx context.Context, db *store.DB, provider, id string) error {
			err := db.Refresh(ctx, provider, id, anAccessToken(provider, gatehouse.NewID(now), id), nil, 0, now.Add(time.Minute))
			if !errors.Is(err, gatehouse.ErrNotFound) {
				return fmt.Errorf("an old token: %w", err)
			}
			_, _, err = db.RefreshToken(ctx, provider, id)
			return err
		},
	},
	"RefreshToken": {
		prepare:   granted,
		elsewhere: gatehouse.ErrNotFound,
		act: func(ctx context.Context, db *store.DB, provider, id string) error {
			token, g, err := db.RefreshToken(ctx, provider, id)
			if err != nil {
				return err
			}
			return errors.Join(own(token.Provider, provider, nil), own(g.Provider, provider, nil))
		},
	},
	"AccessToken": {
		prepare:   granted,
		elsewhere: gatehouse.ErrNotFound,
		act: func(ctx context.Context, db *store.DB, provider, id string) error {
			token, g, err := db.AccessToken(ctx, provider, id)
			if err != nil {
				return err
			}
			return errors.Join(own(token.Provider, provider, nil), own(g.Provider, provider, nil))
		},
	},
	"ApproveAuthorization/of a consent": {
		prepare: func(t *testing.T, db *store.DB, provider, id string) {
			lodged(t, db, provider, id)
			must(t, db.CreateAuthorization(t.Context(), aVisitFor(provider, id, id)))
		},
		elsewhere: gatehouse.ErrNotFound,
		act: func(ctx context.Context, db *store.DB, provider, id string) error {
			return db.ApproveAuthorization(ctx, provider, id, aGrantFor(provider, id, id), now)
		},
	},
	"DenyAuthorization/of a consent": {
		prepare: func(t *testing.T, db *store.DB, provider, id string) {
			lodged(t, db, provider, id)
			must(t, db.CreateAuthorization(t.Context(), aVisitFor(provider, id, id)))
		},
		elsewhere: gatehouse.ErrNotFound,
		act: func(ctx context.Context, db *store.DB, provider, id string) error {
			return db.DenyAuthorization(ctx, provider, id, now)
		},
	},
	"RevokeGrant/with a consent": {
		prepare:   consented,
		elsewhere: gatehouse.ErrNotFound,
		act: func(ctx context.Context, db *store.DB, provider, id string) error {
			return db.RevokeGrant(ctx, provider, id, now)
		},
	},
	"Grant": {
		prepare:   granted,
		elsewhere: gatehouse.ErrNotFound,
		act: func(ctx context.Context, db *store.DB, provider, id string) error {
			g, err := db.Grant(ctx, provider, id)
			if err != nil {
				return err
			}
			return own(g.Provider, provider, nil)
		},
	},
	"Grants": {
		prepare: granted,
		act: func(ctx context.Context, db *store.DB, provider, _ string) error {
			for _, f := range []gatehouse.GrantFilter{{}, {ClientID: "tpp"}, {UserID: "user"}, {OfPSUs: true}} {
				list, err := db.Grants(ctx, provider, f, "", 1000)
				for _, g := range list {
					err = errors.Join(own(g.Provider, provider, err))
				}
				if err != nil {
					return err
				}
			}
			return nil
		},
	},
	"TouchGrant": {
		prepare: granted,
		act: func(ctx context.Context, db *store.DB, provider, id string) error {
			return db.TouchGrant(ctx, provider, id, now)
		},
	},
	"CreateConsent": {
		prepare: nothing,
		act: func(ctx context.Context, db *store.DB, provider, id string) error {
			c, err := db.CreateConsent(ctx, aConsent(provider, id), now)
			if err != nil {
				return err
			}
			return own(c.Provider, provider, nil)
		},
	},
	"Consent": {
		prepare:   consented,
		elsewhere: gatehouse.ErrNotFound,
		act: func(ctx context.Context, db *store.DB, provider, id string) error {
			c, err := db.Consent(ctx, provider, id)
			if err != nil {
				return err
			}
			return own(c.Provider, provider, nil)
		},
	},
	"Consents": {
		prepare: consented,
		act: func(ctx context.Context, db *store.DB, provider, _ string) error {
			for _, f := range []gatehouse.ConsentFilter{{}, {ClientID: "tpp"}, {UserID: "user"}, {Status: gatehouse.ConsentAuthorised}} {
				list, err := db.Consents(ctx, provider, f, "", 1000)
				for _, c := range list {
					err = errors.Join(own(c.Provider, provider, err))
				}
				if err != nil {
					return err
				}
			}
			return nil
		},
	},
	"EndConsent": {
		prepare:   consented,
		elsewhere: gatehouse.ErrNotFound,
		act: func(ctx context.Context, db *store.DB, provider, id string) error {
			return db.EndConsent(ctx, provider, id, gatehouse.ConsentRevoked, now)
		},
	},
	"ProvidersToTell": {deployment: "lists the tenants that have something to be told"},
	"SealEvents":      {deployment: "there is one chain of the deployment"},
	"Chain":           {deployment: "there is one chain of the deployment"},
	"ClaimNotices": {
		prepare: claimable,
		act: func(ctx context.Context, db *store.DB, provider, id string) error {
			list, err := db.ClaimNotices(ctx, provider, gatehouse.NewID(now), 1000, now.Add(time.Minute), now)
			for _, n := range list {
				err = errors.Join(err, own(n.Provider, provider, nil))
			}
			return err
		},
	},
	"NoticeDelivered": {
		prepare: noticed,
		act: func(ctx context.Context, db *store.DB, provider, id string) error {
			return db.NoticeDelivered(ctx, heldNotice(provider, id))
		},
	},
	"NoticeFailed": {
		prepare: noticed,
		act: func(ctx context.Context, db *store.DB, provider, id string) error {
			return db.NoticeFailed(ctx, heldNotice(provider, id), now.Add(time.Hour), now)
		},
	},
	"NoticeFailed/given up": {
		prepare: noticed,
		act: func(ctx context.Context, db *store.DB, provider, id string) error {
			return db.NoticeFailed(ctx, heldNotice(provider, id), time.Time{}, now)
		},
	},
	"CreateResourceServer": {
		prepare: nothing,
		act: func(ctx context.Context, db *store.DB, provider, id string) error {
			return db.CreateResourceServer(ctx, aResourceServer(provider, id))
		},
	},
	"ResourceServers": {
		prepare: guarded,
		act: func(ctx context.Context, db *store.DB, provider, _ string) error {
			list, err := db.ResourceServers(ctx, provider)
			for _, r := range list {
				err = errors.Join(err, own(r.Provider, provider, nil))
			}
			return err
		},
	},
	"DeleteResourceServer": {
		prepare:   guarded,
		elsewhere: gatehouse.ErrNotFound,
		act: func(ctx context.Context, db *store.DB, provider, id string) error {
			return db.DeleteResourceServer(ctx, provider, id, now)
		},
	},
	"CreatePSUSession": {
		prepare: nothing,
		act: func(ctx context.Context, db *store.DB, provider, id string) error {
			return db.CreatePSUSession(ctx, aPSUSession(provider, id))
		},
	},
	"EnterPSUSession": {
		prepare:   linked,
		elsewhere: gatehouse.ErrNotFound,
		act: func(ctx context.Context, db *store.DB, provider, id string) error {
			return db.EnterPSUSession(ctx, provider, linkHash(id), cookieHash(id), now.Add(time.Hour), now)
		},
	},
	"PSUSession": {
		prepare:   entered,
		elsewhere: gatehouse.ErrNotFound,
		act: func(ctx context.Context, db *store.DB, provider, id string) error {
			s, err := db.PSUSession(ctx, provider, cookieHash(id))
			if err != nil {
				return err
			}
			return own(s.Provider, provider, nil)
		},
	},
	"EndPSUSession": {
		prepare: entered,
		act: func(ctx context.Context, db *store.DB, provider, id string) error {
			return db.EndPSUSession(ctx, provider, cookieHash(id))
		},
	},
	"Record": {
		prepare: nothing,
		act: func(ctx context.Context, db *store.DB, provider, id string) error {
			return db.Record(ctx, anEvent(provider, id, now))
		},
	},
	"Events": {
		prepare: func(t *testing.T, db *store.DB, provider, id string) {
			must(t, db.Record(t.Context(), anEvent(provider, id, now)))
		},
		act: func(ctx context.Context, db *store.DB, provider, _ string) error {
			list, err := db.Events(ctx, gatehouse.EventFilter{Provider: provider}, "", 1000)
			for _, e := range list {
				err = errors.Join(err, own(e.Provider, provider, nil))
			}
			return err
		},
	},
	"RevokeGrant": {
		prepare:   granted,
		elsewhere: gatehouse.ErrNotFound,
		act: func(ctx context.Context, db *store.DB, provider, id string) error {
			return db.RevokeGrant(ctx, provider, id, now)
		},
	},
}

// Whatever a method does at one provider, with keys that another has too or
// alone, that other's rows stay as they are.
// Proves: S2
func TestTenants(t *testing.T) {
	methods := reflect.TypeFor[gatehouse.Store]()
	for method := range methods.Methods() {
		if _, ok := tenantCases[method.Name]; !ok {
			t.Errorf("%s has no case", method.Name)
		}
	}
	storetest.Each(t, func(t *testing.T, url string) {
		db, beside := open(t, url), raw(t, url)
		for _, code := range []string{"alpha", "beta"} {
			must(t, db.CreateProvider(t.Context(), aProvider(code), []*gatehouse.Key{aKey(code, "key of "+code, now)}))
		}
		rows := func(provider string) (own []string) {
			for _, line := range dump(t, beside) {
				if strings.Contains(line, " provider="+provider+" ") || strings.Contains(line, "providers code="+provider+" ") {
					own = append(own, line)
				}
			}
			return own
		}
		for name, c := range tenantCases {
			method, _, _ := strings.Cut(name, "/")
			if _, ok := methods.MethodByName(method); !ok {
				t.Errorf("%s is not a method of the store", name)
			}
			if c.deployment != "" {
				continue
			}
			t.Run(name, func(t *testing.T) {
				both, alone := "both-"+name, "alone-"+name
				c.prepare(t, db, "alpha", both)
				c.prepare(t, db, "beta", both)
				c.prepare(t, db, "alpha", alone)
				act := func(provider, id, other string) error {
					before := rows(other)
					if len(before) == 0 {
						t.Fatalf("%s has no rows", other)
					}
					err := c.act(t.Context(), db, provider, id)
					if diff := cmp.Diff(before, rows(other)); diff != "" {
						t.Errorf("at %s with key %s: rows of %s changed (-before +after)\n%s", provider, id, other, diff)
					}
					if errors.Is(err, errForeign) {
						t.Errorf("at %s with key %s: %v", provider, id, err)
					}
					return err
				}
				if err := act("alpha", both, "beta"); err != nil {
					t.Errorf("first at alpha: %v", err)
				}
				act("alpha", both, "beta") // a replay, with all that follows from it
				if err := act("beta", alone, "alpha"); !errors.Is(err, c.elsewhere) {
					t.Errorf("at beta with a key of alpha: got %v, want %v", err, c.elsewhere)
				}
				if err := act("beta", both, "alpha"); err != nil {
					t.Errorf("first at beta: %v", err)
				}
			})
		}
	})
}

// A grant that is over is not made good by one of the same id at another
// provider, nor is one ended by what happened there.
// Proves: S2
func TestGrantOfAnotherProvider(t *testing.T) {
	forEachDB(t, func(t *testing.T, open func() *store.DB) {
		db, ctx := open(), t.Context()
		for _, provider := range []string{"alpha", "beta"} {
			approved(t, db, provider, "visit")
			granted(t, db, provider, "refresh")
		}
		must(t, db.RevokeGrant(ctx, "alpha", "visit", now))
		must(t, db.RevokeGrant(ctx, "alpha", "refresh", now))
		walk(t, []step{
			{"exchange at alpha", func() error {
				return db.ExchangeCode(ctx, "alpha", "visit", anAccessToken("alpha", "a", "visit"), nil, now)
			}, gatehouse.ErrConflict},
			{"refresh at alpha", func() error {
				return db.Refresh(ctx, "alpha", "refresh", anAccessToken("alpha", "b", "refresh"), nil, 0, now)
			}, gatehouse.ErrNotFound},
			{"exchange at beta", func() error {
				return db.ExchangeCode(ctx, "beta", "visit", anAccessToken("beta", "a", "visit"), nil, now)
			}, nil},
			{"refresh at beta", func() error {
				return db.Refresh(ctx, "beta", "refresh", anAccessToken("beta", "b", "refresh"), nil, 0, now)
			}, nil},
		})
		for _, provider := range []string{"alpha", "beta"} {
			approved(t, db, provider, "twin")
			must(t, db.ExchangeCode(ctx, provider, "twin", anAccessToken(provider, "token at "+provider, "twin"), nil, now))
		}
		for _, provider := range []string{"alpha", "beta"} {
			_, g, err := db.AuthorizationByCode(ctx, provider, codeHash("twin"))
			must(t, err)
			equal(t, g, aGrant(provider, "twin"))
		}
	})
}
