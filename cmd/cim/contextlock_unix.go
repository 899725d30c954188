//go:build unix

package main

import (
	"os"
	"syscall"
)

// errLocked is tryLock's error while another process has the lock.
const errLocked = syscall.EWOULDBLOCK

// openLock opens what is locked: the folder itself. The lock ends with the file.
func openLock(folder string) (*os.File, error) { return os.Open(folder) }

func tryLock(opened *os.File) error {
	return syscall.Flock(int(opened.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
}
