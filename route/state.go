package route

import (
	"time"

	"cim/proto"
)

// State is a route's state for operators. It names no user.
type State struct {
	Address         string        `json:"address"`
	Draining        bool          `json:"draining"`
	Members         []MemberState `json:"members"` // in the order of their names
	CatchupsRunning int           `json:"catchupsRunning"`
	CatchupsWaiting int           `json:"catchupsWaiting"`
	SendsWaiting    int           `json:"sendsWaiting"` // of clients' connections, for a worker
	HTTPConnections int           `json:"httpConnections"`

	// Since the start of the process.
	Requests    uint64            `json:"requests"`
	Logins      uint64            `json:"logins"`   // answered 9000
	Messages    uint64            `json:"messages"` // requests to send one, or a batch
	Stored      uint64            `json:"stored"`   // texts
	StoreFaults map[string]uint64 `json:"storeFaults"`
	PartsLost   uint64            `json:"partsLost"` // of group messages
	Suspicions  uint64            `json:"suspicions"`
}

// MemberState is a server as one route has it.
type MemberState struct {
	Name    string      `json:"name"`
	Epoch   proto.Epoch `json:"epoch,string"`
	Link    string      `json:"link"` // where it takes links; "": within this process
	Version int         `json:"version"`
	State   string      `json:"state"` // one of the Member words below, or what a guest is called

	UnlinkedSeconds float64 `json:"unlinkedSeconds"`
	WaitingBytes    int     `json:"waitingBytes"` // on the link
	Asks            int     `json:"asks"`         // that wait for an answer
	Broadcasts      int     `json:"broadcasts"`   // sent and not answered
}

// The states of a member.
const (
	MemberLinked   = "linked"   // live, and its link is up
	MemberUnlinked = "unlinked" // live, and its link is down
	MemberSuspect  = "suspect"  // its link is up and it does not answer
	MemberLeaving  = "leaving"  // it has said that it goes down
	MemberVanished = "vanished" // no longer in the registry, and its link is up
	MemberVersion  = "version"  // live, and its link is of another version: never linked
)

// State may be called by any goroutine. It sends nothing, and takes only locks that are held
// briefly.
func (r *Route) State() State {
	running, waiting := r.catchups.count()
	state := State{
		Address: r.Addr(), Draining: r.http.Draining(), Members: []MemberState{},
		CatchupsRunning: running, CatchupsWaiting: waiting, SendsWaiting: r.sends.waiting(), HTTPConnections: r.http.Conns(),
		Stored: r.counters.stored.Get(), PartsLost: r.counters.partsLost.Get(), Suspicions: r.counters.suspicions.Get(),
		StoreFaults: map[string]uint64{},
	}
	for _, s := range r.cluster.servers().candidates {
		state.Members = append(state.Members, s.state())
	}
	for path, e := range r.endpoints {
		state.count(path, e.requests)
	}
	r.counters.storeFaults.each(func(kind string, count uint64) { state.StoreFaults[kind] = count })
	return state
}

// count adds the requests to one path.
func (s *State) count(path string, requests *family[proto.Code]) {
	s.Requests += requests.sum()
	switch path {
	case proto.PathPrivate, proto.PathGroup:
		s.Messages += requests.sum()
	case proto.PathLogin:
		requests.each(func(code proto.Code, count uint64) {
			if code == proto.CodeSuccess {
				s.Logins += count
			}
		})
	}
}

// waiting is how many SENDs wait for a worker.
func (s *sendQueues) waiting() (n int) {
	for _, queue := range s.queues {
		n += len(queue)
	}
	return n
}

func (s *server) state() MemberState {
	m := s.member
	state := MemberState{
		Name: m.Name(), Epoch: m.Epoch, Link: m.Link, Version: m.Version, State: s.stateName(),
		UnlinkedSeconds: s.unlinkedFor().Round(time.Millisecond).Seconds(),
	}
	if s.guest() {
		state.Epoch, state.UnlinkedSeconds = 0, 0 // the epoch is known in this process only
	}
	if on := s.stream.Load(); on != nil {
		state.WaitingBytes = on.conn.Waiting()
		state.Asks, state.Broadcasts = on.count()
	}
	return state
}

func (s *server) stateName() string {
	switch {
	case s.guest() && s.linked():
		return s.member.Guest
	case s.suspect():
		return MemberSuspect
	case s.leaving.Load():
		return MemberLeaving
	case s.vanished.Load():
		return MemberVanished
	case s.linked():
		return MemberLinked
	case s.member.Version != proto.LinkVersion:
		return MemberVersion
	}
	return MemberUnlinked
}

// count is how many asks wait for their answers, and how many broadcasts have a
// reservation.
func (s *stream) count() (asks, broadcasts int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.waiting), s.broadcasts
}
