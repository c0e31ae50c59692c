"""The one `mosquitto.conf` with a machine's paths: for `milepost up` and for a Mosquitto of one's own."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import count
from pathlib import Path

CONF = Path(__file__).parent.parent / "mosquitto.conf"
ACL = Path(__file__).parent / "mosquitto.acl"
PLUGIN = "mosquitto_dynamic_security.so"
LIBRARY_FOLDERS = (
    "/usr/lib",
    "/usr/lib64",
    "/usr/local/lib",
    "/opt/homebrew/lib",
    "/opt/homebrew/opt/mosquitto/lib",
)


@dataclass(frozen=True)
class Layout:
    """Where one broker has its files and where it listens.

    ``folder`` holds what only we write; ``state`` what the broker rewrites. ``listener`` is a port, or a port
    and an address, as in ``1883 127.0.0.1``.
    """

    folder: Path
    state: Path
    plugin: Path
    listener: str

    @property
    def conf_file(self) -> Path:
        return self.folder / "mosquitto.conf"

    @property
    def acl_file(self) -> Path:
        return self.folder / "mosquitto.acl"

    @property
    def plugin_file(self) -> Path:
        """The users and roles."""
        return self.state / "dynamic-security.json"


def conf_text(layout: Layout) -> str:
    """Return our configuration with the paths and the listener of ``layout``. Raises `OSError`."""
    replacements = {
        "listener": layout.listener,
        "plugin": str(layout.plugin),
        "plugin_opt_config_file": str(layout.plugin_file),
        "acl_file": str(layout.acl_file),
        "persistence_location": f"{layout.state}/",
    }
    return render(CONF.read_text(), replacements)


def files(layout: Layout) -> dict[Path, str]:
    """Return what only we write, by its place. Raises `OSError`."""
    return {layout.acl_file: acl_text(), layout.conf_file: conf_text(layout)}


def put(path: Path, text: str, owner: os.stat_result) -> Path | None:
    """Write one of `files` whole, readable by the broker, whose uid and gid ``owner`` has when we are root.

    Return where a file of another content that was there lies now. Raises `OSError`.
    """
    before = path.read_text(errors="replace") if path.exists() else text
    put_aside = _free_name(path) if before != text else None
    unfinished = path.with_name(f".{path.name}.unfinished")
    unfinished.write_text(text)
    unfinished.chmod(0o640)  # Mosquitto warns of an ACL file that everyone may read
    if os.geteuid() == 0:
        os.chown(unfinished, owner.st_uid, owner.st_gid)
    if put_aside is not None:
        path.replace(put_aside)
    unfinished.replace(path)
    return put_aside


def acl_text() -> str:
    """Return the pattern that each device's topics follow."""
    return ACL.read_text()


def render(text: str, replacements: Mapping[str, str]) -> str:
    """``mosquitto.conf`` with other values for some directives.

    Raises `ValueError` for a directive that does not stand there exactly once: a file that we no longer
    understand must not be run half-replaced.
    """
    lines, missing = [], dict(replacements)
    for line in text.splitlines():
        directive = line.split(maxsplit=1)[0] if line.strip() else ""
        if directive in replacements:
            if directive not in missing:
                raise ValueError(f"mosquitto.conf has {directive!r} twice")
            line = f"{directive} {missing.pop(directive)}"
        lines.append(line)
    if missing:
        raise ValueError(f"mosquitto.conf has no {', '.join(missing)}")
    return "\n".join(lines) + "\n"


def find_plugin() -> Path | None:
    """Return the dynamic-security plugin of this machine, or None without one."""
    return next((path for folder in LIBRARY_FOLDERS for path in _plugins_in(Path(folder))), None)


def _free_name(path: Path) -> Path:
    """Return a name beside ``path`` that no file has: what was put aside earlier stays."""
    names = (path.with_name(f"{path.name}.old{number or ''}") for number in count())
    return next(name for name in names if not name.exists())


def _plugins_in(folder: Path) -> list[Path]:
    """Debian has a folder an architecture below ``/usr/lib``."""
    return [*folder.glob(PLUGIN), *sorted(folder.glob(f"*/{PLUGIN}"))]
