package main

import (
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"gatehouse"
	"gatehouse/demobank"
	"gatehouse/eidas"
	"gatehouse/jose"
	"gatehouse/oidc"
)

// Files of the sandbox directory in a demo's directory.
const (
	directoryKeyFile   = "directory.pem"
	directoryCAFile    = "directory-ca.pem"
	directoryCAKeyFile = "directory-ca-key.pem"
)

// directoryIssuer is the iss of its statements.
const directoryIssuer = "Gatehouse sandbox directory"

// loadDirectory returns the sandbox directory of a demo, making its keys when
// there are none.
func loadDirectory(dir, url string, log *slog.Logger) (*demobank.Directory, error) {
	keyPath := filepath.Join(dir, directoryKeyFile)
	if _, err := os.Stat(keyPath); errors.Is(err, fs.ErrNotExist) {
		if err := makeDirectory(dir); err != nil {
			return nil, err
		}
	}
	key, err := readKey(keyPath, jose.PS256, "")
	if err != nil {
		return nil, err
	}
	pair, err := tls.LoadX509KeyPair(filepath.Join(dir, directoryCAFile), filepath.Join(dir, directoryCAKeyFile))
	if err != nil {
		return nil, err
	}
	caKey, _ := pair.PrivateKey.(crypto.Signer) // as every key is that LoadX509KeyPair reads
	return &demobank.Directory{
		URL:    url,
		Issuer: directoryIssuer,
		Key:    key,
		CA:     pair.Leaf,
		CAKey:  caKey,
		Now:    time.Now,
		Log:    log,
	}, nil
}

// makeDirectory writes the key for statements last: with it, all is there.
func makeDirectory(dir string) error {
	ca, caKey, err := demobank.NewCA(time.Now())
	if err != nil {
		return err
	}
	caKeyDER, err := x509.MarshalPKCS8PrivateKey(caKey)
	if err != nil {
		return err
	}
	caKeyPEM := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: caKeyDER})
	if err := writeFile(filepath.Join(dir, directoryCAKeyFile), caKeyPEM, 0o600); err != nil {
		return err
	}
	caPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.Raw})
	if err := writeFile(filepath.Join(dir, directoryCAFile), caPEM, 0o644); err != nil {
		return err
	}
	_, err = newKeyFile(dir, strings.TrimSuffix(directoryKeyFile, ".pem"), jose.PS256)
	return err
}

// trustDirectory makes the server believe the sandbox directory, for sandbox
// providers.
func trustDirectory(server *oidc.Server, d *demobank.Directory) error {
	jwks, err := json.Marshal(jose.JWKS{Keys: []*jose.PublicKey{d.Key.Public()}})
	if err != nil {
		return err
	}
	roots := x509.NewCertPool()
	roots.AddCert(d.CA)
	server.Directories = []gatehouse.Directory{{Issuer: d.Issuer, JWKS: jwks, Environment: gatehouse.SandboxEnvironment}}
	server.Trust = map[gatehouse.Environment]*eidas.Trust{gatehouse.SandboxEnvironment: {Roots: roots}}
	return server.Directories[0].Validate()
}
