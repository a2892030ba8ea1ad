package main

import (
	"bufio"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"gatehouse/demobank"
	"gatehouse/jose"
	"gatehouse/store/storetest"
)

// TestMain makes this program, as tested, the command gatehouse of scripts and
// of tests that start it.
func TestMain(m *testing.M) {
	testscript.Main(withPostgres{m}, map[string]func(){"gatehouse": main})
}

// withPostgres runs the tests with a PostgreSQL server at hand; the program
// under test needs none.
type withPostgres struct{ m *testing.M }

func (w withPostgres) Run() int { return storetest.Main(w.m) }

// Each script has a directory of its own with jwks.json, a public key, and
// roots.pem, a certificate of an authority.
func TestScripts(t *testing.T) {
	jwks := publicJWKS(t)
	ca, _, err := demobank.NewCA(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	roots := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.Raw})
	testscript.Run(t, testscript.Params{
		Dir:                 "../../testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			env.Vars = append(env.Vars, noRaceSleep)
			return errors.Join(
				os.WriteFile(filepath.Join(env.WorkDir, "jwks.json"), jwks, 0o600),
				os.WriteFile(filepath.Join(env.WorkDir, "roots.pem"), roots, 0o600))
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"member": member, "demo": runDemo},
	})
}

// runDemo starts a demo beside the script and sets SERVER, DIRECTORY and, over
// TLS, CA: demo [--tls].
func runDemo(ts *testscript.TestScript, neg bool, args []string) {
	if neg {
		ts.Fatalf("usage: demo [--tls]")
	}
	dir := ts.MkAbs("demo")
	cmd := exec.Command("gatehouse", append([]string{"demo", "--addr", "127.0.0.1:0", "--data", dir}, args...)...)
	cmd.Env = append(os.Environ(), noRaceSleep)
	stdout, err := cmd.StdoutPipe()
	ts.Check(err)
	ts.Check(cmd.Start())
	ts.Defer(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	late := time.AfterFunc(patience, func() { cmd.Process.Kill() })
	defer late.Stop()
	lines := bufio.NewScanner(stdout)
	for lines.Scan() && !strings.HasPrefix(lines.Text(), "ready ") {
	}
	if !strings.HasPrefix(lines.Text(), "ready ") {
		ts.Fatalf("the demo is not ready")
	}
	go io.Copy(io.Discard, stdout) // until the demo ends
	var world demobank.World
	ts.Check(json.Unmarshal([]byte(ts.ReadFile(filepath.Join(dir, worldFile))), &world))
	ts.Setenv("SERVER", world.BaseURL)
	ts.Setenv("DIRECTORY", world.DirectoryURL)
	ts.Setenv("CA", filepath.Join(dir, caFile))
}

// member sets a variable to a member of the JSON object that the last command
// printed: member VARIABLE name. Negated, the member must be absent.
func member(ts *testscript.TestScript, neg bool, args []string) {
	if neg == (len(args) == 2) || len(args) == 0 {
		ts.Fatalf("usage: member VARIABLE name, ! member name")
	}
	var object map[string]any
	ts.Check(json.Unmarshal([]byte(ts.ReadFile("stdout")), &object))
	value, found := object[args[len(args)-1]]
	if found == neg {
		ts.Fatalf("member %s: present is %t", args[len(args)-1], found)
	}
	if !neg {
		text, ok := value.(string)
		if !ok || text == "" {
			ts.Fatalf("member %s is not a text", args[1])
		}
		ts.Setenv(args[0], text)
	}
}

func publicJWKS(t *testing.T) []byte {
	t.Helper()
	key, err := jose.GenerateKey(jose.PS256, keyBits)
	if err != nil {
		t.Fatal(err)
	}
	jwks, err := json.Marshal(jose.JWKS{Keys: []*jose.PublicKey{key.Public()}})
	if err != nil {
		t.Fatal(err)
	}
	return jwks
}
