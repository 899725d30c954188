// Package model runs the protocol of private messages without sockets: senders,
// servers, boxes and receivers. Each fault is an event of a random schedule.
//
// Real parts are the shard (server/shard), the store (store.Memory) and a client's
// record of received texts (internal/received: the count of acknowledged texts, the
// windows of ids). The parts between them are stand-ins, in order and without
// goroutines: the loop's sockets, a server's returns, the route (deliver, store and
// hold, catch-up, return, removal), the client's inbox and its resends. A step of a
// stand-in is an event, so a schedule can put any other event between two of them.
//
// A schedule contains values only. At its end all faults are healed, and the
// senders' answers must match the receivers' texts.
//
// make test runs 100 schedules, make faults 10,000: -rapid.checks sets the number,
// and -rapid.seed the seed. A failing schedule is logged in shortened form. The
// test of planted faults breaks a stand-in, or what it passes to a real part, and
// must find each fault.
//
// It has only tests, and no test imports it.
package model
