package demobank

// docs/connector.md, "What the bank is told": the server's calls to the bank

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"gatehouse/jose"
)

const (
	maxNotice  = 256 << 10 // bytes of a signed token
	maxTold    = 1_000     // consents that a bank remembers
	keysAgain  = 10 * time.Second
	noticePath = "/api/priora/ob/v1"
)

// A told is a consent that the server has told the bank of.
type told struct {
	consent
	At time.Time // when
}

// A ledger is what the bank remembers of the server's calls, in memory.
type ledger struct {
	mu       sync.Mutex
	consents []*told // the oldest first

	keysMu sync.Mutex
	keys   []*jose.PublicKey // of the server, for this provider
	read   time.Time
}

// find returns a consent, nil when the bank was not told of it. The caller holds the lock.
func (l *ledger) find(id string) *told {
	i := slices.IndexFunc(l.consents, func(c *told) bool { return c.ID == id })
	if i < 0 {
		return nil
	}
	return l.consents[i]
}

// A nak is a call that the bank does not take, in its own words.
type nak struct {
	status         int
	class, message string
}

func (n *nak) Error() string { return n.class + ": " + n.message }

// notice serves one of the server's calls: it opens the signed token and answers what take says.
func (b *Bank) notice(take func(r *http.Request, data json.RawMessage) error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		data, err := b.openNotice(r)
		if err == nil {
			err = take(r, data)
		}
		w.Header().Set("Content-Type", contentTypeJSON)
		n, ok := errors.AsType[*nak](err)
		switch {
		case err == nil:
			io.WriteString(w, "{}")
			return
		case !ok:
			b.Log.Error("a call of the server was not understood", "provider_code", b.Code, "error", err)
			n = &nak{http.StatusServiceUnavailable, "InternalServerError", "try again"}
			w.Header().Set("Retry-After", "5")
		}
		w.WriteHeader(n.status)
		json.NewEncoder(w).Encode(map[string]string{"error_class": n.class, "error_message": n.message})
	})
}

// openNotice checks the signature and the age of a call and returns its data.
func (b *Bank) openNotice(r *http.Request) (json.RawMessage, error) {
	signed, found := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !found {
		return nil, &nak{http.StatusBadRequest, "AuthorizationMissing", "Authorization is missing"}
	}
	token, err := jose.Parse(signed, maxNotice)
	if err != nil {
		return nil, &nak{http.StatusBadRequest, "JWTDecodeError", err.Error()}
	}
	keys, err := b.serverKeys(r.Context(), token.KID)
	if err != nil {
		return nil, err
	}
	if err := token.Verify(keys, jose.RS256); err != nil {
		return nil, &nak{http.StatusBadRequest, "JWTDecodeError", err.Error()}
	}
	if exp, present, err := token.Claims.Time("exp"); err != nil || !present || !b.Now().Before(exp) {
		return nil, &nak{http.StatusBadRequest, "JWTExpiredSignature", "exp is missing or over"}
	}
	return json.RawMessage(token.Claims["data"]), nil
}

// serverKeys returns the keys of the server for this provider. They are read again when one is named that is not
// among them, but not all the time.
func (b *Bank) serverKeys(ctx context.Context, kid string) ([]*jose.PublicKey, error) {
	l := &b.ledger
	l.keysMu.Lock()
	defer l.keysMu.Unlock()
	known := slices.ContainsFunc(l.keys, func(k *jose.PublicKey) bool { return k.KID == kid })
	if age := b.Now().Sub(l.read); known || l.keys != nil && age >= 0 && age < keysAgain {
		return l.keys, nil
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, b.GatehouseURL+"/oidc/"+b.Code+"/jwks", nil)
	if err != nil {
		return nil, err
	}
	res, err := b.HTTP.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	data, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err != nil {
		return nil, err
	}
	set, err := jose.ParseJWKS(data)
	if err != nil || res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the server's keys: status %d: %w", res.StatusCode, err)
	}
	l.keys, l.read = set.Keys, b.Now()
	return l.keys, nil
}

// lodged takes the call that tells of a new consent. The bank may hear it twice.
func (b *Bank) lodged(kind string) func(*http.Request, json.RawMessage) error {
	return func(_ *http.Request, data json.RawMessage) error {
		c := &told{At: b.Now()}
		if err := json.Unmarshal(data, &c.consent); err != nil || c.ID == "" {
			return &nak{http.StatusBadRequest, "WrongRequestFormat", "data is not a consent"}
		}
		if c.Kind = kind; c.Status == "" {
			c.Status = "AwaitingAuthorisation"
		}
		b.ledger.mu.Lock()
		defer b.ledger.mu.Unlock()
		if b.ledger.find(c.ID) == nil {
			b.ledger.consents = append(b.ledger.consents, c)
		}
		if len(b.ledger.consents) > maxTold {
			b.ledger.consents = slices.Delete(b.ledger.consents, 0, 1)
		}
		return nil
	}
}

// revoked takes the call that tells of the end of a consent.
func (b *Bank) revoked(r *http.Request, _ json.RawMessage) error {
	if !b.ledger.move(r.PathValue("id"), statusRevoked) {
		return &nak{http.StatusNotFound, "ConsentNotFound", "there is no such consent"}
	}
	return nil
}

const statusRevoked = "Revoked"

// move notes where a consent stands, if the bank knows it.
func (l *ledger) move(id, status string) (known bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := l.find(id)
	if c != nil {
		c.Status = status
	}
	return c != nil
}

// reported takes what the server thinks of the bank's answers.
func (b *Bank) reported(_ *http.Request, data json.RawMessage) error {
	b.Log.Warn("the server reports an answer that makes no sense", "provider_code", b.Code, "report", string(data))
	return nil
}

// consents shows what the server has told, the newest first.
func (b *Bank) consents(w http.ResponseWriter, r *http.Request) error {
	b.ledger.mu.Lock()
	list := make([]told, len(b.ledger.consents))
	for i, c := range b.ledger.consents {
		list[len(list)-1-i] = *c
	}
	b.ledger.mu.Unlock()
	b.render(w, http.StatusOK, "consents", map[string]any{"Base": b.base, "Consents": list})
	return nil
}

// revoke ends a consent on the bank's side and tells the server.
func (b *Bank) revoke(w http.ResponseWriter, r *http.Request) error {
	if err := new(http.CrossOriginProtection).Check(r); err != nil {
		return faultOtherBrowser
	}
	id := r.PathValue("id")
	b.ledger.mu.Lock()
	known := b.ledger.find(id) != nil
	b.ledger.mu.Unlock()
	if !known {
		return faultNoPage
	}
	var answer struct{}
	err := b.call(r.Context(), http.MethodPatch, consentsPath+"/"+url.PathEscape(id)+"/revoke", map[string]any{"consent_id": id}, &answer)
	if e, ok := errors.AsType[*refusal](err); ok && e.Status == http.StatusBadRequest {
		return faultEnded.backTo(b.base+"/consents", "Back to the list")
	}
	if err != nil {
		return err
	}
	b.ledger.move(id, statusRevoked)
	http.Redirect(w, r, b.base+"/consents", http.StatusSeeOther)
	return nil
}
