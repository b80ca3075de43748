"""A database that restarts: clients are told to come back, and are served then."""

from pathlib import Path

import clusterkit
import pytest
from databases import PostgreSQL
from litestar.testing import TestClient
from storekit import Store

from api.app import create_app


def test_clients_are_told_to_come_back(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with PostgreSQL.temporary() as server:
        server.prepare()
        store = Store(tmp_path, server.migrated())
        acme = store.workspace()
        bearer = {"Authorization": f"Bearer {store.key(acme)}"}
        user = {"Authorization": f"Bearer {clusterkit.token(store, clusterkit.user(store, acme))}"}
        app = create_app(store.settings)
        with TestClient(app, raise_server_exceptions=False) as client:
            client.headers.update(bearer)
            assert client.get("/api/v1/me").status_code == 200
            # The tests' servers are fast because they forget what they had not written yet.
            with store.engine.connect() as connection:
                connection.exec_driver_sql("CHECKPOINT")
            server.stop()
            for path in ("/api/v1/me", "/api/v1/mailboxes"):
                answer = client.get(path)
                assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
                assert answer.json()["error"]["code"] == "internal_error"
            answer = client.get("/api/v1/clusters", headers=user)
            assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
            assert answer.json() == {"message": "Service Unavailable"}
            assert client.get("/healthz").status_code == 503
            server.start()
            assert client.get("/api/v1/me").status_code == 200
            assert client.get("/api/v1/clusters", headers=user).status_code == 200
            assert client.get("/healthz").status_code == 200
        store.close()
    assert "no database" in caplog.text
    assert bearer["Authorization"].split()[1] not in caplog.text
