package gatehouse_test

import (
	"bytes"
	"encoding/json"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	anyTest   = regexp.MustCompile(`\b(?:Test|Fuzz|Benchmark)[A-Z]\w*`)
	testNamed = regexp.MustCompile(`(?m)^func ((?:Test|Fuzz|Benchmark)\w+)\(`)
)

// withoutTest are advisories for which a reason is enough: the part at fault is
// not used, or is a dependency's own and newer than the fix.
var withoutTest = map[string]bool{
	"GO-2026-5004": true, "GO-2024-2605": true, "GO-2025-3849": true, "GO-2026-5039": true,
	"GO-2026-4337": true, "GO-2025-4155": true, "keycloak#52835": true,
}

// docs/security.md says of each advisory what covers it, and names no test that
// there is not.
//
// Proves: O13
func TestSecurityDocument(t *testing.T) {
	exists := map[string]bool{}
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		source, err := os.ReadFile(path)
		for _, match := range testNamed.FindAllSubmatch(source, -1) {
			exists[string(match[1])] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile("docs/security.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range anyTest.FindAllString(string(text), -1) {
		if !exists[name] {
			t.Errorf("there is no %s", name)
		}
	}

	var file struct {
		Count      int
		Advisories []struct {
			ID      string
			Aliases []string
		}
	}
	data, err := os.ReadFile("testdata/advisories.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &file); err != nil {
		t.Fatal(err)
	}
	times := map[string]int{}
	for _, a := range file.Advisories {
		times[a.ID]++
	}
	known := map[string]bool{}
	for _, a := range file.Advisories {
		if times[a.ID] > 1 {
			a.ID += " " + a.Aliases[0]
		}
		known[a.ID] = true
	}
	if len(known) != file.Count || file.Count < 100 {
		t.Fatalf("%d advisories, not %d", len(known), file.Count)
	}
	_, section, found := strings.Cut(string(text), "\n## Advisories\n")
	if !found {
		t.Fatal("no section of advisories")
	}
	listed := map[string]bool{}
	for line := range strings.Lines(section) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		if len(cells) != 3 || strings.HasPrefix(cells[0], "---") || strings.TrimSpace(cells[0]) == "advisory" {
			continue
		}
		id, covered := strings.TrimSpace(cells[0]), strings.TrimSpace(cells[2])
		if !known[id] || listed[id] {
			t.Errorf("%s is no advisory of the list, or stands twice", id)
		}
		listed[id] = true
		if !anyTest.MatchString(covered) && (!withoutTest[id] || len(covered) < 10) {
			t.Errorf("%s: neither a test nor a reason", id)
		}
	}
	for id := range known {
		if !listed[id] {
			t.Errorf("%s is not in docs/security.md", id)
		}
	}
}

// The program is the same to the byte from whichever directory it is built, and
// its modules are those that were checked in. `make reproducible` builds with
// two caches, too; `make vuln` asks about what is known of the modules.
//
// Proves: O14
func TestReproducibleBuild(t *testing.T) {
	elsewhere := filepath.Join(t.TempDir(), "elsewhere")
	tracked, err := exec.Command("git", "ls-files", "-z").Output()
	if err != nil {
		t.Fatal(err)
	}
	for name := range strings.SplitSeq(strings.Trim(string(tracked), "\x00"), "\x00") {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll(filepath.Dir(filepath.Join(elsewhere, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(elsewhere, name), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	build := func(dir string) []byte {
		program := filepath.Join(t.TempDir(), "gatehouse")
		cmd := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-mod=readonly", "-o", program, "./cmd/gatehouse")
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		data, err := os.ReadFile(program)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	if here, there := build("."), build(elsewhere); !bytes.Equal(here, there) {
		t.Errorf("two programs of %d and %d bytes", len(here), len(there))
	}
	if out, err := exec.Command("go", "mod", "verify").CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}
