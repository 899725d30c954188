package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"syscall"

	"cim/proto"
)

var (
	// ErrNotConnected refuses to send: the connection is down, and the client logs in again.
	// Nothing was sent.
	ErrNotConnected = errors.New("client: not connected")
	// ErrUnknown means that the outcome of a message did not arrive: the message may have been
	// delivered or not. Where the session acknowledges, the message was sent again under its id for
	// a minute, or the caller's context has ended.
	ErrUnknown = errors.New("client: it is not known what became of the message")
	// errNoOutcome is the usual reason of it.
	errNoOutcome = errors.New("the connection ended before the outcome came")
	// ErrBusy refuses a message for load, here or at a server. Nothing of it was
	// kept; it may be sent again.
	ErrBusy = errors.New("client: busy, try again later")
	// ErrClosed refuses calls after the end.
	ErrClosed = errors.New("client: closed")

	// ErrNoSuchUser: no account has this name, or this id and name.
	ErrNoSuchUser = errors.New("client: no such user")
	// ErrRepeatLogin: the user is logged in elsewhere, and may not be again.
	ErrRepeatLogin = errors.New("client: the user is logged in already")
	// ErrReplaced: the user has logged in elsewhere, which ended this session.
	ErrReplaced = errors.New("client: the user has logged in elsewhere")
	// ErrNoServer: the route knows no server to log in at.
	ErrNoServer = errors.New("client: no server is available")
	// ErrNotAllowed: the route asks for a token (Config.Token), or for another
	// one. Nothing was done.
	ErrNotAllowed = errors.New("client: not allowed")
	// ErrGaveUp: Retries or Reconnect ended the client.
	ErrGaveUp = errors.New("client: not logged in again")
)

// Refusal is the answer of a route, or a server's outcome of a message, that
// says no.
type Refusal struct {
	Path    string // of the HTTP API; "": a message over the connection
	Code    proto.Code
	Message string
	// NotAllowed: the route asks for a token, or for another one (HTTP 401, 403).
	NotAllowed bool
}

func (r *Refusal) Error() string {
	path := r.Path
	if path == "" {
		path = "send"
	}
	return fmt.Sprintf("client: %s: code %s: %s", path, r.Code, r.Message)
}

// Is makes errors.Is know a Refusal by the errors that are named here.
func (r *Refusal) Is(target error) bool {
	if r.NotAllowed {
		return target == ErrNotAllowed
	}
	switch r.Code {
	case proto.CodeAccountMismatch:
		return target == ErrNoSuchUser
	case proto.CodeRepeatLogin:
		return target == ErrRepeatLogin
	case proto.CodeNoServer:
		return target == ErrNoServer
	case proto.CodeLimit:
		return target == ErrBusy
	}
	return false
}

// plainError is an error of the network whose text leaves out methods, addresses and system calls.
type plainError struct{ err error }

func (p plainError) Error() string { return p.why().Error() }
func (p plainError) Unwrap() error { return p.err }

// noAnswerError is a route or a server of which no answer came.
type noAnswerError struct {
	peer string // its kind and address
	err  error
}

// Error names the peer and the reason.
func (u noAnswerError) Error() string {
	text := fmt.Sprintf("%s does not answer: %v", u.peer, plainError{u.err})
	if errors.Is(u.err, syscall.ECONNREFUSED) {
		text += ": is it running there?"
	}
	return text
}

func (u noAnswerError) Unwrap() error { return u.err }

func (p plainError) why() error {
	var timeout net.Error
	var lookup *net.DNSError
	var call *os.SyscallError
	var dial *net.OpError
	var request *url.Error
	switch {
	case errors.Is(p.err, context.Canceled):
		return context.Canceled
	case errors.As(p.err, &lookup):
		return errors.New(lookup.Err)
	case errors.As(p.err, &timeout) && timeout.Timeout():
		return errors.New("it took too long")
	case errors.Is(p.err, io.EOF):
		return errors.New("it closed the connection")
	case errors.As(p.err, &call):
		return call.Err
	case errors.As(p.err, &dial):
		return dial.Err
	case errors.As(p.err, &request):
		return request.Err
	}
	return p.err
}

// Ended is what a server said as it ended or refused a session.
type Ended struct{ Reason proto.Reason }

func (e *Ended) Error() string { return "client: the server ended the session: " + e.Reason.String() }

// Is makes errors.Is know an Ended by the errors that are named here.
func (e *Ended) Is(target error) bool {
	switch e.Reason {
	case proto.ReasonReplaced:
		return target == ErrReplaced
	case proto.ReasonRepeatLogin:
		return target == ErrRepeatLogin
	case proto.ReasonAccountMismatch:
		return target == ErrNoSuchUser
	}
	return false
}

// final reports whether err means that the client must not log in again.
func final(err error) bool {
	var ended *Ended
	var refusal *Refusal
	switch {
	case errors.As(err, &ended):
		return !ended.Reason.Returns()
	case errors.As(err, &refusal):
		return refusal.Code == proto.CodeRepeatLogin || refusal.Code == proto.CodeAccountMismatch ||
			refusal.Code == proto.CodeInvalid
	}
	return false
}
