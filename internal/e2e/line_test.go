package e2e

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"cim/proto"
)

// line is the numbered messages that one sender sends to one receiver, one
// after the other the same way. It is used by one goroutine at a time.
type line struct {
	from, to *user    // to nil: all
	via      *session // the sender's connection; nil: HTTP

	next    int
	answers map[proto.Code]int
	taken   map[int]bool // numbers answered 9000 or 7000
	unknown map[int]bool // numbers whose answer did not come
}

// sendEvery is the pace of one line: many messages in a test's few seconds, and
// few enough for the box of a user who is away for one of them.
const sendEvery = 5 * time.Millisecond

func newLine(from, to *user, via *session) *line {
	return &line{from: from, to: to, via: via, answers: map[proto.Code]int{}, taken: map[int]bool{}, unknown: map[int]bool{}}
}

// errNoAnswer ends a line whose system has gone.
var errNoAnswer = errors.New("no answer")

// send sends the next number and waits for its answer.
func (l *line) send() error {
	number := l.next
	l.next++
	code, err := l.transmit("number " + strconv.Itoa(number))
	if err != nil {
		l.unknown[number] = true
		return fmt.Errorf("message of %s: %w: %w", l.from.Name, errNoAnswer, err)
	}
	l.answers[code]++
	switch code {
	case proto.CodeSuccess, proto.CodeOffline:
		l.taken[number] = true
	case proto.CodeLimit, proto.CodeOfflineStore, proto.CodeNoServer: // nothing was kept
	case proto.CodeFailure: // as when the server goes down before the route has answered
		l.unknown[number] = true
	default:
		return fmt.Errorf("message of %s: code %s", l.from.Name, code)
	}
	return nil
}

func (l *line) transmit(text string) (proto.Code, error) {
	switch {
	case l.via != nil:
		_, code, err := l.via.send(l.to, text)
		return code, err
	case l.to != nil:
		return l.from.private(l.to, text)
	}
	a, err := l.from.call(proto.PathGroup, members{"userId": l.from.ID, "msg": text})
	return a.code, err
}

// sendUntil sends at a steady pace until stop, or until the system has gone.
func (l *line) sendUntil(stop <-chan struct{}) error {
	pace := time.NewTicker(sendEvery)
	defer pace.Stop()
	for {
		select {
		case <-stop:
			return nil
		case <-pace.C:
		}
		if err := l.send(); err != nil {
			return err
		}
	}
}

// check compares all that receiver got with the line: everything taken arrived, nothing that was
// refused, each once and in order. Group messages arrive up to the end of the receiver's session.
func (l *line) check(receiver *user, got []delivery) error {
	last, came := -1, map[int]bool{}
	for _, d := range got {
		if d.From != l.from.User {
			continue
		}
		number, err := strconv.Atoi(strings.TrimPrefix(d.Text, "number "))
		switch {
		case err != nil:
			return err
		case number <= last:
			return fmt.Errorf("%s got number %d of %s behind %d", receiver.Name, number, l.from.Name, last)
		case !l.taken[number] && !l.unknown[number]:
			return fmt.Errorf("%s got number %d of %s, which was refused", receiver.Name, number, l.from.Name)
		}
		came[number] = true
		last = number
	}
	for number := range l.next {
		if l.taken[number] && !came[number] && (l.to != nil || number < last) {
			return fmt.Errorf("%s did not get number %d of %s, but %d others up to %d; answers %v",
				receiver.Name, number, l.from.Name, len(came), last, l.answers)
		}
	}
	return nil
}

// firsts is what the sessions of one receiver got, in their order, without what an
// earlier one of them has brought: the kernel of a client that cannot acknowledge may
// have a message whose session ends before the server knows it, and then it comes
// again. Within a session nothing comes twice, which check sees.
func firsts(sessions [][]delivery) (got []delivery) {
	type key struct {
		from proto.UserID
		text string
	}
	came := map[key]bool{}
	for _, deliveries := range sessions {
		before := len(got)
		for _, d := range deliveries {
			if !came[key{d.From.ID, d.Text}] {
				got = append(got, d)
			}
		}
		for _, d := range got[before:] {
			came[key{d.From.ID, d.Text}] = true
		}
	}
	return got
}
