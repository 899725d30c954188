//go:build !linux

package listener

import "syscall"

// goneOnLinux are the errors of one peer that only Linux has.
var goneOnLinux []syscall.Errno
