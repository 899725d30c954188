//go:build !linux

package server

import "runtime"

// yieldThread yields to other goroutines only: not every system has a call for
// threads that Go allows.
func yieldThread() { runtime.Gosched() }
