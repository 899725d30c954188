//go:build !linux

package server

import "errors"

// pollSet is not available on this system: gnet waits by itself.
type pollSet struct{ bell int }

func (*pollSet) fetch(bool) int { return 0 }

func (*pollSet) event(int) (fd int, readable bool) { return 0, false }

func (*pollSet) read(int) ([]byte, error) { return nil, errors.ErrUnsupported }

func (*pollSet) leave(int) {}

func pollSetOf(int) (*pollSet, error) { return nil, errors.ErrUnsupported }
