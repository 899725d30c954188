package server

import (
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"cim/internal/budget"
	"cim/proto"
)

// TestMemoryBudget sends clients that do not read more than all connections may
// hold together: the sessions that hold most end with ReasonMemory, and the reader
// stays.
func TestMemoryBudget(t *testing.T) {
	const deaf = 20
	memory := budget.New(1<<20, nil)
	w := startWithin(t, slowReaders, t.Output(), memory)
	reader := w.login(ann, 1, proto.DialectCIM)
	for i := range proto.UserID(deaf) {
		w.loginSlowReader(proto.User{ID: 100 + i, Name: "u" + strconv.Itoa(int(100+i))})
	}
	ended := func() uint64 { return w.server.metrics.ends[proto.ReasonMemory].Get() }
	text := strings.Repeat("x", 16<<10)
	for before := ended(); ended() < 8; before = ended() { // in several rounds
		for n := 0; ended() == before; n++ {
			if n > 30 {
				t.Fatalf("no session ended though %d bytes are held of %d", memory.Held(), memory.Limit())
			}
			unsent := 0
			for i := range proto.UserID(deaf) {
				// A session that has ended takes nothing.
				w.route.ask(proto.Record{Kind: proto.RecordPush, User: 100 + i, Generation: 1, Body: body(ann, text)})
				unsent += w.unsent(100 + i)
			}
			w.eventually("what is held has been looked at", func() bool { return memory.Held() >= int64(unsent) || ended() > before })
		}
	}
	w.eventually("what is held is within the budget", func() bool { return memory.Held() <= memory.Limit() })
	if n := ended(); n >= deaf {
		t.Errorf("all %d ended, want some left", n)
	}
	if n := w.server.metrics.ends[proto.ReasonSlow].Get(); n != 0 {
		t.Errorf("%d ended as slow: the bound of each session came first", n)
	}
	reader.wantAlive()
}

// TestMemoryOfOneLoop: a loop whose sessions alone hold more than the budget ends
// some before the budget asks.
func TestMemoryOfOneLoop(t *testing.T) {
	const deaf = 20
	w := startWithin(t, slowReaders, t.Output(), budget.New(1<<20, nil))
	for i := range proto.UserID(deaf) {
		w.loginSlowReader(proto.User{ID: 100 + i, Name: "u" + strconv.Itoa(int(100+i))})
	}
	w.server.leaveBudget() // the budget asks no more
	ended := func() uint64 { return w.server.metrics.ends[proto.ReasonMemory].Get() }
	text := strings.Repeat("x", 16<<10)
	for n := 0; ended() == 0; n++ {
		if n > 30 {
			t.Fatal("no session ended")
		}
		for i := range proto.UserID(deaf) {
			w.route.ask(proto.Record{Kind: proto.RecordPush, User: 100 + i, Generation: 1, Body: body(ann, text)})
		}
	}
	if n := ended(); n > deaf/2 {
		t.Errorf("%d of %d ended, want what is too much", n, deaf)
	}
}

// TestMemoryOfPartialFrames: the received part of an incomplete frame counts too.
func TestMemoryOfPartialFrames(t *testing.T) {
	const many, part = 20, 40 << 10
	memory := budget.New(10*part, nil)
	w := startWithin(t, oneLoop, t.Output(), memory)
	head := []byte{0xff, 0xff, 0x03} // 65,535 bytes follow
	for i := range proto.UserID(many) {
		p := w.login(proto.User{ID: 100 + i, Name: "u" + strconv.Itoa(int(100+i))}, 1, proto.DialectCIM)
		_, _ = p.conn.Write(append(append([]byte{}, head...), make([]byte, part)...))
	}
	w.eventually("some ended", func() bool { return w.server.metrics.ends[proto.ReasonMemory].Get() > 0 })
	w.eventually("what is held is within the budget", func() bool { return memory.Held() <= memory.Limit() })
}

// TestMemoryOfLinks: a link whose route does not read ends, with a named reason,
// before it holds what one link may, and another link stays.
func TestMemoryOfLinks(t *testing.T) {
	memory := budget.New(1<<20, nil)
	w := startWithin(t, withSecret, t.Output(), memory)
	good := w.overTCP()
	before := w.server.links.all()
	deaf, err := w.dialLink(linkSecret, w.server.epoch) // without Run, so nothing is read
	if err != nil {
		t.Fatal(err)
	}
	defer deaf.Close()
	w.eventually("it is linked", func() bool { return len(w.server.links.all()) == 3 })
	var worst *linkEnd
	for _, l := range w.server.links.all() {
		if !slices.Contains(before, l) {
			worst = l
		}
	}
	names := []byte(strings.Repeat("n", 200))
	for deadline := time.Now().Add(patience); w.server.metrics.linksShed.Get() == 0; {
		if time.Now().After(deadline) {
			t.Fatalf("it lives though %d bytes wait on it", worst.conn.Waiting())
		}
		_ = worst.conn.Send(&proto.Record{Kind: proto.RecordDown, User: 1, Generation: 1, Name: names}) // ErrFull is as good
	}
	w.eventually("it has ended", func() bool { return len(w.server.links.all()) == 2 })
	if v := good.grant(bob, 1, false); v != proto.VerdictTaken {
		t.Errorf("over the other link: %v", v)
	}
	good.conn.Close()
}
