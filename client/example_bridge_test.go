package client_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"cim/client"
	"cim/proto"
	"cim/route/access"
)

// linesMax bounds the lines that are on their way at once.
const linesMax = 64

// bridge sends each line of in to one user, in order and without waiting for one outcome before the
// next line. It returns when all have one, with the number that were delivered or stored.
func bridge(ctx context.Context, c *client.Client, to proto.UserID, in io.Reader) (sent int, err error) {
	outcomes, under := make(chan error, linesMax), 0
	settle := func() {
		fault := <-outcomes
		err = errors.Join(err, fault)
		if under--; fault == nil {
			sent++
		}
	}
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		if under == linesMax {
			settle()
		}
		under++
		refused := c.SendAsync(ctx, to, lines.Text(), func(r client.Result, err error) {
			if err == nil {
				err = r.Err()
			}
			outcomes <- err
		})
		if refused != nil {
			outcomes <- refused
		}
	}
	for under > 0 {
		settle()
	}
	return sent, errors.Join(err, lines.Err())
}

// A bridge passes the output of another program to a user, a message for each line.
func Example_bridge() {
	system, err := startSystem(access.DefaultConfig()) // in real life: cim standalone
	if err != nil {
		fmt.Println(err)
		return
	}
	defer system.close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()

	got := make(chan client.Message, 10)
	lisi, err := client.Dial(ctx, client.Config{Routes: []string{system.url}, Name: "lisi", Messages: got})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer lisi.Close(ctx)
	c, err := client.Dial(ctx, client.Config{Routes: []string{system.url}, Name: "bridge"})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer c.Close(ctx)

	in := strings.NewReader("disk 71%\ndisk 83%\ndisk 96%\n") // in real life: os.Stdin
	sent, err := bridge(ctx, c, lisi.User().ID, in)
	fmt.Println(sent, "lines,", err)
	for range sent {
		fmt.Println((<-got).Text)
	}
	// Output:
	// 3 lines, <nil>
	// disk 71%
	// disk 83%
	// disk 96%
}
