// Command tally runs go test and adds up how many bad inputs the tests say
// they tried.
//
// Its arguments are those of go test. It prints what go test prints, and at the
// end "bad inputs tried: N": the sum of what tests said by
// t.Attr("bad_inputs", "17"), which is how many inputs they had to see refused,
// and did. It ends as go test ended.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
)

func main() {
	cmd := exec.Command("go", append([]string{"test", "-json"}, os.Args[1:]...)...)
	cmd.Stderr = os.Stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		fail(err)
	}
	if err := cmd.Start(); err != nil {
		fail(err)
	}
	total, err := report(stdout, os.Stdout)
	if err := errors.Join(err, cmd.Wait()); err != nil {
		fail(err)
	}
	fmt.Printf("bad inputs tried: %d\n", total)
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "tally:", err)
	os.Exit(1)
}

// An event is a line of go test -json; go doc test2json explains it.
type event struct {
	Action, Package, Test, Output, Key, Value string
}

// report prints what a person wants to read of a test run: a line for each
// package, and all of what failed. It returns the sum of bad_inputs.
func report(events io.Reader, w io.Writer) (total int, err error) {
	said := map[string]*strings.Builder{} // by tests that have not passed, and by packages
	lines := bufio.NewReader(events)
	for {
		line, err := lines.ReadBytes('\n')
		if len(line) == 0 && err == io.EOF {
			return total, nil
		}
		var e event
		if err := json.Unmarshal(line, &e); err != nil {
			return total, fmt.Errorf("%q is no event: %w", line, err)
		}
		name := e.Package + "\x00" + e.Test
		switch e.Action {
		case "build-output":
			io.WriteString(w, e.Output)
		case "output":
			if e.Test == "" && isSummary(e.Output) {
				io.WriteString(w, e.Output)
				continue
			}
			if said[name] == nil {
				said[name] = new(strings.Builder)
			}
			said[name].WriteString(e.Output)
		case "attr":
			if e.Key != "bad_inputs" {
				continue
			}
			n, err := strconv.Atoi(e.Value)
			if err != nil {
				return total, fmt.Errorf("%s says bad_inputs %q", e.Test, e.Value)
			}
			total += n
		case "pass", "skip":
			// The report of a race may stand below a test that passed.
			if text := said[name]; text != nil && !strings.Contains(text.String(), "WARNING: DATA RACE") {
				delete(said, name)
			}
		case "fail":
			// A package fails last, and with it what was running when it died.
			for other, text := range said {
				if other == name || e.Test == "" && strings.HasPrefix(other, name) {
					io.WriteString(w, text.String())
					delete(said, other)
				}
			}
		}
	}
}

// isSummary reports whether go test prints the line for a package whatever
// becomes of it.
func isSummary(line string) bool {
	return strings.HasPrefix(line, "ok  \t") || strings.HasPrefix(line, "FAIL\t") || strings.HasPrefix(line, "?   \t")
}
