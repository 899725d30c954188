package shard

// fifo is a queue that keeps its room when it has been emptied. Its owner
// bounds it.
type fifo[T any] struct {
	items []T
	head  int
}

func (f *fifo[T]) push(item T) { f.items = append(f.items, item) }

func (f *fifo[T]) empty() bool { return f.head == len(f.items) }

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
