package peer

import (
	"bytes"
	"fmt"
	"strconv"

	"cim/loadgen"
)

// Redis is the publish and subscribe of a redis-server from 6 on at a TCP
// address, in RESP3: there a connection that subscribes may publish too.
func Redis(address string) loadgen.NewSystem {
	traits := loadgen.Traits{
		Name: "redis pubsub", Guarantee: "at most once; a slow receiver is cut off",
		Echo: true, // a publisher that subscribes gets its own messages
	}
	return at(address, traits, func(client int) ([]byte, loadgen.Session) {
		return redisHello(client), new(redisSession)
	})
}

func redisHello(client int) []byte {
	hello := appendCommand(nil, "HELLO", "3")
	return appendCommand(hello, "SUBSCRIBE", nameAll, nameOf(client))
}

// appendCommand appends a command as Redis reads it.
func appendCommand(dst []byte, words ...string) []byte {
	dst = appendNumber(dst, '*', len(words))
	for _, word := range words {
		dst = appendBulk(dst, word)
	}
	return dst
}

func appendBulk[T string | []byte](dst []byte, word T) []byte {
	dst = appendNumber(dst, '$', len(word))
	dst = append(dst, word...)
	return append(dst, lineEnd...)
}

func appendNumber(dst []byte, kind byte, n int) []byte {
	dst = append(dst, kind)
	dst = strconv.AppendInt(dst, int64(n), 10)
	return append(dst, lineEnd...)
}

// redisSession is one client's protocol.
type redisSession struct {
	quiet
	partial    loadgen.Partial
	subscribed int // names that Redis has confirmed
}

// names is how many names a client subscribes to.
const names = 2

// Receive implements loadgen.Session.
func (s *redisSession) Receive(data []byte, in *loadgen.Inbox) error {
	return s.receive(data, in)
}

func (s *redisSession) receive(data []byte, in inbox) error {
	return s.partial.Feed(data, respSize, func(item []byte) error { return s.take(item, in) })
}

// AppendSend implements loadgen.Session.
func (s *redisSession) AppendSend(dst []byte, m loadgen.Message) []byte {
	dst = appendNumber(dst, '*', 3)
	dst = appendBulk(dst, "PUBLISH")
	dst = appendBulk(dst, nameTo(m.Receiver))
	return appendBulk(dst, m.Text)
}

// take judges one item. Redis answers PUBLISH with the number of receivers.
func (s *redisSession) take(item []byte, in inbox) error {
	switch item[0] {
	case '>':
		return s.takePush(item, in)
	case ':':
		if string(item) == ":0"+lineEnd {
			in.Fault("Redis published a message without a receiver")
		}
	case '-':
		return redisRefused(item, in)
	case '%', '+': // of HELLO
	default:
		return fmt.Errorf("%q: %w", item[:1], errSyntax)
	}
	return nil
}

// takePush judges a push: "message", name and text, or "subscribe", name and
// how many there are by now.
func (s *redisSession) takePush(item []byte, in inbox) error {
	var parts [3][]byte
	_, rest, _ := bytes.Cut(item, []byte(lineEnd))
	for i := range parts {
		size, err := respSize(rest)
		if err != nil || size == 0 {
			return fmt.Errorf("a push of fewer than %d parts: %w", len(parts), errSyntax)
		}
		parts[i], rest = bulk(rest[:size]), rest[size:]
	}
	switch string(parts[0]) {
	case "message":
		if parts[2] == nil {
			return fmt.Errorf("a message without a text: %w", errSyntax)
		}
		in.Text(parts[2])
	case "subscribe":
		if s.subscribed++; s.subscribed == names {
			in.Ready(nil)
		}
	default:
		return fmt.Errorf("a push of kind %q: %w", parts[0], errSyntax)
	}
	return nil
}

// redisRefused is what the server says against a command.
func redisRefused(item []byte, in inbox) error {
	err := fmt.Errorf("Redis says %q", bytes.TrimSpace(item[1:]))
	in.Ready(err)
	return err
}

// bulk is what a whole bulk string holds; nil: it is something else.
func bulk(item []byte) []byte {
	head, rest, _ := bytes.Cut(item, []byte(lineEnd))
	if len(head) == 0 || head[0] != '$' || len(rest) < len(lineEnd) {
		return nil
	}
	return rest[:len(rest)-len(lineEnd)]
}
