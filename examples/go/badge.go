package main

import (
	"crypto/sha256"
	"fmt"
	"io"
)

// draw writes the picture of a name: five by five fields, the right half a mirror of
// the left, as an SVG of 100 by 100 units.
func draw(w io.Writer, name string) error {
	sum := sha256.Sum256([]byte(name))
	hue := (int(sum[0])<<8 | int(sum[1])) % 360
	out := fmt.Appendf(nil, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 100 100" role="img"><rect width="100" height="100" rx="14" fill="hsl(%d 45%% 92%%)"/><g fill="hsl(%d 52%% 42%%)">`, hue, hue)
	for row := range 5 {
		for column := range 3 {
			if sum[2+row*3+column]&1 == 0 {
				continue
			}
			out = field(out, column, row)
			if column < 2 {
				out = field(out, 4-column, row)
			}
		}
	}
	_, err := w.Write(append(out, "</g></svg>\n"...))
	return err
}

func field(out []byte, column, row int) []byte {
	return fmt.Appendf(out, `<rect x="%d" y="%d" width="15" height="15" rx="3"/>`, 10+column*16, 10+row*16)
}
