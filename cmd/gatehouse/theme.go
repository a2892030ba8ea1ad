package main

import (
	"context"
	"io"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"gatehouse"
	"gatehouse/admin"
)

// themeFlags adds a flag for each member of a theme.
func themeFlags(f *pflag.FlagSet, t *gatehouse.Theme, prefix string) {
	for _, member := range []struct {
		value       *string
		name, usage string
	}{
		{&t.Accent, "accent", "colour of the header and of buttons, #rrggbb"},
		{&t.OnAccent, "on-accent", "colour of text on accent (default white or black, whichever can be read)"},
		{&t.Background, "background", "colour of the page"},
		{&t.Surface, "surface", "colour of the cards on the page"},
		{&t.Text, "text", "colour of text"},
		{&t.FontFamily, "font-family", `font families, such as "Inter, sans-serif"`},
		{&t.Radius, "radius", "radius of corners, such as 4px"},
	} {
		f.StringVar(member.value, prefix+member.name, "", member.usage)
	}
}

func (c *cli) providerTheme() *cobra.Command {
	var theme gatehouse.Theme
	cmd := &cobra.Command{
		Use:               "theme PROVIDER_CODE",
		Short:             "Set how the page of a provider's customers looks; what is not named gets its default",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: c.completeFirst(providerCodes),
		RunE: c.administer(func(ctx context.Context, a *admin.Admin, args []string) error {
			p, err := a.UpdateProvider(ctx, args[0], func(p *gatehouse.Provider) { p.Theme = theme })
			if err != nil {
				return err
			}
			return c.print(p, func(w io.Writer) {
				sheet(w, "provider_code", p.Code)
				for _, property := range p.Theme.Properties() {
					sheet(w, property.Name, property.Value)
				}
			})
		}),
	}
	themeFlags(cmd.Flags(), &theme, "")
	return cmd
}
