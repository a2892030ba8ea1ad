package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"net"
	"os"
	"path/filepath"
	"time"
)

// Files of a development certificate in a demo's directory.
const (
	caFile      = "ca.pem"
	tlsCertFile = "tls.pem"
	tlsKeyFile  = "tls-key.pem"
)

// loadDevCertificate returns the certificate of a demo for loopback addresses,
// making it and its authority when there is none or it is about to expire.
func loadDevCertificate(dir string, now time.Time) (*tls.Certificate, error) {
	certFile, keyFile := filepath.Join(dir, tlsCertFile), filepath.Join(dir, tlsKeyFile)
	certificate, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err == nil && now.Before(certificate.Leaf.NotAfter.AddDate(0, -1, 0)) {
		return &certificate, nil
	}
	if err := makeDevCertificate(dir, now); err != nil {
		return nil, err
	}
	certificate, err = tls.LoadX509KeyPair(certFile, keyFile)
	return &certificate, err
}

// makeDevCertificate makes an authority that signs one certificate and is
// never seen again: its key is not kept, so who trusts ca.pem trusts this demo
// alone.
func makeDevCertificate(dir string, now time.Time) error {
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	ca := &x509.Certificate{
		Subject:               pkix.Name{CommonName: "Gatehouse demo, this directory alone"},
		NotBefore:             now.Add(-time.Hour),
		NotAfter:              now.AddDate(1, 0, 0),
		KeyUsage:              x509.KeyUsageCertSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLenZero:        true,
	}
	leaf := &x509.Certificate{
		Subject:     pkix.Name{CommonName: "localhost"},
		NotBefore:   ca.NotBefore,
		NotAfter:    ca.NotAfter,
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		DNSNames:    []string{"localhost"},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
	}
	caDER, err := x509.CreateCertificate(rand.Reader, ca, ca, &caKey.PublicKey, caKey)
	if err != nil {
		return err
	}
	leafDER, err := x509.CreateCertificate(rand.Reader, leaf, ca, &key.PublicKey, caKey)
	if err != nil {
		return err
	}
	for _, file := range []struct {
		name, kind string
		der        []byte
		mode       os.FileMode
	}{
		{caFile, "CERTIFICATE", caDER, 0o644},
		{tlsKeyFile, "PRIVATE KEY", keyDER, 0o600},
		{tlsCertFile, "CERTIFICATE", leafDER, 0o644},
	} {
		text := pem.EncodeToMemory(&pem.Block{Type: file.kind, Bytes: file.der})
		if err := writeFile(filepath.Join(dir, file.name), text, file.mode); err != nil {
			return err
		}
	}
	return nil
}
