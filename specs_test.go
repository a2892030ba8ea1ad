package gatehouse_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var testFunction = regexp.MustCompile(`(?m)^func (Test\w+)\(`)

// Every row of docs/specs.md that claims something names tests that exist.
func TestSpecs(t *testing.T) {
	tests := map[string]bool{}
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		for _, name := range testFunction.FindAllSubmatch(text, -1) {
			tests[string(name[1])] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile("docs/specs.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := 0
	for line := range strings.Lines(string(text)) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		if len(cells) != 4 || strings.HasPrefix(cells[0], "---") || strings.Contains(cells[3], " test ") && strings.Contains(cells[2], "status") {
			continue
		}
		rows++
		named := strings.FieldsFunc(cells[3], func(r rune) bool { return r == ',' || r == ' ' })
		if len(named) == 0 && strings.TrimSpace(cells[2]) != "not built" {
			t.Errorf("no test for:%s", cells[0])
		}
		for _, name := range named {
			if !tests[name] {
				t.Errorf("%s: no test is called %s", strings.TrimSpace(cells[0]), name)
			}
		}
	}
	if rows < 20 {
		t.Errorf("only %d rows", rows)
	}
}
