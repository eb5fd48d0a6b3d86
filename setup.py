"""Copies the manifests into the package at build time; everything else is in pyproject.toml."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildWithManifests(build_py):
    """The topology travels with the code: ``groundshift/_manifests/{knative,kserve}``."""

    def run(self) -> None:
        """Build the packages, then add the manifests; an editable install has them at hand."""
        super().run()
        if self.editable_mode:
            return
        root = Path(__file__).parent
        for name in ("knative", "kserve"):
            target = Path(self.build_lib, "groundshift", "_manifests", name)
            shutil.rmtree(target, ignore_errors=True)
            shutil.copytree(root / name / "base", target)


setup(cmdclass={"build_py": BuildWithManifests})
