package e2e

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"cim/proto"
)

// answerMax bounds an answer that is read, in bytes.
const answerMax = 4 << 20

// answer is what a request got.
type answer struct {
	status  int // of HTTP
	header  http.Header
	code    proto.Code
	message string
	body    jsontext.Value // dataBody
}

// answerJSON has the members that the contract names; the original fails on
// any other.
type answerJSON struct {
	Code     string         `json:"code"`
	Message  string         `json:"message"`
	ReqNo    *string        `json:"reqNo"`
	DataBody jsontext.Value `json:"dataBody"`
}

// Members of dataBody, as the contract names them.
type (
	userJSON struct {
		UserID   int64  `json:"userId"`
		UserName string `json:"userName"`
	}
	loginJSON struct {
		IP            string `json:"ip"`
		CIMServerPort int    `json:"cimServerPort"`
		HTTPPort      int    `json:"httpPort"`
	}
	// ourLoginJSON is for clients of ours only.
	ourLoginJSON struct {
		loginJSON
		Ticket string `json:"ticket"`
	}
)

// originalCodes are the codes that the original's client knows.
var originalCodes = []string{
	"9000", "8000", "3000", "4000", "5000", "6000", "7000", "7100", "7200", "9100", "9200", "9201", "9202",
}

// withoutBody are the paths whose answers must have dataBody null or {}.
var withoutBody = []string{proto.PathPrivate, proto.PathGroup, proto.PathOffLine, proto.PathFetchOffline}

// readAnswer reads an answer as strictly as the original does.
func readAnswer(path string, response *http.Response) (answer, error) {
	raw, err := io.ReadAll(io.LimitReader(response.Body, answerMax))
	if err != nil {
		return answer{}, fmt.Errorf("%s: answer: %w", path, err)
	}
	var parsed answerJSON
	if err := json.Unmarshal(raw, &parsed, json.RejectUnknownMembers(true)); err != nil {
		return answer{}, fmt.Errorf("%s: HTTP %d, answer %q: %w", path, response.StatusCode, raw, err)
	}
	if kind := response.Header.Get("Content-Type"); !strings.HasPrefix(kind, "application/json") {
		return answer{}, fmt.Errorf("%s: Content-Type %q, want JSON", path, kind)
	}
	body := string(parsed.DataBody)
	if slices.Contains(withoutBody, path) && body != "null" && body != "{}" {
		return answer{}, fmt.Errorf("%s: dataBody %s, want null or {}", path, body)
	}
	if !slices.Contains(originalCodes, parsed.Code) {
		return answer{}, fmt.Errorf("%s: code %q is not the contract's", path, parsed.Code)
	}
	a := answer{status: response.StatusCode, header: response.Header, message: parsed.Message, body: parsed.DataBody}
	_, err = fmt.Sscan(parsed.Code, &a.code)
	return a, err
}

// read reads the dataBody, as strictly.
func (a answer) read(into any) error {
	if err := json.Unmarshal(a.body, into, json.RejectUnknownMembers(true)); err != nil {
		return fmt.Errorf("dataBody %s: %w", a.body, err)
	}
	return nil
}

// roundTrip sends one request. body nil: none.
func roundTrip(client *http.Client, method, url, path string, body []byte) (answer, error) {
	request, err := http.NewRequest(method, url+path, bytes.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := client.Do(request)
	if err != nil {
		return answer{}, err
	}
	a, err := readAnswer(path, response)
	if closeErr := response.Body.Close(); err == nil {
		err = closeErr
	}
	return a, err
}

// members are a request's.
type members map[string]any

func (m members) json(t *testing.T) []byte {
	t.Helper()
	b, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// messageMembers puts texts into m as a client does: one as msg, more as
// batchMsg.
func (m members) texts(texts []string) members {
	if len(texts) == 1 {
		m["msg"] = texts[0]
	} else {
		m["batchMsg"] = texts
	}
	return m
}
