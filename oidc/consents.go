package oidc

// Consents: the resources account-access-consents, domestic-payment-consents
// and funds-confirmation-consents of the UK Open Banking Read/Write API 3.1.

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"gatehouse"
)

const consentBodyLimit = 64 << 10

// consentPaths are the resources, below the version of the API.
var consentPaths = map[string]gatehouse.ConsentKind{
	"/aisp/account-access-consents":      gatehouse.AccountAccess,
	"/pisp/domestic-payment-consents":    gatehouse.DomesticPayment,
	"/cbpii/funds-confirmation-consents": gatehouse.FundsConfirmation,
}

// openBankingClient returns the client that makes a call for itself, without a
// PSU: its access token is one of client_credentials, good now, with the scope
// of the kind.
func (s *Server) openBankingClient(r *http.Request, p *provider, kind gatehouse.ConsentKind) (*client, error) {
	presented, err := bearer(r)
	if err != nil {
		return nil, err
	}
	token, err := s.admitBearer(r.Context(), p, presented)
	switch {
	case err != nil:
		return nil, err
	case token.grant.UserID != "":
		return nil, gatehouse.NewError(gatehouse.InsufficientScope, "the access token is one of a PSU: consents need one of client_credentials")
	case !token.scope.Has(kind.Scope()):
		return nil, insufficientScope("the access token does not have the scope of this resource", gatehouse.Scopes{kind.Scope()})
	}
	c, err := s.client(r.Context(), token.ClientID)
	if err != nil {
		return nil, unavailable(err)
	}
	return c, nil
}

// lodgeConsent serves POST of a resource.
func (s *Server) lodgeConsent(kind gatehouse.ConsentKind) handler {
	return func(w http.ResponseWriter, r *http.Request, p *provider) error {
		client, err := s.openBankingClient(r, p, kind)
		if err != nil {
			return err
		}
		key, err := idempotencyKey(r)
		if err != nil {
			return err
		}
		body, err := s.readConsentBody(r, p, client)
		if err != nil {
			return err
		}
		now := s.Now()
		if err := checkConsentBody(body, consentBody(kind, versionOf(r)), now); err != nil {
			return err
		}
		c := &gatehouse.Consent{
			ID: gatehouse.NewID(now), Provider: p.Code, ClientID: client.ID, Kind: kind, Status: gatehouse.ConsentAwaitingAuthorisation,
			Lodged: lodgedForm(body, kind), CreatedAt: now, StatusUpdatedAt: now,
		}
		c.ExpiresAt = expirationOf(c)
		if key != "" {
			c.IdempotencyKeyHash = sum(client.ID, string(kind), key)
			c.RequestHash = requestHash(c.Lodged)
		}
		kept, err := s.Store.CreateConsent(r.Context(), c, now)
		switch {
		case errors.Is(err, gatehouse.ErrConflict):
			return refusal(codeHeaderInvalid, headerIdempotencyKey, "the idempotency key was used for another request")
		case errors.Is(err, gatehouse.ErrNotFound):
			return badBearer("the client was deleted")
		case err != nil:
			return unavailable(err)
		}
		s.notices.ring()
		return writeConsent(w, http.StatusCreated, kept, s.BaseURL+r.URL.Path+"/"+kept.ID)
	}
}

// versionOf is the version of the API in the path of a request.
func versionOf(r *http.Request) string {
	_, version, _ := strings.Cut(r.Pattern, "/open-banking/")
	version, _, _ = strings.Cut(version, "/")
	return version
}

const headerIdempotencyKey = "x-idempotency-key"

// idempotencyKey returns the key of a request, "" when there is none, under
// the name of the specification or that of the documented product.
func idempotencyKey(r *http.Request) (string, error) {
	sent := slices.Concat(r.Header.Values(headerIdempotencyKey), r.Header.Values("Idempotency-Key"))
	if len(sent) == 0 {
		return "", nil
	}
	if len(sent) > 1 || sent[0] == "" || len(sent[0]) > 40 {
		return "", refusal(codeHeaderInvalid, headerIdempotencyKey, "the idempotency key must be one of 1 to 40 characters")
	}
	return sent[0], nil
}

// requestHash is the same for bodies that are the same JSON value, however they
// are written: a repeated request may be signed or put together anew.
func requestHash(lodged json.RawMessage) []byte {
	decoder := json.NewDecoder(bytes.NewReader(lodged))
	decoder.UseNumber()
	var value any
	decoder.Decode(&value)           // has been checked
	sorted, _ := json.Marshal(value) // by the names of members
	return sum(string(sorted))
}

// sum hashes texts, none of which but the last can have a zero byte.
func sum(texts ...string) []byte {
	hash := sha256.Sum256([]byte(strings.Join(texts, "\x00")))
	return hash[:]
}

// lodgedForm is what is kept of a body that has been checked, as it was sent.
func lodgedForm(body map[string]json.RawMessage, kind gatehouse.ConsentKind) json.RawMessage {
	lodged := `{"Data":` + string(body["Data"])
	if kind != gatehouse.FundsConfirmation {
		risk := string(body["Risk"])
		if risk == "" || risk == "null" {
			risk = "{}"
		}
		lodged += `,"Risk":` + risk
	}
	return json.RawMessage(lodged + "}")
}

// expirationOf reads ExpirationDateTime; zero when there is none.
func expirationOf(c *gatehouse.Consent) time.Time {
	var lodged struct {
		Data struct{ ExpirationDateTime time.Time }
	}
	json.Unmarshal(c.Lodged, &lodged) // has been checked
	return lodged.Data.ExpirationDateTime
}

// consent serves GET and DELETE of a resource by its id. A consent that is not
// the client's own, at this provider and of this kind, does not exist for it.
func (s *Server) consent(kind gatehouse.ConsentKind) handler {
	return func(w http.ResponseWriter, r *http.Request, p *provider) error {
		client, err := s.openBankingClient(r, p, kind)
		if err != nil {
			return err
		}
		c, err := s.Store.Consent(r.Context(), p.Code, r.PathValue("consent_id"))
		switch {
		case errors.Is(err, gatehouse.ErrNotFound), err == nil && (c.ClientID != client.ID || c.Kind != kind):
			return noConsent()
		case err != nil:
			return unavailable(err)
		case r.Method == http.MethodDelete:
			return s.deleteConsent(w, r, c)
		}
		return writeConsent(w, http.StatusOK, c, s.BaseURL+r.URL.Path)
	}
}

// noConsent is a 400: of the Profile's "400 (Bad Request) v/s 404 (Not Found)",
// an id that does not exist.
func noConsent() error {
	return refusal(codeNotFound, "", "the client has no such consent")
}

// deleteConsent revokes a consent and with it what was granted on it.
func (s *Server) deleteConsent(w http.ResponseWriter, r *http.Request, c *gatehouse.Consent) error {
	err := s.Store.EndConsent(r.Context(), c.Provider, c.ID, gatehouse.ConsentRevoked, s.Now())
	switch {
	case errors.Is(err, gatehouse.ErrConflict):
		return refusal(codeInvalidConsentStatus, "Data.Status", "the consent was rejected or consumed")
	case errors.Is(err, gatehouse.ErrNotFound): // purged at this moment
		return noConsent()
	case err != nil:
		return unavailable(err)
	}
	s.notices.ring()
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// writeConsent answers with a consent: what was lodged, and what became of it.
func writeConsent(w http.ResponseWriter, status int, c *gatehouse.Consent, self string) error {
	var answer struct {
		Data  map[string]json.RawMessage
		Risk  json.RawMessage `json:",omitempty"`
		Links struct{ Self string }
		Meta  struct{ TotalPages int }
	}
	if err := json.Unmarshal(c.Lodged, &answer); err != nil {
		return err
	}
	for name, text := range map[string]string{
		"ConsentId":            c.ID,
		"Status":               string(c.Status),
		"CreationDateTime":     c.CreatedAt.UTC().Format(time.RFC3339),
		"StatusUpdateDateTime": c.StatusUpdatedAt.UTC().Format(time.RFC3339),
	} {
		answer.Data[name] = json.RawMessage(`"` + text + `"`)
	}
	answer.Links.Self, answer.Meta.TotalPages = self, 1
	writeJSON(w, status, answer)
	return nil
}
