package loadgen

// Partial puts items together that reads have cut. A Session may have one; the
// zero value is ready.
type Partial struct {
	begun []byte // an incomplete item
}

// Feed takes the bytes of one read and calls take for each whole item. size reports the length of
// the item that data begins with, 0 if that is not known yet. The argument of take is valid during
// the call. The first error ends Feed.
func (p *Partial) Feed(data []byte, size func(data []byte) (int, error), take func(item []byte) error) error {
	for len(p.begun) > 0 && len(data) > 0 {
		n, err := size(p.begun)
		if err != nil {
			return err
		}
		lacks := 1 // of a length whose own end is not here yet
		if n > 0 {
			lacks = n - len(p.begun)
		}
		lacks = min(lacks, len(data))
		p.begun = append(p.begun, data[:lacks]...)
		data = data[lacks:]
		if n, err = size(p.begun); err != nil {
			return err
		}
		if n == len(p.begun) {
			if err := take(p.begun); err != nil {
				return err
			}
			p.begun = p.begun[:0]
		}
	}
	for len(data) > 0 {
		n, err := size(data)
		if err != nil {
			return err
		}
		if n == 0 || n > len(data) {
			p.begun = append(p.begun, data...)
			return nil
		}
		if err := take(data[:n]); err != nil {
			return err
		}
		data = data[n:]
	}
	return nil
}
