package main

import "syscall"

// endWithTest has a process end with the test that started it.
func endWithTest() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
