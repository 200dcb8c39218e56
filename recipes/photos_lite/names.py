"""The names that photos-lite is asked for on photos that it does not know, and which of its labels say the same."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256

from tagprism.labels.phrases import variants

ASKED = "coco_captions/"  # photos that the yardstick asks for COCO's names
CAPTIONS = (ASKED, "flickr8k/")  # photos whose labels are what captions say: much of what is there is not listed
NOBODY = "nobody/"  # photos that show nobody and list nothing (nobody.py): the probabilities alone are fitted on them
SMALL = "small_"  # before the source's name: copies of its photos (copies.py), which train with them and test nothing
FLICKR_SHARE = 0.45  # of Flickr8k's photos, so that they are no more than those of Corel-5k
TEST = 0.1  # share of the photos that no bundle trains on
_COCO = """person bicycle car motorcycle airplane bus train truck boat traffic_light fire_hydrant stop_sign
parking_meter bench bird cat dog horse sheep cow elephant bear zebra giraffe backpack umbrella handbag tie suitcase
frisbee skis snowboard sports_ball kite baseball_bat baseball_glove skateboard surfboard tennis_racket bottle wine_glass
cup fork knife spoon bowl banana apple sandwich orange broccoli carrot hot_dog pizza donut cake chair couch potted_plant
bed dining_table toilet tv laptop mouse remote keyboard cell_phone microwave oven toaster sink refrigerator book clock
vase scissors teddy_bear hair_drier toothbrush"""
COCO = [name.replace("_", " ") for name in _COCO.split()]
_SAME = """train railroad locomotive / horse mare foal / boat sailboat ship / airplane plane jet prop aircraft airliner
/ bicycle bike / bear grizzly / elephant tusk / motorcycle motor / couch sofa / tv television / cell_phone phone / tie
necktie / surfboard board surfing surfer / skis skiing skier / snowboard snowboarder snowboarding / skateboard
skateboarder skateboarding / refrigerator fridge / donut doughnut / dog puppy / cat kitten / tennis_racket racket
/ baseball_bat bat / laptop computer / person people man woman"""
_GROUPS = [{word.replace("_", " ") for word in group.split()} for group in _SAME.split("/")]
KINDS = {"person": ("man", "woman", "people", "boy", "girl", "child", "baby", "men", "lady", "couple", "crowd")}
_CALLINGS = ("swimmers", "athlete", "monks", "guard", "diver", "vendor", "indian", "face", "model", "kid")
PEOPLE = ("person", *KINDS["person"], *_CALLINGS)


def place(name: str) -> float:
    """A number in 0..1 that a name always has; a photo and its copy have one."""
    return int(sha256(f"photos-lite 0 {name.removeprefix(SMALL)}".encode()).hexdigest()[:12], 16) / 16**12


def copied(key: str) -> bool:
    """Whether it is the copy of a photo, which trains with it and tests nothing."""
    return key.startswith(SMALL)


def used(keys: Iterable[str]) -> list[str]:
    """The photos of the joined folder that are trained on or tested."""
    return [key for key in keys if not key.removeprefix(SMALL).startswith("flickr8k/") or place(key) < FLICKR_SHARE]


def kept_back(key: str) -> bool:
    """Whether a photo of the joined folder is kept from the heads and from the fit of the probabilities too."""
    return not copied(key) and (0 if key.startswith(CAPTIONS) else TEST / 2) <= place(key) < TEST


def same(name: str, labels: Iterable[str]) -> set[str]:
    """Labels that say the same as a name: its spellings, what stands beside it above, and phrases with such a word."""
    words = {name}.union(*(group for group in _GROUPS if name in group))
    spelt = {spelling for word in words for spelling in variants(word)}
    return {label for label in labels if any(variants(part) & spelt for part in (label, *label.split()))}
