package gatehouse_test

import (
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	anyTest   = regexp.MustCompile(`\b(?:Test|Fuzz|Benchmark)[A-Z]\w*`)
	testNamed = regexp.MustCompile(`(?m)^func ((?:Test|Fuzz|Benchmark)\w+)\(`)
)

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
		if len(covered) < 10 {
			t.Errorf("%s: neither a test nor a reason", id)
		}
	}
	for id := range known {
		if !listed[id] {
			t.Errorf("%s is not in docs/security.md", id)
		}
	}
}
