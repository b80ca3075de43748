"""Tenants' templates: stored, checked, filled. Filling happens where it can be stopped."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy.orm import defer
from sqlmodel import Session, col, func, select

from orchestrator.confined import Confined, ExceededError
from orchestrator.errors import Conflict, Invalid, NotFound
from orchestrator.mail import templating
from orchestrator.mail.templating import Rendered, Source, TemplateError
from orchestrator.models import Template, Workspace, utcnow
from orchestrator.services import validation
from orchestrator.services.messages import MAX_SUBJECT, Draft
from orchestrator.services.rows import lock, unique

MAX_TEMPLATES = 1000
#: Characters of one part.
MAX_SOURCE = 256 * 1024
#: Seconds that compiling may take, and filling it for all recipients of one request.
CHECK_SECONDS = 2.0
RENDER_SECONDS = 5.0


def source(*, subject: str, text: str | None, html: str | None) -> Source:
    """The parts of a template, bounded.

    :raises Invalid: naming the part that is missing or too large.
    """
    if not text and not html:
        raise Invalid("text or html is required", field="text")
    for name, part in (("text", text), ("html", html)):
        if part is not None and len(part) > MAX_SOURCE:
            raise Invalid(f"{name} is longer than {MAX_SOURCE} characters", field=name)
        if part is not None and "\0" in part:
            # No message may have one (RFC 5322 section 4), nor may PostgreSQL's texts.
            raise Invalid(f"{name} holds a NUL character", field=name)
    return Source(validation.line(subject, field="subject", limit=MAX_SUBJECT), text, html)


def create(
    session: Session, confined: Confined, workspace: Workspace, *, name: str, parts: Source
) -> Template:
    """Store a template.

    :raises Invalid: when a part is not a template, with the line.
    :raises Conflict: when the workspace has one of that name, or too many.
    """
    name = _checked(confined, name, parts)
    lock(session, Workspace, [workspace.id])
    mine = select(func.count()).select_from(Template).where(Template.workspace_id == workspace.id)
    if session.exec(mine).one() >= MAX_TEMPLATES:
        raise Conflict(f"the workspace has {MAX_TEMPLATES} templates already")
    row = Template(
        workspace_id=workspace.id,
        name=name,
        subject=parts.subject,
        text=parts.text,
        html=parts.html,
    )
    with unique(session, f"there is a template {name!r} already"):
        session.add(row)
    return row


def replace_(
    session: Session,
    confined: Confined,
    workspace: Workspace,
    template_id: UUID,
    *,
    name: str,
    parts: Source,
) -> Template:
    """Put another name and other parts in the place of a template's. Raises as ``create``."""
    name = _checked(confined, name, parts)
    row = get(session, workspace, template_id)
    with unique(session, f"there is a template {name!r} already"):
        row.name, row.subject, row.text, row.html = name, parts.subject, parts.text, parts.html
        row.updated_at = utcnow()
        session.add(row)
    return row


def list_(session: Session, workspace: Workspace) -> list[Template]:
    """The workspace's templates, by name; their bodies are not loaded."""
    rows = select(Template).where(Template.workspace_id == workspace.id)
    # SQLModel tells the type of the value, not of the column.
    for body in (Template.text, Template.html):
        rows = rows.options(defer(body))  # type: ignore[arg-type]
    return list(session.exec(rows.order_by(col(Template.name))))


def get(session: Session, workspace: Workspace, template_id: UUID) -> Template:
    """One of the workspace's templates."""
    row = session.get(Template, template_id)
    if row is None or row.workspace_id != workspace.id:
        raise NotFound("there is no such template on this workspace")
    return row


def delete(session: Session, workspace: Workspace, template_id: UUID) -> Template:
    """Delete a template; messages that were made of it stay."""
    row = get(session, workspace, template_id)
    session.delete(row)
    return row


def render(confined: Confined, parts: Source, variables: Mapping[str, Any]) -> Rendered:
    """What the template gives for these variables.

    :raises Invalid: when it can't be filled, takes too long or gives too much.
    """
    (made,) = _rendered(confined, parts, [variables])
    if isinstance(made, TemplateError):
        raise _refused(made)
    validation.line(made.subject, field="subject", limit=MAX_SUBJECT)
    return made


def fill(
    confined: Confined, parts: Source, wanted: Sequence[tuple[Draft, Mapping[str, Any]]]
) -> list[Draft | Invalid]:
    """Each draft with what the template gives for its variables, or why it doesn't.

    :raises Invalid: when the template takes too long.
    """
    made = _rendered(confined, parts, [variables for _, variables in wanted])
    return [
        _refused(part)
        if isinstance(part, TemplateError)
        else replace(draft, subject=part.subject, text=part.text, html=part.html)
        for (draft, _), part in zip(wanted, made, strict=True)
    ]


def _rendered(
    confined: Confined, parts: Source, variables: Sequence[Mapping[str, Any]]
) -> list[Rendered | TemplateError]:
    encoded = [msgspec.json.encode(given) for given in variables]
    try:
        return confined.run(RENDER_SECONDS, templating.render, parts, encoded)
    except (TemplateError, ExceededError) as error:
        raise _refused(error) from None


def _checked(confined: Confined, name: str, parts: Source) -> str:
    # Before the first query: on SQLite that starts the transaction, and this takes its time.
    try:
        confined.run(CHECK_SECONDS, templating.check, parts)
    except (TemplateError, ExceededError) as error:
        raise _refused(error) from None
    return validation.display_name(name)


def _refused(error: Exception) -> Invalid:
    return Invalid(f"the template: {error}", field="template")
