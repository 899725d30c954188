package main

import (
	"os"
	"path/filepath"

	"golang.org/x/sys/windows"
)

// errLocked is tryLock's error while another process has the lock.
const errLocked = windows.ERROR_LOCK_VIOLATION

// openLock opens a file as the lock, since a folder cannot be locked. The lock ends with the file.
func openLock(folder string) (*os.File, error) {
	return os.OpenFile(filepath.Join(folder, "contexts.lock"), os.O_CREATE|os.O_RDWR, 0o600)
}

// tryLock takes the lock for itself, tryShare with others that share it.
func tryLock(opened *os.File) error {
	return lock(opened, windows.LOCKFILE_EXCLUSIVE_LOCK|windows.LOCKFILE_FAIL_IMMEDIATELY)
}

func tryShare(opened *os.File) error { return lock(opened, windows.LOCKFILE_FAIL_IMMEDIATELY) }

func lock(opened *os.File, how uint32) error {
	return windows.LockFileEx(windows.Handle(opened.Fd()), how, 0, 1, 0, new(windows.Overlapped))
}

// private is never known here. So no process leaves a file for cim admin, which needs --admin.
func private(os.FileInfo) bool { return false }
