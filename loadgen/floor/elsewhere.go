//go:build !linux

package floor

import (
	"context"
	"errors"
	"fmt"
	"runtime"

	"cim/loadgen"
)

var errNoEpoll = fmt.Errorf("floor: it is made of epoll, which %s does not have: run it on Linux", runtime.GOOS)

// Pair needs Linux.
func Pair(context.Context, loadgen.Config, string) (loadgen.Report, error) {
	return loadgen.Report{}, errNoEpoll
}

// Server needs Linux.
type Server struct{ Addr string }

// Listen returns an error: it needs Linux.
func Listen() (*Server, error) { return nil, errNoEpoll }

// HTTPServer needs Linux.
type HTTPServer struct{ Addr, HTTP string }

// ListenHTTP returns an error: it needs Linux.
func ListenHTTP() (*HTTPServer, error) { return nil, errNoEpoll }

// Run is never reached.
func (*HTTPServer) Run(context.Context) error { return errors.ErrUnsupported }

// Run is never reached.
func (*Server) Run(context.Context) error { return errors.ErrUnsupported }
