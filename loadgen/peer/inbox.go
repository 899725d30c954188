package peer

import "cim/loadgen"

// inbox receives what adapters have read: *loadgen.Inbox, except in tests of their parsers.
type inbox interface {
	Ready(err error)
	Text(text []byte)
	Outcome(id uint64, o loadgen.Outcome)
	Reply(b []byte)
	Fault(format string, args ...any)
}
