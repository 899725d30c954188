package server

import (
	"cim/proto"
	"cim/server/shard"
)

// returnJob is the texts that one session returns.
type returnJob struct {
	ref        shard.Ref
	generation proto.Generation
	end        bool   // the session has ended; else it is held, and waits for the end of its flush
	through    uint64 // the shard's mark behind the returned texts
	records    []returnRecord
	refused    bool // the box had no room for some of it
}

// returnRecord is one RecordReturn.
type returnRecord struct {
	body     []byte
	texts    int
	receipts []shard.ReceiptTo // of the texts in it; only for an ended session
}

// jobOf converts a Return of the shard.
func jobOf(r shard.Return) returnJob {
	job := returnJob{ref: r.Ref, generation: r.Generation, end: r.End, through: r.Through}
	for _, part := range r.Parts {
		job.records = append(job.records, returnRecord{part.Body, textsOf(returnedIn(part.Body)), part.Receipts})
	}
	return job
}

// bytes is about how much memory the job takes.
func (j *returnJob) bytes() (n int64) {
	for _, record := range j.records {
		n += int64(len(record.body))
	}
	return n
}

// forget removes the messages of done, the body of another RecordReturn, from r,
// since they are in the box already.
func (r *returnRecord) forget(done []byte) {
	gone := make(map[string]bool)
	for _, m := range returnedIn(done) {
		gone[string(m.Body)] = true
	}
	var body []byte
	r.texts = 0
	for _, m := range returnedIn(r.body) {
		if !gone[string(m.Body)] {
			body = proto.AppendReturned(body, m)
			r.texts += textsOf([]proto.Returned{m})
		}
	}
	r.body = body
}

// textsOf is the number of unacknowledged texts in messages.
func textsOf(messages []proto.Returned) (n int) {
	var view proto.View
	for _, m := range messages {
		if view.Parse(m.Body) == proto.ReasonNone { // returnedIn has read it
			n += view.Texts() - m.Skip
		}
	}
	return n
}

// returnedIn parses the body of a RecordReturn that this server has made.
func returnedIn(body []byte) []proto.Returned {
	messages, err := proto.ParseReturned(body)
	if err != nil {
		panic("server: " + err.Error())
	}
	return messages
}
