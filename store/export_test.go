package store

import "database/sql"

// A SQLitePool is one of the two pools of a DB on SQLite.
type SQLitePool struct {
	DB        *sql.DB
	QueryOnly string
}

// SQLitePools lets tests ask the store's own connections.
func SQLitePools(db *DB) []SQLitePool {
	return []SQLitePool{{db.sqlite.writer, "0"}, {db.sqlite.reader, "1"}}
}
