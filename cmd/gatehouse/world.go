package main

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"gatehouse"
	"gatehouse/admin"
	"gatehouse/demobank"
	"gatehouse/jose"
)

// worldFile tells outside programs all they need; a second start on the same
// directory reads its secrets there.
const worldFile = "demo.json"

// keyBits is the length of the keys that banks and TPPs have in the demo.
const keyBits = 2048

// banks are the providers of the demo: both profiles, both doors.
var banks = []struct {
	code, name string
	profile    gatehouse.Profile
	door       string
}{
	{"demobank", "Demobank", gatehouse.ProfilePSD2, demobank.DoorGatehouse},
	{"examplebank", "Examplebank", gatehouse.ProfilePSD2, demobank.DoorBank},
	{"oidcbank", "OIDC Bank", gatehouse.ProfileOIDC, demobank.DoorGatehouse},
}

// clientsOfBank are the ways in which clients of the demo authenticate.
var clientsOfBank = []struct{ suffix, method, alg string }{
	{"ps256", gatehouse.AuthPrivateKeyJWT, jose.PS256},
	{"rs256", gatehouse.AuthPrivateKeyJWT, jose.RS256},
	{"basic", gatehouse.AuthClientSecretBasic, ""},
}

// loadWorld reads the world of a directory, or makes one, and places it at the
// addresses of this start.
func loadWorld(dir, baseURL, sideURL string) (*demobank.World, error) {
	world := new(demobank.World)
	data, err := os.ReadFile(filepath.Join(dir, worldFile))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		world, err = newWorld(dir)
	case err == nil:
		err = prefixed(worldFile, json.Unmarshal(data, world))
	}
	if err != nil {
		return nil, err
	}
	place(world, dir, baseURL, sideURL)
	data, err = json.MarshalIndent(world, "", "  ")
	if err != nil {
		return nil, err
	}
	return world, writeFile(filepath.Join(dir, worldFile), append(data, '\n'), 0o600)
}

// newWorld makes every key and secret of a demo.
func newWorld(dir string) (*demobank.World, error) {
	world := new(demobank.World)
	for _, bank := range banks {
		connectorKey, err := newKeyFile(dir, bank.code+"-connector", jose.RS256)
		if err != nil {
			return nil, err
		}
		p := demobank.Provider{
			Code:    bank.code,
			Profile: string(bank.profile),
			Door:    bank.door,
			Connector: demobank.Connector{
				AppID:     bank.code + "-connector",
				AppSecret: gatehouse.NewSecret(),
				KeyFile:   connectorKey.file,
			},
			PSUs: demobank.PSUs(),
		}
		for _, kind := range clientsOfBank {
			client := demobank.Client{ID: bank.code + "-" + kind.suffix, AuthMethod: kind.method, Alg: kind.alg}
			if kind.method == gatehouse.AuthClientSecretBasic {
				client.Secret = gatehouse.NewSecret()
				p.Clients = append(p.Clients, client)
				continue
			}
			key, err := newKeyFile(dir, client.ID, kind.alg)
			if err != nil {
				return nil, err
			}
			client.KeyFile, client.KID = key.file, key.kid
			p.Clients = append(p.Clients, client)
		}
		world.Providers = append(world.Providers, p)
	}
	return world, nil
}

type keyFile struct{ file, kid string }

func newKeyFile(dir, name, alg string) (keyFile, error) {
	key, err := jose.GenerateKey(alg, keyBits)
	if err != nil {
		return keyFile{}, err
	}
	file := filepath.Join(dir, name+".pem")
	return keyFile{file, key.KID}, writeFile(file, key.PEM(), 0o600)
}

// place sets what depends on the directory and on the addresses of a start.
func place(world *demobank.World, dir, baseURL, sideURL string) {
	world.BaseURL, world.SideURL = baseURL, sideURL
	for i := range world.Providers {
		p := &world.Providers[i]
		p.Issuer = baseURL + "/" + p.Code
		p.Connector.BaseURL = baseURL
		p.Connector.KeyFile = filepath.Join(dir, filepath.Base(p.Connector.KeyFile))
		for j := range p.Clients {
			c := &p.Clients[j]
			c.RedirectURIs = []string{sideURL + "/tpp/callback", "https://tpp.example/callback"}
			if c.KeyFile != "" {
				c.KeyFile = filepath.Join(dir, filepath.Base(c.KeyFile))
			}
		}
	}
}

// register makes the server know the world, whatever it knew before.
func register(ctx context.Context, a *admin.Admin, world *demobank.World) error {
	for i, bank := range banks {
		p := &world.Providers[i]
		if err := registerProvider(ctx, a, world, p, bank.name); err != nil {
			return err
		}
		for _, c := range p.Clients {
			if err := registerClient(ctx, a, p.Code, c); err != nil {
				return err
			}
		}
	}
	return nil
}

func registerProvider(ctx context.Context, a *admin.Admin, world *demobank.World, p *demobank.Provider, name string) error {
	jwks, err := readPublicJWKS(p.Connector.KeyFile, jose.RS256, "")
	if err != nil {
		return err
	}
	n := admin.NewProvider{
		Code:         p.Code,
		Name:         name,
		Status:       gatehouse.Sandbox,
		Profile:      gatehouse.Profile(p.Profile),
		ConnectorURL: world.SideURL + "/" + p.Code,
		JWKS:         jwks,
		AppID:        p.Connector.AppID,
		AppSecret:    p.Connector.AppSecret,
	}
	if p.Door == demobank.DoorBank {
		n.AuthorizationEndpoint = world.SideURL + "/" + p.Code + "/authorize"
	} else {
		n.LoginURL = world.SideURL + "/" + p.Code + "/login"
	}
	_, _, err = a.AddProvider(ctx, n)
	if !errors.Is(err, gatehouse.ErrExists) {
		return err
	}
	_, err = a.UpdateProvider(ctx, p.Code, func(known *gatehouse.Provider) {
		known.AuthorizationEndpoint = n.AuthorizationEndpoint
		known.Connector.URL, known.Connector.LoginURL = n.ConnectorURL, n.LoginURL
		known.Connector.JWKS = jwks
		known.Connector.AppSecretHash = gatehouse.AppSecretHash(a.KEK, n.AppID, n.AppSecret)
	})
	return err
}

func registerClient(ctx context.Context, a *admin.Admin, code string, c demobank.Client) error {
	n := admin.NewClient{
		Name:                    "Demo TPP",
		Providers:               []string{code},
		RedirectURIs:            c.RedirectURIs,
		GrantTypes:              gatehouse.GrantTypes(),
		TokenEndpointAuthMethod: c.AuthMethod,
		ID:                      c.ID,
		Secret:                  c.Secret,
	}
	if c.KeyFile != "" {
		var err error
		if n.JWKS, err = readPublicJWKS(c.KeyFile, c.Alg, c.KID); err != nil {
			return err
		}
	}
	_, _, err := a.AddClient(ctx, n)
	if !errors.Is(err, gatehouse.ErrExists) {
		return err
	}
	_, err = a.UpdateClient(ctx, c.ID, func(known *gatehouse.Client) {
		known.RedirectURIs = n.RedirectURIs
		known.JWKS = n.JWKS
		if c.Secret != "" {
			known.SecretHash = gatehouse.ClientSecretHash(a.KEK, c.ID, c.Secret)
		}
	})
	return err
}

func readKey(file, alg, kid string) (*jose.PrivateKey, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	key, err := jose.ParsePrivateKeyPEM(data, alg, kid)
	return key, prefixed(file, err)
}

func readPublicJWKS(file, alg, kid string) (json.RawMessage, error) {
	key, err := readKey(file, alg, kid)
	if err != nil {
		return nil, err
	}
	return json.Marshal(jose.JWKS{Keys: []*jose.PublicKey{key.Public()}})
}
