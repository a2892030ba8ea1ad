package main

import (
	"context"
	"errors"
	"io"
	"iter"
	"time"

	"github.com/spf13/cobra"

	"gatehouse"
	"gatehouse/admin"
)

func (c *cli) grantCommand() *cobra.Command {
	return group("grant", "See and end what clients were granted", c.grantList(), c.grantShow(), c.grantRevoke())
}

func (c *cli) grantList() *cobra.Command {
	var code string
	var everything bool
	var limit int
	f := gatehouse.GrantFilter{}
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List what PSUs have granted at a provider and is in force, the newest first",
		Args:  cobra.NoArgs,
		RunE: c.inspect(func(ctx context.Context, a *admin.Admin, _ []string) error {
			f.OfPSUs = !everything
			listed, err := a.Grants(ctx, code, f)
			if err != nil {
				return err
			}
			now := a.Now()
			grants, err := first(limit, listed, func(g *gatehouse.Grant) bool { return everything || g.ActiveAt(now) })
			if err != nil {
				return err
			}
			return c.print(grants, func(w io.Writer) {
				row(w, "GRANT_ID", "CLIENT_ID", "SCOPE", "STATUS", "CREATED", "ENDS", "LAST_USED")
				for _, g := range grants {
					row(w, g.ID, g.ClientID, g.Scope, grantStatus(g, now), timestamp(g.CreatedAt), timestamp(g.EndsAt()), since(g.LastUsedAt))
				}
			})
		}),
	}
	c.providerFlag(cmd, &code)
	flags := cmd.Flags()
	flags.StringVar(&f.ClientID, "client", "", "only of this client_id")
	flags.StringVar(&f.UserID, "user", "", "only of this PSU, by the bank's own identifier")
	flags.BoolVar(&everything, "all", false, "also what is over, and what clients were granted for themselves")
	flags.IntVar(&limit, "limit", 0, "at most so many (default all)")
	cmd.RegisterFlagCompletionFunc("client", c.complete(clientIDs))
	return cmd
}

func (c *cli) grantShow() *cobra.Command {
	var code string
	cmd := &cobra.Command{
		Use:   "show GRANT_ID",
		Short: "Show a grant, with the bank's identifier of the PSU",
		Args:  cobra.ExactArgs(1),
		RunE: c.inspect(func(ctx context.Context, a *admin.Admin, args []string) error {
			g, err := a.Grant(ctx, code, args[0])
			if err != nil {
				return err
			}
			return c.printGrant(g, a.Now())
		}),
	}
	c.providerFlag(cmd, &code)
	cmd.ValidArgsFunction = c.completeFirst(func(ctx context.Context, a *admin.Admin) ([]string, error) { return grantIDs(ctx, a, code) })
	return cmd
}

func (c *cli) grantRevoke() *cobra.Command {
	var code string
	var sure bool
	cmd := &cobra.Command{
		Use:   "revoke GRANT_ID",
		Short: "End a grant, its tokens and its consent",
		Args:  cobra.ExactArgs(1),
		// No completion: what cannot be undone is typed.
		RunE: c.administer(func(ctx context.Context, a *admin.Admin, args []string) error {
			if !sure {
				return errors.New("nothing was revoked: say --yes")
			}
			g, err := a.RevokeGrant(ctx, code, args[0])
			if err != nil {
				return err
			}
			return c.printGrant(g, a.Now())
		}),
	}
	c.providerFlag(cmd, &code)
	cmd.Flags().BoolVar(&sure, "yes", false, "this cannot be undone")
	return cmd
}

// printGrant shows the bank's identifier of the PSU, too, which lists do not.
func (c *cli) printGrant(g *gatehouse.Grant, now time.Time) error {
	shown := struct {
		*gatehouse.Grant
		UserID string `json:"user_id,omitempty"`
	}{g, g.UserID}
	return c.print(shown, func(w io.Writer) {
		sheet(w,
			"grant_id", g.ID,
			"provider_code", g.Provider,
			"client_id", g.ClientID,
			"status", grantStatus(g, now),
			"user_id", g.UserID,
			"sub", g.Subject,
			"scope", g.Scope,
			"openbanking_intent_id", g.IntentID,
			"accounts", string(g.Accounts),
			"debtor_account", string(g.DebtorAccount),
			"auth_time", since(g.AuthTime),
			"acr", g.ACR,
			"created_at", timestamp(g.CreatedAt),
			"expires_at", timestamp(g.ExpiresAt),
			"authentication_expires_at", since(g.AuthenticationExpiresAt),
			"last_used_at", since(g.LastUsedAt),
			"revoked_at", since(g.RevokedAt),
			"revoked_by", g.RevokedBy,
		)
	})
}

// grantStatus says in a word whether a grant is in force, and if not, why.
func grantStatus(g *gatehouse.Grant, now time.Time) string {
	switch {
	case !g.RevokedAt.IsZero():
		return "revoked"
	case !now.Before(g.ExpiresAt):
		return "expired"
	case !g.AuthenticatedAt(now):
		return "reauthenticate"
	}
	return "active"
}

// offered is how many ids a completion offers.
const offered = 50

func grantIDs(ctx context.Context, a *admin.Admin, code string) ([]string, error) {
	listed, err := a.Grants(ctx, code, gatehouse.GrantFilter{OfPSUs: true})
	if err != nil {
		return nil, err
	}
	grants, err := first(offered, listed, func(*gatehouse.Grant) bool { return true })
	var ids []string
	for _, g := range grants {
		ids = append(ids, cobra.CompletionWithDesc(g.ID, g.ClientID))
	}
	return ids, err
}

// providerFlag adds the flag of commands that are about one provider.
func (c *cli) providerFlag(cmd *cobra.Command, code *string) {
	cmd.Flags().StringVar(code, "provider", "", "provider_code")
	cmd.MarkFlagRequired("provider")
	cmd.RegisterFlagCompletionFunc("provider", c.complete(providerCodes))
}

// first reads the first limit rows of a listing that are wanted; 0 is no limit.
func first[T any](limit int, listed iter.Seq2[T, error], wanted func(T) bool) ([]T, error) {
	rows := []T{}
	for row, err := range listed {
		if err != nil {
			return nil, err
		}
		if wanted(row) {
			rows = append(rows, row)
		}
		if len(rows) == limit && limit > 0 {
			break
		}
	}
	return rows, nil
}
