package gatehouse

import "gatehouse/jose"

// Client secrets and connectors' app_secrets may come from another system, so
// their strength is not ours to know. Each is stored as a keyed hash bound to
// its owner: without the key-encryption key, which is not in the database,
// nothing can be tried against it. Compare with subtle.ConstantTimeCompare.

// ClientSecretHash is the keyed hash of a client_secret, Client.SecretHash.
func ClientSecretHash(kek *jose.KEK, clientID, secret string) []byte {
	return kek.MAC("client_secret", clientID, secret)
}

// AppSecretHash is the keyed hash of a connector's App-Secret,
// Connector.AppSecretHash.
func AppSecretHash(kek *jose.KEK, appID, secret string) []byte {
	return kek.MAC("app_secret", appID, secret)
}
