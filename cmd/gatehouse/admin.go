package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"gatehouse/admin"
	"gatehouse/store"
)

// administer runs action on the store that the configuration names.
func (c *cli) administer(action func(ctx context.Context, a *admin.Admin, args []string) error) func(*cobra.Command, []string) error {
	return c.does(func(cmd *cobra.Command, args []string) error {
		a, err := c.open(cmd)
		if err != nil {
			return err
		}
		defer a.Store.Close()
		return action(cmd.Context(), a, args)
	})
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
