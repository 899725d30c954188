package original

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"time"
)

const (
	messagePrefix = "offline:msg:"
	listPrefix    = "offline:msg:user:"
	offlineTTL    = "259200" // 3 days, in seconds
	fetchMax      = 100
)

// stored is a message that is kept, in the order in which it is written.
type stored struct {
	MessageID     int64             `json:"messageId"`
	ReceiveUserID int64             `json:"receiveUserId"`
	Content       string            `json:"content"`
	MessageType   int               `json:"messageType"`
	Status        int               `json:"status"`
	CreatedAt     string            `json:"createdAt"`
	Properties    map[string]string `json:"properties"`
}

// store keeps the texts of a message.
func (r *Route) store(m message, properties map[string]string) error {
	texts := m.BatchMsg
	if len(texts) == 0 && m.Msg != nil {
		texts = []string{*m.Msg}
	}
	for _, text := range texts {
		if err := r.storeText(m.ReceiveUserID, text, properties); err != nil {
			return err
		}
	}
	return nil
}

func (r *Route) storeText(user int64, text string, properties map[string]string) error {
	id := r.nextMessage()
	inner, err := json.Marshal(stored{
		MessageID: id, ReceiveUserID: user, Content: text,
		CreatedAt: time.Now().Format("2006-01-02T15:04:05.999999"), Properties: properties,
	})
	if err != nil {
		return err
	}
	outer, err := json.Marshal(string(inner))
	if err != nil {
		return err
	}
	list := key(listPrefix, user)
	for _, command := range [][]string{
		{"SET", key(messagePrefix, id), string(outer)},
		{"EXPIRE", key(messagePrefix, id), offlineTTL},
		{"RPUSH", list, fmt.Sprint(id)},
		{"EXPIRE", list, offlineTTL},
	} {
		if _, err := r.redis.do(command...); err != nil {
			return err
		}
	}
	return nil
}

// nextMessage is a number that grows with time.
func (r *Route) nextMessage() int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.message = max(r.message+1, time.Now().UnixMilli()<<12)
	return r.message
}

// fetch pushes what is kept for a user, a hundred at a time, and removes it.
// Ids without a message are passed over and stay: a hundred of them end it.
func (r *Route) fetch(ctx context.Context, request message) answer {
	at, found, err := r.find(request.ReceiveUserID)
	switch {
	case err != nil:
		return answered(CodeFailure, nil)
	case !found:
		return answered(CodeOffline, nil)
	}
	for {
		messages, err := r.kept(request.ReceiveUserID)
		if err != nil {
			return answered(CodeFailure, nil)
		}
		if len(messages) == 0 {
			return answered(CodeSuccess, nil)
		}
		batch := message{ReceiveUserID: request.ReceiveUserID}
		for _, m := range messages {
			batch.BatchMsg = append(batch.BatchMsg, m.Content)
		}
		if r.push(ctx, at, batch, "OFFLINE", messages[0].Properties) != nil || r.remove(request.ReceiveUserID, messages) != nil {
			return answered(CodeFailure, nil)
		}
	}
}

// kept reads the messages of a user's first hundred ids. It fails on one that
// it cannot read.
func (r *Route) kept(user int64) ([]stored, error) {
	ids, err := r.redis.strings("LRANGE", key(listPrefix, user), "0", strconv.Itoa(fetchMax-1))
	if err != nil {
		return nil, err
	}
	var messages []stored
	for _, id := range ids {
		value, found, err := r.redis.get(messagePrefix + id)
		if err != nil {
			return nil, err
		}
		if !found {
			continue
		}
		var inner string
		var m stored
		if err := json.Unmarshal([]byte(value), &inner); err != nil {
			return nil, fmt.Errorf("original: message %s: %w", id, err)
		}
		if err := strictly([]byte(inner), &m); err != nil {
			return nil, fmt.Errorf("original: message %s: %w", id, err)
		}
		if _, err := parseCreated(m.CreatedAt); err != nil || fmt.Sprint(m.MessageID) != id {
			return nil, fmt.Errorf("original: message %s is of %d, created %q", id, m.MessageID, m.CreatedAt)
		}
		messages = append(messages, m)
	}
	return messages, nil
}

// parseCreated reads an ISO local date-time.
func parseCreated(text string) (time.Time, error) {
	if at, err := time.Parse("2006-01-02T15:04", text); err == nil {
		return at, nil
	}
	return time.Parse("2006-01-02T15:04:05", text)
}

func (r *Route) remove(user int64, messages []stored) error {
	for _, m := range messages {
		if _, err := r.redis.do("DEL", key(messagePrefix, m.MessageID)); err != nil {
			return err
		}
		if _, err := r.redis.do("LREM", key(listPrefix, user), "0", fmt.Sprint(m.MessageID)); err != nil {
			return err
		}
	}
	return nil
}
