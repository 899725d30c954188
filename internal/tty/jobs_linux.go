package tty

import (
	"bytes"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// ancestorsMax bounds the processes between this one and its shell.
const ancestorsMax = 64

// jobControl finds the process that has started this one's group. If that is in the
// same session and handles SIGTSTP, as every shell with job control does and the
// first process of a container does not, it notices when the group is stopped. The
// kernel itself stops no group without such a parent.
func jobControl() bool {
	group, session := ids(0)
	pid := os.Getppid()
	for range ancestorsMax {
		itsGroup, itsSession := ids(pid)
		switch {
		case pid <= 0 || itsSession != session:
			return false
		case itsGroup != group:
			return handlesSignal(pid, unix.SIGTSTP)
		}
		pid = parent(pid)
	}
	return false
}

// ids are the process group and the session of a process; -1: it is gone, or in
// another container.
func ids(pid int) (group, session int) {
	group, err := unix.Getpgid(pid)
	if err != nil {
		return -1, -1
	}
	session, err = unix.Getsid(pid)
	if err != nil {
		return -1, -1
	}
	return group, session
}

// parent is the parent of a process, 0 if unknown.
func parent(pid int) int {
	value, _ := status(pid, "PPid")
	id, err := strconv.Atoi(value)
	if err != nil {
		return 0
	}
	return id
}

// handlesSignal reports whether a process ignores or catches a signal, or hides that.
func handlesSignal(pid int, signal unix.Signal) bool {
	for _, field := range []string{"SigIgn", "SigCgt"} {
		value, known := status(pid, field)
		mask, err := strconv.ParseUint(value, 16, 64)
		if !known || err != nil || mask&(1<<(signal-1)) != 0 {
			return true
		}
	}
	return false
}

// status is a field of the kernel's status file of a process.
func status(pid int, field string) (value string, known bool) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return "", false
	}
	for line := range bytes.Lines(text) {
		if name, rest, found := bytes.Cut(line, []byte(":")); found && string(name) == field {
			return string(bytes.TrimSpace(rest)), true
		}
	}
	return "", false
}
