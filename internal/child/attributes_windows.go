package child

import "syscall"

// attributes cannot have the process end with a starter that is killed: only
// Linux offers that.
func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{CreationFlags: syscall.CREATE_NEW_PROCESS_GROUP}
}
