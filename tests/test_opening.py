"""Opening a store: by folder, settings file, profile, environment, and which one is the default."""

from __future__ import annotations

import pytest

import quantstore as qs
from quantstore import api, config
from quantstore.errors import AccessDeniedError, InvalidInputError, NotFoundError, UnsupportedError


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """Work in an empty folder, with no store chosen by the environment."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(config.ENVIRONMENT, raising=False)
    monkeypatch.setattr(api, "_default", None)


def place(store):
    return store.metadata_catalog.path


def test_a_folder_holds_everything(tmp_path, capsys):
    with qs.open(tmp_path / "s") as store:
        assert place(store) == tmp_path / "s" / "catalog.sqlite"
    assert "made a new store" in capsys.readouterr().err
    with qs.open(tmp_path / "s"):
        pass
    assert capsys.readouterr().err == ""


def test_nothing_means_environment_then_file_then_folder(tmp_path, monkeypatch):
    with qs.open() as store:
        assert place(store) == tmp_path / ".quantstore" / "catalog.sqlite"
    (tmp_path / "quantstore.toml").write_text('[store]\npath = "research"\n')
    with qs.open() as store:
        assert place(store) == tmp_path / "research" / "catalog.sqlite"
    monkeypatch.setenv(config.ENVIRONMENT, str(tmp_path / "chosen"))
    with qs.open() as store:
        assert place(store) == tmp_path / "chosen" / "catalog.sqlite"


def test_a_settings_file_names_parts_and_profiles(tmp_path):
    (tmp_path / "quantstore.toml").write_text(
        '[store]\npath = "a"\ncold = "elsewhere/cold"\n[profiles.desk]\npath = "desk"\nhot = "fast"\n'
    )
    with qs.open("quantstore.toml") as store:
        assert store.cold_store.root == tmp_path / "elsewhere" / "cold"
    with qs.open("profile:desk", warm=tmp_path / "given") as store:
        assert place(store) == tmp_path / "desk" / "catalog.sqlite"
        assert store.hot_store.root == tmp_path / "fast"
        assert store.warm_store.root == tmp_path / "given"
        assert repr(store) == "HybridStorageManager('profile:desk')"


@pytest.mark.parametrize(
    ("target", "text", "error", "message"),
    [
        ("missing.toml", None, NotFoundError, "no settings file"),
        ("quantstore.toml", "[store", InvalidInputError, "not valid TOML"),
        ("quantstore.toml", "[store]\nhotter = 'x'", InvalidInputError, "unknown key 'hotter'"),
        ("profile:nobody", "[profiles.desk]\npath = 'x'", NotFoundError, "it has: desk"),
        ("profile:desk", None, NotFoundError, "no settings file"),
        ("quantstore.toml", "[store]\ncold = 's3://bucket/x'", UnsupportedError, "s3://"),
    ],
)
def test_settings_that_cannot_be_used_are_refused(tmp_path, target, text, error, message):
    if text is not None:
        (tmp_path / "quantstore.toml").write_text(text)
    with pytest.raises(error, match=message):
        qs.open(target)


def test_a_place_that_is_no_folder_is_refused(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(AccessDeniedError, match="cannot be made"):
        qs.open(tmp_path / "file" / "store")
    with pytest.raises(InvalidInputError, match="not int"):
        qs.HybridStorageManager(1, 2, 3, tmp_path / "k")
    with pytest.raises(InvalidInputError, match="not int"):
        qs.HybridStorageManager("h", "w", "c", 4)


def test_the_default_is_the_first_opened_until_another_is_chosen(tmp_path):
    with qs.open(tmp_path / "a") as first, qs.open(tmp_path / "b") as second:
        assert qs.default() is first
        assert qs.use(second) is second
        assert qs.default() is second
        chosen = qs.use(tmp_path / "c")
        assert qs.default() is chosen
        chosen.close()
    with qs.default() as fresh:  # a closed store is nobody's default
        assert place(fresh) == tmp_path / ".quantstore" / "catalog.sqlite"
