package server

import (
	"errors"
	"fmt"
	"net"
	"os"

	"github.com/panjf2000/gnet/v2"
)

// bell wakes one event loop: a byte written to one end of a socket pair makes the
// other end, a connection of that loop, readable. A task given to gnet would run
// before the loop's other connections; a bell takes its turn among them, so a loop
// that rings its own bell does its other work first. The zero bell does nothing.
type bell struct{ fd int }

// bellConn is the context of the loop's end.
type bellConn struct{ number int }

// newBell makes the bell of the loop that gnet chooses next. It also returns the
// loop's end, a connection whose context is a bellConn of this number.
func newBell(loops *gnet.Client, number int) (bell, gnet.Conn, error) {
	ours, theirs, err := socketPair()
	if err != nil {
		return bell{}, nil, fmt.Errorf("server: bell of loop %d: %w", number, err)
	}
	defer theirs.Close()
	end, err := enroll(loops, theirs, bellConn{number})
	if err != nil {
		return bell{}, nil, errors.Join(fmt.Errorf("server: bell of loop %d: %w", number, err), closeSocket(ours))
	}
	return bell{ours}, end, nil
}

func enroll(loops *gnet.Client, file *os.File, value any) (gnet.Conn, error) {
	conn, err := net.FileConn(file)
	if err != nil {
		return nil, err
	}
	return loops.EnrollContext(conn, value) // closes conn
}

// ring wakes the loop. A full socket means that it has been rung already, a
// closed one that the loop is gone.
func (b bell) ring() {
	if b.fd > 0 {
		_, _ = writeSocket(b.fd, ringByte)
	}
}

var ringByte = []byte{0}

func (b bell) close() {
	if b.fd > 0 {
		_ = closeSocket(b.fd)
	}
}
