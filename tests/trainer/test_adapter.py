from __future__ import annotations

import json
import os
import signal

import pytest

from records.digest import adapter_digest
from records.errors import ConfigError
from tests.trainer.oracle import load_policy, token_logps
from tests.trainer.tiny import build_adapter, build_model
from trainer.adapter import TRAINED, begin_adapter, check_adapter_files, check_same_base, loaded_beside, save_adapter
from trainer.config import LoraSettings
from trainer.model import base_digest, load_model

pytestmark = pytest.mark.model

IDS = ([0, 4, 70, 71, 1, 5], [72, 73, 1])


@pytest.fixture(scope="module")
def adapter(tiny, tmp_path_factory):
    return build_adapter(tiny, tmp_path_factory.mktemp("adapters") / "adapter", seed=1)


def begin(model, start=None, **settings):
    loaded = load_model(str(model), device="cpu", dtype="float32")
    return begin_adapter(loaded, LoraSettings(**settings), name=str(model), start=start)


def test_a_fresh_adapter_is_the_base(tiny):
    policy = begin(tiny)
    assert token_logps(policy, *IDS) == pytest.approx(token_logps(load_policy(tiny, None), *IDS))


def test_a_continued_adapter_is_the_earlier_policy_in_one_adapter(tiny, adapter):
    policy = begin(tiny, start=adapter)
    found, base = token_logps(policy, *IDS), token_logps(load_policy(tiny, None), *IDS)
    assert found == pytest.approx(token_logps(load_policy(tiny, adapter), *IDS))
    assert found != pytest.approx(base, abs=0.01)
    assert list(policy.peft_config) == [TRAINED]


def test_only_the_adapter_is_trainable_and_in_float32(tiny, adapter):
    model = load_model(str(tiny), device="cpu", dtype="bfloat16")
    policy = begin_adapter(model, LoraSettings(), name=str(tiny), start=adapter)
    trainable = {name: weight.dtype for name, weight in policy.named_parameters() if weight.requires_grad}
    assert trainable
    assert all("lora_" in name for name in trainable)
    assert {str(dtype) for dtype in trainable.values()} == {"torch.float32"}


def test_what_is_saved_is_what_vllm_reads(tiny, adapter):
    assert sorted(path.name for path in adapter.iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
        "base.json",
    ]
    config = json.loads((adapter / "adapter_config.json").read_text())
    assert (config["r"], config["lora_alpha"], config["bias"], config["modules_to_save"]) == (16, 32, "none", None)
    assert config["base_model_name_or_path"] == "tiny"
    assert config["target_modules"] == sorted(config["target_modules"])


def test_saving_twice_gives_the_same_digest_and_replaces_leftovers(tiny, adapter, tmp_path):
    policy = begin(tiny, start=adapter)
    base = base_digest(load_model(str(tiny), device="cpu", dtype="float32"))
    leftover = tmp_path / ".adapter.tmp" / "ref"
    leftover.mkdir(parents=True)
    digests = {save_adapter(policy, tmp_path / "adapter", model=str(tiny), base=base) for _ in range(2)}
    assert digests == {adapter_digest(adapter)}
    assert [path.name for path in tmp_path.iterdir()] == ["adapter"]


@pytest.mark.parametrize(("point", "saved"), [("adapter-before-rename", False), ("adapter-after-rename", True)])
def test_a_save_that_is_killed_leaves_the_adapter_whole_or_absent(tiny, adapter, tmp_path, monkeypatch, point, saved):
    policy = begin(tiny, start=adapter)
    child = os.fork()
    if child == 0:
        os.environ["CONSTITUTE_CRASH_AT"] = point
        save_adapter(policy, tmp_path / "adapter", model=str(tiny), base="")
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    assert (tmp_path / "adapter").exists() is saved
    save_adapter(policy, tmp_path / "adapter", model=str(tiny), base="")
    assert [path.name for path in tmp_path.iterdir()] == ["adapter"]
    assert check_adapter_files(tmp_path / "adapter")["r"] == 16


def test_an_adapter_of_another_base_of_the_same_shapes_is_refused(tiny, tmp_path):
    other = build_model(tmp_path / "other", seed=1)
    foreign = build_adapter(other, tmp_path / "adapter", seed=1)
    base = base_digest(load_model(str(tiny), device="cpu", dtype="float32"))
    with pytest.raises(ConfigError, match=r"trained on another base \(other\); expected tiny"):
        check_same_base(foreign, base, str(tiny))


def test_an_adapter_without_a_digest_is_known_by_its_bases_name(tiny, adapter, tmp_path):
    from safetensors.torch import load_file, save_file

    copy = tmp_path / "adapter"
    copy.mkdir()
    config = json.loads((adapter / "adapter_config.json").read_text())
    save_file(load_file(adapter / "adapter_model.safetensors"), copy / "adapter_model.safetensors")
    (copy / "adapter_config.json").write_text(json.dumps(config | {"base_model_name_or_path": "/elsewhere/tiny"}))
    check_same_base(copy, "any", str(tiny))
    (copy / "adapter_config.json").write_text(json.dumps(config | {"base_model_name_or_path": "owner/large"}))
    with pytest.raises(ConfigError, match=r"another base \(owner/large\)"):
        check_same_base(copy, "any", str(tiny))


def test_an_adapter_that_does_not_fit_says_which_weights(tiny, adapter, tmp_path):
    deeper = build_model(tmp_path / "deeper", layers=3)
    with pytest.raises(ConfigError, match=r"\d+ weights differ\)\n.*layers.2.*not there; expected for this model"):
        begin(deeper, start=adapter)
    some = build_adapter(tiny, tmp_path / "some", seed=1, targets=("q_proj", "v_proj"))
    with pytest.raises(ConfigError, match=r"not there; expected for this model and train\.lora"):
        begin(tiny, start=some)
    with pytest.raises(ConfigError, match=r"has no place in this model under train\.lora"):
        begin(tiny, start=adapter, targets=("q_proj",))


@pytest.mark.parametrize(
    ("settings", "words"), [({"r": 8}, "r is 16; expected 8"), ({"alpha": 16}, "alpha is 32; expected 16")]
)
def test_an_adapter_of_other_settings_is_not_continued(tiny, adapter, settings, words):
    with pytest.raises(ConfigError, match=words):
        begin(tiny, start=adapter, **settings)


def test_targets_that_do_not_exist_are_refused(tiny):
    with pytest.raises(ConfigError, match=r"train\.lora\.targets"):
        begin(tiny, targets=("no_such_layer",))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"peft_type": "LOHA"}, "peft_type is 'LOHA'; expected 'LORA'"),
        ({"use_dora": True}, "use_dora is True"),
        ({"bias": "all"}, "bias is 'all'"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save is"),
    ],
)
def test_an_adapter_that_vllm_would_refuse_is_refused(adapter, tmp_path, change, words):
    config = json.loads((adapter / "adapter_config.json").read_text()) | change
    (tmp_path / "adapter_config.json").write_text(json.dumps(config))
    with pytest.raises(ConfigError, match=r"adapter_model\.safetensors: not there"):
        check_adapter_files(tmp_path)
    (tmp_path / "adapter_model.safetensors").write_bytes((adapter / "adapter_model.safetensors").read_bytes())
    with pytest.raises(ConfigError, match=words):
        check_adapter_files(tmp_path)


def test_an_earlier_policy_beside_the_trained_one_comes_and_goes(tiny, adapter, tmp_path):
    """Also one of another rank, which the trained adapter's own settings would not fit."""
    small = build_adapter(tiny, tmp_path / "small", seed=2, r=8, alpha=8)
    policy = begin(tiny, start=adapter)
    with loaded_beside(policy, small, str(tiny)) as name:
        policy.set_adapter(name)
        assert token_logps(policy, *IDS) == pytest.approx(token_logps(load_policy(tiny, small), *IDS))
    assert list(policy.peft_config) == [TRAINED]
    assert token_logps(policy, *IDS) == pytest.approx(token_logps(load_policy(tiny, adapter), *IDS))
    assert all(weight.requires_grad for name, weight in policy.named_parameters() if "lora_" in name)
    with loaded_beside(policy, None, str(tiny)) as name:
        assert name is None
