package server

import (
	"errors"
	"math"
	"os"
)

// errNoEventLoops is why a server does not start on Windows. Everything else of
// this module runs there.
var errNoEventLoops = errors.New("a server needs the epoll of Linux or the kqueue of macOS, which Windows does not have")

// DescriptorLimit is how many descriptors the process may have open: Windows
// has no limit of its own.
func DescriptorLimit() (int, error) { return math.MaxInt32, nil }

func setSendBuffer(int, int) error { return errNoEventLoops }

func socketPair() (ours int, theirs *os.File, err error) { return 0, nil, errNoEventLoops }

func writeSocket(int, []byte) (int, error) { return 0, errNoEventLoops }

func shutSending(int) error { return errNoEventLoops }

func closeSocket(int) error { return errNoEventLoops }
