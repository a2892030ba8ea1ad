package main

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"os/user"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"gatehouse"
	"gatehouse/admin"
	"gatehouse/store"
)

type action func(ctx context.Context, a *admin.Admin, args []string) error

// inspect runs an action that only reads, on the store that the configuration
// names.
func (c *cli) inspect(look action) func(*cobra.Command, []string) error {
	return c.does(func(cmd *cobra.Command, args []string) error {
		a, err := c.open(cmd)
		if err != nil {
			return err
		}
		defer a.Store.Close()
		return look(cmd.Context(), a, args)
	})
}

// administer runs an action that writes, in the name of whoever runs this
// program, and seals the events of it: no server need be running.
func (c *cli) administer(change action) func(*cobra.Command, []string) error {
	return c.inspect(func(ctx context.Context, a *admin.Admin, args []string) error {
		ctx = byOperator(ctx)
		if err := change(ctx, a, args); err != nil {
			return err
		}
		if _, err := a.SealEvents(ctx); err != nil { // what was done is done, and the next to seal will
			fmt.Fprintln(c.stderr, "gatehouse: done, but not sealed in the audit log yet:", oneLine(err))
		}
		return nil
	})
}

// byOperator says that an operator decides what is done with the context.
func byOperator(ctx context.Context) context.Context {
	return gatehouse.WithOrigin(ctx, gatehouse.Origin{Actor: gatehouse.ActorOperator, Name: operator()})
}

// operator is the name of the user that the operating system knows.
func operator() string {
	if u, err := user.Current(); err == nil {
		return u.Username
	}
	return cmp.Or(os.Getenv("LOGNAME"), os.Getenv("USER"), "uid "+strconv.Itoa(os.Getuid()))
}

func (c *cli) open(cmd *cobra.Command) (*admin.Admin, error) {
	config, err := c.config(cmd)
	if err != nil {
		return nil, err
	}
	kek, err := config.kek()
	if err != nil {
		return nil, err
	}
	db, err := openStore(cmd.Context(), config.Database)
	if err != nil {
		return nil, err
	}
	return &admin.Admin{Store: db, KEK: kek, Now: time.Now}, nil
}

// openStore opens a database that has the schema of this program.
func openStore(ctx context.Context, url string) (*store.DB, error) {
	db, err := store.Open(ctx, url)
	if err != nil {
		return nil, prefixed("database", err)
	}
	if err := db.Ping(ctx); err != nil {
		db.Close()
		return nil, prefixed("database", err)
	}
	return db, nil
}

type listing func(ctx context.Context, a *admin.Admin) ([]string, error)

// completeFirst completes the first argument of a command, and no other.
func (c *cli) completeFirst(names listing) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return c.complete(names)(cmd, args, typed)
	}
}

// complete offers what names lists; without a configuration, nothing.
func (c *cli) complete(names listing) cobra.CompletionFunc {
	return func(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
		a, err := c.open(cmd)
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		defer a.Store.Close()
		found, err := names(cmd.Context(), a)
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return found, cobra.ShellCompDirectiveNoFileComp
	}
}
