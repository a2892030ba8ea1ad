package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"gatehouse/store"
)

func (c *cli) backupCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "backup FILE",
		Short: "Copy an SQLite database while it is in use",
		Args:  cobra.ExactArgs(1),
		RunE: c.does(func(cmd *cobra.Command, args []string) error {
			config, err := c.config(cmd)
			if err != nil {
				return err
			}
			taken := time.Now().UTC().Truncate(time.Millisecond)
			if err := store.Backup(cmd.Context(), config.Database, args[0], taken); err != nil {
				return prefixed("backup", err)
			}
			info, err := os.Stat(args[0])
			if err != nil {
				return prefixed("backup", err)
			}
			made := struct {
				File    string    `json:"file"`
				TakenAt time.Time `json:"taken_at"`
				Bytes   int64     `json:"bytes"`
			}{args[0], taken, info.Size()}
			return c.print(made, func(w io.Writer) {
				sheet(w, "file", made.File, "taken_at", timestamp(made.TakenAt), "bytes", made.Bytes)
			})
		}),
	}
}

func (c *cli) restoreCommand() *cobra.Command {
	o := store.RestoreOptions{Revoke: store.RevokeNone, Now: time.Now}
	cmd := &cobra.Command{
		Use:   "restore FILE",
		Short: "Make the SQLite database what a backup says",
		Args:  cobra.ExactArgs(1),
		RunE: c.does(func(cmd *cobra.Command, args []string) error {
			config, err := c.config(cmd)
			if err != nil {
				return err
			}
			if o.KEK, err = config.kek(); err != nil {
				return err
			}
			report, faults, err := store.Restore(byOperator(cmd.Context()), config.Database, args[0], o)
			if err != nil {
				return prefixed("restore", err)
			}
			result := struct {
				*store.Restored
				Faults []store.Fault `json:"faults,omitempty"`
			}{report, faults}
			err = c.print(result, func(w io.Writer) {
				faultTable(w, faults)
				restoredSheet(w, report)
			})
			if err == nil && report == nil {
				err = errors.New("restore: the backup has faults: nothing was restored")
			}
			return err
		}),
	}
	cmd.Flags().BoolVar(&o.Replace, "force", false, "replace a database that exists")
	cmd.Flags().BoolVar(&o.AcceptFaults, "accept-faults", false, "restore a backup that contradicts itself")
	revokeFlag(cmd, &o.Revoke)
	return cmd
}

func (c *cli) restoreEpochCommand() *cobra.Command {
	revoke := store.RevokeNone
	cmd := &cobra.Command{
		Use:   "restore-epoch",
		Short: "Make a database that was restored by other means safe to serve from",
		Args:  cobra.NoArgs,
		RunE: c.does(func(cmd *cobra.Command, _ []string) error {
			config, err := c.config(cmd)
			if err != nil {
				return err
			}
			db, err := openStore(cmd.Context(), config.Database)
			if err != nil {
				return err
			}
			defer db.Close()
			report, err := db.RestoreEpoch(byOperator(cmd.Context()), revoke, time.Now())
			if err != nil {
				return err
			}
			return c.print(report, func(w io.Writer) { restoredSheet(w, report) })
		}),
	}
	revokeFlag(cmd, &revoke)
	return cmd
}

func revokeFlag(cmd *cobra.Command, value *store.RevokeGrants) {
	oneOf(cmd.Flags(), cmd, value, "revoke-grants", "grants to end: none, those of providers that rotate refresh tokens, or all",
		store.RevokeNone, store.RevokeRotating, store.RevokeAll)
}

// restoredSheet says what is lost and what is left to do.
func restoredSheet(w io.Writer, r *store.Restored) {
	if r == nil {
		return
	}
	sheet(w,
		"restored_at", timestamp(r.RestoredAt),
		"backup_at", since(r.BackupAt),
		"last_write_at", since(r.LastWriteAt),
		"assertions_from", timestamp(r.AssertionsFrom))
	row(w, "authorizations_voided", r.AuthorizationsVoided)
	row(w, "grants_ended", r.GrantsEnded)
	row(w, "grants_in_force", r.GrantsInForce)
	row(w, "clients", r.Clients)
	row(w, "providers", r.Providers)
	for _, p := range r.Rotating {
		row(w, "rotates_refresh_tokens", fmt.Sprintf("%s, %d grants in force", p.Code, p.GrantsInForce))
	}
	lost := "The database is empty."
	switch {
	case !r.BackupAt.IsZero():
		lost = fmt.Sprintf("What was written from %s to %s is lost.", timestamp(r.BackupAt), timestamp(r.RestoredAt))
	case !r.LastWriteAt.IsZero():
		lost = fmt.Sprintf("If anything is lost, it was written after %s, the latest time in the data.", timestamp(r.LastWriteAt))
	}
	for _, line := range []string{
		"",
		lost,
		"Codes from before are dead; assertions issued before assertions_from are refused.",
		"To do:",
		"- TPPs that registered in that time register again; updates and deletions of clients are made again.",
		"- Providers added, changed or deleted in that time are added, changed or deleted again.",
		"- Grants revoked in that time are in force again: revoke them again, or all: gatehouse restore-epoch --revoke-grants all",
	} {
		fmt.Fprintln(w, line)
	}
	if len(r.Rotating) > 0 {
		fmt.Fprintln(w, "- Refresh tokens rotated in that time are good again, their successors unknown. To end these grants: gatehouse restore-epoch --revoke-grants rotating")
	}
}

// since is a time that may be unknown.
func since(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return timestamp(t)
}

func (c *cli) verifyCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "verify",
		Short: "Read the whole database and list what contradicts itself",
		Args:  cobra.NoArgs,
		RunE: c.does(func(cmd *cobra.Command, _ []string) error {
			config, err := c.config(cmd)
			if err != nil {
				return err
			}
			kek, err := config.kek()
			if err != nil {
				return err
			}
			db, err := store.Open(cmd.Context(), config.Database)
			if err != nil {
				return prefixed("database", err)
			}
			defer db.Close()
			faults, err := db.Verify(cmd.Context(), kek, time.Now())
			if err != nil {
				return prefixed("database", err)
			}
			found := struct {
				Faults []store.Fault `json:"faults"`
			}{append([]store.Fault{}, faults...)}
			if err := c.print(found, func(w io.Writer) { faultTable(w, faults) }); err != nil {
				return err
			}
			if len(faults) > 0 {
				return errors.New("the database has faults")
			}
			return nil
		}),
	}
}

func faultTable(w io.Writer, faults []store.Fault) {
	if len(faults) == 0 {
		row(w, "no faults")
		return
	}
	row(w, "FAULT", "ROWS", "FIRST")
	for _, f := range faults {
		row(w, f.Check, f.Rows, f.First)
	}
}
