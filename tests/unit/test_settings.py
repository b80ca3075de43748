"""Settings: environment over file over defaults, and errors that name the setting."""

from pathlib import Path

import pytest

from orchestrator import settings
from orchestrator.errors import ConfigurationError


def test_defaults_need_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert settings.load(environ={}).api_port == 8025


def test_the_environment_wins_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "mailfleet.toml"
    file.write_text('api_port = 1\nresolvers = ["192.0.2.1"]\nca_file = "ca.pem"\n')
    loaded = settings.load(file, {"MAILFLEET_API_PORT": "2"})
    assert loaded.api_port == 2
    assert loaded.resolvers == ("192.0.2.1",)
    assert loaded.ca_file == tmp_path / "ca.pem"


def test_lists_come_comma_separated_from_the_environment() -> None:
    loaded = settings.load(environ={"MAILFLEET_RESOLVERS": "127.0.0.1, ::1"})
    assert loaded.resolvers == ("127.0.0.1", "::1")


@pytest.mark.parametrize(
    ("text", "environ", "says"),
    [
        ("api_prot = 1", {}, "api_prot"),
        ("api_port = 'x'", {}, "api_port"),
        ("api_port = [", {}, "not valid TOML"),
        ("", {"MAILFLEET_API_PROT": "1"}, "MAILFLEET_API_PROT"),
        ("", {"MAILFLEET_DNS_TIMEOUT": "soon"}, "dns_timeout"),
    ],
)
def test_a_wrong_setting_is_named(
    tmp_path: Path, text: str, environ: dict[str, str], says: str
) -> None:
    file = tmp_path / "mailfleet.toml"
    file.write_text(text)
    with pytest.raises(ConfigurationError, match=says):
        settings.load(file, environ)


def test_a_named_file_must_exist(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="No such file"):
        settings.load(tmp_path / "gone.toml", {})
