package httpserve

import (
	"bytes"
	"strconv"

	"github.com/valyala/fasthttp"

	"cim/proto"
)

// OverlapKey decides beside which earlier requests of its connection, whose answers
// are owed, a request may begin: beside those of the same Kind with another
// Subject. Kind "" may not begin beside any; the zero Subject differs from all.
type OverlapKey struct {
	Kind    string
	Subject [2]proto.UserID
}

// beside reports whether a request with key l may begin while the answer to one of
// before is owed.
func (l OverlapKey) beside(before OverlapKey) bool {
	return l.Kind != "" && l.Kind == before.Kind && (l.Subject != before.Subject || l.Subject == [2]proto.UserID{})
}

// Later is an answer that is given after the handler has returned, so that no
// goroutine has to wait for it. fasthttp writes a stand-in response; its head is
// kept, and sent with the answer.
type Later struct {
	queue *answerQueue
	key   OverlapKey

	// The queue's lock guards the rest.
	head   []byte // of the response, as far as fasthttp has written it
	body   []byte // of the answer; nil: not given yet
	memory int64  // of the listener's memory, held until the response is written
}

// standIn is the body of the stand-in response. It is not empty, since fasthttp
// omits part of the head of an empty one.
var standIn = []byte("{}")

// Later lets the handler of ctx, a request with this key, return without an answer,
// which Answer gives; call Answer once. nil: ctx has no connection of a Server, and
// the handler must answer.
func (s *Server) Later(ctx *fasthttp.RequestCtx, key OverlapKey) *Later {
	conn, ok := ctx.Conn().(*httpConn)
	if !ok {
		return nil
	}
	memory := conn.takeOwed(len(ctx.Request.Body()))
	s.AnswerWhole(ctx, standIn)
	return conn.answers.push(key, memory)
}

// AwaitOwed waits until the connection of ctx owes no answer, and reports whether
// it owed any.
func (s *Server) AwaitOwed(ctx *fasthttp.RequestCtx) bool {
	conn, ok := ctx.Conn().(*httpConn)
	return ok && conn.answers.wait()
}

// Answer gives the answer. Any goroutine may call it, and it does not wait: if the
// peer does not take the answer at once, a goroutine of its own writes it. An empty
// message stands for the code's own, an empty body for null.
func (l *Later) Answer(code proto.Code, message, body string) {
	l.AnswerWhole(proto.AppendAnswer(nil, code, message[:min(len(message), messageMax)], body))
}

// AnswerWhole is Answer with the result of proto.AppendAnswer, which must not
// change afterwards.
func (l *Later) AnswerWhole(answer []byte) { l.queue.give(l, answer) }

var headEnd = []byte("\r\n\r\n")

var lengthName = []byte("\r\n" + fasthttp.HeaderContentLength + ": ")

// headWhole reports whether fasthttp has written all of the head.
func (l *Later) headWhole() bool { return bytes.HasSuffix(l.head, headEnd) }

// complete reports whether both parts of the response are there.
func (l *Later) complete() bool { return l.body != nil && l.headWhole() }

// appendTo appends the complete response.
func (l *Later) appendTo(dst []byte) []byte {
	before, behind, _ := bytes.Cut(l.head, lengthName)
	dst = append(append(dst, before...), lengthName...)
	dst = strconv.AppendInt(dst, int64(len(l.body)), 10)
	return append(append(dst, behind[bytes.IndexByte(behind, '\r'):]...), l.body...)
}
