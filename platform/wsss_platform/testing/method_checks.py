"""What is checked of a method as a whole: its config, presets, search space and phases. Needs pytest."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from collections.abc import Iterator

import tomli_w

from wsss_platform.config import (
    MethodConfig,
    Section,
    flatten,
    look_up,
    override,
    read_toml,
    to_toml,
    validated,
)
from wsss_platform.search.roles import role_faults
from wsss_platform.search.space_file import load_space
from wsss_platform.testing.phase_checks import PhaseChecks

_DESCRIBE = """
import importlib, sys
from wsss_platform.method import Method
module, name = sys.argv[1:]
found = [one for one in vars(importlib.import_module(module)).values() if isinstance(one, Method) and one.name == name]
if not found:
    sys.exit(f"{module} has no Method {name!r}: define its phases beside it")
found[0].phases(found[0].config())
found[0].presets()
sys.exit("torch was imported" if "torch" in sys.modules else 0)
"""


class MethodTests(PhaseChecks):
    """All that a method must pass; `method_tests` makes the class of one."""

    def test_config_goes_through_toml_and_back(self) -> None:
        config = self.tested.method.config()
        back = validated(type(config), tomllib.loads(to_toml(config)), f"{self._name}: round trip")
        assert back == config, f"{self._name}: its config is another one after TOML"

    def test_presets_are_legal_and_change_something(self) -> None:
        config = self.tested.method.config()
        for path, changed in self._presets():
            assert changed != config, f"{self._name}: preset {path} changes nothing"
            written = tomllib.loads(tomli_w.dumps(changed.model_dump(mode="json", exclude_none=True)))
            assert written == tomllib.loads(to_toml(changed)), f"{self._name}: preset {path} cannot be written"

    def test_search_space_is_legal_for_the_defaults_and_every_preset(self) -> None:
        for config in (self.tested.method.config(), *(changed for _, changed in self._presets())):
            assert load_space(self.tested.space, config).axes

    def test_search_space_has_each_role_or_says_why_not(self) -> None:
        config = self.tested.method.config()
        space = load_space(self.tested.space, config)
        faults = list(role_faults(space, self.tested.method.phases(config)))
        assert not faults, f"{self._name}: {self.tested.space}: " + "; ".join(faults)

    def test_sections_exist_and_phases_are_told_apart(self) -> None:
        config = self.tested.method.config()
        earlier: set[str] = set()
        for phase in self.tested.method.phases(config):
            for path in (*phase.sections, phase.maps, phase.masks, *([phase.begins] if phase.begins else [])):
                look_up(config, path)
            assert phase.name not in earlier, f"{self._name}: two phases are called {phase.name!r}"
            unknown = set(phase.reads) - earlier
            assert not unknown, f"{self._name}: phase {phase.name!r} reads {sorted(unknown)}, no earlier phase"
            earlier.add(phase.name)

    def test_every_field_of_its_config_is_described(self) -> None:
        missing = sorted(set(_undescribed(self.tested.method.config)))
        assert not missing, f"{self._name}: write a docstring under {', '.join(missing)}"

    def test_describing_it_imports_no_torch(self) -> None:
        """So that --help, dry runs and a study's plan stay light."""
        method = self.tested.method
        done = subprocess.run(  # noqa: S603
            [sys.executable, "-c", _DESCRIBE, method.phases.__module__, method.name],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, (
            f"{self._name}: {done.stderr.decode()}; name objectives as 'package.module:Class' in its phases, and keep "
            "torch out of the modules of METHOD and its config"
        )

    @property
    def _name(self) -> str:
        return f"method {self.tested.method.name!r}"

    def _presets(self) -> Iterator[tuple[str, MethodConfig]]:
        method = self.tested.method
        for path in method.presets().values():
            yield path.name, override(method.config(), flatten(read_toml(path)), path.name)


def _undescribed(kind: type[Section]) -> Iterator[str]:
    """Fields without a docstring in sections that are no part of the platform; a section's own docstring counts."""
    for name, info in kind.model_fields.items():
        inner = info.annotation
        if not (isinstance(inner, type) and issubclass(inner, Section)):
            if not info.description and not kind.__module__.startswith("wsss_platform."):
                yield f"{kind.__name__}.{name}"
        elif not inner.__module__.startswith("wsss_platform."):
            yield from _undescribed(inner)
