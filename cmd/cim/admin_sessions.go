package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"cim/client/terminal"
	"cim/proto"
	"cim/server"
)

const (
	// sessionsShown is how many sessions are shown by default.
	sessionsShown = 1000
	// pagesMax bounds the pages of one listener: 4 million sessions.
	pagesMax = 1 << 12
)

// sessionRow is a session and where it is.
type sessionRow struct {
	server.Session
	Server   string      `json:"server"`
	Epoch    proto.Epoch `json:"epoch,string"`
	Listener string      `json:"listener"`
}

// sessionsCommand is cim admin sessions.
type sessionsCommand struct {
	*adminCommand
	user int64
	most int
}

func newSessionsCommand(a *adminCommand) *cobra.Command {
	c := &sessionsCommand{adminCommand: a}
	cmd := &cobra.Command{
		Use: "sessions", Short: "List who is connected where", Args: cobra.NoArgs,
		Long: `Lists the sessions of all servers whose listeners are given: user, server, the
client's address and dialect (cim, or v2 and v1 of the original), for how long,
the bytes that it has not taken yet, and whether it waits for its stored
messages. The name is known of clients of cim only. The list is no snapshot:
who comes or goes meanwhile may be in it or not.`,
		RunE: func(cmd *cobra.Command, _ []string) error { return c.run(cmd) },
	}
	a.offer(cmd)
	cmd.Flags().Int64Var(&c.user, "user", 0, "only the session of the user with this id")
	cmd.Flags().IntVarP(&c.most, "number", "n", sessionsShown, "number of sessions to show; 0: all")
	return cmd
}

func (c *sessionsCommand) run(cmd *cobra.Command) error {
	listeners, err := c.listeners(cmd)
	switch {
	case err != nil:
		return err
	case c.user < 0 || cmd.Flags().Changed("user") && c.user == 0:
		return fmt.Errorf("user %d is not an id", c.user)
	case c.most < 0:
		return fmt.Errorf("number %d is negative", c.most)
	}
	w := &sessionsWriter{out: cmd.OutOrStdout(), json: c.json, most: c.most}
	err = walkSessions(cmd.Context(), listeners, proto.UserID(c.user), cmd.ErrOrStderr(), w.write)
	switch {
	case errors.Is(err, errEnough):
		report(cmd.ErrOrStderr(), fmt.Errorf("there are more than %d sessions: -n 0 shows all", c.most))
		return nil
	case err == nil:
		return failed(w.head())
	}
	return err
}

// errEnough ends a walk.
var errEnough = errors.New("enough")

// walkSessions calls visit with each session of each listener until that
// returns an error. It names the listeners that do not answer, and fails if none
// does.
func walkSessions(ctx context.Context, listeners []adminListener, user proto.UserID, faults io.Writer, visit func(sessionRow, adminListener) error) error {
	var all []listenerAnswer
	for _, l := range listeners {
		err := l.eachSession(ctx, user, visit)
		if stopped := (visitError{}); errors.As(err, &stopped) {
			return stopped.error
		}
		if err := orInterrupted(ctx, nil); err != nil {
			return err
		}
		all = append(all, listenerAnswer{from: l, err: err})
	}
	return reportSilent(faults, all)
}

// visitError is an error that a visitor has returned.
type visitError struct{ error }

// eachSession reads page after page.
func (l adminListener) eachSession(ctx context.Context, user proto.UserID, visit func(sessionRow, adminListener) error) error {
	query := url.Values{"limit": {strconv.Itoa(server.SessionsMax)}}
	if user != 0 {
		query.Set("user", strconv.FormatInt(int64(user), 10))
	}
	for range pagesMax {
		var page sessionsPage
		if err := l.get(ctx, pathSessions+"?"+query.Encode(), &page); err != nil {
			return err
		}
		for _, s := range page.Sessions {
			if err := visit(sessionRow{s, page.Server, page.Epoch, l.url}, l); err != nil {
				return visitError{err}
			}
		}
		if page.Next == "" {
			return nil
		}
		query.Set("after", page.Next)
	}
	return fmt.Errorf("its list of sessions has no end after %d pages", pagesMax)
}

// sessionsWriter writes the sessions as they come.
type sessionsWriter struct {
	out    io.Writer
	json   bool
	most   int // 0: all
	shown  int
	headed bool
}

// sessionFormat has the name last, since the width of a name on the screen is unknown.
const sessionFormat = "%-19s  %-21s  %-21s  %-7s  %-8s  %-9s  %-4s  %s\n"

// head writes the table's first line, once.
func (w *sessionsWriter) head() error {
	if w.json || w.headed {
		return nil
	}
	w.headed = true
	_, err := fmt.Fprintf(w.out, sessionFormat, "USER", "SERVER", "ADDRESS", "DIALECT", "FOR", "UNSENT", "HELD", "NAME")
	return err
}

func (w *sessionsWriter) write(s sessionRow, _ adminListener) error {
	if w.most > 0 && w.shown == w.most {
		return errEnough
	}
	w.shown++
	if w.json {
		return failed(writeLine(w.out, s))
	}
	if err := w.head(); err != nil {
		return failed(err)
	}
	held, name := "no", s.Name
	if s.Held {
		held = "yes"
	}
	if name == "" {
		name = "-"
	}
	age := max(0, time.Since(s.Since).Seconds())
	line := fmt.Sprintf(sessionFormat, strconv.FormatInt(int64(s.User), 10), s.Server, s.Address, s.Dialect, span(age), size(float64(s.UnsentBytes)), held, name)
	_, err := fmt.Fprintln(w.out, terminal.Harmless(strings.TrimSuffix(line, "\n")))
	return failed(err)
}

func newKickCommand(a *adminCommand) *cobra.Command {
	refuse := false
	cmd := a.offer(&cobra.Command{
		Use: "kick ID|NAME", Short: "End the session of a user", Args: cobra.ExactArgs(1),
		ValidArgsFunction: cobra.NoFileCompletions,
		Long: `Ends the session of a user, whichever of the listeners' servers has it. A
client of cim learns why and stays away; a client of the original logs in
again. The server logs the address that asked. A NAME is looked up among the
sessions of clients of cim, since only those have names; a number is an id.

With --refuse-tokens a route is asked first to refuse the user's tokens that were
issued until now: one listener at least must be a route's or a standalone's, with
--auth check or require. All routes do within 5s. So a client with such a
token stays away; a token that is issued from the next second on counts. With an id
this does not need a session. Service tokens are no user's, and stay.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			listeners, err := a.listeners(cmd)
			if err != nil {
				return err
			}
			return a.kick(cmd, listeners, args[0], refuse)
		},
	})
	cmd.Flags().BoolVar(&refuse, "refuse-tokens", refuse, "also refuse the user's tokens that were issued until now")
	return cmd
}

// kick ends all sessions of whom: two while one of them moves. If the user's tokens are refused
// too, that comes first, and then the sessions are looked up again: from then on no older token
// starts one.
func (a *adminCommand) kick(cmd *cobra.Command, listeners []adminListener, whom string, refuse bool) error {
	user, found, err := a.sessionsOf(cmd, listeners, whom)
	if err == nil && refuse && user != 0 {
		if err = a.refuseTokens(cmd, listeners, user); err == nil {
			_, found, err = a.sessionsOf(cmd, listeners, strconv.FormatInt(int64(user), 10))
		}
	}
	switch {
	case err != nil:
		return err
	case len(found) == 0 && refuse && user != 0:
		report(cmd.ErrOrStderr(), noSession(strconv.FormatInt(int64(user), 10)))
		return nil // the tokens are refused
	case len(found) == 0:
		return failed(noSession(whom))
	}
	var faults []error
	for _, f := range found {
		request := kickRequest{User: f.User, Session: f.ID, Epoch: f.Epoch}
		if err := f.from.post(cmd.Context(), pathKick, request, &kickAnswer{}); err != nil {
			faults = append(faults, fmt.Errorf("%s: %w", f.Listener, gone(err, f.User)))
			continue
		}
		faults = append(faults, a.kicked(cmd.OutOrStdout(), f.sessionRow))
	}
	if err := orInterrupted(cmd.Context(), nil); err != nil {
		return err
	}
	return failed(errors.Join(faults...))
}

func noSession(whom string) error {
	if _, err := strconv.ParseInt(whom, 10, 64); err == nil {
		return fmt.Errorf("user %s has no session at the servers that have answered", whom)
	}
	return fmt.Errorf("%s has no session at the servers that have answered; a client of the original is found by its id only", terminal.Harmless(strconv.Quote(whom)))
}

// gone explains that the session was not there any more.
func gone(err error, user proto.UserID) error {
	if fault := (listenerFault{}); errors.As(err, &fault) && (fault.status == http.StatusNotFound || fault.status == http.StatusConflict) {
		return fmt.Errorf("the session of user %d has just ended by itself", user)
	}
	return err
}

func (a *adminCommand) kicked(w io.Writer, s sessionRow) error {
	if a.json {
		return writeLine(w, s)
	}
	_, err := fmt.Fprintf(w, "kicked user %d %s at %s, connected from %s\n", s.User, terminal.Harmless(strconv.Quote(s.Name)), terminal.Harmless(s.Server), terminal.Harmless(s.Address))
	return err
}

// foundSession is a session and the listener that can end it.
type foundSession struct {
	sessionRow
	from adminListener
}

// sessionsOf returns the sessions of whom, an id or a name, and the user's id; 0: the name has no
// session.
func (a *adminCommand) sessionsOf(cmd *cobra.Command, listeners []adminListener, whom string) (user proto.UserID, found []foundSession, err error) {
	id, notID := strconv.ParseInt(whom, 10, 64)
	if notID != nil {
		id = 0
	}
	if notID == nil && id < 1 {
		return 0, nil, fmt.Errorf("user %d is not an id", id)
	}
	err = walkSessions(cmd.Context(), listeners, proto.UserID(id), cmd.ErrOrStderr(), func(s sessionRow, l adminListener) error {
		if id != 0 || proto.SameName(s.Name, whom) {
			found = append(found, foundSession{s, l})
		}
		return nil
	})
	if err != nil || len(found) == 0 {
		return proto.UserID(id), nil, err
	}
	if slices.ContainsFunc(found, func(f foundSession) bool { return f.User != found[0].User }) {
		return 0, nil, failed(fmt.Errorf("several users have the name %s, of systems that have nothing to do with each other: give an id, or --admin", terminal.Harmless(strconv.Quote(whom))))
	}
	return found[0].User, found, nil
}
