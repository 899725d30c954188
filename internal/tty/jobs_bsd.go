//go:build darwin || dragonfly || freebsd || netbsd || openbsd

package tty

import (
	"os"

	"golang.org/x/sys/unix"
)

// jobControl reports whether the parent may be a shell that notices when this
// process stops, or belongs to such a shell's job.
func jobControl() bool {
	mine, err := unix.Getsid(0)
	if err != nil {
		return false
	}
	parents, err := unix.Getsid(os.Getppid())
	return err == nil && parents == mine
}
