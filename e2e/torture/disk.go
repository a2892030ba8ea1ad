//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// A disk is a small file system of its own, which can be filled.
type disk struct{ dir string }

// diskSize holds the database of a long run; a full disk is that much memory.
const diskSize = "1g"

// mountDisk makes a disk at dir, which only root can.
func mountDisk(dir string) (*disk, error) {
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "mode=0700,size="+diskSize); err != nil {
		return nil, fmt.Errorf("a small file system for the fault %s cannot be mounted (run as root, or name other faults with -faults): %w", diskFull, err)
	}
	return &disk{dir}, nil
}

func (d *disk) unmount() error {
	if d == nil {
		return nil
	}
	return syscall.Unmount(d.dir, syscall.MNT_DETACH)
}

// diskFull is the name of the fault that needs a disk.
const diskFull = "disk-full"

// fillFor leaves no space on the disk for a while.
func (d *disk) fillFor(ctx context.Context, length time.Duration) (err error) {
	filler, err := os.Create(filepath.Join(d.dir, "filler"))
	if err != nil {
		return err
	}
	defer func() {
		err = errors.Join(err, filler.Close(), os.Remove(filler.Name()))
	}()
	end := time.Now().Add(length)
	size := int64(0)
	for time.Now().Before(end) && ctx.Err() == nil {
		// Again and again: the database frees space, too.
		var free syscall.Statfs_t
		if err := syscall.Statfs(d.dir, &free); err != nil {
			return err
		}
		if n := int64(free.Bavail) * free.Bsize; n > 0 && syscall.Fallocate(int(filler.Fd()), 0, size, n) == nil {
			size += n
		}
		pause(ctx, 50*time.Millisecond)
	}
	return nil
}
