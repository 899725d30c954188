package redisform

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"cim/proto"
	"cim/store"
)

// writtenHash writes a text as a route of a release of the original does, with
// its id in quotes.
func writtenHash(t testing.TB, user proto.User, id string, fields ...string) {
	t.Helper()
	said(t, shared.Addr, append([]string{"HSET", textKey(id)}, fields...)...)
	said(t, shared.Addr, "EXPIRE", textKey(id), "604800")
	listed(t, user, `"`+id+`"`)
}

func listed(t testing.TB, user proto.User, id string) {
	t.Helper()
	said(t, shared.Addr, "RPUSH", listKey(user.ID), id)
	said(t, shared.Addr, "EXPIRE", listKey(user.ID), "604800")
}

// plainHash are the fields of a text whose values stand as they are.
func plainHash(id, text string) []string {
	return []string{
		"messageId", id, "receiveUserId", "5", "content", text, "messageType", "0", "status", "0", "createdAt", "2025-06-14T12:34:56.789",
		"properties", `{"sendUserId":"9","sendUserName":"bob","receiveUserId":"5"}`,
	}
}

// texts are those of a page, which Page must give.
func (b boxTest) texts() []string {
	b.t.Helper()
	page, err := b.store.Page(b.t.Context(), b.user.ID, 0)
	if err != nil {
		b.t.Fatal(err)
	}
	var texts []string
	for _, message := range page {
		texts = append(texts, message.Text)
	}
	return texts
}

type boxTest struct {
	t     *testing.T
	store *Store
	user  proto.User
}

func newBoxTest(t *testing.T) boxTest { return newBoxTestAt(t, nil) }

// newBoxTestAt has a clock; nil: that of the Redis.
func newBoxTestAt(t *testing.T, now func() time.Time) boxTest {
	said(t, shared.Addr, "FLUSHALL")
	config := at(shared)
	config.Redis.Store.Now = now
	s := opened(t, config)
	return boxTest{t, s, registered(t, s, "ann")}
}

func (b boxTest) wantTexts(want ...string) {
	b.t.Helper()
	if got := b.texts(); strings.Join(got, "|") != strings.Join(want, "|") {
		b.t.Fatalf("the box has %q, want %q", got, want)
	}
}

func (b boxTest) wantSaid(want string, command ...string) {
	b.t.Helper()
	if got := said(b.t, shared.Addr, command...); got != want {
		b.t.Errorf("%v: %q, want %q", command, got, want)
	}
}

// empty removes all texts, and gives the lease back.
func (b boxTest) empty() {
	b.t.Helper()
	lease, err := b.store.Acquire(b.t.Context(), b.user.ID, time.Minute)
	if err != nil || lease == 0 {
		b.t.Fatalf("lease %d, %v", lease, err)
	}
	for {
		page, err := b.store.Page(b.t.Context(), b.user.ID, 0)
		if err != nil {
			b.t.Fatal(err)
		}
		if len(page) == 0 {
			break
		}
		if err := b.store.Remove(b.t.Context(), b.user.ID, keysOf(page)); err != nil {
			b.t.Fatal(err)
		}
	}
	if released, err := b.store.ReleaseIfEmpty(b.t.Context(), b.user.ID, lease, 0); !released || err != nil {
		b.t.Fatalf("the lease of an empty box is kept: %t, %v", released, err)
	}
}

// TestReadsReleased reads texts as releases of the original write them, however
// the fields are written, and removes them as a release does: the hash stays,
// with status 1 and its time to live, and the id leaves the list.
func TestReadsReleased(t *testing.T) {
	b := newBoxTest(t)
	writtenHash(t, b.user, "11", plainHash("11", "plain")...)
	writtenHash(t, b.user, "12", "messageId", `"12"`, "content", `"in \"JSON\""`, "status", "0", "createdAt", `"2025-06-14T12:34:56"`,
		"properties", `{"sendUserId":"9","sendUserName":"bob"}`)
	writtenHash(t, b.user, "13", `"content"`, `"quoted names"`, `"status"`, `"0"`, `"createdAt"`, "1750000000123", `"properties"`, "null")
	writtenHash(t, b.user, "14", "message_id", "14", "content", `"said"`, "status", "0", "properties.sendUserId", "9", "properties.sendUserName", "bob")
	writtenHash(t, b.user, "17", "data", `"{\"content\":\"in one field\",\"properties\":{\"sendUserId\":\"9\",\"sendUserName\":\"bob\"}}"`, "status", "0")
	writtenHash(t, b.user, "18", "content", "sender beside", "sendUserId", "9", "sendUserName", "bob")
	writtenHash(t, b.user, "15", "messageId", "15", "content", "has been delivered", "status", "1")
	listed(t, b.user, `"16"`) // expired
	page, err := b.store.Page(t.Context(), b.user.ID, 0)
	if err != nil {
		t.Fatal(err)
	}
	bob := proto.User{ID: 9, Name: "bob"}
	want := []store.OfflineMessage{
		{Text: "plain", Sender: bob, ID: 11, Stored: time.Date(2025, 6, 14, 12, 34, 56, 789e6, time.Local)},
		{Text: `in "JSON"`, Sender: bob, ID: 12, Stored: time.Date(2025, 6, 14, 12, 34, 56, 0, time.Local)},
		{Text: "quoted names", ID: 13, Stored: time.UnixMilli(1750000000123)},
		{Text: `"said"`, Sender: bob, ID: 14},
		{Text: "in one field", Sender: bob, ID: 17},
		{Text: "sender beside", Sender: bob, ID: 18},
	}
	if len(page) != len(want) {
		t.Fatalf("%+v, want %d texts", page, len(want))
	}
	for i, got := range page {
		if got.Serial = 0; got != want[i] {
			t.Errorf("text %d: %+v, want %+v", i, got, want[i])
		}
	}
	b.empty()
	b.wantSaid(":0\r\n", "EXISTS", listKey(b.user.ID))
	b.wantSaid(bulk("1"), "HGET", "offline:msg:11", "status")
	b.wantSaid(bulk("1"), "HGET", "offline:msg:12", "status")
	b.wantSaid(bulk(`"1"`), "HGET", "offline:msg:13", `"status"`)
	b.wantSaid(bulk("1"), "HGET", "offline:msg:17", "status")
	b.wantSaid(bulk("plain"), "HGET", "offline:msg:11", "content")
	if ttl := said(t, shared.Addr, "TTL", "offline:msg:11"); !strings.HasPrefix(ttl, ":6048") && !strings.HasPrefix(ttl, ":6047") {
		t.Errorf("the delivered text lives for %q s more, want 604800", ttl)
	}
	b.wantSaid(":0\r\n", "EXISTS", "offline:msg:16") // not made by its removal
}

// TestReleasedUnread keeps what is no text of either form in the list, a key in
// quotes too, and brings the rest.
func TestReleasedUnread(t *testing.T) {
	b := newBoxTest(t)
	said(t, shared.Addr, "LPUSH", textKey("1"), "a list")
	listed(t, b.user, `"1"`)
	writtenHash(t, b.user, "2", "messageId", "2", "text", "another name for the content")
	writtenHash(t, b.user, "3", "content", "odd properties", "properties", "{")
	writtenHash(t, b.user, "4", "content", strings.Repeat("x", proto.MessageBytesMax+1))
	var many []string
	for i := range hashFieldsMax + 1 {
		many = append(many, fmt.Sprint("field", i), "x")
	}
	writtenHash(t, b.user, "5", many...)
	listed(t, b.user, `"broken`)
	said(t, shared.Addr, "SET", textKey(`"broken`), "not JSON")
	said(t, shared.Addr, "SET", textKey(`"7"`), `{"content":"under a key in quotes"}`)
	listed(t, b.user, `"7"`)
	written(t, b.user, "8", `"{\"content\":\"delivered\",\"status\":1}"`)
	writtenHash(t, b.user, "9", plainHash("9", "last")...)
	b.wantTexts("under a key in quotes", "last")
	b.empty()
	b.wantSaid("*6\r\n"+bulk(`"1"`)+bulk(`"2"`)+bulk(`"3"`)+bulk(`"4"`)+bulk(`"5"`)+bulk(`"broken`), "LRANGE", listKey(b.user.ID), "0", "-1")
	if n := b.store.UnreadOriginal(); n != 6 {
		t.Errorf("%d texts cannot be read, want 6", n)
	}
	// They take no room from what is stored behind them.
	for i := range store.BoxMaxMessages {
		if err := b.store.AppendOriginal(t.Context(), b.user.ID, b.user, 0, 0, []string{fmt.Sprint(i)}); err != nil {
			t.Fatalf("text %d: %v", i, err)
		}
		if i == 10 {
			break
		}
	}
	if got := b.texts(); len(got) != 11 {
		t.Errorf("%d texts, want 11", len(got))
	}
}

// TestManyUnread has more ids whose texts cannot be read than are looked at
// once: a text behind them comes, and the lease is given back.
func TestManyUnread(t *testing.T) {
	b := newBoxTest(t)
	said(t, shared.Addr, "EVAL", `for i = 1, ARGV[1] do
		redis.call('SET', 'offline:msg:' .. i, 'odd')
		redis.call('RPUSH', KEYS[1], i)
	end`, "1", listKey(b.user.ID), fmt.Sprint(listedMax+5))
	writtenHash(t, b.user, "9000", plainHash("9000", "behind")...)
	b.wantTexts()
	b.wantTexts("behind")
	b.empty()
	b.wantSaid(fmt.Sprintf(":%d\r\n", listedMax+5), "LLEN", listKey(b.user.ID))
}

// TestMixedThree has a box with texts in all three forms: they come in the order
// in which they were stored, ours first, then the original's, then ours.
func TestMixedThree(t *testing.T) {
	b := newBoxTest(t)
	ours := func(text string) {
		t.Helper()
		if err := b.store.Append(t.Context(), b.user.ID, b.user, 0, 0, []string{text}); err != nil {
			t.Fatal(err)
		}
	}
	beside := func(text string) {
		t.Helper()
		if err := b.store.AppendOriginal(t.Context(), b.user.ID, b.user, 0, 0, []string{text}); err != nil {
			t.Fatal(err)
		}
	}
	ours("1")
	beside("2") // nothing is listed yet: as master does
	written(t, b.user, "21", `"{\"content\":\"3\"}"`)
	writtenHash(t, b.user, "22", plainHash("22", "4")...)
	beside("5") // behind a hash: a hash
	ours("6")
	beside("7") // behind ours: ours
	b.wantTexts("1", "2", "3", "4", "5", "6", "7")
	b.wantSaid(":4\r\n", "LLEN", listKey(b.user.ID))
	b.empty()
	b.wantTexts()
}

// TestMixedByTime has texts of the original in a box whose route did not know of
// the original: they come in the order of their times.
func TestMixedByTime(t *testing.T) {
	at := time.UnixMilli(1750000000000)
	b := newBoxTestAt(t, func() time.Time { return at })
	created := func(text string) []string {
		hash := plainHash("0", text)
		hash[11] = at.Local().Format("2006-01-02T15:04:05.000")
		return hash
	}
	ours := func(text string) {
		t.Helper()
		at = at.Add(time.Second)
		if err := b.store.Append(t.Context(), b.user.ID, b.user, 0, 0, []string{text}); err != nil {
			t.Fatal(err)
		}
		at = at.Add(time.Second)
	}
	writtenHash(t, b.user, "1", created("1")...)
	ours("2")
	writtenHash(t, b.user, "3", created("3")...)
	written(t, b.user, "4", `"{\"content\":\"4\",\"createdAt\":\"`+at.Local().Format("2006-01-02T15:04:05.000")+`\"}"`)
	ours("5")
	ours("6")
	writtenHash(t, b.user, "7", created("7")...)
	written(t, b.user, "8", `"{\"content\":\"8, of no time\"}"`)
	b.wantTexts("1", "2", "3", "4", "5", "6", "7", "8, of no time")
	page, err := b.store.Page(t.Context(), b.user.ID, 0)
	if err != nil {
		t.Fatal(err)
	}
	if rest, err := b.store.Page(t.Context(), b.user.ID, page[3].Serial); err != nil || len(rest) != 4 || rest[0].Text != "5" {
		t.Errorf("behind the fourth: %+v, %v", rest, err)
	}
	if err := b.store.Remove(t.Context(), b.user.ID, keysOf(page[:4])); err != nil {
		t.Fatal(err)
	}
	b.wantTexts("5", "6", "7", "8, of no time")
	b.empty()
}

// TestWritesReleased stores texts in a box of a release's texts: they are written
// like those, byte for byte, and the list's life is not cut short. In an empty
// box, too, from then on. Before any such text is known none is written.
func TestWritesReleased(t *testing.T) {
	at := time.UnixMilli(1750000000123)
	b := newBoxTestAt(t, func() time.Time { return at })
	listed(t, b.user, `"10"`) // of a release, and expired
	append1 := func(user proto.User, id proto.TextID, text string) {
		t.Helper()
		if err := b.store.AppendOriginal(t.Context(), user.ID, proto.User{ID: 9, Name: `b"b`}, id, 0, []string{text}); err != nil {
			t.Fatal(err)
		}
	}
	append1(b.user, 1, "in our form")
	b.wantSaid(":0\r\n", "EXISTS", listKey(b.user.ID), textKey("1"))
	b.empty()
	writtenHash(t, b.user, "11", plainHash("11", "plain")...)
	append1(b.user, 12, "like it")
	b.wantSaid("*2\r\n"+bulk(`"11"`)+bulk(`"12"`), "LRANGE", listKey(b.user.ID), "0", "-1")
	created := at.Local().Format("2006-01-02T15:04:05.000")
	id := fmt.Sprint(int64(b.user.ID))
	for field, want := range map[string]string{
		"messageId": "12", "receiveUserId": id, "content": "like it", "messageType": "0", "status": "0", "createdAt": created,
		"properties": `{"sendUserId":"9","sendUserName":"b\"b","receiveUserId":"` + id + `"}`,
	} {
		b.wantSaid(bulk(want), "HGET", "offline:msg:12", field)
	}
	b.wantSaid(":7\r\n", "HLEN", "offline:msg:12")
	b.wantSaid(":259200\r\n", "TTL", "offline:msg:12")
	if ttl := said(t, shared.Addr, "TTL", listKey(b.user.ID)); !strings.HasPrefix(ttl, ":6047") && ttl != ":604800\r\n" {
		t.Errorf("the list lives for %q s, want 604800", ttl)
	}
	eve := registered(t, b.store, "eve")
	append1(eve, 13, "to an empty box")
	b.wantSaid("*1\r\n"+bulk(`"13"`), "LRANGE", listKey(eve.ID), "0", "-1")
	b.wantTexts("plain", "like it")
	// Values in JSON, numbers without quotes, times in ms.
	writtenHash(t, eve, "14", "messageId", `"14"`, "receiveUserId", "5", "content", `"x"`, "messageType", "0", "status", "0",
		"createdAt", "1750000000000", "properties", `"{\"sendUserId\":\"9\"}"`)
	if _, err := b.store.Page(t.Context(), eve.ID, 0); err != nil {
		t.Fatal(err)
	}
	append1(eve, 15, `"q"`)
	for field, want := range map[string]string{
		"messageId": `"15"`, "content": `"\"q\""`, "status": "0", "createdAt": "1750000000123",
		"properties": `"{\"sendUserId\":\"9\",\"sendUserName\":\"b\\\"b\",\"receiveUserId\":\"` + fmt.Sprint(int64(eve.ID)) + `\"}"`,
	} {
		b.wantSaid(bulk(want), "HGET", "offline:msg:15", field)
	}
	page, err := b.store.Page(t.Context(), eve.ID, 0)
	if err != nil || len(page) != 3 || page[2].Text != `"q"` || page[2].Sender.Name != `b"b` {
		t.Errorf("%+v, %v", page, err)
	}
}

// TestForms stores as it is told, whatever the box shows: as a release does, though
// nothing of one was read, or as master does.
func TestForms(t *testing.T) {
	for form, kind := range map[Form]string{FormHash: "+hash\r\n", FormString: "+string\r\n", FormAuto: "+string\r\n"} {
		b := newBoxTest(t)
		b.store.config.Form = form
		if err := b.store.AppendOriginal(t.Context(), b.user.ID, b.user, 7, 0, []string{"text"}); err != nil {
			t.Fatal(err)
		}
		b.wantSaid(kind, "TYPE", textKey("7"))
		b.wantTexts("text")
		if form == FormHash {
			b.wantSaid("*1\r\n"+bulk(`"7"`), "LRANGE", listKey(b.user.ID), "0", "-1")
			b.wantSaid(bulk("text"), "HGET", textKey("7"), "content")
		}
		b.empty()
	}
}

// FuzzReleased reads any hash of a text.
func FuzzReleased(f *testing.F) {
	f.Add("1", "text", "0", "2025-06-14T12:34:56.789", `{"sendUserId":"9"}`, "1")
	f.Add(`"x"`, `"text"`, `"1"`, "17", `"{}"`, `"x"`)
	f.Fuzz(func(t *testing.T, listed, content, status, created, properties, id string) {
		raw := rawText{key: "key", form: formReleased, fields: map[string]string{
			"messageId": id, "receiveUserId": "5", "content": content, "messageType": "0", "status": status, "createdAt": created, "properties": properties,
		}}
		text, err := raw.parse(listed)
		if err != nil {
			return
		}
		if text.message.ID == 0 || len(text.message.Text) > proto.MessageBytesMax || text.form != formReleased && text.form != formDelivered {
			t.Errorf("%+v", text)
		}
		shape := shapeOf(listed, raw.fields)
		if shape == nil || text.form == formDelivered {
			return
		}
		written := shape.hash("7", 5, text.message.Sender, text.message.Text, time.UnixMilli(1750000000123))
		again := rawTextOf("key", append([]string{"hash"}, written...))
		if read, err := again.parse(listed); err == nil && read.message.Text != text.message.Text {
			t.Errorf("%q is written again as %q, which reads as %q", text.message.Text, written, read.message.Text)
		}
	})
}
