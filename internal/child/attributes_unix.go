//go:build unix && !linux

package child

import "syscall"

// attributes cannot have the process end with a starter that is killed: only
// Linux offers that.
func attributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
