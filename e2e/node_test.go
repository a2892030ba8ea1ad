package e2e_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"
)

const (
	installLimit = 3 * time.Minute
	scriptLimit  = 3 * time.Minute
	oldestNode   = 20
)

// TestOpenIDClient: npm's openid-client, which is certified by the OpenID
// Foundation, validates all that it gets.
//
// Proves: T35, A4
func TestOpenIDClient(t *testing.T) {
	for scheme, d := range demos(t) {
		t.Run(scheme, func(t *testing.T) {
			t.Parallel()
			runScript(t, d, "flow.mjs")
		})
	}
}

// runScript runs one file of node/ on node's test runner. It counts the tests:
// a file that runs none must not pass.
func runScript(t *testing.T, d *demo, script string, env ...string) {
	t.Helper()
	node, err := readyNode()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), scriptLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, node, "--test-reporter=tap", script)
	cmd.Dir = "node"
	cmd.SysProcAttr = diesWithParent()
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) } // lets it end its browser
	cmd.WaitDelay = 10 * time.Second
	cmd.Env = append(os.Environ(), "GATEHOUSE_DEMO="+filepath.Join(d.dir, "demo.json"))
	if d.secure() {
		cmd.Env = append(cmd.Env, "NODE_EXTRA_CA_CERTS="+d.caFile())
	}
	cmd.Env = append(cmd.Env, env...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("node %s: %v\n%s", script, err, out)
	}
	if passed, skipped := tapCount(out, "pass"), tapCount(out, "skipped")+tapCount(out, "todo"); passed == 0 || skipped != 0 {
		t.Errorf("node %s: %d tests passed, %d skipped\n%s", script, passed, skipped, out)
	}
}

var tapCounts = regexp.MustCompile(`(?m)^# (\w+) (\d+)$`)

func tapCount(out []byte, what string) int {
	for _, line := range tapCounts.FindAllSubmatch(out, -1) {
		if string(line[1]) == what {
			n, _ := strconv.Atoi(string(line[2]))
			return n
		}
	}
	return 0
}

// readyNode returns the path of node once what node/package.json names is
// installed.
var readyNode = sync.OnceValues(func() (string, error) {
	node, err := find("node", "nodejs")
	if err != nil {
		return "", err
	}
	npm, err := find("npm", "npm")
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(context.Background(), installLimit)
	defer cancel()
	version, err := exec.CommandContext(ctx, node, "--print", "parseInt(process.versions.node)").Output()
	if err != nil {
		return "", fmt.Errorf("node --print: %w", err)
	}
	var major int
	if _, err := fmt.Sscan(string(version), &major); err != nil || major < oldestNode {
		return "", fmt.Errorf("node is %s, but must be %d or newer: Debian 13's package nodejs, or https://nodejs.org", version, oldestNode)
	}
	if installed() {
		return node, nil
	}
	install := exec.CommandContext(ctx, npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund")
	install.Dir = "node"
	if out, err := install.CombinedOutput(); err != nil {
		return "", fmt.Errorf("npm ci in e2e/node: %w\n%s", err, out)
	}
	return node, nil
})

func find(program, debianPackage string) (string, error) {
	path, err := exec.LookPath(program)
	if err != nil {
		return "", fmt.Errorf("%s is missing: install Debian's package %s (apt-get install %[2]s)", program, debianPackage)
	}
	return path, nil
}

// installed reports whether node_modules has what package-lock.json says.
func installed() bool {
	wanted, err := lockedPackages("node/package-lock.json")
	if err != nil {
		return false
	}
	present, err := lockedPackages("node/node_modules/.package-lock.json")
	return err == nil && maps.Equal(wanted, present)
}

func lockedPackages(file string) (map[string]string, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var lock struct {
		Packages map[string]struct{ Integrity string }
	}
	if err := json.Unmarshal(data, &lock); err != nil {
		return nil, err
	}
	integrity := map[string]string{}
	for path, p := range lock.Packages {
		if path != "" { // the project itself
			integrity[path] = p.Integrity
		}
	}
	return integrity, nil
}
