package connector

// docs/connector.md, "What the bank is told"; RFC 9110 §10.2.3 (Retry-After).

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"gatehouse/jose"
)

const (
	// callPath is where a bank's part of the wire begins, below its
	// connector_url.
	callPath      = "/api/priora/ob/v1"
	callTimeout   = 10 * time.Second
	signatureLife = 2 * time.Minute
	maxAnswer     = 64 << 10
	maxRetryAfter = time.Hour
)

// A Bank is where one provider's bank is called and who calls: the provider's
// issuer, with its RS256 key.
type Bank struct {
	URL    string // connector_url
	Issuer string
	Key    *jose.PrivateKey
}

// A Call is one request to a bank. Its data travel in the signed token of the
// Authorization header, and there is no body.
type Call struct {
	Method string
	Path   string // below {connector_url}/api/priora/ob/v1
	Data   any

	// The headers Client-Id, Consent-Id and Access-Token.
	ClientID    string
	ConsentID   string
	AccessToken string
}

// An Answer is what the bank said.
type Answer struct {
	Status int
	// RetryAfter is when the bank wants to hear the call again, at most an
	// hour; 0 when it does not say.
	RetryAfter time.Duration
	// Class is the error_class of an answer that is not 2xx.
	Class string
	// Fault says what makes no sense about the answer; empty when it does.
	Fault string
}

// Taken reports whether the bank took the call, with or without sense in the
// body of its answer.
func (a *Answer) Taken() bool { return a.Status >= 200 && a.Status < 300 }

// A Caller makes the calls to banks. It follows no redirect and keeps no
// cookie. It is safe for concurrent use; a call that hangs delays no other.
type Caller struct {
	Transport http.RoundTripper // NewTransport makes one
	Now       func() time.Time  // dates the signatures
	Timeout   time.Duration     // of a call to the last byte of its answer; 0: 10 s
}

// NewTransport returns a transport for calls to banks, which uses no proxy. The
// certificate, which may be nil, is shown to banks that ask for one; roots are
// the authorities of theirs, nil those of the system. There is no limit on
// connections to one host: several banks may be behind one.
func NewTransport(certificate *tls.Certificate, roots *x509.CertPool) *http.Transport {
	config := &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots}
	if certificate != nil {
		config.Certificates = []tls.Certificate{*certificate}
	}
	return &http.Transport{
		DialContext:            (&net.Dialer{Timeout: callTimeout / 2}).DialContext,
		TLSClientConfig:        config,
		TLSHandshakeTimeout:    callTimeout / 2,
		MaxResponseHeaderBytes: 32 << 10,
		MaxIdleConnsPerHost:    8,
		MaxIdleConns:           1024,
		IdleConnTimeout:        time.Minute,
		DisableCompression:     true,
	}
}

// Call makes a call once. An error means that there was no answer.
func (c *Caller) Call(ctx context.Context, b Bank, call *Call) (*Answer, error) {
	ctx, cancel := context.WithTimeout(ctx, cmp.Or(c.Timeout, callTimeout))
	defer cancel()
	now := c.Now()
	signed, err := b.Key.Sign("", map[string]any{"data": call.Data, "exp": now.Add(signatureLife).Unix(), "iss": b.Issuer})
	if err != nil {
		return nil, err
	}
	r, err := http.NewRequestWithContext(ctx, call.Method, b.target(call), nil)
	if err != nil {
		return nil, err
	}
	r.Header = call.header()
	r.Header.Set("Authorization", "Bearer "+signed)
	if call.AccessToken != "" {
		r.Header.Set("Access-Token", call.AccessToken)
	}
	response, err := c.Transport.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer+1))
	if err != nil {
		return nil, err
	}
	a := &Answer{Status: response.StatusCode, RetryAfter: retryAfter(response.Header.Get("Retry-After"), now)}
	a.read(body)
	return a, nil
}

// Report tells a bank of an answer of its own that makes no sense, once.
func (c *Caller) Report(ctx context.Context, b Bank, call *Call, fault string) error {
	headers := map[string]string{}
	for name, values := range call.header() {
		headers[name] = values[0]
	}
	answer, err := c.Call(ctx, b, &Call{Method: http.MethodPost, Path: "/errors", Data: map[string]any{
		"request": map[string]any{"method": call.Method, "url": b.target(call), "headers": headers},
		"error":   map[string]any{"error_class": "InternalProviderError", "error_message": fault},
	}})
	if err == nil && !answer.Taken() {
		return errors.New("status " + strconv.Itoa(answer.Status))
	}
	return err
}

func (b Bank) target(call *Call) string {
	return strings.TrimSuffix(b.URL, "/") + callPath + call.Path
}

// header is every header of a call that is no secret.
func (call *Call) header() http.Header {
	h := http.Header{
		"Accept":       {"application/json"},
		"Content-Type": {"application/json"},
		"User-Agent":   {"gatehouse"},
	}
	if call.ClientID != "" {
		h.Set("Client-Id", call.ClientID)
	}
	if call.ConsentID != "" {
		h.Set("Consent-Id", call.ConsentID)
	}
	return h
}

// read judges the body of an answer. A 5xx may be of a proxy that knows nothing
// of the wire, and 204 has no body (RFC 9110 §15.3.5).
func (a *Answer) read(body []byte) {
	object, err := jose.ParseObject(body, maxAnswerDepth)
	if err == nil && a.Status >= 400 {
		a.Class, err = object.String("error_class")
	}
	switch {
	case a.Status >= 500, a.Status == http.StatusNoContent:
	case len(body) > maxAnswer:
		a.Fault = "the body is larger than 64 KiB"
	case a.Status >= 300 && a.Status < 400:
		a.Fault = "a redirect is not followed"
	case err != nil:
		a.Fault = "the body: " + err.Error()
	}
}

const maxAnswerDepth = 32

// retryAfter reads seconds or an HTTP date. What is neither is as good as
// absent; what is over already means at once.
func retryAfter(text string, now time.Time) time.Duration {
	wait := maxRetryAfter
	switch date, err := http.ParseTime(text); {
	case err == nil:
		wait = date.Sub(now)
	case text == "" || strings.Trim(text, "0123456789") != "":
		return 0
	default:
		if seconds, err := strconv.ParseUint(text, 10, 32); err == nil { // else far too many
			wait = time.Duration(seconds) * time.Second
		}
	}
	return min(max(wait, time.Second), maxRetryAfter)
}
