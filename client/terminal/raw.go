package terminal

import (
	"errors"
	"fmt"
	"os"
	"sync"

	"cim/internal/tty"
)

// rawMode makes a terminal pass on each key unchanged, until the console closes or the process is
// stopped. It stays so between two lines, when a key would otherwise be shown twice and Ctrl-C
// would be a signal.
type rawMode struct {
	file   *os.File
	ending func() bool // whether leaving is meant

	mu      sync.Mutex
	restore func() error // restores the terminal; nil: it is restored
}

func newRawMode(file *os.File, ending func() bool) *rawMode {
	return &rawMode{file: file, ending: ending}
}

func (r *rawMode) enter() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.restore != nil {
		return nil
	}
	return r.take()
}

// take has mu.
func (r *rawMode) take() error {
	restore, err := tty.MakeRaw(r.file)
	if err != nil {
		return fmt.Errorf("terminal: %w", err)
	}
	r.restore = restore
	return nil
}

func (r *rawMode) leave() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.restore == nil || !r.ending() {
		return nil
	}
	if err := r.restore(); err != nil {
		return fmt.Errorf("terminal: %w", err)
	}
	r.restore = nil
	return nil
}

// suspend restores the terminal and stops the process, if a shell can continue it. It reports
// whether it did.
func (r *rawMode) suspend(before func()) (stopped bool, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	stopped = tty.Suspend(func() {
		before()
		if r.restore != nil {
			err = r.restore()
		}
	})
	if stopped && r.restore != nil {
		err = errors.Join(err, r.take())
	}
	return stopped, err
}

// renew enters raw mode again, which another process may have ended while this
// one was stopped.
func (r *rawMode) renew() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.restore == nil {
		return nil
	}
	_, err := tty.MakeRaw(r.file) // what restores it is known
	return err
}
