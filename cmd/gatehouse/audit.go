package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"gatehouse"
	"gatehouse/admin"
)

func (c *cli) auditCommand() *cobra.Command {
	return group("audit", "Read the audit log and verify that nobody has changed it", c.auditList(), c.auditVerify())
}

func (c *cli) auditList() *cobra.Command {
	var from string
	var limit int
	f := gatehouse.EventFilter{}
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List decisions, one a line, the oldest first",
		Args:  cobra.NoArgs,
		RunE: c.inspect(func(ctx context.Context, a *admin.Admin, _ []string) error {
			moment, err := sinceWhen(from, a.Now())
			if err != nil {
				return err
			}
			listed := 0
			for e, err := range a.Events(ctx, f, moment) {
				if err != nil {
					return err
				}
				if err := c.printEvent(e); err != nil {
					return err
				}
				if listed++; listed == limit {
					break
				}
			}
			return nil
		}),
	}
	flags := cmd.Flags()
	flags.StringVar(&f.Provider, "provider", "", "only of this provider_code")
	flags.StringVar(&f.ClientID, "client", "", "only of this client_id")
	flags.StringVar(&f.GrantID, "grant", "", "only of this grant_id")
	flags.StringVar(&f.ConsentID, "consent", "", "only of this consent_id")
	oneOf(flags, cmd, &f.Kind, "kind", "only of this kind", gatehouse.EventKinds()...)
	flags.StringVar(&from, "since", "24h", "from when on: an age such as 24h, a time such as 2026-01-31T12:00:00Z, or all")
	flags.IntVar(&limit, "limit", 0, "at most so many (default all)")
	cmd.RegisterFlagCompletionFunc("provider", c.complete(providerCodes))
	cmd.RegisterFlagCompletionFunc("client", c.complete(clientIDs))
	return cmd
}

// sinceWhen reads a time, an age or "all".
func sinceWhen(text string, now time.Time) (time.Time, error) {
	if text == "all" {
		return time.Time{}, nil
	}
	if age, err := time.ParseDuration(text); err == nil {
		return now.Add(-age), nil
	}
	moment, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return time.Time{}, errors.New("--since must be an age such as 24h, a time such as 2026-01-31T12:00:00Z, or all")
	}
	return moment, nil
}

// printEvent writes an event as one line, in JSON with the hash as in a head.
func (c *cli) printEvent(e *gatehouse.Event) error {
	if c.output == "json" {
		enc := json.NewEncoder(c.stdout)
		enc.SetEscapeHTML(false)
		return enc.Encode(struct {
			*gatehouse.Event
			Hash string `json:"hash,omitempty"`
		}{e, base64.RawURLEncoding.EncodeToString(e.Hash)})
	}
	_, err := fmt.Fprintln(c.stdout, eventLine(e))
	return err
}

// eventLine is time, kind and actor, then name=value for all else there is.
func eventLine(e *gatehouse.Event) string {
	words := []string{e.At.UTC().Format("2006-01-02T15:04:05.000Z"), word(string(e.Kind)), word(string(e.Actor))}
	for _, pair := range [][2]string{
		{"actor_name", e.Name}, {"provider_code", e.Provider}, {"client_id", e.ClientID}, {"grant_id", e.GrantID}, {"consent_id", e.ConsentID},
		{"detail", e.Detail}, {"request_id", e.RequestID}, {"sequence", sequenceText(e.Sequence)},
	} {
		if pair[1] != "" {
			words = append(words, pair[0]+"="+word(pair[1]))
		}
	}
	return strings.Join(words, " ")
}

func sequenceText(sequence int64) string {
	if sequence == 0 {
		return ""
	}
	return strconv.FormatInt(sequence, 10)
}

// word quotes a value that would not be one word of a line.
func word(value string) string {
	if strings.ContainsFunc(value, func(r rune) bool { return r <= ' ' || r == '"' || !strconv.IsPrint(r) }) {
		return strconv.Quote(value)
	}
	return value
}

func (c *cli) auditVerify() *cobra.Command {
	var kept string
	cmd := &cobra.Command{
		Use:   "verify",
		Short: "Read the whole audit log and say where it is not what was sealed",
		Args:  cobra.NoArgs,
		RunE: c.inspect(func(ctx context.Context, a *admin.Admin, _ []string) (err error) {
			var head admin.Head
			if kept != "" {
				if head, err = admin.ParseHead(kept); err != nil {
					return prefixed("--head", err)
				}
			}
			state, err := a.VerifyEvents(ctx, head)
			if err != nil {
				return err
			}
			if err := c.print(state, func(w io.Writer) { chainSheet(w, state) }); err != nil {
				return err
			}
			switch {
			case state.Fault != nil:
				return prefixed("audit log", state.Fault)
			case state.Overdue > 0:
				return fmt.Errorf("audit log: %d events are not sealed", state.Overdue)
			}
			return nil
		}),
	}
	cmd.Flags().StringVar(&kept, "head", "", "a head from an earlier run or from a server's log, which must be in the chain")
	return cmd
}

func chainSheet(w io.Writer, state *admin.ChainState) {
	row(w, "lines", state.Head.Sequence)
	row(w, "waiting", state.Waiting)
	row(w, "overdue", state.Overdue)
	row(w, "head", state.Head)
	for _, e := range state.OverdueEvents {
		row(w, "not sealed", eventLine(e))
	}
	if state.Fault == nil {
		return
	}
	row(w, "fault", state.Fault)
	if state.Fault.Event != nil {
		row(w, "found there", eventLine(state.Fault.Event))
	}
	if state.Fault.Sequence == 1 {
		row(w, "note", "with another key-encryption key no line holds")
	}
}
