package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"gatehouse/jose"
)

// readKeys reads public keys, as a JWK Set or one key in PEM, and returns a
// JWK Set. A key in PEM has no kid of its own and serves whatever kid a
// signature names.
func readKeys(path string) (json.RawMessage, error) {
	data, err := os.ReadFile(path)
	if err != nil || !bytes.Contains(data, []byte("-----BEGIN")) {
		return data, err
	}
	key, err := jose.ParsePublicKeyPEM(data, "", "")
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return json.Marshal(jose.JWKS{Keys: []*jose.PublicKey{key}})
}

// writeFile replaces a file in one step, so that nobody reads half of it.
func writeFile(path string, data []byte, mode os.FileMode) error {
	file, err := os.CreateTemp(filepath.Dir(path), ".new-*") // 0600
	if err != nil {
		return err
	}
	defer os.Remove(file.Name()) // fails after Rename, as it should
	if _, err := file.Write(data); err != nil {
		file.Close()
		return err
	}
	if err := file.Close(); err != nil {
		return err
	}
	if err := os.Chmod(file.Name(), mode); err != nil {
		return err
	}
	return os.Rename(file.Name(), path)
}
