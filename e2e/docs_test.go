package e2e_test

import (
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

var shBlock = regexp.MustCompile("(?ms)^```sh\n(.*?)^```")

// Every command in an sh block of README.md and docs/ is run here, a document
// at a time, in bash, with the program in PATH. README's run beside a demo.
func TestDocs(t *testing.T) {
	documents, err := filepath.Glob("../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	ran := 0
	for _, document := range append(documents, "../README.md") {
		text, err := os.ReadFile(document)
		if err != nil {
			t.Fatal(err)
		}
		var script strings.Builder
		for _, block := range shBlock.FindAllStringSubmatch(string(text), -1) {
			script.WriteString(block[1])
		}
		if script.Len() == 0 {
			continue
		}
		ran++
		t.Run(filepath.Base(document), func(t *testing.T) { runCommands(t, script.String()) })
	}
	if ran < 2 {
		t.Errorf("only %d documents have commands", ran)
	}
}

func runCommands(t *testing.T, script string) {
	d := demos(t)["http"]
	dir := t.TempDir()
	if err := os.Symlink(d.dir, filepath.Join(dir, "demo")); err != nil {
		t.Fatal(err)
	}
	// The documents name fixed ports; here they are whatever is free.
	script = strings.NewReplacer(
		"http://127.0.0.1:8080", d.BaseURL,
		"127.0.0.1:8480", freeAddress(t),
		"127.0.0.1:8481", freeAddress(t),
	).Replace(script)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	// What the script leaves running ends with it.
	bash := exec.CommandContext(ctx, "bash", "-c", "set -euo pipefail\ntrap 'kill $(jobs -p) 2>/dev/null || true; wait' EXIT\n"+script)
	bash.Dir = dir
	bash.Env = append(os.Environ(), "PATH="+filepath.Join(d.dir, "..")+":"+os.Getenv("PATH"))
	bash.WaitDelay = 5 * time.Second
	if out, err := bash.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

func freeAddress(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}
