package redis

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/rueidis"
	"pgregory.net/rapid"

	"cim/proto"
	"cim/store"
)

// fieldsOf are the fields of user's box.
func fieldsOf(t fataler, s *Store, user proto.UserID) (fields map[string]string) {
	t.Helper()
	err := s.call(context.Background(), about{}, true, func(ctx context.Context, c rueidis.Client) (err error) {
		fields, err = c.Do(ctx, c.B().Hgetall().Key(boxKey(user)).Build()).AsStrMap()
		return err
	})
	if err != nil {
		t.Fatalf("HGETALL: %v", err)
	}
	return fields
}

type fataler interface {
	Helper()
	Fatalf(format string, args ...any)
}

// checkBox finds out from the texts in user's box what it should say of them, and
// compares.
func checkBox(t fataler, s *Store, user proto.UserID) {
	t.Helper()
	fields := fieldsOf(t, s, user)
	if len(fields) == 0 || fields["sum"] == "" {
		return
	}
	number := func(text string) uint64 { n, _ := strconv.ParseUint(text, 10, 64); return n }
	first, next := number(fields["first"]), number(fields["next"])
	var serials, graves, without []uint64
	want, bytes, by := map[string]string{}, 0, map[string]store.Usage{}
	for name, entry := range fields {
		serial, err := strconv.ParseUint(name, 10, 64)
		if err != nil {
			continue
		}
		if entry == grave {
			graves = append(graves, serial)
			continue
		}
		m, err := parseMessage(name, entry, fields["sent:"+name])
		if err != nil || serial < first || serial >= next {
			t.Fatalf("the text %s of %q, %v, between %d and %d", name, entry, err, first, next)
		}
		serials, bytes = append(serials, serial), bytes+len(m.Text)
		sender := "by:" + userText(m.Sender.ID)
		by[sender] = by[sender].Plus(store.UsageOf(m.Text))
		if m.ID != 0 {
			want["id:"+userText(m.Sender.ID)+":"+fmt.Sprint(uint64(m.ID))] = name
		}
	}
	for sender, usage := range by {
		want[sender] = fmt.Sprintf("%d:%d", usage.Texts, usage.Bytes)
	}
	slices.Sort(serials)
	var gaps []string
	expected := first
	for _, serial := range append(serials, next) {
		for missing := expected; missing < serial; missing++ {
			without = append(without, missing)
		}
		if expected < serial {
			gaps = append(gaps, fmt.Sprintf("%d-%d", expected, serial-1))
		}
		expected = serial + 1
	}
	slices.Sort(graves)
	if bare := fields["bare"] == "1"; bare && len(graves) > 0 || !bare && !slices.Equal(graves, without) {
		t.Fatalf("bare is %q, and of the serials %v without a text these have a grave: %v", fields["bare"], without, graves)
	}
	for name := range fields {
		if serial, found := strings.CutPrefix(name, "sent:"); found && (fields[serial] == "" || fields[serial] == grave) {
			t.Fatalf("%s is there without the text", name)
		}
	}
	got := maps.Clone(fields)
	maps.DeleteFunc(got, func(name, _ string) bool {
		return !strings.HasPrefix(name, "id:") && !strings.HasPrefix(name, "by:")
	})
	if !maps.Equal(got, want) || fields["texts"] != fmt.Sprint(len(serials)) || fields["bytes"] != fmt.Sprint(bytes) ||
		fields["gaps"] != strings.Join(gaps, " ") || len(serials) > 0 && serials[0] != first || len(serials) == 0 && first != next {
		t.Fatalf("the box has %v; the texts are %v, of %v, with the gaps %v", fields, serials, want, gaps)
	}
}

// grave is what stands in a gap: older releases take it for a text that is too
// old.
const grave = "0:0:0:0:0:"

// older are what releases before do to a box: they append behind next, and remove
// from first on, whatever else the box has.
var (
	olderAppend = newScript(false, `
local box = redis.call('HMGET', KEYS[1], 'first', 'next', 'bytes')
local first, next, bytes = box[1] or ARGV[1], tonumber(box[2] or ARGV[1]), tonumber(box[3] or '0')
redis.call('HSET', KEYS[1], string.format('%.0f', next), ARGV[2])
return redis.call('HSET', KEYS[1], 'first', first, 'next', string.format('%.0f', next + 1), 'bytes', bytes + ARGV[3], 'newest', ARGV[4])`)
	olderRemove = newScript(false, `
local box = redis.call('HMGET', KEYS[1], 'first', 'next', 'bytes')
local first, next, bytes = tonumber(box[1]), tonumber(box[2]), tonumber(box[3])
for i = 1, ARGV[1] do
  local text = redis.call('HGET', KEYS[1], string.format('%.0f', first))
  if first == next then break end
  bytes = bytes - string.match(text, '^%d+:(%d+)')
  redis.call('HDEL', KEYS[1], string.format('%.0f', first))
  first = first + 1
end
return redis.call('HSET', KEYS[1], 'first', string.format('%.0f', first), 'bytes', bytes)`)
)

// boxWalk makes random steps on a box, of this release and of those before.
type boxWalk struct {
	t     *testing.T
	store *Store
	user  proto.User
	now   *time.Time
}

func (w *boxWalk) append(rt *rapid.T) {
	sender := proto.User{ID: proto.UserID(rapid.IntRange(-1, 2).Draw(rt, "sender")), Name: "a:b\x00c"}
	id := proto.TextID(rapid.SampledFrom([]uint64{0, 1, 2, 3, 1<<64 - 3}).Draw(rt, "id"))
	at := proto.UnixMilli(rapid.SampledFrom([]int64{0, 12, -12}).Draw(rt, "sent"))
	texts := rapid.SliceOfN(rapid.SampledFrom([]string{"", "x", "1:2:3", "\x00\n"}), 0, 3).Draw(rt, "texts")
	var err error
	if rapid.Bool().Draw(rt, "returned") {
		err = w.store.Return(w.t.Context(), w.user.ID, store.TextsOf(sender, id, at, texts))
	} else {
		err = w.store.Append(w.t.Context(), w.user.ID, sender, id, at, texts)
	}
	if err != nil {
		rt.Fatalf("append: %v", err)
	}
}

func (w *boxWalk) remove(rt *rapid.T) {
	keys := keysOf(w.page(rt))
	keys = slices.DeleteFunc(keys, func(store.TextKey) bool { return rapid.Bool().Draw(rt, "stays") })
	if err := w.store.Remove(w.t.Context(), w.user.ID, keys); err != nil {
		rt.Fatalf("Remove: %v", err)
	}
	for _, message := range w.page(rt) {
		if slices.Contains(keys, message.Key()) {
			rt.Fatalf("%+v was removed and is there", message)
		}
	}
}

func (w *boxWalk) expire(rt *rapid.T) {
	*w.now = w.now.Add(time.Duration(rapid.SampledFrom([]int{1, 1500, 3600}).Draw(rt, "seconds")) * time.Second)
}

func (w *boxWalk) lease(rt *rapid.T) {
	lease, err := w.store.Acquire(w.t.Context(), w.user.ID, time.Second)
	if err == nil {
		_, err = w.store.ReleaseIfEmpty(w.t.Context(), w.user.ID, lease, 0)
	}
	if err != nil {
		rt.Fatalf("lease: %v", err)
	}
}

func (w *boxWalk) older(rt *rapid.T) {
	before := w.page(rt)
	if rapid.Bool().Draw(rt, "appends") {
		ms := w.now.UnixMilli()
		entry := fmt.Sprintf("%d:1:%d:%d:1:nx", ms, rapid.IntRange(0, 4).Draw(rt, "id"), rapid.IntRange(1, 2).Draw(rt, "sender"))
		w.run(rt, olderAppend, fmt.Sprint(ms*1000), entry, "1", fmt.Sprint(ms))
		if page := w.page(rt); len(page) < len(before) {
			rt.Fatalf("%d texts of %d are there when an older release has added one", len(page), len(before))
		}
		return
	}
	if fields := fieldsOf(rt, w.store, w.user.ID); fields["next"] != "" {
		w.run(rt, olderRemove, fmt.Sprint(rapid.IntRange(1, 3).Draw(rt, "n")))
	}
	w.page(rt)
}

func (w *boxWalk) run(rt *rapid.T, l *script, args ...string) {
	if _, err := w.store.number(w.t.Context(), about{}, l, boxKey(w.user.ID), args...); err != nil {
		rt.Fatalf("an older release: %v", err)
	}
}

// page is the box, in order, each serial once.
func (w *boxWalk) page(rt *rapid.T) []store.OfflineMessage {
	page, err := w.store.Page(w.t.Context(), w.user.ID, 0)
	if err != nil {
		rt.Fatalf("Page: %v", err)
	}
	for i, message := range page {
		if i > 0 && message.Serial <= page[i-1].Serial {
			rt.Fatalf("serial %d after %d", message.Serial, page[i-1].Serial)
		}
	}
	return page
}

// TestBoxFields makes random steps, of this release and older ones in turn: what a
// box says of its texts is right after each step of this one that writes.
func TestBoxFields(t *testing.T) {
	now := time.UnixMilli(1_800_000_000_000)
	said(t, shared.Addr, "FLUSHALL")
	s := opened(t, Config{URLs: []string{"redis://" + shared.Addr}, Store: store.Config{OfflineTTL: time.Hour, Now: func() time.Time { return now }}})
	checks := 0
	rapid.Check(t, func(rt *rapid.T) {
		checks++
		w := &boxWalk{t: t, store: s, user: registered(t, s, fmt.Sprint("user", checks)), now: &now}
		checked := func(step func(*rapid.T)) func(*rapid.T) {
			return func(rt *rapid.T) {
				step(rt)
				if err := s.Append(t.Context(), w.user.ID, w.user, 0, 0, nil); err != nil {
					rt.Fatalf("Append of nothing: %v", err)
				}
				checkBox(rt, s, w.user.ID)
			}
		}
		rt.Repeat(map[string]func(*rapid.T){
			"append": checked(w.append), "remove": checked(w.remove), "expire": checked(w.expire), "lease": checked(w.lease),
			"older": checked(w.older), "older unchecked": w.older, "append unchecked": w.append, "lease unchecked": w.lease,
		})
	})
}

// boxTest is the box of a user.
type boxTest struct {
	t     *testing.T
	store *Store
	user  proto.User
}

func newBoxTest(t *testing.T) boxTest {
	s := single(t)
	return boxTest{t, s, registered(t, s, "ann")}
}

func (b boxTest) wantTexts(want ...string) {
	b.t.Helper()
	page, err := b.store.Page(b.t.Context(), b.user.ID, 0)
	if err != nil {
		b.t.Fatal(err)
	}
	var got []string
	for _, message := range page {
		got = append(got, message.Text)
	}
	if !slices.Equal(got, want) {
		b.t.Fatalf("the box has %q, want %q", got, want)
	}
}

// TestOlderBox reads a box that an older release wrote, in which one text stands
// twice: the key of a text removes it, and an append of one that is there is none.
func TestOlderBox(t *testing.T) {
	b := newBoxTest(t)
	ms := time.Now().UnixMilli()
	for i, entry := range []string{"1:7:9:3:bobx", "1:7:9:3:boby", "1:0:9:3:bobz", "1:8:9:3:bobu", "1:7:8:3:evev"} {
		at := fmt.Sprint(ms + int64(i))
		if _, err := b.store.number(t.Context(), about{}, olderAppend, boxKey(b.user.ID), fmt.Sprint(ms*1000), at+":"+entry, "1", at); err != nil {
			t.Fatal(err)
		}
	}
	b.wantTexts("x", "y", "z", "u", "v")
	if err := b.store.Append(t.Context(), b.user.ID, proto.User{ID: 9, Name: "bob"}, 8, 0, []string{"u"}); err != nil {
		t.Fatal(err)
	}
	b.wantTexts("x", "z", "u", "v")
	checkBox(t, b.store, b.user.ID)
	if err := b.store.Remove(t.Context(), b.user.ID, []store.TextKey{{Sender: 9, ID: 7}, {Sender: 9, ID: 9}}); err != nil {
		t.Fatal(err)
	}
	b.wantTexts("z", "u", "v")
	checkBox(t, b.store, b.user.ID)
	empty(t, b.store, b.user)
}

// TestBare removes more texts from the middle of a box than have graves: all of
// them go, and come back once the box has no gaps any more.
func TestBare(t *testing.T) {
	b := newBoxTest(t)
	add := func(sender proto.UserID, id proto.TextID, n int) {
		t.Helper()
		if err := b.store.Return(t.Context(), b.user.ID, store.TextsOf(proto.User{ID: sender, Name: "bob"}, id, 12, make([]string, n))); err != nil {
			t.Fatal(err)
		}
	}
	remove := func(some ...store.OfflineMessage) {
		t.Helper()
		if err := b.store.Remove(t.Context(), b.user.ID, keysOf(some)); err != nil {
			t.Fatal(err)
		}
		checkBox(t, b.store, b.user.ID)
	}
	page := func(after uint64) []store.OfflineMessage {
		t.Helper()
		page, err := b.store.Page(t.Context(), b.user.ID, after)
		if err != nil {
			t.Fatal(err)
		}
		return page
	}
	bare := func() string { return fieldsOf(t, b.store, b.user.ID)["bare"] }
	add(9, 1, 1)
	first := page(0)[0]
	for id := proto.TextID(2); bare() != "1"; id += 500 {
		if id > 6000 {
			t.Fatal("a box of 6,000 graves")
		}
		add(9, id, 500)
		for some := page(first.Serial); len(some) > 0; some = page(first.Serial) {
			remove(some...)
		}
	}
	remove(first)
	if bare() != "0" {
		t.Errorf("an empty box has bare %q", bare())
	}
	add(9, 7000, 3)
	remove(page(0)[1])
	if got := page(0); len(got) != 2 || got[0].Sent != 12 || bare() != "0" {
		t.Errorf("bare %q, the texts %+v", bare(), got)
	}
}
