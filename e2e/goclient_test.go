package e2e_test

// coreos/go-oidc and golang.org/x/oauth2 against every bank.

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"
)

const flowLimit = time.Minute

// TestGoClients gets tokens as a Go program does: discovery, whose issuer
// go-oidc checks strictly, code with PKCE, exchange, refresh, and a token for
// the client alone.
//
// Proves: T35, A4
func TestGoClients(t *testing.T) {
	forEachClient(t, func(t *testing.T, d *demo, b *bank, c *tpp) {
		ctx, cancel := context.WithTimeout(t.Context(), flowLimit)
		defer cancel()
		ctx, r := newRelyingParty(ctx, t, d, b, c)

		q, back := r.authorize(ctx, t, "approve", "approve")
		if back.Has("error") {
			t.Fatalf("the authorization response is %v", back)
		}
		token, err := r.exchange(ctx, q, back.Get("code"))
		if err != nil {
			t.Fatal(err)
		}
		id := r.verify(ctx, t, token)
		if id.Nonce != q.nonce {
			t.Errorf("id_token: nonce is %q, sent was %q", id.Nonce, q.nonce)
		}
		if token.TokenType != "Bearer" || token.RefreshToken == "" || !token.Expiry.After(time.Now()) {
			t.Errorf("token_type %q, refresh_token %t, expires %v", token.TokenType, token.RefreshToken != "", token.Expiry)
		}

		renewed, err := r.oauth.TokenSource(ctx, &oauth2.Token{RefreshToken: token.RefreshToken}).Token()
		if err != nil {
			t.Fatal("refresh: ", err)
		}
		if renewed.AccessToken == token.AccessToken {
			t.Error("refresh: the access token is the old one")
		}
		if again := r.verify(ctx, t, renewed); again.Subject != id.Subject {
			t.Errorf("refresh: sub is %q, was %q", again.Subject, id.Subject)
		}

		own := clientcredentials.Config{
			ClientID: c.ID, ClientSecret: c.Secret, AuthStyle: r.oauth.Endpoint.AuthStyle,
			TokenURL: r.oauth.Endpoint.TokenURL, Scopes: []string{"accounts"},
		}
		if mine, err := own.Token(ctx); err != nil || mine.Extra("scope") != "accounts" {
			t.Errorf("client_credentials: %v %v", mine, err)
		}
	})
}

// TestGoClientsRefused: what goes wrong comes as an error that x/oauth2 reads.
//
// Proves: A4
func TestGoClientsRefused(t *testing.T) {
	forEachClient(t, func(t *testing.T, d *demo, b *bank, c *tpp) {
		ctx, cancel := context.WithTimeout(t.Context(), flowLimit)
		defer cancel()
		ctx, r := newRelyingParty(ctx, t, d, b, c)

		for _, row := range []struct{ username, button string }{{"approve", "deny"}, {"deny", "approve"}} {
			if _, back := r.authorize(ctx, t, row.username, row.button); back.Get("error") != "access_denied" || back.Has("code") {
				t.Errorf("PSU %s pressed %s: the authorization response is %v", row.username, row.button, back)
			}
		}
		_, back := r.authorize(ctx, t, "approve", "approve", oauth2.SetAuthURLParam("scope", "openid everything"))
		if back.Get("error") != "invalid_scope" || back.Has("code") {
			t.Errorf("unknown scope: the authorization response is %v", back)
		}

		q, back := r.authorize(ctx, t, "approve", "approve")
		other := *q
		other.verifier = oauth2.GenerateVerifier()
		_, err := r.exchange(ctx, &other, back.Get("code"))
		r.wantRefusal(t, "another code_verifier", err, http.StatusBadRequest, "invalid_grant")
		_, err = r.exchange(ctx, q, "no-such-code-1234567890")
		unknown := http.StatusNotFound
		if b.Profile == "oidc" {
			unknown = http.StatusBadRequest
		}
		r.wantRefusal(t, "unknown code", err, unknown, "invalid_grant")
		if _, err := r.exchange(ctx, q, back.Get("code")); err != nil {
			t.Error("the code after it was presented with another code_verifier:", err)
		}
		_, err = r.exchange(ctx, q, back.Get("code"))
		r.wantRefusal(t, "the code a second time", err, http.StatusBadRequest, "invalid_grant")
	})
}

// TestGoClientsTooEarly: a bank decides after the browser has left. The code
// is good from then on, and coming before costs nothing.
func TestGoClientsTooEarly(t *testing.T) {
	d := demos(t)["http"]
	for i := range d.Providers {
		b := &d.Providers[i]
		t.Run(b.Code, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), flowLimit)
			defer cancel()
			ctx, r := newRelyingParty(ctx, t, d, b, &b.Clients[0])
			tooEarly := http.StatusTooEarly
			if b.Profile == "oidc" {
				tooEarly = http.StatusBadRequest
			}
			q, back := r.authorize(ctx, t, "slow", "approve")
			token, err := r.exchange(ctx, q, back.Get("code"))
			if err == nil {
				t.Fatal("the code was good before the verdict")
			}
			for err != nil {
				refusal := r.wantRefusal(t, "before the verdict", err, tooEarly, "authorization_pending")
				if refusal == nil {
					return
				}
				seconds, failed := strconv.Atoi(refusal.Response.Header.Get("Retry-After"))
				if failed != nil || seconds < 1 || seconds > 10 {
					t.Fatalf("Retry-After is %q", refusal.Response.Header.Get("Retry-After"))
				}
				select {
				case <-ctx.Done():
					t.Fatal("the bank never decided")
				case <-time.After(time.Duration(seconds) * time.Second):
				}
				token, err = r.exchange(ctx, q, back.Get("code"))
			}
			r.verify(ctx, t, token)
		})
	}
}

// A relyingParty is one client at one bank, made of the two libraries.
type relyingParty struct {
	demo     *demo
	bank     *bank
	client   *tpp
	provider *oidc.Provider
	oauth    oauth2.Config
}

// newRelyingParty returns, too, a context that holds the HTTP client with which
// both libraries call.
func newRelyingParty(ctx context.Context, t *testing.T, d *demo, b *bank, c *tpp) (context.Context, *relyingParty) {
	t.Helper()
	r := &relyingParty{demo: d, bank: b, client: c}
	style := oauth2.AuthStyleInHeader
	transport := d.transport
	if c.AuthMethod == "private_key_jwt" {
		style = oauth2.AuthStyleInParams
		transport = &assertionTransport{next: d.transport, client: c, key: readKey(t, c.KeyFile), audience: b.Issuer}
	}
	ctx = oidc.ClientContext(ctx, &http.Client{Transport: transport})
	provider, err := oidc.NewProvider(ctx, b.Issuer)
	if err != nil {
		t.Fatal(err)
	}
	var metadata struct {
		Issuer string `json:"issuer"`
		Iss    bool   `json:"authorization_response_iss_parameter_supported"`
	}
	if err := provider.Claims(&metadata); err != nil {
		t.Fatal(err)
	}
	if metadata.Issuer != b.Issuer || !metadata.Iss {
		t.Errorf("discovery: issuer %q, authorization_response_iss_parameter_supported %t", metadata.Issuer, metadata.Iss)
	}
	endpoint := provider.Endpoint()
	endpoint.AuthStyle = style
	r.provider = provider
	r.oauth = oauth2.Config{
		ClientID: c.ID, ClientSecret: c.Secret, Endpoint: endpoint,
		RedirectURL: c.RedirectURIs[0], Scopes: []string{oidc.ScopeOpenID, "accounts"},
	}
	return ctx, r
}

// An attempt is what the relying party remembers of an authorization request.
type attempt struct{ state, nonce, verifier string }

// authorize sends a PSU to the bank and returns the response, once its state
// and iss (RFC 9207 §2.4) are right.
func (r *relyingParty) authorize(ctx context.Context, t *testing.T, username, button string, options ...oauth2.AuthCodeOption) (*attempt, url.Values) {
	t.Helper()
	q := &attempt{state: rand.Text(), nonce: strings.Repeat("n0_~", 9) + rand.Text() + "-.", verifier: oauth2.GenerateVerifier()}
	if len(q.nonce) != 64 {
		t.Fatal("the nonce is to have 64 characters")
	}
	options = append(options, oidc.Nonce(q.nonce), oauth2.S256ChallengeOption(q.verifier))
	address := r.oauth.AuthCodeURL(q.state, options...)
	back := visit(ctx, t, r.demo, address, r.oauth.RedirectURL, r.bank.psu(t, username), button)
	if back.Get("state") != q.state {
		t.Errorf("the authorization response has state %q, sent was %q", back.Get("state"), q.state)
	}
	if back.Get("iss") != r.bank.Issuer {
		t.Errorf("the authorization response has iss %q, the issuer is %q", back.Get("iss"), r.bank.Issuer)
	}
	return q, back
}

func (r *relyingParty) exchange(ctx context.Context, q *attempt, code string) (*oauth2.Token, error) {
	return r.oauth.Exchange(ctx, code, oauth2.VerifierOption(q.verifier))
}

// verify checks the ID Token of a response: go-oidc sees to signature, iss,
// aud and exp, and to at_hash.
func (r *relyingParty) verify(ctx context.Context, t *testing.T, token *oauth2.Token) *oidc.IDToken {
	t.Helper()
	raw, ok := token.Extra("id_token").(string)
	if !ok {
		t.Fatal("the response has no id_token")
	}
	id, err := r.provider.VerifierContext(ctx, &oidc.Config{ClientID: r.client.ID}).Verify(ctx, raw)
	if err != nil {
		t.Fatal(err)
	}
	if err := id.VerifyAccessToken(token.AccessToken); err != nil {
		t.Error(err)
	}
	now := time.Now()
	if !slices.Equal(id.Audience, []string{r.client.ID}) || id.IssuedAt.IsZero() || id.IssuedAt.After(now) || !id.Expiry.After(now) {
		t.Errorf("id_token: aud %v, iat %v, exp %v", id.Audience, id.IssuedAt, id.Expiry)
	}
	var claims struct {
		AuthTime int64  `json:"auth_time"`
		ACR      string `json:"acr"`
		JTI      string `json:"jti"`
	}
	if err := id.Claims(&claims); err != nil {
		t.Fatal(err)
	}
	if claims.AuthTime == 0 || claims.ACR == "" || claims.JTI == "" {
		t.Errorf("id_token: auth_time %d, acr %q, jti %q", claims.AuthTime, claims.ACR, claims.JTI)
	}
	// go-oidc takes any key of the JWKS when there is no kid.
	var header struct{ Alg, Kid string }
	head, _, _ := strings.Cut(raw, ".")
	if data, err := base64.RawURLEncoding.DecodeString(head); err != nil || json.Unmarshal(data, &header) != nil {
		t.Fatal("id_token: the header cannot be read")
	}
	// RFC 7591 §2 and OpenID Connect Registration §2: RS256 unless registered otherwise.
	if header.Alg != oidc.RS256 || header.Kid == "" {
		t.Errorf("id_token: alg %q, kid %q", header.Alg, header.Kid)
	}
	return id
}

func (r *relyingParty) wantRefusal(t *testing.T, what string, err error, status int, code string) *oauth2.RetrieveError {
	t.Helper()
	refusal, ok := errors.AsType[*oauth2.RetrieveError](err)
	if !ok {
		t.Errorf("%s: want %d %s, got %v", what, status, code, err)
		return nil
	}
	if refusal.Response.StatusCode != status || refusal.ErrorCode != code {
		t.Errorf("%s: want %d %s, got %d %s", what, status, code, refusal.Response.StatusCode, refusal.ErrorCode)
		return nil
	}
	return refusal
}

// An assertionTransport adds a client assertion (RFC 7523 §2.2) to every token
// request: x/oauth2 itself knows secrets only.
type assertionTransport struct {
	next     http.RoundTripper
	client   *tpp
	key      *rsa.PrivateKey
	audience string
}

func (a *assertionTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Method != http.MethodPost {
		return a.next.RoundTrip(req)
	}
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return nil, err
	}
	req.Body.Close()
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return nil, err
	}
	assertion, err := a.sign(time.Now())
	if err != nil {
		return nil, err
	}
	form.Set("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer")
	form.Set("client_assertion", assertion)
	text := form.Encode()
	signed := req.Clone(req.Context())
	signed.Body, signed.ContentLength = io.NopCloser(strings.NewReader(text)), int64(len(text))
	return a.next.RoundTrip(signed)
}

// sign makes an assertion by hand, so that nothing of the program's own JOSE
// code is trusted here.
func (a *assertionTransport) sign(now time.Time) (string, error) {
	header, err := json.Marshal(map[string]string{"alg": a.client.Alg, "kid": a.client.KID, "typ": "JWT"})
	if err != nil {
		return "", err
	}
	claims, err := json.Marshal(map[string]any{
		"iss": a.client.ID, "sub": a.client.ID, "aud": a.audience,
		"jti": rand.Text(), "iat": now.Unix(), "exp": now.Add(time.Minute).Unix(),
	})
	if err != nil {
		return "", err
	}
	input := base64.RawURLEncoding.EncodeToString(header) + "." + base64.RawURLEncoding.EncodeToString(claims)
	digest := sha256.Sum256([]byte(input))
	var signature []byte
	switch a.client.Alg {
	case "RS256":
		signature, err = rsa.SignPKCS1v15(nil, a.key, crypto.SHA256, digest[:])
	case "PS256":
		signature, err = rsa.SignPSS(rand.Reader, a.key, crypto.SHA256, digest[:], &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash})
	default:
		err = fmt.Errorf("demo.json: alg %q", a.client.Alg)
	}
	return input + "." + base64.RawURLEncoding.EncodeToString(signature), err
}

func readKey(t *testing.T, file string) *rsa.PrivateKey {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	block, rest := pem.Decode(data)
	if block == nil || len(bytes.TrimSpace(rest)) > 0 {
		t.Fatalf("%s is not one PEM block", file)
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return key.(*rsa.PrivateKey)
}
