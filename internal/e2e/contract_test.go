package e2e

// Bounds as docs/protocol.md and docs/http.md have them. They stand here once
// more, so that a change of the code's own numbers is seen.
const (
	frameMaxBeforeLogin = 1 << 10  // bytes of a frame
	frameMax            = 64 << 10 // bytes of a frame after the login
	textMax             = 32 << 10 // bytes of a text
	batchMax            = 128      // texts of a batch
	batchBytesMax       = 62 << 10 // bytes of them together
	offlineTextsMax     = 100      // texts of an OFFLINE frame
	propertiesMax       = 32
	userNameMax         = 64 // characters
	bodyMax             = 64 << 10
	intakeBodyMax       = 4 << 20
	shareTextsMax       = 1000
	textOverhead        = 256
	shareBytesMax       = 4<<20 + shareTextsMax*textOverhead
	httpConnsMax        = 1024 // of a standalone's route
)
