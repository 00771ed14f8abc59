"""Drive a mail server with Python's own clients.

Usage: clients.py MX SMTP SMTPS IMAP IMAPS CA USER PASSWORD own|foreign
The first five are host:port. Ends with "all done"; any failure is an exception.
"""

import email.message
import email.policy
import imaplib
import re
import smtplib
import socket
import ssl
import sys
import time

MX, SMTP, SMTPS, IMAP, IMAPS, CA, USER, PASSWORD, KIND = sys.argv[1:]
OWN = KIND == "own"
TLS = ssl.create_default_context(cafile=CA)
DOMAIN = USER.split("@")[1]
imaplib.Debug = 0


def addr(s):
    host, port = s.rsplit(":", 1)
    return host, int(port)


def check(condition, *why):
    if not condition:
        raise AssertionError(*why)


def ok(answer):
    check(answer[0] == "OK", answer)
    return answer[1]


def refused(call, *args):
    """The command must end in NO or BAD."""
    try:
        typ, data = call(*args)
    except imaplib.IMAP4.error:
        return
    check(typ != "OK", call, args, data)


def names(answer):
    """The mailbox names, without spaces in them, of LIST or LSUB."""
    return {line.decode().rsplit(" ", 1)[1].strip('"') for line in ok(answer) if line}


def crlf(text):
    return text.replace("\n", "\r\n").encode()


MAIL = crlf(f"""Date: Sat, 21 Nov 2026 10:00:00 +0000
From: <{USER}>
To: <{USER}>
Subject: python %s
Message-ID: <py-%s@client.test>
MIME-Version: 1.0
Content-Type: text/plain; charset=utf-8
Content-Transfer-Encoding: 8bit

.dot at the start
Grüße %s
.
""")


def mail(n):
    return MAIL.replace(b"%s", str(n).encode())


def smtp():
    # In clear: the server offers STARTTLS and, without it, no AUTH.
    s = smtplib.SMTP(*addr(SMTP), local_hostname="client.test")
    code, _ = s.ehlo()
    check(code == 250 and s.has_extn("starttls") and not s.has_extn("auth"), s.esmtp_features)
    for name in ("pipelining", "size", "8bitmime", "enhancedstatuscodes", "smtputf8") + (("chunking",) if OWN else ()):
        check(s.has_extn(name), name)
    check(s.docmd("AUTH", "PLAIN AGEAYg==")[0] in (503, 530, 538), "AUTH in clear")
    s.starttls(context=TLS)
    s.ehlo()
    check(s.has_extn("auth") and not s.has_extn("starttls"), s.esmtp_features)
    check({"PLAIN", "LOGIN"} <= set(s.esmtp_features["auth"].split()), s.esmtp_features)
    try:
        s.login(USER, "wrong")
        raise AssertionError("wrong password accepted")
    except smtplib.SMTPAuthenticationError as e:
        check(e.smtp_code == 535, e)
    s.login(USER, PASSWORD)
    check(s.docmd("AUTH", "PLAIN AGEAYg==")[0] == 503, "AUTH twice")

    # Every command and its place in the dialogue.
    check(s.noop()[0] == 250)
    check(s.docmd("HELP")[0] in ((214, 211) if OWN else (214, 211, 500, 502)))
    check(s.verify(USER)[0] in (250, 252, 502))
    check(s.expn("list")[0] in (250, 252, 550, 502, 500))
    check(s.docmd("DATA")[0] == 503)
    check(s.docmd("RCPT", f"TO:<{USER}>")[0] == 503)
    check(s.docmd("WHAT")[0] in (500, 502))
    check(s.mail(USER)[0] == 250)
    check(s.docmd("MAIL", f"FROM:<{USER}>")[0] == 503, "nested MAIL")
    check(s.rcpt(f"nobody-here@{DOMAIN}")[0] == 550)
    check(s.docmd("DATA")[0] in (503, 554), "DATA without recipients")
    check(s.rset()[0] == 250)
    check(s.docmd("RCPT", f"TO:<{USER}>")[0] == 503, "RSET forgot nothing")

    sent = 0
    check(s.sendmail(USER, [USER], mail("sendmail")) == {})
    sent += 1
    refusals = s.sendmail(USER, [USER, f"nobody-here@{DOMAIN}"], mail("half"))
    check(list(refusals) == [f"nobody-here@{DOMAIN}"] and refusals[f"nobody-here@{DOMAIN}"][0] == 550, refusals)
    sent += 1
    try:
        s.sendmail(USER, [f"nobody-here@{DOMAIN}"], mail("none"))
        raise AssertionError("unknown recipient accepted")
    except smtplib.SMTPRecipientsRefused:
        pass
    m = email.message.EmailMessage(policy=email.policy.SMTPUTF8)
    m["From"], m["To"], m["Subject"] = USER, USER, "Grüße aus 東京"
    m["Date"] = "Sat, 21 Nov 2026 10:00:00 +0000"
    m.set_content("Hällo\n" * 20)
    m.add_attachment(bytes(range(256)), maintype="application", subtype="octet-stream", filename="ünï.bin")
    check(s.send_message(m) == {})
    sent += 1
    s.sendmail(USER, [USER], mail("options"), mail_options=["BODY=8BITMIME"])  # and SIZE, by itself
    sent += 1
    check(s.docmd("MAIL", f"FROM:<{USER}> SIZE=99999999999")[0] == 552, "a message of 100 GB")
    s.quit()

    # TLS from the start; AUTH LOGIN; BDAT in two chunks.
    s = smtplib.SMTP_SSL(*addr(SMTPS), local_hostname="client.test", context=TLS)
    s.ehlo()
    s.user, s.password = USER, PASSWORD
    check(s.auth("LOGIN", s.auth_login, initial_response_ok=False)[0] == 235)
    if s.has_extn("chunking"):
        text = mail("bdat")
        check(s.mail(USER)[0] == 250 and s.rcpt(USER)[0] == 250)
        s.send(b"BDAT 100\r\n" + text[:100])
        check(s.getreply()[0] == 250)
        s.send(b"BDAT %d LAST\r\n" % len(text[100:]) + text[100:])
        check(s.getreply()[0] == 250)
        sent += 1
    s.quit()

    # From strangers, line ends are CRLF and nothing else; users' are mended.
    if OWN:
        for bad in (b"bare\nlf", b"bare\rcr", b"smuggled\n.\nMAIL"):
            s = smtplib.SMTP(*addr(MX), local_hostname="client.test")
            s.ehlo()
            s.mail("sender@client.test")
            s.rcpt(USER)
            check(s.docmd("DATA")[0] == 354)
            s.send(b"Subject: x\r\n\r\n" + bad + b"\r\n.\r\n")
            reply = s.getreply()
            check(reply[0] // 100 == 5, bad, reply)
            s.close()
    return sent


def imap(sent):
    c = imaplib.IMAP4(*addr(IMAP))
    check("STARTTLS" in c.capabilities and ("LOGINDISABLED" in c.capabilities or not OWN), c.capabilities)
    if OWN:
        refused(c.login, USER, PASSWORD)
    c.starttls(TLS)
    check("LOGINDISABLED" not in c.capabilities and "AUTH=PLAIN" in c.capabilities, c.capabilities)
    refused(c.login, USER, "wrong")
    ok(c.authenticate("PLAIN", lambda _: f"\0{USER}\0{PASSWORD}".encode()))
    check(c.state == "AUTH")
    check(c.logout()[0] == "BYE")

    c = imaplib.IMAP4_SSL(*addr(IMAPS), ssl_context=TLS)
    ok(c.login(USER, PASSWORD))
    capabilities = ok(c.capability())[0].decode().upper().split()
    ok(c.noop())
    ok(c.namespace())
    refused(c.select, "No-such-mailbox")
    refused(c.create, "INBOX")

    # What SMTP delivered.
    for _ in range(300):
        count = int(ok(c.select())[0])
        if count >= sent:
            break
        time.sleep(0.1)
    check(count == sent, count, sent)
    numbers = ok(c.search(None, "ALL"))[0].split()
    check(len(numbers) == sent, numbers)
    texts = [ok(c.fetch(n, "(BODY.PEEK[])"))[0][1] for n in numbers]
    for name in ("sendmail", "half", "options") + (("bdat",) if OWN else ()):
        check(any(t.endswith(mail(name)) for t in texts), name)
    back = next(t for t in texts if "Grüße aus".encode() in t)
    back = email.message_from_bytes(back, policy=email.policy.default)
    check(back["Subject"] == "Grüße aus 東京", back["Subject"])
    check(next(back.iter_attachments()).get_content() == bytes(range(256)))

    # Mailboxes.
    for name in ("Py", "Py-copy", "Py-move"):
        ok(c.create(name))
    refused(c.create, "Py")
    ok(c.subscribe("Py"))
    check("Py" in names(c.lsub()))
    ok(c.unsubscribe("Py"))
    check("Py" not in names(c.lsub()))
    check({"INBOX", "Py", "Py-copy", "Py-move"} <= names(c.list()), c.list())
    ok(c.rename("Py", "Py2"))
    refused(c.rename, "Py", "Py3")
    refused(c.select, "Py")

    # APPEND with flags and date, and what FETCH says of it.
    when = "\"29-Feb-2020 23:59:58 -0500\""
    for i in range(10):
        data = ok(c.append("Py2", r"(\Seen keyword)" if i % 2 else "", when, mail(i)))
        check(b"APPENDUID" in data[0], data)
    refused(c.append, "No-such-mailbox", "", None, mail(0))
    check(ok(c.status("Py2", "(MESSAGES UNSEEN UIDNEXT UIDVALIDITY)"))[0].count(b"MESSAGES 10") == 1)
    ok(c.select("Py2", readonly=True))
    if OWN:
        refused(c.store, "1", "+FLAGS", r"(\Flagged)")
    check(ok(c.select("Py2")) == [b"10"])
    data = ok(c.fetch("2", "(UID FLAGS INTERNALDATE RFC822.SIZE ENVELOPE BODY BODYSTRUCTURE)"))
    flat = b" ".join(x if isinstance(x, bytes) else b" ".join(x) for x in data)
    check(b"29-Feb-2020" in flat or b" 1-Mar-2020" in flat or b"01-Mar-2020" in flat, flat)
    check(rb"\Seen" in flat and b"keyword" in flat and b"RFC822.SIZE %d" % len(mail(1)) in flat, flat)
    check(b'"python 1"' in flat and b'"<py-1@client.test>"' in flat, flat)
    check(ok(c.fetch("1", "(RFC822)"))[0][1] == mail(0))
    head, body = mail(0).split(b"\r\n\r\n", 1)
    check(ok(c.fetch("1", "(RFC822.HEADER)"))[0][1] == head + b"\r\n\r\n")
    check(ok(c.fetch("1", "(RFC822.TEXT)"))[0][1] == body)
    check(ok(c.fetch("1", "(BODY.PEEK[TEXT]<2.7>)"))[0][1] == body[2:9])
    fields = ok(c.fetch("1", "(BODY.PEEK[HEADER.FIELDS (SUBJECT X-NONE)])"))[0][1]
    check(fields == b"Subject: python 0\r\n\r\n", fields)
    rest = ok(c.fetch("1", "(BODY.PEEK[HEADER.FIELDS.NOT (SUBJECT)])"))[0][1]
    check(b"Subject" not in rest and b"Message-ID" in rest, rest)
    for macro in ("ALL", "FAST", "FULL"):
        ok(c.fetch("1:3", macro))
    refused(c.fetch, "1", "(NONSENSE)")

    # STORE in all its forms; what BODY[] without PEEK does.
    check(rb"\Flagged" in ok(c.store("1:3", "+FLAGS", r"(\Flagged)"))[0])
    ok(c.store("1", "-FLAGS", r"(\Flagged)"))
    ok(c.store("4", "FLAGS", r"(\Answered)"))
    check(ok(c.store("5", "+FLAGS.SILENT", r"(\Draft)")) == [None])
    ok(c.store("9", "-FLAGS", r"(\Seen)"))
    ok(c.fetch("9", "(BODY[TEXT])"))
    check(b"9" in ok(c.search(None, "SEEN"))[0].split())

    # SEARCH.
    def found(*query):
        return [int(n) for n in (ok(c.search(None, *query))[0] or b"").split()]

    check(found("FLAGGED") == [2, 3])
    check(found("ANSWERED") == [4] and found("DRAFT") == [5])
    check(found("KEYWORD", "keyword") == [2, 6, 8, 10], found("KEYWORD", "keyword"))  # 4 lost it
    check(found("OR", "FLAGGED", "DRAFT") == [2, 3, 5])
    check(found("NOT", "1:7") == [8, 9, 10])
    check(found("SUBJECT", '"python 7"') == [8])
    check(found("HEADER", "Message-ID", "py-3@") == [4])
    check(found("BODY", '"dot at"') == list(range(1, 11)))
    check(found("SMALLER", "10") == [] and len(found("LARGER", "10")) == 10)
    check(len(found("ON", "29-Feb-2020")) == 10 or len(found("ON", "1-Mar-2020")) == 10)
    check(found("BEFORE", "1-Jan-2020") == [] and len(found("SINCE", "1-Jan-2020")) == 10)
    check(found("(FLAGGED 2)") == [2])
    c.literal = "grüße 5".encode()
    check(ok(c.search("UTF-8", "BODY"))[0] == b"6")
    refused(c.search, "X-NO-SUCH-CHARSET", "ALL")
    refused(c.search, None, "NONSENSE")
    uids = ok(c.uid("SEARCH", "ALL"))[0].split()
    check(len(uids) == 10)

    # COPY, MOVE, EXPUNGE, CLOSE, UNSELECT.
    ok(c.copy("1:4", "Py-copy"))
    refused(c.copy, "1", "No-such-mailbox")
    ok(c.uid("COPY", uids[4], "Py-copy"))
    check(ok(c.status("Py-copy", "(MESSAGES)"))[0].endswith(b"(MESSAGES 5)"))
    if "MOVE" in capabilities:
        ok(c.uid("MOVE", b"%s,%s" % (uids[0], uids[1]), "Py-move"))
        check(ok(c.status("Py-move", "(MESSAGES)"))[0].endswith(b"(MESSAGES 2)"))
        check(found("ALL") == list(range(1, 9)))
    ok(c.uid("STORE", uids[-1], "+FLAGS", r"(\Deleted)"))
    gone = ok(c.expunge())
    check(gone[-1] == str(8 if "MOVE" in capabilities else 10).encode(), gone)
    check(ok(c.uid("FETCH", uids[-1], "(FLAGS)")) == [None])
    ok(c.check())
    ok(c.store("1", "+FLAGS", r"(\Deleted)"))
    before = len(found("ALL"))
    if "UNSELECT" in capabilities:
        ok(c.unselect())
        check(ok(c.select("Py2")) == [str(before).encode()])
    ok(c.close())
    check(ok(c.select("Py2")) == [str(before - 1).encode()], "CLOSE expunges")

    # Another session is told of changes.
    d = imaplib.IMAP4_SSL(*addr(IMAPS), ssl_context=TLS)
    ok(d.login(USER, PASSWORD))
    ok(d.select("Py2"))
    ok(d.append("Py2", "", None, mail("other")))
    ok(d.store("1", "+FLAGS", r"(\Flagged)"))
    ok(c.noop())
    check(c.response("EXISTS")[1][-1] == str(before).encode(), "EXISTS")
    check(d.logout()[0] == "BYE")

    # Extensions, when they are announced.
    if "ID" in capabilities:
        ok(c.xatom("ID", '("name" "clients.py")'))
    if "SORT" in capabilities:
        numbers = ok(c.sort("(REVERSE SUBJECT)", "UTF-8", "ALL"))[0].split()
        subjects = [next(x[1] for x in ok(c.fetch(n, "(BODY.PEEK[HEADER.FIELDS (SUBJECT)])")) if isinstance(x, tuple)) for n in numbers]
        check(subjects == sorted(subjects, reverse=True) and len(subjects) == before, subjects)
    for algorithm in ("REFERENCES", "ORDEREDSUBJECT"):
        if "THREAD=" + algorithm in capabilities:
            threads = ok(c.thread(algorithm, "UTF-8", "ALL"))[0]
            check(sorted(map(int, re.findall(rb"\d+", threads))) == list(range(1, before + 1)), threads)
    if "QUOTA" in capabilities:
        ok(c.getquotaroot("INBOX"))
        refused(c.setquota, "no-such-root", "(STORAGE 1)")
    if "ACL" in capabilities:
        check(b"lrswipkxtea" in ok(c.myrights("INBOX"))[0] or not OWN)
        refused(c.getacl, "No-such-mailbox")
        refused(c.setacl, "Py2", f"nobody-here@{DOMAIN}", "lr")
    if "CONDSTORE" in capabilities:
        check(b"HIGHESTMODSEQ" in ok(c.status("Py2", "(HIGHESTMODSEQ)"))[0])
        ok(c.fetch("1:*", "(FLAGS MODSEQ)"))
    if "LITERAL+" in capabilities or "LITERAL-" in capabilities:
        c.send(b"x1 STATUS {5+}\r\nINBOX (MESSAGES)\r\n")
        lines = [c.readline()]
        while not lines[-1].startswith(b"x1 "):
            lines.append(c.readline())
        check(lines[-1].startswith(b"x1 OK"), lines)

    # Nonsense is answered, not fatal; pipelined commands are answered in order.
    c.send(b"y1 NONSENSE\r\ny2 NOOP\r\ny3 FETCH\r\ny4 NOOP\r\n")
    answers = {}
    while "y4" not in answers:
        line = c.readline().decode()
        if line.startswith("y"):
            answers[line.split()[0]] = line.split()[1]
    check(answers == {"y1": "BAD", "y2": "OK", "y3": "BAD", "y4": "OK"}, answers)

    ok(c.unselect() if "UNSELECT" in capabilities else c.close())
    for name in ("Py2", "Py-copy", "Py-move"):
        ok(c.delete(name))
    refused(c.delete, "Py2")
    refused(c.delete, "INBOX")
    check(c.logout()[0] == "BYE")


def utf8():
    """Names and headers in UTF-8 (RFC 9755)."""
    c = imaplib.IMAP4_SSL(*addr(IMAPS), ssl_context=TLS)
    ok(c.login(USER, PASSWORD))
    if "UTF8=ACCEPT" not in ok(c.capability())[0].decode().upper().split():
        c.logout()
        return
    text = crlf(f"From: <{USER}>\nTo: <дядя@{DOMAIN}>\nSubject: Grüße, непослушный\n\nÜ\n")
    ok(c.append("INBOX", "", None, text))  # old mail looks like this: not refused
    ok(c.create("Gr&APwA3w-e-&Z3FOrA-"))
    ok(c.enable("UTF8=ACCEPT"))
    name = '"Grüße-東京"'
    check(any(line and name in line.decode() for line in ok(c.list())), c.list())
    ok(c.create('"Вход & выход"'))
    # The library's append() writes the word UTF8 into the message.
    c.send(f"z1 APPEND {name} UTF8 (~{{{len(text)}+}}\r\n".encode() + text + b")\r\n")
    answer = c.readline()
    while not answer.startswith(b"z1 "):
        answer = c.readline()
    check(answer.startswith(b"z1 OK"), answer)
    check(ok(c.select(name)) == [b"1"])
    check(ok(c.fetch("1", "(BODY.PEEK[])"))[0][1] == text)
    flat = b" ".join(x if isinstance(x, bytes) else b" ".join(x) for x in ok(c.fetch("1", "(ENVELOPE)")))
    check("Grüße, непослушный" in flat.decode() and "дядя" in flat.decode(), flat)
    check(ok(c.search(None, 'SUBJECT "GRÜSSE"')) in ([b"1"], [b""]) and ok(c.search(None, 'SUBJECT "НЕПО"')) == [b"1"])
    ok(c.close())
    ok(c.delete(name))
    ok(c.delete('"Вход & выход"'))
    c.logout()


socket.setdefaulttimeout(60)
imap(smtp())
utf8()
print("all done")
