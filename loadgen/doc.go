// Package loadgen is simulated clients by the thousand: it registers and logs
// in users at a route, lets them send private or group messages on a schedule
// or with a fixed number outstanding, and checks every delivery: none lost,
// none twice, none out of order, none at a stranger.
//
// A fleet is the clients of one run of logins. Each client belongs to one lane,
// a gnet event loop, which alone reads its socket and judges what arrives. A
// trial is one measured run of a fleet; its slots are the senders. A text
// carries its trial, slot, sequence number and due time, so a lane judges it
// without asking anybody.
//
// It never touches the server's insides: it knows its HTTP API, its frames and,
// for the figures, its process id.
package loadgen
