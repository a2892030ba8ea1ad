//go:build !linux

package e2e_test

import "syscall"

// diesWithParent can do nothing where there is no parent-death signal.
func diesWithParent() *syscall.SysProcAttr { return nil }
