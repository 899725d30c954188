package proto

import (
	"bytes"
	"testing"
	"unicode/utf8"

	pb "google.golang.org/protobuf/proto"

	"cim/proto/cimpb"
)

// FuzzFrames splits and parses any stream. Protobuf must accept what is accepted
// here, with the same result.
func FuzzFrames(f *testing.F) {
	for _, g := range vectors(f) {
		f.Add(g.frame)
	}
	f.Fuzz(func(t *testing.T, stream []byte) {
		for len(stream) > 0 {
			frame, size, reason := NextFrame(stream, FrameMax)
			if frame == nil {
				if reason == ReasonNone && size > 0 && size <= len(stream) {
					t.Fatalf("an incomplete frame of %d bytes in %d", size, len(stream))
				}
				return
			}
			var v View
			if v.Parse(frame) == ReasonNone {
				var m cimpb.Frame
				if err := pb.Unmarshal(frame, &m); err != nil {
					t.Fatalf("protobuf refuses %x: %v", frame, err)
				}
				m.ProtoReflect().SetUnknown(nil)
				narrow(&m)
				sameAsPB(t, &v, &m)
			}
			stream = stream[size:]
		}
	})
}

// narrow cuts the numbers to the widths that a View has.
func narrow(m *cimpb.Frame) {
	m.Outcome = cimpb.Outcome(uint8(m.Outcome))
	m.Code = uint32(uint16(m.Code))
	m.Want = min(m.Want, wantMax)
	m.Reason = uint32(uint16(m.Reason))
	if m.Receivers != nil {
		m.Receivers = pb.Uint64(min(m.GetReceivers(), receiversMax))
	}
}

// FuzzRecords parses any stream of a link. Accepted records must be written as the
// same bytes.
func FuzzRecords(f *testing.F) {
	f.Add(AppendRecord(nil, &Record{Kind: RecordPush, ID: 1, User: 2, Generation: 3, Body: []byte("body")}))
	f.Add(AppendRecord(nil, &Record{Kind: RecordGrant, Flags: FlagDemandTicket, Name: []byte("ann"), Body: make([]byte, TicketSize)}))
	f.Add(AppendRecord(nil, &Record{Kind: RecordAnswer, Verdict: VerdictBusy, Value: 9}))
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0})
	f.Fuzz(func(t *testing.T, stream []byte) {
		for len(stream) > 0 {
			var r Record
			n, err := ParseRecord(stream, &r)
			if err != nil || n == 0 {
				return
			}
			again := AppendRecord(nil, &r)
			stream[7] = 0 // the unused byte of a record is written as 0
			if !bytes.Equal(again, stream[:n]) {
				t.Fatalf("%x was read, %x written", stream[:n], again)
			}
			stream = stream[n:]
		}
	})
}

// FuzzBodies decodes any body as each request. An accepted one is valid UTF-8 and
// within its bounds, and every error can be part of an answer.
func FuzzBodies(f *testing.F) {
	for _, seed := range []string{
		`{"userId":1,"msg":"hi"}`, `{"userId":"1","receiveUserId":2,"batchMsg":["a","b"],"reqNo":"x","timeStamp":1}`,
		`{"userName":"ann","userId":null}`, `{"userId":1,"msg":"x","cmd":"OFFLINE","properties":{"sendUserId":"2"}}`,
		`{"userId":1.5}`, `{"userId":1,"userId":2}`, `[]`, ``, `{"msg":"` + "\xff" + `"}`,
		"\uFEFF" + `{"userId":" 1 ","msg":5}`, `{"userId":1.0,"batchMsg":[true,-1.5e3,"\ud800"],"properties":{"a":1}}`, `{"userId":99999999999999999999}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		var private PrivateRequest
		if err := DecodeBody(body, &private); err == nil {
			texts, err := Texts(private.Msg, private.BatchMsg)
			if err == nil && (len(texts) == 0 || len(texts) > BatchMax) {
				t.Fatalf("%d texts", len(texts))
			}
			for _, text := range texts {
				if len(text) > TextMax || !utf8.ValidString(text) {
					t.Fatalf("text of %d bytes, valid %v", len(text), utf8.ValidString(text))
				}
			}
		} else {
			checkAnswer(t, err)
		}
		var push SendMsgRequest
		if DecodeBody(body, &push) == nil {
			if frame, err := push.Frame(7, 1); err == nil {
				var v View
				if reason := v.Parse(frame); reason != ReasonNone {
					t.Fatalf("frame %x: %v", frame, reason)
				}
			} else {
				checkAnswer(t, err)
			}
		}
		for _, request := range []any{new(RegisterRequest), new(LoginRequest), new(OffLineRequest), new(GroupRequest), new(FetchOfflineRequest)} {
			if err := DecodeBody(body, request); err != nil {
				checkAnswer(t, err)
			}
		}
	})
}

func checkAnswer(t *testing.T, err error) {
	answer, bad := ParseAnswer(AppendAnswer(nil, CodeInvalid, err.Error(), ""))
	if bad != nil || answer.Code != Number(CodeInvalid) || answer.Message == "" {
		t.Fatalf("answer to %v: %+v, %v", err, answer, bad)
	}
}
