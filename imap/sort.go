package imap

import "slices"

// sortNames are the criteria of SORT (RFC 5256 §3, RFC 5957 §4, RFC 6203 §6).
var sortNames = map[string]SortBy{
	"ARRIVAL": SortArrival, "CC": SortCc, "DATE": SortDate, "FROM": SortFrom, "SIZE": SortSize, "SUBJECT": SortSubject,
	"TO": SortTo, "DISPLAYFROM": SortDisplayFrom, "DISPLAYTO": SortDisplayTo, "RELEVANCY": SortRelevancy,
}

// sortCriteria reads the criteria. One that comes again decides nothing and is
// dropped, so there are no more than there are names.
func (c *conn) sortCriteria(req *SearchRequest) error {
	err := c.parenthesised(func() error {
		label, err := c.p.Label()
		if err != nil {
			return err
		}
		key := SortKey{Reverse: string(label) == "REVERSE"}
		if key.Reverse {
			if err := c.p.SP(); err != nil {
				return err
			}
			if label, err = c.p.Label(); err != nil {
				return err
			}
		}
		by, ok := sortNames[string(label)]
		if !ok {
			return syntax("Unknown sort criterion")
		}
		if key.By = by; !sortsBy(req.Sort, by) {
			req.Sort = append(req.Sort, key)
		}
		return nil
	})
	if err == nil && len(req.Sort) == 0 {
		err = syntax("Expected a sort criterion")
	}
	return err
}

func sortsBy(keys []SortKey, by SortBy) bool {
	return slices.ContainsFunc(keys, func(k SortKey) bool { return k.By == by })
}
