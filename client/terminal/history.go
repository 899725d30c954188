package terminal

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"cim/client"
	"cim/proto"
)

const (
	// historyLineMax bounds a line of a history file, in bytes. A longer one is
	// cut.
	historyLineMax = 64 << 10
	// historyDay is the name of a day's file, historyTime the time at the start of a line.
	historyDay  = "2006-01-02.txt"
	historyTime = "15:04:05 "
)

// history keeps the lines of one user, in a file for each day. A line is
//
//	15:04:05 < name (id): text          received
//	15:04:05 < [all] name (id): text    received, a group message
//	15:04:05 > receiver: text           sent
//
// with the time at which it was sent, in the file of that day. Characters that a terminal could
// take for a command are made harmless, so that each entry is one line that any program can show. A
// failure is reported once, and again after everything has worked in between.
type history struct {
	folder   string // "": nothing is kept
	now      func() time.Time
	complain func(error)

	mu     sync.Mutex
	file   *os.File // of day; nil: none is open
	day    string
	torn   bool                         // the last write may have left half a line
	failed struct{ lines, inputs bool } // the last write failed, and that was reported
}

func newHistory(folder string, user proto.User, complain func(error)) *history {
	h := &history{now: time.Now, complain: complain}
	if folder != "" {
		h.folder = filepath.Join(folder, folderOf(user))
	}
	return h
}

// folderOf is a user's folder. The id makes it unique; the name is for people, as far as every file
// system allows it.
func folderOf(user proto.User) string {
	const nameMax = 40
	name := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '-':
			return r
		}
		return '_'
	}, user.Name)
	return fmt.Sprintf("%d-%s", user.ID, name[:min(len(name), nameMax)])
}

// received keeps a message that was sent at a time.
func (h *history) received(m client.Message, at time.Time) {
	mark := ""
	if m.ToAll {
		mark = ToAll
	}
	h.add(func() time.Time { return at }, fmt.Sprintf("< %s%s (%d): %s", mark, m.Sender.Name, m.Sender.ID, m.Text))
}

func (h *history) sent(m message, note string) {
	h.add(h.now, fmt.Sprintf("> %s%s: %s", m.to(), note, m.text))
}

func (h *history) add(at func() time.Time, text string) {
	if h.folder == "" {
		return
	}
	h.note(&h.failed.lines, h.append(at(), text))
}

// note records whether a write fails, and reports the first failure.
func (h *history) note(failed *bool, err error) {
	h.mu.Lock()
	reported := h.failed.lines || h.failed.inputs
	*failed = err != nil
	h.mu.Unlock()
	if err != nil && !reported {
		h.complain(err)
	}
}

func (h *history) append(at time.Time, text string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.open(at.Format(historyDay)); err != nil {
		return err
	}
	line := bounded(at.Format(historyTime) + Harmless(text))
	if h.torn {
		line = "\n" + line
	}
	n, err := h.file.WriteString(line)
	if err != nil {
		h.torn = h.torn || n > 0
		return err
	}
	h.torn = false
	return nil
}

// bounded is line with its end, cut between two characters if it is too long.
func bounded(line string) string {
	const ends = "…\n"
	if len(line) < historyLineMax {
		return line + "\n"
	}
	cut := historyLineMax - len(ends)
	for !utf8.RuneStart(line[cut]) {
		cut--
	}
	return line[:cut] + ends
}

// open opens the file of day, which only the user may read.
func (h *history) open(day string) error {
	if h.file != nil && h.day == day {
		return nil
	}
	if err := h.shut(); err != nil {
		return err
	}
	if err := os.MkdirAll(h.folder, 0o700); err != nil {
		return err
	}
	file, err := os.OpenFile(filepath.Join(h.folder, day), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	h.file, h.day, h.torn = file, day, false
	return nil
}

func (h *history) shut() error {
	if h.file == nil {
		return nil
	}
	file := h.file
	h.file = nil
	return file.Close()
}

func (h *history) close() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.shut()
}

// inputFile has the lines that were typed, for the arrow keys and Ctrl-R.
const (
	inputFile = "input"
	inputsMax = 500 // lines of it that are kept
)

// inputs are the lines that were typed before, the newest last. The file is cut
// to inputsMax of them.
func (h *history) inputs() ([]string, error) {
	if h.folder == "" {
		return nil, nil
	}
	name := filepath.Join(h.folder, inputFile)
	text, err := os.ReadFile(name)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	lines := strings.Split(strings.TrimRight(string(text), "\n"), "\n")
	if len(lines) <= inputsMax {
		return lines, nil
	}
	lines = lines[len(lines)-inputsMax:]
	return lines, replaceFile(name, strings.Join(lines, "\n")+"\n")
}

// replaceFile puts text in name's place, or leaves it as it was.
func replaceFile(name, text string) error {
	next := name + ".new"
	if err := os.WriteFile(next, []byte(text), 0o600); err != nil {
		return err
	}
	return os.Rename(next, name)
}

// typed keeps a line for the next session. One goroutine calls it.
func (h *history) typed(text string) {
	if h.folder == "" || strings.TrimSpace(text) == "" {
		return
	}
	h.note(&h.failed.inputs, h.keepTyped(text))
}

func (h *history) keepTyped(text string) (err error) {
	if err := os.MkdirAll(h.folder, 0o700); err != nil {
		return err
	}
	file, err := os.OpenFile(filepath.Join(h.folder, inputFile), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	_, err = file.WriteString(text + "\n")
	return err
}
