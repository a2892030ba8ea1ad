package main

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"gatehouse/demobank"
	"gatehouse/jose"
)

func readWorld(t *testing.T, dir string) demobank.World {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, worldFile))
	if err != nil {
		t.Fatal(err)
	}
	var world demobank.World
	if err := json.Unmarshal(data, &world); err != nil {
		t.Fatal(err)
	}
	return world
}

// The walk succeeds on a fresh directory, on the same one again at another
// port, and over TLS; secrets stay the same and are the owner's alone.
func TestDemoOnce(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "demo")
	var first demobank.World
	for _, test := range []struct {
		name string
		args []string
		url  string
	}{
		{"fresh", nil, "http://127.0.0.1:"},
		{"again", nil, "http://127.0.0.1:"},
		{"tls", []string{"--tls"}, "https://127.0.0.1:"},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := start(t, nil, append([]string{"demo", "--once", "--addr", "127.0.0.1:0", "--data", dir}, test.args...)...)
			url := p.ready()
			if err := p.wait(); err != nil {
				t.Fatalf("exit: %v; %s", err, p.await(p.log, "gatehouse: "))
			}
			world := readWorld(t, dir)
			if !strings.HasPrefix(url, test.url) || world.BaseURL != url {
				t.Errorf("ready %s, base_url %s, want %s", url, world.BaseURL, test.url)
			}
			if first.Providers == nil {
				first = world
			}
			checkWorld(t, dir, world, first)
		})
	}
}

// checkWorld walks through demo.json as an outside program would.
func checkWorld(t *testing.T, dir string, world, first demobank.World) {
	t.Helper()
	if len(world.Providers) != 3 {
		t.Fatalf("%d providers, want 3", len(world.Providers))
	}
	for i, p := range world.Providers {
		if p.Issuer != world.BaseURL+"/"+p.Code || len(p.PSUs) == 0 {
			t.Errorf("%s: issuer %s, %d PSUs", p.Code, p.Issuer, len(p.PSUs))
		}
		if p.Connector.AppSecret == "" || p.Connector.AppSecret != first.Providers[i].Connector.AppSecret {
			t.Errorf("%s: app_secret is missing or changed", p.Code)
		}
		checkKeyFile(t, p.Connector.KeyFile, jose.RS256, "")
		methods := map[string]int{}
		for j, c := range p.Clients {
			methods[c.AuthMethod]++
			if known := first.Providers[i].Clients[j]; c.ID == "" || c.ID != known.ID || c.SoftwareID != known.SoftwareID {
				t.Errorf("%s: client %s of software %s was %s of %s", p.Code, c.ID, c.SoftwareID, known.ID, known.SoftwareID)
			}
			checkKeyFile(t, c.SoftwareKeyFile, jose.PS256, "")
			if c.AuthMethod == "private_key_jwt" {
				checkKeyFile(t, c.KeyFile, c.Alg, c.KID)
			} else if c.Secret == "" || c.Secret != first.Providers[i].Clients[j].Secret {
				t.Errorf("%s: client_secret is missing or changed", c.ID)
			}
		}
		if methods["private_key_jwt"] < 1 || methods["client_secret_basic"] < 1 {
			t.Errorf("%s: clients %v", p.Code, methods)
		}
	}
	for _, name := range []string{worldFile, kekFile, databaseFile, logFile, directoryKeyFile, directoryCAKeyFile} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %o, want 600", name, info.Mode().Perm())
		}
	}
}

func checkKeyFile(t *testing.T, file, alg, kid string) {
	t.Helper()
	if !filepath.IsAbs(file) {
		t.Errorf("key_file %s is not absolute", file)
	}
	if _, err := readKey(file, alg, kid); err != nil {
		t.Error(err)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("key_file %s: %v, want mode 600", file, err)
	}
}

// Without --once the demo stays up until a signal, and an unnamed directory
// goes with it.
func TestDemoStays(t *testing.T) {
	t.Parallel()
	tmp := t.TempDir()
	cmd := command(nil, "demo", "--addr", "127.0.0.1:0")
	cmd.Env = append(cmd.Env, "TMPDIR="+tmp)
	p := startCommand(t, cmd)
	p.ready()
	line := p.await(p.stdout, "The same in a browser:")
	res, err := http.Get(line[strings.Index(line, "http://"):])
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != http.StatusOK {
		t.Errorf("the TPP's page: status %d", res.StatusCode)
	}
	p.signal(syscall.SIGTERM)
	if err := p.wait(); err != nil {
		t.Errorf("exit: %v, want 0", err)
	}
	if left, err := os.ReadDir(tmp); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
}
