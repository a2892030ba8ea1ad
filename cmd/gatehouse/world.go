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
// addresses of this start. Its clients are not registered yet.
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
	return world, nil
}

// saveWorld writes demo.json.
func saveWorld(dir string, world *demobank.World) error {
	data, err := json.MarshalIndent(world, "", "  ")
	if err != nil {
		return err
	}
	return writeFile(filepath.Join(dir, worldFile), append(data, '\n'), 0o600)
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
			key, err := newKeyFile(dir, bank.code+"-"+kind.suffix, jose.PS256)
			if err != nil {
				return nil, err
			}
			client := demobank.Client{AuthMethod: kind.method, SoftwareKeyFile: key.file}
			if kind.method == gatehouse.AuthPrivateKeyJWT {
				client.Alg, client.KeyFile, client.KID = kind.alg, key.file, key.kid
			}
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
	world.BaseURL, world.SideURL, world.DirectoryURL = baseURL, sideURL, sideURL+"/directory"
	for i := range world.Providers {
		p := &world.Providers[i]
		p.Issuer = baseURL + "/" + p.Code
		p.Connector.BaseURL = baseURL
		p.Connector.KeyFile = filepath.Join(dir, filepath.Base(p.Connector.KeyFile))
		for j := range p.Clients {
			c := &p.Clients[j]
			c.RedirectURIs = []string{sideURL + "/tpp/callback", "https://tpp.example/callback"}
			c.SoftwareKeyFile = filepath.Join(dir, filepath.Base(c.SoftwareKeyFile))
			if c.KeyFile != "" {
				c.KeyFile = c.SoftwareKeyFile
			}
		}
	}
}

// registerProviders makes the server know the banks and their gateways,
// whatever it knew before.
func registerProviders(ctx context.Context, a *admin.Admin, world *demobank.World) error {
	for i, bank := range banks {
		p := &world.Providers[i]
		if err := registerProvider(ctx, a, world, p, bank.name); err != nil {
			return err
		}
		if p.Gateway.ID == "" { // the first start on a directory, or the first of this release
			p.Gateway = demobank.Gateway{ID: bank.code + "-gateway", Secret: gatehouse.NewSecret()}
		}
		if err := a.DeleteResourceServer(ctx, p.Code, p.Gateway.ID); err != nil && !errors.Is(err, gatehouse.ErrNotFound) {
			return err
		}
		n := admin.NewResourceServer{Provider: p.Code, Name: "API gateway", ID: p.Gateway.ID, Secret: p.Gateway.Secret}
		if _, _, err := a.AddResourceServer(ctx, n); err != nil {
			return err
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

// registerClients registers the clients through the door that every TPP comes
// to, each as software of its own; those of an earlier start are updated.
func registerClients(ctx context.Context, world *demobank.World) error {
	for i := range world.Providers {
		for j := range world.Providers[i].Clients {
			if err := registerClient(ctx, world, &world.Providers[i].Clients[j]); err != nil {
				return prefixed("registering a client of "+world.Providers[i].Code, err)
			}
		}
	}
	return nil
}

func registerClient(ctx context.Context, world *demobank.World, c *demobank.Client) error {
	key, err := readKey(c.SoftwareKeyFile, jose.PS256, "")
	if err != nil {
		return err
	}
	g := demobank.Registrant{
		Name:         "Demo TPP",
		RedirectURIs: c.RedirectURIs,
		Roles:        []string{"AISP", "PISP", "CBPII"},
		Directory:    world.DirectoryURL,
		SoftwareID:   c.SoftwareID,
		Server:       world.BaseURL,
		AuthMethod:   c.AuthMethod,
		Alg:          c.Alg,
		ClientID:     c.ID,
		Secret:       c.Secret,
		AccessToken:  c.RegistrationAccessToken,
		Key:          key,
		HTTP:         world.HTTP,
		Now:          world.Now,
	}
	if err := g.Renew(ctx); err != nil {
		return err
	}
	c.ID, c.Secret, c.SoftwareID, c.RegistrationAccessToken = g.ClientID, g.Secret, g.SoftwareID, g.AccessToken
	return nil
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
