package admin

import (
	"context"
	"crypto/hmac"
	"encoding/base64"
	"errors"
	"fmt"
	"iter"
	"strconv"
	"strings"
	"time"

	"gatehouse"
)

// Events yields the events that f selects and that were written at or after
// since, in the order of their time. An error is the last that it yields.
func (a *Admin) Events(ctx context.Context, f gatehouse.EventFilter, since time.Time) iter.Seq2[*gatehouse.Event, error] {
	first := ""
	if !since.IsZero() {
		first = gatehouse.FirstID(since)
	}
	return each(ctx, first, func(ctx context.Context, after string, limit int) ([]*gatehouse.Event, error) {
		return a.Store.Events(ctx, f, after, limit)
	}, func(e *gatehouse.Event) string { return e.ID })
}

// A Head names a line of the audit log and, by its hash, every line before it.
// One that was kept outside the database shows what was cut off since.
type Head struct {
	Sequence int64
	Hash     []byte
}

// String is "sequence:hash", the hash in base64url.
func (h Head) String() string {
	return strconv.FormatInt(h.Sequence, 10) + ":" + base64.RawURLEncoding.EncodeToString(h.Hash)
}

// MarshalText writes what String does.
func (h Head) MarshalText() ([]byte, error) { return []byte(h.String()), nil }

// ParseHead reads what String writes.
func ParseHead(text string) (Head, error) {
	number, hash, _ := strings.Cut(text, ":")
	sequence, err := strconv.ParseInt(number, 10, 64)
	raw, hashErr := base64.RawURLEncoding.Strict().DecodeString(hash)
	if err != nil || hashErr != nil || sequence < 1 || len(raw) == 0 {
		return Head{}, errors.New("a head is SEQUENCE:HASH, as audit verify prints it")
	}
	return Head{sequence, raw}, nil
}

// SealEvents puts the events that are in no chain at its end. It returns the
// last line that it added itself, which is zero when there was none.
func (a *Admin) SealEvents(ctx context.Context) (last Head, err error) {
	for before := 0; ; {
		var lines []Head
		sealed, err := a.Store.SealEvents(ctx, func(previous []byte, e *gatehouse.Event) []byte {
			hash := e.ChainHash(a.KEK, previous)
			lines = append(lines, Head{e.Sequence, hash})
			return hash
		})
		if sealed > 0 {
			last = lines[sealed-1]
		}
		// Fewer than before: what is left came in just now, and can wait.
		if err != nil || sealed == 0 || sealed < before {
			return last, err
		}
		before = sealed
	}
}

// SealingTime is how long after its decision an event may be unsealed.
const SealingTime = time.Minute

// A ChainState is what VerifyEvents found.
type ChainState struct {
	// Head is the last line before the fault or, without one, of all.
	Head Head `json:"head"`
	// Fault is the first place where the chain does not hold; nil when it does.
	Fault *ChainFault `json:"fault,omitempty"`
	// Waiting counts the events that are in no chain yet, Overdue those that
	// should be: written longer ago, or further ahead, than SealingTime.
	Waiting int `json:"waiting"`
	Overdue int `json:"overdue"`
	// OverdueEvents are the first of these.
	OverdueEvents []*gatehouse.Event `json:"overdue_events"`
}

// maxOverdueEvents bounds ChainState.OverdueEvents.
const maxOverdueEvents = 100

// A ChainFault is a place where the chain is not what was sealed.
type ChainFault struct {
	Sequence int64      `json:"sequence"`
	Finding  ChainBreak `json:"finding"`
	// Event is the line found there; nil when there is none.
	Event *gatehouse.Event `json:"event,omitempty"`
}

func (f *ChainFault) Error() string { return fmt.Sprintf("line %d %s", f.Sequence, f.Finding) }

// ChainBreak says what is wrong with a line.
type ChainBreak string

// The ways in which a chain breaks.
const (
	// LineMissing: the next line has a higher number, or a head that was kept
	// has.
	LineMissing ChainBreak = "is missing"
	// LineChanged: the next line follows it, so what does not fit was changed
	// after both were sealed.
	LineChanged ChainBreak = "was changed"
	// LineForeign: the next line does not follow it.
	LineForeign ChainBreak = "does not belong"
	// LineChangedOrForeign: there is no next line, which would tell.
	LineChangedOrForeign ChainBreak = "was changed or does not belong"
	// LineReplaced: the chain holds, but is not the one whose head was kept. A
	// database restored from a backup goes on in another way, too.
	LineReplaced ChainBreak = "is not the one whose head was kept"
)

// VerifyEvents reads the whole audit log and reports whether it is what was
// sealed. A kept head, unless it is zero, must be a line of it.
func (a *Admin) VerifyEvents(ctx context.Context, kept Head) (*ChainState, error) {
	state := &ChainState{OverdueEvents: []*gatehouse.Event{}}
	if err := a.countUnsealed(ctx, state); err != nil {
		return nil, err
	}
	for e, err := range each(ctx, 0, a.Store.Chain, func(e *gatehouse.Event) int64 { return e.Sequence }) {
		if err != nil {
			return nil, fmt.Errorf("audit log, after line %d: %w", state.Head.Sequence, err)
		}
		if e.Sequence != state.Head.Sequence+1 {
			state.Fault = &ChainFault{state.Head.Sequence + 1, LineMissing, nil}
			return state, nil
		}
		if !hmac.Equal(e.ChainHash(a.KEK, state.Head.Hash), e.Hash) {
			finding, err := a.examine(ctx, e, state.Head)
			state.Fault = &ChainFault{e.Sequence, finding, e}
			return state, err
		}
		if e.Sequence == kept.Sequence && !hmac.Equal(e.Hash, kept.Hash) {
			state.Fault = &ChainFault{e.Sequence, LineReplaced, e}
			return state, nil
		}
		state.Head = Head{e.Sequence, e.Hash}
	}
	if kept.Sequence > state.Head.Sequence {
		state.Fault = &ChainFault{state.Head.Sequence + 1, LineMissing, nil}
	}
	return state, nil
}

func (a *Admin) countUnsealed(ctx context.Context, state *ChainState) error {
	now := a.Now()
	for e, err := range a.Events(ctx, gatehouse.EventFilter{}, time.Time{}) {
		switch {
		case err != nil:
			return err
		case e.Sequence > 0:
		case now.Sub(e.At).Abs() <= SealingTime:
			state.Waiting++
		default:
			state.Overdue++
			if state.Overdue <= maxOverdueEvents {
				state.OverdueEvents = append(state.OverdueEvents, e)
			}
		}
	}
	return nil
}

// examine asks the line after one that does not fit behind head.
func (a *Admin) examine(ctx context.Context, e *gatehouse.Event, head Head) (ChainBreak, error) {
	after, err := a.Store.Chain(ctx, e.Sequence, 1)
	if err != nil {
		return "", err
	}
	if len(after) == 0 {
		return LineChangedOrForeign, nil
	}
	next := after[0]
	for _, hash := range [][]byte{e.Hash, e.ChainHash(a.KEK, head.Hash)} { // all but its hash was changed, or its hash alone
		if hmac.Equal(next.ChainHash(a.KEK, hash), next.Hash) {
			return LineChanged, nil
		}
	}
	return LineForeign, nil
}
