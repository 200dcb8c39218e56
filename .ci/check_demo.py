"""Fail when the demo's numbers or its report are not what the README promises. Run: python .ci/check_demo.py demo"""

import json
import re
import sys
from pathlib import Path

PHOTOS = ("photos", "own-words", "searches", "explained")
SECTIONS = (*PHOTOS, "methods", "tagged", "found", "labels", "curves", "rankings", "provenance")
OURS = "SDL, M=7"
MARGINS = {"single vector, M=1": 0.0, "ConSE": 5.0, "ridge": 2.0}
"""By how many points of mAP the demo is above each rival at least, in both tasks."""


def main() -> int:
    """Check `result.json` and `report.html` of a demo's folder."""
    folder = Path(sys.argv[1])
    methods = json.loads((folder / "result.json").read_text(encoding="utf-8"))["methods"]
    report = (folder / "report.html").read_text(encoding="utf-8")
    present = set(re.findall(r'<section[^>]*\bid="([\w-]+)"', report))
    complaints = [f"the report has no section `{name}`" for name in SECTIONS if name not in present]
    for task in ("zsl", "gzsl"):
        ours = methods[OURS][task]["mAP"]
        if ours < 2 * (chance := methods[OURS][task]["chance_mAP"]):
            complaints.append(f"{task.upper()} mAP {ours:.1f} is below twice chance ({chance:.1f})")
        for rival, margin in MARGINS.items():
            theirs = methods[rival][task]["mAP"]
            if ours < theirs + margin:
                complaints.append(f"{task.upper()} mAP {ours:.1f} is not {margin} above {theirs:.1f} of {rival}")
    for complaint in complaints:
        print(f"demo: {complaint}", file=sys.stderr)
    for name in (OURS, *MARGINS):
        print(f"demo: {name}: mAP {methods[name]['zsl']['mAP']:.1f} (ZSL), {methods[name]['gzsl']['mAP']:.1f} (GZSL)")
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
