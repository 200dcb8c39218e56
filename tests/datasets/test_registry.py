"""Names of data sets and their options."""

from __future__ import annotations

from pathlib import Path

import pytest

from tagprism.datasets.registry import default_split, open_dataset
from tagprism.errors import InputError
from tests.datasets.official_trees import make_nus_wide
from tests.small_world import make_pictures


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("imagenet:x", "there is no data set 'imagenet:x'. Choose one of: openclipart, tagged:DIR, nus-wide:DIR"),
        ("nus-wide:", "there is no data set"),
        ("openclipart:x", "there is no data set"),
        ("nus-wide:x?label=flickr", "there is no option 'label=flickr'. nus-wide knows 'labels'"),
        ("nus-wide:x?labels=web", "'labels=web' cannot be. Write labels= once, with one of 'human', 'flickr'"),
        ("coco:x?test=val,test=val", "'test=val' cannot be"),
        ("coco:x?test=val;year=2014", "cannot be"),
        ("coco:x?", "there is no option ''"),
        ("tagged:x?labels=flickr", "tagged has no options"),
        ("open-images:x?machine=0.4", "'machine=0.4' cannot be"),
    ],
)
def test_names_that_are_refused(spec: str, words: str) -> None:
    with pytest.raises(InputError) as caught:
        open_dataset(spec)
    assert words in str(caught.value)


def test_a_folder_with_a_question_mark_is_a_folder(tmp_path: Path) -> None:
    make_nus_wide(tmp_path / "what?labels=x")
    assert len(open_dataset(f"nus-wide:{tmp_path}/what?labels=x")) == 24
    table = open_dataset(f"nus-wide:{tmp_path}/what?labels=x?labels=flickr")
    assert table.protocol is not None and "Flickr" in table.protocol.name


def test_tagged_has_no_split_of_its_own(tmp_path: Path) -> None:
    spec = f"tagged:{make_pictures(tmp_path, copies=1)}"
    assert default_split(spec, open_dataset(spec)) is None
