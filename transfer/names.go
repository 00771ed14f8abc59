package transfer

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"github.com/postino-mail/postino/mailbox"
)

// usualNames are what mailboxes for a purpose are called, in lower case: English,
// Italian, German, French, Romanian.
var usualNames = map[string]mailbox.SpecialUse{
	"sent": mailbox.UseSent, "sent items": mailbox.UseSent, "sent messages": mailbox.UseSent, "sent mail": mailbox.UseSent,
	"sent-mail": mailbox.UseSent, "inviati": mailbox.UseSent, "posta inviata": mailbox.UseSent, "inviata": mailbox.UseSent,
	"elementi inviati": mailbox.UseSent, "gesendet": mailbox.UseSent,
	"gesendete objekte": mailbox.UseSent, "gesendete elemente": mailbox.UseSent, "envoyés": mailbox.UseSent, "éléments envoyés": mailbox.UseSent,
	"messages envoyés": mailbox.UseSent, "trimise": mailbox.UseSent, "mesaje trimise": mailbox.UseSent, "elemente trimise": mailbox.UseSent,
	"drafts": mailbox.UseDrafts, "draft": mailbox.UseDrafts, "bozze": mailbox.UseDrafts, "entwürfe": mailbox.UseDrafts,
	"brouillons": mailbox.UseDrafts, "ciorne": mailbox.UseDrafts, "schițe": mailbox.UseDrafts,
	"trash": mailbox.UseTrash, "deleted items": mailbox.UseTrash, "deleted messages": mailbox.UseTrash, "deleted": mailbox.UseTrash,
	"bin": mailbox.UseTrash, "cestino": mailbox.UseTrash, "posta eliminata": mailbox.UseTrash, "elementi eliminati": mailbox.UseTrash,
	"papierkorb": mailbox.UseTrash, "gelöschte objekte": mailbox.UseTrash, "gelöschte elemente": mailbox.UseTrash,
	"corbeille": mailbox.UseTrash, "éléments supprimés": mailbox.UseTrash, "coș de gunoi": mailbox.UseTrash, "coș": mailbox.UseTrash,
	"elemente șterse": mailbox.UseTrash, "mesaje șterse": mailbox.UseTrash,
	"junk": mailbox.UseJunk, "spam": mailbox.UseJunk, "junk e-mail": mailbox.UseJunk, "junk email": mailbox.UseJunk, "bulk mail": mailbox.UseJunk,
	"junk mail": mailbox.UseJunk, "posta indesiderata": mailbox.UseJunk, "unerwünscht": mailbox.UseJunk, "junk-e-mail": mailbox.UseJunk,
	"indésirables": mailbox.UseJunk, "courrier indésirable": mailbox.UseJunk, "pourriel": mailbox.UseJunk, "nedorite": mailbox.UseJunk,
	"archive": mailbox.UseArchive, "archives": mailbox.UseArchive, "archivio": mailbox.UseArchive, "archiv": mailbox.UseArchive, "arhivă": mailbox.UseArchive,
}

// useByName tells what a mailbox is for by its name, which may stand below INBOX.
func useByName(name string) mailbox.SpecialUse {
	name = strings.ToLower(norm.NFC.String(name))
	return usualNames[strings.TrimPrefix(name, "inbox/")]
}

// The limits of a name (IM10).
const (
	maxLevel  = 255
	maxLevels = 20
)

// possibleName changes a name as little as it takes to be one of ours: what may not
// stand in it becomes "_", empty and relative levels get one, levels that are too
// long are cut, those that are too deep are joined.
func possibleName(name string) string {
	name = norm.NFC.String(strings.ToValidUTF8(name, "_"))
	name = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.In(r, unicode.Zl, unicode.Zp, unicode.Bidi_Control) || r == utf8.RuneError {
			return '_'
		}
		return r
	}, name)
	levels := strings.Split(strings.TrimSuffix(name, "/"), "/")
	if len(levels) > maxLevels {
		levels = append(levels[:maxLevels-1], strings.Join(levels[maxLevels-1:], "-"))
	}
	for i, l := range levels {
		if l == "" || l == "." || l == ".." {
			l += "_"
		}
		for len(l) > maxLevel {
			_, n := utf8.DecodeLastRuneInString(l)
			l = l[:len(l)-n]
		}
		levels[i] = l
	}
	if _, _, _, outside := mailbox.Outside(strings.Join(levels, "/")); outside {
		levels[1] = strings.ReplaceAll(levels[1], "@", "_at_")
	}
	if strings.EqualFold(levels[0], "INBOX") {
		levels[0] = "INBOX"
	}
	return strings.Join(levels, "/")
}

// sameFlags are keywords that programs write in several ways.
var sameFlags = map[string]string{
	"forwarded": "$Forwarded", "$forwarded": "$Forwarded", "mdnsent": "$MDNSent", "$mdnsent": "$MDNSent",
	"junk": "$Junk", "$junk": "$Junk", "$isjunk": "$Junk",
	"nonjunk": "$NotJunk", "notjunk": "$NotJunk", "$notjunk": "$NotJunk", "$isnotjunk": "$NotJunk", "$nonjunk": "$NotJunk",
	"$phishing": "$Phishing", "$important": "$Important", `\important`: "$Important",
}

// flagsOf divides flags as others write them.
func flagsOf(names []string) (flags mailbox.Flags, keywords []string) {
	for _, n := range names {
		switch strings.ToLower(n) {
		case `\seen`:
			flags |= mailbox.Seen
		case `\answered`:
			flags |= mailbox.Answered
		case `\flagged`:
			flags |= mailbox.Flagged
		case `\deleted`:
			flags |= mailbox.Deleted
		case `\draft`:
			flags |= mailbox.Draft
		default:
			k := n
			if same := sameFlags[strings.ToLower(n)]; same != "" {
				k = same
			}
			if k != "" && k[0] != '\\' && !slices.Contains(keywords, k) {
				keywords = append(keywords, k)
			}
		}
	}
	return flags, keywords
}

// flagNames is the way back.
func flagNames(flags mailbox.Flags, keywords []string) []string {
	var names []string
	for i, n := range []string{`\Seen`, `\Answered`, `\Flagged`, `\Deleted`, `\Draft`} {
		if flags>>i&1 != 0 {
			names = append(names, n)
		}
	}
	return append(names, keywords...)
}
