"""Tokens: one a user, and of no other dialect."""

import clusterkit
from litestar.testing import TestClient
from storekit import QUICK, Store

from api.dispatch import Dispatcher
from api.unmta import BASE_PATH
from orchestrator import db
from orchestrator.models import User, Workspace
from orchestrator.services import keys, users

Client = TestClient[Dispatcher]


def _asks(client: Client, token: str, path: str = BASE_PATH) -> int:
    return client.get(path, headers={"Authorization": f"Bearer {token}"}).status_code


def test_a_new_token_ends_the_one_before(anonymous: Client, store: Store, ops: User) -> None:
    first = clusterkit.token(store, ops)
    assert _asks(anonymous, first) == 200
    second = clusterkit.token(store, ops)
    assert first != second and second.startswith("unmta_live_")
    assert (_asks(anonymous, first), _asks(anonymous, second)) == (401, 200)


def test_each_user_has_one(anonymous: Client, store: Store, acme: Workspace, ops: User) -> None:
    other = clusterkit.user(store, acme, "dev@acme.com")
    tokens = [clusterkit.token(store, user) for user in (ops, other)]
    assert [_asks(anonymous, token) for token in tokens] == [200, 200]
    with db.writing(store.engine) as session:
        assert keys.revoke_of(session, session.get_one(User, ops.id))
    assert [_asks(anonymous, token) for token in tokens] == [401, 200]
    with db.writing(store.engine) as session:
        assert not keys.revoke_of(session, session.get_one(User, ops.id))
        assert keys.of_user(session, session.get_one(User, ops.id)) is None


def test_a_removed_user_has_none(anonymous: Client, store: Store, ops: User) -> None:
    token = clusterkit.token(store, ops)
    with db.writing(store.engine) as session:
        users.remove(session, session.get_one(User, ops.id))
    assert _asks(anonymous, token) == 401


def test_no_token_is_good_in_the_other_dialect(
    anonymous: Client, store: Store, acme: Workspace, ops: User
) -> None:
    native, ours = store.key(acme, rates=QUICK), clusterkit.token(store, ops)
    assert (_asks(anonymous, native), _asks(anonymous, native, "/api/v1/me")) == (401, 200)
    assert (_asks(anonymous, ours), _asks(anonymous, ours, "/api/v1/me")) == (200, 401)
    # Nor with the other's prefix.
    swapped = native.replace(keys.PREFIX, keys.USER_PREFIX)
    assert _asks(anonymous, swapped) == 401
    swapped = ours.replace(keys.USER_PREFIX, keys.PREFIX)
    assert _asks(anonymous, swapped, "/api/v1/me") == 401


def test_users_tokens_are_no_keys_of_the_workspace(
    anonymous: Client, store: Store, acme: Workspace, ops: User
) -> None:
    clusterkit.token(store, ops)
    headers = {"Authorization": f"Bearer {store.key(acme, rates=QUICK)}"}
    (only,) = anonymous.get("/api/v1/keys", headers=headers).json()["data"]
    assert only["name"] == "ci/cd"
    with db.reading(store.engine) as session:
        row = keys.of_user(session, ops)
    assert row is not None
    answer = anonymous.delete(f"/api/v1/keys/key_{row.id.hex}", headers=headers)
    assert answer.status_code == 404
