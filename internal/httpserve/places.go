package httpserve

import (
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"cim/internal/admission"
)

const (
	// slowAfter is how long a request may take to come in before its connection may
	// be evicted. Nearly all come at once.
	slowAfter = time.Second
	// slowLook is the time between two checks for slow requests.
	slowLook = 100 * time.Millisecond
)

// phase is what a connection does now.
type phase uint8

const (
	phaseIdle    phase = iota // waits for the first byte of a request
	phaseReading              // a request comes in
	phaseServing              // the whole request has come
)

// occupant is one connection in places.
type occupant struct {
	net.Conn
	from    netip.Addr
	source  netip.Addr // the address that it counts for; the zero Addr if exempt
	evicted atomic.Bool
	large   atomic.Int64 // bytes of the budget that its request holds

	// places' lock guards the rest.
	place   *admission.Place[*occupant]
	phase   phase
	since   time.Time // of phaseReading
	counted bool      // in places.coming
}

// places are the connections of a listener, bounded, with the phase of each: if all
// places are taken, a new connection evicts an idle or slow one.
type places struct {
	max     int
	comeMax int // bound of the requests that are protected while they come in
	policy  admission.Policy
	evicted func(from net.Addr)

	mu     sync.Mutex
	table  *admission.Table[*occupant]
	open   map[*occupant]bool
	come   int       // connections in phaseReading
	looked time.Time // when slow requests were last looked for
	// coming counts, by address, the protected incoming requests: at most the
	// address' share.
	coming map[netip.Addr]int
}

func newPlaces(most int, policy admission.Policy, evicted func(net.Addr)) *places {
	return &places{
		max: most, comeMax: most, policy: policy, evicted: evicted,
		// Victims are closed at once; only their goroutines are still to end.
		table: admission.New[*occupant](admission.Limits{Max: most, ClosingMax: most, Policy: policy}),
		open:  map[*occupant]bool{}, coming: map[netip.Addr]int{},
	}
}

// enter gives conn a place, if there is one or a victim, which the caller closes.
// The caller holds the lock.
func (p *places) enter(conn net.Conn) (one, victim *occupant) {
	p.listSlow(time.Now())
	one = &occupant{Conn: conn, from: addressOf(conn)}
	if !p.policy.Exempt(one.from) {
		one.source = admission.Source(one.from)
	}
	place, out, result := p.table.Enter(one.from, one)
	if result != admission.Admitted {
		return nil, nil
	}
	if out != nil {
		victim = out.Conn
		victim.evicted.Store(true)
		p.evicted(victim.RemoteAddr())
	}
	one.place = place
	p.open[one] = true
	return one, victim
}

// listSlow makes connections with slow requests evictable, if there is no place
// left. The caller holds the lock.
func (p *places) listSlow(now time.Time) {
	if p.table.Len() < p.max || now.Sub(p.looked) < slowLook {
		return
	}
	p.looked = now
	for one := range p.open {
		if one.phase == phaseReading && now.Sub(one.since) >= slowAfter {
			p.table.Idle(one.place)
			p.uncount(one)
		}
	}
}

// begin handles the first byte of a request: the connection is protected for a
// while, unless too many requests are coming in, in all or from its address.
func (p *places) begin(one *occupant) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if one.phase == phaseReading {
		return
	}
	p.setPhase(one, phaseReading)
	one.since = time.Now()
	switch {
	case !p.table.Use(one.place):
	case p.come > p.comeMax:
		p.table.Idle(one.place)
	case !one.source.IsValid():
	case p.coming[one.source] >= p.policy.ShareOf(p.max):
		p.table.Idle(one.place)
	default:
		p.coming[one.source]++
		one.counted = true
	}
}

// setPhase sets the phase of a connection. The caller holds the lock.
func (p *places) setPhase(one *occupant, to phase) {
	if one.phase == phaseReading {
		p.come--
	}
	if one.phase = to; to == phaseReading {
		p.come++
	}
}

// onFirstByte begins a request if none is under way.
func (p *places) onFirstByte(one *occupant) {
	p.mu.Lock()
	idle := one.phase == phaseIdle
	p.mu.Unlock()
	if idle {
		p.begin(one) // one connection is read by one goroutine at a time
	}
}

// uncount undoes the count of begin. The caller holds the lock.
func (p *places) uncount(one *occupant) {
	if !one.counted {
		return
	}
	one.counted = false
	if p.coming[one.source]--; p.coming[one.source] == 0 {
		delete(p.coming, one.source)
	}
}

// onRequestRead ends the coming in of a request. It reports whether it may be served: a slow
// connection may have been evicted.
func (p *places) onRequestRead(one *occupant) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.setPhase(one, phaseServing)
	p.uncount(one)
	return p.table.Use(one.place) && !one.evicted.Load()
}

// onAnswered ends an answer.
func (p *places) onAnswered(one *occupant) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.setPhase(one, phaseIdle)
	p.uncount(one)
	p.table.Idle(one.place)
}

// leave ends a connection. A second call does nothing.
func (p *places) leave(one *occupant) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.open, one)
	p.setPhase(one, phaseIdle)
	p.uncount(one)
	p.table.Leave(one.place)
}

// count is the number of connections with a place.
func (p *places) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.table.Len()
}

// addressOf is the IP address of conn's peer; the zero Addr if it has none.
func addressOf(conn net.Conn) netip.Addr {
	if tcp, ok := conn.RemoteAddr().(*net.TCPAddr); ok {
		return tcp.AddrPort().Addr()
	}
	return netip.Addr{}
}
