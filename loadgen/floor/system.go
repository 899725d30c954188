package floor

import (
	"context"
	"errors"
	"fmt"
	"net"

	"cim/loadgen"
)

// At is the floor's server at a TCP address, as the load generator meets it.
func At(address string) loadgen.NewSystem {
	return func(p loadgen.Plan) (loadgen.System, error) {
		if via, mode := p.Config.Via, p.Config.Mode; via == loadgen.ViaHTTP && (mode == loadgen.Group || mode == loadgen.Mixed) {
			return nil, errNoGroups
		}
		return &system{address: address, dialer: p.Dialer}, nil
	}
}

var errNoGroups = errors.New("floor: over HTTP there are no group messages: give --mode private, or --via conn")

type system struct {
	loadgen.NoAccounts
	address string
	dialer  loadgen.Dialer
}

// Traits implements loadgen.System.
func (s *system) Traits() loadgen.Traits {
	return loadgen.Traits{Name: "floor", Guarantee: "none: epoll and send, nothing else", Echo: true}
}

// Connect implements loadgen.System.
func (s *system) Connect(ctx context.Context, _, client int) (net.Conn, loadgen.Session, error) {
	if client >= receiversMax {
		return nil, nil, fmt.Errorf("floor: client %d, there may be %d", client, receiversMax)
	}
	conn, err := s.dialer.Dial(ctx, client, s.address)
	if err != nil {
		return nil, nil, err
	}
	if _, err := conn.Write(appendFrame(nil, uint32(client), nil)); err != nil {
		return nil, nil, errors.Join(err, conn.Close())
	}
	return conn, new(session), nil
}

// AppendRequest implements loadgen.HTTPSystem: the body is the frame that a connection would carry.
// An HTTPServer takes it.
func (s *system) AppendRequest(dst []byte, _ int, m loadgen.Message) (path string, body []byte) {
	return "/", new(session).AppendSend(dst, m)
}

// Answered implements loadgen.HTTPSystem.
func (s *system) Answered(status int, _ []byte) (loadgen.Outcome, error) {
	if status != statusOK {
		return loadgen.Unknown, fmt.Errorf("HTTP status %d", status)
	}
	return loadgen.Delivered, nil
}

// statusOK is of a message that was written to its receiver's socket.
const statusOK = 200

// session is one client's protocol.
type session struct{ partial loadgen.Partial }

// Receive implements loadgen.Session.
func (s *session) Receive(data []byte, in *loadgen.Inbox) error {
	return s.partial.Feed(data, frameSize, func(frame []byte) error { take(frame, in); return nil })
}

// inbox is *loadgen.Inbox, but for tests.
type inbox interface {
	Ready(err error)
	Text(text []byte)
}

func take(frame []byte, in inbox) {
	if _, text := parts(frame); len(text) > 0 {
		in.Text(text)
		return
	}
	in.Ready(nil)
}

// AppendSend implements loadgen.Session.
func (s *session) AppendSend(dst []byte, m loadgen.Message) []byte {
	receiver := uint32(allReceivers)
	if m.Receiver != loadgen.AllClients {
		receiver = uint32(m.Receiver)
	}
	return appendFrame(dst, receiver, m.Text)
}

// AppendPing implements loadgen.Session.
func (s *session) AppendPing(dst []byte) []byte { return dst }
