package terminal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

const (
	// hitsMax bounds the lines that :q shows.
	hitsMax = 50
	// searchChunk is how much of a file is looked at together: many of its
	// longest lines.
	searchChunk = 16 * historyLineMax
)

// found is the result of a search.
type found struct {
	lines []string // the newest hitsMax, the newest last, with their days
	total int
}

// search looks for keyword in all files of the folder. Capital letters of
// ASCII are as good as small ones. The time of a line is not looked at.
func search(ctx context.Context, folder, keyword string) (found, error) {
	var f found
	days, err := filepath.Glob(filepath.Join(escapedGlob(folder), "????-??-??.txt"))
	if err != nil {
		return f, err
	}
	s := searcher{keyword: lowered(nil, []byte(Harmless(keyword))), found: &f}
	for _, day := range days { // Glob sorts, so the oldest comes first
		if err := ctx.Err(); err != nil {
			return f, err
		}
		if err := s.file(day); err != nil {
			return f, err
		}
	}
	f.lines = f.lines[max(0, len(f.lines)-hitsMax):]
	return f, nil
}

// escapedGlob is folder as a pattern that only it matches.
func escapedGlob(folder string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(folder)
}

// searcher goes through files and keeps its buffers.
type searcher struct {
	keyword []byte
	found   *found
	day     string // of the file that is read, as its lines have it
	chunk   []byte // whole lines, and then the start of one
	lower   []byte // the same in small letters
}

func (s *searcher) file(name string) (err error) {
	file, err := os.Open(name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	s.day, _, _ = strings.Cut(filepath.Base(name), ".")
	if s.chunk == nil {
		s.chunk = make([]byte, searchChunk)
	}
	rest := 0
	for {
		n, err := io.ReadFull(file, s.chunk[rest:])
		have := s.chunk[:rest+n]
		if err != nil { // the last ones, with or without their end
			s.lines(have)
			if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
				return nil
			}
			return fmt.Errorf("read %s: %w", name, err)
		}
		whole := bytes.LastIndexByte(have, '\n') + 1
		if whole == 0 { // no line of ours: it is taken in pieces
			whole = len(have)
		}
		s.lines(have[:whole])
		rest = copy(s.chunk, have[whole:])
	}
}

// lines looks at some lines at once.
func (s *searcher) lines(text []byte) {
	s.lower = lowered(s.lower[:0], text)
	for at := 0; ; {
		i := bytes.Index(s.lower[at:], s.keyword)
		if i < 0 {
			return
		}
		at += i
		begin := bytes.LastIndexByte(s.lower[:at], '\n') + 1
		if words := begin + len(historyTime); at < words {
			at = min(words, len(s.lower)) // the time, or a line that is shorter than one
			if end := bytes.IndexByte(s.lower[begin:at], '\n'); end >= 0 {
				at = begin + end + 1
			}
			continue
		}
		end := len(text)
		if i := bytes.IndexByte(text[at:], '\n'); i >= 0 {
			end = at + i
		}
		s.hit(text[begin:end])
		at = end
	}
}

func (s *searcher) hit(line []byte) {
	f := s.found
	f.total++
	f.lines = append(f.lines, s.day+" "+string(line))
	if len(f.lines) >= 2*hitsMax {
		f.lines = append(f.lines[:0], f.lines[len(f.lines)-hitsMax:]...)
	}
}

// lowered appends text to out in the small letters of ASCII: so each byte
// keeps its place.
func lowered(out, text []byte) []byte {
	out = append(out, text...)
	for i, c := range out[len(out)-len(text):] {
		if c-'A' <= 'Z'-'A' {
			out[len(out)-len(text)+i] = c + 'a' - 'A'
		}
	}
	return out
}

// highlighted is a line with each place of keyword in it marked.
func highlighted(line, keyword string, mark func(string) string) string {
	begin := min(len(line), len("2006-01-02 ")+len(historyTime)) // the time is not searched
	lower := lowered(nil, []byte(line))
	word := lowered(nil, []byte(Harmless(keyword)))
	places := emojiIn(line[begin:])
	for i := range places {
		places[i].begin, places[i].end = places[i].begin+begin, places[i].end+begin
	}
	out := line[:begin]
	for {
		i := bytes.Index(lower[begin:], word)
		if i < 0 {
			return out + emojifiedPart(line, places, begin, len(line))
		}
		at, end := begin+i, begin+i+len(word)
		out += emojifiedPart(line, places, begin, at) + mark(line[at:end])
		begin = end
	}
}
