package child

import "syscall"

// attributes cannot end the process when its starter is killed: only Linux offers
// that.
func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{CreationFlags: syscall.CREATE_NEW_PROCESS_GROUP}
}
