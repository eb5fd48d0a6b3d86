from pathlib import Path

import pytest
from pydantic import ValidationError

from groundshift.settings import Settings, settings_table


def test_the_environment_is_read(monkeypatch, tmp_path):
    monkeypatch.setenv("GROUNDSHIFT_THRESHOLD", "0.25")
    monkeypatch.setenv("GROUNDSHIFT_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("GROUNDSHIFT_ALLOWED_HOSTS", '["example.org"]')
    settings = Settings()
    assert settings.threshold == 0.25
    assert settings.allowed_hosts == ("example.org",)
    assert settings.ledger_url == f"sqlite:///{tmp_path}/ledger.db"
    assert settings.objects == str(tmp_path / "objects")


def test_an_argument_beats_the_environment(monkeypatch):
    monkeypatch.setenv("GROUNDSHIFT_THRESHOLD", "0.25")
    assert Settings(threshold=0.75).threshold == 0.75


def test_what_is_named_beats_the_data_folder(tmp_path):
    settings = Settings(
        data_dir=tmp_path, database_url="postgresql://h/d", object_root="s3://b", model_dir=tmp_path
    )
    assert (settings.ledger_url, settings.objects) == ("postgresql://h/d", "s3://b")
    assert settings.models == tmp_path


def test_the_default_models_are_the_packages_own():
    import groundshift

    assert Settings().models == Path(groundshift.__file__).parent / "model_store"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("threshold", 1.5),
        ("threshold", -0.1),
        ("baseline_size", 0),
        ("max_event_bytes", 0),
        ("cloud_buffer_px", -1),
        ("allowed_hosts", "not a list"),
        ("tenant", ""),
        ("thresold", 0.5),
    ],
)
def test_a_bad_value_or_name_is_refused(name, value):
    with pytest.raises(ValidationError, match=name):
        Settings(**{name: value})


def test_settings_do_not_change():
    with pytest.raises(ValidationError, match="frozen"):
        Settings().threshold = 0.1


def test_every_setting_is_described_and_in_the_table():
    table = settings_table()
    for name, field in Settings.model_fields.items():
        assert field.description, name
        assert f"| `GROUNDSHIFT_{name.upper()}` |" in table
        assert field.description in table


def test_numbers_say_their_unit():
    sizes = [n for n, f in Settings.model_fields.items() if "seconds" in (f.description or "")]
    assert sizes
    assert all(name.endswith("_s") for name in sizes)
