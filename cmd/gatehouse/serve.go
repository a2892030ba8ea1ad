package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"gatehouse/admin"
	"gatehouse/oidc"
	"gatehouse/store"
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
	if config.BehindProxy && len(config.TrustedProxies) == 0 {
		log.Warn("behind_proxy is set and trusted_proxies is not: limits by address count all customers as one")
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
	clock := &clock{}
	banks, err := config.banks(clock.now)
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
	proxies, err := config.trustedProxies()
	if err != nil {
		return err
	}
	server := &oidc.Server{
		Store: db, KEK: kek, BaseURL: config.BaseURL, Now: clock.now, Log: log,
		Directories: directories, Trust: trust, Fetcher: fetcher, Banks: banks,
		TrustedProxies: proxies, TokenOrigins: config.TokenOrigins, Limits: config.Limits.limits(),
	}
	auditor := &admin.Admin{Store: db, KEK: kek, Now: clock.now}
	probes := &probes{ready: server.Ready, log: log}
	control := probes.handler()
	if config.AllowClockControl {
		control["/clock"] = map[string]http.HandlerFunc{http.MethodGet: clock.handle, http.MethodHead: clock.handle, http.MethodPut: clock.handle}
	}
	public := newSite(publicListener, probes.closing(server.Handler()), config, log, certificate)
	admin := newSite(adminListener, control, config, log, nil)
	// To the end: what finishes leaves events.
	sealing, stopSealing := context.WithCancel(context.WithoutCancel(ctx))
	var sealer sync.WaitGroup
	defer sealer.Wait()
	defer stopSealing()
	sealer.Go(func() { sealEvents(sealing, auditor, log) })
	working, stopWorking := context.WithCancel(ctx)
	var workers sync.WaitGroup
	defer workers.Wait()
	defer stopWorking()
	workers.Go(func() { server.Watch(working) })
	workers.Go(func() { server.TellBanks(working) })
	workers.Go(func() { purge(working, db, time.Duration(config.PurgeEvery), clock.now, log) })
	// What is in the caches is served even if the database goes away next.
	if err := server.Ready(ctx); err != nil {
		log.Warn("not ready", "error", err)
	}
	log.Info("serving", "base_url", config.BaseURL, "listen", public.url(), "admin_listen", admin.url(), "version", readBuild().Version)
	fmt.Fprintln(c.stdout, "ready", public.url())
	return serveSites(ctx, config.Timeouts, func() {
		probes.draining.Store(true)
		log.Info("stopping")
	}, public, admin)
}

// purge deletes old rows again and again, until ctx ends.
func purge(ctx context.Context, db *store.DB, every time.Duration, now func() time.Time, log *slog.Logger) {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		deleted, err := db.Purge(ctx, now())
		switch {
		case err != nil && ctx.Err() == nil:
			log.Warn("purge", "deleted", deleted, "error", err)
		case deleted > 0:
			log.Info("purge", "deleted", deleted)
		}
	}
}

// sealEvents puts new events into the chain of the audit log every second until
// ctx ends, and once more then. Every hour it logs the head, so that one is
// kept where nobody can change it with the database.
func sealEvents(ctx context.Context, a *admin.Admin, log *slog.Logger) {
	second, hour := time.NewTicker(time.Second), time.NewTicker(time.Hour)
	defer second.Stop()
	defer hour.Stop()
	var head admin.Head
	failed := false
	for ended := false; !ended; {
		report := false
		select {
		case <-second.C:
		case <-hour.C:
			report = true
		case <-ctx.Done():
			report, ended = true, true
		}
		sealed, err := a.SealEvents(context.WithoutCancel(ctx))
		if sealed.Sequence > 0 {
			head = sealed
		}
		if err != nil && !failed { // once, not every second
			log.Warn("audit log is not sealed", "error", err)
		}
		failed = err != nil
		if report && head.Sequence > 0 {
			log.Info("audit log", "head", head.String())
			head = admin.Head{}
		}
	}
}

func newLog(w io.Writer, config *config) *slog.Logger {
	level, _ := config.logLevel() // validated
	options := &slog.HandlerOptions{Level: level}
	if config.Log.Format == "text" {
		return slog.New(slog.NewTextHandler(w, options))
	}
	return slog.New(slog.NewJSONHandler(w, options))
}
