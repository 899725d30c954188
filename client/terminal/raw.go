package terminal

import (
	"fmt"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// rawMode has a terminal pass on each key as it is. It stays so between two
// lines, in which a key would be shown twice otherwise and Ctrl-C would be a
// signal, until the console closes or is put to sleep.
type rawMode struct {
	fd     int
	ending func() bool // whether leaving is meant

	mu    sync.Mutex
	saved *unix.Termios // as it was; nil: it is so
}

func newRawMode(file *os.File, ending func() bool) *rawMode {
	return &rawMode{fd: int(file.Fd()), ending: ending}
}

func (r *rawMode) enter() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.saved != nil {
		return nil
	}
	saved, err := unix.IoctlGetTermios(r.fd, unix.TCGETS)
	if err != nil {
		return fmt.Errorf("terminal: %w", err)
	}
	raw := *saved
	raw.Iflag &^= unix.BRKINT | unix.PARMRK | unix.ISTRIP | unix.INLCR | unix.IGNCR | unix.ICRNL | unix.IXON
	raw.Lflag &^= unix.ECHO | unix.ECHONL | unix.ICANON | unix.ISIG | unix.IEXTEN
	raw.Cc[unix.VMIN], raw.Cc[unix.VTIME] = 1, 0
	if err := unix.IoctlSetTermios(r.fd, unix.TCSETS, &raw); err != nil {
		return fmt.Errorf("terminal: %w", err)
	}
	r.saved = saved
	return nil
}

func (r *rawMode) leave() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.saved == nil || !r.ending() {
		return nil
	}
	if err := unix.IoctlSetTermios(r.fd, unix.TCSETS, r.saved); err != nil {
		return fmt.Errorf("terminal: %w", err)
	}
	r.saved = nil
	return nil
}
