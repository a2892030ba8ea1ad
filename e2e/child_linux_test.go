package e2e_test

import "syscall"

// diesWithParent makes the kernel kill a child when this process dies, however
// it dies: no server is left behind.
func diesWithParent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
