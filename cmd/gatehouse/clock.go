package main

import (
	"encoding/json"
	"net/http"
	"sync/atomic"
	"time"

	"gatehouse"
)

// A clock is the system's, moved by an offset. In production the offset is
// always 0: only handle sets it.
type clock struct{ offset atomic.Int64 } // nanoseconds

func (c *clock) now() time.Time { return time.Now().Add(time.Duration(c.offset.Load())) }

// An offset is the body of GET and PUT /clock, such as {"offset":"-2h0m0s"}.
type offset struct {
	Offset gatehouse.Duration `json:"offset"`
}

// handle lets tests see and move the clock; see allow_clock_control.
func (c *clock) handle(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodPut {
		var to offset
		if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<10)).Decode(&to); err != nil {
			writeJSON(w, http.StatusBadRequest, map[string]string{"error": "the body must be {\"offset\":\"DURATION\"}"})
			return
		}
		c.offset.Store(int64(to.Offset))
	}
	writeJSON(w, http.StatusOK, offset{gatehouse.Duration(c.offset.Load())})
}
