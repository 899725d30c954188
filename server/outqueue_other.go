//go:build !linux

package server

// outQueue cannot be found out here: what the socket has taken counts as
// acknowledged by the peer's kernel.
func outQueue(int) int { return 0 }

// finishedByPeer cannot be found out here: a read that says so is believed.
func finishedByPeer(int, bool) bool { return true }
