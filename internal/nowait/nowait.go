// Package nowait writes to sockets without waiting for them, bypassing their
// connections' deadlines and the runtime's poller.
package nowait
