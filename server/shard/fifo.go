package shard

// fifo is a queue that keeps its capacity when it is emptied; the capacity is at
// most about twice what it has held. Its owner bounds it.
type fifo[T any] struct {
	items []T
	head  int
}

func (f *fifo[T]) push(item T) {
	if len(f.items) == cap(f.items) && f.head > 0 && f.head >= len(f.items)/2 {
		n := copy(f.items, f.items[f.head:])
		clear(f.items[n:])
		f.items, f.head = f.items[:n], 0
	}
	f.items = append(f.items, item)
}

func (f *fifo[T]) empty() bool { return f.head == len(f.items) }

// waiting is the items from the oldest on, in place.
func (f *fifo[T]) waiting() []T { return f.items[f.head:] }

func (f *fifo[T]) pop() (item T, some bool) {
	var zero T
	if f.empty() {
		f.items, f.head = f.items[:0], 0
		return zero, false
	}
	item = f.items[f.head]
	f.items[f.head] = zero
	f.head++
	return item, true
}
