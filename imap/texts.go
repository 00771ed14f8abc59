package imap

// texts are the texts for people in Italian and Romanian, by the English one.
var texts = map[string][2]string{}
