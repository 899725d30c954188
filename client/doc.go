// Package client is the Go SDK of cim: it registers a name, logs in, keeps the
// long connection up, sends private and group messages with their outcomes and
// brings what arrives to a function or a channel.
//
// Dial is all that it takes:
//
//	c, err := client.Dial(ctx, client.Config{
//		Routes:    []string{"http://127.0.0.1:8083"},
//		Name:      "zhangsan",
//		OnMessage: func(m client.Message) { fmt.Println(m.Sender.Name, m.Text) },
//	})
//	if err != nil {
//		return err
//	}
//	defer c.Close(ctx)
//	result, err := c.SendGroup(ctx, "hello, everybody")
//
// # Sending
//
// Send sends to one user, SendGroup to everybody who is online; both wait for
// the outcome: delivered, stored for the receiver's next login, or why not.
// Result.Err makes an error of an outcome that is neither. SendAsync does not
// wait and calls a function with the outcome. Find gives the id that belongs to
// a name.
//
// The client never sends a message twice: if the connection ends before the
// outcome has come, the error is ErrUnknown, and whoever sends again may be
// heard twice. While there is no connection the error is ErrNotConnected at
// once, and nothing was sent.
//
// Whoever only sends needs no session: an API asks a route over HTTP, and takes
// nothing that is stored for the sender.
//
// # Receiving
//
// Each text comes once, to OnMessage or to Messages: one that arrives a second
// time, as after a crash of a server, is known by its id and dropped. What was
// stored while the user was away comes after each login by itself.
//
// The messages of one sender come in their order, never two at once. With
// Workers above 1 those of different senders come at once, so that a function
// that takes its time for one holds up no other. However slow it is, the
// connection stays alive: 256 messages wait, or 4,096 while something is being
// sent, then the connection is not read until there is room. Such a function may
// send, and wait for the outcome.
//
// # Connections that break
//
// The client logs in again by itself, after pauses with jitter, for as long as
// that is of use, and moves to another server when its own goes down. OnState
// and State tell; Retries, Backoff and Reconnect change it. A client ends by
// itself when its user logs in elsewhere, or a route refuses the login for good:
// Done is closed then, and Err tells why. Errors of routes and servers are a
// *Refusal, with the code of the HTTP API, and an *Ended, with a reason;
// ErrRepeatLogin and its like name the usual ones for errors.Is.
//
// # The original's system
//
// With a route and a server of the original CIM the client speaks their dialect
// and sends over HTTP. There is no message id then, and a route that knows a
// login already is told goodbye before each new one.
//
// # What runs
//
// A Client owns one goroutine that logs in and reads the connection, one that
// pings while a connection lasts, Workers that call the user's functions, one
// that looks for a server while the present one asks to be left, and one that
// brings the outcomes of SendAsync while some are due. Nothing is global:
// thousands of clients fit in one process.
package client
