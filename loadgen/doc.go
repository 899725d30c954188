// Package loadgen is thousands of simulated clients. It logs in users, sends private or group
// messages on a schedule or with a fixed number outstanding, and checks every delivery: none lost,
// none twice, none out of order, none changed, none at another receiver.
//
// A fleet is the clients of one run of logins. Each client belongs to one event loop (of gnet),
// which alone reads its socket and judges what arrives. A trial is one measured run of a fleet; its
// slots are the senders. A text carries its trial, slot, receiver, sequence number, due and send
// time and a CRC, so an event loop can judge it alone. Past the descriptors of one process several
// workers share a run.
//
// What differs between messaging systems is behind System and Session. Ours is the first; others
// are driven by the same schedules, clients, histograms and checks.
//
// It never touches the server's insides: it knows its HTTP API, its frames and, for the figures,
// its process id.
package loadgen
