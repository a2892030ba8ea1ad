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
			version, err := migrate(cmd.Context(), config.Database)
			if err != nil {
				return err
			}
			return c.print(map[string]int64{"schema_version": version}, func(w io.Writer) { sheet(w, "schema_version", version) })
		}),
	}
}

// migrate returns the version of the schema that the database now has.
func migrate(ctx context.Context, url string) (int64, error) {
	db, err := store.Open(ctx, url)
	if err != nil {
		return 0, prefixed("database", err)
	}
	defer db.Close()
	if err := db.Migrate(ctx); err != nil {
		return 0, prefixed("database", err)
	}
	version, _, err := db.SchemaVersion(ctx)
	return version, prefixed("database", err)
}
