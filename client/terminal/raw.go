package terminal

import (
	"fmt"
	"os"
	"sync"

	"cim/internal/tty"
)

// rawMode has a terminal pass on each key as it is. It stays so between two
// lines, in which a key would be shown twice otherwise and Ctrl-C would be a
// signal, until the console closes or is put to sleep.
type rawMode struct {
	file   *os.File
	ending func() bool // whether leaving is meant

	mu      sync.Mutex
	restore func() error // makes it as it was; nil: it is so
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
