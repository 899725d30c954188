// Package tty is what cim asks of a terminal: whether a file is one, how large
// it is, when that changes, that it passes on each key as it is, and that it goes
// back to its shell for a while. Each
// system has its own calls for that; nothing here knows what is shown.
package tty

import "os"

// Is reports whether file is a terminal.
func Is(file *os.File) bool { return is(file) }

// Size is how many characters wide and how many lines high the terminal is that
// file is. 0 is a terminal that does not say it.
func Size(file *os.File) (width, height int, err error) { return size(file) }

// NotifyResize sends to c when the terminal of the process has another size,
// where the system says so. signal.Stop ends it.
func NotifyResize(c chan<- os.Signal) { notifyResize(c) }

// Prepare has a terminal that is written to understand escape sequences: that of
// Windows does not by itself.
func Prepare(out *os.File) error { return prepare(out) }

// MakeRaw has the terminal that in is pass on each key as it is: no line is
// collected, no key is shown, none is a signal. restore undoes that.
func MakeRaw(in *os.File) (restore func() error, err error) { return makeRaw(in) }

// Suspend stops the processes of the terminal's foreground, this one among them,
// as Ctrl-Z does where keys are signals, and returns when this process goes on.
// It does nothing and reports false where no shell with job control could let
// them go on: as a container's first process, or as ssh's or a terminal's own
// command. prepare is called before, if it does something.
func Suspend(prepare func()) bool {
	if !jobControl() {
		return false
	}
	prepare()
	suspend()
	return true
}

// NotifyContinue sends to c when the process goes on after it was stopped:
// whoever had the terminal meanwhile may have changed it. signal.Stop ends it.
func NotifyContinue(c chan<- os.Signal) { notifyContinue(c) }
