"""One lab host over pyinfra's own SSH connector."""

import json
import os
from pathlib import Path

_ssh = json.loads(Path(os.environ["BENCH_STATE"]).read_text())["ssh"]

fleet = [
    (
        _ssh["address"],
        {
            "ssh_user": "root",
            "ssh_key": _ssh["key"],
            "ssh_known_hosts_file": _ssh["known_hosts"],
            "ssh_strict_host_key_checking": "yes",
        },
    )
]
