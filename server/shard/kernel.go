package shard

// EachWatched asks, once a tick, how many bytes of a connection the peer's kernel
// has not acknowledged, of those that the loop has been handed: for each connection
// where the shard must know. It does with the answers what Left does.
func (s *Shard) EachWatched(left func(slot uint32) int) {}

// Left says how many bytes of slot's connection, of those that the loop has been
// handed, the peer's kernel has not acknowledged: those that the socket has not
// taken, and those that the kernel has. The loop calls it before it closes a
// connection, and before it holds a session.
func (s *Shard) Left(slot uint32, bytes int) {}
