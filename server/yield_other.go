//go:build !linux

package server

import "runtime"

// yieldThread has no call of the kernel that every system lets Go make.
func yieldThread() { runtime.Gosched() }
