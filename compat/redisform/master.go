package redisform

import (
	"bytes"
	"encoding/json"
	"errors"
	"hash/fnv"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	"cim/proto"
	"cim/store"
)

// The original keeps a text under offline:msg:<messageId>, and beside it a list
// of the user's messageIds, oldest first.
const (
	textPrefix = "offline:msg:"
	listPrefix = "offline:msg:user:"
	// localTime is an ISO date-time without a zone, which is the process's own.
	localTime = "2006-01-02T15:04:05.000"
	// localTimeRead takes any digits of a second; the original leaves out seconds
	// that are 0.
	localTimeRead, localMinuteRead = "2006-01-02T15:04:05", "2006-01-02T15:04"
)

func textKey(messageID string) string { return textPrefix + messageID }

func listKey(user proto.UserID) string { return listPrefix + userText(user) }

func userText(id proto.UserID) string { return strconv.FormatInt(int64(id), 10) }

// messageID is the original's number for a text, a signed one of 64 bits: so
// the text's own id comes back from it. A text without one gets one.
func messageID(id proto.TextID) string {
	for id == 0 {
		id = proto.TextID(rand.Uint64())
	}
	return strconv.FormatInt(int64(id), 10)
}

// textID is the id of the text that has a messageId: its number, or a hash of
// what is none.
func textID(messageID string) proto.TextID {
	if n, err := strconv.ParseInt(messageID, 10, 64); err == nil && n != 0 {
		return proto.TextID(n)
	}
	sum := fnv.New64a()
	sum.Write([]byte(messageID)) // never fails
	return proto.TextID(max(sum.Sum64(), 1))
}

// masterMessage is a text as the original writes it down, in the order of its
// members.
type masterMessage struct {
	MessageID     json.Number      `json:"messageId"`
	ReceiveUserID proto.UserID     `json:"receiveUserId"`
	Content       string           `json:"content"`
	MessageType   int              `json:"messageType"` // 0: a text
	Status        int              `json:"status"`      // 0: not delivered
	CreatedAt     string           `json:"createdAt"`
	Properties    masterProperties `json:"properties"`
}

type masterProperties struct {
	SendUserID    string `json:"sendUserId"`
	SendUserName  string `json:"sendUserName"`
	ReceiveUserID string `json:"receiveUserId"`
}

// masterText is the value of a text's key, as master has it: JSON, as a JSON string.
func masterText(id string, receiver proto.UserID, sender proto.User, text string, at time.Time) string {
	message := masterMessage{
		MessageID: json.Number(id), ReceiveUserID: receiver, Content: text, CreatedAt: at.Local().Format(localTime),
		Properties: masterProperties{
			SendUserID: userText(sender.ID), SendUserName: sender.Name, ReceiveUserID: userText(receiver),
		},
	}
	return jsonText(jsonText(message))
}

// jsonText is the JSON of v, without the escapes for HTML, which no reader needs.
func jsonText(v any) string {
	var buffer bytes.Buffer
	encoder := json.NewEncoder(&buffer)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(v); err != nil {
		panic("redisform: encode a message: " + err.Error()) // our own types always encode
	}
	return strings.TrimSuffix(buffer.String(), "\n")
}

// errForm says that a text of the original cannot be read. It quotes
// nothing.
var errForm = errors.New("not a message in the original's form")

// parseMaster reads the value of a text's key. Its serial is not in it.
// delivered reports whether the text says that its user has it.
func parseMaster(id, value string) (message store.OfflineMessage, delivered bool, err error) {
	inner := value
	if strings.HasPrefix(value, `"`) {
		if err := json.Unmarshal([]byte(value), &inner); err != nil {
			return message, false, errForm
		}
	}
	var read struct {
		Content    *string           `json:"content"`
		Status     json.RawMessage   `json:"status"`
		CreatedAt  string            `json:"createdAt"`
		Properties map[string]string `json:"properties"`
	}
	if err := json.Unmarshal([]byte(inner), &read); err != nil || read.Content == nil || len(*read.Content) > proto.MessageBytesMax {
		return message, false, errForm
	}
	name := read.Properties["sendUserName"]
	if len(name) > proto.RecordNameMax {
		return message, false, errForm
	}
	sender, _ := strconv.ParseInt(read.Properties["sendUserId"], 10, 64) // 0: the text does not say
	return store.OfflineMessage{
		Sender: proto.User{ID: proto.UserID(sender), Name: name}, Text: *read.Content, ID: textID(id), Stored: parseLocal(read.CreatedAt),
	}, bareID(string(read.Status)) == statusDelivered, nil
}

// parseLocal reads a local time, as that of this process; the zero time if it
// is none.
func parseLocal(text string) time.Time {
	for _, layout := range []string{localTimeRead, localMinuteRead} {
		if at, err := time.ParseInLocation(layout, text, time.Local); err == nil {
			return at
		}
	}
	return time.Time{}
}
