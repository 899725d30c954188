package redisform

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"cim/proto"
	"cim/store"
	"cim/store/redis"
)

var oldPlace = store.Place{Host: "10.0.0.8", CIMPort: 11211, HTTPPort: 8081}

// TestOriginalKeys reads past the library what a login at a server of the
// original and texts in its form leave, byte for byte as the contract has them:
// the record's three parts, the login-status, the text encoded twice, the list.
func TestOriginalKeys(t *testing.T) {
	said(t, shared.Addr, "FLUSHALL")
	at := time.UnixMilli(1700000000123)
	s := opened(t, Config{Redis: redis.Config{
		URLs:  []string{"redis://" + shared.Addr},
		Store: store.Config{Now: func() time.Time { return at }, OfflineTTL: time.Hour},
	}})
	ann := registered(t, s, "ann")
	if err := s.ClaimOriginal(t.Context(), ann.ID, oldPlace, store.Record{}); err != nil {
		t.Fatal(err)
	}
	bob := proto.User{ID: 7, Name: `b"ö`}
	if err := s.AppendOriginal(t.Context(), ann.ID, bob, 42, 0, []string{`say "<hi>"`}); err != nil {
		t.Fatal(err)
	}
	if err := s.AppendOriginal(t.Context(), ann.ID, bob, 1<<63, 0, []string{"x"}); err != nil {
		t.Fatal(err)
	}
	created := at.Local().Format("2006-01-02T15:04:05.000")
	for command, want := range map[string]string{
		"GET cim-route:1700000000123": bulk("10.0.0.8:11211:8081"),
		"SMEMBERS login-status":       "*1\r\n" + bulk("1700000000123"),
		"GET offline:msg:42": bulk(`"{\"messageId\":42,\"receiveUserId\":1700000000123,\"content\":\"say \\\"<hi>\\\"\",` +
			`\"messageType\":0,\"status\":0,\"createdAt\":\"` + created + `\",` +
			`\"properties\":{\"sendUserId\":\"7\",\"sendUserName\":\"b\\\"ö\",\"receiveUserId\":\"1700000000123\"}}"`),
		"LRANGE offline:msg:user:1700000000123 0 -1": "*2\r\n" + bulk("42") + bulk("-9223372036854775808"),
		"TTL offline:msg:42":                         ":3600\r\n",
		"TTL offline:msg:user:1700000000123":         ":3600\r\n",
	} {
		if got := said(t, shared.Addr, strings.Fields(command)...); got != want {
			t.Errorf("%s: %q, want %q", command, got, want)
		}
	}
	page, err := s.Page(t.Context(), ann.ID, 0)
	if err != nil || len(page) != 2 {
		t.Fatalf("Page: %+v, %v", page, err)
	}
	if err := s.Remove(t.Context(), ann.ID, keysOf(page)); err != nil {
		t.Fatal(err)
	}
	if got := said(t, shared.Addr, "EXISTS", "offline:msg:42", "offline:msg:-9223372036854775808", "offline:msg:user:1700000000123"); got != ":0\r\n" {
		t.Errorf("%s keys are left of what was removed", got)
	}
}

// written writes a text as a route of the original does.
func written(t testing.TB, user proto.User, id, value string) {
	t.Helper()
	if value != "" {
		said(t, shared.Addr, "SET", textPrefix+id, value, "EX", "259200")
	}
	said(t, shared.Addr, "RPUSH", listKey(user.ID), id)
	said(t, shared.Addr, "EXPIRE", listKey(user.ID), "259200")
}

// TestReadsOriginal reads texts as the original's routes write them, of every
// shape that the contract allows, and passes by what is none.
func TestReadsOriginal(t *testing.T) {
	s := single(t)
	ann := registered(t, s, "ann")
	for i, value := range []string{
		`"{\"messageId\":1,\"receiveUserId\":5,\"content\":\"one\",\"messageType\":0,\"status\":0,\"createdAt\":\"2025-06-14T12:34:56.789012\",\"properties\":{\"receiveUserId\":\"5\",\"sendUserName\":\"bob\",\"sendUserId\":\"9\"}}"`,
		`"{\"content\":\"two\",\"createdAt\":\"2025-06-14T12:34\",\"properties\":{\"sendUserName\":\"bob\",\"sendUserId\":\"9\"},\"more\":[1]}"`,
		"", // expired
		`"{\"content\":\"no sender\",\"createdAt\":null,\"properties\":null}"`,
		`{"content":"encoded once","createdAt":"2025-06-14T12:34:56"}`,
		`not JSON`, `"not JSON"`, `"{\"content\":null}"`, `"{\"content\":5}"`, `""`, `"`, `[]`,
		`"{\"content\":\"` + strings.Repeat("x", proto.MessageBytesMax) + `\"}"`,
		`"{\"content\":\"` + strings.Repeat("x", proto.MessageBytesMax+1) + `\"}"`,
		`"{\"content\":\"bad name\",\"properties\":{\"sendUserName\":\"` + strings.Repeat("n", proto.RecordNameMax+1) + `\"}}"`,
	} {
		written(t, ann, fmt.Sprint(i+1), value)
	}
	written(t, ann, "named", `"{\"content\":\"an id that is no number\"}"`)
	written(t, ann, "1", "") // twice in the list
	bob := proto.User{ID: 9, Name: "bob"}
	want := []store.OfflineMessage{
		{Text: "one", Sender: bob, ID: 1, Stored: time.Date(2025, 6, 14, 12, 34, 56, 789012000, time.Local)},
		{Text: "two", Sender: bob, ID: 2, Stored: time.Date(2025, 6, 14, 12, 34, 0, 0, time.Local)},
		{Text: "no sender", ID: 4},
		{Text: "encoded once", ID: 5, Stored: time.Date(2025, 6, 14, 12, 34, 56, 0, time.Local)},
		{Text: strings.Repeat("x", proto.MessageBytesMax), ID: 13},
		{Text: "an id that is no number", ID: textID("named")},
	}
	page, err := s.Page(t.Context(), ann.ID, 0)
	if err != nil || len(page) != len(want) {
		t.Fatalf("Page: %d texts, %v; want %d", len(page), err, len(want))
	}
	last := uint64(0)
	for i, got := range page {
		if got.Serial <= last {
			t.Errorf("serial %d after %d", got.Serial, last)
		}
		last, got.Serial = got.Serial, 0
		if got != want[i] {
			t.Errorf("text %d: %.60v, want %.60v", i, got, want[i])
		}
	}
	if got := said(t, shared.Addr, "LLEN", listKey(ann.ID)); got != ":16\r\n" {
		t.Errorf("the list has %q ids, want 6, one twice, and 9 that cannot be read", got)
	}
	lease, err := s.Acquire(t.Context(), ann.ID, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Remove(t.Context(), ann.ID, keysOf(page)); err != nil {
		t.Fatal(err)
	}
	if got := said(t, shared.Addr, "LRANGE", listKey(ann.ID), "0", "-1"); got != "*9\r\n"+bulk("6")+bulk("7")+bulk("8")+
		bulk("9")+bulk("10")+bulk("11")+bulk("12")+bulk("14")+bulk("15") {
		t.Errorf("the list has %q", got)
	}
	if got := said(t, shared.Addr, "EXISTS", "offline:msg:6", "offline:msg:10", "offline:msg:15"); got != ":3\r\n" {
		t.Errorf("%q of 3 texts that cannot be read are there", got)
	}
	if released, err := s.ReleaseIfEmpty(t.Context(), ann.ID, lease, 0); !released || err != nil {
		t.Errorf("ReleaseIfEmpty with nothing left but what cannot be read: %t, %v", released, err)
	}
	for range 2 { // a new lease reads them again, and does not count them again
		if page, err := s.Page(t.Context(), ann.ID, 0); err != nil || len(page) != 0 {
			t.Errorf("a page of what cannot be read: %+v, %v", page, err)
		}
	}
	if n := s.UnreadOriginal(); n != 9 {
		t.Errorf("%d texts cannot be read, want 9", n)
	}
}

// TestOriginalBeside lets a route of the original take texts away and add some
// in the middle of a catch-up: none that is left is lost, or comes twice.
func TestOriginalBeside(t *testing.T) {
	s := single(t)
	ann := registered(t, s, "ann")
	add := func(ids ...int) {
		for _, id := range ids {
			written(t, ann, fmt.Sprint(id), fmt.Sprintf(`"{\"content\":\"%d\"}"`, id))
		}
	}
	read := func(after uint64, want ...string) (uint64, []store.TextKey) {
		t.Helper()
		page, err := s.Page(t.Context(), ann.ID, after)
		if err != nil || len(page) != len(want) {
			t.Fatalf("Page: %+v, %v; want %v", page, err, want)
		}
		for i, message := range page {
			if message.Text != want[i] || message.Serial <= after {
				t.Fatalf("Page: %+v; want %v", page, want)
			}
			after = message.Serial
		}
		return after, keysOf(page)
	}
	add(1, 2, 3)
	if err := s.Append(t.Context(), ann.ID, ann, 0, 0, []string{"ours"}); err != nil {
		t.Fatal(err)
	}
	left, first := read(0, "1", "2", "3", "ours")
	said(t, shared.Addr, "LREM", listKey(ann.ID), "0", "2")
	said(t, shared.Addr, "DEL", textKey("2"))
	add(4)
	_, next := read(left, "4")
	if err := s.Remove(t.Context(), ann.ID, first); err != nil {
		t.Fatal(err)
	}
	read(0, "4")
	if err := s.Remove(t.Context(), ann.ID, next); err != nil {
		t.Fatal(err)
	}
	read(0)
}

// TestManyShown reads more texts of the original than one lease has serials
// for: the next one goes on.
func TestManyShown(t *testing.T) {
	s := single(t)
	ann := registered(t, s, "ann")
	const each = store.ShareMaxMessages / 2
	read := 0
	for lease := store.Lease(0); read < 6*each; {
		for i := read; i < read+each; i++ {
			written(t, ann, fmt.Sprint(i+1), fmt.Sprintf(`"{\"content\":\"%d\"}"`, i))
		}
		if lease == 0 {
			lease, _ = s.Acquire(t.Context(), ann.ID, time.Minute)
		}
		for left, goal := uint64(0), read+each; read < goal; {
			page, err := s.Page(t.Context(), ann.ID, left)
			if err != nil {
				t.Fatal(err)
			}
			for _, message := range page {
				if message.Text != fmt.Sprint(read) {
					t.Fatalf("read %q, want %d", message.Text, read)
				}
				left, read = message.Serial, read+1
			}
			if err := s.Remove(t.Context(), ann.ID, keysOf(page)); err != nil {
				t.Fatal(err)
			}
			if len(page) > 0 {
				continue
			}
			if released, err := s.ReleaseIfEmpty(t.Context(), ann.ID, lease, 0); released || err != nil {
				t.Fatalf("ReleaseIfEmpty: %t, %v", released, err)
			}
			if err := s.Abandon(t.Context(), ann.ID, lease); err != nil {
				t.Fatal(err)
			}
			lease, _ = s.Acquire(t.Context(), ann.ID, time.Minute)
			left = 0
		}
	}
}

// behindOurs is the serial of the nth text of ours, as others see it.
func behindOurs(n uint64) uint64 { return n << redis.GapBits }

// TestShownEdge gives serials up to the next text of ours, and none past it.
func TestShownEdge(t *testing.T) {
	const room = 1<<redis.GapBits - 1
	s := shown{users: map[proto.UserID]*shownTexts{}}
	texts := make([]storedText, room+1)
	for i := range texts {
		texts[i].id = fmt.Sprint(i)
	}
	floor := behindOurs(5)
	behind := func(serial uint64) func(time.Time) uint64 { return func(time.Time) uint64 { return serial } }
	for range 2 {
		numbered := s.number(1, behind(floor), texts)
		if len(numbered) != room || numbered[0].Serial != floor+1 || numbered[room-1].Serial != behindOurs(6)-1 {
			t.Fatalf("%d serials of %d texts", len(numbered), len(texts))
		}
	}
	if numbered := s.number(1, behind(behindOurs(6)), texts[room:]); len(numbered) != 1 || numbered[0].Serial != behindOurs(6)+1 {
		t.Errorf("behind the next of ours: %+v", numbered)
	}
}

// TestShownUsers shows texts to more users than are remembered.
func TestShownUsers(t *testing.T) {
	s := shown{users: map[proto.UserID]*shownTexts{}}
	for user := range proto.UserID(shownMax + 1) {
		s.number(user, func(time.Time) uint64 { return behindOurs(1) }, []storedText{{id: "1"}})
	}
	if len(s.users) != shownMax {
		t.Errorf("%d users are remembered, want %d", len(s.users), shownMax)
	}
	texts, unknown := s.named(shownMax, []string{"1"}, []store.TextKey{{Serial: behindOurs(1) + 1}, {ID: 1}})
	if len(texts) != 1 || len(unknown) != 0 {
		t.Errorf("of the last one %v is remembered, and %v is not", texts, unknown)
	}
}

// FuzzMaster reads any value of a text's key.
func FuzzMaster(f *testing.F) {
	f.Add("1", masterText("1", 2, proto.User{ID: 3, Name: "n"}, "text", time.UnixMilli(0)))
	f.Add("x", `"{\"content\":\"\\u0000\\ud800\",\"createdAt\":\"2025-06-14T12:34:56.7\"}"`)
	f.Fuzz(func(t *testing.T, id, value string) {
		message, _, err := parseMaster(id, value)
		if err != nil {
			return
		}
		if message.ID == 0 || len(message.Text) > proto.MessageBytesMax || len(message.Sender.Name) > proto.RecordNameMax {
			t.Errorf("%q: %+v", value, message)
		}
		again, _, err := parseMaster(id, masterText(messageID(message.ID), 1, message.Sender, message.Text, message.Stored))
		if err == nil && (again.Text != message.Text || again.Sender != message.Sender) {
			t.Errorf("%q is %+v, and written again %+v", value, message, again)
		}
	})
}
