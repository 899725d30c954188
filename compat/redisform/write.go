package redisform

import (
	"context"
	"strconv"
	"sync"
	"time"

	"cim/proto"
	"cim/store"
	"cim/store/redis"
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
func (f *seenForms) form(asked Form, box listedBox) (shape *releasedShape, known bool) {
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
	answers, err := s.Trip(ctx, "weigh what the original has for", user, true, s.list(user), redis.Command{Name: "PTTL", Key: listKey(user)})
	if err != nil {
		return box, err
	}
	ids, err := answers[0].Texts()
	if err != nil {
		return box, err
	}
	life, err := answers[1].Number()
	box.life = time.Duration(max(life, 0)) * time.Millisecond
	if ids = s.shown.readable(user, ids); err != nil || len(ids) == 0 {
		return box, err
	}
	box.ids = ids
	type weight struct {
		form  textForm
		bytes int
	}
	weights := make([]weight, len(ids))
	err = s.eachText(ctx, user, ids, weighText, nil, func(i int, _ string, answer []string) bool {
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

// writtenTexts are texts in one of the original's forms.
type writtenTexts struct {
	ids      []string        // as they stand in the list
	commands []redis.Command // that write the texts
	bytes    int
}

// written are texts of one sender in the form of shape, or in that of master if it is
// nil.
func (s *Store) written(shape *releasedShape, receiver proto.UserID, texts []store.Returned, at time.Time) (all writtenTexts) {
	life := milliseconds(s.config.Redis.Store.OfflineTTL)
	for _, text := range texts {
		id := messageID(text.ID)
		key := textKey(id)
		if shape == nil {
			value := masterText(id, receiver, text.Sender, text.Text, at)
			all.ids, all.bytes = append(all.ids, id), all.bytes+len(value)
			all.commands = append(all.commands, redis.Command{Name: "SET", Key: key, Args: []string{value, "PX", life}})
			continue
		}
		all.ids, all.bytes = append(all.ids, jsonIf(shape.idQuote, id)), all.bytes+len(text.Text)
		all.commands = append(all.commands,
			redis.Command{Name: "HSET", Key: key, Args: shape.hash(id, receiver, text.Sender, text.Text, at)},
			redis.Command{Name: "PEXPIRE", Key: key, Args: []string{life}})
	}
	return all
}

// write writes texts as the original does: the texts first, so that each id
// that is read has its text. A list that lasts longer, as the releases' does,
// is not cut short.
func (s *Store) write(ctx context.Context, receiver proto.UserID, texts writtenTexts, life time.Duration) error {
	const what = "append in the original's form to the box of"
	if _, err := s.Trip(ctx, what, receiver, false, texts.commands...); err != nil {
		return err
	}
	list, lasts := listKey(receiver), max(s.config.Redis.Store.OfflineTTL, life)
	_, err := s.Trip(ctx, what, receiver, false,
		redis.Command{Name: "RPUSH", Key: list, Args: texts.ids},
		redis.Command{Name: "PEXPIRE", Key: list, Args: []string{milliseconds(lasts)}})
	return err
}

func milliseconds(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) }
