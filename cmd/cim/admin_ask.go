package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"cim/client/terminal"
)

const (
	// askMax bounds the wait for one answer of a listener.
	askMax = 2 * time.Second
	// askBytesMax bounds an answer: the state of a route with 4,096 members.
	askBytesMax = 4 << 20
)

// adminListener is an admin listener as cim admin asks it.
type adminListener struct {
	url    string // without a slash at its end
	secret string // "": nothing is proved
	client *http.Client
	// guessed: the address is a default. Its silence is reported only if no other listener
	// answered.
	guessed bool
}

// newListeners sends no request yet. It uses no proxy and keeps no connection: a listener has few
// of them, and others ask it for its health.
func newListeners(urls []string, secret string) []adminListener {
	client := &http.Client{
		Transport: &http.Transport{DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error {
			return errors.New("it leads elsewhere, which no admin listener does")
		},
	}
	var all []adminListener
	for _, u := range urls {
		all = append(all, adminListener{url: strings.TrimSuffix(u, "/"), secret: secret, client: client})
	}
	return all
}

// checkListenerURL reports why text is not the URL of a listener.
func checkListenerURL(text string) error {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" {
		return fmt.Errorf("admin %q is not a URL of the form http://HOST:PORT", terminal.Harmless(text))
	}
	return nil
}

// get reads the answer to a GET of uri into answer.
func (l adminListener) get(ctx context.Context, uri string, answer any) error {
	return l.ask(ctx, http.MethodGet, uri, nil, answer)
}

// post sends request and reads the answer into answer.
func (l adminListener) post(ctx context.Context, uri string, request, answer any) error {
	body, err := json.Marshal(request)
	if err != nil {
		panic("cim: a request that cannot be written: " + err.Error())
	}
	return l.ask(ctx, http.MethodPost, uri, body, answer)
}

func (l adminListener) ask(ctx context.Context, method, uri string, body []byte, answer any) error {
	ctx, cancel := context.WithTimeoutCause(ctx, askMax, fmt.Errorf("no answer within %v", askMax))
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, method, l.url+uri, bytes.NewReader(body))
	if err != nil {
		return err
	}
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
		request.Header.Set(headerKick, "1")
	}
	if l.secret != "" {
		request.Header.Set("Authorization", prove(l.secret, method, request.URL.RequestURI(), body, time.Now()))
	}
	response, err := l.client.Do(request)
	if err != nil {
		return endCause(ctx, err)
	}
	defer response.Body.Close()
	return endCause(ctx, readListener(response, answer))
}

// endCause is the cause of a context that ended, or err without the address, which the caller
// shows.
func endCause(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if op := notDialled(err); op != nil {
		return fmt.Errorf("no answer: %w", bare(op))
	}
	if op := (*net.OpError)(nil); errors.As(err, &op) {
		return bare(op)
	}
	if wrapped := (*url.Error)(nil); errors.As(err, &wrapped) {
		return wrapped.Err
	}
	return err
}

// listenerFault is a refusal of a listener.
type listenerFault struct {
	status int
	text   string
}

func (f listenerFault) Error() string {
	return fmt.Sprintf("HTTP %d: %s", f.status, terminal.Harmless(f.text))
}

func readListener(response *http.Response, answer any) error {
	body, err := io.ReadAll(io.LimitReader(response.Body, askBytesMax+1))
	switch {
	case err != nil:
		return fmt.Errorf("the answer broke off: %w", err)
	case len(body) > askBytesMax:
		return fmt.Errorf("the answer has more than %d bytes", askBytesMax)
	case response.StatusCode != http.StatusOK:
		fault := operatorFault{}
		if json.Unmarshal(body, &fault) != nil || fault.Error == "" {
			fault.Error = "not an admin listener of this release"
		}
		return listenerFault{response.StatusCode, fault.Error}
	}
	if err := json.Unmarshal(body, answer); err != nil {
		return fmt.Errorf("the answer cannot be read: %w", err)
	}
	return nil
}

// listenerAnswer is the answer of one listener.
type listenerAnswer struct {
	from  adminListener
	state processState
	err   error
}

// askStates asks all listeners at once, and returns their answers in order.
func askStates(ctx context.Context, listeners []adminListener) []listenerAnswer {
	all := make([]listenerAnswer, len(listeners))
	var asking sync.WaitGroup
	for i, l := range listeners {
		all[i].from = l
		asking.Go(func() { all[i].err = l.get(ctx, pathState, &all[i].state) })
	}
	asking.Wait()
	if answered(all) {
		all = slices.DeleteFunc(all, func(t listenerAnswer) bool { return t.err != nil && t.from.guessed })
	}
	return all
}

func answered(all []listenerAnswer) bool {
	return slices.ContainsFunc(all, func(t listenerAnswer) bool { return t.err == nil })
}

// errNoListener ends a command that no listener has answered. Which ones, and why,
// has been said.
var errNoListener = errors.New("no admin listener has answered: is cim running there? --admin or CIM_ADMIN says where to ask")

// reportSilent reports the listeners that have not answered, and fails if none has.
func reportSilent(faults io.Writer, all []listenerAnswer) error {
	some := answered(all)
	for _, t := range all {
		if t.err != nil && !(some && t.from.guessed) {
			report(faults, fmt.Errorf("%s: %w", t.from.url, t.err))
		}
	}
	if !some {
		return failed(errNoListener)
	}
	return nil
}
