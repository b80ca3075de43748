"""The lab's DNS blocklist, as those who run it see it."""

from pathlib import Path
from typing import Any

import dns.query
import dns.rcode
import dns.tsigkeyring
import dns.update
from labkit import ROOT

from orchestrator.dns.dnsbl import query_name


class Blocklist:
    """The list, changed by its owner's key."""

    def __init__(self, lab: dict[str, Any]) -> None:
        described = lab["dns"]
        secret = (ROOT / Path(described["customer_tsig_secret_file"])).read_text().strip()
        self._keyring = dns.tsigkeyring.from_text({described["customer_tsig_name"]: secret})
        self._algorithm = described["tsig_algorithm"]
        self._server = described["authoritative"]
        self.zone: str = described["blocklist"]

    def change(self, ip: str, *, listed: bool) -> None:
        """List an address, or delist it."""
        name = query_name(ip, self.zone) + "."
        update = dns.update.UpdateMessage(
            self.zone, keyring=self._keyring, keyalgorithm=self._algorithm
        )
        update.delete(name)
        if listed:
            update.add(name, 5, "A", "127.0.0.4")
            update.add(name, 5, "TXT", '"sent to a trap"')
        answer = dns.query.tcp(update, self._server, timeout=5)
        assert answer.rcode() == dns.rcode.NOERROR
