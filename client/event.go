package client

import (
	"fmt"

	"cim/proto"
)

// Event is one thing that the client did. It never has a text.
type Event struct {
	Kind EventKind
	// Server is where the user is logged in: of LoggedIn and Moved.
	Server ServerInfo
	// Attempt counts the logins that failed since the connection was lost: of
	// LoginFailed.
	Attempt int
	// User is the sender, of Received and Duplicate, or the receiver, of Sent; 0 of a group
	// message.
	User proto.UserID
	// ID is the text's, 0 if it has none: of Received, Duplicate and Sent.
	ID proto.TextID
	// Result is the message's outcome, unless Err is set: of Sent.
	Result Result
	// Texts is the number of group messages that the server has left out: of LeftOut.
	Texts uint64
	// Err is why: of Lost, LoginFailed, MoveFailed, FetchFailed, Sent and Ended.
	Err error
}

// EventKind says what happened.
type EventKind uint8

// What happens.
const (
	EventLoggedIn    EventKind = iota + 1 // a session has started
	EventLost                             // the connection has ended, against the client's will
	EventLoginFailed                      // another is tried, if Ended does not follow
	EventMoved                            // the session continues at another server
	EventMoveFailed                       // the server asks to be left, and no other was found yet
	EventFetchFailed                      // a route of the original did not send the stored messages
	EventReceived                         // a text came, and waits for the user's function
	EventDuplicate                        // a text came a second time, and was dropped
	EventSent                             // the outcome of a message has arrived
	EventLeftOut                          // this client read too slowly, and has missed group messages
	EventEnded                            // the client has ended, and not by Close
)

// String is the kind's name.
func (k EventKind) String() string {
	names := [...]string{
		EventLoggedIn: "logged in", EventLost: "connection lost", EventLoginFailed: "login failed",
		EventMoved: "moved to another server", EventMoveFailed: "no move to another server",
		EventFetchFailed: "stored messages not fetched", EventReceived: "received",
		EventDuplicate: "a text came a second time and was dropped", EventSent: "sent",
		EventLeftOut: "texts to everybody were left out", EventEnded: "ended",
	}
	if int(k) < len(names) && names[k] != "" {
		return names[k]
	}
	return fmt.Sprintf("event %d", k)
}

// note logs an event and passes it to Config.Events.
func (c *Client) note(e Event) {
	log := c.config.Log
	switch e.Kind {
	case EventLoggedIn, EventMoved:
		log.Info(e.Kind.String(), "address", e.Server.Address())
	case EventLost, EventLoginFailed, EventMoveFailed:
		log.Info(e.Kind.String(), "why", e.Err)
	case EventFetchFailed, EventEnded:
		log.Warn(e.Kind.String(), "why", e.Err)
	case EventLeftOut:
		log.Warn(e.Kind.String(), "texts", e.Texts)
	case EventDuplicate:
		log.Warn(e.Kind.String(), "sender", e.User, "text", uint64(e.ID))
	}
	if c.config.Events != nil {
		c.config.Events(e)
	}
}
