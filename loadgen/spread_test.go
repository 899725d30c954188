package loadgen

import (
	"context"
	"strings"
	"testing"
)

// TestSpreads follows messages to their last receiver, and gives up one whose place a later one has
// taken.
func TestSpreads(t *testing.T) {
	s := &spreads{receivers: 3}
	add := func(sequence uint32, n int, first, last, want int64) {
		t.Helper()
		got := int64(-1)
		if whole := s.add(sequence, n, first, last); whole != nil {
			got = whole.last - whole.first
		}
		if got != want {
			t.Errorf("message %d from %d to %d: skew %d, want %d", sequence, first, last, got, want)
		}
	}
	add(0, 1, 100, 100, -1)
	add(1, 2, 110, 140, -1)
	add(0, 1, 130, 130, -1)
	add(0, 1, 90, 90, 40) // loops and processes report in any order
	add(1+spreadsMax, 1, 400, 400, -1)
	add(1, 1, 401, 401, -1)
	add(1+spreadsMax, 2, 399, 402, 3)
	add(1, 1, 403, 403, -1)
	add(2*spreadsMax-1, 3, 500, 501, 1)
}

// TestJoin joins the receipts of two slots: only measured messages are in the skew, and each
// message is whole once.
func TestJoin(t *testing.T) {
	j := newJoin(2, 5)
	for _, c := range []struct {
		receipt
		last int64
	}{
		{receipt{0, 0, 2, 1000, 2000, true}, 0},
		{receipt{1, 0, 4, 1000, 9000, false}, 0},
		{receipt{0, 0, 3, 900, 1500, true}, 2000},
		{receipt{1, 0, 1, 1000, 1000, false}, 9000},
		{receipt{1, 1, 5, 7000, 7000, true}, 7000},
	} {
		if last, whole := j.add(c.receipt); last != c.last || whole != (c.last > 0) {
			t.Errorf("%+v: %d, %t", c, last, whole)
		}
	}
	if j.whole != 3 || j.skew.TotalCount() != 2 || j.skew.Max() < 1100 || j.skew.Max() > 1101 {
		t.Errorf("%d whole, %d measured, skew up to %d", j.whole, j.skew.TotalCount(), j.skew.Max())
	}
}

// TestUnfollowed: messages that are in no skew are counted, and a warning comes above a share.
func TestUnfollowed(t *testing.T) {
	for whole, want := range map[int]struct{ unfollowed, warnings int }{1000: {0, 0}, 999: {1, 0}, 990: {10, 0}, 989: {11, 1}, 1001: {0, 0}} {
		j, k, r := newJoin(0, 0), newHistograms(), Trial{}
		j.whole = whole
		j.addTo(&r, k, 1000)
		if r.Unfollowed != want.unfollowed || len(r.Warnings) != want.warnings {
			t.Errorf("%d of 1000: %d, %q", whole, r.Unfollowed, r.Warnings)
		}
	}
}

// TestFollow has two event loops follow a message of a window: the sender gets its credit when the
// last client of both has it, and not for a message before its last.
func TestFollow(t *testing.T) {
	s := newSlot(0, 0, &client{}, nil)
	s.windowed = true
	trial := &trial{slots: []*slot{s}, join: newJoin(1, 3)}
	a, b := &eventLoop{trial: trial, tally: newTally(1)}, &eventLoop{trial: trial, tally: newTally(1)}
	a.tally.spreads[0].receivers, b.tally.spreads[0].receivers = 2, 1
	hear := func(l *eventLoop, sequence uint32, credited bool) {
		t.Helper()
		l.arrival += 10
		l.follow(s, sequence, true)
		select {
		case <-s.received:
			if !credited {
				t.Errorf("the credit of message %d came too early", sequence)
			}
		default:
			if credited {
				t.Errorf("there is no credit for message %d", sequence)
			}
		}
	}
	s.sent.Store(1)
	hear(a, 0, false)
	hear(b, 0, false)
	hear(a, 0, true)
	s.sent.Store(3) // the message between them was refused, and arrived nevertheless
	for _, sequence := range []uint32{1, 2} {
		hear(b, sequence, false)
		hear(a, sequence, false)
		hear(a, sequence, sequence == 2)
	}
	if n := trial.join.skew.TotalCount(); n != 3 {
		t.Errorf("skew of %d messages", n)
	}
}

// TestReporterBound fills the waiting receipts to their bound and one past it: add never waits for
// the parent.
func TestReporterBound(t *testing.T) {
	teller := newReceiptReporter(0, nil)
	for range receiptsMax + 1 {
		teller.add(receipt{})
	}
	if len(teller.waiting) != receiptsMax || len(teller.bell) != 1 {
		t.Errorf("%d wait", len(teller.waiting))
	}
}

// TestCredit: credits come to the trial that runs, and to no other.
func TestCredit(t *testing.T) {
	clock, err := newClock()
	if err != nil {
		t.Fatal(err)
	}
	s := newSlot(0, 0, &client{}, nil)
	s.sent.Store(5)
	running := &trial{slots: []*slot{s}, reporter: newReceiptReporter(3, clock), start: 100}
	w := &worker{orders: make(chan order)}
	listen := func(lines string) bool {
		w.orders = make(chan order)
		w.listen(t.Context(), strings.NewReader(lines))
		select {
		case <-s.received:
			return true
		default:
			return false
		}
	}
	const line = `{"credits":{"trial":3,"credits":[{"slot":0,"sequence":4,"last":100}]}}` + "\n"
	if listen(line) {
		t.Error("a credit came to a trial that does not run")
	}
	w.sending.Store(running)
	for text, want := range map[string]bool{
		line:                                    true,
		strings.Replace(line, "4", "3", 1):      false,
		strings.Replace(line, ":3", ":2", 1):    false,
		strings.Replace(line, ":100", ":99", 1): true,
	} {
		if got := listen(text); got != want {
			t.Errorf("%s: %t", text, got)
		}
	}
	if n := running.reporter.credits.TotalCount(); n != 2 {
		t.Errorf("%d credits of the measured time, want 2", n)
	}
}

// unknowing is a way whose outcomes are all unknown.
type unknowing struct{}

func (unknowing) post(context.Context, *slot, uint32, []byte) Outcome { return Unknown }

// TestSharedWindowBound: workers can share a bounded number of group messages, and a sender ends
// there; messages within one worker have no such bound.
func TestSharedWindowBound(t *testing.T) {
	clock, err := newClock()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		receiver   *client
		left, sent uint32
		faults     int
	}{
		{nil, 1, 1, 0}, {nil, 0, 0, 1}, {&client{}, 0, 1, 0},
	} {
		f := &fleet{cfg: Config{Mode: Mixed, worker: &worker{of: 2}}, clock: clock, faults: new(faults)}
		trial := &trial{load: load{window: 4}, sizes: OneSize(TextMin), end: 1 << 62}
		s := newSlot(0, 0, &client{}, c.receiver)
		before := uint32(sharedMax/4) - c.left
		s.sent.Store(before)
		f.keepOne(t.Context(), trial, s, unknowing{})
		if n, _ := f.faults.take(); n != c.faults || s.sent.Load()-before != c.sent {
			t.Errorf("%+v: %d faults, %d sent", c, n, s.sent.Load()-before)
		}
	}
}
