// Package ledger is the book of a run of messages: which were meant for whom,
// what was answered, who received them. At the end it says which were lost,
// doubled, misdelivered or reordered, and names some.
//
// A Ledger has one owner, which may lock it for others. It starts no goroutine,
// takes no lock, reads no clock and knows no socket: times come in as
// nanoseconds since the run began. Its memory is bounded by its Config.
package ledger
