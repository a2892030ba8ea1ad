package oidc

// The bank's calls about consents, as docs/connector.md has them: read, move,
// revoke, and what became of a payment.

import (
	"context"
	"errors"
	"net/http"

	"gatehouse"
	"gatehouse/connector"
)

// bankConsent serves GET and PUT /api/connectors/ob/v1/consents/{consent_id}.
func (s *Server) bankConsent(w http.ResponseWriter, r *http.Request, _ *provider) error {
	p, c, err := s.consentOfBank(r)
	if err != nil {
		return err
	}
	if r.Method == http.MethodGet {
		data, err := s.consentForBank(r.Context(), p, c)
		if err != nil {
			return err
		}
		writeJSON(w, http.StatusOK, map[string]any{"data": data})
		return nil
	}
	body, err := readSigned(r)
	if err != nil {
		return err
	}
	to, err := connector.ReadConsentStatus(body, p.connectorKeys, c.ID, s.Now())
	if err != nil {
		return err
	}
	return s.moveConsent(w, r, c, to)
}

// bankRevokes serves PATCH /api/connectors/ob/v1/consents/{consent_id}/revoke.
func (s *Server) bankRevokes(w http.ResponseWriter, r *http.Request, _ *provider) error {
	p, c, err := s.consentOfBank(r)
	if err != nil {
		return err
	}
	body, err := readSigned(r)
	if err != nil {
		return err
	}
	if err := connector.ReadRevocation(body, p.connectorKeys, c.ID, s.Now()); err != nil {
		return err
	}
	return s.moveConsent(w, r, c, gatehouse.ConsentRevoked)
}

// consentOfBank returns the consent of the path and the provider whose
// connector asks for it.
func (s *Server) consentOfBank(r *http.Request) (*provider, *gatehouse.Consent, error) {
	p, err := s.authenticateConnector(r)
	if err != nil {
		return nil, nil, err
	}
	c, err := s.Store.Consent(r.Context(), p.Code, r.PathValue("consent_id"))
	if errors.Is(err, gatehouse.ErrNotFound) {
		return nil, nil, gatehouse.NewError(gatehouse.NotFound, "consent_id is unknown")
	}
	if err != nil {
		return nil, nil, unavailable(err)
	}
	return p, c, nil
}

// moveConsent ends a consent on the bank's behalf. A bank whose first answer
// was lost may say the same again.
func (s *Server) moveConsent(w http.ResponseWriter, r *http.Request, c *gatehouse.Consent, to gatehouse.ConsentStatus) error {
	err := s.Store.EndConsent(r.Context(), c.Provider, c.ID, to, s.Now())
	switch {
	case errors.Is(err, gatehouse.ErrConflict):
		return invalid("data.status: the consent cannot go there from where it is")
	case err != nil:
		return unavailable(err)
	}
	writeJSON(w, http.StatusOK, map[string]any{"data": map[string]any{"consent_id": c.ID, "status": to}})
	return nil
}

// paymentStatus serves PUT /api/connectors/ob/v1/payments/{payment_id}. Nothing
// is kept of the payment. One that is accepted uses its consent up; one that is
// rejected moved no money, and the consent stays as it is.
func (s *Server) paymentStatus(w http.ResponseWriter, r *http.Request, _ *provider) error {
	p, body, err := s.signedCall(r)
	if err != nil {
		return err
	}
	payment, err := connector.ReadPaymentStatus(body, p.connectorKeys, s.Now())
	if err != nil {
		return err
	}
	c, err := s.Store.Consent(r.Context(), p.Code, payment.ConsentID)
	if errors.Is(err, gatehouse.ErrNotFound) || err == nil && c.Kind != gatehouse.DomesticPayment {
		return gatehouse.NewError(gatehouse.NotFound, "data.consent_id is no payment consent")
	}
	if err != nil {
		return unavailable(err)
	}
	if payment.Accepted {
		err := s.Store.EndConsent(r.Context(), p.Code, c.ID, gatehouse.ConsentConsumed, s.Now())
		if errors.Is(err, gatehouse.ErrConflict) {
			return invalid("data.consent_id is not a consent that a payment can be made with")
		}
		if err != nil {
			return unavailable(err)
		}
	}
	writeJSON(w, http.StatusOK, map[string]any{})
	return nil
}

// consentForBank is a consent as a bank reads it: what was lodged, by whom, and
// where it stands.
func (s *Server) consentForBank(ctx context.Context, p *provider, c *gatehouse.Consent) (map[string]any, error) {
	app, err := s.appOf(ctx, c)
	if err != nil {
		return nil, unavailable(err)
	}
	return connector.ConsentData(c, app, s.connectorToken(p, c.ID))
}

// consentAsked is the consent that an authorization asks for, as its bank reads
// it; nil when the client named none that it has lodged.
func (s *Server) consentAsked(ctx context.Context, p *provider, a *gatehouse.Authorization) (map[string]any, error) {
	if a.Request.IntentID == "" {
		return nil, nil
	}
	c, err := s.Store.Consent(ctx, p.Code, a.Request.IntentID)
	if errors.Is(err, gatehouse.ErrNotFound) || err == nil && c.ClientID != a.ClientID {
		return nil, nil
	}
	if err != nil {
		return nil, unavailable(err)
	}
	return s.consentForBank(ctx, p, c)
}

// appOf is the application that lodged a consent, be it deleted since.
func (s *Server) appOf(ctx context.Context, c *gatehouse.Consent) (connector.App, error) {
	stored, err := s.Store.Client(ctx, c.ClientID)
	if err != nil {
		return connector.App{}, err
	}
	app := connector.App{Name: stored.Name}
	if stored.TPP != nil {
		app.URN = stored.TPP.URN
	}
	return app, nil
}
