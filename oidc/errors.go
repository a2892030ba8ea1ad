package oidc

// The wire form of errors: RFC 6749 §5.2, with the product's error_class.

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"time"

	"gatehouse"
)

// A failure writes an error in the form that the callers of a route expect.
type failure func(w *response, r *http.Request, p *provider, fault *gatehouse.Error)

// atProvider is an error of a request that named its provider elsewhere than
// in the path: the provider's profile decides the status.
type atProvider struct {
	provider *provider
	err      error
}

func (e *atProvider) Error() string { return e.err.Error() }
func (e *atProvider) Unwrap() error { return e.err }

func (s *Server) failJSON(w *response, r *http.Request, p *provider, fault *gatehouse.Error) {
	status := fault.Kind.Status(profileOf(p))
	if challenge := bearerChallenge(fault); challenge != "" {
		w.Header().Set("WWW-Authenticate", challenge)
	} else if status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", `Basic realm="gatehouse", charset="UTF-8"`)
	}
	writeJSON(w, status, map[string]string{
		"error":             fault.Kind.Code(),
		"error_description": fault.Description,
		"error_class":       fault.Kind.Class(),
	})
}

// failConnector writes the native form that banks' connectors read.
func (s *Server) failConnector(w *response, r *http.Request, p *provider, fault *gatehouse.Error) {
	writeJSON(w, fault.Kind.Status(gatehouse.ProfilePSD2), map[string]string{
		"error_class":   fault.Kind.Class(),
		"error_message": fault.Description,
	})
}

// failPage writes a page for the person in front of the browser.
func (s *Server) failPage(w *response, r *http.Request, p *provider, fault *gatehouse.Error) {
	status := fault.Kind.Status(profileOf(p))
	if status == http.StatusUnauthorized || status == http.StatusTooEarly {
		status = http.StatusBadRequest
	}
	name := ""
	if p != nil {
		name = p.Name
	}
	err := writePage(w, status, "error.html", map[string]any{
		"Provider":  name,
		"Fault":     fault,
		"RequestID": w.requestID,
		"Ours":      status >= 500,
	})
	if err != nil {
		s.Log.Error("page", "request_id", w.requestID, "cause", err.Error())
	}
}

func profileOf(p *provider) gatehouse.Profile {
	if p == nil {
		return ""
	}
	return p.Profile
}

func writeJSON(w http.ResponseWriter, status int, body any) {
	data, err := json.Marshal(body)
	if err != nil {
		panic(err) // every body is a value of ours
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(data)))
	w.WriteHeader(status)
	w.Write(data)
}

// seconds writes a duration for a header, rounded up.
func seconds(d time.Duration) string { return strconv.Itoa(int(math.Ceil(d.Seconds()))) }

// newUUID returns a random UUID (RFC 9562 §5.4).
func newUUID() string {
	var b [16]byte
	rand.Read(b[:])
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
