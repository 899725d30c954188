package standin

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"
)

// The commands of a frame.
const (
	cmdLogin   = 0
	cmdMessage = 1
	cmdPing    = 2
	cmdOffline = 3
)

// frameMax bounds what this stand-in reads, in bytes; the original has no
// bound.
const frameMax = 1 << 20

// frame is one protobuf message of the long connection, either way.
type frame struct {
	text       string
	id         int64
	cmd        int
	properties map[string]string
	batch      []string
}

// append appends the frame with its length in front. Values that are the
// default are left out, as proto3 does.
func (f frame) append(dst []byte) []byte {
	var body []byte
	if f.text != "" {
		body = protowire.AppendTag(body, 1, protowire.BytesType)
		body = protowire.AppendString(body, f.text)
	}
	if f.id != 0 {
		body = protowire.AppendTag(body, 2, protowire.VarintType)
		body = protowire.AppendVarint(body, uint64(f.id))
	}
	if f.cmd != 0 {
		body = protowire.AppendTag(body, 3, protowire.VarintType)
		body = protowire.AppendVarint(body, uint64(f.cmd))
	}
	for key, value := range f.properties {
		var entry []byte
		entry = protowire.AppendTag(entry, 1, protowire.BytesType)
		entry = protowire.AppendString(entry, key)
		entry = protowire.AppendTag(entry, 2, protowire.BytesType)
		entry = protowire.AppendString(entry, value)
		body = protowire.AppendTag(body, 4, protowire.BytesType)
		body = protowire.AppendBytes(body, entry)
	}
	for _, text := range f.batch {
		body = protowire.AppendTag(body, 5, protowire.BytesType)
		body = protowire.AppendString(body, text)
	}
	dst = binary.AppendUvarint(dst, uint64(len(body)))
	return append(dst, body...)
}

// texts are the messages that the frame counts as.
func (f frame) texts() []string {
	if len(f.batch) > 0 {
		return f.batch
	}
	return []string{f.text}
}

var errFrame = errors.New("not a frame")

func readFrame(r *bufio.Reader) (frame, error) {
	length, err := binary.ReadUvarint(r)
	if err != nil {
		return frame{}, err
	}
	if length > frameMax {
		return frame{}, fmt.Errorf("frame of %d bytes", length)
	}
	body := make([]byte, length)
	if _, err := io.ReadFull(r, body); err != nil {
		return frame{}, err
	}
	return parseFrame(body)
}

func parseFrame(body []byte) (frame, error) {
	f := frame{properties: map[string]string{}}
	for len(body) > 0 {
		number, kind, n := protowire.ConsumeTag(body)
		if n < 0 {
			return frame{}, errFrame
		}
		length := protowire.ConsumeFieldValue(number, kind, body[n:])
		if length < 0 {
			return frame{}, errFrame
		}
		if err := f.take(number, kind, body[n:n+length]); err != nil {
			return frame{}, err
		}
		body = body[n+length:]
	}
	return f, nil
}

// take reads one field; fields that it does not know are skipped.
func (f *frame) take(number protowire.Number, kind protowire.Type, value []byte) error {
	if slices.Contains([]protowire.Number{1, 4, 5}, number) != (kind == protowire.BytesType) && number <= 5 {
		return errFrame
	}
	switch number {
	case 1:
		f.text = bytesOf(value)
	case 2:
		n, _ := protowire.ConsumeVarint(value)
		f.id = int64(n)
	case 3:
		n, _ := protowire.ConsumeVarint(value)
		f.cmd = int(n)
	case 4:
		return f.takeProperty(bytesOf(value))
	case 5:
		f.batch = append(f.batch, bytesOf(value))
	}
	return nil
}

func (f *frame) takeProperty(entry string) error {
	parts := map[protowire.Number]string{}
	for rest := []byte(entry); len(rest) > 0; {
		number, kind, n := protowire.ConsumeTag(rest)
		if n < 0 || kind != protowire.BytesType {
			return errFrame
		}
		value, m := protowire.ConsumeBytes(rest[n:])
		if m < 0 {
			return errFrame
		}
		parts[number], rest = string(value), rest[n+m:]
	}
	f.properties[parts[1]] = parts[2]
	return nil
}

func bytesOf(value []byte) string {
	text, _ := protowire.ConsumeBytes(value)
	return strings.ToValidUTF8(string(text), "\uFFFD")
}
