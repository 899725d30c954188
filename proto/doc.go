// Package proto is every byte that leaves a process: the frames of the long
// connection in all dialects, the bodies of the HTTP APIs, the records of a link,
// the member record, and the numbers (codes, reasons, bounds) in them.
//
// It is pure: no goroutine, no lock, no clock, no socket. A view aliases the bytes
// it was parsed from and lives as long as they do. An appender adds to the slice it
// is given and never keeps it. Everything that a stranger can send is bounded here,
// before anything is allocated for it.
//
// frame.go splits a stream, view.go reads one frame in place, append.go writes one,
// link.go does both for a link, http.go for the HTTP APIs. cim.proto has the same
// frames as a schema for other languages; tests compare the two.
package proto
