package imap

// esearch is the response of RFC 9051 §9 with what RFC 5267, 6203, 7377 and 9394 add.
func (g *grammar) esearch() {
	g.lit(" (TAG ")
	g.string()
	if g.try(" MAILBOX ") {
		g.mailbox()
		g.lit(" UIDVALIDITY ")
		g.nz()
	}
	g.lit(")")
	g.try(" UID")
	for g.try(" ") {
		switch w := g.atom(); w {
		case "MIN", "MAX":
			g.sp()
			g.nz()
		case "COUNT", "MODSEQ":
			g.sp()
			g.number()
		case "ALL":
			g.sp()
			g.set()
		case "PARTIAL":
			g.lit(" (")
			minus := g.try("-")
			g.nz()
			g.lit(":")
			if g.try("-") != minus {
				g.fail("PARTIAL from both ends")
			}
			g.nz()
			g.sp()
			if !g.try("NIL") {
				g.set()
			}
			g.lit(")")
		case "RELEVANCY":
			g.sp()
			g.list(func() {
				if n := g.nz(); n > 100 {
					g.fail("score above 100")
				}
			})
		case "ADDTO", "REMOVEFROM":
			g.sp()
			g.list(func() {
				g.number()
				g.sp()
				g.set()
			})
		default:
			g.fail("unknown return data " + w)
		}
	}
}

// threads is 1*thread-list (RFC 5256 §5), read without recursion.
func (g *grammar) threads() {
	type list struct {
		num   bool // a number came last, or at all
		lists int  // lists in it
	}
	var open []list
	for {
		switch {
		case g.try("("):
			if k := len(open); k > 0 {
				open[k-1].lists++
			}
			open = append(open, list{})
		case g.try(")"):
			k := len(open) - 1
			if k < 0 || !open[k].num && open[k].lists == 0 || open[k].lists == 1 {
				g.fail("thread-list with less than it needs")
			}
			if open = open[:k]; k == 0 && g.peek() != '(' {
				return
			}
		default:
			k := len(open) - 1
			if k < 0 || open[k].lists > 0 {
				g.fail("number after lists")
			}
			if open[k].num {
				g.sp()
				if g.peek() == '(' {
					continue
				}
			}
			g.nz()
			open[k].num = true
			if g.peek() == '(' {
				g.fail("list without space after a number")
			}
		}
	}
}

func (g *grammar) uidBatches() {
	g.lit(" (TAG ")
	g.string()
	g.lit(")")
	last := uint64(1 << 32)
	for sep := " "; g.try(sep); sep = "," {
		hi := g.nz()
		g.lit(":")
		lo := g.nz()
		if hi >= last || lo > hi {
			g.fail("batches do not descend")
		}
		last = lo
	}
}
