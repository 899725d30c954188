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
// the outcome. Result.Err makes an error of an outcome that is a failure.
// SendAsync does not wait and calls a function with the outcome. Find gives the
// id that belongs to a name.
//
// A message to one user is wanted to be received: its outcome is received once the
// receiver's function has returned, or stored, if that takes longer than a second
// or the receiver is away; what is stored is kept until it is received.
// SendOptions.Want asks for less, and is answered sooner, or for more. If the
// connection is lost before the outcome, or the outcome is unknown, the message is
// sent again under its id for up to a minute, and the receiver is brought one copy;
// a client of the original, which looks at no ids, may be brought two.
// What is unknown then is ErrUnknown. While there is no connection the error is
// ErrNotConnected at once, and nothing was sent.
//
// With a server or route of an older release (ServerInfo.Ack is false) nothing is
// sent twice: outcomes are delivered or stored, and if the connection ends before
// one has come the error is ErrUnknown, and what is sent again may be heard twice.
// So it is with messages to everybody, which are never stored.
//
// Whoever only sends needs no session: an API asks a route over HTTP, and takes
// nothing that is stored for the sender.
//
// # Receiving
//
// Each text comes once, to OnMessage, Accept or Messages: one that arrives a
// second time, as after a crash of a server, is known by its sender and its id and
// dropped. What was stored while the user was away comes after each login by
// itself.
//
// A message to the user alone is acknowledged once the function has returned, and
// those of all messages before it have: so a function that writes it down before
// it returns loses none, whatever breaks. What is not acknowledged when the
// connection or the process ends is stored, and comes again. An application that
// must not see it twice over a restart of its own keeps sender and id of what it is
// done with, together with what it has done, and answers by Seen. Accept refuses
// what could not be done. Message.Kept tells which messages this is true of.
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
// that looks for a server while the present one asks to be left, one that brings
// the outcomes of SendAsync while some are due, and one that sends again what a
// lost connection owed. Nothing is global:
// thousands of clients fit in one process.
package client
