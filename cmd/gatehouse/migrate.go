package main

import (
	"context"
	"io"

	"github.com/spf13/cobra"

	"gatehouse/store"
)

func (c *cli) migrateCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "migrate",
		Short: "Bring the database to the schema of this program",
		Args:  cobra.NoArgs,
		RunE: c.does(func(cmd *cobra.Command, _ []string) error {
			config, err := c.config(cmd)
			if err != nil {
				return err
			}
			did, err := migrate(cmd.Context(), config.Database)
			if err != nil {
				return err
			}
			return c.print(did, func(w io.Writer) {
				sheet(w, "schema_version", did.SchemaVersion, "previous_version", did.PreviousVersion)
			})
		}),
	}
}

// A migration is what migrate did. The versions are equal when there was
// nothing to do; a database that was empty had version 0.
type migration struct {
	SchemaVersion   int64 `json:"schema_version"`
	PreviousVersion int64 `json:"previous_version"`
}

func migrate(ctx context.Context, url string) (*migration, error) {
	db, err := store.Open(ctx, url)
	if err != nil {
		return nil, prefixed("database", err)
	}
	defer db.Close()
	before, _, err := db.SchemaVersion(ctx)
	if err != nil {
		return nil, prefixed("database", err)
	}
	if err := db.Migrate(ctx); err != nil {
		return nil, prefixed("database", err)
	}
	after, _, err := db.SchemaVersion(ctx)
	if err != nil {
		return nil, prefixed("database", err)
	}
	return &migration{SchemaVersion: after, PreviousVersion: before}, nil
}
