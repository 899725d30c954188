package standin

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"
)

// redisMax bounds one command.
const redisMax = 5 * time.Second

// redis is one connection, on which commands wait for each other. One that
// broke is made again with the next command.
type redis struct {
	addr string

	mu     sync.Mutex
	conn   net.Conn
	reader *bufio.Reader
}

func (r *redis) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.drop()
}

// drop is called with mu held.
func (r *redis) drop() {
	if r.conn != nil {
		r.conn.Close()
		r.conn = nil
	}
}

// do sends a command. Its answer is a string, an int64, a []any of answers, or
// nil.
func (r *redis) do(args ...string) (any, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.conn == nil {
		conn, err := net.DialTimeout("tcp", r.addr, redisMax)
		if err != nil {
			return nil, fmt.Errorf("original: redis: %w", err)
		}
		r.conn, r.reader = conn, bufio.NewReader(conn)
	}
	answer, err := r.send(args)
	var said *redisError
	if err != nil && !errors.As(err, &said) {
		r.drop()
	}
	if err != nil {
		return nil, fmt.Errorf("original: redis: %s: %w", args[0], err)
	}
	return answer, nil
}

func (r *redis) send(args []string) (any, error) {
	var request strings.Builder
	fmt.Fprintf(&request, "*%d\r\n", len(args))
	for _, arg := range args {
		fmt.Fprintf(&request, "$%d\r\n%s\r\n", len(arg), arg)
	}
	if err := r.conn.SetDeadline(time.Now().Add(redisMax)); err != nil {
		return nil, err
	}
	if _, err := io.WriteString(r.conn, request.String()); err != nil {
		return nil, err
	}
	return r.read()
}

type redisError struct{ text string }

func (e *redisError) Error() string { return e.text }

func (r *redis) read() (any, error) {
	line, err := r.reader.ReadString('\n')
	if err != nil {
		return nil, err
	}
	line = strings.TrimSuffix(line, "\r\n")
	if line == "" {
		return nil, errors.New("empty answer")
	}
	kind, rest := line[0], line[1:]
	switch kind {
	case '+':
		return rest, nil
	case '-':
		return nil, &redisError{rest}
	}
	n, err := strconv.ParseInt(rest, 10, 64)
	switch {
	case err != nil:
		return nil, err
	case kind == ':':
		return n, nil
	case n < 0:
		return nil, nil
	case kind == '$':
		text := make([]byte, n+2)
		_, err := io.ReadFull(r.reader, text)
		return string(text[:n]), err
	case kind == '*':
		return r.readAll(n)
	}
	return nil, fmt.Errorf("answer %q", line)
}

func (r *redis) readAll(n int64) (any, error) {
	all := make([]any, n)
	for i := range all {
		var err error
		if all[i], err = r.read(); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// get returns the value of a key.
func (r *redis) get(key string) (value string, found bool, err error) {
	answer, err := r.do("GET", key)
	value, found = answer.(string)
	return value, found, err
}

// strings returns the strings of an answer that is a list.
func (r *redis) strings(args ...string) ([]string, error) {
	answer, err := r.do(args...)
	if err != nil {
		return nil, err
	}
	return stringsOf(answer), nil
}

func stringsOf(answer any) []string {
	all, _ := answer.([]any)
	texts := make([]string, 0, len(all))
	for _, one := range all {
		if text, ok := one.(string); ok {
			texts = append(texts, text)
		}
	}
	return texts
}

// scan returns all keys that match.
func (r *redis) scan(match string) ([]string, error) {
	var keys []string
	for cursor := "0"; ; {
		answer, err := r.do("SCAN", cursor, "MATCH", match)
		if err != nil {
			return nil, err
		}
		page, ok := answer.([]any)
		if !ok || len(page) != 2 {
			return nil, errors.New("original: redis: SCAN: not a page")
		}
		keys = append(keys, stringsOf(page[1])...)
		if cursor, _ = page[0].(string); cursor == "0" {
			return keys, nil
		}
	}
}
