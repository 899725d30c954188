package terminal

import (
	"slices"
	"strings"
	"testing"

	"cim/client"
	"cim/proto"
)

// record keeps what a chat sends, as receiver and text.
func record(network *fakeNetwork) *[]string {
	var sent []string
	network.send = func(receiver proto.UserID, text string) (client.Result, error) {
		sent = append(sent, receiverText(receiver)+"|"+text)
		return delivered, nil
	}
	return &sent
}

func receiverText(id proto.UserID) string {
	if id == 0 {
		return "all"
	}
	return userName(id)
}

func userName(id proto.UserID) string {
	return map[proto.UserID]string{9: "bob", 10: "boris", 11: "anna maria", 12: "C#"}[id]
}

// TestCommandsOfElsewhere: a line that other programs take for a command goes to everyone only when
// it is typed again, at once; to one user it goes as it is.
func TestCommandsOfElsewhere(t *testing.T) {
	for _, word := range []string{"exit", "quit", "Exit ", "/help", "/quit", "help", "logout", "q", "?", "/msg bob secret", "/?"} {
		chat, network := newTestChat()
		sent := record(network)
		said := run(t, chat, word)
		if len(*sent) != 0 || !strings.Contains(said, "type it again") || chat.undone != 1 {
			t.Errorf("%q: sent %q, %d undone, it says %q", word, *sent, chat.undone, said)
		}
		chat, network = newTestChat()
		sent = record(network)
		run(t, chat, word, "hi", word, word, word)
		if want := []string{"all|hi", "all|" + word}; !slices.Equal(*sent, want) || chat.undone != 2 {
			t.Errorf("%q: sent %q, %d undone", word, *sent, chat.undone)
		}
	}
	for _, text := range []string{"exit now", " exit", "quite", "/etc/hosts is gone", "/ 2", "bye", "e/x", "/1", "//comment"} {
		chat, network := newTestChat()
		sent := record(network)
		run(t, chat, text)
		if want := []string{"all|" + text}; !slices.Equal(*sent, want) || chat.undone != 0 {
			t.Errorf("%q: sent %q", text, *sent)
		}
	}
	chat, network := newTestChat()
	sent := record(network)
	run(t, chat, "bob;;exit", "9;;/help")
	if want := []string{"bob|exit", "bob|/help"}; !slices.Equal(*sent, want) {
		t.Errorf("sent %q", *sent)
	}
}

// TestUnknownHeads: a mistyped name keeps a private text from everyone; code and prose in front of
// ;; are part of a text, unless a user has that name.
func TestUnknownHeads(t *testing.T) {
	for text, want := range map[string]string{ // "": not sent
		"bob;;hi":                          "bob|hi",
		"bbo;;secret":                      "",
		"bob2;;secret":                     "",
		"12345;;x":                         "|x", // an id stays as it was typed
		"anna maria;; hi":                  "anna maria| hi",
		"anna mria;;secret":                "", // nearly a name
		"Anna  Maria;;secret":              "",
		"bob:;;secret":                     "",
		"C#;;hi":                           "C#|hi",
		"anna maria;;":                     "",
		"for(;;){}":                        "all|for(;;){}",
		"for (i = 0;; i++)":                "all|for (i = 0;; i++)",
		"case x in a) echo;; esac":         "all|case x in a) echo;; esac",
		"I came; I saw;; I won":            "all|I came; I saw;; I won",
		";; a comment":                     "all|;; a comment",
		"so it ends, really;;":             "all|so it ends, really;;",
		strings.Repeat("word ", 20) + ";;": "all|" + strings.Repeat("word ", 20) + ";;",
	} {
		chat, network := newTestChat()
		network.users = append(network.users, proto.User{ID: 11, Name: "anna maria"}, proto.User{ID: 12, Name: "C#"})
		for _, u := range network.users {
			chat.people.seen(u.Name)
		}
		sent := record(network)
		said := run(t, chat, text)
		if want == "" && (len(*sent) != 0 || !strings.Contains(said, "not sent") || chat.undone != 1) {
			t.Errorf("%q: sent %q, it says %q", text, *sent, said)
		}
		if want != "" && !slices.Equal(*sent, []string{want}) {
			t.Errorf("%q: sent %q, want %q; it says %q", text, *sent, want, said)
		}
	}
	chat, network := newTestChat()
	sent := record(network) // the route alone knows bob
	if said := run(t, chat, "bob:;;secret", "(bob);;x", "bob smith;;x"); len(*sent) != 1 || (*sent)[0] != "all|bob smith;;x" {
		t.Errorf("sent %q, it says %q", *sent, said)
	}
	chat, network = newTestChat()
	sent = record(network)
	chat.people.seen("anna maria")
	if said := run(t, chat, "anna mara;;x"); len(*sent) != 0 || !strings.Contains(said, "did you mean anna maria?") {
		t.Errorf("sent %q, it says %q", *sent, said)
	}
}

// TestToEveryone: the outcome of a message to everyone has the number of receivers.
func TestToEveryone(t *testing.T) {
	for receivers, want := range map[proto.Receivers]string{
		0: "+ to everyone: delivered\n", proto.ReceiversOf(0): "+ to everyone: delivered to 0 online\n",
		proto.ReceiversOf(3): "+ to everyone: delivered to 3 online\n",
	} {
		chat, network := newTestChat()
		network.send = func(proto.UserID, string) (client.Result, error) {
			return client.Result{Outcome: proto.OutcomeDelivered, Code: proto.CodeSuccess, Receivers: receivers}, nil
		}
		if got := run(t, chat, "hi"); got != want {
			t.Errorf("it says %q, want %q", got, want)
		}
	}
}

// TestReadMarked: a byte order mark is no part of a line.
func TestReadMarked(t *testing.T) {
	chat, network := newTestChat()
	sent := record(network)
	run(t, chat, "\ufeffone", "\ufeff", "\ufeff:info", "\ufeffbob;;two")
	if want := []string{"all|one", "bob|two"}; !slices.Equal(*sent, want) {
		t.Errorf("sent %q, want %q", *sent, want)
	}
}
