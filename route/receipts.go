package route

import (
	"context"
	"sync"
	"time"

	"cim/proto"
)

const (
	// receiptsMax bounds the messages whose senders wait for a receipt. One more is refused as
	// busy, before it is pushed.
	receiptsMax = 64 << 10
	// receiptTimeout is the longest time from push to receipt. A live server settles it within two
	// seconds: a text that is not acknowledged after one second is put into the box.
	receiptTimeout = 5 * time.Second
)

// receipts are the pushed messages whose senders want a receipt. Each has a number, which goes with
// its pushes and comes back with the server's receipt. Any goroutine may call the methods; none
// blocks.
type receipts struct {
	mu   sync.Mutex
	last uint64
	open map[uint64]*receipt // <= receiptsMax
}

// receipt is the state of a message that has a receipt number and is not settled.
type receipt struct {
	outcome proto.Outcome       // what the server has said; 0: nothing yet
	via     *stream             // that the message was taken over; nil: it is still being pushed
	then    func(proto.Outcome) // called once
	timer   *time.Timer         // settles it as unknown
}

func newReceipts() *receipts { return &receipts{open: map[uint64]*receipt{}} }

// start returns the number of a new receipt, or 0 if there is no room. It is
// ended by forget, or by await.
func (rs *receipts) start() uint64 {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	if len(rs.open) >= receiptsMax {
		return 0
	}
	rs.last++
	rs.open[rs.last] = &receipt{}
	return rs.last
}

// forget drops the receipt of a message that was not pushed.
func (rs *receipts) forget(number uint64) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	delete(rs.open, number)
}

// await calls then once: with what the server says, which may have come
// already, or with OutcomeUnknown after receiptTimeout, or when the stream that
// the message was taken over ends. then must not block.
func (rs *receipts) await(number uint64, over *stream, then func(proto.Outcome)) {
	rs.mu.Lock()
	waiting := rs.open[number]
	if waiting.outcome != 0 {
		delete(rs.open, number)
		rs.mu.Unlock()
		then(waiting.outcome)
		return
	}
	waiting.via, waiting.then = over, then
	waiting.timer = time.AfterFunc(receiptTimeout, func() { rs.settle(number, proto.OutcomeUnknown) })
	rs.mu.Unlock()
}

// settle gives an outcome to its receipt, and reports whether there is such a receipt.
func (rs *receipts) settle(number uint64, outcome proto.Outcome) bool {
	rs.mu.Lock()
	waiting := rs.open[number]
	if waiting == nil {
		rs.mu.Unlock()
		return false
	}
	if waiting.then == nil {
		waiting.outcome = outcome
		rs.mu.Unlock()
		return true
	}
	delete(rs.open, number)
	rs.mu.Unlock()
	waiting.timer.Stop()
	waiting.then(outcome)
	return true
}

// drainReceipts is how long a drain waits for receipts.
const drainReceipts = 2 * time.Second

// drain waits until no receipt is awaited, for drainReceipts at most and until ctx ends, then
// settles the others as unknown.
func (rs *receipts) drain(ctx context.Context) {
	ctx, stop := context.WithTimeout(ctx, drainReceipts)
	defer stop()
	for rs.waiting() > 0 && ctx.Err() == nil {
		sleep(ctx, drainReceipts/100)
	}
	rs.settleAll(func(*receipt) bool { return true })
}

// streamEnded settles what was taken over a stream that has ended: its server may have
// ended with it.
func (rs *receipts) streamEnded(over *stream) {
	rs.settleAll(func(waiting *receipt) bool { return waiting.via == over })
}

// settleAll settles as unknown all awaited receipts for which so is true.
func (rs *receipts) settleAll(so func(*receipt) bool) {
	rs.mu.Lock()
	var numbers []uint64
	for number, waiting := range rs.open {
		if waiting.then != nil && so(waiting) {
			numbers = append(numbers, number)
		}
	}
	rs.mu.Unlock()
	for _, number := range numbers {
		rs.settle(number, proto.OutcomeUnknown)
	}
}

// waiting is how many are open.
func (rs *receipts) waiting() int {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	return len(rs.open)
}
