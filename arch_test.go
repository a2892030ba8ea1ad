package gatehouse_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// levels says from which packages each package may import: any of a lower
// level, as docs/architecture.md has it.
var levels = map[string]int{
	"gatehouse/eidas": 1,
	"gatehouse/jose":  1,

	"gatehouse":          2,
	"gatehouse/demobank": 2,

	"gatehouse/admin":           3,
	"gatehouse/store":           3,
	"gatehouse/store/storetest": 3,
	"gatehouse/connector":       3,

	"gatehouse/oidc": 4,

	"gatehouse/cmd/gatehouse": 6,

	"gatehouse/e2e/torture": 6, // never part of the program
	"gatehouse/e2e/tally":   6,
}

// only lists dependencies that one package alone may import.
var only = map[string][]string{
	"database/sql":                       {"gatehouse/store", "gatehouse/store/storetest"},
	"github.com/jackc/pgx":               {"gatehouse/store", "gatehouse/store/storetest", "gatehouse/e2e/torture"},
	"modernc.org/sqlite":                 {"gatehouse/store", "gatehouse/store/storetest"},
	"github.com/pressly/goose":           {"gatehouse/store"},
	"github.com/go-json-experiment/json": {"gatehouse/jose"},
	"crypto/rsa":                         {"gatehouse/jose", "gatehouse/eidas", "gatehouse/oidc"},
	"github.com/spf13/cobra":             {"gatehouse/cmd/gatehouse"},
	"github.com/go-jose/go-jose":         {}, // an oracle in tests
	"github.com/golang-jwt/jwt":          {},
	"github.com/lestrrat-go/jwx":         {},
}

// A source is one Go file of the program; tests are left out.
type source struct {
	path, pkg string
	file      *ast.File
}

func sources(t *testing.T, fset *token.FileSet) []source {
	t.Helper()
	var all []source
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == "node_modules" || d.Name() == "testdata" || d.Name() == ".git") {
			return filepath.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		file, err := parser.ParseFile(fset, path, nil, 0)
		if err != nil {
			return err
		}
		pkg := filepath.ToSlash(filepath.Join("gatehouse", filepath.Dir(path)))
		all = append(all, source{path, pkg, file})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(all) < 20 {
		t.Fatalf("only %d files found", len(all))
	}
	return all
}

// Every import goes down.
func TestImportLevels(t *testing.T) {
	for _, src := range sources(t, token.NewFileSet()) {
		level, known := levels[src.pkg]
		if !known {
			t.Errorf("%s: package %s has no level", src.path, src.pkg)
		}
		for _, spec := range src.file.Imports {
			imported, _ := strconv.Unquote(spec.Path.Value)
			if imported == "gatehouse" || strings.HasPrefix(imported, "gatehouse/") {
				if lower, known := levels[imported]; !known || lower >= level {
					t.Errorf("%s imports %s, which is not below it", src.path, imported)
				}
			}
			for dependency, allowed := range only {
				if (imported == dependency || strings.HasPrefix(imported, dependency+"/")) && !slices.Contains(allowed, src.pkg) {
					t.Errorf("%s imports %s", src.path, imported)
				}
			}
		}
	}
}
