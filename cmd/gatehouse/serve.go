package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"gatehouse/oidc"
)

func (c *cli) serveCommand() *cobra.Command {
	var migrateFirst bool
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Serve the public endpoints until a signal stops it",
		Args:  cobra.NoArgs,
		RunE: c.does(func(cmd *cobra.Command, _ []string) error {
			config, err := c.config(cmd)
			if err != nil {
				return err
			}
			return c.serve(cmd.Context(), config, migrateFirst)
		}),
	}
	cmd.Flags().BoolVar(&migrateFirst, "migrate", false, "bring an SQLite database to the schema of this program first")
	return cmd
}

// serve runs until ctx ends and then finishes what is under way.
func (c *cli) serve(ctx context.Context, config *config, migrateFirst bool) error {
	log := newLog(c.stderr, config)
	if config.Mode == development {
		log.Warn("MODE IS DEVELOPMENT: do not put real customers behind this server", "allow_plain_http", config.AllowPlainHTTP, "allow_jwks_fetch", config.AllowJWKSFetch)
	}
	kek, err := config.kek()
	if err != nil {
		return err
	}
	certificate, err := config.certificate()
	if err != nil {
		return err
	}
	directories, err := config.directories()
	if err != nil {
		return err
	}
	trust, err := config.trust()
	if err != nil {
		return err
	}
	if migrateFirst {
		if !strings.HasPrefix(config.Database, "sqlite:") {
			return errors.New("--migrate is for SQLite: several servers may share this database, run gatehouse migrate once")
		}
		if _, err := migrate(ctx, config.Database); err != nil {
			return err
		}
	}
	db, err := openStore(ctx, config.Database)
	if err != nil {
		return err
	}
	defer db.Close()

	publicListener, err := net.Listen("tcp", config.Listen)
	if err != nil {
		return prefixed("listen", err)
	}
	defer publicListener.Close()
	adminListener, err := net.Listen("tcp", config.AdminListen)
	if err != nil {
		return prefixed("admin_listen", err)
	}
	defer adminListener.Close()

	fetcher := config.fetcher(log)
	defer fetcher.Close()
	server := &oidc.Server{
		Store: db, KEK: kek, BaseURL: config.BaseURL, Now: time.Now, Log: log,
		Directories: directories, Trust: trust, Fetcher: fetcher,
	}
	probes := &probes{ready: server.Ready, log: log}
	public := newSite(publicListener, server.Handler(), config, log, certificate)
	admin := newSite(adminListener, probes.handler(), config, log, nil)
	log.Info("serving", "base_url", config.BaseURL, "listen", public.url(), "admin_listen", admin.url(), "version", readBuild().Version)
	fmt.Fprintln(c.stdout, "ready", public.url())
	return serveSites(ctx, time.Duration(config.Timeouts.Shutdown), func() {
		probes.draining.Store(true)
		log.Info("stopping")
	}, public, admin)
}

func newLog(w io.Writer, config *config) *slog.Logger {
	level, _ := config.logLevel() // validated
	options := &slog.HandlerOptions{Level: level}
	if config.Log.Format == "text" {
		return slog.New(slog.NewTextHandler(w, options))
	}
	return slog.New(slog.NewJSONHandler(w, options))
}
