"""The package as an installation has it, away from the checkout."""

import pytest
from processes import run_python


def test_built_package_has_its_configs_and_the_files_of_the_page(tmp_path):
    pytest.importorskip("setuptools", reason="setuptools is not installed: nothing can be built")
    library = tmp_path / "lib"
    built = run_python("setup.py", "-q", "build", "--build-base", tmp_path / "build", "--build-lib", library)
    assert built.returncode == 0, built.stderr
    (tmp_path / "away").mkdir()
    shown = run_python("-m", "mmn", "configs", "charades", folder=tmp_path / "away", PYTHONPATH=str(library))
    assert shown.stdout.strip() == str(library / "mmn" / "configs" / "pool_charades_16x16_k5l8.yaml"), shown.stderr
    files = {path.relative_to(library / "mmn").as_posix() for path in library.rglob("*") if path.suffix != ".py"}
    assert {
        "py.typed",
        "apps/demo/page.css",
        "configs/rows/paper.yaml",
        "configs/catalogs/charades_holdout.yaml",
    } <= files
