"""Certificates by ACME (RFC 8555), proven by DNS-01 challenges."""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from acme import challenges, client, crypto_util, errors, messages
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from josepy.errors import Error as JoseError
from josepy.jwa import ES256
from josepy.jwk import JWKEC
from josepy.util import ComparableECKey
from requests import RequestException

from orchestrator.conditions import Reason
from orchestrator.issuers.challenges import Challenges
from orchestrator.issuers.issued import IssuanceError, Issued, checked, key_text

#: Seconds for one HTTP exchange, and for the CA to look at our challenges and to sign.
HTTP_SECONDS = 15
ORDER_SECONDS = 90
#: How often a request is sent again because the CA wants a fresher nonce (RFC 8555, 6.5).
NONCE_ATTEMPTS = 10


def new_account_key() -> str:
    """A key for an account, PEM."""
    return key_text(ec.generate_private_key(ec.SECP256R1()))


class Acme:
    """An ACME server, with an account that is registered when it isn't yet.

    :param account_key: gives the account's key as PEM.
    :param ca_file: the only CA that the server itself is trusted by; None for the system's.
    """

    def __init__(
        self,
        directory_url: str,
        email: str,
        ca_file: Path | None,
        account_key: Callable[[], str],
        proofs: Challenges,
    ) -> None:
        self._directory_url = directory_url
        self._email = email
        self._ca_file = ca_file
        self._account_key = account_key
        self._proofs = proofs

    def issue(self, names: Sequence[str]) -> Issued:
        """Order a certificate for DNS names; takes seconds to minutes.

        :raises IssuanceError: with the CA's own words, and the delay it asks for.
        """
        network = _Network(self._account_key(), self._ca_file)
        key = key_text(ec.generate_private_key(ec.SECP256R1()))
        try:
            chain = self._order(network, crypto_util.make_csr(key.encode(), list(names)))
        except RequestException as error:
            raise IssuanceError(Reason.CA_UNREACHABLE, _plain(error)) from None
        except (errors.Error, JoseError, KeyError, ValueError) as error:
            wait = network.retry_after
            raise IssuanceError(Reason.ISSUANCE_FAILED, _words(error), retry_after=wait) from None
        return checked(chain, key, names)

    def _order(self, network: "_Network", csr: bytes) -> str:
        directory = client.ClientV2.get_directory(self._directory_url, network)
        server = client.ClientV2(directory, network)
        self._log_in(server)
        order = server.new_order(csr)
        open_ = [
            (authorization.body.identifier.value, _dns_challenge(authorization))
            for authorization in order.authorizations
            if authorization.body.status == messages.STATUS_PENDING
        ]
        values = {name: body.chall.validation(network.key) for name, body in open_}
        with self._proofs.published(values):
            for _, body in open_:
                server.answer_challenge(body, body.chall.response(network.key))
            order = server.poll_authorizations(order, _deadline())
        return str(server.finalize_order(order, _deadline()).fullchain_pem)

    def _log_in(self, server: client.ClientV2) -> None:
        contact = messages.NewRegistration.from_data(
            email=self._email or None, terms_of_service_agreed=True
        )
        try:
            server.new_account(contact)
        except errors.ConflictError as known:
            server.net.account = messages.RegistrationResource(
                uri=known.location, body=messages.Registration()
            )


class _Network(client.ClientNetwork):
    """The library's, with patience for nonces, and an ear for ``Retry-After``."""

    def __init__(self, account_key: str, ca_file: Path | None) -> None:
        loaded = serialization.load_pem_private_key(account_key.encode(), password=None)
        assert isinstance(loaded, ec.EllipticCurvePrivateKey)
        super().__init__(
            JWKEC(key=ComparableECKey(loaded)),
            alg=ES256,
            user_agent="mailfleet",
            timeout=HTTP_SECONDS,
        )
        if ca_file is not None:
            self.session.trust_env = False
            self.verify_ssl = str(ca_file)  # type: ignore[assignment] # requests takes a file too
        #: Seconds that the last response asks to wait.
        self.retry_after = 0.0
        self.session.hooks["response"].append(self._listen)

    def _listen(self, response: Any, **_: Any) -> None:
        wait = client.ClientV2.retry_after(response, 0) - datetime.now()
        self.retry_after = max(0.0, wait.total_seconds())

    def post(self, *args: Any, **kwargs: Any) -> Any:
        for _ in range(NONCE_ATTEMPTS):
            try:
                return super().post(*args, **kwargs)
            except messages.Error as error:
                if error.code != "badNonce":
                    raise
        return super().post(*args, **kwargs)


def _dns_challenge(authorization: messages.AuthorizationResource) -> messages.ChallengeBody:
    for body in authorization.body.challenges:
        if isinstance(body.chall, challenges.DNS01):
            return body
    name = authorization.body.identifier.value
    message = f"the CA offers no DNS-01 challenge for {name}"
    raise IssuanceError(Reason.ISSUANCE_FAILED, message)


def _deadline() -> datetime:
    # The library compares with the local time, without a zone.
    return datetime.now() + timedelta(seconds=ORDER_SECONDS)


def _words(error: Exception) -> str:
    """What the CA said, in one line."""
    if isinstance(error, errors.ValidationError):
        return "; ".join(
            f"{failed.body.identifier.value}: {body.error.detail}"
            for failed in error.failed_authzrs
            for body in failed.body.challenges
            if body.error is not None
        )
    if isinstance(error, errors.IssuanceError):
        return _words(error.error)
    if isinstance(error, messages.Error):
        said = [error.detail or error.title or error.typ]
        said += [f"{sub.identifier}: {sub.detail}" for sub in error.subproblems or ()]
        return "; ".join(said)
    if isinstance(error, errors.TimeoutError):
        return f"the CA did not finish the order within {ORDER_SECONDS} s"
    return f"the CA's answer can't be used: {_plain(error)}"


def _plain(error: Exception) -> str:
    return " ".join(str(error).split())[:500] or type(error).__name__
