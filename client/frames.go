package client

import (
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	"cim/proto"
)

// frames splits the bytes of a connection into frames. One goroutine reads; any may shorten its
// wait.
type frames struct {
	conn net.Conn

	// Of the goroutine that reads.
	buf        []byte // buf[start:end] has been read and not been returned
	start, end int

	mu sync.Mutex
	// silenceMax is how long a read may wait: past it the server is dead.
	silenceMax time.Duration
	// answerMax is how long a read may wait while an answer is due; 0: none is. Any frame is an
	// answer.
	answerMax time.Duration
	// leaving makes silenceMax what all reads together may wait.
	leaving  bool
	since    time.Time // the present read waits since then
	deadline time.Time // of the present read
}

const (
	readSize = 4 << 10
	// frameRoom is the longest frame with its length prefix.
	frameRoom = proto.FrameMax + 5
)

// next returns one frame, which is valid until the next call.
func (f *frames) next() ([]byte, error) {
	for {
		frame, size, reason := proto.NextFrame(f.buf[f.start:f.end], proto.FrameMax)
		if reason != proto.ReasonNone {
			return nil, fmt.Errorf("the server sent a bad frame: %s", reason)
		}
		if frame != nil {
			f.start += size
			return frame, nil
		}
		if err := f.fill(size); err != nil {
			return nil, err
		}
	}
}

// fill reads more, with room for a frame of size.
func (f *frames) fill(size int) error {
	f.makeRoom(max(readSize, min(size, frameRoom)))
	if err := f.await(); err != nil {
		return err
	}
	n, err := f.conn.Read(f.buf[f.end:])
	f.end += n
	switch {
	case n > 0:
		f.noteRead()
		return nil
	case errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Errorf("the server is silent: %w", plainError{err})
	case err != nil:
		return plainError{err}
	}
	return nil
}

// makeRoom moves unread bytes to the front of a buffer of at least room bytes. A buffer for a large
// frame is replaced afterwards.
func (f *frames) makeRoom(room int) {
	rest := f.buf[f.start:f.end]
	switch {
	case len(f.buf) < room || len(f.buf) > readSize && room == readSize:
		f.buf = make([]byte, room)
	case f.start == 0:
		return
	}
	f.start, f.end = 0, copy(f.buf, rest)
}

// await sets the deadline of a read.
func (f *frames) await() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	patience := f.silenceMax
	if f.answerMax > 0 {
		patience = min(patience, f.answerMax)
	}
	f.since = time.Now()
	f.deadline = f.since.Add(patience)
	return f.conn.SetReadDeadline(f.deadline)
}

// noteRead notes that the server lives.
func (f *frames) noteRead() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.answerMax = 0
	if f.leaving {
		f.silenceMax = max(0, f.silenceMax-time.Since(f.since))
	}
}

// setSilenceMax makes silenceMax what a read may wait.
func (f *frames) setSilenceMax(silenceMax time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.silenceMax = silenceMax
}

// readRest makes waitMax the time that all further reads together may take. A server that continues
// as if nothing had happened does not hold up its reader, and the time that the reader itself takes
// does not count.
func (f *frames) readRest(waitMax time.Duration) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.leaving, f.silenceMax, f.since = true, waitMax, time.Now()
	return f.shortenDeadline(waitMax)
}

// expectAnswer lets a read wait for answerMax and no more until something
// comes.
func (f *frames) expectAnswer(answerMax time.Duration) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.answerMax = answerMax
	return f.shortenDeadline(answerMax)
}

// shortenDeadline ends the present read within patience, if it would not end before. The
// caller holds mu.
func (f *frames) shortenDeadline(patience time.Duration) error {
	deadline := time.Now().Add(patience)
	if deadline.After(f.deadline) {
		return nil
	}
	f.deadline = deadline
	return f.conn.SetReadDeadline(deadline)
}
