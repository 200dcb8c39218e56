"""The authors' checkpoint: the imported network equals theirs, and files that are something else are refused."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tagprism.errors import InputError
from tagprism.network.official_checkpoint import HEAD, read_official_checkpoint
from tests.network.official_network import OfficialNetwork

M, D = 7, 30


@pytest.fixture(scope="module")
def network() -> OfficialNetwork:
    return OfficialNetwork(M, D).randomise()


def saved(path: Path, weights: dict[str, Any], **more: Any) -> Path:
    torch.save({"model": weights, "num_classes": 3, "idx_to_class": {0: "sky", 1: "sea", 2: "sun"}} | more, path)
    return path


def imported_outputs(path: Path, pixels: Tensor) -> Tensor:
    backbone, head = read_official_checkpoint(path).networks(D)
    with torch.inference_mode():
        matrices: Tensor = head(backbone(pixels))
    return matrices


def expected_outputs(network: OfficialNetwork, pixels: Tensor) -> Tensor:
    with torch.inference_mode():
        flat = network(pixels)
    return torch.stack([flat.reshape(-1, D, M)[:, :, m] for m in range(M)], dim=1)  # flat element d * M + m


@pytest.mark.parametrize("size", [64, 76, 96])
@pytest.mark.slow
def test_it_equals_the_authors_network(network: OfficialNetwork, size: int, tmp_path: Path) -> None:
    path = saved(tmp_path / "x.pth", network.state_dict())
    pixels = torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(1)) ** torch.tensor([1.0, 5.0]).view(
        2, 1, 1, 1
    )
    expected = expected_outputs(network, pixels)
    found = imported_outputs(path, pixels)
    assert found.shape == (2, M, D)
    assert expected.std() > 0.1 and (expected[0] - expected[1]).abs().max() > 1e-2  # numbers that could differ
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_every_way_of_saving_gives_the_same_network(network: OfficialNetwork, tmp_path: Path) -> None:
    pixels = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(2))
    weights = network.state_dict()
    with_filters = OfficialNetwork(M, D, stored_filters=True)
    with_filters.load_state_dict(weights, strict=False)
    stored = with_filters.state_dict()
    assert sum(name.endswith(".op.filt") for name in stored) == 3
    counted = {f"{name.removesuffix('running_var')}num_batches_tracked": torch.tensor(5) for name in weights}
    counted = {name: value for name, value in counted.items() if name.removesuffix("num_batches_tracked") != name}
    ways = {
        "filters": stored,
        "filters without op": {name.replace(".op.filt", ".filt"): value for name, value in stored.items()},
        "distributed": {f"module.{name}": value for name, value in weights.items()},
        "averaged and distributed": {f"module.module.{name}": value for name, value in weights.items()},
        "counted": weights
        | {name: value for name, value in counted.items() if "running" not in name and ".1." in name},
    }
    expected = expected_outputs(network, pixels)
    for way, values in ways.items():
        found = imported_outputs(saved(tmp_path / f"{way}.pth", dict(values)), pixels)
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4, msg=lambda text, way=way: f"{way}: {text}")
    torch.save(dict(weights), tmp_path / "bare.pth")
    torch.testing.assert_close(imported_outputs(tmp_path / "bare.pth", pixels), expected, rtol=1e-4, atol=1e-4)
    torch.save({"model": weights}, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    torch.testing.assert_close(imported_outputs(tmp_path / "old.pth", pixels), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_half_precision_weights_are_widened(network: OfficialNetwork, tmp_path: Path) -> None:
    halves = {name: value.half() for name, value in network.state_dict().items()}
    path = saved(tmp_path / "half.pth", halves)
    rounded = OfficialNetwork(M, D)
    rounded.load_state_dict({name: value.float() for name, value in halves.items()})
    pixels = torch.rand(1, 3, 64, 64)
    found = imported_outputs(path, pixels)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected_outputs(rounded.eval(), pixels), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("value", "names"),
    [
        ({0: "sky", 1: "sea"}, ("sky", "sea")),
        ({"1": "sea", "0": "sky"}, ("sky", "sea")),
        ({10: "ten", 9: "nine"}, ("nine", "ten")),
        (["sky", "sea"], ("sky", "sea")),
        (None, ()),
    ],
)
def test_class_names_come_in_the_order_of_their_numbers(value: Any, names: tuple[str, ...], tmp_path: Path) -> None:
    path = saved(tmp_path / "x.pth", {HEAD: torch.zeros(4, 2048)}, idx_to_class=value)
    assert read_official_checkpoint(path).classes == names


@pytest.mark.slow
def test_another_network_is_named(network: OfficialNetwork, tmp_path: Path) -> None:
    weights = dict(network.state_dict())
    lacking = {name: value for name, value in weights.items() if name != "layer3.4.conv2.0.weight"}
    with pytest.raises(InputError, match=r"not of a TResNet-M: body.layer3.4.conv2.conv.weight is missing"):
        read_official_checkpoint(saved(tmp_path / "a.pth", lacking)).networks(D)
    wider = weights | {"conv1.0.weight": torch.zeros(76, 48, 3, 3)}
    with pytest.raises(InputError, match=r"body.conv1.conv.weight is \(76, 48, 3, 3\), not \(64, 48, 3, 3\)"):
        read_official_checkpoint(saved(tmp_path / "b.pth", wider)).networks(D)
    longer = weights | {"layer3.11.conv1.0.weight": torch.zeros(1)}
    with pytest.raises(InputError, match=r"layer3.11.conv1.conv.weight is not part of it"):
        read_official_checkpoint(saved(tmp_path / "c.pth", longer)).networks(D)
    classifier = {"body.conv1.0.weight": torch.zeros(1), "head.fc.weight": torch.zeros(1000, 2048)}
    with pytest.raises(InputError, match=r"no head `embedding.weight` \(it has body, head\)"):
        read_official_checkpoint(saved(tmp_path / "d.pth", classifier))
    with pytest.raises(InputError, match=r"300 numbers do not fit its head of 210 rows"):
        read_official_checkpoint(saved(tmp_path / "e.pth", weights)).networks(300)
    odd_filter = weights | {"layer2.0.conv1.1.op.filt": torch.zeros(128, 1, 3, 3)}
    with pytest.raises(InputError, match=r"`layer2.0.conv1.1.op.filt` is not the filter"):
        read_official_checkpoint(saved(tmp_path / "f.pth", odd_filter)).networks(D)
    broken = weights | {"conv1.1.bias": torch.full((64,), float("nan"))}
    with pytest.raises(InputError, match=r"`conv1.1.bias` holds NaN"):
        read_official_checkpoint(saved(tmp_path / "g.pth", broken))


def test_code_in_the_file_is_named_and_not_run(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return exec, (f"open({str(tmp_path / 'ran')!r}, 'w')",)

    for odd, name in ((argparse.Namespace(lr=1), "argparse.Namespace"), (Trap(), "exec")):
        for new_format in (True, False):
            torch.save({"model": {}, "args": odd}, tmp_path / "x.pth", _use_new_zipfile_serialization=new_format)
            with pytest.raises(InputError, match=f"it asks for .*{name}.*nothing in it was run"):
                read_official_checkpoint(tmp_path / "x.pth")
    assert not (tmp_path / "ran").exists()


def test_files_that_are_no_checkpoint(tmp_path: Path) -> None:
    whole = saved(tmp_path / "whole.pth", {HEAD: torch.zeros(4, 2048)}).read_bytes()
    old = tmp_path / "old.pth"
    torch.save({"model": {HEAD: torch.zeros(4, 2048)}}, old, _use_new_zipfile_serialization=False)
    cases = {
        "cut.pth": (whole[: len(whole) // 2], "a torch file whose end is missing"),
        "cut_old.pth": (old.read_bytes()[:2000], "damaged or truncated torch file"),
        "picture.pth": (b"\xff\xd8\xff\xe0 not a checkpoint", "is not a torch file"),
        "empty.pth": (b"", "is not a torch file"),
        "text.pth": (b"version https://git-lfs.github.com/spec/v1\n", "is not a torch file"),
    }
    for name, (data, words) in cases.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(InputError, match=words) as caught:
            read_official_checkpoint(tmp_path / name)
        assert name in str(caught.value)
    with pytest.raises(InputError, match="no such file"):
        read_official_checkpoint(tmp_path / "nothing.pth")
    with pytest.raises(InputError, match="is a folder"):
        read_official_checkpoint(tmp_path)
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(InputError, match="holds no weights under `model`"):
        read_official_checkpoint(tmp_path / "list.pth")
