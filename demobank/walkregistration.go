package demobank

// The life of a registration, as docs/registration.md has it

import (
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/url"

	"gatehouse/eidas"
	"gatehouse/jose"
)

// registration lets an application register, change, use two banks and go.
func (k *walk) registration() error {
	if len(k.world.Providers) < 2 {
		return errors.New("fewer than two providers")
	}
	k.part("A TPP registers itself, by a software statement of the sandbox directory")
	key, err := jose.GenerateKey(jose.PS256, keyBits)
	if err != nil {
		return err
	}
	g := &Registrant{
		Name:         "Walking TPP",
		RedirectURIs: []string{"https://app.example/callback"},
		Roles:        []string{"AISP"},
		Directory:    k.world.DirectoryURL,
		Server:       k.world.BaseURL,
		AuthMethod:   authPrivateKeyJWT,
		Alg:          jose.PS256,
		Key:          key,
		HTTP:         k.world.HTTP,
		Now:          k.world.Now,
	}
	for _, step := range []func(*Registrant) error{k.stranger, k.rehearse, k.register, k.replace, k.twoBanks, k.certify, k.leave} {
		if err := step(g); err != nil {
			return err
		}
	}
	return nil
}

// keyBits is the length of the keys that the walk makes.
const keyBits = 2048

// stranger shows a statement that no trusted directory has signed.
func (k *walk) stranger(g *Registrant) error {
	if err := k.statement("The sandbox directory issues a software statement", g); err != nil {
		return err
	}
	own, err := g.Key.Sign("JWT", map[string]any{"iss": "https://directory.example", "iat": g.Now().Unix(), "software_id": g.SoftwareID})
	if err != nil {
		return err
	}
	req, err := g.registerRequest(k.ctx, "", map[string]any{"software_statement": own})
	if err != nil {
		return err
	}
	_, err = k.call("A statement of a directory that nobody trusts: unapproved_software_statement", req,
		want{http.StatusBadRequest, "unapproved_software_statement", ""})
	return err
}

func (k *walk) statement(title string, g *Registrant) error {
	req, err := g.statementRequest(k.ctx)
	if err != nil {
		return err
	}
	var got statementAnswer
	if err := k.take(title, req, granted, &got); err != nil {
		return err
	}
	g.takeStatement(got)
	return nil
}

// rehearse tries a registration with two faults.
func (k *walk) rehearse(g *Registrant) error {
	req, err := g.registerRequest(k.ctx, "?dry_run=true", map[string]any{
		"redirect_uris": []string{"https://elsewhere.example/callback"}, "scope": "openid payments",
	})
	if err != nil {
		return err
	}
	a, err := k.call("A dry run tells every fault at once", req, want{http.StatusBadRequest, "invalid_redirect_uri", ""})
	if err != nil {
		return err
	}
	var got oauthError
	if err := json.Unmarshal(a.body, &got); err != nil {
		return err
	}
	if len(got.Problems) != 2 {
		return fmt.Errorf("want 2 problems, got %d", len(got.Problems))
	}
	return nil
}

func (k *walk) register(g *Registrant) error {
	req, err := g.registerRequest(k.ctx, "", nil)
	if err != nil {
		return err
	}
	var got registered
	if err := k.take("Register: client_id and registration_access_token", req, want{status: http.StatusCreated}, &got); err != nil {
		return err
	}
	g.take(got)
	if req, err = g.manageRequest(k.ctx, http.MethodGet); err != nil {
		return err
	}
	_, err = k.call("Read the registration", req, granted)
	return err
}

// replace changes the key and a redirect_uri, which the directory must vouch for first.
func (k *walk) replace(g *Registrant) (err error) {
	if g.Key, err = jose.GenerateKey(jose.PS256, keyBits); err != nil {
		return err
	}
	g.RedirectURIs = append(g.RedirectURIs, "https://app.example/callback-2")
	if err := k.statement("A new statement for the same software: another key, one more redirect_uri", g); err != nil {
		return err
	}
	req, err := g.manageRequest(k.ctx, http.MethodPut)
	if err != nil {
		return err
	}
	var got registered
	if err := k.take("Update the registration", req, granted, &got); err != nil {
		return err
	}
	g.take(got)
	return nil
}

// twoBanks uses one registration at two providers.
func (k *walk) twoBanks(g *Registrant) error {
	for _, p := range k.world.Providers[:2] {
		t, err := g.partyAt(k.ctx, p.Code)
		if err != nil {
			return err
		}
		if _, err := k.token("A token at "+p.Code, t, clientGrant(), granted); err != nil {
			return err
		}
	}
	return nil
}

func clientGrant() url.Values { return url.Values{"grant_type": {"client_credentials"}} }

// certify adds a seal certificate. Its key signs for the application from then on, beside that of the statement.
func (k *walk) certify(g *Registrant) error {
	p, err := k.provider("psd2", "")
	if err != nil {
		return err
	}
	key, err := jose.GenerateKey(jose.PS256, keyBits)
	if err != nil {
		return err
	}
	public, err := publicPEM(key)
	if err != nil {
		return err
	}
	body, err := json.Marshal(certificateRequest{eidas.OBSeal, public, g.OrgID, []eidas.Role{eidas.AccountInformation}})
	if err != nil {
		return err
	}
	req, err := newRequest(k.ctx, http.MethodPost, g.Directory+"/certificates", contentTypeJSON, string(body))
	if err != nil {
		return err
	}
	var issued certificateAnswer
	if err := k.take("The sandbox directory issues a seal certificate for another key", req, granted, &issued); err != nil {
		return err
	}
	body, err = json.Marshal(map[string]any{"data": map[string]any{"certificate": map[string]any{
		"pem": issued.Certificate, "name": "Signing", "type": eidas.OBSeal,
	}}})
	if err != nil {
		return err
	}
	address := k.world.BaseURL + "/api/" + p.Code + "/open-banking/v3.1/tpp/certificates"
	if req, err = newRequest(k.ctx, http.MethodPost, address, contentTypeJSON, string(body)); err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+g.AccessToken)
	if _, err := k.call("Add the certificate to the registration", req, want{status: http.StatusCreated}); err != nil {
		return err
	}
	t, err := g.partyAt(k.ctx, p.Code)
	if err != nil {
		return err
	}
	t.key = key
	_, err = k.token("A token, by an assertion under the certificate's key", t, clientGrant(), granted)
	return err
}

func publicPEM(key *jose.PrivateKey) (string, error) {
	der, err := x509.MarshalPKIXPublicKey(key.Public().Key)
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})), err
}

// leave ends the registration: everything that came of it is refused from then on.
func (k *walk) leave(g *Registrant) error {
	p, err := k.provider("psd2", "")
	if err != nil {
		return err
	}
	t, err := g.partyAt(k.ctx, p.Code)
	if err != nil {
		return err
	}
	req, err := g.manageRequest(k.ctx, http.MethodDelete)
	if err != nil {
		return err
	}
	if _, err := k.call("Delete the registration", req, want{status: http.StatusNoContent}); err != nil {
		return err
	}
	if req, err = g.manageRequest(k.ctx, http.MethodGet); err != nil {
		return err
	}
	if _, err := k.call("The registration access token is dead: 401 invalid_token", req, want{http.StatusUnauthorized, "invalid_token", ""}); err != nil {
		return err
	}
	_, err = k.token("And nobody knows the client: NotFound", t, clientGrant(), refused(http.StatusNotFound, "NotFound"))
	return err
}

// take makes a call and reads its answer.
func (k *walk) take(title string, req *http.Request, e want, into any) error {
	a, err := k.call(title, req, e)
	if err != nil {
		return err
	}
	return json.Unmarshal(a.body, into)
}
