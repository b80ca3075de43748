"""The state of one lab host, as a pyinfra user would write it down."""

import json
import os
from pathlib import Path

from pyinfra.operations import apt, files, server, systemd

state = json.loads(Path(os.environ["BENCH_STATE"]).read_text())

apt.packages(packages=state["packages"], no_recommends=True)
for user in state["users"]:
    server.group(group=user["group"], gid=user["number"], system=True)
    server.user(
        user=user["name"],
        uid=user["number"],
        group=user["group"],
        home=user["home"],
        shell="/usr/sbin/nologin",
        system=True,
        create_home=False,
    )
for member in state["memberships"]:
    server.user(user=member["name"], groups=[member["group"]], append=True)
for directory in state["directories"]:
    files.directory(
        path=directory["path"],
        user=directory["owner"],
        group=directory["group"],
        mode=directory["mode"],
    )
for file in state["files"]:
    files.put(
        src=file["source"],
        dest=file["path"],
        user=file["owner"],
        group=file["group"],
        mode=file["mode"],
    )
for service in state["services"]:
    systemd.service(service=service, running=True)
