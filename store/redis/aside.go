package redis

import (
	"context"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/redis/rueidis"

	"cim/proto"
)

// seenForms remember whether the original's routes of this fleet are of a release.
type seenForms struct {
	mu       sync.Mutex
	released bool           // a text of a release has been read
	shape    *releasedShape // of the last one that another can be written like
}

// plainShape is how a release writes a hash, as far as none was read that shows
// it.
var plainShape = &releasedShape{idQuote: true, fields: map[string]string{
	roleID: "messageId", roleReceiver: "receiveUserId", roleContent: "content", roleType: "messageType",
	roleStatus: "status", roleCreated: "createdAt", roleProperties: "properties",
}}

// note remembers the form of a text that was read under an id of a list. That
// of a string says nothing: we write such texts ourselves.
func (f *seenForms) note(raw rawText, id string) {
	if raw.form != formReleased {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.released = true
	if shape := shapeOf(id, raw.fields); shape != nil {
		f.shape = shape
	}
}

// form is in which form a text is to be stored in box, as asked: nil for the one
// of the original's master. known is false where that is a release's and no text
// has been read that can be written like.
func (f *seenForms) form(asked OriginalForm, box listedBox) (shape *releasedShape, known bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case asked == FormString:
		return nil, true
	case asked == FormHash && f.shape == nil:
		return plainShape, true
	case asked == FormHash:
		return f.shape, true
	}
	if box.form == formMaster || box.form == formNone && !f.released {
		return nil, true
	}
	return f.shape, f.shape != nil
}

// listedBox is what a user's list has, without what is gone, delivered or
// cannot be read.
type listedBox struct {
	texts, bytes int
	ids          []string      // as they stand in the list, and of those that are gone too
	life         time.Duration // of the list; 0: there is none, or it lasts
	form         textForm      // of the newest text; formNone: there is none
}

// weigh counts the texts in the original's forms, and their bytes as they are
// written there. It drops the ids of those that are gone.
func (s *Store) weigh(ctx context.Context, user proto.UserID) (box listedBox, err error) {
	box.form = formNone
	var ids []string
	a := about{what: "weigh what the original has for", user: user}
	err = s.call(ctx, a, true, func(ctx context.Context, c rueidis.Client) error {
		answers := c.DoMulti(ctx, s.list(c, user), c.B().Pttl().Key(contractListKey(user)).Build())
		if ids, err = answers[0].AsStrSlice(); err != nil {
			return err
		}
		life, err := answers[1].AsInt64()
		box.life = time.Duration(max(life, 0)) * time.Millisecond
		return err
	})
	if ids = s.shown.readable(user, ids); err != nil || len(ids) == 0 {
		return box, err
	}
	box.ids = ids
	type weight struct {
		form  textForm
		bytes int
	}
	weights := make([]weight, len(ids))
	err = s.eachText(ctx, user, ids, weighOriginal, nil, func(i int, _ string, answer []string) bool {
		weights[i] = weight{form: formNone}
		if len(answer) == 2 {
			bytes, _ := strconv.Atoi(answer[1]) // the script's own number
			weights[i] = weight{textForm(answer[0]), bytes}
		}
		return weights[i].form != formNone
	})
	if err != nil {
		return box, err
	}
	var over []string
	for i, w := range weights {
		switch w.form {
		case formNone, formDelivered:
			over = append(over, ids[i])
			if box.form == formNone && bareID(ids[i]) != ids[i] {
				box.form = formReleased
			}
		case formMaster, formReleased:
			box.texts, box.bytes, box.form = box.texts+1, box.bytes+w.bytes, w.form
		}
	}
	if err := s.learnForm(ctx, user, box, ids); err != nil {
		return box, err
	}
	return box, s.unlist(ctx, user, over)
}

// learnForm reads the newest texts of a box that has some of a release, if none
// has been read yet.
func (s *Store) learnForm(ctx context.Context, user proto.UserID, box listedBox, ids []string) error {
	if _, known := s.seen.form(FormAuto, box); known || box.texts == 0 {
		return nil
	}
	ids = ids[max(0, len(ids)-fetchMax):]
	raws, err := s.rawTexts(ctx, user, ids)
	for i, raw := range raws {
		if raw.form == formReleased {
			s.seen.note(raw, ids[i])
		}
	}
	return err
}

// asideTexts are texts in one of the original's forms.
type asideTexts struct {
	ids    []string   // as they stand in the list
	values []string   // of master: the texts' strings
	hashes [][]string // of a release: their fields and values in turn
	keys   []string
	bytes  int
}

func newAsideTexts(shape *releasedShape, receiver proto.UserID, sender proto.User, id proto.TextID, texts []string, at time.Time) asideTexts {
	var all asideTexts
	for i, text := range texts {
		id := messageID(id.Next(i))
		all.keys = append(all.keys, contractKey(id))
		if shape == nil {
			value := contractText(id, receiver, sender, text, at)
			all.ids, all.values, all.bytes = append(all.ids, id), append(all.values, value), all.bytes+len(value)
			continue
		}
		all.ids = append(all.ids, jsonIf(shape.idQuote, id))
		all.hashes, all.bytes = append(all.hashes, shape.hash(id, receiver, sender, text, at)), all.bytes+len(text)
	}
	return all
}

// write writes texts as the original does: the texts first, so that each id
// that is read has its text. A list that lasts longer, as the releases' does,
// is not cut short.
func (s *Store) write(ctx context.Context, a about, receiver proto.UserID, texts asideTexts, life time.Duration) error {
	ttl := s.config.Store.OfflineTTL
	return s.call(ctx, a, false, func(ctx context.Context, c rueidis.Client) error {
		var commands rueidis.Commands
		for i, key := range texts.keys {
			if texts.hashes == nil {
				commands = append(commands, c.B().Set().Key(key).Value(texts.values[i]).Px(ttl).Build())
				continue
			}
			fields := c.B().Hset().Key(key).FieldValue()
			for pair := range slices.Chunk(texts.hashes[i], 2) {
				fields = fields.FieldValue(pair[0], pair[1])
			}
			commands = append(commands, fields.Build(), c.B().Pexpire().Key(key).Milliseconds(ttl.Milliseconds()).Build())
		}
		if err := firstError(c.DoMulti(ctx, commands...)); err != nil {
			return err
		}
		list, lasts := contractListKey(receiver), max(ttl, life)
		return firstError(c.DoMulti(ctx,
			c.B().Rpush().Key(list).Element(texts.ids...).Build(), c.B().Pexpire().Key(list).Milliseconds(lasts.Milliseconds()).Build()))
	})
}
