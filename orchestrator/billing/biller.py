"""What a payment service has to do for us."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol


class Kind(StrEnum):
    """What is charged for, each by its own subscription."""

    DOMAIN = "domain"
    ADDRESS = "ip"
    MAILBOX = "mailbox"


class Standing(StrEnum):
    """Whether a workspace may order more."""

    NO_PAYMENT_METHOD = "no_payment_method"
    GOOD = "good"
    PAST_DUE = "past_due"


@dataclass(frozen=True)
class Subscribed:
    """A running subscription, and what it is for how many of."""

    id: str
    quantity: int


@dataclass(frozen=True)
class Account:
    """How it stands with a customer, as the payment service has just said."""

    standing: Standing
    subscriptions: Mapping[Kind, Subscribed]


@dataclass(frozen=True)
class Checkout:
    """A page on which the customer leaves a payment method, and until when it can be used."""

    url: str
    until: datetime


class Biller(Protocol):
    """A payment service. Every method may raise ``Away``."""

    def open(self, reference: str, name: str) -> str:
        """The id of a customer for the workspace; the same for the same ``reference``."""

    def settle(self, customer: str, quantities: Mapping[Kind, int]) -> Account:
        """Make the customer's subscriptions be for these quantities, and tell how it stands.

        Without a payment method nothing is subscribed to; what is charged for already follows.
        """

    def checkout(self, customer: str, currency: str) -> Checkout:
        """A new page for a payment method; ``currency`` in lower case (ISO 4217)."""

    def concerned(self, payload: bytes, signature: str) -> str | None:
        """The customer that a notice of the service is about, if it is about one.

        :raises Invalid: when the notice isn't the service's, or is too old.
        """
