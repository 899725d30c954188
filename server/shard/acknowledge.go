package shard

import "cim/proto"

// Receipt settles what a Delivery wanted to know.
type Receipt struct {
	To      ReceiptTo
	Outcome proto.Outcome // OutcomeReceived, or OutcomeStored: it is in the box
}

// NextReceipt hands out the next receipt that is due.
func (s *Shard) NextReceipt() (Receipt, bool) { return Receipt{}, false }

// Acked is stored texts of User that need no longer be stored.
type Acked struct {
	User       proto.UserID
	Generation proto.Generation
	Keys       []proto.TextKey // at most proto.TextKeysMax; the taker's
}

// NextAcked hands out the next texts to be removed from a box. The loop calls it
// once a tick until there are none, so that they are many at a time.
func (s *Shard) NextAcked() (Acked, bool) { return Acked{}, false }
