//go:build linux

package main

import (
	"context"
	"os"
	"path/filepath"
	"time"

	"gatehouse/store/storetest"
)

// sqliteFile is an environment: one file that all replicas share.
type sqliteFile struct {
	path string
	disk *disk // nil unless it shall be filled
}

func openSQLite(dir string, withDisk bool) (environment, error) {
	s := &sqliteFile{path: filepath.Join(dir, "data", "gatehouse.db")}
	if err := os.Mkdir(filepath.Dir(s.path), 0o700); err != nil {
		return nil, err
	}
	if withDisk {
		var err error
		if s.disk, err = mountDisk(filepath.Dir(s.path)); err != nil {
			return nil, err
		}
	}
	return s, nil
}

func (s *sqliteFile) url(int) string { return "sqlite:" + s.path }

func (s *sqliteFile) faults(replicas []*replica) []fault {
	one := func(r *random) *replica { return replicas[r.below(len(replicas))] }
	// Every moment of a commit gets its turn.
	nthSync, nthWrite := upTo(40), upTo(200)
	// The SQLite of Gatehouse calls fsync and pwrite64 for whatever it makes
	// durable.
	return []fault{
		{name: "kill-at-sync", weight: 10, replicas: true, stalls: true, do: func(ctx context.Context, r *random) error {
			return straceKill(ctx, one(r), "fsync", nthSync())
		}},
		{name: "kill-at-write", weight: 10, replicas: true, stalls: true, do: func(ctx context.Context, r *random) error {
			return straceKill(ctx, one(r), "pwrite64", nthWrite())
		}},
		{name: "sync-fails", weight: 4, replicas: true, stalls: true, do: func(ctx context.Context, r *random) error {
			return straceFail(ctx, r, one(r), "fsync", "EIO")
		}},
		{name: "write-fails", weight: 4, replicas: true, stalls: true, do: func(ctx context.Context, r *random) error {
			return straceFail(ctx, r, one(r), "pwrite64", []string{"EIO", "ENOSPC"}[r.below(2)])
		}},
		{name: diskFull, weight: 4, do: func(ctx context.Context, r *random) error {
			return s.disk.fillFor(ctx, r.between(2*time.Second, 8*time.Second))
		}},
	}
}

func (s *sqliteFile) check(ctx context.Context) error { return storetest.CheckSQLite(ctx, s.path) }

func (s *sqliteFile) close() error { return s.disk.unmount() }
