package floor

import (
	"encoding/binary"
	"fmt"
)

const (
	lengthSize   = 4
	receiverSize = 4
	headSize     = lengthSize + receiverSize
	// frameMax bounds a frame, above the longest text.
	frameMax = 64 << 10
	// allReceivers is the receiver of a group message.
	allReceivers = 1<<32 - 1
	// receiversMax bounds the receivers of private messages.
	receiversMax = 1 << 16
)

// appendFrame appends a frame; its length counts what follows the length.
func appendFrame(dst []byte, receiver uint32, text []byte) []byte {
	dst = binary.BigEndian.AppendUint32(dst, uint32(receiverSize+len(text)))
	dst = binary.BigEndian.AppendUint32(dst, receiver)
	return append(dst, text...)
}

// frameSize is the length of the frame that data begins with; 0: not known yet.
func frameSize(data []byte) (int, error) {
	if len(data) < lengthSize {
		return 0, nil
	}
	n := binary.BigEndian.Uint32(data)
	if n < receiverSize || n > frameMax-lengthSize {
		return 0, fmt.Errorf("a frame of %d bytes, want %d to %d", n, receiverSize, frameMax-lengthSize)
	}
	return lengthSize + int(n), nil
}

// parts are those of a whole frame.
func parts(frame []byte) (receiver uint32, text []byte) {
	return binary.BigEndian.Uint32(frame[lengthSize:]), frame[headSize:]
}
