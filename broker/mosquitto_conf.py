"""Our `mosquitto.conf` with a machine's paths: for `milepost up` and for a self-managed Mosquitto."""

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
    """One broker's folders and listener.

    ``folder`` holds the files that only we write, ``state`` those that the broker rewrites. ``listener`` is a
    port, or a port and an address, as in ``1883 127.0.0.1``.
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
        """Return the path of the plugin's file, with the users and roles."""
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
    """Return the text of each file that only we write, by path. Raises `OSError`."""
    return {layout.acl_file: acl_text(), layout.conf_file: conf_text(layout)}


def put(path: Path, text: str, owner: os.stat_result) -> Path | None:
    """Write one of `files` atomically, readable by the broker: as root, with the uid and gid of ``owner``.

    Return the backup of a former file with other content, or None. Raises `OSError`.
    """
    before = path.read_text(errors="replace") if path.exists() else text
    put_aside = _free_name(path) if before != text else None
    unfinished = path.with_name(f".{path.name}.unfinished")
    unfinished.write_text(text)
    unfinished.chmod(0o640)  # Mosquitto warns of a world-readable ACL file
    if os.geteuid() == 0:
        os.chown(unfinished, owner.st_uid, owner.st_gid)
    if put_aside is not None:
        path.replace(put_aside)
    unfinished.replace(path)
    return put_aside


def acl_text() -> str:
    """Return the ACL pattern that every device's topics follow."""
    return ACL.read_text()


def render(text: str, replacements: Mapping[str, str]) -> str:
    """Return ``mosquitto.conf`` with other values for some directives.

    Raises `ValueError` for a directive that does not occur exactly once: a file that we no longer understand
    must not run with half of its values replaced.
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
    """Return an unused name beside ``path``: earlier backups stay."""
    names = (path.with_name(f"{path.name}.old{number or ''}") for number in count())
    return next(name for name in names if not name.exists())


def _plugins_in(folder: Path) -> list[Path]:
    """Return the plugins in ``folder`` and its subfolders: Debian has one per architecture."""
    return [*folder.glob(PLUGIN), *sorted(folder.glob(f"*/{PLUGIN}"))]
