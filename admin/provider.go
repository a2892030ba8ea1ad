package admin

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"

	"gatehouse"
	"gatehouse/jose"
)

// A NewProvider says what an operator knows of a bank. Code, Name, JWKS and
// either LoginURL or AuthorizationEndpoint are required.
type NewProvider struct {
	Code string
	Name string
	// Status is live unless set.
	Status gatehouse.ProviderStatus
	// Profile is psd2 unless set.
	Profile gatehouse.Profile
	// Issuer is {base_url}/{provider_code} unless set.
	Issuer string
	// AuthorizationEndpoint is set when the bank hosts the endpoint itself.
	AuthorizationEndpoint string
	// Scopes are all there are unless set.
	Scopes []string
	// SigningAlg is RS256 unless set, the default of OpenID Connect Dynamic
	// Client Registration §2 (id_token_signed_response_alg).
	SigningAlg string
	Rules      gatehouse.Rules
	Theme      gatehouse.Theme

	// ConnectorURL, LoginURL and JWKS are those of gatehouse.Connector.
	ConnectorURL string
	LoginURL     string
	JWKS         json.RawMessage
	// AppID and AppSecret are what an existing connector already sends; each
	// is made at random unless set.
	AppID     string
	AppSecret string
}

// keyBits is the length of the signing keys of a provider.
const keyBits = 2048

// AddProvider registers a bank with one signing key for each algorithm. It
// returns the app_secret of its connector, which cannot be had again.
func (a *Admin) AddProvider(ctx context.Context, n NewProvider) (p *gatehouse.Provider, appSecret string, err error) {
	appID := cmp.Or(n.AppID, randomID())
	appSecret = cmp.Or(n.AppSecret, gatehouse.NewSecret())
	if err := checkSecret("app_secret", appSecret); err != nil {
		return nil, "", err
	}
	if len(n.Scopes) == 0 {
		n.Scopes = gatehouse.AllScopes()
	}
	now := a.Now()
	p = &gatehouse.Provider{
		Code:                  n.Code,
		Name:                  n.Name,
		Status:                cmp.Or(n.Status, gatehouse.Live),
		Profile:               cmp.Or(n.Profile, gatehouse.ProfilePSD2),
		Issuer:                n.Issuer,
		AuthorizationEndpoint: n.AuthorizationEndpoint,
		Scopes:                n.Scopes,
		SigningAlg:            cmp.Or(n.SigningAlg, jose.RS256),
		Connector: gatehouse.Connector{
			URL:           n.ConnectorURL,
			LoginURL:      n.LoginURL,
			AppID:         appID,
			AppSecretHash: gatehouse.AppSecretHash(a.KEK, appID, appSecret),
			JWKS:          n.JWKS,
		},
		Rules:       n.Rules,
		Theme:       n.Theme,
		SubjectSalt: make([]byte, 32),
		CreatedAt:   now,
		UpdatedAt:   now,
	}
	rand.Read(p.SubjectSalt)
	if err := p.Validate(); err != nil {
		return nil, "", err
	}
	keys, err := a.newKeys(p)
	if err != nil {
		return nil, "", err
	}
	if err := a.Store.CreateProvider(ctx, p, keys); err != nil {
		return nil, "", named("provider", p.Code, err)
	}
	return p, appSecret, nil
}

func (a *Admin) newKeys(p *gatehouse.Provider) ([]*gatehouse.Key, error) {
	var keys []*gatehouse.Key
	for _, alg := range gatehouse.Algs() {
		key, err := jose.GenerateKey(alg, keyBits)
		if err != nil {
			return nil, err
		}
		sealed, err := a.KEK.Seal(key, p.Code)
		if err != nil {
			return nil, err
		}
		keys = append(keys, &gatehouse.Key{
			KID:       key.KID,
			Provider:  p.Code,
			Alg:       alg,
			Sealed:    sealed,
			KEKID:     a.KEK.ID(),
			CreatedAt: p.CreatedAt,
		})
	}
	return keys, nil
}

// Provider returns a provider by its code, or gatehouse.ErrNotFound.
func (a *Admin) Provider(ctx context.Context, code string) (*gatehouse.Provider, error) {
	p, err := a.Store.Provider(ctx, code)
	return p, named("provider", code, err)
}

// Providers lists all providers in the order of their codes.
func (a *Admin) Providers(ctx context.Context) ([]*gatehouse.Provider, error) {
	return all(ctx, a.Store.Providers, func(p *gatehouse.Provider) string { return p.Code })
}

// UpdateProvider applies change to the newest version of a provider; change
// may run more than once.
func (a *Admin) UpdateProvider(ctx context.Context, code string, change func(*gatehouse.Provider)) (p *gatehouse.Provider, err error) {
	err = retryConflicts(func() error {
		if p, err = a.Provider(ctx, code); err != nil {
			return err
		}
		change(p)
		p.UpdatedAt = a.Now()
		if err := p.Validate(); err != nil {
			return err
		}
		return named("provider", code, a.Store.UpdateProvider(ctx, p))
	})
	return p, err
}

// DisableProvider stops a provider from serving anybody.
func (a *Admin) DisableProvider(ctx context.Context, code string) (*gatehouse.Provider, error) {
	return a.setProviderStatus(ctx, code, gatehouse.Disabled)
}

// EnableProvider lets a provider serve again, as live or sandbox.
func (a *Admin) EnableProvider(ctx context.Context, code string, status gatehouse.ProviderStatus) (*gatehouse.Provider, error) {
	if status == gatehouse.Disabled {
		return nil, errors.New("status must be live or sandbox")
	}
	return a.setProviderStatus(ctx, code, status)
}

func (a *Admin) setProviderStatus(ctx context.Context, code string, status gatehouse.ProviderStatus) (*gatehouse.Provider, error) {
	return a.UpdateProvider(ctx, code, func(p *gatehouse.Provider) { p.Status = status })
}

// DeleteProvider ends a provider for good: its signing keys are erased at once,
// its tokens and grants soon, and its code stays taken.
func (a *Admin) DeleteProvider(ctx context.Context, code string) error {
	return named("provider", code, a.Store.DeleteProvider(ctx, code, a.Now()))
}

// Keys lists the signing keys of a provider, newest first.
func (a *Admin) Keys(ctx context.Context, code string) ([]*gatehouse.Key, error) {
	if _, err := a.Provider(ctx, code); err != nil {
		return nil, err
	}
	return a.Store.Keys(ctx, code)
}

// randomID returns 128 random bits in base64url: a client_id, an app_id.
func randomID() string {
	var b [16]byte
	rand.Read(b[:])
	return base64.RawURLEncoding.EncodeToString(b[:])
}
