// Command gatehouse runs an OpenID Connect and OAuth 2.0 authorization server
// for open banking, and administers it.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

func main() { os.Exit(run()) }

// Exit codes.
const (
	exitFailure = 1
	exitUsage   = 2
)

// run executes the command line and returns the exit code.
func run() int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	c := &cli{stdout: os.Stdout, stderr: os.Stderr}
	err := c.root().ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	fmt.Fprintln(c.stderr, "gatehouse:", oneLine(err))
	if c.started {
		return exitFailure
	}
	return exitUsage
}

func oneLine(err error) string {
	return strings.Join(strings.FieldsFunc(err.Error(), func(r rune) bool { return r == '\n' || r == '\r' }), ": ")
}

// A cli is one command line.
type cli struct {
	stdout, stderr io.Writer
	configFile     string
	output         string
	// started is set when a command runs: an error before is one of usage.
	started bool
}

func (c *cli) root() *cobra.Command {
	root := &cobra.Command{
		Use:                "gatehouse",
		Short:              "OpenID Connect and OAuth 2.0 authorization server for open banking",
		SilenceErrors:      true,
		SilenceUsage:       true,
		DisableSuggestions: true, // they take several lines
	}
	root.SetOut(c.stdout)
	root.SetErr(c.stderr)
	root.PersistentFlags().StringVarP(&c.configFile, "config", "c", defaultConfigFile, "configuration file")
	c.output = "text"
	oneOf(root.PersistentFlags(), root, &c.output, "output", "text for people, json for programs", "text", "json")
	root.AddCommand(
		c.serveCommand(), c.demoCommand(), c.tppCommand(), c.migrateCommand(), c.backupCommand(), c.restoreCommand(), c.restoreEpochCommand(), c.verifyCommand(),
		c.providerCommand(), c.clientCommand(), c.resourceServerCommand(), c.keyCommand(),
		c.grantCommand(), c.consentCommand(), c.auditCommand(),
		c.configCommand(), c.versionCommand(),
	)
	return root
}

const defaultConfigFile = "gatehouse.yaml"

// config reads the configuration; a file is needed only if one was named.
func (c *cli) config(cmd *cobra.Command) (*config, error) {
	return readConfig(c.configFile, cmd.Flags().Changed("config"))
}

// does makes the RunE of a command.
func (c *cli) does(action func(cmd *cobra.Command, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		c.started = true
		return action(cmd, args)
	}
}

// group makes a command that only holds others.
func group(name, short string, commands ...*cobra.Command) *cobra.Command {
	var names []string
	for _, sub := range commands {
		names = append(names, sub.Name())
	}
	cmd := &cobra.Command{
		Use:   name,
		Short: short,
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			return errors.New(name + " needs a command: " + strings.Join(names, ", "))
		},
	}
	cmd.AddCommand(commands...)
	return cmd
}

// oneOf adds a flag that takes one of a few words.
func oneOf[T ~string](flags *pflag.FlagSet, cmd *cobra.Command, value *T, name, usage string, words ...T) {
	flags.Var(choice[T]{value, words}, name, usage)
	var texts []string
	for _, word := range words {
		texts = append(texts, string(word))
	}
	cmd.RegisterFlagCompletionFunc(name, cobra.FixedCompletions(texts, cobra.ShellCompDirectiveNoFileComp))
}

type choice[T ~string] struct {
	value *T
	words []T
}

func (c choice[T]) String() string { return string(*c.value) }
func (c choice[T]) Type() string   { return "string" }

func (c choice[T]) Set(text string) error {
	if !slices.Contains(c.words, T(text)) {
		return fmt.Errorf("must be one of %v", c.words)
	}
	*c.value = T(text)
	return nil
}
