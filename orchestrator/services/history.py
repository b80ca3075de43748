"""The history of dedicated IPs: it outlives the address, its host and its workspaces."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlmodel import Session, col, select

from orchestrator.models import Address, AddressEvent, AddressEventKind, Host, Workspace
from orchestrator.services import validation


@dataclass(frozen=True)
class Entry:
    """Something that happened to an address."""

    at: datetime
    event: AddressEventKind
    host: str
    workspace: str | None
    detail: str

    def as_dict(self) -> dict[str, Any]:
        """For tables and JSON."""
        return {
            "at": self.at.isoformat(timespec="milliseconds"),
            "event": str(self.event),
            "host": self.host,
            "workspace": self.workspace,
            "detail": self.detail,
        }


def note(
    session: Session,
    address: Address,
    kind: AddressEventKind,
    detail: str = "",
    *,
    workspace: Workspace | None = None,
) -> None:
    """Write down what happens to an address, with the workspace that has it."""
    if workspace is None and address.workspace_id is not None:
        workspace = session.get(Workspace, address.workspace_id)
    session.add(
        AddressEvent(
            ip=address.ip,
            kind=kind,
            host=session.get_one(Host, address.host_id).name,
            workspace=workspace.slug if workspace else None,
            detail=detail,
        )
    )


def of(session: Session, ip: str) -> list[Entry]:
    """All that happened to an IP, oldest first; it need not be in the pool any more."""
    rows = select(AddressEvent).where(AddressEvent.ip == validation.ip(ip))
    return [
        Entry(row.created_at, row.kind, row.host, row.workspace, row.detail)
        for row in session.exec(rows.order_by(col(AddressEvent.created_at), col(AddressEvent.id)))
    ]
