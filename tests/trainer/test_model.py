from __future__ import annotations

import json

import pytest

from records.errors import ConfigError
from tests.trainer.tiny import build_model
from trainer.model import base_digest, check_model, choose_device, choose_dtype, context_of, load_model, load_tokenizer

pytestmark = pytest.mark.model


@pytest.mark.parametrize("name", ["./nowhere", "/nowhere/model", "~/model", "model", "a/b/c"])
def test_a_model_path_that_is_not_there_is_refused(name):
    with pytest.raises(ConfigError, match="there is no such folder; expected a folder with"):
        check_model(name)


def test_a_hugging_face_id_is_left_to_its_library():
    check_model("owner/name-8B")


@pytest.mark.parametrize("lost", ["config.json", "model.safetensors"])
def test_a_folder_that_lacks_a_file_is_refused(tmp_path, lost):
    folder = build_model(tmp_path / "model")
    (folder / lost).unlink()
    with pytest.raises(ConfigError, match="the folder has no "):
        load_tokenizer(str(folder))


def test_pickled_weights_are_not_read(tmp_path):
    import torch

    folder = build_model(tmp_path / "model")
    (folder / "model.safetensors").unlink()
    torch.save({}, folder / "pytorch_model.bin")
    with pytest.raises(ConfigError, match=r"no \*\.safetensors"):
        load_model(str(folder), device="cpu", dtype="float32")


@pytest.mark.parametrize("text", ["{}", "[", '{"model": 3}'])
def test_a_broken_tokeniser_is_a_config_error(tmp_path, text):
    folder = build_model(tmp_path / "model")
    (folder / "tokenizer.json").write_text(text)
    with pytest.raises(ConfigError, match="its tokeniser cannot be loaded"):
        load_tokenizer(str(folder))


def test_a_broken_model_is_a_config_error(tmp_path):
    folder = build_model(tmp_path / "model")
    (folder / "config.json").write_text(json.dumps({"model_type": "no-such-architecture"}))
    with pytest.raises(ConfigError, match="its model cannot be loaded"):
        load_model(str(folder), device="cpu", dtype="float32")


def test_the_frozen_model(tiny):
    model = load_model(str(tiny), device="cpu", dtype="bfloat16")
    assert {str(weight.dtype) for weight in model.parameters()} == {"torch.bfloat16"}
    assert not any(weight.requires_grad for weight in model.parameters())
    assert not model.training
    assert context_of(str(tiny)) == 256


def test_a_base_has_one_digest_in_either_precision_and_another_seed_another(tiny, tmp_path):
    other = build_model(tmp_path / "other", seed=1)
    full, half = (base_digest(load_model(str(tiny), device="cpu", dtype=dtype)) for dtype in ("float32", "bfloat16"))
    assert full == half
    assert full != base_digest(load_model(str(other), device="cpu", dtype="float32"))


def test_device_and_precision():
    import torch

    assert choose_device("cpu") == "cpu"
    assert choose_dtype("auto", "cpu") == "float32"
    assert choose_dtype("auto", "cuda") == "bfloat16"
    assert choose_dtype("bfloat16", "cpu") == "bfloat16"
    if not torch.cuda.is_available():
        assert choose_device("auto") == "cpu"
        with pytest.raises(ConfigError, match="no GPU is visible"):
            choose_device("cuda")
