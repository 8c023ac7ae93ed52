package views

import "github.com/coderunner/coderunner/internal/coderunner"

// ErrorPage says what went wrong, with a sentence and a way on.
type ErrorPage struct {
	Frame
	Status    int    // HTTP status
	Sentence  string // for the user; "" for the status's own
	RequestID string
}

// errorWords are the heading, the sentence and the way on of a status.
type errorWords struct {
	heading, sentence, next string
}

func wordsFor(status int) errorWords {
	switch status {
	case 400, 422:
		return errorWords{"That request cannot work", "The request does not make sense as it is.", "Go back, change it and try again."}
	case 401:
		return errorWords{"Log in first", "This page is for people who are logged in.", "Log in, and you come back here."}
	case 403:
		return errorWords{"Not allowed", "The request was refused: it did not come from a page of this dashboard, or it is not yours to make.", "If you did not ask for anything, a page elsewhere tried to act in your name; nothing was changed."}
	case 404:
		return errorWords{"Nothing is here", "The page does not exist, or it belongs to somebody else.", "Check the address, or start from your projects."}
	case 405:
		return errorWords{"Not this way", "The page exists, but it does not take that kind of request.", "Start from your projects."}
	case 409:
		return errorWords{"Not now", "The present state does not allow that.", "Go back, load the page again and look at what changed."}
	case 413:
		return errorWords{"Too large", "What was sent is over the limit.", "Go back, make it smaller and send it again."}
	case 429:
		return errorWords{"Too many tries", "There were too many tries in a short time.", "Wait a minute, then try again."}
	case 503:
		return errorWords{"Out of reach for a moment", "Something that CodeRunner depends on does not answer. Your apps keep running.", "Wait a minute and load the page again."}
	}
	return errorWords{"Something went wrong", "Something went wrong on our side.", "Try again. If it happens again, look up the request id in the server's log."}
}

// ErrorFor answers the page for err's kind and sentence.
func ErrorFor(frame Frame, status int, err error, requestID string) ErrorPage {
	page := ErrorPage{Frame: frame, Status: status, RequestID: requestID}
	page.Title = wordsFor(status).heading
	if err != nil && coderunner.KindOf(err) != coderunner.Internal {
		page.Sentence = coderunner.Sentence(err)
	}
	return page
}
