"""A cluster's job server: where it is, whether it answers and lets us in, and what runs there. Imports no Ray.

Ray's own client waits for minutes where nobody answers, so it is asked by hand first.
"""

import http.client
import importlib.metadata
import json
import os
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from raytrack.errors import ConfigError

DEFAULT_URL = "http://127.0.0.1:8265"
"""Where Ray's dashboard listens, also at this end of a tunnel."""
_PORT = 8265
_GCS_PORT = 6379
_ANSWER_S = 15.0
_REDIRECTS = (301, 302, 303, 307, 308)
_ASK_OWNER = "it is the one that the cluster was started with"


@dataclass(frozen=True, kw_only=True)
class ClusterVersions:
    """What a cluster runs on; "" where it does not say."""

    ray: str
    python: str = ""


def server_url(address: str = "") -> str:
    """The job server's URL.

    Args:
        address: `http://HOST:PORT` or `HOST[:PORT]`; by default what `RAY_API_SERVER_ADDRESS` says, else this machine,
            where a tunnel to the head node ends.

    Raises:
        ConfigError: It is no such address.
    """
    text = (address or os.environ.get("RAY_API_SERVER_ADDRESS", "")).strip() or DEFAULT_URL
    try:
        parts = urllib.parse.urlsplit(text if "://" in text else f"http://{text}")
        port = parts.port or (_PORT if parts.scheme == "http" else 443)
    except ValueError as error:
        raise ConfigError(f"{text!r} is no address of a Ray cluster ({error}); one is http://HOST:{_PORT}") from error
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(
            f"{text!r} is no address of a job server: give the dashboard's, such as http://HOST:{_PORT}, or "
            "http://127.0.0.1:8265 at the end of a tunnel"
        )
    if port == _GCS_PORT:
        raise ConfigError(f"{text!r} is where nodes join; jobs go to the dashboard, such as http://HOST:{_PORT}")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{parts.scheme}://{host}:{port}{parts.path.rstrip('/')}"


def is_exposed(url: str) -> bool:
    """Whether the token would cross a network unencrypted."""
    parts = urllib.parse.urlsplit(url)
    return parts.scheme == "http" and parts.hostname not in ("127.0.0.1", "localhost", "::1")


def prepare_authentication() -> str:
    """Switch token authentication on for Ray's client, before Ray is imported; `RAY_AUTH_MODE` that is set stays.

    Returns:
        The token, from where Ray looks for it; "" where authentication is switched off.

    Raises:
        ConfigError: There is no token.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if os.environ.setdefault("RAY_AUTH_MODE", "token") != "token":
        return ""
    if token := os.environ.get("RAY_AUTH_TOKEN", "").strip():
        return token
    named = os.environ.get("RAY_AUTH_TOKEN_PATH", "")
    path = Path(named).expanduser() if named else Path.home() / ".ray" / "auth_token"
    try:
        token = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise _no_token(f"{path}: {getattr(error, 'strerror', None) or error}") from error
    if not token:
        raise _no_token(f"{path} is empty")
    return token


def _no_token(reason: str) -> ConfigError:
    return ConfigError(
        f"there is no token for the cluster ({reason}): put it into ~/.ray/auth_token, readable by you alone "
        f"({_ASK_OWNER}), or name its file in RAY_AUTH_TOKEN_PATH; RAY_AUTH_MODE=disabled for a cluster without "
        "authentication"
    )


def ask_versions(url: str, token: str) -> ClusterVersions:
    """What the cluster runs on.

    Raises:
        ConfigError: Nobody answers, the token is refused, or it is no Ray cluster.
    """
    version = str(_ask(url, "/api/version", token).get("ray_version", ""))
    if not version:
        raise ConfigError(f"what answers at {url} is no Ray job server")
    try:
        facts = _ask(url, "/api/v0/cluster_metadata", token)
    except ConfigError:  # Not every version tells.
        return ClusterVersions(ray=version)
    data = facts.get("data")
    return ClusterVersions(ray=version, python=str(data.get("pythonVersion", "")) if isinstance(data, dict) else "")


def check_versions(versions: ClusterVersions, url: str) -> None:
    """Refuse a cluster that cannot understand this machine's Ray, or cannot run raytrack.

    Raises:
        ConfigError: The versions do not go together.
    """
    here = importlib.metadata.version("ray")
    if versions.ray.split(".")[:2] != here.split(".")[:2]:
        raise ConfigError(
            f"the cluster at {url} runs Ray {versions.ray}, this machine Ray {here}: Ray wants the same on both; here "
            f"that is pip install 'ray[default]=={versions.ray}'"
        )
    python = tuple(int(part) for part in versions.python.split(".")[:2] if part.isdigit())
    if python and not (3, 10) <= python <= (3, 13):
        raise ConfigError(f"the cluster at {url} runs Python {versions.python}; raytrack needs 3.10 to 3.13 on it")


class _StayHere(urllib.request.HTTPRedirectHandler):
    """Follows no redirect: the token is for the server that was named, and for no other."""

    def redirect_request(self, *_: object) -> None:
        """There is no other request to make; the answer becomes an error."""


_OPENER = urllib.request.build_opener(_StayHere)


def _ask(url: str, path: str, token: str) -> dict[str, object]:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    request = urllib.request.Request(url + path, headers=headers)  # noqa: S310 (http or https: see `server_url`)
    try:
        with _OPENER.open(request, timeout=_ANSWER_S) as answer:
            data = json.load(answer)
    except urllib.error.HTTPError as error:
        if error.code in (401, 403):
            what = "wants a token" if error.code == 401 else "refuses the token"
            raise ConfigError(
                f"the cluster at {url} {what}: put the right one into ~/.ray/auth_token or RAY_AUTH_TOKEN "
                f"({_ASK_OWNER})"
            ) from error
        if error.code in _REDIRECTS:
            raise ConfigError(
                f"what answers at {url} sends on to {error.headers.get('Location')!r}, where the token is not taken: "
                "give the dashboard's own address"
            ) from error
        raise ConfigError(f"what answers at {url} is no Ray job server ({error})") from error
    except (OSError, http.client.HTTPException) as error:
        raise ConfigError(
            f"no Ray cluster answers at {url} ({getattr(error, 'reason', None) or error}): see that it is up, and that "
            "the address is the dashboard's or the end of a tunnel to it (`ray dashboard cluster.yaml`)"
        ) from error
    except ValueError as error:
        raise ConfigError(f"what answers at {url} is no Ray job server (not JSON)") from error
    return data if isinstance(data, dict) else {}
