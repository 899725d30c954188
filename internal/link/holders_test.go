package link

import (
	"errors"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"cim/proto"
)

// looks makes that many checks, as a budget does, and returns the results of the
// last.
func looks(h *Holders, times int) (sum, largest int64) {
	for range times {
		time.Sleep(100 * time.Millisecond)
		sum, _, largest = h.Held()
	}
	return sum, largest
}

// piped is an end over a connection of which only the test reads.
func piped(t *testing.T, h *Holders, shed func()) (end *Conn, other net.Conn) {
	ours, theirs := net.Pipe()
	c := newSocket(ours, 8<<20)
	t.Cleanup(func() {
		c.Abort(nil)
		_ = theirs.Close()
	})
	h.Add(c, shed)
	return c, theirs
}

// TestHoldersUntaken: all queued bytes count at once, but an end is closed only for
// bytes that its other end has not taken for a while. Then it ends with ErrMemory,
// and none of them arrives.
func TestHoldersUntaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var h Holders
		shed := 0
		count := func() { shed++ }
		more, _ := piped(t, &h, count)
		less, _ := piped(t, &h, count)
		most := int64(0)
		for range 64 { // 4 MiB
			send(t, more, text(1, 64<<10))
			most += int64(proto.RecordSize(text(1, 64<<10)))
		}
		send(t, less, text(1, 1<<10))
		synctest.Wait()
		sum, largest := looks(&h, 1)
		if sum < most || sum > 2*most || largest != 0 {
			t.Errorf("at once %d are held, %d of them by who gives way; want %d and none", sum, largest, most)
		}
		if sum, fresh, _ := h.Held(); fresh != sum {
			t.Errorf("%d of %d bytes of a burst are fresh, want all", fresh, sum)
		}
		for range 100 { // checks without time between them do not count
			_, _, largest = h.Held()
		}
		if largest != 0 || h.Shed(1, 0) || shed != 0 {
			t.Errorf("a burst counts as %d bytes that are not taken, %d ended", largest, shed)
		}
		if _, largest = looks(&h, 2*untakenLooks); largest < most/2 || largest > most {
			t.Errorf("then %d are not taken, want %d at most and half at least", largest, most)
		}
		if sum, fresh, _ := h.Held(); fresh > sum-largest || fresh < 0 {
			t.Errorf("%d of %d bytes are fresh, and %d are not taken", fresh, sum, largest)
		}
		ended, asked := running(t.Context(), more, refuse), time.Now()
		if !h.Shed(1, 0) || shed != 1 {
			t.Fatalf("%d ended, want the one that holds more", shed)
		}
		if err := <-ended; !errors.Is(err, ErrMemory) {
			t.Errorf("it ended for %v", err)
		}
		if took := time.Since(asked); took != 0 {
			t.Errorf("it went on for %v", took)
		}
		if !errors.Is(more.Send(text(1, 1)), ErrClosed) || less.Send(text(1, 1)) != nil {
			t.Error("want the one that holds more ended, and the other not")
		}
		if sum, _, _ := h.Held(); sum > 64<<10 {
			t.Errorf("%d are held by the rest", sum)
		}
		if !h.Shed(1<<30, 1<<30) || shed != 2 {
			t.Errorf("%d ended, want the first also if it holds less than the floor", shed)
		}
	})
}

// TestHoldersTaken: an end whose other end takes its bytes is never closed, however
// many they are.
func TestHoldersTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var h Holders
		c, other := piped(t, &h, func() { t.Error("it gave way") })
		go func() {
			buf := make([]byte, 4<<20)
			for {
				time.Sleep(20 * time.Millisecond)
				if _, err := other.Read(buf); err != nil {
					return
				}
			}
		}()
		for range 20 {
			for range 10 {
				send(t, c, text(1, 60<<10))
			}
			if _, largest := looks(&h, 1); largest != 0 {
				t.Fatalf("%d bytes count as not taken", largest)
			}
		}
	})
}

// TestHoldersShedInOrder: the largest holders go first, none below the floor, and
// no more than necessary.
func TestHoldersShedInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, c := range []struct {
			bytes, floor int64
			want         int
		}{{1, 0, 1}, {302 << 10, 0, 2}, {1 << 30, 0, 3}, {1 << 30, 150 << 10, 2}, {0, 0, 0}} {
			var h Holders
			shed := 0
			for _, size := range []int{200 << 10, 100 << 10, 300 << 10} {
				end, _ := piped(t, &h, func() { shed++ })
				for sent := 0; sent < size; sent += 50 << 10 {
					send(t, end, text(1, 50<<10))
				}
				synctest.Wait() // the first is a segment of its own
			}
			looks(&h, 3*untakenLooks)
			h.Shed(c.bytes, c.floor)
			if shed != c.want {
				t.Errorf("%d bytes, floor %d: %d ended, want %d", c.bytes, c.floor, shed, c.want)
			}
		}
	})
}

// TestHoldersInProcess: queued bytes within the process count until their reader
// has handled them, and never end the link.
func TestHoldersInProcess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var h Holders
		a, b := Pair(8 << 20)
		remove := h.Add(a, func() { t.Error("it gave way") })
		send(t, a, text(1, 60<<10))
		release := make(chan struct{})
		ended := running(t.Context(), b, func(*proto.Record) error { <-release; return nil })
		for _, at := range []string{"waits", "is read"} {
			synctest.Wait()
			if sum, largest := looks(&h, 3*untakenLooks); sum < 60<<10 || largest != 0 || h.Shed(1, 0) {
				t.Errorf("while it %s %d are held, %d by who gives way", at, sum, largest)
			}
		}
		close(release)
		synctest.Wait()
		if sum, _, _ := h.Held(); sum != 0 {
			t.Errorf("%d are held when all has been read", sum)
		}
		b.Close()
		<-ended
		send1 := a.Send(text(1, 1))
		remove()
		if sum, _, _ := h.Held(); sum != 0 || !errors.Is(send1, ErrClosed) {
			t.Errorf("%d are held by an end that was removed", sum)
		}
	})
}
