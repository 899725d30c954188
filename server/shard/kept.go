package shard

import "cim/proto"

// Delivery is a live message for one session.
type Delivery struct {
	Body []byte // AppendBody could have made it
	Pass bool   // a held session takes it too
	// Receipt is who wants to know when the receiver has it; the zero one: nobody.
	Receipt ReceiptTo
}

// ReceiptTo is who wanted a receipt. The shard hands it back as it was, and looks
// only whether it is the zero one. It has no more in an interface than a pointer,
// so that none is allocated.
type ReceiptTo struct {
	Link any          // a pointer: who asked over a link; nil: Session sent it
	From Ref          // the sender's session
	ID   uint64       // of the receipt on the link, or of the SEND
	Text proto.TextID // of the SEND
}

// Held is a session that is held, or was a moment ago.
type Held struct {
	User       proto.UserID
	Generation proto.Generation
	Holds      uint64 // how often it was held
	Cursor     uint64 // the highest serial of a page that it was given; 0: none
}
