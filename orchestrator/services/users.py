"""Users: people who sign in to a workspace's dashboard."""

from functools import cache

from sqlmodel import Session, select

from orchestrator.errors import Invalid, NotFound, Unauthorized
from orchestrator.models import User, Workspace
from orchestrator.secrets import hash_chosen_password, verify_chosen_password
from orchestrator.services import keys, validation
from orchestrator.services.rows import unique

#: Of a password that a person chose (NIST SP 800-63B-4, 3.1.1.2, asks for 15 where it is alone).
SHORTEST, LONGEST = 15, 200


def hash_password(plain: str) -> str:
    """Hash a password for ``add`` and ``set_password``: it takes 0.3 s, so before a transaction.

    :raises Invalid: when it is too short or too long.
    """
    if not SHORTEST <= len(plain) <= LONGEST:
        text = f"a password has {SHORTEST} to {LONGEST} characters"
        raise Invalid(text, field="password")
    return hash_chosen_password(plain)


def add(
    session: Session, workspace: Workspace, *, email: str, name: str, password_hash: str
) -> User:
    """Let somebody in.

    :raises Invalid: when the address or the name is malformed.
    :raises Conflict: when a user has this address already, on whatever workspace.
    """
    row = User(
        workspace_id=workspace.id,
        email=_email(email),
        name=validation.display_name(name),
        password_hash=password_hash,
    )
    with unique(session, f"there is a user {row.email} already"):
        session.add(row)
    return row


def list_(session: Session, workspace: Workspace | None = None) -> list[User]:
    """The workspace's users by address; without a workspace all."""
    rows = select(User)
    if workspace is not None:
        rows = rows.where(User.workspace_id == workspace.id)
    return list(session.exec(rows.order_by(User.email)))


def get(session: Session, email: str) -> User:
    """The user of that address."""
    row = session.exec(select(User).where(User.email == _email(email))).first()
    if row is None:
        raise NotFound(f"there is no user {email}")
    return row


def set_password(session: Session, user: User, password_hash: str) -> None:
    """Give the user another password."""
    user.password_hash = password_hash
    session.add(user)


def remove(session: Session, user: User) -> None:
    """Let somebody in no longer; the user's token ends, too."""
    keys.revoke_of(session, user)
    session.delete(user)
    session.flush()


def authenticate(session: Session, email: str, password: str) -> User:
    """Who signs in. Takes 0.3 s whoever it is: don't hold a write lock meanwhile.

    :raises Unauthorized: when address and password don't go together; it doesn't say which is
        wrong, nor by the time that it takes.
    """
    user = session.exec(select(User).where(User.email == email.strip().lower())).first()
    hashed = user.password_hash if user is not None else _nobodys()
    # Longer ones were never set; hashing them would only cost.
    matches = verify_chosen_password(password[: LONGEST + 1], hashed)
    if user is None or not matches:
        raise Unauthorized("the address and the password don't go together")
    return user


@cache
def _nobodys() -> str:
    return hash_chosen_password("nobody has this password")


def _email(text: str) -> str:
    return validation.recipient(text.strip(), field="email").lower()
