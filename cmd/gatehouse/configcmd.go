package main

import (
	_ "embed"
	"errors"
	"io"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"
)

// exampleConfig is every key with its default and what it means.
//
//go:embed gatehouse.example.yaml
var exampleConfig string

func (c *cli) configCommand() *cobra.Command {
	return group("config", "Check and show the configuration", c.configValidate(), c.configPrint())
}

func (c *cli) configValidate() *cobra.Command {
	return &cobra.Command{
		Use:   "validate",
		Short: "Check the configuration and the files it names",
		Args:  cobra.NoArgs,
		RunE: c.does(func(cmd *cobra.Command, _ []string) error {
			config, err := c.config(cmd)
			if err != nil {
				return err
			}
			if _, err := config.kek(); err != nil {
				return err
			}
			if _, err := config.certificate(); err != nil {
				return err
			}
			if _, err := config.directories(); err != nil {
				return err
			}
			if _, err := config.trust(); err != nil {
				return err
			}
			return c.print(map[string]string{"status": "valid"}, func(w io.Writer) { row(w, "the configuration is valid") })
		}),
	}
}

func (c *cli) configPrint() *cobra.Command {
	var defaults bool
	cmd := &cobra.Command{
		Use:   "print",
		Short: "Show the configuration in force, without its secrets",
		Args:  cobra.NoArgs,
		RunE: c.does(func(cmd *cobra.Command, _ []string) error {
			if defaults {
				return c.printConfig(defaultConfig(), exampleConfig)
			}
			config, err := c.config(cmd)
			if err != nil {
				return err
			}
			text, err := yaml.Marshal(config.redacted())
			if err != nil {
				return err
			}
			return c.printConfig(config.redacted(), string(text))
		}),
	}
	cmd.Flags().BoolVar(&defaults, "defaults", false, "show every key with its default and what it means")
	return cmd
}

// printConfig shows text, or in JSON the members that the YAML has.
func (c *cli) printConfig(config *config, text string) error {
	encoded, err := yaml.Marshal(config)
	if err != nil {
		return err
	}
	var members map[string]any
	return errors.Join(yaml.Unmarshal(encoded, &members), c.print(members, func(w io.Writer) { io.WriteString(w, text) }))
}
