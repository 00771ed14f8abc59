package imap

import "context"

var threadNames = map[string]ThreadAlgorithm{
	"ORDEREDSUBJECT": ThreadOrderedSubject, "REFERENCES": ThreadReferences, "REFS": ThreadRefs,
}

// thread is THREAD and UID THREAD (RFC 5256 §3).
func (c *conn) thread() error {
	if err := c.p.SP(); err != nil {
		return err
	}
	label, err := c.p.Label()
	if err != nil {
		return err
	}
	alg, ok := threadNames[string(label)]
	if !ok {
		return syntax("Unknown threading algorithm")
	}
	if err := c.p.SP(); err != nil {
		return err
	}
	var q searchCommand
	if err := c.searchProgram(&q); err != nil {
		return err
	}
	if q.ModSeq {
		c.enableCondStore()
	}
	ctx, cancel := context.WithTimeout(c.ctx, c.lim.CommandTime)
	defer cancel()
	nodes, err := c.sess.Thread(ctx, ThreadRequest{Algorithm: alg, Key: q.Key, Collation: q.Collation, UID: c.uid})
	if err = c.limited(err); err != nil {
		return tooLong(ctx, err)
	}
	c.out.threads(nodes)
	return nil
}

// threads prints the THREAD response (RFC 5256 §4). It has no recursion: a thread
// may be as deep as there are messages.
func (o *output) threads(nodes []ThreadNode) {
	children := countChildren(nodes)
	o.str("* THREAD")
	sep := " "       // before the next list or number
	var open []int32 // nodes from the root to the last one
	var paren []bool // whether a list was opened for each
	closeTo := func(depth int) {
		for len(open) > depth {
			if last := len(open) - 1; paren[last] {
				o.str(")")
				sep = ""
			}
			open, paren = open[:len(open)-1], paren[:len(paren)-1]
		}
	}
	for i, n := range nodes {
		closeTo(min(n.Depth, len(open)))
		list := len(open) == 0 || children[open[len(open)-1]] > 1
		if children[i] == 0 && n.Num == 0 {
			list = false // nothing is there
		}
		open, paren = append(open, int32(i)), append(paren, list)
		if list {
			o.str(sep)
			o.str("(")
			sep = ""
		}
		if n.Num != 0 {
			o.str(sep)
			o.num(n.Num)
			sep = " "
		}
		o.flushFull()
	}
	closeTo(0)
	o.str("\r\n")
}

// countChildren returns how many children each node has.
func countChildren(nodes []ThreadNode) []int32 {
	children := make([]int32, len(nodes))
	var path []int32
	for i, n := range nodes {
		path = path[:min(n.Depth, len(path))]
		if len(path) > 0 {
			children[path[len(path)-1]]++
		}
		path = append(path, int32(i))
	}
	return children
}
