package mailauth

import "slices"

// Judgement is all that is known about a message. Parts that were not asked for
// are zero.
type Judgement struct {
	IPRev   IPRev
	SPF     SPF
	Verdict *Verdict
	DMARC   DMARC
	ADSP    ADSP
}

// Results are the results for Authentication-Results, in the order in which they
// were found.
func (j *Judgement) Results() []AuthResult {
	var signatures []AuthResult
	if j.Verdict != nil {
		signatures = j.Verdict.Results()
	}
	return slices.Concat(j.IPRev.Results(), j.SPF.Results(), signatures, j.DMARC.Results(), j.ADSP.Results())
}
