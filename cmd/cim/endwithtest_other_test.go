//go:build !linux

package main

import "syscall"

// endWithTest has a process end with the test that started it, which only Linux
// offers.
func endWithTest() *syscall.SysProcAttr { return &syscall.SysProcAttr{} }
