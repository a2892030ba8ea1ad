//go:build linux

// Command torture looks for what a bank may never see: a token that was handed
// out and does not work, a code that worked twice, a revocation that did not
// hold.
//
// It runs replicas of Gatehouse on SQLite and on PostgreSQL servers of its own,
// drives them as TPPs and banks do, kills, stops, cuts, fills and misleads them
// and their databases, and writes down each call with what came of it: ok,
// refused, or unknown. In the end it reads the history against the rules in
// check.go. It needs Linux, PostgreSQL's programs, strace, and, to fill a disk,
// root.
//
//	go run ./e2e/torture -duration 3m
//	go run ./e2e/torture -database postgres -faults kill,cut-after-commit -seed 7
//
// The choice of faults follows from the seed. It prints what it did and exits
// with 1 when a rule is broken.
package main

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// options are the command line.
type options struct {
	databases []string
	duration  time.Duration
	count     int // of faults, in place of duration; 0: no matter how many
	seed      uint64
	replicas  int
	callers   int
	rest      time.Duration
	faults    choice
	program   string
	race      bool
	keep      bool
}

// openers are the databases that there are. Of what only some faults need they
// prepare what the chosen ones do.
func openers(chosen choice) map[string]opener {
	return map[string]opener{
		"sqlite": func(_ context.Context, dir string, _ int) (environment, error) {
			return openSQLite(dir, chosen.has(diskFull))
		},
		"postgres": func(ctx context.Context, dir string, replicas int) (environment, error) {
			return openPostgres(ctx, dir, replicas, chosen.has(diskFull))
		},
		"cluster": openCluster,
	}
}

func main() {
	o, err := parse(os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "torture:", err)
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends the program at once
	found, err := torture(ctx, o)
	if err != nil {
		fmt.Fprintln(os.Stderr, "torture:", err)
	}
	if found > 0 || err != nil {
		os.Exit(1)
	}
}

func parse(args []string) (*options, error) {
	o := &options{}
	f := flag.NewFlagSet("torture", flag.ExitOnError)
	database := f.String("database", "both", "sqlite, postgres, cluster, or both: the first two")
	f.DurationVar(&o.duration, "duration", 90*time.Second, "how long faults are injected, on each database")
	f.IntVar(&o.count, "count", 0, "end after so many faults, and a calm, instead of after a time")
	f.Uint64Var(&o.seed, "seed", 0, "seed of every choice (default a random one)")
	f.IntVar(&o.replicas, "replicas", 2, "number of gatehouse processes")
	f.IntVar(&o.callers, "callers", 16, "number of callers at once")
	f.DurationVar(&o.rest, "pause", 300*time.Millisecond, "pause of a caller between two acts, on average")
	faults := f.String("faults", "", "names of faults, comma-separated (default all there are); none for a quiet run")
	f.StringVar(&o.program, "program", "", "gatehouse binary to use (default: build one)")
	f.BoolVar(&o.race, "race", false, "build gatehouse with the race detector")
	f.BoolVar(&o.keep, "keep", false, "keep logs and databases")
	f.Parse(args)
	if f.NArg() > 0 {
		return nil, fmt.Errorf("unexpected argument %s", f.Arg(0))
	}
	if o.databases = strings.Split(*database, ","); *database == "both" {
		o.databases = []string{"sqlite", "postgres"}
	}
	for _, name := range o.databases {
		if openers(nil)[name] == nil {
			return nil, fmt.Errorf("no database is called %s", name)
		}
	}
	if *faults != "" {
		o.faults = strings.Split(*faults, ",")
	}
	if o.count > 0 {
		o.duration = time.Duration(o.count) * faultPatience
	}
	if o.replicas < 1 || o.callers < 1 || o.rest <= 0 {
		return nil, errors.New("-replicas, -callers and -pause must be positive")
	}
	for o.seed == 0 {
		var b [4]byte
		rand.Read(b[:])
		o.seed = uint64(binary.BigEndian.Uint32(b[:]))
	}
	return o, nil
}

// torture runs on each database and returns the number of findings.
func torture(ctx context.Context, o *options) (found int, err error) {
	dir, err := os.MkdirTemp("", "gatehouse-torture-")
	if err != nil {
		return 0, err
	}
	if o.keep {
		fmt.Println("files stay in", dir)
	} else {
		defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	}
	if o.program == "" {
		if o.program, err = build(ctx, dir, o.race); err != nil {
			return 0, err
		}
	}
	if o.program, err = filepath.Abs(o.program); err != nil {
		return 0, err
	}
	for _, database := range o.databases {
		home := filepath.Join(dir, database)
		if err := errors.Join(os.Chmod(dir, 0o711), os.Mkdir(home, 0o700)); err != nil {
			return found, err
		}
		n, err := runOn(ctx, o, database, home)
		found += n
		if err != nil {
			return found, fmt.Errorf("%s: %w", database, err)
		}
	}
	return found, nil
}

// build makes the program under test.
func build(ctx context.Context, dir string, race bool) (program string, err error) {
	program = filepath.Join(dir, "gatehouse")
	args := []string{"build", "-o", program}
	if race {
		args = append(args, "-race")
	}
	cmd := exec.CommandContext(ctx, "go", append(args, "gatehouse/cmd/gatehouse")...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED="+map[bool]string{false: "0", true: "1"}[race])
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, out)
	}
	return program, nil
}

// chosenFaults are those of a run.
func chosenFaults(o *options, all []fault) ([]fault, error) {
	if slices.Equal(o.faults, choice{"none"}) {
		return nil, nil
	}
	var names []string
	var chosen []fault
	for _, f := range all {
		names = append(names, f.name)
		if o.faults.has(f.name) {
			chosen = append(chosen, f)
		}
	}
	if len(chosen) == 0 {
		return nil, fmt.Errorf("none of the faults is here; there are %s", strings.Join(names, ", "))
	}
	return chosen, nil
}
