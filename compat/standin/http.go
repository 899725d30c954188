package standin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"
)

// The codes of the contract that this stand-in gives.
const (
	CodeSuccess  = "9000"
	CodeInvalid  = "3000"
	CodeFailure  = "4000"
	CodeRepeat   = "5000"
	CodeOffline  = "7000"
	CodeNoServer = "7100"
	CodeMismatch = "9100"
)

// answer is what every request gets.
type answer struct {
	Code     string          `json:"code"`
	Message  string          `json:"message"`
	ReqNo    *string         `json:"reqNo"`
	DataBody json.RawMessage `json:"dataBody"`
}

func answered(code string, body any) answer {
	encoded, err := json.Marshal(body)
	if err != nil {
		panic("original: " + err.Error()) // our own types always encode
	}
	return answer{Code: code, Message: "code " + code, DataBody: encoded}
}

// requestMax bounds a request of the stand-in, which the original does not.
const requestMax = 10 * time.Second

// caller sends requests and reads their answers as the original does: it fails
// on a member that it does not know.
type caller struct{ client http.Client }

func newCaller() *caller {
	return &caller{http.Client{Timeout: requestMax, Transport: &http.Transport{MaxIdleConnsPerHost: 16}}}
}

func (c *caller) close() { c.client.CloseIdleConnections() }

// post sends request and reads the dataBody of its answer into body, which is
// nil where the contract demands null or {}. The error is of the transport or
// of the reader; the code is no error.
func (c *caller) post(ctx context.Context, url string, request, body any) (code string, err error) {
	encoded, err := json.Marshal(request)
	if err != nil {
		return "", err
	}
	made, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(encoded))
	if err != nil {
		return "", err
	}
	made.Header.Set("Content-Type", "application/json")
	return c.send(made, body)
}

func (c *caller) get(ctx context.Context, url string, body any) (code string, err error) {
	made, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	return c.send(made, body)
}

func (c *caller) send(request *http.Request, body any) (string, error) {
	response, err := c.client.Do(request)
	if err != nil {
		return "", fmt.Errorf("original: %w", err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, 16<<20))
	switch {
	case err != nil:
		return "", fmt.Errorf("original: %s: %w", request.URL, err)
	case response.StatusCode != http.StatusOK:
		return "", fmt.Errorf("original: %s: HTTP %d", request.URL, response.StatusCode)
	}
	var a answer
	if err := strictly(text, &a); err != nil {
		return "", fmt.Errorf("original: %s: answer: %w", request.URL, err)
	}
	if string(a.DataBody) == "null" || len(a.DataBody) == 0 {
		return a.Code, nil
	}
	if body == nil {
		body = &struct{}{}
	}
	if err := strictly(a.DataBody, body); err != nil {
		return "", fmt.Errorf("original: %s: dataBody: %w", request.URL, err)
	}
	return a.Code, nil
}

// strictly reads JSON and fails on a member that value does not have.
func strictly(text []byte, value any) error {
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(value); err != nil {
		return err
	}
	if decoder.More() {
		return errors.New("more than one value")
	}
	return nil
}

// listener is an HTTP server.
type listener struct {
	server http.Server
	addr   *net.TCPAddr
	done   chan struct{}
}

// listen serves at 127.0.0.1:port, 0 for a free one.
func listen(port int, handler http.Handler) (*listener, error) {
	l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		return nil, fmt.Errorf("original: %w", err)
	}
	served := &listener{server: http.Server{Handler: handler, ReadTimeout: requestMax}, addr: l.Addr().(*net.TCPAddr), done: make(chan struct{})}
	go func() {
		defer close(served.done)
		_ = served.server.Serve(l) // ends with close
	}()
	return served, nil
}

// close ends it, whatever it is doing.
func (l *listener) close() {
	_ = l.server.Close()
	<-l.done
}

// handle answers POSTs of one path. A member of a request that is not known
// is passed over.
func handle[T any](serve func(ctx context.Context, request T) answer) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var request T
		if err := json.NewDecoder(r.Body).Decode(&request); err != nil {
			reply(w, answered(CodeFailure, nil))
			return
		}
		reply(w, serve(r.Context(), request))
	}
}

func reply(w http.ResponseWriter, a answer) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(a) // the peer may have gone
}

// sendMsg is the body of /sendMsg. UserID is the receiver.
type sendMsg struct {
	UserID     int64             `json:"userId"`
	Msg        *string           `json:"msg"`
	BatchMsg   []string          `json:"batchMsg"`
	Cmd        string            `json:"cmd"`
	Properties map[string]string `json:"properties"`
	ReqNo      *string           `json:"reqNo"`
	TimeStamp  int64             `json:"timeStamp"`
}

// goodbye is the body of /offLine.
type goodbye struct {
	UserID int64  `json:"userId"`
	Msg    string `json:"msg"`
}
