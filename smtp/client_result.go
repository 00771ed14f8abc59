package smtp

import "sort"

// Result is what the server said to one transaction.
type Result struct {
	// Mail is the reply to MAIL; Code 0 when there was none.
	Mail Reply
	// Rcpts are the replies to RCPT, one for each recipient of the envelope;
	// Code 0 when there was none.
	Rcpts []Reply
	// Data is the reply to the content or the refusal of DATA or BDAT: one, or in
	// LMTP one for each recipient that RCPT took, in their order.
	Data []Reply
	// Skipped lists, ascending, the recipients that were not offered to the
	// server; their Rcpts are ours.
	Skipped []int
	// Stage is the last one reached.
	Stage Stage
	// Unknown tells that all was sent and the answer did not come: whether the
	// undecided recipients have the message is not known. They are to be tried
	// again (SC6).
	Unknown bool
	// Normalised tells that bare CR or LF in the content became CRLF (SC1).
	Normalised bool

	lmtp     bool
	accepted int      // recipients that RCPT took
	one      [2]Reply // for Rcpts and Data of the usual message
}

// Final is what became of recipient i: the first refusal of MAIL, RCPT and
// content, or the success of the content. Code 0 means undecided: the
// connection ended before.
func (r *Result) Final(i int) Reply {
	switch to := r.Rcpts[i]; {
	case r.skipped(i):
		return to
	case !r.Mail.Success():
		return r.Mail
	case !to.Success():
		return to
	}
	k := 0
	if r.lmtp {
		for j := range i {
			if r.Rcpts[j].Success() {
				k++
			}
		}
	}
	if k < len(r.Data) {
		return r.Data[k]
	}
	return Reply{}
}

func (r *Result) skipped(i int) bool {
	k := sort.SearchInts(r.Skipped, i)
	return k < len(r.Skipped) && r.Skipped[k] == i
}

// Again tells whether recipient i was not taken only because the transaction
// had enough recipients, so that another transaction may follow at once (RFC
// 5321 §4.5.3.1.10, where 552 counts as 452).
func (r *Result) Again(i int) bool {
	to := r.Rcpts[i]
	full := to.Code == 452 && (to.Enhanced == "" || to.Enhanced == "4.5.3") || to.Code == 552 && (to.Enhanced == "" || to.Enhanced == "5.5.3")
	return full && r.Mail.Success() && r.accepted > 0
}
