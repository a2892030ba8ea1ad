package store

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"time"

	"gatehouse"
)

// How Go values stand in columns. Each kind has a function for arguments and a
// type for results; NULL is the zero value.

// unixMillis is the argument for a time.
func unixMillis(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t.UnixMilli()
}

// milliseconds is a time as a column keeps it.
func milliseconds(t time.Time) time.Time { return t.Truncate(time.Millisecond) }

// A timeField reads what unixMillis wrote.
type timeField struct{ to *time.Time }

func (f timeField) Scan(column any) error {
	switch v := column.(type) {
	case nil:
		*f.to = time.Time{}
	case int64:
		*f.to = time.UnixMilli(v).UTC()
	default:
		return fmt.Errorf("time is a %T", column)
	}
	return nil
}

// base64url is the argument for bytes.
func base64url(b []byte) any {
	if b == nil {
		return nil
	}
	return base64.RawURLEncoding.EncodeToString(b)
}

// A bytesField reads what base64url wrote.
type bytesField struct{ to *[]byte }

func (f bytesField) Scan(column any) (err error) {
	switch v := column.(type) {
	case nil:
		*f.to = nil
	case string:
		*f.to, err = base64.RawURLEncoding.DecodeString(v)
	default:
		return fmt.Errorf("bytes are a %T", column)
	}
	return err
}

// rawJSON is the argument for JSON that is kept as it came.
func rawJSON(m json.RawMessage) any {
	if m == nil {
		return nil
	}
	return string(m)
}

// orNull is the argument for a text that may be absent.
func orNull(text string) any {
	if text == "" {
		return nil
	}
	return text
}

// A textField reads a text that may be NULL.
type textField[T ~string | ~[]byte] struct{ to *T }

func (f textField[T]) Scan(column any) error {
	var none T
	switch v := column.(type) {
	case nil:
		*f.to = none
	case string:
		*f.to = T(v)
	default:
		return fmt.Errorf("text is a %T", column)
	}
	return nil
}

// A scopesField reads a set of scopes.
type scopesField struct{ to *gatehouse.Scopes }

func (f scopesField) Scan(column any) error {
	var text string
	err := textField[string]{&text}.Scan(column)
	*f.to = gatehouse.ParseScopes(text)
	return err
}

// A jsonField reads a JSON document into a value.
type jsonField struct{ to any }

func (f jsonField) Scan(column any) error {
	text, ok := column.(string)
	if !ok {
		return fmt.Errorf("document is a %T", column)
	}
	return json.Unmarshal([]byte(text), f.to)
}
