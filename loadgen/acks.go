package loadgen

import (
	"context"
	"errors"
	"time"

	"cim/proto"
)

// When a session acknowledges: after that many counted texts, that many bytes of their frames, or
// that long after the first unacknowledged one. The values are those of package client.
const (
	ackTexts = 32
	ackBytes = 32 << 10
	ackPause = 100 * time.Millisecond
)

// ackEvery is the time between two looks for sessions whose ackPause has passed.
const ackEvery = 10 * time.Millisecond

// acks counts the texts of one session that its server keeps until they are acknowledged. It
// belongs to the client's event loop, under that loop's lock.
type acks struct {
	asked   bool   // the login asked for such a session
	counted uint64 // texts so far
	acked   uint64 // of them acknowledged
	bytes   int    // of the frames of the others
	listed  bool   // the session is in eventLoop.unacked
	frame   []byte
}

// unacked is a session with texts to acknowledge, by ackPause behind at.
type unacked struct {
	client *client
	acks   *acks
	at     int64
}

// count counts the texts of a frame that count.
func (a *acks) count(in *Inbox, texts, bytes int) {
	a.counted += uint64(texts)
	a.bytes += bytes
	if !a.listed {
		a.listed = true
		in.loop.unacked = append(in.loop.unacked, unacked{in.client, a, in.loop.arrival})
	}
}

// due reports whether an ACK is due at once.
func (a *acks) due() bool { return a.counted-a.acked >= ackTexts || a.bytes >= ackBytes }

// write acknowledges all counted texts, if some are not.
func (a *acks) write(c *client) error {
	if a.acked == a.counted {
		return nil
	}
	a.acked, a.bytes = a.counted, 0
	a.frame = proto.AppendAck(a.frame[:0], a.acked)
	return c.write(a.frame)
}

// acknowledge writes the ACKs that are due at now.
func (l *eventLoop) acknowledge(now int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for ; n < len(l.unacked) && l.unacked[n].at+int64(ackPause) <= now; n++ {
		one := l.unacked[n]
		one.acks.listed = false
		// A connection that has ended is reported elsewhere.
		if err := one.acks.write(one.client); err != nil && !errors.Is(err, errClosed) {
			l.faults.add("client %d: ACK: %v", one.client.index, err)
		}
	}
	l.unacked = append(l.unacked[:0], l.unacked[n:]...)
}

// startAcks makes the sessions acknowledge in time until ctx ends; then they acknowledge the rest.
func (f *fleet) startAcks(ctx context.Context) {
	loops := f.loops
	f.pings.Go(func() {
		ticker := time.NewTicker(ackEvery)
		defer ticker.Stop()
		for {
			now := f.clock.now()
			select {
			case <-ticker.C:
			case <-ctx.Done():
				now += int64(ackPause)
			}
			for _, l := range loops {
				l.acknowledge(now)
			}
			if ctx.Err() != nil {
				return
			}
		}
	})
}

// copies are the last ids under which texts of its slot arrived at a client. A text that the system
// sends twice under one id is recognised, as applications recognise it, and is no real double.
type copies [copiesKept]struct {
	sequence uint32
	id       proto.TextID
}

// copiesKept is more than a server keeps of one session until they are
// acknowledged, 256.
const copiesKept = 512

// keep notes the first arrival of a text.
func (c *copies) keep(sequence uint32, id proto.TextID) {
	if c != nil {
		c[sequence%copiesKept] = struct {
			sequence uint32
			id       proto.TextID
		}{sequence, id}
	}
}

// has reports whether the text came before under this id.
func (c *copies) has(sequence uint32, id proto.TextID) bool {
	if c == nil || id == 0 {
		return false
	}
	kept := c[sequence%copiesKept]
	return kept.sequence == sequence && kept.id == id
}
