package child

import (
	"io"
	"os"
	"strings"
	"unicode/utf8"
)

const (
	// lastLineTail is how much of the end of a log is read, in bytes.
	lastLineTail = 8 << 10
	// lastLineMax bounds a line, in bytes.
	lastLineMax = 400
)

// LastLine is the last line of the log at path that is neither empty nor part of a
// Java stack, cut to 400 bytes: the last words of a process that ended. It is "" if
// there is none, or the log cannot be read.
func LastLine(path string) string {
	file, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer file.Close()
	if info, err := file.Stat(); err == nil && info.Size() > lastLineTail {
		if _, err := file.Seek(-lastLineTail, io.SeekEnd); err != nil {
			return ""
		}
	}
	text, err := io.ReadAll(io.LimitReader(file, lastLineTail))
	if err != nil {
		return ""
	}
	last := ""
	for line := range strings.Lines(string(text)) {
		if inStack := strings.HasPrefix(line, "\tat ") || strings.HasPrefix(line, "\t... "); !inStack && strings.TrimSpace(line) != "" {
			last = strings.TrimSpace(line)
		}
	}
	if len(last) > lastLineMax {
		last = last[:lastLineMax]
		for !utf8.ValidString(last) && len(last) > lastLineMax-utf8.UTFMax {
			last = last[:len(last)-1]
		}
		last += "..."
	}
	return last
}
