package demobank

// What a PSU allows a third party, from beginning to end: UK Open Banking Read/Write API 3.1 (account-access-consents),
// RFC 7662 (introspection)

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"gatehouse/jose"
)

// life lodges a consent, lets a PSU authorise it, looks at it from all sides, and lets the PSU withdraw it.
func (k *walk) life() error {
	p, err := k.provider("psd2", DoorGatehouse)
	if err != nil {
		return err
	}
	k.part("%s: a consent, from the TPP's request to the PSU's withdrawal", p.Code)
	m, err := k.discover(k.world.discoveryURL(p.Code))
	if err != nil {
		return err
	}
	keys, err := k.jwks(m)
	if err != nil {
		return err
	}
	t, err := k.party(p, authPrivateKeyJWT, m)
	if err != nil {
		return err
	}
	l, err := k.lodge(t)
	if err != nil {
		return err
	}
	got, err := k.allow(t, l, keys)
	if err != nil {
		return err
	}
	if err := k.lookAt(t, l, got, "Authorised"); err != nil {
		return err
	}
	if err := k.withdraw(p); err != nil {
		return err
	}
	a, err := k.token("Refresh: the TPP learns that it is over, and why", t, refreshForm(got), refused(http.StatusBadRequest, "InvalidRequest"))
	if err != nil {
		return err
	}
	if !strings.Contains(string(a.body), "consent") {
		return errors.New("the refusal does not say that it is the consent that is over")
	}
	return k.lookAt(t, l, got, "Revoked")
}

// A lodging is a consent as the TPP that lodged it knows it.
type lodging struct {
	id      string
	address string // of the resource account-access-consents
	token   string // of the TPP itself
}

// consentAnswer is what the walk reads of a consent.
type consentAnswer struct {
	Data struct {
		ConsentID string `json:"ConsentId"`
		Status    string
	}
}

func (a consentAnswer) check(status string) error {
	if a.Data.Status != status || a.Data.ConsentID == "" {
		return fmt.Errorf("want a consent that is %s, got %q", status, a.Data.Status)
	}
	return nil
}

func (k *walk) lodge(t *party) (*lodging, error) {
	form := clientGrant()
	form.Set("scope", "accounts")
	req, err := t.tokenRequest(k.ctx, form)
	if err != nil {
		return nil, err
	}
	var own tokens
	if err := k.take("A token of the TPP itself", req, granted, &own); err != nil {
		return nil, err
	}
	l := &lodging{address: k.world.BaseURL + "/api/" + t.provider.Code + "/open-banking/v3.1/aisp/account-access-consents", token: own.AccessToken}
	body, err := json.Marshal(map[string]any{
		"Data": map[string]any{"Permissions": []string{"ReadAccountsDetail", "ReadBalances"}, "ExpirationDateTime": k.world.Now().AddDate(0, 3, 0).UTC().Truncate(time.Second)},
		"Risk": map[string]any{},
	})
	if err != nil {
		return nil, err
	}
	if req, err = newRequest(k.ctx, http.MethodPost, l.address, contentTypeJSON, string(body)); err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+l.token)
	var answer consentAnswer
	if err := k.take("The TPP lodges what it wants", req, want{status: http.StatusCreated}, &answer); err != nil {
		return nil, err
	}
	l.id = answer.Data.ConsentID
	return l, answer.check("AwaitingAuthorisation")
}

// allow sends the PSU to the bank with the consent, and trades the code that comes back.
func (k *walk) allow(t *party, l *lodging, keys []*jose.PublicKey) (got tokens, err error) {
	a := newAttempt(t.client.RedirectURIs[0], "openid accounts")
	a.consentID = l.id
	back, err := k.visit(t, a, PSUApprove)
	if err != nil {
		return got, err
	}
	code, err := t.answer(a, back.Query())
	if err != nil {
		return got, err
	}
	return k.exchange(t, a, code, keys)
}

// lookAt asks what has become of the consent and of the token: the TPP does, and the bank's gateway.
func (k *walk) lookAt(t *party, l *lodging, got tokens, status string) error {
	req, err := http.NewRequestWithContext(k.ctx, http.MethodGet, l.address+"/"+l.id, nil)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+l.token)
	var answer consentAnswer
	if err := k.take("The consent is "+status, req, granted, &answer); err != nil {
		return err
	}
	if err := answer.check(status); err != nil {
		return err
	}
	good := status == "Authorised"
	if req, err = t.tokenRequestAt(k.ctx, t.metadata.IntrospectionEndpoint, url.Values{"token": {got.AccessToken}}); err != nil {
		return err
	}
	if err := k.introspect("The TPP asks about its token", req, good, ""); err != nil {
		return err
	}
	form := url.Values{"token": {got.AccessToken}}
	if req, err = newRequest(k.ctx, http.MethodPost, t.metadata.IntrospectionEndpoint, contentTypeForm, form.Encode()); err != nil {
		return err
	}
	gateway := t.provider.Gateway
	req.SetBasicAuth(url.QueryEscape(gateway.ID), url.QueryEscape(gateway.Secret))
	return k.introspect("The bank's gateway asks about the token that it was shown", req, good, l.id)
}

// introspect makes a request and checks whether the token is good and, unless consentID is empty, what for.
func (k *walk) introspect(title string, req *http.Request, good bool, consentID string) error {
	var answer struct {
		Active  bool `json:"active"`
		Consent struct {
			ID string `json:"consent_id"`
		} `json:"consent"`
	}
	if err := k.take(title, req, granted, &answer); err != nil {
		return err
	}
	switch {
	case answer.Active != good:
		return fmt.Errorf("want active %t, got %t", good, answer.Active)
	case good && answer.Consent.ID != consentID:
		return errors.New("the answer does not name the consent")
	}
	return nil
}

// withdraw plays the PSU, who logs in at the bank and withdraws what they allowed last.
func (k *walk) withdraw(p *Provider) error {
	i := slices.IndexFunc(p.PSUs, func(u PSU) bool { return u.Username == PSUApprove })
	if i < 0 {
		return fmt.Errorf("%s has no PSU %q", p.Code, PSUApprove)
	}
	psu := p.PSUs[i]
	b, err := newBrowser(k.world.HTTP)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(k.ctx, http.MethodGet, k.world.SideURL+"/"+p.Code+"/access", nil)
	if err != nil {
		return err
	}
	v, err := k.browse("The PSU wants to see who has access", b, req, "")
	if err != nil {
		return err
	}
	if req, err = v.submit(k.ctx, url.Values{"username": {psu.Username}, "password": {psu.Password}, "otp": {psu.OTP}}); err != nil {
		return err
	}
	if v, err = k.browse("The bank, which knows who they are, hands them over to the page of Gatehouse", b, req, ""); err != nil {
		return err
	}
	link := v.link("/access/grants/")
	if link == nil {
		return errors.New("the page lists nobody who has access")
	}
	if req, err = http.NewRequestWithContext(k.ctx, http.MethodGet, link.String(), nil); err != nil {
		return err
	}
	if v, err = k.browse("What would happen", b, req, ""); err != nil {
		return err
	}
	v.choose("/access/grants/")
	if req, err = v.submit(k.ctx, nil); err != nil {
		return err
	}
	v, err = k.browse("The PSU withdraws", b, req, "")
	if err == nil && v.status != http.StatusOK {
		err = fmt.Errorf("want status 200, got %d", v.status)
	}
	return err
}
