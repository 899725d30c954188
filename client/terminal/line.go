package terminal

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"cim/proto"
)

// commands is what :all shows, and a command that is not known.
const commands = `a line goes to everyone; id;;text or name;;text to one user
a text that begins with : goes with a space in front
:all  :help           these commands
:olu                  who is online
:pu prefix            who is online and called so
:q keyword            search the chat history
:ai  :qai             a playful echo instead of sending: on, off
:emoji page           emoji and their aliases, five a page
:info                 who am I
:delay text seconds   send later
:again                send again what was not sent
:q!  :quit            quit`

// commandWords are what Tab completes.
var commandWords = []string{
	":again", ":ai", ":all", ":delay ", ":emoji ", ":help", ":info", ":olu", ":pu ", ":q ", ":q!", ":qai", ":quit",
}

// ByteOrderMark is what some editors put in front of a text. It does not belong to the text, also
// at the start of a later line in joined files.
const ByteOrderMark = "\ufeff"

type lineKind uint8

const (
	lineEmpty lineKind = iota
	lineMessage
	lineAll
	lineOnline  // text is the prefix
	lineSearch  // text is the keyword
	lineEcho    // on
	lineNoEcho  // off
	lineEmoji   // number is the page
	lineInfo    // my own name
	lineDelay   // send message after number seconds
	lineAgain   // what failed
	lineUnknown // text is the command
	lineQuit
	lineWrong // text is the fault
)

// line is one line of the input, understood.
type line struct {
	kind    lineKind
	message message
	number  int
	text    string
}

// message is a text on its way out.
type message struct {
	receiver string // an id or a name as it was typed; "" is all
	text     string
	// whole is the line if receiver is probably not a name: it goes to all unless there is such a
	// user. "": receiver is a name.
	whole string
	id    proto.TextID // which the receiver knows a copy by, as of :again; 0: none yet
}

// to names the receiver in words.
func (m message) to() string {
	if m.receiver == "" {
		return "everyone"
	}
	return Harmless(m.receiver)
}

// delayMax bounds what :delay waits.
const delayMax = 24 * time.Hour

func wrong(format string, args ...any) line {
	return line{kind: lineWrong, text: "! " + fmt.Sprintf(format, args...)}
}

func parseLine(text string) line {
	switch {
	case len(text) > proto.TextMax:
		return wrong("not sent: the line is longer than %d bytes", proto.TextMax)
	case !utf8.ValidString(text):
		return wrong("not sent: the line is not valid UTF-8")
	case strings.TrimSpace(text) == "":
		return line{kind: lineEmpty}
	case strings.HasPrefix(text, ":"):
		return parseCommand(strings.TrimRight(text, " \t"))
	}
	return parseMessage(text)
}

// parseMessage reads id;;text, name;;text or a text to all. If the part before ;; looks like a name
// it is one: a mistyped name must not send the text to all. If it cannot be a name, or is more
// likely code or prose, as in for(;;), it is part of the text.
func parseMessage(text string) line {
	receiver, rest, private := strings.Cut(text, ";;")
	receiver = strings.TrimSpace(receiver)
	_, isID := parseID(receiver)
	named := isID || looksLikeName(receiver)
	m := message{receiver: receiver, text: rest}
	switch {
	case private && strings.ContainsFunc(receiver, func(r rune) bool { return r != '\t' && unicode.IsControl(r) }):
		return wrong("not sent: there is a control character in front of ;;")
	case !private, !named && proto.CheckNameSpelling(receiver) != nil:
		m = message{text: text}
	case !named:
		m.whole = text
	case rest == "":
		return wrong("not sent: there is no text behind ;;")
	case !isID:
		if fault := proto.CheckNameSpelling(receiver); fault != nil {
			return wrong("not sent: no user can be called %q: %s", Harmless(receiver), Harmless(fault.Error()))
		}
	}
	return line{kind: lineMessage, message: m}
}

// leavingWords are what other programs take for a command, alone in a line.
var leavingWords = []string{"exit", "quit", "q", "logout", "help", "?"}

// elsewhereCommand reports whether a text to all is a command of another program, which is probably
// not meant for all.
func elsewhereCommand(text string) bool {
	if strings.HasPrefix(text, " ") {
		return false
	}
	text = strings.ToLower(strings.TrimSpace(text))
	if slices.Contains(leavingWords, text) {
		return true
	}
	word, slash := strings.CutPrefix(strings.Fields(text)[0], "/")
	return slash && word != "" && (word == "?" || !strings.ContainsFunc(word, func(r rune) bool { return r < 'a' || r > 'z' }))
}

// looksLikeName reports whether text is one word of letters, digits and what
// stands in names: no spaces, and nothing of code.
func looksLikeName(text string) bool {
	return text != "" && !strings.ContainsFunc(text, func(r rune) bool {
		return unicode.IsSpace(r) || r < utf8.RuneSelf && !strings.ContainsRune("-_.@+'", r) && !unicode.In(r, unicode.L, unicode.N)
	})
}

// parseID reads a user's id. Other words may be names.
func parseID(text string) (proto.UserID, bool) {
	id, err := strconv.ParseInt(text, 10, 64)
	return proto.UserID(id), err == nil && id > 0
}

// bare are the commands with nothing behind them.
var bare = map[string]lineKind{
	":all": lineAll, ":olu": lineOnline, ":ai": lineEcho, ":qai": lineNoEcho,
	":info": lineInfo, ":again": lineAgain, ":q!": lineQuit, ":quit": lineQuit, ":help": lineAll,
}

func parseCommand(text string) line {
	if kind, known := bare[text]; known {
		return line{kind: kind}
	}
	word, rest, _ := strings.Cut(text, " ")
	rest = strings.TrimSpace(rest)
	switch word {
	case ":pu":
		return line{kind: lineOnline, text: rest}
	case ":q":
		return parseSearch(rest)
	case ":emoji":
		return parseEmoji(rest)
	case ":delay":
		return parseDelay(rest)
	}
	return line{kind: lineUnknown, text: text}
}

func parseSearch(keyword string) line {
	if keyword == "" {
		return wrong("there is no keyword, want for example :q lunch")
	}
	return line{kind: lineSearch, text: keyword}
}

func parseEmoji(page string) line {
	if page == "" {
		page = "1"
	}
	number, err := strconv.Atoi(page)
	if pages := emojiPages(); err != nil || number < 1 || number > pages {
		return wrong("page %q: want a number from 1 to %d", Harmless(page), pages)
	}
	return line{kind: lineEmoji, number: number}
}

func parseDelay(rest string) line {
	most := int(delayMax / time.Second)
	at := strings.LastIndexAny(rest, " \t")
	if at < 0 {
		return wrong("not sent: want :delay text seconds")
	}
	seconds, err := strconv.Atoi(rest[at+1:])
	if err != nil || seconds < 1 || seconds > most {
		return wrong("not sent: %q seconds: want a number from 1 to %d", Harmless(rest[at+1:]), most)
	}
	l := parseMessage(strings.TrimSpace(rest[:at]))
	if l.kind == lineMessage {
		l.kind, l.number = lineDelay, seconds
	}
	return l
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

// readLine reads one line, and drops what exceeds the reader's buffer.
func readLine(reader *bufio.Reader) (string, error) {
	text, err := reader.ReadSlice('\n')
	first := strings.TrimPrefix(strings.TrimRight(string(text), "\r\n"), ByteOrderMark)
	for errors.Is(err, bufio.ErrBufferFull) {
		_, err = reader.ReadSlice('\n')
	}
	return first, err
}
