"""The dialect's JSON about the life of a mailbox: all of it ours, none of it documented."""

from msgspec import UNSET, UnsetType

from api.adbtd.schemas import Answer, Request


class NewPassword(Request):
    """Body of POST /mailboxes/:id/password: 12 to 128 printable ASCII characters, or none."""

    password: str | UnsetType = UNSET


class ChangeMailbox(Request):
    """Body of PATCH /mailboxes/:id."""

    quota_mib: int


class AddAlias(Request):
    """Body of POST /mailboxes/:id/aliases."""

    email: str


class Login(Answer):
    """Answer of POST /mailboxes/:id/password: the only time that the password is told."""

    id: str
    email: str
    password: str


class Quota(Answer):
    """Answer of PATCH /mailboxes/:id."""

    id: str
    email: str
    quota_mib: int


class Usage(Answer):
    """Answer of GET /mailboxes/:id/quota, as the mailbox's own server has it, in KiB.

    ``limit_kib`` is null where there is none.
    """

    used_kib: int
    limit_kib: int | None


class Alias(Answer):
    """A further address of a mailbox."""

    email: str
    created_at: str


class AliasDeleted(Answer):
    """Answer of DELETE /mailboxes/:id/aliases/:email."""

    deleted: str
