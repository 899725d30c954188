package loadgen

import (
	"context"
	"net"
	"time"
)

// System is a messaging system as the simulated clients see it. What differs between systems is
// here and in Session; schedules, clients, histograms, counting and judging are the same for all.
// Each fleet makes its own.
//
// Clients are numbered from 0. A message goes to one client or to all.
type System interface {
	// Traits are always the same.
	Traits() Traits
	// Register readies the account of a client, before any client connects.
	// Workers call it at once, each with its own number, which is below
	// Config.LoginsAtOnce.
	Register(ctx context.Context, worker, client int) error
	// Connect dials for a client and writes the start of its session: its login, its subscriptions.
	// The session calls Inbox.Ready when these are in place. Workers call it as they call Register.
	Connect(ctx context.Context, worker, client int) (net.Conn, Session, error)
	// Settled is called once all clients are connected: what only logins need
	// may go. Workers do not run then.
	Settled()
	// Close is called once all connections have ended.
	Close()
}

// HTTPSystem is a System that also takes messages over HTTP, as requests to
// Config.Routes.
type HTTPSystem interface {
	System
	// AppendRequest appends the body of the request that sends m for a client, and
	// returns the request's path. Goroutines call it at once.
	AppendRequest(dst []byte, sender int, m Message) (path string, body []byte)
	// Answered reads an answer: what became of the message, or why that is
	// unknown.
	Answered(status int, body []byte) (Outcome, error)
}

// Traits say what a system promises.
type Traits struct {
	Name      string // as in the reports, "nats"
	Guarantee string // of a message that was taken, in a few words
	// Outcomes: each message over a connection is answered, and the session
	// calls Inbox.Outcome. Without them a message counts as delivered once it
	// is written.
	Outcomes bool
	// Echo: a group message also reaches its sender.
	Echo bool
	// PingEvery is how often each client writes Session.AppendPing; 0: never.
	PingEvery time.Duration
}

// Session is one client's protocol.
type Session interface {
	// Receive takes the bytes of one read, and reports in in what they hold. The client's event
	// loop calls it; calls do not overlap. data is valid during the call; a partial item must be
	// copied, as Partial does. An error ends the connection.
	Receive(data []byte, in *Inbox) error
	// AppendSend appends what sends m. One goroutine at a time calls it, which
	// may be another than the loop's.
	AppendSend(dst []byte, m Message) []byte
	// AppendPing appends what keeps the connection alive.
	AppendPing(dst []byte) []byte
}

// AllClients is the receiver of a group message.
const AllClients = -1

// Message is one to be sent.
type Message struct {
	ID       uint64 // from 1 on, of its sender
	Receiver int    // a client, or AllClients
	Text     []byte
}

// Inbox is where a session reports what it has read. It belongs to the event loop, and a session
// may use it during one call of Receive.
type Inbox struct {
	loop   *eventLoop
	client *client
	stamps stampReader
}

// Ready says that the login is done: nil, or why it was refused. Only the first
// word counts.
func (in *Inbox) Ready(err error) { in.client.endLogin(err) }

// Text takes a text that the client received as a message.
func (in *Inbox) Text(text []byte) { in.text(text, 0, nil) }

// Outcome takes the answer to the message of the client with this id.
func (in *Inbox) Outcome(id uint64, o Outcome) { in.loop.takeOutcome(in.client, id, o) }

// Reply writes an answer that the protocol asks for, as a pong.
func (in *Inbox) Reply(b []byte) {
	if err := in.client.write(b); err != nil {
		in.Fault("reply: %v", err)
	}
}

// Fault names something that must not happen and that no counter stands for.
func (in *Inbox) Fault(format string, args ...any) {
	in.loop.faults.add("client %d: "+format, append([]any{in.client.index}, args...)...)
}

// Plan is what a System knows of its fleet.
type Plan struct {
	Config  Config
	Number  int // of the fleet in its run, from 0
	Clients int
	Dialer  Dialer // by which Connect connects
}

// NewSystem makes the System of one fleet.
type NewSystem func(Plan) (System, error)

// NoAccounts is for a System without accounts: embed it.
type NoAccounts struct{}

// Register implements System.
func (NoAccounts) Register(context.Context, int, int) error { return nil }

// Settled implements System.
func (NoAccounts) Settled() {}

// Close implements System.
func (NoAccounts) Close() {}
