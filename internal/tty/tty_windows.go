package tty

import (
	"errors"
	"os"

	"golang.org/x/sys/windows"
)

func is(file *os.File) bool {
	_, err := modeOf(file)
	return err == nil
}

func modeOf(file *os.File) (mode uint32, err error) {
	err = windows.GetConsoleMode(windows.Handle(file.Fd()), &mode)
	return mode, os.NewSyscallError("GetConsoleMode", err)
}

func setMode(file *os.File, mode uint32) error {
	return os.NewSyscallError("SetConsoleMode", windows.SetConsoleMode(windows.Handle(file.Fd()), mode))
}

func size(file *os.File) (width, height int, err error) {
	var info windows.ConsoleScreenBufferInfo
	if err := windows.GetConsoleScreenBufferInfo(windows.Handle(file.Fd()), &info); err != nil {
		return 0, 0, os.NewSyscallError("GetConsoleScreenBufferInfo", err)
	}
	shown := info.Window
	return int(shown.Right-shown.Left) + 1, int(shown.Bottom-shown.Top) + 1, nil
}

// notifyResize does nothing, since Windows has no signal for it: the size is read
// with the next key.
func notifyResize(chan<- os.Signal) {}

func notifyContinue(chan<- os.Signal) {}

func jobControl() bool { return false }

func suspend() {}

func prepare(out *os.File) error {
	mode, err := modeOf(out)
	if err != nil {
		return err
	}
	return setMode(out, mode|windows.ENABLE_PROCESSED_OUTPUT|windows.ENABLE_VIRTUAL_TERMINAL_PROCESSING)
}

func makeRaw(in *os.File) (restore func() error, err error) {
	saved, err := modeOf(in)
	if err != nil {
		return nil, err
	}
	raw := saved &^ (windows.ENABLE_ECHO_INPUT | windows.ENABLE_PROCESSED_INPUT | windows.ENABLE_LINE_INPUT)
	if err := errors.Join(prepare(os.Stdout), setMode(in, raw|windows.ENABLE_VIRTUAL_TERMINAL_INPUT)); err != nil {
		return nil, err
	}
	return func() error { return setMode(in, saved) }, nil
}
