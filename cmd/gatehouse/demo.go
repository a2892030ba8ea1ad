package main

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"gatehouse/admin"
	"gatehouse/connector"
	"gatehouse/demobank"
	"gatehouse/jose"
	"gatehouse/oidc"
	"gatehouse/store"
)

// maxNoticeBytes is the header that a bank must take: the largest consent that
// can be lodged travels in one.
const maxNoticeBytes = 128 << 10

// A demo is a server with three sandbox banks and a TPP around it.
type demo struct {
	addr string
	dir  string
	tls  bool
	once bool
}

func (c *cli) demoCommand() *cobra.Command {
	var d demo
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Run a server with three sandbox banks and a TPP, and walk through the whole flow",
		Args:  cobra.NoArgs,
		RunE: c.does(func(cmd *cobra.Command, _ []string) error {
			return c.demo(cmd.Context(), d)
		}),
	}
	f := cmd.Flags()
	f.StringVar(&d.addr, "addr", "127.0.0.1:8080", "address of the server; banks and TPP take the next port when it is free")
	f.StringVar(&d.dir, "data", "", "directory for the database, the keys and demo.json (default one that is removed at the end)")
	f.BoolVar(&d.tls, "tls", false, "serve https, with a development CA in ca.pem")
	f.BoolVar(&d.once, "once", false, "exit after the walk")
	cmd.MarkFlagDirname("data")
	return cmd
}

// Files of a demo's directory, beside those of devca.go and world.go.
const (
	kekFile      = "key-encryption-key"
	databaseFile = "gatehouse.db"
	logFile      = "gatehouse.log"
)

// demo runs the walk and then, unless once is set, serves until ctx ends.
func (c *cli) demo(ctx context.Context, d demo) error {
	dir, remove, err := openDir(d.dir)
	if err != nil {
		return err
	}
	defer remove()
	logOutput, err := os.OpenFile(filepath.Join(dir, logFile), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer logOutput.Close()
	log := newLog(logOutput, defaultConfig())

	listener, sideListener, err := listenDemo(d.addr)
	if err != nil {
		return err
	}
	defer listener.Close()
	defer sideListener.Close()
	certificate, client, err := d.transport(dir)
	if err != nil {
		return err
	}
	world, err := loadWorld(dir, origin(listener, d.tls), origin(sideListener, d.tls))
	if err != nil {
		return err
	}
	world.HTTP, world.Now = client, time.Now
	if d.tls {
		world.CAFile = filepath.Join(dir, caFile)
	}
	kek, err := loadKEK(filepath.Join(dir, kekFile))
	if err != nil {
		return err
	}
	db, err := store.Open(ctx, "sqlite:"+filepath.Join(dir, databaseFile))
	if err != nil {
		return err
	}
	defer db.Close()
	if err := db.Migrate(ctx); err != nil {
		return err
	}
	operator := &admin.Admin{Store: db, KEK: kek, Now: time.Now}
	if err := registerProviders(ctx, operator, world); err != nil {
		return err
	}
	directory, err := loadDirectory(dir, world.DirectoryURL, log)
	if err != nil {
		return err
	}
	roots, err := readCertificates(world.CAFile)
	if err != nil {
		return err
	}
	server := &oidc.Server{
		Store: db, KEK: kek, BaseURL: world.BaseURL, Now: time.Now, Log: log,
		Banks:  &connector.Caller{Transport: connector.NewTransport(nil, roots), Now: time.Now},
		Limits: defaultConfig().Limits.limits(),
	}
	server.Limits.AuthorizeAddress = oidc.Rate{} // everybody is at one address here
	if err := trustDirectory(server, directory); err != nil {
		return err
	}
	side, stopSide, err := sideHandler(world, directory, log)
	if err != nil {
		return err
	}
	defer stopSide()

	sealing, stopSealing := context.WithCancel(context.WithoutCancel(ctx))
	var workers sync.WaitGroup
	defer workers.Wait()
	defer stopSealing()
	workers.Go(func() { sealEvents(sealing, operator, log) })
	serving, stop := context.WithCancel(ctx)
	workers.Go(func() { server.TellBanks(serving) })
	config := defaultConfig()
	config.Limits.HeaderBytes = maxNoticeBytes
	served := make(chan error, 1)
	go func() {
		served <- serveSites(serving, timeoutsConfig{Shutdown: config.Timeouts.Shutdown}, func() {},
			newSite(sideListener, side, config, log, certificate),
			newSite(listener, server.Handler(), config, log, certificate))
	}()
	err = c.openDemo(ctx, world, dir, side, log)
	if err == nil {
		err = c.walk(ctx, world, dir, d.once)
	}
	if ctx.Err() != nil { // a signal, not a fault
		err = nil
	}
	stop()
	return errors.Join(err, <-served)
}

// openDemo registers the TPP's clients, which needs server and directory, and
// opens the TPP's pages with them.
func (c *cli) openDemo(ctx context.Context, world *demobank.World, dir string, side *http.ServeMux, log *slog.Logger) error {
	if err := registerClients(ctx, world); err != nil {
		return err
	}
	if err := saveWorld(dir, world); err != nil {
		return err
	}
	tpp := &demobank.TPP{World: world, Name: "Demo TPP", URL: world.SideURL + "/tpp", Log: log}
	side.Handle("/tpp/", tpp.Handler())
	fmt.Fprintln(c.stdout, "ready", world.BaseURL)
	return nil
}

// walk shows the flow, and unless once is set waits for ctx to end.
func (c *cli) walk(ctx context.Context, world *demobank.World, dir string, once bool) error {
	if err := demobank.Walk(ctx, c.stdout, *world); err != nil || once {
		return err
	}
	fmt.Fprintf(c.stdout, `
The same in a browser:    %s/tpp/
What programs need:       %s
The server's log:         %s
Stop with Ctrl-C.
`, world.SideURL, filepath.Join(dir, worldFile), filepath.Join(dir, logFile))
	<-ctx.Done()
	return nil
}

// openDir makes the directory of the demo. An unnamed one is removed at the end.
func openDir(name string) (dir string, remove func(), err error) {
	if name == "" {
		dir, err = os.MkdirTemp("", "gatehouse-demo-")
		return dir, func() { os.RemoveAll(dir) }, err
	}
	dir, err = filepath.Abs(name)
	if err != nil {
		return "", nil, err
	}
	return dir, func() {}, os.MkdirAll(dir, 0o700)
}

// listenDemo opens the server's listener and that of the world around it, on
// the next port when that is free.
func listenDemo(addr string) (server, side net.Listener, err error) {
	host, _, err := net.SplitHostPort(addr)
	if err != nil || !isLoopback(host) {
		return nil, nil, errors.New("--addr must be a loopback address such as 127.0.0.1:8080: the demo's passwords are known to all")
	}
	server, err = net.Listen("tcp", addr)
	if err != nil {
		return nil, nil, err
	}
	next := server.Addr().(*net.TCPAddr).Port + 1
	side, err = net.Listen("tcp", net.JoinHostPort(host, strconv.Itoa(next)))
	if err != nil {
		side, err = net.Listen("tcp", net.JoinHostPort(host, "0"))
	}
	if err != nil {
		server.Close()
	}
	return server, side, err
}

// transport returns the certificate of both listeners, if they are to have
// one, and a client that trusts it.
func (d demo) transport(dir string) (*tls.Certificate, *http.Client, error) {
	client := &http.Client{Timeout: 30 * time.Second}
	if !d.tls {
		return nil, client, nil
	}
	certificate, err := loadDevCertificate(dir, time.Now())
	if err != nil {
		return nil, nil, err
	}
	roots, err := readCertificates(filepath.Join(dir, caFile))
	if err != nil {
		return nil, nil, err
	}
	client.Transport = trusting(roots)
	return certificate, client, nil
}

// loadKEK reads a key-encryption key, making it when there is none.
func loadKEK(path string) (*jose.KEK, error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		var secret [32]byte
		rand.Read(secret[:])
		data = []byte(base64.StdEncoding.EncodeToString(secret[:]) + "\n")
		err = writeFile(path, data, 0o600)
	}
	if err != nil {
		return nil, err
	}
	return jose.ParseKEK(string(data))
}

// sideHandler serves the world outside: the banks' pages and the directory.
// Call stop when nobody calls the handler any more.
func sideHandler(world *demobank.World, directory *demobank.Directory, log *slog.Logger) (mux *http.ServeMux, stop func(), err error) {
	mux = http.NewServeMux()
	var open []*demobank.Bank
	for i, p := range world.Providers {
		key, err := readKey(p.Connector.KeyFile, jose.RS256, "")
		if err != nil {
			return nil, nil, err
		}
		bank := &demobank.Bank{
			Code:         p.Code,
			Name:         banks[i].name,
			URL:          world.SideURL + "/" + p.Code,
			GatehouseURL: p.Connector.BaseURL,
			AppID:        p.Connector.AppID,
			AppSecret:    p.Connector.AppSecret,
			Key:          key,
			HTTP:         world.HTTP,
			Now:          time.Now,
			After:        time.After,
			Log:          log,
		}
		mux.Handle("/"+p.Code+"/", bank.Handler())
		open = append(open, bank)
	}
	mux.Handle("/directory/", directory.Handler())
	mux.Handle("GET /{$}", http.RedirectHandler("/tpp/", http.StatusSeeOther))
	return mux, func() {
		for _, bank := range open {
			bank.Close()
		}
	}, nil
}
