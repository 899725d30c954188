package proto

import "strconv"

// Reason is why a login was refused or a session ended. The number travels in
// LOGIN_ANSWER and CLOSE: never reuse one.
type Reason uint16

// The reasons. Returns says which of them allow the client to come back.
const (
	ReasonNone            Reason = 0
	ReasonSlow            Reason = 1  // the client reads too slowly: its unsent bytes reached their bound
	ReasonIdle            Reason = 2  // no whole frame within the heartbeat time
	ReasonReplaced        Reason = 3  // the user logged in elsewhere
	ReasonDraining        Reason = 4  // the server is going down; log in again, elsewhere
	ReasonFrameTooLarge   Reason = 5  // a frame is longer than the bound that holds
	ReasonMalformed       Reason = 6  // bytes that are no frame of this protocol
	ReasonLoginTimeout    Reason = 7  // no whole login frame in time
	ReasonNoGrant         Reason = 8  // no route announced this user here, or its grant ran out
	ReasonTicket          Reason = 9  // the login frame lacks the grant's ticket, or has another
	ReasonRepeatLogin     Reason = 10 // the user has a living session
	ReasonFull            Reason = 11 // the connection was evicted for a new one before it had logged in
	ReasonUnexpected      Reason = 12 // a command that is invalid in this state, as a second login
	ReasonTextTooLong     Reason = 13 // a text is longer than TextMax
	ReasonNotUTF8         Reason = 14 // a string is not valid UTF-8
	ReasonManyProperties  Reason = 15 // more than PropertiesMax properties
	ReasonManyTexts       Reason = 16 // more than BatchMax texts
	ReasonEnded           Reason = 17 // the user's session was ended by request
	ReasonAccountMismatch Reason = 18 // the login names another user than the grant
	ReasonVersion         Reason = 19 // a dialect that this server does not speak
	ReasonOverload        Reason = 20 // an outcome that the session waits for found no room
	ReasonLease           Reason = 21 // the lease is lost: the users may be logged in elsewhere
	ReasonKicked          Reason = 22 // an operator ended the session
	ReasonMemory          Reason = 23 // not sent: the session held most of the memory of all connections
	ReasonExpired         Reason = 24 // the token of the session's login has expired; log in again, with a fresh one
)

var reasonNames = [...]string{
	ReasonNone:            "none",
	ReasonSlow:            "slow",
	ReasonIdle:            "idle",
	ReasonReplaced:        "replaced",
	ReasonDraining:        "draining",
	ReasonFrameTooLarge:   "frame_too_large",
	ReasonMalformed:       "malformed",
	ReasonLoginTimeout:    "login_timeout",
	ReasonNoGrant:         "no_grant",
	ReasonTicket:          "ticket",
	ReasonRepeatLogin:     "repeat_login",
	ReasonFull:            "full",
	ReasonUnexpected:      "unexpected",
	ReasonTextTooLong:     "text_too_long",
	ReasonNotUTF8:         "not_utf8",
	ReasonManyProperties:  "many_properties",
	ReasonManyTexts:       "many_texts",
	ReasonEnded:           "ended",
	ReasonAccountMismatch: "account_mismatch",
	ReasonVersion:         "version",
	ReasonOverload:        "overload",
	ReasonLease:           "lease",
	ReasonKicked:          "kicked",
	ReasonMemory:          "memory",
	ReasonExpired:         "expired",
}

// ReasonCount is one more than the largest reason.
const ReasonCount = len(reasonNames)

// String is the reason's name in metrics and logs.
func (r Reason) String() string {
	if int(r) < len(reasonNames) {
		return reasonNames[r]
	}
	return "reason_" + strconv.Itoa(int(r))
}

// Returns reports whether a client that got r may log in again by itself.
func (r Reason) Returns() bool {
	switch r {
	case ReasonReplaced, ReasonRepeatLogin, ReasonEnded, ReasonAccountMismatch, ReasonVersion, ReasonKicked:
		return false
	}
	return true
}

// Outcome answers a SEND.
type Outcome uint8

// The outcomes. After Busy and Failed nothing was kept.
const (
	OutcomeDelivered Outcome = 1 // the receiver's session has taken it; a group message: every live server has
	OutcomeStored    Outcome = 2 // stored for the receiver's next login or catch-up
	OutcomeBusy      Outcome = 3 // refused for load, may be sent again
	OutcomeFailed    Outcome = 4 // not done, the code says why
	OutcomeUnknown   Outcome = 5 // the route did not answer: it may have been done or not
	OutcomeReceived  Outcome = 6 // the receiver has acknowledged it; only for a SEND with WantReceived
)

// String is the outcome's name.
func (o Outcome) String() string {
	switch o {
	case OutcomeDelivered:
		return "delivered"
	case OutcomeStored:
		return "stored"
	case OutcomeBusy:
		return "busy"
	case OutcomeFailed:
		return "failed"
	case OutcomeUnknown:
		return "unknown"
	case OutcomeReceived:
		return "received"
	}
	return "outcome_" + strconv.Itoa(int(o))
}

// Want is what must have happened to a text before its sender gets a successful
// outcome.
type Want uint8

// The wants. A server refuses a SEND with a larger one with CodeInvalid.
const (
	WantTaken    Want = 0 // the receiver's session has taken it, or it is stored
	WantReceived Want = 1 // the receiver has acknowledged it, or it is stored
	WantStored   Want = 2 // it was stored before it was pushed to the receiver
)

// wantMax is the Want of a View for any larger value.
const wantMax = 255

// Valid reports whether w is one of the wants.
func (w Want) Valid() bool { return w <= WantStored }

// OutcomeOf is the outcome of a message for which code was answered.
func OutcomeOf(code Code) Outcome {
	switch code {
	case CodeSuccess:
		return OutcomeDelivered
	case CodeOffline:
		return OutcomeStored
	case CodeLimit:
		return OutcomeBusy
	}
	return OutcomeFailed
}
