package admin_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"gatehouse"
	"gatehouse/admin"
)

func TestResourceServers(t *testing.T) {
	a := newAdmin(t)
	if _, _, err := a.AddProvider(t.Context(), newProvider(newJWKS(t))); err != nil {
		t.Fatal(err)
	}
	n := admin.NewResourceServer{Provider: "demobank", Name: "Gateway"}
	added, secret, err := a.AddResourceServer(t.Context(), n)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(added.ID, "rs-") || len(added.ID) != 25 || len(secret) != 43 || !added.CreatedAt.Equal(a.Now()) {
		t.Errorf("%+v with a secret of %d characters", added, len(secret))
	}
	n.ID, n.Secret = "gateway-1", "0123456789abcdef"
	if moved, secret, err := a.AddResourceServer(t.Context(), n); err != nil || moved.ID != "gateway-1" || secret != "0123456789abcdef" {
		t.Errorf("one that has id and secret: %+v, %q, %v", moved, secret, err)
	}
	all, err := a.ResourceServers(t.Context(), "demobank")
	if err != nil || len(all) != 2 || all[0].ID != "gateway-1" || all[1].ID != added.ID {
		t.Fatalf("listed: %v, %v", all, err)
	}
	if !bytes.Equal(all[1].SecretHash, gatehouse.ResourceServerSecretHash(a.KEK, "demobank", added.ID, secret)) {
		t.Error("the stored hash is not that of the secret")
	}
	if bytes.Equal(all[1].SecretHash, gatehouse.ClientSecretHash(a.KEK, added.ID, secret)) {
		t.Error("the secret would pass as a client_secret")
	}
	if err := a.DeleteResourceServer(t.Context(), "demobank", "gateway-1"); err != nil {
		t.Fatal(err)
	}
	if err := a.DeleteResourceServer(t.Context(), "demobank", "gateway-1"); !errors.Is(err, gatehouse.ErrNotFound) {
		t.Errorf("deleted twice: %v, want ErrNotFound", err)
	}
	if all, err := a.ResourceServers(t.Context(), "demobank"); err != nil || len(all) != 1 {
		t.Errorf("after the deletion: %v, %v", all, err)
	}
	for _, err := range []error{
		func() error { _, err := a.ResourceServers(t.Context(), "nobank"); return err }(),
		a.DeleteResourceServer(t.Context(), "nobank", added.ID),
	} {
		if !errors.Is(err, gatehouse.ErrNotFound) || !strings.Contains(err.Error(), "provider") {
			t.Errorf("no provider: %v, want ErrNotFound", err)
		}
	}
}

// Each row changes one member of a valid resource server.
func TestAddResourceServerFaults(t *testing.T) {
	a := newAdmin(t)
	if _, _, err := a.AddProvider(t.Context(), newProvider(newJWKS(t))); err != nil {
		t.Fatal(err)
	}
	client, _, err := a.AddClient(t.Context(), newClient())
	if err != nil {
		t.Fatal(err)
	}
	valid := admin.NewResourceServer{Provider: "demobank", Name: "Gateway", ID: "taken"}
	if _, _, err := a.AddResourceServer(t.Context(), valid); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		want   string
		change func(*admin.NewResourceServer)
	}{
		{"name", func(n *admin.NewResourceServer) { n.Name = "" }},
		{`provider "nobank": not found`, func(n *admin.NewResourceServer) { n.Provider = "nobank" }},
		{"resource_server_id", func(n *admin.NewResourceServer) { n.ID = strings.Repeat("a", 37) }},
		{`resource server "taken": already exists`, func(n *admin.NewResourceServer) { n.ID = "taken" }},
		{`client "` + client.ID + `": already exists`, func(n *admin.NewResourceServer) { n.ID = client.ID }},
		{"secret", func(n *admin.NewResourceServer) { n.Secret = "short" }},
		{"secret", func(n *admin.NewResourceServer) { n.Secret = strings.Repeat("a", 256) }},
	} {
		n := valid
		n.ID = ""
		test.change(&n)
		if _, _, err := a.AddResourceServer(t.Context(), n); err == nil || !strings.HasPrefix(err.Error(), test.want) {
			t.Errorf("error %v, want one about %s", err, test.want)
		}
	}
	if all, err := a.ResourceServers(t.Context(), "demobank"); err != nil || len(all) != 1 {
		t.Errorf("%d were added, %v", len(all), err)
	}
}
