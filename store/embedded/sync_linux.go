package embedded

import (
	"os"
	"syscall"
)

// syncData returns when the file's bytes are on the disk, and its length if that has
// changed.
func syncData(file *os.File) error {
	for {
		if err := syscall.Fdatasync(int(file.Fd())); err != syscall.EINTR {
			return os.NewSyscallError("fdatasync", err)
		}
	}
}
