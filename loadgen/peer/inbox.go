package peer

import "cim/loadgen"

// inbox is what adapters tell of what they have read: *loadgen.Inbox, but for
// tests of their parsers.
type inbox interface {
	Ready(err error)
	Text(text []byte)
	Outcome(id uint64, o loadgen.Outcome)
	Reply(b []byte)
	Fault(format string, args ...any)
}
