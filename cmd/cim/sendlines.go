package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"cim/client/terminal"
	"cim/proto"
)

const (
	// linesWaitMax bounds the lines that have been read and wait to be sent.
	linesWaitMax = 2 * proto.BatchMax
	// batchJSONMax bounds the texts of one request as JSON: the rest of its body
	// takes less than a kilobyte.
	batchJSONMax = proto.BodyMax - 1024
)

// sendLine is one message of cim send.
type sendLine struct {
	number int // from 1
	text   string
	size   int   // of the text as JSON, in bytes
	fault  error // why it cannot be sent; nil: it can
}

// sendLines are the messages of cim send, in their order. One goroutine takes
// them.
type sendLines struct {
	lines chan sendLine // closed behind the last
	err   error         // why the input ended; valid once lines is closed
	next  *sendLine     // taken and not used; nil: none
}

func newSendLine(number int, text string) sendLine {
	l := sendLine{number: number, text: text}
	switch {
	case len(text) > proto.TextMax:
		l.fault = fmt.Errorf("longer than %d bytes", proto.TextMax)
	case !utf8.ValidString(text):
		l.fault = errors.New("not valid UTF-8")
		if strings.HasPrefix(text, "\xff\xfe") || strings.HasPrefix(text, "\xfe\xff") {
			l.fault = errors.New("not valid UTF-8, but as it seems UTF-16: convert it first")
		}
	default:
		if l.size = len(proto.Body(text)) + len(","); l.size > batchJSONMax {
			l.fault = fmt.Errorf("%d bytes as JSON, want at most %d", l.size, batchJSONMax)
		}
	}
	if l.fault != nil {
		l.text = ""
	}
	return l
}

// oneLine is one message, which may have several lines.
func oneLine(text string) *sendLines {
	l := &sendLines{lines: make(chan sendLine, 1)}
	l.lines <- newSendLine(1, strings.TrimPrefix(text, terminal.ByteOrderMark))
	close(l.lines)
	return l
}

// readLines reads until in ends or ctx does. While in blocks so does the
// goroutine that reads it, which ends with its next line.
func readLines(ctx context.Context, in io.Reader) *sendLines {
	l := &sendLines{lines: make(chan sendLine, linesWaitMax)}
	go l.read(ctx, in)
	return l
}

func (l *sendLines) read(ctx context.Context, in io.Reader) {
	defer close(l.lines)
	reader := bufio.NewReaderSize(in, proto.TextMax+len("\r\n")+1)
	for number := 1; ctx.Err() == nil; number++ {
		line, err := readLine(reader)
		text, marked := strings.CutPrefix(line, terminal.ByteOrderMark)
		if (err == nil || text != "") && !(marked && text == "") {
			select {
			case l.lines <- newSendLine(number, text):
			case <-ctx.Done():
				return
			}
		}
		if err != nil {
			if !errors.Is(err, io.EOF) {
				l.err = fmt.Errorf("standard input: %w", err)
			}
			return
		}
	}
}

// readLine reads a line without its end. Of a line that is too long it returns more than
// proto.TextMax bytes, and not all.
func readLine(reader *bufio.Reader) (string, error) {
	line, err := reader.ReadSlice('\n')
	if err == nil {
		line = line[:len(line)-1]
		if n := len(line); n > 0 && line[n-1] == '\r' {
			line = line[:n-1]
		}
	}
	text := string(line)
	for errors.Is(err, bufio.ErrBufferFull) {
		_, err = reader.ReadSlice('\n')
	}
	return text, err
}

// batch waits for a line and takes what else is there: at most most lines, and as much as one
// request carries. A line that cannot be sent is alone. The batch is empty at the end, and if ctx
// has ended and nothing is there.
func (l *sendLines) batch(ctx context.Context, most int) []sendLine {
	first, ok := l.first(ctx)
	if !ok {
		return nil
	}
	batch, bytes, size := []sendLine{first}, len(first.text), first.size
	for first.fault == nil && len(batch) < most {
		next, ok := l.waiting()
		if !ok {
			break
		}
		bytes, size = bytes+len(next.text), size+next.size
		if next.fault != nil || bytes > proto.MessageBytesMax || size > batchJSONMax {
			l.next = &next
			break
		}
		batch = append(batch, next)
	}
	return batch
}

func (l *sendLines) first(ctx context.Context) (sendLine, bool) {
	if next, ok := l.waiting(); ok {
		return next, true
	}
	select {
	case next, ok := <-l.lines:
		return next, ok
	case <-ctx.Done():
		return l.waiting() // lines that have been read are sent
	}
}

// waiting takes a line that has been read.
func (l *sendLines) waiting() (sendLine, bool) {
	if next := l.next; next != nil {
		l.next = nil
		return *next, true
	}
	select {
	case next, ok := <-l.lines:
		return next, ok
	default:
		return sendLine{}, false
	}
}
