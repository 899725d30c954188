package peer

// inbox is what adapters tell of what they have read: *loadgen.Inbox, but for
// tests of their parsers.
type inbox interface {
	Ready(err error)
	Text(text []byte)
	Reply(b []byte)
	Fault(format string, args ...any)
}
