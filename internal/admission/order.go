package admission

// links are a place's neighbours in one list.
type links[C any] struct{ before, after *Place[C] }

// list is a doubly linked list of places, oldest first. A place is in it at most
// once, by the links that of returns.
type list[C any] struct {
	of          func(*Place[C]) *links[C]
	first, last *Place[C]
	len         int
}

// push appends p, which is not in the list.
func (l *list[C]) push(p *Place[C]) {
	l.of(p).before = l.last
	if l.last == nil {
		l.first = p
	} else {
		l.of(l.last).after = p
	}
	l.last = p
	l.len++
}

// remove removes p, which is in the list.
func (l *list[C]) remove(p *Place[C]) {
	at := *l.of(p)
	if at.before == nil {
		l.first = at.after
	} else {
		l.of(at.before).after = at.after
	}
	if at.after == nil {
		l.last = at.before
	} else {
		l.of(at.after).before = at.before
	}
	*l.of(p) = links[C]{}
	l.len--
}

// notGreedy is the rank of an address within its share.
const notGreedy = -1

// greedy is a heap (container/heap) of addresses, the one with the most
// evictable connections first.
type greedy[C any] []*address[C]

// Len implements heap.Interface.
func (g greedy[C]) Len() int { return len(g) }

// Less implements heap.Interface.
func (g greedy[C]) Less(i, j int) bool { return g[i].evictable.len > g[j].evictable.len }

// Swap implements heap.Interface.
func (g greedy[C]) Swap(i, j int) {
	g[i], g[j] = g[j], g[i]
	g[i].rank, g[j].rank = i, j
}

// Push implements heap.Interface.
func (g *greedy[C]) Push(x any) {
	a := x.(*address[C])
	a.rank = len(*g)
	*g = append(*g, a)
}

// Pop implements heap.Interface.
func (g *greedy[C]) Pop() any {
	last := len(*g) - 1
	a := (*g)[last]
	(*g)[last] = nil
	*g = (*g)[:last]
	a.rank = notGreedy
	return a
}
