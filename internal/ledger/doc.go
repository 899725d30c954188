// Package ledger records a run of messages: the receivers of each, its answer, and
// its arrivals. At the end it lists which were lost, doubled, misdelivered or
// reordered, with some examples.
//
// A Ledger has one owner, which may lock it for others. It starts no goroutine,
// takes no lock, reads no clock and knows no socket: times are passed in as
// nanoseconds since the run began. Its memory is bounded by its Config.
package ledger
