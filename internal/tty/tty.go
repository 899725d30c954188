// Package tty is what cim needs of a terminal: whether a file is one, its size and
// changes of it, raw input of keys, and stopping the process for its shell. Each
// system has its own calls for that; nothing here knows what is shown.
package tty

import "os"

// Is reports whether file is a terminal.
func Is(file *os.File) bool { return is(file) }

// Size is the width in characters and the height in lines of the terminal file. 0
// if the terminal does not report it.
func Size(file *os.File) (width, height int, err error) { return size(file) }

// NotifyResize sends to c when the size of the process's terminal changes, if the
// system reports it. signal.Stop ends it.
func NotifyResize(c chan<- os.Signal) { notifyResize(c) }

// Prepare enables escape sequences in a terminal for output: Windows needs that.
func Prepare(out *os.File) error { return prepare(out) }

// MakeRaw sets the terminal in to raw input: each key is passed on at once, none is
// echoed, none is a signal. restore undoes it.
func MakeRaw(in *os.File) (restore func() error, err error) { return makeRaw(in) }

// Suspend stops the processes of the terminal's foreground, including this one, as
// Ctrl-Z does where keys are signals, and returns when this process continues. It
// does nothing and reports false if no shell with job control could continue them:
// in the first process of a container, or in a command that ssh or a terminal runs
// directly. If it stops, it calls prepare before.
func Suspend(prepare func()) bool {
	if !jobControl() {
		return false
	}
	prepare()
	suspend()
	return true
}

// NotifyContinue sends to c when the process continues after a stop: other
// processes may have changed the terminal meanwhile. signal.Stop ends it.
func NotifyContinue(c chan<- os.Signal) { notifyContinue(c) }
