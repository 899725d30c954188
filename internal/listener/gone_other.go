//go:build !linux

package listener

import "syscall"

// goneOnLinux are errors of one peer that only Linux has.
var goneOnLinux []syscall.Errno
