package gatehouse_test

// Mistakes that a machine can see in the typed syntax. Each gate has a table of
// code that it must catch and of code that it must leave alone.

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/constant"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// A checked package is parsed and has types.
type checked struct {
	path  string
	fset  *token.FileSet
	files []*ast.File
	info  *types.Info
}

// A finding is what a gate says of a place.
type finding struct {
	node ast.Node
	text string
}

// A gate finds one kind of mistake.
type gate struct {
	name  string
	tests bool // tests are held to it, too
	find  func(checked) []finding
}

var gates = []gate{
	{"random numbers", true, weakRandom},
	{"TLS without verification", true, unverifiedTLS},
	{"comparison of secrets", false, comparedSecrets},
	{"SQL from pieces", false, assembledSQL},
}

// weakRandom finds imports of generators that can be predicted.
func weakRandom(p checked) (found []finding) {
	for _, file := range p.files {
		for _, spec := range file.Imports {
			switch path, _ := strconv.Unquote(spec.Path.Value); path {
			case "math/rand", "math/rand/v2", "golang.org/x/exp/rand":
				found = append(found, finding{spec, "imports " + path})
			}
		}
	}
	return found
}

// unverifiedTLS finds every use of the field that switches verification off,
// set to false, too: nobody has a reason to name it.
func unverifiedTLS(p checked) (found []finding) {
	p.inspect(func(node ast.Node) {
		name, ok := node.(*ast.Ident)
		if !ok {
			return
		}
		field, ok := p.info.Uses[name].(*types.Var)
		if ok && field.IsField() && name.Name == "InsecureSkipVerify" {
			found = append(found, finding{node, "InsecureSkipVerify"})
		}
	})
	return found
}

var (
	secretName = regexp.MustCompile(`(?i)(secret|hash|verifier|password|otp|cookie|sealed|signature|mac|digest)$`)
	// publicHash are the claims that carry a hash in the open.
	publicHash = regexp.MustCompile(`(?i)^(at|c|s|tls)_?hash$`)
)

// equals are functions that tell by their time how much of two values is equal.
var equals = []string{
	"bytes.Compare", "bytes.Equal", "bytes.EqualFold", "bytes.HasPrefix", "reflect.DeepEqual", "slices.Compare", "slices.Contains", "slices.Equal",
	"slices.Index", "strings.Compare", "strings.EqualFold", "strings.HasPrefix",
}

// comparedSecrets finds secrets and hashes that are compared otherwise than in
// constant time. Whether one is there at all may be asked.
func comparedSecrets(p checked) (found []finding) {
	p.inspect(func(node ast.Node) {
		switch n := node.(type) {
		case *ast.BinaryExpr:
			if (n.Op == token.EQL || n.Op == token.NEQ) && (p.secret(n.X) || p.secret(n.Y)) && !p.empty(n.X) && !p.empty(n.Y) {
				found = append(found, finding{n, "a secret is compared with " + n.Op.String()})
			}
		case *ast.SwitchStmt:
			if n.Tag != nil && p.secret(n.Tag) {
				found = append(found, finding{n, "a secret is compared in a switch"})
			}
		case *ast.CallExpr:
			name := p.called(n)
			if slices.Contains(equals, name) && slices.ContainsFunc(n.Args, p.secret) {
				found = append(found, finding{n, "a secret is compared by " + name})
			}
		}
	})
	return found
}

// secret reports whether an expression is a string, or bytes, that its name or
// the function that it comes from says to be secret.
func (p checked) secret(e ast.Expr) bool {
	of := p.info.TypeOf(e)
	if of == nil || !text(of) {
		return false
	}
	switch e := ast.Unparen(e).(type) {
	case *ast.Ident:
		return secretName.MatchString(e.Name) && !publicHash.MatchString(e.Name) && !p.constant(e)
	case *ast.SelectorExpr:
		return secretName.MatchString(e.Sel.Name) && !publicHash.MatchString(e.Sel.Name) && !p.constant(e)
	case *ast.SliceExpr:
		return p.secret(e.X)
	case *ast.IndexExpr:
		return p.secret(e.X)
	case *ast.StarExpr:
		return p.secret(e.X)
	case *ast.CallExpr:
		if p.info.Types[e.Fun].IsType() { // a conversion
			return p.secret(e.Args[0])
		}
		switch name := p.called(e); name {
		case "crypto/sha256.Sum256", "crypto/sha512.Sum512", "gatehouse.HashSecret":
			return true
		default:
			return strings.HasPrefix(name, "strings.") && len(e.Args) > 0 && p.secret(e.Args[0])
		}
	}
	return false
}

// text reports whether t is a string or bytes, or a pointer to or list of such.
func text(t types.Type) bool {
	switch t := t.Underlying().(type) {
	case *types.Basic:
		return t.Info()&types.IsString != 0
	case *types.Slice:
		b, ok := t.Elem().Underlying().(*types.Basic)
		return ok && (b.Kind() == types.Byte || b.Info()&types.IsString != 0)
	case *types.Array:
		b, ok := t.Elem().Underlying().(*types.Basic)
		return ok && b.Kind() == types.Byte
	}
	return false
}

func (p checked) constant(e ast.Expr) bool { return p.info.Types[e].Value != nil || p.isConst(e) }

func (p checked) isConst(e ast.Expr) bool {
	switch e := ast.Unparen(e).(type) {
	case *ast.Ident:
		_, is := p.info.Uses[e].(*types.Const)
		return is
	case *ast.SelectorExpr:
		_, is := p.info.Uses[e.Sel].(*types.Const)
		return is
	}
	return false
}

func (p checked) empty(e ast.Expr) bool {
	v := p.info.Types[e]
	return v.IsNil() || v.Value != nil && v.Value.Kind() == constant.String && constant.StringVal(v.Value) == ""
}

// called is the name of a function with its package, or of a method with its
// receiver.
func (p checked) called(call *ast.CallExpr) string {
	fun := ast.Unparen(call.Fun)
	switch generic := fun.(type) {
	case *ast.IndexExpr:
		fun = generic.X
	case *ast.IndexListExpr:
		fun = generic.X
	}
	var name *ast.Ident
	switch f := fun.(type) {
	case *ast.Ident:
		name = f
	case *ast.SelectorExpr:
		name = f.Sel
	default:
		return ""
	}
	function, ok := p.info.Uses[name].(*types.Func)
	if !ok {
		return ""
	}
	return function.FullName()
}

// sqlMethod are the doors of the database libraries.
var sqlMethod = regexp.MustCompile(`^\(\*?(database/sql|github\.com/jackc/pgx/v5(/[a-z]+)*)\.\w+\)\.(Exec|Query|QueryRow|Prepare|Queue|SendBatch)(Context)?$`)

// assembledSQL finds SQL that is not a constant where it goes to a database: to
// a library, to a parameter of ours that is named sql, or into a fragment of
// package store. A parameter or field named sql may be passed on: who fills it
// is looked at in its turn.
func assembledSQL(p checked) (found []finding) {
	report := func(node ast.Node, text string) { found = append(found, finding{node, text}) }
	for _, file := range p.files {
		for _, decl := range file.Decls {
			within := ""
			if f, ok := decl.(*ast.FuncDecl); ok {
				within = f.Name.Name
			}
			ast.Inspect(decl, func(node ast.Node) bool {
				switch n := node.(type) {
				case *ast.AssignStmt:
					if n.Tok == token.ADD_ASSIGN && named(n.Lhs[0]) == "sql" && !p.wholeSQL(n.Rhs[0]) {
						report(n, "SQL is put together from pieces")
					}
				case *ast.CompositeLit:
					if p.typeName(n) == "statement" && len(n.Elts) > 0 && within != "query" {
						report(n, "a statement is made beside query")
					}
				case *ast.CallExpr:
					if p.info.Types[n.Fun].IsType() {
						if p.typeName(n) == "fragment" && p.info.Types[n].Value == nil {
							report(n, "a fragment of SQL is made of a variable")
						}
						return true
					}
					at := p.sqlParameter(n)
					if at >= 0 && at < len(n.Args) && !p.wholeSQL(n.Args[at]) {
						report(n, "SQL is not a constant")
					}
				}
				return true
			})
		}
	}
	return found
}

// sqlParameter is the index of a function's parameter that is SQL, or -1.
func (p checked) sqlParameter(call *ast.CallExpr) int {
	signature, ok := p.info.TypeOf(call.Fun).(*types.Signature)
	if !ok {
		return -1
	}
	library := sqlMethod.MatchString(p.called(call))
	for i := range signature.Params().Len() {
		parameter := signature.Params().At(i)
		basic, ok := parameter.Type().(*types.Basic)
		if ok && basic.Kind() == types.String && (parameter.Name() == "sql" || library && parameter.Name() != "name") {
			return i
		}
	}
	return -1
}

// wholeSQL reports whether an expression is SQL without anything that a request
// could have put into it.
func (p checked) wholeSQL(e ast.Expr) bool {
	if p.info.Types[e].Value != nil || p.typeName(e) == "fragment" {
		return true
	}
	if sum, ok := ast.Unparen(e).(*ast.BinaryExpr); ok {
		return p.wholeSQL(sum.X) && p.wholeSQL(sum.Y)
	}
	return named(e) == "sql"
}

func (p checked) typeName(e ast.Expr) string {
	if t, ok := types.Unalias(p.info.TypeOf(e)).(*types.Named); ok {
		return t.Obj().Name()
	}
	return ""
}

func named(e ast.Expr) string {
	switch e := ast.Unparen(e).(type) {
	case *ast.Ident:
		return e.Name
	case *ast.SelectorExpr:
		return e.Sel.Name
	}
	return ""
}

func (p checked) inspect(visit func(ast.Node)) {
	for _, file := range p.files {
		ast.Inspect(file, func(node ast.Node) bool {
			visit(node)
			return true
		})
	}
}

// exempt are findings that are right where they are, by file and line, and why.
var exempt = map[string]string{
	"eidas/ocsp.go: bytes.Equal(about.NameHash, asked.IssuerNameHash)":                                       "the hash of a public name",
	"eidas/ocsp.go: bytes.Equal(about.KeyHash, asked.IssuerKeyHash)":                                         "the hash of a public key",
	"store/storetest/sqlite.go: db.QueryContext(ctx, pragma)":                                                "one of two texts of the loop",
	`store/storetest/storetest.go: run(t, server.String(), "CREATE DATABASE "+name)`:                         "no parameter can name a database, and the name is made of numbers",
	`store/storetest/storetest.go: run(t, server.String(), "DROP DATABASE IF EXISTS "+name+" WITH (FORCE)")`: "likewise",
}

// Each gate finds what it is there for, and lets pass what resembles it.
func TestGates(t *testing.T) {
	exports := map[string]string{}
	for _, p := range list(t, "bytes", "context", "crypto/rand", "crypto/sha256", "crypto/subtle", "crypto/tls", "database/sql", "fmt", "math/rand", "math/rand/v2", "reflect", "slices", "strings") {
		exports[p.ImportPath] = p.Export
	}
	type snippet struct {
		imports string // separated by blanks
		body    string
		caught  bool
	}
	for name, snippets := range map[string][]snippet{
		"random numbers": {
			{"math/rand", `var _ = rand.Int()`, true},
			{"math/rand/v2", `var _ = rand.Int()`, true},
			{"crypto/rand", `var _ = rand.Text()`, false},
		},
		"TLS without verification": {
			{"crypto/tls", `var _ = &tls.Config{InsecureSkipVerify: true}`, true},
			{"crypto/tls", `var _ = &tls.Config{InsecureSkipVerify: false}`, true},
			{"crypto/tls", `func f(c *tls.Config, b bool) { c.InsecureSkipVerify = b }`, true},
			{"crypto/tls", `var _ = &tls.Config{MinVersion: tls.VersionTLS12}`, false},
		},
		"comparison of secrets": {
			{"", `func f(clientSecret, shown string) bool { return clientSecret == shown }`, true},
			{"", `func f(shown string, c struct{ Password string }) bool { return shown != c.Password }`, true},
			{"", `func f(secret, shown []byte) bool { return string(secret) == string(shown) }`, true},
			{"", `func f(otp string) bool { switch otp { case "123456": return true }; return false }`, true},
			{"crypto/sha256", `func f(shown []byte, kept [32]byte) bool { return sha256.Sum256(shown) == kept }`, true},
			{"bytes", `func f(shown []byte, c struct{ SecretHash []byte }) bool { return bytes.Equal(c.SecretHash, shown) }`, true},
			{"slices", `func f(secret string, all []string) bool { return slices.Contains(all, secret) }`, true},
			{"strings", `func f(cookie, shown string) bool { return strings.EqualFold(cookie, shown) }`, true},
			{"strings", `func f(secret, shown string) bool { return strings.TrimSpace(secret) == shown }`, true},
			{"reflect", `func f(mac, shown []byte) bool { return reflect.DeepEqual(mac, shown) }`, true},
			{"", `func f(secret string) bool { return secret == "" }`, false},
			{"", `func f(tokenHash []byte) bool { return tokenHash == nil }`, false},
			{"", `func f(secret string) bool { return len(secret) == 3 }`, false},
			{"", `func f(name, other string) bool { return name == other }`, false},
			{"", `func f(atHash, shown string) bool { return atHash == shown }`, false}, // stands in the open
			{"", `const withSecret = "a"; func f(method string) bool { return method == withSecret }`, false},
			{"crypto/subtle", `func f(secret, shown []byte) bool { return subtle.ConstantTimeCompare(secret, shown) == 1 }`, false},
		},
		"SQL from pieces": {
			{"database/sql", `func f(db *sql.DB, table string) { db.Exec("DELETE FROM " + table) }`, true},
			{"context database/sql fmt", `func f(db *sql.DB, id string) { db.QueryContext(context.Background(), fmt.Sprintf("SELECT '%s'", id)) }`, true},
			{"database/sql", `func f(tx *sql.Tx, text string) { tx.QueryRow(text) }`, true},
			{"", `func read(sql string) {}; func f(where string) { read("SELECT 1 WHERE " + where) }`, true},
			{"", `func f(where string) string { sql := "SELECT 1 "; sql += where; return sql }`, true},
			{"", `type fragment string; func f(where string) fragment { return fragment(where) }`, true},
			{"", `type statement struct{ text string }; func f(text string) statement { return statement{text} }`, true},
			{"database/sql", `func f(db *sql.DB, id string) { db.Exec("DELETE FROM t WHERE id = $1", id) }`, false},
			{"database/sql", `const from = " FROM t"; func f(db *sql.DB) { db.Exec("SELECT 1" + from) }`, false},
			{"database/sql", `func f(db *sql.DB, sql string) { db.Exec(sql) }`, false}, // who calls f is looked at
			{"", `type fragment string; const all = fragment("SELECT 1")`, false},
			{"", `type statement struct{ text string }; func query(text string) statement { return statement{text} }`, false},
		},
	} {
		i := slices.IndexFunc(gates, func(g gate) bool { return g.name == name })
		if i < 0 {
			t.Fatalf("there is no gate of %s", name)
		}
		for _, s := range snippets {
			source := "package p\n"
			for _, path := range strings.Fields(s.imports) {
				source += "import " + strconv.Quote(path) + "\n"
			}
			found := gates[i].find(check(t, "p", []string{"p.go"}, source+s.body, nil, exports))
			if (len(found) > 0) != s.caught {
				t.Errorf("%s: %q is caught: %t", name, s.body, !s.caught)
			}
		}
	}
}

// No gate finds anything in the tree.
//
// Proves: K16, C15
func TestStaticGates(t *testing.T) {
	left := exemptions()
	packages, files := load(t), 0
	for _, p := range packages {
		files += len(p.files)
		for _, gate := range gates {
			for _, f := range gate.find(p) {
				at := p.fset.Position(f.node.Pos())
				if !gate.tests && strings.HasSuffix(at.Filename, "_test.go") {
					continue
				}
				path, err := filepath.Rel(workingDirectory(t), at.Filename)
				if err != nil {
					t.Fatal(err)
				}
				line := p.source(t, f.node)
				if why, ok := exempt[filepath.ToSlash(path)+": "+line]; ok && why != "" {
					delete(left, filepath.ToSlash(path)+": "+line)
					continue
				}
				t.Errorf("%s:%d: %s: %s: %s", path, at.Line, gate.name, f.text, line)
			}
		}
	}
	for line := range left {
		t.Errorf("an exemption that nothing needs: %s", line)
	}
	if len(packages) < 15 || files < 300 {
		t.Errorf("only %d packages with %d files were looked at", len(packages), files)
	}
}

func exemptions() map[string]bool {
	left := map[string]bool{}
	for line := range exempt {
		left[line] = true
	}
	return left
}

func workingDirectory(t *testing.T) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// source is the first line of a node's text.
func (p checked) source(t *testing.T, node ast.Node) string {
	t.Helper()
	from := p.fset.Position(node.Pos())
	data, err := os.ReadFile(from.Filename)
	if err != nil {
		t.Fatal(err)
	}
	text, _, _ := strings.Cut(string(data[from.Offset:]), "\n")
	return strings.TrimSpace(text[:min(len(text), max(p.fset.Position(node.End()).Offset-from.Offset, 0))])
}

// A listed is what the go command says of a package.
type listed struct {
	Dir, ImportPath, Export, ForTest string
	Module                           *struct{ Main bool }
	CompiledGoFiles                  []string
	ImportMap                        map[string]string
}

// list asks the go command for packages and all that they are built of; their
// export data come from the build cache.
func list(t *testing.T, arguments ...string) []listed {
	t.Helper()
	cmd := exec.Command("go", append([]string{"list", "-export", "-compiled", "-deps", "-json=Dir,ImportPath,Export,ForTest,Module,CompiledGoFiles,ImportMap"}, arguments...)...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %s", err, stderr.Bytes())
	}
	var packages []listed
	for decoder := json.NewDecoder(bytes.NewReader(out)); ; {
		var p listed
		err := decoder.Decode(&p)
		if errors.Is(err, io.EOF) {
			return packages
		}
		if err != nil {
			t.Fatal(err)
		}
		packages = append(packages, p)
	}
}

// load parses and types every package of the module, with its tests.
func load(t *testing.T) (packages []checked) {
	t.Helper()
	all := list(t, "-test", "./...")
	exports := map[string]string{}
	for _, p := range all {
		exports[p.ImportPath] = p.Export
	}
	tested := map[string]bool{} // packages that come once more with their tests
	for _, p := range all {
		if p.ForTest != "" {
			tested[p.ForTest] = tested[p.ForTest] || strings.HasPrefix(p.ImportPath, p.ForTest+" [")
		}
	}
	for _, p := range all {
		path, _, _ := strings.Cut(p.ImportPath, " ")
		if p.Module == nil || !p.Module.Main || strings.HasSuffix(p.ImportPath, ".test") || p.ForTest == "" && tested[p.ImportPath] {
			continue
		}
		if p.ForTest != "" && path != p.ForTest && path != p.ForTest+"_test" {
			continue // made anew for another's test
		}
		var files []string
		for _, file := range p.CompiledGoFiles {
			files = append(files, cmp.Or(map[bool]string{true: file}[filepath.IsAbs(file)], filepath.Join(p.Dir, file)))
		}
		packages = append(packages, check(t, path, files, nil, p.ImportMap, exports))
	}
	return packages
}

// check types a package: files, or one file with the given text.
func check(t *testing.T, path string, files []string, text any, imports, exports map[string]string) checked {
	t.Helper()
	p := checked{path: path, fset: token.NewFileSet(), info: &types.Info{
		Types: map[ast.Expr]types.TypeAndValue{}, Uses: map[*ast.Ident]types.Object{}, Defs: map[*ast.Ident]types.Object{},
	}}
	for _, name := range files {
		file, err := parser.ParseFile(p.fset, name, text, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		p.files = append(p.files, file)
	}
	lookup := func(path string) (io.ReadCloser, error) {
		export := exports[cmp.Or(imports[path], path)]
		if export == "" {
			return nil, fmt.Errorf("no export data of %s", path)
		}
		return os.Open(export)
	}
	config := types.Config{Importer: importer.ForCompiler(p.fset, "gc", lookup)}
	if _, err := config.Check(path, p.fset, p.files, p.info); err != nil {
		t.Fatal(err)
	}
	return p
}
