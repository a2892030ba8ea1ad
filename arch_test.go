package gatehouse_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"regexp"
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
	"math/rand":                          {},
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

var (
	secretName = regexp.MustCompile(`(?i)(secret|hash|verifier|signature|mac)$`)
	sqlText    = regexp.MustCompile(`(?i)^\s*(SELECT .* FROM|INSERT INTO|UPDATE .* SET|DELETE FROM)\b`)
)

// Mistakes that a machine can see: secrets compared with ==, SQL put together
// from pieces, TLS without verification.
//
// Proves: K16, C15
func TestStaticGates(t *testing.T) {
	fset := token.NewFileSet()
	// What is no constant does not become a fragment of SQL in package store
	// without a conversion.
	fragments := map[ast.Node]bool{}
	for _, src := range sources(t, fset) {
		ast.Inspect(src.file, func(node ast.Node) bool {
			switch n := node.(type) {
			case *ast.BinaryExpr:
				if (n.Op == token.EQL || n.Op == token.NEQ) && isSecret(n.X) && !isEmpty(n.Y) {
					t.Errorf("%s: a secret is compared with %s", fset.Position(n.Pos()), n.Op)
				}
				if n.Op == token.ADD && isSQL(n.X) && !isLiteral(n.Y) && !fragments[n] {
					t.Errorf("%s: SQL is put together from pieces", fset.Position(n.Pos()))
				}
				fragments[n.X] = fragments[n]
			case *ast.CallExpr:
				if f, ok := n.Fun.(*ast.Ident); ok && src.pkg == "gatehouse/store" && len(n.Args) > 0 {
					fragments[n.Args[0]] = f.Name == "query" // which takes a fragment
					if f.Name == "fragment" && !isLiteral(n.Args[0]) {
						t.Errorf("%s: a fragment of SQL is made of a variable", fset.Position(n.Pos()))
					}
				}
				if f, ok := n.Fun.(*ast.SelectorExpr); ok && strings.HasPrefix(f.Sel.Name, "Sprint") && len(n.Args) > 0 && isSQL(n.Args[0]) {
					t.Errorf("%s: SQL is formatted", fset.Position(n.Pos()))
				}
			case *ast.Ident:
				if n.Name == "InsecureSkipVerify" {
					t.Errorf("%s: %s", fset.Position(n.Pos()), n.Name)
				}
			}
			return true
		})
	}
}

func isSecret(e ast.Expr) bool {
	switch e := e.(type) {
	case *ast.Ident:
		return secretName.MatchString(e.Name)
	case *ast.SelectorExpr:
		return secretName.MatchString(e.Sel.Name) && e.Sel.Name != "atHash" // at_hash is public
	}
	return false
}

// isEmpty reports whether e is "" or nil: asking whether a secret is there
// tells nothing about it.
func isEmpty(e ast.Expr) bool {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name == "nil"
	case *ast.BasicLit:
		return e.Value == `""`
	}
	return false
}

func isLiteral(e ast.Expr) bool {
	_, ok := e.(*ast.BasicLit)
	return ok
}

func isSQL(e ast.Expr) bool {
	switch e := e.(type) {
	case *ast.BasicLit:
		text, err := strconv.Unquote(e.Value)
		return err == nil && e.Kind == token.STRING && sqlText.MatchString(strings.ReplaceAll(text, "\n", " "))
	case *ast.BinaryExpr:
		return isSQL(e.X)
	}
	return false
}
