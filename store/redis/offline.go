package redis

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"time"

	"cim/proto"
	"cim/store"
)

// boxMargin is how much longer a box stays than its texts, in real time: so
// serials are not given again while anybody remembers the last ones.
const boxMargin = time.Hour

func boxKey(user proto.UserID) string { return besideRoute(user, "box") }

// boxArgs are the arguments of a box's script.
func (s *Store) boxArgs(more ...string) []string {
	ttl := s.config.Store.OfflineTTL
	return append([]string{s.clock(), milliseconds(ttl), milliseconds(ttl + boxMargin)}, more...)
}

// milliseconds are rounded up: no text goes before its time.
func milliseconds(d time.Duration) string {
	return strconv.FormatInt(int64((d+time.Millisecond-1)/time.Millisecond), 10)
}

// serialText is a serial for a script, which counts to 2^53 exactly; no larger
// one is given.
func serialText(serial uint64) string { return strconv.FormatUint(min(serial, 1<<53), 10) }

// appendBounds and returnBounds are the arguments of appendTexts before the texts.
var (
	appendBounds = []string{
		strconv.Itoa(store.TextOverhead), strconv.Itoa(store.BoxMaxMessages), strconv.Itoa(store.BoxMaxBytes),
		strconv.Itoa(store.ShareMaxMessages), strconv.Itoa(store.ShareMaxBytes),
	}
	returnBounds = []string{
		strconv.Itoa(store.TextOverhead), strconv.Itoa(2 * store.BoxMaxMessages), strconv.Itoa(2 * store.BoxMaxBytes), "", "",
	}
)

// refusal is what an answer of appendTexts that is not 1 means.
func refusal(answer int64) error {
	if answer < 0 {
		return store.ErrShareFull
	}
	return store.ErrBoxFull
}

// Append is that of Offline.
func (s *Store) Append(ctx context.Context, receiver proto.UserID, sender proto.User, id proto.TextID, at proto.UnixMilli, texts []string) error {
	return s.put(ctx, "append to the box of", receiver, store.TextsOf(sender, id, at, texts), appendBounds)
}

// Return is that of Offline.
func (s *Store) Return(ctx context.Context, user proto.UserID, texts []store.Returned) error {
	return s.put(ctx, "return to the box of", user, texts, returnBounds)
}

// put puts texts into a box. It is not repeated once it may have been sent:
// nobody knows what a broken connection has carried.
func (s *Store) put(ctx context.Context, what string, user proto.UserID, texts []store.Returned, bounds []string) error {
	args := append(s.boxArgs(bounds...), entries(texts)...)
	answer, err := s.number(ctx, about{what: what, user: user}, appendTexts, boxKey(user), args...)
	if err == nil && answer < 1 {
		return refusal(answer)
	}
	return err
}

// entries are texts as a box keeps them, without the time at which they are
// stored. The time of sending, if it is known, follows the id; the box has it in a
// field of its own.
func entries(texts []store.Returned) []string {
	all := make([]string, len(texts))
	for i, t := range texts {
		sent := ""
		if t.Sent != 0 {
			sent = sentMark + strconv.FormatInt(int64(t.Sent), 10)
		}
		all[i] = strconv.Itoa(len(t.Text)) + ":" + strconv.FormatUint(uint64(t.ID), 10) + sent + ":" +
			userText(t.Sender.ID) + ":" + strconv.Itoa(len(t.Sender.Name)) + ":" + t.Sender.Name + t.Text
	}
	return all
}

// Page is that of Offline.
func (s *Store) Page(ctx context.Context, user proto.UserID, after uint64) ([]store.OfflineMessage, error) {
	box, _, err := s.ReadBox(ctx, user, after)
	return box.Texts, err
}

// read reads the answer of readPage.
func (b *Box) read(answer []string) error {
	wrong := &valueError{key: "a user's box", want: "a box"}
	if len(answer) < 2 {
		return wrong
	}
	front, err := strconv.ParseUint(answer[0], 10, 64)
	if err != nil || front == 0 {
		return wrong
	}
	b.Front, b.Noted = outside(front-1), answer[1] == "1"
	b.Texts = make([]store.OfflineMessage, 0, len(answer)/3)
	for i := 4; i < len(answer); i += 3 {
		message, err := parseMessage(answer[i-2], answer[i-1], answer[i])
		if err != nil {
			return wrong
		}
		message.Serial = outside(message.Serial)
		b.Texts = append(b.Texts, message)
	}
	return nil
}

// sentMark stands between a text's id and the time at which it was sent, in what is
// given to a script.
const sentMark = "@"

var errEntry = errors.New("not an entry of a box")

// parseMessage reads a text as a box keeps it, and when it was sent: "" if that is
// not known. Its errors quote nothing.
func parseMessage(serial, entry, sent string) (message store.OfflineMessage, err error) {
	parts := strings.SplitN(entry, ":", 6)
	if len(parts) != 6 {
		return message, errEntry
	}
	id, err := strconv.ParseUint(parts[2], 10, 64)
	if err != nil {
		return message, errEntry
	}
	if sent != "" {
		at, err := strconv.ParseInt(sent, 10, 64)
		if err != nil {
			return message, errEntry
		}
		message.Sent = proto.UnixMilli(at)
	}
	var numbers [4]int64
	for i, part := range []string{parts[0], parts[1], parts[3], parts[4]} {
		if numbers[i], err = strconv.ParseInt(part, 10, 64); err != nil {
			return message, errEntry
		}
	}
	stored, textBytes, sender, nameBytes := numbers[0], numbers[1], numbers[2], numbers[3]
	body := parts[5]
	if nameBytes < 0 || nameBytes > int64(len(body)) || textBytes != int64(len(body))-nameBytes {
		return message, errEntry
	}
	if message.Serial, err = strconv.ParseUint(serial, 10, 64); err != nil {
		return message, errEntry
	}
	message.Stored, message.ID = time.UnixMilli(stored), proto.TextID(id)
	// What cannot be read as text would end the receiver's connection, at each
	// login again.
	message.Sender = proto.User{ID: proto.UserID(sender), Name: strings.ToValidUTF8(body[:nameBytes], "\uFFFD")}
	message.Text = strings.ToValidUTF8(body[nameBytes:], "\uFFFD")
	return message, nil
}

// Remove is that of Offline.
func (s *Store) Remove(ctx context.Context, user proto.UserID, keys []store.TextKey) error {
	_, err := s.RemoveThen(ctx, user, keys)
	return err
}

// removalKeys are keys for the script: sender:id, or the serial of a text in our
// form.
func removalKeys(keys []store.TextKey) []string {
	all := make([]string, 0, len(keys))
	for _, key := range keys {
		switch {
		case key.ID != 0:
			all = append(all, userText(key.Sender)+":"+strconv.FormatUint(uint64(key.ID), 10))
		case outside(inside(key.Serial)) == key.Serial:
			all = append(all, serialText(inside(key.Serial)))
		}
	}
	return all
}
