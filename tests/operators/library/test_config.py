"""A configuration: a name that only what decides the features changes, and a file that keeps what it does not know."""

import json
from dataclasses import FrozenInstanceError, replace

import pytest
from made_configs import made_config

from ndvr.operators.library.config import Config
from ndvr.operators.library.library import CONFIGS, Library
from ndvr.pipeline.settings import choose_one, config_of

# As ndvr wrote it before there was a class for it.
WRITTEN = """{
  "decoder": "auto",
  "feature_dtype": "uint8",
  "feature_shape": [
    512
  ],
  "features_version": 1,
  "method": "thumbprint",
  "name": "thumbprint-40704b90",
  "options": {},
  "trained": true,
  "view": {
    "crop": 128,
    "fps": 2.0,
    "grey": true,
    "kernel": "area",
    "kind": "Frames",
    "long_side": "round",
    "resize": [
      128,
      128
    ],
    "rule": "ffmpeg"
  },
  "weights": "none needed",
  "weights_digest": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
  "windows_per_s": 2.0
}
"""


def test_a_method_is_described_as_in_libraries_that_exist(tmp_path):
    config = config_of(choose_one("thumbprint").load("cpu", "embed"), "auto")
    Library.create(tmp_path / "lib").add_config(config)
    assert (tmp_path / "lib" / CONFIGS / "thumbprint-40704b90.json").read_text().strip() == WRITTEN.strip()
    assert Library(tmp_path / "lib").configs == {"thumbprint-40704b90": config}


def test_the_name_changes_with_what_decides_the_features_and_with_nothing_else():
    config = made_config()
    for label in ({"weights": "elsewhere/same.pth"}, {"options": {"sampler": "opencv"}}, {"trained": True}):
        assert config.changed(**label).name == config.name
    for decisive in (
        {"weights_digest": "1" * 64}, {"view": {"kind": "Frames", "fps": 2}}, {"feature_shape": (2, 2)},
        {"feature_dtype": "float32"}, {"decoder": "pyav"}, {"features_version": 2},
    ):  # fmt: skip
        assert config.changed(**decisive).name != config.name


def test_a_name_that_a_file_gives_stays():
    assert Config.from_json(made_config(name="s2vs-0").to_json()).name == "s2vs-0"


def test_bytes_of_a_window_are_those_of_the_stored_numbers():
    assert made_config(feature_shape=(9, 512), feature_dtype="float16").window_bytes == 9 * 512 * 2
    assert made_config(feature_shape=(512,), feature_dtype="uint8").window_bytes == 512


def test_what_a_newer_version_wrote_survives_reading_and_writing(tmp_path):
    values = made_config().to_json() | {"colours": "bt709"}
    assert Config.from_json(values).to_json() == values
    newer, old = Config.from_json(values), made_config()
    assert newer.changed().name != old.name, "what it does not know may decide the features"


def test_a_file_that_does_not_say_enough_is_refused_naming_it(tmp_path):
    library = Library.create(tmp_path / "lib")
    library.add_config(made_config(name="s2vs-0"))
    path = tmp_path / "lib" / CONFIGS / "s2vs-0.json"
    values = json.loads(path.read_text())
    del values["view"]
    path.write_text(json.dumps(values))
    with pytest.raises(ValueError, match="s2vs-0.json is damaged .*does not say its view; it was not written by ndvr"):
        _ = library.configs


def test_a_configuration_cannot_be_changed_in_place():
    with pytest.raises(FrozenInstanceError):
        made_config().method = "tca"
    assert replace(made_config(), name="x").name == "x"
