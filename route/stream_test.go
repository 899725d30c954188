package route

import (
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"cim/internal/link"
	"cim/proto"
)

func push() *proto.Record { return &proto.Record{Kind: proto.RecordPush, User: 1} }

// TestAsksMax: asksMax records may wait for their answers, and one more is refused as full;
// broadcasts have their own bound.
func TestAsksMax(t *testing.T) {
	near, far := link.Pair(linkBytes)
	defer far.Close()
	s := newStream(near)
	var asks []*ask
	for range asksMax {
		a, err := s.start(push())
		if err != nil {
			t.Fatal(err)
		}
		asks = append(asks, a)
	}
	if answer := s.ask(push()); !errors.Is(answer.err, errLinkFull) || answer.outcome() != proto.VerdictBusy {
		t.Errorf("one too many: %+v", answer)
	}
	broadcast, err := s.start(&proto.Record{Kind: proto.RecordBroadcast})
	if err != nil {
		t.Errorf("broadcast: %v", err)
	}
	for _, a := range append(asks, broadcast) {
		s.giveUp(a)
	}
	a, err := s.start(push())
	if err != nil {
		t.Fatalf("after all have gone: %v", err)
	}
	s.giveUp(a)
	if len(s.waiting) != 0 {
		t.Errorf("%d still wait", len(s.waiting))
	}
}

// TestAskLinkFull: a link without room is busy, and the ask does not stay.
func TestAskLinkFull(t *testing.T) {
	near, far := link.Pair(proto.RecordSize(push()))
	defer far.Close()
	s := newStream(near)
	a, err := s.start(push())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.start(push()); !errors.Is(err, errLinkFull) {
		t.Errorf("one byte over: %v", err)
	}
	if len(s.waiting) != 1 {
		t.Errorf("%d wait, want 1", len(s.waiting))
	}
	s.giveUp(a)
}

// TestAskAnswers: answers may come in any order, each goes to its own ask, and an answer without an
// ask does no harm.
func TestAskAnswers(t *testing.T) {
	near, far := link.Pair(linkBytes)
	defer far.Close()
	s := newStream(near)
	var asks []*ask
	for range 3 {
		a, err := s.start(push())
		if err != nil {
			t.Fatal(err)
		}
		asks = append(asks, a)
	}
	for _, i := range []int{2, 0, 1} {
		if !answerTo(s, &proto.Record{ID: asks[i].id, Verdict: proto.VerdictTaken, Value: uint64(i)}) {
			t.Errorf("ask %d was not waited for", i)
		}
	}
	if answerTo(s, &proto.Record{ID: asks[0].id}) || answerTo(s, &proto.Record{ID: 99}) {
		t.Error("an answer found an ask that was answered, or never was")
	}
	for i, a := range asks {
		if answer, ok := s.await(a, time.Second); !ok || answer.value != uint64(i) {
			t.Errorf("ask %d: %+v, %v", i, answer, ok)
		}
	}
}

// TestAskTimeout: silence is waited for exactly so long, and an answer in the
// last moment still counts.
func TestAskTimeout(t *testing.T) {
	for _, c := range []struct {
		after time.Duration
		want  string
	}{
		{askTimeout - time.Nanosecond, "taken"}, {askTimeout + time.Nanosecond, "silence"},
	} {
		synctest.Test(t, func(t *testing.T) {
			near, far := link.Pair(linkBytes)
			defer far.Close()
			s := newStream(near)
			time.AfterFunc(c.after, func() { s.answer(&proto.Record{ID: 1, Verdict: proto.VerdictTaken}) })
			if got := s.ask(push()).name(); got != c.want {
				t.Errorf("answered after %v: %s, want %s", c.after, got, c.want)
			}
			synctest.Wait()
			time.Sleep(time.Second) // of the bubble: the late answer comes
		})
	}
}

// TestStreamEnd: the end of a link answers all asks that wait, and all later ones.
func TestStreamEnd(t *testing.T) {
	near, far := link.Pair(linkBytes)
	defer far.Close()
	s := newStream(near)
	a, err := s.start(push())
	if err != nil {
		t.Fatal(err)
	}
	s.end()
	if answer, ok := s.await(a, patience); !ok || answer.name() != "down" || answer.outcome() != proto.VerdictAbsent {
		t.Errorf("a waiting ask: %+v", answer)
	}
	if answer := s.ask(push()); answer.name() != "down" {
		t.Errorf("a later ask: %+v", answer)
	}
}

// TestReplyOutcome: the verdict that a reply stands for.
func TestReplyOutcome(t *testing.T) {
	for _, c := range []struct {
		reply reply
		want  proto.Verdict
		name  string
	}{
		{reply{verdict: proto.VerdictStale}, proto.VerdictStale, "stale"},
		{reply{err: errSilence}, proto.VerdictAbsent, "silence"},
		{reply{err: errLinkDown}, proto.VerdictAbsent, "down"},
		{reply{err: errLinkFull}, proto.VerdictBusy, "full"},
	} {
		if got, name := c.reply.outcome(), c.reply.name(); got != c.want || name != c.name {
			t.Errorf("%+v: %v, %s", c.reply, got, name)
		}
	}
}

// TestFollowCluster: servers come and go with the registry; one without
// an epoch, which no link can name, is none of them.
func TestFollowCluster(t *testing.T) {
	w := newWorld(t, 2)
	defer w.stop() // before the cleanups of the servers that come later
	java := proto.Member{Host: "10.1.1.1", CIMPort: 1, HTTPPort: 1}
	if err := w.registry.Register(t.Context(), java); err != nil {
		t.Fatal(err)
	}
	w.servers[3] = newFakeServer(t, "10.0.0.3:11211:8081", 3)
	w.register(3)
	w.eventually("the third", func() bool { return len(w.route.cluster.servers().linked()) == 3 })
	if got := namesOf(w.route.cluster.servers().ours); !slices.Equal(got, []string{
		"10.0.0.1:11211:8081", "10.0.0.2:11211:8081", "10.0.0.3:11211:8081",
	}) {
		t.Errorf("servers %v", got)
	}
	w.servers[22] = newFakeServer(t, "10.0.0.2:11211:8081", 22) // before anything is dialled again
	w.deregister(2)
	w.servers[2].running.Wait() // its link was closed
	// The same name comes back as another run.
	w.register(22)
	w.eventually("another run", func() bool {
		s := w.route.cluster.server(22)
		return s != nil && s.linked() && w.route.cluster.server(2) == nil
	})
}

// TestRedial: a link that ends is dialled again while its server lives, and asks that waited on it
// are answered.
func TestRedial(t *testing.T) {
	w := newWorld(t, 1)
	ann := w.online("ann", false)
	for i := range 2 {
		w.servers[1].cut()
		w.eventually("another link", func() bool {
			return w.servers[1].dials() == i+2 && w.route.cluster.server(1).linked()
		})
		w.want(proto.CodeSuccess, proto.PathPrivate, privateRequest(ann.ID, ann.ID, "still there"))
	}
}

// TestJitter: a pause is between half and one and a half of its length, so that many routes spread.
func TestJitter(t *testing.T) {
	least, most := time.Hour, time.Duration(0)
	for range 1000 {
		got := jittered(time.Second)
		least, most = min(least, got), max(most, got)
	}
	if least < time.Second/2 || most >= 3*time.Second/2 || most-least < time.Second/2 {
		t.Errorf("pauses from %v to %v", least, most)
	}
}

// answerTo reports whether r was waited for.
func answerTo(s *stream, r *proto.Record) bool {
	waited, err := s.answer(r)
	return waited && err == nil
}
