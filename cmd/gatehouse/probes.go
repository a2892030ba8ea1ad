package main

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"gatehouse/oidc"
)

// probes answer an orchestrator: is the process alive, should it get requests.
type probes struct {
	ready func(context.Context) error
	log   *slog.Logger
	// draining is set when the server has been told to stop.
	draining atomic.Bool
}

// readyTimeout is how long a readiness probe waits for the database.
const readyTimeout = 2 * time.Second

// A readiness tells what is missing.
type readiness struct {
	Status   string `json:"status"`   // ready, unavailable, draining
	Database string `json:"database"` // ok, down, unknown
	Keys     string `json:"keys"`     // ok, unavailable, unknown
}

func (p *probes) handler() paths {
	return paths{
		"/healthz": {http.MethodGet: p.healthz, http.MethodHead: p.healthz},
		"/readyz":  {http.MethodGet: p.readyz, http.MethodHead: p.readyz},
	}
}

// paths are handlers by path and method. A path has one spelling, and every
// answer is JSON; http.ServeMux redirects from others, in HTML.
type paths map[string]map[string]http.HandlerFunc

func (p paths) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	methods, known := p[r.URL.EscapedPath()]
	if !known {
		writeJSON(w, http.StatusNotFound, map[string]string{"error": "there is nothing at this path"})
		return
	}
	handle, taken := methods[r.Method]
	if !taken {
		w.Header().Set("Allow", strings.Join(slices.Sorted(maps.Keys(methods)), ", "))
		writeJSON(w, http.StatusMethodNotAllowed, map[string]string{"error": "this path does not take the method"})
		return
	}
	handle(w, r)
}

// closing ends connections with the answer that is under way, while draining:
// the next request is for another server.
func (p *probes) closing(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if p.draining.Load() {
			w.Header().Set("Connection", "close")
		}
		next.ServeHTTP(w, r)
	})
}

// healthz answers while the process can answer at all: restarting it would not
// bring a database back.
func (p *probes) healthz(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, map[string]string{"status": "ok"})
}

func (p *probes) readyz(w http.ResponseWriter, r *http.Request) {
	if p.draining.Load() {
		writeJSON(w, http.StatusServiceUnavailable, readiness{"draining", "unknown", "unknown"})
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), readyTimeout)
	defer cancel()
	err := p.ready(ctx)
	if err == nil {
		writeJSON(w, http.StatusOK, readiness{"ready", "ok", "ok"})
		return
	}
	p.log.Warn("not ready", "error", err)
	answer := readiness{"unavailable", "unknown", "unknown"}
	switch {
	case errors.Is(err, oidc.ErrDatabase):
		answer.Database = "down"
	case errors.Is(err, oidc.ErrKeys):
		answer.Database, answer.Keys = "ok", "unavailable"
	}
	writeJSON(w, http.StatusServiceUnavailable, answer)
}

func writeJSON(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(body)
}
