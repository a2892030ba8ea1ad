package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"gatehouse/jose"
)

// TestMain makes this program, as tested, the command gatehouse of scripts and
// of tests that start it.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"gatehouse": main})
}

// Each script has a directory of its own with jwks.json, a public key.
func TestScripts(t *testing.T) {
	jwks := publicJWKS(t)
	testscript.Run(t, testscript.Params{
		Dir:                 "../../testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			env.Vars = append(env.Vars, noRaceSleep)
			return os.WriteFile(filepath.Join(env.WorkDir, "jwks.json"), jwks, 0o600)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"member": member},
	})
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
