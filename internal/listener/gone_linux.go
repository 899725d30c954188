package listener

import "syscall"

// goneOnLinux are the errors of one peer that no other system has.
var goneOnLinux = []syscall.Errno{syscall.ENONET}
