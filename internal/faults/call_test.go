package faults

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"cim/proto"
)

const (
	// callMax bounds a call with its answer. A route may take 10 s for a group
	// message to a server that is slow.
	callMax = 15 * time.Second
	// answerMax bounds an answer in bytes.
	answerMax = 4 << 20
)

// answered is what a call brought.
type answered struct {
	status int
	code   proto.Code
	body   json.RawMessage
}

// read reads the body of a success.
func (a answered) read(body any) error {
	if a.code != proto.CodeSuccess {
		return fmt.Errorf("code %s, want %s", a.code, proto.CodeSuccess)
	}
	return json.Unmarshal(a.body, body)
}

// call posts a request, or gets if there is none. An error says that no answer
// came.
func call(ctx context.Context, client *http.Client, url string, request any) (answered, error) {
	method, body := http.MethodGet, io.Reader(http.NoBody)
	if request != nil {
		method, body = http.MethodPost, strings.NewReader(proto.Body(request))
	}
	made, err := http.NewRequestWithContext(ctx, method, url, body)
	if err != nil {
		return answered{}, err
	}
	made.Header.Set("Content-Type", "application/json")
	response, err := client.Do(made)
	if err != nil {
		return answered{}, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, answerMax))
	if err != nil {
		return answered{}, err
	}
	parsed, err := proto.ParseAnswer(text)
	if err != nil {
		return answered{}, fmt.Errorf("%s: status %d: %w", url, response.StatusCode, err)
	}
	return answered{response.StatusCode, proto.Code(parsed.Code), json.RawMessage(parsed.DataBody)}, nil
}

// callAny asks the member's routes in turn, until one answers.
func (m *member) callAny(ctx context.Context, path string, request, body any) (code proto.Code, err error) {
	for _, url := range m.routes() {
		var a answered
		if a, err = call(ctx, m.crowd.client, url+path, request); err != nil {
			continue
		}
		if a.code == proto.CodeSuccess && body != nil {
			err = json.Unmarshal(a.body, body)
		}
		return a.code, err
	}
	return 0, err
}

// register gives the member its account, in time even if the store is slow.
func (m *member) register() error {
	var body proto.UserBody
	var code proto.Code
	var err error
	within(pick(0, waitMax), func() bool {
		code, err = m.callAny(m.crowd.ctx, proto.PathRegister, proto.RegisterRequest{UserName: m.user.Name}, &body)
		return err == nil && code != proto.CodeFailure
	})
	if err == nil && code != proto.CodeSuccess {
		err = fmt.Errorf("register %s: code %s", m.user.Name, code)
	}
	m.user.ID = body.UserID
	return err
}
