package peer

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"

	"cim/loadgen"
)

// nameAll is the name that every client subscribes to; nameOf is a client's own.
const nameAll = "all"

func nameOf(client int) string { return "to." + strconv.Itoa(client) }

// nameTo is where a message goes.
func nameTo(receiver int) string {
	if receiver == loadgen.AllClients {
		return nameAll
	}
	return nameOf(receiver)
}

// itemMax bounds an item of a peer's byte stream, above the longest text.
const itemMax = 1 << 20

var (
	errTooLong = fmt.Errorf("an item of more than %d bytes", itemMax)
	errSyntax  = errors.New("bytes that its protocol does not have")
)

// system is a peer: one TCP address, no accounts.
type system struct {
	loadgen.NoAccounts
	traits  loadgen.Traits
	address string
	dialer  loadgen.Dialer
	open    opener
}

// at returns what makes the System of a fleet.
func at(address string, traits loadgen.Traits, open opener) loadgen.NewSystem {
	return planned(address, traits, func(loadgen.Plan) (opener, error) { return open, nil })
}

// opener makes the session of a client, and its first bytes.
type opener = func(client int) (hello []byte, s loadgen.Session)

// planned is at for a system whose sessions depend on the plan. It is an error if the plan does not
// fit.
func planned(address string, traits loadgen.Traits, opens func(loadgen.Plan) (opener, error)) loadgen.NewSystem {
	return func(p loadgen.Plan) (loadgen.System, error) {
		open, err := opens(p)
		if err != nil {
			return nil, err
		}
		return &system{traits: traits, address: address, dialer: p.Dialer, open: open}, nil
	}
}

// Traits implements loadgen.System.
func (s *system) Traits() loadgen.Traits { return s.traits }

// Connect implements loadgen.System.
func (s *system) Connect(ctx context.Context, _, client int) (net.Conn, loadgen.Session, error) {
	conn, err := s.dialer.Dial(ctx, client, s.address)
	if err != nil {
		return nil, nil, err
	}
	hello, session := s.open(client)
	if _, err := conn.Write(hello); err != nil {
		return nil, nil, errors.Join(err, conn.Close())
	}
	return conn, session, nil
}

// quiet is a protocol whose clients need not ping.
type quiet struct{}

// AppendPing implements loadgen.Session.
func (quiet) AppendPing(dst []byte) []byte { return dst }
