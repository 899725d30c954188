package terminal

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"cim/proto"
)

// commands is what :all shows, and a command that is not known.
const commands = `a line goes to everyone, id;;text to one user
:olu  who is online
:all  these commands
:q!   quit`

type lineKind uint8

const (
	lineEmpty lineKind = iota
	lineGroup
	linePrivate
	lineOnline
	lineCommands
	lineUnknown // text is the command
	lineQuit
	lineWrong // text says what is wrong
)

// line is one line of the input, understood.
type line struct {
	kind     lineKind
	receiver proto.UserID
	text     string
}

func parseLine(text string) line {
	switch {
	case len(text) > proto.TextMax:
		return line{kind: lineWrong, text: fmt.Sprintf("! not sent: the line is longer than %d bytes", proto.TextMax)}
	case strings.TrimSpace(text) == "":
		return line{kind: lineEmpty}
	case strings.HasPrefix(text, ":"):
		return parseCommand(strings.TrimRight(text, " \t"))
	case strings.Contains(text, ";;"):
		return parsePrivate(text)
	}
	return line{kind: lineGroup, text: text}
}

func parseCommand(text string) line {
	switch text {
	case ":q!":
		return line{kind: lineQuit}
	case ":olu":
		return line{kind: lineOnline}
	case ":all":
		return line{kind: lineCommands}
	}
	return line{kind: lineUnknown, text: text}
}

// parsePrivate reads id;;text. What only looks like it goes to nobody, since
// it was hardly meant for everybody.
func parsePrivate(text string) line {
	id, text, _ := strings.Cut(text, ";;")
	receiver, err := strconv.ParseInt(strings.TrimSpace(id), 10, 64)
	switch {
	case err != nil || receiver <= 0:
		return line{kind: lineWrong, text: fmt.Sprintf("! not sent: %q is not a user's id", id)}
	case text == "":
		return line{kind: lineWrong, text: "! not sent: there is no text behind ;;"}
	}
	return line{kind: linePrivate, receiver: proto.UserID(receiver), text: text}
}

// readLines passes on the lines of in until it ends, which is nil, or ctx
// does. A line that is too long comes as its first proto.TextMax+1 bytes or
// more, so that it is seen to be too long.
func readLines(ctx context.Context, in io.Reader, lines chan<- string) error {
	reader := bufio.NewReaderSize(in, proto.TextMax+2)
	for {
		text, err := readLine(reader)
		if text != "" || err == nil {
			select {
			case lines <- text:
			case <-ctx.Done():
				return nil
			}
		}
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("terminal: read a line: %w", err)
		}
	}
}

// readLine reads one line, and throws away what is beyond the reader's buffer.
func readLine(reader *bufio.Reader) (string, error) {
	text, err := reader.ReadSlice('\n')
	first := strings.TrimRight(string(text), "\r\n")
	for errors.Is(err, bufio.ErrBufferFull) {
		_, err = reader.ReadSlice('\n')
	}
	return first, err
}

// harmless is what others sent as one line that a terminal cannot take for a
// command: line breaks and tabs become spaces, what does not print becomes a
// mark. The joiners that emoji are made of stay.
func harmless(text string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\r' || r == '\t':
			return ' '
		case unicode.IsPrint(r) || r == zeroWidthJoiner:
			return r
		}
		return utf8.RuneError
	}, text)
}

const zeroWidthJoiner = '\u200d'
