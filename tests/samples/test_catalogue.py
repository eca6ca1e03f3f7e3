"""The samples that come with the library: names, lists, addresses."""

from __future__ import annotations

import re

import pytest

import batteryxr
from batteryxr.core.errors import ArgumentError, SampleError

NAMES = sorted(batteryxr.sample())


def test_without_a_name_the_samples_are_listed():
    listed = batteryxr.sample()
    assert {"lno-operando", "gitt-lgm50", "cyclers", "xas-standards"} <= set(listed)
    text = repr(listed)
    for sample in listed.values():
        assert sample.name in text
        assert sample.licence in text
        assert sample.about in text
    assert len(repr(listed["lno-operando"])) < 1500  # not 460 hashes


@pytest.mark.parametrize("name", NAMES)
def test_every_file_has_a_hash_and_an_address(name):
    sample = batteryxr.sample()[name]
    assert sample.files
    urls = sample.urls
    assert urls.keys() == sample.files.keys()
    assert len(set(urls.values())) == len(urls)
    for path, digest in sample.files.items():
        assert re.fullmatch(r"[0-9a-f]{64}", digest)
        assert not path.startswith(("/", "."))
        assert ".." not in path
        assert "\\" not in path
        address = r"https://raw\.githubusercontent\.com/[^/]+/[^/]+/[0-9a-f]{40}/\S+"
        assert re.fullmatch(address, urls[path])
        assert urls[path].endswith(path.rpartition("/")[2].replace(" ", "%20"))
    assert all(origin.licence for origin in sample.origins)
    for origin in sample.origins:  # none is hidden behind one before it
        assert any(sample.url(p) == origin.url(p) for p in sample.files)


@pytest.mark.parametrize("name", NAMES)
def test_sizes_are_as_told(name, measured):
    folder, sample = measured(name), batteryxr.sample()[name]
    assert sum((folder / p).stat().st_size for p in sample.files) == sample.bytes


def test_an_unknown_name_gets_near_ones():
    with pytest.raises(ArgumentError, match=r"Did you mean 'lno-operando'\?"):
        batteryxr.sample("lno_operando")
    with pytest.raises(ArgumentError, match="expected one of"):
        batteryxr.sample("zzz")
    with pytest.raises(ArgumentError, match=r"name=\['cyclers'\]"):
        batteryxr.sample(["cyclers"])


def test_the_environment_names_the_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("BATTERYXR_SAMPLES", str(tmp_path))
    with pytest.raises(SampleError, match=f"not in {tmp_path}/cyclers"):
        batteryxr.sample("cyclers")
    assert batteryxr.samples.local("cyclers") is None
