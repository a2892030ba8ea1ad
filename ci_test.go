package gatehouse_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// standInGo is a go command that installs, or runs, a tool that says something
// and ends with TOOL_EXIT. Like the real one it does not pass on that exit code
// when it runs a tool.
const standInGo = `#!/bin/sh
[ "$INSTALL_EXIT" = 0 ] || exit "$INSTALL_EXIT"
case $1 in
install) printf '#!/bin/sh\necho the tool was asked about "$@"\nexit "$TOOL_EXIT"\n' >"$GOBIN/govulncheck" && chmod +x "$GOBIN/govulncheck" ;;
run) echo the tool was asked about ./...; [ "$TOOL_EXIT" = 0 ] || exit 1 ;;
*) exit 2 ;;
esac
`

// A vulnerability that is found fails a submission. That the database could not
// be asked is said, and is a fault only to whom it is one.
func TestVulnerabilitiesFail(t *testing.T) {
	script, err := exec.LookPath(".ci/vuln")
	if err != nil {
		t.Fatal(err)
	}
	bin := t.TempDir()
	if err := os.WriteFile(filepath.Join(bin, "go"), []byte(standInGo), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		install, tool, required string
		exit                    int
		checked                 bool
	}{
		"nothing found":       {"0", "0", "", 0, true},
		"nothing found, must": {"0", "0", "1", 0, true},
		"found":               {"0", "3", "", 3, true},
		"found, must":         {"0", "3", "1", 3, true},
		"no database":         {"0", "1", "", 0, false},
		"no database, must":   {"0", "1", "1", 1, false},
		"no tool":             {"1", "0", "", 0, false},
		"no tool, must":       {"1", "0", "1", 1, false},
	} {
		t.Run(name, func(t *testing.T) {
			cmd := exec.Command(script)
			cmd.Env = append(os.Environ(), "PATH="+bin+string(os.PathListSeparator)+os.Getenv("PATH"),
				"INSTALL_EXIT="+test.install, "TOOL_EXIT="+test.tool, "VULN_REQUIRED="+test.required)
			out, err := cmd.CombinedOutput()
			if exit := new(exec.ExitError); err != nil && !errors.As(err, &exit) {
				t.Fatal(err)
			}
			if code := cmd.ProcessState.ExitCode(); code != test.exit || strings.Contains(string(out), "NOT CHECKED") == test.checked ||
				test.install == "0" != strings.Contains(string(out), "asked about ./...") {
				t.Errorf("exit code %d, want %d: %s", code, test.exit, out)
			}
		})
	}
}
