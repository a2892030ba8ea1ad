package main

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
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

func (p *probes) handler() *http.ServeMux {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", p.healthz)
	mux.HandleFunc("GET /readyz", p.readyz)
	return mux
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
