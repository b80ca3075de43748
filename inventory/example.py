"""A pyinfra inventory written by hand, for hosts that Mailfleet doesn't know yet.

Example: ``pyinfra inventory/example.py exec -- cat /etc/debian_version``
"""

fleet = [
    (
        "@mailfleet/mx1",
        {
            "ssh_hostname": "198.51.100.11",
            "ssh_user": "root",
            "ssh_key": ".lab/id_ed25519",
            "ssh_known_hosts_file": ".lab/known_hosts",
        },
    ),
]
