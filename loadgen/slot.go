package loadgen

import (
	"strings"
	"sync"
	"sync/atomic"

	"cim/proto"
)

// excusedMax bounds the refused messages that one slot remembers, past which
// they count as lost.
const excusedMax = 1 << 16

// verdict is what became of a message, as its sender was told.
type verdict uint8

const (
	delivered verdict = iota
	stored            // kept for later: owed all the same
	refused           // for load; nothing was kept, nothing is owed
	unknown           // an error or silence: it may arrive or not
)

// slot is one sender of a trial. Its messages are numbered from 0.
type slot struct {
	// Fixed.
	index     uint32
	sender    *client
	receiver  *client // nil: everybody else
	receivers int     // how many that is
	bodyTail  string  // what follows the text in each of its deliveries, before the text's id
	v1Head    string  // what precedes the text in the text field of dialect v1
	windowed  bool    // the sender waits until all have received

	// sent counts messages: one that was never sent cannot arrive. Written by
	// the sending goroutine.
	sent atomic.Uint32
	// left is how many receivers the last message still lacks; the one that
	// takes it to 0 fills received. Windowed only.
	left     atomic.Int64
	received chan struct{} // capacity 1

	// answered brings the outcome of the one SEND that its sender waits for.
	answered chan answer // capacity 1

	// buf is the sending goroutine's.
	buf []byte

	mu       sync.Mutex
	verdicts [unknown + 1]int
	excused  map[uint32]struct{} // sequences refused or unknown; len <= excusedMax
	waiting  map[uint32]struct{} // sequences of SENDs without an outcome yet; nil: the sender waits for each
}

// answer is the outcome of one SEND.
type answer struct {
	sequence uint32
	verdict  verdict
}

func newSlot(index int, sender, receiver *client, receivers int) *slot {
	return &slot{
		index: uint32(index), sender: sender, receiver: receiver, receivers: receivers,
		bodyTail: bodyTail(sender.user), v1Head: sender.user.Name + ":",
		received: make(chan struct{}, 1), answered: make(chan answer, 1),
		excused: make(map[uint32]struct{}),
	}
}

// receiverID is 0 for everybody, as in a SEND.
func (s *slot) receiverID() proto.UserID {
	if s.receiver == nil {
		return 0
	}
	return s.receiver.user.ID
}

// mark is a text's place in a body: long enough that nothing else can be it.
var mark = strings.Repeat("~", TextMin)

// bodyHead is what precedes a text of n bytes in the frame of a delivery.
func bodyHead(n int) string {
	text := strings.Repeat("~", n)
	body := proto.AppendSentBody(nil, 1, "", 0, []byte(text))
	head, _, _ := strings.Cut(string(body), text)
	return head
}

// textIDSize is the length of a text's id, which ends the body of a delivery.
const textIDSize = 8

// bodyTail is what follows a text of sender in the body of a delivery, up to
// the text's id, which only the system under test knows.
func bodyTail(sender proto.User) string {
	body := proto.AppendSentBody(nil, sender.ID, sender.Name, 1, []byte(mark))
	_, tail, _ := strings.Cut(string(body), mark)
	return tail[:len(tail)-textIDSize]
}

// credit counts one more receiver of the message with this sequence. The
// lane of the receiver calls it.
func (s *slot) credit(sequence uint32) {
	if sequence+1 != s.sent.Load() || s.left.Add(-1) != 0 {
		return
	}
	select {
	case s.received <- struct{}{}:
	default:
	}
}

// count counts what became of a message that left no number behind.
func (s *slot) count(v verdict) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.verdicts[v]++
}

// file counts what became of a message. One that is not owed is excused.
func (s *slot) file(sequence uint32, v verdict) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.verdicts[v]++
	if (v == refused || v == unknown) && len(s.excused) < excusedMax {
		s.excused[sequence] = struct{}{}
	}
}

func (s *slot) addVerdicts(r *Trial) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r.Delivered += s.verdicts[delivered]
	r.Stored += s.verdicts[stored]
	r.Refused += s.verdicts[refused]
	r.Unknown += s.verdicts[unknown]
}

// await notes that a SEND has no outcome yet, and settle that it has one;
// false: it had none to wait for.
func (s *slot) await(sequence uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waiting[sequence] = struct{}{}
}

func (s *slot) settle(sequence uint32) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, was := s.waiting[sequence]
	delete(s.waiting, sequence)
	return was
}

func (s *slot) unanswered() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.waiting)
}

func (s *slot) isExcused(sequence uint32) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, is := s.excused[sequence]
	return is
}

// excusedFrom counts the excused sequences from next on.
func (s *slot) excusedFrom(next uint32) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for sequence := range s.excused {
		if sequence >= next {
			n++
		}
	}
	return n
}
