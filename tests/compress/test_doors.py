"""Names that the package exports, and what importing them needs."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import subprocess
import sys

import pytest

import compress


def test_the_package_and_its_containers_need_no_pytorch() -> None:
    script = (
        "import sys; sys.modules['torch'] = None\n"
        "import compress; from compress import CompressedModel, CompressionConfig, Plan, compress_parameters\n"
        "assert 'plan' in dir(compress)\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)


@pytest.mark.parametrize("name", compress.__all__)
def test_every_exported_name_is_there_and_no_module(name: str) -> None:
    pytest.importorskip("torch", reason="needs PyTorch: install the extra 'train'")
    assert name in dir(compress)
    assert not inspect.ismodule(getattr(compress, name))


def test_no_module_has_the_name_of_an_exported_function() -> None:
    modules = {module.name for module in pkgutil.iter_modules(compress.__path__)}
    assert not modules & set(compress.__all__)
    importlib.import_module("compress.planning.plan")
    assert not inspect.ismodule(compress.plan)


def test_a_name_that_the_package_does_not_have_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'compress' has no attribute 'squeeze'"):
        _ = compress.squeeze
