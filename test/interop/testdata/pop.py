"""Drive a POP3 server with poplib.

Usage: pop.py POP3 POP3S CA USER PASSWORD
The mailbox holds six mails and one whose header is in UTF-8. Ends with "all done".
"""

import poplib
import socket
import ssl
import sys

POP3, POP3S, CA, USER, PASSWORD = sys.argv[1:]
TLS = ssl.create_default_context(cafile=CA)
socket.setdefaulttimeout(60)


def addr(s):
    host, port = s.rsplit(":", 1)
    return host, int(port)


def check(condition, *why):
    if not condition:
        raise AssertionError(*why)


def refused(call, *args):
    try:
        answer = call(*args)
    except poplib.error_proto as e:
        return str(e)
    raise AssertionError(call, args, answer)


# In clear: no USER; after STLS there is.
c = poplib.POP3(*addr(POP3))
check(c.getwelcome().startswith(b"+OK"))
caps = c.capa()
check("STLS" in caps and "USER" not in caps and "SASL" not in caps, caps)
refused(c.user, USER)
c.stls(TLS)
caps = c.capa()
check("STLS" not in caps and "USER" in caps and "SCRAM-SHA-256" in caps["SASL"], caps)
for name in ("TOP", "UIDL", "PIPELINING", "RESP-CODES", "UTF8", "LANG"):
    check(name in caps, name, caps)
refused(c.stat)
c.user(USER)
check("[AUTH]" in refused(c.pass_, "wrong"))
c.user(USER)
c.pass_(PASSWORD)

count, octets = c.stat()
check(count == 7, count)
listing = c.list()[1]
check(len(listing) == 7 and sum(int(l.split()[1]) for l in listing) == octets, listing, octets)
check(c.list(3).split()[1:] == [b"3", listing[2].split()[1]], c.list(3))
uidl = [l.split()[1] for l in c.uidl()[1]]
check(len(set(uidl)) == 7 and c.uidl(4).split()[2] == uidl[3], uidl)

# RETR gives all octets; the library takes the dots off.
_, lines, size = c.retr(1)
check(size == int(listing[0].split()[1]), size, listing[0])
check(b"." in lines and b".." in lines and b".hidden" in lines and "Grüße, 日本語, \t tab".encode() in lines, lines)
check(c.top(1, 2)[1] == lines[: lines.index(b"") + 3], c.top(1, 2))
check(c.top(2, 0)[1][-1] == b"")

# One POP3 session at a time.
d = poplib.POP3_SSL(*addr(POP3S), context=TLS)
d.user(USER)
check("[IN-USE]" in refused(d.pass_, PASSWORD))
d.close()

# DELE and RSET, wrong numbers.
c.dele(1)
refused(c.retr, 1)
refused(c.dele, 1)
refused(c.retr, 8)
refused(c.list, 0)
check(c.stat()[0] == 6)
c.rset()
check(c.stat() == (7, octets))
c.noop()

# The header in UTF-8 is rewritten until the client asks for UTF-8, which it can only
# do before it logs in.
_, downgraded, _ = c.retr(7)
check(all(l.isascii() for l in downgraded[: downgraded.index(b"")]), downgraded)
c.dele(2)
check(c.quit().startswith(b"+OK"))

c = poplib.POP3_SSL(*addr(POP3S), context=TLS)
c.utf8()
c.user(USER)
c.pass_(PASSWORD)
check(c.stat()[0] == 6)
check([l.split()[1] for l in c.uidl()[1]] == uidl[:1] + uidl[2:], "unique-ids have changed")
_, lines, _ = c.retr(6)
check(any("Grüße" in l.decode() for l in lines) and any("дядя" in l.decode() for l in lines), lines)

# A connection that breaks deletes nothing.
c.dele(1)
c.sock.shutdown(socket.SHUT_RDWR)
c.close()
c = poplib.POP3_SSL(*addr(POP3S), context=TLS)
c.user(USER)
c.pass_(PASSWORD)
check(c.stat()[0] == 6, c.stat())
c.quit()
print("all done")
