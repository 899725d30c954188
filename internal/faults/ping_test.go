package faults

import (
	"sync"
	"time"

	"cim/proto"
)

// pings are the connections that one goroutine pings for all: each originalPing
// after it was added, and so on.
type pings struct {
	mu   sync.Mutex
	next map[*connection]time.Time
}

func (p *pings) add(k *connection) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.next == nil {
		p.next = map[*connection]time.Time{}
	}
	p.next[k] = time.Now().Add(originalPing)
}

func (p *pings) remove(k *connection) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.next, k)
}

// due are those to ping now.
func (p *pings) due(now time.Time) []*connection {
	p.mu.Lock()
	defer p.mu.Unlock()
	var due []*connection
	for k, at := range p.next {
		if !now.Before(at) {
			due = append(due, k)
			p.next[k] = now.Add(originalPing)
		}
	}
	return due
}

// ping pings until the crowd disperses.
func (c *crowd) ping() {
	ticker := time.NewTicker(100 * time.Millisecond)
	defer ticker.Stop()
	for {
		select {
		case <-c.ctx.Done():
			return
		case <-ticker.C:
			for _, k := range c.pings.due(time.Now()) {
				// A ping fits every socket's buffer, unless the other side has not
				// taken thousands of them. The reader meets what is wrong.
				_ = k.conn.SetWriteDeadline(time.Now().Add(time.Second))
				_, _ = k.conn.Write([]byte(proto.Ping))
			}
		}
	}
}
