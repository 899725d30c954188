package shard

import "cim/proto"

// Return is kept texts of User that must be put into the box, in order.
type Return struct {
	Ref        Ref
	User       proto.UserID
	Generation proto.Generation
	Parts      []ReturnPart // in order; one at most if the session goes on, and none only at an end
	Through    uint64       // for Returned
	End        bool         // the session has ended: the shard has forgotten the texts, and awaits no Returned
}

// ReturnPart is what one RecordReturn takes. It is the taker's.
type ReturnPart struct {
	Body []byte // of a RecordReturn; at most proto.FrameMax
	// Receipts become OutcomeStored once the part is in the box; only at an end,
	// else Returned does that.
	Receipts []ReceiptTo
}

// NextReturn hands out the next texts to be put into a box. Of a session that
// goes on, the next part comes only after Returned of the one before.
func (s *Shard) NextReturn() (Return, bool) { return Return{}, false }

// Returned says that the Return through of ref's session is in the box, or that
// it is not or may not be: then it is handed out again a second later.
func (s *Shard) Returned(ref Ref, through uint64, ok bool) {}
