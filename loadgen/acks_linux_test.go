package loadgen

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"cim/proto"
)

// hearer is a client that acknowledges, with one private slot, and the server's
// end of its connection.
type hearer struct {
	*testing.T
	loop   *eventLoop
	client *client
	slot   *slot
	server int // descriptor
}

func newHearer(t *testing.T) *hearer {
	t.Helper()
	ends, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, end := range ends {
			_ = syscall.Close(end)
		}
	})
	l, c, _ := heard(t, 1)
	s := newSlot(9, 0, &client{user: proto.User{ID: 77, Name: "load-1-0-9"}}, c)
	s.sent.Store(1 << 20)
	l.trial.slots, l.trial.groupSlots = []*slot{s}, 0
	c.next, c.privateSlot, c.copies = nil, 0, new(copies)
	own(c).dialect, own(c).want, own(c).acks.asked = proto.DialectCIM, proto.WantReceived, true
	c.opened(ends[0])
	return &hearer{t, l, c, s, ends[1]}
}

// body is a message to the client.
func (h *hearer) body(sequence uint32, id proto.TextID) []byte {
	text := appendText(nil, heading{9, 0, stamp{sequence: sequence}}, h.loop.trial.padding)
	return proto.AppendSentBody(nil, h.slot.sender.user.ID, h.slot.sender.user.Name, id, text)
}

func (h *hearer) receive(frame []byte) {
	h.Helper()
	h.loop.inbox.client = h.client
	if err := h.client.session.Receive(frame, &h.loop.inbox); err != nil {
		h.Fatal(err)
	}
}

func (h *hearer) bring(sequence uint32, id proto.TextID) {
	h.Helper()
	h.receive(proto.AppendCountedDelivery(nil, h.body(sequence, id), h.client.user.ID))
}

// acked are the numbers of the ACKs that the server has got since.
func (h *hearer) acked() (numbers []uint64) {
	h.Helper()
	var read [1024]byte
	n, err := syscall.Read(h.server, read[:])
	if err == syscall.EAGAIN {
		return nil
	}
	if err != nil {
		h.Fatal(err)
	}
	for rest := read[:n]; len(rest) > 0; {
		frame, size, _ := proto.NextFrame(rest, proto.FrameMax)
		var v proto.View
		if reason := v.Parse(frame); reason != proto.ReasonNone || v.Command != proto.CommandAck {
			h.Fatalf("command %d, %s", v.Command, reason)
		}
		numbers = append(numbers, v.MessageID)
		rest = rest[size:]
	}
	return numbers
}

func (h *hearer) wantAcked(numbers ...uint64) {
	h.Helper()
	if got := h.acked(); fmt.Sprint(got) != fmt.Sprint(numbers) {
		h.Errorf("acknowledged %v, want %v", got, numbers)
	}
}

// TestAcknowledge acknowledges after 32 texts, after 32 KiB, and after a pause, and counts each
// text of a page, but no group message and no login answer.
func TestAcknowledge(t *testing.T) {
	h := newHearer(t)
	h.receive(proto.AppendLoginAnswer(nil, proto.LoginAnswer{User: h.client.user.ID, Generation: 1, Heartbeat: 30, Ack: true}))
	h.receive(proto.AppendDelivery(nil, h.body(0, 1), h.client.user.ID)) // does not count
	for sequence := range uint32(31) {
		h.bring(sequence+1, proto.TextID(sequence+2))
	}
	h.wantAcked()
	h.bring(32, 33)
	h.wantAcked(32)

	page := proto.Message{Command: proto.CommandOffline, Properties: []proto.Property{
		{Key: proto.PropertySenderID, Value: "77"}, {Key: proto.PropertySenderName, Value: h.slot.sender.user.Name},
	}}
	for sequence := uint32(33); sequence < 36; sequence++ {
		page.Batch = append(page.Batch, string(appendText(nil, heading{9, 0, stamp{sequence: sequence}}, h.loop.trial.padding)))
		page.IDs = append(page.IDs, proto.TextID(100+sequence))
	}
	h.receive(proto.AppendCountedDelivery(nil, proto.AppendBody(nil, page), h.client.user.ID))
	h.loop.acknowledge(int64(ackPause) - 1)
	h.wantAcked()
	h.loop.acknowledge(int64(ackPause))
	h.wantAcked(35)
	h.loop.acknowledge(int64(time.Hour))
	h.wantAcked()

	page.Batch, page.IDs = []string{strings.Repeat("x", ackBytes)}, []proto.TextID{1}
	h.receive(proto.AppendCountedDelivery(nil, proto.AppendBody(nil, page), h.client.user.ID))
	h.wantAcked(36)
	if tally := h.loop.tally; tally.received != 36 || tally.offline != 3 || tally.corrupt != 1 || h.loop.faults.count != 0 {
		t.Errorf("received %d, offline %d, corrupt %d, %+v", tally.received, tally.offline, tally.corrupt, h.loop.faults)
	}
}

// TestDuplicates distinguishes a second copy under a text's id from a real double, and acknowledges
// both.
func TestDuplicates(t *testing.T) {
	h := newHearer(t)
	h.bring(0, 5)
	h.bring(1, 6)
	h.bring(0, 5) // again
	h.bring(1, 7) // under another id
	if tally := h.loop.tally; tally.received != 2 || tally.duplicates != 1 || tally.doubled != 1 {
		t.Errorf("received %d, duplicates %d, doubled %d, want 2, 1 and 1", tally.received, tally.duplicates, tally.doubled)
	}
	for sequence := uint32(2); sequence < 2+copiesKept; sequence++ {
		h.bring(sequence, proto.TextID(sequence)+5)
	}
	h.acked()
	h.bring(1, 6) // no longer remembered
	if tally := h.loop.tally; tally.duplicates != 1 || tally.doubled != 2 {
		t.Errorf("duplicates %d, doubled %d, want 1 and 2", tally.duplicates, tally.doubled)
	}
	h.loop.acknowledge(int64(time.Hour))
	h.wantAcked(2 + copiesKept + 3)
}

// TestAcknowledgeAllocates: a delivery that counts allocates nothing.
func TestAcknowledgeAllocates(t *testing.T) {
	h := newHearer(t)
	const rounds = 200
	var frames [][]byte
	for sequence := range uint32(rounds + 1) {
		frames = append(frames, proto.AppendCountedDelivery(nil, h.body(sequence, 9), h.client.user.ID))
	}
	h.receive(frames[0])
	next := 1
	if n := testing.AllocsPerRun(rounds-1, func() { h.receive(frames[next]); next++ }); n != 0 {
		t.Errorf("%v allocations a delivery", n)
	}
	h.acked()
}

// TestNoAcks ends a login whose session does not acknowledge.
func TestNoAcks(t *testing.T) {
	h := newHearer(t)
	h.receive(proto.AppendLoginAnswer(nil, proto.LoginAnswer{User: h.client.user.ID, Generation: 1, Heartbeat: 30}))
	select {
	case err := <-h.client.loggedIn:
		if err == nil || !strings.Contains(err.Error(), "acknowledgements are not granted") {
			t.Errorf("login: %v", err)
		}
	default:
		t.Error("the login goes on")
	}
}
