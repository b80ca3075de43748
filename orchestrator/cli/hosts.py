"""``mailfleet hosts``: enrolling hosts and looking after them."""

import shlex
from functools import partial

import paramiko
import rich_click as click

from orchestrator.cli.app import App, json_option, pass_app, show
from orchestrator.cli.moves import follow, ignore_dns_option, no_wait_option, watch
from orchestrator.db import reading, writing
from orchestrator.errors import Conflict
from orchestrator.fleet import Fleet
from orchestrator.hosts import adhoc, postqueue
from orchestrator.hosts.known_hosts import write as write_known_hosts
from orchestrator.hosts.ssh import Pool, fingerprint, scan_host_key
from orchestrator.services import hosts as service
from orchestrator.services import moves as move_service
from orchestrator.services import restored as restored_service


@click.group()
def hosts() -> None:
    """The mail hosts of the fleet."""


def _confirm_key(app: App, address: str, port: int, expected: str | None, *, yes: bool) -> str:
    key = scan_host_key(address, port, app.settings.ssh_connect_timeout)
    seen = fingerprint(key)
    if expected is not None and expected != seen:
        raise Conflict(f"the host shows {seen}, which is not the fingerprint given")
    click.echo(f"{address} shows the host key {key.split()[0]} {seen}", err=True)
    if expected is None and not yes:
        click.confirm("Is that the host's own key?", abort=True, err=True)
    return key


def rewrite_known_hosts(app: App) -> None:
    """Write the enrolled hosts' keys where SSH clients read them."""
    with reading(app.engine) as session:
        write_known_hosts(
            app.settings.known_hosts_file,
            [(row.address, row.ssh_port, row.host_key) for row in service.list_(session)],
        )


@hosts.command()
@click.argument("name")
@click.option("--hostname", required=True, help="Full name; its EHLO for bounces.")
@click.option("--address", required=True, help="IPv4 address that SSH and MX answer on.")
@click.option("--ssh-port", default=22, show_default=True)
@click.option("--ssh-user", default="root", show_default=True)
@click.option("--fingerprint", "expected", help="Expected host key, as `SHA256:…`.")
@click.option("--yes", is_flag=True, help="Trust the key that the host shows.")
@pass_app
def add(  # noqa: PLR0917 - click passes them by name
    app: App,
    name: str,
    hostname: str,
    address: str,
    ssh_port: int,
    ssh_user: str,
    expected: str | None,
    yes: bool,
) -> None:
    """Enrol a host: its SSH key is shown, compared or confirmed, and recorded.

    Example: `mailfleet hosts add mx1 --hostname mx1.fleet.net --address 198.51.100.11`
    """
    key = _confirm_key(app, address, ssh_port, expected, yes=yes)
    with writing(app.engine) as session:
        service.add(
            session,
            app.vault,
            name=name,
            hostname=hostname,
            address=address,
            ssh_port=ssh_port,
            ssh_user=ssh_user,
            host_key=key,
        )
    rewrite_known_hosts(app)
    click.echo(f"enrolled {name}; the reconciler takes it from here")


@hosts.command()
@click.argument("name")
@click.option("--fingerprint", "expected", help="Expected host key, as `SHA256:…`.")
@click.option("--yes", is_flag=True, help="Trust the key that the host shows.")
@pass_app
def rekey(app: App, name: str, expected: str | None, yes: bool) -> None:
    """Record a host's new SSH key, after it was reinstalled.

    Example: `mailfleet hosts rekey mx1`
    """
    with reading(app.engine) as session:
        row = service.get_by_name(session, name)
        address, port = row.address, row.ssh_port
    key = _confirm_key(app, address, port, expected, yes=yes)
    with writing(app.engine) as session:
        service.rekey(session, service.get_by_name(session, name), key)
    rewrite_known_hosts(app)
    click.echo(f"recorded the new key of {name}")


@hosts.command("list")
@json_option
@pass_app
def list_(app: App, as_json: bool) -> None:
    """List the hosts.

    Example: `mailfleet hosts list --json`
    """
    with reading(app.engine) as session:
        rows = [
            {
                "name": row.name,
                "hostname": row.hostname,
                "address": row.address,
                "os": row.os,
                "paused": row.paused,
                "reason": row.pause_reason,
                "draining": row.draining,
                "queue": row.queue,
                "generation": row.generation,
                "key": fingerprint(row.host_key),
            }
            for row in service.list_(session)
        ]
    show(rows, as_json=as_json, empty="no host is enrolled")


@hosts.command()
@click.argument("name")
@click.option("--reason", default="", help="For those who find it paused.")
@pass_app
def pause(app: App, name: str, reason: str) -> None:
    """Leave a host as it is until `resume`.

    Example: `mailfleet hosts pause mx1 --reason "kernel update"`
    """
    with writing(app.engine) as session:
        service.pause(session, service.get_by_name(session, name), reason)
    click.echo(f"{name} is paused")


@hosts.command()
@click.argument("name")
@no_wait_option
@pass_app
def drain(app: App, name: str, no_wait: bool) -> None:
    """Give a host no new work, and wait until its queue is empty; what it has it serves on.

    Example: `mailfleet hosts drain mx1 --no-wait`
    """
    with writing(app.engine) as session:
        service.drain(session, service.get_by_name(session, name))
    click.echo(f"{name} gets no new addresses, mailboxes or MX records")
    if not no_wait:
        watch(partial(_queue, app, name), lambda left: left == 0)
        click.echo(f"the queue of {name} is empty")


def _queue(app: App, name: str) -> tuple[int, str]:
    with reading(app.engine) as session:
        target = Fleet(app.settings, app.vault).target(service.get_by_name(session, name))
    pool = Pool()
    try:
        length = postqueue.length(pool, target)
    finally:
        pool.close()
    return length, f"{length} messages in the queue of {name}"


@hosts.command()
@click.argument("name", required=False)
@click.option("--restored", is_flag=True, help="Every host that `mailfleet restore` has paused.")
@pass_app
def resume(app: App, name: str | None, restored: bool) -> None:
    """Take up a paused or draining host again, or with it all that a restore holds.

    Example: `mailfleet hosts resume mx1`
    """
    if (name is None) is not restored:
        raise click.UsageError("name a host, or say --restored")
    with writing(app.engine) as session:
        if name is None:
            resumed = [host.name for host in restored_service.release(session)]
        else:
            resumed = [service.resume(session, service.get_by_name(session, name)).name]
    for each in resumed:
        click.echo(f"{each} is taken up again")


@hosts.command()
@click.argument("name")
@click.option("--to", "to_name", help="The host to move to; by default the least used ones.")
@ignore_dns_option
@no_wait_option
@pass_app
def evacuate(app: App, name: str, to_name: str | None, ignore_dns: bool, no_wait: bool) -> int:
    """Move every tenant off a host, with all of their mail; then it has no assigned address.

    Example: `mailfleet hosts evacuate mx1 --to mx2`
    """
    with writing(app.engine) as session:
        begun = move_service.evacuate(
            session,
            service.get_by_name(session, name),
            to_host=service.get_by_name(session, to_name) if to_name else None,
            ignore_dns=ignore_dns,
        )
        keys = [move.id for move in begun]
    click.echo(f"{name} is drained; {len(keys)} of its addresses begin to move")
    return 0 if no_wait else follow(app, keys)


@hosts.command()
@click.argument("name")
@pass_app
def remove(app: App, name: str) -> None:
    """Forget a host that carries no assigned address; the host itself is left alone.

    Example: `mailfleet hosts remove mx1`
    """
    with writing(app.engine) as session:
        service.remove(session, service.get_by_name(session, name))
    rewrite_known_hosts(app)
    click.echo(f"{name} is forgotten")


@hosts.command("exec", context_settings={"ignore_unknown_options": True})
@click.argument("name")
@click.argument("command", nargs=-1, required=True)
@pass_app
def exec_(app: App, name: str, command: tuple[str, ...]) -> int:
    """Run a command on a host, as root, and end with its exit code.

    Example: `mailfleet hosts exec mx1 -- postqueue -p`
    """
    with reading(app.engine) as session:
        target = Fleet(app.settings, app.vault).target(service.get_by_name(session, name))
    rewrite_known_hosts(app)
    try:
        return adhoc.run(target, app.settings.known_hosts_file, shlex.join(command))
    except (OSError, paramiko.SSHException) as error:
        raise click.ClickException(f"can't run on {name}: {error}") from None
