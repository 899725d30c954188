package main

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"
)

// rawDescriptor is the constant in which protoc-gen-go keeps the proto file: Go
// strings, one on each line, joined by +.
var rawDescriptor = regexp.MustCompile(`(?m)^(const file_\w+_rawDesc = "" \+\n)((?:\t"(?:[^"\\\n]|\\.)*"(?: \+)?\n)+)`)

// descriptor changes go_package in the descriptor within generated code: the value
// has a length prefix, so the descriptor is parsed and written again.
func (r *renamer) descriptor(code []byte) ([]byte, error) {
	found := rawDescriptor.FindSubmatchIndex(code)
	if found == nil {
		return nil, errors.New("no descriptor was found in generated code")
	}
	raw, err := unquoteLines(string(code[found[4]:found[5]]))
	if err != nil {
		return nil, err
	}
	var file descriptorpb.FileDescriptorProto
	if err := proto.Unmarshal([]byte(raw), &file); err != nil {
		return nil, fmt.Errorf("descriptor: %w", err)
	}
	if file.Options == nil || file.Options.GoPackage == nil {
		return code, nil
	}
	file.Options.GoPackage = proto.String(r.text(file.Options.GetGoPackage()))
	next, err := proto.MarshalOptions{AllowPartial: true, Deterministic: true}.Marshal(&file)
	if err != nil {
		return nil, fmt.Errorf("descriptor: %w", err)
	}
	return append(append(append([]byte(nil), code[:found[4]]...), quoteLines(next)...), code[found[5]:]...), nil
}

// unquoteLines joins Go strings, one on each line.
func unquoteLines(lines string) (string, error) {
	var raw strings.Builder
	for line := range strings.Lines(lines) {
		part, err := strconv.Unquote(strings.TrimSuffix(strings.TrimSpace(line), " +"))
		if err != nil {
			return "", fmt.Errorf("descriptor: %w in %s", err, line)
		}
		raw.WriteString(part)
	}
	return raw.String(), nil
}

// quoteLines writes bytes as protoc-gen-go does: one string on each line.
func quoteLines(raw []byte) []byte {
	var lines []byte
	for len(raw) > 0 {
		n := bytes.IndexByte(raw, '\n') + 1
		if n == 0 {
			n = len(raw)
		}
		lines = append(lines, '\t')
		lines = strconv.AppendQuote(lines, string(raw[:n]))
		if raw = raw[n:]; len(raw) > 0 {
			lines = append(lines, " +"...)
		}
		lines = append(lines, '\n')
	}
	return lines
}
