package redis

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"
)

const (
	// rawLineMax and rawItemsMax bound what a raw connection takes as one answer.
	rawLineMax  = 64 << 10
	rawItemsMax = 1024
	rawDepthMax = 8
)

// errNotRESP says that the other end does not speak the protocol of Redis.
var errNotRESP = errors.New("what answers there is no Redis")

// answerError is an answer of the Redis that begins with a minus sign.
type answerError string

func (e answerError) Error() string { return string(e) }

// rawConn is a connection to a Redis past the client library, which hides why a
// connection was refused. It serves a few questions and one goroutine.
type rawConn struct {
	net.Conn
	r *bufio.Reader
}

// dialRaw connects to addr. The connection's life is bounded by dialMax.
func dialRaw(ctx context.Context, addr string, secure *tls.Config) (*rawConn, error) {
	conn, err := dial(ctx, addr, &net.Dialer{Timeout: dialMax}, secure)
	if err != nil {
		return nil, err
	}
	if err := conn.SetDeadline(time.Now().Add(dialMax)); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return &rawConn{Conn: conn, r: bufio.NewReaderSize(conn, 4<<10)}, nil
}

// dial connects with TLS or without.
func dial(ctx context.Context, addr string, dialer *net.Dialer, secure *tls.Config) (net.Conn, error) {
	if secure == nil {
		return dialer.DialContext(ctx, "tcp", addr)
	}
	ctx, cancel := context.WithTimeout(ctx, dialMax)
	defer cancel()
	return (&tls.Dialer{NetDialer: dialer, Config: secure}).DialContext(ctx, "tcp", addr)
}

// ask sends one command and returns its answer: a string, an int64, nil, or a
// []any of these. An answer that is an error is an answerError.
func (c *rawConn) ask(args ...string) (any, error) {
	var request strings.Builder
	fmt.Fprintf(&request, "*%d\r\n", len(args))
	for _, arg := range args {
		fmt.Fprintf(&request, "$%d\r\n%s\r\n", len(arg), arg)
	}
	_, writeErr := io.WriteString(c.Conn, request.String())
	// A Redis that takes no more connections has said so and closed before it
	// read anything.
	answer, err := c.read(0)
	if err != nil && writeErr != nil && !errors.As(err, new(answerError)) {
		return nil, writeErr
	}
	return answer, err
}

func (c *rawConn) read(depth int) (any, error) {
	line, err := c.line()
	if err != nil {
		return nil, err
	}
	if line == "" || depth > rawDepthMax {
		return nil, errNotRESP
	}
	switch kind, rest := line[0], line[1:]; kind {
	case '+', ',', '(', '#':
		return rest, nil
	case '-':
		return nil, answerError(rest)
	case ':':
		return strconv.ParseInt(rest, 10, 64)
	case '_':
		return nil, nil
	case '$', '=', '!':
		return c.bulk(rest)
	case '*', '~', '>':
		return c.items(rest, 1, depth)
	case '%':
		return c.items(rest, 2, depth)
	}
	return nil, errNotRESP
}

// line reads up to the end of a line, without it.
func (c *rawConn) line() (string, error) {
	line, err := c.r.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		return "", errNotRESP
	}
	if err != nil {
		return "", err
	}
	return strings.TrimRight(string(line), "\r\n"), nil
}

func (c *rawConn) bulk(length string) (any, error) {
	n, err := strconv.Atoi(length)
	if err != nil || n > rawLineMax {
		return nil, errNotRESP
	}
	if n < 0 {
		return nil, nil
	}
	body := make([]byte, n+2)
	if _, err := io.ReadFull(c.r, body); err != nil {
		return nil, err
	}
	return string(body[:n]), nil
}

func (c *rawConn) items(count string, each, depth int) (any, error) {
	n, err := strconv.Atoi(count)
	if err != nil || n > rawItemsMax {
		return nil, errNotRESP
	}
	if n < 0 {
		return nil, nil
	}
	all := make([]any, 0, n*each)
	for range n * each {
		item, err := c.read(depth + 1)
		if err != nil && !errors.As(err, new(answerError)) {
			return nil, err
		}
		all = append(all, item)
	}
	return all, nil
}

// broken reports whether err is of the connection and not an answer.
func broken(err error) bool { return err != nil && !errors.As(err, new(answerError)) }
