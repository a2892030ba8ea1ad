package admin_test

import (
	"errors"
	"fmt"
	"iter"
	"slices"
	"testing"
	"time"

	"gatehouse"
)

// A lodged consent of alpha, as CreateConsent takes it.
func (o *office) lodge(id, client string) {
	o.t.Helper()
	_, err := o.Store.CreateConsent(o.t.Context(), &gatehouse.Consent{
		ID: id, Provider: "alpha", ClientID: client, Kind: gatehouse.AccountAccess, Status: gatehouse.ConsentAwaitingAuthorisation,
		Lodged: []byte(`{"Data":{"Permissions":["ReadBalances"]},"Risk":{}}`), CreatedAt: o.now, StatusUpdatedAt: o.now,
	}, o.now)
	must(o.t, err)
}

// authorise lets a PSU approve a visit; its grant has the id. An intent is a
// consent that was lodged.
func (o *office) authorise(id, client, user, intent string) {
	o.t.Helper()
	must(o.t, o.Store.CreateAuthorization(o.t.Context(), &gatehouse.Authorization{
		ID: id, Provider: "alpha", ClientID: client, Status: gatehouse.AuthorizationPending,
		Request: gatehouse.AuthorizationRequest{ClientID: client, IntentID: intent}, CreatedAt: o.now, ExpiresAt: o.now.Add(time.Minute),
	}))
	must(o.t, o.Store.ApproveAuthorization(o.t.Context(), "alpha", id, &gatehouse.Grant{
		ID: id, Provider: "alpha", ClientID: client, UserID: user, Subject: "sub", Scope: gatehouse.Scopes{"accounts"}, IntentID: intent,
		CreatedAt: o.now, ExpiresAt: o.now.Add(time.Hour), AuthenticationExpiresAt: o.now.Add(30 * time.Minute),
	}, o.now))
}

// alpha is a bank with two clients.
func (o *office) alpha() {
	o.t.Helper()
	n := newProvider(newJWKS(o.t))
	n.Code = "alpha"
	_, _, err := o.AddProvider(o.t.Context(), n)
	must(o.t, err)
	for _, id := range []string{"tpp", "other"} {
		c := newClient()
		c.ID = id
		_, _, err := o.AddClient(o.t.Context(), c)
		must(o.t, err)
	}
}

// ids reads a listing to its end.
func ids[T any](t *testing.T, id func(T) string) func(iter.Seq2[T, error], error) []string {
	return func(listed iter.Seq2[T, error], err error) []string {
		t.Helper()
		must(t, err)
		var all []string
		for row, err := range listed {
			must(t, err)
			all = append(all, id(row))
		}
		return all
	}
}

func TestGrants(t *testing.T) {
	forEachDB(t, func(t *testing.T, o *office) {
		o.alpha()
		o.authorise("g1", "tpp", "ann", "")
		o.authorise("g2", "other", "ann", "")
		o.authorise("g3", "tpp", "bob", "")
		must(t, o.Store.CreateGrant(t.Context(), &gatehouse.Grant{ID: "g4", Provider: "alpha", ClientID: "tpp", Subject: "tpp", CreatedAt: o.now, ExpiresAt: o.now.Add(time.Hour)},
			&gatehouse.AccessToken{ID: "a4", Provider: "alpha", GrantID: "g4", ClientID: "tpp", Hash: []byte("hash"), IssuedAt: o.now, ExpiresAt: o.now.Add(time.Hour)}, nil))
		read := ids(t, func(g *gatehouse.Grant) string { return g.ID })
		for _, test := range []struct {
			filter gatehouse.GrantFilter
			want   []string
		}{
			{gatehouse.GrantFilter{}, []string{"g4", "g3", "g2", "g1"}},
			{gatehouse.GrantFilter{OfPSUs: true}, []string{"g3", "g2", "g1"}},
			{gatehouse.GrantFilter{ClientID: "tpp"}, []string{"g4", "g3", "g1"}},
			{gatehouse.GrantFilter{UserID: "ann"}, []string{"g2", "g1"}},
			{gatehouse.GrantFilter{UserID: "ann", ClientID: "other"}, []string{"g2"}},
			{gatehouse.GrantFilter{UserID: "nobody"}, nil},
		} {
			if got := read(o.Grants(t.Context(), "alpha", test.filter)); !slices.Equal(got, test.want) {
				t.Errorf("%+v: %v, want %v", test.filter, got, test.want)
			}
		}
		if _, err := o.Grants(t.Context(), "nobank", gatehouse.GrantFilter{}); !errors.Is(err, gatehouse.ErrNotFound) {
			t.Errorf("no provider: %v", err)
		}
	})
}

// A listing goes on until its last page.
func TestManyGrants(t *testing.T) {
	forEachDB(t, func(t *testing.T, o *office) {
		o.alpha()
		const count = 201
		for i := range count {
			id := fmt.Sprintf("g%03d", i)
			must(t, o.Store.CreateGrant(t.Context(), &gatehouse.Grant{ID: id, Provider: "alpha", ClientID: "tpp", CreatedAt: o.now, ExpiresAt: o.now.Add(time.Hour)},
				&gatehouse.AccessToken{ID: id, Provider: "alpha", GrantID: id, ClientID: "tpp", Hash: []byte("hash"), IssuedAt: o.now, ExpiresAt: o.now.Add(time.Hour)}, nil))
		}
		got := ids(t, func(g *gatehouse.Grant) string { return g.ID })(o.Grants(t.Context(), "alpha", gatehouse.GrantFilter{}))
		if len(got) != count || got[0] != "g200" || got[count-1] != "g000" {
			t.Errorf("%d grants: %v", len(got), got)
		}
	})
}

// A grant and its consent end together, whichever an operator ends, and each
// leaves one event.
//
// Proves: O11
func TestRevoking(t *testing.T) {
	forEachDB(t, func(t *testing.T, o *office) {
		o.alpha()
		ctx := gatehouse.WithOrigin(t.Context(), gatehouse.Origin{Actor: gatehouse.ActorOperator, Name: "alice"})
		for i, test := range []struct {
			what string
			want string
			end  func(consent, grant string) error
		}{
			{"grant", "grant.revoked alpha tpp g0 c0 operator alice", func(_, grant string) error {
				g, err := o.RevokeGrant(ctx, "alpha", grant)
				if err == nil && (g.RevokedBy != gatehouse.ActorOperator || !g.RevokedAt.Equal(o.now) || g.UserID != "ann") {
					t.Errorf("revoked: %+v", g)
				}
				return err
			}},
			{"consent", "consent.revoked alpha tpp g1 c1 operator alice", func(consent, _ string) error {
				c, err := o.RevokeConsent(ctx, "alpha", consent)
				if err == nil && (c.Status != gatehouse.ConsentRevoked || !c.StatusUpdatedAt.Equal(o.now)) {
					t.Errorf("revoked: %+v", c)
				}
				return err
			}},
		} {
			o.now = o.now.Add(time.Second)
			consent, grant := fmt.Sprint("c", i), fmt.Sprint("g", i)
			o.lodge(consent, "tpp")
			o.authorise(grant, "tpp", "ann", consent)
			o.now = o.now.Add(time.Second)
			before := len(o.listed())
			must(t, test.end(consent, grant))
			if got := o.listed()[before:]; !slices.Equal(got, []string{test.want}) {
				t.Errorf("%s: events %q, want %q", test.what, got, test.want)
			}
			if c, err := o.Consent(t.Context(), "alpha", consent); err != nil || c.Status != gatehouse.ConsentRevoked {
				t.Errorf("%s: consent %+v, %v", test.what, c, err)
			}
			if g, err := o.Grant(t.Context(), "alpha", grant); err != nil || g.ActiveAt(o.now) {
				t.Errorf("%s: grant %+v, %v", test.what, g, err)
			}
			must(t, test.end(consent, grant)) // over already
			if got := o.listed(); len(got) != before+1 {
				t.Errorf("%s: a second time left %q", test.what, got[before+1:])
			}
		}

		o.lodge("rejected", "tpp")
		must(t, o.Store.EndConsent(t.Context(), "alpha", "rejected", gatehouse.ConsentRejected, o.now))
		if c, err := o.RevokeConsent(ctx, "alpha", "rejected"); !errors.Is(err, gatehouse.ErrConflict) || c != nil {
			t.Errorf("a rejected consent: %v, %v", c, err)
		}
		for name, do := range map[string]func() error{
			"grant":                            func() error { _, err := o.Grant(ctx, "alpha", "none"); return err },
			"grant at another provider":        func() error { _, err := o.Grant(ctx, "beta", "g0"); return err },
			"revoke grant":                     func() error { _, err := o.RevokeGrant(ctx, "alpha", "none"); return err },
			"revoke at another provider":       func() error { _, err := o.RevokeGrant(ctx, "beta", "g0"); return err },
			"consent":                          func() error { _, err := o.Consent(ctx, "alpha", "none"); return err },
			"revoke consent":                   func() error { _, err := o.RevokeConsent(ctx, "alpha", "none"); return err },
			"revoke consent, another provider": func() error { _, err := o.RevokeConsent(ctx, "beta", "c0"); return err },
		} {
			if err := do(); !errors.Is(err, gatehouse.ErrNotFound) {
				t.Errorf("%s: %v, want ErrNotFound", name, err)
			}
		}
	})
}

func TestConsents(t *testing.T) {
	forEachDB(t, func(t *testing.T, o *office) {
		o.alpha()
		for _, id := range []string{"c1", "c3"} {
			o.lodge(id, "tpp")
		}
		o.lodge("c2", "other")
		o.authorise("g1", "tpp", "ann", "c1")
		read := ids(t, func(c *gatehouse.Consent) string { return c.ID })
		for _, test := range []struct {
			filter gatehouse.ConsentFilter
			want   []string
		}{
			{gatehouse.ConsentFilter{}, []string{"c3", "c2", "c1"}},
			{gatehouse.ConsentFilter{ClientID: "tpp"}, []string{"c3", "c1"}},
			{gatehouse.ConsentFilter{UserID: "ann"}, []string{"c1"}},
			{gatehouse.ConsentFilter{Status: gatehouse.ConsentAwaitingAuthorisation}, []string{"c3", "c2"}},
			{gatehouse.ConsentFilter{Status: gatehouse.ConsentAuthorised, ClientID: "other"}, nil},
		} {
			if got := read(o.Consents(t.Context(), "alpha", test.filter)); !slices.Equal(got, test.want) {
				t.Errorf("%+v: %v, want %v", test.filter, got, test.want)
			}
		}
		if _, err := o.Consents(t.Context(), "nobank", gatehouse.ConsentFilter{}); !errors.Is(err, gatehouse.ErrNotFound) {
			t.Errorf("no provider: %v", err)
		}
	})
}
