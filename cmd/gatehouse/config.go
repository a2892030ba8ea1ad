package main

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"os"
	"reflect"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"gatehouse"
	"gatehouse/connector"
	"gatehouse/eidas"
	"gatehouse/jose"
	"gatehouse/oidc"
)

// A config is everything a deployment decides. Each key may also come from
// the environment, which wins over the file: GATEHOUSE_, then the path of the
// key in upper case, joined by _; an empty variable counts as absent. Lists are
// in the file alone. The comments below are those of gatehouse.example.yaml; a
// test compares them.
type config struct {
	// The public origin, as TPPs and browsers see it; every issuer and
	// endpoint begins with it. Required. https, unless the host is a loopback
	// address.
	BaseURL string `yaml:"base_url"`
	// production or development. Production refuses unsafe switches, those
	// that begin with allow_.
	Mode string `yaml:"mode"`
	// The address of the public listener. Without tls it must be a loopback
	// address, unless behind_proxy is set.
	Listen string `yaml:"listen"`
	// A proxy in front ends TLS and reaches the public listener over a
	// network that can be trusted.
	BehindProxy bool `yaml:"behind_proxy"`
	// The proxies whose X-Forwarded-For is believed, as addresses or networks
	// such as 10.0.0.0/8; for limits alone, never for a URL. A list; it cannot
	// come from the environment.
	TrustedProxies []string `yaml:"trusted_proxies"`
	// Origins such as https://app.example whose scripts may call the token
	// endpoint (CORS). A list; it cannot come from the environment.
	TokenOrigins []string `yaml:"token_origins"`
	// The certificate of the public listener; without one it speaks plain
	// http. It is read once, at the start.
	TLS tlsConfig `yaml:"tls"`
	// The address of the listener for operators: /healthz and /readyz. It
	// must be a loopback address, unless admin_remote is set.
	AdminListen string `yaml:"admin_listen"`
	// Other machines may reach admin_listen, for probes of an orchestrator.
	AdminRemote bool `yaml:"admin_remote"`
	// Where the data is: sqlite:PATH or a postgres:// URL. Relative paths,
	// here and below, begin at the working directory.
	Database string `yaml:"database"`
	// A file with the key-encryption key: 32 random bytes in base64, as
	// "openssl rand -base64 32" makes them. It seals signing keys and keys
	// the hashes of secrets, so it must not be lost and must not lie in the
	// database. The key itself may come as GATEHOUSE_KEY_ENCRYPTION_KEY.
	KeyEncryptionKeyFile string `yaml:"key_encryption_key_file"`
	// Directories whose software statements are trusted: with one, TPPs
	// register themselves. A list; it cannot come from the environment.
	Directories []directoryConfig `yaml:"directories"`
	// Anchors of the PSD2 certificates that TPPs may add to their clients. A
	// list; it cannot come from the environment.
	CertificateTrust []trustConfig `yaml:"certificate_trust"`
	// TLS of the calls to banks. What the files hold is read once, at the
	// start.
	ConnectorTLS connectorTLSConfig `yaml:"connector_tls"`
	Log          logConfig          `yaml:"log"`
	Timeouts     timeoutsConfig     `yaml:"timeouts"`
	Limits       limitsConfig       `yaml:"limits"`
	// How often rows that ended a day ago are deleted.
	PurgeEvery gatehouse.Duration `yaml:"purge_every"`
	// Unsafe, for development alone: plain http beyond loopback addresses,
	// in base_url and listen.
	AllowPlainHTTP bool `yaml:"allow_plain_http"`
	// Unsafe, for development alone: addresses such as 127.0.0.1:9000 that
	// keys are read from by URL although they are not public. A list; it
	// cannot come from the environment.
	AllowJWKSFetch []string `yaml:"allow_jwks_fetch"`
	// Unsafe, for development alone: whoever reaches admin_listen moves the
	// server's clock, by PUT /clock with {"offset":"2h"}.
	AllowClockControl bool `yaml:"allow_clock_control"`
}

type tlsConfig struct {
	// The certificate chain, PEM, the server's certificate first.
	CertFile string `yaml:"cert_file"`
	// Its private key, PEM.
	KeyFile string `yaml:"key_file"`
}

type directoryConfig struct {
	// The iss of its statements. Required.
	Issuer string `yaml:"issuer"`
	// A file with its keys: a JWK Set, or one key in PEM.
	JWKSFile string `yaml:"jwks_file"`
	// The https URL of its keys, a JWK Set, in place of a file.
	JWKSURI string `yaml:"jwks_uri"`
	// production or sandbox; clients of a sandbox directory may use sandbox
	// providers only. Required.
	Environment gatehouse.Environment `yaml:"environment"`
	// The provider_codes its clients may use; empty means all.
	Providers []string `yaml:"providers"`
	// The claim that lists the roles; empty means software_roles.
	RolesClaim string `yaml:"roles_claim"`
	// The hosts that may publish keys of its software; empty means any.
	JWKSHosts []string `yaml:"jwks_hosts"`
	// How old a statement may be when it is used; 0s means 24h.
	StatementMaxAge gatehouse.Duration `yaml:"statement_max_age"`
}

type trustConfig struct {
	// production or sandbox; a certificate of a sandbox anchor opens sandbox
	// providers only. Required, and each at most once.
	Environment gatehouse.Environment `yaml:"environment"`
	// The anchors, PEM. Required.
	RootsFile string `yaml:"roots_file"`
	// Certificates of further issuers, PEM, not trusted by themselves.
	IntermediatesFile string `yaml:"intermediates_file"`
	// Some of qwac, qseal, obwac, obseal; empty means all.
	Kinds []eidas.Kind `yaml:"kinds"`
	// Do not ask whether a certificate is revoked. For sandbox only.
	SkipRevocation bool `yaml:"skip_revocation"`
}

type connectorTLSConfig struct {
	// The certificate chain for banks that ask for one, PEM, our own
	// certificate first.
	CertFile string `yaml:"cert_file"`
	// Its private key, PEM.
	KeyFile string `yaml:"key_file"`
	// The authorities of the banks' certificates, PEM; empty means those of
	// the system.
	CAFile string `yaml:"ca_file"`
}

type logConfig struct {
	// debug, info, warn or error.
	Level string `yaml:"level"`
	// json or text.
	Format string `yaml:"format"`
}

type timeoutsConfig struct {
	// Reading the header of a request.
	ReadHeader gatehouse.Duration `yaml:"read_header"`
	// Reading a whole request.
	Read gatehouse.Duration `yaml:"read"`
	// Writing the answer, counted from the end of the request's header.
	Write gatehouse.Duration `yaml:"write"`
	// Keeping a connection open between requests. 0s means 25s, and with
	// behind_proxy 75s: a proxy's own time must end first.
	Idle gatehouse.Duration `yaml:"idle"`
	// Going on to serve, but not ready, when the server is told to stop: as
	// long as the load balancer takes to notice. 0s stops at once.
	Drain gatehouse.Duration `yaml:"drain"`
	// Finishing requests under way after that.
	Shutdown gatehouse.Duration `yaml:"shutdown"`
}

type limitsConfig struct {
	// Bytes of the request line and header together; more is answered 431.
	HeaderBytes int `yaml:"header_bytes"`
	// Open connections of one listener; more wait until one ends.
	Connections int `yaml:"connections"`
	// Open connections of one address, or network of IPv6; more are closed at
	// once. Proxies have no such limit: trusted_proxies, and every address
	// with behind_proxy.
	ConnectionsPerAddress int `yaml:"connections_per_address"`
	// Authenticated requests of one client. This and what follows are rates:
	// who asks more often is answered 429. Each replica counts by itself. 0 in
	// both keys sets no limit.
	Client rateConfig `yaml:"client"`
	// Authenticated requests at one provider.
	Provider rateConfig `yaml:"provider"`
	// Authorization requests from one address.
	AuthorizeAddress rateConfig `yaml:"authorize_address"`
	// Authorization requests for one client at one provider.
	AuthorizeClient rateConfig `yaml:"authorize_client"`
	// Authorization requests at one provider.
	AuthorizeProvider rateConfig `yaml:"authorize_provider"`
	// Wrong secrets from one address, and for one client, resource server or
	// connector of a bank.
	WrongSecrets rateConfig `yaml:"wrong_secrets"`
}

type rateConfig struct {
	// How many a second in the long run.
	PerSecond float64 `yaml:"per_second"`
	// How many at once.
	Burst int `yaml:"burst"`
}

// idle returns timeouts.idle, or what it is when nobody says. With what a peer
// may take for the header after it, a connection is over in half a minute. A
// proxy would now and then send a request on a connection that we are closing,
// so it must be the one who closes; 60 seconds are usual.
func (c *config) idle() time.Duration {
	switch {
	case c.Timeouts.Idle != 0:
		return time.Duration(c.Timeouts.Idle)
	case c.BehindProxy:
		return 75 * time.Second
	}
	return 25 * time.Second
}

// limits returns the limits of the server.
func (l limitsConfig) limits() oidc.Limits {
	return oidc.Limits{
		Client: oidc.Rate(l.Client), Provider: oidc.Rate(l.Provider),
		AuthorizeAddress: oidc.Rate(l.AuthorizeAddress), AuthorizeClient: oidc.Rate(l.AuthorizeClient), AuthorizeProvider: oidc.Rate(l.AuthorizeProvider),
		WrongSecrets: oidc.Rate(l.WrongSecrets),
	}
}

const (
	production  = "production"
	development = "development"

	minHeaderBytes = 8 << 10
	maxHeaderBytes = 1 << 20
	maxConnections = 1_000_000
	maxRate        = 1_000_000
)

// defaultConfig is what holds for a key that is set nowhere.
func defaultConfig() *config {
	return &config{
		Mode:        production,
		Listen:      "127.0.0.1:8080",
		AdminListen: "127.0.0.1:8081",
		Database:    "sqlite:gatehouse.db",
		Log:         logConfig{Level: "info", Format: "json"},
		Timeouts: timeoutsConfig{
			ReadHeader: gatehouse.Duration(5 * time.Second),
			Read:       gatehouse.Duration(10 * time.Second),
			Write:      gatehouse.Duration(20 * time.Second),
			Drain:      gatehouse.Duration(5 * time.Second),
			Shutdown:   gatehouse.Duration(10 * time.Second),
		},
		Limits: limitsConfig{
			HeaderBytes:           32 << 10,
			Connections:           10_000,
			ConnectionsPerAddress: 500,
			Client:                rateConfig{PerSecond: 200, Burst: 1000},
			Provider:              rateConfig{PerSecond: 1000, Burst: 2000},
			AuthorizeAddress:      rateConfig{PerSecond: 20, Burst: 200},
			AuthorizeClient:       rateConfig{PerSecond: 100, Burst: 1000},
			AuthorizeProvider:     rateConfig{PerSecond: 500, Burst: 2000},
			WrongSecrets:          rateConfig{PerSecond: 1, Burst: 60},
		},
		PurgeEvery: gatehouse.Duration(time.Minute),
	}
}

// readConfig reads the file and the environment and validates the result. A
// missing file is an error only if it is required.
func readConfig(path string, required bool) (*config, error) {
	c := defaultConfig()
	data, err := os.ReadFile(path)
	if err != nil && (required || !errors.Is(err, fs.ErrNotExist)) {
		return nil, err
	}
	if err := c.parse(data); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if err := overlay(reflect.ValueOf(c).Elem(), "GATEHOUSE_"); err != nil {
		return nil, err
	}
	if err := c.validate(); err != nil {
		return nil, fmt.Errorf("config: %w", err)
	}
	return c, nil
}

// parse reads YAML over what c holds.
func (c *config) parse(data []byte) error {
	var document yaml.Node
	if err := yaml.Unmarshal(data, &document); err != nil {
		return err
	}
	if document.Kind == 0 { // an empty file
		return nil
	}
	return setKeys(reflect.ValueOf(c).Elem(), document.Content[0], "")
}

// setKeys sets the fields of v from a mapping. Its errors name the line and
// the key, which those of the YAML library do not.
func setKeys(v reflect.Value, mapping *yaml.Node, prefix string) error {
	if mapping.Kind != yaml.MappingNode {
		return fmt.Errorf("line %d: not keys and values", mapping.Line)
	}
	seen := map[string]bool{}
	for i := 0; i < len(mapping.Content); i += 2 {
		key, node := mapping.Content[i], mapping.Content[i+1]
		name := prefix + key.Value
		value, known := fieldOf(v, key.Value)
		switch {
		case !known:
			return fmt.Errorf("line %d: unknown key %s", key.Line, name)
		case seen[name]:
			return fmt.Errorf("line %d: %s is repeated", key.Line, name)
		case value.Kind() == reflect.Struct:
			if err := setKeys(value, node, name+"."); err != nil {
				return err
			}
		case isList(value) && node.Kind == yaml.SequenceNode:
			if err := setList(value, node, name); err != nil {
				return err
			}
		case node.Decode(value.Addr().Interface()) != nil:
			return fmt.Errorf("line %d: %s is not of type %s", key.Line, name, typeName(value))
		}
		seen[name] = true
	}
	return nil
}

// isList reports whether v is a list of keys and values.
func isList(v reflect.Value) bool {
	return v.Kind() == reflect.Slice && v.Type().Elem().Kind() == reflect.Struct
}

// setList sets a list of structs, as setKeys does each.
func setList(v reflect.Value, sequence *yaml.Node, name string) error {
	list := reflect.MakeSlice(v.Type(), len(sequence.Content), len(sequence.Content))
	for i, member := range sequence.Content {
		if err := setKeys(list.Index(i), member, fmt.Sprintf("%s[%d].", name, i)); err != nil {
			return err
		}
	}
	v.Set(list)
	return nil
}

func fieldOf(v reflect.Value, key string) (reflect.Value, bool) {
	for field, value := range v.Fields() {
		if field.Tag.Get("yaml") == key {
			return value, true
		}
	}
	return reflect.Value{}, false
}

func typeName(v reflect.Value) string {
	if v.Kind() == reflect.Slice {
		return "list"
	}
	return strings.ToLower(v.Type().Name())
}

// overlay sets every field of v from its environment variable, but for lists.
func overlay(v reflect.Value, prefix string) error {
	for field, value := range v.Fields() {
		if value.Kind() == reflect.Slice {
			continue
		}
		name := prefix + strings.ToUpper(field.Tag.Get("yaml"))
		if value.Kind() == reflect.Struct {
			if err := overlay(value, name+"_"); err != nil {
				return err
			}
			continue
		}
		text := os.Getenv(name)
		if text == "" {
			continue
		}
		node := yaml.Node{Kind: yaml.ScalarNode, Value: text}
		if node.Decode(value.Addr().Interface()) != nil {
			return fmt.Errorf("%s is not of type %s", name, typeName(value))
		}
	}
	return nil
}

// validate reports the first fault, naming the key.
func (c *config) validate() error {
	switch {
	case c.Mode != production && c.Mode != development:
		return errors.New("mode must be production or development")
	case c.Mode == production && c.AllowPlainHTTP:
		return errors.New("allow_plain_http is unsafe and refused in mode production")
	case c.Mode == production && len(c.AllowJWKSFetch) > 0:
		return errors.New("allow_jwks_fetch is unsafe and refused in mode production")
	case c.Mode == production && c.AllowClockControl:
		return errors.New("allow_clock_control is unsafe and refused in mode production")
	}
	if err := c.validateListeners(); err != nil {
		return err
	}
	switch {
	case !strings.HasPrefix(c.Database, "sqlite:") && !strings.HasPrefix(c.Database, "postgres://") && !strings.HasPrefix(c.Database, "postgresql://"):
		return errors.New("database must begin with sqlite: or postgres://")
	case !slices.Contains([]string{"json", "text"}, c.Log.Format):
		return errors.New("log.format must be json or text")
	case c.Limits.HeaderBytes < minHeaderBytes || c.Limits.HeaderBytes > maxHeaderBytes:
		return fmt.Errorf("limits.header_bytes must be %d to %d", minHeaderBytes, maxHeaderBytes)
	case c.Limits.Connections < 1 || c.Limits.Connections > maxConnections:
		return fmt.Errorf("limits.connections must be 1 to %d", maxConnections)
	case c.Limits.ConnectionsPerAddress < 1 || c.Limits.ConnectionsPerAddress > maxConnections:
		return fmt.Errorf("limits.connections_per_address must be 1 to %d", maxConnections)
	case !everyIsOrigin(c.TokenOrigins):
		return errors.New("token_origins: each must be an origin such as https://app.example")
	case (c.ConnectorTLS.CertFile == "") != (c.ConnectorTLS.KeyFile == ""):
		return errors.New("connector_tls.cert_file and connector_tls.key_file must be set together")
	case c.PurgeEvery < gatehouse.Duration(time.Second) || c.PurgeEvery > gatehouse.Duration(24*time.Hour):
		return errors.New("purge_every must be 1s to 24h")
	}
	if _, err := c.logLevel(); err != nil {
		return err
	}
	if _, err := c.trustedProxies(); err != nil {
		return err
	}
	for field, value := range reflect.ValueOf(c.Limits).Fields() {
		r, ok := value.Interface().(rateConfig)
		if ok && r != (rateConfig{}) && !(r.PerSecond > 0 && r.PerSecond <= maxRate && r.Burst > 0 && r.Burst <= maxRate) {
			return fmt.Errorf("limits.%s: per_second and burst must both be 0, or both be more and at most %d", field.Tag.Get("yaml"), maxRate)
		}
	}
	if err := c.validateRegistration(); err != nil {
		return err
	}
	timeouts := reflect.ValueOf(c.Timeouts)
	for field, value := range timeouts.Fields() {
		name := field.Tag.Get("yaml")
		switch d := time.Duration(value.Int()); {
		case d == 0 && (name == "drain" || name == "idle"):
		case d < time.Millisecond || d > time.Hour:
			return fmt.Errorf("timeouts.%s must be 1ms to 1h", name)
		}
	}
	return nil
}

func (c *config) validateListeners() error {
	u, err := url.Parse(c.BaseURL)
	switch {
	case c.BaseURL == "":
		return errors.New("base_url is missing")
	case err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" || u.User != nil || strings.Trim(u.Path, "/") != "" || strings.ContainsAny(c.BaseURL, "?#"):
		return errors.New("base_url must be an origin such as https://gatehouse.example")
	case strings.HasSuffix(c.BaseURL, "/"):
		return errors.New("base_url must not end with a slash")
	case u.Scheme == "http" && !isLoopback(u.Hostname()) && !c.AllowPlainHTTP:
		return errors.New("base_url must be https")
	case u.Scheme == "http" && c.hasTLS():
		return errors.New("base_url must be https where tls is set")
	case (c.TLS.CertFile == "") != (c.TLS.KeyFile == ""):
		return errors.New("tls.cert_file and tls.key_file must be set together")
	}
	host, _, err := net.SplitHostPort(c.Listen)
	switch {
	case err != nil:
		return errors.New("listen must be host:port")
	case !isLoopback(host) && !c.hasTLS() && !c.BehindProxy && !c.AllowPlainHTTP:
		return errors.New("listen is not a loopback address: set tls.cert_file, or behind_proxy")
	}
	host, _, err = net.SplitHostPort(c.AdminListen)
	switch {
	case err != nil:
		return errors.New("admin_listen must be host:port")
	case !isLoopback(host) && !c.AdminRemote:
		return errors.New("admin_listen is not a loopback address and admin_remote is not set")
	}
	return nil
}

// trustedProxies reads trusted_proxies.
func (c *config) trustedProxies() (networks []netip.Prefix, err error) {
	for _, text := range c.TrustedProxies {
		network, err := netip.ParsePrefix(text)
		if address, fault := netip.ParseAddr(text); fault == nil && address.Zone() == "" {
			network, err = netip.PrefixFrom(address, address.BitLen()), nil
		}
		if err != nil || network != network.Masked() || network.Addr().Is4In6() {
			return nil, errors.New("trusted_proxies: each must be an address or a network such as 10.0.0.0/8")
		}
		networks = append(networks, network)
	}
	return networks, nil
}

// everyIsOrigin reports whether all texts are https origins as browsers write
// them (RFC 6454 §6.2).
func everyIsOrigin(texts []string) bool {
	for _, text := range texts {
		u, err := url.Parse(text)
		if err != nil || u.Scheme != "https" || u.Host == "" || u.Host != strings.ToLower(u.Host) || u.Port() == "443" || text != "https://"+u.Host {
			return false
		}
	}
	return true
}

func (c *config) hasTLS() bool { return c.TLS.CertFile != "" }

// kek reads the key-encryption key.
func (c *config) kek() (*jose.KEK, error) {
	if text := os.Getenv("GATEHOUSE_KEY_ENCRYPTION_KEY"); text != "" {
		kek, err := jose.ParseKEK(text)
		return kek, prefixed("GATEHOUSE_KEY_ENCRYPTION_KEY", err)
	}
	if c.KeyEncryptionKeyFile == "" {
		return nil, errors.New("config: key_encryption_key_file is missing")
	}
	data, err := os.ReadFile(c.KeyEncryptionKeyFile)
	if err != nil {
		return nil, prefixed("config: key_encryption_key_file", err)
	}
	kek, err := jose.ParseKEK(string(data))
	return kek, prefixed("config: key_encryption_key_file", err)
}

// certificate reads the certificate of the public listener, or returns nil.
func (c *config) certificate() (*tls.Certificate, error) {
	if !c.hasTLS() {
		return nil, nil
	}
	certificate, err := tls.LoadX509KeyPair(c.TLS.CertFile, c.TLS.KeyFile)
	return &certificate, prefixed("config: tls.cert_file, tls.key_file", err)
}

// banks makes the calls to banks.
func (c *config) banks(now func() time.Time) (*connector.Caller, error) {
	var certificate *tls.Certificate
	if c.ConnectorTLS.CertFile != "" {
		pair, err := tls.LoadX509KeyPair(c.ConnectorTLS.CertFile, c.ConnectorTLS.KeyFile)
		if err != nil {
			return nil, prefixed("config: connector_tls.cert_file, connector_tls.key_file", err)
		}
		certificate = &pair
	}
	roots, err := readCertificates(c.ConnectorTLS.CAFile)
	if err != nil {
		return nil, prefixed("config: connector_tls.ca_file", err)
	}
	return &connector.Caller{Transport: connector.NewTransport(certificate, roots), Now: now}, nil
}

func (c *config) logLevel() (level slog.Level, err error) {
	if !slices.Contains([]string{"debug", "info", "warn", "error"}, c.Log.Level) {
		return 0, errors.New("log.level must be debug, info, warn or error")
	}
	return level, level.UnmarshalText([]byte(c.Log.Level))
}

// redacted returns the config without the password of the database, which
// may be in the user part of the URL or in its query.
func (c *config) redacted() *config {
	r := *c
	if strings.HasPrefix(c.Database, "sqlite:") {
		return &r
	}
	u, err := url.Parse(c.Database)
	if err != nil {
		r.Database = "postgres://xxxxx"
		return &r
	}
	query := u.Query()
	for name := range query {
		if strings.Contains(name, "password") {
			query.Set(name, "xxxxx")
		}
	}
	u.RawQuery = query.Encode()
	r.Database = u.Redacted()
	return &r
}

// isLoopback reports whether host means this machine alone.
func isLoopback(host string) bool {
	address, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && address.IsLoopback()
}

func prefixed(prefix string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", prefix, err)
}
