// Package nowait writes to sockets without waiting for them, past their connections'
// deadlines and the runtime's poller.
package nowait
