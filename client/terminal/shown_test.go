package terminal

import (
	"regexp"
	"strings"
	"testing"
	"time"

	"cim/client"
	"cim/proto"
)

// TestHarmless lets nothing through that moves a cursor, hides text or looks like another user's
// line.
func TestHarmless(t *testing.T) {
	for text, want := range map[string]string{
		"hello, 世界 \u00e9!":        "hello, 世界 \u00e9!",
		"\x1b[2J\x07\x00\x7f":      "\ufffd[2J\ufffd\ufffd\ufffd",
		"\u009b2J\u009d0;x\u009c":  "\ufffd2J\ufffd0;x\ufffd", // the same in one character
		"a\nbob (9): b\r\tc":       "a bob (9): b  c",
		"\u202eevil\u200b\u2066":   "\ufffdevil\ufffd\ufffd",
		"👩\u200d🚀 e\u0301 \u2028x": "👩\u200d🚀 e\u0301 \ufffdx",
		"\xff":                     "\ufffd",
	} {
		if got := Harmless(text); got != want {
			t.Errorf("Harmless(%q) = %q, want %q", text, got, want)
		}
	}
}

// ours are the escape sequences that the chat itself makes.
var ours = regexp.MustCompile("\x1b\\[(0|2|7|31|32|33|38;5;[0-9]+)m")

// FuzzShown finds no message that becomes more than one line, or has anything
// in it that a terminal could take for a command.
func FuzzShown(f *testing.F) {
	f.Add("bob", "hi", false, false)
	f.Add("bo\x1b[2Jb", "\u009b2J\r\n:beer:", true, true)
	f.Add("\u202ebob", "\x1b]0;title\x07 \u2066x", false, true)
	f.Fuzz(func(t *testing.T, name, text string, offline, colours bool) {
		chat := &terminal{style: style{escapes: colours, colours: colours}, interactive: colours}
		shown := chat.shown(client.Message{Sender: proto.User{ID: 9, Name: name}, Text: text, Offline: offline}, time.Unix(0, 0))
		if !colours && strings.Contains(shown, "\x1b") {
			t.Errorf("an escape sequence where there are none: %q", shown)
		}
		if shown = ours.ReplaceAllString(shown, ""); Harmless(shown) != shown {
			t.Errorf("shown as %q", shown)
		}
	})
}

// TestShown has the line of a message on a terminal and without one.
func TestShown(t *testing.T) {
	noon := time.Date(2026, 1, 2, 12, 3, 0, 0, time.Local)
	m := client.Message{Sender: proto.User{ID: 9, Name: "bob"}, Text: "a :beer: now :england:", Offline: true}
	without := &terminal{}
	if got, want := without.shown(m, noon), "bob (9) (while you were away): a 🍺 now 🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f"; got != want {
		t.Errorf("shown %q, want %q", got, want)
	}
	colourless := &terminal{interactive: true, style: style{escapes: true}}
	if got, want := colourless.shown(m, noon), "12:03 bob (9) (while you were away): a 🍺 now 🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f"; got != want {
		t.Errorf("shown %q, want %q", got, want)
	}
	m.Sent, m.ToAll = noon.Add(-time.Hour), true
	if got, want := without.shown(m, noon), "11:03:00 [all] bob (9) (while you were away): a 🍺"; !strings.HasPrefix(got, want) {
		t.Errorf("shown %q, want %q", got, want)
	}
	if got, want := colourless.shown(m, noon), "11:03 [all] bob (9) (while you were away): a 🍺"; !strings.HasPrefix(got, want) {
		t.Errorf("shown %q, want %q", got, want)
	}
	m.Sent, m.Offline = noon.AddDate(0, 0, -1), false
	if got, want := colourless.shown(m, noon), "2026-01-01 12:03 [all] bob (9): a"; !strings.HasPrefix(got, want) {
		t.Errorf("shown %q, want %q", got, want)
	}
	if got, want := without.shown(m, noon), "[all] bob (9): a"; !strings.HasPrefix(got, want) {
		t.Errorf("shown %q, want %q", got, want)
	}
	m.Sent = noon.Add(time.Hour) // a server whose clock is ahead
	if got, want := colourless.shown(m, noon), "12:03 [all] bob (9): a"; !strings.HasPrefix(got, want) {
		t.Errorf("shown %q, want %q", got, want)
	}
	colourful := &terminal{interactive: true, style: style{escapes: true, colours: true}}
	got := colourful.shown(m, noon)
	if ours.ReplaceAllString(got, "") != colourless.shown(m, noon) || !strings.Contains(got, "\x1b[38;5;") {
		t.Errorf("shown %q", got)
	}
}

// TestUserColour stays for a user, and is not the same for all.
func TestUserColour(t *testing.T) {
	s := style{escapes: true, colours: true}
	seen := map[string]bool{}
	for id := range proto.UserID(100) {
		u := proto.User{ID: id, Name: "x"}
		colour, _, _ := strings.Cut(s.user(u), "m")
		if again, _, _ := strings.Cut(s.user(proto.User{ID: id, Name: "y"}), "m"); again != colour {
			t.Fatalf("user %d changes colour", id)
		}
		seen[colour] = true
	}
	if len(seen) != len(userColours) {
		t.Errorf("%d colours for 100 users, want %d", len(seen), len(userColours))
	}
}

// TestEmojified shows aliases as emoji and leaves all other colons alone.
func TestEmojified(t *testing.T) {
	for text, want := range map[string]string{
		"":                  "",
		":beer:":            "🍺",
		"a :beer::beer: b":  "a 🍺🍺 b",
		"(:beer:), :beer:!": "(🍺), 🍺!",
		"干杯:beer:干杯":        "干杯🍺干杯",
		":nosuch: :beer:":   ":nosuch: 🍺",
		":nosuch::beer:":    ":nosuch::beer:",
		"\n:beer:\n":        "\n🍺\n",
		// Colons of words, addresses, times, ranges, paths.
		"a:beer::beer:b":             "a:beer::beer:b",
		":beer::beer:b":              ":beer::beer:b",
		"at 10:30:beer:":             "at 10:30:beer:",
		":nosuch:beer:":              ":nosuch:beer:",
		"10.0.0.1:100:10.0.0.2:80":   "10.0.0.1:100:10.0.0.2:80",
		"http://host:100:x":          "http://host:100:x",
		"http://:100:/":              "http://:100:/",
		"[::1]:100: refused":         "[::1]:100: refused",
		"fe80::abc:1":                "fe80::abc:1",
		"::abc: ::":                  "::abc: ::",
		"*:100: :100:8080":           "*:100: :100:8080",
		"12:30:45 a:b:c 1:1234:5":    "12:30:45 a:b:c 1:1234:5",
		"é:100:é user@:100: C:\\:a:": "é:100:é user@:100: C:\\:a:",
		":be er: : :":                ":be er: : :",
		strings.Repeat(":", 9999):    strings.Repeat(":", 9999),
	} {
		if got := emojified(text); got != want {
			t.Errorf("emojified(%.20q) = %.40q, want %.20q", text, got, want)
		}
	}
}

// TestEmojiShown has each emoji on one page, five a page, with all aliases.
func TestEmojiShown(t *testing.T) {
	seen := map[string]bool{}
	aliases := 0
	for page := 1; page <= emojiPages(); page++ {
		rows := strings.Split(emojiShown(page), "\n")
		rows = rows[:len(rows)-1]
		if page < emojiPages() && len(rows) != emojiPage || len(rows) == 0 {
			t.Fatalf("page %d has %d rows", page, len(rows))
		}
		for _, row := range rows {
			words := strings.Fields(row)
			if seen[words[0]] || len(words) < 2 {
				t.Fatalf("page %d: row %q", page, row)
			}
			seen[words[0]] = true
			aliases += len(words) - 1
			if got := emojified(words[1]); got != words[0] {
				t.Errorf("%s is shown as %s, listed as %s", words[1], got, words[0])
			}
		}
	}
	if aliases != len(emojiAliases()) {
		t.Errorf("%d aliases listed of %d", aliases, len(emojiAliases()))
	}
}

// TestEchoed follows the rules of the playful echo.
func TestEchoed(t *testing.T) {
	for text, want := range map[string]string{
		"你是机器人吗？": "我是机器人！", "你会嘛?": "我会!", "hello": "hello", "吗": "",
	} {
		if got := echoed(text); got != want {
			t.Errorf("echoed(%q) = %q, want %q", text, got, want)
		}
	}
}

// TestComplete completes commands, names and aliases, each in its place.
func TestComplete(t *testing.T) {
	c := completer{names: func() []string { return []string{"ann", "anton b", "bob"} }}
	for before, want := range map[string][]string{
		":al":         {"l"},
		":q":          {" ", "!", "ai", "uit"},
		":pu an":      {"n", "ton b"},
		"an":          {"n;;", "ton b;;"},
		"anton ":      {"b;;"},
		"ann;;b":      nil,
		"see :beer":   {":", "_mug:", "s:"},
		"ann;;:beers": {":"},
		"":            nil,
		"see ":        nil,
		"see :":       nil,
		":nosuch":     nil,
	} {
		ends, _ := c.Do([]rune(before+"tail"), len([]rune(before)))
		var got []string
		for _, end := range ends {
			got = append(got, string(end))
		}
		if strings.Join(got, ",") != strings.Join(want, ",") {
			t.Errorf("behind %q: %q, want %q", before, got, want)
		}
	}
	if ends, same := c.Do([]rune("see :a"), 6); len(ends) > candidatesMax || len(ends) < 10 || same != 2 {
		t.Errorf("%d aliases that share %d characters", len(ends), same)
	}
}

// TestPeople remembers up to its bound, no name that cannot be shown, and only ids that a route
// named.
func TestPeople(t *testing.T) {
	p := newPeople()
	p.seen("bo\x1bb")
	p.seen("")
	p.seen("ann")
	p.add(proto.User{ID: 7, Name: "bob"})
	if got := p.list(); len(got) != 2 || got[0] != "ann" || got[1] != "bob" {
		t.Errorf("names %q", got)
	}
	if _, known := p.id("ann"); known {
		t.Error("the id of a user that no route has named is known")
	}
	if id, known := p.id("bob"); !known || id != 7 {
		t.Errorf("bob's id is %d, %t", id, known)
	}
	for i := range namesMax + 1 {
		p.add(proto.User{ID: proto.UserID(i), Name: string(rune(0x4e00 + i))})
	}
	if len(p.list()) != namesMax || len(p.ids) != namesMax {
		t.Errorf("%d names and %d ids, want %d", len(p.list()), len(p.ids), namesMax)
	}
}
