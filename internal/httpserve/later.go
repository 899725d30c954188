package httpserve

import (
	"bytes"
	"strconv"

	"github.com/valyala/fasthttp"

	"cim/proto"
)

// Lane says beside which requests before it on its connection a request may be
// begun, while their answers are owed: those of the same Kind, unless they have the
// same Subject. Kind "" stands for none, Subject zero for none in particular.
type Lane struct {
	Kind    string
	Subject [2]proto.UserID
}

// beside reports whether a request of l may be begun while the answer to one of
// before is owed.
func (l Lane) beside(before Lane) bool {
	return l.Kind != "" && l.Kind == before.Kind && (l.Subject != before.Subject || l.Subject == [2]proto.UserID{})
}

// Later is an answer that is given after the handler has returned, so that no
// goroutine has to wait for it and wake. fasthttp writes a response that stands for
// the answer; its head is kept, and goes out with the answer.
type Later struct {
	queue *answerQueue
	lane  Lane

	// queue's lock guards the rest.
	head   []byte // of the response, as far as fasthttp has written it
	body   []byte // of the answer; nil: it has not been given yet
	memory int64  // of the listener's, held until the response is written
}

// standIn is the body of the response that stands for an answer. It is not empty,
// since fasthttp leaves out the head of an empty one in part.
var standIn = []byte("{}")

// Later lets the handler of ctx, a request of lane, return without an answer, which
// Answer gives; it must be called once. nil: ctx has no connection of a Server, and
// the handler answers.
func (s *Server) Later(ctx *fasthttp.RequestCtx, lane Lane) *Later {
	conn, ok := ctx.Conn().(*httpConn)
	if !ok {
		return nil
	}
	memory := conn.takeOwed(len(ctx.Request.Body()))
	s.AnswerWhole(ctx, standIn)
	return conn.answers.push(lane, memory)
}

// AwaitOwed waits until the connection of ctx owes nothing, and reports whether it
// owed anything.
func (s *Server) AwaitOwed(ctx *fasthttp.RequestCtx) bool {
	conn, ok := ctx.Conn().(*httpConn)
	return ok && conn.answers.wait()
}

// Answer gives the answer. Any goroutine may call it, and it does not wait: a
// peer that does not take the answer at once gets it from a goroutine of its own.
// message "" stands for the code's own, body "" for null.
func (l *Later) Answer(code proto.Code, message, body string) {
	l.AnswerWhole(proto.AppendAnswer(nil, code, message[:min(len(message), messageMax)], body))
}

// AnswerWhole is Answer with what proto.AppendAnswer made, which must not change
// any more.
func (l *Later) AnswerWhole(answer []byte) { l.queue.give(l, answer) }

var headEnd = []byte("\r\n\r\n")

var lengthName = []byte("\r\n" + fasthttp.HeaderContentLength + ": ")

// headWhole reports whether fasthttp has written all of the head.
func (l *Later) headWhole() bool { return bytes.HasSuffix(l.head, headEnd) }

// complete reports whether both parts of the response are there.
func (l *Later) complete() bool { return l.body != nil && l.headWhole() }

// appendTo appends the response, which is complete.
func (l *Later) appendTo(dst []byte) []byte {
	before, behind, _ := bytes.Cut(l.head, lengthName)
	dst = append(append(dst, before...), lengthName...)
	dst = strconv.AppendInt(dst, int64(len(l.body)), 10)
	return append(append(dst, behind[bytes.IndexByte(behind, '\r'):]...), l.body...)
}
