//go:build !linux

package loadgen

import "syscall"

// portLater leaves the port to the bind: only Linux can choose it later. So all
// sources together have no more ports than one.
func portLater(_, _ string, _ syscall.RawConn) error { return nil }
