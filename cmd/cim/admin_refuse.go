package main

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"cim/proto"
	"cim/route"
)

// refuseRequest names the user whose tokens are refused.
type refuseRequest struct {
	User proto.UserID `json:"userId"`
}

// refuseAnswer says from when on the user's tokens count.
type refuseAnswer struct {
	User  proto.UserID `json:"userId"`
	Since time.Time    `json:"tokensIssuedSince"`
}

// refuseTokens refuses a user's tokens. It logs the address that asked for it.
func (o *operators) refuseTokens(r *http.Request, body []byte) (any, error) {
	var ask refuseRequest
	if err := readChange(r, body, &ask, `{"userId":ID}`); err != nil {
		return nil, err
	}
	switch {
	case ask.User < 1:
		return nil, refuse(http.StatusBadRequest, "user %d is not an id", ask.User)
	case o.route == nil:
		return nil, refuse(http.StatusNotFound, "no route runs here")
	}
	since, err := o.route.RefuseTokens(r.Context(), ask.User)
	switch {
	case errors.Is(err, route.ErrNoAccount):
		return nil, statusError{http.StatusNotFound, err}
	case errors.Is(err, route.ErrNoTokens):
		return nil, statusError{http.StatusConflict, err}
	case err != nil:
		return nil, err
	}
	o.log.Warn("tokens refused", "user", int64(ask.User), "issued_before", since, "by", r.RemoteAddr)
	return refuseAnswer{ask.User, since}, nil
}

// refuseTokens makes all routes among the listeners refuse the older tokens of user. One route is
// enough: the others refuse them within seconds. It names the routes that did not do it.
func (a *adminCommand) refuseTokens(cmd *cobra.Command, listeners []adminListener, user proto.UserID) error {
	var done []refuseAnswer
	var faults []error
	for _, l := range listeners {
		var answer refuseAnswer
		err := l.post(cmd.Context(), pathRefuseTokens, refuseRequest{user}, &answer)
		if err := orInterrupted(cmd.Context(), nil); err != nil {
			return err
		}
		if err == nil {
			done = append(done, answer)
		} else if !l.guessed {
			faults = append(faults, fmt.Errorf("%s: %w", l.url, err))
		}
	}
	if len(done) == 0 {
		return failed(errors.Join(append(faults, fmt.Errorf("no route has said that it refuses the tokens of user %d, so no session was ended: --admin must name a route's listener", user))...))
	}
	for _, fault := range faults {
		if refusal := (listenerFault{}); !errors.As(fault, &refusal) || refusal.status != http.StatusNotFound {
			report(cmd.ErrOrStderr(), fault) // no 404: that is a server, or a system without this user
		}
	}
	last := slices.MaxFunc(done, func(a, b refuseAnswer) int { return a.Since.Compare(b.Since) })
	if a.json {
		return failed(writeLine(cmd.OutOrStdout(), last))
	}
	_, err := fmt.Fprintf(cmd.OutOrStdout(), "tokens of user %d are refused that were issued before %s\n", user, last.Since.Format(time.RFC3339))
	return failed(err)
}
