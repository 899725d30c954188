package client_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"sync"
	"time"

	"cim/client"
	"cim/proto"
	"cim/route/access"
)

// ledger is an application's data in a database: its work, and the text that each piece is for, in
// one transaction.
type ledger struct {
	mu      sync.Mutex
	entries []string
	texts   map[text]bool
}

// text names one: its sender and its id.
type text struct {
	sender proto.UserID
	id     proto.TextID
}

func (l *ledger) seen(sender proto.UserID, id proto.TextID) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.texts[text{sender, id}]
}

// book is done when it returns true. A false message comes again to the next
// login.
func (l *ledger) book(m client.Message) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.entries = append(l.entries, m.Text)
	l.texts[text{m.Sender.ID, m.ID}] = true
	return true
}

// An application that books each message once, whatever breaks, also its own process. It keeps the
// ids of booked messages, and the sender gives a message that it may send again after a restart the
// same id.
func Example_once() {
	system, err := startSystem(access.DefaultConfig()) // in real life: cim standalone
	if err != nil {
		log.Fatal(err)
	}
	defer system.close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	books := &ledger{texts: map[text]bool{}}
	for range 2 { // the second time is after a restart
		till, err := client.Dial(ctx, client.Config{Routes: []string{system.url}, Name: "till", Accept: books.book, Seen: books.seen})
		if err != nil {
			log.Fatal(err)
		}
		shop, err := client.Dial(ctx, client.Config{Routes: []string{system.url}, Name: "shop"})
		if err != nil {
			log.Fatal(err)
		}
		result, err := shop.SendWith(ctx, till.User().ID, "3 apples", client.SendOptions{ID: 0x1795400000000001})
		if err != nil || result.Err() != nil {
			log.Fatal(result, err)
		}
		fmt.Println(result.Outcome, books.entries)
		if err := errors.Join(shop.Close(ctx), till.Close(ctx)); err != nil {
			log.Fatal(err)
		}
	}
	// Output:
	// received [3 apples]
	// received [3 apples]
}
