package demobank

import (
	"fmt"
	"net/http"
	"os"
	"time"

	"gatehouse/jose"
)

// A World is all that an outside program needs to play bank and third party against a running demo. Its JSON form is
// the file demo.json; every secret in it is a sandbox secret.
type World struct {
	BaseURL      string     `json:"base_url"`      // of the server, without a slash at the end
	SideURL      string     `json:"side_url"`      // of the listener with the banks' pages and the TPP, alike
	DirectoryURL string     `json:"directory_url"` // of the sandbox directory, alike
	Providers    []Provider `json:"providers"`

	CAFile string           `json:"-"` // PEM file of the development CA; empty over plain http
	HTTP   *http.Client     `json:"-"` // trusts the development CA
	Now    func() time.Time `json:"-"`
}

// Values of Provider.Door: who hosts the authorization endpoint.
const (
	DoorGatehouse = "gatehouse"
	DoorBank      = "bank"
)

// A Provider is one bank of the World.
type Provider struct {
	Code      string    `json:"provider_code"`
	Issuer    string    `json:"issuer"`
	Profile   string    `json:"profile"` // psd2 or oidc
	Door      string    `json:"door"`    // DoorGatehouse or DoorBank
	Clients   []Client  `json:"clients"`
	Connector Connector `json:"connector"`
	Gateway   Gateway   `json:"gateway"`
	PSUs      []PSU     `json:"psus"`
}

// A Client is a registered client and its secrets. KeyFile names a PKCS#8 PEM file by absolute path; its key signs with
// Alg alone. The last three are for managing the registration; the key in SoftwareKeyFile signs what is registered.
type Client struct {
	ID           string   `json:"client_id"`
	AuthMethod   string   `json:"token_endpoint_auth_method"` // private_key_jwt or client_secret_basic
	Secret       string   `json:"client_secret,omitempty"`
	Alg          string   `json:"alg,omitempty"`
	KID          string   `json:"kid,omitempty"`
	KeyFile      string   `json:"key_file,omitempty"`
	RedirectURIs []string `json:"redirect_uris"`

	SoftwareID              string `json:"software_id"`
	SoftwareKeyFile         string `json:"software_key_file"`
	RegistrationAccessToken string `json:"registration_access_token"`
}

// A Connector holds the credentials with which the bank calls the server. KeyFile is as in Client; the key signs RS256.
type Connector struct {
	BaseURL   string `json:"base_url"` // of the connector API: {base_url}/api/connectors/ob/v1/…
	AppID     string `json:"app_id"`
	AppSecret string `json:"app_secret"`
	KeyFile   string `json:"key_file"`
}

// A Gateway holds the credentials with which the bank's gateway asks about tokens, as a resource server.
type Gateway struct {
	ID     string `json:"resource_server_id"`
	Secret string `json:"secret"`
}

// A PSU is a customer of a sandbox bank, as it logs in.
type PSU struct {
	Username string `json:"username"`
	Password string `json:"password"`
	OTP      string `json:"otp"`
}

// The PSUs that every sandbox bank has; the name says what happens.
const (
	PSUApprove = "approve" // the button decides
	PSUDeny    = "deny"    // the bank refuses, whatever is clicked
	PSUSlow    = "slow"    // the button decides, but the verdict comes SlowDelay after the browser left
	PSUNever   = "never"   // the browser leaves and no verdict ever comes
	PSULocked  = "locked"  // the bank lets nobody in
)

// PSUs lists the customers of a sandbox bank.
func PSUs() []PSU {
	var psus []PSU
	for _, name := range []string{PSUApprove, PSUDeny, PSUSlow, PSUNever, PSULocked} {
		psus = append(psus, PSU{Username: name, Password: "demo", OTP: "123456"})
	}
	return psus
}

func (c *Client) key() (*jose.PrivateKey, error) {
	data, err := os.ReadFile(c.KeyFile)
	if err != nil {
		return nil, err
	}
	key, err := jose.ParsePrivateKeyPEM(data, c.Alg, c.KID)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", c.KeyFile, err)
	}
	return key, nil
}
