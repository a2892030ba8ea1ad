package main

import (
	"context"
	"io"

	"github.com/spf13/cobra"

	"gatehouse"
	"gatehouse/admin"
)

func (c *cli) keyCommand() *cobra.Command {
	return group("key", "Look at signing keys", c.keyList())
}

func (c *cli) keyList() *cobra.Command {
	var code string
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the signing keys of all providers, or of one",
		Args:  cobra.NoArgs,
		RunE: c.inspect(func(ctx context.Context, a *admin.Admin, _ []string) error {
			keys, err := listKeys(ctx, a, code)
			if err != nil {
				return err
			}
			return c.print(keys, func(w io.Writer) {
				row(w, "PROVIDER_CODE", "KID", "ALG", "KEY_ENCRYPTION_KEY", "CREATED")
				for _, k := range keys {
					row(w, k.Provider, k.KID, k.Alg, k.KEKID, timestamp(k.CreatedAt))
				}
			})
		}),
	}
	cmd.Flags().StringVar(&code, "provider", "", "provider_code")
	cmd.RegisterFlagCompletionFunc("provider", c.complete(providerCodes))
	return cmd
}

func listKeys(ctx context.Context, a *admin.Admin, code string) ([]*gatehouse.Key, error) {
	if code != "" {
		return a.Keys(ctx, code)
	}
	providers, err := a.Providers(ctx)
	if err != nil {
		return nil, err
	}
	keys := []*gatehouse.Key{}
	for _, p := range providers {
		more, err := a.Keys(ctx, p.Code)
		if err != nil {
			return nil, err
		}
		keys = append(keys, more...)
	}
	return keys, nil
}
