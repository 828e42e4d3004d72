"""Who may talk to the app, and how it starts and ends."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from spineseg.errors import DependencyError, ExitCode, InputError

UPGRADE = {
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "c3BpbmVzZWctdGVzdHMtMQ==",
}


def status(address: str, path: str, headers: dict[str, str] | None = None) -> int:
    """Return the status of a request, without following where it leads."""
    parts = urlsplit(address)
    connection = http.client.HTTPConnection("127.0.0.1", parts.port, timeout=20)
    try:
        connection.request("GET", path, headers=headers or {})
        return connection.getresponse().status
    finally:
        connection.close()


def token_of(address: str) -> str:
    return parse_qs(urlsplit(address).query)["token"][0]


def test_the_address_is_of_this_computer_alone(address: str) -> None:
    parts = urlsplit(address)
    assert parts.hostname == "127.0.0.1"
    assert len(token_of(address)) >= 32
    others = {info[4][0] for info in socket.getaddrinfo(socket.gethostname(), None)}
    for other in others - {"127.0.0.1", "127.0.1.1", "::1"}:
        with pytest.raises(OSError), socket.create_connection((other, parts.port), timeout=2):
            pass


@pytest.mark.parametrize("path", ["/", "/index.html", "/ws", "/export/case.zip", "/upload"])
@pytest.mark.parametrize("given", ["", "?token=", "?token=wrong", "?token=ä"])
def test_requests_without_the_token_are_refused(address: str, path: str, given: str) -> None:
    headers = UPGRADE if path == "/ws" else {}
    quoted = given.replace("ä", "%C3%A4")
    assert status(address, path + quoted, headers) == 403


def test_the_token_opens_page_and_websocket(address: str) -> None:
    token = token_of(address)
    assert status(address, f"/index.html?token={token}") == 200
    assert status(address, f"/ws?token={token}", UPGRADE) == 101


@pytest.mark.parametrize(
    "headers",
    [{"Host": "spine.example.org"}, {"Origin": "http://spine.example.org"}, {"Origin": "null"}],
)
def test_pages_from_elsewhere_are_refused_even_with_the_token(
    address: str, headers: dict[str, str]
) -> None:
    token = token_of(address)
    assert status(address, f"/index.html?token={token}", headers) == 403
    assert status(address, f"/ws?token={token}", {**UPGRADE, **headers}) == 403


@pytest.mark.skipif(os.name != "posix", reason="posix: signals")
def test_the_command_prints_one_line_and_ends_well(webPackages: None, tmp_path: Path) -> None:
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    command = [sys.executable, "-m", "spineseg", "app", "--no-browser"]
    child = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )
    try:
        assert child.stdout is not None
        address = child.stdout.readline().strip()
        assert address.startswith("http://127.0.0.1:")
        assert status(address, f"/index.html?token={token_of(address)}") == 200
        port = str(urlsplit(address).port)
        second = subprocess.run([*command, "--port", port], capture_output=True, text=True)
        assert second.returncode == ExitCode.INPUT
        assert f"Port {port} can't be used" in second.stderr
        assert second.stdout == ""
    finally:
        child.send_signal(signal.SIGINT)
        rest, errors = child.communicate(timeout=60)
    assert child.returncode == 0
    assert rest == ""
    assert "Traceback" not in errors
    assert not list(tmp_path.iterdir()), "temporary files stay"


def test_what_is_missing_is_named_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    from SpineSegWeb import launch

    monkeypatch.setattr(launch, "PACKAGES", ("spineseg", "no_such_package"))
    with pytest.raises(DependencyError, match=r'no_such_package.*pip install "spineseg\[app\]"'):
        launch.check_packages()
    with pytest.raises(DependencyError, match="OpenGL"):
        launch.check_graphics(launch.start_probe("raise SystemExit(1)"))
    launch.check_graphics(launch.start_probe("pass"))


def test_a_taken_port_is_an_input_error() -> None:
    from SpineSegWeb.launch import listen

    with listen(0) as taken, pytest.raises(InputError, match="Choose another one"):
        listen(taken.getsockname()[1])
