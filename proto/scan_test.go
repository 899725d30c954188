package proto

import (
	"reflect"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
)

// TestScanTakes: the usual bodies of clients are scanned, with the right result.
func TestScanTakes(t *testing.T) {
	text := "hé"
	want := PrivateRequest{UserID: 1795450746699, ReceiveUserID: 2, Msg: &text, Client: 1, Sent: 999999999999999999, TextID: "18446744073709551615", Want: 2}
	for _, body := range []string{
		`{"userId":1795450746699,"receiveUserId":2,"msg":"hé","client":1,"sent":999999999999999999,"textId":"18446744073709551615","want":2}`,
		" {\r\n\t\"timeStamp\": 1, \"reqNo\" :\"x\", \"want\":2, \"textId\":\"18446744073709551615\", \"sent\":\"999999999999999999\"," +
			` "client":"1", "msg":"hé", "receiveUserId":"2", "userId":"1795450746699" } `,
	} {
		var got PrivateRequest
		if !got.scan([]byte(body)) || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: scanned as %+v, want %+v", body, got, want)
		}
	}
}

// TestScanTakesLogins is TestScanTakes for logins.
func TestScanTakesLogins(t *testing.T) {
	want := LoginRequest{UserID: 1795450746699, UserName: "bé", Client: 1, Ticket: "0f", Move: 1, Ack: 1}
	var got LoginRequest
	body := `{"userId":"1795450746699","userName":"bé","client":1,"ticket":"0f","move":1,"ack":1,"reqNo":"x","timeStamp":1}`
	if !got.scan([]byte(body)) || got != want {
		t.Errorf("scanned as %+v, want %+v", got, want)
	}
}

// TestScanLeaves: a scan that leaves the body to the general decoder leaves no
// values behind.
func TestScanLeaves(t *testing.T) {
	for _, body := range []string{
		`{"userId":1,"want":2,"client":1.0,"msg":"x"}`, `{"want":2,"userId":null,"client":1,"batchMsg":["x"]}`, `{"userId":1000000000000000000}`,
	} {
		var scanned, got, want GroupRequest
		if scanned.scan([]byte(body)) {
			t.Errorf("%s was scanned", body)
		}
		if err := DecodeBody([]byte(body), &got); err != nil || json.Unmarshal([]byte(body), &want) != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: read as %+v (%v), want %+v", body, got, err, want)
		}
	}
}

// FuzzScan: a scanned body has the same result in the general decoder.
func FuzzScan(f *testing.F) {
	for _, seed := range []string{
		`{"userId":1,"receiveUserId":"2","msg":"é","client":1,"sent":3,"textId":"4","want":0,"reqNo":"r","timeStamp":5}`,
		`{"userId":"1","userName":"é","client":1,"ticket":"0f","move":1,"ack":1,"reqNo":"r"}`, `{"userName":"a","userName":"b"}`, `{"userName":1}`,
		" {\r\"userId\"\t: 1 ,\n\"msg\":\"\"} ", `{}`, `{"userId":1,}`, `{,"userId":1}`, `{"userId":01}`, `{"userId":"01"}`, `{"userId":" 1"}`,
		`{"userId":1,"userId":1}`, `{"reqNo":1,"reqNo":"1"}`, `{"timeStamp":1.5}`, `{"msg":"\n"}`, `{"msg":"` + "\xff" + `"}`,
		`{"userId":999999999999999999}`, `{"userId":9999999999999999999}`, `{"userId":-1}`, `{"userId":1}}`, `{"userId":1 2}`, `{"userId":"1}`, `{"userId":"1"`, "{\"userId\":\"\n1\"}", "{\"userId\":\"1\t\"}",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		checkScan[PrivateRequest](t, body)
		checkScan[GroupRequest](t, body)
		checkScan[LoginRequest](t, body)
	})
}

func checkScan[T any, P interface {
	*T
	scannable
}](t *testing.T, body []byte) {
	var scanned, decoded T
	if !P(&scanned).scan(body) {
		return
	}
	if err := json.Unmarshal(body, &decoded); err != nil || !reflect.DeepEqual(scanned, decoded) {
		t.Fatalf("%q was scanned as %+v, decoded as %+v (%v)", body, scanned, decoded, err)
	}
}

// BenchmarkDecodePrivate decodes the body that most clients send, and the same with
// an escape in its text.
func BenchmarkDecodePrivate(b *testing.B) {
	for name, text := range map[string]string{"plain": "x", "general": `\n`} {
		b.Run(name, func(b *testing.B) {
			body := []byte(`{"userId":1795450746699,"receiveUserId":1795450746700,"msg":"` + text + strings.Repeat("x", 127) + `"}`)
			b.ReportAllocs()
			for b.Loop() {
				var request PrivateRequest
				if err := DecodeBody(body, &request); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// TestLoginBody compares the special encoder with the general one.
func TestLoginBody(t *testing.T) {
	for _, b := range []LoginBody{
		{},
		{IP: "fe80::1", CIMServerPort: 11211, HTTPPort: 8081},
		{IP: "a\"\n<é", CIMServerPort: 1, HTTPPort: -1, Ticket: "00ff", Ack: 1},
	} {
		if got, want := b.Body(), Body(b); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}
