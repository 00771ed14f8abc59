package pop3

import (
	"strings"
)

// language is a column of the table of texts.
type language uint8

const (
	english language = iota
	italian
	romanian
	languages
)

// tongues are the languages by tag, each with its own name for itself (RFC 6856
// §3.2).
var tongues = [languages]struct{ tag, name string }{
	english:  {"en", "English"},
	italian:  {"it", "Italiano"},
	romanian: {"ro", "Română"},
}

// findLanguage matches a basic language range by truncation (RFC 4647 §3.4): "it-CH"
// finds "it".
func findLanguage(tag string) (language, bool) {
	for tag != "" {
		for l := range tongues {
			if strings.EqualFold(tongues[l].tag, tag) {
				return language(l), true
			}
		}
		tag = tag[:max(0, strings.LastIndexByte(tag, '-'))]
	}
	return 0, false
}

// text is what a reply says to people.
type text uint8

const (
	textReady text = iota
	textUser
	textOpened
	textMessages
	textOctets
	textUIDs
	textRetrieved
	textTop
	textMarked
	textRestored
	textNothing
	textCapabilities
	textMechanisms
	textBeginTLS
	textUTF8
	textLanguages
	textLanguage
	textBye
	textByeRemoved

	textSyntax
	textUnknown
	textLogInFirst
	textLoggedIn
	textNoMessage
	textDeleted
	textGone
	textUserFirst
	textNoMechanism
	textCancelled
	textNoLanguage
	textNotOffered
	textDenied
	textNeedTLS
	textInUse
	textLoginDelay
	textTooMany
	textTooManyErrors
	textLineTooLong
	textNotWeb
	textInternal
	textFull
	textTransient
	textCorrupt
	textNotRemoved
	textCount
)

// texts are all words that are said, in every language. English is ASCII, since it
// is spoken before a client has asked for another one (RFC 6856 §3.2).
var texts = [languages][textCount]string{
	english: {
		textReady: "POP3 ready", textUser: "Send your password", textOpened: "Mailbox locked and ready",
		textMessages: "messages", textOctets: "octets", textUIDs: "Unique-ids follow", textRetrieved: "octets follow", textTop: "Top of the message follows",
		textMarked: "Marked as deleted", textRestored: "Nothing is marked as deleted", textNothing: "Nothing done",
		textCapabilities: "Capabilities follow", textMechanisms: "Mechanisms follow", textBeginTLS: "Begin TLS negotiation",
		textUTF8: "UTF-8 is on", textLanguages: "Languages follow", textLanguage: "English is spoken", textBye: "Bye", textByeRemoved: "Bye, deleted messages are removed",
		textSyntax: "Wrong arguments", textUnknown: "Unknown command", textLogInFirst: "Log in first", textLoggedIn: "Already logged in",
		textNoMessage: "No such message", textDeleted: "This message is marked as deleted", textGone: "Another program has removed this message",
		textUserFirst: "USER comes first", textNoMechanism: "No such mechanism", textCancelled: "Authentication cancelled",
		textNoLanguage: "This language is not spoken here", textNotOffered: "Not offered here",
		textDenied: "Wrong name or password", textNeedTLS: "Begin TLS before you log in", textInUse: "Another session has locked the mailbox",
		textLoginDelay: "Too soon after the last login", textTooMany: "Too many connections", textTooManyErrors: "Too many errors",
		textLineTooLong: "Line too long", textNotWeb: "This is not a web server", textInternal: "Internal error, the administrator can see more",
		textFull: "No room left", textTransient: "Temporary failure, try again later", textCorrupt: "Stored data are damaged",
		textNotRemoved: "Deleted messages were not removed",
	},
	italian: {
		textReady: "POP3 pronto", textUser: "Inviare la password", textOpened: "Casella bloccata e pronta",
		textMessages: "messaggi", textOctets: "ottetti", textUIDs: "Seguono gli identificativi", textRetrieved: "ottetti seguono", textTop: "Segue l'inizio del messaggio",
		textMarked: "Segnato come cancellato", textRestored: "Nulla è segnato come cancellato", textNothing: "Fatto nulla",
		textCapabilities: "Seguono le capacità", textMechanisms: "Seguono i meccanismi", textBeginTLS: "Iniziare la negoziazione TLS",
		textUTF8: "UTF-8 è attivo", textLanguages: "Seguono le lingue", textLanguage: "Si parla italiano", textBye: "Arrivederci", textByeRemoved: "Arrivederci, i messaggi cancellati sono rimossi",
		textSyntax: "Argomenti errati", textUnknown: "Comando sconosciuto", textLogInFirst: "Prima occorre autenticarsi", textLoggedIn: "Già autenticato",
		textNoMessage: "Messaggio inesistente", textDeleted: "Questo messaggio è segnato come cancellato", textGone: "Un altro programma ha rimosso questo messaggio",
		textUserFirst: "Prima occorre USER", textNoMechanism: "Meccanismo inesistente", textCancelled: "Autenticazione annullata",
		textNoLanguage: "Questa lingua qui non si parla", textNotOffered: "Qui non disponibile",
		textDenied: "Nome o password errati", textNeedTLS: "Iniziare TLS prima di autenticarsi", textInUse: "Un'altra sessione ha bloccato la casella",
		textLoginDelay: "Troppo presto dopo l'ultimo accesso", textTooMany: "Troppe connessioni", textTooManyErrors: "Troppi errori",
		textLineTooLong: "Riga troppo lunga", textNotWeb: "Questo non è un server web", textInternal: "Errore interno, l'amministratore ne sa di più",
		textFull: "Spazio esaurito", textTransient: "Errore temporaneo, riprovare più tardi", textCorrupt: "I dati conservati sono danneggiati",
		textNotRemoved: "I messaggi cancellati non sono stati rimossi",
	},
	romanian: {
		textReady: "POP3 este gata", textUser: "Trimiteți parola", textOpened: "Căsuța este blocată și gata",
		textMessages: "mesaje", textOctets: "octeți", textUIDs: "Urmează identificatorii", textRetrieved: "octeți urmează", textTop: "Urmează începutul mesajului",
		textMarked: "Marcat ca șters", textRestored: "Nimic nu este marcat ca șters", textNothing: "Nimic de făcut",
		textCapabilities: "Urmează capacitățile", textMechanisms: "Urmează mecanismele", textBeginTLS: "Începeți negocierea TLS",
		textUTF8: "UTF-8 este activ", textLanguages: "Urmează limbile", textLanguage: "Se vorbește română", textBye: "La revedere", textByeRemoved: "La revedere, mesajele șterse au fost eliminate",
		textSyntax: "Argumente greșite", textUnknown: "Comandă necunoscută", textLogInFirst: "Întâi autentificați-vă", textLoggedIn: "Deja autentificat",
		textNoMessage: "Mesaj inexistent", textDeleted: "Acest mesaj este marcat ca șters", textGone: "Alt program a eliminat acest mesaj",
		textUserFirst: "Întâi este nevoie de USER", textNoMechanism: "Mecanism inexistent", textCancelled: "Autentificare anulată",
		textNoLanguage: "Această limbă nu se vorbește aici", textNotOffered: "Indisponibil aici",
		textDenied: "Nume sau parolă greșită", textNeedTLS: "Începeți TLS înainte de autentificare", textInUse: "Altă sesiune a blocat căsuța",
		textLoginDelay: "Prea curând după ultima autentificare", textTooMany: "Prea multe conexiuni", textTooManyErrors: "Prea multe erori",
		textLineTooLong: "Linie prea lungă", textNotWeb: "Acesta nu este un server web", textInternal: "Eroare internă, administratorul știe mai multe",
		textFull: "Nu mai este loc", textTransient: "Eroare temporară, încercați mai târziu", textCorrupt: "Datele păstrate sunt deteriorate",
		textNotRemoved: "Mesajele șterse nu au fost eliminate",
	},
}
