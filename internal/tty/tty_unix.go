//go:build unix

package tty

import (
	"os"
	"os/signal"
	"time"

	"golang.org/x/sys/unix"
)

func is(file *os.File) bool {
	_, err := unix.IoctlGetTermios(int(file.Fd()), getTermios)
	return err == nil
}

func size(file *os.File) (width, height int, err error) {
	size, err := unix.IoctlGetWinsize(int(file.Fd()), unix.TIOCGWINSZ)
	if err != nil {
		return 0, 0, os.NewSyscallError("ioctl TIOCGWINSZ", err)
	}
	return int(size.Col), int(size.Row), nil
}

func notifyResize(c chan<- os.Signal) { signal.Notify(c, unix.SIGWINCH) }

func notifyContinue(c chan<- os.Signal) { signal.Notify(c, unix.SIGCONT) }

// stopMax bounds the wait for a stop that may not come.
const stopMax = time.Second

func suspend() {
	goesOn := make(chan os.Signal, 1)
	notifyContinue(goesOn)
	defer signal.Stop(goesOn)
	if unix.Kill(0, unix.SIGTSTP) != nil {
		return
	}
	late := time.NewTimer(stopMax)
	defer late.Stop()
	select {
	case <-goesOn:
	case <-late.C:
	}
}

func prepare(*os.File) error { return nil }

func makeRaw(in *os.File) (restore func() error, err error) {
	fd := int(in.Fd())
	saved, err := unix.IoctlGetTermios(fd, getTermios)
	if err != nil {
		return nil, os.NewSyscallError("ioctl", err)
	}
	raw := *saved
	raw.Iflag &^= unix.BRKINT | unix.PARMRK | unix.ISTRIP | unix.INLCR | unix.IGNCR | unix.ICRNL | unix.IXON
	raw.Lflag &^= unix.ECHO | unix.ECHONL | unix.ICANON | unix.ISIG | unix.IEXTEN
	raw.Cc[unix.VMIN], raw.Cc[unix.VTIME] = 1, 0
	if err := unix.IoctlSetTermios(fd, setTermios, &raw); err != nil {
		return nil, os.NewSyscallError("ioctl", err)
	}
	return func() error { return os.NewSyscallError("ioctl", unix.IoctlSetTermios(fd, setTermios, saved)) }, nil
}
