package storetest

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"

	_ "modernc.org/sqlite" // the driver "sqlite"
)

// CheckSQLite reads a whole SQLite file that nobody uses and returns an error
// when it is damaged: pages, indexes, constraints, and references between
// tables.
func CheckSQLite(ctx context.Context, path string) (err error) {
	db, err := sql.Open("sqlite", "file:"+path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	for pragma, whole := range map[string]string{"PRAGMA integrity_check": "ok", "PRAGMA foreign_key_check": ""} {
		rows, err := db.QueryContext(ctx, pragma)
		if err != nil {
			return fmt.Errorf("%s: %w", pragma, err)
		}
		defer rows.Close()
		columns, err := rows.Columns()
		if err != nil {
			return err
		}
		var found []string
		for rows.Next() {
			values, fields := make([]sql.NullString, len(columns)), make([]any, len(columns))
			for i := range values {
				fields[i] = &values[i]
			}
			if err := rows.Scan(fields...); err != nil {
				return fmt.Errorf("%s: %w", pragma, err)
			}
			found = append(found, values[0].String)
		}
		if err := rows.Err(); err != nil {
			return fmt.Errorf("%s: %w", pragma, err)
		}
		if text := strings.Join(found, "; "); text != whole {
			return fmt.Errorf("%s: %s", pragma, text)
		}
	}
	return nil
}
