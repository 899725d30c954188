//go:build !linux

package server

import "errors"

// pollSet is not known here: gnet waits by itself.
type pollSet struct{}

func (*pollSet) wait() {}

func pollSetOf(int) (*pollSet, error) { return nil, errors.ErrUnsupported }
