package e2e

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"cim/proto"
)

// line is the numbered messages that one sender sends to one receiver, one
// after the other the same way. It is used by one goroutine at a time.
type line struct {
	from, to *user
	via      *session // the sender's connection; nil: HTTP

	next    int
	answers map[proto.Code]int
	taken   map[int]bool // numbers answered 9000 or 7000
	unknown map[int]bool // numbers whose answer did not come
}

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
		return fmt.Errorf("%s to %s: %w: %w", l.from.Name, l.to.Name, errNoAnswer, err)
	}
	l.answers[code]++
	switch code {
	case proto.CodeSuccess, proto.CodeOffline:
		l.taken[number] = true
	case proto.CodeLimit, proto.CodeOfflineStore: // nothing was kept
	default:
		return fmt.Errorf("%s to %s: code %s", l.from.Name, l.to.Name, code)
	}
	return nil
}

func (l *line) transmit(text string) (proto.Code, error) {
	if l.via == nil {
		return l.from.private(l.to, text)
	}
	_, code, err := l.via.send(l.to, text)
	return code, err
}

// check holds all that the receiver got against the line: everything taken
// came, nothing that was refused, each once and in order.
func (l *line) check(got []delivery) error {
	last, came := -1, 0
	for _, d := range got {
		if d.From != l.from.User {
			continue
		}
		number, err := strconv.Atoi(strings.TrimPrefix(d.Text, "number "))
		switch {
		case err != nil:
			return err
		case number <= last:
			return fmt.Errorf("%s got number %d of %s behind %d", l.to.Name, number, l.from.Name, last)
		case !l.taken[number] && !l.unknown[number]:
			return fmt.Errorf("%s got number %d of %s, which was refused", l.to.Name, number, l.from.Name)
		}
		if l.taken[number] {
			came++
		}
		last = number
	}
	if came != len(l.taken) {
		return fmt.Errorf("%s got %d messages of %s, %d of which were answered %v",
			l.to.Name, came, l.from.Name, len(l.taken), l.answers)
	}
	return nil
}
