package server

import "cim/proto"

// Ungranted is another system whose routes let clients in here without a grant, as
// at that system's own servers. Any goroutine calls the methods.
type Ungranted interface {
	// Ended is called when a session of such a client has ended. It must not block.
	Ended(user proto.UserID, name string)
	// Ready returns why no login can come through its routes, or nil.
	Ready() error
	// Stop is called when no further session ends. It returns when all calls of
	// Ended are processed, in bounded time. It may be called again.
	Stop()
}

func (s *Server) stopUngranted() {
	if s.ungranted != nil {
		s.ungranted.Stop()
	}
}

// Linked reports whether a route has a link to the server, and whether one ever had.
func (s *Server) Linked() (now, ever bool) { return len(s.links.all()) > 0, s.links.ever.Load() }
