"""Use a shared mailbox with imaplib.

Usage: shared.py IMAPS CA OWNER GUEST PASSWORD
The owner's INBOX holds three mails and is not shared yet. Ends with "all done".
"""

import imaplib
import ssl
import sys

IMAPS, CA, OWNER, GUEST, PASSWORD = sys.argv[1:]
HOST, PORT = IMAPS.rsplit(":", 1)


def check(condition, *why):
    if not condition:
        raise AssertionError(*why)


def ok(answer):
    check(answer[0] == "OK", answer)
    return answer[1]


def login(user):
    c = imaplib.IMAP4_SSL(HOST, int(PORT), ssl_context=ssl.create_default_context(cafile=CA))
    ok(c.login(user, PASSWORD))
    return c


owner, guest = login(OWNER), login(GUEST)
BOX = f'"Other Users/{OWNER}/INBOX"'
check(guest.status(BOX, "(MESSAGES)")[0] == "NO")
ok(owner.setacl("INBOX", GUEST, "lrsi"))
check(f"{GUEST} lrsi".encode() in ok(owner.getacl("INBOX"))[0].replace(b'"', b""), owner.getacl("INBOX"))
check(ok(guest.myrights(BOX))[0].endswith(b" lrsi"), guest.myrights(BOX))
check(any(BOX.encode() in line for line in ok(guest.list()) if line), guest.list())
check(ok(guest.select(BOX)) == [b"3"])
ok(guest.store("2", "+FLAGS", r"(\Seen)"))
check(ok(guest.search(None, "UNSEEN")) == [b"1 3"])
ok(owner.select("INBOX"))
check(ok(owner.search(None, "UNSEEN")) == [b"1 2 3"], "the owner's own")
typ, _ = guest.store("1", "+FLAGS", r"(\Deleted)")
check(typ == "NO" or ok(guest.fetch("1", "(FLAGS)"))[0].find(rb"\Deleted") < 0)
ok(guest.append(BOX, "", None, b"Subject: put here\r\n\r\nx\r\n"))
ok(owner.noop())
check(owner.response("EXISTS")[1][-1] == b"4")
ok(guest.subscribe(BOX))
check(any(BOX.encode() in line for line in ok(guest.lsub()) if line))
ok(guest.unselect())  # with the mailbox selected the connection would be ended
ok(owner.deleteacl("INBOX", GUEST))
check(guest.status(BOX, "(MESSAGES)")[0] == "NO")
check(not any(BOX.encode() in line for line in ok(guest.list()) if line))
owner.logout()
guest.logout()
print("all done")
