// Package live shows a run of the load generator: a view that is drawn anew each second on a
// terminal, or a line a second elsewhere.
//
// A View belongs to the run, which calls it from one goroutine at a time. It writes to the progress
// output only, never to that of the data, and reads no input: Ctrl-C stays a signal to the process.
package live
