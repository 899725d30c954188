package server

import (
	"cim/proto"
	"cim/server/shard"
)

// returnJob is what one session returns.
type returnJob struct {
	ref        shard.Ref
	generation proto.Generation
	end        bool   // the session has ended; else it is held, and awaits the end of its flush
	through    uint64 // the shard's count of what the job returns
	records    []returnRecord
	refused    bool // the box had no room for a part of it
}

// returnRecord is one RecordReturn.
type returnRecord struct {
	body     []byte
	texts    int
	receipts []shard.ReceiptTo // of what is in it; only of a session that has ended
}

// jobOf is what the shard has handed out.
func jobOf(r shard.Return) returnJob {
	job := returnJob{ref: r.Ref, generation: r.Generation, end: r.End, through: r.Through}
	for _, part := range r.Parts {
		job.records = append(job.records, returnRecord{part.Body, textsOf(returnedIn(part.Body)), part.Receipts})
	}
	return job
}

// bytes is how much memory the job takes, about.
func (j *returnJob) bytes() (n int64) {
	for _, record := range j.records {
		n += int64(len(record.body))
	}
	return n
}

// forget takes the messages of a body of a RecordReturn out of r, which others
// have brought into the box.
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

// textsOf is how many texts are still to be acknowledged in messages.
func textsOf(messages []proto.Returned) (n int) {
	var view proto.View
	for _, m := range messages {
		if view.Parse(m.Body) == proto.ReasonNone { // returnedIn has read it
			n += view.Texts() - m.Skip
		}
	}
	return n
}

// returnedIn reads the body of a RecordReturn of our own.
func returnedIn(body []byte) []proto.Returned {
	messages, err := proto.ParseReturned(body)
	if err != nil {
		panic("server: " + err.Error())
	}
	return messages
}
