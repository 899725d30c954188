package loadgen

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"
)

// TestPace: every message once, in order, never early, each with its time.
func TestPace(t *testing.T) {
	clock, err := newClock()
	if err != nil {
		t.Fatal(err)
	}
	const rate, want = 2000, 200
	begin := clock.now() + int64(5*time.Millisecond)
	trial := &trial{begin: begin, end: begin + want*int64(time.Second)/rate}
	sent := 0
	trial.rate = rate
	err = pace(t.Context(), clock, trial, Constant.times(trial, 1), func(i int, due int64) {
		if i != sent || due != begin+int64(i)*int64(time.Second)/rate {
			t.Errorf("message %d due at %d, want %d", i, due-begin, sent)
		}
		if now := clock.now(); now < due {
			t.Errorf("message %d is %d ns early", i, due-now)
		}
		sent++
	})
	if err != nil || sent != want {
		t.Errorf("%d messages, want %d: %v", sent, want, err)
	}
}

func TestPaceCancel(t *testing.T) {
	clock, err := newClock()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	enough := errors.New("enough")
	trial := &trial{begin: clock.now(), end: clock.now() + int64(time.Hour)}
	trial.rate = 1
	err = pace(ctx, clock, trial, Constant.times(trial, 1), func(int, int64) { cancel(enough) })
	if !errors.Is(err, enough) {
		t.Errorf("error %v, want %v", err, enough)
	}
}

// TestPaceBehind: the end of a run is seen by a pacer that is far behind too.
func TestPaceBehind(t *testing.T) {
	clock, err := newClock()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	enough := errors.New("enough")
	trial := &trial{end: clock.now()} // of messages that all were due long ago
	trial.rate = 1000
	sent := 0
	err = pace(ctx, clock, trial, Constant.times(trial, 1), func(int, int64) {
		if sent++; sent == 5 {
			cancel(enough)
		}
	})
	if !errors.Is(err, enough) || sent != 5 {
		t.Errorf("%d sent: %v, want %v", sent, err, enough)
	}
}

// TestGiveUp: messages that still wait once Drain has passed since the trial's end are not sent,
// and count as unsent.
func TestGiveUp(t *testing.T) {
	clock, err := newClock()
	if err != nil {
		t.Fatal(err)
	}
	f := &fleet{cfg: Config{Drain: time.Second}, clock: clock, faults: new(faults)}
	s := newSlot(0, 0, &client{}, nil)
	end := clock.now() - int64(time.Second) - 1
	trial := &trial{begin: end - int64(time.Second), end: end, slots: []*slot{s}, load: load{rate: 7}}
	if err := f.rateByConn(t.Context(), trial); err != nil || trial.unsent != 7 || s.sent.Load() != 0 {
		t.Errorf("%d unsent, %d sent: %v", trial.unsent, s.sent.Load(), err)
	}
}

// TestQueueBound fills the queue of one connection and goes one past it.
func TestQueueBound(t *testing.T) {
	trial := new(trial)
	queue := make(chan job, queueMax)
	for range queueMax {
		trial.enqueue(queue, job{})
	}
	if trial.unsent != 0 {
		t.Fatalf("%d unsent within the bound", trial.unsent)
	}
	trial.enqueue(queue, job{})
	if trial.unsent != 1 {
		t.Errorf("%d unsent one past the bound, want 1", trial.unsent)
	}
}

// TestAbreast: workers that send at once fill each other's gaps.
func TestAbreast(t *testing.T) {
	const rate, workers = 100, 4
	var due []int64
	for place := range workers {
		trial := &trial{begin: 500, place: place, abreast: workers, load: load{rate: rate}}
		at := Constant.times(trial, 1)
		for i := range 3 {
			due = append(due, at(i)-trial.begin)
		}
	}
	slices.Sort(due)
	for i, at := range due {
		if want := int64(i) * int64(time.Second) / (rate * workers); at != want {
			t.Errorf("message %d is due at %d, want %d", i, at, want)
		}
	}
}

// TestPoisson: the same times for one seed, never going back, with the mean and
// the spread of an exponential distribution.
func TestPoisson(t *testing.T) {
	const rate, n = 1000, 20_000
	trial := &trial{id: 7, begin: 500, load: load{rate: rate}}
	due, again := Poisson.times(trial, 3), Poisson.times(trial, 3)
	last, squares := trial.begin, 0.0
	for i := range n {
		at := due(i)
		if at != again(i) || at < last {
			t.Fatalf("message %d is due at %d, after %d", i, at, last)
		}
		gap := float64(at-last) * rate / float64(time.Second)
		squares += gap * gap
		last = at
	}
	mean := float64(last-trial.begin) / n * rate / float64(time.Second)
	if squares /= n; mean < 0.97 || mean > 1.03 || squares < 1.9 || squares > 2.1 {
		t.Errorf("mean %v, mean of squares %v, want 1 and 2", mean, squares)
	}
}
