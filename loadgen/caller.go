package loadgen

import (
	"fmt"
	"net"
	"net/url"
	"strings"
	"time"

	"github.com/valyala/fasthttp"

	"cim/proto"
)

// caller is one keep-alive connection to a route. One goroutine uses it.
type caller struct {
	base     string
	bearer   string // the value of Authorization; "": none
	host     fasthttp.HostClient
	request  fasthttp.Request
	response fasthttp.Response
}

// newCaller connects at its first request, and shows token with each, if it is not
// "". patience bounds the write and the
// wait of each.
func newCaller(route, token string, patience time.Duration) (*caller, error) {
	u, err := url.Parse(route)
	if err != nil {
		return nil, fmt.Errorf("loadgen: route %q: %w", route, err)
	}
	bearer := ""
	if token != "" {
		bearer = "Bearer " + token
	}
	return &caller{
		base: strings.TrimSuffix(route, "/"), bearer: bearer,
		host: fasthttp.HostClient{
			Addr: u.Host, MaxConns: 1,
			ReadTimeout: patience, WriteTimeout: patience,
			Dial: func(addr string) (net.Conn, error) { return net.DialTimeout("tcp", addr, patience) },
		},
	}, nil
}

func (c *caller) close() { c.host.CloseIdleConnections() }

// statusOK is of an answer that can be read.
const statusOK = fasthttp.StatusOK

// exchange sends one request and returns its answer, which is gone with the next
// one.
func (c *caller) exchange(path string, body []byte) (status int, answer []byte, err error) {
	c.request.Reset()
	c.request.Header.SetMethod(fasthttp.MethodPost)
	c.request.Header.SetContentType("application/json")
	if c.bearer != "" {
		c.request.Header.Set(fasthttp.HeaderAuthorization, c.bearer)
	}
	c.request.SetRequestURI(c.base + path)
	c.request.SetBody(body)
	if err := c.host.Do(&c.request, &c.response); err != nil {
		return 0, nil, err
	}
	return c.response.StatusCode(), c.response.Body(), nil
}

// post sends one request and returns a route's answer of any code.
func (c *caller) post(path, body string) (answer proto.Answer, err error) {
	status, response, err := c.exchange(path, []byte(body))
	if err == nil {
		answer, err = answerOf(status, response)
	}
	if err != nil {
		return proto.Answer{}, fmt.Errorf("POST %s: %w", path, err)
	}
	return answer, nil
}

// ask is post for requests that must succeed; the dataBody goes into result.
func (c *caller) ask(path, body string, result any) error {
	answer, err := c.post(path, body)
	if err != nil {
		return err
	}
	if code := proto.Code(answer.Code); code != proto.CodeSuccess {
		return fmt.Errorf("POST %s: %w", path, codeError{code, answer.Message})
	}
	if err := proto.DecodeBody(answer.DataBody, result); err != nil {
		return fmt.Errorf("POST %s: dataBody: %w", path, err)
	}
	return nil
}

// codeError is an answer that is not a success.
type codeError struct {
	code    proto.Code
	message string
}

func (e codeError) Error() string { return "code " + e.code.String() + ": " + e.message }

// passes reports whether the same request may succeed later.
func (e codeError) passes() bool {
	return e.code == proto.CodeNoServer || e.code == proto.CodeFailure || e.code == proto.CodeRepeatLogin
}

// newCallers makes a caller for each of routes.
func newCallers(routes []string, token string, patience time.Duration) ([]*caller, error) {
	callers := make([]*caller, len(routes))
	for i, route := range routes {
		c, err := newCaller(route, token, patience)
		if err != nil {
			return nil, err
		}
		callers[i] = c
	}
	return callers, nil
}

func closeCallers(callers []*caller) {
	for _, c := range callers {
		c.close()
	}
}
