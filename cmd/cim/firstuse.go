package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"cim/proto"
)

const (
	// answersMax bounds how often a question is repeated.
	answersMax = 5
	// answerMaxBytes bounds an answer.
	answerMaxBytes = 1024
)

// firstUse asks the questions of the first chat.
type firstUse struct {
	in       io.Reader
	out      io.Writer
	identity *identity
}

func (f firstUse) askName(ctx context.Context) (string, error) {
	for range answersMax {
		name, err := f.ask(ctx, "What is your name? ")
		if err != nil {
			return "", err
		}
		name = strings.TrimSpace(name)
		fault := proto.CheckNameSpelling(name)
		if fault == nil {
			return name, nil
		}
		if _, err := fmt.Fprintf(f.out, "That cannot be a name: %s\n", fault); err != nil {
			return "", err
		}
	}
	return "", errors.New("no name: give one with --name")
}

// offerContext keeps the name and the routes, if the user wants that. If that fails, the chat
// continues.
func (f firstUse) offerContext(ctx context.Context, name string) error {
	answer, err := f.ask(ctx, "Keep this name and route for the next time? [Y/n] ")
	if errors.Is(err, io.EOF) {
		answer, err = "n", nil
	}
	if err != nil || strings.HasPrefix(strings.ToLower(strings.TrimSpace(answer)), "n") {
		return err
	}
	kept, err := f.keep(name)
	text := fmt.Sprintf("Kept as context %s; cim context list shows it.\n", kept)
	if err != nil {
		text = fmt.Sprintf("Not kept: %s\n", err)
	}
	_, err = io.WriteString(f.out, text)
	return err
}

// keep returns the name of the context that it has made.
func (f firstUse) keep(name string) (string, error) {
	book, err := openContexts()
	if err != nil {
		return "", err
	}
	free := freeContext(book, name)
	return free, book.keep(free, contextEntry{routes: f.identity.routes, name: name})
}

// freeContext is a name for a context that is not taken: the user's if it can
// be one.
func freeContext(book *contextBook, name string) string {
	if checkContextName(name) != nil {
		name = "home"
	}
	free := name
	for n := 2; ; n++ { // ends: the book is finite
		if _, taken := book.entries[free]; !taken {
			return free
		}
		free = fmt.Sprintf("%s-%d", name, n)
	}
}

// ask asks and returns the answered line. It reads byte by byte, so that input typed ahead stays
// for the chat. After an interrupt the reading goroutine ends with the next line.
func (f firstUse) ask(ctx context.Context, question string) (string, error) {
	if _, err := io.WriteString(f.out, question); err != nil {
		return "", err
	}
	type answer struct {
		text string
		err  error
	}
	answered := make(chan answer, 1)
	go func() {
		text, err := readAnswer(f.in)
		answered <- answer{text, err}
	}()
	select {
	case a := <-answered:
		return a.text, a.err
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

func readAnswer(in io.Reader) (string, error) {
	var line []byte
	for next := make([]byte, 1); len(line) < answerMaxBytes; {
		if _, err := io.ReadFull(in, next); err != nil {
			return "", fmt.Errorf("no answer: %w", err)
		}
		if next[0] == '\n' {
			return string(line), nil
		}
		line = append(line, next[0])
	}
	return "", fmt.Errorf("the answer is longer than %d bytes", answerMaxBytes)
}
