//go:build linux

package main

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"gatehouse"
	"gatehouse/jose"
)

// A deployment is the program under test on one database.
type deployment struct {
	program     string
	dir         string
	environment environment
	settings    []string // environment variables of every process
}

// newDeployment chooses the configuration.
func newDeployment(program, dir string, e environment, extra []string) (*deployment, error) {
	var key [32]byte
	rand.Read(key[:])
	file := filepath.Join(dir, "key-encryption-key")
	if err := os.WriteFile(file, []byte(base64.StdEncoding.EncodeToString(key[:])), 0o600); err != nil {
		return nil, err
	}
	return &deployment{program: program, dir: dir, environment: e, settings: append([]string{
		"GATEHOUSE_BASE_URL=" + baseURL,
		"GATEHOUSE_MODE=development",
		"GATEHOUSE_KEY_ENCRYPTION_KEY_FILE=" + file,
		"GATEHOUSE_LOG_LEVEL=info",
		"GATEHOUSE_TIMEOUTS_SHUTDOWN=5s",
	}, extra...)}, nil
}

// cli runs a command of the program on the database of a replica and reads what
// it prints.
func (d *deployment) cli(ctx context.Context, into any, args ...string) error {
	cmd := exec.CommandContext(ctx, d.program, append([]string{"--output", "json"}, args...)...)
	cmd.Dir = d.dir
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "GATEHOUSE_DATABASE=" + d.environment.url(0)}, d.settings...)
	out, err := cmd.Output()
	if err != nil {
		if fault, ok := err.(*exec.ExitError); ok {
			return fmt.Errorf("gatehouse %v: %w: %s", args, err, fault.Stderr)
		}
		return err
	}
	if into == nil {
		return nil
	}
	return json.Unmarshal(out, into)
}

// lives are the lifetimes of access tokens: one that ends within a long run,
// one that does not.
var lives = map[string]time.Duration{plainProvider: 24 * time.Hour, rotatingProvider: 10 * time.Minute}

// addBank registers a provider, as an operator does.
func (d *deployment) addBank(ctx context.Context, code string, options ...string) (*bank, error) {
	key, err := jose.GenerateKey(jose.RS256, 2048)
	if err != nil {
		return nil, err
	}
	file, err := d.keyFile(code, key)
	if err != nil {
		return nil, err
	}
	var added struct {
		Connector struct {
			AppID string `json:"app_id"`
		} `json:"connector"`
		AppSecret string `json:"app_secret"`
	}
	args := append([]string{"provider", "add", code, "--name", code, "--connector-jwks", file,
		"--authorization-endpoint", "https://" + code + ".example/authorize",
		"--access-token-lifetime", lives[code].String()}, options...)
	if err := d.cli(ctx, &added, args...); err != nil {
		return nil, err
	}
	return &bank{code: code, appID: added.Connector.AppID, appSecret: added.AppSecret, key: key}, nil
}

// addParty registers a client: with a key, or with a secret.
func (d *deployment) addParty(ctx context.Context, name string, withKey bool) (*party, error) {
	p := &party{id: name}
	args := []string{"client", "add", "--name", name, "--client-id", name, "--redirect-uri", redirectURI,
		"--grant-type", "authorization_code,client_credentials,refresh_token"}
	if withKey {
		key, err := jose.GenerateKey(jose.RS256, 2048)
		if err != nil {
			return nil, err
		}
		file, err := d.keyFile(name, key)
		if err != nil {
			return nil, err
		}
		p.key = key
		args = append(args, "--auth-method", gatehouse.AuthPrivateKeyJWT, "--jwks", file)
	}
	var added struct {
		Password string `json:"client_secret"`
	}
	if err := d.cli(ctx, &added, args...); err != nil {
		return nil, err
	}
	p.password = added.Password
	return p, nil
}

func (d *deployment) keyFile(name string, key *jose.PrivateKey) (string, error) {
	data, err := json.Marshal(jose.JWKS{Keys: []*jose.PublicKey{key.Public()}})
	if err != nil {
		return "", err
	}
	file := filepath.Join(d.dir, name+"-jwks.json")
	return file, os.WriteFile(file, data, 0o600)
}
