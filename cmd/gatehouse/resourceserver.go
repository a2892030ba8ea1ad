package main

import (
	"context"
	"io"

	"github.com/spf13/cobra"

	"gatehouse"
	"gatehouse/admin"
)

func (c *cli) resourceServerCommand() *cobra.Command {
	var provider string
	cmd := group("resource-server", "Manage resource servers, which guard a bank's resources with its tokens",
		c.resourceServerAdd(&provider), c.resourceServerList(&provider), c.resourceServerDelete(&provider))
	for _, sub := range cmd.Commands() {
		sub.Flags().StringVar(&provider, "provider", "", "provider_code")
		sub.MarkFlagRequired("provider")
		sub.RegisterFlagCompletionFunc("provider", c.complete(providerCodes))
	}
	return cmd
}

func (c *cli) resourceServerAdd(provider *string) *cobra.Command {
	var n admin.NewResourceServer
	var secretFile string
	cmd := &cobra.Command{
		Use:   "add NAME",
		Short: "Let a resource server ask about a provider's tokens, and show its secret, once",
		Args:  cobra.ExactArgs(1),
		RunE: c.administer(func(ctx context.Context, a *admin.Admin, args []string) (err error) {
			n.Name, n.Provider = args[0], *provider
			if n.Secret, err = readSecret(secretFile); err != nil {
				return err
			}
			rs, secret, err := a.AddResourceServer(ctx, n)
			if err != nil {
				return err
			}
			added := struct {
				*gatehouse.ResourceServer
				Secret string `json:"secret"`
			}{rs, secret}
			return c.print(added, func(w io.Writer) {
				sheet(w,
					"resource_server_id", rs.ID,
					"provider_code", rs.Provider,
					"name", rs.Name,
					"created_at", timestamp(rs.CreatedAt),
					"secret", secret,
				)
			})
		}),
	}
	cmd.Flags().StringVar(&n.ID, "id", "", "id it already uses (default a new one)")
	cmd.Flags().StringVar(&secretFile, "secret-file", "", "file with the secret it already uses (default a new one)")
	cmd.MarkFlagFilename("secret-file")
	return cmd
}

func (c *cli) resourceServerList(provider *string) *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List the resource servers of a provider",
		Args:  cobra.NoArgs,
		RunE: c.inspect(func(ctx context.Context, a *admin.Admin, _ []string) error {
			all, err := a.ResourceServers(ctx, *provider)
			if err != nil {
				return err
			}
			return c.print(all, func(w io.Writer) {
				row(w, "RESOURCE_SERVER_ID", "NAME", "CREATED")
				for _, rs := range all {
					row(w, rs.ID, rs.Name, timestamp(rs.CreatedAt))
				}
			})
		}),
	}
}

func (c *cli) resourceServerDelete(provider *string) *cobra.Command {
	return &cobra.Command{
		Use:   "delete RESOURCE_SERVER_ID",
		Short: "End a resource server",
		Args:  cobra.ExactArgs(1),
		RunE: c.administer(func(ctx context.Context, a *admin.Admin, args []string) error {
			return a.DeleteResourceServer(ctx, *provider, args[0])
		}),
	}
}
