// Package admin is what operators can do: register banks and applications,
// switch them on and off, look at keys, see and end what PSUs have granted,
// read the audit log. Secrets are made here, returned once and stored only as
// keyed hashes.
package admin

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"gatehouse"
	"gatehouse/jose"
)

// An Admin acts for an operator. All fields are required.
type Admin struct {
	Store gatehouse.Store
	// KEK seals new signing keys and keys the hashes of secrets.
	KEK *jose.KEK
	Now func() time.Time
}

// pageSize is how many rows a listing reads at a time.
const pageSize = 200

// each yields every row of a listing, page by page; key gives what the next
// page comes after. An error is the last that it yields.
func each[T, K any](ctx context.Context, first K, page func(ctx context.Context, after K, limit int) ([]T, error), key func(T) K) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for after := first; ; {
			rows, err := page(ctx, after, pageSize)
			if err != nil {
				var none T
				yield(none, err)
				return
			}
			for _, row := range rows {
				if !yield(row, nil) {
					return
				}
				after = key(row)
			}
			if len(rows) < pageSize {
				return
			}
		}
	}
}

// all reads every row of a listing.
func all[T any](ctx context.Context, page func(ctx context.Context, after string, limit int) ([]T, error), key func(T) string) ([]T, error) {
	rows := []T{}
	for row, err := range each(ctx, "", page, key) {
		if err != nil {
			return nil, err
		}
		rows = append(rows, row)
	}
	return rows, nil
}

// checkSecret bounds a secret that comes from another system.
func checkSecret(member, secret string) error {
	if len(secret) < 16 || len(secret) > 255 {
		return fmt.Errorf("%s must be 16 to 255 characters", member)
	}
	return nil
}

// named adds to a store's error which row it is about.
func named(kind, name string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s %q: %w", kind, name, err)
}

// retryConflicts repeats a read-modify-write until nobody came between. A
// conflict means that another change went through, so somebody always gets on.
func retryConflicts(step func() error) error {
	for {
		if err := step(); !errors.Is(err, gatehouse.ErrConflict) {
			return err
		}
	}
}
