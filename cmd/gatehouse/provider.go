package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"gatehouse"
	"gatehouse/admin"
	"gatehouse/jose"
)

func (c *cli) providerCommand() *cobra.Command {
	return group("provider", "Manage providers, the banks",
		c.providerAdd(), c.providerList(), c.providerShow(), c.providerTheme(), c.providerDisable(), c.providerEnable(), c.providerDelete())
}

func (c *cli) providerAdd() *cobra.Command {
	var n admin.NewProvider
	var jwksFile, secretFile string
	cmd := &cobra.Command{
		Use:   "add PROVIDER_CODE",
		Short: "Register a provider and show its connector's app_secret, once",
		Args:  cobra.ExactArgs(1),
		RunE: c.administer(func(ctx context.Context, a *admin.Admin, args []string) (err error) {
			n.Code = args[0]
			if n.JWKS, err = readKeys(jwksFile); err != nil {
				return err
			}
			if n.AppSecret, err = readSecret(secretFile); err != nil {
				return err
			}
			p, appSecret, err := a.AddProvider(ctx, n)
			if err != nil {
				return err
			}
			added := struct {
				*gatehouse.Provider
				AppSecret string `json:"app_secret"`
			}{p, appSecret}
			return c.print(added, func(w io.Writer) {
				providerSheet(w, p)
				sheet(w, "app_secret", appSecret)
			})
		}),
	}
	f := cmd.Flags()
	n.Status, n.Profile, n.SigningAlg = gatehouse.Live, gatehouse.ProfilePSD2, jose.RS256
	f.StringVar(&n.Name, "name", "", "name of the bank")
	oneOf(f, cmd, &n.Status, "status", "live, or sandbox: also serves test credentials", gatehouse.Live, gatehouse.Sandbox)
	oneOf(f, cmd, &n.Profile, "profile", "security profile, psd2 or oidc", gatehouse.ProfilePSD2, gatehouse.ProfileOIDC)
	f.StringVar(&n.Issuer, "issuer", "", "issuer identifier (default {base_url}/{provider_code})")
	f.StringVar(&n.AuthorizationEndpoint, "authorization-endpoint", "", "the bank's own authorization endpoint, when it mints the codes")
	f.StringVar(&n.LoginURL, "login-url", "", "the bank's page for login and consent, when Gatehouse hosts the authorization endpoint")
	f.StringVar(&n.ConnectorURL, "connector-url", "", "base of the calls to the bank")
	f.StringVar(&jwksFile, "connector-jwks", "", "file with the connector's public keys: a JWK Set, or one key in PEM")
	f.StringSliceVar(&n.Scopes, "scope", nil, "scopes tokens may have (default all)")
	oneOf(f, cmd, &n.SigningAlg, "signing-alg", "algorithm of ID Tokens, RS256 or PS256", gatehouse.Algs()...)
	f.StringVar(&n.AppID, "app-id", "", "app_id the connector already uses (default a new one)")
	f.StringVar(&secretFile, "app-secret-file", "", "file with the app_secret the connector already uses (default a new one)")
	f.BoolVar(&n.Rules.RequireSignedRequest, "require-signed-request-object", false, "refuse authorization requests that are not signed")
	f.BoolVar(&n.Rules.RequirePKCE, "require-pkce", false, "refuse authorization requests without code_challenge")
	f.BoolVar(&n.Rules.OpenRegistration, "open-registration", false, "let anybody register without a software statement, at a sandbox provider")
	f.BoolVar(&n.Rules.RotateRefreshTokens, "rotate-refresh-tokens", false, "give out a new refresh token with every refresh")
	f.BoolVar(&n.Rules.RequirePS256, "require-ps256", false, "take no signature of a client by RS256")
	f.BoolVar(&n.Rules.LegacyRequestObjects, "legacy-request-objects", false, "take request objects of first-generation TPP software")
	themeFlags(f, &n.Theme, "theme-")
	defaults := gatehouse.Rules{}.WithDefaults()
	for name, rule := range map[string]struct {
		set      *gatehouse.Duration
		fallback gatehouse.Duration
		usage    string
	}{
		"authorization-lifetime": {&n.Rules.AuthorizationLifetime, defaults.AuthorizationLifetime, "time a PSU has at the bank"},
		"code-lifetime":          {&n.Rules.CodeLifetime, defaults.CodeLifetime, "lifetime of codes"},
		"access-token-lifetime":  {&n.Rules.AccessTokenLifetime, defaults.AccessTokenLifetime, "lifetime of access tokens"},
		"grant-lifetime":         {&n.Rules.GrantLifetime, defaults.GrantLifetime, "lifetime of grants and their refresh tokens"},
		"rotation-grace":         {&n.Rules.RotationGrace, defaults.RotationGrace, "how long a rotated refresh token can be used again for the same successor"},
		"assertion-max-lifetime": {&n.Rules.AssertionMaxLifetime, defaults.AssertionMaxLifetime, "how far ahead exp of an assertion may be, of now and of its iat"},
		"clock-skew":             {&n.Rules.ClockSkew, defaults.ClockSkew, "how far ahead iat and nbf may be"},
	} {
		f.DurationVar((*time.Duration)(rule.set), name, 0, fmt.Sprintf("%s (default %s)", rule.usage, rule.fallback))
	}
	cmd.MarkFlagRequired("name")
	cmd.MarkFlagRequired("connector-jwks")
	cmd.MarkFlagsOneRequired("login-url", "authorization-endpoint")
	cmd.MarkFlagsMutuallyExclusive("login-url", "authorization-endpoint")
	return cmd
}

func (c *cli) providerList() *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List all providers",
		Args:  cobra.NoArgs,
		RunE: c.inspect(func(ctx context.Context, a *admin.Admin, _ []string) error {
			providers, err := a.Providers(ctx)
			if err != nil {
				return err
			}
			return c.print(providers, func(w io.Writer) {
				row(w, "PROVIDER_CODE", "NAME", "STATUS", "PROFILE", "CREATED")
				for _, p := range providers {
					row(w, p.Code, p.Name, p.Status, p.Profile, timestamp(p.CreatedAt))
				}
			})
		}),
	}
}

func (c *cli) providerShow() *cobra.Command {
	return &cobra.Command{
		Use:               "show PROVIDER_CODE",
		Short:             "Show a provider",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: c.completeFirst(providerCodes),
		RunE: c.inspect(func(ctx context.Context, a *admin.Admin, args []string) error {
			p, err := a.Provider(ctx, args[0])
			if err != nil {
				return err
			}
			return c.print(p, func(w io.Writer) { providerSheet(w, p) })
		}),
	}
}

func (c *cli) providerDisable() *cobra.Command {
	return &cobra.Command{
		Use:               "disable PROVIDER_CODE",
		Short:             "Stop a provider from serving anybody",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: c.completeFirst(providerCodes),
		RunE: c.administer(func(ctx context.Context, a *admin.Admin, args []string) error {
			p, err := a.DisableProvider(ctx, args[0])
			if err != nil {
				return err
			}
			return c.print(p, func(w io.Writer) { providerSheet(w, p) })
		}),
	}
}

func (c *cli) providerEnable() *cobra.Command {
	status := gatehouse.Live
	cmd := &cobra.Command{
		Use:               "enable PROVIDER_CODE",
		Short:             "Let a provider serve again",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: c.completeFirst(providerCodes),
		RunE: c.administer(func(ctx context.Context, a *admin.Admin, args []string) error {
			p, err := a.EnableProvider(ctx, args[0], status)
			if err != nil {
				return err
			}
			return c.print(p, func(w io.Writer) { providerSheet(w, p) })
		}),
	}
	oneOf(cmd.Flags(), cmd, &status, "status", "live, or sandbox: also serves test credentials", gatehouse.Live, gatehouse.Sandbox)
	return cmd
}

func (c *cli) providerDelete() *cobra.Command {
	var sure bool
	cmd := &cobra.Command{
		Use:   "delete PROVIDER_CODE",
		Short: "End a provider for good: its keys and tokens are erased, its code stays taken",
		Args:  cobra.ExactArgs(1),
		// No completion: what cannot be undone is typed.
		RunE: c.administer(func(ctx context.Context, a *admin.Admin, args []string) error {
			if !sure {
				return errors.New("nothing was deleted: say --yes")
			}
			return a.DeleteProvider(ctx, args[0])
		}),
	}
	cmd.Flags().BoolVar(&sure, "yes", false, "this cannot be undone")
	return cmd
}

func providerSheet(w io.Writer, p *gatehouse.Provider) {
	sheet(w,
		"provider_code", p.Code,
		"name", p.Name,
		"status", p.Status,
		"profile", p.Profile,
		"issuer", p.Issuer,
		"authorization_endpoint", p.AuthorizationEndpoint,
		"login_url", p.Connector.LoginURL,
		"connector_url", p.Connector.URL,
		"scopes", p.Scopes,
		"signing_alg", p.SigningAlg,
		"app_id", p.Connector.AppID,
		"created_at", timestamp(p.CreatedAt),
		"updated_at", timestamp(p.UpdatedAt),
	)
}

func providerCodes(ctx context.Context, a *admin.Admin) ([]string, error) {
	providers, err := a.Providers(ctx)
	var codes []string
	for _, p := range providers {
		codes = append(codes, cobra.CompletionWithDesc(p.Code, p.Name))
	}
	return codes, err
}

// readSecret reads a file of one line; "" is no file.
func readSecret(path string) (string, error) {
	if path == "" {
		return "", nil
	}
	data, err := os.ReadFile(path)
	return strings.TrimSpace(string(data)), err
}

func timestamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }
