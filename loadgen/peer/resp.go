package peer

import (
	"bytes"
	"fmt"
)

const (
	// respDepth bounds the nesting of items; the answer to HELLO has three levels, a read of
	// streams has five.
	respDepth = 6
	// respParts bounds the items in one.
	respParts = 256
)

// respSize is the length of the RESP3 item that data begins with, of the kinds that a subscriber
// may get; 0: not known yet.
func respSize(data []byte) (int, error) { return respSizeAt(data, respDepth) }

func respSizeAt(data []byte, depth int) (int, error) {
	line, _, whole := bytes.Cut(data, []byte(lineEnd))
	if !whole {
		return 0, bounded(len(data))
	}
	if len(line) == 0 {
		return 0, fmt.Errorf("an empty line: %w", errSyntax)
	}
	size := len(line) + len(lineEnd)
	switch line[0] {
	case '+', '-', ':', '_', '#', ',', '(':
		return size, bounded(size)
	case '$':
		return bulkSize(data, line, size)
	case '*', '>', '~':
		return partsSize(data, line, size, 1, depth)
	case '%':
		return partsSize(data, line, size, 2, depth)
	}
	return 0, fmt.Errorf("%q: %w", line[:1], errSyntax)
}

// bulkSize is the size of a string whose length is in its line. Its end is checked as soon as it
// has arrived.
func bulkSize(data, line []byte, size int) (int, error) {
	n, ok := parseSize(line[1:])
	if !ok {
		return 0, fmt.Errorf("%q: %w", line, errSyntax)
	}
	size += n + len(lineEnd)
	if len(data) >= size && string(data[size-len(lineEnd):size]) != lineEnd {
		return 0, fmt.Errorf("a string without its end: %w", errSyntax)
	}
	return size, bounded(size)
}

// partsSize is the size of an item with size parts, each of each items.
func partsSize(data, line []byte, size, each, depth int) (int, error) {
	n, ok := parseSize(line[1:])
	if !ok || n > respParts || depth == 0 {
		return 0, fmt.Errorf("%q: %w", line, errSyntax)
	}
	for range n * each {
		part, err := respSizeAt(data[min(size, len(data)):], depth-1)
		if err != nil || part == 0 {
			return 0, err
		}
		size += part
	}
	return size, bounded(size)
}

// respNext takes the first of several whole items; nil: there is none.
func respNext(items []byte) (item, rest []byte) {
	size, err := respSize(items)
	if err != nil || size == 0 {
		return nil, nil
	}
	return items[:size], items[size:]
}

// respOpen opens a whole array of count items; -1: it is no array.
func respOpen(item []byte) (count int, items []byte) {
	line, rest, _ := bytes.Cut(item, []byte(lineEnd))
	if len(line) == 0 || line[0] != '*' {
		return -1, nil
	}
	n, ok := parseSize(line[1:])
	if !ok {
		return -1, nil
	}
	return n, rest
}
