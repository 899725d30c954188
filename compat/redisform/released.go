package redisform

import (
	"encoding/json"
	"strconv"
	"strings"
	"time"

	"cim/proto"
	"cim/store"
)

// The roles of a released text's fields: their names without quotes,
// underscores and capitals, which differ between ways to write a hash.
const (
	roleID         = "messageid"
	roleReceiver   = "receiveuserid"
	roleContent    = "content"
	roleType       = "messagetype"
	roleStatus     = "status"
	roleCreated    = "createdat"
	roleProperties = "properties"
	roleProperty   = "properties." // of properties that are fields of their own
)

// statusDelivered is the status of a text that its user has.
const statusDelivered = "1"

func roleOf(field string) string {
	return strings.ToLower(strings.ReplaceAll(bareID(field), "_", ""))
}

// releasedShape is how one hash was written: enough to write another like it.
type releasedShape struct {
	fields  map[string]string // the names, by role
	quoted  map[string]bool   // roles whose values are JSON strings
	instant bool              // createdAt is in ms since 1970, not an ISO date-time
	idQuote bool              // the list's ids are JSON strings
}

// releasedFields are a hash's values by role, without their quotes.
type releasedFields struct {
	names, values map[string]string
	quoted        map[string]bool
}

func readFields(fields map[string]string) releasedFields {
	read := releasedFields{map[string]string{}, map[string]string{}, map[string]bool{}}
	for name, value := range fields {
		role := roleOf(name)
		read.names[role], read.values[role] = name, value
	}
	// Content may begin with a quote of its own: whether values are JSON is seen
	// by those that never do.
	quotes := false
	for _, role := range []string{roleID, roleReceiver, roleStatus, roleCreated, roleProperties} {
		quotes = quotes || strings.HasPrefix(read.values[role], `"`)
	}
	for role, value := range read.values {
		if bare := bareID(value); quotes && bare != value {
			read.values[role], read.quoted[role] = bare, true
		}
	}
	return read
}

// parseReleased reads the hash of a text. status is the field, with its value,
// that marks it as delivered. Its serial is not in it.
func parseReleased(id string, fields map[string]string) (message store.OfflineMessage, status [2]string, delivered bool, err error) {
	read := readFields(fields)
	content, found := read.values[roleContent]
	if !found {
		return parseWhole(id, fields, read)
	}
	properties, ok := read.properties()
	content, name := strings.ToValidUTF8(content, "\uFFFD"), strings.ToValidUTF8(properties["sendusername"], "\uFFFD")
	if !ok || len(content) > proto.MessageBytesMax || len(name) > proto.RecordNameMax {
		return message, status, false, errForm
	}
	sender, _ := strconv.ParseInt(properties["senduserid"], 10, 64) // 0: the text does not say
	if field, found := read.names[roleStatus]; found {
		status = [2]string{field, jsonIf(read.quoted[roleStatus], statusDelivered)}
	}
	message = store.OfflineMessage{
		Sender: proto.User{ID: proto.UserID(sender), Name: name}, Text: content, ID: textID(id), Stored: parseInstant(read.values[roleCreated]),
	}
	return message, status, read.values[roleStatus] == statusDelivered, nil
}

// parseWhole reads a hash that has the whole message as JSON in one of its fields.
func parseWhole(id string, fields map[string]string, read releasedFields) (message store.OfflineMessage, status [2]string, delivered bool, err error) {
	for _, value := range fields {
		if message, delivered, err = parseMaster(id, value); err == nil {
			if field, found := read.names[roleStatus]; found {
				status = [2]string{field, jsonIf(read.quoted[roleStatus], statusDelivered)}
			}
			return message, status, delivered || read.values[roleStatus] == statusDelivered, nil
		}
	}
	return message, status, false, errForm
}

// properties are those of a hash by their roles: one field of JSON, or a field
// each. It reports false for a field that is no JSON object.
func (f releasedFields) properties() (map[string]string, bool) {
	properties := map[string]string{}
	for role, value := range f.values {
		if name, found := strings.CutPrefix(role, roleProperty); found {
			properties[name] = value
		}
	}
	for _, role := range []string{"senduserid", "sendusername"} {
		if value, found := f.values[role]; found {
			properties[role] = value
		}
	}
	text, found := f.values[roleProperties]
	if !found || text == "" || text == "null" {
		return properties, true
	}
	var all map[string]any
	if json.Unmarshal([]byte(text), &all) != nil {
		return nil, false
	}
	for name, value := range all {
		if text, ok := value.(string); ok {
			properties[roleOf(name)] = text
		}
	}
	return properties, true
}

// parseInstant reads a local date-time, or a number of ms since 1970; the zero
// time if it is neither.
func parseInstant(text string) time.Time {
	if ms, err := strconv.ParseInt(text, 10, 64); err == nil && ms > 0 {
		return time.UnixMilli(ms)
	}
	return parseLocal(text)
}

func jsonIf(quoted bool, text string) string {
	if quoted {
		return jsonText(text)
	}
	return text
}

// shapeOf is how a hash was written under an id of a list, or nil if it has
// fields that are not known here, or lacks some.
func shapeOf(id string, fields map[string]string) *releasedShape {
	read := readFields(fields)
	for _, role := range []string{roleID, roleReceiver, roleContent, roleType, roleStatus, roleCreated, roleProperties} {
		if _, found := read.names[role]; !found {
			return nil
		}
	}
	created := read.values[roleCreated]
	_, err := strconv.ParseInt(created, 10, 64)
	instant := err == nil
	if len(read.names) != 7 || len(fields) != 7 || !strings.HasPrefix(read.values[roleProperties], "{") || parseInstant(created).IsZero() {
		return nil
	}
	return &releasedShape{fields: read.names, quoted: read.quoted, instant: instant, idQuote: bareID(id) != id}
}

// hash returns fields and values, in turn, of a text that is written like the one
// of this shape.
func (p *releasedShape) hash(id string, receiver proto.UserID, sender proto.User, text string, at time.Time) []string {
	created := at.Local().Format(localTime)
	if p.instant {
		created = strconv.FormatInt(at.UnixMilli(), 10)
	}
	properties := jsonText(masterProperties{
		SendUserID: userText(sender.ID), SendUserName: sender.Name, ReceiveUserID: userText(receiver),
	})
	var hash []string
	for _, value := range [][2]string{
		{roleID, id},
		{roleReceiver, userText(receiver)},
		{roleContent, text},
		{roleType, "0"},
		{roleStatus, "0"},
		{roleCreated, created},
		{roleProperties, properties},
	} {
		hash = append(hash, p.fields[value[0]], jsonIf(p.quoted[value[0]], value[1]))
	}
	return hash
}
