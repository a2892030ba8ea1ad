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
	path    string
	fset    *token.FileSet
	files   []*ast.File
	info    *types.Info
	secrets map[types.Object]bool // of markSecrets
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
	secretName = regexp.MustCompile(`(?i)((access|refresh)_?token|secret|hash|verifier|password|otp|cookie|sealed|signature|mac|digest)(e?s)?$`)
	// publicHash are the claims that carry a hash in the open.
	publicHash = regexp.MustCompile(`(?i)^(at|c|s|tls)_?hash$`)
)

// equals are functions that tell by their time how much of two values is equal.
var equals = []string{
	"bytes.Compare", "bytes.Contains", "bytes.Equal", "bytes.EqualFold", "bytes.HasPrefix", "bytes.HasSuffix", "bytes.Index", "cmp.Compare",
	"reflect.DeepEqual", "slices.Compare", "slices.Contains", "slices.Equal", "slices.Index", "strings.Compare", "strings.Contains", "strings.EqualFold",
	"strings.HasPrefix", "strings.HasSuffix", "strings.Index",
}

// comparedSecrets finds secrets and hashes that are compared otherwise than in
// constant time. Whether one is there at all may be asked.
func comparedSecrets(p checked) (found []finding) {
	p.markSecrets()
	p.inspect(func(node ast.Node) {
		switch n := node.(type) {
		case *ast.BinaryExpr:
			if (n.Op == token.EQL || n.Op == token.NEQ) && (p.secret(n.X) || p.secret(n.Y)) && !p.open(n.X) && !p.open(n.Y) {
				found = append(found, finding{n, "a secret is compared with " + n.Op.String()})
			}
		case *ast.SwitchStmt:
			compared := []ast.Expr{n.Tag}
			for _, clause := range n.Body.List {
				compared = append(compared, clause.(*ast.CaseClause).List...)
			}
			if n.Tag != nil && slices.ContainsFunc(compared, p.secret) {
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

// markSecrets notes the variables that are set to a secret, whatever they are
// called.
func (p checked) markSecrets() {
	set := func(to, from ast.Expr) {
		name, ok := to.(*ast.Ident)
		if !ok || !p.secret(from) {
			return
		}
		if variable := p.info.ObjectOf(name); variable != nil && keepsSecrets(variable.Type()) {
			p.secrets[variable] = true
		}
	}
	p.inspect(func(node ast.Node) {
		switch n := node.(type) {
		case *ast.AssignStmt:
			for i := range min(len(n.Lhs), len(n.Rhs)) {
				set(n.Lhs[i], n.Rhs[i])
			}
		case *ast.ValueSpec:
			for i := range n.Values {
				set(n.Names[i], n.Values[i])
			}
		case *ast.RangeStmt:
			set(n.Value, n.X)
		}
	})
}

// secret reports whether an expression is of a type that can keep a secret and
// its name, its type or what it is made of says that it does.
func (p checked) secret(e ast.Expr) bool {
	of := p.info.TypeOf(e)
	if of == nil || !keepsSecrets(of) || p.constant(e) {
		return false
	}
	switch of := of.Underlying().(type) {
	case *types.Array:
		if of.Len() >= 20 { // no array of bytes that long is anything else
			return true
		}
	case *types.Struct:
		return true
	}
	switch e := ast.Unparen(e).(type) {
	case *ast.Ident:
		return isSecretName(e.Name) || p.secrets[p.info.ObjectOf(e)]
	case *ast.SelectorExpr:
		return isSecretName(e.Sel.Name)
	case *ast.SliceExpr:
		return p.secret(e.X)
	case *ast.IndexExpr:
		return p.secret(e.X)
	case *ast.StarExpr:
		return p.secret(e.X)
	case *ast.BinaryExpr:
		return p.secret(e.X) || p.secret(e.Y)
	case *ast.CallExpr:
		if p.info.Types[e.Fun].IsType() { // a conversion
			return p.secret(e.Args[0])
		}
		name := p.called(e)
		return name == "(hash.Hash).Sum" || isSecretName(named(e.Fun)) || rewrites.MatchString(name) && slices.ContainsFunc(e.Args, p.secret)
	}
	return false
}

// rewrites are functions that return what they are given in another form.
var rewrites = regexp.MustCompile(`^\(?\*?(bytes|encoding/(base32|base64|hex)|fmt|slices|strings)\.`)

func isSecretName(name string) bool {
	return secretName.MatchString(name) && !publicHash.MatchString(name)
}

// keepsSecrets reports whether t is text, or a struct with a field that is, by
// its name, a secret.
func keepsSecrets(t types.Type) bool {
	fields, ok := t.Underlying().(*types.Struct)
	if !ok {
		return text(t)
	}
	for field := range fields.Fields() {
		if isSecretName(field.Name()) && text(field.Type()) {
			return true
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

// open reports whether anybody knows what an expression is: nothing, or one of
// the claims of publicHash.
func (p checked) open(e ast.Expr) bool {
	if literal, ok := ast.Unparen(e).(*ast.CompositeLit); ok {
		return len(literal.Elts) == 0
	}
	v := p.info.Types[e]
	return v.IsNil() || v.Value != nil && v.Value.Kind() == constant.String && constant.StringVal(v.Value) == "" || publicHash.MatchString(named(e))
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

// sqlMethod are the doors of the database libraries, and of interfaces like
// theirs.
var sqlMethod = regexp.MustCompile(`^\(.+\)\.(Exec|Query|QueryRow|Prepare|Queue|SendBatch)(Context)?$`)

// assembledSQL finds SQL that is not a constant where it goes to a database: to
// a library, to a parameter of ours that is named sql, or into a fragment of
// package store. A parameter or field named sql may be passed on: who fills it
// is looked at in its turn.
func assembledSQL(p checked) (found []finding) {
	report := func(node ast.Node, text string) { found = append(found, finding{node, text}) }
	set := func(node ast.Node, name string, to ast.Expr) {
		if name == "sql" && !p.wholeSQL(to) {
			report(node, "SQL is put together from pieces")
		}
	}
	for _, file := range p.files {
		for _, decl := range file.Decls {
			within := ""
			if f, ok := decl.(*ast.FuncDecl); ok {
				within = f.Name.Name
			}
			ast.Inspect(decl, func(node ast.Node) bool {
				switch n := node.(type) {
				case *ast.AssignStmt:
					for i, to := range n.Lhs {
						set(n, named(to), n.Rhs[min(i, len(n.Rhs)-1)])
					}
				case *ast.ValueSpec:
					for i, value := range n.Values {
						set(n, n.Names[i].Name, value)
					}
				case *ast.CompositeLit:
					if typeName(p.info.TypeOf(n)) == "statement" && len(n.Elts) > 0 && within != "query" {
						report(n, "a statement is made beside query")
					}
					fields, ok := p.info.TypeOf(n).Underlying().(*types.Struct)
					for i, value := range n.Elts {
						if pair, named := value.(*ast.KeyValueExpr); named {
							set(n, fmt.Sprint(pair.Key), pair.Value)
						} else if ok {
							set(n, fields.Field(i).Name(), value)
						}
					}
				case *ast.CallExpr:
					if p.info.Types[n.Fun].IsType() {
						if typeName(p.info.TypeOf(n)) == "fragment" && p.info.Types[n].Value == nil {
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
	of := p.info.TypeOf(e)
	if list, ok := of.(*types.Slice); ok {
		of = list.Elem()
	}
	if p.info.Types[e].Value != nil || typeName(of) == "fragment" {
		return true
	}
	switch e := ast.Unparen(e).(type) {
	case *ast.BinaryExpr:
		return p.wholeSQL(e.X) && p.wholeSQL(e.Y)
	case *ast.CallExpr:
		return p.info.Types[e.Fun].IsType() && p.wholeSQL(e.Args[0])
	}
	return named(e) == "sql"
}

func typeName(t types.Type) string {
	if t, ok := types.Unalias(t).(*types.Named); ok {
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
	for _, p := range list(t, "bytes", "cmp", "context", "crypto/hmac", "crypto/rand", "crypto/sha256", "crypto/subtle", "crypto/tls", "database/sql", "encoding/base64", "encoding/hex",
		"fmt", "math/rand", "math/rand/v2", "net/url", "reflect", "slices", "strings") {
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
			{"", `func f(clientSecret, shown string) bool { switch shown { case clientSecret: return true }; return false }`, true},
			{"", `func f(secrets []string, shown string) bool { for _, s := range secrets { if s == shown { return true } }; return false }`, true},
			{"", `func f(accessToken, shown string) bool { return shown == accessToken }`, true},
			{"", `func f(a, b struct{ Name, Secret string }) bool { return a == b }`, true},
			{"", `func ClientSecretHash(string) string { return "" }; func f(shown string) bool { return ClientSecretHash("a") == shown }`, true},
			{"", `func f(secret, shown string) bool { a := secret; b := a + "."; return b == shown }`, true},
			{"bytes", `func f(secret, shown []byte) bool { return bytes.Contains(secret, shown) && len(secret) == len(shown) }`, true},
			{"cmp", `func f(clientSecret, shown string) bool { return cmp.Compare(clientSecret, shown) == 0 }`, true},
			{"crypto/hmac crypto/sha256", `func f(k []byte, shown string) bool { m := hmac.New(sha256.New, k); return string(m.Sum(nil)) == shown }`, true},
			{"crypto/hmac crypto/sha256", `func f(k []byte, shown string) bool { m := hmac.New(sha256.New, k); s := m.Sum(nil); return string(s) == shown }`, true},
			{"crypto/sha256", `func f(shown []byte, kept [32]byte) bool { sum := sha256.Sum256(shown); return sum == kept }`, true},
			{"crypto/sha256 encoding/base64", `func f(b []byte, shown string) bool { sum := sha256.Sum256(b); return base64.RawURLEncoding.EncodeToString(sum[:]) == shown }`, true},
			{"crypto/sha256 fmt", `func f(b []byte, shown string) bool { return fmt.Sprintf("%x", sha256.Sum256(b)) == shown }`, true},
			{"encoding/hex", `func f(shown string, c struct{ SecretHash []byte }) bool { return hex.EncodeToString(c.SecretHash) == shown }`, true},
			{"strings", `func f(secret, shown string) bool { return strings.HasSuffix(secret, shown) }`, true},
			{"strings", `func f(secret, shown string) bool { return strings.Contains(secret, shown) }`, true},
			{"crypto/sha256 encoding/base64", `func f(b []byte, atHash string) bool { sum := sha256.Sum256(b); return base64.RawURLEncoding.EncodeToString(sum[:16]) == atHash }`, false},
			{"", `func f(a, b struct{ Name, Kind string }) bool { return a == b }`, false},
			{"", `type c struct{ Secret string }; func f(a c) bool { return a == c{} }`, false},
			{"", `func f(names []string, shown string) bool { for _, s := range names { if s == shown { return true } }; return false }`, false},
			{"", `func f(secret, kind string) int { switch kind { case "a": return len(secret) }; return 0 }`, false},
			{"", `func f(a, b [16]byte) bool { return a == b }`, false}, // an id
			{"encoding/hex", `func f(id []byte, shown string) bool { return hex.EncodeToString(id) == shown }`, false},
			{"strings", `func f(secret string) bool { return len(strings.TrimSpace(secret)) == 3 }`, false},
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
			{"database/sql fmt", `func f(db *sql.DB, id string) { sql := fmt.Sprintf("SELECT '%s'", id); db.Exec(sql) }`, true},
			{"database/sql", `func f(db *sql.DB, id string) { var sql = "SELECT '" + id + "'"; db.Exec(sql) }`, true},
			{"database/sql", `func f(db *sql.DB, id string) { var sql string; sql = "SELECT '" + id + "'"; db.Exec(sql) }`, true},
			{"database/sql", `func g() (string, error) { return "", nil }; func f(db *sql.DB) { sql, _ := g(); db.Exec(sql) }`, true},
			{"database/sql", `type q struct{ sql string }; func f(db *sql.DB, id string) { x := q{sql: "SELECT '" + id + "'"}; db.Exec(x.sql) }`, true},
			{"database/sql", `type q struct{ sql string }; func f(db *sql.DB, id string) { x := q{"SELECT '" + id + "'"}; db.Exec(x.sql) }`, true},
			{"database/sql", `type q struct{ sql string }; func f(db *sql.DB, id string) { var x q; x.sql = "SELECT '" + id + "'"; db.Exec(x.sql) }`, true},
			{"database/sql strings", `func f(db *sql.DB, id string) { var b strings.Builder; b.WriteString(id); sql := b.String(); db.Exec(sql) }`, true},
			{"database/sql strings", `func f(db *sql.DB, id string) { var b strings.Builder; b.WriteString(id); db.Exec(b.String()) }`, true},
			{"context", `type e interface{ ExecContext(context.Context, string, ...any) }; func f(x e, id string) { x.ExecContext(context.Background(), "SELECT " + id) }`, true},
			{"context", `type e interface{ Exec(context.Context, string, ...any) }; func f(x e, id string) { x.Exec(context.Background(), "SELECT " + id) }`, true},
			{"", `type fragment string; func f(where string) fragment { type g = fragment; return g(where) }`, true},
			{"", `type fragment string; type q struct{ sql string }; func f(part fragment) q { return q{string(part)} }`, false},
			{"", `type q struct{ sql string }; func f(sql string) q { return q{sql: sql} }`, false},
			{"database/sql", `const from = " FROM t"; func f(db *sql.DB) { sql := "SELECT 1"; sql += from; db.Exec(sql) }`, false},
			{"net/url", `func f(u *url.URL, name string) string { return u.Query().Get("q" + name) }`, false},
			{"", `type e interface{ Exec(n int) }; func f(x e, n int) { x.Exec(n + 1) }`, false},
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
	p := checked{path: path, fset: token.NewFileSet(), secrets: map[types.Object]bool{}, info: &types.Info{
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
