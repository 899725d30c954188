package model

import (
	"slices"
	"strconv"
	"strings"

	"cim/internal/received"
	"cim/proto"
)

// receiver is a user's client and its application.
type receiver struct {
	user    proto.UserID
	conn    *conn // nil: none
	read    int   // bytes of its wire
	flight  []uint64
	count   *received.Count // of the session
	counted uint64
	windows received.Windows
	armed   bool // an ACK is due in the next tick
	waiting []*item
	had     map[proto.TextKey]bool // by this process
}

// item is a text that waits for the application's function, with its mark to be
// acknowledged when that has returned.
type item struct {
	key    proto.TextKey
	number int
	marks  []mark
}

// mark is a counted text of a session.
type mark struct {
	count *received.Count
	n     uint64
}

// restart is a new process.
func (r *receiver) restart() {
	r.windows, r.waiting, r.had = received.Windows{}, nil, map[proto.TextKey]bool{}
}

// connect is a login over c.
func (r *receiver) connect(c *conn) {
	r.conn, r.read, r.flight, r.count, r.counted, r.armed = c, 0, nil, new(received.Count), 0, false
}

// receive reads at most n bytes.
func (w *world) receive(r *receiver, n int) {
	c := r.conn
	if c == nil {
		return
	}
	end := min(r.read+n, c.left)
	for r.read < end {
		frame, size, reason := proto.NextFrame(c.wire[r.read:end], proto.FrameMax)
		if reason != proto.ReasonNone {
			w.failf("what %d was sent is no frame: %v", r.user, reason)
		}
		if frame == nil {
			return
		}
		r.read += size
		var v proto.View
		if reason := v.Parse(frame); reason != proto.ReasonNone {
			w.failf("frame %x: %v", frame, reason)
		}
		switch {
		case v.Command == proto.CommandClose && v.Reason != proto.ReasonReplaced:
			w.failf("the session of %d ended: %v", r.user, v.Reason)
		case v.Command != proto.CommandMessage && v.Command != proto.CommandOffline:
			continue
		case !v.Counted():
			w.failf("a frame does not count: %x", frame)
		}
		v.EachIdentified(func(id proto.TextID, text []byte) {
			number, err := strconv.Atoi(strings.TrimSpace(string(text)))
			if err != nil {
				w.failf("text %q: %v", text, err)
			}
			w.arrive(r, proto.TextKey{Sender: v.Sender(), ID: id}, number, len(text))
		})
	}
}

func (w *world) arrive(r *receiver, key proto.TextKey, number, bytes int) {
	n, err := r.count.Add(bytes)
	if err != nil {
		w.failf("count: %v", err)
	}
	r.counted = n
	at, by := mark{r.count, n}, key.Sender
	if w.fault == faultSharedWindow {
		by = 0
	}
	if !r.windows.Again(by, key.ID) {
		r.waiting = append(r.waiting, &item{key, number, []mark{at}})
		return
	}
	first := slices.IndexFunc(r.waiting, func(i *item) bool { return i.key == key })
	if first < 0 {
		w.finish(r, at)
		return
	}
	r.waiting[first].marks = append(r.waiting[first].marks, at)
}

// finishText is the return of the application's function for the oldest text of one
// sender: functions for different senders run side by side.
func (w *world) finishText(r *receiver, sender proto.UserID) {
	at := slices.IndexFunc(r.waiting, func(i *item) bool { return i.key.Sender == sender })
	if at < 0 {
		return
	}
	i := r.waiting[at]
	r.waiting = slices.Delete(r.waiting, at, at+1)
	p := pair{sender, r.user}
	if r.had[i.key] {
		w.failf("text %d of %v came twice to one process", i.number, p)
	}
	r.had[i.key] = true
	if w.had[i.key]++; w.had[i.key] == 1 {
		if i.number < w.newest[p] && !w.disordered[p] {
			w.failf("text %d of %v came behind text %d", i.number, p, w.newest[p])
		}
		w.newest[p] = max(w.newest[p], i.number)
	}
	for _, m := range i.marks {
		w.finish(r, m)
	}
}

func (w *world) finish(r *receiver, m mark) {
	switch due := m.count.Finish(m.n); {
	case m.count != r.count: // of an ended session
	case due == received.DueNow:
		w.acknowledge(r)
	case due == received.DueLater:
		r.armed = true
	}
}

// acknowledge writes the acknowledgement that is due.
func (w *world) acknowledge(r *receiver) {
	r.armed = false
	if r.conn == nil {
		return
	}
	n, due := r.count.Take()
	if !due {
		return
	}
	if w.fault == faultAckMore {
		n = min(n+1, r.counted)
	}
	r.flight = append(r.flight, n)
}

// ackArrives has the server read the oldest ACK.
func (w *world) ackArrives(r *receiver) {
	if r.conn == nil || len(r.flight) == 0 {
		return
	}
	n := r.flight[0]
	r.flight = r.flight[1:]
	if r.conn.closed {
		return
	}
	frame := proto.AppendAck(nil, n)
	if n%2 == 0 {
		frame = proto.AppendAckPing(nil, n)
	}
	r.conn.server.Read(r.conn.ref.Slot, frame, new(proto.View))
	w.collect()
}

// login is a login at a server, which ends the session before it.
func (w *world) login(r *receiver, s *server) {
	if old := w.present[r.user]; old != nil {
		old.server.revoke(old)
		w.collect()
	}
	w.generation++
	c := s.open(r.user, w.generation)
	w.present[r.user] = c
	r.connect(c)
	w.collect()
}

// move is a login while the old connection is open: the last ACK goes over the old
// one.
func (w *world) move(r *receiver, s *server) {
	w.acknowledge(r)
	for range r.flight {
		w.ackArrives(r)
	}
	w.login(r, s)
}

// breakOff ends r's connection. Its server may learn of it later.
func (w *world) breakOff(r *receiver, known bool) {
	c := r.conn
	if c == nil {
		return
	}
	r.connect(nil)
	if known {
		c.server.close(c)
		w.collect()
	}
}
