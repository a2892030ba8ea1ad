package main

import (
	"context"
	"io"

	"github.com/spf13/cobra"

	"gatehouse"
	"gatehouse/admin"
)

func (c *cli) clientCommand() *cobra.Command {
	return group("client", "Manage clients, the applications of TPPs",
		c.clientAdd(), c.clientList(), c.clientShow(), c.clientDisable())
}

func (c *cli) clientAdd() *cobra.Command {
	var n admin.NewClient
	var jwksFile, secretFile string
	cmd := &cobra.Command{
		Use:   "add",
		Short: "Register a client and show its client_secret, once",
		Args:  cobra.NoArgs,
		RunE: c.administer(func(ctx context.Context, a *admin.Admin, _ []string) (err error) {
			if jwksFile != "" {
				if n.JWKS, err = readKeys(jwksFile); err != nil {
					return err
				}
			}
			if n.Secret, err = readSecret(secretFile); err != nil {
				return err
			}
			client, secret, err := a.AddClient(ctx, n)
			if err != nil {
				return err
			}
			added := struct {
				*gatehouse.Client
				Secret string `json:"client_secret,omitempty"`
			}{client, secret}
			return c.print(added, func(w io.Writer) {
				clientSheet(w, client)
				sheet(w, "client_secret", secret)
			})
		}),
	}
	f := cmd.Flags()
	f.StringVar(&n.Name, "name", "", "name of the application, shown to PSUs")
	f.StringArrayVar(&n.RedirectURIs, "redirect-uri", nil, "where PSUs return to; may be repeated")
	f.StringSliceVar(&n.Providers, "provider", nil, "provider_codes the client may use (default all)")
	f.StringSliceVar(&n.GrantTypes, "grant-type", nil, "grant types (default authorization_code)")
	f.StringSliceVar((*[]string)(&n.Scopes), "scope", nil, "scopes the client may have (default all)")
	n.TokenEndpointAuthMethod = gatehouse.AuthClientSecretBasic
	oneOf(f, cmd, &n.TokenEndpointAuthMethod, "auth-method", "private_key_jwt or client_secret_basic", gatehouse.AuthMethods()...)
	f.StringVar(&jwksFile, "jwks", "", "file with the client's public keys: a JWK Set, or one key in PEM")
	oneOf(f, cmd, &n.TokenEndpointAuthSigningAlg, "auth-signing-alg", "the only algorithm of its assertions (default any)", gatehouse.Algs()...)
	oneOf(f, cmd, &n.RequestObjectSigningAlg, "request-object-signing-alg", "the only algorithm of its request objects (default any)", gatehouse.Algs()...)
	oneOf(f, cmd, &n.IDTokenSignedResponseAlg, "id-token-signed-response-alg", "algorithm of its ID Tokens (default the provider's)", gatehouse.Algs()...)
	f.BoolVar(&n.RequireSignedRequestObject, "require-signed-request-object", false, "refuse its authorization requests that are not signed")
	f.StringVar(&n.ID, "client-id", "", "client_id the application already uses (default a new one)")
	f.StringVar(&secretFile, "client-secret-file", "", "file with the client_secret the application already uses (default a new one)")
	cmd.MarkFlagRequired("name")
	cmd.RegisterFlagCompletionFunc("provider", c.complete(providerCodes))
	cmd.RegisterFlagCompletionFunc("grant-type", cobra.FixedCompletions(gatehouse.GrantTypes(), cobra.ShellCompDirectiveNoFileComp))
	cmd.RegisterFlagCompletionFunc("scope", cobra.FixedCompletions(gatehouse.AllScopes(), cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

func (c *cli) clientList() *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List all clients",
		Args:  cobra.NoArgs,
		RunE: c.inspect(func(ctx context.Context, a *admin.Admin, _ []string) error {
			clients, err := a.Clients(ctx)
			if err != nil {
				return err
			}
			return c.print(clients, func(w io.Writer) {
				row(w, "CLIENT_ID", "NAME", "STATUS", "AUTH_METHOD", "CREATED")
				for _, client := range clients {
					row(w, client.ID, client.Name, client.Status, client.TokenEndpointAuthMethod, timestamp(client.CreatedAt))
				}
			})
		}),
	}
}

func (c *cli) clientShow() *cobra.Command {
	return &cobra.Command{
		Use:               "show CLIENT_ID",
		Short:             "Show a client",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: c.completeFirst(clientIDs),
		RunE: c.inspect(func(ctx context.Context, a *admin.Admin, args []string) error {
			client, err := a.Client(ctx, args[0])
			if err != nil {
				return err
			}
			return c.print(client, func(w io.Writer) { clientSheet(w, client) })
		}),
	}
}

func (c *cli) clientDisable() *cobra.Command {
	return &cobra.Command{
		Use:               "disable CLIENT_ID",
		Short:             "Refuse a client everywhere",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: c.completeFirst(clientIDs),
		RunE: c.administer(func(ctx context.Context, a *admin.Admin, args []string) error {
			client, err := a.DisableClient(ctx, args[0])
			if err != nil {
				return err
			}
			return c.print(client, func(w io.Writer) { clientSheet(w, client) })
		}),
	}
}

func clientSheet(w io.Writer, client *gatehouse.Client) {
	sheet(w,
		"client_id", client.ID,
		"client_name", client.Name,
		"status", client.Status,
		"providers", client.Providers,
		"redirect_uris", client.RedirectURIs,
		"grant_types", client.GrantTypes,
		"response_types", client.ResponseTypes,
		"scope", client.Scopes,
		"token_endpoint_auth_method", client.TokenEndpointAuthMethod,
		"token_endpoint_auth_signing_alg", client.TokenEndpointAuthSigningAlg,
		"request_object_signing_alg", client.RequestObjectSigningAlg,
		"id_token_signed_response_alg", client.IDTokenSignedResponseAlg,
		"require_signed_request_object", client.RequireSignedRequestObject,
		"created_at", timestamp(client.CreatedAt),
		"updated_at", timestamp(client.UpdatedAt),
	)
}

func clientIDs(ctx context.Context, a *admin.Admin) ([]string, error) {
	clients, err := a.Clients(ctx)
	var ids []string
	for _, client := range clients {
		ids = append(ids, cobra.CompletionWithDesc(client.ID, client.Name))
	}
	return ids, err
}
