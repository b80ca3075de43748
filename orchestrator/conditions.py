"""What is known about a subject: condition types, their reasons, and what to do about each.

A condition is True, False or Unknown. Unknown is not False: a resolver time-out or an
unreachable host says nothing about what was verified before.
"""

from enum import StrEnum


class Status(StrEnum):
    """Whether the condition holds."""

    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"


class Type(StrEnum):
    """What is asserted. The subject is a host, an address or a domain."""

    # hosts
    REACHABLE = "Reachable"
    CONVERGED = "Converged"
    CERTIFICATE_VALID = "CertificateValid"
    # hosts and addresses
    PTR_CONFIRMED = "PtrConfirmed"
    # addresses
    EGRESS_PROVEN = "EgressProven"
    NOT_LISTED = "NotListed"
    # hosts and domains
    RECORDS_PUBLISHED = "RecordsPublished"
    # domains
    OWNERSHIP_PROVEN = "OwnershipProven"
    MX_OK = "MxOk"
    SPF_OK = "SpfOk"
    DKIM_OK = "DkimOk"
    DMARC_OK = "DmarcOk"
    DKIM_ROTATED = "DkimRotated"
    # domains that we buy
    REGISTERED = "Registered"
    # releases of the templates
    ROLLED_OUT = "RolledOut"


class Reason(StrEnum):
    """Why, in one word; ``REMEDIES`` tells what an operator can do about it."""

    OBSERVED = "Observed"
    NOT_YET_CHECKED = "NotYetChecked"
    # reaching a host
    UNREACHABLE = "Unreachable"
    SSH_KEY_REFUSED = "SshKeyRefused"
    HOST_KEY_CHANGED = "HostKeyChanged"
    UNSUPPORTED_OS = "UnsupportedOs"
    PAUSED = "Paused"
    TIMED_OUT = "TimedOut"
    # applying
    DRIFTED = "Drifted"
    DISK_FULL = "DiskFull"
    READ_ONLY = "ReadOnlyFileSystem"
    PERMISSION_DENIED = "PermissionDenied"
    PACKAGES_FAILED = "PackagesFailed"
    VALIDATION_FAILED = "ValidationFailed"
    SMOKE_TEST_FAILED = "SmokeTestFailed"
    FENCED = "Fenced"
    BUSY = "Busy"
    APPLY_FAILED = "ApplyFailed"
    INTERNAL = "InternalError"
    RENDERING_FAILED = "RenderingFailed"
    UNSAFE_PLAN = "UnsafePlan"
    # releases
    ROLLING_OUT = "RollingOut"
    ROLLOUT_FAILED = "RolloutFailed"
    # DNS
    MISSING = "Missing"
    MISMATCH = "Mismatch"
    AMBIGUOUS = "Ambiguous"
    RESOLVER_FAILED = "ResolverFailed"
    NOT_MANAGED = "NotManaged"
    UPDATE_REFUSED = "UpdateRefused"
    TSIG_REJECTED = "TsigRejected"
    SERVER_UNREACHABLE = "DnsServerUnreachable"
    CLAIMED_ELSEWHERE = "ClaimedElsewhere"
    AWAITED = "Awaited"
    # certificates
    ISSUANCE_PENDING = "IssuancePending"
    ISSUANCE_FAILED = "IssuanceFailed"
    CA_UNREACHABLE = "CaUnreachable"
    CHALLENGE_NOT_PUBLISHED = "ChallengeNotPublished"
    FILE_UNUSABLE = "FileUnusable"
    NAMES_MISSING = "NamesMissing"
    EXPIRED = "Expired"
    # egress
    NOT_ARRIVED = "NotArrived"
    WRONG_SOURCE = "WrongSource"
    WRONG_EHLO = "WrongEhlo"
    PTR_NOT_CONFIRMED = "PtrNotConfirmed"
    SIGNATURE_INVALID = "SignatureInvalid"
    NOT_SENT = "NotSent"
    # reputation
    LISTED = "Listed"
    # registrations
    REGISTRATION_PENDING = "RegistrationPending"
    REGISTRATION_FAILED = "RegistrationFailed"
    # moves
    COPY_FAILED = "CopyFailed"
    IN_USE = "InUse"


REMEDIES: dict[Reason, str] = {
    Reason.OBSERVED: "Nothing to do.",
    Reason.NOT_YET_CHECKED: "Wait for the next pass, or run `reconcile verify`.",
    Reason.UNREACHABLE: "Check that the host is up and that its SSH port is open from here.",
    Reason.SSH_KEY_REFUSED: "Put Mailfleet's public SSH key into root's authorized_keys there.",
    Reason.HOST_KEY_CHANGED: (
        "If the host was reinstalled, enrol it again with `mailfleet hosts rekey NAME`; "
        "otherwise somebody stands between."
    ),
    Reason.UNSUPPORTED_OS: "Install Debian 12 or Debian 13 on the host.",
    Reason.PAUSED: "Run `mailfleet hosts resume NAME` when it may be changed again.",
    Reason.TIMED_OUT: "Look at the host's load and disk; the pass is tried again by itself.",
    Reason.DRIFTED: "Run `reconcile plan` to see the difference; `reconcile apply` puts it back.",
    Reason.DISK_FULL: "Free space on the host (queue, logs, mailboxes); nothing was changed.",
    Reason.READ_ONLY: "Remount the host's file system read-write; nothing was changed.",
    Reason.PERMISSION_DENIED: "Enrol the host with a user who is root; nothing was changed.",
    Reason.PACKAGES_FAILED: "Run `apt-get -f install` on the host and look at its apt sources.",
    Reason.VALIDATION_FAILED: "The daemon's parser refused the files; the old ones still serve.",
    Reason.SMOKE_TEST_FAILED: "The new files didn't work and were taken back; see the Run.",
    Reason.FENCED: "Another reconciler has applied a newer state; nothing to do.",
    Reason.BUSY: "Another reconciler is at work on the host; the pass is tried again.",
    Reason.APPLY_FAILED: "See the Run for the step that failed; the old files still serve.",
    Reason.INTERNAL: "This is a defect of Mailfleet: report it with the Run's text.",
    Reason.RENDERING_FAILED: (
        "A template of the host's release, or a value in it, is refused; the old files still serve."
    ),
    Reason.UNSAFE_PLAN: (
        "Is this the right database? If so, `reconcile apply --host NAME --allow-removals`."
    ),
    Reason.ROLLING_OUT: "Wait, or run `reconcile rollout` to see which hosts have it.",
    Reason.ROLLOUT_FAILED: "Mend the templates, or run `reconcile rollout retry`.",
    Reason.MISSING: "Publish the record shown by `mailfleet domains records NAME`.",
    Reason.MISMATCH: "Replace the record by the one of `mailfleet domains records NAME`.",
    Reason.AMBIGUOUS: "Leave one such record: RFC 7208 and RFC 7489 make two an error.",
    Reason.RESOLVER_FAILED: "The name servers didn't answer; nothing is demoted, asked again.",
    Reason.NOT_MANAGED: "Copy the records of `mailfleet domains records NAME` to your DNS.",
    Reason.UPDATE_REFUSED: "Allow dynamic updates (RFC 2136) for the zone's key on its server.",
    Reason.TSIG_REJECTED: "Compare the key's name, algorithm and secret with the server's.",
    Reason.SERVER_UNREACHABLE: "Check the zone's server address and port 53 (TCP) from here.",
    Reason.CLAIMED_ELSEWHERE: "Another workspace has proven this domain.",
    Reason.AWAITED: (
        "Wait; where the zone is not managed, publish the new record of "
        "`mailfleet domains records NAME`."
    ),
    Reason.ISSUANCE_PENDING: "Wait: the reconciler is getting the certificate.",
    Reason.ISSUANCE_FAILED: (
        "Follow the CA's words; it is asked again by itself, or now by "
        "`mailfleet certificates renew HOST`."
    ),
    Reason.CA_UNREACHABLE: "Check `acme_directory_url` and `acme_ca_file`, and the way there.",
    Reason.CHALLENGE_NOT_PUBLISHED: (
        "Add the zone of these names with `mailfleet zones add`, and see that its servers show "
        "what is updated there."
    ),
    Reason.FILE_UNUSABLE: "Put a valid chain and its key into `certificate_directory`.",
    Reason.NAMES_MISSING: "Get a certificate that is for all names of the host.",
    Reason.EXPIRED: "See that a reconciler runs and that the host is not paused.",
    Reason.NOT_ARRIVED: "Look at the host's queue and at port 25 of the control plane.",
    Reason.WRONG_SOURCE: "Check that the address is on the host's interface and routed.",
    Reason.WRONG_EHLO: "Run `reconcile apply`: the host's transports differ from the plan.",
    Reason.PTR_NOT_CONFIRMED: "Publish the PTR, and the same name's A or AAAA record.",
    Reason.SIGNATURE_INVALID: "Check the host's DKIM record, then OpenDKIM's log.",
    Reason.REGISTRATION_PENDING: "Wait, or see `mailfleet registrations list`.",
    Reason.REGISTRATION_FAILED: (
        "See `mailfleet registrations list` for the registrar's words; delete the domain, and add "
        "it again once they no longer hold."
    ),
    Reason.COPY_FAILED: "Look at the disk and Dovecot's log of both hosts; it is tried again.",
    Reason.IN_USE: "A session on the old host doesn't end: look at `doveadm who` there.",
    Reason.LISTED: (
        "Find out what was sent (`mailfleet addresses history IP`), stop it, and ask the list to "
        "delist the address; a tenant goes to another one with `mailfleet addresses move IP`."
    ),
    Reason.NOT_SENT: "The host refused the probe message; look at its mail log.",
}
