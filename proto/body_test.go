package proto

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
)

// TestBodyTaken: bodies that the original's reader accepts in its own way have the
// same meaning here.
func TestBodyTaken(t *testing.T) {
	for body, want := range map[string]string{
		`{"userId":1,"msg":"x"}`:                                  "1 x",
		"\uFEFF" + `{"userId":1,"msg":"x"}`:                       "1 x",
		`{"userId":1,"msg":5}`:                                    "1 5",
		`{"userId":1,"msg":-1.50}`:                                "1 -1.50",
		`{"userId":1,"msg":true,"reqNo":7}`:                       "1 true",
		`{"userId":1,"batchMsg":["a",2,false]}`:                   "1 a|2|false",
		`{"userId":1,"msg":"a\ud83d!"}`:                           "1 a\uFFFD!",
		`{"userId":1,"msg":"a\udc00\ud83d\ude00"}`:                "1 a\uFFFD\U0001F600",
		`{"userId":"1","msg":"x"}`:                                "1 x",
		`{"userId":" 1 ","msg":"x"}`:                              "1 x",
		`{"userId":"\u0031\n","msg":"x"}`:                         "1 x",
		`{"userId":1.0,"msg":"x"}`:                                "1 x",
		`{"userId":1.5e1,"msg":"x"}`:                              "15 x",
		`{"userId":1795450746699e0,"msg":"x"}`:                    "1795450746699 x",
		`{"userId":9223372036854775807.00,"msg":"x"}`:             "9223372036854775807 x",
		`{"userId":-9223372036854775808,"msg":"x"}`:               "-9223372036854775808 x",
		`{"userId":0.0,"msg":"x"}`:                                "0 x",
		`{"userId":"","msg":"x"}`:                                 "0 x",
		`{"userId":1,"msg":"x","client":null}`:                    "1 x",
		`{"userId":1,"msg":5,"extra":{"a":[1,{"b":null}]}}`:       "1 5",
		`{"batchMsg":["old"],"userId":1.0,"msg":5}`:               "1 old",
		"\t{\"userId\":1,\"msg\":\"x\"}\r\n":                      "1 x",
		`{"userId":1,"msg":"x","timeStamp":1.7e12,"reqNo":false}`: "1 x",
	} {
		var request GroupRequest
		if err := DecodeBody([]byte(body), &request); err != nil {
			t.Errorf("%s: %v", body, err)
			continue
		}
		texts, err := Texts(request.Msg, request.BatchMsg)
		if got := fmt.Sprint(int64(request.UserID), " ", strings.Join(texts, "|")); err != nil || got != want {
			t.Errorf("%s: read %q (%v), want %q", body, got, err, want)
		}
	}
}

// TestBodyRefused: ambiguous bodies are refused with an error that names the
// member, and bodies that are not JSON with ErrSyntax.
func TestBodyRefused(t *testing.T) {
	for body, want := range map[string]string{
		`{"userId":1.5,"msg":"x"}`:                     `userId: "1.5" is not`,
		`{"userId":9007199254740992.5,"msg":"x"}`:      "userId:",
		`{"userId":1e19,"msg":"x"}`:                    "userId:",
		`{"userId":9223372036854775808.0}`:             "userId:",
		`{"userId":9223372036854775808}`:               "userId:",
		`{"userId":1e999999999}`:                       "userId:",
		`{"userId":1.` + strings.Repeat("0", 80) + `}`: "userId:",
		`{"userId":"1.0"}`:                             "userId:",
		`{"userId":"one"}`:                             `userId: "one" is not`,
		`{"userId":true}`:                              "userId:",
		`{"userId":[1]}`:                               "userId:",
		`{"msg":{"a":1}}`:                              "msg: an object is of the wrong type",
		`{"msg":["a"]}`:                                "msg: a list is of the wrong type",
		`{"batchMsg":"a"}`:                             "batchMsg: a string is of the wrong type",
		`{"batchMsg":["a",{}]}`:                        "batchMsg/1: an object is of the wrong type",
	} {
		err := DecodeBody([]byte(body), new(GroupRequest))
		if err == nil || errors.Is(err, ErrSyntax) || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: %v, want %s...", body, err, want)
		}
	}
	for body, want := range map[string]string{
		`{"userId":1,"userId":1}`:             "member userId stands twice",
		`{"x":{"a":1,"a":2}}`:                 "member x/a stands twice",
		`{"userId":1.0,"msg":5,"msg":"five"}`: "member msg stands twice",
		"{\"msg\":\"\xff\"}":                  "not valid UTF-8",
		"{\"msg\":\"\xed\xa0\x80\"}":          "not valid UTF-8",
		`{"msg":5`:                            "not a JSON object",
		`{"msg":05}`:                          "not a JSON object",
		`{"msg":"x"}}`:                        "not a JSON object",
		"\uFEFF":                              "not a JSON object",
		"\uFEFF\uFEFF{}":                      "not a JSON object",
		``:                                    "not a JSON object",
		`[{"userId":1}]`:                      "not a JSON object",
	} {
		err := DecodeBody([]byte(body), new(GroupRequest))
		if !errors.Is(err, ErrSyntax) || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %s", body, err, want)
		}
	}
}

// TestBodyReadAnew: a decoding that fails leaves no values behind.
func TestBodyReadAnew(t *testing.T) {
	request := SendMsgRequest{}
	body := `{"properties":{"a":"1","b":2},"userId":" 7 ","cmd":"OFFLINE","msg":false}`
	if err := DecodeBody([]byte(body), &request); err != nil {
		t.Fatal(err)
	}
	if request.UserID != 7 || *request.Msg != "false" || request.Properties["b"] != "2" || len(request.Properties) != 2 {
		t.Errorf("read %+v", request)
	}
}

// FuzzNumber: a Number has exactly the value of its text, or is refused.
func FuzzNumber(f *testing.F) {
	for _, seed := range []string{"1", "1.0", "1.5", "1e3", "-0", "1e-400", "9223372036854775807", "9223372036854775807.0", "1e18", "0.1e1", "123456789012345678.9e1"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var asNumber, asText FetchOfflineRequest
		if DecodeBody([]byte(`{"receiveUserId":`+text+`}`), &asNumber) != nil || strings.ContainsAny(text, "{}[]\":, \t\r\n") {
			return
		}
		if strings.ContainsAny(text, ".eE") {
			near, err := strconv.ParseFloat(text, 64)
			if err != nil || near != float64(asNumber.ReceiveUserID) {
				t.Fatalf("%s read as %d, want %v (%v)", text, asNumber.ReceiveUserID, near, err)
			}
			return
		}
		if text == "null" {
			return
		}
		if err := DecodeBody([]byte(`{"receiveUserId":"`+text+`"}`), &asText); err != nil || asText != asNumber {
			t.Fatalf("%s as a text: %v, %v", text, asText, err)
		}
	})
}
