package main

import (
	"context"
	"errors"
	"io"

	"github.com/spf13/cobra"

	"gatehouse"
	"gatehouse/admin"
)

func (c *cli) consentCommand() *cobra.Command {
	return group("consent", "See and revoke the consents that TPPs have lodged", c.consentList(), c.consentShow(), c.consentRevoke())
}

func (c *cli) consentList() *cobra.Command {
	var code string
	var limit int
	f := gatehouse.ConsentFilter{}
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the consents at a provider, the newest first",
		Args:  cobra.NoArgs,
		RunE: c.inspect(func(ctx context.Context, a *admin.Admin, _ []string) error {
			listed, err := a.Consents(ctx, code, f)
			if err != nil {
				return err
			}
			consents, err := first(limit, listed, func(*gatehouse.Consent) bool { return true })
			if err != nil {
				return err
			}
			return c.print(consents, func(w io.Writer) {
				row(w, "CONSENT_ID", "KIND", "CLIENT_ID", "STATUS", "CREATED", "EXPIRES")
				for _, consent := range consents {
					row(w, consent.ID, consent.Kind, consent.ClientID, consent.Status, timestamp(consent.CreatedAt), since(consent.ExpiresAt))
				}
			})
		}),
	}
	c.providerFlag(cmd, &code)
	flags := cmd.Flags()
	flags.StringVar(&f.ClientID, "client", "", "only of this client_id")
	flags.StringVar(&f.UserID, "user", "", "only of this PSU, by the bank's own identifier")
	oneOf(flags, cmd, &f.Status, "status", "only of this status: AwaitingAuthorisation, Authorised, Rejected, Revoked or Consumed",
		gatehouse.ConsentAwaitingAuthorisation, gatehouse.ConsentAuthorised, gatehouse.ConsentRejected, gatehouse.ConsentRevoked, gatehouse.ConsentConsumed)
	flags.IntVar(&limit, "limit", 0, "at most so many (default all)")
	cmd.RegisterFlagCompletionFunc("client", c.complete(clientIDs))
	return cmd
}

func (c *cli) consentShow() *cobra.Command {
	var code string
	cmd := &cobra.Command{
		Use:   "show CONSENT_ID",
		Short: "Show a consent, with the bank's identifier of the PSU",
		Args:  cobra.ExactArgs(1),
		RunE: c.inspect(func(ctx context.Context, a *admin.Admin, args []string) error {
			consent, err := a.Consent(ctx, code, args[0])
			if err != nil {
				return err
			}
			return c.printConsent(consent)
		}),
	}
	c.providerFlag(cmd, &code)
	cmd.ValidArgsFunction = c.completeFirst(func(ctx context.Context, a *admin.Admin) ([]string, error) { return consentIDs(ctx, a, code) })
	return cmd
}

func (c *cli) consentRevoke() *cobra.Command {
	var code string
	var sure bool
	cmd := &cobra.Command{
		Use:   "revoke CONSENT_ID",
		Short: "Revoke a consent, end its grant and tokens, and tell the bank",
		Args:  cobra.ExactArgs(1),
		// No completion: what cannot be undone is typed.
		RunE: c.administer(func(ctx context.Context, a *admin.Admin, args []string) error {
			if !sure {
				return errors.New("nothing was revoked: say --yes")
			}
			consent, err := a.RevokeConsent(ctx, code, args[0])
			if err != nil {
				return err
			}
			return c.printConsent(consent)
		}),
	}
	c.providerFlag(cmd, &code)
	cmd.Flags().BoolVar(&sure, "yes", false, "this cannot be undone")
	return cmd
}

// printConsent shows the bank's identifier of the PSU, too, which lists do not.
func (c *cli) printConsent(consent *gatehouse.Consent) error {
	shown := struct {
		*gatehouse.Consent
		UserID string `json:"user_id,omitempty"`
	}{consent, consent.UserID}
	return c.print(shown, func(w io.Writer) {
		sheet(w,
			"consent_id", consent.ID,
			"provider_code", consent.Provider,
			"client_id", consent.ClientID,
			"kind", consent.Kind,
			"status", consent.Status,
			"user_id", consent.UserID,
			"grant_id", consent.GrantID,
			"permissions", consent.Permissions(),
			"expires_at", since(consent.ExpiresAt),
			"created_at", timestamp(consent.CreatedAt),
			"status_updated_at", timestamp(consent.StatusUpdatedAt),
			"lodged", string(consent.Lodged),
		)
	})
}

func consentIDs(ctx context.Context, a *admin.Admin, code string) ([]string, error) {
	listed, err := a.Consents(ctx, code, gatehouse.ConsentFilter{})
	if err != nil {
		return nil, err
	}
	consents, err := first(offered, listed, func(*gatehouse.Consent) bool { return true })
	var ids []string
	for _, consent := range consents {
		ids = append(ids, cobra.CompletionWithDesc(consent.ID, string(consent.Kind)+" of "+consent.ClientID))
	}
	return ids, err
}
