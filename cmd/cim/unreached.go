package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
)

// unreached is an error whose text says of a connection that was not made what
// a person wants to know.
type unreached struct {
	error
	text string
}

func (u unreached) Error() string { return u.text }
func (u unreached) Unwrap() error { return u.error }

// plainDial says in the place of what the libraries do where nobody was reached,
// why, and what to look at. Any other error stays.
func plainDial(err error) error {
	op := notDialled(err)
	if op == nil {
		return err
	}
	plain := fmt.Sprintf("nobody answers at %v: %v: is cim running there?", op.Addr, bare(op))
	if lookup := (*net.DNSError)(nil); errors.As(op, &lookup) {
		plain = fmt.Sprintf("the host %s is not known: %v", lookup.Name, bare(op))
	}
	return unreached{err, strings.ReplaceAll(err.Error(), op.Error(), plain)}
}

// notDialled is the connection that was not made; nil: err is of something else.
func notDialled(err error) *net.OpError {
	var op *net.OpError
	if errors.As(err, &op) && op.Op == "dial" {
		return op
	}
	return nil
}

// bare is why op failed, without the system call, and without who was asked for
// an address.
func bare(op *net.OpError) error {
	var call *os.SyscallError
	var lookup *net.DNSError
	switch {
	case errors.As(op.Err, &call):
		return call.Err
	case errors.As(op.Err, &lookup):
		return errors.New(lookup.Err)
	}
	return op.Err
}
