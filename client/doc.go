// Package client is the Go SDK of cim. It registers a name, logs in, keeps the long connection up,
// sends private and group messages with their outcomes, and passes received messages to a function
// or a channel.
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
//	result, err := c.SendGroup(ctx, "hello, all")
//
// # Sending
//
// Send sends to one user, SendGroup to all users who are online; both wait for the outcome.
// Result.Err turns an outcome that is a failure into an error. SendAsync does not wait; it calls a
// function with the outcome. Find returns the id of a name.
//
// By default a private message should be received. Its outcome is received once the receiver's
// function has returned, or stored if that takes longer than a second or the receiver is away; a
// stored message is kept until it is received. SendOptions.Want asks for less, and for a faster
// answer, or for more. If the connection is lost before the outcome, or the outcome is unknown, the
// client sends the message again under the same id for up to a minute, and the receiver gets one
// copy. A client of the original, which ignores ids, may get two. If the outcome is still unknown
// then, the error is ErrUnknown. While there is no connection the error is ErrNotConnected at once,
// and nothing was sent.
//
// With a server or route of an older release (ServerInfo.Ack is false) nothing is sent twice.
// Outcomes are delivered or stored. If the connection ends before the outcome, the error is
// ErrUnknown, and a message that the application sends again may arrive twice. The same holds for
// group messages, which are never stored.
//
// An application that only sends needs no session: an API asks a route over HTTP, and takes no
// stored message of the sender.
//
// # Receiving
//
// Each text is passed once, to OnMessage, Accept or Messages. A text that arrives a second time,
// for example after the crash of a server, is recognised by its sender and id, and dropped.
// Messages that were stored while the user was away arrive after each login.
//
// A private message is acknowledged once its function, and those of all messages before it, have
// returned. So a function that writes the message down before it returns loses none, whatever
// breaks. A message that is not acknowledged when the connection or the process ends is stored, and
// arrives again. An application that must not handle it twice, even across its own restart, saves
// sender and id together with its own work, and reports them in Seen. Accept refuses a message that
// could not be handled. All this holds for messages with Message.Kept.
//
// The messages of one sender are handled in order, one at a time. With Workers above 1 those of
// different senders are handled at once, so that a slow function delays only messages of the same
// sender. However slow it is, the connection stays alive: 256 messages wait, or 4,096 while
// something is being sent; then the connection is not read until there is room. Such a function may
// send, and wait for the outcome.
//
// # Connections that break
//
// The client logs in again, after pauses with jitter, as long as that can succeed. When its server
// goes down it moves to another one. OnState and State report this; Retries, Backoff and Reconnect
// change it. A client ends by itself when its user logs in elsewhere, or when a route refuses the
// login for good: then Done is closed and Err says why. Errors of routes and servers are a
// *Refusal, with the code of the HTTP API, or an *Ended, with a reason; ErrRepeatLogin and similar
// values name the usual ones for errors.Is.
//
// # The original's system
//
// With a route and a server of the original CIM the client speaks their dialect and sends over
// HTTP. There are no message ids then, and the client says goodbye before it logs in again, since
// the route refuses a second login.
//
// # What runs
//
// A Client owns one goroutine that logs in and reads the connection, one that pings while a
// connection lasts, Workers that call the application's functions, one that looks for another
// server when the present one asks its clients to leave, one that reports the outcomes of SendAsync
// while some are due, and one that sends messages again after a lost connection. There is no global
// state: thousands of clients fit in one process.
package client
