package main

import (
	"fmt"
	"os"
	"strings"

	"cim/client/terminal"
	"cim/internal/tty"
)

// The control sequences of a screen: every terminal of today obeys them.
const (
	screenOpen  = "\x1b[?1049h\x1b[?25l" // the other screen, no cursor
	screenClose = "\x1b[?25h\x1b[?1049l"
	screenHome  = "\x1b[H"
	lineEmpty   = "\x1b[K" // from here on
	screenEmpty = "\x1b[J" // clears the rest of the screen
	boldOn      = "\x1b[1m"
	boldOff     = "\x1b[0m"
)

// screen draws on a terminal in place. It must be closed before the process ends, and then restores
// what was shown before.
type screen struct {
	out   *os.File
	plain bool // nothing is bold
}

// openScreen takes a terminal over, or returns nil: out is none, or a dumb one.
func openScreen(out *os.File, term, noColor string) *screen {
	if !terminal.IsTerminal(out) || term == "dumb" {
		return nil
	}
	s := &screen{out: out, plain: noColor != ""}
	if err := tty.Prepare(out); err != nil {
		return nil
	}
	if _, err := out.WriteString(screenOpen); err != nil {
		return nil
	}
	return s
}

func (s *screen) close() error {
	_, err := s.out.WriteString(screenClose)
	return err
}

// draw replaces the screen in one write. The last line counts the lines without room.
func (s *screen) draw(lines []string) error {
	width, height, err := tty.Size(s.out)
	if err != nil {
		return fmt.Errorf("the terminal's size: %w", err)
	}
	_, err = s.out.WriteString(frame(lines, height, width, s.plain))
	return err
}

// frame is the output for a terminal of that size; 24 lines of 80 if the size is unknown. A line is
// cleared before it is written: after the last cell, clearing would remove that cell.
func frame(lines []string, height, width int, plain bool) string {
	if height < 1 || width < 1 {
		height, width = 24, 80
	}
	if len(lines) > height {
		left := len(lines) - height + 1
		lines = append(lines[:height-1:height-1], fmt.Sprintf("... and %d more lines", left))
	}
	var text strings.Builder
	text.WriteString(screenHome)
	for i, line := range lines {
		if i > 0 {
			text.WriteString("\n")
		}
		line = cutLine(line, width)
		if i == 0 && !plain {
			line = boldOn + line + boldOff
		}
		text.WriteString(lineEmpty + line)
	}
	if len(lines) < height {
		text.WriteString("\n" + screenEmpty)
	}
	return text.String()
}

// cutLine cuts a line to the width; each drawn character is one cell wide.
func cutLine(line string, width int) string {
	if cells := []rune(line); len(cells) > width {
		return string(cells[:width])
	}
	return line
}
