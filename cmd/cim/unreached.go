package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
)

// unreached is the error of a connection that was not made, in words for a user.
type unreached struct {
	error
	text string
}

func (u unreached) Error() string { return u.text }
func (u unreached) Unwrap() error { return u.error }

// plainDial replaces the library's error of a failed connection by the reason and a hint. Any other
// error stays.
func plainDial(err error) error {
	op := notDialled(err)
	if op == nil {
		return err
	}
	plain := fmt.Sprintf("no answer at %v: %v: is cim running there?", op.Addr, bare(op))
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

// bare is why op failed, without the system call and without the name server's address.
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
