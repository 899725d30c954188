// Package peer drives other messaging systems: for each a small adapter that connects a client and
// subscribes it, writes a message, and finds the texts in what arrives. Schedules, clients,
// histograms and checks are the load generator's own, the same for all systems.
//
// In each system a client subscribes to two names: that of all clients and its own. An adapter
// never waits, retries or counts; what a peer must not send ends the connection or is a named
// fault.
package peer
