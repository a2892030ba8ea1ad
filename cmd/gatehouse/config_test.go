package main

import (
	"errors"
	"flag"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"go.yaml.in/yaml/v3"
)

var update = flag.Bool("update", false, "rewrite gatehouse.example.yaml from config.go")

// The example has every key of config with its default, below the comment that
// the field has in config.go, and its meaning is that of no file at all.
func TestExampleConfig(t *testing.T) {
	source, err := parser.ParseFile(token.NewFileSet(), "config.go", nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	annotate(t, &b, source, reflect.ValueOf(*defaultConfig()), "")
	if *update {
		if err := os.WriteFile("gatehouse.example.yaml", []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
		return // the program has the old one embedded
	}
	if diff := cmp.Diff(b.String(), exampleConfig); diff != "" {
		t.Errorf("run go test ./cmd/gatehouse -run TestExampleConfig -update (-config.go +gatehouse.example.yaml):\n%s", diff)
	}
	got := new(config)
	if err := got.parse([]byte(exampleConfig)); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(defaultConfig(), got, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("the example is not the default (-default +example):\n%s", diff)
	}
}

// annotate writes the fields of v as YAML below their comments, and below a list
// what a member has.
func annotate(t *testing.T, b *strings.Builder, source *ast.File, v reflect.Value, indent string) {
	declared := source.Scope.Lookup(v.Type().Name()).Decl.(*ast.TypeSpec).Type.(*ast.StructType)
	for i, field := range declared.Fields.List {
		key, value := v.Type().Field(i).Tag.Get("yaml"), v.Field(i)
		if field.Doc == nil && value.Kind() != reflect.Struct {
			t.Errorf("%s has no comment", key)
		}
		if i > 0 && indent == "" {
			b.WriteString("\n")
		}
		for line := range strings.Lines(field.Doc.Text()) {
			b.WriteString(indent + "# " + line)
		}
		b.WriteString(indent + key + ":")
		if value.Kind() == reflect.Struct {
			b.WriteString("\n")
			annotate(t, b, source, value, indent+"  ")
			continue
		}
		text, err := yaml.Marshal(value.Interface())
		if err != nil {
			t.Fatal(err)
		}
		b.WriteString(" " + string(text))
		if isList(value) {
			annotateMember(t, b, source, value)
		}
	}
}

// annotateMember writes an empty member of a list, commented out.
func annotateMember(t *testing.T, b *strings.Builder, source *ast.File, list reflect.Value) {
	var member strings.Builder
	annotate(t, &member, source, reflect.New(list.Type().Elem()).Elem(), "    ")
	bullet := "  - "
	for line := range strings.Lines(member.String()) {
		b.WriteString("#" + bullet + line[len(bullet):])
		bullet = "    "
	}
}

// Each row changes one setting of a valid configuration.
// Proves: O7
func TestConfigFaults(t *testing.T) {
	for _, test := range []struct{ setting, want string }{ // several settings have a blank between them
		{"BASE_URL=", "config: base_url is missing"},
		{"BASE_URL=gatehouse.example", "config: base_url must be an origin"},
		{"BASE_URL=ftp://gatehouse.example", "config: base_url must be an origin"},
		{"BASE_URL=https://gatehouse.example/path", "config: base_url must be an origin"},
		{"BASE_URL=https://gatehouse.example?a=b", "config: base_url must be an origin"},
		{"BASE_URL=https://gatehouse.example#a", "config: base_url must be an origin"},
		{"BASE_URL=https://user:hunter2@gatehouse.example", "config: base_url must be an origin"},
		{"BASE_URL=https://gatehouse.example/", "config: base_url must not end with a slash"},
		{"BASE_URL=http://gatehouse.example", "config: base_url must be https"},
		{"BASE_URL=http://127.0.0.1:8080 TLS_CERT_FILE=cert.pem TLS_KEY_FILE=key.pem", "config: base_url must be https where tls is set"},
		{"MODE=test", "config: mode must be production or development"},
		{"ALLOW_PLAIN_HTTP=true", "config: allow_plain_http is unsafe and refused in mode production"},
		{"ALLOW_PLAIN_HTTP=perhaps", "GATEHOUSE_ALLOW_PLAIN_HTTP is not of type bool"},
		{"LISTEN=8080", "config: listen must be host:port"},
		{"LISTEN=:8080", "config: listen is not a loopback address"},
		{"LISTEN=192.0.2.1:8080", "config: listen is not a loopback address"},
		{"TLS_CERT_FILE=cert.pem", "config: tls.cert_file and tls.key_file must be set together"},
		{"TLS_KEY_FILE=key.pem", "config: tls.cert_file and tls.key_file must be set together"},
		{"CONNECTOR_TLS_CERT_FILE=cert.pem", "config: connector_tls.cert_file and connector_tls.key_file must be set together"},
		{"CONNECTOR_TLS_KEY_FILE=key.pem", "config: connector_tls.cert_file and connector_tls.key_file must be set together"},
		{"ADMIN_LISTEN=8081", "config: admin_listen must be host:port"},
		{"ADMIN_LISTEN=0.0.0.0:8081", "config: admin_listen is not a loopback address"},
		{"DATABASE=mysql://user:hunter2@db/gatehouse", "config: database must begin with sqlite: or postgres://"},
		{"LOG_LEVEL=loud", "config: log.level must be debug, info, warn or error"},
		{"LOG_FORMAT=xml", "config: log.format must be json or text"},
		{"TIMEOUTS_READ_HEADER=0s", "config: timeouts.read_header must be 1ms to 1h"},
		{"TIMEOUTS_READ=-1s", "config: timeouts.read must be 1ms to 1h"},
		{"TIMEOUTS_WRITE=2h", "config: timeouts.write must be 1ms to 1h"},
		{"TIMEOUTS_IDLE=1000", "GATEHOUSE_TIMEOUTS_IDLE is not of type duration"},
		{"TIMEOUTS_IDLE=-1s", "config: timeouts.idle must be 1ms to 1h"},
		{"TIMEOUTS_IDLE=61m", "config: timeouts.idle must be 1ms to 1h"},
		{"TIMEOUTS_SHUTDOWN=1ns", "config: timeouts.shutdown must be 1ms to 1h"},
		{"LIMITS_HEADER_BYTES=100", "config: limits.header_bytes must be 8192 to 1048576"},
		{"LIMITS_HEADER_BYTES=many", "GATEHOUSE_LIMITS_HEADER_BYTES is not of type int"},
		{"LIMITS_CLIENT_BURST=0", "config: limits.client: per_second and burst must both be 0, or both be more"},
		{"LIMITS_PROVIDER_PER_SECOND=-1", "config: limits.provider: per_second and burst"},
		{"LIMITS_AUTHORIZE_ADDRESS_PER_SECOND=.inf", "config: limits.authorize_address: per_second and burst"},
		{"LIMITS_AUTHORIZE_CLIENT_PER_SECOND=.nan", "config: limits.authorize_client: per_second and burst"},
		{"LIMITS_WRONG_SECRETS_BURST=1000001", "config: limits.wrong_secrets: per_second and burst"},
		{"KEY_ENCRYPTION_KEY=", "config: key_encryption_key_file is missing"},
		{"KEY_ENCRYPTION_KEY=hunter2", "GATEHOUSE_KEY_ENCRYPTION_KEY: "},
	} {
		t.Run(test.setting, func(t *testing.T) {
			valid := []string{"BASE_URL=https://gatehouse.example", "KEY_ENCRYPTION_KEY=" + kekText('k')}
			cmd := command(append(valid, strings.Fields(test.setting)...), "config", "validate")
			cmd.Dir = t.TempDir()
			output, err := cmd.CombinedOutput()
			if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.ExitCode() != exitFailure {
				t.Errorf("exit: %v, want %d", err, exitFailure)
			}
			if text := string(output); !strings.HasPrefix(text, "gatehouse: "+test.want) || strings.Count(text, "\n") != 1 || strings.Contains(text, "hunter2") {
				t.Errorf("output %q, want one line %q", text, "gatehouse: "+test.want)
			}
		})
	}
}

// What production refuses for want of a second setting is valid with it.
// Proves: O7
func TestConfigSwitches(t *testing.T) {
	for _, settings := range [][]string{
		{"BASE_URL=http://127.0.0.1:8080"},
		{"LISTEN=0.0.0.0:8080", "BEHIND_PROXY=true"},
		{"ADMIN_LISTEN=0.0.0.0:8081", "ADMIN_REMOTE=true"},
		{"TIMEOUTS_IDLE=0s", "TIMEOUTS_DRAIN=0s"},
		{"MODE=development", "ALLOW_PLAIN_HTTP=true", "BASE_URL=http://gatehouse.example", "LISTEN=0.0.0.0:8080"},
	} {
		valid := []string{"BASE_URL=https://gatehouse.example", "KEY_ENCRYPTION_KEY=" + kekText('k')}
		succeed(t, append(valid, settings...), "config", "validate")
	}
	p := start(t, settings(t, sqliteURL(t), "MODE=development"), "serve")
	if line := p.await(p.log, "MODE IS DEVELOPMENT"); !strings.Contains(line, `"level":"WARN"`) {
		t.Errorf("no warning: %s", line)
	}
}

// Who has a proxy in front and does not say where is warned: limits by address
// then hold for all customers together.
func TestProxyWarning(t *testing.T) {
	for _, test := range []struct {
		config string
		want   bool
	}{
		{"behind_proxy: true", true},
		{"behind_proxy: true\ntrusted_proxies: [127.0.0.1]", false},
		{"behind_proxy: false", false},
	} {
		cmd := command(settings(t, sqliteURL(t)), "serve")
		cmd.Dir = t.TempDir()
		write(t, filepath.Join(cmd.Dir, "gatehouse.yaml"), []byte(test.config))
		p := startCommand(t, cmd)
		p.ready()
		p.signal(syscall.SIGTERM)
		warned := false
		for line := range p.log { // to its end
			warned = warned || strings.Contains(line, `"level":"WARN"`) && strings.Contains(line, "trusted_proxies")
		}
		if warned != test.want {
			t.Errorf("%q: a warning %t, want %t", test.config, warned, test.want)
		}
	}
}
