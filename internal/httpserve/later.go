package httpserve

import (
	"bytes"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/valyala/fasthttp"

	"cim/proto"
)

// Later is an answer that is given after the handler has returned, so that no
// goroutine has to wait for it and wake. A connection owes one at most: its next
// request is read, and begins once the answer has been given.
//
// fasthttp writes a response that stands for the answer; its head is kept, and
// goes out with the answer.
type Later struct {
	conn *httpConn
	raw  syscall.RawConn // nil: the connection has none
	note func(uintptr)   // writes; one for all answers

	mu    sync.Mutex
	given sync.Cond // owed is false again
	owed  bool
	busy  bool   // the response is being written
	idle  bool   // fasthttp has done with the request, and end lets the connection rest
	head  []byte // of the response, as far as fasthttp has written it
	body  []byte // of the answer; nil: it has not been given yet

	// Held from when nothing is owed any more until the response is written. The peer
	// may send its next request meanwhile, which finds mu free.
	writing sync.Mutex
	whole   []byte // the response
	wrote   int    // bytes of whole
}

// standIn is the body of the response that stands for an answer. It is not empty,
// since fasthttp leaves out the head of an empty one in part.
var standIn = []byte("{}")

func (l *Later) init(conn *httpConn) {
	l.conn, l.given.L = conn, &l.mu
	l.note = func(fd uintptr) { l.wrote = writeNow(fd, l.whole) }
	if system, ok := conn.Conn.(syscall.Conn); ok {
		l.raw, _ = system.SyscallConn() // without it a goroutine writes
	}
}

// Later lets the handler of ctx return without an answer, which Answer gives;
// it must be called once. nil: ctx has no connection of a Server, and the handler
// answers.
func (s *Server) Later(ctx *fasthttp.RequestCtx) *Later {
	conn, ok := ctx.Conn().(*httpConn)
	if !ok {
		return nil
	}
	l := &conn.later
	l.writing.Lock() // the response before is written
	defer l.writing.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.owed, l.head, l.body = true, l.head[:0], nil
	s.AnswerWhole(ctx, standIn)
	return l
}

// Answer gives the answer. Any goroutine may call it, and it does not wait: a
// peer that does not take the answer at once gets it from a goroutine of its own.
// message "" stands for the code's own, body "" for null.
func (l *Later) Answer(code proto.Code, message, body string) {
	l.AnswerWhole(proto.AppendAnswer(nil, code, message[:min(len(message), messageMax)], body))
}

// AnswerWhole is Answer with what proto.AppendAnswer made, which must not change
// any more.
func (l *Later) AnswerWhole(answer []byte) {
	l.mu.Lock()
	l.body = answer
	complete := l.complete()
	l.mu.Unlock()
	if complete {
		l.write()
	}
}

// hold keeps what fasthttp writes while an answer is owed, and reports whether it
// did.
func (l *Later) hold(response []byte) bool {
	l.mu.Lock()
	if !l.owed {
		l.mu.Unlock()
		return false
	}
	l.head = append(l.head, bytes.TrimSuffix(response, standIn)...)
	complete := l.complete()
	l.mu.Unlock()
	if complete {
		l.write()
	}
	return true
}

var headEnd = []byte("\r\n\r\n")

var lengthName = []byte("\r\n" + fasthttp.HeaderContentLength + ": ")

// complete makes the response if both its parts are there, and takes writing: write
// must follow. It is called with mu held.
func (l *Later) complete() bool {
	if !bytes.HasSuffix(l.head, headEnd) || l.body == nil {
		return false
	}
	l.writing.Lock() // free, since Later has waited for it
	before, behind, _ := bytes.Cut(l.head, lengthName)
	l.whole = append(append(l.whole[:0], before...), lengthName...)
	l.whole = strconv.AppendInt(l.whole, int64(len(l.body)), 10)
	l.whole = append(append(l.whole, behind[bytes.IndexByte(behind, '\r'):]...), l.body...)
	l.owed, l.busy, l.body = false, true, nil
	l.given.Signal()
	return true
}

// write writes the response.
func (l *Later) write() {
	l.wrote = 0
	if l.raw != nil && l.raw.Control(l.note) != nil || l.wrote == len(l.whole) {
		l.end() // it was written, or the connection is closed
		return
	}
	go func() {
		if l.writeRest() != nil {
			l.conn.conns.end(l.conn.Conn) // a part may have been written: nothing may follow it
		}
		l.end()
	}()
}

// writeRest writes what the peer has not taken at once, within its time.
func (l *Later) writeRest() error {
	if err := l.conn.SetWriteDeadline(time.Now().Add(SendTimeout)); err != nil {
		return err
	}
	_, err := l.conn.Conn.Write(l.whole[l.wrote:])
	return err
}

// end is when the response is written. The next answer is owed, and Close returns,
// only behind it.
func (l *Later) end() {
	defer l.writing.Unlock()
	if cap(l.whole) > smallBytes {
		l.whole = nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.busy = false; l.idle && !l.owed {
		l.idle = false
		l.conn.conns.restOrEnd(l.conn)
	}
}

// rest notes that fasthttp has done with the request, and reports whether the
// connection may rest: not while its answer is owed or written.
func (l *Later) rest() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.idle = l.owed || l.busy
	return !l.idle
}

// begin waits until nothing is owed, and notes that the next request begins.
func (l *Later) begin() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.owed {
		l.given.Wait()
	}
	l.idle = false
}

// wait waits until nothing is owed.
func (l *Later) wait() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.owed {
		l.given.Wait()
	}
}
