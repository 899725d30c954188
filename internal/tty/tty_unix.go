//go:build unix

package tty

import (
	"os"
	"os/signal"

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
