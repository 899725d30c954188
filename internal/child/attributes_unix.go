//go:build unix && !linux

package child

import "syscall"

// attributes cannot end the process when its starter is killed: only Linux offers
// that.
func attributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
