package imap

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// response is one response of the server.
type response struct {
	raw  string
	tag  string // "*", "+" or a tag
	kind string // OK, FETCH, …; of "+" it is empty
	code string // response code
	num  uint32 // EXISTS, EXPUNGE, FETCH
	name string // mailbox, or what the response is about
	text string

	args  []string // numbers and words of a code
	words []string // capabilities, rights, languages, attributes
	flags map[string]bool
	fetch *fetched
	set   []span   // VANISHED
	sets  [][]span // COPYUID
	data  map[string]any
	nums  []uint32 // SEARCH, SORT, THREAD
	find  *found   // ESEARCH
	early bool     // VANISHED (EARLIER)
}

// fetched is what a FETCH says of a message.
type fetched struct {
	flags  map[string]bool
	hasFl  bool
	uid    uint32
	modseq uint64
	items  map[string]string // the others, by name in capitals with section
}

// found is an ESEARCH response.
type found struct {
	tag, mailbox string
	validity     uint32
	uid          bool
	items        map[string]bool
	min, max     uint32
	count        uint32
	all          []uint32
	partial      []uint32
	modseq       uint64
	updates      bool // ADDTO or REMOVEFROM
}

// response reads one response.
func (s *scanner) response() (r *response, err error) {
	defer func() {
		switch p := recover().(type) {
		case nil:
		case error:
			var runtime interface{ RuntimeError() }
			if errors.As(p, &runtime) {
				panic(p)
			}
			err = p
		default:
			panic(p)
		}
	}()
	s.seen.Reset()
	r = &response{data: map[string]any{}}
	switch {
	case s.try('*'):
		r.tag = "*"
		s.sp()
		if digit(s.peek()) {
			s.numbered(r)
		} else {
			s.untagged(r)
		}
	case s.try('+'):
		// continue-req = "+" SP (resp-text / base64); empty base64 is allowed.
		r.tag = "+"
		s.sp()
		if s.peek() != '\r' {
			s.respText(r)
		}
	default:
		r.tag = s.run(func(c byte) bool { return astringChar(c) && c != '+' })
		s.sp()
		r.kind = s.word()
		if r.kind != "OK" && r.kind != "NO" && r.kind != "BAD" {
			s.fail("tagged %s", r.kind)
		}
		s.sp()
		s.respText(r)
	}
	s.crlf()
	r.raw = s.seen.String()
	return r, nil
}

// respText is ["[" resp-text-code "]" SP] [text] (RFC 9051 §9); the text after a
// code may be empty, but RFC 3501 wants some.
func (s *scanner) respText(r *response) {
	if s.try('[') {
		r.code = s.word()
		s.code(r)
		s.want("]")
		s.sp()
	}
	r.text = s.text()
}

// plainCodes have no arguments.
var plainCodes = set("ALERT PARSE READ-ONLY READ-WRITE TRYCREATE UIDNOTSTICKY UNAVAILABLE AUTHENTICATIONFAILED " +
	"AUTHORIZATIONFAILED EXPIRED PRIVACYREQUIRED CONTACTADMIN NOPERM INUSE EXPUNGEISSUED CORRUPTION SERVERBUG CLIENTBUG " +
	"CANNOT LIMIT OVERQUOTA ALREADYEXISTS NONEXISTENT NOTSAVED HASCHILDREN CLOSED UNKNOWN-CTE NOMODSEQ TOOBIG " +
	"COMPRESSIONACTIVE UIDREQUIRED USEATTR BADCOMPARATOR NOTIFICATIONOVERFLOW TOOFEW TOOMANY TEMPFAIL")

func set(words string) map[string]bool {
	m := map[string]bool{}
	for _, w := range strings.Fields(words) {
		m[w] = true
	}
	return m
}

func (s *scanner) code(r *response) {
	arg := func(v any) { r.args = append(r.args, fmt.Sprint(v)) }
	switch r.code {
	case "BADCHARSET":
		if s.try(' ') {
			s.list(1, func() { arg(s.astring()) })
		}
	case "CAPABILITY":
		r.words = s.capabilities()
	case "PERMANENTFLAGS":
		s.sp()
		r.flags = s.flags(true)
	case "UIDNEXT", "UIDVALIDITY", "UNSEEN":
		s.sp()
		arg(s.nz())
	case "HIGHESTMODSEQ":
		s.sp()
		arg(s.nz64())
	case "MODIFIED":
		s.sp()
		r.sets = [][]span{s.set()}
	case "APPENDUID": // RFC 3502 makes it a set
		s.sp()
		arg(s.nz())
		s.sp()
		r.sets = [][]span{s.set()}
	case "COPYUID":
		s.sp()
		arg(s.nz())
		s.sp()
		from := s.set()
		s.sp()
		r.sets = [][]span{from, s.set()}
		if len(expand(r.sets[0])) != len(expand(r.sets[1])) {
			s.fail("COPYUID of different lengths")
		}
	case "BADURL":
		s.sp()
		s.run(func(c byte) bool { return textChar(c) && c != ']' })
	case "MAILBOXID":
		s.want(" (")
		arg(s.objectID())
		s.want(")")
	case "METADATA":
		s.sp()
		switch w := s.word(); w {
		case "LONGENTRIES", "MAXSIZE":
			arg(w)
			s.sp()
			arg(s.number())
		case "TOOMANY", "NOPRIVATE":
			arg(w)
		default:
			s.fail("METADATA %s", w)
		}
	case "NOUPDATE":
		s.sp()
		arg(s.quoted())
	case "UNDEFINED-FILTER":
		s.sp()
		arg(s.atom())
	case "BADEVENT":
		s.sp()
		s.list(1, func() { arg(s.atom()) })
	case "MESSAGELIMIT":
		s.sp()
		arg(s.nz())
		if s.try(' ') {
			arg(s.nz())
		}
	case "INPROGRESS":
		if s.try(' ') { // RFC 9585 §5: (tag or NIL, progress, goal), both numbers or NIL
			s.want("(")
			if s.isString() {
				arg(s.quoted())
			} else {
				s.nil()
			}
			for range 2 {
				s.sp()
				if digit(s.peek()) {
					arg(s.number())
				} else {
					s.nil()
				}
			}
			s.want(")")
		}
	default:
		if !plainCodes[r.code] {
			s.fail("response code %s is not known", r.code)
		}
	}
}

func (s *scanner) objectID() string {
	id := s.run(func(c byte) bool { return labelChar(c) && c != '.' && c != ':' })
	if id == "" || len(id) > 255 {
		s.fail("object id %q", id)
	}
	return id
}

// capabilities reads *(SP capability); each once.
func (s *scanner) capabilities() []string {
	var out []string
	once := map[string]bool{}
	for s.try(' ') {
		c := s.word()
		if once[c] {
			s.fail("capability %s twice", c)
		}
		once[c] = true
		out = append(out, c)
	}
	return out
}

func (s *scanner) numbered(r *response) {
	r.num = s.number()
	s.sp()
	switch r.kind = s.word(); r.kind {
	case "EXISTS", "RECENT":
	case "EXPUNGE":
		if r.num == 0 {
			s.fail("EXPUNGE of 0")
		}
	case "FETCH", "UIDFETCH":
		if r.num == 0 {
			s.fail("FETCH of 0")
		}
		s.sp()
		r.fetch = s.fetch()
	default:
		s.fail("a number before %s", r.kind)
	}
}

func (s *scanner) untagged(r *response) {
	switch r.kind = s.word(); r.kind {
	case "OK", "NO", "BAD", "BYE", "PREAUTH":
		s.sp()
		s.respText(r)
	case "CAPABILITY":
		r.words = s.capabilities()
	case "ENABLED":
		r.words = s.capabilities()
	case "FLAGS":
		s.sp()
		r.flags = s.flags(false)
	case "LIST", "LSUB":
		s.mailboxList(r)
	case "SEARCH", "SORT":
		s.numbers(r)
	case "THREAD":
		if s.try(' ') {
			s.threads(r)
		}
	case "ESEARCH":
		s.esearch(r)
	case "STATUS":
		s.status(r)
	case "NAMESPACE":
		for range 3 {
			s.sp()
			s.namespace(r)
		}
	case "VANISHED":
		s.sp()
		if s.peek() == '(' {
			s.want("(EARLIER) ")
			r.early = true
		}
		r.set = s.set()
	case "ID":
		s.sp()
		if s.peek() != '(' {
			s.nil()
			break
		}
		s.list(0, func() {
			if k := s.string(); len(k) > 30 {
				s.fail("ID field %s is long", k)
			}
			s.sp()
			s.nstring()
		})
	case "ACL":
		s.sp()
		r.name = s.mailbox()
		for s.try(' ') {
			id := s.astring()
			s.sp()
			r.data[id] = s.rights()
		}
	case "LISTRIGHTS":
		s.sp()
		r.name = s.mailbox()
		s.sp()
		r.text = s.astring()
		s.sp()
		r.words = append(r.words, s.rights())
		for s.try(' ') {
			r.words = append(r.words, s.rights())
		}
	case "MYRIGHTS":
		s.sp()
		r.name = s.mailbox()
		s.sp()
		r.text = s.rights()
	case "QUOTA":
		s.sp()
		r.name = s.astring()
		s.sp()
		s.list(0, func() {
			res := s.word()
			s.sp()
			usage := s.number64()
			s.sp()
			r.data[res] = [2]uint64{usage, s.number64()}
		})
	case "QUOTAROOT":
		s.sp()
		r.name = s.mailbox()
		for s.try(' ') {
			r.words = append(r.words, s.astring())
		}
	case "METADATA":
		s.sp()
		r.name = s.mailbox()
		s.sp()
		if s.peek() == '(' {
			s.list(1, func() {
				e := s.astring()
				s.sp()
				r.data[e] = s.nstring8()
			})
			break
		}
		for {
			r.words = append(r.words, s.astring())
			if !s.try(' ') {
				break
			}
		}
	case "LANGUAGE":
		s.sp()
		s.list(1, func() { r.words = append(r.words, s.astring()) })
	case "COMPARATOR":
		s.sp()
		r.name = s.astring()
		if s.try(' ') {
			s.list(1, func() { r.words = append(r.words, s.astring()) })
		}
	case "UIDBATCHES":
		s.correlator(r)
		if s.try(' ') {
			r.set = s.set()
		}
	default:
		s.fail("response %s is not known", r.kind)
	}
}

// rights are letters in quotes or not (RFC 4314 §4).
func (s *scanner) rights() string {
	v := s.astring()
	for i := range len(v) {
		if !strings.ContainsRune("lrswipkxteacd", rune(v[i])) || strings.IndexByte(v[i+1:], v[i]) >= 0 {
			s.fail("rights %q", v)
		}
	}
	return v
}

// mailbox is a name; of the spellings of INBOX there is one.
func (s *scanner) mailbox() string {
	v := s.astring()
	if strings.EqualFold(v, "INBOX") {
		return "INBOX"
	}
	return v
}

// attributes of LIST that standards define (RFC 9051 §7.3.1, RFC 6154, RFC 8457).
var listAttributes = set(`\noinferiors \haschildren \hasnochildren \subscribed \remote \nonexistent \noselect \marked \unmarked ` +
	`\all \archive \drafts \flagged \junk \sent \trash \important \noaccess`) // RFC 5465 §5.9

func (s *scanner) mailboxList(r *response) {
	s.sp()
	once := map[string]bool{}
	s.list(0, func() {
		s.want(`\`)
		a := `\` + strings.ToLower(s.atom())
		if !listAttributes[a] || once[a] {
			s.fail("attribute %s of LIST", a)
		}
		once[a] = true
		r.words = append(r.words, a)
	})
	n := 0
	for _, a := range []string{`\nonexistent`, `\noselect`, `\marked`, `\unmarked`} { // mbx-list-sflag: one
		if once[a] {
			n++
		}
	}
	if n > 1 || once[`\haschildren`] && (once[`\hasnochildren`] || once[`\noinferiors`]) {
		s.fail("attributes %v contradict", r.words)
	}
	s.sp()
	if s.peek() == '"' {
		if d := s.quoted(); len(d) != 1 {
			s.fail("delimiter %q", d)
		}
	} else {
		s.nil()
	}
	s.sp()
	r.name = s.mailbox()
	if r.kind == "LIST" && s.try(' ') {
		s.list(0, func() {
			tag := strings.ToUpper(s.astring())
			s.sp()
			switch tag {
			case "CHILDINFO":
				s.list(1, func() { s.quoted() })
			case "OLDNAME":
				s.list(1, func() { r.data[tag] = s.mailbox() })
			default:
				s.value()
			}
			r.data[tag] = true
		})
	}
}

// numbers are those of SEARCH and SORT, with MODSEQ of RFC 7162 §3.1.5.
func (s *scanner) numbers(r *response) {
	for s.try(' ') {
		if s.peek() == '(' {
			s.want("(MODSEQ ")
			r.data["MODSEQ"] = s.nz64()
			s.want(")")
			if len(r.nums) == 0 {
				s.fail("MODSEQ of nothing")
			}
			return
		}
		r.nums = append(r.nums, s.nz())
	}
}

// threads is 1*thread-list (RFC 5256 §5): "(" members [2*nested] ")" or "(" 2*nested ")".
func (s *scanner) threads(r *response) {
	type level struct{ members, nested int }
	var stack []level
	for {
		s.want("(")
		stack = append(stack, level{})
		for digit(s.peek()) {
			r.nums = append(r.nums, s.nz())
			stack[len(stack)-1].members++
			if !s.try(' ') {
				break
			}
		}
		for len(stack) > 0 && s.try(')') {
			top := stack[len(stack)-1]
			if top.nested == 1 || top.members+top.nested == 0 {
				s.fail("thread with %d members and %d branches", top.members, top.nested)
			}
			if stack = stack[:len(stack)-1]; len(stack) > 0 {
				stack[len(stack)-1].nested++
			}
		}
		if len(stack) == 0 && s.peek() != '(' {
			return
		}
	}
}

// correlator is RFC 9051 search-correlator, with those of RFC 7377.
func (s *scanner) correlator(r *response) {
	r.find = &found{items: map[string]bool{}}
	if !s.try(' ') {
		return
	}
	if s.peek() != '(' {
		r.text = s.word() // the caller reads on
		return
	}
	s.list(1, func() {
		switch w := s.word(); w {
		case "TAG":
			s.sp()
			r.find.tag = s.astring()
		case "MAILBOX":
			s.sp()
			r.find.mailbox = s.mailbox()
		case "UIDVALIDITY":
			s.sp()
			r.find.validity = s.nz()
		default:
			s.fail("correlator %s", w)
		}
	})
}

func (s *scanner) esearch(r *response) {
	s.correlator(r)
	f := r.find
	word := r.text // when there is no correlator
	r.text = ""
	for {
		if word == "" {
			if !s.try(' ') {
				return
			}
			word = s.word()
		}
		if f.items[word] && word != "ADDTO" && word != "REMOVEFROM" {
			s.fail("%s twice", word)
		}
		switch word {
		case "UID":
			if len(f.items) > 0 {
				s.fail("UID stands first")
			}
			f.uid = true
		case "MIN":
			s.sp()
			f.min = s.nz()
		case "MAX":
			s.sp()
			f.max = s.nz()
		case "COUNT":
			s.sp()
			f.count = s.number()
		case "ALL":
			s.sp()
			f.all = expand(s.set())
		case "MODSEQ":
			s.sp()
			f.modseq = s.nz64()
		case "RELEVANCY":
			s.sp()
			s.list(0, func() {
				if n := s.nz(); n > 100 {
					s.fail("relevancy %d", n)
				}
			})
		case "PARTIAL":
			s.want(" (")
			for i := range 2 {
				s.try('-')
				s.nz()
				if i == 0 {
					s.want(":")
				}
			}
			s.sp()
			if digit(s.peek()) {
				f.partial = expand(s.set())
			} else {
				s.nil()
			}
			s.want(")")
		case "ADDTO", "REMOVEFROM":
			f.updates = true
			s.sp()
			s.list(1, func() {
				s.number()
				s.sp()
				s.set()
			})
		default:
			s.fail("ESEARCH %s", word)
		}
		f.items[word] = true
		word = ""
	}
}

func (s *scanner) status(r *response) {
	s.sp()
	r.name = s.mailbox()
	s.sp()
	s.list(0, func() {
		item := s.word()
		if _, twice := r.data[item]; twice {
			s.fail("%s twice", item)
		}
		s.sp()
		switch item {
		case "MESSAGES", "UNSEEN", "RECENT", "DELETED":
			r.data[item] = uint64(s.number())
		case "UIDNEXT", "UIDVALIDITY":
			r.data[item] = uint64(s.nz())
		case "SIZE", "HIGHESTMODSEQ", "APPENDLIMIT", "DELETED-STORAGE":
			r.data[item] = s.number64()
		case "MAILBOXID":
			s.want("(")
			r.data[item] = s.objectID()
			s.want(")")
		default:
			s.fail("STATUS %s", item)
		}
	})
}

func (s *scanner) namespace(r *response) {
	if s.peek() != '(' {
		s.nil()
		return
	}
	s.want("(")
	for !s.try(')') {
		s.want("(")
		r.words = append(r.words, s.string())
		s.sp()
		if s.isString() {
			if d := s.quoted(); len(d) != 1 {
				s.fail("delimiter %q", d)
			}
		} else {
			s.nil()
		}
		for s.try(' ') {
			s.string()
			s.sp()
			s.list(1, func() { s.string() })
		}
		s.want(")")
	}
}

func (s *scanner) dateTime() string {
	v := s.quoted()
	if _, err := time.Parse("_2-Jan-2006 15:04:05 -0700", v); err != nil || len(v) != 26 {
		s.fail("date-time %q", v)
	}
	return v
}

// fetch is msg-att (RFC 9051 §9), with what extensions add.
func (s *scanner) fetch() *fetched {
	f := &fetched{items: map[string]string{}}
	once := map[string]bool{}
	s.list(1, func() {
		name := strings.ToUpper(s.run(func(c byte) bool { return labelChar(c) && c != ':' }))
		if s.peek() == '[' {
			name += s.section(name)
		}
		if once[name] {
			s.fail("%s twice", name)
		}
		once[name] = true
		s.sp()
		base, _, _ := strings.Cut(name, "[")
		at := s.seen.Len()
		switch {
		case name == "FLAGS":
			f.flags, f.hasFl = s.flags(false), true
		case name == "UID":
			f.uid = s.nz()
		case name == "MODSEQ":
			s.want("(")
			f.modseq = s.nz64()
			s.want(")")
		case name == "INTERNALDATE":
			s.dateTime()
		case name == "SAVEDATE":
			if s.isString() {
				s.dateTime()
			} else {
				s.nil()
			}
		case name == "RFC822.SIZE":
			s.number64()
		case name == "EMAILID":
			s.want("(")
			s.objectID()
			s.want(")")
		case name == "THREADID":
			if s.peek() == '(' {
				s.want("(")
				s.objectID()
				s.want(")")
			} else {
				s.nil()
			}
		case name == "ENVELOPE":
			s.envelope()
		case name == "BODYSTRUCTURE":
			s.body(true, 0)
		case name == "BODY":
			s.body(false, 0)
		case name == "PREVIEW":
			s.preview()
		case base == "BODY" || name == "RFC822" || name == "RFC822.HEADER" || name == "RFC822.TEXT":
			if v := s.nstring(); v != nil {
				f.items[name] = *v
			}
			return
		case base == "BINARY.SIZE":
			s.number()
		case base == "BINARY":
			if v := s.nstring8(); v != nil {
				f.items[name] = *v
			}
			return
		default:
			s.fail("FETCH %s", name)
		}
		f.items[name] = string(s.seen.Bytes()[at:])
	})
	return f
}

func (s *scanner) preview() {
	if v := s.nstring(); v != nil && len([]rune(*v)) > 256 {
		s.fail("preview of %d characters", len([]rune(*v)))
	}
}

// section is "[" [section-spec] "]" ["<" number ">"].
func (s *scanner) section(item string) string {
	at := s.seen.Len()
	s.want("[")
	for digit(s.peek()) {
		s.nz()
		if !s.try('.') {
			break
		}
	}
	if s.peek() != ']' {
		if strings.HasPrefix(item, "BINARY") {
			s.fail("text in a section of BINARY")
		}
		switch w := strings.ToUpper(s.run(labelChar)); w {
		case "HEADER", "TEXT", "MIME":
		case "HEADER.FIELDS", "HEADER.FIELDS.NOT":
			s.sp()
			s.list(1, func() { s.astring() })
		default:
			s.fail("section %s", w)
		}
	}
	s.want("]")
	if s.try('<') {
		s.number()
		s.want(">")
	}
	return string(s.seen.Bytes()[at:])
}

func (s *scanner) envelope() {
	s.want("(")
	s.nstring() // date
	s.sp()
	s.nstring() // subject
	for range 6 {
		s.sp()
		s.addresses()
	}
	s.sp()
	s.nstring() // in-reply-to
	s.sp()
	s.nstring() // message-id
	s.want(")")
}

func (s *scanner) addresses() {
	if s.peek() != '(' {
		s.nil()
		return
	}
	s.want("(")
	for n := 0; n == 0 || !s.try(')'); n++ {
		s.want("(")
		for i := range 4 {
			if i > 0 {
				s.sp()
			}
			s.nstring()
		}
		s.want(")")
	}
}

// body is RFC 9051 §9 body; extended is BODYSTRUCTURE.
func (s *scanner) body(extended bool, depth int) {
	if depth > 200 {
		s.fail("body nests deep")
	}
	s.want("(")
	if s.peek() == '(' {
		for s.peek() == '(' {
			s.body(extended, depth+1)
		}
		s.sp()
		s.string() // subtype
		if s.peek() == ' ' && !extended {
			s.fail("extension data in BODY")
		}
		if s.try(' ') {
			s.params()
			s.bodyExt()
		}
		s.want(")")
		return
	}
	kind := strings.ToUpper(s.string())
	s.sp()
	sub := strings.ToUpper(s.string())
	s.sp()
	s.params()
	for range 2 { // id, description
		s.sp()
		s.nstring()
	}
	s.sp()
	s.string() // encoding
	s.sp()
	s.number() // octets
	switch {
	case kind == "TEXT":
		s.sp()
		s.number64()
	case kind == "MESSAGE" && (sub == "RFC822" || sub == "GLOBAL"):
		s.sp()
		s.envelope()
		s.sp()
		s.body(extended, depth+1)
		s.sp()
		s.number64()
	}
	if s.peek() == ' ' && !extended {
		s.fail("extension data in BODY")
	}
	if s.try(' ') {
		s.nstring() // MD5
		s.bodyExt()
	}
	s.want(")")
}

// bodyExt is [SP dsp [SP lang [SP loc]]].
func (s *scanner) bodyExt() {
	if !s.try(' ') {
		return
	}
	if s.try('(') {
		s.string()
		s.sp()
		s.params()
		s.want(")")
	} else {
		s.nil()
	}
	if !s.try(' ') {
		return
	}
	if s.peek() == '(' {
		s.list(1, func() { s.string() })
	} else {
		s.nstring()
	}
	if s.try(' ') {
		s.nstring()
	}
}

func (s *scanner) params() {
	if s.peek() != '(' {
		s.nil()
		return
	}
	s.list(1, func() {
		s.string()
		s.sp()
		s.string()
	})
}
