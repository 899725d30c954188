package loadgen

// Partial puts items together that reads have cut. A Session may have one; the
// zero value is ready.
type Partial struct {
	partial []byte // an incomplete item
}

// Feed takes the bytes of one read and calls take for each whole item. size reports the length of
// the item that data begins with, 0 if that is not known yet. The argument of take is valid during
// the call. The first error ends Feed.
func (p *Partial) Feed(data []byte, size func(data []byte) (int, error), take func(item []byte) error) error {
	for len(p.partial) > 0 && len(data) > 0 {
		n, err := size(p.partial)
		if err != nil {
			return err
		}
		lacks := 1 // of a length whose own end is not here yet
		if n > 0 {
			lacks = n - len(p.partial)
		}
		lacks = min(lacks, len(data))
		p.partial = append(p.partial, data[:lacks]...)
		data = data[lacks:]
		if n, err = size(p.partial); err != nil {
			return err
		}
		if n == len(p.partial) {
			if err := take(p.partial); err != nil {
				return err
			}
			p.partial = p.partial[:0]
		}
	}
	for len(data) > 0 {
		n, err := size(data)
		if err != nil {
			return err
		}
		if n == 0 || n > len(data) {
			p.partial = append(p.partial, data...)
			return nil
		}
		if err := take(data[:n]); err != nil {
			return err
		}
		data = data[n:]
	}
	return nil
}
