package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"

	"github.com/panjf2000/gnet/v2"
)

// bell wakes one event loop: a byte written to one end of a socket pair makes
// the other end, a connection of that loop, readable. Unlike a task given to
// gnet it waits its turn among the loop's other connections, so a loop that
// rings its own bell does its other work first.
// The zero bell is silent.
type bell struct{ fd int }

// bellConn is the context of the loop's end.
type bellConn struct{ number int }

// hang makes the bell of the loop that the engine chooses next, which it
// returns too; the connection there has a bellConn of this number.
func hang(ctx context.Context, engine gnet.Engine, number int) (bell, gnet.EventLoop, error) {
	ours, theirs, err := socketPair()
	if err != nil {
		return bell{}, nil, fmt.Errorf("server: bell of loop %d: %w", number, err)
	}
	defer theirs.Close()
	events, err := enroll(ctx, engine, theirs, bellConn{number})
	if err != nil {
		return bell{}, nil, errors.Join(fmt.Errorf("server: bell of loop %d: %w", number, err), closeSocket(ours))
	}
	return bell{ours}, events, nil
}

func enroll(ctx context.Context, engine gnet.Engine, file *os.File, value any) (gnet.EventLoop, error) {
	conn, err := net.FileConn(file)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	registered, err := engine.Register(gnet.NewContext(gnet.NewNetConnContext(ctx, conn), value))
	if err != nil {
		return nil, err
	}
	select {
	case result := <-registered:
		if result.Err != nil {
			return nil, result.Err
		}
		return result.Conn.EventLoop(), nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
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
