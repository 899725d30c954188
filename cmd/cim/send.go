package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/signal"
	"strconv"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"cim/client"
	"cim/client/terminal"
	"cim/proto"
)

// Exit statuses of send, beside those of all commands.
const (
	exitUndelivered = 3 // some message was neither delivered nor stored
	exitUnknown     = 4 // of some message the outcome is unknown
)

const (
	toAll = "all"
	// toName marks a receiver as a name, whatever it looks like.
	toName = "name:"
)

func newSendCommand(p *program) *cobra.Command {
	who, to, create, asJSON := newIdentity(), "", false, false
	wish := client.WantReceived.String()
	s := p.newSettings(func(flags *pflag.FlagSet) {
		who.define(flags)
		flags.StringVar(&to, "to", to, "name or id of the receiver; all: every user online; name:X is the name X, whatever it looks like")
		flags.BoolVar(&create, "create", create, "register the name of --to if it is new")
		choiceVar(flags, &wish, "want", "when a message to one user has its outcome: the receiver's program is done with it, the receiver's connection has taken it, or it is stored first",
			client.WantReceived.String(), client.WantTaken.String(), client.WantStored.String())
		flags.BoolVar(&asJSON, "json", asJSON, "one JSON object a message on standard output: line, id, receivers, outcome, code, error")
	}, settingToken)
	cmd := &cobra.Command{
		Use:   "send --to NAME|ID|all [TEXT...]",
		Short: "Send a message, or each line of standard input",
		Long: `  cim send --name robot --to ann "the build is done"
  make 2>&1 | cim send --name robot --to 1795400000000
  tail -f app.log | cim send --name robot --to all --json

Sends TEXT, its words joined by spaces, or else each line of standard input as
a message, in their order. It ends when each has an outcome: received, the
receiver's program is done with it; delivered, the receiver's connection has
taken it, which is all that can be known of older clients, of messages to all
and with --want taken; stored, it is kept until the receiver has it. What is
only stored, has failed or is unknown is reported on standard error, a line for
each message, without its text. Of TEXT to all it prints how many sessions have it. A byte order mark at the beginning of a line
is no part of it, and a line of nothing else no message. A line that is not
UTF-8 or longer than 32768 bytes has failed. A receiver's name without an
account is refused, unless --create registers it; the sender's is registered.

Sending needs no session: the sender may be logged in elsewhere meanwhile, as in
cim chat, and what is stored for the sender stays stored. Once it has begun, a route
that is busy or away is tried again for up to 6 s.

Exit status: 0 all received, delivered or stored, 1 failed (no route, no such name or id;
nothing from that line on was sent), 2 wrong usage, 3 some were neither delivered nor
stored, 4 of some the outcome is unknown (sending them again may double them), 130
interrupted.`,
		RunE: func(cmd *cobra.Command, words []string) error {
			var receiver sendReceiver
			var want client.Want
			check := func() (err error) {
				receiver, err = parseReceiver(to)
				receiver.create = create
				var wrong error
				want, wrong = client.ParseWant(wish)
				return errors.Join(who.complete(s), who.check(), err, wrong)
			}
			if err := s.read(p, cmd, check); err != nil {
				return err
			}
			signal.Ignore(syscall.SIGPIPE) // a write reports that the reader has gone
			t := &sendReport{out: cmd.OutOrStdout(), stderr: cmd.ErrOrStderr(), json: asJSON, alone: len(words) > 0}
			return failed(send(endAtHangup(cmd.Context()), who, receiver, want, sendInput(cmd, words), t))
		},
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	s.offerIdentity(cmd)
	offerReceivers(p, s, who, cmd)
	return cmd
}

// sendReceiver is the value of --to: all, an id, or a name.
type sendReceiver struct {
	all    bool
	id     proto.UserID
	name   string // if id is 0 and it is not all
	create bool   // register a name without an account
}

func parseReceiver(to string) (sendReceiver, error) {
	name, named := strings.CutPrefix(to, toName)
	switch {
	case to == "":
		return sendReceiver{}, errors.New("--to is missing: give a name, an id, or all")
	case to == toAll:
		return sendReceiver{all: true}, nil
	case !named && strings.Trim(to, "0123456789") == "":
		id, err := strconv.ParseInt(to, 10, 64)
		if err != nil || id == 0 {
			return sendReceiver{}, fmt.Errorf("to %q is not a user's id; a name of digits is given as %s%s", to, toName, to)
		}
		return sendReceiver{id: proto.UserID(id)}, nil
	}
	if err := proto.CheckNameSpelling(name); err != nil {
		return sendReceiver{}, fmt.Errorf("to %q is neither an id nor a name: %w", to, err)
	}
	return sendReceiver{name: name}, nil
}

// sendInput makes the messages out of the words, or of standard input.
func sendInput(cmd *cobra.Command, words []string) *sendLines {
	if len(words) > 0 {
		return oneLine(strings.Join(words, " "))
	}
	in := cmd.InOrStdin()
	if terminal.IsTerminal(in) {
		report(cmd.ErrOrStderr(), errors.New("each line is a message; Ctrl-D ends"))
	}
	return readLines(cmd.Context(), in)
}

// send sends lines and returns what became of them all.
func send(ctx context.Context, who *identity, to sendReceiver, want client.Want, lines *sendLines, t *sendReport) error {
	api, err := client.NewAPI(who.routes, who.tokens())
	if err != nil {
		return err
	}
	defer api.Close()
	sender, receiver, err := findUsers(ctx, api, who.name, to, t.stderr)
	if err != nil {
		return orInterrupted(ctx, err)
	}
	c := lineSender{api: api, sender: sender, receiver: receiver, want: want, report: t}
	return t.verdict(ctx, c.run(ctx, lines))
}

// findUsers finds the receiver's account, and then the sender's, and registers the sender's name if
// it is new. So after an error about the receiver no account was made.
func findUsers(ctx context.Context, api *client.API, name string, to sendReceiver, stderr io.Writer) (sender, receiver proto.UserID, err error) {
	receiver = to.id
	if to.name != "" && to.name != name {
		user, err := findReceiver(ctx, api, to, stderr)
		if err != nil {
			return 0, 0, err
		}
		receiver = user.ID
	}
	user, err := registerName(ctx, api, name, stderr)
	if to.name == name {
		receiver = user.ID
	}
	return user.ID, receiver, err
}

func findReceiver(ctx context.Context, api *client.API, to sendReceiver, stderr io.Writer) (proto.User, error) {
	if to.create {
		return registerName(ctx, api, to.name, stderr)
	}
	user, err := api.Find(ctx, to.name)
	if errors.Is(err, client.ErrNoSuchUser) {
		err = fmt.Errorf("nothing was sent: no account has the name %s; --create registers it%s", to.name, closeName(ctx, api, to.name))
	}
	return user, err
}

// closeName suggests the name of a connected user, if a route answers in time. Names of other users
// are known to the store only.
func closeName(ctx context.Context, api *client.API, name string) string {
	ctx, cancel := context.WithTimeout(ctx, completionMax)
	defer cancel()
	users, err := api.Online(ctx)
	if err != nil {
		return ""
	}
	names := make([]string, len(users))
	for i, u := range users {
		names[i] = receiverText(u)
	}
	return didYouMean(name, names)
}

// registerName returns the account of a name. If there is none it registers the name, and says so.
func registerName(ctx context.Context, api *client.API, name string, stderr io.Writer) (proto.User, error) {
	user, err := api.Find(ctx, name)
	if !errors.Is(err, client.ErrNoSuchUser) {
		return user, err
	}
	if user, err = api.Register(ctx, name); err == nil {
		report(stderr, fmt.Errorf("the name %s is new: registered, id %d", user.Name, user.ID))
	}
	return user, err
}

// orInterrupted is err, unless the user has ended the command.
func orInterrupted(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ending{errors.New("interrupted"), exitInterrupted}
	}
	return err
}
