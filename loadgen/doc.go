// Package loadgen is simulated clients by the thousand: it logs in users, lets
// them send private or group messages on a schedule or with a fixed number
// outstanding, and checks every delivery: none lost, none twice, none out of
// order, none changed, none at a stranger.
//
// A fleet is the clients of one run of logins. Each client belongs to one lane,
// a gnet event loop, which alone reads its socket and judges what arrives. A
// trial is one measured run of a fleet; its slots are the senders. A text
// carries its trial, slot, receiver, sequence number, due and send time and a
// CRC, so a lane judges it without asking anybody. Past the descriptors of one
// process a crew of workers shares a run.
//
// What differs between messaging systems is behind System and Session. Ours is
// the first; others are driven by the same schedules, clients, histograms and
// checks.
//
// It never touches the server's insides: it knows its HTTP API, its frames and,
// for the figures, its process id.
package loadgen
