"""The units: what systemd says of them, and what `tng systemd` prints."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest
from package.extras import UNITS, without_compiler

from tng_demo import tunnel

NAMES = sorted(path.name for path in UNITS.iterdir())


def installed(directory: Path, *, compiler: bool = True) -> list[str]:
    """Both units below ``directory``, with programs that are here."""
    made = []
    for name in NAMES:
        text = (UNITS / name).read_text("utf-8")
        text = text if compiler else without_compiler(text)
        assert compiler or "/usr/bin/tng " not in text
        path = directory / name
        path.write_text(re.sub(r"/usr/bin/tng(-runtime)? ", "/bin/true ", text).replace(" /opt/tng", ""), "utf-8")
        made.append(str(path))
    return made


@pytest.mark.parametrize("compiler", [True, False], ids=["tng", "tng-runtime"])
def test_systemd_finds_nothing_to_say_about_the_units(tmp_path: Path, compiler: bool) -> None:
    units = [name.replace("@.", "@web.") for name in installed(tmp_path, compiler=compiler)]
    command = ["systemd-analyze", "verify", "--man=no", *units]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("name", NAMES)
def test_systemd_counts_less_than_3_0_exposure(tmp_path: Path, name: str) -> None:
    installed(tmp_path)
    command = ["systemd-analyze", "security", "--offline=true", "--threshold=29", "--no-pager", str(tmp_path / name)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout[-200:] + done.stderr


def run(*argv: str) -> str:
    return subprocess.run([tunnel.TNG, "systemd", *argv], capture_output=True, text=True, check=True, timeout=60).stdout


def test_the_units_are_printed_with_the_drop_ins_of_captured_units(tmp_path: Path) -> None:
    netfilter = {"capture_dst": {"port": 1}, "capture_cgroup": ["/system.slice/shop.service", "/machine.slice/no_unit"]}
    document = tmp_path / "web.json"
    document.write_text(json.dumps({"add_ingress": [{"netfilter": netfilter, "no_ra": True}]}))
    printed = run(str(document))
    for name in NAMES:
        assert f"# /etc/systemd/system/{name}\n{(UNITS / name).read_text('utf-8')}" in printed
    assert printed.count("/shop.service.d/tng.conf\n") == 1
    assert printed.endswith("[Unit]\nWants=tng@web.service\nAfter=tng@web.service\n")
    assert "no_unit" not in printed


def test_the_units_are_written_into_a_directory(tmp_path: Path) -> None:
    run("--output", str(tmp_path / "made"))
    assert {path.name: path.read_bytes() for path in (tmp_path / "made").iterdir()} == {
        path.name: path.read_bytes() for path in UNITS.iterdir()
    }


def test_an_instance_that_is_enabled_closes_the_next_boot_too(tmp_path: Path) -> None:
    system = tmp_path / "lib/systemd/system"
    run("--output", str(system))
    (tmp_path / "etc/systemd/system").mkdir(parents=True)
    command = ["systemctl", f"--root={tmp_path}", "enable", "tng@web.service"]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    links = {str(path.relative_to(tmp_path / "etc/systemd/system")) for path in tmp_path.glob("etc/**/*.service")}
    assert links == {"multi-user.target.wants/tng@web.service", "sysinit.target.wants/tng-guard@web.service"}
