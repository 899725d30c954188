package standin

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
	releasedTTL   = "604800" // 7 days
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
	if r.config.Released {
		return r.storeHash(id, user, text, properties)
	}
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

// storeHash keeps a text as the releases do, for 7 days.
func (r *Route) storeHash(id, user int64, text string, properties map[string]string) error {
	encoded, err := json.Marshal(properties)
	if err != nil {
		return err
	}
	list := key(listPrefix, user)
	for _, command := range [][]string{
		{
			"HSET", key(messagePrefix, id), "messageId", fmt.Sprint(id), "receiveUserId", fmt.Sprint(user), "content", text,
			"messageType", "0", "status", "0", "createdAt", time.Now().Format("2006-01-02T15:04:05.999999"), "properties", string(encoded),
		},
		{"EXPIRE", key(messagePrefix, id), releasedTTL},
		{"RPUSH", list, strconv.Quote(fmt.Sprint(id))},
		{"EXPIRE", list, releasedTTL},
	} {
		if _, err := r.redis.do(command...); err != nil {
			return err
		}
	}
	return nil
}

// keptHash reads a text that is kept so. It fails on one that it cannot read.
func (r *Route) keptHash(listed string) (m stored, found bool, err error) {
	id, err := strconv.Unquote(listed)
	if err != nil {
		return stored{}, false, fmt.Errorf("original: id %s: %w", listed, err)
	}
	all, err := r.redis.strings("HGETALL", messagePrefix+id)
	if err != nil || len(all) == 0 {
		return stored{}, false, err
	}
	fields := map[string]string{}
	for i := 1; i < len(all); i += 2 {
		fields[all[i-1]] = all[i]
	}
	m.Content = fields["content"]
	if m.MessageID, err = strconv.ParseInt(fields["messageId"], 10, 64); err == nil {
		err = json.Unmarshal([]byte(fields["properties"]), &m.Properties)
	}
	if err != nil || fmt.Sprint(m.MessageID) != id {
		return stored{}, false, fmt.Errorf("original: message %s: %w", id, err)
	}
	return m, fields["status"] == "0", nil
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
		if r.config.Released {
			m, found, err := r.keptHash(id)
			if err != nil {
				return nil, err
			}
			if found {
				messages = append(messages, m)
			}
			continue
		}
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
		if r.config.Released {
			if _, err := r.redis.do("HSET", key(messagePrefix, m.MessageID), "status", "1"); err != nil {
				return err
			}
			if _, err := r.redis.do("LREM", key(listPrefix, user), "0", strconv.Quote(fmt.Sprint(m.MessageID))); err != nil {
				return err
			}
			continue
		}
		if _, err := r.redis.do("DEL", key(messagePrefix, m.MessageID)); err != nil {
			return err
		}
		if _, err := r.redis.do("LREM", key(listPrefix, user), "0", fmt.Sprint(m.MessageID)); err != nil {
			return err
		}
	}
	return nil
}
