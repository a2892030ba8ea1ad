package main

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"gatehouse"
	"gatehouse/demobank"
	"gatehouse/jose"
)

// A tpp plays a third party at any deployment, over HTTP alone. It keeps its
// key and all else it knows in a directory.
type tpp struct {
	dir    string
	caFile string
}

// Files of a TPP's directory. The next key is there while the server is told of
// it.
const (
	tppFile        = "tpp.json"
	tppKeyFile     = "key.pem"
	tppNextKeyFile = "next-key.pem"
)

const tppTimeout = 30 * time.Second

func (c *cli) tppCommand() *cobra.Command {
	t := new(tpp)
	cmd := group("tpp", "Play a TPP: register an application at a server and look after it",
		c.tppNew(t), c.tppRegister(t), c.tppShow(t), c.tppUpdate(t), c.tppDelete(t), c.tppToken(t), c.tppRecover(t))
	cmd.PersistentFlags().StringVar(&t.dir, "dir", "tpp", "directory of the application: its key and tpp.json")
	cmd.PersistentFlags().StringVar(&t.caFile, "ca", "", "file with the CAs to trust for https, PEM (default the system's)")
	cmd.MarkPersistentFlagDirname("dir")
	cmd.MarkPersistentFlagFilename("ca")
	return cmd
}

func (c *cli) tppNew(t *tpp) *cobra.Command {
	var g demobank.Registrant
	cmd := &cobra.Command{
		Use:   "new",
		Short: "Make a key and get a software statement from a sandbox directory",
		Args:  cobra.NoArgs,
		RunE: c.does(func(cmd *cobra.Command, _ []string) (err error) {
			if _, err := os.Stat(t.path(tppFile)); !errors.Is(err, fs.ErrNotExist) {
				return cmp.Or(err, errors.New(t.path(tppFile)+" exists already"))
			}
			if g.Key, err = jose.GenerateKey(jose.PS256, keyBits); err != nil {
				return err
			}
			if err := t.connect(&g); err != nil {
				return err
			}
			if err := g.ObtainStatement(cmd.Context()); err != nil {
				return err
			}
			if err := os.MkdirAll(t.dir, 0o700); err != nil {
				return err
			}
			if err := writeFile(t.path(tppKeyFile), g.Key.PEM(), 0o600); err != nil {
				return err
			}
			if err := t.save(&g); err != nil {
				return err
			}
			return c.printTPP(&g)
		}),
	}
	f := cmd.Flags()
	f.StringVar(&g.Name, "name", "", "name of the application, shown to PSUs")
	f.StringArrayVar(&g.RedirectURIs, "redirect-uri", nil, "where PSUs return to; may be repeated")
	f.StringSliceVar(&g.Roles, "role", []string{"AISP"}, "roles of the software: AISP, PISP, CBPII")
	f.StringVar(&g.Directory, "directory", "", "URL of the sandbox directory")
	f.StringVar(&g.OrgID, "org-id", "", "organisation of the TPP (default the directory's)")
	for _, name := range []string{"name", "redirect-uri", "directory"} {
		cmd.MarkFlagRequired(name)
	}
	cmd.RegisterFlagCompletionFunc("role", cobra.FixedCompletions([]string{"AISP", "PISP", "CBPII"}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

func (c *cli) tppRegister(t *tpp) *cobra.Command {
	var server string
	var dryRun bool
	method, alg := gatehouse.AuthPrivateKeyJWT, jose.PS256
	cmd := &cobra.Command{
		Use:   "register",
		Short: "Register the application at a server",
		Args:  cobra.NoArgs,
		RunE: c.asTPP(t, func(ctx context.Context, g *demobank.Registrant) error {
			g.Server, g.AuthMethod, g.Alg = strings.TrimSuffix(server, "/"), method, alg
			if dryRun {
				answer, err := g.Rehearse(ctx)
				if err != nil {
					return err
				}
				return c.printAnswer(answer)
			}
			if err := t.save(g); err != nil { // so that a registration whose answer is lost can be recovered
				return err
			}
			if err := g.Register(ctx); err != nil {
				return err
			}
			if err := t.save(g); err != nil {
				return err
			}
			return c.printTPP(g)
		}),
	}
	f := cmd.Flags()
	f.StringVar(&server, "server", "", "base URL of the server")
	oneOf(f, cmd, &method, "auth-method", "private_key_jwt or client_secret_basic", gatehouse.AuthMethods()...)
	oneOf(f, cmd, &alg, "signing-alg", "algorithm of assertions and request objects", gatehouse.Algs()...)
	f.BoolVar(&dryRun, "dry-run", false, "let the server validate everything and store nothing")
	cmd.MarkFlagRequired("server")
	return cmd
}

func (c *cli) tppShow(t *tpp) *cobra.Command {
	return &cobra.Command{
		Use:   "show",
		Short: "Show what the server knows of the application",
		Args:  cobra.NoArgs,
		RunE: c.asTPP(t, func(ctx context.Context, g *demobank.Registrant) error {
			answer, err := g.Read(ctx)
			if err != nil {
				return err
			}
			return c.printAnswer(answer)
		}),
	}
}

func (c *cli) tppUpdate(t *tpp) *cobra.Command {
	var name string
	var redirectURIs, roles []string
	var rotateKey bool
	cmd := &cobra.Command{
		Use:   "update",
		Short: "Change the application, at the directory and at the server",
		Args:  cobra.NoArgs,
		RunE: c.asTPP(t, func(ctx context.Context, g *demobank.Registrant) (err error) {
			g.Name = cmp.Or(name, g.Name)
			if redirectURIs != nil {
				g.RedirectURIs = redirectURIs
			}
			if roles != nil {
				g.Roles = roles
			}
			if !rotateKey {
				if err := g.Update(ctx); err != nil {
					return err
				}
			} else if err := t.rotateKey(ctx, g); err != nil {
				return err
			}
			if err := t.save(g); err != nil {
				return err
			}
			return c.printTPP(g)
		}),
	}
	f := cmd.Flags()
	f.StringVar(&name, "name", "", "another name")
	f.StringArrayVar(&redirectURIs, "redirect-uri", nil, "other places where PSUs return to, in place of all before; may be repeated")
	f.StringSliceVar(&roles, "role", nil, "other roles, in place of all before")
	f.BoolVar(&rotateKey, "rotate-key", false, "make a new key; the old one is good for nothing from then on")
	return cmd
}

// rotateKey has the new key on disk before the server learns of it, and the old
// one until the server has agreed.
func (t *tpp) rotateKey(ctx context.Context, g *demobank.Registrant) (err error) {
	if g.Key, err = jose.GenerateKey(jose.PS256, keyBits); err != nil {
		return err
	}
	if err := writeFile(t.path(tppNextKeyFile), g.Key.PEM(), 0o600); err != nil {
		return err
	}
	if err := g.Update(ctx); err != nil {
		return err
	}
	return os.Rename(t.path(tppNextKeyFile), t.path(tppKeyFile))
}

func (c *cli) tppDelete(t *tpp) *cobra.Command {
	return &cobra.Command{
		Use:   "delete",
		Short: "End the registration, with all its tokens",
		Args:  cobra.NoArgs,
		RunE: c.asTPP(t, func(ctx context.Context, g *demobank.Registrant) error {
			id := g.ClientID
			if err := g.Delete(ctx); err != nil {
				return err
			}
			if err := t.save(g); err != nil {
				return err
			}
			return c.print(map[string]string{"client_id": id, "status": "deleted"}, func(w io.Writer) {
				sheet(w, "client_id", id, "status", "deleted")
			})
		}),
	}
}

func (c *cli) tppToken(t *tpp) *cobra.Command {
	var code string
	cmd := &cobra.Command{
		Use:   "token",
		Short: "Get an access token of the application itself at a provider",
		Args:  cobra.NoArgs,
		RunE: c.asTPP(t, func(ctx context.Context, g *demobank.Registrant) error {
			answer, err := g.Token(ctx, code)
			if err != nil {
				return err
			}
			return c.printAnswer(answer)
		}),
	}
	cmd.Flags().StringVar(&code, "provider", "", "provider_code")
	cmd.MarkFlagRequired("provider")
	return cmd
}

func (c *cli) tppRecover(t *tpp) *cobra.Command {
	var server string
	cmd := &cobra.Command{
		Use:   "recover",
		Short: "Find a lost registration by the key, and get a new registration access token",
		Args:  cobra.NoArgs,
		RunE: c.asTPP(t, func(ctx context.Context, g *demobank.Registrant) error {
			g.Server = cmp.Or(strings.TrimSuffix(server, "/"), g.Server)
			if g.Server == "" {
				return errors.New("--server is needed: the application was never registered from here")
			}
			if err := g.Recover(ctx); err != nil {
				return err
			}
			if err := t.save(g); err != nil {
				return err
			}
			return c.printTPP(g)
		}),
	}
	cmd.Flags().StringVar(&server, "server", "", "base URL of the server (default the one of tpp.json)")
	return cmd
}

// asTPP runs action on the application of the directory.
func (c *cli) asTPP(t *tpp, action func(ctx context.Context, g *demobank.Registrant) error) func(*cobra.Command, []string) error {
	return c.does(func(cmd *cobra.Command, _ []string) error {
		g, err := t.load()
		if err != nil {
			return err
		}
		return action(cmd.Context(), g)
	})
}

func (t *tpp) path(name string) string { return filepath.Join(t.dir, name) }

func (t *tpp) load() (*demobank.Registrant, error) {
	data, err := os.ReadFile(t.path(tppFile))
	if err != nil {
		return nil, err
	}
	g := new(demobank.Registrant)
	if err := json.Unmarshal(data, g); err != nil {
		return nil, prefixed(t.path(tppFile), err)
	}
	if g.Key, err = readKey(t.path(tppKeyFile), jose.PS256, ""); err != nil {
		return nil, err
	}
	return g, t.connect(g)
}

// connect gives the application a clock and a way to the network.
func (t *tpp) connect(g *demobank.Registrant) error {
	g.Directory = strings.TrimSuffix(g.Directory, "/")
	g.Now, g.HTTP = time.Now, &http.Client{
		Timeout:       tppTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	roots, err := readCertificates(t.caFile)
	if err != nil {
		return prefixed("--ca", err)
	}
	if roots != nil {
		g.HTTP.Transport = trusting(roots)
	}
	return nil
}

// trusting returns a transport that trusts the roots alone.
func trusting(roots *x509.CertPool) *http.Transport {
	return &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, ForceAttemptHTTP2: true}
}

func (t *tpp) save(g *demobank.Registrant) error {
	data, err := json.MarshalIndent(g, "", "  ")
	if err != nil {
		return err
	}
	return writeFile(t.path(tppFile), append(data, '\n'), 0o600)
}

// printTPP shows the application without its secrets, which are in tpp.json.
func (c *cli) printTPP(g *demobank.Registrant) error {
	shown := *g
	shown.Secret, shown.AccessToken, shown.Statement = "", "", ""
	return c.print(shown, func(w io.Writer) {
		sheet(w,
			"client_name", g.Name,
			"redirect_uris", g.RedirectURIs,
			"roles", g.Roles,
			"org_id", g.OrgID,
			"software_id", g.SoftwareID,
			"server", g.Server,
			"token_endpoint_auth_method", g.AuthMethod,
			"client_id", g.ClientID,
			"registration_client_uri", g.URI,
		)
	})
}

// printAnswer shows the answer of a server: in JSON as it is, but for the token
// that manages the registration; as text without what is too long to read.
func (c *cli) printAnswer(answer json.RawMessage) error {
	var members map[string]any
	decoder := json.NewDecoder(bytes.NewReader(answer))
	decoder.UseNumber()
	if err := decoder.Decode(&members); err != nil {
		return err
	}
	delete(members, "registration_access_token")
	return c.print(members, func(w io.Writer) {
		delete(members, "software_statement")
		for _, name := range slices.Sorted(maps.Keys(members)) {
			switch value := members[name].(type) {
			case nil, map[string]any:
			case []any:
				sheet(w, name, strings.Trim(fmt.Sprint(value), "[]"))
			default:
				sheet(w, name, value)
			}
		}
	})
}
