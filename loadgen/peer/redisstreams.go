package peer

import (
	"bytes"
	"errors"
	"fmt"

	"cim/loadgen"
)

// RedisStreams are the streams of a redis-server at a TCP address. Each receiver has its own stream
// with a consumer group, reads it as a consumer that waits in the server, and acknowledges what it
// has read. A connection that waits cannot send, so this is for private messages: half of the
// clients are senders and the other half are receivers.
func RedisStreams(address string) loadgen.NewSystem {
	traits := loadgen.Traits{
		Name: "redis streams", Guarantee: "at least once: answered once the server has it, as safe as its appendfsync says; kept until the receiver has acknowledged it",
		Outcomes: true,
	}
	return planned(address, traits, func(p loadgen.Plan) (opener, error) {
		if mode := p.Config.Mode; mode == loadgen.Group || mode == loadgen.Mixed {
			return nil, errNoGroups
		}
		senders := p.Clients / 2
		return func(client int) ([]byte, loadgen.Session) {
			if client < senders {
				return appendCommand(nil, "PING"), new(streamSender)
			}
			s := newStreamReceiver(client)
			return append(appendCommand(nil, "XGROUP", "CREATE", nameOf(client), streamGroup, "$", "MKSTREAM"), s.read...), s
		}, nil
	})
}

var errNoGroups = errors.New("redis streams: there are no group messages: a connection that waits for messages can send none. Give --mode private")

const (
	streamGroup    = "g"
	streamConsumer = "c"
	streamField    = "t"
	// streamReads bounds the messages of a read.
	streamReads = "64"
	// streamKept is about how many messages a stream keeps: the newest ones, read
	// or not.
	streamKept = "1000"
)

// streamSender is the protocol of a client that sends: the server answers each
// message with its id in the stream.
type streamSender struct {
	quiet
	partial loadgen.Partial
	answers answers
}

// AppendSend implements loadgen.Session.
func (s *streamSender) AppendSend(dst []byte, m loadgen.Message) []byte {
	s.answers.add(m.ID)
	dst = appendNumber(dst, '*', 8)
	for _, word := range []string{"XADD", nameTo(m.Receiver), "MAXLEN", "~", streamKept, "*", streamField} {
		dst = appendBulk(dst, word)
	}
	return appendBulk(dst, m.Text)
}

// Receive implements loadgen.Session.
func (s *streamSender) Receive(data []byte, in *loadgen.Inbox) error {
	return s.receive(data, in)
}

func (s *streamSender) receive(data []byte, in inbox) error {
	return s.partial.Feed(data, respSize, func(item []byte) error { return s.take(item, in) })
}

func (s *streamSender) take(item []byte, in inbox) error {
	switch item[0] {
	case '+': // of PING
		in.Ready(nil)
	case '$':
		id, _, sent := s.answers.next()
		if !sent {
			return fmt.Errorf("an answer to no message: %w", errSyntax)
		}
		in.Outcome(id, loadgen.Stored)
	case '-':
		return redisRefused(item, in)
	default:
		return fmt.Errorf("%q: %w", item[:1], errSyntax)
	}
	return nil
}

// streamReceiver is the protocol of a client that receives.
type streamReceiver struct {
	quiet
	partial  loadgen.Partial
	name     string
	read     []byte // the command that waits for messages
	received [][]byte
	reply    []byte
}

func newStreamReceiver(client int) *streamReceiver {
	name := nameOf(client)
	return &streamReceiver{
		name: name,
		read: appendCommand(nil, "XREADGROUP", "GROUP", streamGroup, streamConsumer, "COUNT", streamReads, "BLOCK", "0", "STREAMS", name, ">"),
	}
}

// AppendSend implements loadgen.Session. Such a client sends nothing.
func (s *streamReceiver) AppendSend(dst []byte, _ loadgen.Message) []byte { return dst }

// Receive implements loadgen.Session.
func (s *streamReceiver) Receive(data []byte, in *loadgen.Inbox) error {
	return s.receive(data, in)
}

func (s *streamReceiver) receive(data []byte, in inbox) error {
	return s.partial.Feed(data, respSize, func(item []byte) error { return s.take(item, in) })
}

// streamGroupIsThere is the start of the refusal to make an existing group, as a client does that
// comes back.
var streamGroupIsThere = []byte("-BUSYGROUP ")

func (s *streamReceiver) take(item []byte, in inbox) error {
	switch item[0] {
	case '+': // of XGROUP
		in.Ready(nil)
	case '-':
		if !bytes.HasPrefix(item, streamGroupIsThere) {
			return redisRefused(item, in)
		}
		in.Ready(nil)
	case ':': // of XACK
		if string(item) == ":0"+lineEnd {
			in.Fault("Redis knows none of the acknowledged messages")
		}
	case '*':
		return s.takeMessages(item, in)
	default:
		return fmt.Errorf("%q: %w", item[:1], errSyntax)
	}
	return nil
}

// takeMessages handles the result of a read: the name of one stream and its messages, each an id
// and one field with its text. It acknowledges them and waits for more, in one write.
func (s *streamReceiver) takeMessages(item []byte, in inbox) error {
	streams, rest := respOpen(item)
	of, rest := respOpen(rest)
	_, rest = respNext(rest) // the name
	count, rest := respOpen(rest)
	if streams != 1 || of != 2 || count < 1 {
		return fmt.Errorf("a read of other than one stream: %w", errSyntax)
	}
	s.received = s.received[:0]
	for range count {
		var id, fields, text []byte
		pair, inner := respOpen(rest)
		id, inner = respNext(inner)
		fields, _ = respNext(inner)
		_, rest = respNext(rest)
		words, inner := respOpen(fields)
		_, inner = respNext(inner) // the field's name
		text, _ = respNext(inner)
		if pair != 2 || words != 2 || bulk(id) == nil || bulk(text) == nil {
			return fmt.Errorf("a message of other than one field: %w", errSyntax)
		}
		in.Text(bulk(text))
		s.received = append(s.received, bulk(id))
	}
	s.acknowledge(in)
	return nil
}

func (s *streamReceiver) acknowledge(in inbox) {
	s.reply = appendNumber(s.reply[:0], '*', 3+len(s.received))
	s.reply = appendBulk(s.reply, "XACK")
	s.reply = appendBulk(s.reply, s.name)
	s.reply = appendBulk(s.reply, streamGroup)
	for _, id := range s.received {
		s.reply = appendBulk(s.reply, id)
	}
	s.reply = append(s.reply, s.read...)
	in.Reply(s.reply)
}
