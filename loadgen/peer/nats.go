package peer

import (
	"bytes"
	"fmt"
	"strconv"

	"cim/loadgen"
)

// NATS is a nats-server at a TCP address. Messages are core NATS: at most once.
func NATS(address string) loadgen.NewSystem {
	traits := loadgen.Traits{Name: "nats", Guarantee: "at most once; a slow receiver is cut off"}
	return at(address, traits, func(client int) ([]byte, loadgen.Session) {
		return natsHello(client), new(natsSession)
	})
}

// natsHello connects without its own messages coming back, subscribes, and asks
// for a pong, which says that all of it is in place.
func natsHello(client int) []byte {
	return fmt.Appendf(nil, "CONNECT {\"verbose\":false,\"pedantic\":false,\"echo\":false,\"headers\":false,"+
		"\"protocol\":1,\"lang\":\"cim\",\"version\":\"1\"}\r\nSUB %s 1\r\nSUB %s 2\r\n%s", nameAll, nameOf(client), natsPing)
}

// natsSession is one client's protocol: lines, of which MSG is followed by a text.
type natsSession struct {
	quiet
	partial loadgen.Partial
}

// Receive implements loadgen.Session.
func (s *natsSession) Receive(data []byte, in *loadgen.Inbox) error {
	return s.receive(data, in)
}

func (s *natsSession) receive(data []byte, in inbox) error {
	return s.partial.Feed(data, natsSize, func(item []byte) error { return takeNATS(item, in) })
}

const natsPing = "PING\r\n"

var natsPong = []byte("PONG\r\n")

const lineEnd = "\r\n"

// natsSize is the length of a line, with the text that follows a MSG.
func natsSize(data []byte) (int, error) {
	line, _, whole := bytes.Cut(data, []byte(lineEnd))
	if !whole {
		return 0, bounded(len(data))
	}
	size := len(line) + len(lineEnd)
	if !bytes.HasPrefix(line, []byte("MSG ")) {
		return size, bounded(size)
	}
	n, ok := parseSize(line[bytes.LastIndexByte(line, ' ')+1:])
	if !ok {
		return 0, fmt.Errorf("%q: %w", line, errSyntax)
	}
	size += n + len(lineEnd)
	return size, bounded(size)
}

func bounded(size int) error {
	if size > itemMax {
		return errTooLong
	}
	return nil
}

// parseSize reads a decimal number of at most itemMax.
func parseSize(digits []byte) (n int, ok bool) {
	if len(digits) == 0 {
		return 0, false
	}
	for _, d := range digits {
		if d < '0' || d > '9' || n > itemMax {
			return 0, false
		}
		n = 10*n + int(d-'0')
	}
	return n, n <= itemMax
}

func takeNATS(item []byte, in inbox) error {
	line, rest, _ := bytes.Cut(item, []byte(lineEnd))
	word, _, _ := bytes.Cut(line, []byte(" "))
	switch string(word) {
	case "MSG":
		if !bytes.HasSuffix(rest, []byte(lineEnd)) {
			return fmt.Errorf("a text without its end: %w", errSyntax)
		}
		in.Text(rest[:len(rest)-len(lineEnd)])
	case "PING":
		in.Reply(natsPong)
	case "PONG":
		in.Ready(nil)
	case "INFO", "+OK":
	case "-ERR":
		err := fmt.Errorf("nats-server says %q", line)
		in.Ready(err)
		return err
	default:
		return fmt.Errorf("%q: %w", line, errSyntax)
	}
	return nil
}

// AppendSend implements loadgen.Session.
func (s *natsSession) AppendSend(dst []byte, m loadgen.Message) []byte {
	dst = append(dst, "PUB "...)
	dst = append(dst, nameTo(m.Receiver)...)
	dst = append(dst, ' ')
	return appendNATSText(dst, m.Text)
}

// appendNATSText appends a text behind its length.
func appendNATSText(dst, text []byte) []byte {
	dst = strconv.AppendInt(dst, int64(len(text)), 10)
	dst = append(dst, lineEnd...)
	dst = append(dst, text...)
	return append(dst, lineEnd...)
}
