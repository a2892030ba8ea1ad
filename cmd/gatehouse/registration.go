package main

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"time"

	"gatehouse"
	"gatehouse/eidas"
	"gatehouse/jose"
)

// validateRegistration reports the first fault that shows without reading
// files.
func (c *config) validateRegistration() error {
	issuers := map[string]bool{}
	for i, d := range c.Directories {
		if (d.JWKSFile == "") == (d.JWKSURI == "") {
			return fmt.Errorf("directories[%d]: either jwks_file or jwks_uri must be set", i)
		}
		if issuers[d.Issuer] {
			return fmt.Errorf("directories[%d]: issuer is repeated", i)
		}
		issuers[d.Issuer] = true
	}
	environments := map[gatehouse.Environment]bool{}
	for i, t := range c.CertificateTrust {
		switch {
		case t.Environment != gatehouse.Production && t.Environment != gatehouse.SandboxEnvironment:
			return fmt.Errorf("certificate_trust[%d]: environment must be production or sandbox", i)
		case environments[t.Environment]:
			return fmt.Errorf("certificate_trust[%d]: environment is repeated", i)
		case t.RootsFile == "":
			return fmt.Errorf("certificate_trust[%d]: roots_file is missing", i)
		case slices.ContainsFunc(t.Kinds, func(kind eidas.Kind) bool { return !kind.Valid() }):
			return fmt.Errorf("certificate_trust[%d]: kinds must be some of qwac, qseal, obwac, obseal", i)
		case t.SkipRevocation && t.Environment != gatehouse.SandboxEnvironment:
			return fmt.Errorf("certificate_trust[%d]: skip_revocation is for sandbox only", i)
		}
		environments[t.Environment] = true
	}
	for i, address := range c.AllowJWKSFetch {
		if _, err := netip.ParseAddrPort(address); err != nil {
			return fmt.Errorf("allow_jwks_fetch[%d] must be an address and a port such as 127.0.0.1:9000", i)
		}
	}
	return nil
}

// directories reads the directories that are trusted.
func (c *config) directories() ([]gatehouse.Directory, error) {
	var directories []gatehouse.Directory
	for i, configured := range c.Directories {
		d := gatehouse.Directory{
			Issuer:          configured.Issuer,
			JWKSURI:         configured.JWKSURI,
			Environment:     configured.Environment,
			Providers:       configured.Providers,
			RolesClaim:      configured.RolesClaim,
			KeyHosts:        configured.JWKSHosts,
			StatementMaxAge: configured.StatementMaxAge,
		}
		prefix := fmt.Sprintf("config: directories[%d]", i)
		if configured.JWKSFile != "" {
			keys, err := readKeys(configured.JWKSFile)
			if err != nil {
				return nil, prefixed(prefix+": jwks_file", err)
			}
			d.JWKS = keys
		}
		if err := d.Validate(); err != nil {
			return nil, prefixed(prefix, err)
		}
		directories = append(directories, d)
	}
	return directories, nil
}

// trust reads the anchors of each environment.
func (c *config) trust() (map[gatehouse.Environment]*eidas.Trust, error) {
	trust := map[gatehouse.Environment]*eidas.Trust{}
	for i, configured := range c.CertificateTrust {
		prefix := fmt.Sprintf("config: certificate_trust[%d]", i)
		t := &eidas.Trust{Kinds: configured.Kinds}
		var err error
		if t.Roots, err = readCertificates(configured.RootsFile); err != nil {
			return nil, prefixed(prefix+": roots_file", err)
		}
		if t.Intermediates, err = readCertificates(configured.IntermediatesFile); err != nil {
			return nil, prefixed(prefix+": intermediates_file", err)
		}
		if !configured.SkipRevocation {
			t.Revocation = &eidas.Revocation{HTTP: revocationClient()}
		}
		trust[configured.Environment] = t
	}
	return trust, nil
}

// readCertificates reads a file of certificates in PEM; "" is no file.
func readCertificates(path string) (*x509.CertPool, error) {
	if path == "" {
		return nil, nil
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	for len(bytes.TrimSpace(data)) > 0 {
		var block *pem.Block
		if block, data = pem.Decode(data); block == nil || block.Type != "CERTIFICATE" {
			return nil, errors.New("not certificates in PEM")
		}
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, errors.New("has a malformed certificate")
		}
		pool.AddCert(certificate)
	}
	if pool.Equal(x509.NewCertPool()) {
		return nil, errors.New("has no certificate")
	}
	return pool, nil
}

// fetcher reads keys by URL.
func (c *config) fetcher(log *slog.Logger) *jose.Fetcher {
	allowed := map[netip.AddrPort]bool{}
	for _, address := range c.AllowJWKSFetch {
		allowed[netip.MustParseAddrPort(address)] = true // validated
	}
	return &jose.Fetcher{Now: time.Now, Allow: func(address netip.AddrPort) bool { return allowed[address] }, Log: log}
}

// revocationClient asks issuers about certificates. It reaches public addresses
// alone: which to ask stands in the certificates.
func revocationClient() *http.Client {
	dialer := &net.Dialer{Control: jose.PublicOnly}
	return &http.Client{
		Transport:     &http.Transport{DialContext: dialer.DialContext},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}
