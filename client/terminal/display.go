package terminal

import (
	"context"
	"fmt"
	"io"
	"sync"
)

// display is where lines are shown and read.
type display interface {
	// show shows whole lines, without the last end. Any goroutine may call it.
	show(text string)
	// connected says whether there is a connection.
	connected(yes bool)
	// read passes on the lines that come in until there are no more, which is
	// nil, or ctx ends.
	read(ctx context.Context, lines chan<- string) error
	// close ends reading and restores the terminal. Lines can still be shown after it. The error is
	// the first one of showing.
	close() error
}

// pipe is a display without any escape sequence: a pipe, or a terminal that
// knows none.
type pipe struct {
	in io.Reader

	mu  sync.Mutex
	out io.Writer
	err error // the first one of out, which ends all writing
}

func (p *pipe) show(text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err == nil {
		_, p.err = fmt.Fprintln(p.out, text)
	}
}

func (p *pipe) connected(bool) {}

// read ends with ctx at its next line only if in blocks.
func (p *pipe) read(ctx context.Context, lines chan<- string) error {
	return readLines(ctx, p.in, lines)
}

func (p *pipe) close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.err
}
