//go:build unix

package main

import (
	"os"
	"syscall"
)

// errLocked is tryLock's error while another process has the lock.
const errLocked = syscall.EWOULDBLOCK

// openLock opens the folder itself as the lock. The lock ends with the file.
func openLock(folder string) (*os.File, error) { return os.Open(folder) }

// tryLock takes the lock for itself, tryShare with others that share it.
func tryLock(opened *os.File) error {
	return syscall.Flock(int(opened.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
}

func tryShare(opened *os.File) error {
	return syscall.Flock(int(opened.Fd()), syscall.LOCK_SH|syscall.LOCK_NB)
}

// private reports whether no other user can have written to a folder.
func private(folder os.FileInfo) bool {
	owner, known := folder.Sys().(*syscall.Stat_t)
	return folder.IsDir() && folder.Mode().Perm()&0o077 == 0 && known && int(owner.Uid) == os.Getuid()
}
