package server

import "cim/proto"

// Ungranted is another system whose routes let clients in here, as they do at its
// own servers: without a grant. Any goroutine calls it.
type Ungranted interface {
	// Ended is called when a session of such a client has ended. It must not block.
	Ended(user proto.UserID, name string)
	// Ready reports why no login can come by its routes, or nil.
	Ready() error
	// Stop is called when no further session ends: what Ended was told of is dealt
	// with, in bounded time. It may be called again.
	Stop()
}

func (s *Server) stopUngranted() {
	if s.ungranted != nil {
		s.ungranted.Stop()
	}
}

// Linked reports whether a route has a link to the server, and whether one ever had.
func (s *Server) Linked() (now, ever bool) { return len(s.links.all()) > 0, s.links.ever.Load() }
