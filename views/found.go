package views

import (
	"regexp"
	"strings"
)

// foundPart is a part of a line; found says whether it is what was looked for.
type foundPart struct {
	text  string
	found bool
}

var colourCodes = regexp.MustCompile(`\x1b\[[0-9;:]*m`)

// markFound parts a line, without its colours, at what was looked for, upper and lower
// case alike. A long line is cut to what is around the first place.
func markFound(line, text string) (parts []foundPart) {
	line = colourCodes.ReplaceAllString(line, "")
	if text == "" {
		return []foundPart{{text: line}}
	}
	pattern, err := regexp.Compile("(?i)" + regexp.QuoteMeta(text))
	if err != nil { // it is not text
		return []foundPart{{text: line}}
	}
	places := pattern.FindAllStringIndex(line, 50)
	from, to := 0, len(line)
	if len(places) > 0 && to > foundWidth {
		from = max(0, places[0][0]-foundWidth/4)
		to = min(to, from+foundWidth)
	}
	text = "" // now what comes before the next place
	at := from
	if from > 0 {
		text = "…"
	}
	for _, place := range places {
		if place[0] < at || place[1] > to {
			continue
		}
		if text += line[at:place[0]]; text != "" {
			parts = append(parts, foundPart{text: text})
		}
		parts = append(parts, foundPart{line[place[0]:place[1]], true})
		text, at = "", place[1]
	}
	if text += line[at:to]; to < len(line) {
		text += "…"
	}
	if text != "" {
		parts = append(parts, foundPart{text: text})
	}
	for i := range parts { // it may have been cut within a character
		parts[i].text = strings.ToValidUTF8(parts[i].text, "")
	}
	return parts
}

// foundWidth is how many bytes of a long line are shown.
const foundWidth = 600
