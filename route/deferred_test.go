package route

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"cim/internal/link"
	"cim/proto"
)

// pushed runs the deferred part of a, and waits for its end.
func (a answer) pushed() answer {
	if a.deferred != nil {
		return a.deferred.run()
	}
	return a
}

// TestAskThen: the function is called once: with the answer, with errSilence after askTimeout, or
// at once if there is nothing to wait for.
func TestAskThen(t *testing.T) {
	for name, c := range map[string]struct {
		room  int // bytes of the link
		do    func(s *stream)
		after time.Duration
		want  error
	}{
		"answered": {linkBytes, func(s *stream) { answerTo(s, &proto.Record{ID: 1, Verdict: proto.VerdictTaken}) }, 0, nil},
		"silent":   {linkBytes, func(*stream) {}, askTimeout, errSilence},
		"suspect":  {linkBytes, (*stream).becomeSuspect, 0, errSilence},
		"ended":    {linkBytes, (*stream).end, 0, errLinkDown},
		"full":     {proto.RecordSize(push()) - 1, func(*stream) {}, 0, errLinkFull},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				near, far := link.Pair(c.room)
				defer far.Close()
				s, began := newStream(near), time.Now()
				var came []reply
				var at time.Duration
				s.askThen(push(), func(answer reply) { came, at = append(came, answer), time.Since(began) })
				c.do(s)
				time.Sleep(askTimeout + time.Second)
				synctest.Wait()
				if len(came) != 1 || !errors.Is(came[0].err, c.want) || at != c.after {
					t.Errorf("%+v after %v, want %v after %v", came, at, c.want, c.after)
				}
				if answerTo(s, &proto.Record{ID: 1}) || len(s.waiting) != 0 {
					t.Error("it still waits")
				}
			})
		})
	}
}

// TestAskThenRefused: a stream that has ended, or whose server is suspect, is asked
// nothing.
func TestAskThenRefused(t *testing.T) {
	for want, before := range map[error]func(*stream){errLinkDown: (*stream).end, errSilence: (*stream).becomeSuspect} {
		near, far := link.Pair(linkBytes)
		s := newStream(near)
		before(s)
		called := 0
		s.askThen(push(), func(answer reply) {
			if called++; !errors.Is(answer.err, want) {
				t.Errorf("%v, want %v", answer.err, want)
			}
		})
		if called != 1 || near.Waiting() != 0 {
			t.Errorf("%v: called %d times, %d bytes wait", want, called, near.Waiting())
		}
		far.Close()
	}
}

// TestPrivateSideBySide: many private messages at once over many connections, some of which must be
// stored, each get the right answer.
func TestPrivateSideBySide(t *testing.T) {
	w := newWorld(t, 1)
	ann, ben, off := w.online("ann", true), w.online("ben", true), w.account("off")
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for i := range 25 {
				receiver, want := ben, proto.CodeSuccess
				if i%5 == 0 {
					receiver, want = off, proto.CodeOffline
				}
				if _, a, err := w.try("POST", proto.PathPrivate, privateRequest(ann.ID, receiver.ID, fmt.Sprint(i))); err != nil || a.Code != proto.Number(want) {
					t.Errorf("message %d: %+v (%v), want %v", i, a, err, want)
				}
			}
		})
	}
	all.Wait()
	if got := len(w.servers[1].texts(ben.ID)); got != 8*20 {
		t.Errorf("ben got %d texts", got)
	}
	if got := len(w.boxed(off.ID)); got != 8*5 {
		t.Errorf("%d texts are stored", got)
	}
}
