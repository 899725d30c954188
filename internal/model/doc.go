// Package model runs the protocol of private messages without sockets: senders,
// servers, boxes and receivers, with each fault as an event of a drawn schedule.
//
// Real are the shard (server/shard), the store (store.Memory) and what a client
// knows of the texts that it received (internal/received: the count of what it
// acknowledges, the windows of ids). Stand-ins, in order and without goroutines,
// are what lies between them: the loop's sockets, a server's returns, the route
// (deliver, store and wake, catch-up, return, removal), the client's inbox and its
// sending again. A step of a stand-in is an event, so a schedule puts any other
// event between two of them.
//
// A schedule is values only. At its end all faults are healed, and the book of
// what each sender was answered and each receiver had must balance.
//
// make test runs 100 schedules, make faults 10,000: -rapid.checks says how many, and
// -rapid.seed which. A schedule that fails is logged in short.
// The test of planted faults breaks a stand-in, or what it hands to a real part,
// and must find each fault.
//
// It has only tests, and no test imports it.
package model
