package demobank

// docs/connector.md: the wire between a bank and the server

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

const (
	connectorPath   = "/api/connectors/ob/v1/authorizations"
	consentsPath    = "/api/connectors/ob/v1/consents"
	signatureLife   = 2 * time.Minute
	codeLifetime    = 10 * time.Minute
	maxAnswer       = 1 << 20
	acrSCA          = "urn:openbanking:psd2:sca"
	statusApproved  = "approved"
	statusDenied    = "denied"
	statusPending   = "pending"
	contentTypeJWT  = "application/jwt"
	contentTypeForm = "application/x-www-form-urlencoded"
	contentTypeJSON = "application/json"
)

// A refusal is an answer of the connector API that is not 200.
type refusal struct {
	Status      int
	Class       string
	Message     string
	RedirectURI string // where to send the browser, when the fault may be told to the TPP
}

func (e *refusal) Error() string {
	return fmt.Sprintf("connector API answered %d %s: %s", e.Status, e.Class, e.Message)
}

// consentStatus is where a verdict leaves a consent.
var consentStatus = map[string]string{statusApproved: "Authorised", statusDenied: "Rejected"}

// A request is what the read call tells of an authorization.
type request struct {
	AuthorizationID string    `json:"authorization_id"`
	Status          string    `json:"status"`
	AppName         string    `json:"app_name"`
	Scopes          []string  `json:"scopes"`
	ExpiresAt       time.Time `json:"expires_at"`
	AccessExpiresAt time.Time `json:"access_expires_at"`
	RedirectURI     string    `json:"redirect_uri"`
	Consent         *consent  `json:"consent"` // nil when the TPP named none
}

// A verdict is what the decide call sends.
type verdict struct {
	Status   string   `json:"status"`
	UserID   string   `json:"user_id,omitzero"`
	Access   []string `json:"access,omitzero"`
	AuthTime int64    `json:"auth_time,omitzero"`
	ACR      string   `json:"acr,omitzero"`
	// DebtorAccount is the account that a payment is made from, or that a funds check is about.
	DebtorAccount *namedAccount `json:"debtor_account,omitzero"`
}

// begin hands over the URL that a browser asked the bank's authorization endpoint for, and the code the bank mints.
func (b *Bank) begin(ctx context.Context, authorizeURL, code string) (authorizationID string, err error) {
	var answer struct {
		AuthorizationID string `json:"authorization_id"`
	}
	err = b.call(ctx, http.MethodPost, connectorPath, map[string]any{
		"authorize_url": authorizeURL,
		"auth_code":     code,
		"auth_code_exp": b.Now().Add(codeLifetime).UTC().Format(time.RFC3339),
	}, &answer)
	return answer.AuthorizationID, err
}

func (b *Bank) read(ctx context.Context, authorizationID string) (*request, error) {
	answer := new(request)
	return answer, b.call(ctx, http.MethodGet, connectorPath+"/"+url.PathEscape(authorizationID), nil, answer)
}

// decide returns where the browser goes.
func (b *Bank) decide(ctx context.Context, asked *request, v verdict) (redirectURI string, err error) {
	var answer struct {
		RedirectURI string `json:"redirect_uri"`
	}
	err = b.call(ctx, http.MethodPut, connectorPath+"/"+url.PathEscape(asked.AuthorizationID), v, &answer)
	if err == nil && asked.Consent != nil {
		b.ledger.move(asked.Consent.ID, consentStatus[v.Status])
	}
	return answer.RedirectURI, err
}

// call makes one signed call and stores the data member of a 200 answer. Any other answer is a *refusal.
func (b *Bank) call(ctx context.Context, method, path string, data, into any) error {
	var body io.Reader
	if data != nil {
		signed, err := b.Key.Sign("JWT", map[string]any{"data": data, "exp": b.Now().Add(signatureLife).Unix()})
		if err != nil {
			return err
		}
		body = strings.NewReader(signed)
	}
	req, err := http.NewRequestWithContext(ctx, method, b.GatehouseURL+path, body)
	if err != nil {
		return err
	}
	req.Header.Set("Accept", "application/json")
	req.Header.Set("App-Id", b.AppID)
	req.Header.Set("App-Secret", b.AppSecret)
	if data != nil {
		req.Header.Set("Content-Type", contentTypeJWT)
	}
	res, err := b.HTTP.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	answer := struct {
		Data    json.RawMessage `json:"data"`
		Class   string          `json:"error_class"`
		Message string          `json:"error_message"`
	}{}
	decodeErr := json.NewDecoder(io.LimitReader(res.Body, maxAnswer)).Decode(&answer)
	if res.StatusCode == http.StatusOK && decodeErr == nil && json.Unmarshal(answer.Data, into) == nil {
		return nil
	}
	e := &refusal{Status: res.StatusCode, Class: answer.Class, Message: answer.Message}
	if len(answer.Data) > 0 { // a fault that may be told to the TPP
		var leave struct {
			RedirectURI string `json:"redirect_uri"`
		}
		_ = json.Unmarshal(answer.Data, &leave) // without it there is nowhere to go, which is what an empty one says
		e.RedirectURI = leave.RedirectURI
	}
	return e
}
